using System.Text.Json.Nodes;

namespace Slipway.Acceptance.Mlflow;

/// <summary>Every limit of the protocol: the last value that passes, and the first that does not and changes nothing.</summary>
public sealed class LimitTests(MlflowServer server) : IClassFixture<MlflowServer>
{
    /// <summary>Method, path, body with <c>@</c> for the text and <c>$run</c>, <c>$experiment</c> for what is there, and the longest text.</summary>
    public static TheoryData<string, string, string, int> Lengths => new()
    {
        { "POST", "experiments/create", """{"name":"@"}""", 500 },
        { "POST", "experiments/create", """{"name":"by-tag-@","tags":[{"key":"@","value":"v"}]}""", 250 },
        { "POST", "experiments/set-experiment-tag", """{"experiment_id":"$experiment","key":"@","value":"v"}""", 250 },
        { "POST", "experiments/set-experiment-tag", """{"experiment_id":"$experiment","key":"k","value":"@"}""", 5000 },
        { "POST", "runs/log-metric", """{"run_id":"$run","key":"@","value":1,"timestamp":1}""", 250 },
        { "POST", "runs/log-batch", """{"run_id":"$run","metrics":[{"key":"@","value":1,"timestamp":2}]}""", 250 },
        { "POST", "runs/log-parameter", """{"run_id":"$run","key":"@","value":"1"}""", 250 },
        { "POST", "runs/set-tag", """{"run_id":"$run","key":"@","value":"1"}""", 250 },
        { "POST", "runs/log-inputs", """{"run_id":"$run","datasets":[{"dataset":{"name":"@","digest":"1","source_type":"local","source":"s"} } ]}""", 500 },
        { "POST", "runs/log-inputs", """{"run_id":"$run","datasets":[{"dataset":{"name":"a","digest":"@","source_type":"local","source":"s"} } ]}""", 36 },
        { "POST", "runs/log-inputs", """{"run_id":"$run","datasets":[{"dataset":{"name":"b","digest":"1","source_type":"local","source":"@"} } ]}""", 65_535 },
        { "POST", "runs/log-inputs", """{"run_id":"$run","datasets":[{"dataset":{"name":"c","digest":"1","source_type":"local","source":"s","schema":"@"} } ]}""", 1_048_575 },
        { "POST", "runs/log-inputs", """{"run_id":"$run","datasets":[{"dataset":{"name":"d","digest":"1","source_type":"local","source":"s","profile":"@"} } ]}""", 16_777_215 },
        { "POST", "runs/log-inputs", """{"run_id":"$run","datasets":[{"tags":[{"key":"@","value":"v"}],"dataset":{"name":"e","digest":"1","source_type":"local","source":"s"} } ]}""", 255 },
        { "POST", "runs/log-inputs", """{"run_id":"$run","datasets":[{"tags":[{"key":"k","value":"@"}],"dataset":{"name":"f","digest":"1","source_type":"local","source":"s"} } ]}""", 500 },
        { "POST", "registered-models/create", """{"name":"@"}""", 256 },
        { "POST", "registered-models/set-tag", """{"name":"limits","key":"@","value":"v"}""", 250 },
        { "POST", "registered-models/set-tag", """{"name":"limits","key":"k","value":"@"}""", 100_000 },
        { "POST", "model-versions/set-tag", """{"name":"limits","version":"1","key":"@","value":"v"}""", 250 },
        { "POST", "model-versions/set-tag", """{"name":"limits","version":"1","key":"k","value":"@"}""", 100_000 },
        { "POST", "registered-models/alias", """{"name":"limits","alias":"@","version":"1"}""", 255 },
        { "POST", "logged-models", """{"experiment_id":"$experiment","name":"@"}""", 500 },
    };

    [Theory, MemberData(nameof(Lengths))]
    public async Task Text_at_the_limit_passes_and_one_longer_changes_nothing(string method, string path, string body, int most)
    {
        var (experiment, run) = await WorldAsync();
        string With(int length) => body.Replace("$run", run, StringComparison.Ordinal).Replace("$experiment", experiment, StringComparison.Ordinal).Replace("@", Text(length), StringComparison.Ordinal);
        var before = await StateAsync(experiment, run);
        var message = await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", method, path, With(most + 1));
        Assert.Contains($"exceeds the maximum length of {most} characters", message, StringComparison.Ordinal);
        Assert.Equal(before, await StateAsync(experiment, run));
        if (path != "experiments/create" || !body.Contains("by-tag", StringComparison.Ordinal))
        {
            await server.OkAsync(method, path, With(most));
        }
    }

    [Fact]
    public async Task Long_values_of_parameters_and_run_tags_are_cut()
    {
        var (_, run) = await WorldAsync();
        await server.OkAsync("POST", "runs/log-parameter", $$"""{"run_id":"{{run}}","key":"exact","value":"{{Text(6000)}}"}""");
        await server.OkAsync("POST", "runs/log-batch", $$"""{"run_id":"{{run}}","params":[{"key":"cut","value":"{{Text(6001)}}"}],"tags":[{"key":"exact","value":"{{Text(8000)}}"},{"key":"cut","value":"{{Text(9000)}}"}] }""");
        var data = (await server.OkAsync("GET", $"runs/get?run_id={run}"))["run"]!["data"]!;
        Assert.Equal([6000, 6000], data["params"]!.AsArray().Select(p => ((string)p!["value"]!).Length));
        Assert.Equal([8000, 8000], data["tags"]!.AsArray().Where(t => (string)t!["key"]! is "cut" or "exact").Select(t => ((string)t!["value"]!).Length));
    }

    [Theory]
    [InlineData(1000, 0, 0, true)]
    [InlineData(1001, 0, 0, false)]
    [InlineData(0, 100, 0, true)]
    [InlineData(0, 101, 0, false)]
    [InlineData(0, 0, 100, true)]
    [InlineData(0, 0, 101, false)]
    [InlineData(800, 100, 100, true)]
    [InlineData(801, 100, 100, false)]
    public async Task Batch_has_its_sizes(int metrics, int parameters, int tags, bool passes)
    {
        var (experiment, run) = await WorldAsync();
        var body = new JsonObject
        {
            ["run_id"] = run,
            ["metrics"] = new JsonArray([.. Enumerable.Range(0, metrics).Select(i => (JsonNode)new JsonObject { ["key"] = $"m{i}", ["value"] = i, ["timestamp"] = 1 })]),
            ["params"] = new JsonArray([.. Enumerable.Range(0, parameters).Select(i => (JsonNode)new JsonObject { ["key"] = $"p{i}", ["value"] = "v" })]),
            ["tags"] = new JsonArray([.. Enumerable.Range(0, tags).Select(i => (JsonNode)new JsonObject { ["key"] = $"t{i}", ["value"] = "v" })]),
        };
        if (passes)
        {
            await server.OkAsync("POST", "runs/log-batch", body.ToJsonString());
            var data = (await server.OkAsync("GET", $"runs/get?run_id={run}"))["run"]!["data"]!;
            Assert.Equal((metrics, parameters, tags + 1), (data["metrics"]?.AsArray().Count ?? 0, data["params"]?.AsArray().Count ?? 0, data["tags"]!.AsArray().Count));
            return;
        }

        var before = await StateAsync(experiment, run);
        Assert.StartsWith("A batch logging request can contain at most", await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/log-batch", body.ToJsonString()), StringComparison.Ordinal);
        Assert.Equal(before, await StateAsync(experiment, run));
    }

    [Theory]
    [InlineData("/m")]
    [InlineData("../m")]
    [InlineData("a/../m")]
    [InlineData("a//m")]
    [InlineData("./m")]
    [InlineData("m/")]
    [InlineData("m\\\\n")]
    [InlineData("m;n")]
    [InlineData("m%n")]
    [InlineData("m\\u0000")]
    public async Task Key_that_is_no_plain_name_changes_nothing(string key)
    {
        var (experiment, run) = await WorldAsync();
        var before = await StateAsync(experiment, run);
        foreach (var (path, rest) in new[] { ("runs/log-metric", "\"value\":1,\"timestamp\":1"), ("runs/log-parameter", "\"value\":\"1\""), ("runs/set-tag", "\"value\":\"1\"") })
        {
            await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", path, $$"""{"run_id":"{{run}}","key":"{{key}}",{{rest}}}""");
        }

        Assert.Equal(before, await StateAsync(experiment, run));
    }

    [Theory]
    [InlineData("val/loss")]
    [InlineData("a b:c-d_e.f")]
    [InlineData("Größe")]
    [InlineData("...")]
    public async Task Key_of_word_characters_passes(string key)
    {
        var (_, run) = await WorldAsync();
        await server.OkAsync("POST", "runs/log-metric", $$"""{"run_id":"{{run}}","key":"{{key}}","value":1,"timestamp":1}""");
        Assert.Single((await server.OkAsync("GET", $"metrics/get-history?run_id={run}&metric_key={Uri.EscapeDataString(key)}"))["metrics"]!.AsArray());
    }

    [Theory]
    [InlineData("runs/search", 1, 50_000)]
    [InlineData("experiments/search", 1, 50_000)]
    [InlineData("registered-models/search", 1, 1000)]
    [InlineData("model-versions/search", 1, 200_000)]
    [InlineData("logged-models/search", 1, 50_000)]
    public async Task Page_sizes_have_their_limits(string path, int least, int most)
    {
        foreach (var size in (int[])[least, most])
        {
            await server.OkAsync("POST", path, $$"""{"experiment_ids":["0"],"max_results":"{{size}}"}""");
        }

        foreach (var size in (long[])[-1, most + 1, long.MaxValue])
        {
            await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", path, $$"""{"experiment_ids":["0"],"max_results":{{size}}}""");
        }
    }

    [Fact]
    public async Task Bulk_history_takes_a_hundred_runs()
    {
        var run = await server.NewRunAsync();
        string Query(string name, int count) => string.Join('&', Enumerable.Repeat($"{name}={run}", count));
        await server.OkAsync("GET", $"metrics/get-history-bulk-interval?{Query("run_ids", 100)}&metric_key=m&max_results=2500");
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "GET", $"metrics/get-history-bulk-interval?{Query("run_ids", 101)}&metric_key=m");
        await server.OkAsync("GET", $"metrics/get-history-bulk?{Query("run_id", 100)}&metric_key=m");
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "GET", $"metrics/get-history-bulk?{Query("run_id", 101)}&metric_key=m");
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "GET", $"metrics/get-history-bulk-interval?run_ids={run}&metric_key=m&max_results=2501");
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "GET", $"metrics/get-history-bulk-interval?run_ids={run}&metric_key=m&start_step=5&end_step=4");
    }

    /// <summary>A text that is a valid name everywhere, and differs with its length.</summary>
    private static string Text(int length) => new('x', length);

    private async Task<(string Experiment, string Run)> WorldAsync()
    {
        var experiment = (string)(await server.OkAsync("POST", "experiments/create", $$"""{"name":"limits {{Slipway.Foundation.Ids.New()}}"}"""))["experiment_id"]!;
        if ((await server.SendAsync("GET", "registered-models/get?name=limits")).Status == 404)
        {
            await server.SendAsync("POST", "registered-models/create", """{"name":"limits"}""");
            await server.SendAsync("POST", "model-versions/create", """{"name":"limits","source":"s3://bucket/m"}""");
        }

        return (experiment, await server.NewRunAsync(experiment));
    }

    /// <summary>Everything that a refused request could have changed.</summary>
    private async Task<string> StateAsync(string experiment, string run) => string.Join('\n',
        (await server.OkAsync("GET", $"runs/get?run_id={run}")).ToJsonString(),
        (await server.OkAsync("GET", $"experiments/get?experiment_id={experiment}")).ToJsonString(),
        (await server.OkAsync("POST", "experiments/search", """{"view_type":"ALL"}"""))["experiments"]!.AsArray().Count,
        (await server.OkAsync("GET", "model-versions/get?name=limits&version=1"))["model_version"]!["tags"]?.ToJsonString(),
        (await server.OkAsync("GET", "registered-models/get?name=limits")).ToJsonString());
}
