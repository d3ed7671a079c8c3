using System.Buffers;
using System.IO.Compression;
using Microsoft.AspNetCore.Http;
using Microsoft.Net.Http.Headers;
using Slipway.Foundation;

namespace Slipway.Server.Oip;

/// <summary>Compressed bodies of the protocol over HTTP: <c>gzip</c>, and <c>deflate</c>, which is the zlib format. Lengths in headers mean the inflated body.</summary>
internal static class Compression
{
    // Smaller answers fit one packet anyway.
    private const int LeastAnswer = 4096;

    /// <summary>The body of a request, inflated; the buffer is the caller's to give back to the shared pool. Refuses what inflates to more than <paramref name="most"/> bytes.</summary>
    public static async ValueTask<(byte[] Buffer, int Length)> InflateAsync(Stream body, string encoding, int most, CancellationToken ct)
    {
        await using Stream inflating = encoding == "gzip" ? new GZipStream(body, CompressionMode.Decompress, leaveOpen: true) : new ZLibStream(body, CompressionMode.Decompress, leaveOpen: true);
        var buffer = ArrayPool<byte>.Shared.Rent(1 << 16);
        var length = 0;
        try
        {
            while (true)
            {
                var read = await inflating.ReadAsync(buffer.AsMemory(length), ct);
                if (read == 0)
                {
                    return (buffer, length);
                }

                length += read;
                if (length > most)
                {
                    throw new SlipwayException(ErrorCode.TooLarge, $"the body inflates to more than {most} bytes");
                }

                if (length == buffer.Length)
                {
                    var grown = ArrayPool<byte>.Shared.Rent((int)Math.Min(2L * length, most + 1L));
                    buffer.AsSpan(0, length).CopyTo(grown);
                    ArrayPool<byte>.Shared.Return(buffer);
                    buffer = grown;
                }
            }
        }
        catch (InvalidDataException damaged)
        {
            ArrayPool<byte>.Shared.Return(buffer);
            throw new SlipwayException(ErrorCode.InvalidArgument, $"the {encoding} body cannot be inflated", damaged.Message, inner: damaged);
        }
        catch
        {
            ArrayPool<byte>.Shared.Return(buffer);
            throw;
        }
    }

    /// <summary>The encoding that the caller accepts and that pays for an answer of that size, or null.</summary>
    public static string? For(HttpRequest request, int bytes)
    {
        if (bytes < LeastAnswer || request.Headers.AcceptEncoding.Count == 0)
        {
            return null;
        }

        var accepted = StringWithQualityHeaderValue.TryParseList(request.Headers.AcceptEncoding, out var values) ? values : [];
        var best = accepted.Where(value => value.Quality != 0 && (value.Value.Equals("gzip", StringComparison.OrdinalIgnoreCase) || value.Value.Equals("deflate", StringComparison.OrdinalIgnoreCase))).MaxBy(value => value.Quality ?? 1);
        return best?.Value.Value?.ToLowerInvariant();
    }

    /// <summary>The compressed answer.</summary>
    public static ReadOnlyMemory<byte> Deflate(ReadOnlySpan<byte> answer, string encoding)
    {
        var target = new MemoryStream(answer.Length / 2);
        using (Stream deflating = encoding == "gzip" ? new GZipStream(target, CompressionLevel.Fastest, leaveOpen: true) : new ZLibStream(target, CompressionLevel.Fastest, leaveOpen: true))
        {
            deflating.Write(answer);
        }

        return target.GetBuffer().AsMemory(0, (int)target.Length);
    }
}

/// <summary>Reads an inflating stream up to a bound, so that a small message cannot become a large one.</summary>
internal sealed class BoundedInflation(Stream inner, long most) : Stream
{
    private long _passed;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position { get => _passed; set => throw new NotSupportedException(); }

    public override int Read(Span<byte> buffer) => Count(inner.Read(buffer));

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => Count(await inner.ReadAsync(buffer, cancellationToken));

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            inner.Dispose();
        }

        base.Dispose(disposing);
    }

    private int Count(int read)
    {
        _passed += read;
        return _passed <= most ? read : throw GrpcService.Refusal(ErrorCode.TooLarge, $"the message inflates to more than {most} bytes");
    }
}
