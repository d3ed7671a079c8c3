using System.Net;
using Grpc.Net.Client;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;
using Slipway.Server.Oip.Wire;
using Slipway.Serving;
using Slipway.Tests.Governance;

namespace Slipway.Tests.Serving;

/// <summary>Rollouts as they run in the product: the whole server, its clock and its journal, and traffic over HTTP the whole time.</summary>
public sealed class LiveRolloutTests : IAsyncLifetime
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private readonly string _folder = Directory.CreateTempSubdirectory("slipway-live-").FullName;
    private SlipwayServer _server = null!;
    private HttpClient _http = null!;

    public async ValueTask InitializeAsync()
    {
        _server = SlipwayServer.Create(new SlipwayOptions { DataDirectory = _folder, Urls = ["http://127.0.0.1:0"], GrpcUrls = ["http://127.0.0.1:0"] });
        await _server.StartAsync(CancellationToken.None);
        _http = new HttpClient { BaseAddress = new Uri(_server.Urls[0]) };
        await Get<Models>().CreateAsync(TestWorld.Ada, "iris", null, CancellationToken.None);
        foreach (var content in new[] { ReferenceModels.Bytes("iris_logreg"), ReferenceModels.Bytes("iris_logreg"), TinyOnnx.BreaksOnRealInput() })
        {
            var blob = await Get<IBlobStore>().PutAsync(new MemoryStream(content), CancellationToken.None);
            await Get<Models>().RegisterAsync(
                TestWorld.Ada, new RegisterVersion { Name = "iris", Source = "s3://models/m", Files = [new("model.onnx", blob.Hash, blob.Size)] }, CancellationToken.None);
        }

        await Get<Endpoints>().CreateAsync(TestWorld.Ada, new CreateEndpoint { Name = "flowers", ModelVersion = "iris/1" }, CancellationToken.None);
    }

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        await _server.StopAsync(CancellationToken.None);
        await _server.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task Good_canary_waits_for_its_gate_and_finishes_and_a_breaking_one_is_rolled_back_without_one_failed_request()
    {
        using var stop = new CancellationTokenSource();
        var traffic = TrafficAsync(stop.Token);
        await Get<Policies>().ApplyAsync(Samples.Root, Samples.Automatic, CancellationToken.None);
        var quick = new AnalysisSpec { MinRequests = 20, Interval = TimeSpan.FromMilliseconds(200), LatencyFloorMicros = 1e6 };
        var plan = RolloutSpec.Canary(quick, 50, 100) with { Bake = TimeSpan.FromMilliseconds(500) };

        var good = await Get<Rollouts>().ProposeAsync(TestWorld.Ada, new() { Endpoint = "flowers", Candidate = "iris/2", Spec = plan, Policy = "automatic" }, CancellationToken.None);
        Assert.Equal(RolloutState.Pending, (await Get<Rollouts>().GetAsync(good.Id, CancellationToken.None)).Status.State);
        await Get<Gates>().RequestAsync(Samples.Root, new("model-version", "iris/2"), "automatic", Samples.Good, ["ada"], CancellationToken.None);
        var ended = await EndAsync(good.Id);
        Assert.True(ended.Status.State == RolloutState.Healthy, ended.Status.Cause);

        var bad = await Get<Rollouts>().ProposeAsync(TestWorld.Ada, new() { Endpoint = "flowers", Candidate = "iris/3", Spec = plan }, CancellationToken.None);
        ended = await EndAsync(bad.Id);
        Assert.True(ended.Status.State == RolloutState.Aborted, ended.Status.Cause);
        Assert.Contains("local fuse", ended.Status.Cause);

        await stop.CancelAsync();
        var (answered, failed, versions) = await traffic;
        Assert.Equal(0, failed);
        Assert.True(answered > 100, $"only {answered} requests were answered");
        // The breaking version never answered anybody.
        Assert.Equal(["1", "2"], versions.Order(StringComparer.Ordinal));
        Assert.Equal("iris/2", (await Get<Endpoints>().GetAsync("flowers", CancellationToken.None)).ModelVersion);
        Assert.True((await Get<Audit>().VerifyAsync(CancellationToken.None)).Intact);
    }

    [Fact]
    public async Task Abort_under_load_fails_no_request_and_none_that_begins_afterwards_sees_the_candidate()
    {
        using var stop = new CancellationTokenSource();
        var aborted = long.MaxValue;
        var onCandidate = 0;
        var callers = Enumerable.Range(0, 4).Select(caller => Task.Run(async () =>
        {
            var (asked, wrong) = (0, new List<string>());
            for (; !stop.IsCancellationRequested; asked++)
            {
                var started = System.Diagnostics.Stopwatch.GetTimestamp();
                var body = $$$"""{"parameters":{"entity_key":"{{{caller}}}-{{{asked % 300}}}"},"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[5.1,3,4.1,1.3]}]}""";
                using var response = await _http.PostAsync("/v2/models/flowers/infer", new StringContent(body), CancellationToken.None);
                var text = await response.Content.ReadAsStringAsync(CancellationToken.None);
                var candidate = text.Contains("\"model_version\":\"2\"", StringComparison.Ordinal);
                if (response.StatusCode != HttpStatusCode.OK || (candidate && started > Interlocked.Read(ref aborted)))
                {
                    wrong.Add($"{response.StatusCode}: {text}");
                }
                else if (candidate)
                {
                    Interlocked.Increment(ref onCandidate);
                }
            }

            return (asked, wrong);
        })).ToArray();

        var plan = new RolloutSpec { Steps = [RolloutStep.SetWeight(50), RolloutStep.Pause()], Guardrails = new AnalysisSpec { LatencyFloorMicros = 1e9 } };
        for (var round = 0; round < 5; round++)
        {
            Interlocked.Exchange(ref aborted, long.MaxValue);
            var before = Volatile.Read(ref onCandidate);
            var rollout = await Get<Rollouts>().ProposeAsync(TestWorld.Ada, new() { Endpoint = "flowers", Candidate = "iris/2", Spec = plan }, CancellationToken.None);
            for (var waited = 0; Volatile.Read(ref onCandidate) < before + 20; waited++)
            {
                Assert.True(waited < 1200, $"the candidate answered nothing within a minute: {(await Get<Rollouts>().GetAsync(rollout.Id, CancellationToken.None)).Status.Cause}");
                await Task.Delay(50, CancellationToken.None);
            }

            await Get<Rollouts>().AbortAsync(TestWorld.Ada, rollout.Id, "test", CancellationToken.None);
            Interlocked.Exchange(ref aborted, System.Diagnostics.Stopwatch.GetTimestamp());
            Assert.Equal(RolloutState.Aborted, (await EndAsync(rollout.Id)).Status.State);
        }

        await stop.CancelAsync();
        var ended = await Task.WhenAll(callers);
        Assert.Empty(ended.SelectMany(caller => caller.wrong));
        Assert.True(ended.Sum(caller => caller.asked) > 200);
    }

    [Fact]
    public async Task Match_by_attributes_sends_the_same_requests_to_the_candidate_over_rest_and_grpc()
    {
        var match = new RolloutStep("match") { Attributes = [new("country") { Values = ["se"] }, new("amount") { AtLeast = 100 }, new("vip") { Values = ["true"] }] };
        var rollout = await Get<Rollouts>().ProposeAsync(TestWorld.Ada, new() { Endpoint = "flowers", Candidate = "iris/2", Spec = new() { Steps = [match, RolloutStep.Pause()] } }, CancellationToken.None);
        for (var waited = 0; (await Get<Rollouts>().GetAsync(rollout.Id, CancellationToken.None)).Status.State != RolloutState.Paused; waited++)
        {
            Assert.True(waited < 300, "the match is not in force");
            await Task.Delay(100, CancellationToken.None);
        }

        using var channel = GrpcChannel.ForAddress(_server.GrpcUrls[0]);
        var client = new GRPCInferenceService.GRPCInferenceServiceClient(channel);
        foreach (var (country, amount, vip, expected) in new (object? Country, object? Amount, object? Vip, string Version)[]
        {
            ("se", 100L, true, "2"), ("se", 100.5, true, "2"), ("se", 99L, true, "1"), ("no", 100L, true, "1"), ("se", "100", true, "1"), ("se", 100L, false, "1"), ("se", 100L, null, "1"),
            (null, null, null, "1"), ("se", ulong.MaxValue, true, "2"),
        })
        {
            var given = new[] { ("country", country), ("amount", amount), ("vip", vip) }.Where(each => each.Item2 is not null).ToDictionary(each => each.Item1, each => each.Item2!);
            var body = $$$"""{"parameters":{{{System.Text.Json.JsonSerializer.Serialize(given)}}},"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[5.1,3,4.1,1.3]}]}""";
            using var response = await _http.PostAsync("/v2/models/flowers/infer", new StringContent(body), CancellationToken.None);
            var seen = System.Text.Json.JsonDocument.Parse(await response.Content.ReadAsStringAsync(CancellationToken.None)).RootElement;
            Assert.Equal((expected, expected == "2" ? "candidate" : "stable"), (seen.GetProperty("model_version").GetString(), seen.GetProperty("parameters").GetProperty("variant").GetString()));

            var request = new ModelInferRequest { ModelName = "flowers" };
            request.Inputs.Add(new ModelInferRequest.Types.InferInputTensor { Name = "X", Datatype = "FP32", Shape = { 1, 4 }, Contents = new() { Fp32Contents = { 5.1f, 3, 4.1f, 1.3f } } });
            foreach (var (name, value) in given)
            {
                request.Parameters[name] = value switch
                {
                    bool truth => new InferParameter { BoolParam = truth },
                    long number => new InferParameter { Int64Param = number },
                    ulong number => new InferParameter { Uint64Param = number },
                    double number => new InferParameter { DoubleParam = number },
                    _ => new InferParameter { StringParam = (string)value },
                };
            }

            Assert.Equal(expected, (await client.ModelInferAsync(request, cancellationToken: CancellationToken.None)).ModelVersion);
        }

        await Get<Rollouts>().AbortAsync(TestWorld.Ada, rollout.Id, "test", CancellationToken.None);
    }

    private async Task<(int Answered, int Failed, HashSet<string> Versions)> TrafficAsync(CancellationToken stop)
    {
        var (answered, failed, versions) = (0, 0, new HashSet<string>(StringComparer.Ordinal));
        for (var i = 0; !stop.IsCancellationRequested; i++)
        {
            var body = $$$"""{"parameters":{"entity_key":"user-{{{i % 500}}}"},"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[5.{{{i % 10}}},3,4.1,1.3]}]}""";
            using var response = await _http.PostAsync("/v2/models/flowers/infer", new StringContent(body), CancellationToken.None);
            answered++;
            failed += response.StatusCode == HttpStatusCode.OK ? 0 : 1;
            versions.Add(System.Text.Json.JsonDocument.Parse(await response.Content.ReadAsStringAsync(CancellationToken.None)).RootElement.GetProperty("model_version").GetString()!);
            await Task.Delay(2, CancellationToken.None);
        }

        return (answered, failed, versions);
    }

    private async Task<Rollout> EndAsync(string id)
    {
        for (var waited = TimeSpan.Zero; waited < Patience; waited += TimeSpan.FromMilliseconds(100))
        {
            if (await Get<Rollouts>().GetAsync(id, CancellationToken.None) is { Status.Ended: true } ended)
            {
                return ended;
            }

            await Task.Delay(100, CancellationToken.None);
        }

        var present = await Get<Rollouts>().GetAsync(id, CancellationToken.None);
        throw new TimeoutException($"after {Patience} rollout {id} is {present.Status.State} ({present.Status.Pause}) in step {present.Status.Step}: {present.Status.Cause}; {present.LastAnalysis?.Why}");
    }

    private T Get<T>()
        where T : notnull => (T)_server.Services.GetService(typeof(T))!;
}
