using System.Diagnostics;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Runtimes;

/// <summary>
/// A model on another server of the Open Inference Protocol. Inference has no effect, so a call that did not reach the server, or found it
/// unavailable, is tried once more within its time. After several failures in a row the circuit opens: calls are refused at once, and one
/// probe at a time finds out whether the server is back.
/// </summary>
internal sealed class RemoteRuntime : IModelRuntime
{
    private const int Attempts = 2;
    private readonly HttpClient _http;
    private readonly OipClient _client;
    private readonly Circuit _circuit;
    private readonly TimeSpan _timeout;
    private readonly string _url;

    private RemoteRuntime(HttpClient http, OipClient client, ModelSignature signature, RuntimeSettings settings, TimeProvider clock)
    {
        (_http, _client, Signature) = (http, client, signature);
        _url = settings.Url!;
        _timeout = TimeSpan.FromMilliseconds(settings.TimeoutMillis);
        _circuit = new Circuit(clock);
        Traits = new(double.PositiveInfinity, settings.Concurrency, "it runs on another server, which batches on its own", 1, 0);
    }

    public ModelSignature Signature { get; }

    public RuntimeTraits Traits { get; }

    /// <summary>Asks the server what the model takes and gives. Throws <see cref="SlipwayException"/> (Unavailable) if it cannot be asked.</summary>
    public static async Task<RemoteRuntime> ConnectAsync(RuntimeSettings settings, string model, TimeProvider clock, CancellationToken ct)
    {
        var http = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false, ConnectTimeout = TimeSpan.FromSeconds(5), PooledConnectionLifetime = TimeSpan.FromMinutes(5) })
        {
            BaseAddress = new Uri(settings.Url!),
            Timeout = Timeout.InfiniteTimeSpan,
        };
        try
        {
            var client = new OipClient(http, settings.Model ?? model, null);
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(ct);
            limit.CancelAfter(TimeSpan.FromSeconds(10));
            return new(http, client, await client.SignatureAsync(limit.Token), settings, clock);
        }
        catch (Exception e) when (e is HttpRequestException or OperationCanceledException && !ct.IsCancellationRequested)
        {
            http.Dispose();
            throw new SlipwayException(ErrorCode.Unavailable, "the model's server cannot be reached", $"{settings.Url}: {e.Message}", "start it, or correct the endpoint's runtime.url", e);
        }
        catch
        {
            http.Dispose();
            throw;
        }
    }

    public async ValueTask<RunResult> RunAsync(InferRequest request, CancellationToken ct)
    {
        var start = Stopwatch.GetTimestamp();
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(ct);
        limit.CancelAfter(_timeout);
        for (var attempt = 1; ; attempt++)
        {
            if (!_circuit.TryPass(out var wait))
            {
                return new(ErrorCode.Unavailable, $"the model's server {_url} failed repeatedly; it is tried again in {wait.TotalSeconds:0.0} s");
            }

            RunResult result;
            try
            {
                result = await _client.InferAsync(request, Signature.Outputs, limit.Token);
            }
            catch (OperationCanceledException)
            {
                if (ct.IsCancellationRequested)
                {
                    // The caller's leaving says nothing about the server.
                    _circuit.Abandoned();
                    return new(ErrorCode.Cancelled, "the caller went away") { Refused = true };
                }

                _circuit.Failed();
                return new(ErrorCode.DeadlineExceeded, $"the model's server {_url} did not answer within {_timeout.TotalSeconds:0.###} s");
            }
            catch (Exception e) when (e is HttpRequestException or IOException)
            {
                result = new(ErrorCode.Unavailable, $"the model's server {_url} cannot be reached: {e.Message}");
            }

            if (result.Code is ErrorCode.Unavailable or ErrorCode.Internal)
            {
                _circuit.Failed();
            }
            else
            {
                _circuit.Succeeded();
            }

            if (result.Code != ErrorCode.Unavailable || attempt == Attempts)
            {
                var nanos = (long)Stopwatch.GetElapsedTime(start).TotalNanoseconds;
                return result with { Times = new(0, nanos, 0) };
            }
        }
    }

    public void Dispose() => _http.Dispose();
}

/// <summary>
/// Closed until five failures in a row; then open for a second, doubling up to 30 with each failed probe; half open in between, when one call passes.
/// </summary>
internal sealed class Circuit(TimeProvider clock)
{
    private const int Limit = 5;
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(30);
    private readonly Lock _gate = new();
    private int _failures;
    private TimeSpan _pause = TimeSpan.FromSeconds(1);
    private long _openedAt;
    private bool _open;
    private bool _probing;

    /// <summary>Whether a call may go; if not, how long until one may.</summary>
    public bool TryPass(out TimeSpan wait)
    {
        lock (_gate)
        {
            wait = _open ? _pause - clock.GetElapsedTime(_openedAt) : TimeSpan.Zero;
            if (!_open)
            {
                return true;
            }

            if (wait > TimeSpan.Zero || _probing)
            {
                wait = wait > TimeSpan.Zero ? wait : TimeSpan.FromMilliseconds(100);
                return false;
            }

            _probing = true;
            return true;
        }
    }

    public void Succeeded()
    {
        lock (_gate)
        {
            (_failures, _open, _probing, _pause) = (0, false, false, TimeSpan.FromSeconds(1));
        }
    }

    public void Failed()
    {
        lock (_gate)
        {
            _failures++;
            if (_open && _probing)
            {
                _pause = _pause * 2 < Longest ? _pause * 2 : Longest;
            }

            if (_failures >= Limit)
            {
                (_open, _probing, _openedAt) = (true, false, clock.GetTimestamp());
            }
        }
    }

    /// <summary>The call ended without saying anything about the server.</summary>
    public void Abandoned()
    {
        lock (_gate)
        {
            _probing = false;
        }
    }
}
