using System.Diagnostics;
using Slipway.Monitoring;
using Slipway.Serving.Routing;
using Slipway.Serving.Tensors;

namespace Slipway.Serving;

/// <summary>Spans of inferences, each with the route's decision. Where nobody listens they cost one read of a field.</summary>
public static class Traces
{
    /// <summary>The name of the activity source.</summary>
    public const string SourceName = "slipway.serving";

    private static readonly ActivitySource Source = new(SourceName);

    /// <summary>Whether spans are wanted at all.</summary>
    public static bool Wanted => Source.HasListeners();

    internal static async ValueTask<InferOutcome> InferAsync(Inference inference, Routes routes, InferRequest request, CancellationToken ct)
    {
        // The caller's W3C context is the parent, unless the host made a span for it already.
        var parent = Activity.Current is null && ActivityContext.TryParse(request.TraceParent, null, isRemote: true, out var remote) ? remote : Activity.Current?.Context ?? default;
        using var span = Source.StartActivity("infer", ActivityKind.Internal, parent);
        var outcome = await inference.InferAsync(request, ct);
        if (span is { IsAllDataRequested: true })
        {
            span.DisplayName = $"infer {request.Endpoint}";
            span.SetTag("slipway.endpoint", request.Endpoint);
            if (outcome.Variant.Length > 0)
            {
                span.SetTag("slipway.variant", outcome.Variant);
                span.SetTag("slipway.model", outcome.ModelName);
                span.SetTag("slipway.model_version", outcome.ModelVersion);
                span.SetTag("slipway.prediction_id", outcome.PredictionId);
                span.SetTag("slipway.route_revision", outcome.Revision);
                span.SetTag("slipway.reason", outcome.Reason.ToString().ToLowerInvariant());
                // A version that was asked for by its number, or a rule, is not the slot's decision.
                span.SetTag("slipway.slot", outcome.Reason == DecisionReason.Slot ? routes.Find(request.Endpoint)?.Table?.SlotOf(request.EntityKey ?? outcome.PredictionId) : null);
            }

            if (outcome.Code is { } code)
            {
                span.SetTag("error.type", code.ToString());
                span.SetStatus(ActivityStatusCode.Error, outcome.Message);
            }
        }

        return outcome;
    }
}
