using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Server;
using Slipway.Server.Oip;
using Slipway.Serving;
using Slipway.Serving.Routing;
using Slipway.Serving.Tensors;

namespace Slipway.Benchmarks;

/// <summary>The routing decision and the inference path without a socket: time and allocation of one call on one thread.</summary>
internal static class RouteBench
{
    /// <summary>Share of entities that change variant when weights change: the slot table beside the least possible.</summary>
    public static void Slots()
    {
        (double[] Before, double[] After, double Least)[] changes =
        [
            ([90, 10, 0], [80, 20, 0], 0.10), ([50, 25, 25], [50, 40, 10], 0.15), ([34, 33, 33], [60, 20, 20], 0.26), ([80, 10, 10], [90, 0, 10], 0.10),
        ];
        foreach (var (before, after, least) in changes)
        {
            var start = SlotTable.Reassign(SlotTable.Whole(), SlotTable.Share(before));
            var next = SlotTable.Reassign(start, SlotTable.Share(after));
            var moved = Enumerable.Range(0, 200_000).Count(i => Picker.Slot($"user-{i}", 42) is var slot && start[slot] != next[slot]) / 200_000.0;
            Console.WriteLine($"{string.Join('/', before)} -> {string.Join('/', after)}: {moved:P2} of 200,000 entities moved, least possible {least:P0}");
        }

        var counts = SlotTable.Share([55, 45]);
        var table = SlotTable.Whole();
        Report("a weight change of 10,000 slots", 2_000, () => SlotTable.Reassign(table, counts));
    }

    /// <summary>One decision: hash of the key and one read of the table.</summary>
    public static void Route()
    {
        var slots = SlotTable.Reassign(SlotTable.Whole(), SlotTable.Share([90, 10]));
        var seed = Picker.Seed("rollout-1");
        foreach (var key in new[] { "u1", "customer-1234567890", new string('x', 100) })
        {
            var candidates = 0;
            Report($"decision, key of {key.Length} characters", 5_000_000, () => candidates += slots[Picker.Slot(key, seed)]);
        }
    }

    /// <summary>JSON in, model, log, JSON out; everything but the socket and HTTP.</summary>
    /// <param name="model">An ONNX file.</param>
    /// <param name="request">A file with the JSON of a request to it.</param>
    public static async Task InferAsync(string model, string request)
    {
        var folder = Directory.CreateTempSubdirectory("slipway-bench-").FullName;
        try
        {
            var services = new ServiceCollection();
            services.AddLogging(b => b.SetMinimumLevel(LogLevel.Error));
            Modules.AddAll(services, folder);
            await using var provider = services.BuildServiceProvider();
            await provider.PrepareFoundationAsync(CancellationToken.None);
            var actor = new Actor(ActorKind.User, "bench");
            BlobInfo blob;
            await using (var content = File.OpenRead(model))
            {
                blob = await provider.GetRequiredService<IBlobStore>().PutAsync(content, CancellationToken.None);
            }

            var models = provider.GetRequiredService<Models>();
            await models.CreateAsync(actor, "bench", null, CancellationToken.None);
            await models.RegisterAsync(actor, new RegisterVersion { Name = "bench", Source = "s3://bench/m", Files = [new("model.onnx", blob.Hash, blob.Size)] }, CancellationToken.None);
            var endpoints = provider.GetRequiredService<Endpoints>();
            var body = await File.ReadAllBytesAsync(request);
            foreach (var log in new[] { false, true })
            {
                await endpoints.CreateAsync(actor, new CreateEndpoint { Name = $"log-{log}", ModelVersion = "bench/1", LogPredictions = log }, CancellationToken.None);
                Report($"inference, prediction log {(log ? "on" : "off")}", 100_000, () => Once(endpoints, $"log-{log}", body));
            }

            await models.RegisterAsync(actor, new RegisterVersion { Name = "bench", Source = "s3://bench/m", Files = [new("model.onnx", blob.Hash, blob.Size)] }, CancellationToken.None);
            await RoutedAsync(provider, endpoints, actor, body);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>What routing adds to a request: the same model behind one variant, and behind two with shares and rules; prediction log and mirrors off.</summary>
    private static async Task RoutedAsync(IServiceProvider provider, Endpoints endpoints, Actor actor, byte[] body)
    {
        const string Key = "customer-1234567890";
        var headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase) { ["x-team"] = "shop", ["cookie"] = "theme=dark; session=abcdef; trial=no" };
        MatchRule[] rules =
        [
            new("candidate", Entities: [.. Enumerable.Range(0, 1000).Select(i => $"tester-{i}")], Override: true),
            new("candidate", Header: "x-team", Values: ["qa", "research"]),
            new("candidate", Cookie: "trial", Values: ["yes"]),
        ];
        (string What, double Percent, IReadOnlyList<MatchRule>? Rules, string? Key, string? Team)[] cases =
        [
            ("one variant, no key", 0, null, null, null), ("one variant, a key", 0, null, Key, null), ("two variants 90/10, a key", 10, null, Key, null),
            ("two variants, a key and three rules that do not hold", 10, rules, Key, "shop"), ("two variants, a key and a header rule that holds", 10, rules, Key, "qa"),
        ];
        var calls = new List<(string, Action)>();
        foreach (var (at, each) in cases.Index())
        {
            var name = $"case-{at}";
            await endpoints.CreateAsync(actor, new CreateEndpoint { Name = name, ModelVersion = "bench/1", LogPredictions = false }, CancellationToken.None);
            if (each.Percent > 0)
            {
                var first = (await endpoints.GetAsync(name, CancellationToken.None)).Route;
                await provider.GetRequiredService<Routes>().PublishAsync(
                    first.Next("bench", "bench", [first.Stable with { Percent = 100 - each.Percent }, new("candidate", "bench/2", each.Percent)], each.Rules), CancellationToken.None);
            }

            var sent = each.Team is { } team ? new Dictionary<string, string>(headers, StringComparer.OrdinalIgnoreCase) { ["x-team"] = team } : headers;
            calls.Add((each.What, () => Once(endpoints, name, body, each.Key, sent)));
        }

        Compare(calls, 40_000, rounds: 9);
    }

    /// <summary>Several ways in turns, so that none has the quieter time; the median of the rounds of each, and its median distance from the first.</summary>
    private static void Compare(IReadOnlyList<(string What, Action Call)> ways, int calls, int rounds)
    {
        var times = ways.Select(_ => new double[rounds]).ToArray();
        for (var round = -1; round < rounds; round++)
        {
            for (var way = 0; way < ways.Count; way++)
            {
                var start = Stopwatch.GetTimestamp();
                for (var i = 0; i < calls; i++)
                {
                    ways[way].Call();
                }

                if (round >= 0)
                {
                    times[way][round] = Stopwatch.GetElapsedTime(start).TotalNanoseconds / calls;
                }
            }
        }

        for (var way = 0; way < ways.Count; way++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var i = 0; i < calls; i++)
            {
                ways[way].Call();
            }

            var bytes = (GC.GetAllocatedBytesForCurrentThread() - before) / (double)calls;
            Console.WriteLine($"{ways[way].What}: {Median(times[way]):N0} ns, {Median([.. times[way].Zip(times[0], (own, first) => own - first)]):+0;-0;0} ns against the first, {bytes:N1} bytes allocated");
        }

        static double Median(double[] values) => values.Order().ElementAt(values.Length / 2);
    }

    private static void Once(Endpoints endpoints, string name, byte[] body, string? key = null, Dictionary<string, string>? headers = null)
    {
        using var request = InferRequest.Rent();
        (request.Endpoint, request.EntityKey) = (name, key);
        if (headers is not null)
        {
            request.SetHeaders(headers, static (of, header) => ((Dictionary<string, string>)of).GetValueOrDefault(header));
        }

        OipReader.Read(body, body.Length, request);
        // Tiny models answer on the calling thread, which is what is measured here.
        var answered = endpoints.InferAsync(request, CancellationToken.None);
        if (!answered.IsCompletedSuccessfully || answered.GetAwaiter().GetResult() is var outcome && !outcome.Ok)
        {
            throw new InvalidOperationException("the model did not answer at once; take a smaller one");
        }

        OipWriter.Write(request, outcome, out _);
    }

    private static void Report(string what, int calls, Action call)
    {
        for (var i = 0; i < Math.Max(100, calls / 10); i++)
        {
            call();
        }

        var before = GC.GetAllocatedBytesForCurrentThread();
        var start = Stopwatch.GetTimestamp();
        for (var i = 0; i < calls; i++)
        {
            call();
        }

        var time = Stopwatch.GetElapsedTime(start);
        var bytes = (GC.GetAllocatedBytesForCurrentThread() - before) / (double)calls;
        Console.WriteLine($"{what}: {time.TotalNanoseconds / calls:N1} ns, {bytes:N1} bytes allocated");
    }
}
