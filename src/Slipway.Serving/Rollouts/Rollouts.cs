using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;
using Slipway.Serving.Routing;

namespace Slipway.Serving;

/// <summary>What a proposal says.</summary>
public sealed record ProposeRollout
{
    /// <summary>The endpoint whose stable version is to be replaced.</summary>
    public required string Endpoint { get; init; }

    /// <summary>The version that is to replace it: <c>flights/3</c> or <c>flights@challenger</c>; null: the first candidate of the plan's variants.</summary>
    public string? Candidate { get; init; }

    /// <summary>The kind, steps, guardrails and times; see <see cref="RolloutSpec.Canary"/>.</summary>
    public required RolloutSpec Spec { get; init; }

    /// <summary>The policy whose gate the candidate must have passed; null: the endpoint's policy, if it has one.</summary>
    public string? Policy { get; init; }

    /// <summary>Whether a missing endpoint is made with the candidate as its first version, once its gate is granted. Steps are skipped then: there is nothing to compare with.</summary>
    public bool CreateEndpoint { get; init; }
}

/// <summary>
/// Rollouts: how a model version replaces another one. Commands are compare-and-set: of two that race one wins and the other is refused with
/// Conflict and the present state. The steps themselves are taken by clocked work, which survives restarts.
/// </summary>
public sealed class Rollouts
{
    private readonly RolloutTransitions _transitions;
    private readonly RolloutObserver _observer;
    private readonly ExperimentObserver _experiments;
    private readonly Deployments _deployments;
    private readonly Routes _routes;
    private readonly Nodes _nodes;
    private readonly Models _models;
    private readonly Access _access;
    private readonly Wakeups _wakeups;
    private readonly TimeProvider _clock;

    internal Rollouts(RolloutTransitions transitions, RolloutObserver observer, ExperimentObserver experiments, Deployments deployments, Routes routes, Nodes nodes, Models models, Access access, Wakeups wakeups, TimeProvider clock) =>
        (_transitions, _observer, _experiments, _deployments, _routes, _nodes, _models, _access, _wakeups, _clock) = (transitions, observer, experiments, deployments, routes, nodes, models, access, wakeups, clock);

    /// <summary>
    /// Proposes a rollout. It starts by itself when the candidate's gate is granted (at once without a policy) unless the plan says otherwise, and
    /// waits while another rollout steers the endpoint. <paramref name="key"/>, here and below: what tells a repeated command from a new one.
    /// </summary>
    public async Task<Rollout> ProposeAsync(Actor actor, ProposeRollout request, CancellationToken ct, string? key = null)
    {
        var reference = request.Candidate ?? request.Spec.Variants.FirstOrDefault(variant => variant.Role == VariantRole.Candidate)?.ModelVersion;
        var command = Key(key, $"propose {request.Endpoint} {reference} {JsonSerializer.Serialize(request.Spec, CanonicalJson.Options)}");
        if (command is not null && await _transitions.DoneAsync(actor, command, ct) is { } done)
        {
            return await GetAsync(done, ct);
        }

        Demand(request.Spec, "cannot propose the rollout");
        if (string.IsNullOrWhiteSpace(reference) || !Endpoints.IsName(request.Endpoint))
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, "cannot propose the rollout", string.IsNullOrWhiteSpace(reference) ? "it names no candidate" : $"'{request.Endpoint}' is not a name of an endpoint", "name the endpoint and the candidate");
        }

        var spec = request.Spec.Planned();
        if (spec.Variants.Count > 0)
        {
            var variants = new List<RolloutVariant>();
            foreach (var variant in spec.Variants)
            {
                variants.Add(variant.Role == VariantRole.Baseline ? variant with { ModelVersion = "" } : variant with { ModelVersion = await NameAsync(variant.ModelVersion, ct) });
            }

            spec = spec with { Variants = variants };
            reference = variants.First(variant => variant.Role == VariantRole.Candidate).ModelVersion;
        }

        await DemandSourcesAsync(actor, spec, request.Endpoint, request.Endpoint, ct);
        if (request.CreateEndpoint)
        {
            // Whoever may not make endpoints may not make them by this way either.
            await _access.DemandAsync(actor, Permissions.EndpointCreate, new Subject("endpoint", request.Endpoint), ct);
        }

        var rollout = await _transitions.ProposeAsync(actor, request, spec, await NameAsync(reference, ct), command, ct);
        await _wakeups.WakeAsync(RolloutWork.WorkKind, rollout.Id);
        if (await SteeringAsync(rollout.Endpoint, ct) is { } steering)
        {
            // A running rollout may have to give way to it.
            await _wakeups.WakeAsync(RolloutWork.WorkKind, steering);
        }

        return rollout;
    }

    /// <summary>The rollout; NotFound if there is none.</summary>
    public async Task<Rollout> GetAsync(string id, CancellationToken ct) =>
        await _transitions.FindAsync(id, ct) ?? throw SlipwayException.NotFound("rollout", id, "slipway rollout list");

    /// <summary>Rollouts of an endpoint, or of all, newest first, at most 1,000.</summary>
    public Task<IReadOnlyList<Rollout>> ListAsync(string? endpoint, CancellationToken ct, int limit = 100) => _transitions.ListAsync(endpoint, limit, ct);

    /// <summary>What happened, oldest first, each with its cause.</summary>
    public Task<IReadOnlyList<RolloutEvent>> TimelineAsync(string id, CancellationToken ct) => _transitions.TimelineAsync(id, ct);

    /// <summary>Every node with what it serves of the rollout's endpoint: actual shares beside those that are set.</summary>
    public async Task<IReadOnlyList<NodeShares>> NodesAsync(string id, CancellationToken ct) => await _nodes.ListAsync((await GetAsync(id, ct)).Endpoint, id, ct);

    /// <summary>
    /// What all nodes counted of the rollout's endpoint since a moment, at most as far back as health looks, and whose counts are unknown. While it is open; nodes
    /// write down nothing of an endpoint that no rollout steers.
    /// </summary>
    public async Task<NodesHealth> HealthAsync(string id, DateTimeOffset since, CancellationToken ct)
    {
        var rollout = await GetAsync(id, ct);
        return await _nodes.HealthAsync(rollout.Endpoint, since, rollout.Spec.Leased.Duration, ct);
    }

    /// <summary>Starts a pending rollout by hand. Conflict if its gate is not granted; PreconditionFailed if the candidate does not take what stable takes and the plan does not allow it.</summary>
    public async Task<Rollout> StartAsync(Actor actor, string id, CancellationToken ct, string? key = null)
    {
        var pending = await GetAsync(id, ct);
        var gate = await _observer.GateAsync(pending, ct);
        if (pending.Status.State == RolloutState.Pending && gate is GateState.Granted or GateState.NotAsked && await _observer.UnfitAsync(pending, ct) is { } misfit)
        {
            throw new SlipwayException(ErrorCode.PreconditionFailed, $"cannot start rollout {id}", misfit, $"slipway rollout status {id}");
        }

        return await CommandAsync(actor, id, (rollout, now) => RolloutPlan.Start(rollout.Status, gate, now, rollout.Stable.Length == 0 && _routes.Find(rollout.Endpoint) is null), Key(key, $"start {id}"), ct);
    }

    /// <summary>Halts the steps; guardrails go on.</summary>
    public Task<Rollout> PauseAsync(Actor actor, string id, string reason, CancellationToken ct, string? key = null) =>
        CommandAsync(actor, id, (rollout, now) => RolloutPlan.Pause(rollout.Status, Said("paused", actor, reason), now), Key(key, $"pause {id}"), ct);

    /// <summary>Ends a manual pause. After a lost lease it also gives the nodes their lease, and with it the candidate its share, again.</summary>
    public async Task<Rollout> ResumeAsync(Actor actor, string id, CancellationToken ct, string? key = null)
    {
        if (await GetAsync(id, ct) is { Status.Pause: PauseReason.ControlPlane } waiting)
        {
            await _deployments.RenewLeaseAsync(waiting.Endpoint, id, _clock.NowMicros() + (waiting.Spec.Leased.Duration.Ticks / TimeSpan.TicksPerMicrosecond), ct);
        }

        return await CommandAsync(actor, id, (rollout, now) => RolloutPlan.Resume(rollout.Status, Said("resumed", actor, null), now), Key(key, $"resume {id}"), ct);
    }

    /// <summary>
    /// Ends the present pause; <paramref name="full"/> skips the remaining steps up to the next approve step. <paramref name="winner"/>: the variant that
    /// takes all traffic in the end, where there are several; it must be named when outcomes would have chosen it and have not. Conflict while the sample
    /// ratio of its experiment says that assignment is broken.
    /// </summary>
    public Task<Rollout> PromoteAsync(Actor actor, string id, bool full, CancellationToken ct, string? winner = null, string? key = null, string? reason = null) => CommandAsync(
        actor, id, (rollout, now) => Promote(rollout, full, winner, Said(winner is not null ? $"{winner} chosen" : full ? "promoted fully" : "promoted", actor, reason), now), Key(key, $"promote {id} {full} {winner}"), ct);

    /// <summary>Ends an approve step. Conflict for the person who proposed the rollout, and without the role that the step asks for.</summary>
    public async Task<Rollout> ApproveAsync(Actor actor, string id, string? comment, CancellationToken ct, string? key = null)
    {
        var roles = await _access.RolesOfAsync(actor, ct);
        return await CommandAsync(
            actor, id, (rollout, now) => RolloutPlan.Approve(rollout.Spec, rollout.Status, rollout.ProposedBy == actor.Principal, [.. roles], Said("approved", actor, comment), now), Key(key, $"approve {id}"), ct);
    }

    /// <summary>
    /// Tells a job step what became of its pipeline run. Idempotent; an answer that is not waited for any more changes nothing.
    /// </summary>
    /// <param name="actor">Who tells.</param>
    /// <param name="id">The rollout.</param>
    /// <param name="attempt">The attempt that asked.</param>
    /// <param name="step">The step's index.</param>
    /// <param name="succeeded">Whether the run succeeded.</param>
    /// <param name="why">In words, with the run.</param>
    /// <param name="ct">Cancels.</param>
    public Task<Rollout> AnswerJobAsync(Actor actor, string id, int attempt, int step, bool succeeded, string why, CancellationToken ct) =>
        CommandAsync(actor, id, (rollout, _) => RolloutPlan.Answer(rollout.Status, attempt, step, succeeded, why), null, ct);

    /// <summary>Tells an analysis the exit code of the job that it asked for. Idempotent; the first answer stays.</summary>
    /// <param name="id">The rollout.</param>
    /// <param name="metric">The metric's name.</param>
    /// <param name="pipeline">The pipeline that ran.</param>
    /// <param name="askedAt">When it was asked for, as the question says.</param>
    /// <param name="exitCode">The exit code; null: there is none.</param>
    /// <param name="why">In words, with the run.</param>
    /// <param name="ct">Cancels.</param>
    public async Task AnswerMetricAsync(string id, string metric, string pipeline, long askedAt, int? exitCode, string why, CancellationToken ct)
    {
        await _experiments.AnswerAsync(await GetAsync(id, ct), metric, pipeline, askedAt, exitCode, why, ct);
        await _wakeups.WakeAsync(RolloutWork.WorkKind, id);
    }

    /// <summary>
    /// Sends all traffic back to stable: this node at once, all nodes with one route revision. A second abort changes nothing. Conflict once the
    /// candidate is stable.
    /// </summary>
    public async Task<Rollout> AbortAsync(Actor actor, string id, string reason, CancellationToken ct, string? key = null)
    {
        // This node's traffic goes back before anything is read: on a busy machine the first answer of the database takes longer than the rest.
        foreach (var route in _routes.All)
        {
            route.Revert(id);
        }

        return await CommandAsync(actor, id, (present, now) => RolloutPlan.AbortByHand(present.Status, reason, now), Key(key, $"abort {id}"), ct);
    }

    /// <summary>Runs an aborted rollout again from its first step, with the same entities first.</summary>
    public Task<Rollout> RetryAsync(Actor actor, string id, CancellationToken ct, string? key = null) =>
        CommandAsync(actor, id, (rollout, now) => RolloutPlan.Retry(rollout.Status, Said("retried", actor, null), now), Key(key, $"retry {id}"), ct);

    /// <summary>
    /// Goes back to a version from before a finished rollout: the one that was stable, or <paramref name="to"/>. One that served within the rollback
    /// window and is still loaded serves again with one revision, without steps; any other gets a rollout of its own, which is returned. Conflict if the
    /// endpoint has moved on since.
    /// </summary>
    public async Task<Rollout> UndoAsync(Actor actor, string id, string? to, string? reason, CancellationToken ct, string? key = null)
    {
        var command = Key(key, $"undo {id} {to}");
        if (command is not null && await _transitions.DoneAsync(actor, command, ct) is { } done)
        {
            return await GetAsync(done, ct);
        }

        var rollout = await GetAsync(id, ct);
        var undo = await UndoOfAsync(rollout, to, ct);
        if (undo.Refusal is { } refusal)
        {
            throw new SlipwayException(ErrorCode.Conflict, refusal, next: $"slipway rollout status {id}");
        }

        if (undo.AtOnce)
        {
            return await CommandAsync(actor, id, (present, now) => RolloutPlan.Undo(present.Status, undo.Target, Said($"back to {undo.Target}", actor, reason), now), command, ct);
        }

        var spec = rollout.Spec.Kind is RolloutKind.Canary or RolloutKind.BlueGreen ? rollout.Spec with { Variants = [], InheritSalt = null } : RolloutSpec.Canary(rollout.Spec.Guardrails, 25, 100) with { AllowOtherInputs = rollout.Spec.AllowOtherInputs };
        var request = new ProposeRollout { Endpoint = rollout.Endpoint, Candidate = undo.Target, Policy = rollout.Policy, Spec = spec with { Reason = Said($"undo of rollout {id}", actor, reason) } };
        var again = await _transitions.ProposeAsync(actor, request, request.Spec, undo.Target, command, ct);
        await _wakeups.WakeAsync(RolloutWork.WorkKind, again.Id);
        return again;
    }

    /// <summary>
    /// Replaces the plan: any plan before it has started, afterwards only other durations of pauses that have not begun. The same plan changes nothing.
    /// </summary>
    public async Task<Rollout> EditAsync(Actor actor, string id, RolloutSpec spec, CancellationToken ct, string? key = null)
    {
        Demand(spec, $"cannot change the plan of rollout {id}");
        await DemandSourcesAsync(actor, spec, id, (await GetAsync(id, ct)).Endpoint, ct);
        var command = Key(key, $"edit {id} {JsonSerializer.Serialize(spec, CanonicalJson.Options)}");
        if (command is not null && await _transitions.DoneAsync(actor, command, ct) is { } done)
        {
            return await GetAsync(done, ct);
        }

        var rollout = await GetAsync(id, ct);
        var next = spec.Planned();
        if (RolloutPlan.Edit(rollout.Spec, rollout.Status, next) is { } refusal)
        {
            throw new SlipwayException(ErrorCode.Conflict, $"cannot change the plan of rollout {id}", refusal, $"slipway rollout status {id}");
        }

        if (JsonSerializer.Serialize(next, CanonicalJson.Options) == JsonSerializer.Serialize(rollout.Spec, CanonicalJson.Options))
        {
            return rollout;
        }

        var edited = await _transitions.EditAsync(actor, rollout, next, command, ct)
            ?? throw new SlipwayException(ErrorCode.Conflict, $"cannot change the plan of rollout {id}", "it moved on at the same moment", "read it again and repeat the change");
        await _wakeups.WakeAsync(RolloutWork.WorkKind, id);
        return edited;
    }

    /// <summary>Every command with whether <paramref name="actor"/> may give it now, why not, and what it would do.</summary>
    public async Task<IReadOnlyList<RolloutAction>> ActionsAsync(Actor actor, string id, CancellationToken ct)
    {
        var rollout = await GetAsync(id, ct);
        var now = _clock.NowMicros();
        var gate = rollout.Status.State == RolloutState.Pending ? await _observer.GateAsync(rollout, ct) : GateState.NotAsked;
        var roles = await _access.RolesOfAsync(actor, ct);
        var undo = await UndoOfAsync(rollout, null, ct);
        var actions = RolloutActions.Of(rollout, rollout.ProposedBy == actor.Principal, [.. roles], gate, undo, (full, winner) => Promote(rollout, full, winner, "promoted", now), now);
        var allowed = new List<RolloutAction>();
        foreach (var action in actions)
        {
            var right = action.Command switch { "abort" or "undo" => Permissions.DeploymentRollback, "approve" => Permissions.ApprovalGrant, _ => Permissions.DeploymentCreate };
            allowed.Add(action.Allowed && !await _access.AllowsAsync(actor, right, ct) ? action with { Allowed = false, Why = $"It needs the right {right}." } : action);
        }

        return allowed;
    }

    private static Ruling Promote(Rollout rollout, bool full, string? winner, string cause, long now) =>
        rollout.Findings?.Experiment is { Blocked: true } doubted && !rollout.Status.Ended
            ? new(null, $"cannot promote a rollout whose assignment is in doubt: {doubted.SampleRatio.Why}")
            : RolloutPlan.Promote(rollout.Spec, rollout.Status, full, winner, cause, now);

    private async Task<UndoFacts> UndoOfAsync(Rollout rollout, string? to, CancellationToken ct)
    {
        var target = to is null ? rollout.Stable : await NameAsync(to, ct);
        if (target.Length == 0)
        {
            return new("", false, "cannot undo the first version of an endpoint: there is none before it");
        }

        if (RolloutPlan.Undo(rollout.Status, target, "", _clock.NowMicros()) is { Refusal: { } refusal })
        {
            return new(target, false, refusal);
        }

        if (rollout.Status.UndoneTo == target)
        {
            return new(target, true, null);
        }

        var route = await _deployments.FindAsync(rollout.Endpoint, ct) ?? throw Deployments.Missing(rollout.Endpoint);
        if (route.Rollout is { } steering)
        {
            return new(target, false, $"cannot undo while rollout {steering} steers the endpoint; abort it first");
        }

        if (route.Stable.ModelVersion != rollout.Successor)
        {
            return new(target, false, $"cannot undo: the endpoint has moved on to {route.Stable.ModelVersion} since; undo the rollout that put it there");
        }

        if (route.Stable.ModelVersion == target)
        {
            return new(target, false, $"cannot undo to {target}: it serves already");
        }

        return new(target, await ServedWithinAsync(rollout, target, ct) && _observer.IsWarm(rollout.Endpoint, target), null);
    }

    /// <summary>Whether a version was stable at some moment of the rollback window.</summary>
    private async Task<bool> ServedWithinAsync(Rollout rollout, string target, CancellationToken ct)
    {
        var from = _clock.GetUtcNow() - rollout.Spec.RollbackWindow;
        var end = _clock.GetUtcNow();
        foreach (var revision in await _deployments.HistoryAsync(rollout.Endpoint, 1000, ct))
        {
            if (end < from)
            {
                return false;
            }

            if (revision.Spec.Stable.ModelVersion == target)
            {
                return true;
            }

            end = revision.At;
        }

        return false;
    }

    private async Task<string?> SteeringAsync(string endpoint, CancellationToken ct) => (await _deployments.FindAsync(endpoint, ct))?.Rollout;

    private async Task<string> NameAsync(string reference, CancellationToken ct)
    {
        var version = await _models.ResolveAsync(reference, ct);
        return $"{version.Name}/{version.Version}";
    }

    // Whoever may not run pipelines or read predictions may not do so by way of a plan either.
    private async Task DemandSourcesAsync(Actor actor, RolloutSpec spec, string about, string endpoint, CancellationToken ct)
    {
        var analyses = spec.Planned().Steps.Select(step => step.Analysis).Append(spec.Guardrails).Append(spec.BakeAnalysis).OfType<AnalysisSpec>();
        var providers = analyses.SelectMany(analysis => analysis.Metrics).Select(metric => metric.Provider).ToHashSet();
        if (spec.Steps.Any(step => step.Kind == "job") || providers.Contains(MetricProvider.Job))
        {
            await _access.DemandAsync(actor, Permissions.PipelineRun, new Subject("rollout", about), ct);
        }

        if (providers.Contains(MetricProvider.Sql))
        {
            await _access.DemandAsync(actor, Permissions.PredictionLogRead, new Subject("endpoint", endpoint), ct);
        }
    }

    private static void Demand(RolloutSpec spec, string what)
    {
        if (spec.Faults() is { Count: > 0 } faults)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, what, string.Join("; ", faults), "correct the plan");
        }
    }

    // A digest, because a plan in the command would be too long a key.
    private static CommandKey? Key(string? key, string command) => key switch
    {
        null => null,
        { Length: > 0 and <= 200 } => new(key, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(command)))),
        _ => throw new SlipwayException(ErrorCode.InvalidArgument, "the idempotency key is not valid", $"it has {key.Length} characters", "send 1 to 200 characters"),
    };

    private async Task<Rollout> CommandAsync(Actor actor, string id, Func<Rollout, long, Ruling> judge, CommandKey? key, CancellationToken ct)
    {
        const int Attempts = 10;
        for (var attempt = 0; attempt < Attempts; attempt++)
        {
            if (key is not null && await _transitions.DoneAsync(actor, key, ct) is { } done)
            {
                return await GetAsync(done, ct);
            }

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

            if (await _transitions.CommitAsync(actor, rollout, transition, ct, key) is { } committed)
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
