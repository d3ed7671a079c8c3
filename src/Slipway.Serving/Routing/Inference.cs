using System.Runtime.CompilerServices;
using Slipway.Foundation;
using Slipway.Monitoring;
using Slipway.Serving.Runtimes;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Routing;

/// <summary>
/// The inference path: one read of the route, one hash, one run, one append to the prediction log. It takes no lock of its own, asks no grain
/// and no database, and answers refusals as values.
/// </summary>
internal sealed class Inference(Routes routes, Predictions predictions, Health health, TimeProvider clock)
{
    private const int MaxIdLength = 256;

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
        var decision = table.Decide(request, request.EntityKey ?? id);
        return decision.Index < 0 ? new(Unserved(request, table)) : RunAsync(route, table, decision, request, id, started, ct);
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<InferOutcome> RunAsync(Route route, RouteTable table, Decision decision, InferRequest request, string id, long started, CancellationToken ct)
    {
        var index = decision.Index;
        var variant = table.Variants[index];
        if (!variant.Model.TryEnter())
        {
            // The version left between reading the table and using it, so a newer table is there (or the endpoint is gone).
            return route.Table is not { } newer || newer == table ? InferOutcome.Refuse(ErrorCode.Unavailable, $"endpoint '{request.Endpoint}' is being removed")
                : newer.Decide(request, request.EntityKey ?? id) is { Index: >= 0 } again ? await RunAsync(route, newer, again, request, id, started, ct)
                : Unserved(request, newer);
        }

        RunResult result;
        try
        {
            var deadline = request.TimeoutMicros > 0 ? started + Ticks(request.TimeoutMicros) : long.MaxValue;
            result = await variant.Lane.RunAsync(request, deadline, ct);
        }
        finally
        {
            variant.Model.Exit();
        }

        var now = clock.GetUtcNow();
        var elapsed = (long)clock.GetElapsedTime(started).TotalNanoseconds;
        if (result.Ok)
        {
            variant.Counters.Answered(now.ToUnixTimeMilliseconds(), elapsed, Math.Max(0, elapsed - result.Times.Input - result.Times.Infer - result.Times.Output), result.Times, result.Rows);
        }
        else
        {
            variant.Counters.Failed(result.Code ?? ErrorCode.Internal, result.Refused, now.ToUnixTimeMilliseconds(), elapsed);
            if (result.Refused)
            {
                return InferOutcome.Refuse(result.Code ?? ErrorCode.InvalidArgument, result.Message ?? "");
            }
        }

        var at = request.EventMicros != 0 ? request.EventMicros : Time.ToMicros(now);
        if (index > 0)
        {
            // The fuse needs seconds of a clock that only grows.
            var second = started / clock.TimestampFrequency;
            if (result.Ok)
            {
                variant.Fuse.Succeeded(second);
            }
            else if (decision.Reason is not (DecisionReason.Version or DecisionReason.Preview))
            {
                health.Record(request.Endpoint, variant.Name, elapsed / 1000, ok: false);
                variant.Log.Expose(request, id, decision.Reason, ok: false, elapsed / 1000, at, always: true);
                return await OnStableAsync(route, table, variant, request, id, started, second, ct);
            }
        }

        health.Record(request.Endpoint, variant.Name, elapsed / 1000, result.Ok, result.Ok ? table.Answers?.Look(request.Outputs, result.ComputeNanos) : null);
        var outcome = new InferOutcome(result.Code, result.Message, variant.ModelName, variant.Version, variant.Name, id, elapsed / 1000) { Revision = table.Spec.Revision, Reason = decision.Reason };
        if (variant.Log.Wants(id))
        {
            variant.Log.Append(request, id, decision.Reason, result.Ok, elapsed / 1000, at);
            if (variant.Log.Sync)
            {
                await predictions.FlushAsync(ct);
            }
        }
        else
        {
            variant.Log.Expose(request, id, decision.Reason, result.Ok, elapsed / 1000, at, always: false);
        }

        if (table.Shadows.Length > 0 && decision.Reason is not (DecisionReason.Version or DecisionReason.Preview))
        {
            var copy = request.Mirror();
            copy.Take(table.Shadows, variant, id, result.Ok, elapsed / 1000, at);
            variant.Log.Keep(request, copy);
        }

        return result.Ok && Choose(request) is { } unknown ? outcome with { Code = ErrorCode.InvalidArgument, Message = unknown } : outcome;
    }

    /// <summary>
    /// The candidate failed: stable answers within the same request. If stable fails too, the request is to blame and not the candidate.
    /// </summary>
    private async ValueTask<InferOutcome> OnStableAsync(
        Route route, RouteTable table, LiveVariant failed, InferRequest request, string id, long started, long second, CancellationToken ct)
    {
        var outcome = await RunAsync(route, table, new(0, DecisionReason.Reverted), request, id, started, ct);
        if (outcome.Ok && failed.Fuse.Failed(second) is { } cause)
        {
            route.Blow(table, failed.Name == "candidate" ? cause : $"{cause} ({failed.Name}, {failed.ModelVersion})");
        }

        return outcome;
    }

    private long Ticks(long micros) => clock.TimestampFrequency == 1_000_000_000 ? micros * 1000 : (long)(micros * (clock.TimestampFrequency / 1e6));

    private static InferOutcome Unserved(InferRequest request, RouteTable table) => InferOutcome.Refuse(
        ErrorCode.NotFound,
        request.Version is not null ? $"endpoint '{request.Endpoint}' does not serve version '{request.Version}'; it serves {string.Join(", ", table.Variants.Select(variant => variant.Version))}"
        : table.Spec.Preview is null ? $"endpoint '{request.Endpoint}' has no preview now; a blue-green rollout gives it one"
        : $"the preview of endpoint '{request.Endpoint}' was taken out of this node's traffic");

    /// <summary>Leaves only the requested outputs, in the requested order; returns what was wrong with the choice.</summary>
    internal static string? Choose(InferRequest request)
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
}
