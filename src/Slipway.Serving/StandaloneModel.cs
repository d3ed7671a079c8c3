using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving.Batching;
using Slipway.Serving.Routing;
using Slipway.Serving.Runtimes;
using Slipway.Serving.Tensors;

namespace Slipway.Serving;

/// <summary>One ONNX file served without endpoints, rows or a log: what a child process of <see cref="RuntimeKind.Process"/> runs.</summary>
public sealed class StandaloneModel : IDisposable
{
    private readonly LoadedModel _model;
    private readonly Scheduler _scheduler;
    private readonly Lane _lane;
    private readonly TimeProvider _clock;

    private StandaloneModel(LoadedModel model, TimeProvider clock, ILoggerFactory logs)
    {
        var options = new ServingOptions();
        (_model, _clock, _scheduler) = (model, clock, new Scheduler(options, clock, logs.CreateLogger<Scheduler>()));
        _lane = new Lane(model, _scheduler, new Counters("model", "model/1"), new(1, TimeSpan.Zero, 1024, TimeSpan.FromMinutes(10)), options.InlineMicros);
    }

    /// <summary>What the model takes and gives.</summary>
    public ModelSignature Signature => _model.Signature;

    /// <summary>Loads, probes and warms up a model. Throws <see cref="SlipwayException"/> if it cannot be served.</summary>
    public static StandaloneModel Load(string path, TimeProvider clock, ILoggerFactory logs) => new(new LoadedModel(OnnxRuntime.Load(path)), clock, logs);

    /// <summary>Answers an inference, as <see cref="Endpoints.InferAsync"/> does.</summary>
    public async ValueTask<InferOutcome> InferAsync(InferRequest request, CancellationToken ct)
    {
        var started = _clock.GetTimestamp();
        var deadline = request.TimeoutMicros > 0 ? started + (long)(request.TimeoutMicros * (_clock.TimestampFrequency / 1e6)) : long.MaxValue;
        var result = await _lane.RunAsync(request, deadline, ct);
        var outcome = new InferOutcome(result.Code, result.Message, "model", "1", "", request.Id ?? "", (long)_clock.GetElapsedTime(started).TotalMicroseconds);
        return result.Ok && Inference.Choose(request) is { } unknown ? outcome with { Code = ErrorCode.InvalidArgument, Message = unknown } : outcome;
    }

    /// <summary>Frees the model.</summary>
    public void Dispose()
    {
        _scheduler.Dispose();
        _model.Dispose();
    }
}
