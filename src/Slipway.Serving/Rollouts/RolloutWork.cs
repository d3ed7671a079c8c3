using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Monitoring;
using Slipway.Registry;
using Slipway.Serving.Routing;
using Slipway.Serving.Runtimes;

namespace Slipway.Serving;

/// <summary>Looks at everything a rollout's next decision depends on.</summary>
internal sealed class RolloutObserver(RolloutTransitions transitions, Gates gates, Health health, LoadedModels loaded, Routes routes, Labels labels, TimeProvider clock)
{
    // One look reads at most this many labelled predictions of each variant, the newest.
    private const int MaxLabelled = 50_000;

    public async Task<Observation> ObserveAsync(Rollout rollout, CancellationToken ct)
    {
        var (spec, status) = (rollout.Spec, rollout.Status);
        var now = clock.NowMicros();
        if (status.State == RolloutState.Pending)
        {
            var gate = await transitions.MustQueueAsync(rollout, ct) ? GateState.Waiting : await GateAsync(rollout, ct);
            var ready = gate is GateState.Granted or GateState.NotAsked && spec.AutoStart;
            return new(now, gate, ready ? await WarmAsync(rollout.Endpoint, rollout.Candidate, ct) : null, null, null);
        }

        if (status.ExposedSince == 0 || status.Ended || status.State == RolloutState.Aborting)
        {
            return new(now, GateState.NotAsked, null, null, Unexposed(spec, status));
        }

        var since = Time.FromMicros(status.ExposedSince);
        var sample = new AnalysisSample(Arm(rollout.Endpoint, "stable", since), Arm(rollout.Endpoint, "candidate", since));
        var guardrails = Analysis.Guardrails(spec.Guardrails, sample, status.Memory);
        if (AnalysisStep(spec, status) is not { } step)
        {
            return new(now, GateState.NotAsked, null, guardrails, null);
        }

        var analysis = step.Analysis ?? spec.Guardrails;
        sample = sample with { Fresh = Arm(rollout.Endpoint, "candidate", Time.FromMicros(status.StepSince)).Requests };
        if (analysis.Quality.Count > 0)
        {
            sample = await WithQualityAsync(rollout, analysis, sample, ct);
        }

        return new(now, GateState.NotAsked, null, guardrails, Analysis.Judge(analysis, sample, status.Memory));
    }

    /// <summary>
    /// Both variants' labelled predictions between the candidate's first and last labelled event: the same calendar cut for both, so that neither
    /// is judged by younger labels or another season.
    /// </summary>
    private async Task<AnalysisSample> WithQualityAsync(Rollout rollout, AnalysisSpec analysis, AnalysisSample sample, CancellationToken ct)
    {
        var candidate = (await labels.ReadAsync(rollout.Endpoint, rollout.Candidate, null, null, MaxLabelled, ct)).Where(row => row.Variant == "candidate").ToList();
        if (candidate.Count == 0)
        {
            return sample;
        }

        var (first, last) = (candidate.Min(row => row.At), candidate.Max(row => row.At));
        var stable = (await labels.ReadAsync(rollout.Endpoint, rollout.Stable, first, last.AddTicks(TimeSpan.TicksPerMicrosecond), MaxLabelled, ct)).Where(row => row.Variant == "stable");
        return sample with { StableQuality = Quality(stable), CandidateQuality = Quality(candidate) };

        ArmQuality Quality(IEnumerable<LabelledPrediction> rows) => ArmQuality.Of([.. rows.Select(row =>
        {
            var at = analysis.ScoreOutput < 0 ? row.Outputs.Count + analysis.ScoreOutput : analysis.ScoreOutput;
            return new LabelledScore(at >= 0 && at < row.Outputs.Count ? row.Outputs[at] : double.NaN, row.Label >= analysis.PositiveFrom);
        })]);
    }

    /// <summary>The candidate's gate under the rollout's policy; a granted gate is verified again against its frozen evidence.</summary>
    public async Task<GateState> GateAsync(Rollout rollout, CancellationToken ct)
    {
        if (rollout.Policy is not { } policy)
        {
            return GateState.NotAsked;
        }

        var subject = new Subject("model-version", rollout.Candidate);
        var latest = (await gates.ListAsync(subject.ToString(), null, ct)).Where(request => request.Policy == policy).MaxBy(request => request.RequestedAt);
        switch (latest?.State)
        {
            case "granted":
                try
                {
                    await gates.DemandGrantedAsync(subject, policy, ct);
                    return GateState.Granted;
                }
                catch (SlipwayException stale) when (stale.Code == ErrorCode.PreconditionFailed)
                {
                    // The stored decision no longer follows from the policy and the evidence, so a new one is waited for.
                    return GateState.Waiting;
                }

            case "denied":
                return GateState.Denied;
            default:
                return GateState.Waiting;
        }
    }

    private static RolloutStep? AnalysisStep(RolloutSpec spec, RolloutStatus status) =>
        status.Step < spec.Steps.Count && spec.Steps[status.Step] is { Kind: "analysis" } step
        && status is { State: RolloutState.Progressing } or { State: RolloutState.Paused, Pause: PauseReason.NoData or PauseReason.Inconclusive } ? step : null;

    // An analysis before any weight has nothing to compare; it says so instead of waiting in silence.
    private static AnalysisReport? Unexposed(RolloutSpec spec, RolloutStatus status)
    {
        var nobody = new ArmHealth(0, 0, double.NaN);
        return AnalysisStep(spec, status) is { } step ? Analysis.Judge(step.Analysis ?? spec.Guardrails, new(nobody, nobody), status.Memory) : null;
    }

    private async Task<string?> WarmAsync(string endpoint, string candidate, CancellationToken ct)
    {
        try
        {
            var runtime = routes.Find(endpoint)?.Table?.Spec.Settings?.Runtime;
            loaded.Unpin(await loaded.PinAsync(candidate, runtime, ct));
            return null;
        }
        catch (SlipwayException failure) when (failure.Code is ErrorCode.InvalidArgument or ErrorCode.NotFound or ErrorCode.DataLoss)
        {
            return $"{candidate} cannot be loaded: {failure.Sentence}";
        }
    }

    private ArmHealth Arm(string endpoint, string variant, DateTimeOffset since)
    {
        var seen = health.Of(endpoint, variant, since);
        return new(seen.Requests, seen.Errors, seen.P95Micros ?? double.NaN);
    }
}

/// <summary>Takes the rollouts' steps: observe, decide purely, commit, publish; again until there is only waiting left.</summary>
internal sealed class RolloutWork(RolloutTransitions transitions, RolloutObserver observer, Routes routes, Models models, Wakeups wakeups, TimeProvider clock)
    : IClockedWork
{
    public const string WorkKind = "rollout";
    private static readonly Actor Worker = Actor.System("rollout");

    public string Kind => WorkKind;

    public Task<IReadOnlyList<string>> OpenAsync(CancellationToken ct) => transitions.OpenAsync(ct);

    public async Task<DateTimeOffset?> StepAsync(string key, CancellationToken ct)
    {
        // More transitions than a plan has steps in one call would mean a loop in the plan; the next wake-up goes on.
        for (var taken = 0; taken < 250; taken++)
        {
            if (await transitions.FindAsync(key, ct) is not { Status.Ended: false } rollout)
            {
                return null;
            }

            var seen = await observer.ObserveAsync(rollout, ct);
            if (RolloutPlan.Next(rollout.Spec, rollout.Status, seen) is not { } transition)
            {
                if ((seen.Analysis ?? seen.Guardrails) is { } look)
                {
                    await transitions.RememberAsync(rollout, look, ct);
                }

                return clock.GetUtcNow() + RolloutPlan.LookAgain(rollout.Spec, rollout.Status, clock.NowMicros());
            }

            if (transition.Route == RouteMove.Settle && await CrownAsync(rollout.Candidate, ct) is { } refused)
            {
                transition = RolloutPlan.AbortByHand(rollout.Status, refused, clock.NowMicros()).Transition ?? transition;
            }

            if (transition.Route == RouteMove.Revert)
            {
                routes.Find(rollout.Endpoint)?.Revert(rollout.Id);
            }

            if (await transitions.CommitAsync(Worker, rollout, transition, ct) is not { } committed)
            {
                continue;
            }

            if (committed.Route is { } route)
            {
                await routes.PublishAsync(route, ct);
            }

            if (committed.Rollout.Status.Ended)
            {
                await WakeQueuedAsync(rollout.Endpoint, ct);
            }
        }

        return clock.GetUtcNow();
    }

    // Proposals that waited for the endpoint need not wait for the next sweep.
    private async Task WakeQueuedAsync(string endpoint, CancellationToken ct)
    {
        foreach (var waiting in (await transitions.ListAsync(endpoint, 100, ct)).Where(rollout => rollout.Status.State == RolloutState.Pending))
        {
            await wakeups.WakeAsync(WorkKind, waiting.Id);
        }
    }

    /// <summary>
    /// Moves the alias champion, before the commit so that a crash in between repeats it. Returns why the model's own policy forbids it: a version
    /// that may not be champion may not become stable either.
    /// </summary>
    private async Task<string?> CrownAsync(string candidate, CancellationToken ct)
    {
        var (name, number) = VersionName.Split(candidate);
        try
        {
            await models.SetAliasAsync(Worker, name, "champion", number, ct);
            return null;
        }
        catch (SlipwayException refusal) when (refusal.Code is ErrorCode.PreconditionFailed or ErrorCode.PermissionDenied or ErrorCode.NotFound)
        {
            return $"{candidate} may not become champion: {refusal.Sentence}";
        }
    }
}
