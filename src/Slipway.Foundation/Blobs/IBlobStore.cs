namespace Slipway.Foundation;

/// <summary>Immutable bytes under their SHA-256.</summary>
public interface IBlobStore
{
    /// <summary>Stores the stream to its end; a blob that is already there is not stored twice. It is durable on return.</summary>
    Task<BlobInfo> PutAsync(Stream content, CancellationToken ct);

    /// <summary>Opens a blob; reading it to the end throws DataLoss when the bytes do not have that hash.</summary>
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
