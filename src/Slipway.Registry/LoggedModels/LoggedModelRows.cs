using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Slipway.Registry;

/// <summary>Reads and writes the rows of logged models inside a session or transaction of the caller.</summary>
internal static class LoggedModelRows
{
    public const string Columns = "l.id, l.experiment_id, l.name, l.model_type, l.source_run_id, l.artifact_uri, l.status, l.state, l.created_by, l.created_at, l.updated_at";

    /// <summary>Tag that lists the registrations of a logged model, a JSON list of name and version.</summary>
    public const string VersionsTag = "mlflow.modelVersions";

    private const string Input = "input";
    public const string Output = "output";
    private const int Chunk = 300;

    // A model may gather the points of many runs; what a client lists is bounded.
    private const int Points = 1000;

    /// <summary>The model, if it is there and not deleted.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public static async Task<Head> LiveAsync(Session session, string id)
    {
        var head = await FindAsync(session, id);
        return head is { State: 0 } ? head : throw NotFound(id);
    }

    public static async Task<Head?> FindAsync(Session session, string id)
    {
        using var find = session.Statement($"SELECT {Columns} FROM registry_logged_models l WHERE l.id = $1");
        return await find.Bind(id).NextAsync() ? Read(find) : null;
    }

    public static Head Read(Statement row) => new(
        row.Text(0),
        row.Long(1),
        row.Text(2),
        row.TextOrNull(3),
        row.TextOrNull(4),
        row.Text(5),
        row.Text(6),
        row.Long(7),
        row.Text(8),
        row.Long(9),
        row.Long(10));

    /// <summary>The models with their tags, parameters and newest metrics, in the order given.</summary>
    public static async Task<IReadOnlyList<LoggedModel>> FillAsync(Session session, IReadOnlyList<Head> heads)
    {
        var models = new List<LoggedModel>(heads.Count);
        foreach (var chunk in heads.Chunk(Chunk))
        {
            var (list, args) = SqlList.Of(chunk.Select(h => h.Id).ToList());
            var tags = (await session.QueryAsync<PairRow>($"SELECT model_id AS ModelId, key AS Key, value AS Value FROM registry_logged_model_tags WHERE model_id IN ({list}) ORDER BY key", args)).ToLookup(r => r.ModelId);
            var parameters = (await session.QueryAsync<PairRow>($"SELECT model_id AS ModelId, key AS Key, value AS Value FROM registry_logged_model_params WHERE model_id IN ({list}) ORDER BY key", args)).ToLookup(r => r.ModelId);
            var metrics = (await session.QueryAsync<PointRow>(
                $"""
                SELECT model_id AS ModelId, key AS Key, timestamp_ms AS TimestampMs, step AS Step, value AS Value, is_nan AS IsNan, run_id AS RunId, dataset_name AS DatasetName, dataset_digest AS DatasetDigest
                FROM (SELECT p.*, ROW_NUMBER() OVER (PARTITION BY model_id ORDER BY timestamp_ms DESC, step DESC, key, run_id) AS place FROM registry_logged_model_metrics p WHERE model_id IN ({list})) newest
                WHERE place <= {Points} ORDER BY timestamp_ms, step, key, run_id
                """,
                args)).ToLookup(r => r.ModelId);
            models.AddRange(chunk.Select(h => new LoggedModel(
                h.Id,
                h.ExperimentId.ToString(CultureInfo.InvariantCulture),
                h.Name,
                h.ModelType,
                h.SourceRunId,
                h.ArtifactUri,
                Status(h.Status),
                h.State != 0,
                h.CreatedBy,
                Time.FromMicros(h.CreatedAt),
                Time.FromMicros(h.UpdatedAt),
                tags[h.Id].Select(t => new Tag(t.Key, t.Value)).OrderBy(t => t.Key, StringComparer.Ordinal).ToList(),
                parameters[h.Id].Select(p => new Param(p.Key, p.Value)).OrderBy(p => p.Key, StringComparer.Ordinal).ToList(),
                metrics[h.Id].Select(p => p.ToMetric()).ToList())));
        }

        return models;
    }

    public static async Task SetTagAsync(Tx tx, string id, Tag tag) => await tx.ExecuteAsync(
        "INSERT INTO registry_logged_model_tags (model_id, key, value) VALUES (@id, @Key, @Value) ON CONFLICT (model_id, key) DO UPDATE SET value = excluded.value",
        new { id, tag.Key, tag.Value });

    /// <summary>Appends a registration to the model's list of versions, which clients read and keep as a tag.</summary>
    public static async Task AddRegistrationAsync(Tx tx, string id, string name, long version, long now)
    {
        var before = await tx.FindAsync<string>("SELECT value FROM registry_logged_model_tags WHERE model_id = @id AND key = @key", new { id, key = VersionsTag });
        JsonArray list;
        try
        {
            list = before is null ? [] : JsonNode.Parse(before) as JsonArray ?? [];
        }
        catch (JsonException)
        {
            // A client may have set the tag to anything by itself.
            list = [];
        }

        list.Add(new JsonObject { ["name"] = name, ["version"] = version.ToString(CultureInfo.InvariantCulture) });
        await SetTagAsync(tx, id, new Tag(VersionsTag, list.ToJsonString()));
        await TouchAsync(tx, id, now);
    }

    public static Task TouchAsync(Tx tx, string id, long now) => tx.ExecuteAsync("UPDATE registry_logged_models SET updated_at = @now WHERE id = @id", new { id, now });

    /// <summary>Keeps the points that speak about models; an identical one is kept once.</summary>
    /// <exception cref="SlipwayException">NotFound for a model that is not there.</exception>
    public static async Task WriteMetricsAsync(Tx tx, string runId, IReadOnlyList<ModelMetric> metrics)
    {
        foreach (var id in metrics.Select(m => m.ModelId).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal))
        {
            await LiveAsync(tx, id);
        }

        foreach (var (point, modelId, _, datasetName, datasetDigest) in metrics)
        {
            var nan = double.IsNaN(point.Value);
            await tx.ExecuteAsync(
                """
                INSERT INTO registry_logged_model_metrics (model_id, key, timestamp_ms, step, value, is_nan, run_id, dataset_name, dataset_digest)
                VALUES (@modelId, @Key, @TimestampMs, @Step, @value, @nan, @runId, @datasetName, @datasetDigest) ON CONFLICT DO NOTHING
                """,
                new { modelId, point.Key, point.TimestampMs, point.Step, value = nan ? 0 : point.Value, nan = nan ? 1 : 0, runId, datasetName, datasetDigest });
        }
    }

    /// <summary>Links models to a run; a second link of the same model is ignored.</summary>
    /// <returns>The models that are new for the run.</returns>
    /// <exception cref="SlipwayException">NotFound for a model that is not there.</exception>
    public static async Task<IReadOnlyList<string>> LinkAsync(Tx tx, string runId, bool output, IReadOnlyList<ModelLink> links)
    {
        if (links.Count == 0)
        {
            return [];
        }

        var role = output ? Output : Input;
        var position = await tx.ScalarAsync<long>("SELECT COUNT(*) FROM registry_run_models WHERE run_id = @runId AND role = @role", new { runId, role });
        var added = new List<string>();
        foreach (var (modelId, step) in links.DistinctBy(l => l.ModelId))
        {
            await LiveAsync(tx, modelId);
            if (await tx.ExecuteAsync(
                "INSERT INTO registry_run_models (run_id, role, model_id, step, position) VALUES (@runId, @role, @modelId, @step, @position) ON CONFLICT (run_id, role, model_id) DO NOTHING",
                new { runId, role, modelId, step, position }) == 1)
            {
                position++;
                added.Add(modelId);
            }
        }

        if (added.Count > 0)
        {
            await RunLog.ChangedAsync(tx, runId);
        }

        return added;
    }

    public static string Text(LoggedModelStatus status) => status switch
    {
        LoggedModelStatus.Pending => "PENDING",
        LoggedModelStatus.Ready => "READY",
        LoggedModelStatus.UploadFailed => "UPLOAD_FAILED",
        _ => throw SlipwayException.Invalid($"Invalid value {(int)status} for parameter 'status' supplied"),
    };

    public static SlipwayException NotFound(string id) => new(ErrorCode.NotFound, $"Logged model with ID '{FilterTokens.Cut(id)}' not found.");

    private static LoggedModelStatus Status(string text) => text switch
    {
        "PENDING" => LoggedModelStatus.Pending,
        "READY" => LoggedModelStatus.Ready,
        "UPLOAD_FAILED" => LoggedModelStatus.UploadFailed,
        _ => throw new SlipwayException(ErrorCode.DataLoss, "a logged model has an unknown status", $"'{text}'"),
    };

    /// <summary>The row of a model.</summary>
    internal sealed record Head(string Id, long ExperimentId, string Name, string? ModelType, string? SourceRunId, string ArtifactUri, string Status, long State, string CreatedBy, long CreatedAt, long UpdatedAt);

    private sealed class PairRow
    {
        public string ModelId { get; set; } = "";

        public string Key { get; set; } = "";

        public string Value { get; set; } = "";
    }

    private sealed class PointRow
    {
        public string ModelId { get; set; } = "";

        public string Key { get; set; } = "";

        public long TimestampMs { get; set; }

        public long Step { get; set; }

        public double Value { get; set; }

        public long IsNan { get; set; }

        public string RunId { get; set; } = "";

        public string DatasetName { get; set; } = "";

        public string DatasetDigest { get; set; } = "";

        public ModelMetric ToMetric() => new(new MetricPoint(Key, IsNan == 1 ? double.NaN : Value, TimestampMs, Step), ModelId, RunId, DatasetName, DatasetDigest);
    }
}
