using System.Net;
using System.Net.Http.Headers;
using System.Text;

namespace Slipway.Foundation;

/// <summary>The answer to one attempt.</summary>
/// <param name="Status">The HTTP status, or null when nothing answered.</param>
/// <param name="Error">Why it does not count as delivered; null when the status is 2xx.</param>
/// <param name="Took">From the first byte of the address look-up to the answer's headers.</param>
public sealed record OutboundAnswer(int? Status, string? Error, TimeSpan Took)
{
    public bool Delivered => Error is null;
}

/// <summary>What an address answered to a question.</summary>
/// <param name="Body">The answer; null when there is none.</param>
/// <param name="Error">Why there is none; null when there is one.</param>
public sealed record OutboundBody(byte[]? Body, string? Error);

/// <summary>Posts to and asks the addresses that users gave. No redirect is followed, and what is read has a bound.</summary>
public sealed class Outbound(TimeProvider clock) : IDisposable
{
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(5);
    private readonly HttpClient publicOnly = Client(allowLoopback: false);
    private readonly HttpClient loopbackToo = Client(allowLoopback: true);

    /// <summary>Posts once. What goes wrong on the way is an answer, not an exception.</summary>
    /// <param name="url">Checked by <see cref="OutboundAddress"/> again.</param>
    /// <param name="allowLoopback">Whether the address may be this machine.</param>
    /// <param name="json">The body.</param>
    /// <param name="headers">Further headers.</param>
    /// <param name="ct">Stops the attempt, as an exception.</param>
    public async Task<OutboundAnswer> PostAsync(string url, bool allowLoopback, string json, IReadOnlyDictionary<string, string> headers, CancellationToken ct)
    {
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(ct);
        timeout.CancelAfter(Longest);
        var begun = clock.GetTimestamp();
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, OutboundAddress.Check(url, allowLoopback));
            request.Content = new StringContent(json, Encoding.UTF8, new MediaTypeHeaderValue("application/json"));
            foreach (var (name, value) in headers)
            {
                request.Headers.Add(name, value);
            }

            using var response = await (allowLoopback ? loopbackToo : publicOnly).SendAsync(request, HttpCompletionOption.ResponseHeadersRead, timeout.Token);
            return Answer((int)response.StatusCode, response.IsSuccessStatusCode ? null : $"the receiver answered {(int)response.StatusCode}");
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            return Answer(null, $"no answer within {Longest.TotalSeconds} s");
        }
        catch (Exception e) when (e is HttpRequestException or SlipwayException)
        {
            return Answer(null, e is SlipwayException s ? s.Sentence : e.InnerException?.Message ?? e.Message);
        }

        OutboundAnswer Answer(int? status, string? error) => new(status, error, clock.GetElapsedTime(begun));
    }

    /// <summary>Asks once for a body. What goes wrong on the way is an answer, not an exception.</summary>
    /// <param name="url">Checked by <see cref="OutboundAddress"/> again.</param>
    /// <param name="allowLoopback">Whether the address may be this machine.</param>
    /// <param name="largest">Bytes above which the answer is refused.</param>
    /// <param name="ct">Stops the attempt, as an exception.</param>
    public async Task<OutboundBody> GetAsync(string url, bool allowLoopback, int largest, CancellationToken ct)
    {
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(ct);
        timeout.CancelAfter(Longest);
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, OutboundAddress.Check(url, allowLoopback));
            using var response = await (allowLoopback ? loopbackToo : publicOnly).SendAsync(request, HttpCompletionOption.ResponseHeadersRead, timeout.Token);
            if (!response.IsSuccessStatusCode)
            {
                return new(null, $"the server answered {(int)response.StatusCode}");
            }

            await using Stream from = await response.Content.ReadAsStreamAsync(timeout.Token);
            using var body = new MemoryStream();
            byte[] buffer = new byte[16 * 1024];
            for (int read; (read = await from.ReadAsync(buffer, timeout.Token)) > 0;)
            {
                if (body.Length + read > largest)
                {
                    return new(null, $"the answer is larger than {largest} bytes");
                }

                body.Write(buffer, 0, read);
            }

            return new(body.ToArray(), null);
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            return new(null, $"no answer within {Longest.TotalSeconds} s");
        }
        catch (Exception e) when (e is HttpRequestException or IOException or SlipwayException)
        {
            return new(null, e is SlipwayException s ? s.Sentence : e.InnerException?.Message ?? e.Message);
        }
    }

    public void Dispose()
    {
        publicOnly.Dispose();
        loopbackToo.Dispose();
    }

    private static HttpClient Client(bool allowLoopback) => new(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        UseProxy = false,
        UseCookies = false,
        AutomaticDecompression = DecompressionMethods.None,
        // A connection serves one delivery, so that every delivery checks the address again.
        PooledConnectionLifetime = TimeSpan.Zero,
        MaxResponseHeadersLength = 16,
        MaxResponseDrainSize = 0,
        ConnectCallback = (context, ct) => OutboundAddress.ConnectAsync(context.DnsEndPoint, allowLoopback, ct),
    });
}
