using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Server;

namespace Slipway.Benchmarks;

/// <summary>Transactions a second that change a row and append a sealed journal entry, flushed to the disk, and the rate of verification.</summary>
internal static class JournalBench
{
    public static async Task RunAsync(int writers, TimeSpan time)
    {
        var folder = Directory.CreateTempSubdirectory("slipway-bench-").FullName;
        try
        {
            var services = new ServiceCollection();
            services.AddLogging(b => b.SetMinimumLevel(LogLevel.Error));
            Modules.AddAll(services, folder);
            await using var provider = services.BuildServiceProvider();
            await provider.PrepareFoundationAsync(CancellationToken.None);
            var (database, journal) = (provider.GetRequiredService<Database>(), provider.GetRequiredService<Journal>());
            await database.WriteAsync(tx => tx.ExecuteAsync("CREATE TABLE foundation_bench (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)"), CancellationToken.None);
            var actor = new Actor(ActorKind.User, "bench");
            await MeasureAsync(database, journal, actor, 1, TimeSpan.FromSeconds(1));
            foreach (var count in new[] { 1, writers })
            {
                var (rate, p99) = await MeasureAsync(database, journal, actor, count, time);
                Console.WriteLine($"journal transactions, {count} writer(s): {rate:N0} /s, p99 {p99.TotalMilliseconds:0.0} ms");
            }

            var report = await journal.VerifyAsync(CancellationToken.None);
            Console.WriteLine($"verify: {report.Entries:N0} entries in {report.Took.TotalSeconds:0.00} s = {report.Entries / report.Took.TotalSeconds:N0} /s, intact {report.Intact}");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task<(double Rate, TimeSpan P99)> MeasureAsync(Database database, Journal journal, Actor actor, int writers, TimeSpan time)
    {
        var started = Stopwatch.GetTimestamp();
        var took = await Task.WhenAll(Enumerable.Range(0, writers).Select(w => Task.Run(async () =>
        {
            var mine = new List<TimeSpan>();
            while (Stopwatch.GetElapsedTime(started) < time)
            {
                var one = Stopwatch.GetTimestamp();
                await database.WriteAsync(
                    async tx =>
                    {
                        await tx.ExecuteAsync("INSERT INTO foundation_bench (id, n) VALUES (@w, 1) ON CONFLICT (id) DO UPDATE SET n = foundation_bench.n + 1", new { w = (long)w });
                        await journal.AppendAsync(tx, actor, "model.updated", new Subject("model", $"m{w}"), new { n = mine.Count });
                    },
                    CancellationToken.None);
                mine.Add(Stopwatch.GetElapsedTime(one));
            }

            return mine;
        })));
        var elapsed = Stopwatch.GetElapsedTime(started);
        var all = took.SelectMany(t => t).Order().ToList();
        return (all.Count / elapsed.TotalSeconds, all[(int)(all.Count * 0.99)]);
    }
}
