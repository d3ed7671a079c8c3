using System.Text.Json;
using CsCheck;
using Slipway.Foundation;
using Slipway.Serving;

namespace Slipway.Tests.Serving;

/// <summary>Every kind as a pure function, and what holds for all of them whatever the order of events.</summary>
public sealed class RolloutKindsTests
{
    private const long Second = 1_000_000;
    private static readonly AnalysisSpec Quick = new() { Interval = TimeSpan.FromSeconds(1), MaxWait = TimeSpan.FromSeconds(30) };
    private static readonly MetricSpec Clicks = new() { Name = "clicks", Source = MetricSource.Label, Kind = MetricKind.Proportion };
    private static readonly RolloutVariant[] Two = [new("b", "m/2"), new("c", "m/3")];

    private static readonly RolloutSpec BlueGreen = new RolloutSpec
    {
        Kind = RolloutKind.BlueGreen,
        Guardrails = Quick,
        Bake = TimeSpan.FromSeconds(20),
        BlueGreen = new() { PrePromotion = Quick, PostPromotion = Quick, AutoPromoteAfter = TimeSpan.FromSeconds(60), Mirror = 50 },
    }.Planned();

    private static readonly RolloutSpec Shadow = new RolloutSpec { Kind = RolloutKind.Shadow, Shadow = new() { MinPairs = 10, MaxClassFlips = 0.1 } }.Planned();

    private static readonly RolloutSpec AbTest = new RolloutSpec { Kind = RolloutKind.AbTest, Variants = Two, Experiment = new() { Primary = Clicks }, Bake = TimeSpan.FromSeconds(5) }.Planned();

    private static readonly RolloutSpec Bandit = new RolloutSpec { Kind = RolloutKind.Bandit, Variants = Two, Bandit = new() { Reward = Clicks, Interval = TimeSpan.FromSeconds(10), StopAt = 0.95 }, Bake = TimeSpan.FromSeconds(5) }.Planned();

    private static readonly RolloutSpec Everything = new()
    {
        Guardrails = Quick,
        Bake = TimeSpan.FromSeconds(5),
        ProgressDeadline = TimeSpan.FromHours(2),
        OnNewVersion = NewVersionRule.Supersede,
        Steps =
        [
            new("warm"), new("match") { Header = "x-team", Values = ["qa"] }, RolloutStep.SetWeight(5), new("analysis") { Background = true, Analysis = Quick }, RolloutStep.Pause(TimeSpan.FromSeconds(20)),
            RolloutStep.Analyse(Quick), new("webhook") { Url = "https://example.org/go" }, RolloutStep.Approve("approver", TimeSpan.FromMinutes(30)), RolloutStep.Mirror(10), RolloutStep.SetWeight(50), RolloutStep.Pause(), RolloutStep.SetWeight(100),
        ],
    };

    public static TheoryData<string> Plans => ["everything", "blueGreen", "shadow", "abTest", "bandit"];

    [Fact]
    public void Plans_of_all_kinds_are_without_fault()
    {
        Assert.All<RolloutSpec>([BlueGreen, Shadow, AbTest, Bandit, Everything], plan => Assert.Empty(plan.Faults()));
        Assert.Equal(["warm", "mirror", "analysis", "pause", "mirror", "setWeight"], BlueGreen.Steps.Select(step => step.Kind));
        Assert.Equal([33.33, 33.33], AbTest.Steps.Take(2).Select(step => step.Percent!.Value));
    }

    [Fact]
    public void Blue_green_counts_its_auto_promotion_from_the_passed_analysis_and_switches_in_one_step()
    {
        var world = new World(BlueGreen);
        world.Run(RolloutState.Progressing, analysis: Verdict.NoData, seconds: 20);
        Assert.Equal("analysis", BlueGreen.Steps[world.Status.Step].Kind);
        Assert.Equal((0.0, 50.0), (world.Status.WeightOf("candidate"), world.Status.Mirrors!["candidate"]));
        // Far more than autoPromoteAfter, and without a verdict: it pauses and never switches.
        world.Run(RolloutState.Paused, analysis: Verdict.NoData, seconds: 300);
        Assert.Equal((PauseReason.NoData, 0.0), (world.Status.Pause!.Value, world.Status.Percent));
        world.Run(RolloutState.Paused, analysis: Verdict.Pass, seconds: 1);
        Assert.Equal(PauseReason.Step, world.Status.Pause);
        world.Run(RolloutState.Paused, analysis: Verdict.Pass, seconds: 58);
        world.Run(RolloutState.Baking, analysis: Verdict.Pass, seconds: 5);
        Assert.Equal([100.0], world.Weighed.Select(status => status.Percent).Where(percent => percent > 0).Distinct());
        // The scale-down waits for the post-promotion analysis.
        world.Run(RolloutState.Baking, bake: Verdict.NoData, seconds: 30);
        world.Run(RolloutState.Healthy, bake: Verdict.Pass, seconds: 5);
        Assert.Equal(RouteMove.Settle, world.Last!.Route);
    }

    [Fact]
    public void Blue_green_goes_back_when_the_post_promotion_analysis_fails()
    {
        var world = new World(BlueGreen);
        world.Run(RolloutState.Baking, analysis: Verdict.Pass, seconds: 70);
        world.Run(RolloutState.Aborted, bake: Verdict.Fail, seconds: 1);
        Assert.Contains("post-promotion", world.Status.Cause);
    }

    [Fact]
    public void Shadow_never_takes_traffic_and_ends_on_stable()
    {
        var world = new World(Shadow);
        world.Run(RolloutState.Progressing, shadow: Pairs(5, 0), seconds: 60);
        Assert.Equal(100, world.Status.Mirrors!["candidate"]);
        world.Run(RolloutState.Healthy, shadow: Pairs(100, 0.01), seconds: 5);
        Assert.Equal((RouteMove.Release, "rollout.finished"), (world.Last!.Route, world.Last.Kind));
        Assert.All(world.Weighed, status => Assert.Equal(0, status.Percent));
        var differs = new World(Shadow);
        differs.Run(RolloutState.Aborted, shadow: Pairs(100, 0.5), seconds: 5);
        Assert.Contains("class flips 0.5", differs.Status.Cause);
        Assert.Contains("stable stayed", RolloutPlan.Undo(world.Status, "m/1", "x", world.Now).Refusal);
    }

    [Theory]
    [InlineData(ExperimentDecision.Winner, RolloutState.Baking, null)]
    [InlineData(ExperimentDecision.NoDifference, RolloutState.Healthy, null)]
    [InlineData(ExperimentDecision.Harm, RolloutState.Aborted, null)]
    [InlineData(ExperimentDecision.Horizon, RolloutState.Paused, PauseReason.Inconclusive)]
    [InlineData(ExperimentDecision.Running, RolloutState.Progressing, null)]
    public void Experiment_decides(ExperimentDecision decision, RolloutState state, PauseReason? pause)
    {
        var world = new World(AbTest);
        world.Run(RolloutState.Progressing, seconds: 5);
        Assert.Equal((33.33, 33.33), (world.Status.WeightOf("b"), world.Status.WeightOf("c")));
        world.Run(state, experiment: Look(decision, decision == ExperimentDecision.Winner ? "c" : null), seconds: 3);
        Assert.Equal(pause, world.Status.Pause);
        if (decision == ExperimentDecision.Winner)
        {
            Assert.Equal((0.0, 100.0), (world.Status.WeightOf("b"), world.Status.WeightOf("c")));
            world.Run(RolloutState.Healthy, seconds: 10);
            Assert.Equal("c", world.Status.Winner);
        }
        else if (decision == ExperimentDecision.NoDifference)
        {
            Assert.Equal(RouteMove.Release, world.Last!.Route);
        }
    }

    [Fact]
    public void Sample_ratio_mismatch_pauses_and_a_winner_does_not_pass_it()
    {
        var world = new World(AbTest);
        world.Run(RolloutState.Paused, experiment: Look(ExperimentDecision.Winner, "b", mismatch: true), seconds: 60);
        Assert.Equal(PauseReason.Inconclusive, world.Status.Pause);
        world.Run(RolloutState.Progressing, experiment: Look(ExperimentDecision.Running, null), seconds: 1);
    }

    [Fact]
    public void Undecided_experiment_is_not_promoted_without_a_name_and_a_person_may_give_one()
    {
        var world = new World(AbTest);
        world.Run(RolloutState.Paused, experiment: Look(ExperimentDecision.Horizon, null), seconds: 10);
        Assert.Contains("name the one that takes all traffic (b, c)", RolloutPlan.Promote(AbTest, world.Status, full: false, winner: null, "go", world.Now).Refusal);
        Assert.Contains("name the one that takes all traffic (b, c)", RolloutPlan.Promote(AbTest, world.Status, full: true, winner: null, "go", world.Now).Refusal);
        Assert.Contains("none of its candidates", RolloutPlan.Promote(AbTest, world.Status, full: true, winner: "stable", "go", world.Now).Refusal);

        var rollout = new Rollout("0195e2f0a1b2c3d4e5f60718293a4b5c", "m", "m/1", "m/2", null, AbTest, world.Status, 1, null, "ada", DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch);
        var choices = RolloutActions.Of(rollout, true, [], GateState.NotAsked, new("m/1", false, "not yet"), (full, winner) => RolloutPlan.Promote(AbTest, world.Status, full, winner, "go", world.Now), world.Now)
            .Where(action => action.Command == "promoteWinner").ToList();
        Assert.Equal([("b", "m/2", 100.0), ("c", "m/3", 100.0)], choices.Select(choice => (choice.Winner!, choice.Serves, choice.After[choice.Winner!])));
        Assert.All(choices, choice => Assert.True(choice.Allowed && choice.After["stable"] == 0 && choice.Skips.Single() == "step 3: experiment until it decides"));
        world.Do(RolloutPlan.Promote(AbTest, world.Status, full: true, winner: "c", "c chosen", world.Now));
        world.Run(RolloutState.Healthy, seconds: 20);
        Assert.Equal((0.0, 100.0, "c"), (world.Status.WeightOf("b"), world.Status.WeightOf("c"), world.Status.Winner));
    }

    [Fact]
    public void Bandit_moves_at_most_once_an_interval_and_crowns_the_best()
    {
        var world = new World(Bandit);
        world.Run(RolloutState.Progressing, seconds: 5);
        for (var i = 0; i < 60; i++)
        {
            world.Run(RolloutState.Progressing, bandit: Arms(0.2, 0.5, 0.3, best: null), seconds: 1);
        }

        // Two initial shares, and one move in each ten of the sixty seconds.
        Assert.InRange(world.Weighed.Count, 7, 9);
        Assert.Equal((50.0, 30.0, 80.0), (world.Status.WeightOf("b"), world.Status.WeightOf("c"), world.Status.Percent));
        world.Run(RolloutState.Baking, bandit: Arms(0.1, 0.8, 0.1, best: "b"), seconds: 2);
        Assert.Equal(100, world.Status.WeightOf("b"));
    }

    [Fact]
    public void Match_warm_webhook_and_background_analysis()
    {
        var world = new World(Everything);
        world.Run(RolloutState.Progressing, seconds: 2, answer: null);
        Assert.Equal("warm", Everything.Steps[world.Status.Step].Kind);
        world.Run(RolloutState.Paused, answer: new(true, false, "loaded"), seconds: 2);
        Assert.Equal([1], world.Status.Matches);
        Assert.Equal([3], world.Status.Background!.Keys);
        world.Run(RolloutState.Progressing, analysis: Verdict.Pass, answer: new(false, false, "503"), seconds: 30);
        Assert.Equal("webhook", Everything.Steps[world.Status.Step].Kind);
        world.Run(RolloutState.Paused, answer: new(true, false, "200"), seconds: 2);
        Assert.Equal(PauseReason.Approval, world.Status.Pause);
        world.Do(RolloutPlan.Approve(Everything, world.Status, false, ["approver"], "fine", world.Now));
        world.Run(RolloutState.Paused, seconds: 2);
        Assert.Equal((50.0, PauseReason.Step, 10.0), (world.Status.Percent, world.Status.Pause!.Value, world.Status.Mirrors!["candidate"]));
        // A background analysis that fails aborts in any pause.
        world.Run(RolloutState.Aborted, background: Verdict.Fail, seconds: 2);
        Assert.Equal((0.0, 0), (world.Status.Percent, world.Status.Matches.Count));
    }

    [Fact]
    public void Background_analysis_without_data_holds_the_end()
    {
        var plan = Everything with { Steps = [RolloutStep.SetWeight(50), new("analysis") { Background = true, Analysis = Quick }, RolloutStep.SetWeight(100)] };
        var world = new World(plan);
        world.Run(RolloutState.Paused, background: Verdict.NoData, seconds: 60);
        Assert.Equal(PauseReason.NoData, world.Status.Pause);
        world.Run(RolloutState.Baking, background: Verdict.Pass, seconds: 2);
    }

    [Fact]
    public void Webhook_that_refuses_aborts_only_where_it_counts()
    {
        foreach (var counts in new[] { true, false })
        {
            var world = new World(Everything with { Steps = [RolloutStep.SetWeight(10), new("webhook") { Url = "https://example.org", CountsAsFailure = counts }, RolloutStep.Pause()] });
            world.Run(counts ? RolloutState.Aborted : RolloutState.Paused, answer: new(false, true, "answered 403"), seconds: 3);
            Assert.Contains(counts ? "403" : "wait for a person", world.Status.Cause);
        }
    }

    [Fact]
    public void Weight_is_set_at_once_and_its_step_done_when_every_node_serves_it()
    {
        var spec = Everything with { Steps = [RolloutStep.SetWeight(10), RolloutStep.Pause()] };
        var status = RolloutPlan.Next(spec, RolloutStatus.Proposed(Second), new(Second, GateState.NotAsked, null, null, null))!.Next;
        var set = RolloutPlan.Next(spec, status, new(2 * Second, GateState.NotAsked, null, null, null))!;
        Assert.Equal((RouteMove.Weigh, 10.0, 0, 2 * Second), (set.Route, set.Next.Percent, set.Next.Step, set.Next.ExposedSince));
        Assert.Null(RolloutPlan.Next(spec, set.Next, new(3 * Second, GateState.NotAsked, null, null, null)));
        Assert.Null(RolloutPlan.Next(spec, set.Next, new(3 * Second, GateState.NotAsked, null, null, null) { Answer = new(false, false, "waits for b") }));
        // An abort waits for nobody.
        Assert.Equal(RouteMove.Revert, RolloutPlan.AbortByHand(set.Next, "x", 3 * Second).Transition!.Route);
        var served = RolloutPlan.Next(spec, set.Next, new(4 * Second, GateState.NotAsked, null, null, null) { Answer = new(true, false, "served by 2 nodes") })!;
        Assert.Equal((RouteMove.None, 1, "step 1: 10 % of the traffic, served by 2 nodes"), (served.Route, served.Next.Step, served.Cause));
        Assert.Equal(4 * Second, served.Next.Clocks.Single().Ended);
    }

    [Fact]
    public void Job_is_asked_once_and_its_end_decides_the_step()
    {
        foreach (var (succeeded, counts) in new[] { (true, true), (false, true), (false, false) })
        {
            var world = new World(Everything with { Steps = [RolloutStep.SetWeight(10), new("job") { Pipeline = "load-test", CountsAsFailure = counts }, RolloutStep.Pause()] });
            world.Run(RolloutState.Progressing, seconds: 5);
            Assert.Equal(("rollout.job-asked", 1, 10.0), (world.Last!.Kind, world.Status.Step, world.Status.Percent));
            // An answer of another attempt or step is not this one's.
            Assert.Null(RolloutPlan.Answer(world.Status, 2, 1, true, "x").Transition);
            Assert.Null(RolloutPlan.Answer(world.Status, 1, 0, true, "x").Transition);
            // It may come while a person holds the rollout.
            world.Do(RolloutPlan.Pause(world.Status, "coffee", world.Now));
            world.Do(RolloutPlan.Answer(world.Status, 1, 1, succeeded, "run r1 ended"));
            Assert.Null(RolloutPlan.Answer(world.Status, 1, 1, !succeeded, "run r1 ended").Transition);
            world.Run(RolloutState.Paused, seconds: 5);
            Assert.Equal((PauseReason.Manual, 1), (world.Status.Pause!.Value, world.Status.Step));
            world.Do(RolloutPlan.Resume(world.Status, "back", world.Now));
            world.Run(succeeded || !counts ? RolloutState.Paused : RolloutState.Aborted, seconds: 3);
            Assert.Contains(succeeded || !counts ? "wait for a person" : "run pipeline load-test: run r1 ended", world.Status.Cause);
        }

        var silent = new World(Everything with { Steps = [new("job") { Pipeline = "load-test", Expiry = TimeSpan.FromSeconds(30) }] });
        silent.Run(RolloutState.Progressing, seconds: 29);
        silent.Run(RolloutState.Aborted, seconds: 3);
    }

    [Fact]
    public void Supersede_and_lost_lease()
    {
        var world = new World(Everything with { Steps = [RolloutStep.SetWeight(50), RolloutStep.Pause()] });
        world.Run(RolloutState.Paused, seconds: 1);
        var seen = new Observation(world.Now, GateState.NotAsked, null, null, null);
        var lost = RolloutPlan.Next(world.Spec, world.Status, seen with { LeaseLost = true })!;
        Assert.Equal((RolloutState.Paused, PauseReason.ControlPlane, 50.0), (lost.Next.State, lost.Next.Pause!.Value, lost.Next.Percent));
        Assert.Null(RolloutPlan.Next(world.Spec, lost.Next, seen with { LeaseLost = true }));
        Assert.NotNull(RolloutPlan.Promote(world.Spec, lost.Next, false, null, "x", world.Now).Refusal);
        Assert.Equal(RolloutState.Progressing, RolloutPlan.Resume(lost.Next, "x", world.Now).Transition!.Next.State);

        var superseded = RolloutPlan.Next(world.Spec, world.Status, seen with { SupersededBy = "newer" })!;
        Assert.Equal((RolloutState.Aborting, RouteMove.Revert), (superseded.Next.State, superseded.Route));
        Assert.Equal(RolloutState.Superseded, RolloutPlan.Next(world.Spec, superseded.Next, seen)!.Next.State);
        Assert.Null(RolloutPlan.Next(world.Spec with { OnNewVersion = NewVersionRule.Queue }, world.Status, seen with { SupersededBy = "newer" }));
    }

    [Fact]
    public void Plan_edits_are_refused_but_for_pauses_to_come()
    {
        var plan = Everything with { Steps = [RolloutStep.SetWeight(10), RolloutStep.Pause(TimeSpan.FromSeconds(60)), RolloutStep.SetWeight(50), RolloutStep.Pause(TimeSpan.FromSeconds(60))] };
        var world = new World(plan);
        world.Run(RolloutState.Paused, seconds: 1);
        Assert.Null(RolloutPlan.Edit(plan, world.Status, With(3, RolloutStep.Pause(TimeSpan.FromSeconds(5)))));
        Assert.Contains("has begun", RolloutPlan.Edit(plan, world.Status, With(1, RolloutStep.Pause(TimeSpan.FromSeconds(5)))));
        Assert.Contains("keeps its steps", RolloutPlan.Edit(plan, world.Status, With(2, RolloutStep.SetWeight(60))));
        Assert.Contains("keeps its steps", RolloutPlan.Edit(plan, world.Status, plan with { Bake = TimeSpan.FromSeconds(1) }));
        Assert.Null(RolloutPlan.Edit(plan, RolloutStatus.Proposed(0), plan with { Bake = TimeSpan.FromSeconds(1) }));

        RolloutSpec With(int index, RolloutStep step) => plan with { Steps = [.. plan.Steps.Select((old, i) => i == index ? step : old)] };
    }

    [Fact]
    public void Older_plans_and_statuses_are_still_read()
    {
        var spec = JsonSerializer.Deserialize<RolloutSpec>("""{"steps":[{"kind":"setWeight","percent":10},{"kind":"analysis","analysis":{"minRequests":5}}],"bake":"00:00:05"}""", CanonicalJson.Options)!;
        var status = JsonSerializer.Deserialize<RolloutStatus>(
            """{"state":"paused","pause":"noData","step":1,"stepSince":5,"percent":10,"exposedSince":4,"activeMicros":1,"activeSince":0,"attempt":1,"cause":"x","memory":{"looks":{}}}""", CanonicalJson.Options)!;
        Assert.Equal((RolloutKind.Canary, 10.0, 0.0), (spec.Kind, status.WeightOf("candidate"), status.WeightOf("b")));
        Assert.Equal(2, RolloutPlan.Next(spec, status, new(9 * Second, GateState.NotAsked, null, null, Report(Verdict.Pass)))!.Next.Step);
        Assert.Equal(spec.Steps, JsonSerializer.Deserialize<RolloutSpec>(JsonSerializer.Serialize(spec, CanonicalJson.Options), CanonicalJson.Options)!.Steps, (a, b) => a.Kind == b.Kind && a.Percent == b.Percent);
    }

    /// <summary>
    /// Random worlds: verdicts, answers, commands, duplicated and late deliveries, clocks that jump both ways, workers that die before their commit, and
    /// a status that is read back from its stored text after every step. Whatever happens, shares never shrink before an abort (a bandit aside), an end
    /// is an end, an approval is given by a person, and a failed guardrail aborts.
    /// </summary>
    [Theory, MemberData(nameof(Plans))]
    public void Random_worlds_keep_the_invariants(string name) =>
        Gen.Int[0, 21].Array[1, 150].Sample(events =>
        {
            var spec = PlanOf(name);
            var (status, now, approved) = (RolloutStatus.Proposed(Second), 2 * Second, false);
            Observation? late = null;
            foreach (var happening in events)
            {
                now += happening switch { 18 => -40 * Second, 19 => 600 * Second, _ => happening * Second };
                var before = status;
                var seen = See(spec, status, now, happening);
                var transition = happening switch
                {
                    <= 9 => RolloutPlan.Next(spec, status, seen),
                    // Observed before something else happened, and judged now: the compare-and-set of the store would refuse it, so only its effect on the pure function counts.
                    10 => late is null ? null : RolloutPlan.Next(spec, status, late with { Analysis = null, Experiment = null, Bandit = null, Shadow = null, Answer = null, Bake = null, Background = null }),
                    11 => RolloutPlan.Pause(status, "x", now).Transition,
                    12 => RolloutPlan.Resume(status, "x", now).Transition,
                    13 => RolloutPlan.Promote(spec, status, false, null, "x", now).Transition,
                    14 => RolloutPlan.Promote(spec, status, true, null, "x", now).Transition,
                    15 => Approve(),
                    16 => RolloutPlan.AbortByHand(status, "x", now).Transition,
                    17 => RolloutPlan.Retry(status, "x", now).Transition,
                    20 => RolloutPlan.Undo(status, "m/0", "x", now).Transition,
                    // Died between deciding and saving.
                    21 => Forget(RolloutPlan.Next(spec, status, seen)),
                    _ => RolloutPlan.Next(spec, status, seen),
                };
                late = seen;
                if (transition is null)
                {
                    continue;
                }

                status = Stored(transition.Next);
                var retried = before.State == RolloutState.Aborted && status.State == RolloutState.Pending;
                var undone = before.State == RolloutState.Healthy && status.State == RolloutState.RollingBack;
                Assert.True(!before.Ended || retried || undone, $"{before.State} is an end but became {status.State}");
                if (spec.Kind is not RolloutKind.Bandit && !retried && !undone && transition.Route is not RouteMove.Revert and not RouteMove.Release && status.State is not RolloutState.Baking and not RolloutState.RollingBack and not RolloutState.Aborted and not RolloutState.Superseded)
                {
                    Assert.All(spec.Names, variant => Assert.True(status.WeightOf(variant) >= before.WeightOf(variant), $"{variant}: {before.WeightOf(variant)} -> {status.WeightOf(variant)} in {status.State}"));
                }

                Assert.Equal(status.State == RolloutState.Aborting, transition.Route == RouteMove.Revert);
                Assert.Equal(status.State == RolloutState.Paused, status.Pause is not null);
                Assert.True(status.State is not (RolloutState.Aborting or RolloutState.Aborted) || (status.Percent == 0 && status.Weights is null && status.Mirrors is null));
                Assert.True(spec.Kind != RolloutKind.Shadow || status.Percent == 0, "a shadow took traffic");
                for (var step = before.Step; step < status.Step && !retried && before.Step < spec.Steps.Count; step++)
                {
                    Assert.True(spec.Steps[step].Kind != "approve" || approved, $"approve step {step + 1} was skipped by event {happening}");
                }

                if (seen.Guardrails is { Verdict: Verdict.Fail } && happening <= 9 && !before.Ended && before.State is not (RolloutState.Pending or RolloutState.Aborting or RolloutState.RollingBack))
                {
                    Assert.Equal(RolloutState.Aborting, status.State);
                }

                if (transition.Route == RouteMove.Settle)
                {
                    Assert.Equal(100, before.WeightOf(status.Winner ?? spec.First));
                }

                Transition? Approve()
                {
                    var ruling = RolloutPlan.Approve(spec, status, false, ["approver"], "x", now);
                    approved |= ruling.Transition is not null;
                    return ruling.Transition;
                }

                static Transition? Forget(Transition? decided)
                {
                    _ = decided;
                    return null;
                }
            }
        }, iter: 4000);

    /// <summary>A worker that dies at every step and starts from the saved text ends as one that never dies.</summary>
    [Theory, MemberData(nameof(Plans))]
    public void Restarts_at_every_step_end_the_same(string name) =>
        Gen.Select(Gen.Int[0, 9].Array[40, 200], Gen.Bool.Array[200]).Sample((events, kills) =>
        {
            Assert.Equal(Walk([]), Walk(kills));

            string Walk(bool[] killed)
            {
                var spec = PlanOf(name);
                var (status, now) = (RolloutStatus.Proposed(Second), Second);
                for (var i = 0; i < events.Length; i++)
                {
                    now += (1 + events[i]) * Second;
                    if (status is { Pause: PauseReason.Approval })
                    {
                        status = RolloutPlan.Approve(spec, status, false, ["approver"], "x", now).Transition!.Next;
                    }

                    var seen = See(spec, status, now, events[i]);
                    if (killed.Length > i && killed[i])
                    {
                        // The decision is lost, and a new worker reads the status and decides again from the same world.
                        _ = RolloutPlan.Next(spec, status, seen);
                        status = Stored(status);
                    }

                    status = RolloutPlan.Next(spec, status, seen)?.Next ?? RolloutPlan.Remember(status, seen);
                }

                return JsonSerializer.Serialize(status, CanonicalJson.Options);
            }
        }, iter: 1000);

    private static RolloutSpec PlanOf(string name) => name switch { "blueGreen" => BlueGreen, "shadow" => Shadow, "abTest" => AbTest, "bandit" => Bandit, _ => Everything };

    private static RolloutStatus Stored(RolloutStatus status) => JsonSerializer.Deserialize<RolloutStatus>(JsonSerializer.Serialize(status, CanonicalJson.Options), CanonicalJson.Options)!;

    // What a world of a kind may show at a moment; 0 to 4 are good news, 5 to 9 are not.
    private static Observation See(RolloutSpec spec, RolloutStatus status, long now, int mood)
    {
        var verdict = mood switch { <= 4 => Verdict.Pass, 5 => Verdict.NoData, 6 => Verdict.Inconclusive, 7 => Verdict.Error, 8 => Verdict.Fail, _ => Verdict.Pass };
        var step = status.Step < spec.Steps.Count ? spec.Steps[status.Step] : null;
        var exposed = status.ExposedSince > 0;
        return new(now, GateState.NotAsked, null, exposed ? Report(mood == 9 ? Verdict.Fail : Verdict.Pass) : null, step is { Kind: "analysis", Background: false } ? Report(verdict) : null)
        {
            Answer = step?.Kind is "setWeight" or "warm" or "webhook" ? new(mood <= 6, mood == 8, $"{verdict}") : null,
            Background = status.Background?.Keys.ToDictionary(index => index, _ => Report(verdict)),
            Bake = status.BakingSince > 0 && spec.BakeAnalysis is not null ? Report(verdict) : null,
            Experiment = step?.Kind == "experiment" ? Look((ExperimentDecision)(mood % 5), mood % 5 == 1 ? "b" : null, mismatch: mood == 7) : null,
            Bandit = step?.Kind == "bandit" ? Arms(0.2, 0.2 + (mood * 0.05), 0.6 - (mood * 0.05), best: mood == 3 ? "c" : null) : null,
            Shadow = step?.Kind == "compare" ? Pairs(mood * 5, mood == 8 ? 0.5 : 0.01) : null,
        };
    }

    private static AnalysisReport Report(Verdict verdict) => new(
        verdict, [new("errorRate", verdict, 0.1, 0.1, 0, -0.1, 0.1, 0.5, 1000, 100, $"{verdict}")],
        new(new Dictionary<string, AnalysisLook>(StringComparer.Ordinal) { ["errorRate"] = new(0.5, -0.1, 0.1) }));

    private static ExperimentReport Look(ExperimentDecision decision, string? winner, bool mismatch = false) =>
        new(decision, winner, "as seen", DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch, [], [], new(1, mismatch ? 1e-6 : 0.5, mismatch, "the arms' sizes"), null, 0, 0, 1, AnalysisMemory.Empty);

    private static BanditReport Arms(double stable, double b, double c, string? best) => new(
        DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch,
        [new("stable", 200, 0.1, 0.1, 0.01, 0.1, 0.33, stable), new("b", 200, 0.1, 0.1, 0.01, 0.5, 0.33, b), new("c", 200, 0.1, 0.1, 0.01, 0.4, 0.33, c)], true, best, "rewards moved the shares");

    private static ShadowReport Pairs(long pairs, double flips) => new(
        "candidate", pairs, 0, 1 - flips, [], flips, [], 0.01, 0.99, 0, 0, 1, 0.5, 0, 0, 1, null);

    /// <summary>One rollout in a world that stands still until it is told otherwise.</summary>
    private sealed class World(RolloutSpec spec)
    {
        public RolloutSpec Spec { get; } = spec;

        public RolloutStatus Status { get; private set; } = RolloutStatus.Proposed(Second);

        public long Now { get; private set; } = Second;

        public Transition? Last { get; private set; }

        public List<RolloutStatus> Weighed { get; } = [];

        public void Do(Ruling ruling)
        {
            Assert.Null(ruling.Refusal);
            Take(ruling.Transition!);
        }

        public void Run(
            RolloutState end, int seconds, Verdict? analysis = null, Verdict? bake = null, Verdict? background = null, ExperimentReport? experiment = null, BanditReport? bandit = null, ShadowReport? shadow = null,
            StepAnswer? answer = null)
        {
            for (var i = 0; i < seconds; i++)
            {
                Now += Second;
                while (RolloutPlan.Next(Spec, Status, Seen()) is { } next)
                {
                    Take(next);
                }
            }

            Assert.Equal(end, Status.State);

            Observation Seen()
            {
                var step = Status.Step < Spec.Steps.Count ? Spec.Steps[Status.Step] : null;
                return new(Now, GateState.NotAsked, null, Status.ExposedSince > 0 ? Report(Verdict.Pass) : null, step is { Kind: "analysis", Background: false } && analysis is { } verdict ? Report(verdict) : null)
                {
                    Answer = step?.Kind == "setWeight" ? new(true, false, "served") : step?.Kind == "warm" && Spec != Everything ? new(true, false, "loaded") : step?.Kind is "warm" or "webhook" ? answer : null,
                    Background = background is { } beside && Status.Background is { } running ? running.Keys.ToDictionary(index => index, _ => Report(beside)) : null,
                    Bake = Status.BakingSince > 0 && Spec.BakeAnalysis is not null ? Report(bake ?? Verdict.NoData) : null,
                    Experiment = step?.Kind == "experiment" ? experiment : null,
                    Bandit = step?.Kind == "bandit" ? bandit : null,
                    Shadow = step?.Kind == "compare" ? shadow : null,
                };
            }
        }

        private void Take(Transition next)
        {
            (Last, Status) = (next, next.Next);
            if (next.Route == RouteMove.Weigh)
            {
                Weighed.Add(next.Next);
            }
        }
    }
}
