using System.Collections.Concurrent;
using System.Globalization;
using System.Security.Cryptography;

namespace Slipway.Registry;

/// <summary>
/// Artifacts that arrive in parts, in any order and at the same time. A part may be sent again; the artifact appears when
/// the upload is completed; an upload that nobody completes or aborts is cleared away after a day.
/// </summary>
public sealed class Uploads(Database database, Artifacts artifacts, DataLayout layout, Wakeups wakeups, TimeProvider clock) : IClockedWork
{
    public const int MostParts = 10_000;

    /// <summary>Bytes of one part.</summary>
    public const long LargestPart = 5L << 30;

    public static readonly TimeSpan Life = TimeSpan.FromHours(24);
    private const int MostOpen = 1000;
    private const string Expiry = "expiry";
    private readonly ConcurrentDictionary<string, byte> completing = new(StringComparer.Ordinal);

    public string Kind => "upload";

    /// <summary>Begins an upload.</summary>
    /// <param name="actor">Who uploads.</param>
    /// <param name="path">Full path of the artifact.</param>
    /// <param name="parts">How many parts there will be, 1 to 10,000.</param>
    /// <param name="ct">Cancels.</param>
    /// <exception cref="SlipwayException">InvalidArgument for a bad path or number; ResourceExhausted when too many uploads are open.</exception>
    public async Task<Upload> StartAsync(Actor actor, string path, int parts, CancellationToken ct)
    {
        ArtifactPath.Check(path);
        if (parts is < 1 or > MostParts)
        {
            throw SlipwayException.Invalid("The upload cannot begin", $"num_parts is {parts}, it must be 1 to {MostParts}", "choose larger parts");
        }

        var upload = new Upload(Ids.New(), path, parts, clock.GetUtcNow() + Life);
        await database.WriteAsync(
            async tx =>
            {
                if (await tx.ScalarAsync<long>("SELECT COUNT(*) FROM registry_uploads") >= MostOpen)
                {
                    throw new SlipwayException(ErrorCode.ResourceExhausted, "The upload cannot begin", $"{MostOpen} uploads are open", "complete or abort one");
                }

                await tx.ExecuteAsync(
                    "INSERT INTO registry_uploads (id, path, parts, started_by, expires_at) VALUES (@Id, @Path, @Parts, @by, @expires)",
                    new { upload.Id, upload.Path, upload.Parts, by = actor.Principal, expires = Time.ToMicros(upload.ExpiresAt) });
            },
            ct);
        await wakeups.WakeAsync(Kind, Expiry);
        return upload;
    }

    /// <summary>Stores a part; one that is sent again replaces the earlier one.</summary>
    /// <returns>The part's ETag, the hexadecimal SHA-256 of its bytes.</returns>
    /// <exception cref="SlipwayException">NotFound, InvalidArgument for a number that the upload does not have, TooLarge.</exception>
    public async Task<string> PutPartAsync(Actor actor, string id, string path, int number, Stream content, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(actor);
        var upload = await FindAsync(id, path, ct);
        if (number < 1 || number > upload.Parts)
        {
            throw SlipwayException.Invalid("The part cannot be stored", $"its number is {number}, the upload has the parts 1 to {upload.Parts}");
        }

        Directory.CreateDirectory(FolderOf(id));
        var partial = Path.Combine(FolderOf(id), Ids.New());
        try
        {
            var (size, etag) = await WritePartAsync(partial, content, ct);
            // The name holds the content, so that of two senders of one part the row decides who won.
            File.Move(partial, PartOf(id, number, etag), overwrite: true);
            await database.WriteAsync(
                async tx =>
                {
                    if (await tx.FindAsync<string>("SELECT id FROM registry_uploads WHERE id = @id", new { id }) is null)
                    {
                        throw NotFound(id);
                    }

                    await tx.ExecuteAsync(
                        """
                        INSERT INTO registry_upload_parts (upload_id, number, size, etag) VALUES (@id, @number, @size, @etag)
                        ON CONFLICT (upload_id, number) DO UPDATE SET size = excluded.size, etag = excluded.etag
                        """,
                        new { id, number, size, etag });
                },
                ct);
            return etag;
        }
        catch (SlipwayException e) when (e.Code == ErrorCode.NotFound)
        {
            // The upload ended meanwhile, and nothing else would find these files again.
            await RemoveAsync(id);
            throw;
        }
        finally
        {
            if (Directory.Exists(FolderOf(id)))
            {
                File.Delete(partial);
            }
        }
    }

    /// <summary>Joins the parts into the artifact, in the order of their numbers.</summary>
    /// <exception cref="SlipwayException">InvalidArgument when a part is missing, repeated, out of order or another one than its ETag says; Conflict while it is being completed.</exception>
    public async Task<BlobInfo> CompleteAsync(Actor actor, string id, string path, IReadOnlyList<UploadPart> parts, CancellationToken ct)
    {
        await FindAsync(id, path, ct);
        if (!completing.TryAdd(id, 0))
        {
            throw new SlipwayException(ErrorCode.Conflict, "The upload cannot be completed", "it is being completed at this moment", "wait for that answer");
        }

        try
        {
            var stored = (await database.ReadAsync(s => s.QueryAsync<PartRow>("SELECT number AS Number, size AS Size, etag AS ETag FROM registry_upload_parts WHERE upload_id = @id", new { id }), ct))
                .ToDictionary(p => p.Number);
            Check(parts, stored);
            BlobInfo blob;
            await using (var content = new JoinedFiles(parts.Select(p => PartOf(id, p.Number, stored[p.Number].ETag)).ToList()))
            {
                blob = await artifacts.PutAsync(actor, path, content, ct);
            }

            await RemoveAsync(id);
            return blob;
        }
        finally
        {
            completing.TryRemove(id, out _);
        }
    }

    /// <summary>Forgets an upload and its parts.</summary>
    /// <exception cref="SlipwayException">NotFound; Conflict while it is being completed.</exception>
    public async Task AbortAsync(Actor actor, string id, string path, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(actor);
        await FindAsync(id, path, ct);
        if (completing.ContainsKey(id))
        {
            throw new SlipwayException(ErrorCode.Conflict, "The upload cannot be aborted", "it is being completed at this moment", "delete the artifact afterwards");
        }

        await RemoveAsync(id);
    }

    public async Task<IReadOnlyList<string>> OpenAsync(CancellationToken ct) =>
        await database.ReadAsync(s => s.ScalarAsync<long>("SELECT COUNT(*) FROM registry_uploads"), ct) > 0 ? [Expiry] : [];

    public async Task<DateTimeOffset?> StepAsync(string key, CancellationToken ct)
    {
        var now = clock.NowMicros();
        var expired = await database.ReadAsync(s => s.QueryAsync<string>("SELECT id FROM registry_uploads WHERE expires_at <= @now", new { now }), ct);
        foreach (var id in expired.Where(i => !completing.ContainsKey(i)))
        {
            await RemoveAsync(id);
        }

        var next = await database.ReadAsync(s => s.FindAsync<long?>("SELECT MIN(expires_at) FROM registry_uploads WHERE expires_at > @now", new { now }), ct);
        return next is { } at ? Time.FromMicros(at) : null;
    }

    private static void Check(IReadOnlyList<UploadPart> parts, Dictionary<long, PartRow> stored)
    {
        if (parts.Count == 0)
        {
            throw SlipwayException.Invalid("The upload cannot be completed", "no parts are named");
        }

        var (last, total) = (0, 0L);
        foreach (var part in parts)
        {
            var why = part.Number <= last ? "the numbers of the parts do not rise"
                : !stored.TryGetValue(part.Number, out var row) ? $"part {part.Number} was not sent"
                : row.ETag != part.ETag.Trim('"') ? $"part {part.Number} has another ETag"
                : (total += row.Size) > Artifacts.Largest ? $"it passes {Artifacts.Largest} bytes"
                : null;
            if (why is not null)
            {
                throw SlipwayException.Invalid("The upload cannot be completed", why, "send what is missing and complete again");
            }

            last = part.Number;
        }
    }

    private static async Task<(long Size, string ETag)> WritePartAsync(string name, Stream content, CancellationToken ct)
    {
        using var sha = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        await using var file = new FileStream(name, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1);
        var buffer = new byte[256 * 1024];
        long size = 0;
        int read;
        while ((read = await content.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, ct)) > 0)
        {
            size += read;
            if (size > LargestPart)
            {
                throw new SlipwayException(ErrorCode.TooLarge, "The part cannot be stored", $"it passes {LargestPart} bytes", "send smaller parts");
            }

            sha.AppendData(buffer.AsSpan(0, read));
            await file.WriteAsync(buffer.AsMemory(0, read), ct);
        }

        file.Flush(flushToDisk: true);
        return (size, Convert.ToHexStringLower(sha.GetHashAndReset()));
    }

    private async Task<Upload> FindAsync(string id, string path, CancellationToken ct)
    {
        var row = await database.ReadAsync(s => s.FindAsync<UploadRow>("SELECT path AS Path, parts AS Parts, expires_at AS ExpiresAt FROM registry_uploads WHERE id = @id", new { id }), ct);
        return row is null || row.Path != path || row.ExpiresAt <= clock.NowMicros() ? throw NotFound(id) : new Upload(id, row.Path, (int)row.Parts, Time.FromMicros(row.ExpiresAt));
    }

    /// <summary>Rows last: what dies between is found again by the expiry.</summary>
    private Task RemoveAsync(string id)
    {
        if (Directory.Exists(FolderOf(id)))
        {
            Directory.Delete(FolderOf(id), recursive: true);
        }

        return database.WriteAsync(
            async tx =>
            {
                await tx.ExecuteAsync("DELETE FROM registry_upload_parts WHERE upload_id = @id", new { id });
                await tx.ExecuteAsync("DELETE FROM registry_uploads WHERE id = @id", new { id });
            },
            CancellationToken.None);
    }

    private static SlipwayException NotFound(string id) => new(ErrorCode.NotFound, $"Upload with id={FilterTokens.Cut(id)} not found", "it was completed, aborted, or it expired", "begin a new upload");

    private string FolderOf(string id) => Path.Combine(layout.Uploads, id);

    private string PartOf(string id, int number, string etag) => Path.Combine(FolderOf(id), string.Create(CultureInfo.InvariantCulture, $"{number}-{etag}"));

    private sealed class UploadRow
    {
        public string Path { get; set; } = "";

        public long Parts { get; set; }

        public long ExpiresAt { get; set; }
    }

    private sealed class PartRow
    {
        public long Number { get; set; }

        public long Size { get; set; }

        public string ETag { get; set; } = "";
    }
}

/// <summary>An upload in parts.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Path">Full path of the artifact.</param>
/// <param name="Parts">How many parts it has.</param>
/// <param name="ExpiresAt">When it is cleared away.</param>
public sealed record Upload(string Id, string Path, int Parts, DateTimeOffset ExpiresAt);

/// <summary>A part that was sent.</summary>
/// <param name="Number">From 1 on.</param>
/// <param name="ETag">As its sending was answered; quotes are allowed.</param>
public sealed record UploadPart(int Number, string ETag);
