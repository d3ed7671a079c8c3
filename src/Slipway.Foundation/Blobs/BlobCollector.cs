using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.Extensions.Logging;

namespace Slipway.Foundation;

/// <summary>
/// Deletes blobs that no row names, once an hour. A put makes a blob young again, and only what was old before the look at
/// the rows is deleted, so that an upload that is under way, or finds its content stored already, keeps it.
/// </summary>
public sealed partial class BlobCollector(FileBlobStore store, Database database, IEnumerable<BlobReferences> references, Wakeups wakeups, TimeProvider clock, ILogger<BlobCollector> log) : IClockedWork
{
    /// <summary>The longest time between a put and the row that names the blob: a commit of many files over a slow line.</summary>
    internal static readonly TimeSpan Grace = TimeSpan.FromHours(24);
    private const string Key = "all";
    private const int FoldersPerStep = 64;
    private static readonly TimeSpan Period = TimeSpan.FromHours(1);
    private HashSet<UInt128> used = [];
    private DateTimeOffset before;
    private DateTimeOffset? due;
    private int folder;
    private (int Blobs, long Bytes) total;

    public string Kind => "blob-collector";

    public Task<IReadOnlyList<string>> OpenAsync(CancellationToken ct) => Task.FromResult<IReadOnlyList<string>>([Key]);

    public async Task<DateTimeOffset?> StepAsync(string key, CancellationToken ct)
    {
        // Each sweep of the clocks wakes this; the first sweep leaves a starting server alone.
        due ??= clock.GetUtcNow() + Period;
        if (clock.GetUtcNow() < due)
        {
            return due;
        }

        if (folder == 0)
        {
            await BeginAsync(ct);
        }

        for (var i = 0; i < FoldersPerStep; i++, folder++)
        {
            var (files, bytes) = store.Collect(folder.ToString("x2", CultureInfo.InvariantCulture), IsUsed, before);
            total = (total.Blobs + files, total.Bytes + bytes);
        }

        if (folder < 256)
        {
            return clock.GetUtcNow();
        }

        if (total.Blobs > 0)
        {
            Log.Collected(log, total.Blobs, total.Bytes);
        }

        (folder, used, total) = (0, [], default);
        due = clock.GetUtcNow() + Period;
        return due;
    }

    /// <summary>Looks at once: rows have just let go of blobs.</summary>
    public Task HurryAsync()
    {
        due = clock.GetUtcNow();
        return wakeups.WakeAsync(Kind, Key);
    }

    private async Task BeginAsync(CancellationToken ct)
    {
        before = clock.GetUtcNow() - Grace;
        await database.ReadAsync(
            async session =>
            {
                foreach (var reference in references)
                {
                    await ReadAsync(session, reference.Sql);
                }

                return 0;
            },
            ct);
        var rows = await database.ReadAsync(
            s => s.QueryAsync<SmallRow>("SELECT hash AS Hash, LENGTH(bytes) AS Size FROM foundation_blobs WHERE touched_at < @at", new { at = Time.ToMicros(before) }), ct);
        foreach (var unused in rows.Where(r => !IsUsed(r.Hash)).Chunk(500))
        {
            await database.WriteAsync(
                async tx =>
                {
                    using var delete = tx.Prepare("DELETE FROM foundation_blobs WHERE hash = @hash AND touched_at < @at", "hash", "at");
                    foreach (var row in unused)
                    {
                        await delete.RunAsync(row.Hash, Time.ToMicros(before));
                    }
                },
                ct);
            total = (total.Blobs + unused.Length, total.Bytes + unused.Sum(r => r.Size));
        }
    }

    private async Task ReadAsync(Session session, string sql)
    {
        await using var command = session.Command(sql);
        await using var reader = await command.ExecuteReaderAsync(session.Token);
        while (await reader.ReadAsync(session.Token))
        {
            for (var i = 0; i < reader.FieldCount; i++)
            {
                var text = await reader.IsDBNullAsync(i, session.Token) ? "" : reader.GetString(i);
                foreach (var hash in Hash().EnumerateMatches(text))
                {
                    used.Add(Prefix(text.AsSpan(hash.Index)));
                }
            }
        }
    }

    private bool IsUsed(string hash) => !Digest.IsSha256(hash) || used.Contains(Prefix(hash));

    /// <summary>Half of a hash is enough: a collision keeps a blob too long and never deletes one.</summary>
    private static UInt128 Prefix(ReadOnlySpan<char> hash) => UInt128.Parse(hash[..32], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

    [GeneratedRegex("[0-9a-f]{64}", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 10_000)]
    private static partial Regex Hash();

    private sealed class SmallRow
    {
        public string Hash { get; set; } = "";

        public long Size { get; set; }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Information, "Collected {Count} blobs that nothing names, {Bytes} bytes")]
        public static partial void Collected(ILogger logger, int count, long bytes);
    }
}
