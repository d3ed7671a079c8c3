using Deque.AxeCore.Playwright;
using Microsoft.Playwright;

namespace Slipway.Acceptance;

/// <summary>Debian's Chromium, which opens pages as a person would and says what is wrong with them.</summary>
internal static class Browser
{
    internal const string Chromium = "/usr/bin/chromium";
    internal static readonly string[] Flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

    /// <summary>
    /// Opens each path on a desktop (dark) and on a phone (light): every page shows its heading, logs no error, does not
    /// overflow sideways, and has no serious accessibility finding.
    /// </summary>
    public static async Task<IReadOnlyList<string>> ProblemsAsync(string url, params string[] paths)
    {
        Assert.SkipUnless(File.Exists(Chromium), "Chromium is not installed (./test installs it)");
        using var playwright = await Playwright.CreateAsync();
        await using var browser = await playwright.Chromium.LaunchAsync(new BrowserTypeLaunchOptions { ExecutablePath = Chromium, Args = Flags });
        var problems = new List<string>();
        foreach (var (width, height, scheme) in new[] { (1440, 900, ColorScheme.Dark), (390, 844, ColorScheme.Light) })
        {
            await using var context = await browser.NewContextAsync(new BrowserNewContextOptions { ViewportSize = new ViewportSize { Width = width, Height = height }, ColorScheme = scheme });
            var page = await context.NewPageAsync();
            var at = "";
            page.Console += (_, message) =>
            {
                if (message.Type == "error")
                {
                    problems.Add($"{at} at {width} px logs: {message.Text}");
                }
            };
            foreach (var path in paths)
            {
                at = path;
                await page.GotoAsync(url + path, new PageGotoOptions { WaitUntil = WaitUntilState.DOMContentLoaded });
                await page.Locator("main h1").First.WaitForAsync(new LocatorWaitForOptions { Timeout = 30_000 });
                await page.Locator("main [aria-busy=true]").First.WaitForAsync(new LocatorWaitForOptions { State = WaitForSelectorState.Detached, Timeout = 30_000 });
                if (await page.EvaluateAsync<bool>("() => document.documentElement.scrollWidth > innerWidth"))
                {
                    problems.Add($"{path} overflows sideways at {width} px");
                }

                var axe = await page.RunAxe();
                problems.AddRange(axe.Violations.Where(v => v.Impact is "serious" or "critical").Select(v => $"{path} at {width} px: {v.Id} on {string.Join(", ", v.Nodes.Take(3).Select(n => n.Html))}"));
            }
        }

        return problems;
    }
}

/// <summary>A person at one page of Debian's Chromium; whatever the page logs as an error is remembered.</summary>
internal sealed class Reader(IPlaywright playwright, IBrowser browser, IPage page) : IAsyncDisposable
{
    private readonly List<string> errors = [];

    public IPage Page { get; } = page;

    public static async Task<Reader> OpenAsync()
    {
        Assert.SkipUnless(File.Exists(Browser.Chromium), "Chromium is not installed (./test installs it)");
        var playwright = await Playwright.CreateAsync();
        var browser = await playwright.Chromium.LaunchAsync(new BrowserTypeLaunchOptions { ExecutablePath = Browser.Chromium, Args = Browser.Flags });
        var page = await browser.NewPageAsync(new BrowserNewPageOptions { ViewportSize = new ViewportSize { Width = 1440, Height = 900 } });
        var reader = new Reader(playwright, browser, page);
        page.Console += (_, m) =>
        {
            if (m.Type == "error")
            {
                reader.errors.Add(m.Text);
            }
        };
        return reader;
    }

    public void AssertClean() => Assert.Empty(errors);

    public async ValueTask DisposeAsync()
    {
        await browser.DisposeAsync();
        playwright.Dispose();
    }
}
