using System.Diagnostics;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Server;
using Slipway.Server.Oip;
using Slipway.Serving;
using Slipway.Serving.Routing;
using Slipway.Serving.Tensors;

namespace Slipway.Benchmarks;

/// <summary>
/// How fast a rollout is taken back on one node under load: callers ask without a pause in the process of the whole server, while rollouts at 50 % are
/// aborted. The figure is the time from the call of abort to the start of the last request that the candidate answered.
/// </summary>
internal static class RollbackBench
{
    private const string Name = "bench";
    private static readonly Actor Actor = new(ActorKind.User, "bench");
    private static readonly CancellationToken None = CancellationToken.None;

    /// <param name="model">An ONNX file.</param>
    /// <param name="request">A file with the JSON of a request to it.</param>
    /// <param name="rounds">Rollouts to abort.</param>
    /// <param name="callers">Threads that ask.</param>
    /// <param name="postgres">Connection string of an empty database: then two nodes share it, one is told to abort and the callers ask the other.</param>
    public static async Task RunAsync(string model, string request, int rounds, int callers, string? postgres = null)
    {
        var folder = Directory.CreateTempSubdirectory("slipway-bench-").FullName;
        var options = new SlipwayOptions { DataDirectory = folder, Urls = ["http://127.0.0.1:0"], GrpcUrls = [], Postgres = postgres };
        var server = SlipwayServer.Create(postgres is null ? options : options with { Node = "told" });
        var asked = postgres is null ? server : SlipwayServer.Create(options with { Node = "asked" });
        try
        {
            await server.StartAsync(None);
            if (asked != server)
            {
                await asked.StartAsync(None);
            }

            T Get<T>()
                where T : notnull => (T)server.Services.GetService(typeof(T))!;
            await using (var content = File.OpenRead(model))
            {
                var blob = await Get<IBlobStore>().PutAsync(content, None);
                await Get<Models>().CreateAsync(Actor, Name, null, None);
                for (var version = 1; version <= 2; version++)
                {
                    await Get<Models>().RegisterAsync(Actor, new RegisterVersion { Name = Name, Source = "s3://bench/m", Files = [new("model.onnx", blob.Hash, blob.Size)] }, None);
                }
            }

            var (endpoints, rollouts) = (Get<Endpoints>(), Get<Rollouts>());
            await endpoints.CreateAsync(Actor, new CreateEndpoint { Name = Name, ModelVersion = $"{Name}/1" }, None);
            var spec = new RolloutSpec { Steps = [RolloutStep.SetWeight(50), RolloutStep.Pause()], Guardrails = new AnalysisSpec { LatencyFloorMicros = 1e9 } };

            using var stop = new CancellationTokenSource();
            var answering = (Endpoints)asked.Services.GetService(typeof(Endpoints))!;
            var body = await File.ReadAllBytesAsync(request);
            // The node that is asked loads the model by itself.
            while (answering.Describe(Name, null) is null)
            {
                await Task.Delay(10);
            }

            var seen = Enumerable.Range(0, callers).Select(_ => new Caller()).ToArray();
            var threads = seen.Select((caller, number) =>
            {
                var thread = new Thread(() => caller.Ask(answering, body, number, stop.Token)) { IsBackground = true };
                thread.Start();
                return thread;
            }).ToArray();

            var (last, commands, swaps) = (new List<double>(), new List<double>(), new List<double>());
            for (var round = 0; round < rounds; round++)
            {
                var rollout = await rollouts.ProposeAsync(Actor, new ProposeRollout { Endpoint = Name, Candidate = $"{Name}/2", Spec = spec }, None);
                var from = Stopwatch.GetTimestamp();
                while (seen.Any(caller => Volatile.Read(ref caller.LastOnCandidate) < from))
                {
                    await Task.Delay(1);
                }

                var called = Stopwatch.GetTimestamp();
                await rollouts.AbortAsync(Actor, rollout.Id, "bench", None);
                commands.Add(Stopwatch.GetElapsedTime(called).TotalMilliseconds);
                // Longer than the routes of another node may take to be compared with the stored ones.
                await Task.Delay(postgres is null ? 50 : 1000);
                last.Add(Math.Max(0, Stopwatch.GetElapsedTime(called, seen.Max(caller => Volatile.Read(ref caller.LastOnCandidate))).TotalMilliseconds));
                while (!(await rollouts.GetAsync(rollout.Id, None)).Status.Ended)
                {
                    await Task.Delay(1);
                }
            }

            var route = Get<Routes>().Find(Name)!;
            foreach (var caller in seen)
            {
                caller.Watched = route;
            }

            for (var round = 0; round < 10 * rounds && asked == server; round++)
            {
                var next = route.Table!.OnStable();
                var swapped = Stopwatch.GetTimestamp();
                route.Swap(next, []);
                while (seen.Any(caller => Volatile.Read(ref caller.Seen) != next))
                {
                    await Task.Yield();
                }

                swaps.Add(seen.Max(caller => Stopwatch.GetElapsedTime(swapped, Volatile.Read(ref caller.SeenAt)).TotalMilliseconds));
            }

            await stop.CancelAsync();
            foreach (var thread in threads)
            {
                thread.Join();
            }

            Console.WriteLine($"{rounds} aborts at 50 % under {callers} callers, {seen.Sum(caller => caller.Requests):N0} requests, {seen.Sum(caller => caller.Failed)} failed");
            Print("abort called until the last request started on the candidate", last);
            Print("abort called until it is stored and answered", commands);
            if (asked == server)
            {
                Print("table swapped until every caller has read the new one", swaps);
            }
        }
        finally
        {
            if (asked != server)
            {
                await asked.StopAsync(None);
                await asked.DisposeAsync();
            }

            await server.StopAsync(None);
            await server.DisposeAsync();
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void Print(string what, List<double> millis)
    {
        millis.Sort();
        Console.WriteLine(FormattableString.Invariant($"{what}: p50 {millis[millis.Count / 2]:0.000} ms, p99 {millis[Math.Min(millis.Count - 1, (int)(millis.Count * 0.99))]:0.000} ms, most {millis[^1]:0.000} ms"));
    }

    private sealed class Caller
    {
        public long LastOnCandidate;
        public long SeenAt;
        public RouteTable? Seen;
        public volatile Route? Watched;

        public long Requests { get; private set; }

        public long Failed { get; private set; }

        public void Ask(Endpoints endpoints, byte[] body, int number, CancellationToken stop)
        {
            while (!stop.IsCancellationRequested)
            {
                using var request = InferRequest.Rent();
                request.Endpoint = Name;
                OipReader.Read(body, body.Length, request);
                request.EntityKey = $"{number}-{Requests % 1000}";
                if (Watched?.Table is { } table && table != Seen)
                {
                    Volatile.Write(ref SeenAt, Stopwatch.GetTimestamp());
                    Volatile.Write(ref Seen, table);
                }

                var started = Stopwatch.GetTimestamp();
                var outcome = endpoints.InferAsync(request, None).AsTask().GetAwaiter().GetResult();
                Requests++;
                Failed += outcome.Ok ? 0 : 1;
                if (outcome.Variant == "candidate")
                {
                    Volatile.Write(ref LastOnCandidate, started);
                }
            }
        }
    }
}
