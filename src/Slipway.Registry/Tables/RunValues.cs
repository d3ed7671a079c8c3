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

        command.CommandText = form.Take switch
        {
            MetricTake.Last => $"SELECT run_id, key, value, is_nan FROM registry_latest_metrics WHERE run_id IN {runs} AND key IN {names}",
            MetricTake.Min or MetricTake.Max =>
                $"SELECT run_id, key, {(form.Take == MetricTake.Min ? "MIN" : "MAX")}(value), 0 FROM registry_metrics WHERE run_id IN {runs} AND key IN {names} AND is_nan = 0 GROUP BY run_id, key",

            // The first step at which the other metric is best; of several points at that step the latest counts.
            _ => $"""
                SELECT m.run_id, m.key, m.value, m.is_nan FROM (
                    SELECT run_id, step, ROW_NUMBER() OVER (PARTITION BY run_id ORDER BY value {(form.AtMax ? "DESC" : "ASC")}, step) AS place
                    FROM registry_metrics WHERE run_id IN {runs} AND key = @at AND is_nan = 0) best
                JOIN registry_metrics m ON m.run_id = best.run_id AND m.step = best.step AND m.key IN {names}
                WHERE best.place = 1 ORDER BY m.timestamp_ms
                """,
        };
        if (form.Take == MetricTake.At)
        {
            var at = command.CreateParameter();
            at.ParameterName = "@at";
            at.Value = form.AtKey ?? "";
            command.Parameters.Add(at);
        }

        await using var reader = await command.ExecuteReaderAsync(session.Token);
        while (await reader.ReadAsync(session.Token))
        {
            put(reader.GetString(0), reader.GetString(1), new RunCell(null, reader.GetInt32(3) == 1 ? double.NaN : reader.GetDouble(2)));
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
