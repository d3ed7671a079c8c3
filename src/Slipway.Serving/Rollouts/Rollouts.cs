using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving.Routing;

namespace Slipway.Serving;

/// <summary>What a proposal says.</summary>
public sealed record ProposeRollout
{
    /// <summary>The endpoint whose stable version is to be replaced.</summary>
    public required string Endpoint { get; init; }

    /// <summary>The version that is to replace it: <c>flights/3</c> or <c>flights@challenger</c>.</summary>
    public required string Candidate { get; init; }

    /// <summary>The steps, guardrails and times; see <see cref="RolloutSpec.Canary"/>.</summary>
    public required RolloutSpec Spec { get; init; }

    /// <summary>The policy whose gate the candidate must have passed; null: the endpoint's policy, if it has one.</summary>
    public string? Policy { get; init; }
}

/// <summary>
/// Rollouts: how a model version replaces another one. Commands are compare-and-set: of two that race one wins and the other is refused with
/// Conflict and the present state. The steps themselves are taken by clocked work, which survives restarts.
/// </summary>
public sealed class Rollouts
{
    private readonly RolloutTransitions _transitions;
    private readonly RolloutObserver _observer;
    private readonly Routes _routes;
    private readonly Models _models;
    private readonly Wakeups _wakeups;
    private readonly TimeProvider _clock;

    internal Rollouts(RolloutTransitions transitions, RolloutObserver observer, Routes routes, Models models, Wakeups wakeups, TimeProvider clock) =>
        (_transitions, _observer, _routes, _models, _wakeups, _clock) = (transitions, observer, routes, models, wakeups, clock);

    /// <summary>
    /// Proposes a rollout. It starts by itself when the candidate's gate is granted (at once without a policy) unless the plan says otherwise, and
    /// waits while another rollout steers the endpoint.
    /// </summary>
    public async Task<Rollout> ProposeAsync(Actor actor, ProposeRollout request, CancellationToken ct)
    {
        if (request.Spec.Faults() is { Count: > 0 } faults)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, "cannot propose the rollout", string.Join("; ", faults), "correct the plan");
        }

        var version = await _models.ResolveAsync(request.Candidate, ct);
        var rollout = await _transitions.ProposeAsync(actor, request, $"{version.Name}/{version.Version}", ct);
        await _wakeups.WakeAsync(RolloutWork.WorkKind, rollout.Id);
        return rollout;
    }

    /// <summary>The rollout; NotFound if there is none.</summary>
    public async Task<Rollout> GetAsync(string id, CancellationToken ct) =>
        await _transitions.FindAsync(id, ct) ?? throw SlipwayException.NotFound("rollout", id, "slipway rollout list");

    /// <summary>Rollouts of an endpoint, or of all, newest first, at most 1,000.</summary>
    public Task<IReadOnlyList<Rollout>> ListAsync(string? endpoint, CancellationToken ct, int limit = 100) => _transitions.ListAsync(endpoint, limit, ct);

    /// <summary>What happened, oldest first, each with its cause.</summary>
    public Task<IReadOnlyList<RolloutEvent>> TimelineAsync(string id, CancellationToken ct) => _transitions.TimelineAsync(id, ct);

    /// <summary>Starts a pending rollout by hand. Conflict if its gate is not granted.</summary>
    public async Task<Rollout> StartAsync(Actor actor, string id, CancellationToken ct)
    {
        var gate = await _observer.GateAsync(await GetAsync(id, ct), ct);
        return await CommandAsync(actor, id, (rollout, now) => RolloutPlan.Start(rollout.Status, gate, now), ct);
    }

    /// <summary>Halts the steps; guardrails go on.</summary>
    public Task<Rollout> PauseAsync(Actor actor, string id, string reason, CancellationToken ct) =>
        CommandAsync(actor, id, (rollout, now) => RolloutPlan.Pause(rollout.Status, Said("paused", actor, reason), now), ct);

    /// <summary>Ends a manual pause.</summary>
    public Task<Rollout> ResumeAsync(Actor actor, string id, CancellationToken ct) =>
        CommandAsync(actor, id, (rollout, now) => RolloutPlan.Resume(rollout.Status, Said("resumed", actor, null), now), ct);

    /// <summary>
    /// Ends the present pause; <paramref name="full"/> skips the remaining steps up to the next approve step. An approve step needs another person
    /// than the one who proposed the rollout.
    /// </summary>
    public Task<Rollout> PromoteAsync(Actor actor, string id, bool full, CancellationToken ct) => CommandAsync(
        actor, id,
        (rollout, now) => RolloutPlan.Promote(rollout.Spec, rollout.Status, full, rollout.ProposedBy == actor.Principal, Said(full ? "promoted fully" : "promoted", actor, null), now),
        ct);

    /// <summary>
    /// Sends all traffic back to stable: this node at once, all nodes with one route revision. A second abort changes nothing. Conflict once the
    /// candidate is stable.
    /// </summary>
    public async Task<Rollout> AbortAsync(Actor actor, string id, string reason, CancellationToken ct)
    {
        var rollout = await GetAsync(id, ct);
        if (!rollout.Status.Ended)
        {
            _routes.Find(rollout.Endpoint)?.Revert(id);
        }

        return await CommandAsync(actor, id, (present, now) => RolloutPlan.AbortByHand(present.Status, reason, now), ct);
    }

    /// <summary>Runs an aborted rollout again from its first step, with the same entities first.</summary>
    public Task<Rollout> RetryAsync(Actor actor, string id, CancellationToken ct) =>
        CommandAsync(actor, id, (rollout, now) => RolloutPlan.Retry(rollout.Status, Said("retried", actor, null), now), ct);

    private async Task<Rollout> CommandAsync(Actor actor, string id, Func<Rollout, long, Ruling> judge, CancellationToken ct)
    {
        const int Attempts = 10;
        for (var attempt = 0; attempt < Attempts; attempt++)
        {
            var rollout = await GetAsync(id, ct);
            var ruling = judge(rollout, _clock.NowMicros());
            if (ruling.Refusal is { } refusal)
            {
                throw new SlipwayException(ErrorCode.Conflict, refusal, next: $"slipway rollout status {id}");
            }

            if (ruling.Transition is not { } transition)
            {
                return rollout;
            }

            if (await _transitions.CommitAsync(actor, rollout, transition, ct) is { } committed)
            {
                if (committed.Route is { } route)
                {
                    await _routes.PublishAsync(route, ct);
                }

                await _wakeups.WakeAsync(RolloutWork.WorkKind, id);
                return committed.Rollout;
            }
        }

        throw new SlipwayException(
            ErrorCode.Conflict, "the rollout could not be changed", $"{Attempts} other changes were faster, or another rollout steers the endpoint", $"slipway rollout status {id}");
    }

    private static string Said(string what, Actor actor, string? reason) => string.IsNullOrWhiteSpace(reason) ? $"{what} by {actor}" : $"{what} by {actor}: {reason}";
}
