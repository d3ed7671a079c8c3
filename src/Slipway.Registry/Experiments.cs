using System.Globalization;

namespace Slipway.Registry;

/// <summary>Experiments. Experiment <c>"0"</c>, <c>Default</c>, always exists.</summary>
public sealed class Experiments(Database database, Journal journal, TimeProvider clock)
{
    private const string Columns = "e.id AS Id, e.name AS Name, e.artifact_location AS ArtifactLocation, e.state AS State, e.created_at AS CreatedAt, e.updated_at AS UpdatedAt";

    /// <summary>Creates an experiment whose artifacts lie in this server's store.</summary>
    /// <exception cref="SlipwayException">AlreadyExists if a live or deleted experiment has that name; InvalidArgument for a bad name or tag.</exception>
    public Task<Experiment> CreateAsync(Actor actor, string name, IReadOnlyList<Tag> tags, CancellationToken ct) => CreateAsync(actor, name, null, tags, ct);

    /// <summary>Creates an experiment.</summary>
    /// <param name="actor">Who creates it.</param>
    /// <param name="name">1 to 500 characters.</param>
    /// <param name="artifactLocation">URI of the store for its artifacts; null for this server's.</param>
    /// <param name="tags">Initial tags.</param>
    /// <param name="ct">Cancels.</param>
    public async Task<Experiment> CreateAsync(Actor actor, string name, string? artifactLocation, IReadOnlyList<Tag> tags, CancellationToken ct)
    {
        Limits.CheckExperimentName(name);
        if (!string.IsNullOrEmpty(artifactLocation))
        {
            Limits.CheckArtifactLocation(artifactLocation);
        }

        foreach (var tag in tags)
        {
            Limits.CheckExperimentTag(tag);
        }

        var now = clock.NowMicros();
        return await database.WriteAsync(
            async tx =>
            {
                var taken = await tx.FindAsync<ExperimentRow>($"SELECT {Columns} FROM registry_experiments e WHERE e.name = @name", new { name });
                if (taken is not null)
                {
                    throw AlreadyExists(name, taken);
                }

                await tx.ExecuteAsync("UPDATE registry_counters SET value = value + 1 WHERE name = 'experiment'");
                var id = await tx.ScalarAsync<long>("SELECT value FROM registry_counters WHERE name = 'experiment'");
                var location = string.IsNullOrEmpty(artifactLocation) ? $"{ArtifactPath.Scheme}:/{id}" : artifactLocation;
                await tx.ExecuteAsync(
                    "INSERT INTO registry_experiments (id, name, artifact_location, state, created_at, updated_at) VALUES (@id, @name, @location, 0, @now, @now)",
                    new { id, name, location, now });
                await WriteTagsAsync(tx, id, tags);
                await journal.AppendAsync(tx, actor, Events.ExperimentCreated, SubjectOf(id), new ExperimentCreated(name, location));
                return (await FindAsync(tx, "e.id = @id", new { id }))!;
            },
            ct);
    }

    /// <summary>An experiment, deleted or not.</summary>
    /// <exception cref="SlipwayException">NotFound; InvalidArgument if the id is not a number.</exception>
    public async Task<Experiment> GetAsync(string id, CancellationToken ct)
    {
        var number = ParseId(id);
        return await database.ReadAsync(s => FindAsync(s, "e.id = @number", new { number }), ct) ?? throw NotFound(id);
    }

    /// <summary>An experiment by name, deleted or not; null if there is none.</summary>
    public Task<Experiment?> FindByNameAsync(string name, CancellationToken ct) => database.ReadAsync(s => FindAsync(s, "e.name = @name", new { name }), ct);

    /// <summary>The live experiment of that name, created if there is none.</summary>
    /// <exception cref="SlipwayException">InvalidArgument if an experiment of that name is deleted.</exception>
    public async Task<Experiment> EnsureAsync(Actor actor, string name, CancellationToken ct)
    {
        var found = await FindByNameAsync(name, ct);
        if (found is null)
        {
            try
            {
                return await CreateAsync(actor, name, [], ct);
            }
            catch (SlipwayException e) when (e.Code == ErrorCode.AlreadyExists)
            {
                found = await FindByNameAsync(name, ct);
            }
        }

        return found is { Deleted: false }
            ? found
            : throw SlipwayException.Invalid($"The experiment {Limits.Quote(name)} is deleted", next: "restore it, or choose another name");
    }

    /// <summary>Experiments that match, newest first unless ordered otherwise.</summary>
    /// <exception cref="SlipwayException">InvalidArgument for a bad filter, order, limit or token.</exception>
    public Task<Page<Experiment>> SearchAsync(ExperimentSearch search, CancellationToken ct)
    {
        Limits.PageSize(search.Limit, 50_000);
        var sql = new SearchSql(database.Dialect);
        var order = new SearchOrder(sql);
        var query = string.Join('\n', ["experiments", search.Filter ?? "", search.View.ToString(), .. search.OrderBy]);
        if (search.View != View.All)
        {
            sql.Where(search.View == View.ActiveOnly ? "e.state = 0" : "e.state <> 0");
        }

        foreach (var condition in FilterParser.Parse(search.Filter, SearchGrammar.Experiments))
        {
            switch (condition)
            {
                case { Entity: Entity.Tag }:
                    sql.WhereTag("registry_experiment_tags", "t.experiment_id = e.id", condition);
                    break;
                case { Key: "name" }:
                    sql.Where(sql.CompareText("e.name", condition));
                    break;
                default:
                    sql.Where(sql.CompareNumber(condition.Key == "creation_time" ? "e.created_at" : "e.updated_at", condition, scale: 1000));
                    break;
            }
        }

        var terms = FilterParser.ParseOrder(search.OrderBy, SearchGrammar.Experiments);
        foreach (var term in terms)
        {
            AddOrder(sql, order, term);
        }

        if (terms.Count == 0)
        {
            order.Add("e.created_at", SortKind.Integer, descending: true);
        }

        if (!terms.Any(t => t.Key == "experiment_id"))
        {
            order.Add("e.id", SortKind.Integer, descending: terms.Count > 0);
        }

        if (!string.IsNullOrEmpty(search.PageToken))
        {
            order.After(search.PageToken, query);
        }

        return database.ReadAsync(
            async session =>
            {
                var statement = sql.Build(session, "e.id, e.name, e.artifact_location, e.state, e.created_at, e.updated_at", "registry_experiments e", order, search.Limit + 1);
                var (rows, token) = await SearchOrder.PageAsync(statement, search.Limit, ReadRow, r => order.Token(r, 6, query));
                return new Page<Experiment>(await FillAsync(session, rows), token);
            },
            ct);
    }

    /// <summary>Renames a live experiment.</summary>
    public Task RenameAsync(Actor actor, string id, string name, CancellationToken ct)
    {
        Limits.CheckExperimentName(name, "new_name");
        var number = ParseId(id);
        var now = clock.NowMicros();
        return database.WriteAsync(
            async tx =>
            {
                await ActiveAsync(tx, number);
                var taken = await tx.FindAsync<ExperimentRow>($"SELECT {Columns} FROM registry_experiments e WHERE e.name = @name AND e.id <> @number", new { name, number });
                if (taken is not null)
                {
                    throw AlreadyExists(name, taken);
                }

                await tx.ExecuteAsync("UPDATE registry_experiments SET name = @name, updated_at = @now WHERE id = @number", new { name, now, number });
                await journal.AppendAsync(tx, actor, Events.ExperimentChanged, SubjectOf(number), RecordChanged.Of("name", null, name));
            },
            ct);
    }

    /// <summary>Marks an experiment and its live runs deleted.</summary>
    /// <exception cref="SlipwayException">NotFound if it is missing or deleted already.</exception>
    public Task DeleteAsync(Actor actor, string id, CancellationToken ct) => SetStateAsync(actor, id, deleted: true, ct);

    /// <summary>Brings an experiment back, with the runs that were deleted together with it.</summary>
    /// <exception cref="SlipwayException">NotFound if it is missing or not deleted.</exception>
    public Task RestoreAsync(Actor actor, string id, CancellationToken ct) => SetStateAsync(actor, id, deleted: false, ct);

    /// <summary>Sets a tag of a live experiment.</summary>
    public Task SetTagAsync(Actor actor, string id, Tag tag, CancellationToken ct)
    {
        Limits.CheckExperimentTag(tag);
        var number = ParseId(id);
        var now = clock.NowMicros();
        return database.WriteAsync(
            async tx =>
            {
                await ActiveAsync(tx, number);
                await WriteTagsAsync(tx, number, [tag]);
                await tx.ExecuteAsync("UPDATE registry_experiments SET updated_at = @now WHERE id = @number", new { now, number });
                await journal.AppendAsync(tx, actor, Events.ExperimentChanged, SubjectOf(number), RecordChanged.Of("tag", tag.Key, tag.Value));
            },
            ct);
    }

    /// <summary>Deletes a tag of a live experiment.</summary>
    /// <exception cref="SlipwayException">NotFound if there is no such tag.</exception>
    public Task DeleteTagAsync(Actor actor, string id, string key, CancellationToken ct)
    {
        var number = ParseId(id);
        var now = clock.NowMicros();
        return database.WriteAsync(
            async tx =>
            {
                await ActiveAsync(tx, number);
                if (await tx.ExecuteAsync("DELETE FROM registry_experiment_tags WHERE experiment_id = @number AND key = @key", new { number, key }) == 0)
                {
                    throw new SlipwayException(ErrorCode.NotFound, $"No tag with name: {FilterTokens.Cut(key)} in experiment with id {number}");
                }

                await tx.ExecuteAsync("UPDATE registry_experiments SET updated_at = @now WHERE id = @number", new { now, number });
                await journal.AppendAsync(tx, actor, Events.ExperimentChanged, SubjectOf(number), RecordChanged.Of("tag-deleted", key, null));
            },
            ct);
    }

    internal static long ParseId(string id) => long.TryParse(id, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
        ? number
        : throw SlipwayException.Invalid($"Invalid experiment ID: {Limits.Quote(id)}. Experiment ID must be a valid integer");

    internal static async Task<ExperimentRow> ActiveAsync(Tx tx, long id)
    {
        using var find = tx.Statement("SELECT name, artifact_location, state, created_at, updated_at FROM registry_experiments WHERE id = $1");
        if (!await find.Bind(id).NextAsync())
        {
            throw NotFound(id.ToString(CultureInfo.InvariantCulture));
        }

        return find.Long(2) == 0
            ? new ExperimentRow { Id = id, Name = find.Text(0), ArtifactLocation = find.Text(1), CreatedAt = find.Long(3), UpdatedAt = find.Long(4) }
            : throw SlipwayException.Invalid($"The experiment {id} must be in the 'active' state. Current state is deleted.", next: "restore the experiment first");
    }

    private static void AddOrder(SearchSql sql, SearchOrder order, OrderTerm term)
    {
        switch (term)
        {
            case { Entity: Entity.Tag }:
                throw SlipwayException.Invalid($"Invalid order_by key {Limits.Quote(term.Key)} specified: experiments are not ordered by tags");
            case { Key: "name" }:
                order.AddText("e.name", term.Descending);
                break;
            case { Key: "experiment_id" }:
                order.Add("e.id", SortKind.Integer, term.Descending);
                break;
            default:
                order.Add(term.Key == "creation_time" ? "e.created_at" : "e.updated_at", SortKind.Integer, term.Descending);
                break;
        }
    }

    private Task SetStateAsync(Actor actor, string id, bool deleted, CancellationToken ct)
    {
        var number = ParseId(id);
        var now = clock.NowMicros();
        return database.WriteAsync(
            async tx =>
            {
                var changed = await tx.ExecuteAsync(
                    "UPDATE registry_experiments SET state = @to, updated_at = @now WHERE id = @number AND state = @from",
                    new { number, now, from = deleted ? 0 : 1, to = deleted ? 1 : 0 });
                if (changed == 0)
                {
                    throw NotFound(id);
                }

                // Runs that were deleted on their own before stay deleted after a restore.
                await tx.ExecuteAsync("UPDATE registry_runs SET state = @to, rev = @rev WHERE experiment_id = @number AND state = @from", new { number, rev = RunLog.Revision(), from = deleted ? 0 : 2, to = deleted ? 2 : 0 });
                if (deleted)
                {
                    var name = await tx.ScalarAsync<string>("SELECT name FROM registry_experiments WHERE id = @number", new { number });
                    await Trash.RememberAsync(tx, actor, now, "experiment", id, name);
                }
                else
                {
                    await Trash.ForgetAsync(tx, "experiment", id);
                }

                await journal.AppendAsync(tx, actor, deleted ? Events.ExperimentDeleted : Events.ExperimentRestored, SubjectOf(number));
            },
            ct);
    }

    private static async Task WriteTagsAsync(Tx tx, long id, IReadOnlyList<Tag> tags)
    {
        foreach (var tag in tags)
        {
            await tx.ExecuteAsync(
                "INSERT INTO registry_experiment_tags (experiment_id, key, value) VALUES (@id, @Key, @Value) ON CONFLICT (experiment_id, key) DO UPDATE SET value = excluded.value",
                new { id, tag.Key, tag.Value });
        }
    }

    private static async Task<Experiment?> FindAsync(Session session, string where, object args)
    {
        var row = await session.FindAsync<ExperimentRow>($"SELECT {Columns} FROM registry_experiments e WHERE {where}", args);
        return row is null ? null : (await FillAsync(session, [row]))[0];
    }

    private static async Task<IReadOnlyList<Experiment>> FillAsync(Session session, IReadOnlyList<ExperimentRow> rows)
    {
        var tags = new List<TagRow>();
        foreach (var ids in rows.Select(r => r.Id).Chunk(500))
        {
            var (list, args) = SqlList.Of(ids);
            tags.AddRange(await session.QueryAsync<TagRow>($"SELECT experiment_id AS ExperimentId, key AS Key, value AS Value FROM registry_experiment_tags WHERE experiment_id IN ({list}) ORDER BY key", args));
        }

        var byExperiment = tags.ToLookup(t => t.ExperimentId, t => new Tag(t.Key, t.Value));
        return rows.Select(r => new Experiment(
            r.Id.ToString(CultureInfo.InvariantCulture), r.Name, r.ArtifactLocation, r.State != 0, Time.FromMicros(r.CreatedAt), Time.FromMicros(r.UpdatedAt), byExperiment[r.Id].ToList())).ToList();
    }

    private static ExperimentRow ReadRow(Statement row) => new()
    {
        Id = row.Long(0),
        Name = row.Text(1),
        ArtifactLocation = row.Text(2),
        State = row.Long(3),
        CreatedAt = row.Long(4),
        UpdatedAt = row.Long(5),
    };

    private static Subject SubjectOf(long id) => new("experiment", id.ToString(CultureInfo.InvariantCulture));

    private static SlipwayException NotFound(string id) => new(ErrorCode.NotFound, $"No Experiment with id={FilterTokens.Cut(id)} exists");

    private static SlipwayException AlreadyExists(string name, ExperimentRow taken) => taken.State == 0
        ? new(ErrorCode.AlreadyExists, $"Experiment(name={FilterTokens.Cut(name)}) already exists.")
        : new(ErrorCode.AlreadyExists, $"Experiment(name={FilterTokens.Cut(name)}) already exists.", "a deleted experiment holds the name", $"restore experiment {taken.Id}, or choose another name");

    internal sealed class ExperimentRow
    {
        public long Id { get; set; }

        public string Name { get; set; } = "";

        public string ArtifactLocation { get; set; } = "";

        public long State { get; set; }

        public long CreatedAt { get; set; }

        public long UpdatedAt { get; set; }
    }

    private sealed class TagRow
    {
        public long ExperimentId { get; set; }

        public string Key { get; set; } = "";

        public string Value { get; set; } = "";
    }
}
