using Slipway.Foundation;
using Slipway.Monitoring;
using Slipway.Serving.Runtimes;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Routing;

/// <summary>
/// The inference path: one read of the route, one hash, one run, one append to the prediction log. It takes no lock of its own, asks no grain
/// and no database, and answers refusals as values.
/// </summary>
internal sealed class Inference(Routes routes, Predictions predictions, Health health, ServingOptions options, TimeProvider clock) : IDisposable
{
    private const int MaxIdLength = 256;

    // Slow models share the cores; each waiting request costs memory, so their number is bounded as well.
    private readonly SemaphoreSlim _cores = new(Environment.ProcessorCount, Environment.ProcessorCount);
    private int _waiting;

    public ValueTask<InferOutcome> InferAsync(InferRequest request, CancellationToken ct)
    {
        if (routes.Find(request.Endpoint) is not { } route)
        {
            return new(InferOutcome.Refuse(ErrorCode.NotFound, $"there is no endpoint '{request.Endpoint}'"));
        }

        if (route.Table is not { } table)
        {
            return new(InferOutcome.Refuse(ErrorCode.Unavailable, $"endpoint '{request.Endpoint}' is not ready: {route.NotReady}"));
        }

        if (request.Id is { Length: > MaxIdLength } || request.EntityKey is { Length: > 4 * MaxIdLength })
        {
            return new(InferOutcome.Refuse(ErrorCode.InvalidArgument, $"the id may have {MaxIdLength} characters and the entity key {4 * MaxIdLength}"));
        }

        var id = request.Id is { Length: > 0 } given ? given : Ids.New();
        var started = clock.GetTimestamp();
        var index = request.Version is { } version ? table.IndexOf(version) : table.Pick(request.EntityKey ?? id);
        if (index < 0)
        {
            return new(InferOutcome.Refuse(
                ErrorCode.NotFound, $"endpoint '{request.Endpoint}' does not serve version '{request.Version}'; it serves {string.Join(", ", table.Variants.Select(variant => variant.Version))}"));
        }

        return table.Variants[index].Runtime.CallMicros <= options.InlineMicros
            ? new(Run(route, table, index, request, id, started))
            : QueueAsync(route, table, index, request, id, started, ct);
    }

    public void Dispose() => _cores.Dispose();

    private async ValueTask<InferOutcome> QueueAsync(Route route, RouteTable table, int index, InferRequest request, string id, long started, CancellationToken ct)
    {
        if (Interlocked.Increment(ref _waiting) > options.MaxWaiting)
        {
            Interlocked.Decrement(ref _waiting);
            return InferOutcome.Refuse(ErrorCode.ResourceExhausted, $"{options.MaxWaiting} requests wait already; try again later");
        }

        try
        {
            await _cores.WaitAsync(ct);
        }
        catch (OperationCanceledException)
        {
            return InferOutcome.Refuse(ErrorCode.Cancelled, "the caller went away while the request waited");
        }
        finally
        {
            Interlocked.Decrement(ref _waiting);
        }

        try
        {
            return Run(route, table, index, request, id, started);
        }
        finally
        {
            _cores.Release();
        }
    }

    private InferOutcome Run(Route route, RouteTable table, int index, InferRequest request, string id, long started)
    {
        var variant = table.Variants[index];
        if (!variant.Runtime.TryEnter())
        {
            // The version left between reading the table and using it, so a newer table is there (or the endpoint is gone).
            return route.Table is { } newer && newer != table && NewIndex(newer, request, id) is var at and >= 0
                ? Run(route, newer, at, request, id, started)
                : InferOutcome.Refuse(ErrorCode.Unavailable, $"endpoint '{request.Endpoint}' is being removed");
        }

        RunResult result;
        try
        {
            result = variant.Runtime.Run(request);
        }
        finally
        {
            variant.Runtime.Exit();
        }

        var elapsed = (long)clock.GetElapsedTime(started).TotalNanoseconds;
        var now = clock.GetUtcNow().ToUnixTimeMilliseconds();
        if (result.Ok)
        {
            variant.Counters.Ran(result.Rows, result.Times);
            variant.Counters.Answered(now, elapsed, Math.Max(0, elapsed - result.Times.Input - result.Times.Infer - result.Times.Output), result.Times, result.Rows);
        }
        else
        {
            variant.Counters.Failed(result.Code ?? ErrorCode.Internal, result.Refused, now, elapsed);
        }

        if (result.Refused)
        {
            return InferOutcome.Refuse(result.Code ?? ErrorCode.InvalidArgument, result.Message ?? "");
        }

        var latency = elapsed / 1000;
        if (index > 0)
        {
            // The fuse needs seconds of a clock that only grows.
            var second = started / clock.TimestampFrequency;
            if (result.Ok)
            {
                table.Fuse.Succeeded(second);
            }
            else if (request.Version is null)
            {
                health.Record(request.Endpoint, variant.Name, latency, ok: false);
                return OnStable(route, table, request, id, started, second);
            }
        }

        health.Record(request.Endpoint, variant.Name, latency, result.Ok);
        return Finish(table, variant, request, id, result, latency);
    }

    /// <summary>
    /// The candidate failed: stable answers within the same request. If stable fails too, the request is to blame and not the candidate.
    /// </summary>
    private InferOutcome OnStable(Route route, RouteTable table, InferRequest request, string id, long started, long second)
    {
        var outcome = Run(route, table, 0, request, id, started);
        if (outcome.Ok && table.Fuse.Failed(second) is { } cause)
        {
            route.Blow(table, cause);
        }

        return outcome;
    }

    private static int NewIndex(RouteTable table, InferRequest request, string id) =>
        request.Version is { } version ? table.IndexOf(version) : table.Pick(request.EntityKey ?? id);

    private InferOutcome Finish(RouteTable table, LiveVariant variant, InferRequest request, string id, RunResult result, long latency)
    {
        var outcome = new InferOutcome(result.Code, result.Message, variant.Model, variant.Version, variant.Name, id, latency);
        if (table.Spec.LogPredictions)
        {
            Log(variant, request, id, result.Ok, latency);
        }

        return result.Ok && Choose(request) is { } unknown ? outcome with { Code = ErrorCode.InvalidArgument, Message = unknown } : outcome;
    }

    /// <summary>Leaves only the requested outputs, in the requested order; returns what was wrong with the choice.</summary>
    private static string? Choose(InferRequest request)
    {
        var chosen = request.RequestedOutputs;
        if (chosen.Count == 0)
        {
            for (var i = 0; i < request.Outputs.Count; i++)
            {
                request.Outputs[i].Binary = request.BinaryOutputs;
            }

            return null;
        }

        Span<int> order = chosen.Count <= 32 ? stackalloc int[32] : new int[chosen.Count];
        order = order[..chosen.Count];
        for (var i = 0; i < chosen.Count; i++)
        {
            var at = -1;
            for (var j = 0; j < request.Outputs.Count && at < 0; j++)
            {
                at = request.Outputs[j].Name == chosen[i].Name ? j : -1;
            }

            if (at < 0)
            {
                return $"the model has no output '{chosen[i].Name}'";
            }

            if (order[..i].Contains(at))
            {
                return $"output '{chosen[i].Name}' is requested twice";
            }

            order[i] = at;
            request.Outputs[at].Binary = chosen[i].Binary ?? request.BinaryOutputs;
        }

        request.Outputs.Arrange(order);
        return null;
    }

    /// <summary>
    /// Appends one record a row: the numbers of the inputs and of the outputs in model order, each narrowed to a float. Rows of a
    /// batch have the id followed by a colon and the row. The log never blocks; what it drops it counts.
    /// </summary>
    private void Log(LiveVariant variant, InferRequest request, string id, bool ok, long latency)
    {
        var rows = Flat.Rows(request.Inputs);
        if (ok && rows != Flat.Rows(request.Outputs))
        {
            rows = 1;
        }

        var features = Flat.Width(request.Inputs, rows) is var wide && wide <= options.MaxLoggedFeatures ? (int)wide : 0;
        var outputs = ok && Flat.Width(request.Outputs, rows) is var width && width <= options.MaxLoggedFeatures ? (int)width : 0;
        if (request.FeatureScratch.Length < features)
        {
            request.FeatureScratch = new float[features];
        }

        if (request.OutputScratch.Length < outputs)
        {
            request.OutputScratch = new float[outputs];
        }

        var at = request.EventMicros != 0 ? request.EventMicros : clock.NowMicros();
        for (long row = 0; row < Math.Min(rows, options.MaxLoggedRows); row++)
        {
            if (features > 0)
            {
                Flat.Row(request.Inputs, row, rows, request.FeatureScratch);
            }

            if (outputs > 0)
            {
                Flat.Row(request.Outputs, row, rows, request.OutputScratch);
            }

            predictions.Append(new PredictionRecord(
                rows == 1 ? id : $"{id}:{row}", request.Endpoint, variant.Name, variant.ModelVersion, request.EntityKey, at, latency,
                request.FeatureScratch.AsMemory(0, features), request.OutputScratch.AsMemory(0, outputs), ok ? 200 : 500));
        }
    }
}
