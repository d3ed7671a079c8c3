using System.Text;
using Slipway.Foundation;

namespace Slipway.Tests.Foundation;

public sealed class BlobTests
{
    [Fact]
    public async Task A_blob_is_stored_once_under_its_hash()
    {
        using var folder = new TemporaryFolder();
        var store = new FileBlobStore(folder.Path);

        var first = await store.PutAsync(new MemoryStream("hello"u8.ToArray()), CancellationToken.None);
        var second = await store.PutAsync(new MemoryStream("hello"u8.ToArray()), CancellationToken.None);

        Assert.Equal(first, second);
        Assert.Equal("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", first.Hash);
        using var reader = new StreamReader(await store.OpenAsync(first.Hash, CancellationToken.None));
        Assert.Equal("hello", await reader.ReadToEndAsync());
        Assert.Single(Directory.EnumerateFiles(folder.Path, "*", SearchOption.AllDirectories));
    }

    [Fact]
    public async Task A_failing_stream_leaves_nothing_visible()
    {
        using var folder = new TemporaryFolder();
        var store = new FileBlobStore(folder.Path);

        await Assert.ThrowsAsync<IOException>(() => store.PutAsync(new TornStream(), CancellationToken.None));

        Assert.Empty(Directory.EnumerateFiles(folder.Path, "*", SearchOption.AllDirectories));
    }

    [Fact]
    public async Task Reading_finds_a_changed_byte()
    {
        using var folder = new TemporaryFolder();
        var store = new FileBlobStore(folder.Path);
        var blob = await store.PutAsync(new MemoryStream(new byte[100_000]), CancellationToken.None);
        var path = store.LocalPath(blob.Hash)!;
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        await using (var file = File.OpenWrite(path))
        {
            file.Position = 50_000;
            file.WriteByte(1);
        }

        await using var stream = await store.OpenAsync(blob.Hash, CancellationToken.None);
        var damaged = await Assert.ThrowsAsync<SlipwayException>(() => stream.CopyToAsync(Stream.Null));

        Assert.Equal(ErrorCode.DataLoss, damaged.Code);
    }

    [Theory]
    [InlineData("../../etc/passwd")]
    [InlineData("")]
    [InlineData("2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824")]
    public async Task A_hash_that_is_none_is_refused(string hash)
    {
        using var folder = new TemporaryFolder();
        var store = new FileBlobStore(folder.Path);

        var refused = await Assert.ThrowsAsync<SlipwayException>(() => store.OpenAsync(hash, CancellationToken.None));

        Assert.Equal(ErrorCode.InvalidArgument, refused.Code);
    }

    private sealed class TornStream : MemoryStream
    {
        private bool given;

        public TornStream()
            : base(Encoding.UTF8.GetBytes("first half"))
        {
        }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (given)
            {
                throw new IOException("the connection broke");
            }

            given = true;
            return base.ReadAsync(buffer, cancellationToken);
        }
    }
}
