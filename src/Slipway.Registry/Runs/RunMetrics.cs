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

    /// <summary>Merges waiting points of runs into their series and latest values.</summary>
    /// <param name="tx">The transaction.</param>
    /// <param name="postgres">True on PostgreSQL.</param>
    /// <param name="runs">The runs, in the order in which every node takes their rows' locks.</param>
    /// <param name="most">Batches to merge at most.</param>
    /// <returns>How many batches were merged; <paramref name="most"/> means that more may be waiting.</returns>
    public static async Task<int> FoldAsync(Tx tx, bool postgres, IReadOnlyList<(long ExperimentId, string RunId)> runs, int most)
    {
        var rows = new List<long>();
        var waiting = new SortedDictionary<(string RunId, string Key), List<Point>>(Comparer<(string RunId, string Key)>.Create(
            static (a, b) => string.CompareOrdinal(a.RunId, b.RunId) is not 0 and var byRun ? byRun : string.CompareOrdinal(a.Key, b.Key)));
        var experiments = new Dictionary<string, long>(StringComparer.Ordinal);
        using (var find = tx.Statement(postgres
            ? "SELECT p.n, p.points, p.run_id FROM unnest($1::bigint[], $2::text[]) AS w(experiment, run) JOIN registry_points p ON p.experiment_id = w.experiment AND p.run_id = w.run LIMIT $3"
            : "SELECT n, points FROM registry_points WHERE experiment_id = $1 AND run_id = $2 LIMIT $3"))
        {
            for (var i = 0; i < (postgres ? 1 : runs.Count) && rows.Count < most; i++)
            {
                _ = postgres
                    ? find.Bind(runs.Select(r => r.ExperimentId).ToArray()).Bind(runs.Select(r => r.RunId).ToArray()).Bind(most)
                    : find.Bind(runs[i].ExperimentId).Bind(runs[i].RunId).Bind(most - rows.Count);
                while (await find.NextAsync())
                {
                    rows.Add(find.Long(0));
                    var run = postgres ? find.Text(2) : runs[i].RunId;
                    PackedPoints.ReadBatch(find.Raw(1), key =>
                    {
                        if (!waiting.TryGetValue((run, key), out var points))
                        {
                            waiting.Add((run, key), points = []);
                        }

                        return points;
                    });
                    experiments[run] = 0;
                }
            }
        }

        if (rows.Count == 0)
        {
            return 0;
        }

        foreach (var (experiment, run) in runs)
        {
            if (experiments.ContainsKey(run))
            {
                experiments[run] = experiment;
            }
        }

        var latest = waiting.Select(w => (w.Key.RunId, w.Key.Key, ExperimentId: experiments[w.Key.RunId], Point: Latest(w.Value))).ToList();
        foreach (var points in waiting.Values)
        {
            Ordered(points);
        }

        if (postgres)
        {
            await MergeAtEndAsync(tx, waiting);
        }

        foreach (var ((run, key), points) in waiting)
        {
            await MergeAsync(tx, run, key, points);
        }

        await (postgres ? MoveLatestTogetherAsync(tx, latest) : MoveLatestAsync(tx, latest));
        using var delete = tx.Statement(postgres ? "DELETE FROM registry_points WHERE n = ANY($1::bigint[])" : "DELETE FROM registry_points WHERE n = $1");
        if (postgres)
        {
            using var change = tx.Statement("UPDATE registry_runs r SET rev = u.rev FROM unnest($1::text[], $2::bigint[]) AS u(id, rev) WHERE r.id = u.id");
            await change.Bind(experiments.Keys.ToArray()).Bind(experiments.Keys.Select(_ => RunLog.Revision()).ToArray()).RunAsync();
            await delete.Bind(rows.ToArray()).RunAsync();
            return rows.Count;
        }

        foreach (var run in experiments.Keys)
        {
            await RunLog.ChangedAsync(tx, run);
        }

        foreach (var n in rows)
        {
            await delete.Bind(n).RunAsync();
        }

        return rows.Count;
    }

    /// <summary>Takes the points that continue their series, which almost all do, and writes them with three statements whatever their number. PostgreSQL only.</summary>
    private static async Task MergeAtEndAsync(Tx tx, SortedDictionary<(string RunId, string Key), List<Point>> waiting)
    {
        var ends = new Dictionary<(string RunId, string Key), ((long TimestampMs, long Step, long Bits) Start, List<Point> Points)>();
        using (var find = tx.Statement(
            """
            SELECT w.run, w.key, s.timestamp_ms, s.step, s.bits, s.points FROM unnest($1::text[], $2::text[]) AS w(run, key)
            CROSS JOIN LATERAL (SELECT timestamp_ms, step, bits, points FROM registry_series WHERE run_id = w.run AND key = w.key ORDER BY timestamp_ms DESC, step DESC, bits DESC LIMIT 1) s
            """))
        {
            find.Bind(waiting.Keys.Select(k => k.RunId).ToArray()).Bind(waiting.Keys.Select(k => k.Key).ToArray());
            while (await find.NextAsync())
            {
                var points = new List<Point>(ChunkPoints);
                PackedPoints.ReadSeries(find.Raw(5), points);
                ends.Add((find.Text(0), find.Text(1)), ((find.Long(2), find.Long(3), find.Long(4)), points));
            }
        }

        var (changed, added) = (new List<Chunk>(), new List<Chunk>());
        foreach (var (name, points) in waiting.ToList())
        {
            var known = ends.TryGetValue(name, out var end);
            if (known && Before(points[0], end.Start))
            {
                continue;
            }

            waiting.Remove(name);
            var merged = known ? Ordered([.. end.Points, .. points]) : points;
            for (var at = 0; at < merged.Count && (!known || merged.Count > end.Points.Count); at += ChunkPoints)
            {
                (known && at == 0 ? changed : added).Add(new Chunk(name.RunId, name.Key, merged.GetRange(at, Math.Min(ChunkPoints, merged.Count - at))));
            }
        }

        if (changed.Count > 0)
        {
            // The first point of such a chunk stays: what is merged into it comes behind.
            using var update = tx.Statement(
                """
                UPDATE registry_series s SET points = u.points FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[]) AS u(run, key, timestamp_ms, step, bits, points)
                WHERE s.run_id = u.run AND s.key = u.key AND s.timestamp_ms = u.timestamp_ms AND s.step = u.step AND s.bits = u.bits
                """);
            await Chunk.Bind(update, changed).RunAsync();
        }

        if (added.Count > 0)
        {
            using var insert = tx.Statement("INSERT INTO registry_series (run_id, key, timestamp_ms, step, bits, points) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[])");
            await Chunk.Bind(insert, added).RunAsync();
        }
    }

    private sealed record Chunk(string RunId, string Key, List<Point> Points)
    {
        public static Statement Bind(Statement statement, List<Chunk> chunks) => statement
            .Bind(chunks.Select(c => c.RunId).ToArray()).Bind(chunks.Select(c => c.Key).ToArray())
            .Bind(chunks.Select(c => c.Points[0].TimestampMs).ToArray()).Bind(chunks.Select(c => c.Points[0].Step).ToArray()).Bind(chunks.Select(c => c.Points[0].Bits).ToArray())
            .Bind(chunks.Select(c => PackedPoints.Series(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(c.Points))).ToArray());
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

    private static Point Latest(List<Point> points)
    {
        var latest = points[0];
        foreach (var point in points)
        {
            latest = point.IsLaterThan(latest) ? point : latest;
        }

        return latest;
    }

    private static async Task MoveLatestAsync(Tx tx, IReadOnlyList<(string RunId, string Key, long ExperimentId, Point Point)> latest)
    {
        using var move = tx.Statement($"{InsertLatest} VALUES ($1, $2, $3, $4, $5, $6, $7){ReplaceLatest}");
        foreach (var (run, key, experiment, point) in latest)
        {
            var isNan = double.IsNaN(point.Value);
            await move.Bind(run).Bind(key).Bind(experiment).Bind(point.TimestampMs).Bind(point.Step).Bind(isNan ? 0 : point.Value).Bind(isNan ? 1L : 0L).RunAsync();
        }
    }

    private static async Task MoveLatestTogetherAsync(Tx tx, List<(string RunId, string Key, long ExperimentId, Point Point)> latest)
    {
        using var move = tx.Statement($"{InsertLatest} SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::double precision[], $7::int[]){ReplaceLatest}");
        move.Bind(latest.Select(m => m.RunId).ToArray()).Bind(latest.Select(m => m.Key).ToArray()).Bind(latest.Select(m => m.ExperimentId).ToArray())
            .Bind(latest.Select(m => m.Point.TimestampMs).ToArray()).Bind(latest.Select(m => m.Point.Step).ToArray());
        await move.Bind(latest.Select(m => double.IsNaN(m.Point.Value) ? 0 : m.Point.Value).ToArray()).Bind(latest.Select(m => double.IsNaN(m.Point.Value) ? 1 : 0).ToArray()).RunAsync();
    }
}
