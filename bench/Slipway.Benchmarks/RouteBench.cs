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
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void Once(Endpoints endpoints, string name, byte[] body)
    {
        using var request = InferRequest.Rent();
        request.Endpoint = name;
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
