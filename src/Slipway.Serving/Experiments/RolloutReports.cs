using Slipway.Foundation;
using Slipway.Monitoring;

namespace Slipway.Serving;

/// <summary>What a rollout's statistics say. Reading them changes nothing; decisions are the rollout's own.</summary>
public sealed class RolloutReports
{
    // Traffic is measured over at most this long: older days say little about the next ones.
    private static readonly TimeSpan Measured = TimeSpan.FromDays(7);

    private readonly Rollouts _rollouts;
    private readonly Endpoints _endpoints;
    private readonly ExperimentObserver _observer;
    private readonly Labels _labels;
    private readonly TimeProvider _clock;

    internal RolloutReports(Rollouts rollouts, Endpoints endpoints, ExperimentObserver observer, Labels labels, TimeProvider clock) =>
        (_rollouts, _endpoints, _observer, _labels, _clock) = (rollouts, endpoints, observer, labels, clock);

    /// <summary>Measurements of the further metrics of a rollout's analyses, newest first.</summary>
    public Task<IReadOnlyList<Measurement>> MeasurementsAsync(string id, int limit, CancellationToken ct) => _observer.MeasurementsAsync(id, limit, ct);

    /// <summary>A look at the rollout's experiment with what was logged and labelled until now.</summary>
    /// <exception cref="SlipwayException">NotFound; PreconditionFailed if the rollout is no experiment.</exception>
    public async Task<ExperimentReport> ExperimentAsync(string id, CancellationToken ct)
    {
        var rollout = await _rollouts.GetAsync(id, ct);
        return rollout.Spec.Experiment is { } spec
            ? await _observer.LookAsync(rollout, spec, rollout.Status.Experiment ?? AnalysisMemory.Empty, ct)
            : throw new SlipwayException(ErrorCode.PreconditionFailed, $"rollout {id} has no experiment report", $"its kind is {rollout.Spec.Kind} and its plan asks no experiment", "ask for its analysis");
    }

    /// <summary>A look at the rollout's bandit: what its variants earned, and the next weights.</summary>
    /// <exception cref="SlipwayException">NotFound; PreconditionFailed if the rollout is no bandit.</exception>
    public async Task<BanditReport> BanditAsync(string id, CancellationToken ct)
    {
        var rollout = await _rollouts.GetAsync(id, ct);
        return rollout.Spec.Bandit is { } spec
            ? await _observer.WeighAsync(rollout, spec, ct)
            : throw new SlipwayException(ErrorCode.PreconditionFailed, $"rollout {id} has no bandit report", $"its kind is {rollout.Spec.Kind}", "ask for its analysis");
    }

    /// <summary>The pairs of primary and shadow answers until now.</summary>
    /// <param name="id">The rollout.</param>
    /// <param name="variant">Which variant's; null: the first candidate's.</param>
    /// <param name="ct">Cancels.</param>
    /// <exception cref="SlipwayException">NotFound; InvalidArgument for a variant that it does not have; PreconditionFailed if its plan copies no requests.</exception>
    public async Task<ShadowReport> ShadowAsync(string id, string? variant, CancellationToken ct)
    {
        var rollout = await _rollouts.GetAsync(id, ct);
        if (rollout.Spec.Steps.All(step => step.Kind != "mirror"))
        {
            throw new SlipwayException(ErrorCode.PreconditionFailed, $"rollout {id} has no shadow report", $"its kind is {rollout.Spec.Kind} and its plan copies no requests", "ask for its analysis");
        }

        if (variant is not null && rollout.Variants.All(arm => arm.Name != variant))
        {
            throw SlipwayException.Invalid($"rollout {id} has no such shadow", $"there is no variant '{variant}' ({string.Join(", ", rollout.Variants.Select(arm => arm.Name))})");
        }

        return await _observer.ShadowAsync(rollout, variant, ct);
    }

    /// <summary>How large and how long an experiment must be, at the endpoint's measured traffic.</summary>
    /// <exception cref="SlipwayException">InvalidArgument with every fault; NotFound without the endpoint.</exception>
    public async Task<ExperimentPlan> PlanAsync(PlanRequest request, CancellationToken ct)
    {
        if (ExperimentPlan.Faults(request) is { Count: > 0 } faults)
        {
            throw SlipwayException.Invalid("the experiment cannot be planned", string.Join("; ", faults), "correct the request");
        }

        if (request.UnitsPerDay is { } given)
        {
            return ExperimentPlan.Of(request, given, "as given");
        }

        if (request.Endpoint is not { } endpoint)
        {
            return ExperimentPlan.Of(request, null, "unknown: name an endpoint or the units a day");
        }

        await _endpoints.GetAsync(endpoint, ct);
        var now = _clock.GetUtcNow();
        var (first, last, predictions) = (now, now - Measured, 0L);
        var entities = new DistinctSketch();
        await foreach (var outcome in _labels.OutcomesAsync(endpoint, now - Measured, now, labels: false, ct))
        {
            var at = outcome.Prediction.At;
            (first, last, predictions) = (at < first ? at : first, at > last ? at : last, predictions + 1);
            entities.Add(outcome.Prediction.EntityKey ?? outcome.Prediction.Id);
        }

        // Less than an hour of traffic says nothing about a day.
        var span = now - first;
        if (predictions == 0 || span < TimeSpan.FromHours(1))
        {
            return ExperimentPlan.Of(request, null, $"unknown: {predictions} predictions of {endpoint} in {RolloutStep.Say(span < TimeSpan.Zero ? TimeSpan.Zero : span)}, at least an hour is needed");
        }

        var units = request.Unit == ExperimentUnit.Entity ? entities.Count : predictions;
        return ExperimentPlan.Of(request, units / span.TotalDays, FormattableString.Invariant($"{units:0} {(request.Unit == ExperimentUnit.Entity ? "entities" : "requests")} of {endpoint} in the last {RolloutStep.Say(span)}"));
    }
}
