using System.Globalization;
using Slipway.Data;
using Slipway.Governance;

namespace Slipway.Registry;

/// <summary>
/// What was deleted: experiments with their runs, runs, and models with their versions. Restoring brings it back; purging
/// ends it for good, frees its name, and lets go of its files, which the collector removes where nothing else has them.
/// </summary>
/// <remarks>
/// Nothing is purged that something needs: a version that an endpoint serves, a rollout moves, a monitor watches or a gate
/// decided; a run that a registered version came from; whatever the tag <c>slipway.retain-until</c> keeps.
/// </remarks>
public sealed class Trash(
    Database database, Journal journal, Datasets datasets, Experiments experiments, Runs runs, IEnumerable<SubjectHold> holds, BlobCollector collector, TimeProvider clock)
{
    /// <summary>Of an experiment, a run or a model: a date such as 2030-12-31 before which it is not purged.</summary>
    public const string RetainTag = "slipway.retain-until";

    private const string ExperimentKind = "experiment";
    private const string RunKind = "run";
    private const string ModelKind = "model";
    private const int RunsPerStep = 200;
    private const string Columns = "kind AS Kind, id AS Id, name AS Name, deleted_at AS DeletedAt, deleted_by AS DeletedBy, snapshot AS Snapshot";

    /// <summary>What lies in the trash, the newest first.</summary>
    /// <param name="kind">Only this kind; null for all.</param>
    /// <param name="before">Only what was deleted before; null for all.</param>
    /// <param name="limit">1 to 1,000.</param>
    /// <param name="pageToken">Where the page before ended.</param>
    /// <param name="ct">Stops.</param>
    public Task<Page<TrashItem>> ListAsync(string? kind, DateTimeOffset? before, int limit, string? pageToken, CancellationToken ct)
    {
        CheckKind(kind);
        Limits.PageSize(limit, 1000);
        var after = string.IsNullOrEmpty(pageToken) ? null : PageToken.Decode(pageToken, 3);
        var at = after is null ? long.MaxValue : long.TryParse(after[0], CultureInfo.InvariantCulture, out var token) ? token : throw SlipwayException.Invalid("Invalid page token", next: "start again without a page token");
        return database.ReadAsync(
            async session =>
            {
                var rows = await session.QueryAsync<TrashRow>(
                    $"""
                    SELECT {Columns} FROM registry_trash
                    WHERE (@kind = '' OR kind = @kind) AND deleted_at < @before
                      AND (deleted_at < @at OR (deleted_at = @at AND (kind > @lastKind OR (kind = @lastKind AND id > @lastId))))
                    ORDER BY deleted_at DESC, kind, id LIMIT @most
                    """,
                    new { kind = kind ?? "", before = before is { } b ? Time.ToMicros(b) : long.MaxValue, at, lastKind = after?[1] ?? "", lastId = after?[2] ?? "", most = limit + 1 });
                var items = new List<TrashItem>();
                foreach (var row in rows.Take(limit))
                {
                    items.Add(await ReadAsync(session, row));
                }

                var next = rows.Count > limit ? PageToken.Encode(rows[limit - 1].DeletedAt.ToString(CultureInfo.InvariantCulture), rows[limit - 1].Kind, rows[limit - 1].Id) : null;
                return new Page<TrashItem>(items, next);
            },
            ct);
    }

    /// <summary>The item with that id, or with that name when only one has it.</summary>
    /// <exception cref="SlipwayException">NotFound; Conflict when several have the name.</exception>
    public Task<TrashItem> GetAsync(string kind, string idOrName, CancellationToken ct) =>
        database.ReadAsync(async session => await ReadAsync(session, await FindAsync(session, kind, idOrName)), ct);

    /// <summary>Brings an item back.</summary>
    /// <exception cref="SlipwayException">NotFound; AlreadyExists when another model has the name by now.</exception>
    public async Task RestoreAsync(Actor actor, string kind, string idOrName, CancellationToken ct)
    {
        var row = await database.ReadAsync(session => FindAsync(session, kind, idOrName), ct);
        switch (kind)
        {
            case ExperimentKind:
                await experiments.RestoreAsync(actor, row.Id, ct);
                break;
            case RunKind:
                await runs.RestoreAsync(actor, row.Id, ct);
                break;
            default:
                await database.WriteAsync(tx => RestoreModelAsync(tx, actor, row.Id), ct);
                break;
        }
    }

    /// <summary>Says what purging an item would do.</summary>
    public Task<PurgeResult> PreviewAsync(string kind, string idOrName, CancellationToken ct) => database.ReadAsync(
        async session =>
        {
            var row = await FindAsync(session, kind, idOrName);
            var refused = await RefusalsAsync(session, row);
            return new PurgeResult(await ReadAsync(session, row), refused.Count == 0, refused);
        },
        ct);

    /// <summary>Ends an item for good, unless something needs it.</summary>
    public async Task<PurgeResult> PurgeAsync(Actor actor, string kind, string idOrName, CancellationToken ct)
    {
        var plan = await PreviewAsync(kind, idOrName, ct);
        if (!plan.Purged)
        {
            return plan;
        }

        IReadOnlyList<string> pinned = [];
        if (kind == ExperimentKind)
        {
            // Many runs take several transactions; what dies between leaves an experiment with fewer runs, still in the trash.
            var id = Experiments.ParseId(plan.Item.Id);
            while (await database.WriteAsync(tx => PurgeRunsOfAsync(tx, id), ct) is { Count: > 0 } some)
            {
                pinned = [.. pinned, .. some];
            }
        }

        var result = await database.WriteAsync(
            async tx =>
            {
                // Looked at again inside of the transaction: a version may have been registered meanwhile.
                var row = await FindAsync(tx, kind, plan.Item.Id);
                var refused = await RefusalsAsync(tx, row);
                if (refused.Count > 0)
                {
                    return plan with { Purged = false, Refused = refused };
                }

                var (purged, subject) = (Events.ModelPurged, new Subject(kind, kind == ModelKind ? row.Name : row.Id));
                switch (kind)
                {
                    case ExperimentKind:
                        purged = Events.ExperimentPurged;
                        await PurgeExperimentAsync(tx, Experiments.ParseId(row.Id));
                        break;
                    case RunKind:
                        purged = Events.RunPurged;
                        await PurgeRunsAsync(tx, [row.Id]);
                        break;
                    default:
                        break;
                }

                await ForgetAsync(tx, kind, row.Id);
                await journal.AppendAsync(tx, actor, purged, subject, new ItemPurged(row.Id, row.Name, plan.Item.Runs, plan.Item.Versions, plan.Item.Files, plan.Item.Bytes));
                return plan;
            },
            ct);
        if (kind == RunKind && result.Purged)
        {
            pinned = [plan.Item.Id];
        }

        foreach (var run in pinned)
        {
            await datasets.UnpinAsync(actor, new Subject("run", run), ct);
        }

        await collector.HurryAsync();
        return result;
    }

    internal static Task RememberAsync(Tx tx, Actor actor, long now, string kind, string id, string name, string? snapshot = null) => tx.ExecuteAsync(
        """
        INSERT INTO registry_trash (kind, id, name, deleted_at, deleted_by, snapshot) VALUES (@kind, @id, @name, @now, @by, @snapshot)
        ON CONFLICT (kind, id) DO UPDATE SET name = excluded.name, deleted_at = excluded.deleted_at, deleted_by = excluded.deleted_by, snapshot = excluded.snapshot
        """,
        new { kind, id, name, now, by = actor.Principal, snapshot });

    internal static Task ForgetAsync(Tx tx, string kind, string id) => tx.ExecuteAsync("DELETE FROM registry_trash WHERE kind = @kind AND id = @id", new { kind, id });

    /// <summary>Refuses to delete a model that requests depend on.</summary>
    internal static async Task DemandUnservedAsync(Session session, IEnumerable<SubjectHold> holds, string modelId, string name)
    {
        var versions = await session.QueryAsync<long>("SELECT version FROM registry_versions WHERE model_id = @modelId AND deleted = 0", new { modelId });
        if (await HoldersAsync(session, holds.Where(h => h.Serves), name, versions) is [var first, ..])
        {
            throw new SlipwayException(ErrorCode.PreconditionFailed, $"The model {name} cannot be deleted", first, "delete the endpoint, or let it serve another version");
        }
    }

    private async Task RestoreModelAsync(Tx tx, Actor actor, string id)
    {
        var row = await FindAsync(tx, ModelKind, id);
        if (await tx.FindAsync<string>("SELECT id FROM registry_models WHERE name = @Name", new { row.Name }) is not null)
        {
            throw new SlipwayException(ErrorCode.AlreadyExists, $"The model {row.Name} cannot be restored", "another model has that name by now", "rename or delete that one first");
        }

        var last = await tx.FindAsync<long?>("SELECT last_version FROM registry_retired_names WHERE name = @Name", new { row.Name }) ?? 0;
        await Snapshot.PutBackAsync(tx, row.Snapshot!, last);
        await ForgetAsync(tx, ModelKind, row.Id);
        await journal.AppendAsync(tx, actor, Events.ModelRestored, new Subject(ModelKind, row.Name));
    }

    private async Task<List<string>> RefusalsAsync(Session session, TrashRow row)
    {
        var refused = new List<string>();
        switch (row.Kind)
        {
            case ModelKind:
                refused.AddRange(await HoldersAsync(session, holds, row.Name, Snapshot.Versions(row.Snapshot!).Select(v => v.Version)));
                Retained(refused, row, Snapshot.Tag(row.Snapshot!, RetainTag));
                break;
            case RunKind:
                refused.AddRange(await VersionsOfAsync(session, "v.run_id = @Id", row.Id));
                Retained(refused, row, await session.FindAsync<string>("SELECT value FROM registry_tags WHERE run_id = @Id AND key = @RetainTag", new { row.Id, RetainTag }));
                break;
            default:
                var id = Experiments.ParseId(row.Id);
                if (id == 0)
                {
                    refused.Add("the experiment 0 always exists");
                }

                refused.AddRange(await VersionsOfAsync(session, "v.run_id IN (SELECT id FROM registry_runs WHERE experiment_id = @Id)", id));
                Retained(refused, row, await session.FindAsync<string>("SELECT value FROM registry_experiment_tags WHERE experiment_id = @id AND key = @RetainTag", new { id, RetainTag }));
                foreach (var until in await session.QueryAsync<string>(
                    "SELECT DISTINCT t.value FROM registry_tags t JOIN registry_runs r ON r.id = t.run_id WHERE r.experiment_id = @id AND t.key = @RetainTag", new { id, RetainTag }))
                {
                    Retained(refused, row, until);
                }

                break;
        }

        return refused;
    }

    /// <summary>A date that cannot be read keeps, because nobody knows that it does not.</summary>
    private void Retained(List<string> refused, TrashRow row, string? until)
    {
        if (until is not null && (!DateOnly.TryParseExact(until, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out var day) || DateOnly.FromDateTime(clock.GetUtcNow().UtcDateTime) < day))
        {
            refused.Add($"{row.Kind} {row.Name} is retained: {RetainTag} is {FilterTokens.Cut(until)}");
        }
    }

    private static async Task<IEnumerable<string>> VersionsOfAsync(Session session, string where, object id)
    {
        var versions = await session.QueryAsync<string>(
            $"SELECT m.name || '/' || CAST(v.version AS TEXT) FROM registry_versions v JOIN registry_models m ON m.id = v.model_id WHERE v.deleted = 0 AND {where} ORDER BY m.name, v.version LIMIT 20", new { Id = id });
        return versions.Select(v => $"version {v} came from it");
    }

    private static async Task<List<string>> HoldersAsync(Session session, IEnumerable<SubjectHold> holds, string name, IEnumerable<long> versions)
    {
        var names = versions.Select(v => string.Create(CultureInfo.InvariantCulture, $"{name}/{v}")).ToList();
        var found = new List<string>();
        foreach (var hold in holds)
        {
            foreach (var row in await session.QueryAsync<HoldRow>(hold.Sql))
            {
                found.AddRange(names.Where(v => row.Text == v || row.Text == $"model-version:{v}" || row.Text.Contains($"\"{v}\"", StringComparison.Ordinal)).Select(v => $"{row.Holder} needs version {v}"));
            }
        }

        return found;
    }

    private static async Task<List<string>> PurgeRunsOfAsync(Tx tx, long experimentId)
    {
        var some = (await tx.QueryAsync<string>(
            """
            SELECT r.id FROM registry_runs r JOIN registry_experiments e ON e.id = r.experiment_id
            WHERE r.experiment_id = @experimentId AND e.state <> 0 AND r.state <> 0
              AND NOT EXISTS (SELECT 1 FROM registry_versions v WHERE v.run_id = r.id AND v.deleted = 0)
            LIMIT @most
            """,
            new { experimentId, most = RunsPerStep })).ToList();
        if (some.Count > 0)
        {
            await PurgeRunsAsync(tx, some);
        }

        return some;
    }

    private static async Task PurgeRunsAsync(Tx tx, IReadOnlyList<string> ids)
    {
        var (list, args) = SqlList.Of(ids);
        foreach (var uri in await tx.QueryAsync<string>($"SELECT artifact_uri FROM registry_runs WHERE id IN ({list})", args))
        {
            // The folder of a run holds its artifacts and nothing else.
            if (ArtifactPath.OfUri(uri) is { Length: > 0 } path)
            {
                await Artifacts.RemoveAsync(tx, path.EndsWith("/artifacts", StringComparison.Ordinal) ? path[..^"/artifacts".Length] : path);
            }
        }

        foreach (var table in (string[])["registry_points", "registry_series", "registry_latest_metrics", "registry_params", "registry_tags", "registry_inputs", "registry_run_models", "registry_logged_model_metrics"])
        {
            await tx.ExecuteAsync($"DELETE FROM {table} WHERE run_id IN ({list})", args);
        }

        await tx.ExecuteAsync($"DELETE FROM registry_runs WHERE id IN ({list})", args);
        await tx.ExecuteAsync($"DELETE FROM registry_trash WHERE kind = 'run' AND id IN ({list})", args);
    }

    private static async Task PurgeExperimentAsync(Tx tx, long id)
    {
        var location = await tx.FindAsync<string>("SELECT artifact_location FROM registry_experiments WHERE id = @id", new { id });
        // A location that was given by hand may hold the files of others.
        if (location == $"{ArtifactPath.Scheme}:/{id}")
        {
            await Artifacts.RemoveAsync(tx, id.ToString(CultureInfo.InvariantCulture));
        }

        foreach (var table in (string[])["registry_logged_model_tags", "registry_logged_model_params", "registry_logged_model_metrics", "registry_run_models"])
        {
            await tx.ExecuteAsync($"DELETE FROM {table} WHERE model_id IN (SELECT id FROM registry_logged_models WHERE experiment_id = @id)", new { id });
        }

        await tx.ExecuteAsync("DELETE FROM registry_logged_models WHERE experiment_id = @id", new { id });
        await tx.ExecuteAsync("DELETE FROM registry_experiment_tags WHERE experiment_id = @id", new { id });
        await tx.ExecuteAsync("DELETE FROM registry_datasets WHERE experiment_id = @id", new { id });
        await tx.ExecuteAsync("DELETE FROM registry_experiments WHERE id = @id", new { id });
    }

    private static async Task<TrashItem> ReadAsync(Session session, TrashRow row)
    {
        var (runs, versions, files, bytes) = (0L, 0L, 0L, 0L);
        if (row.Kind == ModelKind)
        {
            var inside = Snapshot.Versions(row.Snapshot!);
            var content = inside.SelectMany(v => v.Files).ToList();
            (versions, files, bytes) = (inside.Count, content.Count, content.Sum(f => f.Size));
        }
        else
        {
            runs = row.Kind == RunKind ? 1 : await session.ScalarAsync<long>("SELECT COUNT(*) FROM registry_runs WHERE experiment_id = @id", new { id = Experiments.ParseId(row.Id) });
            var uri = row.Kind == RunKind
                ? await session.FindAsync<string>("SELECT artifact_uri FROM registry_runs WHERE id = @Id", new { row.Id })
                : await session.FindAsync<string>("SELECT artifact_location FROM registry_experiments WHERE id = @id", new { id = Experiments.ParseId(row.Id) });
            if (uri is not null && ArtifactPath.OfUri(uri) is { Length: > 0 } path)
            {
                (files, bytes) = await Artifacts.SizeAsync(session, path);
            }
        }

        return new TrashItem(row.Kind, row.Id, row.Name, Time.FromMicros(row.DeletedAt), row.DeletedBy, runs, versions, files, bytes);
    }

    private static async Task<TrashRow> FindAsync(Session session, string kind, string idOrName)
    {
        CheckKind(kind);
        var rows = await session.QueryAsync<TrashRow>($"SELECT {Columns} FROM registry_trash WHERE kind = @kind AND (id = @idOrName OR name = @idOrName) ORDER BY CASE WHEN id = @idOrName THEN 0 ELSE 1 END LIMIT 2", new { kind, idOrName });
        return rows switch
        {
            [] => throw SlipwayException.NotFound($"deleted {kind}", FilterTokens.Cut(idOrName), "slipway trash list"),
            [_, { } second] when second.Name == idOrName && rows[0].Id != idOrName => throw new SlipwayException(ErrorCode.Conflict, $"the deleted {kind} \"{FilterTokens.Cut(idOrName)}\" is not one", "several have that name", "name its id: slipway trash list"),
            _ => rows[0],
        };
    }

    private static void CheckKind(string? kind)
    {
        if (kind is not (null or ExperimentKind or RunKind or ModelKind))
        {
            throw SlipwayException.Invalid("the kind is not known", $"\"{FilterTokens.Cut(kind)}\" is none of experiment, run, model");
        }
    }

    private sealed class TrashRow
    {
        public string Kind { get; set; } = "";

        public string Id { get; set; } = "";

        public string Name { get; set; } = "";

        public long DeletedAt { get; set; }

        public string DeletedBy { get; set; } = "";

        public string? Snapshot { get; set; }
    }

    private sealed class HoldRow
    {
        public string Holder { get; set; } = "";

        public string Text { get; set; } = "";
    }
}
