using System.Diagnostics;
using System.Globalization;
using Slipway.Client;

namespace Slipway.Benchmarks;

/// <summary>The tracking client in a training loop: how many points a second Log takes, how long one call holds the loop, and when the server has them all.</summary>
internal static class TrackingBench
{
    private const int Points = 200_000;

    public static async Task RunAsync(Uri url)
    {
        using var client = new TrackingClient(new TrackingOptions { Server = url });
        string[] metrics = [.. Enumerable.Range(0, 10).Select(i => $"train/metric_{i}")];
        for (var round = 0; round < 3; round++)
        {
            await using var run = await client.StartRunAsync("tracking-bench");
            var longest = 0L;
            var watch = Stopwatch.StartNew();
            for (var i = 0; i < Points; i++)
            {
                var before = Stopwatch.GetTimestamp();
                run.Log(metrics[i % 10], i * 0.5, i / 10);
                longest = Math.Max(longest, Stopwatch.GetTimestamp() - before);
            }

            var taken = watch.Elapsed;
            await run.FlushAsync();
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{Points:N0} points: Log took {Points / taken.TotalSeconds:N0} /s (longest call {longest * 1e3 / Stopwatch.Frequency:F1} ms), stored after {watch.Elapsed.TotalSeconds:F2} s = {Points / watch.Elapsed.TotalSeconds:N0} /s"));
            run.Complete();
        }
    }
}
