using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;

namespace Slipway.Foundation;

/// <summary>What reading the whole journal showed.</summary>
/// <param name="Intact">Whether nothing was changed, removed or inserted.</param>
/// <param name="Entries">How many entries were read.</param>
/// <param name="Root">The root over them, 64 hexadecimal digits.</param>
/// <param name="Erased">How many entries have an erased detail (their leaves still verify).</param>
/// <param name="CheckpointSize">The size that the newest signed checkpoint vouches for; null when none was signed yet.</param>
/// <param name="Findings">What is wrong, each with the entry's number; at most 100.</param>
/// <param name="Took">The time it took.</param>
public sealed record VerifyReport(bool Intact, long Entries, string Root, long Erased, long? CheckpointSize, IReadOnlyList<string> Findings, TimeSpan Took)
{
    /// <summary>Verifies the journal of a stopped server's data folder, reading only.</summary>
    /// <exception cref="SlipwayException">NotFound when the folder holds no journal.</exception>
    public static async Task<VerifyReport> OfFolderAsync(string dataDirectory, CancellationToken ct)
    {
        var layout = new DataLayout(dataDirectory);
        if (!File.Exists(layout.SqliteFile))
        {
            throw new SlipwayException(ErrorCode.NotFound, $"{dataDirectory} holds no journal", $"there is no {layout.SqliteFile}", "name the data folder of a server with --data DIR");
        }

        await using var database = new Database(new SqliteDialect(layout.SqliteFile, readOnly: true));
        return await new Verifier(database, new JournalKeys(layout.Keys, create: false), layout.Checkpoint).RunAsync(ct);
    }
}

/// <summary>Re-derives the tree from the stored entries and holds every stored copy of a fact against it.</summary>
internal sealed class Verifier(Database database, JournalKeys keys, string checkpointPath)
{
    private const int BatchSize = 2000;
    private const int MostFindings = 100;
    private readonly List<string> findings = [];
    private long erased;

    public async Task<VerifyReport> RunAsync(CancellationToken ct)
    {
        var started = TimeProvider.System.GetTimestamp();
        // The checkpoint is read first: entries that are sealed meanwhile only lie beyond it.
        var checkpoint = OpenCheckpoint();
        var tree = new MerkleTree();
        byte[]? rootAtCheckpoint = checkpoint?.Size == 0 ? tree.Root() : null;
        var (headSize, headTree) = await database.ReadAsync(
            async s => (await s.ScalarAsync<long>("SELECT COALESCE(MAX(size), 0) FROM journal_head"), await s.FindAsync<byte[]>("SELECT frontier FROM journal_head WHERE id = 1")),
            ct);
        byte[]? rootAtHead = headSize == 0 ? tree.Root() : null;
        for (long after = 0; ;)
        {
            var from = after;
            var (rows, links) = await database.ReadAsync(
                async s => (
                    await s.QueryAsync<Journal.EntryRow>("SELECT seq AS Seq, id AS Id, at AS At, kind AS Kind, actor AS Actor, subject AS Subject, outcome AS Outcome, entry AS Entry, leaf AS Leaf, key_id AS KeyId, detail AS Detail FROM journal_entries WHERE seq > @from ORDER BY seq LIMIT @BatchSize", new { from, BatchSize }),
                    (await s.QueryAsync<LinkRow>("SELECT seq AS Seq, subject AS Subject FROM journal_links WHERE seq > @from AND seq <= @to ORDER BY seq", new { from, to = from + BatchSize })).ToLookup(l => l.Seq, l => l.Subject)),
                ct);
            if (rows.Count == 0)
            {
                break;
            }

            foreach (var row in rows)
            {
                if (row.Seq != tree.Size + 1)
                {
                    Report(string.Create(CultureInfo.InvariantCulture, $"entry {tree.Size + 1}: missing, the next one is {row.Seq}"));
                    return Result(tree, checkpoint, started);
                }

                var leaf = MerkleTree.Leaf(row.Entry);
                tree.Append(leaf);
                if (!leaf.AsSpan().SequenceEqual(row.Leaf))
                {
                    Report($"entry {row.Seq}: its text does not have the leaf hash that was sealed");
                }

                using var detail = await CheckAsync(row, links[row.Seq], ct);
                rootAtCheckpoint ??= tree.Size == checkpoint?.Size ? tree.Root() : null;
                rootAtHead ??= tree.Size == headSize ? tree.Root() : null;
            }

            after = rows[^1].Seq;
        }

        if (checkpoint is not null && tree.Size < checkpoint.Size)
        {
            Report($"entries {tree.Size + 1} to {checkpoint.Size}: removed, a signed checkpoint vouches for {checkpoint.Size}");
        }
        else if (checkpoint is not null && !rootAtCheckpoint.AsSpan().SequenceEqual(checkpoint.Root))
        {
            Report($"entries 1 to {checkpoint.Size}: their root is not the signed one");
        }

        if (tree.Size < headSize)
        {
            Report($"entries {tree.Size + 1} to {headSize}: removed, the sealed head counts {headSize}");
        }
        else if (headTree is not null && !rootAtHead.AsSpan().SequenceEqual(MerkleTree.Load(headTree).Root()))
        {
            Report($"entries 1 to {headSize}: their root is not the head's");
        }

        return Result(tree, checkpoint, started);
    }

    private VerifyReport Result(MerkleTree tree, Checkpoint? checkpoint, long started) => new(
        findings.Count == 0, tree.Size, Convert.ToHexStringLower(tree.Root()), erased, checkpoint?.Size, findings, TimeProvider.System.GetElapsedTime(started));

    private Checkpoint? OpenCheckpoint()
    {
        if (!File.Exists(checkpointPath))
        {
            return null;
        }

        try
        {
            return Checkpoint.Open(File.ReadAllText(checkpointPath), keys);
        }
        catch (SlipwayException e)
        {
            Report($"checkpoint: {e.Sentence}");
            return null;
        }
    }

    // The columns and links that queries use are copies of what the leaf and the detail say; an edited copy is a finding too.
    private async Task<JsonDocument?> CheckAsync(Journal.EntryRow row, IEnumerable<string> links, CancellationToken ct)
    {
        JsonDocument leaf;
        try
        {
            leaf = JsonDocument.Parse(row.Entry);
        }
        catch (JsonException)
        {
            Report($"entry {row.Seq}: its text is not JSON");
            return null;
        }

        var e = leaf.RootElement;
        var at = Time.FromMicros(row.At).UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture);
        if (Text(e, "id") != row.Id || Text(e, "type") != row.Kind || Text(e, "outcome") != row.Outcome || Text(e, "ts") != at
            || !e.TryGetProperty("tseq", out var tseq) || !tseq.TryGetInt64(out var seq) || seq != row.Seq)
        {
            Report($"entry {row.Seq}: its columns differ from its sealed text");
            return leaf;
        }

        var committed = e.TryGetProperty("det", out var det) ? Text(det, "commit") : null;
        if (det.ValueKind != JsonValueKind.Object || Text(det, "key") != row.KeyId)
        {
            Report($"entry {row.Seq}: its detail key differs from its sealed text");
            return leaf;
        }

        var key = await database.ReadAsync(async s => await keys.FindAsync(s, row.KeyId), ct);
        if (key is null)
        {
            erased++;
            return leaf;
        }

        try
        {
            var record = JournalKeys.Decrypt(JournalKeys.RecordKey(key, row.Id), row.Detail);
            var detail = JsonSerializer.Deserialize<EntryDetail>(record.AsSpan(32), CanonicalJson.Options)!;
            if (committed != "sha256:" + Convert.ToHexStringLower(Journal.Commit(record)))
            {
                Report($"entry {row.Seq}: its detail is not the one it committed to");
            }
            else if (detail.Actor.ToString() != row.Actor || detail.Subject != row.Subject || !detail.Links.Order(StringComparer.Ordinal).SequenceEqual(links.Order(StringComparer.Ordinal)))
            {
                Report($"entry {row.Seq}: its actor, subject or links differ from its detail");
            }
        }
        catch (Exception bad) when (bad is CryptographicException or JsonException)
        {
            Report($"entry {row.Seq}: its detail was changed ({bad.Message})");
        }

        return leaf;
    }

    private static string? Text(JsonElement e, string name) => e.TryGetProperty(name, out var v) && v.ValueKind == JsonValueKind.String ? v.GetString() : null;

    private void Report(string finding)
    {
        if (findings.Count < MostFindings)
        {
            findings.Add(finding);
        }
    }

    private sealed class LinkRow
    {
        public long Seq { get; set; }

        public string Subject { get; set; } = "";
    }
}
