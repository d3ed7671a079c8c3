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

    internal Journal(Database database, JournalKeys keys, TimeProvider clock)
    {
        this.database = database;
        this.keys = keys;
        this.clock = clock;
        database.BeforeCommit = database.Dialect.IsPostgres ? EnqueueAsync : SealAsync;
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
        var linked = links?.Select(l => l.ToString()).Distinct(StringComparer.Ordinal).ToList() ?? [];
        var (keyId, ownerKey) = await keys.OfOwnerAsync(tx, actor.Principal);
        var detail = CanonicalJson.Serialize(new EntryDetail(actor, subject.ToString(), linked, JsonSerializer.SerializeToElement(body ?? new object(), CanonicalJson.Options)));
        if (detail.Length > LargestDetail)
        {
            throw new SlipwayException(ErrorCode.TooLarge, $"the journal entry {kind} is too large", $"{detail.Length} bytes, the limit is {LargestDetail}");
        }

        var salt = RandomNumberGenerator.GetBytes(32);
        var record = new byte[32 + detail.Length];
        salt.CopyTo(record, 0);
        detail.CopyTo(record, 32);
        var (head, tail) = Leaf(id, now, actor, kind, subject, linked, outcome, reason, Commit(record), detail.Length, keyId);
        if (head.Length + tail.Length + 20 > LargestEntry)
        {
            throw new SlipwayException(ErrorCode.TooLarge, $"the journal entry {kind} links too much", $"{linked.Count} links do not fit into {LargestEntry} bytes");
        }

        var encrypted = JournalKeys.Encrypt(JournalKeys.RecordKey(ownerKey, id), record);
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
        using var sha = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        sha.AppendData(CommitDomain);
        sha.AppendData(saltAndDetail);
        return sha.GetHashAndReset();
    }

    /// <summary>The tree after the newest sealed entry, for signing.</summary>
    internal Task<MerkleTree> TreeAsync(CancellationToken ct) => database.ReadAsync(LoadTreeAsync, ct);

    /// <summary>Numbers what other transactions left in the outbox. PostgreSQL only; one caller at a time in the cluster.</summary>
    /// <returns>How many entries were sealed.</returns>
    internal Task<int> SealOutboxAsync(int most, CancellationToken ct) => database.WriteAsync(
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
            foreach (var chunk in rows.Select(r => r.N).Chunk(500))
            {
                await tx.ExecuteAsync($"DELETE FROM journal_outbox WHERE n IN ({string.Join(',', chunk)})");
            }

            return rows.Count;
        },
        ct);

    private (string Head, string Tail) Leaf(string id, DateTimeOffset at, Actor actor, string kind, Subject subject, List<string> links, string outcome, string? reason, byte[] commit, int size, string keyId)
    {
        var reference = links.ConvertAll(l => $"{Subject.Parse(l).Kind}:{keys.Pseudonym('s', l)}");
        var whole = CanonicalJson.Serialize(new Dictionary<string, object?>(StringComparer.Ordinal)
        {
            ["actor"] = new { kind = actor.Kind, pid = keys.Pseudonym('p', actor.Name), auth = actor.Auth, obo = actor.OnBehalfOf is null ? null : keys.Pseudonym('p', actor.OnBehalfOf) },
            ["det"] = new { commit = "sha256:" + Convert.ToHexStringLower(commit), size, key = keyId },
            ["id"] = id,
            ["log"] = keys.Origin,
            ["obj"] = new { kind = subject.Kind, id = keys.Pseudonym('s', subject.ToString()) },
            ["outcome"] = outcome,
            ["reason"] = reason,
            ["ref"] = reference,
            ["req"] = actor.RequestId is null ? null : new { id = actor.RequestId },
            ["ts"] = at.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture),
            ["tseq"] = 0,
            ["type"] = kind,
            ["v"] = 1,
        });
        var text = Encoding.UTF8.GetString(whole);
        // No earlier member can hold this text: quotes inside values are escaped.
        var at0 = text.IndexOf("\"tseq\":0", StringComparison.Ordinal) + "\"tseq\":".Length;
        return (text[..at0], text[(at0 + 1)..]);
    }

    private static async Task<MerkleTree> LoadTreeAsync(Session session)
    {
        var saved = await session.FindAsync<byte[]>("SELECT frontier FROM journal_head WHERE id = 1");
        return saved is null ? new MerkleTree() : MerkleTree.Load(saved);
    }

    private static async Task EnqueueAsync(Session session, IReadOnlyList<PendingEntry> entries)
    {
        using var insert = session.Prepare(
            "INSERT INTO journal_outbox (id, at, kind, actor, subject, links, outcome, head, tail, key_id, detail) VALUES (@id, @at, @kind, @actor, @subject, @links, @outcome, @head, @tail, @key, @detail)",
            "id", "at", "kind", "actor", "subject", "links", "outcome", "head", "tail", "key", "detail");
        foreach (var e in entries)
        {
            await insert.RunAsync(e.Id, e.At, e.Kind, e.Actor, e.Subject, string.Join('\n', e.Links), e.Outcome, e.Head, e.Tail, e.KeyId, e.Detail);
        }
    }

    private static async Task SealAsync(Session session, IReadOnlyList<PendingEntry> entries)
    {
        var current = await LoadTreeAsync(session);
        var before = current.Size;
        using var insert = session.Prepare(
            "INSERT INTO journal_entries (seq, id, at, kind, actor, subject, outcome, entry, leaf, key_id, detail) VALUES (@seq, @id, @at, @kind, @actor, @subject, @outcome, @entry, @leaf, @key, @detail)",
            "seq", "id", "at", "kind", "actor", "subject", "outcome", "entry", "leaf", "key", "detail");
        using var link = session.Prepare("INSERT INTO journal_links (seq, subject) VALUES (@seq, @subject)", "seq", "subject");
        foreach (var e in entries)
        {
            var seq = current.Size + 1;
            var bytes = Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{e.Head}{seq}{e.Tail}"));
            var leaf = MerkleTree.Leaf(bytes);
            await insert.RunAsync(seq, e.Id, e.At, e.Kind, e.Actor, e.Subject, e.Outcome, bytes, leaf, e.KeyId, e.Detail);
            foreach (var subject in e.Links)
            {
                await link.RunAsync(seq, subject);
            }

            current.Append(leaf);
        }

        // The old size in the condition is the fence: of two sealers that start from the same head, one fails.
        using var head = session.Prepare(
            before == 0
                ? "INSERT INTO journal_head (id, size, frontier) VALUES (1, @size, @frontier) ON CONFLICT (id) DO NOTHING"
                : "UPDATE journal_head SET size = @size, frontier = @frontier WHERE id = 1 AND size = @before",
            before == 0 ? ["size", "frontier"] : ["size", "frontier", "before"]);
        var changed = before == 0 ? await head.RunAsync(current.Size, current.Save()) : await head.RunAsync(current.Size, current.Save(), before);
        if (changed != 1)
        {
            throw new SlipwayException(ErrorCode.Conflict, "the journal has another sealer", $"its head is no longer at {before}");
        }
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
