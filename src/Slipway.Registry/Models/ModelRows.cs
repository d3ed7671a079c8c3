using System.Text.Json;

namespace Slipway.Registry;

/// <summary>Reads models and versions with their tags and aliases, many in a few statements.</summary>
internal static class ModelRows
{
    public const string ModelColumns = "m.id AS Id, m.name AS Name, m.description AS Description, m.last_version AS LastVersion, m.created_by AS CreatedBy, m.created_at AS CreatedAt, m.updated_at AS UpdatedAt";

    public const string VersionColumns = """
        m.id AS ModelId, m.name AS Name, v.version AS Version, v.run_id AS RunId, v.source AS Source, v.storage_uri AS StorageUri, v.run_link AS RunLink,
        v.status AS Status, v.stage AS Stage, v.description AS Description, v.files AS Files, v.signature AS Signature, v.created_by AS CreatedBy,
        v.created_at AS CreatedAt, v.updated_at AS UpdatedAt
        """;

    public const string VersionTables = "registry_versions v JOIN registry_models m ON m.id = v.model_id";
    private const string ModelTag = "model tag";
    private const string VersionTag = "version tag";
    private const string Alias = "alias";
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    public static async Task<ModelRow> ModelAsync(Session session, string name) =>
        await session.FindAsync<ModelRow>($"SELECT {ModelColumns} FROM registry_models m WHERE m.name = @name", new { name })
        ?? throw new SlipwayException(ErrorCode.NotFound, $"Registered Model with name={FilterTokens.Cut(name)} not found");

    public static async Task<VersionRow> VersionAsync(Session session, string name, int version) =>
        await session.FindAsync<VersionRow>($"SELECT {VersionColumns} FROM {VersionTables} WHERE m.name = @name AND v.version = @version AND v.deleted = 0", new { name, version = (long)version })
        ?? throw new SlipwayException(ErrorCode.NotFound, $"Model Version (name={FilterTokens.Cut(name)}, version={version}) not found");

    /// <summary>One model with tags, aliases and the newest version of every stage, in two statements: clients ask for it often.</summary>
    public static async Task<Model> OneAsync(Session session, string name)
    {
        const string Id = "(SELECT id FROM registry_models WHERE name = @name)";
        var found = await session.QueryAsync<OneRow>(
            $"""
            SELECT m.description AS ModelDescription, m.created_by AS ModelCreatedBy, m.created_at AS ModelCreatedAt, m.updated_at AS ModelUpdatedAt, {VersionColumns}
            FROM registry_models m
            LEFT JOIN (SELECT model_id, stage, MAX(version) AS version FROM registry_versions WHERE deleted = 0 AND model_id = {Id} GROUP BY model_id, stage) newest ON newest.model_id = m.id
            LEFT JOIN registry_versions v ON v.model_id = newest.model_id AND v.version = newest.version
            WHERE m.name = @name ORDER BY v.version
            """,
            new { name });
        if (found.Count == 0)
        {
            throw new SlipwayException(ErrorCode.NotFound, $"Registered Model with name={FilterTokens.Cut(name)} not found");
        }

        var (head, versions) = (found[0], found.Where(r => r.Version > 0).ToList());
        var (list, args) = SqlList.Of(versions.Select(v => v.Version).DefaultIfEmpty(0).ToList());
        args.Add("id", head.ModelId);
        var pairs = (await session.QueryAsync<PairRow>(
            $"""
            SELECT '{ModelTag}' AS Of, model_id AS ModelId, 0 AS Version, key AS Key, value AS Value FROM registry_model_tags WHERE model_id = @id
            UNION ALL SELECT '{Alias}', model_id, version, alias, '' FROM registry_aliases WHERE model_id = @id
            UNION ALL SELECT '{VersionTag}', model_id, version, key, value FROM registry_version_tags WHERE model_id = @id AND version IN ({list})
            """,
            args)).ToLookup(p => p.Of, StringComparer.Ordinal);
        var row = new ModelRow { Id = head.ModelId, Name = head.Name, Description = head.ModelDescription, CreatedBy = head.ModelCreatedBy, CreatedAt = head.ModelCreatedAt, UpdatedAt = head.ModelUpdatedAt };
        return Make(row, pairs[ModelTag], pairs[Alias], Make(versions, pairs[VersionTag], pairs[Alias]));
    }

    /// <summary>Models with tags, aliases and the newest version of every stage.</summary>
    public static async Task<IReadOnlyList<Model>> FillAsync(Session session, IReadOnlyList<ModelRow> rows)
    {
        var result = new List<Model>(rows.Count);
        foreach (var chunk in rows.Chunk(300))
        {
            var (list, args) = SqlList.Of(chunk.Select(r => r.Id).ToList());
            var tags = (await session.QueryAsync<PairRow>($"SELECT model_id AS ModelId, key AS Key, value AS Value FROM registry_model_tags WHERE model_id IN ({list})", args)).ToLookup(t => t.ModelId);
            var aliases = (await session.QueryAsync<PairRow>($"SELECT model_id AS ModelId, alias AS Key, version AS Version FROM registry_aliases WHERE model_id IN ({list})", args)).ToLookup(t => t.ModelId);
            var latest = (await VersionsAsync(
                session,
                $"""
                SELECT {VersionColumns} FROM {VersionTables}
                JOIN (SELECT model_id, stage, MAX(version) AS version FROM registry_versions WHERE deleted = 0 AND model_id IN ({list}) GROUP BY model_id, stage) newest
                    ON newest.model_id = v.model_id AND newest.version = v.version
                ORDER BY v.model_id, v.version
                """,
                args)).ToLookup(v => v.Name, StringComparer.Ordinal);
            result.AddRange(chunk.Select(r => Make(r, tags[r.Id], aliases[r.Id], [.. latest[r.Name]])));
        }

        return result;
    }

    public static async Task<IReadOnlyList<ModelVersion>> VersionsAsync(Session session, string sql, object args) =>
        await FillAsync(session, await session.QueryAsync<VersionRow>(sql, args));

    /// <summary>Versions with tags and aliases, in the order given.</summary>
    public static async Task<IReadOnlyList<ModelVersion>> FillAsync(Session session, IReadOnlyList<VersionRow> rows)
    {
        var tags = new List<PairRow>();
        var aliases = new List<PairRow>();
        foreach (var ids in rows.Select(r => r.ModelId).Distinct(StringComparer.Ordinal).Chunk(300))
        {
            if (rows.Count == 1)
            {
                var one = new { id = ids[0], version = rows[0].Version };
                tags.AddRange(await session.QueryAsync<PairRow>("SELECT model_id AS ModelId, version AS Version, key AS Key, value AS Value FROM registry_version_tags WHERE model_id = @id AND version = @version", one));
                aliases.AddRange(await session.QueryAsync<PairRow>("SELECT model_id AS ModelId, version AS Version, alias AS Key FROM registry_aliases WHERE model_id = @id AND version = @version", one));
                break;
            }

            var (list, args) = SqlList.Of(ids);
            tags.AddRange(await session.QueryAsync<PairRow>($"SELECT model_id AS ModelId, version AS Version, key AS Key, value AS Value FROM registry_version_tags WHERE model_id IN ({list})", args));
            aliases.AddRange(await session.QueryAsync<PairRow>($"SELECT model_id AS ModelId, version AS Version, alias AS Key FROM registry_aliases WHERE model_id IN ({list})", args));
        }

        return Make(rows, tags, aliases);
    }

    private static Model Make(ModelRow row, IEnumerable<PairRow> tags, IEnumerable<PairRow> aliases, IReadOnlyList<ModelVersion> latest) => new(
        row.Name,
        row.Description,
        row.CreatedBy,
        Time.FromMicros(row.CreatedAt),
        Time.FromMicros(row.UpdatedAt),
        tags.Select(t => new Tag(t.Key, t.Value)).OrderBy(t => t.Key, StringComparer.Ordinal).ToList(),
        aliases.Select(a => new ModelAlias(a.Key, (int)a.Version)).OrderBy(a => a.Alias, StringComparer.Ordinal).ToList(),
        latest);

    private static List<ModelVersion> Make(IReadOnlyList<VersionRow> rows, IEnumerable<PairRow> tags, IEnumerable<PairRow> aliases)
    {
        var tagsOf = tags.ToLookup(t => (t.ModelId, t.Version));
        var aliasesOf = aliases.ToLookup(t => (t.ModelId, t.Version));
        return rows.Select(r => new ModelVersion(
            r.Name,
            (int)r.Version,
            r.RunId,
            r.Source,
            r.Status,
            JsonSerializer.Deserialize<ModelFile[]>(r.Files, Json) ?? [],
            r.Signature is null ? null : JsonSerializer.Deserialize<ModelSignature>(r.Signature, Json),
            tagsOf[(r.ModelId, r.Version)].OrderBy(t => t.Key, StringComparer.Ordinal).ToDictionary(t => t.Key, t => t.Value, StringComparer.Ordinal),
            aliasesOf[(r.ModelId, r.Version)].Select(a => a.Key).Order(StringComparer.Ordinal).ToList(),
            r.CreatedBy,
            Time.FromMicros(r.CreatedAt),
            r.Description)
        {
            UpdatedAt = Time.FromMicros(r.UpdatedAt),
            Stage = r.Stage,
            StorageUri = r.StorageUri,
            RunLink = r.RunLink,
        }).ToList();
    }

    public static string Write(object value) => JsonSerializer.Serialize(value, Json);

    public static IReadOnlyList<ModelFile> ReadFiles(string files) => JsonSerializer.Deserialize<ModelFile[]>(files, Json) ?? [];

    internal sealed class ModelRow
    {
        public string Id { get; set; } = "";

        public string Name { get; set; } = "";

        public string? Description { get; set; }

        public long LastVersion { get; set; }

        public string CreatedBy { get; set; } = "";

        public long CreatedAt { get; set; }

        public long UpdatedAt { get; set; }
    }

    internal class VersionRow
    {
        public string ModelId { get; set; } = "";

        public string Name { get; set; } = "";

        public long Version { get; set; }

        public string? RunId { get; set; }

        public string Source { get; set; } = "";

        public string StorageUri { get; set; } = "";

        public string RunLink { get; set; } = "";

        public string Status { get; set; } = "";

        public string Stage { get; set; } = "";

        public string? Description { get; set; }

        public string Files { get; set; } = "";

        public string? Signature { get; set; }

        public string CreatedBy { get; set; } = "";

        public long CreatedAt { get; set; }

        public long UpdatedAt { get; set; }
    }

    /// <summary>A version with its model; the version is 0 for a model that has none.</summary>
    private sealed class OneRow : VersionRow
    {
        public string? ModelDescription { get; set; }

        public string ModelCreatedBy { get; set; } = "";

        public long ModelCreatedAt { get; set; }

        public long ModelUpdatedAt { get; set; }
    }

    private sealed class PairRow
    {
        public string Of { get; set; } = "";

        public string ModelId { get; set; } = "";

        public long Version { get; set; }

        public string Key { get; set; } = "";

        public string Value { get; set; } = "";
    }
}
