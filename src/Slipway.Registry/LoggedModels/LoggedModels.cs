using System.Globalization;

namespace Slipway.Registry;

/// <summary>Models that runs log, and what runs made and read of them.</summary>
public sealed class LoggedModels(Database database, Journal journal, Artifacts artifacts, TimeProvider clock)
{
    private const int TagsInRequest = 1000;

    /// <summary>Logs a model whose files are still to come: it is pending.</summary>
    /// <exception cref="SlipwayException">NotFound if the experiment or the run is missing; InvalidArgument if a text breaks a limit.</exception>
    public async Task<LoggedModel> CreateAsync(Actor actor, CreateLoggedModel request, CancellationToken ct)
    {
        var name = string.IsNullOrEmpty(request.Name) ? RunNames.New() : request.Name;
        Limits.CheckLoggedModelName(name);
        Limits.CheckLength(request.ModelType, 500, "model_type");
        Limits.CheckText(request.ModelType, "model_type");
        var parameters = CheckParams(request.Params);
        var tags = CheckTags(request.Tags);
        var experimentId = Experiments.ParseId(request.ExperimentId);
        var runId = string.IsNullOrEmpty(request.SourceRunId) ? null : request.SourceRunId;
        var now = clock.NowMicros();
        var id = "m-" + Ids.New();
        return await database.WriteAsync(
            async tx =>
            {
                var experiment = await Experiments.ActiveAsync(tx, experimentId);
                if (runId is not null)
                {
                    await RunLog.ActiveAsync(tx, runId);
                }

                await tx.ExecuteAsync(
                    """
                    INSERT INTO registry_logged_models (id, experiment_id, name, model_type, source_run_id, artifact_uri, status, state, created_by, created_at, updated_at)
                    VALUES (@id, @experimentId, @name, @type, @runId, @uri, 'PENDING', 0, @by, @now, @now)
                    """,
                    new
                    {
                        id,
                        experimentId,
                        name,
                        type = string.IsNullOrEmpty(request.ModelType) ? null : request.ModelType,
                        runId,
                        uri = $"{experiment.ArtifactLocation.TrimEnd('/')}/models/{id}/artifacts",
                        by = actor.Principal,
                        now,
                    });
                await WriteParamsAsync(tx, id, parameters);
                foreach (var tag in tags)
                {
                    await LoggedModelRows.SetTagAsync(tx, id, tag);
                }

                var experimentSubject = new Subject("experiment", experimentId.ToString(CultureInfo.InvariantCulture));
                await journal.AppendAsync(tx, actor, Events.LoggedModelCreated, SubjectOf(id), new LoggedModelCreated(name, runId), runId is null ? [experimentSubject] : [experimentSubject, new Subject("run", runId)]);
                return await ReadAsync(tx, id);
            },
            ct);
    }

    /// <summary>A model with its tags, parameters and newest metrics.</summary>
    /// <param name="id">Its id.</param>
    /// <param name="allowDeleted">Whether a deleted one may be shown.</param>
    /// <param name="ct">Cancels.</param>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public Task<LoggedModel> GetAsync(string id, bool allowDeleted, CancellationToken ct) => database.ReadAsync(
        async session =>
        {
            var head = await LoggedModelRows.FindAsync(session, id);
            return head is not null && (head.State == 0 || allowDeleted)
                ? (await LoggedModelRows.FillAsync(session, [head]))[0]
                : throw LoggedModelRows.NotFound(id);
        },
        ct);

    /// <summary>Says how the upload of its files ended.</summary>
    public Task<LoggedModel> FinalizeAsync(Actor actor, string id, LoggedModelStatus status, CancellationToken ct)
    {
        var text = LoggedModelRows.Text(status);
        return ChangeAsync(
            actor,
            id,
            Events.LoggedModelFinalized,
            RecordChanged.Of("status", null, text),
            tx => tx.ExecuteAsync("UPDATE registry_logged_models SET status = @text WHERE id = @id", new { id, text }),
            ct);
    }

    /// <summary>Marks a model deleted; its files stay.</summary>
    public Task DeleteAsync(Actor actor, string id, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            await LoggedModelRows.LiveAsync(tx, id);
            await tx.ExecuteAsync("UPDATE registry_logged_models SET state = 1, updated_at = @now WHERE id = @id", new { id, now = clock.NowMicros() });
            await journal.AppendAsync(tx, actor, Events.LoggedModelDeleted, SubjectOf(id));
        },
        ct);

    /// <summary>Sets tags.</summary>
    public Task<LoggedModel> SetTagsAsync(Actor actor, string id, IReadOnlyList<Tag> tags, CancellationToken ct)
    {
        var all = CheckTags(tags);
        return ChangeAsync(
            actor,
            id,
            Events.LoggedModelChanged,
            RecordChanged.Of("tag", string.Join(", ", all.Take(10).Select(t => t.Key)), all.Count == 1 ? all[0].Value : null),
            async tx =>
            {
                foreach (var tag in all)
                {
                    await LoggedModelRows.SetTagAsync(tx, id, tag);
                }
            },
            ct);
    }

    /// <summary>Deletes one tag.</summary>
    /// <exception cref="SlipwayException">NotFound if the model has no such tag.</exception>
    public Task DeleteTagAsync(Actor actor, string id, string key, CancellationToken ct) => ChangeAsync(
        actor,
        id,
        Events.LoggedModelChanged,
        RecordChanged.Of("tag-deleted", key, null),
        async tx =>
        {
            if (await tx.ExecuteAsync("DELETE FROM registry_logged_model_tags WHERE model_id = @id AND key = @key", new { id, key }) == 0)
            {
                throw new SlipwayException(ErrorCode.NotFound, $"No tag with key {Limits.Quote(key)} found for model with ID '{id}'.");
            }
        },
        ct);

    /// <summary>Writes parameters; the same value again is no error, another value is.</summary>
    public Task<LoggedModel> LogParamsAsync(Actor actor, string id, IReadOnlyList<Param> parameters, CancellationToken ct)
    {
        var all = CheckParams(parameters);
        return ChangeAsync(actor, id, Events.LoggedModelChanged, RecordChanged.Of("params", string.Join(", ", all.Take(10).Select(p => p.Key)), null), tx => WriteParamsAsync(tx, id, all), ct);
    }

    /// <summary>Models that match, the newest first unless ordered otherwise; the page token is good for the same search only.</summary>
    /// <exception cref="SlipwayException">InvalidArgument for a bad filter, order, limit or token.</exception>
    public async Task<Page<LoggedModel>> SearchAsync(LoggedModelSearch search, CancellationToken ct)
    {
        Limits.PageSize(search.Limit, 50_000);
        var experiments = search.ExperimentIds.Distinct(StringComparer.Ordinal).Select(Experiments.ParseId).ToList();
        var query = new LoggedModelSearchSql(search, experiments, database.Dialect);
        if (experiments.Count == 0)
        {
            return new Page<LoggedModel>([], null);
        }

        return await database.ReadAsync(
            async session =>
            {
                var statement = query.Build(session);
                var (heads, token) = await SearchOrder.PageAsync(statement, search.Limit, LoggedModelRows.Read, query.Token);
                return new Page<LoggedModel>(await LoggedModelRows.FillAsync(session, heads), token);
            },
            ct);
    }

    /// <summary>Links the models that a run made; a second link of the same model is ignored.</summary>
    /// <exception cref="SlipwayException">NotFound if the run or a model is missing; InvalidArgument if the run is deleted.</exception>
    public Task LogOutputsAsync(Actor actor, string runId, IReadOnlyList<ModelLink> models, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            await RunLog.ActiveAsync(tx, runId);
            var added = await LoggedModelRows.LinkAsync(tx, runId, output: true, models);
            if (added.Count > 0)
            {
                await journal.AppendAsync(tx, actor, Events.RunOutputsLogged, new Subject("run", runId), links: added.Select(SubjectOf).ToList());
            }
        },
        ct);

    /// <summary>What lies in a folder of a model's files, with paths relative to the model's root; empty when they lie in another store.</summary>
    public async Task<(string Root, IReadOnlyList<ArtifactInfo> Files)> ListArtifactsAsync(string id, string path, CancellationToken ct)
    {
        var folder = ArtifactPath.CheckFolder(path);
        var uri = (await database.ReadAsync(s => LoggedModelRows.LiveAsync(s, id), ct)).ArtifactUri;
        if (ArtifactPath.OfUri(uri) is not { } root)
        {
            return (uri, []);
        }

        var entries = await artifacts.ListAsync(ArtifactPath.Join(root, folder), ct);
        return (uri, entries.Select(e => e with { Path = ArtifactPath.Join(folder, e.Path) }).ToList());
    }

    /// <summary>The full path, in this server's store, of a file of a model.</summary>
    /// <exception cref="SlipwayException">NotFound; PreconditionFailed when the files lie in another store.</exception>
    public async Task<string> ArtifactPathAsync(string id, string path, CancellationToken ct)
    {
        var uri = (await database.ReadAsync(s => LoggedModelRows.LiveAsync(s, id), ct)).ArtifactUri;
        return ArtifactPath.OfUri(uri) is { } root
            ? ArtifactPath.Join(root, ArtifactPath.Check(path))
            : throw new SlipwayException(ErrorCode.PreconditionFailed, "the model's files are in another store", uri, "use that store's own client");
    }

    private static IReadOnlyList<Tag> CheckTags(IReadOnlyList<Tag> tags)
    {
        CheckCount(tags.Count, "tags");
        foreach (var (key, value) in tags)
        {
            Limits.CheckKey(key, "key");
            Limits.CheckLength(value, Limits.LoggedModelTagValue, "value");
            Limits.CheckText(value, "value");
        }

        return tags;
    }

    private static IReadOnlyList<Param> CheckParams(IReadOnlyList<Param> parameters)
    {
        CheckCount(parameters.Count, "params");
        foreach (var parameter in parameters)
        {
            Limits.CheckKey(parameter.Key, "key");
        }

        return parameters.Select(p => new Param(p.Key, Limits.Param(p.Value, "value"))).ToList();
    }

    private static void CheckCount(int count, string what)
    {
        if (count > TagsInRequest)
        {
            throw SlipwayException.Invalid($"A request can contain at most {TagsInRequest} {what}. Got {count} {what}.");
        }
    }

    private static async Task WriteParamsAsync(Tx tx, string id, IReadOnlyList<Param> parameters)
    {
        foreach (var (key, value) in parameters)
        {
            await tx.ExecuteAsync("INSERT INTO registry_logged_model_params (model_id, key, value) VALUES (@id, @key, @value) ON CONFLICT (model_id, key) DO NOTHING", new { id, key, value });
            var kept = await tx.ScalarAsync<string>("SELECT value FROM registry_logged_model_params WHERE model_id = @id AND key = @key", new { id, key });
            if (kept != value)
            {
                throw SlipwayException.Invalid($"Changing param values is not allowed. Param with key='{key}' was already logged with value='{FilterTokens.Cut(kept)}' for model ID='{id}'. Attempted logging new value '{FilterTokens.Cut(value)}'.");
            }
        }
    }

    private Task<LoggedModel> ChangeAsync(Actor actor, string id, string kind, RecordChanged change, Func<Tx, Task> write, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            await LoggedModelRows.LiveAsync(tx, id);
            await write(tx);
            await LoggedModelRows.TouchAsync(tx, id, clock.NowMicros());
            await journal.AppendAsync(tx, actor, kind, SubjectOf(id), change);
            return await ReadAsync(tx, id);
        },
        ct);

    private static async Task<LoggedModel> ReadAsync(Session session, string id) => (await LoggedModelRows.FillAsync(session, [await LoggedModelRows.LiveAsync(session, id)]))[0];

    private static Subject SubjectOf(string id) => new("logged-model", id);
}
