using Microsoft.Extensions.DependencyInjection;
using Microsoft.Playwright;
using Slipway.Governance;
using Slipway.Monitoring;
using Slipway.Server;

namespace Slipway.Acceptance;

/// <summary>What people do with alerts, in a real browser against a real server: preview a silence, make it, see it in the inbox, end it.</summary>
public sealed class AlertPagesTests
{
    [Fact]
    public async Task A_silence_is_previewed_made_seen_in_the_inbox_and_ended()
    {
        Assert.SkipUnless(File.Exists(Browser.Chromium), "Chromium is not installed (./test installs it)");
        var folder = Directory.CreateTempSubdirectory("slipway-alerts-").FullName;
        try
        {
            await using var server = SlipwayServer.Create(new SlipwayOptions { DataDirectory = folder, Urls = ["http://127.0.0.1:0"], Identity = IdentityMode.SingleUser });
            await server.StartAsync(TestContext.Current.CancellationToken);
            await FollowAsync(server.Urls[0], server.Services.GetRequiredService<Alerts>(), server.Services.GetRequiredService<Silences>());
            await server.StopAsync(CancellationToken.None);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task FollowAsync(string url, Alerts alerts, Silences silences)
    {
        var ct = TestContext.Current.CancellationToken;
        foreach (var (name, severity) in new[] { ("etl-late", "severe"), ("disk-full", "major") })
        {
            await alerts.PostAsync(
                Access.SingleUser("ada"), [new PostedAlert(new Dictionary<string, string> { ["alertname"] = name, ["model"] = "flights", ["severity"] = severity }, new Dictionary<string, string> { ["summary"] = $"{name} on the nightly load" }, EndsAt: DateTimeOffset.MaxValue.AddYears(-1))], ct);
        }

        using var playwright = await Playwright.CreateAsync();
        await using var browser = await playwright.Chromium.LaunchAsync(new BrowserTypeLaunchOptions { ExecutablePath = Browser.Chromium, Args = Browser.Flags });
        await using var context = await browser.NewContextAsync(new BrowserNewContextOptions { ViewportSize = new ViewportSize { Width = 1440, Height = 900 } });
        var page = await context.NewPageAsync();
        await page.GotoAsync(url + "/alerts");
        var row = page.Locator("li", new PageLocatorOptions { HasText = "etl-late on the nightly load" });
        await row.GetByText("Silence…").ClickAsync();
        await page.WaitForURLAsync("**/silences?match=*");
        await page.GetByText("It would hide 1 firing alert now").WaitForAsync();

        // Without a reason the button says why it does nothing.
        Assert.Equal("true", await page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "Silence", Exact = true }).GetAttributeAsync("aria-disabled"));
        var matchers = page.Locator("textarea");
        await matchers.FillAsync("model=flights");
        await page.GetByText("It would hide 2 firing alerts now").WaitForAsync();
        await matchers.FillAsync("model=~\".*\"");
        await page.Locator("#silence-error").GetByText("they would silence everything").WaitForAsync();
        await matchers.FillAsync("alertname=etl-late");
        await page.GetByPlaceholder("backfill of February").FillAsync("known until Monday");
        await page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "Silence", Exact = true }).ClickAsync();
        await page.Locator("table").GetByText("known until Monday").WaitForAsync();

        await page.GotoAsync(url + "/alerts");
        await row.GetByText("silenced until").WaitForAsync();
        Assert.Equal(0, await page.Locator("li", new PageLocatorOptions { HasText = "disk-full on the nightly load" }).GetByText("silenced until").CountAsync());

        await page.GotoAsync(url + "/silences");
        await page.Locator("table").GetByText("End now").ClickAsync();
        await page.GetByText("Nothing is silenced").WaitForAsync();
        Assert.NotNull(Assert.Single(await silences.ListAsync(expired: true, ct)).Silence.ExpiredBy);
    }
}
