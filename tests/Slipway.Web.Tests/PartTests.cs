using Microsoft.Extensions.Time.Testing;

namespace Slipway.Web.Tests;

public sealed class PartTests : BunitContext
{
    private static readonly DateTimeOffset Noon = new(2026, 3, 2, 12, 0, 0, TimeSpan.Zero);

    public PartTests()
    {
        JSInterop.Mode = JSRuntimeMode.Loose;
        Services.AddSingleton<TimeProvider>(new FakeTimeProvider(Noon));
        Services.AddScoped<CurrentActor>();
    }

    [Theory]
    [InlineData(0.2, "now")]
    [InlineData(4, "4 s ago")]
    [InlineData(59, "59 s ago")]
    [InlineData(3599, "59 min ago")]
    [InlineData(7200, "2 h ago")]
    [InlineData(259200, "3 days ago")]
    [InlineData(-300, "in 5 min")]
    [InlineData(4_000_000, "2026-01-15")]
    public void TimeAgo_speaks_in_the_largest_useful_unit(double secondsAgo, string words) =>
        Assert.Equal(words, TimeAgo.Say(Noon.AddSeconds(-secondsAgo), Noon));

    [Fact]
    public void TimeAgo_follows_the_clock()
    {
        var clock = (FakeTimeProvider)Services.GetRequiredService<TimeProvider>();
        var part = Render<TimeAgo>(p => p.Add(t => t.At, Noon.AddSeconds(-4)));
        Assert.Equal("4 s ago", part.Find("time").TextContent);

        clock.Advance(TimeSpan.FromMinutes(2));

        part.WaitForAssertion(() => Assert.Equal("2 min ago", part.Find("time").TextContent));
        Assert.Equal("2026-03-02T11:59:56.0000000Z", part.Find("time").GetAttribute("datetime"));
    }

    [Theory]
    [InlineData("model-version:flights/7", "models/flights/7", "flights/7")]
    [InlineData("model:fraud model", "models/fraud%20model", "fraud model")]
    [InlineData("dataset-version:flights/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "data/flights/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "flights@9f86d08188")]
    [InlineData("run:0195e2f0a1b2c3d4e5f60718293a4b5c", "runs/0195e2f0a1b2c3d4e5f60718293a4b5c", "run 293a4b5c")]
    [InlineData("actor:ada", "audit?actor=ada", "ada")]
    [InlineData("something:else", null, "else")]
    public void SubjectLink_points_at_the_page_of_its_subject(string urn, string? path, string text)
    {
        var subject = Subject.Parse(urn);
        var part = Render<SubjectLink>(p => p.Add(l => l.Subject, subject));

        Assert.Equal(text, part.Find(".subject").TextContent);
        Assert.Equal(path, part.Find(".subject").GetAttribute("href"));
    }

    [Theory]
    [InlineData("granted", "ok")]
    [InlineData("FINISHED", "ok")]
    [InlineData("firing", "bad")]
    [InlineData("insufficient", "idle")]
    [InlineData("no_data", "idle")]
    [InlineData("NoData", "wait")]
    [InlineData("a word of tomorrow", "idle")]
    [InlineData("", "idle")]
    public void StateChip_shows_an_icon_and_a_word_and_never_calls_the_unknown_good(string state, string tone)
    {
        var part = Render<StateChip>(p => p.Add(c => c.State, state));

        var chip = part.Find(".chip");
        Assert.Contains(tone, chip.ClassList);
        Assert.NotEmpty(chip.TextContent.Trim());
        Assert.NotNull(chip.QuerySelector("svg"));
    }

    [Fact]
    public void EmptyState_fills_this_servers_address_into_the_command()
    {
        var part = Render<EmptyState>(p => p.Add(e => e.Title, "No run").Add(e => e.Command, "export MLFLOW_TRACKING_URI={server}"));

        Assert.Equal("export MLFLOW_TRACKING_URI=http://localhost", part.Find("pre").TextContent);
        Assert.Equal("No run", part.Find("h2").TextContent);
    }

    [Fact]
    public void CopyCommand_copies_what_it_shows()
    {
        JSInterop.Setup<bool>("slipway.copy", "slipway demo").SetResult(true);
        var part = Render<CopyCommand>(p => p.Add(c => c.Text, "slipway demo"));

        part.Find("button").Click();

        part.WaitForAssertion(() => Assert.Equal("Copied", part.Find("button").GetAttribute("aria-label")));
    }

    [Fact]
    public void DeniedState_names_the_right_and_the_person()
    {
        Services.GetRequiredService<CurrentActor>().Actor = new Actor(ActorKind.User, "grace");

        var part = Render<DeniedState>(p => p.Add(d => d.Permission, "audit.read"));

        Assert.Contains("audit.read", part.Markup, StringComparison.Ordinal);
        Assert.Contains("grace does not have", part.Find("p").TextContent, StringComparison.Ordinal);
        Assert.Equal("slipway user roles", part.Find("pre").TextContent);
    }

    [Fact]
    public void ErrorState_says_what_why_and_what_to_do()
    {
        var tried = 0;
        var part = Render<ErrorState>(p => p
            .Add(e => e.Failure, new SlipwayException(ErrorCode.NotFound, "model \"fligths\" does not exist", "there is flights", "slipway model list"))
            .Add(e => e.OnRetry, () => tried++));

        Assert.Equal("alert", part.Find("section").GetAttribute("role"));
        Assert.Equal("model \"fligths\" does not exist", part.Find("h2").TextContent);
        Assert.Contains("there is flights", part.Markup, StringComparison.Ordinal);
        Assert.Equal("slipway model list", part.Find("pre").TextContent);
        part.FindAll("button")[^1].Click();
        Assert.Equal(1, tried);
    }

    [Fact]
    public void VirtualTable_tells_which_column_it_is_sorted_by()
    {
        string? chosen = null;
        VirtualTable<int>.Column[] columns =
        [
            new("Number", n => b => b.AddContent(0, n), Number: true, SortKey: "n"),
            new("Square", n => b => b.AddContent(0, n * n), SortKey: "s"),
        ];
        var part = Render<VirtualTable<int>>(p => p.Add(t => t.Rows, [3, 4]).Add(t => t.Columns, columns).Add(t => t.Label, "Squares").Add(t => t.Sort, "-n").Add(t => t.OnSort, key => chosen = key));

        Assert.Equal("descending", part.FindAll("th")[0].GetAttribute("aria-sort"));
        Assert.Null(part.FindAll("th")[1].GetAttribute("aria-sort"));
        Assert.Equal(["3", "9", "4", "16"], part.FindAll("td").Select(c => c.TextContent));
        part.FindAll("button.sort")[1].Click();
        Assert.Equal("s", chosen);
    }

    [Fact]
    public void Hold_keeps_a_growing_list_still_under_the_pointer()
    {
        RenderFragment<IReadOnlyList<int>> list = items => b => b.AddContent(0, string.Join(' ', items));
        var part = Render<Hold<int>>(p => p.Add(h => h.Items, [2, 1]).Add(h => h.Key, i => i).Add(h => h.ChildContent, list));
        part.Find(".hold").MouseEnter();

        part.Render(p => p.Add(h => h.Items, [4, 3, 2, 1]));

        Assert.Contains("2 1", part.Markup, StringComparison.Ordinal);
        Assert.DoesNotContain("4 3", part.Markup, StringComparison.Ordinal);
        Assert.Contains("2 new entries", part.Find("button").TextContent, StringComparison.Ordinal);

        part.Find(".hold").MouseLeave();

        Assert.Contains("4 3 2 1", part.Markup, StringComparison.Ordinal);
        Assert.Empty(part.FindAll("button"));
    }

    [Fact]
    public void ActionButton_that_is_blocked_says_why_and_does_nothing()
    {
        Services.AddMudBlazorForTests();
        var clicks = 0;
        var part = Render<ActionButton>(p => p.Add(a => a.Blocked, "It needs the right deployment.create.").Add(a => a.OnClick, () => clicks++).AddChildContent("Promote"));

        var button = part.Find("button");
        Assert.Equal("true", button.GetAttribute("aria-disabled"));
        Assert.Contains("deployment.create", part.Find("#" + button.GetAttribute("aria-describedby")).TextContent, StringComparison.Ordinal);
        Assert.Throws<MissingEventHandlerException>(() => button.Click());
        Assert.Equal(0, clicks);
    }

    [Fact]
    public void WeightsBar_gives_every_share_in_words()
    {
        var part = Render<WeightsBar>(p => p
            .Add(w => w.Wanted, [new("flights/1", 0.9, "stable"), new("flights/2", 0.1, "candidate", 1)])
            .Add(w => w.Actual, [new("flights/1", 0, "stable"), new("flights/2", 0, "candidate", 1)]));

        Assert.Equal("Traffic set: flights/1 90 %, flights/2 10 %", part.Find("[role=img]").GetAttribute("aria-label"));
        Assert.Equal("no traffic", part.FindAll(".weights-row")[1].QuerySelector(".none")!.TextContent);
    }

    [Fact]
    public void HeatMap_has_the_same_numbers_as_a_table_and_greys_what_cannot_be_judged()
    {
        var part = Render<HeatMap>(p => p
            .Add(h => h.Rows, ["distance", "hour"])
            .Add(h => h.Columns, ["01-01", "01-08"])
            .Add(h => h.Cells, [new(0, 0, 0.312, 3), new(0, 1, 0.01, 0), new(1, 0, null, 0, "12 rows, 30 are needed")])
            .Add(h => h.Below, [0.71, null])
            .Add(h => h.Levels, ["stable", "warn", "major", "severe"])
            .Add(h => h.Label, "Drift"));

        part.Find(".chart-toggle").Click();

        Assert.Equal(["0.312", "0.010", "12 rows, 30 are needed", "–", "0.710", "–"], part.FindAll("td").Select(c => c.TextContent));
        Assert.Equal(5, part.FindAll(".legend li").Count);
    }
}
