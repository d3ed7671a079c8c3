using Microsoft.Extensions.Time.Testing;
using MudBlazor.Services;
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
        var rollout = Rollout(RolloutKind.Canary) with { Status = RolloutStatus.Proposed(0) with { State = RolloutState.Progressing } };
        var full = Action("promoteFull", null) with { Skips = ["step 2: analysis"], SlotsMoved = 9_500, After = new Dictionary<string, double> { ["stable"] = 0, ["candidate"] = 100 } };
        var page = Render<Slipway.Web.Pages.RolloutActions>(p => p.Add(a => a.Rollout, rollout).Add(a => a.Actions, [Action("promote", null), full, Action("pause", "It needs the right deployment.create."), Action("abort", null), Action("undo", "It has not finished.")]));

        Assert.Equal(["Promote", "Promote all", "Pause", "Abort"], page.FindAll("button").Select(b => b.TextContent));
        Assert.Equal("true", page.FindAll("button")[2].GetAttribute("aria-disabled"));
        Assert.Contains("It needs the right deployment.create.", page.Markup, StringComparison.Ordinal);
        var preview = Slipway.Web.Pages.RolloutActions.PreviewOf(rollout, full);
        Assert.Contains(preview.Changes, c => c is { What: "candidate (iris/2)", Before: "5 %", After: "100 %" });
        Assert.Contains(preview.Changes, c => c is { What: "step 2: analysis", After: "skipped without its verdict" });
    }

    [Theory]
    [InlineData(10, "not enough data", "10 pairs, 100 needed")]
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

    private static Rollout Rollout(RolloutKind kind) =>
        new("0195e2f0a1b2c3d4e5f60718293a4b5c", "iris", "iris/1", "iris/2", null, new RolloutSpec { Kind = kind }, RolloutStatus.Proposed(0), 1, null, "ada", Noon, Noon);

    private static RolloutAction Action(string command, string? why)
    {
        var shares = new Dictionary<string, double> { ["stable"] = 95, ["candidate"] = 5 };
        return new(command, why is null, why, "The plan goes on.", shares, shares, [], 0, "iris/1");
    }
}
