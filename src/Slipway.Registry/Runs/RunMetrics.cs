namespace Slipway.Registry;

/// <summary>
/// Points of metrics. A batch is appended as one durable row; folding merges such rows into each metric's series and moves its
/// latest value. Whoever reads folds what is still waiting first, so that nobody sees the difference.
/// </summary>
internal static class RunMetrics
{
    /// <summary>Points in a chunk: a page of a history reads few chunks, and an append rewrites little.</summary>
    private const int ChunkPoints = 512;

    // A number beats NaN at the same step and time, so that NaN never hides it.
    private const string ReplaceLatest = """
         ON CONFLICT (run_id, key) DO UPDATE SET timestamp_ms = excluded.timestamp_ms, step = excluded.step, value = excluded.value, is_nan = excluded.is_nan
        WHERE (excluded.step, excluded.timestamp_ms, -excluded.is_nan, excluded.value)
            > (registry_latest_metrics.step, registry_latest_metrics.timestamp_ms, -registry_latest_metrics.is_nan, registry_latest_metrics.value)
        """;

    private const string InsertLatest = "INSERT INTO registry_latest_metrics (run_id, key, experiment_id, timestamp_ms, step, value, is_nan)";

    /// <summary>Appends batches to live runs.</summary>
    /// <returns>For each batch null, or why it was refused: the run is missing or deleted.</returns>
    public static async Task<IReadOnlyList<SlipwayException?>> AppendAsync(Tx tx, bool postgres, IReadOnlyList<(string RunId, byte[] Points)> batches)
    {
        var refusals = new SlipwayException?[batches.Count];
        if (postgres && batches.Count > 1)
        {
            using var insert = tx.Statement(
                """
                INSERT INTO registry_points (experiment_id, run_id, points)
                SELECT r.experiment_id, r.id, b.points FROM unnest($1::text[], $2::bytea[]) AS b(run, points) JOIN registry_runs r ON r.id = b.run WHERE r.state = 0
                """);
            insert.Bind(batches.Select(b => b.RunId).ToArray()).Bind(batches.Select(b => b.Points).ToArray());
            if (await insert.RunAsync() == batches.Count)
            {
                return refusals;
            }

            var live = new HashSet<string>(StringComparer.Ordinal);
            using var find = tx.Statement("SELECT id FROM registry_runs WHERE id = ANY($1::text[]) AND state = 0");
            find.Bind(batches.Select(b => b.RunId).ToArray());
            while (await find.NextAsync())
            {
                live.Add(find.Text(0));
            }

            for (var i = 0; i < batches.Count; i++)
            {
                refusals[i] = live.Contains(batches[i].RunId) ? null : await RunLog.WhyNotAsync(tx, batches[i].RunId);
            }

            return refusals;
        }

        using var one = tx.Statement("INSERT INTO registry_points (experiment_id, run_id, points) SELECT experiment_id, id, $2 FROM registry_runs WHERE id = $1 AND state = 0");
        for (var i = 0; i < batches.Count; i++)
        {
            if (await one.Bind(batches[i].RunId).Bind(batches[i].Points).RunAsync() == 0)
            {
                refusals[i] = await RunLog.WhyNotAsync(tx, batches[i].RunId);
            }
        }

        return refusals;
    }

    /// <summary>Runs of an experiment that have points waiting to be folded; only that one run if it is named.</summary>
    public static async Task<IReadOnlyList<string>> WaitingAsync(Session session, long experimentId, string? runId = null)
    {
        using var find = session.Statement(runId is null
            ? "SELECT DISTINCT run_id FROM registry_points WHERE experiment_id = $1"
            : "SELECT run_id FROM registry_points WHERE experiment_id = $1 AND run_id = $2 LIMIT 1");
        find.Bind(experimentId);
        if (runId is not null)
        {
            find.Bind(runId);
        }

        var runs = new List<string>();
        while (await find.NextAsync())
        {
            runs.Add(find.Text(0));
        }

        return runs;
    }

    /// <summary>Every run that has points waiting to be folded; few at any time.</summary>
    public static async Task<IReadOnlyList<(long ExperimentId, string RunId)>> WaitingAsync(Session session)
    {
        using var find = session.Statement("SELECT DISTINCT experiment_id, run_id FROM registry_points");
        var runs = new List<(long, string)>();
        while (await find.NextAsync())
        {
            runs.Add((find.Long(0), find.Text(1)));
        }

        return runs;
    }

    /// <summary>Merges waiting points of a run into its series and latest values.</summary>
    /// <param name="tx">The transaction.</param>
    /// <param name="postgres">True on PostgreSQL.</param>
    /// <param name="experimentId">The run's experiment.</param>
    /// <param name="runId">The run.</param>
    /// <param name="most">Batches to merge at most.</param>
    /// <returns>How many batches were merged; <paramref name="most"/> means that more may be waiting.</returns>
    public static async Task<int> FoldAsync(Tx tx, bool postgres, long experimentId, string runId, int most)
    {
        var rows = new List<long>();
        var byKey = new Dictionary<string, List<Point>>(StringComparer.Ordinal);
        using (var waiting = tx.Statement("SELECT n, points FROM registry_points WHERE experiment_id = $1 AND run_id = $2 LIMIT $3"))
        {
            waiting.Bind(experimentId).Bind(runId).Bind(most);
            while (await waiting.NextAsync())
            {
                rows.Add(waiting.Long(0));
                PackedPoints.ReadBatch(waiting.Raw(1), byKey);
            }
        }

        if (rows.Count == 0)
        {
            return 0;
        }

        // In key order, so that two nodes that fold the same run take the rows' locks in the same order.
        foreach (var (key, points) in byKey.OrderBy(p => p.Key, StringComparer.Ordinal))
        {
            await MergeAsync(tx, runId, key, Ordered(points));
            await MoveLatestAsync(tx, experimentId, runId, key, points);
        }

        using var delete = tx.Statement(postgres ? "DELETE FROM registry_points WHERE n = ANY($1::bigint[])" : "DELETE FROM registry_points WHERE n = $1");
        if (postgres)
        {
            await delete.Bind(rows.ToArray()).RunAsync();
        }
        else
        {
            foreach (var n in rows)
            {
                await delete.Bind(n).RunAsync();
            }
        }

        return rows.Count;
    }

    /// <summary>A metric's points in order, from behind a point on.</summary>
    public static async Task<List<Point>> HistoryAsync(Session session, string runId, string key, Point? after, int limit)
    {
        var result = new List<Point>();
        var chunk = new List<Point>(ChunkPoints);
        var from = after is null ? null : await ChunkAtAsync(session, runId, key, after.Value);
        using var next = session.Statement(from is null
            ? "SELECT points FROM registry_series WHERE run_id = $1 AND key = $2 ORDER BY timestamp_ms, step, bits"
            : "SELECT points FROM registry_series WHERE run_id = $1 AND key = $2 AND (timestamp_ms, step, bits) >= ($3, $4, $5) ORDER BY timestamp_ms, step, bits");
        next.Bind(runId).Bind(key);
        if (from is { } first)
        {
            next.Bind(first.TimestampMs).Bind(first.Step).Bind(first.Bits);
        }

        while (result.Count < limit && await next.NextAsync())
        {
            chunk.Clear();
            PackedPoints.ReadSeries(next.Raw(0), chunk);
            foreach (var point in chunk)
            {
                if (after is null || point.CompareTo(after.Value) > 0)
                {
                    result.Add(point);
                }
            }
        }

        if (result.Count > limit)
        {
            result.RemoveRange(limit, result.Count - limit);
        }

        return result;
    }

    /// <summary>Sorted, each point once.</summary>
    private static List<Point> Ordered(List<Point> points)
    {
        points.Sort();
        var kept = 0;
        for (var i = 0; i < points.Count; i++)
        {
            if (kept == 0 || points[i].CompareTo(points[kept - 1]) != 0)
            {
                points[kept++] = points[i];
            }
        }

        points.RemoveRange(kept, points.Count - kept);
        return points;
    }

    /// <summary>Merges points into the chunks that they belong to: each into the last chunk that begins at or before it.</summary>
    private static async Task MergeAsync(Tx tx, string runId, string key, List<Point> points)
    {
        for (var i = 0; i < points.Count;)
        {
            var start = await ChunkAtAsync(tx, runId, key, points[i]);
            if (start is null)
            {
                // Before the first chunk: merged into it, which then begins earlier; without one, a new series.
                start = await FirstChunkAsync(tx, runId, key);
            }

            var old = start is { } begin ? await ReadChunkAsync(tx, runId, key, begin) : [];
            var end = start is { } b ? await NextChunkAsync(tx, runId, key, b) : null;
            var to = i;
            while (to < points.Count && (end is null || Before(points[to], end.Value)))
            {
                to++;
            }

            var merged = Ordered([.. old, .. points[i..to]]);
            i = to;
            if (merged.Count == old.Count)
            {
                continue;
            }

            for (var at = 0; at < merged.Count; at += ChunkPoints)
            {
                await WriteChunkAsync(tx, runId, key, at == 0 ? start : null, merged.GetRange(at, Math.Min(ChunkPoints, merged.Count - at)));
            }
        }
    }

    private static bool Before(Point point, (long TimestampMs, long Step, long Bits) start) =>
        (point.TimestampMs, point.Step, point.Bits).CompareTo(start) < 0;

    private static Task<(long TimestampMs, long Step, long Bits)?> ChunkAtAsync(Session session, string runId, string key, Point point) => FindStartAsync(
        session,
        "SELECT timestamp_ms, step, bits FROM registry_series WHERE run_id = $1 AND key = $2 AND (timestamp_ms, step, bits) <= ($3, $4, $5) ORDER BY timestamp_ms DESC, step DESC, bits DESC LIMIT 1",
        runId,
        key,
        (point.TimestampMs, point.Step, point.Bits));

    private static Task<(long TimestampMs, long Step, long Bits)?> NextChunkAsync(Session session, string runId, string key, (long TimestampMs, long Step, long Bits) start) => FindStartAsync(
        session,
        "SELECT timestamp_ms, step, bits FROM registry_series WHERE run_id = $1 AND key = $2 AND (timestamp_ms, step, bits) > ($3, $4, $5) ORDER BY timestamp_ms, step, bits LIMIT 1",
        runId,
        key,
        start);

    private static Task<(long TimestampMs, long Step, long Bits)?> FirstChunkAsync(Session session, string runId, string key) => FindStartAsync(
        session, "SELECT timestamp_ms, step, bits FROM registry_series WHERE run_id = $1 AND key = $2 ORDER BY timestamp_ms, step, bits LIMIT 1", runId, key, null);

    private static async Task<(long TimestampMs, long Step, long Bits)?> FindStartAsync(Session session, string sql, string runId, string key, (long TimestampMs, long Step, long Bits)? at)
    {
        using var find = session.Statement(sql);
        find.Bind(runId).Bind(key);
        if (at is { } start)
        {
            find.Bind(start.TimestampMs).Bind(start.Step).Bind(start.Bits);
        }

        return await find.NextAsync() ? (find.Long(0), find.Long(1), find.Long(2)) : null;
    }

    private static async Task<List<Point>> ReadChunkAsync(Session session, string runId, string key, (long TimestampMs, long Step, long Bits) start)
    {
        using var find = session.Statement("SELECT points FROM registry_series WHERE run_id = $1 AND key = $2 AND timestamp_ms = $3 AND step = $4 AND bits = $5");
        var points = new List<Point>(ChunkPoints);
        if (await find.Bind(runId).Bind(key).Bind(start.TimestampMs).Bind(start.Step).Bind(start.Bits).NextAsync())
        {
            PackedPoints.ReadSeries(find.Raw(0), points);
        }

        return points;
    }

    private static async Task WriteChunkAsync(Tx tx, string runId, string key, (long TimestampMs, long Step, long Bits)? old, List<Point> points)
    {
        var bytes = PackedPoints.Series(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(points));
        var first = points[0];
        if (old is not { } start)
        {
            using var insert = tx.Statement("INSERT INTO registry_series (run_id, key, timestamp_ms, step, bits, points) VALUES ($1, $2, $3, $4, $5, $6)");
            await insert.Bind(runId).Bind(key).Bind(first.TimestampMs).Bind(first.Step).Bind(first.Bits).Bind(bytes).RunAsync();
            return;
        }

        using var update = tx.Statement(
            "UPDATE registry_series SET timestamp_ms = $3, step = $4, bits = $5, points = $6 WHERE run_id = $1 AND key = $2 AND timestamp_ms = $7 AND step = $8 AND bits = $9");
        await update.Bind(runId).Bind(key).Bind(first.TimestampMs).Bind(first.Step).Bind(first.Bits).Bind(bytes).Bind(start.TimestampMs).Bind(start.Step).Bind(start.Bits).RunAsync();
    }

    private static async Task MoveLatestAsync(Tx tx, long experimentId, string runId, string key, List<Point> points)
    {
        var latest = points[0];
        foreach (var point in points)
        {
            latest = point.IsLaterThan(latest) ? point : latest;
        }

        var isNan = double.IsNaN(latest.Value);
        using var move = tx.Statement($"{InsertLatest} VALUES ($1, $2, $3, $4, $5, $6, $7){ReplaceLatest}");
        await move.Bind(runId).Bind(key).Bind(experimentId).Bind(latest.TimestampMs).Bind(latest.Step).Bind(isNan ? 0 : latest.Value).Bind(isNan ? 1L : 0L).RunAsync();
    }
}
