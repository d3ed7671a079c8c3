namespace Slipway.Registry;

/// <summary>A picture of a page that a person keeps.</summary>
/// <param name="Page">The page: <see cref="SavedViews.Runs"/> or <see cref="SavedViews.Compare"/>.</param>
/// <param name="Name">1 to 100 characters, unique for the person and page.</param>
/// <param name="Query">The query of the address, without its question mark.</param>
/// <param name="UpdatedAt">UTC.</param>
public sealed record SavedView(string Page, string Name, string Query, DateTimeOffset UpdatedAt);

/// <summary>Views that people keep: an address under a name, each person's own.</summary>
public sealed class SavedViews(Database database, Journal journal, TimeProvider clock)
{
    /// <summary>The table of runs.</summary>
    public const string Runs = "runs";

    /// <summary>A comparison of runs.</summary>
    public const string Compare = "compare";

    private const int LongestName = 100;
    private const int LongestQuery = 32_768;
    private const int MostViews = 200;

    /// <summary>The actor's views of a page, by name.</summary>
    public Task<IReadOnlyList<SavedView>> ListAsync(Actor actor, string page, CancellationToken ct) => database.ReadAsync(
        async session => (IReadOnlyList<SavedView>)[.. (await session.QueryAsync<Row>(
            "SELECT page AS Page, name AS Name, query AS Query, updated_at AS UpdatedAt FROM registry_views WHERE owner = @owner AND page = @page",
            new { owner = actor.Principal, page })).Select(r => new SavedView(r.Page, r.Name, r.Query, Time.FromMicros(r.UpdatedAt))).OrderBy(v => v.Name, StringComparer.Ordinal)],
        ct);

    /// <summary>Keeps a view, replacing the one of that name.</summary>
    /// <exception cref="SlipwayException">InvalidArgument for an unknown page or a text beyond its limit; PreconditionFailed beyond 200 views of a page.</exception>
    public Task SaveAsync(Actor actor, string page, string name, string query, CancellationToken ct)
    {
        if (page is not (Runs or Compare))
        {
            throw SlipwayException.Invalid($"The page '{FilterTokens.Cut(page)}' has no views", $"pages with views are {Runs} and {Compare}");
        }

        name = name.Trim();
        if (name.Length is 0 or > LongestName)
        {
            throw SlipwayException.Invalid("The view needs a name", $"it has {name.Length} characters, 1 to {LongestName} are allowed");
        }

        Limits.CheckText(name, "name");
        Limits.CheckLength(query, LongestQuery, "query");
        Limits.CheckText(query, "query");
        var owner = actor.Principal;
        return database.WriteAsync(
            async tx =>
            {
                var others = await tx.ScalarAsync<long>("SELECT COUNT(*) FROM registry_views WHERE owner = @owner AND page = @page AND name <> @name", new { owner, page, name });
                if (others >= MostViews)
                {
                    throw new SlipwayException(ErrorCode.PreconditionFailed, "The view was not saved", $"{owner} has {others} views of this page, which is the limit", "delete one first");
                }

                await tx.ExecuteAsync(
                    """
                    INSERT INTO registry_views (owner, page, name, query, updated_at) VALUES (@owner, @page, @name, @query, @at)
                    ON CONFLICT (owner, page, name) DO UPDATE SET query = excluded.query, updated_at = excluded.updated_at
                    """,
                    new { owner, page, name, query, at = Time.ToMicros(clock.GetUtcNow()) });
                await journal.AppendAsync(tx, actor, Events.ViewSaved, new Subject("view", $"{page}/{name}"));
            },
            ct);
    }

    /// <summary>Forgets a view; a missing one is no error.</summary>
    public Task DeleteAsync(Actor actor, string page, string name, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            if (await tx.ExecuteAsync("DELETE FROM registry_views WHERE owner = @owner AND page = @page AND name = @name", new { owner = actor.Principal, page, name }) == 1)
            {
                await journal.AppendAsync(tx, actor, Events.ViewDeleted, new Subject("view", $"{page}/{name}"));
            }
        },
        ct);

    private sealed class Row
    {
        public string Page { get; set; } = "";

        public string Name { get; set; } = "";

        public string Query { get; set; } = "";

        public long UpdatedAt { get; set; }
    }
}
