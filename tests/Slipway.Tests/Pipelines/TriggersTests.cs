using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Monitoring;
using Slipway.Pipelines;
using Slipway.Pipelines.Steps;
using Slipway.Registry;
using Slipway.Serving;
using static Slipway.Tests.Pipelines.PipelinesWorld;

namespace Slipway.Tests.Pipelines;

public sealed class TriggersTests
{
    private static readonly TriggerSpec Trigger = new()
    {
        Name = "on-alert",
        Pipeline = "retrain",
        Match = new TriggerMatch(Endpoint: "departures", Model: "departures", MinSeverity: "major"),
        CoolDown = TimeSpan.FromHours(24),
        MaxPerDay = 3,
        Window = new TrailingWindow(TimeSpan.FromDays(21), TimeSpan.FromDays(7)),
    };

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Alert_starts_one_run_on_the_window_before_its_end_however_often_it_is_delivered(Engine engine)
    {
        await using var world = await CreateAsync(engine, Retrain);
        var triggers = world.Get<Triggers>();
        await triggers.ApplyAsync(TestWorld.Ada, Trigger, None);
        var end = Monday.AddDays(35);

        var alert = await AlertAsync(world, "departures/1", end);
        await world.PumpAsync(rounds: 2);
        await triggers.DecideAsync(alert, None);
        await triggers.DecideAsync(alert, None);

        var run = Assert.Single(await world.Get<PipelineRuns>().ListAsync("retrain", 10, None));
        Assert.Equal([new Subject("alert", alert)], run.Causes);
        Assert.Equal(("on-alert", "ada"), (run.Trigger, run.StartedBy));
        var train = run.Spec.Steps[0].Read<TrainParameters>();
        Assert.Equal((end.AddDays(-28), end.AddDays(-7), end.AddDays(-7), end), (train.From, train.To, train.ValidateFrom, train.ValidateTo));
        var decision = Assert.Single(await triggers.DecisionsAsync("on-alert", None));
        Assert.Equal((true, "fired", run.Id), (decision.Fired, decision.Code, decision.Run));

        // While it runs, and a day after its end, another alert starts nothing.
        world.Clock.Advance(TimeSpan.FromSeconds(1));
        await AlertAsync(world, "departures/1", end.AddDays(7));
        await world.PumpAsync(rounds: 2);
        Assert.Equal("run-open", (await triggers.DecisionsAsync("on-alert", None))[0].Code);
        Assert.Equal(PipelineState.Succeeded, (await EndAsync(world, run.Id)).State);
        world.Clock.Advance(TimeSpan.FromHours(23));
        await AlertAsync(world, "departures/1", end.AddDays(7));
        await world.PumpAsync();
        Assert.Equal("cool-down", (await triggers.DecisionsAsync("on-alert", None))[0].Code);
        Assert.Single(await world.Get<PipelineRuns>().ListAsync("retrain", 10, None));
        await world.SealAsync();
        Assert.Equal(2, (await world.Journal.ListAsync(new JournalFilter { Kind = "trigger.suppressed" }, None)).Items.Count);
        var started = Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "pipeline-run.started", Subject = $"alert:{alert}" }, None)).Items);
        Assert.Contains(started.Links, l => l.Kind == "dataset-version");

        world.Clock.Advance(TimeSpan.FromHours(2));
        await AlertAsync(world, "departures/1", end.AddDays(7));
        await world.PumpAsync(rounds: 2);
        var runs = await world.Get<PipelineRuns>().ListAsync("retrain", 10, None);
        Assert.Equal(2, runs.Count);
        await EndAsync(world, runs[0].Id);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Alert_that_came_during_a_cool_down_starts_a_run_when_the_cool_down_ends_and_it_still_fires(Engine engine)
    {
        await using var world = await CreateAsync(engine, Retrain);
        var triggers = world.Get<Triggers>();
        await triggers.ApplyAsync(TestWorld.Ada, Trigger, None);
        var end = Monday.AddDays(35);
        await AlertAsync(world, "departures/1", end);
        await world.PumpAsync(rounds: 2);
        var first = Assert.Single(await world.Get<PipelineRuns>().ListAsync("retrain", 10, None));
        await EndAsync(world, first.Id);
        world.Clock.Advance(TimeSpan.FromHours(1));
        var waiting = await AlertAsync(world, "departures/1", end.AddDays(7));
        await world.PumpAsync(rounds: 2);
        Assert.Equal(("cool-down", waiting), ((await triggers.DecisionsAsync("on-alert", None))[0].Code, (await triggers.DecisionsAsync("on-alert", None))[0].Alert));

        world.Clock.Advance(TimeSpan.FromHours(24));
        await world.PumpAsync(rounds: 2);
        var runs = await world.Get<PipelineRuns>().ListAsync("retrain", 10, None);
        Assert.Equal([new Subject("alert", waiting)], runs[0].Causes);
        Assert.Equal(2, runs.Count);
        await EndAsync(world, runs[0].Id);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Damaged_data_and_foreign_alerts_start_nothing_and_say_so(Engine engine)
    {
        await using var world = await CreateAsync(engine, Retrain);
        var triggers = world.Get<Triggers>();
        await triggers.ApplyAsync(TestWorld.Ada, Trigger, None);

        await AlertAsync(world, "departures/1", Monday.AddDays(35), endpoint: "elsewhere");
        await world.PumpAsync();
        world.Clock.Advance(TimeSpan.FromSeconds(1));
        await AlertAsync(world, "departures/1", Monday.AddDays(35), family: "quality");
        world.Clock.Advance(TimeSpan.FromSeconds(1));
        await AlertAsync(world, "departures/1", Monday.AddDays(35));
        await world.PumpAsync();

        var decisions = await triggers.DecisionsAsync("on-alert", None);
        Assert.Equal(["data-quality", "data-quality", "no-match"], decisions.Select(d => d.Code));
        Assert.All(decisions, d => Assert.False(d.Fired));
        Assert.Contains("elsewhere, not departures", decisions[2].Reason);
        Assert.Empty(await world.Get<PipelineRuns>().ListAsync(null, 10, None));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Circle_closes_from_alert_over_gate_and_approval_to_a_new_champion_that_is_watched(Engine engine)
    {
        var spec = Retrain with { Steps = [.. Retrain.Steps, StepSpec.ProposeRollout(new RolloutParameters { Endpoint = "departures", Percents = [100] })] };
        await using var world = await CreateAsync(engine, Retrain);
        var first = await RunAsync(world);
        await ApproveAsync(world, (await OutputAsync(world, first.Id, 1)).GateRequest!);
        await world.Get<Endpoints>().CreateAsync(TestWorld.Ada, new CreateEndpoint { Name = "departures", ModelVersion = "departures/1", Policy = "departures" }, None);
        await world.PumpAsync();
        Assert.Equal(1, (await world.Get<Models>().ResolveAsync("departures@champion", None)).Version);
        var reference = await world.Get<References>().FindAsync("departures", "departures/1", None);
        Assert.Equal((3, 1000, 1000), (reference!.Reference.Columns.Count, reference.Reference.Scores!.Length, reference.Reference.Labels!.Length));
        Assert.Contains(reference.Reference.Columns[2], float.IsNaN);
        Assert.Equal(["hour"], reference.Categorical);
        var watched = await world.Get<Monitors>().WatchAsync(TestWorld.Ada, reference with { Window = WindowRule.Day(), Watched = ["wait", "noise"] }, None);
        Assert.InRange(watched.ReferenceAuc!.Value, 0.78, 0.95);
        await world.Get<Slipway.Pipelines.Pipelines>().ApplyAsync(TestWorld.Ada, spec, None);
        await world.Get<Triggers>().ApplyAsync(TestWorld.Ada, Trigger, None);

        await AlertAsync(world, "departures/1", Monday.AddDays(42));
        await world.PumpAsync(rounds: 2);
        var run = await EndAsync(world, Assert.Single(await world.Get<PipelineRuns>().ListAsync("retrain", 1, None)).Id);

        Assert.Equal((PipelineState.Succeeded, "departures/2", null), (run.State, run.ModelVersion, run.Error));
        var rollout = (await OutputAsync(world, run.Id, 2)).Rollout!;
        Assert.Equal(RolloutState.Pending, (await world.Get<Rollouts>().GetAsync(rollout, None)).Status.State);
        await ApproveAsync(world, (await OutputAsync(world, run.Id, 1)).GateRequest!);
        for (var i = 0; i < 10; i++)
        {
            world.Clock.Advance(TimeSpan.FromSeconds(3));
            await world.PumpAsync();
        }

        Assert.Equal(RolloutState.Healthy, (await world.Get<Rollouts>().GetAsync(rollout, None)).Status.State);
        Assert.Equal(2, (await world.Get<Models>().ResolveAsync("departures@champion", None)).Version);
        var monitors = (await world.Get<Monitors>().ListAsync(None)).ToDictionary(m => m.ModelVersion, StringComparer.Ordinal);
        Assert.NotNull(monitors["departures/1"].StoppedAt);
        Assert.Null(monitors["departures/2"].StoppedAt);
        Assert.Equal("day", monitors["departures/2"].Window.Period);
        Assert.Equal(["wait", "noise"], monitors["departures/2"].Watched!);
        Assert.NotEqual(monitors["departures/1"].ReferenceHash, monitors["departures/2"].ReferenceHash);
        Assert.True((await world.Journal.VerifyAsync(None)).Intact);
    }

    [Theory]
    [InlineData(0, 24)]
    [InlineData(1, 48)]
    [InlineData(2, 96)]
    [InlineData(9, 14 * 24)]
    public void Cool_down_doubles_with_every_bad_run_in_a_row(int bad, int hours)
    {
        var now = new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
        var runs = Enumerable.Range(0, bad).Select(i => new PastRun($"bad-{i}", i % 2 == 0 ? PipelineState.Rejected : PipelineState.Failed, now, now))
            .Append(new PastRun("good", PipelineState.Succeeded, now, now)).Append(new PastRun("older", PipelineState.Failed, now, now)).ToList();
        Assert.Equal(now.AddHours(hours), TriggerRules.CoolDownUntil(TimeSpan.FromHours(24), runs));
    }

    [Fact]
    public void Budget_and_stability_are_asked_too()
    {
        var now = new DateTimeOffset(2026, 1, 3, 0, 0, 0, TimeSpan.Zero);
        var alert = new Alert("a", "m", "departures", "departures/1", "performance", "firing", "severe", "auc", null, 0.6, 0.7, 9, now, now, "AUC fell", [], now, now, null, null, null);
        var spec = Trigger with { CoolDown = TimeSpan.Zero };
        PastRun[] three = [.. Enumerable.Range(1, 3).Select(i => new PastRun($"r{i}", PipelineState.Succeeded, now.AddHours(-i), now.AddHours(-i)))];
        Assert.Equal("budget", TriggerRules.Decide(spec, new(alert, "departures/1", null), new(null, three), now).Code);
        Assert.True(TriggerRules.Decide(spec with { MaxPerDay = 4 }, new(alert, "departures/1", null), new(null, three), now).Fire);
        Assert.True(TriggerRules.Decide(spec, new(alert, null, null), new(null, three), now.AddHours(22)).Fire);
        // The day is over and the week is not: three runs are a week's budget until the oldest is seven days old.
        var weekly = TriggerRules.Decide(spec with { MaxPerWeek = 3 }, new(alert, null, null), new(null, three), now.AddDays(6));
        Assert.Equal(("budget", "3 runs in 7 days, and 3 are allowed"), (weekly.Code, weekly.Reason));
        Assert.True(TriggerRules.Decide(spec with { MaxPerWeek = 4 }, new(alert, null, null), new(null, three), now.AddDays(6)).Fire);
        Assert.True(TriggerRules.Decide(spec with { MaxPerWeek = 3 }, new(alert, null, null), new(null, three), now.AddDays(7).AddHours(-3)).Fire);
        Assert.Contains((spec with { MaxPerWeek = 0 }).Faults(), f => f.Contains("maxPerWeek (0)", StringComparison.Ordinal));
        Assert.Equal("not-stable", TriggerRules.Decide(spec, new(alert, "departures/2", null), new(null, []), now).Code);
        Assert.Equal("no-match", TriggerRules.Decide(spec with { Match = new TriggerMatch(Metric: "psi") }, new(alert, null, null), new(null, []), now).Code);
    }
}
