using System.Collections.Concurrent;
using System.Globalization;
using Slipway.Data;

namespace Slipway.Registry;

/// <summary>Runs and everything that they log: metrics, parameters, tags, dataset inputs, artifacts.</summary>
/// <remarks>Metric points, parameters and run tags are written without a journal entry: they are bulk, and their run is journalled.</remarks>
public sealed partial class Runs
{
    private const int FewRuns = 10_000;
    private readonly Database database;
    private readonly Journal journal;
    private readonly Datasets datasets;
    private readonly Artifacts artifacts;
    private readonly TimeProvider clock;
    private readonly MetricFolder folder;
    private readonly ConcurrentDictionary<long, (bool Large, long At)> sizes = new();
    private readonly Together<RunStart> starts;
    private readonly Together<(string RunId, byte[] Points)> points;
    private readonly ReadTogether<string, RunRows.Found?> reads;
    private readonly RunCache cache = new();

    internal Runs(Database database, Journal journal, Datasets datasets, Artifacts artifacts, MetricFolder folder, TimeProvider clock)
    {
        (this.database, this.journal, this.datasets, this.artifacts, this.folder, this.clock) = (database, journal, datasets, artifacts, folder, clock);
        starts = new(database, (tx, runs) => RunStart.WriteAsync(tx, IsPostgres, journal, runs));
        points = new(database, (tx, batches) => RunMetrics.AppendAsync(tx, IsPostgres, batches));
        reads = new(database, (session, ids) => RunRows.FindAsync(session, IsPostgres, cache, ids));
    }

    /// <summary>From so many runs on, a search may begin with the runs that one of its conditions finds.</summary>
    internal int LargeExperiment { get; set; } = 30_000;

    private bool IsPostgres => database.Dialect.IsPostgres;

    /// <summary>Starts a run in state RUNNING.</summary>
    /// <exception cref="SlipwayException">NotFound if the experiment is missing, InvalidArgument if it is deleted or a text breaks a limit.</exception>
    public async Task<Run> CreateAsync(Actor actor, CreateRun request, CancellationToken ct)
    {
        var (_, tags) = RunLog.Check([], [], request.Tags);
        var name = NameOf(request.Name, tags);
        var experimentId = Experiments.ParseId(request.ExperimentId);
        Limits.CheckLength(request.UserId, 256, "user_id");
        Limits.CheckText(request.UserId, "user_id");
        var id = Ids.New();
        var started = request.StartTime ?? clock.GetUtcNow();
        IReadOnlyList<Tag> all = [.. tags.Where(t => t.Key != RunLog.NameTag).Append(new Tag(RunLog.NameTag, name)).OrderBy(t => t.Key, StringComparer.Ordinal)];
        var start = new RunStart(id, experimentId, name, request.UserId, Time.ToMicros(started), all, actor);
        ct.ThrowIfCancellationRequested();
        await starts.WriteAsync(start);
        return new Run(id, experimentId.ToString(CultureInfo.InvariantCulture), name, request.UserId, RunStatus.Running, Time.FromMicros(start.StartedAt), null, start.ArtifactUri, Deleted: false, [], [], all, []);
    }

    /// <summary>A run with its latest metrics, parameters, tags and inputs; deleted ones too.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public async Task<Run> GetAsync(string runId, CancellationToken ct)
    {
        while (true)
        {
            // On SQLite a read costs no round trip, so that there is nothing to share.
            var found = IsPostgres ? await reads.AskAsync(runId) : (await database.ReadAsync(session => RunRows.FindAsync(session, false, cache, [runId]), ct))[0];
            if (found is null)
            {
                throw RunLog.NotFound(runId);
            }

            if (found.Run is not null)
            {
                return found.Run;
            }

            await folder.FoldAsync([(found.Unfolded, runId)], ct);
        }
    }

    /// <summary>Runs that match, a page at a time; the page token is good for the same search only.</summary>
    /// <exception cref="SlipwayException">InvalidArgument for a bad filter, order, limit or token.</exception>
    public async Task<Page<Run>> SearchAsync(RunSearch search, CancellationToken ct)
    {
        Limits.PageSize(search.Limit, 50_000);
        var experiments = search.ExperimentIds.Distinct(StringComparer.Ordinal).Select(Experiments.ParseId).ToList();
        if (experiments.Count > 1000)
        {
            throw SlipwayException.Invalid($"A search takes at most 1000 experiments", $"got {experiments.Count}");
        }

        var query = new RunSearchSql(search, experiments.Count == 0 ? [-1] : experiments, database.Dialect);
        if (experiments.Count == 0)
        {
            return new Page<Run>([], null);
        }

        await FoldAsync(experiments, ct);
        return await database.ReadAsWrittenAsync(
            async session =>
            {
                var lead = await LeadAsync(session, query, experiments);
                var heads = new List<(string Id, long Revision)>();
                string? last = null;
                foreach (var phase in query.Phases)
                {
                    var (built, token) = query.Build(session, phase, lead, search.Limit + 1 - heads.Count);
                    using var found = built;
                    while (await found.NextAsync())
                    {
                        if (heads.Count == search.Limit)
                        {
                            found.Dispose();
                            return new Page<Run>(await RunRows.ReadAsync(session, IsPostgres, cache, heads), last);
                        }

                        heads.Add((found.Text(0), found.Long(1)));
                        last = heads.Count == search.Limit ? token(found) : null;
                    }
                }

                return new Page<Run>(await RunRows.ReadAsync(session, IsPostgres, cache, heads), null);
            },
            ct);
    }

    /// <summary>In a large experiment, the condition that few enough runs meet to begin with them; else null.</summary>
    private async Task<Condition?> LeadAsync(Session session, RunSearchSql query, List<long> experimentIds)
    {
        var leads = query.Leads.ToList();
        if (leads.Count == 0 || !await IsLargeAsync(session, experimentIds[0]))
        {
            return null;
        }

        (Condition? Lead, long Count) best = (null, FewRuns);
        foreach (var lead in leads)
        {
            var count = await query.CountAsync(session, lead, FewRuns);
            best = count < best.Count ? (lead, count) : best;
        }

        return best.Lead;
    }

    private async Task<bool> IsLargeAsync(Session session, long experimentId)
    {
        if (sizes.TryGetValue(experimentId, out var known) && clock.GetElapsedTime(known.At) < TimeSpan.FromMinutes(1))
        {
            return known.Large;
        }

        using var count = session.Statement($"SELECT COUNT(*) FROM (SELECT 1 FROM registry_runs WHERE experiment_id = $1 LIMIT {LargeExperiment}) counted");
        var large = await count.Bind(experimentId).NextAsync() && count.Long(0) == LargeExperiment;
        sizes[experimentId] = (large, clock.GetTimestamp());
        return large;
    }

    /// <summary>Writes a batch, all or nothing. Sent twice it changes nothing the second time.</summary>
    /// <exception cref="SlipwayException">NotFound; InvalidArgument if the run is deleted, a parameter would change, or a limit is broken.</exception>
    public Task LogBatchAsync(Actor actor, string runId, IReadOnlyList<MetricPoint> metrics, IReadOnlyList<Param> parameters, IReadOnlyList<Tag> tags, CancellationToken ct) =>
        LogAsync(actor, runId, metrics, parameters, tags, [], single: false, ct);

    /// <summary>Writes a batch of which some points speak about logged models as well; those are also among <paramref name="metrics"/>.</summary>
    /// <exception cref="SlipwayException">As for the batch without models; NotFound for a model that is not there.</exception>
    public Task LogBatchAsync(
        Actor actor, string runId, IReadOnlyList<MetricPoint> metrics, IReadOnlyList<Param> parameters, IReadOnlyList<Tag> tags, IReadOnlyList<ModelMetric> ofModels, CancellationToken ct) =>
        LogAsync(actor, runId, metrics, parameters, tags, ofModels, single: false, ct);

    /// <summary>Appends one point of a metric; an identical one is kept once.</summary>
    public Task LogMetricAsync(Actor actor, string runId, MetricPoint point, CancellationToken ct) => LogAsync(actor, runId, [point], [], [], [], single: true, ct);

    /// <summary>Appends one point of a metric that speaks about a logged model as well.</summary>
    /// <exception cref="SlipwayException">NotFound, also for a model that is not there.</exception>
    public Task LogMetricAsync(Actor actor, string runId, ModelMetric metric, CancellationToken ct) => LogAsync(actor, runId, [metric.Point], [], [], [metric], single: true, ct);

    /// <summary>Writes one parameter; the same value again is no error, another value is.</summary>
    public Task LogParamAsync(Actor actor, string runId, Param parameter, CancellationToken ct) => LogAsync(actor, runId, [], [parameter], [], [], single: true, ct);

    /// <summary>Sets one tag; <c>mlflow.runName</c> renames the run.</summary>
    public Task SetTagAsync(Actor actor, string runId, Tag tag, CancellationToken ct) => LogAsync(actor, runId, [], [], [tag], [], single: true, ct);

    private async Task LogAsync(Actor actor, string runId, IReadOnlyList<MetricPoint> metrics, IReadOnlyList<Param> parameters, IReadOnlyList<Tag> tags, IReadOnlyList<ModelMetric> ofModels, bool single, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(actor);
        var (checkedParams, checkedTags) = RunLog.Check(metrics, parameters, tags, single);
        foreach (var metric in ofModels)
        {
            Limits.CheckLength(metric.DatasetName, 500, "dataset_name");
            Limits.CheckText(metric.DatasetName, "dataset_name");
            Limits.CheckLength(metric.DatasetDigest, 36, "dataset_digest");
            Limits.CheckText(metric.DatasetDigest, "dataset_digest");
        }

        var packed = metrics.Count == 0 ? null : PackedPoints.Batch(metrics);
        ct.ThrowIfCancellationRequested();
        if (packed is not null && checkedParams.Count == 0 && checkedTags.Count == 0 && ofModels.Count == 0)
        {
            await points.WriteAsync((runId, packed));
        }
        else
        {
            await database.WriteAsync(
                async tx =>
                {
                    await RunLog.ActiveAsync(tx, runId);
                    await RunLog.WriteParamsAsync(tx, IsPostgres, runId, checkedParams);
                    await RunLog.WriteTagsAsync(tx, IsPostgres, runId, checkedTags);
                    if (packed is not null)
                    {
                        await RunMetrics.AppendAsync(tx, IsPostgres, [(runId, packed)]);
                    }

                    await LoggedModelRows.WriteMetricsAsync(tx, runId, ofModels);
                },
                ct);
        }

        if (packed is not null)
        {
            folder.Appended(runId, packed.Length);
        }
    }

    /// <summary>Folds what these runs logged just now.</summary>
    private async Task FoldAsync(IReadOnlyList<string> runIds, CancellationToken ct)
    {
        var waiting = await database.ReadAsync(RunMetrics.WaitingAsync, ct);
        if (waiting.Count > 0)
        {
            var asked = runIds.ToHashSet(StringComparer.Ordinal);
            await folder.FoldAsync([.. waiting.Where(w => asked.Contains(w.RunId))], ct);
        }
    }

    /// <summary>Folds what runs of these experiments logged just now, so that a search sees it.</summary>
    private async Task FoldAsync(IReadOnlyList<long> experiments, CancellationToken ct)
    {
        foreach (var experiment in experiments)
        {
            var waiting = await database.ReadAsync(s => RunMetrics.WaitingAsync(s, experiment), ct);
            if (waiting.Count > 0)
            {
                await folder.FoldAsync([.. waiting.Select(run => (experiment, run))], ct);
            }
        }
    }

    /// <summary>Deletes one tag.</summary>
    /// <exception cref="SlipwayException">NotFound if the run has no such tag.</exception>
    public Task DeleteTagAsync(Actor actor, string runId, string key, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(actor);
        return database.WriteAsync(
            async tx =>
            {
                await RunLog.ActiveAsync(tx, runId);
                if (await tx.ExecuteAsync("DELETE FROM registry_tags WHERE run_id = @runId AND key = @key", new { runId, key }) == 0)
                {
                    throw new SlipwayException(ErrorCode.NotFound, $"No tag with name: {FilterTokens.Cut(key)} in run with id {runId}");
                }

                await RunLog.ChangedAsync(tx, runId);
            },
            ct);
    }

    /// <summary>Links one dataset to a run; a version of this server's datasets is pinned.</summary>
    public Task LogInputAsync(Actor actor, string runId, DatasetInput input, CancellationToken ct) => LogInputsAsync(actor, runId, [input], ct);

    /// <summary>Links datasets to a run. A version of this server's datasets is linked in the journal and pinned, so that it is never collected.</summary>
    /// <exception cref="SlipwayException">NotFound if the run or a named dataset version is missing.</exception>
    public Task LogInputsAsync(Actor actor, string runId, IReadOnlyList<DatasetInput> inputs, CancellationToken ct) => LogInputsAsync(actor, runId, inputs, [], ct);

    /// <summary>Links datasets and logged models to a run, all or nothing.</summary>
    /// <exception cref="SlipwayException">NotFound if the run, a named dataset version or a model is missing.</exception>
    public async Task LogInputsAsync(Actor actor, string runId, IReadOnlyList<DatasetInput> inputs, IReadOnlyList<string> modelIds, CancellationToken ct)
    {
        for (var i = 0; i < inputs.Count; i++)
        {
            Limits.CheckDataset(inputs[i], i);
        }

        // Pinned before it is linked: a pin too many is harmless, a linked version without one could be collected.
        var resolved = inputs.ToList();
        var versions = new List<Subject>();
        for (var i = 0; i < resolved.Count; i++)
        {
            if (resolved[i].SourceType == DatasetInput.SlipwaySource)
            {
                var (dataset, reference) = VersionOf(resolved[i]);
                var version = await datasets.GetVersionAsync(dataset, reference, ct);
                await datasets.PinAsync(actor, version, new Subject("run", runId), ct);
                resolved[i] = resolved[i] with { Source = version.Subject.ToString() };
                versions.Add(version.Subject);
            }
        }

        await database.WriteAsync(
            async tx =>
            {
                var run = await RunLog.ActiveAsync(tx, runId);
                var added = await RunLog.WriteInputsAsync(tx, runId, run.ExperimentId, resolved);
                if (added.Count > 0)
                {
                    var body = new RunInputsLogged(added.Select(i => new RunInputLogged(i.Name, i.Digest, i.Context)).Take(100).ToList());
                    await journal.AppendAsync(tx, actor, Events.RunInputsLogged, new Subject("run", runId), body, versions);
                }

                var models = await LoggedModelRows.LinkAsync(tx, runId, output: false, modelIds.Select(id => new ModelLink(id)).ToList());
                if (models.Count > 0)
                {
                    await journal.AppendAsync(tx, actor, Events.RunModelsLogged, new Subject("run", runId), links: models.Select(id => new Subject("logged-model", id)).ToList());
                }
            },
            ct);
    }

    /// <summary>Appends a model description to the tag <c>mlflow.log-model.history</c>, a JSON list, as 2.x clients do.</summary>
    /// <exception cref="SlipwayException">InvalidArgument if it is not a JSON object with <c>artifact_path</c>, <c>flavors</c>, <c>utc_time_created</c> and <c>run_id</c>.</exception>
    public Task LogModelAsync(Actor actor, string runId, string modelJson, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(actor);
        var model = RunLog.CheckModelJson(modelJson);
        return database.WriteAsync(
            async tx =>
            {
                await RunLog.ActiveAsync(tx, runId);
                await RunLog.AppendModelAsync(tx, IsPostgres, runId, model);
            },
            ct);
    }

    /// <summary>Changes state, end time or name.</summary>
    /// <exception cref="SlipwayException">NotFound; InvalidArgument if the run is deleted.</exception>
    public async Task<Run> UpdateAsync(Actor actor, string runId, RunChange change, CancellationToken ct)
    {
        var status = change.Status is { } s ? RunRows.Text(s) : null;
        var name = string.IsNullOrEmpty(change.Name) ? null : Limits.RunTag(change.Name, "run_name");
        await database.WriteAsync(
            async tx =>
            {
                var run = await RunLog.ActiveAsync(tx, runId);
                var ended = change.EndTime is { } end ? Time.ToMicros(end) : run.EndedAt;
                await tx.ExecuteAsync("UPDATE registry_runs SET status = @status, ended_at = @ended, rev = @rev WHERE id = @runId", new { runId, status = status ?? run.Status, ended, rev = RunLog.Revision() });
                if (name is not null)
                {
                    await RunLog.WriteTagsAsync(tx, IsPostgres, runId, [new Tag(RunLog.NameTag, name)]);
                }

                if (status is not null && status != run.Status)
                {
                    await JournalStatusAsync(tx, actor, runId, run, status, ended);
                }
            },
            ct);
        return await GetAsync(runId, ct);
    }

    /// <summary>Ends a run now.</summary>
    public Task FinishAsync(Actor actor, string runId, RunStatus status, CancellationToken ct) =>
        UpdateAsync(actor, runId, new RunChange(status, clock.GetUtcNow()), ct);

    /// <summary>Marks a run deleted; a repeat does nothing.</summary>
    public Task DeleteAsync(Actor actor, string runId, CancellationToken ct) => SetStateAsync(actor, runId, deleted: true, ct);

    /// <summary>Brings a deleted run back; a repeat does nothing.</summary>
    public Task RestoreAsync(Actor actor, string runId, CancellationToken ct) => SetStateAsync(actor, runId, deleted: false, ct);

    /// <summary>A metric's points ordered by (timestamp, step, value). Null for a limit gives all.</summary>
    /// <exception cref="SlipwayException">NotFound if the run is missing; an unknown metric gives an empty page.</exception>
    public Task<Page<MetricPoint>> HistoryAsync(string runId, string key, int? limit, string? pageToken, CancellationToken ct)
    {
        Point? after = null;
        if (!string.IsNullOrEmpty(pageToken))
        {
            var parts = PageToken.Decode(pageToken, 3);
            after = long.TryParse(parts[0], CultureInfo.InvariantCulture, out var timestamp) && long.TryParse(parts[1], CultureInfo.InvariantCulture, out var step)
                && double.TryParse(parts[2], CultureInfo.InvariantCulture, out var value)
                ? new Point(timestamp, step, value)
                : throw SlipwayException.Invalid("Invalid page token", next: "start again without a page token");
        }

        return HistoryAsync(runId, key, after, limit, ct);
    }

    private async Task<Page<MetricPoint>> HistoryAsync(string runId, string key, Point? after, int? limit, CancellationToken ct)
    {
        while (true)
        {
            var (found, waiting) = await database.ReadAsync(
                async session =>
                {
                    var experiment = await RunLog.ExperimentOfAsync(session, runId) ?? throw RunLog.NotFound(runId);
                    return await RunMetrics.WaitingAsync(session, experiment, runId) is [_]
                        ? (null, experiment)
                        : (await RunMetrics.HistoryAsync(session, runId, key, after, limit is { } n ? n + 1 : int.MaxValue), experiment);
                },
                ct);
            if (found is null)
            {
                await folder.FoldAsync([(waiting, runId)], ct);
                continue;
            }

            var more = found.Count > limit;
            var items = found.Take(limit ?? int.MaxValue).Select(p => new MetricPoint(key, p.Value, p.TimestampMs, p.Step)).ToList();
            return new Page<MetricPoint>(items, more ? PageToken.Encode(Text(items[^1].TimestampMs), Text(items[^1].Step), items[^1].Value.ToString("R", CultureInfo.InvariantCulture)) : null);
        }
    }

    /// <summary>Datasets seen in experiments, at most 1,000.</summary>
    public Task<IReadOnlyList<DatasetSummary>> DatasetsAsync(IReadOnlyList<string> experimentIds, CancellationToken ct)
    {
        if (experimentIds.Count == 0)
        {
            return Task.FromResult<IReadOnlyList<DatasetSummary>>([]);
        }

        var (list, args) = SqlList.Of(experimentIds.Select(Experiments.ParseId).Take(1000).ToList());
        return database.ReadAsync(
            async session => (IReadOnlyList<DatasetSummary>)(await session.QueryAsync<SummaryRow>(
                $"""
                SELECT DISTINCT d.experiment_id AS ExperimentId, d.name AS Name, d.digest AS Digest, i.context AS Context
                FROM registry_datasets d JOIN registry_inputs i ON i.dataset_id = d.id JOIN registry_runs r ON r.id = i.run_id
                WHERE d.experiment_id IN ({list}) AND r.state = 0 LIMIT 1000
                """,
                args))
                .Select(r => new DatasetSummary(Text(r.ExperimentId), r.Name, r.Digest, r.Context))
                .OrderBy(s => s.Name, StringComparer.Ordinal).ThenBy(s => s.Digest, StringComparer.Ordinal).ToList(),
            ct);
    }

    /// <summary>Stores an artifact of a run under a path relative to the run's root.</summary>
    public async Task<BlobInfo> PutArtifactAsync(Actor actor, string runId, string path, Stream content, CancellationToken ct)
    {
        await database.ReadAsync(
            async session =>
            {
                var state = await session.FindAsync<long?>("SELECT state FROM registry_runs WHERE id = @runId", new { runId }) ?? throw RunLog.NotFound(runId);
                return state == 0 ? state : throw SlipwayException.Invalid($"The run {runId} must be in the 'active' state. Current state is deleted.");
            },
            ct);
        return await artifacts.PutAsync(actor, await ArtifactPathAsync(runId, path, ct), content, ct);
    }

    /// <summary>Opens an artifact of a run.</summary>
    /// <exception cref="SlipwayException">NotFound, also when the run's artifacts lie in another store.</exception>
    public async Task<Stream> OpenArtifactAsync(string runId, string path, CancellationToken ct) =>
        (await artifacts.OpenAsync(await ArtifactPathAsync(runId, path, ct), ct)).Content;

    /// <summary>The full path in this server's store of an artifact of a run.</summary>
    /// <exception cref="SlipwayException">NotFound; InvalidArgument for a bad path; PreconditionFailed when the run's artifacts lie in another store.</exception>
    public async Task<string> ArtifactPathAsync(string runId, string path, CancellationToken ct) =>
        ArtifactPath.Join(await RootAsync(runId, ct), ArtifactPath.Check(path));

    /// <summary>What lies in a folder of a run's artifacts, with paths relative to the run's root; empty when they lie in another store.</summary>
    public async Task<IReadOnlyList<ArtifactInfo>> ListArtifactsAsync(string runId, string path, CancellationToken ct)
    {
        var folder = ArtifactPath.CheckFolder(path);
        var run = await GetAsync(runId, ct);
        if (ArtifactPath.OfUri(run.ArtifactUri) is not { } root)
        {
            return [];
        }

        var entries = await artifacts.ListAsync(ArtifactPath.Join(root, folder), ct);
        return entries.Select(e => e with { Path = ArtifactPath.Join(folder, e.Path) }).ToList();
    }

    private async Task<string> RootAsync(string runId, CancellationToken ct)
    {
        var uri = await database.ReadAsync(s => s.FindAsync<string>("SELECT artifact_uri FROM registry_runs WHERE id = @runId", new { runId }), ct) ?? throw RunLog.NotFound(runId);
        return ArtifactPath.OfUri(uri) ?? throw new SlipwayException(ErrorCode.PreconditionFailed, "the run's artifacts are in another store", uri, "use that store's own client");
    }

    private Task SetStateAsync(Actor actor, string runId, bool deleted, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            var state = await tx.FindAsync<long?>("SELECT state FROM registry_runs WHERE id = @runId", new { runId }) ?? throw RunLog.NotFound(runId);
            if ((state != 0) != deleted)
            {
                await tx.ExecuteAsync("UPDATE registry_runs SET state = @to, rev = @rev WHERE id = @runId", new { runId, to = deleted ? 1 : 0, rev = RunLog.Revision() });
                if (deleted)
                {
                    var name = await tx.ScalarAsync<string>("SELECT name FROM registry_runs WHERE id = @runId", new { runId });
                    await Trash.RememberAsync(tx, actor, clock.NowMicros(), "run", runId, name);
                }
                else
                {
                    await Trash.ForgetAsync(tx, "run", runId);
                }

                await journal.AppendAsync(tx, actor, deleted ? Events.RunDeleted : Events.RunRestored, new Subject("run", runId));
            }
        },
        ct);

    private async Task JournalStatusAsync(Tx tx, Actor actor, string runId, RunLog.RunRow run, string status, long? ended)
    {
        var subject = new Subject("run", runId);
        if (status is "FINISHED" or "FAILED" or "KILLED")
        {
            var body = new RunFinished(Text(run.ExperimentId), run.Name, status, ended is { } end ? Time.FromMicros(end) : null);
            await journal.AppendAsync(tx, actor, Events.RunFinished, subject, body, await RunLog.DatasetVersionsAsync(tx, runId));
        }
        else if (run.Status is "FINISHED" or "FAILED" or "KILLED")
        {
            await journal.AppendAsync(tx, actor, Events.RunReopened, subject);
        }
    }

    private static (string Dataset, string Id) VersionOf(DatasetInput input)
    {
        var subject = Subject.Parse(input.Source);
        var slash = subject.Name.LastIndexOf('/');
        if (subject.Kind != "dataset-version" || slash <= 0)
        {
            throw SlipwayException.Invalid("Invalid dataset source", $"'{FilterTokens.Cut(input.Source)}' is not dataset-version:NAME/ID", "take the subject of the version");
        }

        return (subject.Name[..slash], subject.Name[(slash + 1)..]);
    }

    private static string NameOf(string? name, IReadOnlyList<Tag> tags)
    {
        var tag = tags.FirstOrDefault(t => t.Key == RunLog.NameTag)?.Value;
        if (!string.IsNullOrEmpty(name) && !string.IsNullOrEmpty(tag) && name != tag)
        {
            throw SlipwayException.Invalid($"Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values (run_name='{FilterTokens.Cut(name)}', mlflow.runName='{FilterTokens.Cut(tag)}').");
        }

        var given = string.IsNullOrEmpty(name) ? tag : name;
        return string.IsNullOrEmpty(given) ? RunNames.New() : Limits.RunTag(given, "run_name");
    }

    private static string Text(long value) => value.ToString(CultureInfo.InvariantCulture);

    private sealed class SummaryRow
    {
        public long ExperimentId { get; set; }

        public string Name { get; set; } = "";

        public string Digest { get; set; } = "";

        public string? Context { get; set; }
    }
}
