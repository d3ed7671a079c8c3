using System.Net;
using System.Text.Json.Nodes;

namespace Slipway.Acceptance.Mlflow;

public sealed class TrackingTests(MlflowServer server) : IClassFixture<MlflowServer>
{
    [Fact]
    public async Task Version_and_prefixes_are_there()
    {
        Assert.Equal("3.3.0", await server.Client.GetStringAsync("/version"));
        Assert.Equal("Default", (string?)(await server.OkAsync("GET", "/ajax-api/2.0/mlflow/experiments/get?experiment_id=0"))["experiment"]!["name"]);
        await server.RefusedAsync(404, "ENDPOINT_NOT_FOUND", "GET", "traces?experiment_ids=0");
        await server.RefusedAsync(404, "ENDPOINT_NOT_FOUND", "POST", "/api/3.0/mlflow/traces", "{}");
        await server.RefusedAsync(405, "BAD_REQUEST", "GET", "runs/create");
    }

    [Fact]
    public async Task Experiment_lives_as_clients_expect()
    {
        var id = (string)(await server.OkAsync("POST", "experiments/create", """{"name":"life","tags":[{"key":"team","value":"ops"}],"unknown":1}"""))["experiment_id"]!;
        var message = await server.RefusedAsync(400, "RESOURCE_ALREADY_EXISTS", "POST", "experiments/create", """{"name":"life"}""");
        Assert.StartsWith("Experiment(name=life) already exists.", message, StringComparison.Ordinal);
        message = await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "GET", "experiments/get-by-name?experiment_name=nope");
        Assert.Equal("Could not find experiment with name 'nope'", message);
        Assert.StartsWith("No Experiment with id=999 exists", await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "GET", "experiments/get?experiment_id=999"), StringComparison.Ordinal);
        Assert.Contains("must be a valid integer", await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "GET", "experiments/get?experiment_id=abc"), StringComparison.Ordinal);
        Assert.StartsWith("Missing value for required parameter 'name'.", await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "experiments/create", "{}"), StringComparison.Ordinal);

        await server.OkAsync("POST", "experiments/set-experiment-tag", $$"""{"experiment_id":"{{id}}","key":"k","value":"v"}""");
        await server.OkAsync("POST", "experiments/update", $$"""{"experiment_id":"{{id}}","new_name":"life2"}""");
        var experiment = (await server.OkAsync("GET", $"experiments/get?experiment_id={id}"))["experiment"]!.AsObject();
        Assert.Equal(["experiment_id", "name", "artifact_location", "lifecycle_stage", "last_update_time", "creation_time", "tags"], experiment.Select(p => p.Key));
        Assert.Equal("life2", (string?)experiment["name"]);
        Assert.Equal($"mlflow-artifacts:/{id}", (string?)experiment["artifact_location"]);
        Assert.Equal(2, experiment["tags"]!.AsArray().Count);

        await server.OkAsync("POST", "experiments/delete", $$"""{"experiment_id":"{{id}}"}""");
        Assert.Equal("deleted", (string?)(await server.OkAsync("GET", "experiments/get-by-name?experiment_name=life2"))["experiment"]!["lifecycle_stage"]);
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "experiments/update", $$"""{"experiment_id":"{{id}}","new_name":"x"}""");
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/create", $$"""{"experiment_id":"{{id}}"}""");
        Assert.Empty(await server.OkAsync("POST", "experiments/search", """{"filter":"name = 'life2'"}"""));
        Assert.Single((await server.OkAsync("POST", "experiments/search", """{"filter":"name = 'life2'","view_type":"ALL"}"""))["experiments"]!.AsArray());
        Assert.Single((await server.OkAsync("GET", "experiments/search?filter=name%3D'life2'&view_type=2&max_results=10"))["experiments"]!.AsArray());
        await server.OkAsync("POST", "experiments/restore", $$"""{"experiment_id":"{{id}}"}""");
        Assert.NotEmpty((await server.OkAsync("GET", "experiments/list"))["experiments"]!.AsArray());
    }

    [Fact]
    public async Task Run_message_has_the_shape_that_clients_index()
    {
        var created = (await server.OkAsync("POST", "runs/create", """{"experiment_id":"0","start_time":"1700000000123","run_name":"r","user_id":"u","tags":[{"key":"mlflow.user","value":"u"}]}"""))["run"]!;
        var id = (string)created["info"]!["run_id"]!;
        Assert.Matches("^[0-9a-f]{32}$", id);
        await server.OkAsync("POST", "runs/log-batch", $$"""
            {"run_id":"{{id}}","metrics":[{"key":"m","value":0.5,"timestamp":1,"step":0},{"key":"m","value":"NaN","timestamp":"2","step":"1"},{"key":"inf","value":-Infinity,"timestamp":1.0}],
             "params":[{"key":"p","value":"1"}],"tags":[{"key":"t","value":"a"},{"key":"t","value":"b"}]}
            """);
        await server.OkAsync("POST", "runs/update", $$"""{"run_uuid":"{{id}}","status":"FINISHED","end_time":1700000001000}""");
        var run = (await server.OkAsync("GET", $"runs/get?run_uuid={id}"))["run"]!.AsObject();
        Assert.Equal(
            JsonNode.Parse($$"""
                {"info":{"run_id":"{{id}}","run_uuid":"{{id}}","run_name":"r","experiment_id":"0","user_id":"u","status":"FINISHED","start_time":1700000000123,"end_time":1700000001000,
                    "artifact_uri":"mlflow-artifacts:/0/{{id}}/artifacts","lifecycle_stage":"active"},
                 "data":{"metrics":[{"key":"inf","value":"-Infinity","timestamp":1,"step":0},{"key":"m","value":"NaN","timestamp":2,"step":1}],
                    "params":[{"key":"p","value":"1"}],
                    "tags":[{"key":"mlflow.runName","value":"r"},{"key":"mlflow.user","value":"u"},{"key":"t","value":"b"}]},
                 "inputs":{ },"outputs":{ } }
                """)!.ToJsonString(),
            run.ToJsonString());
        var history = await server.OkAsync("GET", $"metrics/get-history?run_id={id}&metric_key=m");
        Assert.Equal("""{"metrics":[{"key":"m","value":0.5,"timestamp":1,"step":0},{"key":"m","value":"NaN","timestamp":2,"step":1}]}""", history.ToJsonString());
        Assert.Equal("{}", (await server.OkAsync("GET", $"metrics/get-history?run_id={id}&metric_key=none&max_results=25000")).ToJsonString());
        Assert.Equal(2, (await server.OkAsync("GET", $"/ajax-api/2.0/mlflow/metrics/get-history-bulk?run_id={id}&metric_key=m"))["metrics"]!.AsArray().Count);
        Assert.Equal(id, (string?)(await server.OkAsync("GET", $"metrics/get-history-bulk-interval?run_ids={id}&metric_key=m&max_results=1"))["metrics"]![0]!["run_id"]);
    }

    [Theory]
    [InlineData("""{"run_id":"$","key":"m","value":true,"timestamp":1}""", "value")]
    [InlineData("""{"run_id":"$","key":"m","value":"x","timestamp":1}""", "value")]
    [InlineData("""{"run_id":"$","key":"m","timestamp":1}""", "value")]
    [InlineData("""{"run_id":"$","key":"m","value":1}""", "timestamp")]
    [InlineData("""{"run_id":"$","key":"m","value":1,"timestamp":-1}""", "timestamp")]
    [InlineData("""{"run_id":"$","key":"m","value":1,"timestamp":1,"step":1.5}""", "step")]
    [InlineData("""{"run_id":"$","key":"../m","value":1,"timestamp":1}""", "key")]
    [InlineData("""{"run_id":"$","key":"","value":1,"timestamp":1}""", "key")]
    [InlineData("""{"key":"m","value":1,"timestamp":1}""", "run_id")]
    [InlineData("not json", "key")]
    [InlineData("[1]", "key")]
    public async Task Bad_metric_is_refused_and_changes_nothing(string json, string parameter)
    {
        var id = await server.NewRunAsync();
        var message = await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/log-metric", json.Replace("$", id, StringComparison.Ordinal));
        Assert.Contains($"'{parameter}'", message, StringComparison.Ordinal);
        Assert.Equal("{}", (await server.OkAsync("GET", $"metrics/get-history?run_id={id}&metric_key=m")).ToJsonString());
    }

    [Fact]
    public async Task Batch_is_all_or_nothing_and_names_what_is_wrong()
    {
        var id = await server.NewRunAsync();
        var message = await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/log-batch", $$"""{"run_id":"{{id}}","metrics":[{"key":"a","value":1,"timestamp":1},{"key":"b","timestamp":1}],"params":[{"key":"p","value":"1"}]}""");
        Assert.StartsWith("Missing value for required parameter 'metrics[1].value'.", message, StringComparison.Ordinal);
        message = await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/log-batch", $$"""{"run_id":"{{id}}","params":[{"key":"p","value":5}]}""");
        Assert.Contains("'params[0].value'", message, StringComparison.Ordinal);
        message = await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/log-batch", $$"""{"run_id":"{{id}}","params":[{"key":"p","value":"1"},{"key":"p","value":"1"}]}""");
        Assert.StartsWith("Duplicate parameter keys have been submitted: ['p']", message, StringComparison.Ordinal);
        await server.OkAsync("POST", "runs/log-parameter", $$"""{"run_id":"{{id}}","key":"p","value":"1"}""");
        await server.OkAsync("POST", "runs/log-parameter", $$"""{"run_id":"{{id}}","key":"p","value":"1"}""");
        message = await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/log-parameter", $$"""{"run_id":"{{id}}","key":"p","value":"2"}""");
        Assert.Equal($"Changing param values is not allowed. Param with key='p' was already logged with value='1' for run ID='{id}'. Attempted logging new value '2'.", message);
        var points = string.Join(',', Enumerable.Range(0, 1001).Select(i => $$"""{"key":"m","value":{{i}},"timestamp":1,"step":{{i}}}"""));
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/log-batch", $$"""{"run_id":"{{id}}","metrics":[{{points}}]}""");
        var run = (await server.OkAsync("GET", $"runs/get?run_id={id}"))["run"]!;
        Assert.Null(run["data"]!["metrics"]);
        Assert.Single(run["data"]!["params"]!.AsArray());
    }

    [Fact]
    public async Task Odd_clients_are_understood()
    {
        var id = await server.NewRunAsync();
        await server.OkAsync("POST", "runs/log-metric", $$"""{"run_id":"{{id}}","key":"r","value":"0.5","timestamp":"1700000000000","step":"3"}""");
        var doubled = JsonValue.Create($$"""{"run_id":"{{id}}","key":"double","value":"x"}""").ToJsonString();
        await server.OkAsync("POST", "runs/set-tag", doubled);
        var (status, _) = await server.SendAsync("POST", "runs/set-tag", $$"""{"run_id":"{{id}}","key":"c","value":"x"}""", "application/json; charset=utf-8");
        Assert.Equal(200, status);
        Assert.Contains("Content-Type", await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/set-tag", $$"""{"run_id":"{{id}}","key":"c","value":"x"}""", "text/plain"), StringComparison.Ordinal);
        Assert.Contains("Content-Type", await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/set-tag", $$"""{"run_id":"{{id}}","key":"c","value":"x"}""", null), StringComparison.Ordinal);
        var run = (await server.OkAsync("GET", "runs/get", $$"""{"run_id":"{{id}}"}"""))["run"]!;
        Assert.Equal(3, (int)run["data"]!["metrics"]![0]!["step"]!);
        Assert.Contains(run["data"]!["tags"]!.AsArray(), t => (string?)t!["key"] == "double");
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/update", $$"""{"run_id":"{{id}}","status":"DONE"}""");
        await server.OkAsync("POST", "runs/update", $$"""{"run_id":"{{id}}","status":4}""");
        await server.OkAsync("POST", "runs/log-model", $$"""{"run_id":"{{id}}","model_json":"{\"artifact_path\":\"m\",\"flavors\":{ },\"utc_time_created\":\"x\",\"run_id\":\"{{id}}\"}"}""");
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/log-model", $$"""{"run_id":"{{id}}","model_json":"{}"}""");
        await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "POST", "runs/delete-tag", $$"""{"run_id":"{{id}}","key":"none"}""");
        await server.OkAsync("POST", "runs/delete", $$"""{"run_id":"{{id}}"}""");
        Assert.StartsWith($"The run {id} must be in the 'active' state. Current state is deleted.", await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/set-tag", $$"""{"run_id":"{{id}}","key":"a","value":"b"}"""), StringComparison.Ordinal);
        await server.OkAsync("POST", "runs/restore", $$"""{"run_id":"{{id}}"}""");
        Assert.Equal("Run with id=nope not found", await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "GET", "runs/get?run_id=nope"));
    }

    [Fact]
    public async Task Runs_are_searched_in_pages()
    {
        var experiment = (string)(await server.OkAsync("POST", "experiments/create", """{"name":"search"}"""))["experiment_id"]!;
        for (var i = 0; i < 5; i++)
        {
            var id = await server.NewRunAsync(experiment);
            await server.OkAsync("POST", "runs/log-batch", $$"""{"run_id":"{{id}}","metrics":[{"key":"acc","value":{{i}},"timestamp":1}],"params":[{"key":"model","value":"m{{i % 2}}"}] }""");
        }

        var seen = new List<double>();
        string? token = null;
        do
        {
            var next = token is null ? "" : $",\"page_token\":\"{token}\"";
            var page = await server.OkAsync("POST", "runs/search", $$"""
                {"experiment_ids":["{{experiment}}"],"filter":"metrics.acc >= 1 and params.model LIKE 'm%'","order_by":["metrics.acc DESC"],"max_results":2{{next}} }
                """);
            seen.AddRange(page["runs"]!.AsArray().Select(r => (double)r!["data"]!["metrics"]![0]!["value"]!));
            token = (string?)page["next_page_token"];
        }
        while (token is not null);
        Assert.Equal([4, 3, 2, 1], seen);
        Assert.Equal("{}", (await server.OkAsync("POST", "runs/search", "{}")).ToJsonString());
        Assert.StartsWith("Invalid clause(s) in filter string: 'a OR b'", await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/search", $$"""{"experiment_ids":["{{experiment}}"],"filter":"a OR b"}"""), StringComparison.Ordinal);
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/search", $$"""{"experiment_ids":["{{experiment}}"],"page_token":"%%%"}""");
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/search", $$"""{"experiment_ids":["{{experiment}}"],"max_results":50001}""");
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/search", $$"""{"experiment_ids":["{{experiment}}"],"order_by":["start_time","created DESC"]}""");
    }

    [Fact]
    public async Task Inputs_are_kept_with_their_context()
    {
        var id = await server.NewRunAsync();
        await server.OkAsync("POST", "runs/log-inputs", $$"""
            {"run_id":"{{id}}","datasets":[{"tags":[{"key":"mlflow.data.context","value":"training"}],"dataset":{"name":"d","digest":"1","source_type":"local","source":"src","schema":"s"} } ]}
            """);
        var run = (await server.OkAsync("GET", $"runs/get?run_id={id}"))["run"]!;
        Assert.Equal(
            """{"dataset_inputs":[{"tags":[{"key":"mlflow.data.context","value":"training"}],"dataset":{"name":"d","digest":"1","source_type":"local","source":"src","schema":"s"}}]}""",
            run["inputs"]!.ToJsonString());
        var summaries = await server.OkAsync("POST", "experiments/search-datasets", """{"experiment_ids":["0"]}""");
        Assert.Equal("training", (string?)summaries["dataset_summaries"]![0]!["context"]);
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "runs/log-inputs", $$"""{"run_id":"{{id}}","datasets":[{"dataset":{"name":"d"} } ]}""");
    }

    [Fact]
    public async Task Foreign_page_and_unknown_key_are_refused_in_the_protocols_form()
    {
        using var foreign = new HttpRequestMessage(HttpMethod.Post, "/api/2.0/mlflow/experiments/create") { Content = new StringContent("""{"name":"evil"}""", System.Text.Encoding.UTF8, "application/json") };
        foreign.Headers.Add("Origin", "http://evil.example");
        using var refused = await server.Client.SendAsync(foreign);
        Assert.Equal(HttpStatusCode.Forbidden, refused.StatusCode);
        Assert.Equal("PERMISSION_DENIED", (string?)JsonNode.Parse(await refused.Content.ReadAsStringAsync())!["error_code"]);

        using var unknown = new HttpRequestMessage(HttpMethod.Get, "/api/2.0/mlflow/experiments/get?experiment_id=0");
        unknown.Headers.Add("Authorization", "Bearer slp_nope_nope");
        using var challenge = await server.Client.SendAsync(unknown);
        Assert.Equal(HttpStatusCode.Unauthorized, challenge.StatusCode);
        Assert.Equal("Basic realm=\"mlflow\"", challenge.Headers.WwwAuthenticate.ToString());
        Assert.Equal("UNAUTHENTICATED", (string?)JsonNode.Parse(await challenge.Content.ReadAsStringAsync())!["error_code"]);
    }
}
