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

    /// <summary>Folds all that waits of one run.</summary>
    public async Task FoldAsync(long experimentId, string runId, CancellationToken ct)
    {
        runs.TryRemove(runId, out _);
        while (await database.WriteAsync(tx => RunMetrics.FoldAsync(tx, database.Dialect.IsPostgres, experimentId, runId), ct))
        {
        }
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

                foreach (var (runId, waiting) in runs)
                {
                    if (Volatile.Read(ref waiting.Rows) >= ManyRows || Volatile.Read(ref waiting.Bytes) >= ManyBytes || clock.GetElapsedTime(waiting.Since) >= Rest)
                    {
                        await FoldRunAsync(runId, stoppingToken);
                    }
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

    private async Task FoldRunAsync(string runId, CancellationToken ct)
    {
        var experimentId = await database.ReadAsync(s => RunLog.ExperimentOfAsync(s, runId), ct);
        if (experimentId is null)
        {
            runs.TryRemove(runId, out _);
            return;
        }

        await FoldAsync(experimentId.Value, runId, ct);
    }

    private async Task FoldAllAsync(CancellationToken ct)
    {
        var left = await database.ReadAsync(RunMetrics.WaitingAsync, ct);
        foreach (var (experiment, run) in left)
        {
            if (!runs.ContainsKey(run))
            {
                await FoldAsync(experiment, run, ct);
            }
        }
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
