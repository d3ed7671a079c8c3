namespace Slipway.Foundation;

/// <summary>Immutable bytes under their SHA-256.</summary>
public interface IBlobStore
{
    /// <summary>Stores the stream to its end in a file; a blob that is already there is not stored twice. It is durable on return.</summary>
    Task<BlobInfo> PutAsync(Stream content, CancellationToken ct);

    /// <summary>
    /// Takes the stream to its end for a row that will name it: a large blob is durable on return, a small one becomes
    /// durable with the transaction that <see cref="StagedBlob.SaveAsync"/> gets, so that one flush serves both.
    /// </summary>
    Task<StagedBlob> StageAsync(Stream content, CancellationToken ct);

    /// <summary>Opens a blob; reading it to the end throws DataLoss when the bytes do not have that hash. The stream can seek.</summary>
    /// <exception cref="SlipwayException">NotFound, or InvalidArgument when the hash is not 64 lower-case hexadecimal digits.</exception>
    Task<Stream> OpenAsync(string hash, CancellationToken ct);

    Task<bool> ExistsAsync(string hash, CancellationToken ct);

    Task DeleteAsync(string hash, CancellationToken ct);

    /// <summary>The blob's read-only file when the store keeps it in one, for libraries that read files; else null.</summary>
    string? LocalPath(string hash);
}

/// <param name="Hash">SHA-256, 64 lower-case hexadecimal digits.</param>
/// <param name="Size">Bytes.</param>
public sealed record BlobInfo(string Hash, long Size);

/// <summary>Bytes that were taken and wait for the transaction of the row that names them.</summary>
public sealed class StagedBlob
{
    private readonly byte[]? small;
    private readonly long now;

    internal StagedBlob(BlobInfo info, byte[]? small, long now) => (Info, this.small, this.now) = (info, small, now);

    public BlobInfo Info { get; }

    /// <summary>Makes a small blob part of the transaction; does nothing for a large one.</summary>
    public Task SaveAsync(Tx tx) => small is null
        ? Task.CompletedTask
        : tx.ExecuteAsync(
            "INSERT INTO foundation_blobs (hash, bytes, touched_at) VALUES (@Hash, @small, @now) ON CONFLICT (hash) DO UPDATE SET touched_at = excluded.touched_at",
            new { Info.Hash, small, now });
}

/// <summary>A query whose text columns hold hashes of blobs, alone or inside JSON. What no such query of a module names is collected.</summary>
public sealed record BlobReferences(string Sql);
