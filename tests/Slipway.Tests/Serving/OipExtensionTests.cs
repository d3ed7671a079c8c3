using System.Diagnostics;
using System.Net;
using System.Text.Json;
using Grpc.Net.Client;
using Slipway.Server.Oip.Wire;

namespace Slipway.Tests.Serving;

/// <summary>Configuration, statistics and the model repository, over HTTP and gRPC of one whole server.</summary>
public sealed class OipExtensionTests : IClassFixture<ServedModels>, IDisposable
{
    private readonly HttpClient _http;
    private readonly GrpcChannel _channel;
    private readonly GRPCInferenceService.GRPCInferenceServiceClient _grpc;

    public OipExtensionTests(ServedModels served)
    {
        _http = new HttpClient { BaseAddress = new Uri(served.Server.Urls[0]) };
        _channel = GrpcChannel.ForAddress(served.Server.GrpcUrls[0]);
        _grpc = new(_channel);
    }

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _http.Dispose();
        _channel.Dispose();
    }

    [Fact]
    public async Task Configuration_leaves_the_batch_out_of_the_dimensions()
    {
        var config = await GetAsync("/v2/models/digits_types/config");
        Assert.Equal("""[{"name":"image","data_type":"TYPE_UINT8","dims":[1,8,8]},{"name":"invert","data_type":"TYPE_BOOL","dims":[]}]""", config.GetProperty("input").GetRawText());
        Assert.True(config.GetProperty("max_batch_size").GetInt32() > 1);
        Assert.Equal(["1"], config.GetProperty("version_policy").GetProperty("specific").GetProperty("versions").EnumerateArray().Select(version => version.GetRawText()));
        Assert.Equal("TYPE_STRING", (await GetAsync("/v2/models/iris_mixed_inputs/versions/1/config")).GetProperty("input")[3].GetProperty("data_type").GetString());
    }

    [Fact]
    public async Task Statistics_count_requests_rows_and_failures()
    {
        var before = await StatisticsAsync("cancer_pipeline");
        for (var i = 0; i < 3; i++)
        {
            using var good = await _http.PostAsync("/v2/models/cancer_pipeline/infer", new ByteArrayContent(ReferenceModels.Request("cancer_pipeline")), Stop);
            Assert.Equal(HttpStatusCode.OK, good.StatusCode);
        }

        using var bad = await _http.PostAsync("/v2/models/cancer_pipeline/infer", new StringContent("""{"inputs":[{"name":"X","shape":[1],"datatype":"FP32","data":[1]}]}"""), Stop);
        Assert.Equal(HttpStatusCode.BadRequest, bad.StatusCode);

        var after = await StatisticsAsync("cancer_pipeline");
        Assert.Equal((3, 24, 1), (Count(after, "success") - Count(before, "success"), after.GetProperty("inference_count").GetInt64() - before.GetProperty("inference_count").GetInt64(), Count(after, "fail") - Count(before, "fail")));
        Assert.True(after.GetProperty("inference_stats").GetProperty("compute_infer").GetProperty("ns").GetInt64() > 0);
        Assert.Contains(after.GetProperty("batch_stats").EnumerateArray(), batch => batch.GetProperty("batch_size").GetInt64() == 8);

        var same = (await _grpc.ModelStatisticsAsync(new() { Name = "cancer_pipeline", Version = "1" }, cancellationToken: Stop)).ModelStats.Single();
        Assert.Equal((after.GetProperty("inference_count").GetUInt64(), (ulong)Count(after, "success")), (same.InferenceCount, same.InferenceStats.Success.Count));
        Assert.True((await GetAsync("/v2/models/stats")).GetProperty("model_stats").GetArrayLength() >= 10);
    }

    [Fact]
    public async Task A_model_leaves_the_repository_and_comes_back()
    {
        var request = ReferenceModels.Request("digits_mlp");
        Assert.Equal(HttpStatusCode.OK, await PostAsync("/v2/models/digits_mlp/infer", request));
        Assert.Equal(HttpStatusCode.OK, await PostAsync("/v2/repository/models/digits_mlp/unload", """{"parameters":{"unload_dependents":false}}"""u8.ToArray()));
        Assert.Equal(HttpStatusCode.ServiceUnavailable, await PostAsync("/v2/models/digits_mlp/infer", request));
        Assert.False((await _grpc.ModelReadyAsync(new() { Name = "digits_mlp" }, cancellationToken: Stop)).Ready);
        // As the usual client asks: without a body.
        Assert.Equal("UNAVAILABLE it was unloaded", await IndexAsync("digits_mlp"));
        // What was taken out on purpose does not make the server unready.
        Assert.True((await GetAsync("/v2/health/ready")).GetProperty("ready").GetBoolean());
        await Task.Delay(TimeSpan.FromSeconds(1.5), Stop);
        Assert.Equal("UNAVAILABLE it was unloaded", await IndexAsync("digits_mlp"));

        Assert.True((await _grpc.RepositoryModelLoadAsync(new() { ModelName = "digits_mlp" }, cancellationToken: Stop)).IsLoaded);
        Assert.Equal("READY ", await IndexAsync("digits_mlp"));
        Assert.Equal(HttpStatusCode.OK, await PostAsync("/v2/models/digits_mlp/infer", request));
        Assert.Equal(HttpStatusCode.OK, await PostAsync("/v2/repository/models/digits_mlp/load", "{}"u8.ToArray()));
        Assert.Equal(HttpStatusCode.NotImplemented, await PostAsync("/v2/repository/models/digits_mlp/load", """{"parameters":{"config":"{}"}}"""u8.ToArray()));
        Assert.Equal(HttpStatusCode.NotFound, await PostAsync("/v2/repository/models/nowhere/unload", []));
    }

    [Theory]
    [InlineData("GET", "/v2/systemsharedmemory/status", 501)]
    [InlineData("POST", "/v2/cudasharedmemory/region/x/register", 501)]
    [InlineData("GET", "/v2/trace/setting", 501)]
    [InlineData("POST", "/v2/models/iris_logreg/trace/setting", 501)]
    [InlineData("GET", "/v2/logging", 501)]
    [InlineData("POST", "/v2/models/iris_logreg/generate", 501)]
    [InlineData("GET", "/v2/models/nowhere/stats", 404)]
    [InlineData("GET", "/v2/models/iris_logreg/versions/9/config", 404)]
    [InlineData("POST", "/v2/repository/models/..%2f..%2fetc/load", 404)]
    [InlineData("GET", "/v2/repository/index", 405)]
    public async Task What_is_not_offered_says_so_in_the_protocols_form(string verb, string path, int status)
    {
        using var response = await _http.SendAsync(new HttpRequestMessage(new HttpMethod(verb), path), Stop);
        Assert.Equal(status, (int)response.StatusCode);
        Assert.Equal("application/json", response.Content.Headers.ContentType!.ToString());
        Assert.NotEqual("", JsonDocument.Parse(await response.Content.ReadAsStringAsync(Stop)).RootElement.GetProperty("error").GetString());
    }

    [Fact]
    public async Task Dashboards_find_the_names_that_they_know()
    {
        Assert.Equal(HttpStatusCode.OK, await PostAsync("/v2/models/wine_gbt100/infer", ReferenceModels.Request("wine_gbt100")));
        using var request = new HttpRequestMessage(HttpMethod.Get, "/metrics") { Headers = { { "Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5" } } };
        using var response = await _http.SendAsync(request, Stop);
        var text = await response.Content.ReadAsStringAsync(Stop);

        Assert.Equal("text/plain", response.Content.Headers.ContentType!.MediaType);
        Assert.Matches("""(?m)^nv_inference_request_success\{model="wine_gbt100",version="1"\} [1-9]""", text);
        Assert.Matches("""(?m)^nv_inference_count\{model="wine_gbt100",version="1"\} [1-9]""", text);
        Assert.Matches("""(?m)^nv_inference_request_failure\{model="wine_gbt100",version="1",reason="BACKEND"\} 0$""", text);
        Assert.Matches("""(?m)^nv_inference_compute_infer_duration_us\{model="wine_gbt100",version="1"\} [1-9]""", text);
        Assert.Matches("""(?m)^request_predict_seconds_count\{model_name="wine_gbt100"\} [1-9]""", text);
        string Last(string pattern) => System.Text.RegularExpressions.Regex.Matches(text, pattern)[^1].Groups[1].Value;
        Assert.Equal(
            Last("""(?m)^request_predict_seconds_count\{model_name="wine_gbt100"\} (\d+)"""),
            Last("""(?m)^request_predict_seconds_bucket\{model_name="wine_gbt100",le="\+Inf"\} (\d+)"""));
        Assert.Contains("slipway_predictions_written_total", text, StringComparison.Ordinal);
        Assert.DoesNotContain("# EOF", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_span_carries_the_routes_decision_below_the_callers_trace()
    {
        var spans = new System.Collections.Concurrent.ConcurrentQueue<Activity>();
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == Slipway.Serving.Traces.SourceName,
            Sample = static (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = spans.Enqueue,
        };
        ActivitySource.AddActivityListener(listener);
        const string Trace = "0af7651916cd43dd8448eb211c80319c";
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v2/models/iris_logreg/infer") { Content = new ByteArrayContent(ReferenceModels.Request("iris_logreg")), Headers = { { "traceparent", $"00-{Trace}-b7ad6b7169203331-01" } } };
        using var response = await _http.SendAsync(request, Stop);

        var span = spans.Single(span => span.TraceId.ToHexString() == Trace);
        Assert.Equal(("iris_logreg", "stable", "1"), (span.GetTagItem("slipway.endpoint"), span.GetTagItem("slipway.variant"), span.GetTagItem("slipway.model_version")));
        Assert.InRange((int)span.GetTagItem("slipway.slot")!, 0, 9999);
    }

    private static long Count(JsonElement statistics, string what) => statistics.GetProperty("inference_stats").GetProperty(what).GetProperty("count").GetInt64();

    private async Task<JsonElement> StatisticsAsync(string model) => (await GetAsync($"/v2/models/{model}/stats")).GetProperty("model_stats")[0];

    private async Task<string> IndexAsync(string model)
    {
        using var response = await _http.PostAsync("/v2/repository/index", null, Stop);
        return JsonDocument.Parse(await response.Content.ReadAsStringAsync(Stop)).RootElement.EnumerateArray()
            .Where(row => row.GetProperty("name").GetString() == model).Select(row => $"{row.GetProperty("state").GetString()} {row.GetProperty("reason").GetString()}").Single();
    }

    private async Task<HttpStatusCode> PostAsync(string path, byte[] body)
    {
        using var response = await _http.PostAsync(path, new ByteArrayContent(body), Stop);
        return response.StatusCode;
    }

    private async Task<JsonElement> GetAsync(string path) => JsonDocument.Parse(await _http.GetStringAsync(path, Stop)).RootElement;
}
