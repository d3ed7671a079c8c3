using System.Collections.Concurrent;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// The prediction logs of the other nodes that share the data folder. Their open segments are read like this node's own; each says up to which moment
/// everything that it has appended can be read, and a window waits until that has moved on. The log of a process that is gone (its lock is free) is taken over:
/// what was left in its buffers is replayed and its segments are compacted.
/// </summary>
internal sealed partial class NodeLogs(DataLayout layout, MonitoringOptions options, TimeProvider clock, ILogger<PredictionLog> logger)
{
    private readonly ConcurrentDictionary<string, PredictionSegment> followed = new(StringComparer.Ordinal);

    // When a node's mark was first seen at its value, by this node's own clock: clocks of machines need not agree.
    private readonly ConcurrentDictionary<string, (long Mark, long Since, long Turn)> marks = new(StringComparer.Ordinal);

    /// <summary>What the others have in files that are not compacted, up to their ends at this moment.</summary>
    public IReadOnlyList<PredictionSegment> Live()
    {
        var live = new List<PredictionSegment>();
        foreach (string path in Folders().SelectMany(f => Directory.EnumerateFiles(f, "*" + PredictionSegment.Extension)).Order(StringComparer.Ordinal))
        {
            try
            {
                PredictionSegment segment = followed.GetOrAdd(path, PredictionSegment.Follow);
                segment.Refresh();
                live.Add(segment);
            }
            catch (FileNotFoundException)
            {
                // Compacted since it was listed: its rows are in the database by now.
                continue;
            }
        }

        // Readers that still hold a segment finish on its open handle, which the collector closes.
        foreach (string gone in followed.Keys.Except(live.Select(s => s.Path), StringComparer.Ordinal))
        {
            followed.TryRemove(gone, out _);
        }

        return live;
    }

    /// <summary>
    /// How often each other node was seen to have moved its mark. Two moves after a moment, all that the node had appended by then can be read: the second mark was begun when
    /// the first one had been written. A process that holds its log and has not moved its mark for as long as a segment stays open (it hangs) is left out: what it writes later is
    /// late.
    /// </summary>
    public IReadOnlyDictionary<string, long> Turns()
    {
        var turns = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (string folder in Folders())
        {
            if (Mark(folder) is { } mark)
            {
                (_, long since, long turn) = marks.AddOrUpdate(folder, _ => (mark, clock.GetTimestamp(), 0), (_, before) => before.Mark == mark ? before : (mark, clock.GetTimestamp(), before.Turn + 1));
                if (clock.GetElapsedTime(since) < options.SegmentAge)
                {
                    turns[folder] = turn;
                }
            }
        }

        return turns;
    }

    /// <summary>Closes the logs of processes that are gone.</summary>
    /// <param name="compact">Compacts the complete segments of a log.</param>
    /// <param name="ct">Cancels.</param>
    public async Task TakeOverAsync(Func<PredictionLog, CancellationToken, Task<int>> compact, CancellationToken ct)
    {
        foreach (string folder in Folders().Where(f => Mark(f) is not null || Directory.EnumerateFiles(f, "*" + PredictionSegment.Extension).Any()))
        {
            if (!IsFree(folder))
            {
                continue;
            }

            PredictionLog log;
            try
            {
                log = new PredictionLog(folder, options, clock, logger);
            }
            catch (SlipwayException e) when (e.Code == ErrorCode.Conflict)
            {
                // Its owner is back, or another node was faster.
                continue;
            }

            await using (log)
            {
                await log.RollAsync(ct);
                int segments = await compact(log, ct);
                File.Delete(PredictionLog.MarkOf(folder));
                Log.TakenOver(logger, folder, segments);
            }
        }
    }

    private static bool IsFree(string folder)
    {
        try
        {
            using var probe = new FileStream(PredictionLog.LockOf(folder), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            return true;
        }
        catch (IOException)
        {
            // Held: the process lives.
            return false;
        }
    }

    private static long? Mark(string folder)
    {
        try
        {
            return long.TryParse(File.ReadAllText(PredictionLog.MarkOf(folder)), NumberStyles.None, CultureInfo.InvariantCulture, out long mark) ? mark : null;
        }
        catch (FileNotFoundException)
        {
            // A log that was closed, or has not begun.
            return null;
        }
    }

    private IEnumerable<string> Folders() => layout.Shared && options.Directory is null
        ? Directory.EnumerateDirectories(layout.Nodes).Select(DataLayout.PredictionsOf).Where(f => f != layout.Predictions && Directory.Exists(f))
        : [];

    private static partial class Log
    {
        [LoggerMessage(Level = LogLevel.Information, Message = "Took over the prediction log {Folder} of a process that is gone: {Segments} segments.")]
        public static partial void TakenOver(ILogger logger, string folder, int segments);
    }
}
