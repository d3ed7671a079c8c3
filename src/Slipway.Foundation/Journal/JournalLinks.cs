using Dapper;

namespace Slipway.Foundation;

/// <summary>A link of an entry: the entry's subject points at another subject.</summary>
/// <param name="From">The entry's subject.</param>
/// <param name="To">What the entry linked.</param>
/// <param name="Kind">The kind of the first entry that linked the two.</param>
/// <param name="Seq">That entry's number.</param>
public sealed record JournalLink(Subject From, Subject To, string Kind, long Seq);

/// <summary>The journal as a graph of subjects, read from the index over links without opening an entry.</summary>
public sealed class JournalLinks(Database database)
{
    private const int Chunk = 400;

    /// <summary>The links of successful entries that begin (outgoing) or end at one of the subjects, each pair once, oldest first.</summary>
    /// <param name="subjects">Where to look.</param>
    /// <param name="outgoing">True for links that begin at the subjects.</param>
    /// <param name="limit">At most so many.</param>
    /// <param name="ct">Stops waiting.</param>
    public async Task<IReadOnlyList<JournalLink>> OfAsync(IReadOnlyCollection<Subject> subjects, bool outgoing, int limit, CancellationToken ct)
    {
        var column = outgoing ? "e.subject" : "l.subject";
        return await database.ReadAsync<IReadOnlyList<JournalLink>>(
            async session =>
            {
                var found = new List<JournalLink>();
                foreach (var names in subjects.Select(s => s.ToString()).Chunk(Chunk))
                {
                    if (found.Count >= limit)
                    {
                        break;
                    }

                    var args = new DynamicParameters();
                    args.Add("limit", limit - found.Count);
                    for (var i = 0; i < names.Length; i++)
                    {
                        args.Add($"n{i}", names[i]);
                    }

                    var rows = await session.QueryAsync<Row>(
                        $"""
                        SELECT e.subject AS Source, l.subject AS Target, e.kind AS Kind, MIN(e.seq) AS Seq
                        FROM journal_entries e JOIN journal_links l ON l.seq = e.seq
                        WHERE {column} IN ({string.Join(',', Enumerable.Range(0, names.Length).Select(i => $"@n{i}"))}) AND e.outcome = 'success'
                        GROUP BY e.subject, l.subject, e.kind ORDER BY MIN(e.seq) LIMIT @limit
                        """,
                        args);
                    found.AddRange(rows.Select(r => new JournalLink(Subject.Parse(r.Source), Subject.Parse(r.Target), r.Kind, r.Seq)));
                }

                return found;
            },
            ct);
    }

    /// <summary>Whether any entry is about the subject or links it.</summary>
    public Task<bool> KnowsAsync(Subject subject, CancellationToken ct) => database.ReadAsync(
        async session => await session.ScalarAsync<long>(
            "SELECT CASE WHEN EXISTS (SELECT 1 FROM journal_entries WHERE subject = @name) OR EXISTS (SELECT 1 FROM journal_links WHERE subject = @name) THEN 1 ELSE 0 END",
            new { name = subject.ToString() }) == 1,
        ct);

    private sealed class Row
    {
        public string Source { get; set; } = "";

        public string Target { get; set; } = "";

        public string Kind { get; set; } = "";

        public long Seq { get; set; }
    }
}
