using System.Globalization;
using System.Text.Json;

namespace Slipway.Registry;

/// <summary>Reads columns of many runs, one statement for each kind of column.</summary>
internal static class RunTable
{
    private const int NewestForKeys = 1000;

    /// <summary>The terms of an order that the search itself knows; null for one that has to be computed.</summary>
    public static IReadOnlyList<string>? OrderOf(RunColumn? column, bool descending)
    {
        if (column is null)
        {
            return [];
        }

        var direction = descending ? "DESC" : "ASC";
        return column switch
        {
            { Kind: RunColumnKind.Metric, Take: MetricTake.Last } or { Kind: RunColumnKind.Param or RunColumnKind.Tag } => column.Key.Contains('`', StringComparison.Ordinal)
                ? null
                : [$"{column.Kind.ToString().ToLowerInvariant()}.`{column.Key}` {direction}"],
            { Kind: RunColumnKind.Attribute, Key: not "duration" } => [$"attributes.{column.Key} {direction}"],
            _ => null,
        };
    }

    public static async Task<List<string>> IdsAsync(Session session, RunSearchSql query, int limit)
    {
        var ids = new List<string>();
        foreach (var phase in query.Phases)
        {
            using var found = query.BuildIds(session, phase, limit - ids.Count);
            while (await found.NextAsync())
            {
                ids.Add(found.Text(0));
            }
        }

        return ids;
    }

    /// <summary>Numbers first, then texts, then NaN, then nothing, whatever the direction; equals keep their order.</summary>
    public static async Task<IReadOnlyList<string>> SortAsync(Session session, bool postgres, IReadOnlyList<string> ids, RunColumn column, bool descending)
    {
        var cells = await CellsAsync(session, postgres, ids, [column]);
        var order = Enumerable.Range(0, ids.Count).OrderBy(i => Class(cells[i][0]));
        var sorted = descending
            ? order.ThenByDescending(i => cells[i][0].Number ?? 0).ThenByDescending(i => cells[i][0].Text, StringComparer.Ordinal)
            : order.ThenBy(i => cells[i][0].Number ?? 0).ThenBy(i => cells[i][0].Text, StringComparer.Ordinal);
        return sorted.Select(i => ids[i]).ToList();

        static int Class(RunCell cell) => cell switch
        {
            { Number: { } n } => double.IsNaN(n) ? 2 : 0,
            { Text: not null } => 1,
            _ => 3,
        };
    }

    public static async Task<IReadOnlyList<RunLine>> LinesAsync(Session session, bool postgres, IReadOnlyList<string> ids, IReadOnlyList<RunColumn> columns)
    {
        var heads = await HeadsAsync(session, postgres, ids);
        var cells = await CellsAsync(session, postgres, ids, columns, heads);
        var lines = new List<RunLine>(ids.Count);
        for (var i = 0; i < ids.Count; i++)
        {
            if (heads.TryGetValue(ids[i], out var head))
            {
                lines.Add(new RunLine(head.Id, head.ExperimentId.ToString(CultureInfo.InvariantCulture), head.Name, head.UserId, head.Status, Time.FromMicros(head.StartedAt),
                    head.EndedAt is { } end ? Time.FromMicros(end) : null, head.State != 0, cells[i]));
            }
        }

        return lines;
    }

    /// <summary>One array of cells for each run, in the order of ids and columns.</summary>
    public static async Task<RunCell[][]> CellsAsync(Session session, bool postgres, IReadOnlyList<string> ids, IReadOnlyList<RunColumn> columns, Dictionary<string, RunRows.RunHead>? heads = null)
    {
        var cells = new RunCell[ids.Count][];
        var at = new Dictionary<string, int>(ids.Count, StringComparer.Ordinal);
        for (var i = 0; i < ids.Count; i++)
        {
            cells[i] = new RunCell[columns.Count];
            at[ids[i]] = i;
        }

        if (columns.Any(c => c.Kind == RunColumnKind.Attribute))
        {
            heads ??= await HeadsAsync(session, postgres, ids);
            for (var c = 0; c < columns.Count; c++)
            {
                if (columns[c].Kind == RunColumnKind.Attribute)
                {
                    foreach (var (id, head) in heads)
                    {
                        cells[at[id]][c] = Attribute(head, columns[c].Key);
                    }
                }
            }
        }

        foreach (var group in columns.Select((c, i) => (Column: c, Index: i)).Where(c => c.Column.Kind != RunColumnKind.Attribute).GroupBy(c => (c.Column.Kind, c.Column.Take, c.Column.AtKey, c.Column.AtMax)))
        {
            var indexes = group.ToLookup(c => c.Column.Key, c => c.Index, StringComparer.Ordinal);
            await RunValues.ReadAsync(session, postgres, ids, group.First().Column, [.. indexes.Select(k => k.Key)], (id, key, cell) =>
            {
                foreach (var index in indexes[key])
                {
                    cells[at[id]][index] = cell;
                }
            });
        }

        return cells;
    }

    public static async Task<RunKeys> KeysAsync(Session session, IReadOnlyList<long> experiments)
    {
        var (list, args) = SqlList.Of(experiments);
        var newest = $"(SELECT id FROM registry_runs WHERE experiment_id IN ({list}) ORDER BY started_at DESC LIMIT {NewestForKeys})";
        return new RunKeys(
            await RunValues.MetricKeysAsync(session, experiments),
            await KeysOf("registry_params"),
            await KeysOf("registry_tags"));

        async Task<IReadOnlyList<string>> KeysOf(string table) =>
            [.. (await session.QueryAsync<string>($"SELECT DISTINCT t.key FROM {newest} r JOIN {table} t ON t.run_id = r.id", args)).Order(StringComparer.Ordinal)];
    }

    private static async Task<Dictionary<string, RunRows.RunHead>> HeadsAsync(Session session, bool postgres, IReadOnlyList<string> ids)
    {
        using var find = session.Statement($"SELECT {RunRows.Columns} FROM registry_runs r WHERE r.id {(postgres ? "= ANY($1::text[])" : "IN (SELECT value FROM json_each($1))")}");
        _ = postgres ? find.Bind(ids.ToArray()) : find.Bind(JsonSerializer.Serialize(ids));
        var heads = new Dictionary<string, RunRows.RunHead>(ids.Count, StringComparer.Ordinal);
        while (await find.NextAsync())
        {
            var head = RunRows.Read(find);
            heads[head.Id] = head;
        }

        return heads;
    }

    private static RunCell Attribute(RunRows.RunHead head, string name) => name switch
    {
        "run_id" => new RunCell(head.Id, null),
        "run_name" => new RunCell(head.Name, null),
        "experiment_id" => new RunCell(head.ExperimentId.ToString(CultureInfo.InvariantCulture), head.ExperimentId),
        "user_id" => new RunCell(head.UserId, null),
        "status" => new RunCell(RunRows.Text(head.Status), null),
        "start_time" => new RunCell(null, head.StartedAt / 1000d),
        "end_time" => new RunCell(null, head.EndedAt / 1000d),
        "duration" => new RunCell(null, (head.EndedAt - head.StartedAt) / 1e6),
        _ => default,
    };
}
