using System.Data.Common;

namespace Slipway.Registry;

/// <summary>Writes and reads the rows that runs log. Many rows are one prepared statement on SQLite and one unnest on PostgreSQL.</summary>
internal static class RunMetrics
{
    private const string InsertPoint = """
        INSERT INTO registry_metrics (run_id, key, timestamp_ms, step, value, is_nan)
        """;

    private const string IgnorePoint = " ON CONFLICT (run_id, key, timestamp_ms, step, value, is_nan) DO NOTHING";

    private const string InsertLatest = """
        INSERT INTO registry_latest_metrics (run_id, key, experiment_id, timestamp_ms, step, value, is_nan)
        """;

    // A number beats NaN at the same step and time, so that NaN never hides it.
    private const string ReplaceLatest = """
         ON CONFLICT (run_id, key) DO UPDATE SET timestamp_ms = excluded.timestamp_ms, step = excluded.step, value = excluded.value, is_nan = excluded.is_nan
        WHERE (excluded.step, excluded.timestamp_ms, -excluded.is_nan, excluded.value)
            > (registry_latest_metrics.step, registry_latest_metrics.timestamp_ms, -registry_latest_metrics.is_nan, registry_latest_metrics.value)
        """;

    private const string Values = " VALUES (@run, @key, @timestamp, @step, @value, @nan)";
    private const string LatestValues = " VALUES (@run, @key, @experiment, @timestamp, @step, @value, @nan)";

    // The WHERE keeps the upsert's ON from being read as a join condition.
    private const string Unnest = " SELECT @run, p.* FROM unnest(@keys, @timestamps, @steps, @values, @nans) AS p WHERE TRUE";
    private const string UnnestLatest = " SELECT @run, p.key, @experiment, p.ts, p.step, p.value, p.nan FROM unnest(@keys, @timestamps, @steps, @values, @nans) AS p(key, ts, step, value, nan) WHERE TRUE";

    /// <summary>Appends points and moves the latest values. An identical point is kept once.</summary>
    public static async Task WriteAsync(Tx tx, bool postgres, string runId, long experimentId, IReadOnlyList<MetricPoint> points)
    {
        if (points.Count == 0)
        {
            return;
        }

        // In key order, so that two writers on PostgreSQL take the rows' locks in the same order.
        var latest = points.GroupBy(p => p.Key, StringComparer.Ordinal).Select(g => g.Aggregate((a, b) => IsLater(b, a) ? b : a)).OrderBy(p => p.Key, StringComparer.Ordinal).ToArray();
        if (postgres)
        {
            await UnnestedAsync(tx, InsertPoint + Unnest + IgnorePoint, runId, experimentId, points.OrderBy(p => p.Key, StringComparer.Ordinal).ToArray());
            await UnnestedAsync(tx, InsertLatest + UnnestLatest + ReplaceLatest, runId, experimentId, latest);
            return;
        }

        Prepared(tx, InsertPoint + Values + IgnorePoint, runId, experimentId, points);
        Prepared(tx, InsertLatest + LatestValues + ReplaceLatest, runId, experimentId, latest);
    }

    /// <summary>A metric's points by (timestamp, step, value), from behind a point on.</summary>
    public static async Task<List<MetricPoint>> HistoryAsync(Session session, string runId, string key, MetricPoint? after, int limit)
    {
        var sql = "SELECT timestamp_ms AS TimestampMs, step AS Step, value AS Value, is_nan AS IsNan FROM registry_metrics WHERE run_id = @runId AND key = @key"
            + (after is null ? "" : " AND (timestamp_ms, step, value, is_nan) > (@TimestampMs, @Step, @Value, @IsNan)")
            + " ORDER BY timestamp_ms, step, value, is_nan LIMIT @limit";
        var point = after ?? default;
        var rows = await session.QueryAsync<PointRow>(
            sql,
            new { runId, key, limit, point.TimestampMs, point.Step, Value = double.IsNaN(point.Value) ? 0 : point.Value, IsNan = double.IsNaN(point.Value) ? 1 : 0 });
        return rows.Select(r => r.ToPoint(key)).ToList();
    }

    private static bool IsLater(MetricPoint a, MetricPoint b)
    {
        var order = a.Step.CompareTo(b.Step);
        order = order != 0 ? order : a.TimestampMs.CompareTo(b.TimestampMs);
        order = order != 0 ? order : double.IsNaN(b.Value).CompareTo(double.IsNaN(a.Value));
        return (order != 0 ? order : a.Value.CompareTo(b.Value)) > 0;
    }

    private static void Prepared(Tx tx, string sql, string runId, long experimentId, IReadOnlyList<MetricPoint> points)
    {
        using var command = tx.Command(sql);
        Add(command, "@run", runId);
        if (sql.Contains("@experiment", StringComparison.Ordinal))
        {
            Add(command, "@experiment", experimentId);
        }

        var key = Add(command, "@key", "");
        var timestamp = Add(command, "@timestamp", 0L);
        var step = Add(command, "@step", 0L);
        var value = Add(command, "@value", 0d);
        var nan = Add(command, "@nan", 0L);
        foreach (var point in points)
        {
            key.Value = point.Key;
            timestamp.Value = point.TimestampMs;
            step.Value = point.Step;
            value.Value = double.IsNaN(point.Value) ? 0 : point.Value;
            nan.Value = double.IsNaN(point.Value) ? 1L : 0L;
            command.ExecuteNonQuery();
        }
    }

    private static async Task UnnestedAsync(Tx tx, string sql, string runId, long experimentId, MetricPoint[] points)
    {
        using var command = tx.Command(sql);
        Add(command, "@run", runId);
        if (sql.Contains("@experiment", StringComparison.Ordinal))
        {
            Add(command, "@experiment", experimentId);
        }

        Add(command, "@keys", Array.ConvertAll(points, p => p.Key));
        Add(command, "@timestamps", Array.ConvertAll(points, p => p.TimestampMs));
        Add(command, "@steps", Array.ConvertAll(points, p => p.Step));
        Add(command, "@values", Array.ConvertAll(points, p => double.IsNaN(p.Value) ? 0 : p.Value));
        Add(command, "@nans", Array.ConvertAll(points, p => double.IsNaN(p.Value) ? 1 : 0));
        await command.ExecuteNonQueryAsync(tx.Token);
    }

    private static DbParameter Add(DbCommand command, string name, object value)
    {
        var parameter = command.CreateParameter();
        parameter.ParameterName = name;
        parameter.Value = value;
        command.Parameters.Add(parameter);
        return parameter;
    }

    internal sealed class PointRow
    {
        public string RunId { get; set; } = "";

        public string Key { get; set; } = "";

        public long TimestampMs { get; set; }

        public long Step { get; set; }

        public double Value { get; set; }

        public long IsNan { get; set; }

        public MetricPoint ToPoint(string? key = null) => new(key ?? Key, IsNan == 1 ? double.NaN : Value, TimestampMs, Step);
    }
}
