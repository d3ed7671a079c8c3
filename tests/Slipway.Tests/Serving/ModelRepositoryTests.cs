using System.Net;
using System.Text.Json;
using Microsoft.Extensions.DependencyInjection;
using Slipway.Foundation;
using Slipway.Serving;

namespace Slipway.Tests.Serving;

/// <summary>A folder as Triton lays it out, served as it is.</summary>
public sealed class ModelRepositoryTests : IDisposable
{
    private const string Config = """
        # As Triton's users write it.
        name: "iris"
        backend: "onnxruntime"
        max_batch_size: 8
        input [ { name: "X" data_type: TYPE_FP32 dims: [ 4 ] } ]
        output [
          { name: "label", data_type: TYPE_INT64, dims: [] },
          { name: "probabilities"; data_type: TYPE_FP32; dims: 3 }
        ]
        version_policy: { specific { versions: [1, 3] } }
        dynamic_batching { max_queue_delay_microseconds: 100 }
        instance_group [ { count: 2 kind: KIND_CPU } ]
        optimization { graph { level: 1 } }
        """;

    private readonly TemporaryFolder _data = new();
    private readonly TemporaryFolder _models = new();

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _data.Dispose();
        _models.Dispose();
    }

    [Fact]
    public async Task A_request_with_more_rows_than_max_batch_size_is_refused_and_the_configuration_says_how_many()
    {
        Put("iris", 1, ReferenceModels.Bytes("iris_logreg"));
        File.WriteAllText(Path.Combine(_models.Path, "iris", "config.pbtxt"), Config.Replace("[1, 3]", "1", StringComparison.Ordinal));
        await using var server = await StartAsync();
        using var http = new HttpClient { BaseAddress = new Uri(server.Urls[0]) };

        Assert.Equal(8, (await GetAsync(http, "/v2/models/iris/config")).GetProperty("max_batch_size").GetInt32());
        Assert.Equal(HttpStatusCode.OK, (await RowsAsync(8)).Status);
        var (status, text) = await RowsAsync(9);
        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.Contains("9 rows", text, StringComparison.Ordinal);
        Assert.Contains("at most 8", text, StringComparison.Ordinal);

        async Task<(HttpStatusCode Status, string Text)> RowsAsync(int rows)
        {
            var body = JsonSerializer.Serialize(new { inputs = new[] { new { name = "X", datatype = "FP32", shape = new[] { rows, 4 }, data = Enumerable.Repeat(1.5, rows * 4) } } });
            using var response = await http.PostAsync("/v2/models/iris/infer", new StringContent(body), Stop);
            return (response.StatusCode, await response.Content.ReadAsStringAsync(Stop));
        }
    }

    [Fact]
    public async Task Every_version_answers_by_its_path_and_the_highest_without_one()
    {
        Put("iris", 1, ReferenceModels.Bytes("iris_logreg"));
        Put("iris", 7, TinyOnnx.Constant(0, 1, 0));
        Put("wine", 2, ReferenceModels.Bytes("wine_gbt100"));
        await using var server = await StartAsync();
        using var http = new HttpClient { BaseAddress = new Uri(server.Urls[0]) };

        Assert.Equal(("7", 1L), await AskAsync(http, ""));
        Assert.Equal(("1", 0L), await AskAsync(http, "/versions/1"));
        Assert.Equal(["7", "1"], (await GetAsync(http, "/v2/models/iris")).GetProperty("versions").EnumerateArray().Select(version => version.GetString()));
        using var index = await http.PostAsync("/v2/repository/index", null, Stop);
        Assert.Equal(
            ["iris 7 READY", "iris 1 READY", "wine 2 READY"],
            JsonDocument.Parse(await index.Content.ReadAsStringAsync(Stop)).RootElement.EnumerateArray().Select(row => $"{row.GetProperty("name")} {row.GetProperty("version")} {row.GetProperty("state")}"));

        // The folder's endpoints outlive the comparison with the stored ones, and are listed with them.
        await Task.Delay(TimeSpan.FromSeconds(1.5), Stop);
        Assert.Equal(("7", 1L), await AskAsync(http, ""));
        var listed = await server.Services.GetRequiredService<Endpoints>().ListAsync(Stop);
        Assert.Equal(["iris", "wine"], listed.Select(endpoint => endpoint.Name));
        var taken = await Assert.ThrowsAsync<SlipwayException>(() => server.Services.GetRequiredService<Endpoints>().CreateAsync(TestWorld.Ada, new CreateEndpoint { Name = "iris", ModelVersion = "x/1" }, Stop));
        Assert.Equal(ErrorCode.AlreadyExists, taken.Code);

        // A new version is there after a load, a removed model after an unload is not.
        Put("iris", 8, TinyOnnx.Constant(0, 0, 1));
        using var load = await http.PostAsync("/v2/repository/models/iris/load", new StringContent("{}"), Stop);
        Assert.Equal(HttpStatusCode.OK, load.StatusCode);
        Assert.Equal(("8", 2L), await AskAsync(http, ""));
        // A changed file is another content under the same number.
        Put("iris", 8, TinyOnnx.Constant(1, 0, 0));
        using var again = await http.PostAsync("/v2/repository/models/iris/load", null, Stop);
        Assert.Equal(("8", 0L), await AskAsync(http, ""));
        using var unload = await http.PostAsync("/v2/repository/models/wine/unload", null, Stop);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await http.GetAsync("/v2/models/wine/ready", Stop)).StatusCode);
    }

    [Fact]
    public async Task A_configuration_is_followed_where_it_can_be()
    {
        foreach (var version in new[] { 1, 2, 3 })
        {
            Put("iris", version, ReferenceModels.Bytes("iris_logreg"));
        }

        await File.WriteAllTextAsync(Path.Combine(_models.Path, "iris", "config.pbtxt"), Config, Stop);
        await using var server = await StartAsync();

        var model = server.Services.GetRequiredService<Endpoints>().Describe("iris", null)!;
        Assert.Equal(["3", "1"], model.Versions);
        var settings = (await server.Services.GetRequiredService<Endpoints>().GetAsync("iris", Stop)).Route.Settings!;
        Assert.Equal(new BatchingSettings(8, 100), settings.Batching);
    }

    [Theory]
    [InlineData("name: \"other\"", "names the model 'other'")]
    [InlineData("backend: \"pytorch\"", "'pytorch'")]
    [InlineData("platform: \"ensemble\"", "'ensemble'")]
    [InlineData("ensemble_scheduling { step [ ] }", "ensemble_scheduling")]
    [InlineData("sequence_batching { }", "sequence_batching")]
    [InlineData("instance_group [ { kind: KIND_GPU } ]", "KIND_GPU")]
    [InlineData("input [ { name: \"Y\" data_type: TYPE_FP32 dims: [4] } ]", "'Y'")]
    [InlineData("input [ { name: \"X\" data_type: TYPE_FP64 dims: [-1,4] } ]", "TYPE_FP64")]
    [InlineData("input [ { name: \"X\" data_type: TYPE_FP32 dims: [5] } ]\nmax_batch_size: 4", "dims [5]")]
    [InlineData("version_policy { specific { versions: 9 } }", "version 9")]
    [InlineData("dynamic_batching { }", "max_batch_size 0")]
    [InlineData("default_model_filename: \"../../x.onnx\"", "not the name of a file")]
    [InlineData("max_batch_size: many", "'many' is not a number")]
    [InlineData("nonsense: 1", "'nonsense'")]
    [InlineData("input [ { name: \"X\" ", "line 1")]
    public async Task What_cannot_be_served_says_why_and_holds_up_nobody(string config, string reason)
    {
        Put("iris", 1, ReferenceModels.Bytes("iris_logreg"));
        Put("wine", 2, ReferenceModels.Bytes("wine_gbt100"));
        await File.WriteAllTextAsync(Path.Combine(_models.Path, "iris", "config.pbtxt"), config, Stop);
        await using var server = await StartAsync();

        var endpoints = server.Services.GetRequiredService<Endpoints>();
        Assert.Contains(reason, endpoints.Describe("iris", null)!.Why, StringComparison.Ordinal);
        Assert.False(endpoints.Ready);
        Assert.True(endpoints.Describe("wine", "2")!.Ready);
    }

    [Fact]
    public async Task Links_are_not_followed()
    {
        Put("iris", 1, ReferenceModels.Bytes("iris_logreg"));
        File.CreateSymbolicLink(Path.Combine(_models.Path, "iris", "1", "weights.bin"), "/etc/hostname");
        Directory.CreateDirectory(Path.Combine(_models.Path, "linked", "1"));
        File.CreateSymbolicLink(Path.Combine(_models.Path, "linked", "1", "model.onnx"), ReferenceModels.PathOf("iris_logreg"));
        Directory.CreateSymbolicLink(Path.Combine(_models.Path, "elsewhere"), ReferenceModels.Folder);
        await using var server = await StartAsync();

        var endpoints = server.Services.GetRequiredService<Endpoints>();
        Assert.Contains("is a link", endpoints.Describe("iris", null)!.Why, StringComparison.Ordinal);
        Assert.Contains("is a link", endpoints.Describe("linked", null)!.Why, StringComparison.Ordinal);
        Assert.Null(endpoints.Describe("elsewhere", null));
    }

    private void Put(string model, int version, byte[] content)
    {
        Directory.CreateDirectory(Path.Combine(_models.Path, model, $"{version}"));
        File.WriteAllBytes(Path.Combine(_models.Path, model, $"{version}", "model.onnx"), content);
    }

    private async Task<SlipwayServer> StartAsync()
    {
        var server = SlipwayServer.Create(new SlipwayOptions { DataDirectory = _data.Path, Urls = ["http://127.0.0.1:0"], ModelRepository = _models.Path });
        await server.StartAsync(Stop);
        return server;
    }

    private static async Task<(string Version, long Label)> AskAsync(HttpClient http, string version)
    {
        using var response = await http.PostAsync($"/v2/models/iris{version}/infer", new StringContent("""{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"""), Stop);
        var answer = JsonDocument.Parse(await response.Content.ReadAsStringAsync(Stop)).RootElement;
        return (answer.GetProperty("model_version").GetString()!, answer.GetProperty("outputs").EnumerateArray().Single(output => output.GetProperty("name").GetString() == "label").GetProperty("data")[0].GetInt64());
    }

    private static async Task<JsonElement> GetAsync(HttpClient http, string path) => JsonDocument.Parse(await http.GetStringAsync(path, Stop)).RootElement;
}
