using System.Buffers;
using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;

namespace Slipway.Foundation;

/// <summary>
/// Blobs as files <c>blobs/ab/cd…</c>, and small staged ones as rows. A file is written under a temporary name, flushed to
/// the disk and renamed, so that a torn write never becomes visible under a hash.
/// </summary>
/// <remarks>
/// Content streams through two buffers: while one is written, the other is hashed and filled, and the disk starts on what
/// was written long before the flush waits for it.
/// </remarks>
public sealed class FileBlobStore : IBlobStore
{
    /// <summary>A file costs two flushes of its own; up to this size a row in a transaction that is flushed anyway is cheaper.</summary>
    private const int SmallBlob = 16 * 1024;
    private const int BufferSize = 512 * 1024;
    private const long WriteBackEvery = 8 << 20;

    /// <summary>Makes "is it there, and is it in use" one step, against the collector.</summary>
    private readonly Lock naming = new();
    private readonly string root;
    private readonly string temporary;
    private readonly Database database;
    private readonly TimeProvider clock;

    public FileBlobStore(string directory, Database database, TimeProvider clock)
    {
        (root, this.database, this.clock) = (directory, database, clock);
        temporary = Path.Combine(directory, "tmp");
        Directory.CreateDirectory(temporary);
        // What a killed process left half written was never visible; it only takes space.
        foreach (var torn in Directory.EnumerateFiles(temporary))
        {
            File.Delete(torn);
        }
    }

    public async Task<BlobInfo> PutAsync(Stream content, CancellationToken ct)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(BufferSize);
        try
        {
            return await WriteAsync(buffer, await content.ReadAtLeastAsync(buffer, BufferSize, throwOnEndOfStream: false, ct), content, ct);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    public async Task<StagedBlob> StageAsync(Stream content, CancellationToken ct)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(BufferSize);
        try
        {
            var read = await content.ReadAtLeastAsync(buffer, SmallBlob + 1, throwOnEndOfStream: false, ct);
            if (read > SmallBlob)
            {
                return new StagedBlob(await WriteAsync(buffer, read, content, ct), null, 0);
            }

            var small = buffer[..read];
            return new StagedBlob(new BlobInfo(Convert.ToHexStringLower(SHA256.HashData(small)), read), small, clock.NowMicros());
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    public async Task<Stream> OpenAsync(string hash, CancellationToken ct)
    {
        var path = PathOf(hash);
        if (File.Exists(path))
        {
            return new VerifyingStream(new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, 1, FileOptions.Asynchronous | FileOptions.SequentialScan), hash);
        }

        var small = await database.ReadAsync(s => s.FindAsync<byte[]>("SELECT bytes FROM foundation_blobs WHERE hash = @hash", new { hash }), ct);
        return small is null ? throw new SlipwayException(ErrorCode.NotFound, $"blob {hash} does not exist") : new VerifyingStream(new MemoryStream(small, writable: false), hash);
    }

    public async Task<bool> ExistsAsync(string hash, CancellationToken ct) =>
        File.Exists(PathOf(hash)) || await database.ReadAsync(s => s.ScalarAsync<long>("SELECT COUNT(*) FROM foundation_blobs WHERE hash = @hash", new { hash }), ct) > 0;

    public async Task DeleteAsync(string hash, CancellationToken ct)
    {
        File.Delete(PathOf(hash));
        await database.WriteAsync(tx => tx.ExecuteAsync("DELETE FROM foundation_blobs WHERE hash = @hash", new { hash }), ct);
    }

    public string? LocalPath(string hash) => File.Exists(PathOf(hash)) ? PathOf(hash) : null;

    /// <summary>Deletes the files of a folder <c>00</c> to <c>ff</c> that nobody uses and nobody put since a time.</summary>
    /// <returns>How many, and their bytes.</returns>
    internal (int Files, long Bytes) Collect(string folder, Func<string, bool> used, DateTimeOffset before)
    {
        var (files, bytes) = (0, 0L);
        var directory = new DirectoryInfo(Path.Combine(root, folder));
        foreach (var file in directory.Exists ? directory.EnumerateFiles() : [])
        {
            if (used(folder + file.Name))
            {
                continue;
            }

            lock (naming)
            {
                file.Refresh();
                if (file.Exists && file.LastWriteTimeUtc < before.UtcDateTime)
                {
                    bytes += file.Length;
                    files++;
                    file.Delete();
                }
            }
        }

        return (files, bytes);
    }

    private async Task<BlobInfo> WriteAsync(byte[] buffer, int read, Stream content, CancellationToken ct)
    {
        var name = Path.Combine(temporary, Ids.New());
        var rented = ArrayPool<byte>.Shared.Rent(BufferSize);
        var other = rented;
        try
        {
            using var sha = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            var (size, behind) = (0L, 0L);
            using (var file = File.OpenHandle(name, FileMode.CreateNew, FileAccess.Write, FileShare.None))
            {
                while (read > 0)
                {
                    var (chunk, at) = (buffer.AsMemory(0, read), size);
                    var write = Task.Run(() => RandomAccess.Write(file, chunk.Span, at), CancellationToken.None);
                    try
                    {
                        sha.AppendData(chunk.Span);
                        size += read;
                        read = await content.ReadAtLeastAsync(other.AsMemory(0, BufferSize), BufferSize, throwOnEndOfStream: false, ct);
                    }
                    finally
                    {
                        // The buffer goes back to the pool only after its last reader is done.
                        await write;
                    }

                    (buffer, other) = (other, buffer);
                    if (size - behind >= WriteBackEvery)
                    {
                        Native.StartWriteBack(file, behind, size - behind);
                        behind = size;
                    }
                }

                RandomAccess.FlushToDisk(file);
            }

            var hash = Convert.ToHexStringLower(sha.GetHashAndReset());
            Publish(name, PathOf(hash));
            return new BlobInfo(hash, size);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented);
            File.Delete(name);
        }
    }

    private void Publish(string name, string path)
    {
        var directory = Path.GetDirectoryName(path)!;
        lock (naming)
        {
            if (File.Exists(path))
            {
                File.SetLastWriteTimeUtc(path, clock.GetUtcNow().UtcDateTime);
                return;
            }

            Directory.CreateDirectory(directory);
            File.SetLastWriteTimeUtc(name, clock.GetUtcNow().UtcDateTime);
            File.SetUnixFileMode(name, UnixFileMode.UserRead | UnixFileMode.GroupRead);
            File.Move(name, path, overwrite: true);
        }

        // The rename itself is durable only when the directory is flushed.
        using SafeFileHandle handle = Native.OpenDirectory(directory);
        RandomAccess.FlushToDisk(handle);
    }

    private string PathOf(string hash)
    {
        if (!Digest.IsSha256(hash))
        {
            throw SlipwayException.Invalid("not a blob hash", $"\"{hash}\" is not 64 lower-case hexadecimal digits");
        }

        return Path.Combine(root, hash[..2], hash[2..]);
    }
}
