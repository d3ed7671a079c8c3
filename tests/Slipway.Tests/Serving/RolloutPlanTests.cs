using CsCheck;
using Slipway.Serving;

namespace Slipway.Tests.Serving;

public sealed class RolloutPlanTests
{
    private const long Second = 1_000_000;
    private static readonly StepAnswer Served = new(true, false, "served");
    private static readonly AnalysisSpec Quick = new() { Interval = TimeSpan.FromSeconds(1), MaxWait = TimeSpan.FromSeconds(30) };

    private static readonly RolloutSpec Canary = RolloutSpec.Canary(Quick, 10, 50, 100) with { Bake = TimeSpan.FromSeconds(5) };

    private static readonly RolloutSpec Full = new()
    {
        Guardrails = Quick,
        Bake = TimeSpan.FromSeconds(5),
        Steps =
        [
            RolloutStep.SetWeight(5), RolloutStep.Pause(TimeSpan.FromSeconds(60)), RolloutStep.Analyse(Quick), RolloutStep.SetWeight(50),
            RolloutStep.Pause(), RolloutStep.Approve(), RolloutStep.SetWeight(100),
        ],
    };

    [Fact]
    public void Canary_with_passing_analyses_walks_to_healthy()
    {
        var seen = Walk(Canary, status => Look(status, Verdict.Pass), stop: 100);
        Assert.Equal(RolloutState.Healthy, seen[^1].Next.State);
        Assert.Equal([10, 50, 100], seen.Where(t => t.Route == RouteMove.Weigh).Select(t => t.Next.Percent).Distinct());
        Assert.Single(seen, t => t.Route == RouteMove.Settle);
        Assert.Equal("rollout.started", seen[0].Kind);
        Assert.Equal("rollout.finished", seen[^1].Kind);
    }

    [Fact]
    public void Failed_analysis_aborts_with_one_revert_and_the_cause()
    {
        var seen = Walk(Canary, status => Look(status, status.Percent >= 50 ? Verdict.Fail : Verdict.Pass), stop: 100);
        Assert.Equal(RolloutState.Aborted, seen[^1].Next.State);
        var abort = Assert.Single(seen, t => t.Route == RouteMove.Revert);
        Assert.Equal("rollout.aborted", abort.Kind);
        Assert.Contains("auc is worse", abort.Cause);
        Assert.Equal(0, abort.Next.Percent);
    }

    [Fact]
    public void No_data_pauses_after_the_wait_and_goes_on_by_itself_when_data_comes()
    {
        var (status, now) = Until(Canary, Verdict.NoData, status => status.State == RolloutState.Paused);
        Assert.Equal(PauseReason.NoData, status.Pause);
        Assert.Equal(10, status.Percent);
        Assert.Null(RolloutPlan.Next(Canary, status, new(now + (3600 * Second), GateState.NotAsked, null, Report(Verdict.Pass), Report(Verdict.NoData))));
        var next = RolloutPlan.Next(Canary, status, new(now + (3600 * Second), GateState.NotAsked, null, Report(Verdict.Pass), Report(Verdict.Pass)));
        Assert.Equal((RolloutState.Progressing, status.Step + 1), (next!.Next.State, next.Next.Step));
    }

    [Fact]
    public void Guardrails_abort_during_every_pause()
    {
        foreach (var pause in Enum.GetValues<PauseReason>())
        {
            var status = RolloutStatus.Proposed(0) with { State = RolloutState.Paused, Pause = pause, Step = 1, Percent = 5, ExposedSince = 1 };
            var next = RolloutPlan.Next(Full, status, new(Second, GateState.NotAsked, null, Report(Verdict.Fail), null));
            Assert.Equal((RolloutState.Aborting, RouteMove.Revert), (next!.Next.State, next.Route));
        }
    }

    [Fact]
    public void Timed_pause_keeps_its_deadline_over_a_manual_pause()
    {
        var status = RolloutStatus.Proposed(0) with { State = RolloutState.Paused, Pause = PauseReason.Step, Step = 1, StepSince = 0, Percent = 5, ExposedSince = 1 };
        var held = RolloutPlan.Pause(status, "coffee", 30 * Second).Transition!.Next;
        Assert.Null(RolloutPlan.Next(Full, held, new(90 * Second, GateState.NotAsked, null, null, null)));
        var resumed = RolloutPlan.Resume(held, "back", 90 * Second).Transition!.Next;
        Assert.Equal(2, RolloutPlan.Next(Full, resumed, new(90 * Second, GateState.NotAsked, null, null, null))!.Next.Step);
    }

    [Fact]
    public void Progress_deadline_does_not_count_pauses()
    {
        var spec = Full with { ProgressDeadline = TimeSpan.FromSeconds(100) };
        var status = RolloutStatus.Proposed(0) with { State = RolloutState.Progressing, Step = 2, Percent = 5, ExposedSince = 1, ActiveSince = 1 };
        var paused = RolloutPlan.Pause(status, "night", 60 * Second).Transition!.Next;
        var resumed = RolloutPlan.Resume(paused, "day", 10_000 * Second).Transition!.Next;
        Assert.Null(RolloutPlan.Next(spec, resumed, new(10_039 * Second, GateState.NotAsked, null, null, null)));
        Assert.Equal(RolloutState.Aborting, RolloutPlan.Next(spec, resumed, new(10_041 * Second, GateState.NotAsked, null, null, null))!.Next.State);
    }

    [Fact]
    public void Promote_twice_goes_one_step()
    {
        var status = RolloutStatus.Proposed(0) with { State = RolloutState.Paused, Pause = PauseReason.Step, Step = 4, Percent = 50, ExposedSince = 1 };
        var first = RolloutPlan.Promote(Full, status, full: false, winner: null, "go", Second);
        Assert.Equal(5, first.Transition!.Next.Step);
        Assert.NotNull(RolloutPlan.Promote(Full, first.Transition.Next, full: false, winner: null, "go", Second).Refusal);
    }

    [Fact]
    public void Promote_full_stops_at_the_approve_step_which_only_another_person_with_the_role_ends()
    {
        var plan = Full with { Steps = [.. Full.Steps.Select(step => step.Kind == "approve" ? RolloutStep.Approve("approver", TimeSpan.FromSeconds(100)) : step)] };
        var status = RolloutStatus.Proposed(0) with { State = RolloutState.Progressing, Step = 0 };
        var jumped = RolloutPlan.Promote(plan, status, full: true, winner: null, "go", Second).Transition!.Next;
        Assert.Equal(5, jumped.Step);
        var waits = RolloutPlan.Next(plan, jumped, new(Second, GateState.NotAsked, null, null, null))!.Next;
        Assert.Equal(PauseReason.Approval, waits.Pause);
        Assert.Contains("does not skip", RolloutPlan.Promote(plan, waits, full: true, winner: null, "go", Second).Refusal);
        Assert.Contains("another person", RolloutPlan.Approve(plan, waits, proposer: true, ["approver"], "yes", Second).Refusal);
        // Without four eyes the proposer may, but not without the role.
        var alone = plan with { Steps = [.. plan.Steps.Select(step => step with { FourEyes = false })] };
        Assert.NotNull(RolloutPlan.Approve(alone, waits, proposer: true, ["approver"], "yes", Second).Transition);
        Assert.Null(RolloutPlan.Approve(alone, waits, proposer: true, [], "yes", Second).Transition);
        Assert.Contains("role approver", RolloutPlan.Approve(plan, waits, proposer: false, ["viewer"], "yes", Second).Refusal);
        Assert.Equal(6, RolloutPlan.Approve(plan, waits, proposer: false, ["approver"], "yes", Second).Transition!.Next.Step);
        Assert.Equal(RolloutState.Aborting, RolloutPlan.Next(plan, waits, new(200 * Second, GateState.NotAsked, null, null, null))!.Next.State);
    }

    [Fact]
    public void Pending_waits_for_its_gate()
    {
        Assert.Null(After(GateState.Waiting));
        Assert.Equal(RolloutState.Aborting, After(GateState.Denied));
        Assert.Equal(RolloutState.Progressing, After(GateState.Granted));
        Assert.Equal(RolloutState.Progressing, After(GateState.NotAsked));

        static RolloutState? After(GateState gate) => RolloutPlan.Next(Canary, RolloutStatus.Proposed(0), new(Second, gate, null, null, null))?.Next.State;
    }

    [Fact]
    public void Pending_without_auto_start_waits_for_a_person()
    {
        var spec = Canary with { AutoStart = false };
        Assert.Null(RolloutPlan.Next(spec, RolloutStatus.Proposed(0), new(Second, GateState.Granted, null, null, null)));
        Assert.NotNull(RolloutPlan.Start(RolloutStatus.Proposed(0), GateState.Waiting, Second).Refusal);
        Assert.Equal(RolloutState.Progressing, RolloutPlan.Start(RolloutStatus.Proposed(0), GateState.Granted, Second).Transition!.Next.State);
    }

    /// <summary>
    /// Random orders of observations, commands, duplicates, lost transitions (a worker that died before its commit) and time. Whatever happens: the
    /// weight never shrinks except to zero by an abort, an end is an end, an abort reaches stable in one transition, only passed analyses or
    /// people move past an analysis step, and the candidate settles only after every step.
    /// </summary>
    [Fact]
    public void Random_events_never_break_the_invariants() =>
        Gen.Select(Gen.Int[0, 1], Gen.Int[0, 14].Array[1, 120]).Sample((which, events) =>
        {
            var spec = which == 0 ? Canary : Full;
            var status = RolloutStatus.Proposed(0);
            long now = Second;
            foreach (var happening in events)
            {
                now += (happening % 5) * 7 * Second;
                var before = status;
                var passed = happening is 0 or 1 or 2;
                var byHand = false;
                var transition = happening switch
                {
                    <= 2 => Next(Verdict.Pass, Verdict.Pass),
                    3 => Next(Verdict.Pass, Verdict.NoData),
                    4 => Next(Verdict.Pass, Verdict.Inconclusive),
                    5 => Next(Verdict.Pass, Verdict.Fail),
                    6 => Next(Verdict.Fail, Verdict.Pass),
                    7 => Next(Verdict.NoData, Verdict.NoData),
                    8 => Command(RolloutPlan.Pause(status, "x", now)),
                    9 => Command(RolloutPlan.Resume(status, "x", now)),
                    10 => Command(RolloutPlan.Promote(spec, status, full: false, winner: null, "x", now)),
                    11 => Command(RolloutPlan.Promote(spec, status, full: true, winner: null, "x", now)),
                    12 => Command(RolloutPlan.AbortByHand(status, "x", now)),
                    13 => Command(RolloutPlan.Retry(status, "x", now)),
                    // The worker dies between deciding and saving: nothing of it may be needed later.
                    _ => Lost(Next(Verdict.Pass, Verdict.Pass)),
                };
                if (transition is null)
                {
                    continue;
                }

                status = transition.Next;
                var retried = before.State == RolloutState.Aborted && status.State == RolloutState.Pending;
                Assert.True(!before.Ended || retried, $"{before.State} is an end but became {status.State}");
                Assert.True(status.Percent >= before.Percent || status is { Percent: 0, State: RolloutState.Aborting } || retried, $"{before.Percent} -> {status.Percent}");
                Assert.Equal(status.State == RolloutState.Aborting, transition.Route == RouteMove.Revert);
                Assert.Equal(status.State == RolloutState.Healthy, transition.Route == RouteMove.Settle);
                Assert.Equal(status.State == RolloutState.Paused, status.Pause is not null);
                if (transition.Route == RouteMove.Settle)
                {
                    Assert.Equal((RolloutState.Baking, 100.0), (before.State, before.Percent));
                }

                if (status.Step > before.Step && before.Step < spec.Steps.Count && spec.Steps[before.Step].Kind == "analysis")
                {
                    Assert.True(passed || byHand, $"step {before.Step} was passed by event {happening}");
                }

                if (status.State is RolloutState.Promoting)
                {
                    Assert.Equal(spec.Steps.Count, status.Step);
                }

                Transition? Next(Verdict guardrails, Verdict analysis) => RolloutPlan.Next(
                    spec, status, new(now, GateState.NotAsked, null, status.ExposedSince > 0 ? Report(guardrails) : null, status.ExposedSince > 0 ? Report(analysis) : null) { Answer = Served });

                Transition? Command(Ruling ruling)
                {
                    byHand = true;
                    Assert.False(ruling.Transition is not null && ruling.Refusal is not null);
                    return ruling.Transition;
                }

                static Transition? Lost(Transition? transition)
                {
                    _ = transition;
                    return null;
                }
            }
        });

    [Fact]
    public void Faults_of_a_plan_are_reported_all_at_once()
    {
        var faults = new RolloutSpec
        {
            Steps = [RolloutStep.SetWeight(50), RolloutStep.SetWeight(10), new("dance"), new("setWeight"), RolloutStep.Pause(TimeSpan.FromSeconds(-1))],
            Bake = TimeSpan.FromSeconds(-1),
        }.Faults();
        Assert.Equal(5, faults.Count);
        Assert.Single(new RolloutSpec().Faults());
    }

    private static List<Transition> Walk(RolloutSpec spec, Func<RolloutStatus, AnalysisReport?> look, int stop)
    {
        var status = RolloutStatus.Proposed(0);
        var seen = new List<Transition>();
        for (var i = 0; i < stop && !status.Ended; i++)
        {
            var next = RolloutPlan.Next(spec, status, new(i * Second, GateState.NotAsked, null, status.ExposedSince > 0 ? Report(Verdict.Pass) : null, look(status)) { Answer = Served });
            if (next is not null)
            {
                seen.Add(next);
                status = next.Next;
            }
        }

        return seen;
    }

    private static (RolloutStatus Status, long Now) Until(RolloutSpec spec, Verdict analysis, Func<RolloutStatus, bool> reached)
    {
        var status = RolloutStatus.Proposed(0);
        for (long now = Second; now < 1000 * Second; now += Second)
        {
            status = RolloutPlan.Next(spec, status, new(now, GateState.NotAsked, null, null, status.ExposedSince > 0 ? Report(analysis) : null) { Answer = Served })?.Next ?? status;
            if (reached(status))
            {
                return (status, now);
            }
        }

        throw new InvalidOperationException($"never reached; it is {status.State} in step {status.Step}");
    }

    private static AnalysisReport? Look(RolloutStatus status, Verdict verdict) => status.ExposedSince > 0 ? Report(verdict) : null;

    private static AnalysisReport Report(Verdict verdict) => new(
        verdict, [new("auc", verdict, 0.7, 0.5, 0.2, 0.1, 0.3, 0.001, 1000, 100, verdict == Verdict.Fail ? "auc is worse" : $"{verdict}")], AnalysisMemory.Empty);
}
