using System.Globalization;
using Slipway.Governance;

namespace Slipway.Registry;

/// <summary>Registered models, their versions and aliases.</summary>
public sealed partial class Models(Database database, Journal journal, Access access, Gates gates, IEnumerable<SubjectHold> holds, TimeProvider clock)
{
    /// <summary>Creates a model without tags.</summary>
    public Task<Model> CreateAsync(Actor actor, string name, string? description, CancellationToken ct) => CreateAsync(actor, name, description, [], ct);

    /// <summary>Creates a model.</summary>
    /// <exception cref="SlipwayException">AlreadyExists; InvalidArgument for a bad name or tag.</exception>
    public async Task<Model> CreateAsync(Actor actor, string name, string? description, IReadOnlyList<Tag> tags, CancellationToken ct)
    {
        Limits.CheckModelName(name);
        Limits.CheckDescription(description);
        foreach (var tag in tags)
        {
            Limits.CheckRegistryTag(tag);
        }

        var now = clock.NowMicros();
        return await database.WriteAsync(
            async tx =>
            {
                var id = Ids.New();
                var last = await tx.FindAsync<long?>("SELECT last_version FROM registry_retired_names WHERE name = @name", new { name }) ?? 0;
                var created = await tx.ExecuteAsync(
                    """
                    INSERT INTO registry_models (id, name, description, last_version, created_by, created_at, updated_at)
                    VALUES (@id, @name, @description, @last, @by, @now, @now) ON CONFLICT (name) DO NOTHING
                    """,
                    new { id, name, description, last, by = actor.Principal, now });
                if (created == 0)
                {
                    throw new SlipwayException(ErrorCode.AlreadyExists, $"Registered Model (name={name}) already exists.");
                }

                foreach (var tag in tags)
                {
                    await SetTagAsync(tx, id, tag);
                }

                await journal.AppendAsync(tx, actor, Events.ModelCreated, new Subject("model", name));
                return await ReadAsync(tx, name);
            },
            ct);
    }

    /// <summary>A model with its tags, aliases and the newest version of every stage.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public Task<Model> GetAsync(string name, CancellationToken ct) => database.ReadAsync(s => ReadAsync(s, name), ct);

    /// <summary>All models by name; prompts are not models.</summary>
    public async Task<IReadOnlyList<Model>> ListAsync(CancellationToken ct)
    {
        var all = new List<Model>();
        string? token = null;
        do
        {
            var page = await SearchAsync(new ModelSearch { Limit = 1000, PageToken = token }, ct);
            all.AddRange(page.Items);
            token = page.NextToken;
        }
        while (token is not null);
        return all;
    }

    /// <summary>Models that match, by name unless ordered otherwise.</summary>
    /// <exception cref="SlipwayException">InvalidArgument for a bad filter, order, limit or token.</exception>
    public Task<Page<Model>> SearchAsync(ModelSearch search, CancellationToken ct)
    {
        Limits.PageSize(search.Limit, 1000);
        var query = new ModelSearchSql(search, versions: false, database.Dialect);
        return database.ReadAsync(
            async session =>
            {
                var statement = query.Build(session);
                var (rows, token) = await SearchOrder.PageAsync(statement, search.Limit, ModelSearchSql.ReadModel, query.Token);
                return new Page<Model>(await ModelRows.FillAsync(session, rows), token);
            },
            ct);
    }

    /// <summary>Changes the description.</summary>
    public Task<Model> DescribeAsync(Actor actor, string name, string? description, CancellationToken ct)
    {
        Limits.CheckDescription(description);
        return ChangeAsync(actor, name, RecordChanged.Of("description", null, description), (tx, model) => tx.ExecuteAsync("UPDATE registry_models SET description = @description WHERE id = @Id", new { description, model.Id }), ct);
    }

    /// <summary>Sets a tag.</summary>
    public Task SetTagAsync(Actor actor, string name, Tag tag, CancellationToken ct)
    {
        Limits.CheckRegistryTag(tag);
        return ChangeAsync(actor, name, RecordChanged.Of("tag", tag.Key, tag.Value), (tx, model) => SetTagAsync(tx, model.Id, tag), ct);
    }

    /// <summary>Deletes a tag; a missing one is no error.</summary>
    public Task DeleteTagAsync(Actor actor, string name, string key, CancellationToken ct) =>
        ChangeAsync(actor, name, RecordChanged.Of("tag-deleted", key, null), (tx, model) => tx.ExecuteAsync("DELETE FROM registry_model_tags WHERE model_id = @Id AND key = @key", new { model.Id, key }), ct);

    /// <summary>Renames a model with its versions, tags and aliases.</summary>
    /// <exception cref="SlipwayException">AlreadyExists if the name is, or was, another model's.</exception>
    public Task<Model> RenameAsync(Actor actor, string name, string newName, CancellationToken ct)
    {
        Limits.CheckModelName(newName, "new_name");
        var now = clock.NowMicros();
        return database.WriteAsync(
            async tx =>
            {
                var model = await ModelRows.ModelAsync(tx, name);
                var live = await tx.FindAsync<string>("SELECT id FROM registry_models WHERE name = @newName", new { newName });
                var former = await tx.FindAsync<string>("SELECT model_id FROM registry_retired_names WHERE name = @newName AND last_version > 0", new { newName });
                if ((live ?? former ?? model.Id) != model.Id)
                {
                    throw new SlipwayException(
                        ErrorCode.AlreadyExists,
                        $"Registered Model (name={newName}) already exists.",
                        live is null ? "another model had that name, and approvals of its versions would be mixed up with these" : null,
                        "choose another name");
                }

                await tx.ExecuteAsync("UPDATE registry_models SET name = @newName, updated_at = @now WHERE id = @Id", new { newName, now, model.Id });
                await RetireAsync(tx, model);
                await journal.AppendAsync(tx, actor, Events.ModelChanged, new Subject("model", name), RecordChanged.Of("name", null, newName), [new Subject("model", newName)]);
                return await ReadAsync(tx, newName);
            },
            ct);
    }

    /// <summary>Moves a model with all its versions to the trash. Its name is free at once; its version numbers are not given out again.</summary>
    /// <exception cref="SlipwayException">NotFound; PreconditionFailed while an endpoint serves one of its versions.</exception>
    public Task DeleteAsync(Actor actor, string name, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            var model = await ModelRows.ModelAsync(tx, name);
            await Trash.DemandUnservedAsync(tx, holds, model.Id, name);
            await RetireAsync(tx, model);
            await Trash.RememberAsync(tx, actor, clock.NowMicros(), "model", model.Id, name, await Snapshot.TakeAsync(tx, model.Id));
            await journal.AppendAsync(tx, actor, Events.ModelDeleted, new Subject("model", name));
        },
        ct);

    private async Task<Model> ChangeAsync(Actor actor, string name, RecordChanged change, Func<Tx, ModelRows.ModelRow, Task> write, CancellationToken ct)
    {
        var now = clock.NowMicros();
        return await database.WriteAsync(
            async tx =>
            {
                var model = await ModelRows.ModelAsync(tx, name);
                await write(tx, model);
                await TouchAsync(tx, model.Id, now);
                await journal.AppendAsync(tx, actor, Events.ModelChanged, new Subject("model", name), change);
                return await ReadAsync(tx, name);
            },
            ct);
    }

    private static Task RetireAsync(Tx tx, ModelRows.ModelRow model) => tx.ExecuteAsync(
        """
        INSERT INTO registry_retired_names (name, model_id, last_version) VALUES (@Name, @Id, @LastVersion)
        ON CONFLICT (name) DO UPDATE SET model_id = excluded.model_id, last_version = excluded.last_version
        """,
        new { model.Name, model.Id, model.LastVersion });

    private static Task SetTagAsync(Tx tx, string modelId, Tag tag) => tx.ExecuteAsync(
        "INSERT INTO registry_model_tags (model_id, key, value) VALUES (@modelId, @Key, @Value) ON CONFLICT (model_id, key) DO UPDATE SET value = excluded.value",
        new { modelId, tag.Key, tag.Value });

    private static Task TouchAsync(Tx tx, string modelId, long now) =>
        tx.ExecuteAsync("UPDATE registry_models SET updated_at = @now WHERE id = @modelId", new { now, modelId });

    private static Task<Model> ReadAsync(Session session, string name) => ModelRows.OneAsync(session, name);

    private static Subject VersionSubject(string name, long version) => new("model-version", string.Create(CultureInfo.InvariantCulture, $"{name}/{version}"));
}
