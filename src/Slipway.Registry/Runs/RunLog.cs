using System.Text.Json;
using System.Text.Json.Nodes;

namespace Slipway.Registry;

/// <summary>The rules of what a run may log, inside one transaction: parameters are written once, tags are replaced, datasets are shared.</summary>
internal static class RunLog
{
    public const string NameTag = "mlflow.runName";

    /// <summary>Checks a batch as a whole, before anything is written.</summary>
    /// <param name="metrics">Points.</param>
    /// <param name="parameters">Parameters.</param>
    /// <param name="tags">Tags.</param>
    /// <param name="single">The caller sent one thing by itself: a message names <c>key</c>, not <c>metrics[0].key</c>.</param>
    public static (IReadOnlyList<Param> Params, IReadOnlyList<Tag> Tags) Check(IReadOnlyList<MetricPoint> metrics, IReadOnlyList<Param> parameters, IReadOnlyList<Tag> tags, bool single = false)
    {
        CheckCount(metrics.Count, Limits.MetricsInBatch, "metrics");
        CheckCount(parameters.Count, Limits.ParamsInBatch, "params");
        CheckCount(tags.Count, Limits.TagsInBatch, "tags");
        CheckCount(metrics.Count + parameters.Count + tags.Count, Limits.AllInBatch, "metrics, params, and tags");
        for (var i = 0; i < metrics.Count; i++)
        {
            // Metrics are many: the text of a path is made only for the one that is refused.
            if (!Limits.IsPlainKey(metrics[i].Key) || metrics[i].TimestampMs < 0)
            {
                CheckPoint(metrics[i], At("metrics", i));
            }
        }

        for (var i = 0; i < parameters.Count; i++)
        {
            Limits.CheckKey(parameters[i].Key, At("params", i) + "key");
        }

        for (var i = 0; i < tags.Count; i++)
        {
            if (!Limits.IsPlainKey(tags[i].Key))
            {
                Limits.CheckKey(tags[i].Key, At("tags", i) + "key");
            }
        }

        if (parameters.Count == 0 && tags.Count == 0)
        {
            return ([], []);
        }

        var duplicates = parameters.GroupBy(p => p.Key, StringComparer.Ordinal).Where(g => g.Count() > 1).Select(g => $"'{g.Key}'").ToList();
        if (duplicates.Count > 0)
        {
            throw SlipwayException.Invalid($"Duplicate parameter keys have been submitted: [{string.Join(", ", duplicates)}]. Please ensure the request contains only one param value per param key.");
        }

        // Of a repeated tag the last value counts. Key order gives two writers the same order of locks.
        return (
            parameters.Select((p, i) => new Param(p.Key, Limits.Param(p.Value, At("params", i) + "value"))).OrderBy(p => p.Key, StringComparer.Ordinal).ToList(),
            tags.GroupBy(t => t.Key, StringComparer.Ordinal).Select(g => new Tag(g.Key, Limits.RunTag(g.Last().Value, single ? "value" : "tags.value"))).OrderBy(t => t.Key, StringComparer.Ordinal).ToList());

        string At(string list, int index) => single ? "" : $"{list}[{index}].";
    }

    private static void CheckPoint(MetricPoint point, string path)
    {
        Limits.CheckKey(point.Key, $"{path}key");
        if (point.TimestampMs < 0)
        {
            throw SlipwayException.Invalid($"Invalid value {point.TimestampMs} for parameter '{path}timestamp' supplied: Timestamp must be a non-negative long");
        }
    }

    /// <summary>The run, if it may be written.</summary>
    public static async Task<RunRow> ActiveAsync(Tx tx, string runId)
    {
        using var find = tx.Statement("SELECT experiment_id, state, name, status, ended_at FROM registry_runs WHERE id = $1");
        if (!await find.Bind(runId).NextAsync())
        {
            throw NotFound(runId);
        }

        return find.Long(1) == 0
            ? new RunRow(find.Long(0), find.Text(2), find.Text(3), find.IsNull(4) ? null : find.Long(4))
            : throw Deleted(runId);
    }

    /// <summary>Why a run cannot be written; null if it can.</summary>
    public static async Task<SlipwayException?> WhyNotAsync(Session session, string runId)
    {
        using var find = session.Statement("SELECT state FROM registry_runs WHERE id = $1");
        return !await find.Bind(runId).NextAsync() ? NotFound(runId) : find.Long(0) == 0 ? null : Deleted(runId);
    }

    /// <summary>The experiment of a run, or null if there is no such run.</summary>
    public static async Task<long?> ExperimentOfAsync(Session session, string runId)
    {
        using var find = session.Statement("SELECT experiment_id FROM registry_runs WHERE id = $1");
        return await find.Bind(runId).NextAsync() ? find.Long(0) : null;
    }

    /// <summary>A revision that no run had before, also not one that a restored or promoted database knows nothing of.</summary>
    public static long Revision() => Random.Shared.NextInt64();

    /// <summary>Gives the run a new revision: whoever writes anything that a run shows calls this in the same transaction.</summary>
    public static async Task ChangedAsync(Tx tx, string runId)
    {
        using var change = tx.Statement("UPDATE registry_runs SET rev = $2 WHERE id = $1");
        await change.Bind(runId).Bind(Revision()).RunAsync();
    }

    public static async Task WriteParamsAsync(Tx tx, bool postgres, string runId, IReadOnlyList<Param> parameters)
    {
        if (parameters.Count == 0)
        {
            return;
        }

        var written = 0;
        using var insert = tx.Statement(postgres
            ? "INSERT INTO registry_params (run_id, key, value) SELECT $1, * FROM unnest($2::text[], $3::text[]) ON CONFLICT (run_id, key) DO NOTHING"
            : "INSERT INTO registry_params (run_id, key, value) VALUES ($1, $2, $3) ON CONFLICT (run_id, key) DO NOTHING");
        if (postgres)
        {
            written = await insert.Bind(runId).Bind(parameters.Select(p => p.Key).ToArray()).Bind(parameters.Select(p => p.Value).ToArray()).RunAsync();
        }
        else
        {
            foreach (var (key, value) in parameters)
            {
                written += await insert.Bind(runId).Bind(key).Bind(value).RunAsync();
            }
        }

        if (written < parameters.Count)
        {
            await DemandSameAsync(tx, runId, parameters);
        }

        if (written > 0)
        {
            await ChangedAsync(tx, runId);
        }
    }

    private static async Task DemandSameAsync(Tx tx, string runId, IReadOnlyList<Param> parameters)
    {
        var clashes = new List<(string Key, string Old, string New)>();
        foreach (var (key, value) in parameters)
        {
            using var find = tx.Statement("SELECT value FROM registry_params WHERE run_id = $1 AND key = $2");
            if (await find.Bind(runId).Bind(key).NextAsync() && find.Text(0) is var old && old != value)
            {
                clashes.Add((key, old, value));
            }
        }

        if (clashes.Count == 1)
        {
            var (key, old, value) = clashes[0];
            throw SlipwayException.Invalid(
                $"Changing param values is not allowed. Param with key='{key}' was already logged with value='{FilterTokens.Cut(old)}' for run ID='{runId}'. Attempted logging new value '{FilterTokens.Cut(value)}'.");
        }

        if (clashes.Count > 1)
        {
            var list = string.Join(", ", clashes.Take(10).Select(c => $"{{'key': '{c.Key}', 'old_value': '{FilterTokens.Cut(c.Old)}', 'new_value': '{FilterTokens.Cut(c.New)}'}}"));
            throw SlipwayException.Invalid($"Changing param values is not allowed. Params were already logged='[{list}]' for run ID='{runId}'.");
        }
    }

    /// <summary>Upserts tags; the run's name follows its name tag.</summary>
    public static async Task WriteTagsAsync(Tx tx, bool postgres, string runId, IReadOnlyList<Tag> tags)
    {
        if (tags.Count == 0)
        {
            return;
        }

        using var upsert = tx.Statement(
            $"INSERT INTO registry_tags (run_id, key, value) {(postgres ? "SELECT $1, * FROM unnest($2::text[], $3::text[])" : "VALUES ($1, $2, $3)")} ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value");
        if (postgres)
        {
            await upsert.Bind(runId).Bind(tags.Select(t => t.Key).ToArray()).Bind(tags.Select(t => t.Value).ToArray()).RunAsync();
        }

        foreach (var (key, value) in tags)
        {
            if (!postgres)
            {
                await upsert.Bind(runId).Bind(key).Bind(value).RunAsync();
            }

            if (key == NameTag)
            {
                await tx.ExecuteAsync("UPDATE registry_runs SET name = @value WHERE id = @runId", new { runId, value });
            }
        }

        await ChangedAsync(tx, runId);
    }

    /// <summary>Links datasets; one that the experiment knows already is not stored again, and a second link is ignored.</summary>
    /// <returns>The inputs that are new for the run.</returns>
    public static async Task<IReadOnlyList<DatasetInput>> WriteInputsAsync(Tx tx, string runId, long experimentId, IReadOnlyList<DatasetInput> inputs)
    {
        var position = await tx.ScalarAsync<long>("SELECT COUNT(*) FROM registry_inputs WHERE run_id = @runId", new { runId });
        var added = new List<DatasetInput>();
        foreach (var input in inputs.DistinctBy(i => (i.Name, i.Digest)))
        {
            await tx.ExecuteAsync(
                """
                INSERT INTO registry_datasets (id, experiment_id, name, digest, source_type, source, schema, profile)
                VALUES (@id, @experimentId, @Name, @Digest, @SourceType, @Source, @Schema, @Profile) ON CONFLICT (experiment_id, name, digest) DO NOTHING
                """,
                new { id = Ids.New(), experimentId, input.Name, input.Digest, input.SourceType, input.Source, input.Schema, input.Profile });
            var datasetId = await tx.ScalarAsync<string>("SELECT id FROM registry_datasets WHERE experiment_id = @experimentId AND name = @Name AND digest = @Digest", new { experimentId, input.Name, input.Digest });
            var linked = await tx.ExecuteAsync(
                "INSERT INTO registry_inputs (run_id, dataset_id, position, context, tags) VALUES (@runId, @datasetId, @position, @Context, @tags) ON CONFLICT (run_id, dataset_id) DO NOTHING",
                new { runId, datasetId, position, input.Context, tags = JsonSerializer.Serialize(input.Tags ?? []) });
            if (linked == 1)
            {
                position++;
                added.Add(input);
            }
        }

        if (added.Count > 0)
        {
            await ChangedAsync(tx, runId);
        }

        return added;
    }

    public static JsonObject CheckModelJson(string text)
    {
        Limits.CheckLength(text, 1024 * 1024, "model_json");
        Limits.CheckText(text, "model_json");
        JsonObject? model;
        try
        {
            model = JsonNode.Parse(text) as JsonObject;
        }
        catch (JsonException e)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, "Malformed model info", "model_json is not JSON", inner: e);
        }

        var missing = ((string[])["artifact_path", "flavors", "utc_time_created", "run_id"]).Where(f => model?.ContainsKey(f) != true).ToList();
        return missing.Count == 0 ? model! : throw SlipwayException.Invalid($"Model json is missing mandatory fields: {string.Join(", ", missing)}");
    }

    /// <summary>This list is longer than a client's tag may be, so it is never cut.</summary>
    public static async Task AppendModelAsync(Tx tx, bool postgres, string runId, JsonObject model)
    {
        const string key = "mlflow.log-model.history";
        var before = await tx.FindAsync<string>("SELECT value FROM registry_tags WHERE run_id = @runId AND key = @key", new { runId, key });
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

        list.Add(model.DeepClone());
        await WriteTagsAsync(tx, postgres, runId, [new Tag(key, list.ToJsonString())]);
    }

    /// <summary>The versions of this server's datasets that a run read.</summary>
    public static async Task<IReadOnlyList<Subject>> DatasetVersionsAsync(Session session, string runId) =>
        (await session.QueryAsync<string>(
            "SELECT d.source FROM registry_inputs i JOIN registry_datasets d ON d.id = i.dataset_id WHERE i.run_id = @runId AND d.source_type = @type ORDER BY i.position",
            new { runId, type = DatasetInput.SlipwaySource }))
        .Select(Subject.Parse).ToList();

    private static SlipwayException Deleted(string runId) =>
        new(ErrorCode.InvalidArgument, $"The run {runId} must be in the 'active' state. Current state is deleted.", next: "restore the run first");

    public static SlipwayException NotFound(string runId) => new(ErrorCode.NotFound, $"Run with id={FilterTokens.Cut(runId)} not found");

    private static void CheckCount(int count, int limit, string what)
    {
        if (count > limit)
        {
            throw SlipwayException.Invalid($"A batch logging request can contain at most {limit} {what}. Got {count} {what}. Please split up {what} across multiple requests and try again.");
        }
    }

    internal sealed record RunRow(long ExperimentId, string Name, string Status, long? EndedAt);
}
