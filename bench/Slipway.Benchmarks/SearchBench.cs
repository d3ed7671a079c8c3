using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Scale;
using Slipway.Server;

namespace Slipway.Benchmarks;

/// <summary>Run searches over very many runs, in process: first pages, pages far behind the first, and rare conditions; and a long history in pages.</summary>
internal static class SearchBench
{
    private const int Rounds = 15;
    private static readonly Actor Bench = new(ActorKind.User, "bench");

    /// <param name="count">Runs in the one experiment.</param>
    /// <param name="postgres">Connection string of an empty database; null measures SQLite.</param>
    public static async Task RunAsync(int count, string? postgres)
    {
        var folder = Directory.CreateTempSubdirectory("slipway-bench-").FullName;
        try
        {
            var services = new ServiceCollection();
            services.AddLogging(b => b.SetMinimumLevel(LogLevel.Error));
            if (postgres is not null)
            {
                services.AddSingleton<Dialect>(new PostgresDialect(postgres));
            }

            Modules.AddAll(services, folder);
            await using var provider = services.BuildServiceProvider();
            await provider.PrepareFoundationAsync(CancellationToken.None);
            var (database, runs) = (provider.GetRequiredService<Database>(), provider.GetRequiredService<Runs>());
            var started = Stopwatch.GetTimestamp();
            await SeedAsync(database, count);
            Console.WriteLine($"{count:N0} runs with 3 metrics, 3 parameters and 2 tags in {Stopwatch.GetElapsedTime(started).TotalSeconds:0} s");
            const string filter = "metrics.acc > 0.5 and params.model = 'm1'";
            await MeasureAsync(runs, "metric and parameter, by metric", filter, "metrics.acc DESC", 0);
            await MeasureAsync(runs, "the same, half way down", filter, "metrics.acc DESC", count / 20);
            await MeasureAsync(runs, "metric and parameter, by start", filter, "start_time DESC", 0);
            await MeasureAsync(runs, "the same, half way down", filter, "start_time DESC", count / 20);
            await MeasureAsync(runs, "everything, by start", null, "start_time DESC", 0);
            await MeasureAsync(runs, "everything, by metric", null, "metrics.loss", 0);
            await MeasureAsync(runs, "one parameter value of many, by metric", "params.idx = '77'", "metrics.acc DESC", 0);
            await MeasureAsync(runs, "a narrow range of a metric, by start", "metrics.acc > 0.9995", "start_time DESC", 0);
            await HistoryAsync(runs);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task SeedAsync(Database database, int count)
    {
        var id = database.Dialect.IsPostgres ? "lpad(to_hex(k), 32, '0')" : "printf('%032x', k)";
        const int chunk = 100_000;
        for (var from = 0; from < count; from += chunk)
        {
            var g = $"WITH RECURSIVE g(k) AS (SELECT CAST({from} AS BIGINT) UNION ALL SELECT k + 1 FROM g WHERE k < {Math.Min(count, from + chunk) - 1})";
            const string x = "((k * 7919) % 10000) / 10000.0 + k / 100000000000.0";
            await database.WriteAsync(
                async tx =>
                {
                    await tx.ExecuteAsync($"{g} INSERT INTO registry_runs (id, experiment_id, name, user_id, status, started_at, ended_at, artifact_uri, state) SELECT {id}, 0, 'run-' || k, 'bench', 'FINISHED', 1700000000000000 + k * 1000000, NULL, 'mlflow-artifacts:/0/' || {id}, 0 FROM g");
                    foreach (var (key, value) in new[] { ("acc", x), ("loss", $"1 - ({x})"), ("f1", $"({x}) * ({x})") })
                    {
                        await tx.ExecuteAsync($"{g} INSERT INTO registry_latest_metrics (run_id, key, experiment_id, value, is_nan, timestamp_ms, step) SELECT {id}, '{key}', 0, {value}, 0, 1, 1 FROM g");
                    }

                    foreach (var (key, value) in new[] { ("model", "'m' || (k % 5)"), ("lr", "'0.00' || (k % 9)"), ("idx", "CAST(k AS TEXT)") })
                    {
                        await tx.ExecuteAsync($"{g} INSERT INTO registry_params (run_id, key, value) SELECT {id}, '{key}', {value} FROM g");
                    }

                    foreach (var (key, value) in new[] { ("mlflow.runName", "'run-' || k"), ("team", "'t' || (k % 7)") })
                    {
                        await tx.ExecuteAsync($"{g} INSERT INTO registry_tags (run_id, key, value) SELECT {id}, '{key}', {value} FROM g");
                    }
                },
                CancellationToken.None);
        }
    }

    private static async Task MeasureAsync(Runs runs, string what, string? filter, string order, int skip)
    {
        var search = new RunSearch { ExperimentIds = ["0"], Filter = filter, OrderBy = [order], Limit = 100 };
        for (var skipped = 0; skipped < skip;)
        {
            var page = await runs.SearchAsync(search with { Limit = Math.Min(20_000, skip - skipped) }, CancellationToken.None);
            skipped += page.Items.Count;
            search = search with { PageToken = page.NextToken ?? throw new InvalidOperationException($"only {skipped} runs match") };
        }

        await TimeAsync(what, async () => (await runs.SearchAsync(search, CancellationToken.None)).Items.Count);
    }

    private static async Task HistoryAsync(Runs runs)
    {
        const int points = 1_000_000;
        var run = await runs.CreateAsync(Bench, new CreateRun { ExperimentId = "0" }, CancellationToken.None);
        for (var from = 0; from < points; from += 1000)
        {
            await runs.LogBatchAsync(Bench, run.Id, Enumerable.Range(from, 1000).Select(i => new MetricPoint("loss", 1.0 / (i + 1), i, i)).ToList(), [], [], CancellationToken.None);
        }

        string? token = null;
        await TimeAsync("a history of 1,000,000 points, first page of 1,000", async () => (await runs.HistoryAsync(run.Id, "loss", 1000, null, CancellationToken.None)).Items.Count);
        for (var i = 0; i < 20; i++)
        {
            token = (await runs.HistoryAsync(run.Id, "loss", 25_000, token, CancellationToken.None)).NextToken;
        }

        await TimeAsync("the same, a page in the middle", async () => (await runs.HistoryAsync(run.Id, "loss", 1000, token, CancellationToken.None)).Items.Count);
    }

    private static async Task TimeAsync(string what, Func<Task<int>> page)
    {
        var first = Stopwatch.GetTimestamp();
        var rows = await page();
        var cold = Stopwatch.GetElapsedTime(first).TotalMilliseconds;
        var times = new List<double>();
        for (var i = 0; i < Rounds; i++)
        {
            var at = Stopwatch.GetTimestamp();
            await page();
            times.Add(Stopwatch.GetElapsedTime(at).TotalMilliseconds);
        }

        times.Sort();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{what}: {rows} rows, median {times[Rounds / 2]:0.0} ms, worst {times[^1]:0.0} ms, first time {cold:0.0} ms"));
    }
}
