using System.Buffers;
using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;

namespace Slipway.Foundation;

/// <summary>
/// Blobs as files <c>blobs/ab/cd…</c>. A blob is written under a temporary name, flushed to the disk and renamed, so that
/// a torn write never becomes visible under a hash.
/// </summary>
public sealed class FileBlobStore : IBlobStore
{
    private readonly string root;
    private readonly string temporary;

    public FileBlobStore(string directory)
    {
        root = directory;
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
        var name = Path.Combine(temporary, Ids.New());
        var buffer = ArrayPool<byte>.Shared.Rent(256 * 1024);
        long size = 0;
        try
        {
            using var sha = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            using (var file = File.OpenHandle(name, FileMode.CreateNew, FileAccess.Write, FileShare.None, FileOptions.Asynchronous))
            {
                int read;
                while ((read = await content.ReadAsync(buffer, ct)) > 0)
                {
                    sha.AppendData(buffer.AsSpan(0, read));
                    await RandomAccess.WriteAsync(file, buffer.AsMemory(0, read), size, ct);
                    size += read;
                }

                RandomAccess.FlushToDisk(file);
            }

            var hash = Convert.ToHexStringLower(sha.GetHashAndReset());
            var path = PathOf(hash);
            if (!File.Exists(path))
            {
                Directory.CreateDirectory(Path.GetDirectoryName(path)!);
                File.SetUnixFileMode(name, UnixFileMode.UserRead | UnixFileMode.GroupRead);
                File.Move(name, path, overwrite: true);
                FlushDirectory(Path.GetDirectoryName(path)!);
            }

            return new BlobInfo(hash, size);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
            File.Delete(name);
        }
    }

    public Task<Stream> OpenAsync(string hash, CancellationToken ct)
    {
        var path = PathOf(hash);
        try
        {
            var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, 1, FileOptions.Asynchronous | FileOptions.SequentialScan);
            return Task.FromResult<Stream>(new VerifyingStream(file, hash));
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new SlipwayException(ErrorCode.NotFound, $"blob {hash} does not exist", inner: e);
        }
    }

    public Task<bool> ExistsAsync(string hash, CancellationToken ct) => Task.FromResult(File.Exists(PathOf(hash)));

    public Task DeleteAsync(string hash, CancellationToken ct)
    {
        File.Delete(PathOf(hash));
        return Task.CompletedTask;
    }

    public string? LocalPath(string hash) => File.Exists(PathOf(hash)) ? PathOf(hash) : null;

    private string PathOf(string hash)
    {
        if (!Digest.IsSha256(hash))
        {
            throw SlipwayException.Invalid("not a blob hash", $"\"{hash}\" is not 64 lower-case hexadecimal digits");
        }

        return Path.Combine(root, hash[..2], hash[2..]);
    }

    // The rename itself is durable only when the directory is flushed.
    private static void FlushDirectory(string directory)
    {
        using SafeFileHandle handle = NativeDirectory.Open(directory);
        RandomAccess.FlushToDisk(handle);
    }
}
