using System.Net;
using System.Text.Json.Nodes;

namespace Slipway.Acceptance.Mlflow;

/// <summary>The calls of a 3.x client that logs, registers and loads a model, in their order.</summary>
public sealed class LoggedModelTests(MlflowServer server) : IClassFixture<MlflowServer>
{
    private const string Artifacts = "/api/2.0/mlflow-artifacts/artifacts";

    [Fact]
    public async Task Model_is_logged_and_registered_as_a_client_of_3_x_does_it()
    {
        var run = await server.NewRunAsync();
        await server.OkAsync("POST", "runs/log-batch", $$"""{"run_id":"{{run}}","metrics":[{"key":"auc","value":0.9,"timestamp":1,"step":1,"run_id":"{{run}}"}],"params":[{"key":"depth","value":"3"}]}""");
        await server.OkAsync("GET", $"runs/get?run_uuid={run}&run_id={run}");
        var created = (await server.OkAsync("POST", "logged-models", $$"""
            {"experiment_id":"0","name":"clf","source_run_id":"{{run}}","params":[{"key":"depth","value":"3"}],"tags":[{"key":"mlflow.user","value":"u"}]}
            """))["model"]!["info"]!;
        var id = (string)created["model_id"]!;
        Assert.Equal(("LOGGED_MODEL_PENDING", $"mlflow-artifacts:/0/models/{id}/artifacts", run), ((string)created["status"]!, (string)created["artifact_uri"]!, (string)created["source_run_id"]!));
        await server.OkAsync("POST", "runs/outputs", $$"""{"run_id":"{{run}}","models":[{"model_id":"{{id}}","step":"0"}]}""");
        await server.OkAsync("GET", $"runs/get?run_id={run}");
        await server.OkAsync("GET", $"metrics/get-history?run_id={run}&metric_key=auc&max_results=25000");
        await server.OkAsync("POST", "runs/log-batch", $$"""{"run_id":"{{run}}","metrics":[{"key":"auc","value":0.9,"timestamp":1,"step":1,"model_id":"{{id}}","run_id":"{{run}}"}]}""");
        await server.OkAsync("GET", $"logged-models/{id}");
        await Task.WhenAll(new[] { "MLmodel", "model.pkl", "conda.yaml", "requirements.txt", "metadata/env.txt" }.Select(file => PutAsync($"{Artifacts}/0/models/{id}/artifacts/{file}", file)));
        Assert.Equal("LOGGED_MODEL_READY", (string?)(await server.OkAsync("PATCH", $"logged-models/{id}", $$"""{"model_id":"{{id}}","status":"LOGGED_MODEL_READY"}"""))["model"]!["info"]!["status"]);

        await server.OkAsync("POST", "registered-models/create", """{"name":"clf"}""");
        var version = (await server.OkAsync("POST", "model-versions/create", $$"""{"name":"clf","source":"models:/{{id}}","model_id":"{{id}}"}"""))["model_version"]!;
        Assert.Equal(("1", $"models:/{id}", run, id), ((string)version["version"]!, (string)version["source"]!, (string)version["run_id"]!, (string)version["model_id"]!));
        await server.OkAsync("GET", $"logged-models/{id}");
        var model = (await server.OkAsync("GET", $"logged-models/{id}"))["model"]!;
        var registrations = (string)model["info"]!["tags"]!.AsArray().Single(t => (string)t!["key"]! == "mlflow.modelVersions")!["value"]!;
        Assert.Equal("""[{"name":"clf","version":"1"}]""", registrations);
        Assert.Equal($$"""[{"key":"auc","value":0.9,"timestamp":1,"step":1,"model_id":"{{id}}","run_id":"{{run}}"}]""", model["data"]!["metrics"]!.ToJsonString());
        await server.OkAsync("PATCH", $"logged-models/{id}/tags", $$"""{"model_id":"{{id}}","tags":[{"key":"mlflow.modelVersions","value":{{JsonValue.Create(registrations).ToJsonString()}}}] }""");

        var read = (await server.OkAsync("GET", $"runs/get?run_id={run}"))["run"]!;
        Assert.Equal($$"""{"model_outputs":[{"model_id":"{{id}}","step":0}]}""", read["outputs"]!.ToJsonString());

        // models:/clf@champion
        await server.OkAsync("GET", "registered-models/get?name=clf");
        await server.OkAsync("POST", "registered-models/alias", """{"name":"clf","alias":"best","version":"1"}""");
        Assert.Equal("1", (string?)(await server.OkAsync("GET", "registered-models/alias?name=clf&alias=best"))["model_version"]!["version"]);
        var uri = (string)(await server.OkAsync("GET", "model-versions/get-download-uri?name=clf&version=1"))["artifact_uri"]!;
        await DownloadAsync(uri["mlflow-artifacts:/".Length..], ["MLmodel", "conda.yaml", "metadata/env.txt", "model.pkl", "requirements.txt"]);

        // A copy keeps where the files lie.
        await server.OkAsync("POST", "registered-models/create", """{"name":"clf-prod"}""");
        await server.OkAsync("POST", "model-versions/create", """{"name":"clf-prod","source":"models:/clf/1"}""");
        Assert.Equal(uri, (string?)(await server.OkAsync("GET", "model-versions/get-download-uri?name=clf-prod&version=1"))["artifact_uri"]);
    }

    [Fact]
    public async Task Model_is_loaded_by_its_run_and_name()
    {
        var run = await server.NewRunAsync();
        var other = await server.NewRunAsync();
        var ids = new List<string>();
        foreach (var source in (string[])[other, run])
        {
            var id = (string)(await server.OkAsync("POST", "logged-models", $$"""{"experiment_id":"0","name":"loaded","source_run_id":"{{source}}"}"""))["model"]!["info"]!["model_id"]!;
            await PutAsync($"{Artifacts}/0/models/{id}/artifacts/MLmodel", "flavors: {}");
            ids.Add(id);
        }

        Assert.Equal("{}", (await server.OkAsync("GET", $"{Artifacts}?path=0/{run}/artifacts/loaded")).ToJsonString());
        await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "GET", $"{Artifacts}/0/{run}/artifacts/loaded");
        var found = (await server.OkAsync("POST", "logged-models/search", """{"experiment_ids":["0"],"filter":"name = 'loaded'","max_results":100}"""))["models"]!.AsArray();
        Assert.Equal(ids[1], (string?)found.Single(m => (string)m!["info"]!["source_run_id"]! == run)!["info"]!["model_id"]);
        Assert.Equal(
            $$"""{"root_uri":"mlflow-artifacts:/0/models/{{ids[1]}}/artifacts","files":[{"path":"MLmodel","is_dir":false,"file_size":11}]}""",
            (await server.OkAsync("GET", $"logged-models/{ids[1]}/artifacts/directories")).ToJsonString());
        Assert.Equal("flavors: {}", await server.Client.GetStringAsync($"/ajax-api/2.0/mlflow/logged-models/{ids[1]}/artifacts/files?artifact_file_path=MLmodel"));
    }

    [Fact]
    public async Task Refusals_say_what_is_missing_and_change_nothing()
    {
        var run = await server.NewRunAsync();
        var id = (string)(await server.OkAsync("POST", "logged-models", """{"experiment_id":"0","name":"r"}"""))["model"]!["info"]!["model_id"]!;
        Assert.StartsWith("Missing value for required parameter 'experiment_id'.", await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "logged-models", "{}"), StringComparison.Ordinal);
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "logged-models", """{"experiment_id":"0","name":"a/b"}""");
        Assert.Equal("Logged model with ID 'm-none' not found.", await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "GET", "logged-models/m-none"));
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "PATCH", $"logged-models/{id}", $$"""{"model_id":"{{id}}"}""");
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "PATCH", $"logged-models/{id}", $$"""{"model_id":"{{id}}","status":"DONE"}""");
        await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "DELETE", $"logged-models/{id}/tags/none");
        await server.RefusedAsync(405, "BAD_REQUEST", "PUT", $"logged-models/{id}/tags", "{}");
        await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "POST", "runs/log-metric", $$"""{"run_id":"{{run}}","key":"m","value":1,"timestamp":1,"model_id":"m-none"}""");
        await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "POST", "runs/log-inputs", $$"""{"run_id":"{{run}}","models":[{"model_id":"m-none"}]}""");
        await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "POST", "runs/outputs", $$"""{"run_id":"{{run}}","models":[{"model_id":"m-none","step":0}]}""");
        await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "POST", "model-versions/create", """{"name":"none","source":"models:/m-none","model_id":"m-none"}""");
        await server.OkAsync("PATCH", $"logged-models/{id}/tags", """{"tags":[{"key":"a/b c","value":"1"}]}""");
        await server.OkAsync("DELETE", $"logged-models/{id}/tags/a%2Fb%20c");
        await server.OkAsync("PATCH", $"logged-models/{id}", """{"status":3}""");
        await server.OkAsync("DELETE", $"logged-models/{id}");
        await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "GET", $"logged-models/{id}");
        var shown = (await server.OkAsync("GET", $"logged-models/{id}?allow_deleted=true"))["model"]!["info"]!;
        Assert.Equal("LOGGED_MODEL_UPLOAD_FAILED", (string?)shown["status"]);
        Assert.Null(shown["tags"]);
        var read = (await server.OkAsync("GET", $"runs/get?run_id={run}"))["run"]!;
        Assert.Equal("{}{}", read["inputs"]!.ToJsonString() + read["outputs"]!.ToJsonString());
        Assert.Null(read["data"]!["metrics"]);
    }

    private async Task PutAsync(string path, string content)
    {
        using var response = await server.Client.PutAsync(path, new StringContent(content));
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }

    /// <summary>Lists a folder and its folders, and reads every file, as a download does.</summary>
    private async Task DownloadAsync(string root, string[] files)
    {
        var seen = new List<string>();
        var folders = new Queue<string>([""]);
        while (folders.TryDequeue(out var folder))
        {
            foreach (var entry in (await server.OkAsync("GET", $"{Artifacts}?path={root}/{folder}"))["files"]!.AsArray())
            {
                var path = folder + (string)entry!["path"]!;
                if ((bool)entry["is_dir"]!)
                {
                    folders.Enqueue(path + "/");
                    continue;
                }

                Assert.Equal(path, await server.Client.GetStringAsync($"{Artifacts}/{root}/{path}"));
                seen.Add(path);
            }
        }

        Assert.Equal(files, seen.Order(StringComparer.Ordinal));
    }
}
