using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Serving;

/// <summary>The gate of the candidate, as far as the rollout's policy asks for one.</summary>
internal enum GateState
{
    NotAsked,
    Waiting,
    Granted,
    Denied,
}

/// <summary>What a setWeight, warm or webhook step learned: done, not yet, or refused for good.</summary>
/// <param name="Done">Whether the step is over.</param>
/// <param name="Refused">Whether waiting is no use.</param>
/// <param name="Why">In words.</param>
internal readonly record struct StepAnswer(bool Done, bool Refused, string Why);

/// <summary>What the worker sees before it decides.</summary>
/// <param name="Now">Unix microseconds.</param>
/// <param name="Gate">The candidate's gate.</param>
/// <param name="HardFailure">A reason to abort without statistics (fuse, alert, a candidate that cannot be loaded), or null.</param>
/// <param name="Guardrails">Today's look at the guardrails; null before the candidate is exposed.</param>
/// <param name="Analysis">Today's look of the analysis step in progress; null outside of one.</param>
internal sealed record Observation(long Now, GateState Gate, string? HardFailure, AnalysisReport? Guardrails, AnalysisReport? Analysis)
{
    /// <summary>Looks of the analyses that run beside the steps, by their step.</summary>
    public IReadOnlyDictionary<int, AnalysisReport>? Background { get; init; }

    /// <summary>The look of the analysis that the bake must pass.</summary>
    public AnalysisReport? Bake { get; init; }

    public ExperimentReport? Experiment { get; init; }

    public BanditReport? Bandit { get; init; }

    public ShadowReport? Shadow { get; init; }

    /// <summary>A newer proposal of the endpoint that is ready to start.</summary>
    public string? SupersededBy { get; init; }

    /// <summary>What the setWeight, warm or webhook step in progress learned.</summary>
    public StepAnswer? Answer { get; init; }

    /// <summary>Whether the endpoint does not exist yet.</summary>
    public bool First { get; init; }

    /// <summary>Whether the lease ended before this worker could renew it: nodes may have gone back to stable alone.</summary>
    public bool LeaseLost { get; init; }

    public RolloutFindings? Findings => Experiment is null && Bandit is null && Shadow is null ? null : new(Experiment, Bandit, Shadow);
}

/// <summary>What happens to the endpoint's route in the same transaction as a transition.</summary>
internal enum RouteMove
{
    /// <summary>The route stays.</summary>
    None,

    /// <summary>Variants get the status's shares, copies and matches.</summary>
    Weigh,

    /// <summary>Only stable serves; nothing to do if the route is not this rollout's.</summary>
    Revert,

    /// <summary>The successor becomes stable.</summary>
    Settle,

    /// <summary>It is over and stable stays.</summary>
    Release,

    /// <summary>An earlier version becomes stable again.</summary>
    Undo,

    /// <summary>The endpoint is made, with the candidate as its stable version.</summary>
    Create,
}

/// <summary>One step forward: the next status, what it does to the route, and how the journal and the timeline tell it.</summary>
internal sealed record Transition(RolloutStatus Next, RouteMove Route, string Kind, AnalysisReport? Analysis = null)
{
    public string Cause => Next.Cause;
}

/// <summary>A command's result: a transition, or why it is refused in this state. Neither: it is so already.</summary>
internal readonly record struct Ruling(Transition? Transition, string? Refusal);

/// <summary>
/// The rollout's decisions: from the observed state to one next action. Pure, so that the worker may die between any two actions and
/// another one continues from the saved status. Every transition is saved by compare-and-set, which makes racing workers and commands harmless.
/// </summary>
internal static class RolloutPlan
{
    private static readonly TimeSpan WebhookPatience = TimeSpan.FromMinutes(10);
    private static readonly TimeSpan JobPatience = TimeSpan.FromHours(1);
    private static readonly TimeSpan NodesTell = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan Retry10 = TimeSpan.FromSeconds(10);

    /// <summary>The next transition, or null if there is nothing to do but wait.</summary>
    public static Transition? Next(RolloutSpec spec, RolloutStatus status, Observation seen)
    {
        if (status.Ended)
        {
            return null;
        }

        status = Remember(status, seen);
        switch (status.State)
        {
            case RolloutState.Aborting:
                return new(status with { State = status.SupersededBy is null ? RolloutState.Aborted : RolloutState.Superseded, Pause = null, EndedAt = seen.Now }, RouteMove.None, Events.RolloutStepped);
            case RolloutState.RollingBack:
                return new(status with { State = RolloutState.Healthy, Pause = null, EndedAt = seen.Now }, RouteMove.None, Events.RolloutFinished);
        }

        if (seen.HardFailure is { } failure)
        {
            return Abort(status, seen.Now, failure);
        }

        if (status.State == RolloutState.Pending)
        {
            return seen.Gate switch
            {
                GateState.Denied => Abort(status, seen.Now, "the candidate's gate was denied"),
                GateState.Granted or GateState.NotAsked when spec.AutoStart && seen.First => First(status, seen.Now),
                GateState.Granted when spec.AutoStart => Begin(status, seen.Now, "the candidate's gate is granted"),
                GateState.NotAsked when spec.AutoStart => Begin(status, seen.Now, "no policy asks for a gate"),
                _ => null,
            };
        }

        if (seen.Guardrails is { Verdict: Verdict.Fail } guardrails)
        {
            return Abort(status, seen.Now, $"guardrail: {guardrails.Why}", guardrails);
        }

        if (seen.Background?.FirstOrDefault(look => look.Value.Verdict == Verdict.Fail) is { Value: { } beside } failed)
        {
            return Abort(status, seen.Now, $"step {failed.Key + 1}: analysis failed: {beside.Why}", beside);
        }

        if (seen.SupersededBy is { } newer && spec.OnNewVersion == NewVersionRule.Supersede)
        {
            return Abort(status with { SupersededBy = newer }, seen.Now, $"superseded by rollout {newer}");
        }

        if (status.ActiveSince > 0 && status.ActiveMicros + (seen.Now - status.ActiveSince) > Micros(spec.ProgressDeadline))
        {
            return Abort(status, seen.Now, $"the progress deadline of {RolloutStep.Say(spec.ProgressDeadline)} passed in step {Math.Min(status.Step + 1, spec.Steps.Count)} of {spec.Steps.Count}");
        }

        if (seen.LeaseLost && status is not { Pause: PauseReason.ControlPlane })
        {
            return Halt(status, PauseReason.ControlPlane, seen.Now, $"nobody renewed the lease of {RolloutStep.Say(spec.Leased.Duration)}: nodes went back to stable alone; resume gives the shares back, abort ends it");
        }

        return status.State switch
        {
            RolloutState.Promoting => Crown(spec, status, seen.Now),
            RolloutState.Baking => Bake(spec, status, seen),
            RolloutState.Paused => Paused(spec, status, seen),
            _ => Progress(spec, status, seen),
        };
    }

    /// <summary>What the looks established, kept whether or not something moves: the smallest p-values count over all looks.</summary>
    public static RolloutStatus Remember(RolloutStatus status, Observation seen)
    {
        if ((seen.Analysis ?? seen.Bake ?? seen.Guardrails) is { } look)
        {
            status = status with { Memory = look.Memory };
        }

        if (seen.Background is { Count: > 0 } looks && status.Background is { } running)
        {
            status = status with { Background = running.ToDictionary(pair => pair.Key, pair => looks.TryGetValue(pair.Key, out var report) ? pair.Value with { Memory = report.Memory } : pair.Value) };
        }

        return seen.Experiment is { } experiment ? status with { Experiment = experiment.Memory } : status;
    }

    /// <summary>When the worker should look again at the latest, from now; null if the rollout has ended.</summary>
    public static TimeSpan? LookAgain(RolloutSpec spec, RolloutStatus status, long now)
    {
        if (status.Ended)
        {
            return null;
        }

        if (status.State == RolloutState.Pending)
        {
            return TimeSpan.FromMinutes(1);
        }

        var step = status.Step < spec.Steps.Count ? spec.Steps[status.Step] : null;
        var look = (step?.Analysis ?? spec.Guardrails).Interval;
        foreach (var background in status.Background?.Keys ?? [])
        {
            look = Min(look, (spec.Steps[background].Analysis ?? spec.Guardrails).Interval);
        }

        look = Min(look, spec.Leased.Duration / 3);
        var until = status.State == RolloutState.Baking ? status.BakingSince + Micros(spec.Bake)
            : step is { Kind: "pause", Duration: { } duration } ? status.StepSince + Micros(duration)
            : step is { Kind: "approve", Expiry: { } expiry } ? status.StepSince + Micros(expiry)
            : step is { Kind: "setWeight" } ? now + Micros(NodesTell)
            : step is { Kind: "job" } ? status.StepSince + Micros(PatienceOf(step))
            : step is { Kind: "webhook" } ? now + Micros(Retry10)
            : step is { Kind: "compare" } ? now + Micros((spec.Shadow ?? new()).Interval)
            : step is { Kind: "experiment" } && spec.Experiment is { } experiment ? now + Micros(experiment.Interval)
            : step is { Kind: "bandit" } && spec.Bandit is { } bandit ? Math.Max(status.MovedAt, status.StepSince) + Micros(bandit.Interval)
            : long.MaxValue;
        return until == long.MaxValue || until <= now ? look : Min(look, TimeSpan.FromMicroseconds(until - now));
    }

    /// <summary>Starts a proposal by hand.</summary>
    public static Ruling Start(RolloutStatus status, GateState gate, long now, bool first = false) =>
        status.State != RolloutState.Pending ? Refuse(status, "start", "only a pending rollout can be started")
        : gate is GateState.Granted or GateState.NotAsked ? new(first ? First(status, now) : Begin(status, now, "started by hand"), null)
        : Refuse(status, "start", gate == GateState.Denied ? "the candidate's gate was denied" : "the candidate's gate is not granted yet");

    /// <summary>Halts the steps; guardrails go on.</summary>
    public static Ruling Pause(RolloutStatus status, string cause, long now) =>
        status is { State: RolloutState.Paused, Pause: PauseReason.Manual } ? Refuse(status, "pause", "it is already paused by hand")
        : status is { State: RolloutState.Paused, Pause: PauseReason.ControlPlane } ? Refuse(status, "pause", "it stands still until it is resumed or aborted")
        : status.State is RolloutState.Progressing or RolloutState.Paused ? new(Halt(status, PauseReason.Manual, now, cause), null)
        : Refuse(status, "pause", "only a rollout in progress can be paused");

    /// <summary>Ends a manual pause or that of a lost lease: the step in progress goes on, a timed pause with its first deadline.</summary>
    public static Ruling Resume(RolloutStatus status, string cause, long now) =>
        status is { State: RolloutState.Paused, Pause: PauseReason.Manual or PauseReason.ControlPlane }
            ? new(new(Active(status, now) with { State = status.BakingSince > 0 ? RolloutState.Baking : RolloutState.Progressing, Pause = null, Cause = cause }, RouteMove.None, Events.RolloutResumed), null)
            : Refuse(status, "resume", "only a rollout paused by hand can be resumed; promote ends other pauses");

    /// <summary>
    /// Ends the present pause by going past its step. With <paramref name="full"/> the remaining steps are skipped too, up to the next approve
    /// step: a person's approval is never skipped, nor are guardrails. <paramref name="winner"/>: the variant that takes all traffic in the end.
    /// </summary>
    public static Ruling Promote(RolloutSpec spec, RolloutStatus status, bool full, string? winner, string cause, long now)
    {
        if (winner is not null && !spec.Candidates.Contains(winner, StringComparer.Ordinal))
        {
            return Refuse(status, "promote", $"'{winner}' is none of its candidates ({string.Join(", ", spec.Candidates)})");
        }

        if (status.State is not (RolloutState.Paused or RolloutState.Progressing) || (status.State == RolloutState.Progressing && !full))
        {
            return Refuse(status, "promote", "there is no pause to end");
        }

        if (status.Pause == PauseReason.ControlPlane)
        {
            return Refuse(status, "promote", "nodes have gone back to stable alone; resume it first");
        }

        if (status.BakingSince > 0 && winner is not null && winner != (status.Winner ?? spec.First))
        {
            return Refuse(status, "promote", $"{status.Winner ?? spec.First} carries all traffic already; abort it first");
        }

        if (status.BakingSince > 0)
        {
            return new(new(Active(status, now) with { State = RolloutState.Baking, Pause = null, BakeWaived = true, Cause = cause }, RouteMove.None, Events.RolloutStepped), null);
        }

        var step = status.Step;
        if (step < spec.Steps.Count && spec.Steps[step].Kind == "approve")
        {
            return Refuse(status, "promote", "its step waits for an approval, and promoting does not skip one; approve it");
        }

        if (status.State == RolloutState.Paused && step < spec.Steps.Count && spec.Steps[step].IsWait)
        {
            step++;
        }

        while (full && step < spec.Steps.Count && spec.Steps[step].Kind != "approve")
        {
            step++;
        }

        if (spec.Candidates.Count > 1 && (winner ?? status.Winner) is null && Chooses(spec) && !spec.Steps.Skip(step).Any(Decides))
        {
            return Refuse(status, "promote", $"no variant has won yet; name the one that takes all traffic ({string.Join(", ", spec.Candidates)})");
        }

        // At the end an analysis beside the steps is all that may hold it: the person decides in its place.
        var beside = full || step >= spec.Steps.Count ? null : status.Background;
        var next = Timed(status, step, now, cause) with { State = RolloutState.Progressing, Pause = null, Step = step, StepSince = now, Background = beside, Winner = winner ?? status.Winner, Cause = cause };
        return new(new(Active(next, now), RouteMove.None, Events.RolloutStepped), null);
    }

    /// <summary>Whether its outcomes say which variant takes all traffic, so that a person may say it in their place.</summary>
    public static bool Chooses(RolloutSpec spec) => spec.Steps.Any(Decides);

    /// <summary>Ends an approve step. <paramref name="roles"/>: those of the person who approves.</summary>
    public static Ruling Approve(RolloutSpec spec, RolloutStatus status, bool proposer, IReadOnlyCollection<string> roles, string cause, long now) =>
        status.Step >= spec.Steps.Count || spec.Steps[status.Step] is not { Kind: "approve" } step || status is not ({ State: RolloutState.Progressing } or { State: RolloutState.Paused, Pause: PauseReason.Approval })
            ? Refuse(status, "approve", "no step waits for an approval now")
        : proposer && step.FourEyes ? Refuse(status, "approve", "it needs another person than the one who proposed it")
        : step.Role is { } role && !roles.Contains(role, StringComparer.Ordinal) ? Refuse(status, "approve", $"the step asks for the role {role}")
        : new(Past(status, now, $"step {status.Step + 1}: {cause}"), null);

    /// <summary>What became of a job. One that is not waited for any more changes nothing.</summary>
    public static Ruling Answer(RolloutStatus status, int attempt, int step, bool succeeded, string why) =>
        status is { State: RolloutState.Progressing or RolloutState.Paused, Job: { Succeeded: null } job } && status.Attempt == attempt && status.Step == step && job.Step == step
            ? new(new(status with { Job = new(step, succeeded, why), Cause = $"step {step + 1}: {why}" }, RouteMove.None, Events.RolloutStepped), null)
            : new(null, null);

    /// <summary>Sends all traffic back to stable. Allowed until the candidate is stable; a second abort changes nothing.</summary>
    public static Ruling AbortByHand(RolloutStatus status, string cause, long now) =>
        status.State is RolloutState.Aborting or RolloutState.Aborted or RolloutState.Superseded ? new(null, null)
        : status.State is RolloutState.Healthy or RolloutState.RollingBack ? Refuse(status, "abort", "it has finished and steers no traffic; undo goes back to the version before")
        : new(Abort(status, now, cause), null);

    /// <summary>Runs an aborted rollout again from its first step; the salt stays, so the same entities are first again.</summary>
    public static Ruling Retry(RolloutStatus status, string cause, long now) =>
        status.State != RolloutState.Aborted ? Refuse(status, "retry", "only an aborted rollout can be retried")
        : new(new(RolloutStatus.Proposed(now) with { Attempt = status.Attempt + 1, Salt = status.Salt, Cause = cause }, RouteMove.None, Events.RolloutProposed), null);

    /// <summary>Takes a finished rollout back in one revision. A second undo to the same version changes nothing.</summary>
    public static Ruling Undo(RolloutStatus status, string target, string cause, long now) =>
        status.State == RolloutState.RollingBack || (status.State == RolloutState.Healthy && status.UndoneTo is not null)
            ? status.UndoneTo == target ? new(null, null) : Refuse(status, "undo", $"it was taken back to {status.UndoneTo} already")
        : status.State != RolloutState.Healthy || status.BakingSince == 0 ? Refuse(status, "undo", status.State == RolloutState.Healthy ? "stable stayed what it was" : "it has not finished; abort goes back to stable")
        : new(new(status with { State = RolloutState.RollingBack, UndoneTo = target, Percent = 0, Weights = null, Cause = cause, StepSince = now }, RouteMove.Undo, Events.RolloutUndone), null);

    /// <summary>
    /// Whether <paramref name="next"/> may replace the plan: any plan before it has started, afterwards only other durations of pauses that have
    /// not begun. Null if it may, else why not.
    /// </summary>
    public static string? Edit(RolloutSpec spec, RolloutStatus status, RolloutSpec next)
    {
        if (status.Ended || status.State is RolloutState.Aborting or RolloutState.RollingBack)
        {
            return $"it is {status.State}; propose a new rollout";
        }

        if (status.State == RolloutState.Pending)
        {
            return null;
        }

        if (Same(spec, next))
        {
            return null;
        }

        if (spec.Steps.Count != next.Steps.Count || !Same(Blank(spec), Blank(next)))
        {
            return "a running plan keeps its steps and limits; only durations of pauses that have not begun may change";
        }

        for (var i = 0; i <= status.Step && i < spec.Steps.Count; i++)
        {
            if (spec.Steps[i].Duration != next.Steps[i].Duration)
            {
                return $"step {i + 1} has begun, and its duration stays";
            }
        }

        return null;

        static RolloutSpec Blank(RolloutSpec plan) => plan with { Steps = [.. plan.Steps.Select(step => step.Kind == "pause" ? step with { Duration = null } : step)] };
        static bool Same(RolloutSpec a, RolloutSpec b) => JsonSerializer.Serialize(a, CanonicalJson.Options) == JsonSerializer.Serialize(b, CanonicalJson.Options);
    }

    private static Transition? Progress(RolloutSpec spec, RolloutStatus status, Observation seen)
    {
        if (status.Step >= spec.Steps.Count)
        {
            return End(spec, status, seen);
        }

        var step = spec.Steps[status.Step];
        var place = $"step {status.Step + 1}";
        var variant = step.Variant ?? spec.First;
        switch (step.Kind)
        {
            case "setWeight" when IsSet(spec, status):
                return seen.Answer is { Done: true } served ? Past(status, seen.Now, $"{place}: {step.Words}, {served.Why}") : null;
            case "setWeight":
                var percent = step.Percent.GetValueOrDefault();
                var weighed = Weighed(status, Set(status.Weights, variant, percent)) with { Cause = $"{place}: {step.Words}" };
                return new(percent > 0 ? Exposed(weighed, seen.Now) : Previewed(weighed, seen.Now), RouteMove.Weigh, Events.RolloutStepped);
            case "mirror":
                var mirrored = Timed(status, status.Step + 1, seen.Now, "set") with { Mirrors = Set(status.Mirrors, variant, step.Percent.GetValueOrDefault()), Weights = Set(status.Weights, variant, status.WeightOf(variant)), Step = status.Step + 1, StepSince = seen.Now, Cause = $"{place}: {step.Words}" };
                return new(Previewed(mirrored, seen.Now), RouteMove.Weigh, Events.RolloutStepped);
            case "match":
                IReadOnlyList<int> matches = step.Clear ? [.. status.Matches.Where(index => (spec.Steps[index].Variant ?? spec.First) != variant)] : [.. status.Matches, status.Step];
                var matched = Timed(status, status.Step + 1, seen.Now, "set") with { Matches = matches, Weights = Set(status.Weights, variant, status.WeightOf(variant)), Step = status.Step + 1, StepSince = seen.Now, Cause = $"{place}: {step.Words}" };
                return new(step.Clear ? matched : Exposed(matched, seen.Now), RouteMove.Weigh, Events.RolloutStepped);
            case "warm" when status.Weights?.ContainsKey(variant) != true:
                // A share of zero makes every node load it.
                return new(Previewed(status with { Weights = Set(status.Weights, variant, 0), Cause = $"{place}: {step.Words}" }, seen.Now), RouteMove.Weigh, Events.RolloutStepped);
            case "warm":
                return seen.Answer is not { } warm ? null : warm.Refused ? Abort(status, seen.Now, $"{place}: {warm.Why}") : warm.Done ? Past(status, seen.Now, $"{place}: {warm.Why}") : null;
            case "webhook":
                return Ask(step, status, seen, place);
            case "job" when status.Job?.Step != status.Step:
                return new(status with { Job = new(status.Step, null, "its run has not ended"), Cause = $"{place}: {step.Words}" }, RouteMove.None, Events.RolloutJobAsked);
            case "job":
                var job = status.Job;
                return Ask(step, status, seen with { Answer = new(job.Succeeded == true, job.Succeeded == false, $"{step.Words}: {job.Why}") }, place);
            case "pause" when step.Duration is { } duration && seen.Now - status.StepSince >= Micros(duration):
                return Past(status, seen.Now, $"{place}: paused for {RolloutStep.Say(duration)}");
            case "pause":
                return Halt(status, PauseReason.Step, seen.Now, $"{place}: {step.Words}");
            case "approve":
                return Halt(status, PauseReason.Approval, seen.Now, $"{place}: {step.Words}");
            case "experiment":
                return Experiment(spec, status, seen, place);
            case "bandit":
                return Bandit(spec, status, seen, place);
            case "compare":
                return Compare(spec.Shadow ?? new(), status, seen, place);
            case "analysis" when step.Background:
                var running = new Dictionary<int, BackgroundAnalysis>(status.Background ?? new Dictionary<int, BackgroundAnalysis>()) { [status.Step] = new(seen.Now, AnalysisMemory.Empty) };
                return Past(status with { Background = running }, seen.Now, $"{place}: {step.Words}");
            default:
                return Analyse(spec, step, status, seen);
        }
    }

    /// <summary>After the last step: what runs beside must have passed, and then the successor is crowned, or stable stays.</summary>
    private static Transition? End(RolloutSpec spec, RolloutStatus status, Observation seen)
    {
        if (status.Background is { Count: > 0 } running)
        {
            var looks = running.Keys.Select(index => seen.Background?.GetValueOrDefault(index)).ToList();
            var verdict = looks.Any(look => look is null) ? Verdict.NoData : Analysis.Joint(looks.Select(look => look!.Verdict));
            if (verdict != Verdict.Pass)
            {
                var wait = running.Keys.Max(index => (spec.Steps[index].Analysis ?? spec.Guardrails).MaxWait);
                var why = string.Join("; ", looks.OfType<AnalysisReport>().Select(look => look.Why));
                return status.State == RolloutState.Paused || seen.Now - status.StepSince < Micros(wait) ? null
                    : Halt(status, ReasonOf(verdict), seen.Now, $"all steps are done, but the analysis beside them has not passed: {why}", looks.OfType<AnalysisReport>().FirstOrDefault());
            }
        }

        return spec.Promotes
            ? new(Active(status, seen.Now) with { State = RolloutState.Promoting, Pause = null, Background = null, Cause = "all steps are done" }, RouteMove.None, Events.RolloutStepped)
            : Conclude(status, seen.Now, $"all steps are done; {status.Cause}");
    }

    private static Transition Crown(RolloutSpec spec, RolloutStatus status, long now)
    {
        var successor = status.Winner ?? spec.First;
        var weights = spec.Names.ToDictionary(name => name, name => name == successor ? 100.0 : 0, StringComparer.Ordinal);
        return new(
            Exposed(Weighed(status, weights), now) with
            {
                State = RolloutState.Baking,
                StepSince = now,
                BakingSince = now,
                Mirrors = null,
                Matches = [],
                Cause = $"{(status.Winner is null ? "the candidate" : successor)} takes all traffic",
            },
            RouteMove.Weigh, Events.RolloutStepped);
    }

    private static Transition? Bake(RolloutSpec spec, RolloutStatus status, Observation seen)
    {
        if (seen.Now - status.BakingSince < Micros(spec.Bake))
        {
            return seen.Bake is { Verdict: Verdict.Fail } early ? Abort(status, seen.Now, $"post-promotion analysis failed: {early.Why}", early) : null;
        }

        if (spec.BakeAnalysis is { } analysis && !status.BakeWaived)
        {
            var verdict = seen.Bake?.Verdict ?? Verdict.NoData;
            if (verdict == Verdict.Fail)
            {
                return Abort(status, seen.Now, $"post-promotion analysis failed: {seen.Bake!.Why}", seen.Bake);
            }

            if (verdict != Verdict.Pass)
            {
                return status.State == RolloutState.Paused || seen.Now - status.BakingSince < Micros(spec.Bake) + Micros(analysis.MaxWait) ? null
                    : Halt(status, ReasonOf(verdict), seen.Now, $"the post-promotion analysis has no verdict: {seen.Bake?.Why}", seen.Bake);
            }
        }

        return new(Idle(status, seen.Now) with { State = RolloutState.Healthy, Pause = null, EndedAt = seen.Now, Cause = $"the candidate carried all traffic for {RolloutStep.Say(spec.Bake)}" }, RouteMove.Settle, Events.RolloutFinished, seen.Bake);
    }

    private static Transition? Analyse(RolloutSpec spec, RolloutStep step, RolloutStatus status, Observation seen)
    {
        if (seen.Analysis is not { } report)
        {
            return null;
        }

        var place = $"step {status.Step + 1}";
        switch (report.Verdict)
        {
            case Verdict.Pass:
                return Past(status, seen.Now, $"{place}: analysis passed: {report.Why}", report);
            case Verdict.Fail:
                return Abort(status, seen.Now, $"{place}: analysis failed: {report.Why}", report);
            default:
                // Already paused for want of a verdict: keep measuring, say nothing new.
                return status.State == RolloutState.Paused || (!report.Final && seen.Now - status.StepSince < Micros((step.Analysis ?? spec.Guardrails).MaxWait)) ? null
                    : Halt(status, ReasonOf(report.Verdict), seen.Now, $"{place}: no verdict{(report.Final ? "" : " in time")}: {report.Why}", report);
        }
    }

    private static TimeSpan PatienceOf(RolloutStep step) => step.Expiry ?? (step.Kind == "job" ? JobPatience : WebhookPatience);

    private static Transition? Ask(RolloutStep step, RolloutStatus status, Observation seen, string place)
    {
        if (seen.Answer is not { } answer)
        {
            return null;
        }

        if (answer.Done)
        {
            return Past(status, seen.Now, $"{place}: {answer.Why}");
        }

        return !answer.Refused && seen.Now - status.StepSince < Micros(PatienceOf(step)) ? null
            : step.CountsAsFailure ? Abort(status, seen.Now, $"{place}: {answer.Why}")
            : Past(status, seen.Now, $"{place}: {answer.Why}; it does not count as a failure");
    }

    private static Transition? Experiment(RolloutSpec spec, RolloutStatus status, Observation seen, string place)
    {
        if (seen.Experiment is not { } report)
        {
            return null;
        }

        if (report.Decision == ExperimentDecision.Harm)
        {
            return Abort(status, seen.Now, $"{place}: harm: {report.Why}");
        }

        var paused = status.State == RolloutState.Paused;
        if (report.Blocked)
        {
            return paused ? null : Halt(status, PauseReason.Inconclusive, seen.Now, $"{place}: {report.SampleRatio.Why}");
        }

        return report.Decision switch
        {
            ExperimentDecision.Winner => Past(status with { Winner = report.Winner }, seen.Now, $"{place}: {report.Winner} wins: {report.Why}"),
            ExperimentDecision.NoDifference when spec.Kind == RolloutKind.AbTest => Conclude(status, seen.Now, $"{place}: no difference: {report.Why}"),
            ExperimentDecision.NoDifference or ExperimentDecision.Horizon when !paused => Halt(status, PauseReason.Inconclusive, seen.Now, $"{place}: {(report.Decision == ExperimentDecision.Horizon ? "the end of the plan came without an answer" : "no difference")}: {report.Why}"),
            // The assignment was doubted, and is not any more.
            ExperimentDecision.Running when paused => new(Active(status, seen.Now) with { State = RolloutState.Progressing, Pause = null, Cause = $"{place}: {report.Why}" }, RouteMove.None, Events.RolloutResumed),
            _ => null,
        };
    }

    private static Transition? Bandit(RolloutSpec spec, RolloutStatus status, Observation seen, string place)
    {
        if (seen.Bandit is not { } report)
        {
            return null;
        }

        if (report.Best is { } best)
        {
            return best == "stable" ? Conclude(status, seen.Now, $"{place}: stable is best: {report.Why}") : Past(status with { Winner = best }, seen.Now, $"{place}: {best} is best: {report.Why}");
        }

        if (!report.Moved || seen.Now - Math.Max(status.MovedAt, status.StepSince) < Micros(spec.Bandit!.Interval))
        {
            return null;
        }

        var weights = report.Arms.Where(arm => arm.Variant != "stable").ToDictionary(arm => arm.Variant, arm => Math.Round(arm.Next * 100, 2), StringComparer.Ordinal);
        return new(Weighed(status, weights) with { MovedAt = seen.Now, Cause = $"{place}: {report.Why}" }, RouteMove.Weigh, Events.RolloutStepped);
    }

    private static Transition? Compare(ShadowSpec spec, RolloutStatus status, Observation seen, string place)
    {
        if (seen.Shadow is not { } report)
        {
            return null;
        }

        var (verdict, why) = spec.Judge(report);
        return verdict switch
        {
            Verdict.Pass => Past(status, seen.Now, $"{place}: the pairs agree: {why}"),
            Verdict.Fail => Abort(status, seen.Now, $"{place}: the pairs differ: {why}"),
            _ when status.State == RolloutState.Paused || seen.Now - status.StepSince < Micros(spec.MaxWait) => null,
            _ => Halt(status, ReasonOf(verdict), seen.Now, $"{place}: no verdict in time: {why}"),
        };
    }

    private static Transition? Paused(RolloutSpec spec, RolloutStatus status, Observation seen)
    {
        var step = status.Step < spec.Steps.Count ? spec.Steps[status.Step] : null;
        var place = $"step {status.Step + 1}";
        return (status.Pause, step) switch
        {
            (PauseReason.Step, { Kind: "pause", Duration: { } duration }) when seen.Now - status.StepSince >= Micros(duration) => Past(status, seen.Now, $"{place}: paused for {RolloutStep.Say(duration)}"),
            (PauseReason.Approval, { Expiry: { } expiry }) when seen.Now - status.StepSince >= Micros(expiry) => Abort(status, seen.Now, $"{place}: nobody approved it within {RolloutStep.Say(expiry)}"),
            (PauseReason.NoData or PauseReason.Inconclusive, _) when status.BakingSince > 0 => Bake(spec, status, seen),
            (PauseReason.NoData or PauseReason.Inconclusive, null) => End(spec, status, seen),
            (PauseReason.NoData or PauseReason.Inconclusive, { Kind: "analysis" }) => Analyse(spec, step, status, seen),
            (PauseReason.NoData or PauseReason.Inconclusive, { Kind: "experiment" }) => Experiment(spec, status, seen, place),
            (PauseReason.NoData or PauseReason.Inconclusive, { Kind: "compare" }) => Compare(spec.Shadow ?? new(), status, seen, place),
            _ => null,
        };
    }

    /// <summary>Whether the route has the weight of the setWeight step in progress; the step is over when every node serves it.</summary>
    public static bool IsSet(RolloutSpec spec, RolloutStatus status) =>
        status.Step < spec.Steps.Count && spec.Steps[status.Step] is { Kind: "setWeight" } step && status.Weights?.TryGetValue(step.Variant ?? spec.First, out var percent) == true && percent == step.Percent;

    private static Transition Begin(RolloutStatus status, long now, string cause) =>
        new(Active(status, now) with { State = RolloutState.Progressing, Step = 0, StepSince = now, Cause = cause }, RouteMove.None, Events.RolloutStarted);

    // A first deployment has no stable version to compare with or to go back to: its steps are skipped.
    private static Transition First(RolloutStatus status, long now) =>
        new(status with { State = RolloutState.Healthy, Pause = null, Percent = 100, EndedAt = now, Cause = "the first version of the endpoint; its steps are skipped" }, RouteMove.Create, Events.RolloutFinished);

    private static Transition Past(RolloutStatus status, long now, string cause, AnalysisReport? report = null) =>
        new(Active(Timed(status, status.Step + 1, now, cause), now) with { State = RolloutState.Progressing, Pause = null, Step = status.Step + 1, StepSince = now, Cause = cause }, RouteMove.None, Events.RolloutStepped, report);

    private static Transition Halt(RolloutStatus status, PauseReason reason, long now, string cause, AnalysisReport? report = null) =>
        new(Idle(status, now) with { State = RolloutState.Paused, Pause = reason, Cause = cause }, RouteMove.None, Events.RolloutPaused, report);

    private static Transition Abort(RolloutStatus status, long now, string cause, AnalysisReport? report = null) =>
        new(Idle(status, now) with { State = RolloutState.Aborting, Pause = null, Percent = 0, Weights = null, Mirrors = null, Matches = [], Background = null, Cause = cause }, RouteMove.Revert, Events.RolloutAborted, report);

    // It has served its purpose, and stable stays.
    private static Transition Conclude(RolloutStatus status, long now, string cause) =>
        new(Idle(Timed(status, status.Step + 1, now, cause), now) with { State = RolloutState.Healthy, Pause = null, Percent = 0, Weights = null, Mirrors = null, Matches = [], Background = null, EndedAt = now, Cause = cause }, RouteMove.Release, Events.RolloutFinished);

    private static RolloutStatus Weighed(RolloutStatus status, IReadOnlyDictionary<string, double> weights) => status with { Weights = weights, Percent = Math.Min(100, Math.Round(weights.Values.Sum(), 2)) };

    private static Dictionary<string, double> Set(IReadOnlyDictionary<string, double>? shares, string variant, double percent) =>
        new(shares ?? new Dictionary<string, double>(), StringComparer.Ordinal) { [variant] = percent };

    // Steps are passed in order, so the clocks of an attempt are as many as its steps.
    private static RolloutStatus Timed(RolloutStatus status, int to, long now, string how) =>
        to <= status.Step ? status : status with { Clocks = [.. status.Clocks, new(status.Step, status.StepSince, now, how)] };

    private static RolloutStatus Exposed(RolloutStatus status, long now) => Previewed(status.ExposedSince > 0 ? status : status with { ExposedSince = now }, now);

    private static RolloutStatus Previewed(RolloutStatus status, long now) => status.PreviewSince > 0 ? status : status with { PreviewSince = now };

    private static RolloutStatus Active(RolloutStatus status, long now) => status.ActiveSince > 0 ? status : status with { ActiveSince = now };

    // A clock that was set back must not give time back.
    private static RolloutStatus Idle(RolloutStatus status, long now) =>
        status.ActiveSince == 0 ? status : status with { ActiveMicros = status.ActiveMicros + Math.Max(0, now - status.ActiveSince), ActiveSince = 0 };

    private static PauseReason ReasonOf(Verdict verdict) => verdict == Verdict.NoData ? PauseReason.NoData : PauseReason.Inconclusive;

    private static Ruling Refuse(RolloutStatus status, string command, string why) =>
        new(null, $"cannot {command} a rollout that is {status.State}{(status.Pause is { } pause ? $" ({pause})" : "")}: {why}");

    private static bool Decides(RolloutStep step) => step.Kind is "experiment" or "bandit";

    private static TimeSpan Min(TimeSpan a, TimeSpan b) => a < b ? a : b;

    private static long Micros(TimeSpan span) => span.Ticks / TimeSpan.TicksPerMicrosecond;
}
