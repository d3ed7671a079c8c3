namespace Slipway.Registry;

/// <summary>Versions, stages and aliases.</summary>
public sealed partial class Models
{
    private static readonly string[] Stages = ["None", "Staging", "Production", "Archived"];

    /// <summary>Registers the next version: its files are frozen, and the journal links it to its run and the datasets that the run read.</summary>
    /// <exception cref="SlipwayException">NotFound if the model, or what the source names, is missing; InvalidArgument for a source that is a path of the server.</exception>
    public async Task<ModelVersion> RegisterAsync(Actor actor, RegisterVersion request, CancellationToken ct)
    {
        ModelSource.Check(request.Source, request.Tags);
        Limits.CheckDescription(request.Description);
        Limits.CheckLength(request.RunLink, 500, "run_link");
        Limits.CheckText(request.RunLink, "run_link");
        Limits.CheckLength(request.RunId, 256, "run_id");
        Limits.CheckText(request.RunId, "run_id");
        foreach (var tag in request.Tags)
        {
            Limits.CheckRegistryTag(tag);
        }

        foreach (var file in request.Files)
        {
            ArtifactPath.Check(file.Path);
        }

        var now = clock.NowMicros();
        return await database.WriteAsync(
            async tx =>
            {
                var model = await ModelRows.ModelAsync(tx, request.Name);
                var source = await ModelSource.ResolveAsync(tx, request.Source);
                IReadOnlyList<ModelFile> files = request.Files.Count > 0 ? request.Files.OrderBy(f => f.Path, StringComparer.Ordinal).ToList() : source.Files;
                var runId = string.IsNullOrEmpty(request.RunId) ? source.Model?.SourceRunId : request.RunId;
                var version = model.LastVersion + 1;
                await tx.ExecuteAsync("UPDATE registry_models SET last_version = @version, updated_at = @now WHERE id = @Id", new { version, now, model.Id });
                await tx.ExecuteAsync(
                    """
                    INSERT INTO registry_versions (model_id, version, run_id, source, storage_uri, run_link, status, stage, description, files, signature, created_by, created_at, updated_at, deleted)
                    VALUES (@Id, @version, @runId, @Source, @storage, @RunLink, 'READY', 'None', @Description, @files, @signature, @by, @now, @now, 0)
                    """,
                    new
                    {
                        model.Id,
                        version,
                        runId,
                        request.Source,
                        storage = source.StorageUri,
                        request.RunLink,
                        request.Description,
                        files = ModelRows.Write(files),
                        signature = request.Signature is null ? null : ModelRows.Write(request.Signature),
                        by = actor.Principal,
                        now,
                    });
                foreach (var tag in request.Tags)
                {
                    await SetVersionTagAsync(tx, model.Id, version, tag);
                }

                if (source.Model is { } logged)
                {
                    await LoggedModelRows.AddRegistrationAsync(tx, logged.Id, request.Name, version, now);
                }

                var body = new VersionRegistered(request.Name, (int)version, runId, request.Source, files.Count, Digest.Sha256Hex(CanonicalJson.Serialize(files)));
                await journal.AppendAsync(tx, actor, Events.VersionRegistered, VersionSubject(request.Name, version), body, [new Subject("model", request.Name), .. source.Model is null ? (Subject[])[] : [new Subject("logged-model", source.Model.Id)], .. request.Lineage, .. await AncestorsAsync(tx, runId)]);
                return await ReadVersionAsync(tx, request.Name, (int)version);
            },
            ct);
    }

    /// <summary>One version.</summary>
    /// <exception cref="SlipwayException">NotFound, also for a deleted one.</exception>
    public Task<ModelVersion> GetVersionAsync(string name, int version, CancellationToken ct) => database.ReadAsync(s => ReadVersionAsync(s, name, version), ct);

    /// <summary>The version that <c>flights/2</c>, <c>flights@champion</c> or <c>flights@latest</c> names; a leading <c>models:/</c> is allowed.</summary>
    /// <exception cref="SlipwayException">NotFound; InvalidArgument for an unknown alias or another form.</exception>
    public Task<ModelVersion> ResolveAsync(string nameVersionOrAlias, CancellationToken ct) => database.ReadAsync(
        async session =>
        {
            var reference = nameVersionOrAlias.StartsWith("models:/", StringComparison.Ordinal) ? nameVersionOrAlias["models:/".Length..] : nameVersionOrAlias;
            return (await ModelRows.FillAsync(session, [await ModelSource.VersionOfAsync(session, reference)]))[0];
        },
        ct);

    /// <summary>The version that an alias points to.</summary>
    /// <exception cref="SlipwayException">NotFound if the model is missing, InvalidArgument if the alias is.</exception>
    public Task<ModelVersion> GetByAliasAsync(string name, string alias, CancellationToken ct) => database.ReadAsync(
        async session => (await ModelRows.FillAsync(session, [await ModelSource.ByAliasAsync(session, name, alias)]))[0],
        ct);

    /// <summary>All live versions of a model, oldest first.</summary>
    public Task<IReadOnlyList<ModelVersion>> ListVersionsAsync(string name, CancellationToken ct) => database.ReadAsync(
        async session =>
        {
            var model = await ModelRows.ModelAsync(session, name);
            return await ModelRows.VersionsAsync(
                session,
                $"SELECT {ModelRows.VersionColumns} FROM {ModelRows.VersionTables} WHERE m.id = @Id AND v.deleted = 0 ORDER BY v.version",
                new { model.Id });
        },
        ct);

    /// <summary>Versions that match over all models, the last changed first unless ordered otherwise.</summary>
    /// <exception cref="SlipwayException">InvalidArgument for a bad filter, order, limit or token.</exception>
    public Task<Page<ModelVersion>> SearchVersionsAsync(ModelSearch search, CancellationToken ct)
    {
        Limits.PageSize(search.Limit, 200_000);
        var query = new ModelSearchSql(search, versions: true, database.Dialect);
        return database.ReadAsync(
            async session =>
            {
                var statement = query.Build(session);
                var (keys, token) = await SearchOrder.PageAsync(statement, search.Limit, ModelSearchSql.ReadVersion, query.Token);
                var found = new Dictionary<(string, int), ModelVersion>();
                foreach (var names in keys.Select(k => k.Name).Distinct(StringComparer.Ordinal).Chunk(300))
                {
                    var (list, args) = SqlList.Of(names);
                    var rows = await ModelRows.VersionsAsync(session, $"SELECT {ModelRows.VersionColumns} FROM {ModelRows.VersionTables} WHERE m.name IN ({list}) AND v.deleted = 0", args);
                    foreach (var row in rows)
                    {
                        found[(row.Name, row.Version)] = row;
                    }
                }

                return new Page<ModelVersion>(keys.Where(found.ContainsKey).Select(k => found[k]).ToList(), token);
            },
            ct);
    }

    /// <summary>Changes a version's description.</summary>
    public Task<ModelVersion> DescribeVersionAsync(Actor actor, string name, int version, string? description, CancellationToken ct)
    {
        Limits.CheckDescription(description);
        return ChangeVersionAsync(
            actor,
            name,
            version,
            RecordChanged.Of("description", null, description),
            (tx, row) => tx.ExecuteAsync("UPDATE registry_versions SET description = @description WHERE model_id = @ModelId AND version = @Version", new { description, row.ModelId, row.Version }),
            ct);
    }

    /// <summary>Sets a tag of a version.</summary>
    public Task SetVersionTagAsync(Actor actor, string name, int version, Tag tag, CancellationToken ct)
    {
        Limits.CheckRegistryTag(tag);
        return ChangeVersionAsync(actor, name, version, RecordChanged.Of("tag", tag.Key, tag.Value), (tx, row) => SetVersionTagAsync(tx, row.ModelId, row.Version, tag), ct);
    }

    /// <summary>Deletes a tag of a version; a missing one is no error.</summary>
    public Task DeleteVersionTagAsync(Actor actor, string name, int version, string key, CancellationToken ct) => ChangeVersionAsync(
        actor,
        name,
        version,
        RecordChanged.Of("tag-deleted", key, null),
        (tx, row) => tx.ExecuteAsync("DELETE FROM registry_version_tags WHERE model_id = @ModelId AND version = @Version AND key = @key", new { row.ModelId, row.Version, key }),
        ct);

    /// <summary>Moves a version to a legacy stage.</summary>
    /// <param name="actor">Who moves it.</param>
    /// <param name="name">The model.</param>
    /// <param name="version">The version.</param>
    /// <param name="stage"><c>None</c>, <c>Staging</c>, <c>Production</c> or <c>Archived</c>, in any case.</param>
    /// <param name="archiveExisting">Archives the versions that are in that stage; only for Staging and Production.</param>
    /// <param name="ct">Cancels.</param>
    public async Task<ModelVersion> MoveToStageAsync(Actor actor, string name, int version, string stage, bool archiveExisting, CancellationToken ct)
    {
        var target = CanonicalStage(stage);
        if (archiveExisting && target is "None" or "Archived")
        {
            throw SlipwayException.Invalid($"Model version transition cannot archive existing model versions because '{target}' is not an Active stage. Valid stages are Staging, Production");
        }

        await GateAsync(actor, target, name, version, ct);
        return await ChangeVersionAsync(
            actor,
            name,
            version,
            RecordChanged.Of("stage", null, target),
            async (tx, row) =>
            {
                if (archiveExisting)
                {
                    await tx.ExecuteAsync(
                        "UPDATE registry_versions SET stage = 'Archived', updated_at = @now WHERE model_id = @ModelId AND stage = @target AND version <> @Version AND deleted = 0",
                        new { now = clock.NowMicros(), row.ModelId, target, row.Version });
                }

                await tx.ExecuteAsync("UPDATE registry_versions SET stage = @target WHERE model_id = @ModelId AND version = @Version", new { target, row.ModelId, row.Version });
            },
            ct);
    }

    /// <summary>The newest version of every stage asked for; all stages when none is.</summary>
    public async Task<IReadOnlyList<ModelVersion>> LatestAsync(string name, IReadOnlyList<string> stages, CancellationToken ct)
    {
        var wanted = stages.Select(CanonicalStage).ToHashSet(StringComparer.Ordinal);
        var model = await GetAsync(name, ct);
        return model.Latest.Where(v => wanted.Count == 0 || wanted.Contains(v.Stage)).ToList();
    }

    /// <summary>Points an alias at a version. A protected alias takes the permission <c>alias.set.protected</c>, and a granted gate when the model's tag <c>slipway.policy</c> names a policy.</summary>
    /// <exception cref="SlipwayException">NotFound; InvalidArgument for a reserved name; PreconditionFailed if the gate is not granted.</exception>
    public async Task SetAliasAsync(Actor actor, string name, string alias, int version, CancellationToken ct)
    {
        Limits.CheckAlias(alias);
        await GateAsync(actor, alias, name, version, ct);
        await database.WriteAsync(
            async tx =>
            {
                var row = await ModelRows.VersionAsync(tx, name, version);
                var before = await tx.FindAsync<long?>("SELECT version FROM registry_aliases WHERE model_id = @ModelId AND alias = @alias", new { row.ModelId, alias });
                if (before == version)
                {
                    return;
                }

                await tx.ExecuteAsync(
                    "INSERT INTO registry_aliases (model_id, alias, version) VALUES (@ModelId, @alias, @Version) ON CONFLICT (model_id, alias) DO UPDATE SET version = excluded.version",
                    new { row.ModelId, alias, row.Version });
                await TouchAsync(tx, row.ModelId, clock.NowMicros());
                await journal.AppendAsync(tx, actor, Events.AliasMoved, VersionSubject(name, version), new AliasMoved(name, alias, (int?)before, version), [new Subject("model", name)]);
            },
            ct);
    }

    /// <summary>Deletes an alias; a missing one is no error.</summary>
    public Task DeleteAliasAsync(Actor actor, string name, string alias, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            var model = await ModelRows.ModelAsync(tx, name);
            var before = await tx.FindAsync<long?>("SELECT version FROM registry_aliases WHERE model_id = @Id AND alias = @alias", new { model.Id, alias });
            if (before is { } version)
            {
                await DeleteAliasAsync(tx, actor, model.Id, name, alias, version);
            }
        },
        ct);

    /// <summary>Deletes a version: its number, and nothing else, is kept. Its aliases go with it.</summary>
    public Task DeleteVersionAsync(Actor actor, string name, int version, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            var row = await ModelRows.VersionAsync(tx, name, version);
            foreach (var alias in await tx.QueryAsync<string>("SELECT alias FROM registry_aliases WHERE model_id = @ModelId AND version = @Version", new { row.ModelId, row.Version }))
            {
                await DeleteAliasAsync(tx, actor, row.ModelId, name, alias, row.Version);
            }

            await tx.ExecuteAsync("DELETE FROM registry_version_tags WHERE model_id = @ModelId AND version = @Version", new { row.ModelId, row.Version });
            await tx.ExecuteAsync(
                """
                UPDATE registry_versions SET deleted = 1, source = '', storage_uri = '', run_link = '', run_id = NULL, description = NULL, files = '[]', signature = NULL, updated_at = @now
                WHERE model_id = @ModelId AND version = @Version
                """,
                new { now = clock.NowMicros(), row.ModelId, row.Version });
            await TouchAsync(tx, row.ModelId, clock.NowMicros());
            await journal.AppendAsync(tx, actor, Events.VersionDeleted, VersionSubject(name, version), links: [new Subject("model", name)]);
        },
        ct);

    private async Task DeleteAliasAsync(Tx tx, Actor actor, string modelId, string name, string alias, long version)
    {
        await tx.ExecuteAsync("DELETE FROM registry_aliases WHERE model_id = @modelId AND alias = @alias", new { modelId, alias });
        await TouchAsync(tx, modelId, clock.NowMicros());
        await journal.AppendAsync(tx, actor, Events.AliasDeleted, new Subject("model", name), new AliasMoved(name, alias, (int)version, null), [VersionSubject(name, version)]);
    }

    private Task<ModelVersion> ChangeVersionAsync(Actor actor, string name, int version, RecordChanged change, Func<Tx, ModelRows.VersionRow, Task> write, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            var row = await ModelRows.VersionAsync(tx, name, version);
            await write(tx, row);
            var now = clock.NowMicros();
            await tx.ExecuteAsync("UPDATE registry_versions SET updated_at = @now WHERE model_id = @ModelId AND version = @Version", new { now, row.ModelId, row.Version });
            await TouchAsync(tx, row.ModelId, now);
            await journal.AppendAsync(tx, actor, Events.VersionChanged, VersionSubject(name, version), change);
            return await ReadVersionAsync(tx, name, version);
        },
        ct);

    /// <summary>The run, if this server has it, and the dataset versions that it read.</summary>
    private static async Task<IReadOnlyList<Subject>> AncestorsAsync(Tx tx, string? runId)
    {
        if (runId is null || await tx.FindAsync<string>("SELECT id FROM registry_runs WHERE id = @runId", new { runId }) is null)
        {
            return [];
        }

        return [new Subject("run", runId), .. await RunLog.DatasetVersionsAsync(tx, runId)];
    }

    private static Task SetVersionTagAsync(Tx tx, string modelId, long version, Tag tag) => tx.ExecuteAsync(
        """
        INSERT INTO registry_version_tags (model_id, version, key, value) VALUES (@modelId, @version, @Key, @Value)
        ON CONFLICT (model_id, version, key) DO UPDATE SET value = excluded.value
        """,
        new { modelId, version, tag.Key, tag.Value });

    private static async Task<ModelVersion> ReadVersionAsync(Session session, string name, int version) =>
        (await ModelRows.FillAsync(session, [await ModelRows.VersionAsync(session, name, version)]))[0];

    private static string CanonicalStage(string stage) =>
        Stages.FirstOrDefault(s => s.Equals(stage, StringComparison.OrdinalIgnoreCase))
        ?? throw SlipwayException.Invalid($"Invalid Model Version stage: {Limits.Quote(stage)}. Value must be one of {string.Join(", ", Stages)}.");
}
