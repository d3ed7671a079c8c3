using System.Diagnostics;
using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Slipway.Acceptance.Mlflow;
using Slipway.Client;

namespace Slipway.Acceptance;

/// <summary>The .NET tracking client against a live server, and each of its messages against MLflow's protocol.</summary>
public sealed partial class TrackingClientTests(MlflowServer server) : IClassFixture<MlflowServer>
{
    /// <summary>Every call that the client may make, with the fields that the protocol knows: another server knows no others.</summary>
    private static readonly Dictionary<string, string> Protocol = new(StringComparer.Ordinal)
    {
        ["GET experiments/get-by-name"] = "experiment_name",
        ["POST experiments/create"] = "name",
        ["POST runs/create"] = "experiment_id user_id run_name start_time tags tags.key tags.value",
        ["POST runs/update"] = "run_id status end_time",
        ["GET runs/get"] = "run_id",
        ["POST runs/search"] = "experiment_ids filter run_view_type max_results order_by page_token",
        ["POST runs/log-batch"] = "run_id metrics metrics.key metrics.value metrics.timestamp metrics.step params params.key params.value tags tags.key tags.value",
        ["POST runs/log-inputs"] = "run_id datasets datasets.tags datasets.tags.key datasets.tags.value datasets.dataset datasets.dataset.name datasets.dataset.digest datasets.dataset.source datasets.dataset.source_type datasets.dataset.schema datasets.dataset.profile",
        ["POST runs/log-model"] = "run_id model_json",
        ["GET metrics/get-history"] = "run_id metric_key max_results page_token",
        ["POST registered-models/create"] = "name",
        ["POST registered-models/alias"] = "name alias version",
        ["GET registered-models/alias"] = "name alias",
        ["POST model-versions/create"] = "name source run_id description",
        ["GET model-versions/get-download-uri"] = "name version",
        ["GET artifacts"] = "path",
    };

    [Fact]
    public async Task Training_is_tracked_from_start_to_alias()
    {
        using var recorder = new Recorder();
        using var client = Client(recorder);
        using var folder = new Folder();
        File.WriteAllText(folder["data.csv"], "a,b\n1,2\n");
        Directory.CreateDirectory(folder["model/sub"]);
        File.WriteAllBytes(folder["model/model.onnx"], [1, 2, 3]);
        File.WriteAllText(folder["model/sub/notes.txt"], "notes");
        string id;
        RegisteredVersion? version;
        await using (var run = await client.StartRunAsync("client", "first", new Dictionary<string, string> { ["team"] = "ops" }))
        {
            id = run.Id;
            for (var step = 0; step < 2500; step++)
            {
                run.Log("train/loss", 1.0 / (step + 1), step);
            }

            run.Log("odd", double.NaN);
            run.Log("odd2", double.NegativeInfinity);
            run.LogParams(new { Trees = 100, LearningRate = 0.1, Nothing = (string?)null });
            run.LogParam("trees", 100);
            run.LogMetrics(new { AreaUnderRocCurve = 0.91, Count = 3, Text = "no" });
            run.SetTag("stage", "test");
            await run.LogInputAsync(await TrackedData.OfFileAsync(folder["data.csv"]));
            await run.LogArtifactAsync(folder["data.csv"], "inputs");
            await run.LogTextAsync("hello", "notes/hello world.txt");
            version = await run.LogModelAsync(new LoggedModelFiles(folder["model"])
            {
                Signature = new TensorSignature([new Tensor("x", "float32", [-1, 4])], [new Tensor("y", "int64", [-1])]),
                RegisterAs = "client-model",
                Alias = "candidate",
                Description = "from .NET",
            });
            await using (var child = await run.StartChildAsync("fold 1"))
            {
                child.Log("auc", 0.5);
                child.Complete();
            }

            run.Complete();
        }

        var read = await client.GetRunAsync(id);
        Assert.Equal((RunState.Finished, "first", false), (read.State, read.Name, read.Deleted));
        Assert.NotNull(read.EndedAt);
        Assert.Equal(1.0 / 2500, read.Metrics["train/loss"]);
        Assert.Equal(double.NaN, read.Metrics["odd"]);
        Assert.Equal((0.91, 3.0), (read.Metrics["area_under_roc_curve"], read.Metrics["count"]));
        Assert.Equal("100 0.1", $"{read.Params["trees"]} {read.Params["learning_rate"]}");
        Assert.Equal("ops test", $"{read.Tags["team"]} {read.Tags["stage"]}");
        var history = await client.HistoryAsync(id, "train/loss").ToListAsync();
        Assert.Equal(Enumerable.Range(0, 2500).Select(s => (long)s), history.Select(h => h.Step).Order());

        Assert.Equal(["inputs", "model", "notes"], (await client.ListFilesAsync(id)).Select(f => f.Path));
        await client.DownloadAsync(id, "", folder["down"]);
        Assert.Equal("hello", File.ReadAllText(folder["down/notes/hello world.txt"]));
        Assert.Equal("notes", File.ReadAllText(folder["down/model/sub/notes.txt"]));
        Assert.Contains("artifact_path: \"model\"", File.ReadAllText(folder["down/model/MLmodel"]), StringComparison.Ordinal);
        Assert.Equal(version, (await client.GetVersionAsync("client-model", "candidate")) with { Source = version!.Source });
        await client.DownloadAsync(version, folder["version"]);
        Assert.Equal([1, 2, 3], File.ReadAllBytes(folder["version/model.onnx"]));
        Assert.Single((await server.OkAsync("GET", $"runs/get?run_id={id}"))["run"]!["inputs"]!["dataset_inputs"]!.AsArray());

        var found = await client.SearchRunsAsync("client", "metrics.auc > 0.4", "metrics.auc DESC").ToListAsync();
        Assert.Equal(id, found.Single().Tags["mlflow.parentRunId"]);
        Assert.All(recorder.Calls, Conforms);
        Assert.True(recorder.Calls.Count(c => c.Path == "runs/log-batch") is > 2 and < 20);
    }

    [Fact]
    public async Task How_a_run_ends_is_told_by_who_wrote_it()
    {
        using var client = Client();
        string? id = null;
        await Assert.ThrowsAsync<InvalidOperationException>(async () =>
        {
            await using var run = await client.StartRunAsync("ends");
            id = run.Id;
            run.Log("before", 1);
            throw new InvalidOperationException("training broke");
        });
        Assert.Equal((RunState.Failed, 1.0), ((await client.GetRunAsync(id!)).State, (await client.GetRunAsync(id!)).Metrics["before"]));

        await using (var run = await client.ResumeRunAsync(id!))
        {
            Assert.Equal(RunState.Running, (await client.GetRunAsync(id!)).State);
            run.Log("after", 2);
            run.Complete(RunState.Killed);
        }

        Assert.Equal(RunState.Killed, (await client.GetRunAsync(id!)).State);
    }

    [Fact]
    public async Task Busy_server_is_asked_again_and_loses_nothing()
    {
        using var recorder = new Recorder { Refuse = call => call.Path == "runs/log-batch" ? [HttpStatusCode.ServiceUnavailable, HttpStatusCode.TooManyRequests, HttpStatusCode.BadGateway] : [] };
        using var client = Client(recorder);
        await using var run = await client.StartRunAsync("busy");
        for (var step = 0; step < 10; step++)
        {
            run.Log("m", step, step);
        }

        await run.FlushAsync();
        Assert.Equal(10, (await client.HistoryAsync(run.Id, "m").ToListAsync()).Count);
        Assert.Equal(4, recorder.Calls.Count(c => c.Path == "runs/log-batch"));
        run.Complete();
    }

    [Fact]
    public async Task What_could_not_be_stored_is_told_by_flush_by_log_and_by_dispose()
    {
        using var recorder = new Recorder { Refuse = call => call.Path == "runs/log-batch" ? [HttpStatusCode.BadRequest] : [] };
        using var client = Client(recorder);
        var run = await client.StartRunAsync("lost");
        run.Log("m", 1);

        Assert.Equal(400, (await Assert.ThrowsAsync<SlipwayClientException>(() => run.FlushAsync())).Status);
        Assert.Equal(400, Assert.Throws<SlipwayClientException>(() => run.Log("m", 2)).Status);
        run.Complete();
        Assert.Equal(400, (await Assert.ThrowsAsync<SlipwayClientException>(async () => await run.DisposeAsync())).Status);
        Assert.Equal(RunState.Failed, (await client.GetRunAsync(run.Id)).State);
    }

    [Theory]
    [InlineData("")]
    [InlineData("../m")]
    [InlineData("a//b")]
    [InlineData("/a")]
    [InlineData("a/")]
    [InlineData("a/./b")]
    [InlineData("a\tb")]
    [InlineData("a%b")]
    public async Task Wrong_name_is_told_where_it_is_written(string name)
    {
        using var client = Client();
        await using var run = await client.StartRunAsync("names");
        Assert.Equal("invalidArgument", Assert.Throws<SlipwayClientException>(() => run.Log(name, 1)).Code);
        run.Log("..a/b.c/ d:é_-", 1);
        run.Complete();
    }

    [Fact]
    public async Task A_full_queue_waits_for_the_server_and_keeps_its_order()
    {
        using var client = new TrackingClient(new TrackingOptions { Server = server.Client.BaseAddress!, Capacity = 100, FlushEvery = TimeSpan.FromMilliseconds(20) });
        await using var run = await client.StartRunAsync("full");
        for (var step = 0; step < 5000; step++)
        {
            run.Log("m", step, step);
        }

        await run.FlushAsync();
        Assert.Equal(5000, (await client.HistoryAsync(run.Id, "m").ToListAsync()).Count);
        run.Complete();
    }

    [Fact]
    public async Task No_server_is_told_in_words()
    {
        using var client = new TrackingClient(new TrackingOptions { Server = new Uri("http://127.0.0.1:9"), Retries = 1, RetryAfter = TimeSpan.FromMilliseconds(1) });
        var refused = await Assert.ThrowsAsync<SlipwayClientException>(() => client.StartRunAsync("x"));
        Assert.Equal("unavailable", refused.Code);
        Assert.Contains("MLFLOW_TRACKING_URI", refused.Next, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_mlnet_sample_tracks_its_training_with_five_lines()
    {
        var sample = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "../../Slipway.Samples.MlNet/release/Slipway.Samples.MlNet"));
        Assert.SkipUnless(File.Exists(sample), "the sample is built with the solution in Release only");
        using var process = Process.Start(new ProcessStartInfo(sample) { RedirectStandardOutput = true, UseShellExecute = false, Environment = { ["MLFLOW_TRACKING_URI"] = server.Client.BaseAddress!.ToString() } })!;
        var output = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(0, process.ExitCode);

        using var client = Client();
        var run = (await client.SearchRunsAsync("machine-failure").ToListAsync()).Single();
        Assert.Equal(RunState.Finished, run.State);
        Assert.Equal("lbfgs 0.1", $"{run.Params["trainer"]} {run.Params["l2_regularization"]}");
        Assert.InRange(run.Metrics["area_under_roc_curve"], 0.8, 1);
        Assert.Contains($"run {run.Id}, model machine-failure/1", output, StringComparison.Ordinal);
        Assert.Equal(["MLmodel", "model.zip"], (await client.ListFilesAsync(run.Id, "model")).Select(f => Path.GetFileName(f.Path)));
    }

    private TrackingClient Client(Recorder? recorder = null) =>
        new(new TrackingOptions { Server = server.Client.BaseAddress!, Handler = recorder, RetryAfter = TimeSpan.FromMilliseconds(1) });

    private static void Conforms(Call call)
    {
        if (call.Method == "GET" && call.Path.StartsWith("artifacts/", StringComparison.Ordinal) || call.Method == "PUT")
        {
            return;
        }

        Assert.True(Protocol.TryGetValue($"{call.Method} {call.Path}", out var known), $"{call.Method} {call.Path} is not a call of the protocol that the client may make");
        Assert.Empty(call.Fields.Except(known!.Split(' '), StringComparer.Ordinal));
    }

    private sealed record Call(string Method, string Path, IReadOnlyList<string> Fields);

    /// <summary>Writes down each request, and answers some of them as a busy or unwilling server does; everything else goes to the real one.</summary>
    private sealed partial class Recorder() : DelegatingHandler(new SocketsHttpHandler())
    {
        private readonly Dictionary<string, int> refused = new(StringComparer.Ordinal);
        private readonly List<Call> calls = [];

        public Func<Call, HttpStatusCode[]> Refuse { get; init; } = _ => [];

        public IReadOnlyList<Call> Calls
        {
            get
            {
                lock (calls)
                {
                    return [.. calls];
                }
            }
        }

        protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            var path = Prefix().Replace(request.RequestUri!.AbsolutePath, "");
            var fields = new List<string>(request.RequestUri.Query.TrimStart('?').Split('&', StringSplitOptions.RemoveEmptyEntries).Select(p => p.Split('=')[0]));
            if (request.Content?.Headers.ContentType?.MediaType == "application/json")
            {
                Fields(JsonNode.Parse(await request.Content.ReadAsByteArrayAsync(cancellationToken)), "", fields);
            }

            var call = new Call(request.Method.Method, path, [.. fields.Distinct(StringComparer.Ordinal)]);
            lock (calls)
            {
                calls.Add(call);
                var answers = Refuse(call);
                var count = refused.GetValueOrDefault(path);
                if (count < answers.Length)
                {
                    refused[path] = count + 1;
                    return new HttpResponseMessage(answers[count]) { Content = new StringContent("no"), RequestMessage = request };
                }
            }

            return await base.SendAsync(request, cancellationToken);
        }

        private static void Fields(JsonNode? node, string prefix, List<string> fields)
        {
            switch (node)
            {
                case JsonObject item:
                    foreach (var (name, value) in item)
                    {
                        fields.Add(prefix + name);
                        Fields(value, $"{prefix}{name}.", fields);
                    }

                    break;
                case JsonArray list:
                    foreach (var value in list)
                    {
                        Fields(value, prefix, fields);
                    }

                    break;
                default:
                    break;
            }
        }

        [GeneratedRegex("^/api/2.0/mlflow(-artifacts)?/", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
        private static partial Regex Prefix();
    }

    private sealed class Folder : IDisposable
    {
        private readonly string path = Directory.CreateTempSubdirectory("slipway-client-").FullName;

        public string this[string name] => Path.Combine(path, name);

        public void Dispose() => Directory.Delete(path, recursive: true);
    }
}
