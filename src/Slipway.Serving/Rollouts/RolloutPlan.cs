namespace Slipway.Serving;

/// <summary>The gate of the candidate, as far as the rollout's policy asks for one.</summary>
internal enum GateState
{
    NotAsked,
    Waiting,
    Granted,
    Denied,
}

/// <summary>What the worker sees before it decides.</summary>
/// <param name="Now">Unix microseconds.</param>
/// <param name="Gate">The candidate's gate.</param>
/// <param name="HardFailure">A reason to abort without statistics (fuse, alert, a candidate that cannot be loaded), or null.</param>
/// <param name="Guardrails">Today's look at the guardrails; null before the candidate is exposed.</param>
/// <param name="Analysis">Today's look of the analysis step in progress; null outside of one.</param>
internal sealed record Observation(long Now, GateState Gate, string? HardFailure, AnalysisReport? Guardrails, AnalysisReport? Analysis);

/// <summary>What happens to the endpoint's route in the same transaction as a transition.</summary>
internal enum RouteMove
{
    /// <summary>The route stays.</summary>
    None,

    /// <summary>The candidate gets the status's percent.</summary>
    Weigh,

    /// <summary>Only stable serves; nothing to do if the route is not this rollout's.</summary>
    Revert,

    /// <summary>The candidate becomes stable.</summary>
    Settle,
}

/// <summary>One step forward: the next status, what it does to the route, and how the journal and the timeline tell it.</summary>
internal sealed record Transition(RolloutStatus Next, RouteMove Route, string Kind, AnalysisReport? Analysis = null)
{
    public string Cause => Next.Cause;
}

/// <summary>A command's result: a transition, or why it is refused in this state.</summary>
internal readonly record struct Ruling(Transition? Transition, string? Refusal);

/// <summary>
/// The rollout's decisions: from the observed state to one next action. Pure, so that the worker may die between any two actions and
/// another one continues from the saved status. Every transition is saved by compare-and-set, which makes racing workers and commands harmless.
/// </summary>
internal static class RolloutPlan
{
    /// <summary>The next transition, or null if there is nothing to do but wait.</summary>
    public static Transition? Next(RolloutSpec spec, RolloutStatus status, Observation seen)
    {
        if (status.Ended)
        {
            return null;
        }

        if (status.State == RolloutState.Aborting)
        {
            return new(status with { State = RolloutState.Aborted, Pause = null }, RouteMove.None, "rollout.stepped");
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
                GateState.Granted when spec.AutoStart => Begin(status, seen.Now, "the candidate's gate is granted"),
                GateState.NotAsked when spec.AutoStart => Begin(status, seen.Now, "no policy asks for a gate"),
                _ => null,
            };
        }

        if (seen.Guardrails is { Verdict: Verdict.Fail } guardrails)
        {
            return Abort(Remember(status, guardrails), seen.Now, $"guardrail: {guardrails.Why}", guardrails);
        }

        if (status.ActiveSince > 0 && status.ActiveMicros + (seen.Now - status.ActiveSince) > Micros(spec.ProgressDeadline))
        {
            return Abort(status, seen.Now, $"the progress deadline of {spec.ProgressDeadline} passed in step {status.Step + 1} of {spec.Steps.Count}");
        }

        return status.State switch
        {
            RolloutState.Promoting => new(
                Exposed(status, seen.Now) with { State = RolloutState.Baking, Percent = 100, StepSince = seen.Now, Cause = "the candidate takes all traffic" },
                RouteMove.Weigh, "rollout.stepped"),
            RolloutState.Baking => seen.Now - status.StepSince < Micros(spec.Bake) ? null : new(
                status with { State = RolloutState.Healthy, Cause = $"the candidate carried all traffic for {spec.Bake}" }, RouteMove.Settle, "rollout.finished"),
            RolloutState.Paused => Paused(spec, status, seen),
            _ => Progress(spec, status, seen),
        };
    }

    /// <summary>When the worker should look again at the latest, in microseconds from now; null if the rollout has ended.</summary>
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
        var until = status.State == RolloutState.Baking ? status.StepSince + Micros(spec.Bake)
            : step is { Kind: "pause", Duration: { } duration } ? status.StepSince + Micros(duration)
            : long.MaxValue;
        var left = until == long.MaxValue ? look : TimeSpan.FromMicroseconds(Math.Max(0, until - now));
        return left < look ? left : look;
    }

    /// <summary>Starts a proposal by hand.</summary>
    public static Ruling Start(RolloutStatus status, GateState gate, long now) =>
        status.State != RolloutState.Pending ? Refuse(status, "start", "only a pending rollout can be started")
        : gate is GateState.Granted or GateState.NotAsked ? new(Begin(status, now, "started by hand"), null)
        : Refuse(status, "start", gate == GateState.Denied ? "the candidate's gate was denied" : "the candidate's gate is not granted yet");

    /// <summary>Halts the steps; guardrails go on.</summary>
    public static Ruling Pause(RolloutStatus status, string cause, long now) =>
        status is { State: RolloutState.Paused, Pause: PauseReason.Manual } ? Refuse(status, "pause", "it is already paused by hand")
        : status.State is RolloutState.Progressing or RolloutState.Paused ? new(Halt(status, PauseReason.Manual, now, cause), null)
        : Refuse(status, "pause", "only a rollout in progress can be paused");

    /// <summary>Ends a manual pause: the step in progress goes on, a timed pause with its first deadline.</summary>
    public static Ruling Resume(RolloutStatus status, string cause, long now) =>
        status is { State: RolloutState.Paused, Pause: PauseReason.Manual }
            ? new(new(Active(status, now) with { State = RolloutState.Progressing, Pause = null, Cause = cause }, RouteMove.None, "rollout.resumed"), null)
            : Refuse(status, "resume", "only a rollout paused by hand can be resumed; promote ends other pauses");

    /// <summary>
    /// Ends the present pause by going past its step. With <paramref name="full"/> the remaining steps are skipped too, up to the next approve
    /// step: a person's approval is never skipped, nor are guardrails.
    /// </summary>
    public static Ruling Promote(RolloutSpec spec, RolloutStatus status, bool full, bool proposer, string cause, long now)
    {
        if (status.State is not (RolloutState.Paused or RolloutState.Progressing) || (status.State == RolloutState.Progressing && !full))
        {
            return Refuse(status, "promote", "there is no pause to end");
        }

        var step = status.Step;
        if (step < spec.Steps.Count && spec.Steps[step].Kind == "approve" && proposer)
        {
            return Refuse(status, "promote", "an approve step needs another person than the one who proposed the rollout");
        }

        if (status.State == RolloutState.Paused && step < spec.Steps.Count && spec.Steps[step].IsWait)
        {
            step++;
        }

        while (full && step < spec.Steps.Count && spec.Steps[step].Kind != "approve")
        {
            step++;
        }

        return new(new(Active(status, now) with { State = RolloutState.Progressing, Pause = null, Step = step, StepSince = now, Cause = cause }, RouteMove.None, "rollout.stepped"), null);
    }

    /// <summary>Sends all traffic back to stable. Allowed until the candidate is stable; a second abort changes nothing.</summary>
    public static Ruling AbortByHand(RolloutStatus status, string cause, long now) =>
        status.State is RolloutState.Aborting or RolloutState.Aborted ? new(null, null)
        : status.State == RolloutState.Healthy ? Refuse(status, "abort", "it has finished; deploy the previous version to go back")
        : new(Abort(status, now, cause), null);

    /// <summary>Runs an aborted rollout again from its first step; the salt stays, so the same entities are first again.</summary>
    public static Ruling Retry(RolloutStatus status, string cause, long now) =>
        status.State != RolloutState.Aborted ? Refuse(status, "retry", "only an aborted rollout can be retried")
        : new(new(RolloutStatus.Proposed(now) with { Attempt = status.Attempt + 1, Cause = cause }, RouteMove.None, "rollout.proposed"), null);

    private static Transition? Progress(RolloutSpec spec, RolloutStatus status, Observation seen)
    {
        if (status.Step >= spec.Steps.Count)
        {
            return new(status with { State = RolloutState.Promoting, Cause = "all steps are done" }, RouteMove.None, "rollout.stepped");
        }

        var step = spec.Steps[status.Step];
        switch (step.Kind)
        {
            case "setWeight":
                var percent = step.Percent.GetValueOrDefault();
                var weighed = status with { Percent = percent, Step = status.Step + 1, StepSince = seen.Now, Cause = $"step {status.Step + 1}: {percent:0.##} % of the traffic" };
                return new(percent > 0 ? Exposed(weighed, seen.Now) : weighed, RouteMove.Weigh, "rollout.stepped");
            case "pause" when step.Duration is { } duration && seen.Now - status.StepSince >= Micros(duration):
                return Past(status, seen.Now, $"step {status.Step + 1}: paused for {duration}");
            case "pause":
                return Halt(status, PauseReason.Step, seen.Now, $"step {status.Step + 1}: pause{(step.Duration is { } wait ? $" for {wait}" : " until promoted")}");
            case "approve":
                return Halt(status, PauseReason.Approval, seen.Now, $"step {status.Step + 1}: waits for an approval");
            default:
                return Analyse(spec, step, status, seen);
        }
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
                return Past(Remember(status, report), seen.Now, $"{place}: analysis passed: {report.Why}", report);
            case Verdict.Fail:
                return Abort(Remember(status, report), seen.Now, $"{place}: analysis failed: {report.Why}", report);
            default:
                // Already paused for want of data: keep measuring, say nothing new.
                if (status.State == RolloutState.Paused || seen.Now - status.StepSince < Micros((step.Analysis ?? spec.Guardrails).MaxWait))
                {
                    return null;
                }

                var reason = report.Verdict == Verdict.NoData ? PauseReason.NoData : PauseReason.Inconclusive;
                return Halt(Remember(status, report), reason, seen.Now, $"{place}: no verdict in time: {report.Why}", report);
        }
    }

    private static Transition? Paused(RolloutSpec spec, RolloutStatus status, Observation seen)
    {
        var step = status.Step < spec.Steps.Count ? spec.Steps[status.Step] : null;
        return (status.Pause, step) switch
        {
            (PauseReason.Step, { Duration: { } duration }) when seen.Now - status.StepSince >= Micros(duration) =>
                Past(status, seen.Now, $"step {status.Step + 1}: paused for {duration}"),
            (PauseReason.NoData or PauseReason.Inconclusive, { Kind: "analysis" }) => Analyse(spec, step, status, seen),
            _ => null,
        };
    }

    private static Transition Begin(RolloutStatus status, long now, string cause) =>
        new(Active(status, now) with { State = RolloutState.Progressing, Step = 0, StepSince = now, Cause = cause }, RouteMove.None, "rollout.started");

    private static Transition Past(RolloutStatus status, long now, string cause, AnalysisReport? report = null) =>
        new(Active(status, now) with { State = RolloutState.Progressing, Pause = null, Step = status.Step + 1, StepSince = now, Cause = cause }, RouteMove.None, "rollout.stepped", report);

    private static Transition Halt(RolloutStatus status, PauseReason reason, long now, string cause, AnalysisReport? report = null) =>
        new(Idle(status, now) with { State = RolloutState.Paused, Pause = reason, Cause = cause }, RouteMove.None, "rollout.paused", report);

    private static Transition Abort(RolloutStatus status, long now, string cause, AnalysisReport? report = null) =>
        new(Idle(status, now) with { State = RolloutState.Aborting, Pause = null, Percent = 0, Cause = cause },
            RouteMove.Revert, "rollout.aborted", report);

    private static RolloutStatus Remember(RolloutStatus status, AnalysisReport report) => status with { Memory = report.Memory };

    private static RolloutStatus Exposed(RolloutStatus status, long now) => status.ExposedSince > 0 ? status : status with { ExposedSince = now };

    private static RolloutStatus Active(RolloutStatus status, long now) => status.ActiveSince > 0 ? status : status with { ActiveSince = now };

    private static RolloutStatus Idle(RolloutStatus status, long now) =>
        status.ActiveSince == 0 ? status : status with { ActiveMicros = status.ActiveMicros + (now - status.ActiveSince), ActiveSince = 0 };

    private static Ruling Refuse(RolloutStatus status, string command, string why) =>
        new(null, $"cannot {command} a rollout that is {status.State}{(status.Pause is { } pause ? $" ({pause})" : "")}: {why}");

    private static long Micros(TimeSpan span) => span.Ticks / TimeSpan.TicksPerMicrosecond;
}
