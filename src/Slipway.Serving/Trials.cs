using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving.Runtimes;
using Slipway.Serving.Tensors;

namespace Slipway.Serving;

/// <summary>
/// One request through a model version that no endpoint need serve: does it answer, and with what? Nobody has vouched for such a version yet, so
/// it always runs in a child process of its own, which ends with the trial; what is served neither waits for it nor is harmed by it. Trials of
/// a node take turns, and nothing of them is logged as a prediction.
/// </summary>
public sealed class Trials : IDisposable
{
    private static readonly RuntimeSettings Apart = new() { Kind = RuntimeKind.Process, Concurrency = 1 };

    private readonly LoadedModels _loaded;
    private readonly TimeProvider _clock;
    private readonly SemaphoreSlim _turn = new(1, 1);

    internal Trials(LoadedModels loaded, TimeProvider clock) => (_loaded, _clock) = (loaded, clock);

    /// <summary>Loads the version when it is the trial's turn. Throws <see cref="SlipwayException"/> if it cannot be served.</summary>
    public async Task<Trial> BeginAsync(ModelVersion version, CancellationToken ct)
    {
        await _turn.WaitAsync(ct);
        try
        {
            var started = _clock.GetTimestamp();
            var name = $"{version.Name}/{version.Version}";
            var model = await _loaded.PinAsync(name, Apart, ct);
            return new Trial(name, model, _clock, _clock.GetElapsedTime(started), End);
        }
        catch
        {
            _turn.Release();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _turn.Dispose();

    private void End(LoadedModel model)
    {
        try
        {
            _loaded.Forget(model);
        }
        finally
        {
            _turn.Release();
        }
    }
}

/// <summary>A loaded version that takes requests until it is disposed.</summary>
public sealed class Trial : IDisposable
{
    private readonly LoadedModel _model;
    private readonly TimeProvider _clock;
    private readonly Action<LoadedModel> _end;

    internal Trial(string modelVersion, LoadedModel model, TimeProvider clock, TimeSpan load, Action<LoadedModel> end) =>
        (ModelVersion, _model, _clock, LoadTime, _end) = (modelVersion, model, clock, load, end);

    /// <summary>The version, as <c>flights/7</c>.</summary>
    public string ModelVersion { get; }

    /// <summary>What it takes and gives.</summary>
    public ModelSignature Signature => _model.Signature;

    /// <summary>How long it took to start the process and load the model.</summary>
    public TimeSpan LoadTime { get; }

    /// <summary>Answers a request into its outputs, in the order it asks for them.</summary>
    /// <returns>How long the model took, the way to its process and back included.</returns>
    /// <exception cref="SlipwayException">InvalidArgument, naming what came and what was expected, if the request does not fit the signature; else why the model failed.</exception>
    public async Task<TimeSpan> InferAsync(InferRequest request, CancellationToken ct)
    {
        var started = _clock.GetTimestamp();
        var result = _model.Fit(request) ?? await _model.RunAsync(request, ct);
        var took = _clock.GetElapsedTime(started);
        if ((result.Ok ? Routing.Inference.Choose(request) : result.Message) is not { } why)
        {
            return took;
        }

        var code = result.Code ?? ErrorCode.InvalidArgument;
        throw new SlipwayException(code, $"{ModelVersion} did not answer", why, code == ErrorCode.InvalidArgument ? $"slipway version show {ModelVersion}" : null);
    }

    /// <inheritdoc/>
    public void Dispose() => _end(_model);
}
