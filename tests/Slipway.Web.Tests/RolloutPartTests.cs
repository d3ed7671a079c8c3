using Microsoft.Extensions.Time.Testing;
using MudBlazor.Services;
using Slipway.Monitoring;
using Slipway.Serving;
using Slipway.Web.Pages;

namespace Slipway.Web.Tests;

public sealed class RolloutPartTests : BunitContext
{
    private static readonly DateTimeOffset Noon = new(2026, 3, 2, 12, 0, 0, TimeSpan.Zero);

    public RolloutPartTests()
    {
        JSInterop.Mode = JSRuntimeMode.Loose;
        Services.AddSingleton<TimeProvider>(new FakeTimeProvider(Noon));
        Services.AddMudServices(o => o.PopoverOptions.CheckForPopoverProvider = false);
        Services.AddScoped<CurrentActor>();
    }

    [Fact]
    public void A_step_says_what_it_waits_for()
    {
        var spec = new RolloutSpec();
        Assert.Equal("Wait for an approval by approver", RolloutWords.Of(RolloutStep.Approve("approver")));
        Assert.Equal("by somebody who did not propose the rollout; aborts after 47 h", RolloutWords.Detail(RolloutStep.Approve("approver", TimeSpan.FromHours(47)), spec));
        Assert.Equal("Copy 20 % of the requests to large", RolloutWords.Of(RolloutStep.Mirror(20, "large")));
        Assert.Equal("header x-team = qa; 2 entities", RolloutWords.Detail(new("match") { Header = "x-team", Values = ["qa"], Entities = ["a", "b"] }, spec));
        Assert.Equal("Ask ci.example.org", RolloutWords.Of(new RolloutStep("webhook") { Url = "https://ci.example.org/load-test" }));
    }

    [Fact]
    public void A_refused_command_stays_with_its_reason_and_a_dialog_shows_what_is_skipped()
    {
        var rollout = Rollout(RolloutKind.Canary) with { Spec = new() { Steps = [RolloutStep.SetWeight(5), RolloutStep.Analyse()] }, Status = RolloutStatus.Proposed(0) with { State = RolloutState.Progressing, Step = 1 } };
        var full = Action("promoteFull", null) with { Skips = ["step 2: analysis"], SlotsMoved = 9_500, After = new Dictionary<string, double> { ["stable"] = 0, ["candidate"] = 100 } };
        var page = Render<Slipway.Web.Pages.RolloutActions>(p => p.Add(a => a.Rollout, rollout).Add(a => a.Actions, [Action("promote", null), full, Action("pause", "It needs the right deployment.create."), Action("abort", null), Action("undo", "It has not finished.")]));

        Assert.Equal(["Promote", "Promote all", "Pause", "Abort"], page.FindAll("button").Select(b => b.TextContent));
        Assert.Equal("true", page.FindAll("button")[2].GetAttribute("aria-disabled"));
        Assert.Contains("It needs the right deployment.create.", page.Markup, StringComparison.Ordinal);
        var preview = Slipway.Web.Pages.RolloutActions.PreviewOf(rollout, full, []);
        Assert.Contains(preview.Changes, c => c is { What: "candidate (iris/2)", Before: "5 %", After: "100 %" });
        Assert.Contains(preview.Changes, c => c is { What: "step 2: analysis", After: "ends without its verdict" });
        Assert.Equal(PreviewReason.Required, preview.Reason);
    }

    [Fact]
    public void One_button_chooses_among_several_winners_and_its_dialog_tells_what_is_known_of_each()
    {
        var report = Look(mismatch: false);
        var rollout = Rollout(RolloutKind.AbTest) with { Spec = AbTest, Status = RolloutStatus.Proposed(0) with { State = RolloutState.Progressing, Step = 2 }, Findings = new(Experiment: report) };
        RolloutAction[] winners = [Action("promoteWinner", null) with { Winner = "small" }, Action("promoteWinner", null) with { Winner = "large", Skips = ["step 3: experiment"], After = new Dictionary<string, double> { ["stable"] = 0, ["small"] = 0, ["large"] = 100 } }];
        var page = Render<Slipway.Web.Pages.RolloutActions>(p => p.Add(a => a.Rollout, rollout).Add(a => a.Actions, [Action("promote", "There is no pause to end."), Action("promoteFull", "Name the winner."), .. winners, Action("pause", null), Action("abort", null)]));
        Assert.Equal(["Choose the winner…", "Pause", "Abort"], page.FindAll("button").Select(b => b.TextContent));

        var preview = Slipway.Web.Pages.RolloutActions.PreviewOf(rollout, winners[0], winners);
        Assert.Equal("Choose the winner of the A/B test?", preview.Title);
        Assert.Equal("The experiment has not found a winner: too few events.", preview.Text);
        Assert.Equal("iris/3: conversion 0.32 against 0.3 of stable, effect 0.02 [-0.01, 0.05], n 400 / 410; undecided.", preview.Choices![1].Detail);
        Assert.Contains(preview.Choices[1].Changes, c => c is { What: "large (iris/3)", After: "100 %" });
        Assert.Contains(preview.Choices[1].Changes, c => c is { What: "step 3: experiment", After: "ends without its verdict" });

        // Refused: the one button stays, with the reason.
        var refused = Render<Slipway.Web.Pages.RolloutActions>(p => p.Add(a => a.Rollout, rollout).Add(a => a.Actions, [.. winners.Select(w => w with { Allowed = false, Why = "The assignment is in doubt." }), Action("abort", null)]));
        Assert.Equal("true", refused.FindAll("button")[0].GetAttribute("aria-disabled"));
        Assert.Contains("The assignment is in doubt.", refused.Markup, StringComparison.Ordinal);
    }

    [Fact]
    public void An_experiment_says_how_large_it_must_be_and_hides_its_results_while_the_assignment_is_doubted()
    {
        var rollout = Rollout(RolloutKind.AbTest) with { Spec = AbTest, Findings = new(Experiment: Look(mismatch: false)) };
        var part = Render<RolloutEvidence>(p => p.Add(e => e.Rollout, rollout).Add(e => e.Now, Noon).Add(e => e.Size, new PlanSplit(50, 8_000, 8_000, 16_000, 1, null)));
        Assert.Contains("needs about 8,000 units of each variant (power 80 %, one look), the smallest has 400, at this traffic in about 19 h", part.Find(".sized").TextContent, StringComparison.Ordinal);
        Assert.Equal("running", part.Find(".panel-end .chip").TextContent);
        Assert.Empty(part.FindAll("details"));

        var doubted = Render<RolloutEvidence>(p => p.Add(e => e.Rollout, rollout with { Findings = new(Experiment: Look(mismatch: true)) }).Add(e => e.Now, Noon));
        Assert.Equal("sample-ratio mismatch", doubted.Find(".panel-end .chip").TextContent);
        Assert.Contains("Nothing is promoted meanwhile", doubted.Find("[role=alert]").TextContent, StringComparison.Ordinal);
        Assert.NotNull(doubted.Find("details table"));
    }

    [Fact]
    public void A_pause_says_what_for()
    {
        var status = RolloutStatus.Proposed(0) with { State = RolloutState.Paused };
        Assert.Equal("paused: approval", RolloutWords.State(status with { Pause = PauseReason.Approval }));
        Assert.Equal("paused: not enough data", RolloutWords.State(status with { Pause = PauseReason.NoData }));
        Assert.Equal("rolling back", RolloutWords.State(status with { State = RolloutState.RollingBack }));
        Assert.Equal(["< 0.0001", "0.0123", "–"], new double?[] { 0, 0.0123, null }.Select(RolloutWords.P));
    }

    [Fact]
    public void Actual_shares_say_which_nodes_counted_and_whose_counts_are_unknown()
    {
        var rollout = Rollout(RolloutKind.Canary) with { Spec = new() { Steps = [RolloutStep.SetWeight(20)] }, Status = RolloutStatus.Proposed(0) with { State = RolloutState.Progressing, Weights = new Dictionary<string, double> { ["candidate"] = 20 } } };
        Assert.Equal("of the requests of the last minute, this node", Title(null));
        Assert.Equal("of the requests of the last minute, counted on 2 nodes", Title(new((_, _) => HealthCounts.Empty, "counted on 2 nodes", null)));
        Assert.Equal("of the requests of the last minute, counted on 1 node; incomplete: what node b has counted since is unknown", Title(new((_, _) => HealthCounts.Empty, "counted on 1 node", "what node b has counted since is unknown")));

        string? Title(NodesHealth? counted) => Render<RolloutPanel>(p => p.Add(r => r.Rollout, rollout).Add(r => r.Now, Noon).Add(r => r.Counted, counted))
            .FindAll("section[aria-label=Shares] th").Single(head => head.TextContent == "actual").GetAttribute("title");
    }

    [Fact]
    public void Nodes_that_do_not_serve_the_present_revision_are_named_with_what_they_serve()
    {
        var rollout = Rollout(RolloutKind.Canary) with { Spec = new() { Steps = [RolloutStep.SetWeight(20)] }, Status = RolloutStatus.Proposed(0) with { State = RolloutState.Progressing, Weights = new Dictionary<string, double> { ["candidate"] = 20 } } };
        NodeShares Node(string name, long revision, double candidate, bool live = true, string? why = null, bool drives = false) =>
            new(name, live, Noon.AddSeconds(live ? -1 : -40), revision, revision == 7, new Dictionary<string, double> { ["stable"] = 100 - candidate, ["candidate"] = candidate }, why, drives, []);
        NodeShares[] nodes = [Node("a", 7, 20, drives: true), Node("b", 6, 5), Node("c", 7, 0, why: "the fuse has tripped"), Node("d", 7, 20, live: false, drives: true)];
        var panel = Render<RolloutPanel>(p => p.Add(r => r.Rollout, rollout).Add(r => r.Now, Noon).Add(r => r.Nodes, nodes).Add(r => r.Revision, 7)).Find("section[aria-label=Nodes]");

        Assert.Equal("1 of 4 serve it", panel.QuerySelector(".panel-end .chip")!.TextContent);
        Assert.Equal(["set", "atakes the steps", "b", "c", "d"], panel.QuerySelectorAll("tbody th").Select(cell => cell.TextContent.Trim()));
        Assert.Equal(["serves it", "lags", "stable only", "silent"], panel.QuerySelectorAll("tbody .chip").Select(chip => chip.TextContent));
        Assert.Equal(["6", "95 %", "5 %"], panel.QuerySelectorAll("tbody tr")[2].QuerySelectorAll("td.num").Select(cell => cell.TextContent));
        Assert.Contains("The fuse has tripped.", panel.TextContent, StringComparison.Ordinal);
        Assert.Empty(Render<RolloutPanel>(p => p.Add(r => r.Rollout, rollout).Add(r => r.Now, Noon).Add(r => r.Nodes, [nodes[0]]).Add(r => r.Revision, 7)).FindAll("section[aria-label=Nodes]"));
    }

    [Theory]
    [InlineData(10, "not enough data", "10 of the 100 pairs that a verdict needs.")]
    [InlineData(200, "fail", "class flips 0.5, accepted at most 0.1")]
    public void A_shadow_shows_its_agreement(long pairs, string word, string why)
    {
        var shadow = new ShadowReport("candidate", pairs, 0, 0.5, [], 0.5, [], 0.01, 0.99, 1, 2, 0.5, 0.5, -40, null, 1, null);
        var rollout = Rollout(RolloutKind.Shadow) with { Spec = new() { Kind = RolloutKind.Shadow, Shadow = new() { MinPairs = 100, MaxClassFlips = 0.1 } }, Findings = new(Shadow: shadow) };
        var part = Render<RolloutEvidence>(p => p.Add(e => e.Rollout, rollout).Add(e => e.Now, Noon));

        Assert.Equal(word, part.Find(".chip").TextContent);
        Assert.Contains(why, part.Find(".why").TextContent, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("−40 µs at the median", part.Markup, StringComparison.Ordinal);
    }

    private static RolloutSpec AbTest { get; } = new RolloutSpec
    {
        Kind = RolloutKind.AbTest,
        Variants = [new("small", "iris/2"), new("large", "iris/3")],
        Experiment = new() { Primary = new() { Name = "conversion", Kind = MetricKind.Proportion }, Design = new() { Effect = 0.02 } },
    }.Planned();

    private static ExperimentReport Look(bool mismatch) => new(
        ExperimentDecision.Running, null, "too few events", Noon, Noon.AddHours(-1), Noon, [new("stable", "iris/1", 410, 400, 410, 0, 0), new("small", "iris/2", 400, 400, 400, 0, 0), new("large", "iris/3", 400, 400, 400, 0, 0)],
        [new("conversion", "primary", "large", "stable", "mixture sequential", 400, 410, 0.32, 0.3, 0.02, -0.01, 0.05, 0.4, null, Verdict.Inconclusive, "")],
        new(1, mismatch ? 1e-6 : 0.9, mismatch, "the arms' sizes"), null, 0, 0, 1, AnalysisMemory.Empty);

    private static Rollout Rollout(RolloutKind kind) =>
        new("0195e2f0a1b2c3d4e5f60718293a4b5c", "iris", "iris/1", "iris/2", null, new RolloutSpec { Kind = kind }, RolloutStatus.Proposed(0), 1, null, "ada", Noon, Noon);

    private static RolloutAction Action(string command, string? why)
    {
        var shares = new Dictionary<string, double> { ["stable"] = 95, ["candidate"] = 5 };
        return new(command, why is null, why, "The plan goes on.", shares, shares, [], 0, "iris/1");
    }
}
