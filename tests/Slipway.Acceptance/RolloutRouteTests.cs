using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Slipway.Serving;

namespace Slipway.Acceptance;

/// <summary>What is asked about a rollout over HTTP: its answer, an unknown rollout, and a rollout of another kind. Who may ask is held for every route at once.</summary>
public sealed class RolloutRouteTests(RunningServer server) : IClassFixture<RunningServer>, IAsyncLifetime
{
    private static readonly string[] Reports = ["experiment", "bandit", "shadow", "assignment?key=ann", "exposures", "nodes", "timeline", "actions", "analysis"];
    private HttpClient http = null!;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        http = server.Client(server.OwnerKey);
        if ((await server.Get<Endpoints>().ListAsync(Stop)).Count == 0)
        {
            await server.RegisterIrisAsync(0.95);
            await server.RegisterIrisAsync(0.96);
        }
    }

    public ValueTask DisposeAsync()
    {
        http.Dispose();
        return ValueTask.CompletedTask;
    }

    [Fact]
    public async Task Nothing_is_known_of_an_unknown_rollout()
    {
        foreach (var report in Reports)
        {
            using var answer = await http.GetAsync(new Uri($"/api/v1/rollouts/nobody/{report}", UriKind.Relative), Stop);
            Assert.True(answer.StatusCode == HttpStatusCode.NotFound, $"{report}: {answer.StatusCode}");
        }

        Assert.Equal(HttpStatusCode.NotFound, (await PutAsync("nobody", new { steps = new[] { new { kind = "pause" } } })).Status);
    }

    [Fact]
    public async Task Canary_says_who_sees_what_and_has_no_report_of_another_kind()
    {
        var id = await RunAsync("canary", new { steps = new object[] { new { kind = "setWeight", percent = 50 }, new { kind = "pause", duration = "01:00:00" }, new { kind = "pause", duration = "02:00:00" } } });
        foreach (var entity in new[] { "ann", "bob", "cid", "dan" })
        {
            var served = await AskAsync("canary", entity);
            var assigned = await GetAsync($"{id}/assignment?key={entity}");
            Assert.Equal(served, assigned.GetProperty("variant").GetProperty("name").GetString());
            Assert.InRange(assigned.GetProperty("slot").GetInt32(), 0, 9999);
            var exposure = Assert.Single((await GetAsync($"{id}/exposures?entity={entity}")).GetProperty("items").EnumerateArray());
            Assert.Equal((served, "slot"), (exposure.GetProperty("variant").GetString(), exposure.GetProperty("reason").GetString()));
        }

        Assert.Equal(4, (await GetAsync($"{id}/exposures")).GetProperty("items").GetArrayLength());
        var nodes = await GetAsync($"{id}/nodes");
        var node = Assert.Single(nodes.GetProperty("items").EnumerateArray());
        Assert.Equal(nodes.GetProperty("set").GetRawText(), node.GetProperty("shares").GetRawText());
        Assert.True(node.GetProperty("current").GetBoolean() && node.GetProperty("drives").GetBoolean());
        foreach (var report in new[] { "experiment", "bandit", "shadow" })
        {
            using var answer = await http.GetAsync(new Uri($"/api/v1/rollouts/{id}/{report}", UriKind.Relative), Stop);
            Assert.Equal("preconditionFailed", await CodeAsync(answer));
        }

        using var broken = await http.GetAsync(new Uri($"/api/v1/rollouts/{id}/assignment", UriKind.Relative), Stop);
        Assert.Equal(HttpStatusCode.BadRequest, broken.StatusCode);
        await EndAsync(id);
        using var over = await http.GetAsync(new Uri($"/api/v1/rollouts/{id}/assignment?key=ann", UriKind.Relative), Stop);
        Assert.Equal(HttpStatusCode.Conflict, over.StatusCode);
    }

    [Fact]
    public async Task Plan_changes_only_where_nothing_has_begun_and_by_those_who_may()
    {
        var id = await RunAsync("edited", new { steps = new object[] { new { kind = "setWeight", percent = 50 }, new { kind = "pause", duration = "01:00:00" }, new { kind = "pause", duration = "02:00:00" } } });
        var spec = (await GetAsync(id)).GetProperty("spec").GetRawText();
        var later = spec.Replace("02:00:00", "03:00:00", StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.Forbidden, (await PutAsync(id, JsonSerializer.Deserialize<JsonElement>(later), await server.KeyOfAsync("val", "viewer"))).Status);
        Assert.Equal(HttpStatusCode.OK, (await PutAsync(id, JsonSerializer.Deserialize<JsonElement>(later))).Status);
        Assert.Equal("03:00:00", (await GetAsync(id)).GetProperty("spec").GetProperty("steps")[2].GetProperty("duration").GetString());
        Assert.Equal(HttpStatusCode.Conflict, (await PutAsync(id, JsonSerializer.Deserialize<JsonElement>(later.Replace("01:00:00", "00:00:01", StringComparison.Ordinal)))).Status);
        Assert.Equal(HttpStatusCode.BadRequest, (await PutAsync(id, new { steps = new[] { new { kind = "dance" } } })).Status);
        await EndAsync(id);
    }

    [Fact]
    public async Task Experiment_bandit_and_shadow_report_what_was_logged()
    {
        var metric = new { name = "score", source = "score", kind = "mean", direction = "up" };
        var variants = new[] { new { name = "b", modelVersion = "iris/2" } };
        var test = await RunAsync("tested", new { kind = "abTest", variants, experiment = new { primary = metric, design = new { effect = 0.1 } } });
        var bandit = await RunAsync("armed", new { kind = "bandit", variants, bandit = new { reward = metric } });
        var shadow = await RunAsync("copied", new { kind = "shadow", shadow = new { percent = 100, minPairs = 1000 } });
        for (var i = 0; i < 20; i++)
        {
            await AskAsync("tested", $"entity-{i}");
            await AskAsync("armed", $"entity-{i}");
            await AskAsync("copied", $"entity-{i}");
        }

        var experiment = await GetAsync($"{test}/experiment");
        Assert.Equal("running", experiment.GetProperty("decision").GetString());
        Assert.Equal(["stable", "b"], experiment.GetProperty("arms").EnumerateArray().Select(arm => arm.GetProperty("variant").GetString()));
        Assert.Equal(20, experiment.GetProperty("arms").EnumerateArray().Sum(arm => arm.GetProperty("exposed").GetInt64()));
        Assert.Equal("noData", experiment.GetProperty("metrics")[0].GetProperty("verdict").GetString());

        var weighed = await GetAsync($"{bandit}/bandit");
        Assert.Equal(20, weighed.GetProperty("arms").EnumerateArray().Sum(arm => arm.GetProperty("n").GetInt64()));
        Assert.False(weighed.GetProperty("moved").GetBoolean());

        JsonElement pairs = default;
        for (var i = 0; i < 100 && (i == 0 || pairs.GetProperty("pairs").GetInt64() < 20); i++)
        {
            await Task.Delay(100, Stop);
            pairs = await GetAsync($"{shadow}/shadow");
        }

        Assert.Equal((20, 1.0, 0), (pairs.GetProperty("pairs").GetInt64(), pairs.GetProperty("exactMatch").GetDouble(), pairs.GetProperty("dropped").GetInt64()));
        using var unknown = await http.GetAsync(new Uri($"/api/v1/rollouts/{shadow}/shadow?variant=nobody", UriKind.Relative), Stop);
        Assert.Equal(HttpStatusCode.BadRequest, unknown.StatusCode);
        foreach (var (id, report) in new[] { (test, "bandit"), (bandit, "experiment"), (shadow, "bandit") })
        {
            using var answer = await http.GetAsync(new Uri($"/api/v1/rollouts/{id}/{report}", UriKind.Relative), Stop);
            Assert.Equal("preconditionFailed", await CodeAsync(answer));
        }

        foreach (var id in new[] { test, bandit, shadow })
        {
            await EndAsync(id);
        }
    }

    /// <summary>Makes an endpoint and starts a rollout of the second version on it; returns when it waits.</summary>
    private async Task<string> RunAsync(string endpoint, object spec)
    {
        await server.Get<Endpoints>().CreateAsync(server.Ada, new CreateEndpoint { Name = endpoint, ModelVersion = "iris/1" }, Stop);
        using var made = await http.PostAsJsonAsync("/api/v1/rollouts", new { endpoint, candidate = "iris/2", spec }, Stop);
        var proposed = JsonDocument.Parse(await made.Content.ReadAsStringAsync(Stop)).RootElement;
        Assert.True(made.IsSuccessStatusCode, proposed.ToString());
        var id = proposed.GetProperty("id").GetString()!;
        for (var i = 0; i < 300; i++)
        {
            var rollout = await GetAsync(id);
            var status = rollout.GetProperty("status");
            var step = status.GetProperty("step").GetInt32();
            var steps = rollout.GetProperty("spec").GetProperty("steps");
            if (status.GetProperty("state").GetString() == "paused" || (step < steps.GetArrayLength() && steps[step].GetProperty("kind").GetString() is "experiment" or "bandit" or "compare"))
            {
                return id;
            }

            await Task.Delay(100, Stop);
        }

        throw new TimeoutException($"the rollout on {endpoint} does not wait: {await GetAsync(id)}");
    }

    private async Task EndAsync(string id)
    {
        // Both forms are one command: the second one with the key of the first is a repetition, and another command with it is refused.
        var key = $"end-{id}";
        foreach (var (path, expected) in new[] { (":abort", HttpStatusCode.OK), ("/abort", HttpStatusCode.OK), (":retry", HttpStatusCode.Conflict) })
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, new Uri($"/api/v1/rollouts/{id}{path}", UriKind.Relative)) { Content = JsonContent.Create(new { reason = "the test is over" }) };
            request.Headers.Add("Idempotency-Key", key);
            using var answer = await http.SendAsync(request, Stop);
            Assert.Equal(expected, answer.StatusCode);
        }
    }

    private async Task<string> AskAsync(string endpoint, string entity)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri($"/v2/models/{endpoint}/infer", UriKind.Relative))
        {
            Content = new StringContent("""{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}""", Encoding.UTF8, "application/json"),
        };
        request.Headers.Add("x-slipway-entity-key", entity);
        using var answer = await http.SendAsync(request, Stop);
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync(Stop));
        return answer.Headers.GetValues("x-slipway-variant").Single();
    }

    private async Task<JsonElement> GetAsync(string path)
    {
        using var answer = await http.GetAsync(new Uri($"/api/v1/rollouts/{path}", UriKind.Relative), Stop);
        var text = await answer.Content.ReadAsStringAsync(Stop);
        Assert.True(answer.IsSuccessStatusCode, text);
        return JsonDocument.Parse(text).RootElement;
    }

    private async Task<(HttpStatusCode Status, string Body)> PutAsync(string id, object plan, string? key = null)
    {
        using var client = server.Client(key ?? server.OwnerKey);
        using var answer = await client.PutAsJsonAsync($"/api/v1/rollouts/{id}/plan", plan, Stop);
        return (answer.StatusCode, await answer.Content.ReadAsStringAsync(Stop));
    }

    private static async Task<string> CodeAsync(HttpResponseMessage answer) => JsonDocument.Parse(await answer.Content.ReadAsStringAsync(Stop)).RootElement.GetProperty("code").GetString()!;
}
