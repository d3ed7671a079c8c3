using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;

namespace Slipway.Acceptance.Mlflow;

public sealed class RegistryTests(MlflowServer server) : IClassFixture<MlflowServer>
{
    private const string Artifacts = "/api/2.0/mlflow-artifacts/artifacts";

    [Fact]
    public async Task Model_is_registered_from_a_run_and_found_by_alias()
    {
        var run = await server.NewRunAsync();
        await PutAsync($"{Artifacts}/0/{run}/artifacts/model/MLmodel", "flavors: {}"u8.ToArray());
        await PutAsync($"{Artifacts}/0/{run}/artifacts/model/data/model.bin", [1, 2, 3]);
        var model = (await server.OkAsync("POST", "registered-models/create", """{"name":"flights","tags":[{"key":"team","value":"ops"}],"description":"d"}"""))["registered_model"]!;
        Assert.Equal("flights", (string?)model["name"]);
        Assert.Equal("Registered Model (name=flights) already exists.", await server.RefusedAsync(400, "RESOURCE_ALREADY_EXISTS", "POST", "registered-models/create", """{"name":"flights"}"""));

        var version = (await server.OkAsync("POST", "model-versions/create", $$"""{"name":"flights","source":"mlflow-artifacts:/0/{{run}}/artifacts/model","run_id":"{{run}}","tags":[{"key":"k","value":"v"}]}"""))["model_version"]!;
        Assert.Equal(("1", "READY", "None", run), ((string)version["version"]!, (string)version["status"]!, (string)version["current_stage"]!, (string)version["run_id"]!));
        await server.OkAsync("POST", "model-versions/create", """{"name":"flights","source":"models:/flights/1"}""");
        await server.OkAsync("POST", "registered-models/alias", """{"name":"flights","alias":"champion","version":"1"}""");
        Assert.Equal("1", (string?)(await server.OkAsync("GET", "registered-models/alias?name=flights&alias=champion"))["model_version"]!["version"]);
        Assert.Equal("2", (string?)(await server.OkAsync("GET", "registered-models/alias?name=flights&alias=latest"))["model_version"]!["version"]);
        Assert.Equal("Registered model alias nope not found.", await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "GET", "registered-models/alias?name=flights&alias=nope"));
        await server.OkAsync("DELETE", "registered-models/alias", """{"name":"flights","alias":"nope"}""");
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "registered-models/alias", """{"name":"flights","alias":"latest","version":"1"}""");
        Assert.Equal($"mlflow-artifacts:/0/{run}/artifacts/model", (string?)(await server.OkAsync("GET", "model-versions/get-download-uri?name=flights&version=2"))["artifact_uri"]);
        Assert.Equal([1, 2, 3], await server.Client.GetByteArrayAsync("/model-versions/get-artifact?name=flights&version=1&path=data/model.bin"));

        var got = (await server.OkAsync("GET", "registered-models/get?name=flights"))["registered_model"]!;
        Assert.Equal("""[{"alias":"champion","version":"1"}]""", got["aliases"]!.ToJsonString());
        Assert.Equal("2", (string?)Assert.Single(got["latest_versions"]!.AsArray())!["version"]);
        var found = await server.OkAsync("GET", "registered-models/search?filter=name%3D'flights'%20AND%20tag.%60mlflow.prompt.is_prompt%60%20!%3D%20'true'&max_results=100");
        Assert.Single(found["registered_models"]!.AsArray());
        Assert.Equal(2, (await server.OkAsync("GET", "model-versions/search?filter=name%3D'flights'&max_results=10000"))["model_versions"]!.AsArray().Count);
        await server.OkAsync("POST", "registered-models/search", """{"max_results":"10"}""");
        Assert.Equal("Model Version (name=flights, version=9) not found", await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "GET", "model-versions/get?name=flights&version=9"));
        Assert.Equal("Registered Model with name=nope not found", await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "GET", "registered-models/get?name=nope"));
    }

    [Fact]
    public async Task Stages_and_descriptions_follow_old_clients()
    {
        await server.OkAsync("POST", "registered-models/create", """{"name":"staged"}""");
        await server.OkAsync("POST", "model-versions/create", """{"name":"staged","source":"s3://bucket/models/staged"}""");
        await server.OkAsync("POST", "model-versions/create", """{"name":"staged","source":"s3://bucket/models/staged"}""");
        var moved = (await server.OkAsync("POST", "model-versions/transition-stage", """{"name":"staged","version":"1","stage":"staging","archive_existing_versions":"FALSE"}"""))["model_version"]!;
        Assert.Equal("Staging", (string?)moved["current_stage"]);
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "model-versions/transition-stage", """{"name":"staged","version":"1","stage":"None","archive_existing_versions":true}""");
        await server.OkAsync("PATCH", "model-versions/update", """{"name":"staged","version":"1","description":"first"}""");
        await server.OkAsync("PATCH", "model-versions/update", """{"name":"staged","version":"1"}""");
        Assert.Equal("first", (string?)(await server.OkAsync("GET", "model-versions/get?name=staged&version=1"))["model_version"]!["description"]);
        Assert.Single((await server.OkAsync("GET", "registered-models/get-latest-versions?name=staged&stages=Staging"))["model_versions"]!.AsArray());
        Assert.Equal(2, (await server.OkAsync("POST", "registered-models/get-latest-versions", """{"name":"staged"}"""))["model_versions"]!.AsArray().Count);
        await server.OkAsync("POST", "registered-models/set-tag", """{"name":"staged","key":"a","value":"b"}""");
        await server.OkAsync("DELETE", "registered-models/delete-tag", """{"name":"staged","key":"none"}""");
        await server.OkAsync("POST", "model-versions/set-tag", """{"name":"staged","version":"1","key":"a","value":"b"}""");
        await server.OkAsync("DELETE", "model-versions/delete-tag", """{"name":"staged","version":"1","key":"a"}""");
        Assert.Equal("moved", (string?)(await server.OkAsync("POST", "registered-models/rename", """{"name":"staged","new_name":"moved"}"""))["registered_model"]!["name"]);
        await server.OkAsync("DELETE", "model-versions/delete", """{"name":"moved","version":"2"}""");
        Assert.Equal("3", (string?)(await server.OkAsync("POST", "model-versions/create", """{"name":"moved","source":"s3://bucket/m"}"""))["model_version"]!["version"]);
        await server.OkAsync("DELETE", "registered-models/delete", """{"name":"moved"}""");
        await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "GET", "registered-models/get?name=moved");
    }

    [Theory]
    [InlineData("file:///srv")]
    [InlineData("/srv")]
    [InlineData("s3://b/../../srv")]
    [InlineData("http:///#/../../srv")]
    public async Task Source_on_the_servers_disk_is_refused(string source)
    {
        var name = "src-" + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(source)))[..8];
        await server.OkAsync("POST", "registered-models/create", $$"""{"name":"{{name}}"}""");
        Assert.StartsWith("Invalid model version source", await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "model-versions/create", $$"""{"name":"{{name}}","source":"{{source}}"}"""), StringComparison.Ordinal);
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "model-versions/create", $$"""{"name":"{{name}}","source":"{{source}}","tags":[{"key":"mlflow.prompt.is_prompt","value":"true"}]}""");
        Assert.Empty(await server.OkAsync("GET", $"model-versions/search?filter=name%3D'{name}'"));
    }

    [Fact]
    public async Task Artifact_goes_up_and_comes_down_unchanged()
    {
        var run = await server.NewRunAsync();
        var root = $"0/{run}/artifacts";
        var big = RandomNumberGenerator.GetBytes(9 * 1024 * 1024);
        await PutAsync($"{Artifacts}/{root}/dir/big file.bin", big);
        await PutAsync($"{Artifacts}/{root}/note.txt", "hello"u8.ToArray());
        await PutAsync($"{Artifacts}/{root}/note.txt", "hello again"u8.ToArray());
        await PutAsync($"{Artifacts}/{root}/empty", []);
        using (var response = await server.Client.GetAsync($"{Artifacts}/{root}/dir/big%20file.bin"))
        {
            Assert.Equal(big, await response.Content.ReadAsByteArrayAsync());
            Assert.Equal("application/octet-stream", response.Content.Headers.ContentType!.ToString());
            Assert.Equal("attachment", response.Content.Headers.ContentDisposition!.DispositionType);
            Assert.Equal(["nosniff"], response.Headers.GetValues("X-Content-Type-Options"));
        }

        Assert.Equal("hello again", await server.Client.GetStringAsync($"/ajax-api/2.0/mlflow-artifacts/artifacts/{root}/note.txt"));
        Assert.Equal("hello again", await server.Client.GetStringAsync($"/get-artifact?run_id={run}&path=note.txt"));
        Assert.Equal(
            """{"files":[{"path":"dir","is_dir":true},{"path":"empty","is_dir":false,"file_size":0},{"path":"note.txt","is_dir":false,"file_size":11}]}""",
            (await server.OkAsync("GET", $"{Artifacts}?path={root}")).ToJsonString());
        Assert.Equal(
            $$"""{"root_uri":"mlflow-artifacts:/{{root}}","files":[{"path":"dir/big file.bin","is_dir":false,"file_size":{{big.Length}}}]}""",
            (await server.OkAsync("GET", $"artifacts/list?run_id={run}&path=dir")).ToJsonString());
        Assert.Equal("{}", (await server.OkAsync("GET", $"{Artifacts}?path={root}/note.txt")).ToJsonString());
        Assert.Equal("{}", (await server.OkAsync("GET", $"{Artifacts}?path={root}/none")).ToJsonString());
        await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "GET", $"{Artifacts}/{root}/dir");
        await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "GET", $"{Artifacts}/{root}/none");
        await server.OkAsync("DELETE", $"{Artifacts}/{root}/dir");
        await server.OkAsync("DELETE", $"{Artifacts}/{root}/dir");
        Assert.Equal(2, (await server.OkAsync("GET", $"{Artifacts}?path={root}"))["files"]!.AsArray().Count);
    }

    [Theory]
    [InlineData("PUT", "/0/x/..%2f..%2fevil", "400")]
    [InlineData("PUT", "/0/x/..%5c..%5cevil", "400")]
    [InlineData("PUT", "/0/x/%252e%252e/evil", "400")]
    [InlineData("PUT", "/0/x/a%0d%0aX-Evil:%201", "400")]
    [InlineData("PUT", "/0/x/C:%5cevil", "400")]
    [InlineData("PUT", "//etc/evil", "400")]
    [InlineData("PUT", "/0/x/../../../../evil", "404|405")]
    [InlineData("PUT", "/0/x/%2e%2e/%2e%2e/%2e%2e/evil", "404|405")]
    [InlineData("PUT", "/0/x/./nul.txt", "400")]
    [InlineData("PUT", "/0/x/a;/..%2f..%2fevil", "400")]
    [InlineData("DELETE", "/", "400")]
    [InlineData("DELETE", "/.", "400")]
    [InlineData("DELETE", "/..%2f", "400")]
    [InlineData("GET", "?path=../../../../etc", "400")]
    [InlineData("GET", "?path=%2e%2e%2f", "400")]
    [InlineData("GET", "/%00", "400")]
    public async Task Hostile_path_is_refused_as_it_came_over_the_wire(string method, string path, string status)
    {
        await PutAsync($"{Artifacts}/0/keep/artifacts/kept.txt", "kept"u8.ToArray());
        // A raw socket, because HTTP clients clean paths before they send them.
        using var socket = new TcpClient();
        await socket.ConnectAsync(IPAddress.Loopback, server.Client.BaseAddress!.Port);
        await using var stream = socket.GetStream();
        await stream.WriteAsync(Encoding.ASCII.GetBytes($"{method} {Artifacts}{path} HTTP/1.1\r\nHost: 127.0.0.1:{server.Client.BaseAddress.Port}\r\nConnection: close\r\nContent-Length: 4\r\n\r\nevil"));
        using var reader = new StreamReader(stream);
        var answer = await reader.ReadToEndAsync();
        // Dot segments are folded before routing, so that such a request never reaches the artifacts at all.
        Assert.Matches($"^HTTP/1.1 ({status}) ", answer);
        Assert.DoesNotContain("X-Evil:", answer.Split("\r\n\r\n")[0], StringComparison.Ordinal);
        Assert.Equal("kept", await server.Client.GetStringAsync($"{Artifacts}/0/keep/artifacts/kept.txt"));
    }

    private async Task PutAsync(string path, byte[] content)
    {
        using var response = await server.Client.PutAsync(path, new ByteArrayContent(content));
        Assert.Equal("200 {}", $"{(int)response.StatusCode} {await response.Content.ReadAsStringAsync()}");
    }
}
