using System.Net.Http.Json;
using System.Text;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Playwright;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;
using Slipway.Server;
using Slipway.Serving;

namespace Slipway.Acceptance;

/// <summary>What people do with rollouts of every kind, in a real browser against a real server that serves real requests.</summary>
public sealed class RolloutPagesTests(RolloutPagesTests.Trials world) : IClassFixture<RolloutPagesTests.Trials>
{
    private static readonly MetricSpec Positive = new() { Name = "positive", Source = MetricSource.PositiveRate, Kind = MetricKind.Proportion, Direction = MetricDirection.Up };

    private const string Flower = """{"inputs":[{"name":"X","datatype":"FP32","shape":[1,4],"data":[5.9,3,5.1,1.8]}]}""";

    private static readonly RolloutVariant[] Two = [new("small", "iris/2"), new("large", "iris/3")];

    [Fact]
    public async Task Pages_of_every_kind_fit_a_phone_and_have_no_serious_finding()
    {
        var paths = new List<string> { "/endpoints", "/rollouts/0195e2f0a1b2c3d4e5f60718293a4b5c" };
        foreach (var (name, spec) in new (string, RolloutSpec)[]
        {
            ("canary", new() { Steps = [RolloutStep.SetWeight(20), RolloutStep.Analyse(new() { MinRequests = 100_000 }), RolloutStep.SetWeight(100)] }),
            ("approval", new() { Steps = [RolloutStep.SetWeight(5), RolloutStep.Approve("validator", TimeSpan.FromDays(2)), RolloutStep.SetWeight(100)] }),
            ("green", new() { Kind = RolloutKind.BlueGreen, BlueGreen = new() { Mirror = 50 } }),
            ("dark", new() { Kind = RolloutKind.Shadow, Shadow = new() { MinPairs = 100_000, MaxClassFlips = 0.1 } }),
            ("ab", AbTest),
            ("arms", Bandit),
        })
        {
            var id = await world.ProposeAsync(name, spec);
            await world.AskAsync(name, 40);
            paths.Add($"/rollouts/{id}");
        }

        Assert.Empty(await Browser.ProblemsAsync(world.Url, [.. paths]));
    }

    [Fact]
    public async Task Bandit_shows_its_shares_over_time_and_what_each_variant_earned()
    {
        var id = await world.ProposeAsync("moving", Bandit);
        await using var reader = await Reader.OpenAsync();
        var page = reader.Page;
        await page.GotoAsync($"{world.Url}/rollouts/{id}");
        var table = page.GetByRole(AriaRole.Group, new() { Name = "Bandit" });
        for (var i = 0; i < 20 && !await table.GetByText("100 %").First.IsVisibleAsync(); i++)
        {
            await world.AskAsync("moving", 30);
            if (await table.IsVisibleAsync() && !(await table.TextContentAsync())!.Contains("not enough data", StringComparison.Ordinal))
            {
                break;
            }

            await page.WaitForTimeoutAsync(1000);
        }

        Assert.Equal(["stable", "small", "large"], await table.Locator("tbody th").AllTextContentsAsync());
        Assert.DoesNotContain("not enough data", (await table.TextContentAsync())!, StringComparison.Ordinal);
        var chart = page.Locator("section[aria-label=Bandit] .over-time");
        await chart.GetByRole(AriaRole.Button, new() { Name = "Table" }).ClickAsync();
        await chart.Locator("tbody tr").First.WaitForAsync();
        Assert.Equal(["stable", "small", "large"], (await chart.Locator("thead th").AllTextContentsAsync()).Skip(1));
        reader.AssertClean();
    }

    [Fact]
    public async Task The_winner_of_an_a_b_test_is_chosen_in_its_page_with_a_reason()
    {
        var id = await world.ProposeAsync("choice", AbTest with { Bake = TimeSpan.FromSeconds(2) });
        await using var reader = await Reader.OpenAsync();
        var page = reader.Page;
        await page.GotoAsync($"{world.Url}/rollouts/{id}");
        // Requests of before all shares are set would say that the assignment is broken.
        await page.Locator(".steps li[aria-current=step]").GetByText("Experiment until it decides").WaitForAsync();
        await world.AskAsync("choice", 90);
        await page.GetByRole(AriaRole.Group, new() { Name = "Who saw what" }).Locator("td:nth-child(2)").Filter(new() { HasTextRegex = new("^[1-9]") }).Nth(2).WaitForAsync();

        await page.GetByRole(AriaRole.Button, new() { Name = "Choose the winner" }).ClickAsync();
        var dialog = page.GetByRole(AriaRole.Dialog);
        await dialog.GetByText("The experiment has not found a winner").WaitForAsync();
        await dialog.GetByRole(AriaRole.Button, new() { Name = "Choose the winner" }).ClickAsync();
        await dialog.GetByText("Choose one of them.").WaitForAsync();
        Assert.Equal(2, await dialog.GetByRole(AriaRole.Radio).CountAsync());
        await dialog.GetByRole(AriaRole.Radio, new() { Name = "large" }).CheckAsync();
        await dialog.GetByRole(AriaRole.Row, new() { Name = "large (iris/3)" }).GetByText("100 %").WaitForAsync();
        await dialog.GetByText("step 3: experiment until it decides").WaitForAsync();
        await dialog.GetByRole(AriaRole.Button, new() { Name = "Choose the winner" }).ClickAsync();
        await dialog.GetByText("Say why").WaitForAsync();
        await dialog.GetByLabel("Reason").FillAsync("support asked for the larger one");
        await dialog.GetByRole(AriaRole.Button, new() { Name = "Choose the winner" }).ClickAsync();

        await page.GetByText("iris/3 is stable.").WaitForAsync();
        await page.Locator(".timeline").GetByText("large chosen by root: support asked for the larger one").First.WaitForAsync();
        await page.Locator(".panel-end").GetByText("ended without an answer").WaitForAsync();
        Assert.Equal("iris/3", (await world.Get<Endpoints>().GetAsync("choice", CancellationToken.None)).ModelVersion);
        reader.AssertClean();
    }

    [Fact]
    public async Task Blue_green_is_tried_at_its_preview_address_switched_baked_and_scaled_down()
    {
        var id = await world.ProposeAsync("sides", new() { Kind = RolloutKind.BlueGreen, BlueGreen = new() { ScaleDownDelay = TimeSpan.FromSeconds(6) }, Bake = TimeSpan.FromSeconds(4) });
        await using var reader = await Reader.OpenAsync();
        var page = reader.Page;
        await page.GotoAsync($"{world.Url}/rollouts/{id}");
        await page.GetByText("paused: planned").First.WaitForAsync();
        var sides = page.GetByRole(AriaRole.Region, new() { Name = "Both sides" });
        await sides.GetByText("not switched").WaitForAsync();
        Assert.Equal("iris/1", await sides.Locator(".side.live b").TextContentAsync());

        // The address that the page gives answers with the candidate, before anybody else meets it.
        var address = (await sides.Locator("pre").TextContentAsync())!;
        Assert.Equal($"{world.Url}/v2/models/sides@preview/infer", address);
        Assert.Equal("candidate", await world.VariantOfAsync(address));
        Assert.Equal("stable", await world.VariantOfAsync($"{world.Url}/v2/models/sides/infer"));

        await page.GetByRole(AriaRole.Button, new() { Name = "Promote", Exact = true }).ClickAsync();
        var dialog = page.GetByRole(AriaRole.Dialog);
        await dialog.GetByText("10,000 of 10,000").WaitForAsync();
        await dialog.GetByRole(AriaRole.Button, new() { Name = "Promote", Exact = true }).ClickAsync();
        await sides.GetByText("switched", new() { Exact = true }).WaitForAsync();
        Assert.Equal("iris/2", await sides.Locator(".side.live b").TextContentAsync());
        await sides.GetByText("iris/1 stays loaded for 6 s after the end.").WaitForAsync();
        await page.Locator(".steps .clock").GetByText("of 4 s").WaitForAsync();
        Assert.Equal("candidate", await world.VariantOfAsync($"{world.Url}/v2/models/sides/infer"));

        await page.GetByText("iris/2 is stable.").WaitForAsync();
        await sides.GetByText("iris/1 stays loaded until").WaitForAsync();
        await sides.GetByText("iris/1 is not kept loaded any more.").WaitForAsync();
        reader.AssertClean();
    }

    [Fact]
    public async Task Shadow_shows_how_far_the_pairs_agree_and_ends_on_stable()
    {
        var id = await world.ProposeAsync("mirror", new() { Kind = RolloutKind.Shadow, Shadow = new() { MinPairs = 60, MaxClassFlips = 0.1, Interval = TimeSpan.FromSeconds(1) } });
        await using var reader = await Reader.OpenAsync();
        var page = reader.Page;
        await page.GotoAsync($"{world.Url}/rollouts/{id}");
        await page.Locator(".steps li[aria-current=step]").GetByText("Compare the pairs of answers").WaitForAsync();
        var agreement = page.GetByRole(AriaRole.Region, new() { Name = "Agreement" });
        await world.AskAsync("mirror", 20);
        await agreement.GetByText("20 of the 60 pairs that a verdict needs.").WaitForAsync();
        Assert.Equal("not enough data", await agreement.Locator(".chip").First.TextContentAsync());

        await world.AskAsync("mirror", 60);
        await agreement.Locator(".chip").GetByText("pass", new() { Exact = true }).WaitForAsync();
        var facts = (await agreement.Locator("dl").TextContentAsync())!;
        Assert.Contains("Exact match100 %", facts, StringComparison.Ordinal);
        Assert.Contains("0 % (accepted at most 10 %)", facts, StringComparison.Ordinal);
        Assert.Contains("0 of the shadow, 0 of the primary", facts, StringComparison.Ordinal);
        await page.GetByText("iris/1 is stable.").WaitForAsync();
        Assert.Equal("iris/1", (await world.Get<Endpoints>().GetAsync("mirror", CancellationToken.None)).ModelVersion);
        reader.AssertClean();
    }

    [Fact]
    public async Task Console_speaks_json_and_binary_and_errors_can_be_read()
    {
        await world.EndpointAsync("console");
        await using var reader = await Reader.OpenAsync();
        var page = reader.Page;
        await page.GotoAsync($"{world.Url}/endpoints/console");
        var console = page.GetByRole(AriaRole.Region, new() { Name = "Request console" });
        var request = console.GetByRole(AriaRole.Textbox);
        await request.FillAsync(Flower);
        await console.GetByRole(AriaRole.Button, new() { Name = "Run", Exact = true }).ClickAsync();
        await console.GetByText("200", new() { Exact = true }).WaitForAsync();
        var json = await console.Locator("pre.answer").TextContentAsync();
        var sent = Encoding.UTF8.GetByteCount(Flower);

        await console.GetByLabel("Tensors travel as").SelectOptionAsync("binary");
        await console.GetByText("its data is sent as binary tensors").WaitForAsync();
        await console.GetByRole(AriaRole.Button, new() { Name = "Run", Exact = true }).ClickAsync();
        // Its header is longer than the JSON request was, so another size tells the two answers apart.
        await console.GetByText(" B sent").Filter(new() { HasNotText = $"{sent} B sent" }).WaitForAsync();
        Assert.Equal(Classes(json!), Classes((await console.Locator("pre.answer").TextContentAsync())!));

        await request.FillAsync("""{"inputs":[{"name":"X","datatype":"FP32","shape":[1,3],"data":[5.9,3,5.1]}]}""");
        await console.GetByRole(AriaRole.Button, new() { Name = "Run", Exact = true }).ClickAsync();
        await console.GetByText("400", new() { Exact = true }).WaitForAsync();
        Assert.Contains("[1,3]", (await console.Locator("pre.answer").TextContentAsync())!.Replace(" ", "", StringComparison.Ordinal), StringComparison.Ordinal);
        await request.FillAsync("""{"inputs":""");
        await console.GetByRole(AriaRole.Button, new() { Name = "Run", Exact = true }).ClickAsync();
        await console.GetByText("not sent:").WaitForAsync();

        // The class, which both forms give as the same whole number.
        static string Classes(string answer) => answer.Split('\n')[1].Trim();
    }

    private static RolloutSpec AbTest => new() { Kind = RolloutKind.AbTest, Variants = Two, Experiment = new() { Primary = Positive, Unit = ExperimentUnit.Request, Interval = TimeSpan.FromSeconds(1), Design = new() { Horizon = TimeSpan.FromDays(14), MinUnitsPerArm = 10_000 } } };

    private static RolloutSpec Bandit => new() { Kind = RolloutKind.Bandit, Variants = Two, Bandit = new() { Reward = Positive, Interval = TimeSpan.FromSeconds(1), BurnIn = 20 } };

    /// <summary>A server in single-user mode with three versions of a model.</summary>
    public sealed class Trials : IAsyncLifetime
    {
        private static readonly Actor Ada = Access.SingleUser("ada");
        private readonly string folder = Directory.CreateTempSubdirectory("slipway-rollouts-").FullName;
        private SlipwayServer? server;
        private HttpClient? client;

        public string Url => server!.Urls[0];

        public T Get<T>()
            where T : notnull => server!.Services.GetRequiredService<T>();

        public Task EndpointAsync(string name) => Get<Endpoints>().CreateAsync(Ada, new CreateEndpoint { Name = name, ModelVersion = "iris/1" }, CancellationToken.None);

        /// <summary>An endpoint of this name, and a rollout on it.</summary>
        public async Task<string> ProposeAsync(string name, RolloutSpec spec)
        {
            await EndpointAsync(name);
            return (await Get<Rollouts>().ProposeAsync(Ada, new ProposeRollout { Endpoint = name, Candidate = spec.Variants.Count == 0 ? "iris/2" : null, Spec = spec }, CancellationToken.None)).Id;
        }

        /// <summary>Sends requests, each of another entity.</summary>
        public async Task AskAsync(string endpoint, int requests)
        {
            for (var i = 0; i < requests; i++)
            {
                var flower = new { parameters = new { entity_key = Ids.New() }, inputs = new[] { new { name = "X", datatype = "FP32", shape = new[] { 1, 4 }, data = new[] { 4.5 + (i % 30 * 0.1), 3, 1 + (i % 11 * 0.5), 0.2 + (i % 7 * 0.3) } } } };
                using var answer = await client!.PostAsJsonAsync($"/v2/models/{endpoint}/infer", flower);
                answer.EnsureSuccessStatusCode();
            }
        }

        /// <summary>The variant that answers at an address.</summary>
        public async Task<string> VariantOfAsync(string address)
        {
            using var body = new StringContent(Flower, Encoding.UTF8, "application/json");
            using var answer = await client!.PostAsync(address, body);
            answer.EnsureSuccessStatusCode();
            return answer.Headers.GetValues("x-slipway-variant").Single();
        }

        public async ValueTask InitializeAsync()
        {
            server = SlipwayServer.Create(new SlipwayOptions { DataDirectory = folder, Urls = ["http://127.0.0.1:0"], Identity = IdentityMode.SingleUser });
            await server.StartAsync(CancellationToken.None);
            client = new HttpClient { BaseAddress = new Uri(Url) };
            var run = await Get<Runs>().CreateAsync(Ada, new CreateRun { ExperimentId = "0", Name = "logreg", UserId = "ada" }, CancellationToken.None);
            await using (var file = File.OpenRead(Path.Combine(AppContext.BaseDirectory, "models", "iris_logreg.onnx")))
            {
                await Get<Runs>().PutArtifactAsync(Ada, run.Id, "model/model.onnx", file, CancellationToken.None);
            }

            await Get<Models>().CreateAsync(Ada, "iris", "which iris it is", CancellationToken.None);
            for (var version = 1; version <= 3; version++)
            {
                await Get<Models>().RegisterAsync(Ada, new RegisterVersion { Name = "iris", RunId = run.Id, Source = $"runs:/{run.Id}/model" }, CancellationToken.None);
            }
        }

        public async ValueTask DisposeAsync()
        {
            client?.Dispose();
            if (server is not null)
            {
                await server.StopAsync(CancellationToken.None);
                await server.DisposeAsync();
            }

            Directory.Delete(folder, recursive: true);
        }
    }
}
