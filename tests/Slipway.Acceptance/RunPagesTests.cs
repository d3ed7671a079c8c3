using System.Globalization;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Playwright;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;
using Slipway.Server;

namespace Slipway.Acceptance;

/// <summary>What people do with runs, in a real browser against a real server: pick across pages, compare, go back, filter, group.</summary>
public sealed class RunPagesTests(RunPagesTests.Filled world) : IClassFixture<RunPagesTests.Filled>
{
    [Fact]
    public async Task Picks_survive_scrolling_become_a_comparison_and_come_back()
    {
        await using var reader = await Reader.OpenAsync();
        var page = reader.Page;
        await page.GotoAsync($"{world.Url}/runs?experiment={world.Experiment}");
        await Row(page, 0).WaitForAsync();
        Assert.Equal("201", await page.Locator("table[role=grid]").GetAttributeAsync("aria-rowcount"));

        await Row(page, 0).Locator("input[type=checkbox]").CheckAsync();
        await page.Locator(".grid-frame").EvaluateAsync("e => e.scrollTop = 150 * 34");
        await Row(page, 152).Locator("input[type=checkbox]").CheckAsync();
        await page.Locator(".tray").GetByText("2 runs picked").WaitForAsync();
        Assert.Contains("pick=", page.Url, StringComparison.Ordinal);
        Assert.True(await page.Locator("tbody tr[aria-rowindex]").CountAsync() < 80);

        await page.Locator(".tray").GetByText("Compare").ClickAsync();
        await page.GetByText("of 4 parameters differ").WaitForAsync();
        Assert.Equal(["Parameters", "lr", "seed"], (await page.Locator("tbody tr[aria-rowindex] td[aria-colindex='1']").AllTextContentsAsync()).Select(t => t.Trim()).Take(3));

        await page.GoBackAsync();
        await page.Locator(".tray").GetByText("2 runs picked").WaitForAsync();
        await page.GoForwardAsync();
        await page.GetByText("of 4 parameters differ").WaitForAsync();
        reader.AssertClean();
    }

    [Fact]
    public async Task The_keyboard_moves_through_the_table_and_picks()
    {
        await using var reader = await Reader.OpenAsync();
        var page = reader.Page;
        await page.GotoAsync($"{world.Url}/runs?experiment={world.Experiment}");
        await Row(page, 0).WaitForAsync();

        // The tab key reaches the table once, at the name in the first row; a click on a cell starts there.
        await page.WaitForFunctionAsync("() => document.querySelector('.grid-frame [tabindex=\"0\"]')");
        await page.Locator(".filters .view select").FocusAsync();
        await page.Keyboard.PressAsync("Tab");
        await page.WaitForFunctionAsync("() => document.activeElement.matches('tr[aria-rowindex=\"2\"] > td[aria-colindex=\"2\"]')");
        await Row(page, 1).Locator("td[aria-colindex='6']").ClickAsync();
        await page.Keyboard.PressAsync("ArrowDown");

        await page.Keyboard.PressAsync("Space");
        await page.Locator(".tray").GetByText("1 run picked").WaitForAsync();
        Assert.Equal("true", await Row(page, 2).GetAttributeAsync("aria-selected"));

        await page.Keyboard.PressAsync("PageDown");
        await page.Keyboard.PressAsync("PageDown");
        await page.WaitForFunctionAsync("() => Number(document.activeElement?.closest('tr')?.getAttribute('aria-rowindex')) > 20");
        await page.Keyboard.PressAsync("Control+End");
        await page.WaitForFunctionAsync("() => document.activeElement?.closest('tr')?.getAttribute('aria-rowindex') === '201'");
        await page.Keyboard.PressAsync("Enter");
        await page.WaitForURLAsync("**/runs/*");
        reader.AssertClean();
    }

    [Fact]
    public async Task A_view_is_kept_and_opened_again_and_deleted_runs_come_back()
    {
        await using var reader = await Reader.OpenAsync();
        var page = reader.Page;
        await page.GotoAsync($"{world.Url}/runs?experiment={world.Experiment}&sort=-metrics.auc&filter={Uri.EscapeDataString("params.seed = '3'")}");
        await page.Locator(".page-head [role=status]").GetByText("40 runs").WaitForAsync();
        await page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "Views" }).ClickAsync();
        await page.GetByLabel("Name of this view").FillAsync("seed three");
        await page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "Save" }).ClickAsync();
        await page.GotoAsync($"{world.Url}/runs");
        await page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "Views" }).ClickAsync();
        await page.GetByRole(AriaRole.Link, new PageGetByRoleOptions { Name = "seed three" }).ClickAsync();
        await page.Locator(".page-head [role=status]").GetByText("40 runs").WaitForAsync();

        await Row(page, 0).Locator("input[type=checkbox]").CheckAsync();
        await page.Locator(".tray").GetByText("Delete").ClickAsync();
        await page.GetByRole(AriaRole.Dialog).GetByText("Delete", new LocatorGetByTextOptions { Exact = true }).ClickAsync();
        await page.Locator(".page-head [role=status]").GetByText("39 runs").WaitForAsync();
        await page.Locator(".filters .view select").SelectOptionAsync("deleted");
        await page.Locator(".page-head [role=status]").GetByText("1 run").WaitForAsync();
        await Row(page, 0).Locator("input[type=checkbox]").CheckAsync();
        await page.Locator(".tray").GetByText("Restore").ClickAsync();
        await page.GetByRole(AriaRole.Dialog).GetByText("Restore", new LocatorGetByTextOptions { Exact = true }).ClickAsync();
        await page.GetByText("No run matches the filter").WaitForAsync();

        await page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "Views" }).ClickAsync();
        await page.GetByLabel("Forget the view seed three").ClickAsync();
        await page.GetByText("Only you see your views").WaitForAsync();
        reader.AssertClean();
    }

    [Fact]
    public async Task Columns_are_chosen_and_a_header_sorts()
    {
        await using var reader = await Reader.OpenAsync();
        var page = reader.Page;
        await page.GotoAsync($"{world.Url}/runs?experiment={world.Experiment}");
        await Row(page, 0).WaitForAsync();
        await page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "Columns" }).ClickAsync();
        await page.GetByLabel("Search the columns").FillAsync("user_id");
        await page.Locator(".column").GetByText("user_id").ClickAsync();
        await page.GetByRole(AriaRole.Dialog).GetByLabel("Close").ClickAsync();
        await page.WaitForFunctionAsync("() => document.querySelector('table[role=grid]').getAttribute('aria-colcount') === '11'");

        await page.Locator("thead th[title='metric auc, its last value'] .sort").ClickAsync();
        await page.Locator("thead th[aria-sort=descending]").WaitForAsync();
        await Row(page, 0).GetByText("run-199").WaitForAsync();
        await page.Locator("thead th[title='metric auc, its last value'] .sort").ClickAsync();
        await Row(page, 0).GetByText("run-000").WaitForAsync();
        reader.AssertClean();
    }

    [Fact]
    public async Task A_run_shows_its_files_and_is_deleted_and_restored()
    {
        await using var reader = await Reader.OpenAsync();
        var page = reader.Page;
        await page.GotoAsync($"{world.Url}/runs/{world.OtherRunId}");
        await page.GetByText("Metrics (2)").WaitForAsync();
        await page.GetByRole(AriaRole.Link, new PageGetByRoleOptions { Name = "Files", Exact = true }).ClickAsync();
        await page.GetByText("notes.txt").First.ClickAsync();
        await page.GetByText("learned slowly").WaitForAsync();

        await page.GetByRole(AriaRole.Link, new PageGetByRoleOptions { Name = "Overview", Exact = true }).ClickAsync();
        await page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "Write", Exact = true }).ClickAsync();
        await page.GetByRole(AriaRole.Textbox, new PageGetByRoleOptions { Name = "Notes" }).FillAsync("A first try.");
        await page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "Save", Exact = true }).ClickAsync();
        await page.Locator(".note").GetByText("A first try.").WaitForAsync();

        await page.Locator(".page-head").GetByText("Delete", new LocatorGetByTextOptions { Exact = true }).ClickAsync();
        await page.GetByRole(AriaRole.Dialog).GetByText("Delete", new LocatorGetByTextOptions { Exact = true }).ClickAsync();
        await page.Locator(".page-head").GetByText("Restore", new LocatorGetByTextOptions { Exact = true }).ClickAsync();
        await page.GetByRole(AriaRole.Dialog).GetByText("Restore", new LocatorGetByTextOptions { Exact = true }).ClickAsync();
        await page.Locator(".page-head").GetByText("Delete", new LocatorGetByTextOptions { Exact = true }).WaitForAsync();
        reader.AssertClean();
    }

    [Fact]
    public async Task A_filter_with_a_fault_shows_where_it_is_and_keeps_the_rows_and_what_is_filtered_is_saved()
    {
        await using var reader = await Reader.OpenAsync();
        var page = reader.Page;
        await page.GotoAsync($"{world.Url}/runs?experiment={world.Experiment}");
        await Row(page, 0).WaitForAsync();
        var (filter, status) = (page.Locator("#run-filter"), page.Locator(".page-head [role=status]"));
        await filter.FillAsync("params.learner = 'gbm'");
        await filter.PressAsync("Enter");
        await status.GetByText("100 runs", new LocatorGetByTextOptions { Exact = true }).WaitForAsync();

        await filter.FillAsync("params.learner = 'gbm' AND nonsense");
        await filter.PressAsync("Enter");
        await page.Locator(".filter-error b").WaitForAsync();
        var lines = (await page.Locator(".filter-error pre").InnerTextAsync()).Split('\n');
        Assert.Equal((lines[0].Length, "^"), (lines[1].IndexOf('^', StringComparison.Ordinal), lines[1].Trim()));
        await status.GetByText("100 runs, of the filter before").WaitForAsync();
        await Row(page, 0).WaitForAsync();

        await filter.FillAsync("params.learner = 'gbm'");
        await filter.PressAsync("Enter");
        await page.Locator(".filter-error").WaitForAsync(new LocatorWaitForOptions { State = WaitForSelectorState.Detached });
        var file = await page.RunAndWaitForDownloadAsync(() => page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "CSV", Exact = true }).ClickAsync());
        var saved = await File.ReadAllLinesAsync(await file.PathAsync());
        Assert.Equal("sweep.csv", file.SuggestedFilename);
        Assert.StartsWith("run_id,run_name,\"attributes.status\"", saved[0], StringComparison.Ordinal);
        Assert.Equal((101, 100), (saved.Length, saved.Count(l => l.Contains("\"gbm\"", StringComparison.Ordinal))));

        await page.Locator(".filters .group select").SelectOptionAsync("params.seed");
        await status.GetByText("100 runs in 5 groups").WaitForAsync();
        await page.Locator(".fold").First.ClickAsync();
        await page.WaitForFunctionAsync("() => document.querySelector('table[role=grid]').getAttribute('aria-rowcount') === '26'");
        reader.AssertClean();
    }

    [Fact]
    public async Task Charts_take_another_metric_a_log_axis_and_smoothing_and_the_keyboard_zooms()
    {
        await using var reader = await Reader.OpenAsync();
        var page = reader.Page;
        await page.GotoAsync($"{world.Url}/runs?experiment={world.Experiment}&charts=auc");
        await page.Locator(".run-charts canvas").WaitForAsync();
        await page.GetByPlaceholder("metric", new PageGetByPlaceholderOptions { Exact = true }).FillAsync("loss");
        await page.Keyboard.PressAsync("Tab");
        await page.WaitForFunctionAsync("() => document.querySelectorAll('.run-charts canvas').length === 2");
        var bar = page.Locator(".chart-bar");
        await bar.Locator("select").Nth(1).SelectOptionAsync("log");
        await page.WaitForFunctionAsync("() => decodeURIComponent(location.search).includes('y:log')");
        await bar.Locator("select").Nth(2).SelectOptionAsync("Ema");
        await page.WaitForFunctionAsync("() => decodeURIComponent(location.search).includes('s:ema')");

        await bar.Locator("input[type=range]").First.FocusAsync();
        for (var i = 0; i < 3; i++)
        {
            await page.Keyboard.PressAsync("PageUp");
        }

        await bar.GetByText("30 %").WaitForAsync();
        await page.Locator(".run-charts .cell").First.GetByText("Table", new LocatorGetByTextOptions { Exact = true }).ClickAsync();
        await page.Locator(".chart-table tbody tr").First.WaitForAsync();
        Assert.DoesNotContain("0", await page.Locator(".chart-table tbody tr td:nth-child(2)").AllTextContentsAsync());
        await bar.GetByText("whole").ClickAsync();
        await bar.GetByText("whole").WaitForAsync(new LocatorWaitForOptions { State = WaitForSelectorState.Detached });
        reader.AssertClean();
    }

    [Fact]
    public async Task A_model_leads_to_its_version_and_a_protected_alias_waits_for_the_gate()
    {
        await using var reader = await Reader.OpenAsync();
        var page = reader.Page;
        await page.GotoAsync($"{world.Url}/models");
        await page.Locator("tbody").GetByRole(AriaRole.Link, new LocatorGetByRoleOptions { Name = "iris", Exact = true }).ClickAsync();
        await Row(page, 0).GetByRole(AriaRole.Link, new LocatorGetByRoleOptions { Name = "2", Exact = true }).ClickAsync();
        await page.GetByText($"slipway version try iris/2").First.WaitForAsync();
        await page.Locator(".lineage").GetByText("sweep", new LocatorGetByTextOptions { Exact = true }).WaitForAsync();
        await page.Locator(".crumbs").GetByText("iris").ClickAsync();

        await page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = "Move alias" }).ClickAsync();
        var form = page.Locator(".panel.form");
        await form.GetByText("has not passed the policy production").First.WaitForAsync();
        await form.GetByText("slipway gate request iris/2 --policy production").First.WaitForAsync();
        Assert.Equal("true", await form.GetByRole(AriaRole.Button, new LocatorGetByRoleOptions { Name = "Move" }).GetAttributeAsync("aria-disabled"));

        await form.GetByLabel("Alias").FillAsync("trial");
        await form.GetByText("trial").First.WaitForAsync();
        await form.Locator("button:not([aria-disabled])").GetByText("Move", new LocatorGetByTextOptions { Exact = true }).ClickAsync();
        await page.Locator(".page-head").GetByText("trial → 2").WaitForAsync();
        reader.AssertClean();
    }

    [Fact]
    public async Task Full_pages_of_runs_and_models_have_no_serious_finding() =>
        Assert.Empty(await Browser.ProblemsAsync(
            world.Url, $"/runs?experiment={world.Experiment}&group=params.seed&open=0", $"/runs?experiment={world.Experiment}&filter=nonsense&charts=auc&plot=z:20~80", $"/runs/{world.OtherRunId}", $"/compare?experiment={world.Experiment}&all=1", "/models/iris?act=alias", "/models/iris/2"));

    private static ILocator Row(IPage page, int at) => page.Locator($"tbody tr[aria-rowindex='{at + 2}']");

    /// <summary>A server in single-user mode with 200 runs and a model with two versions.</summary>
    public sealed class Filled : IAsyncLifetime
    {
        private static readonly Actor Ada = Access.SingleUser("ada");
        private readonly string folder = Directory.CreateTempSubdirectory("slipway-runs-").FullName;
        private SlipwayServer? server;

        public string Url => server!.Urls[0];

        public string Experiment { get; private set; } = "";

        public string RunId { get; private set; } = "";

        public string OtherRunId { get; private set; } = "";

        public async ValueTask InitializeAsync()
        {
            server = SlipwayServer.Create(new SlipwayOptions { DataDirectory = folder, Urls = ["http://127.0.0.1:0"], Identity = IdentityMode.SingleUser });
            await server.StartAsync(CancellationToken.None);
            var (runs, models) = (server.Services.GetRequiredService<Runs>(), server.Services.GetRequiredService<Models>());
            Experiment = (await server.Services.GetRequiredService<Experiments>().EnsureAsync(Ada, "sweep", CancellationToken.None)).Id;
            for (var i = 0; i < 200; i++)
            {
                RunId = (await runs.CreateAsync(Ada, new CreateRun { ExperimentId = Experiment, Name = $"run-{i:000}", UserId = "ada" }, CancellationToken.None)).Id;
                MetricPoint[] points = [.. Enumerable.Range(0, 5).SelectMany(s => new[] { new MetricPoint("auc", 0.5 + (0.001 * i) + (0.01 * s), 1_700_000_000_000 + s, s), new MetricPoint("loss", 1 / (1 + s + (0.01 * i)), 1_700_000_000_000 + s, s) })];
                Param[] parameters = [new("lr", (0.001 * (i + 1)).ToString("R", CultureInfo.InvariantCulture)), new("learner", i % 2 == 0 ? "gbm" : "mlp"), new("seed", (i % 5).ToString(CultureInfo.InvariantCulture)), new("data", "flights")];
                await runs.LogBatchAsync(Ada, RunId, points, parameters, [], CancellationToken.None);
                await runs.FinishAsync(Ada, RunId, i % 50 == 0 ? RunStatus.Failed : RunStatus.Finished, CancellationToken.None);
            }

            OtherRunId = (await runs.CreateAsync(Ada, new CreateRun { ExperimentId = "0", Name = "apart", UserId = "ada" }, CancellationToken.None)).Id;
            await runs.LogBatchAsync(Ada, OtherRunId, [new MetricPoint("auc", 0.7, 1_700_000_000_000), new MetricPoint("loss", double.NaN, 1_700_000_000_000)], [], [], CancellationToken.None);
            await using (var notes = new MemoryStream("It learned slowly."u8.ToArray()))
            {
                await runs.PutArtifactAsync(Ada, OtherRunId, "notes.txt", notes, CancellationToken.None);
            }

            await using (var file = File.OpenRead(Path.Combine(AppContext.BaseDirectory, "models", "iris_logreg.onnx")))
            {
                await runs.PutArtifactAsync(Ada, RunId, "model/model.onnx", file, CancellationToken.None);
            }

            await models.CreateAsync(Ada, "iris", "which iris it is", [new Tag(Models.PolicyTag, "production")], CancellationToken.None);
            for (var version = 1; version <= 2; version++)
            {
                await models.RegisterAsync(Ada, new RegisterVersion { Name = "iris", RunId = RunId, Source = $"runs:/{RunId}/model" }, CancellationToken.None);
            }
        }

        public async ValueTask DisposeAsync()
        {
            if (server is not null)
            {
                await server.StopAsync(CancellationToken.None);
                await server.DisposeAsync();
            }

            Directory.Delete(folder, recursive: true);
        }
    }
}
