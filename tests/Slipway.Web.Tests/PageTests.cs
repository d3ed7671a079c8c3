using Slipway.Governance;
using Slipway.Web.Pages;

namespace Slipway.Web.Tests;

public sealed class PageTests
{
    [Fact]
    public async Task Audit_of_an_empty_log_teaches_the_first_command()
    {
        await using var world = await WebWorld.CreateAsync(WebWorld.Ada);

        var page = world.Render<AuditPage>();

        page.WaitForElement("[data-state=empty]");
        Assert.NotEmpty(page.FindAll("header.page-head button"));
        Assert.Equal("Nothing has happened yet", page.Find("h2").TextContent);
        Assert.Equal("slipway demo", page.Find("pre").TextContent);
    }

    [Fact]
    public async Task Audit_without_the_right_says_which_one_is_missing()
    {
        await using var world = await WebWorld.CreateAsync(WebWorld.Nobody);

        var page = world.Render<AuditPage>();

        Assert.Contains(Permissions.AuditRead, page.WaitForElement("[data-state=denied]").TextContent, StringComparison.Ordinal);
        Assert.Empty(page.FindAll("header.page-head button"));
    }

    [Fact]
    public async Task Audit_shows_entries_as_sentences_and_opens_one_by_its_address()
    {
        await using var world = await WebWorld.CreateAsync(WebWorld.Ada);
        await world.WriteAsync("model.created", new Subject("model", "flights"));
        var id = await world.WriteAsync("run.started", new Subject("run", "0195e2f0a1b2c3d4e5f60718293a4b5c"), new { name = "first" });
        world.Services.GetRequiredService<NavigationManager>().NavigateTo($"audit?entry={id}");

        var page = world.Render<AuditPage>();

        var sentences = page.WaitForElements("td.wrap").Select(c => c.TextContent.Trim()).ToList();
        Assert.Equal(2, sentences.Count);
        Assert.StartsWith("Ada started run", sentences[0], StringComparison.Ordinal);
        Assert.Equal("Ada created model flights", sentences[1]);
        Assert.Contains("\"name\": \"first\"", page.Find("pre.body").TextContent, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Audit_verify_proves_the_log_on_the_page()
    {
        await using var world = await WebWorld.CreateAsync(WebWorld.Ada);
        await world.WriteAsync("model.created", new Subject("model", "flights"));
        var page = world.Render<AuditPage>();
        page.WaitForElement("td.wrap");

        page.FindAll("button").Single(b => b.TextContent.Contains("Verify", StringComparison.Ordinal)).Click();

        var notice = page.WaitForElement(".notice.ok");
        Assert.Contains("Nothing was changed, removed or inserted.", notice.TextContent, StringComparison.Ordinal);
        Assert.Contains("1 entry read", notice.TextContent, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Approval_by_an_author_is_not_offered_and_says_why()
    {
        await using var world = await WebWorld.CreateAsync(WebWorld.Ada);
        var request = await RequestAsync(world, authors: ["ada"]);

        var page = world.Render<GovernancePage>(p => p.Add(g => g.Id, request.Id));

        Assert.Contains("nobody decides about their own work", page.WaitForElement(".notice.warn").TextContent, StringComparison.Ordinal);
        Assert.DoesNotContain(page.FindAll("button"), b => b.TextContent.Contains("Approve", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Approval_shows_the_evidence_beside_what_is_live_and_records_the_vote()
    {
        await using var world = await WebWorld.CreateAsync(WebWorld.Ada);
        var request = await RequestAsync(world, authors: ["grace"]);
        var page = world.Render<GovernancePage>(p => p.Add(g => g.Id, request.Id));

        var auc = page.WaitForElements("tr").Single(r => r.QuerySelector("th code")?.TextContent == "metrics.auc");
        Assert.Equal(["0.75", "0.7", "+0.05", "5,000"], auc.QuerySelectorAll("td").Select(c => c.TextContent));

        page.Find("textarea").Input("compared both on the same rows");
        page.FindAll("button").Single(b => b.TextContent == "Approve").Click();

        page.WaitForAssertion(() => Assert.Contains(page.FindAll(".panel-end .chip"), c => c.TextContent.Trim() == "granted"), TimeSpan.FromSeconds(10));
        Assert.Contains("compared both on the same rows", page.Find(".timeline").TextContent, StringComparison.Ordinal);
        Assert.Equal(GateRequest.Granted, (await world.Services.GetRequiredService<Gates>().GetAsync(request.Id, CancellationToken.None)).State);
    }

    [Fact]
    public async Task Refusal_without_a_comment_is_stopped_on_the_page()
    {
        await using var world = await WebWorld.CreateAsync(WebWorld.Ada);
        var request = await RequestAsync(world, authors: ["grace"]);
        var page = world.Render<GovernancePage>(p => p.Add(g => g.Id, request.Id));

        page.WaitForElements("button").Single(b => b.TextContent == "Refuse").Click();

        Assert.Contains("Say what has to change", page.Find("[role=alert]").TextContent, StringComparison.Ordinal);
        Assert.Equal(GateRequest.Pending, (await world.Services.GetRequiredService<Gates>().GetAsync(request.Id, CancellationToken.None)).State);
    }

    [Fact]
    public async Task A_request_that_does_not_exist_becomes_a_failed_page_with_a_way_back()
    {
        await using var world = await WebWorld.CreateAsync(WebWorld.Ada);

        var page = world.Render<GovernancePage>(p => p.Add(g => g.Id, "0195e2f0a1b2c3d4e5f60718293a4b5c"));

        var failed = page.WaitForElement("[data-state=failed]");
        Assert.Contains("does not exist", failed.TextContent, StringComparison.Ordinal);
        Assert.Contains(page.FindAll("button"), b => b.TextContent == "Try again");
    }

    private static async Task<GateRequest> RequestAsync(WebWorld world, IReadOnlyList<string> authors)
    {
        const string Production = """
            apiVersion: slipway.dev/policy/v1
            kind: GatePolicy
            metadata: { name: production }
            approvals:
              - { stage: technical, require: 1, from: [user:ada] }
            gates:
              - id: auc-floor
                check: metric_threshold
                with: { metric: auc, op: ">=", value: "0.70", minSamples: 1000 }
            """;
        await world.Services.GetRequiredService<Policies>().ApplyAsync(new Actor(ActorKind.System, "setup", "system"), Production, CancellationToken.None);
        var facts = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["metrics.auc"] = "0.75",
            ["metrics.auc.samples"] = "5000",
            ["champion.metrics.auc"] = "0.70",
            ["champion.metrics.auc.samples"] = "5000",
        };
        return await world.Services.GetRequiredService<Gates>().RequestAsync(
            Actor.System("loop"), new Subject("model-version", "flights/2"), "production", new Evidence(facts, []), authors, CancellationToken.None);
    }
}
