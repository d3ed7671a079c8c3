using System.Data.Common;
using System.Text.Json;

namespace Slipway.Registry;

/// <summary>Reads the values of a few keys for many runs, one statement for all of them.</summary>
internal static class RunValues
{
    /// <summary>A list of texts as one bound value, so that the statement's text does not depend on how many there are.</summary>
    public static string List(DbCommand command, bool postgres, string name, IReadOnlyList<string> items)
    {
        var parameter = command.CreateParameter();
        parameter.ParameterName = "@" + name;
        parameter.Value = postgres ? items.ToArray() : JsonSerializer.Serialize(items);
        command.Parameters.Add(parameter);
        return postgres ? $"(SELECT unnest(@{name}))" : $"(SELECT value FROM json_each(@{name}))";
    }

    /// <summary>Calls <paramref name="put"/> for each run and key that has a value.</summary>
    /// <param name="session">Where to read.</param>
    /// <param name="postgres">True on PostgreSQL.</param>
    /// <param name="ids">Runs.</param>
    /// <param name="form">Kind of the columns, and how a metric's point is taken; its key is not used.</param>
    /// <param name="keys">Keys.</param>
    /// <param name="put">Takes run, key and value.</param>
    public static async Task ReadAsync(Session session, bool postgres, IReadOnlyList<string> ids, RunColumn form, IReadOnlyList<string> keys, Action<string, string, RunCell> put)
    {
        if (form.Kind == RunColumnKind.Metric && form.Take != MetricTake.Last)
        {
            await ReadSeriesAsync(session, postgres, ids, form, keys, put);
            return;
        }

        using var command = session.Command("");
        var (runs, names) = (List(command, postgres, "ids", ids), List(command, postgres, "keys", keys));
        if (form.Kind is RunColumnKind.Param or RunColumnKind.Tag)
        {
            command.CommandText = $"SELECT run_id, key, value FROM {(form.Kind == RunColumnKind.Param ? "registry_params" : "registry_tags")} WHERE run_id IN {runs} AND key IN {names}";
            await using var texts = await command.ExecuteReaderAsync(session.Token);
            while (await texts.ReadAsync(session.Token))
            {
                var text = texts.GetString(2);
                put(texts.GetString(0), texts.GetString(1), new RunCell(text, NumberOf(text)));
            }

            return;
        }

        command.CommandText = $"SELECT run_id, key, value, is_nan FROM registry_latest_metrics WHERE run_id IN {runs} AND key IN {names}";
        await using var reader = await command.ExecuteReaderAsync(session.Token);
        while (await reader.ReadAsync(session.Token))
        {
            put(reader.GetString(0), reader.GetString(1), new RunCell(null, reader.GetInt32(3) == 1 ? double.NaN : reader.GetDouble(2)));
        }
    }

    /// <summary>The smallest or largest number of a series, or its value at the first step at which another metric is best: of several points at that step the latest counts.</summary>
    private static async Task ReadSeriesAsync(Session session, bool postgres, IReadOnlyList<string> ids, RunColumn form, IReadOnlyList<string> keys, Action<string, string, RunCell> put)
    {
        var steps = new Dictionary<string, Point>(StringComparer.Ordinal);
        if (form.Take == MetricTake.At)
        {
            await EachAsync(session, postgres, ids, [form.AtKey ?? ""], (run, _, point) =>
            {
                if (!double.IsNaN(point.Value) && (!steps.TryGetValue(run, out var best) || IsBetter(point, best, form.AtMax)))
                {
                    steps[run] = point;
                }
            });
        }

        var kept = new Dictionary<(string Run, string Key), Point>();
        await EachAsync(session, postgres, ids, keys, (run, key, point) =>
        {
            var known = kept.TryGetValue((run, key), out var before);
            var take = form.Take == MetricTake.At
                ? steps.TryGetValue(run, out var at) && at.Step == point.Step && (!known || point.CompareTo(before) > 0)
                : !double.IsNaN(point.Value) && (!known || (form.Take == MetricTake.Min ? point.Value < before.Value : point.Value > before.Value));
            if (take)
            {
                kept[(run, key)] = point;
            }
        });
        foreach (var ((run, key), point) in kept)
        {
            put(run, key, new RunCell(null, point.Value));
        }
    }

    private static bool IsBetter(Point point, Point best, bool largest)
    {
        var order = largest ? point.Value.CompareTo(best.Value) : best.Value.CompareTo(point.Value);
        return order > 0 || (order == 0 && point.Step < best.Step);
    }

    private static async Task EachAsync(Session session, bool postgres, IReadOnlyList<string> ids, IReadOnlyList<string> keys, Action<string, string, Point> take)
    {
        using var command = session.Command("");
        command.CommandText = $"SELECT run_id, key, points FROM registry_series WHERE run_id IN {List(command, postgres, "ids", ids)} AND key IN {List(command, postgres, "keys", keys)}";
        var points = new List<Point>();
        await using var reader = await command.ExecuteReaderAsync(session.Token);
        while (await reader.ReadAsync(session.Token))
        {
            var (run, key) = (reader.GetString(0), reader.GetString(1));
            points.Clear();
            PackedPoints.ReadSeries(reader.GetFieldValue<byte[]>(2), points);
            points.ForEach(p => take(run, key, p));
        }
    }

    /// <summary>Every metric key of the experiments. It steps from key to key along the index, so that it costs what there are keys, not what there are runs.</summary>
    public static async Task<IReadOnlyList<string>> MetricKeysAsync(Session session, IReadOnlyList<long> experiments)
    {
        var keys = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var experiment in experiments)
        {
            keys.UnionWith(await session.QueryAsync<string>(
                """
                WITH RECURSIVE k(key) AS (
                    SELECT MIN(key) FROM registry_latest_metrics WHERE experiment_id = @experiment
                    UNION ALL
                    SELECT (SELECT MIN(m.key) FROM registry_latest_metrics m WHERE m.experiment_id = @experiment AND m.key > k.key) FROM k WHERE k.key IS NOT NULL)
                SELECT key FROM k WHERE key IS NOT NULL
                """,
                new { experiment }));
        }

        return [.. keys];
    }

    private static double? NumberOf(string text) =>
        double.TryParse(text, System.Globalization.NumberStyles.Float, System.Globalization.CultureInfo.InvariantCulture, out var number) ? number : null;
}
