using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving;
using Slipway.Server.Oip;
using static Slipway.Tests.Serving.ServingWorld;

namespace Slipway.Tests.Serving;

/// <summary>The protocol over a real Kestrel on a free loopback port.</summary>
public sealed class OipHttpTests : IAsyncLifetime
{
    private TestWorld _world = null!;
    private WebApplication _app = null!;
    private HttpClient _http = null!;

    public async ValueTask InitializeAsync()
    {
        _world = await CreateAsync(Engine.Sqlite);
        foreach (var model in Directory.GetFiles(ReferenceModels.Folder, "*.onnx").Select(path => Path.GetFileNameWithoutExtension(path)))
        {
            await _world.Get<Models>().CreateAsync(TestWorld.Ada, model, null, None);
            await RegisterAsync(_world, model, ReferenceModels.Bytes(model));
            await EndpointAsync(_world, $"{model}/1", model);
        }

        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Services.AddSingleton(_world.Get<Endpoints>());
        builder.Services.AddRouting();
        builder.Logging.ClearProviders();
        _app = builder.Build();
        _app.UseOip(context => new(context.Request.Headers.ContainsKey("x-refuse") ? new SlipwayException(ErrorCode.PermissionDenied, "no", "you lack predict") : null));
        _app.UseRouting();
        _app.MapOip(_ => { }, _ => { });
        await _app.StartAsync();
        var address = _app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single();
        _http = new HttpClient { BaseAddress = new Uri(address) };
    }

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        await _app.DisposeAsync();
        await _world.DisposeAsync();
    }

    [Theory]
    [MemberData(nameof(ReferenceModels.All), MemberType = typeof(ReferenceModels))]
    public async Task Reference_model_answers_JSON_and_binary_with_the_expected_outputs(string model)
    {
        var answer = await InferAsync(model, ReferenceModels.Request(model));
        Assert.Equal("application/json", answer.ContentType);
        var json = JsonDocument.Parse(answer.Body).RootElement;
        if (model == "digits_fp16")
        {
            // Half precision has no JSON form; the error says what to do instead.
            Assert.Equal((HttpStatusCode.BadRequest, true), (answer.Status, json.GetProperty("error").GetString()!.Contains("binary", StringComparison.Ordinal)));
        }
        else
        {
            Assert.Equal((model, "1", $"{model}-1"), (json.GetProperty("model_name").GetString(), json.GetProperty("model_version").GetString(), json.GetProperty("id").GetString()));
            ReferenceModels.Check(model, json.GetProperty("outputs"));
            Assert.Equal(("stable", $"{model}-1"), (answer.Header("x-slipway-variant"), answer.Header("x-slipway-prediction-id")));
        }

        var (body, length) = Binary(model);
        var binary = await InferAsync(model, body, length);
        Assert.Equal(("application/octet-stream", HttpStatusCode.OK), (binary.ContentType, binary.Status));
        ReferenceModels.Check(model, Decode(binary));
    }

    [Fact]
    public async Task Raw_body_without_JSON_is_one_row_and_answered_in_binary()
    {
        var row = new float[] { 5.9f, 3, 5.1f, 1.8f };
        var answer = await InferAsync("iris_logreg", System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(row).ToArray(), 0);
        Assert.Equal(HttpStatusCode.OK, answer.Status);
        Assert.Equal("2", Decode(answer).EnumerateArray().First().GetProperty("data")[0].ToString());
        Assert.Equal(HttpStatusCode.BadRequest, (await InferAsync("iris_logreg", new byte[15], 0)).Status);
    }

    [Theory]
    [InlineData("/v2/models/nowhere/infer", 404)]
    [InlineData("/v2/models/a/b/infer", 404)]
    [InlineData("/v2/models/iris_logreg/versions/7/infer", 404)]
    [InlineData("/v2/models/iris_logreg/versions/1/infer", 200)]
    [InlineData("/v2/models/iris_logreg/nothing", 404)]
    [InlineData("/v2/nothing", 404)]
    public async Task Path_is_answered_in_the_protocols_form(string path, int status)
    {
        using var response = await _http.PostAsync(path, new ByteArrayContent(ReferenceModels.Request("iris_logreg")));
        Assert.Equal(status, (int)response.StatusCode);
        var json = JsonDocument.Parse(await response.Content.ReadAsStringAsync()).RootElement;
        Assert.Equal(status != 200, json.TryGetProperty("error", out _));
        Assert.Equal("application/json", response.Content.Headers.ContentType!.ToString());
    }

    [Fact]
    public async Task Faults_have_their_status_and_a_reason()
    {
        Assert.Equal(HttpStatusCode.BadRequest, (await InferAsync("iris_logreg", "{"u8.ToArray())).Status);
        Assert.Equal(HttpStatusCode.BadRequest, (await InferAsync("iris_logreg", [], null)).Status);
        var wrong = await InferAsync("iris_logreg", """{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}"""u8.ToArray());
        Assert.Contains("must have the shape [-1,4], got [1,3]", Encoding.UTF8.GetString(wrong.Body));
        Assert.Equal(HttpStatusCode.BadRequest, (await InferAsync("iris_logreg", ReferenceModels.Request("iris_logreg"), 1_000_000)).Status);
        using var large = new HttpRequestMessage(HttpMethod.Post, "/v2/models/iris_logreg/infer") { Content = new ByteArrayContent(new byte[OipEndpoints.MaxBody + 1]) };
        large.Headers.ExpectContinue = true;
        using var refused = await _http.SendAsync(large);
        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, refused.StatusCode);
        using var zipped = new HttpRequestMessage(HttpMethod.Post, "/v2/models/iris_logreg/infer") { Content = new ByteArrayContent([1]) { Headers = { ContentEncoding = { "br" } } } };
        using var unread = await _http.SendAsync(zipped);
        Assert.Equal(HttpStatusCode.BadRequest, unread.StatusCode);
        using var denied = new HttpRequestMessage(HttpMethod.Post, "/v2/models/iris_logreg/infer") { Headers = { { "x-refuse", "1" } } };
        using var forbidden = await _http.SendAsync(denied);
        Assert.Equal(HttpStatusCode.Forbidden, forbidden.StatusCode);
        // After all of that the server answers as before.
        Assert.Equal(HttpStatusCode.OK, (await InferAsync("iris_logreg", ReferenceModels.Request("iris_logreg"))).Status);
    }

    [Fact]
    public async Task Large_and_chunked_bodies_are_read()
    {
        var values = string.Join(",", Enumerable.Range(0, 4 * 20_000).Select(i => $"{i % 70 / 10.0}"));
        var body = Encoding.UTF8.GetBytes($$"""{"inputs":[{"name":"X","shape":[20000,4],"datatype":"FP32","data":[{{values}}]}],"outputs":[{"name":"label"}]}""");
        using var chunked = new HttpRequestMessage(HttpMethod.Post, "/v2/models/iris_logreg/infer") { Content = new StreamContent(new MemoryStream(body)) };
        chunked.Headers.TransferEncodingChunked = true;
        using var response = await _http.SendAsync(chunked);
        var json = JsonDocument.Parse(await response.Content.ReadAsStringAsync()).RootElement;
        Assert.Equal(20_000, json.GetProperty("outputs")[0].GetProperty("data").GetArrayLength());
    }

    [Fact]
    public async Task Metadata_and_health_are_what_clients_parse()
    {
        Assert.True((await GetAsync("/v2/health/live")).GetProperty("live").GetBoolean());
        Assert.True((await GetAsync("/v2/health/ready")).GetProperty("ready").GetBoolean());
        Assert.Contains("binary_tensor_data", (await GetAsync("/v2")).GetProperty("extensions").EnumerateArray().Select(extension => extension.GetString()));
        var model = await GetAsync("/v2/models/iris_mixed_inputs");
        Assert.Equal(["1"], model.GetProperty("versions").EnumerateArray().Select(version => version.GetString()));
        Assert.Equal("onnxruntime_onnx", model.GetProperty("platform").GetString());
        Assert.Equal("""{"name":"species","datatype":"BYTES","shape":[-1,1]}""", model.GetProperty("inputs")[3].GetRawText());
        Assert.True((await GetAsync("/v2/models/iris_logreg/versions/1/ready")).GetProperty("ready").GetBoolean());
        using var missing = await _http.GetAsync("/v2/models/iris_logreg/versions/9");
        Assert.Equal(HttpStatusCode.NotFound, missing.StatusCode);
        using var verb = await _http.DeleteAsync("/v2/models/iris_logreg");
        Assert.Equal((HttpStatusCode.MethodNotAllowed, "application/json"), (verb.StatusCode, verb.Content.Headers.ContentType!.ToString()));
        Assert.Contains("iris_logreg", (await GetAsync("/v2/models")).GetProperty("models").EnumerateArray().Select(name => name.GetString()));
    }

    private async Task<JsonElement> GetAsync(string path) => JsonDocument.Parse(await _http.GetStringAsync(path)).RootElement;

    private async Task<Answer> InferAsync(string model, byte[] body, int? jsonLength = null)
    {
        // As the usual client sends it: without a content type.
        using var request = new HttpRequestMessage(HttpMethod.Post, $"/v2/models/{model}/infer") { Content = new ByteArrayContent(body) };
        if (jsonLength is { } length)
        {
            request.Headers.Add("Inference-Header-Content-Length", $"{length}");
        }

        using var response = await _http.SendAsync(request);
        return new(response.StatusCode, response.Content.Headers.ContentType?.ToString(), response.Headers, await response.Content.ReadAsByteArrayAsync());
    }

    /// <summary>A model's case as a body with binary tensors, and the length of its JSON.</summary>
    internal static (byte[] Body, int JsonLength) Binary(string model)
    {
        var tail = new MemoryStream();
        var inputs = ReferenceModels.Case(model).GetProperty("request").GetProperty("inputs").EnumerateArray().Select(input =>
        {
            var raw = ReferenceModels.Raw(input.GetProperty("datatype").GetString()!, input.GetProperty("data"));
            tail.Write(raw);
            return (object)new
            {
                name = input.GetProperty("name").GetString(),
                shape = input.GetProperty("shape"),
                datatype = input.GetProperty("datatype").GetString(),
                parameters = new { binary_data_size = raw.Length },
            };
        }).ToArray();
        var json = JsonSerializer.SerializeToUtf8Bytes(new { id = "b", inputs, parameters = new { binary_data_output = true } });
        return ([.. json, .. tail.ToArray()], json.Length);
    }

    // Turns a binary answer into the form of a JSON answer, so that one comparison serves both.
    private static JsonElement Decode(Answer answer)
    {
        var length = int.Parse(answer.Header("Inference-Header-Content-Length")!);
        var tail = answer.Body.AsSpan(length);
        var outputs = new List<object>();
        foreach (var output in JsonDocument.Parse(answer.Body.AsMemory(0, length)).RootElement.GetProperty("outputs").EnumerateArray())
        {
            var bytes = tail[..output.GetProperty("parameters").GetProperty("binary_data_size").GetInt32()];
            tail = tail[bytes.Length..];
            var data = ReferenceModels.Values(output.GetProperty("datatype").GetString()!, bytes);
            outputs.Add(new { name = output.GetProperty("name").GetString(), datatype = output.GetProperty("datatype").GetString(), shape = output.GetProperty("shape"), data });
        }

        Assert.Equal(0, tail.Length);
        return JsonSerializer.SerializeToElement(outputs);
    }

    private sealed record Answer(HttpStatusCode Status, string? ContentType, HttpResponseHeaders Headers, byte[] Body)
    {
        public string? Header(string name) => Headers.TryGetValues(name, out var values) ? values.Single() : null;
    }
}
