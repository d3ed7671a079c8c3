using System.Collections.Concurrent;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Slipway.Registry;

/// <summary>
/// Folds the points of runs into their series in the background: a run with many waiting points soon, every other one within
/// seconds. What a stopped process left behind is found at the start and once a minute.
/// </summary>
internal sealed partial class MetricFolder(Database database, TimeProvider clock, ILogger<MetricFolder> log) : BackgroundService
{
    private const int ManyRows = 256;

    /// <summary>What one transaction folds at most, so that writers do not wait long for it.</summary>
    private const int MostRuns = 100;

    private const int MostBatches = 2000;
    private const long ManyBytes = 64 * 1024;
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan Idle = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan Rest = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan Sweep = TimeSpan.FromMinutes(1);
    private readonly ConcurrentDictionary<string, Waiting> runs = new(StringComparer.Ordinal);

    /// <summary>Notes that a batch was committed.</summary>
    public void Appended(string runId, int bytes)
    {
        var waiting = runs.GetOrAdd(runId, static (_, now) => new Waiting(now), clock.GetTimestamp());
        Interlocked.Increment(ref waiting.Rows);
        Interlocked.Add(ref waiting.Bytes, bytes);
    }

    /// <summary>Folds all that waits of these runs, many of them in a transaction, so that a burst of small batches costs few flushes.</summary>
    public async Task FoldAsync(IReadOnlyList<(long ExperimentId, string RunId)> waiting, CancellationToken ct)
    {
        // In one order, so that two nodes that fold the same runs take the rows' locks in the same order.
        var ordered = waiting.OrderBy(w => w.RunId, StringComparer.Ordinal).ToArray();
        foreach (var (_, runId) in ordered)
        {
            runs.TryRemove(runId, out _);
        }

        for (var at = 0; at < ordered.Length;)
        {
            at = await database.WriteAsync(tx => FoldSomeAsync(tx, ordered, at), ct);
        }
    }

    private async Task<int> FoldSomeAsync(Tx tx, (long ExperimentId, string RunId)[] waiting, int from)
    {
        var some = waiting[from..Math.Min(waiting.Length, from + MostRuns)];
        return await RunMetrics.FoldAsync(tx, database.Dialect.IsPostgres, some, MostBatches) < MostBatches ? from + some.Length : from;
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var swept = long.MinValue;
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                if (swept == long.MinValue || clock.GetElapsedTime(swept) >= Sweep)
                {
                    swept = clock.GetTimestamp();
                    await FoldAllAsync(stoppingToken);
                }

                var due = runs.Where(r => IsDue(r.Value)).Select(r => r.Key).ToList();
                if (due.Count > 0)
                {
                    await FoldRunsAsync(due, stoppingToken);
                }

                await Task.Delay(runs.IsEmpty ? Idle : Pause, clock, stoppingToken);
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                Log.Failed(log, e);
                await Task.Delay(Rest, clock, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private bool IsDue(Waiting waiting) =>
        Volatile.Read(ref waiting.Rows) >= ManyRows || Volatile.Read(ref waiting.Bytes) >= ManyBytes || clock.GetElapsedTime(waiting.Since) >= Rest;

    private async Task FoldRunsAsync(List<string> due, CancellationToken ct)
    {
        var found = await database.ReadAsync(
            async session =>
            {
                var known = new List<(long, string)>(due.Count);
                foreach (var runId in due)
                {
                    if (await RunLog.ExperimentOfAsync(session, runId) is { } experimentId)
                    {
                        known.Add((experimentId, runId));
                    }
                }

                return known;
            },
            ct);
        due.ForEach(runId => runs.TryRemove(runId, out _));
        await FoldAsync(found, ct);
    }

    private async Task FoldAllAsync(CancellationToken ct)
    {
        var left = await database.ReadAsync(RunMetrics.WaitingAsync, ct);
        await FoldAsync([.. left.Where(w => !runs.ContainsKey(w.RunId))], ct);
    }

    private sealed class Waiting(long since)
    {
        public int Rows;
        public long Bytes;

        public long Since { get; } = since;
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Error, "Folding metric points failed; it is tried again, and readers fold by themselves")]
        public static partial void Failed(ILogger logger, Exception e);
    }
}
