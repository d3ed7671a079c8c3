using System.Text.Json;

namespace Slipway.Registry;

/// <summary>The rows of a model as JSON, whatever columns they have, and back.</summary>
internal static class Snapshot
{
    private static readonly (string Table, string Key)[] Tables =
    [
        ("registry_models", "id"), ("registry_model_tags", "model_id"), ("registry_versions", "model_id"), ("registry_version_tags", "model_id"), ("registry_aliases", "model_id"),
    ];

    /// <summary>Takes the rows out of their tables.</summary>
    public static async Task<string> TakeAsync(Tx tx, string modelId)
    {
        var all = new Dictionary<string, List<Dictionary<string, object?>>>(StringComparer.Ordinal);
        foreach (var (table, key) in Tables)
        {
            all[table] = await ReadAsync(tx, table, key, modelId);
        }

        foreach (var (table, key) in Tables)
        {
            await tx.ExecuteAsync($"DELETE FROM {table} WHERE {key} = @modelId", new { modelId });
        }

        return JsonSerializer.Serialize(all);
    }

    /// <summary>Puts the rows back. The numbers of versions go on after the last one that the name ever had.</summary>
    public static async Task PutBackAsync(Tx tx, string snapshot, long lastVersion)
    {
        var all = JsonSerializer.Deserialize<Dictionary<string, List<Dictionary<string, JsonElement>>>>(snapshot)!;
        foreach (var (table, _) in Tables)
        {
            foreach (var row in all[table])
            {
                var names = row.Keys.ToArray();
                using var insert = tx.Prepare($"INSERT INTO {table} ({string.Join(", ", names)}) VALUES ({string.Join(", ", names.Select(n => "@" + n))})", names);
                await insert.RunAsync([.. row.Select(c => table == "registry_models" && c.Key == "last_version" ? Math.Max(lastVersion, c.Value.GetInt64()) : Value(c.Value))]);
            }
        }
    }

    /// <summary>The numbers, runs and files of the versions that are not deleted.</summary>
    public static IReadOnlyList<(long Version, IReadOnlyList<ModelFile> Files)> Versions(string snapshot)
    {
        using var all = JsonDocument.Parse(snapshot);
        return all.RootElement.GetProperty("registry_versions").EnumerateArray()
            .Where(v => v.GetProperty("deleted").GetInt64() == 0)
            .Select(v => (v.GetProperty("version").GetInt64(), ModelRows.ReadFiles(v.GetProperty("files").GetString()!)))
            .ToList();
    }

    /// <summary>A tag of the model, or null.</summary>
    public static string? Tag(string snapshot, string key)
    {
        using var all = JsonDocument.Parse(snapshot);
        return all.RootElement.GetProperty("registry_model_tags").EnumerateArray()
            .Where(t => t.GetProperty("key").GetString() == key)
            .Select(t => t.GetProperty("value").GetString())
            .FirstOrDefault();
    }

    private static async Task<List<Dictionary<string, object?>>> ReadAsync(Session session, string table, string key, string modelId)
    {
        await using var command = session.Command($"SELECT * FROM {table} WHERE {key} = @id");
        var parameter = command.CreateParameter();
        (parameter.ParameterName, parameter.Value) = ("@id", modelId);
        command.Parameters.Add(parameter);
        await using var reader = await command.ExecuteReaderAsync(session.Token);
        var rows = new List<Dictionary<string, object?>>();
        while (await reader.ReadAsync(session.Token))
        {
            var row = new Dictionary<string, object?>(StringComparer.Ordinal);
            for (var i = 0; i < reader.FieldCount; i++)
            {
                row[reader.GetName(i)] = await reader.IsDBNullAsync(i, session.Token) ? null : reader.GetValue(i);
            }

            rows.Add(row);
        }

        return rows;
    }

    private static object? Value(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null => null,
        JsonValueKind.Number => value.GetInt64(),
        _ => value.GetString(),
    };
}
