using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

namespace Slipway.Foundation;

/// <summary>
/// What happened: appended in the transaction of the change itself, sealed in commit order under dense numbers into a
/// Merkle tree, and delivered to subscribers. Audit, lineage, webhooks and the live pages are readers of it.
/// </summary>
/// <remarks>
/// An entry's leaf holds pseudonyms and a salted commitment; names, subjects and the body stand in a detail record that
/// is encrypted under its actor's key, so that they can be erased while every proof still holds.
/// </remarks>
public sealed class Journal
{
    /// <summary>The limit of the published tile format, whose length prefix has 16 bits.</summary>
    private const int LargestEntry = 16 * 1024;
    private const int LargestDetail = 1024 * 1024;
    private const string Columns = "seq AS Seq, id AS Id, at AS At, kind AS Kind, actor AS Actor, subject AS Subject, outcome AS Outcome, entry AS Entry, leaf AS Leaf, key_id AS KeyId, detail AS Detail";
    private static readonly byte[] CommitDomain = "slipway/detail/v1\0"u8.ToArray();
    private readonly Database database;
    private readonly JournalKeys keys;
    private readonly TimeProvider clock;

    // SQLite: the tree of the commit under way, and of the last one that succeeded. Both change on the writer's thread only.
    private MerkleTree? sealedTree;
    private MerkleTree? committedTree;

    internal Journal(Database database, JournalKeys keys, TimeProvider clock)
    {
        this.database = database;
        this.keys = keys;
        this.clock = clock;
        database.BeforeCommit = database.Dialect.IsPostgres ? EnqueueAsync : SealAsync;
        database.JournalCommitted += () => committedTree = sealedTree;
    }

    /// <summary>Raised after entries were sealed by this process, outside any transaction.</summary>
    internal event Action? Sealed
    {
        add => database.JournalCommitted += value;
        remove => database.JournalCommitted -= value;
    }

    /// <summary>Adds an entry to the transaction; it exists exactly when the transaction's other changes do.</summary>
    /// <param name="tx">The transaction of the change.</param>
    /// <param name="actor">Who did it.</param>
    /// <param name="kind">What happened, <c>noun.verb-ed</c>.</param>
    /// <param name="subject">What it happened to.</param>
    /// <param name="body">The event's record.</param>
    /// <param name="links">What else it concerns.</param>
    /// <param name="outcome"><c>success</c>, <c>denied</c> or <c>error</c>.</param>
    /// <param name="reason">A stable code when the outcome is not success.</param>
    /// <returns>The entry's id.</returns>
    /// <exception cref="SlipwayException">TooLarge when the body is over 1 MiB.</exception>
    public async Task<string> AppendAsync(Tx tx, Actor actor, string kind, Subject subject, object? body = null, IEnumerable<Subject>? links = null, string outcome = "success", string? reason = null)
    {
        var now = clock.GetUtcNow();
        var id = Ids.Ulid(now);
        var linked = links is null ? (IReadOnlyList<string>)[] : links.Select(l => l.ToString()).Distinct(StringComparer.Ordinal).ToList();
        var (keyId, ownerKey) = await keys.OfOwnerAsync(tx, actor.Principal);
        using var record = EntryText.Record(actor, subject, linked, body);
        if (record.Length - EntryText.SaltSize > LargestDetail)
        {
            throw new SlipwayException(ErrorCode.TooLarge, $"the journal entry {kind} is too large", $"{record.Length - EntryText.SaltSize} bytes, the limit is {LargestDetail}");
        }

        var (head, tail) = EntryText.Leaf(keys, id, now, actor, kind, subject, linked, outcome, reason, Commit(record.Bytes), record.Length - EntryText.SaltSize, keyId);
        if (head.Length + tail.Length + 20 > LargestEntry)
        {
            throw new SlipwayException(ErrorCode.TooLarge, $"the journal entry {kind} links too much", $"{linked.Count} links do not fit into {LargestEntry} bytes");
        }

        var encrypted = JournalKeys.Encrypt(JournalKeys.RecordKey(ownerKey, id), record.Bytes);
        tx.Journal.Add(new PendingEntry(id, Time.ToMicros(now), kind, actor.ToString(), subject.ToString(), linked, outcome, head, tail, keyId, encrypted));
        return id;
    }

    public async Task<Page<JournalEntry>> ListAsync(JournalFilter filter, CancellationToken ct)
    {
        var limit = Math.Clamp(filter.Limit, 1, 1000);
        var where = new List<string> { "1 = 1" };
        if (filter.AfterSeq is not null)
        {
            where.Add("seq > @AfterSeq");
        }

        if (filter.BeforeSeq is not null)
        {
            where.Add("seq < @BeforeSeq");
        }

        if (filter.Kind is not null)
        {
            where.Add("kind >= @Kind AND kind < @KindEnd");
        }

        if (filter.Actor is not null)
        {
            where.Add("actor = @Actor");
        }

        if (filter.Subject is not null)
        {
            where.Add("(subject = @Subject OR seq IN (SELECT seq FROM journal_links WHERE subject = @Subject))");
        }

        if (filter.From is not null)
        {
            where.Add("at >= @From");
        }

        if (filter.To is not null)
        {
            where.Add("at < @To");
        }

        var sql = $"SELECT {Columns} FROM journal_entries WHERE {string.Join(" AND ", where)} ORDER BY seq {(filter.Descending ? "DESC" : "ASC")} LIMIT @limit";
        var args = new
        {
            filter.AfterSeq,
            filter.BeforeSeq,
            filter.Kind,
            KindEnd = filter.Kind + "\uffff",
            filter.Actor,
            filter.Subject,
            From = filter.From is { } from ? Time.ToMicros(from) : 0,
            To = filter.To is { } to ? Time.ToMicros(to) : 0,
            limit = limit + 1,
        };
        return await database.ReadAsync(
            async session =>
            {
                var rows = await session.QueryAsync<EntryRow>(sql, args);
                var entries = new List<JournalEntry>(rows.Count);
                foreach (var row in rows.Take(limit))
                {
                    entries.Add(await OpenAsync(session, row));
                }

                return new Page<JournalEntry>(entries, rows.Count > limit ? PageToken.Encode(entries[^1].Seq.ToString(CultureInfo.InvariantCulture)) : null);
            },
            ct);
    }

    /// <summary>The kinds of the next sealed entries, in order, without opening them.</summary>
    internal Task<IReadOnlyList<(long Seq, string Kind)>> KindsAsync(long after, int limit, CancellationToken ct) => database.ReadAsync<IReadOnlyList<(long, string)>>(
        async session =>
        {
            using var next = session.Statement("SELECT seq, kind FROM journal_entries WHERE seq > $1 ORDER BY seq LIMIT $2");
            next.Bind(after).Bind(limit);
            var found = new List<(long, string)>();
            while (await next.NextAsync())
            {
                found.Add((next.Long(0), next.Text(1)));
            }

            return found;
        },
        ct);

    /// <summary>The next entries of some kinds, up to and with a number.</summary>
    internal Task<IReadOnlyList<JournalEntry>> OfKindsAsync(IReadOnlyList<string> kinds, long after, long last, int limit, CancellationToken ct) => database.ReadAsync<IReadOnlyList<JournalEntry>>(
        async session =>
        {
            var names = string.Join(", ", kinds.Select((_, i) => $"${i + 4}"));
            var rows = new List<EntryRow>();
            using (var find = session.Statement($"SELECT seq, id, at, kind, actor, subject, outcome, entry, leaf, key_id, detail FROM journal_entries WHERE seq > $1 AND seq <= $2 AND kind IN ({names}) ORDER BY seq LIMIT $3"))
            {
                find.Bind(after).Bind(last).Bind(limit);
                foreach (var kind in kinds)
                {
                    find.Bind(kind);
                }

                while (await find.NextAsync())
                {
                    rows.Add(new EntryRow
                    {
                        Seq = find.Long(0),
                        Id = find.Text(1),
                        At = find.Long(2),
                        Kind = find.Text(3),
                        Actor = find.Text(4),
                        Subject = find.Text(5),
                        Outcome = find.Text(6),
                        Entry = find.Bytes(7),
                        Leaf = find.Bytes(8),
                        KeyId = find.Text(9),
                        Detail = find.Bytes(10),
                    });
                }
            }

            var entries = new List<JournalEntry>(rows.Count);
            foreach (var row in rows)
            {
                entries.Add(await OpenAsync(session, row));
            }

            return entries;
        },
        ct);

    /// <summary>The entry with that id, or null. On PostgreSQL an entry is numbered a moment after its commit; until then its <c>Seq</c> is 0 and its <c>Leaf</c> empty.</summary>
    public Task<JournalEntry?> FindAsync(string id, CancellationToken ct) => database.ReadAsync(
        async session =>
        {
            // Between two looks an entry may move from the outbox to the journal, never back.
            var row = await SealedRowAsync(session, id);
            if (row is null && database.Dialect.IsPostgres)
            {
                row = await WaitingRowAsync(session, id) ?? await SealedRowAsync(session, id);
            }

            return row is null ? null : await OpenAsync(session, row);
        },
        ct);

    private static Task<EntryRow?> SealedRowAsync(Session session, string id) => session.FindAsync<EntryRow>($"SELECT {Columns} FROM journal_entries WHERE id = @id", new { id });

    private static async Task<EntryRow?> WaitingRowAsync(Session session, string id)
    {
        var row = await session.FindAsync<OutboxRow>("SELECT id AS Id, at AS At, kind AS Kind, actor AS Actor, subject AS Subject, outcome AS Outcome, head AS Head, tail AS Tail, key_id AS KeyId, detail AS Detail FROM journal_outbox WHERE id = @id", new { id });
        return row is null ? null : new EntryRow { Id = row.Id, At = row.At, Kind = row.Kind, Actor = row.Actor, Subject = row.Subject, Outcome = row.Outcome, Entry = Encoding.UTF8.GetBytes($"{row.Head}0{row.Tail}"), KeyId = row.KeyId, Detail = row.Detail };
    }

    /// <summary>The number of the newest sealed entry; 0 when there is none.</summary>
    public Task<long> HeadAsync(CancellationToken ct) => database.ReadAsync(s => s.ScalarAsync<long>("SELECT COALESCE(MAX(seq), 0) FROM journal_entries"), ct);

    /// <summary>Reads every entry and says whether any was changed, removed or inserted.</summary>
    public Task<VerifyReport> VerifyAsync(CancellationToken ct) => new Verifier(database, keys, CheckpointPath).RunAsync(ct);

    internal string CheckpointPath { get; init; } = "";

    internal static byte[] Commit(ReadOnlySpan<byte> saltAndDetail)
    {
        var whole = ArrayPool<byte>.Shared.Rent(CommitDomain.Length + saltAndDetail.Length);
        CommitDomain.CopyTo(whole, 0);
        saltAndDetail.CopyTo(whole.AsSpan(CommitDomain.Length));
        var hash = SHA256.HashData(whole.AsSpan(0, CommitDomain.Length + saltAndDetail.Length));
        ArrayPool<byte>.Shared.Return(whole);
        return hash;
    }

    /// <summary>The tree after the newest sealed entry, for signing.</summary>
    internal Task<MerkleTree> TreeAsync(CancellationToken ct) => database.ReadAsync(LoadTreeAsync, ct);

    /// <summary>Numbers what other transactions left in the outbox. PostgreSQL only; one caller at a time in the cluster.</summary>
    /// <returns>How many entries were sealed.</returns>
    internal Task<int> SealOutboxAsync(int most, CancellationToken ct) => database.WriteAloneAsync(
        async tx =>
        {
            // Whatever is visible here has committed. A row that commits later gets a later number even if it was
            // inserted earlier, so no entry is skipped, and an entry never precedes one that it could have seen.
            var rows = await tx.QueryAsync<OutboxRow>(
                "SELECT n AS N, id AS Id, at AS At, kind AS Kind, actor AS Actor, subject AS Subject, links AS Links, outcome AS Outcome, head AS Head, tail AS Tail, key_id AS KeyId, detail AS Detail FROM journal_outbox ORDER BY n LIMIT @most",
                new { most });
            if (rows.Count == 0)
            {
                return 0;
            }

            await SealAsync(tx, [.. rows.Select(r => new PendingEntry(r.Id, r.At, r.Kind, r.Actor, r.Subject, r.Links.Length == 0 ? [] : r.Links.Split('\n'), r.Outcome, r.Head, r.Tail, r.KeyId, r.Detail))]);
            using var delete = tx.Statement("DELETE FROM journal_outbox WHERE n = ANY($1::bigint[])");
            await delete.Bind(rows.Select(r => r.N).ToArray()).RunAsync();
            return rows.Count;
        },
        ct);

    private static async Task<MerkleTree> LoadTreeAsync(Session session)
    {
        var saved = await session.FindAsync<byte[]>("SELECT frontier FROM journal_head WHERE id = 1");
        return saved is null ? new MerkleTree() : MerkleTree.Load(saved);
    }

    private static Task EnqueueAsync(Tx tx, IReadOnlyList<PendingEntry> entries) => tx.AtCommitAsync(
        """
        INSERT INTO journal_outbox (id, at, kind, actor, subject, links, outcome, head, tail, key_id, detail)
        SELECT e.id, e.at, e.kind, e.actor, e.subject, e.links, e.outcome, e.head, e.tail, e.key_id, e.detail
        FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::bytea[])
            WITH ORDINALITY AS e(id, at, kind, actor, subject, links, outcome, head, tail, key_id, detail, n)
        ORDER BY e.n
        """,
        Each(entries, e => e.Id), Each(entries, e => e.At), Each(entries, e => e.Kind), Each(entries, e => e.Actor), Each(entries, e => e.Subject), Each(entries, e => string.Join('\n', e.Links)),
        Each(entries, e => e.Outcome), Each(entries, e => e.Head), Each(entries, e => e.Tail), Each(entries, e => e.KeyId), Each(entries, e => e.Detail)).AsTask();

    private async Task SealAsync(Session session, IReadOnlyList<PendingEntry> entries)
    {
        // Only this process writes to SQLite, so the tree that it committed last is the newest one.
        var current = database.Dialect.IsPostgres ? await LoadTreeAsync(session) : committedTree?.Clone() ?? await LoadTreeAsync(session);
        var before = current.Size;
        var texts = new byte[entries.Count][];
        var leaves = new byte[entries.Count][];
        for (var i = 0; i < entries.Count; i++)
        {
            texts[i] = EntryText.Whole(entries[i].Head, current.Size + 1, entries[i].Tail);
            leaves[i] = MerkleTree.Leaf(texts[i]);
            current.Append(leaves[i]);
        }

        await (database.Dialect.IsPostgres ? InsertArraysAsync(session, before, entries, texts, leaves) : InsertRowsAsync(session, before, entries, texts, leaves));
        // The old size in the condition is the fence: of two sealers that start from the same head, one fails.
        using var head = session.Statement(before == 0
            ? "INSERT INTO journal_head (id, size, frontier) VALUES (1, $1, $2) ON CONFLICT (id) DO NOTHING"
            : "UPDATE journal_head SET size = $1, frontier = $2 WHERE id = 1 AND size = $3");
        head.Bind(current.Size).Bind(current.Save());
        if (before != 0)
        {
            head.Bind(before);
        }

        if (await head.RunAsync() != 1)
        {
            throw new SlipwayException(ErrorCode.Conflict, "the journal has another sealer", $"its head is no longer at {before}");
        }

        sealedTree = current;
    }

    private static async Task InsertRowsAsync(Session session, long before, IReadOnlyList<PendingEntry> entries, byte[][] texts, byte[][] leaves)
    {
        using var insert = session.Statement("INSERT INTO journal_entries (seq, id, at, kind, actor, subject, outcome, entry, leaf, key_id, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)");
        using var link = session.Statement("INSERT INTO journal_links (seq, subject) VALUES ($1, $2)");
        for (var i = 0; i < entries.Count; i++)
        {
            var e = entries[i];
            var seq = before + i + 1;
            await insert.Bind(seq).Bind(e.Id).Bind(e.At).Bind(e.Kind).Bind(e.Actor).Bind(e.Subject).Bind(e.Outcome).Bind(texts[i]).Bind(leaves[i]).Bind(e.KeyId).Bind(e.Detail).RunAsync();
            foreach (var subject in e.Links)
            {
                await link.Bind(seq).Bind(subject).RunAsync();
            }
        }
    }

    private static async Task InsertArraysAsync(Session session, long before, IReadOnlyList<PendingEntry> entries, byte[][] texts, byte[][] leaves)
    {
        using var insert = session.Statement(
            """
            INSERT INTO journal_entries (seq, id, at, kind, actor, subject, outcome, entry, leaf, key_id, detail)
            SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bytea[], $9::bytea[], $10::text[], $11::bytea[])
            """);
        var numbers = Enumerable.Range(0, entries.Count).Select(i => before + i + 1).ToArray();
        insert.Bind(numbers).Bind(Each(entries, e => e.Id)).Bind(Each(entries, e => e.At)).Bind(Each(entries, e => e.Kind)).Bind(Each(entries, e => e.Actor)).Bind(Each(entries, e => e.Subject))
            .Bind(Each(entries, e => e.Outcome)).Bind(texts).Bind(leaves).Bind(Each(entries, e => e.KeyId)).Bind(Each(entries, e => e.Detail));
        await insert.RunAsync();
        var links = entries.SelectMany((e, i) => e.Links.Select(l => (Seq: before + i + 1, Subject: l))).ToList();
        if (links.Count > 0)
        {
            using var link = session.Statement("INSERT INTO journal_links (seq, subject) SELECT * FROM unnest($1::bigint[], $2::text[])");
            await link.Bind(links.Select(l => l.Seq).ToArray()).Bind(links.Select(l => l.Subject).ToArray()).RunAsync();
        }
    }

    private static T[] Each<T>(IReadOnlyList<PendingEntry> entries, Func<PendingEntry, T> field)
    {
        var all = new T[entries.Count];
        for (var i = 0; i < all.Length; i++)
        {
            all[i] = field(entries[i]);
        }

        return all;
    }

    private async Task<JournalEntry> OpenAsync(Session session, EntryRow row)
    {
        using var leaf = JsonDocument.Parse(row.Entry);
        var reason = leaf.RootElement.TryGetProperty("reason", out var r) ? r.GetString() : null;
        var detail = await DetailAsync(session, keys, row);
        return new JournalEntry(
            row.Seq,
            row.Id,
            Time.FromMicros(row.At),
            detail?.Actor ?? new Actor(ActorKind.User, row.Actor),
            row.Kind,
            Subject.Parse(row.Subject),
            detail?.Links.Select(Subject.Parse).ToList() ?? [],
            detail?.Body ?? JsonSerializer.SerializeToElement(new object()),
            row.Outcome,
            reason,
            Convert.ToHexStringLower(row.Leaf));
    }

    /// <summary>The decrypted detail, or null when its key was destroyed.</summary>
    internal static async ValueTask<EntryDetail?> DetailAsync(Session session, JournalKeys keys, EntryRow row)
    {
        var key = await keys.FindAsync(session, row.KeyId);
        if (key is null)
        {
            return null;
        }

        var record = JournalKeys.Decrypt(JournalKeys.RecordKey(key, row.Id), row.Detail);
        return JsonSerializer.Deserialize<EntryDetail>(record.AsSpan(32), CanonicalJson.Options);
    }

    internal sealed class EntryRow
    {
        public long Seq { get; set; }

        public string Id { get; set; } = "";

        public long At { get; set; }

        public string Kind { get; set; } = "";

        public string Actor { get; set; } = "";

        public string Subject { get; set; } = "";

        public string Outcome { get; set; } = "";

        public byte[] Entry { get; set; } = [];

        public byte[] Leaf { get; set; } = [];

        public string KeyId { get; set; } = "";

        public byte[] Detail { get; set; } = [];
    }

    private sealed class OutboxRow
    {
        public long N { get; set; }

        public string Id { get; set; } = "";

        public long At { get; set; }

        public string Kind { get; set; } = "";

        public string Actor { get; set; } = "";

        public string Subject { get; set; } = "";

        public string Links { get; set; } = "";

        public string Outcome { get; set; } = "";

        public string Head { get; set; } = "";

        public string Tail { get; set; } = "";

        public string KeyId { get; set; } = "";

        public byte[] Detail { get; set; } = [];
    }
}
