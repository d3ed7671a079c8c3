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
