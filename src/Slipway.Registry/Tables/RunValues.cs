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
            await ReadHistoriesAsync(session, ids, form, keys, put);
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

    /// <summary>The smallest, the largest, or the point at the first step where another metric is best; of several points at that step the latest counts.</summary>
    private static async Task ReadHistoriesAsync(Session session, IReadOnlyList<string> ids, RunColumn form, IReadOnlyList<string> keys, Action<string, string, RunCell> put)
    {
        foreach (var id in ids)
        {
            var best = form.Take == MetricTake.At ? Best(await RunMetrics.HistoryAsync(session, id, form.AtKey ?? "", null, int.MaxValue), form.AtMax) : null;
            if (form.Take == MetricTake.At && best is null)
            {
                continue;
            }

            foreach (var key in keys)
            {
                var history = await RunMetrics.HistoryAsync(session, id, key, null, int.MaxValue);
                if ((best is { } at ? At(history, at.Step) : Best(history, form.Take == MetricTake.Max)) is { } point)
                {
                    put(id, key, new RunCell(null, point.Value));
                }
            }
        }
    }

    private static MetricPoint? Best(IReadOnlyList<MetricPoint> history, bool largest)
    {
        MetricPoint? best = null;
        foreach (var point in history)
        {
            if (!double.IsNaN(point.Value) && (best is not { } so || (largest ? point.Value > so.Value : point.Value < so.Value) || (point.Value == so.Value && point.Step < so.Step)))
            {
                best = point;
            }
        }

        return best;
    }

    private static MetricPoint? At(IReadOnlyList<MetricPoint> history, long step)
    {
        MetricPoint? found = null;
        foreach (var point in history)
        {
            if (point.Step == step)
            {
                found = point;
            }
        }

        return found;
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
