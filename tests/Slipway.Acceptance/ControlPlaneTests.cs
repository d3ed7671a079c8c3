using System.Collections.Concurrent;
using System.Text.Json;
using Slipway.Tests;

namespace Slipway.Acceptance;

/// <summary>Rollouts whose control plane dies, in processes that are really killed.</summary>
public sealed class ControlPlaneTests : IAsyncLifetime
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("slipway-control-");

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public ValueTask DisposeAsync()
    {
        folder.Delete(recursive: true);
        return ValueTask.CompletedTask;
    }

    [Fact]
    public async Task Another_node_goes_on_with_the_rollout_of_a_killed_one_and_no_request_fails()
    {
        await using var postgres = await PostgresServer.OwnAsync();
        await using var nodes = await Cluster.StartAsync(folder.FullName, await postgres.CreateDatabaseAsync());
        var id = await nodes.ProposeAsync(new
        {
            lease = new { duration = "00:00:30" },
            bake = "00:00:01",
            steps = new object[]
            {
                new { kind = "setWeight", percent = 20 }, new { kind = "pause" }, new { kind = "setWeight", percent = 50 }, new { kind = "pause", duration = "00:00:03" }, new { kind = "setWeight", percent = 100 },
            },
        });
        await nodes.UntilAsync(id, rollout => State(rollout) == "paused");
        var shown = await nodes.Any.GetAsync($"rollouts/{id}/nodes", Stop);
        Assert.Equal(20, shown.GetProperty("set").GetProperty("candidate").GetDouble());
        Assert.Equal(["a", "b"], shown.GetProperty("items").EnumerateArray().Select(node => node.GetProperty("node").GetString()).Order());
        Assert.All(shown.GetProperty("items").EnumerateArray(), node =>
        {
            Assert.True(node.GetProperty("current").GetBoolean());
            Assert.Equal(20, node.GetProperty("shares").GetProperty("candidate").GetDouble());
        });

        await using var traffic = new Traffic(nodes.All);
        var driver = await nodes.DriverAsync(id);
        await driver.KillAsync();
        var left = nodes.All.Single(node => node != driver);
        // The command comes to a node that does not take the steps yet.
        await left.PostAsync($"rollouts/{id}/promote", new { }, Stop);
        await PollAsync(async () => await nodes.DriverAsync(id) == left);
        var ended = await nodes.UntilAsync(id, rollout => State(rollout) is "healthy" or "aborted");
        Assert.Equal("healthy", State(ended));
        Assert.Equal("iris/2", (await left.GetAsync("endpoints/flowers", Stop)).GetProperty("modelVersion").GetString());
        var timeline = (await left.GetAsync($"rollouts/{id}/timeline?limit=1000", Stop)).GetProperty("items").EnumerateArray().ToList();
        Assert.Equal(timeline.Count, timeline.Select(e => e.GetProperty("number").GetInt64()).Distinct().Count());
        Assert.Equal(["step 1: 20 % of the traffic", "step 3: 50 % of the traffic", "step 5: 100 % of the traffic"], timeline.Select(e => e.GetProperty("cause").GetString()!).Where(cause => cause.EndsWith("of the traffic", StringComparison.Ordinal)));
        // Nobody knows what the killed node would have served, so the step waited until its lease had ended.
        Assert.Contains(timeline, e => e.GetProperty("cause").GetString()!.Contains("silent for longer than the lease: ", StringComparison.Ordinal));
        Assert.Empty(await traffic.EndAsync());
        Assert.NotEmpty(traffic.Seen);
        Assert.All(traffic.Seen.Values, versions => Assert.Contains("2", versions));
    }

    [Fact]
    public async Task Analysis_reads_the_health_of_every_node_and_says_whose_it_does_not_know()
    {
        await using var postgres = await PostgresServer.OwnAsync();
        await using var nodes = await Cluster.StartAsync(folder.FullName, await postgres.CreateDatabaseAsync());
        static object Analysis(string maxWait) => new { kind = "analysis", analysis = new { minRequests = 40, interval = "00:00:01", maxWait, live = new[] { "nanShare", "schemaViolations" } } };
        var id = await nodes.ProposeAsync(new
        {
            lease = new { duration = "00:01:00" },
            steps = new object[] { new { kind = "setWeight", percent = 50 }, new { kind = "pause" }, Analysis("00:01:00"), new { kind = "pause" }, Analysis("00:00:08"), new { kind = "setWeight", percent = 100 } },
        });
        await nodes.UntilAsync(id, rollout => State(rollout) == "paused");
        var driver = await nodes.DriverAsync(id);
        var other = nodes.All.Single(node => node != driver);
        await driver.PostAsync($"rollouts/{id}/promote", new { }, Stop);
        // Every request goes to the node that does not take the steps.
        await AskAsync(other, "far", 160);
        var passed = await nodes.UntilAsync(id, rollout => State(rollout) == "paused" && rollout.GetProperty("status").GetProperty("step").GetInt32() == 3);
        var errors = Check(passed);
        Assert.InRange(errors.GetProperty("stableN").GetInt64() + errors.GetProperty("candidateN").GetInt64(), 80, 160);
        Assert.All((await driver.GetAsync($"rollouts/{id}/nodes", Stop)).GetProperty("items").EnumerateArray(), node => Assert.Equal(JsonValueKind.Array, node.GetProperty("mirrors").ValueKind));
        // What answers looked like was counted over there as well.
        Assert.All(new[] { "nanShare", "schemaViolations" }, metric => Assert.Equal(("pass", errors.GetProperty("candidateN").GetInt64()), Named(passed, metric) is var check ? (check.GetProperty("verdict").GetString(), check.GetProperty("candidateN").GetInt64()) : default));
        Assert.EndsWith("counted on 2 nodes", errors.GetProperty("why").GetString(), StringComparison.Ordinal);

        await other.KillAsync();
        await PollAsync(async () => (await driver.GetAsync($"rollouts/{id}/nodes", Stop)).GetProperty("items").EnumerateArray().Any(node => !node.GetProperty("live").GetBoolean()));
        await driver.PostAsync($"rollouts/{id}/promote", new { }, Stop);
        await AskAsync(driver, "near", 160);
        // Nothing is wrong with what is known, and yet it does not go on.
        var waits = await nodes.UntilAsync(id, rollout => State(rollout) == "paused" && rollout.GetProperty("status").GetProperty("pause").GetString() == "noData");
        Assert.Equal(4, waits.GetProperty("status").GetProperty("step").GetInt32());
        Assert.Equal(("noData", true), (Check(waits).GetProperty("verdict").GetString(), Check(waits).GetProperty("candidateN").GetInt64() > 100));
        Assert.Contains($"what node {(other == nodes.All[0] ? "a" : "b")} (last heard of at ", Check(waits).GetProperty("why").GetString(), StringComparison.Ordinal);

        static JsonElement Named(JsonElement rollout, string metric) => rollout.GetProperty("lastAnalysis").GetProperty("checks").EnumerateArray().First(check => check.GetProperty("metric").GetString() == metric);

        static JsonElement Check(JsonElement rollout) => Named(rollout, "errorRate");

        static async Task AskAsync(ServeProcess node, string prefix, int requests)
        {
            for (var i = 0; i < requests; i++)
            {
                await node.AskAsync("flowers", $"{prefix}-{i}", Stop);
            }
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Nodes_without_any_control_plane_answer_and_keep_the_promise_of_the_lease(bool freeze)
    {
        await using var postgres = await PostgresServer.OwnAsync();
        await using var nodes = await Cluster.StartAsync(folder.FullName, await postgres.CreateDatabaseAsync());
        var id = await nodes.ProposeAsync(new { lease = new { duration = "00:00:08", freeze }, steps = new object[] { new { kind = "setWeight", percent = 50 }, new { kind = "pause" } } });
        await nodes.UntilAsync(id, rollout => State(rollout) == "paused");
        await using var traffic = new Traffic(nodes.All);
        var driver = await nodes.DriverAsync(id);
        await postgres.CrashAsync();
        await driver.KillAsync();
        var left = nodes.All.Single(node => node.Running);
        Assert.Equal(["1", "2"], await SharesAsync(left));

        await Task.Delay(TimeSpan.FromSeconds(12), Stop);
        Assert.Equal(freeze ? ["1", "2"] : ["1"], await SharesAsync(left));
        Assert.Empty(await traffic.EndAsync());
        Assert.True(left.Running, left.Log);

        await postgres.BeginAsync();
        var back = await nodes.UntilAsync(id, rollout => freeze || rollout.GetProperty("status").GetProperty("pause").GetString() == "controlPlane");
        if (!freeze)
        {
            Assert.Equal(["1"], await SharesAsync(left));
            await left.PostAsync($"rollouts/{id}/resume", new { }, Stop);
        }

        Assert.Equal("paused", State(back));
        await PollAsync(async () => (await SharesAsync(left)).Length == 2);
    }

    [Fact]
    public async Task Process_that_is_killed_at_every_step_ends_as_one_that_is_not()
    {
        await using var server = new ServeProcess("--data", folder.FullName);
        await server.StartAsync(Stop);
        await server.RegisterIrisAsync(Stop);
        await server.RegisterIrisAsync(Stop);
        double[] weights = [5, 25, 60, 100];
        object[] steps = [.. weights.SelectMany(percent => new object[] { new { kind = "setWeight", percent }, new { kind = "pause" } })];
        var (calm, first) = await RunAsync("calm", null, kill: false);
        var (shaken, _) = await RunAsync("shaken", first, kill: true);
        Assert.Equal(calm, shaken);

        async Task<(string Story, string Id)> RunAsync(string endpoint, string? inheritSalt, bool kill)
        {
            await server.PostAsync("endpoints", new { name = endpoint, modelVersion = "iris/1" }, Stop);
            await using var traffic = new Traffic([server], endpoint, patient: true);
            var proposed = await server.PostAsync("rollouts", new { endpoint, candidate = "iris/2", spec = new { inheritSalt, bake = "00:00:01", steps } }, Stop);
            var id = proposed.GetProperty("id").GetString()!;
            for (var stage = 0; stage < weights.Length; stage++)
            {
                await UntilAsync(server, id, rollout => State(rollout) == "paused" && rollout.GetProperty("status").GetProperty("step").GetInt32() == (2 * stage) + 1);
                await traffic.EveryoneAsync();
                if (kill)
                {
                    // The answer may or may not have left: from nothing was read to everything is committed.
                    var promoted = server.PostAsync($"rollouts/{id}/promote", new { }, Stop, $"{endpoint}-{stage}");
                    await Task.Delay(stage * 15, Stop);
                    await server.KillAsync();
                    try
                    {
                        await promoted;
                    }
                    catch (HttpRequestException)
                    {
                        // The connection went with the process.
                    }

                    await server.StartAsync(Stop);
                }

                await server.PostAsync($"rollouts/{id}/promote", new { }, Stop, $"{endpoint}-{stage}");
            }

            var ended = await UntilAsync(server, id, rollout => State(rollout) is "healthy" or "aborted");
            await traffic.EveryoneAsync();
            Assert.Empty(await traffic.EndAsync());
            var timeline = (await server.GetAsync($"rollouts/{id}/timeline?limit=1000", Stop)).GetProperty("items").EnumerateArray()
                .Select(e => $"{e.GetProperty("kind").GetString()} {e.GetProperty("state").GetString()} {e.GetProperty("step").GetInt32()} {e.GetProperty("percent").GetDouble()}");
            var exposures = new List<string>();
            foreach (var (entity, versions) in traffic.Seen.OrderBy(pair => pair.Key, StringComparer.Ordinal))
            {
                // Weights only grew, so nobody went back.
                Assert.True(versions is ["1", "2"] or ["2"], string.Join(", ", versions));
                var met = (await server.GetAsync($"rollouts/{id}/exposures?limit=1000&entity={entity}", Stop)).GetProperty("items").EnumerateArray().Select(e => e.GetProperty("variant").GetString()!);
                exposures.Add($"{entity} {string.Join(' ', met.Distinct().Order(StringComparer.Ordinal))}");
            }

            var stable = (await server.GetAsync($"endpoints/{endpoint}", Stop)).GetProperty("modelVersion").GetString();
            return (string.Join('\n', [State(ended), stable, .. timeline, .. exposures]), id);
        }
    }

    private static async Task<string[]> SharesAsync(ServeProcess node)
    {
        var seen = new SortedSet<string>(StringComparer.Ordinal);
        for (var i = 0; i < 60; i++)
        {
            seen.Add(await node.AskAsync("flowers", $"entity-{i}", Stop));
        }

        return [.. seen];
    }

    private static string State(JsonElement rollout) => rollout.GetProperty("status").GetProperty("state").GetString()!;

    private static async Task<JsonElement> UntilAsync(ServeProcess node, string id, Func<JsonElement, bool> holds)
    {
        JsonElement rollout = default;
        await PollAsync(async () => await node.FindAsync($"rollouts/{id}", Stop) is { } found && holds(rollout = found), () => $"{rollout}\n{node.Log}");
        return rollout;
    }

    private static async Task PollAsync(Func<Task<bool>> holds, Func<string>? told = null)
    {
        for (var i = 0; !await holds(); i++)
        {
            Assert.True(i < 600, told?.Invoke() ?? "it did not come about within two minutes");
            await Task.Delay(200, Stop);
        }
    }

    /// <summary>Two nodes on one database and one data folder, with two versions of a model and an endpoint.</summary>
    private sealed class Cluster(ServeProcess a, ServeProcess b) : IAsyncDisposable
    {
        public IReadOnlyList<ServeProcess> All { get; } = [a, b];

        public ServeProcess Any => All.First(node => node.Running);

        public static async Task<Cluster> StartAsync(string folder, string postgres)
        {
            var cluster = new Cluster(new("--data", folder, "--postgres", postgres, "--node", "a"), new("--data", folder, "--postgres", postgres, "--node", "b"));
            foreach (var node in cluster.All)
            {
                await node.StartAsync(Stop);
            }

            await cluster.Any.RegisterIrisAsync(Stop);
            await cluster.Any.RegisterIrisAsync(Stop);
            await cluster.Any.PostAsync("endpoints", new { name = "flowers", modelVersion = "iris/1" }, Stop);
            foreach (var node in cluster.All)
            {
                await PollAsync(async () => (await node.Http.GetAsync(new Uri("/v2/models/flowers/ready", UriKind.Relative), Stop)).IsSuccessStatusCode);
            }

            return cluster;
        }

        public async Task<string> ProposeAsync(object spec) =>
            (await Any.PostAsync("rollouts", new { endpoint = "flowers", candidate = "iris/2", spec }, Stop)).GetProperty("id").GetString()!;

        public Task<JsonElement> UntilAsync(string id, Func<JsonElement, bool> holds) => ControlPlaneTests.UntilAsync(Any, id, holds);

        /// <summary>The node that takes the rollout's steps.</summary>
        public async Task<ServeProcess> DriverAsync(string id)
        {
            var driver = "";
            await PollAsync(async () => (driver = (await Any.GetAsync($"rollouts/{id}/nodes", Stop)).GetProperty("items").EnumerateArray()
                .Where(node => node.GetProperty("drives").GetBoolean() && node.GetProperty("live").GetBoolean()).Select(node => node.GetProperty("node").GetString()!).FirstOrDefault("")).Length > 0);
            return driver == "a" ? a : b;
        }

        public async ValueTask DisposeAsync()
        {
            await a.DisposeAsync();
            await b.DisposeAsync();
        }
    }

    /// <summary>Clients that go to another node, or come again, when one cannot be reached; every answer must be a prediction.</summary>
    private sealed class Traffic : IAsyncDisposable
    {
        private const int Entities = 50;
        private readonly CancellationTokenSource stop = new();
        private readonly ConcurrentBag<string> failures = [];
        private readonly IReadOnlyList<ServeProcess> nodes;
        private readonly string endpoint;
        private readonly bool patient;
        private readonly Task[] clients;

        /// <param name="nodes">Where to ask.</param>
        /// <param name="endpoint">What to ask.</param>
        /// <param name="patient">Whether a time in which no node can be reached is waited through; otherwise it is a failure.</param>
        public Traffic(IReadOnlyList<ServeProcess> nodes, string endpoint = "flowers", bool patient = false)
        {
            (this.nodes, this.endpoint, this.patient) = (nodes, endpoint, patient);
            clients = [.. Enumerable.Range(0, 2).Select(client => Task.Run(() => ClientAsync(client)))];
        }

        /// <summary>The versions that each entity met, in the order in which it first met them.</summary>
        public ConcurrentDictionary<string, List<string>> Seen { get; } = new(StringComparer.Ordinal);

        public async Task EveryoneAsync()
        {
            for (var i = 0; i < Entities; i++)
            {
                await OnceAsync(i, i);
            }
        }

        public async Task<IReadOnlyCollection<string>> EndAsync()
        {
            await stop.CancelAsync();
            await Task.WhenAll(clients);
            return failures;
        }

        public async ValueTask DisposeAsync()
        {
            await EndAsync();
            stop.Dispose();
        }

        private async Task ClientAsync(int client)
        {
            for (var i = client; !stop.IsCancellationRequested; i += 7)
            {
                await OnceAsync(i % Entities, i);
                await Task.Delay(patient ? 100 : 5, CancellationToken.None);
            }
        }

        private async Task OnceAsync(int number, int at)
        {
            var entity = $"entity-{number}";
            for (var attempt = 0; ; attempt++)
            {
                try
                {
                    var version = await nodes[(at + attempt) % nodes.Count].AskAsync(endpoint, entity, CancellationToken.None);
                    var seen = Seen.GetOrAdd(entity, _ => []);
                    lock (seen)
                    {
                        if (!seen.Contains(version))
                        {
                            seen.Add(version);
                        }
                    }

                    return;
                }
                catch (HttpRequestException e) when (attempt < (patient ? 1200 : nodes.Count))
                {
                    // The connection went with the process: the next node is asked, or the same one when it is back.
                    if (patient)
                    {
                        await Task.Delay(50, CancellationToken.None);
                    }
                    else if (attempt == nodes.Count - 1)
                    {
                        failures.Add($"{entity}: {e.Message}");
                        return;
                    }
                }
                catch (Exception e)
                {
                    failures.Add($"{entity}: {e.Message}");
                    return;
                }
            }
        }
    }
}
