using System.Security.Cryptography;

namespace Slipway.Foundation;

/// <summary>A read-only stream that hashes what passes and throws DataLoss at the end when the hash is another one.</summary>
internal sealed class VerifyingStream(Stream inner, string hash) : Stream
{
    private readonly IncrementalHash sha = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private long hashed;
    private bool done;

    public override bool CanRead => true;

    public override bool CanSeek => true;

    public override bool CanWrite => false;

    public override long Length => inner.Length;

    public override long Position
    {
        get => inner.Position;
        set => inner.Position = value;
    }

    public override int Read(Span<byte> buffer)
    {
        var at = inner.Position;
        var read = inner.Read(buffer);
        Check(at, buffer[..read], buffer.Length);
        return read;
    }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var at = inner.Position;
        var read = await inner.ReadAsync(buffer, cancellationToken);
        Check(at, buffer.Span[..read], buffer.Length);
        return read;
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => inner.Seek(offset, origin);

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            sha.Dispose();
            inner.Dispose();
        }

        base.Dispose(disposing);
    }

    // Only a read from start to end can be checked; a reader that seeks verifies when it comes back to where hashing stopped.
    private void Check(long at, ReadOnlySpan<byte> read, int asked)
    {
        if (done || at != hashed || asked == 0)
        {
            return;
        }

        sha.AppendData(read);
        hashed += read.Length;
        if (hashed >= inner.Length)
        {
            done = true;
            var actual = Convert.ToHexStringLower(sha.GetHashAndReset());
            if (actual != hash)
            {
                throw new SlipwayException(ErrorCode.DataLoss, $"blob {hash} is damaged", $"its bytes hash to {actual}", "restore it from a backup");
            }
        }
    }
}
