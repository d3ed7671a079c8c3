using System.Text;
using Slipway.Foundation;
using Slipway.Registry;

namespace Slipway.Tests.Foundation;

public sealed class BlobTests
{
    [Fact]
    public async Task A_blob_is_stored_once_under_its_hash()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var store = world.Get<FileBlobStore>();

        var first = await store.PutAsync(new MemoryStream("hello"u8.ToArray()), CancellationToken.None);
        var second = await store.PutAsync(new MemoryStream("hello"u8.ToArray()), CancellationToken.None);

        Assert.Equal(first, second);
        Assert.Equal("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", first.Hash);
        using var reader = new StreamReader(await store.OpenAsync(first.Hash, CancellationToken.None));
        Assert.Equal("hello", await reader.ReadToEndAsync());
        Assert.Single(FilesOf(world));
    }

    [Fact]
    public async Task A_failing_stream_leaves_nothing_visible()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var store = world.Get<FileBlobStore>();

        await Assert.ThrowsAsync<IOException>(() => store.PutAsync(new TornStream(), CancellationToken.None));

        Assert.Empty(FilesOf(world));
    }

    [Fact]
    public async Task Reading_finds_a_changed_byte()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var store = world.Get<FileBlobStore>();
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
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var store = world.Get<FileBlobStore>();

        var refused = await Assert.ThrowsAsync<SlipwayException>(() => store.OpenAsync(hash, CancellationToken.None));

        Assert.Equal(ErrorCode.InvalidArgument, refused.Code);
    }

    [Theory]
    [MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_small_staged_blob_becomes_durable_with_its_row(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var store = world.Get<FileBlobStore>();
        var staged = await store.StageAsync(new MemoryStream("small"u8.ToArray()), CancellationToken.None);

        Assert.False(await store.ExistsAsync(staged.Info.Hash, CancellationToken.None));
        await world.Database.WriteAsync(staged.SaveAsync, CancellationToken.None);
        await world.Database.WriteAsync(staged.SaveAsync, CancellationToken.None);

        Assert.True(await store.ExistsAsync(staged.Info.Hash, CancellationToken.None));
        Assert.Null(store.LocalPath(staged.Info.Hash));
        Assert.Empty(FilesOf(world));
        using var reader = new StreamReader(await store.OpenAsync(staged.Info.Hash, CancellationToken.None));
        Assert.Equal("small", await reader.ReadToEndAsync());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(16 * 1024)]
    [InlineData((16 * 1024) + 1)]
    [InlineData(512 * 1024)]
    [InlineData((512 * 1024 * 3) + 17)]
    public async Task A_blob_of_any_size_comes_back_unchanged_however_it_arrives(int size)
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var store = world.Get<FileBlobStore>();
        var bytes = new byte[size];
        new Random(size).NextBytes(bytes);

        var staged = await store.StageAsync(new DrippingStream(bytes), CancellationToken.None);
        await world.Database.WriteAsync(staged.SaveAsync, CancellationToken.None);
        var put = await store.PutAsync(new DrippingStream(bytes), CancellationToken.None);

        Assert.Equal(new BlobInfo(Digest.Sha256Hex(bytes), size), staged.Info);
        Assert.Equal(staged.Info, put);
        using var read = new MemoryStream();
        await using var content = await store.OpenAsync(put.Hash, CancellationToken.None);
        await content.CopyToAsync(read);
        Assert.Equal(bytes, read.ToArray());
    }

    [Theory]
    [MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task What_nothing_names_is_collected_after_a_day_and_a_put_makes_it_young_again(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var (store, artifacts) = (world.Get<FileBlobStore>(), world.Get<Artifacts>());
        var (large, other) = (new byte[20_000], new byte[30_000]);
        var kept = await artifacts.PutAsync(TestWorld.Ada, "0/r/artifacts/kept.bin", new MemoryStream(large), CancellationToken.None);
        var keptSmall = await artifacts.PutAsync(TestWorld.Ada, "0/r/artifacts/kept.txt", new MemoryStream("kept"u8.ToArray()), CancellationToken.None);
        var gone = await artifacts.PutAsync(TestWorld.Ada, "0/r/artifacts/gone.bin", new MemoryStream(other), CancellationToken.None);
        var goneSmall = await artifacts.PutAsync(TestWorld.Ada, "0/r/artifacts/gone.txt", new MemoryStream("gone"u8.ToArray()), CancellationToken.None);
        await artifacts.DeleteAsync(TestWorld.Ada, "0/r/artifacts/gone.bin", CancellationToken.None);
        await artifacts.DeleteAsync(TestWorld.Ada, "0/r/artifacts/gone.txt", CancellationToken.None);

        await world.PumpAsync();
        world.Clock.Advance(TimeSpan.FromHours(23));
        await store.PutAsync(new MemoryStream(other), CancellationToken.None);
        world.Clock.Advance(TimeSpan.FromHours(2));
        await world.PumpAsync();
        Assert.True(await store.ExistsAsync(gone.Hash, CancellationToken.None));
        Assert.False(await store.ExistsAsync(goneSmall.Hash, CancellationToken.None));

        world.Clock.Advance(TimeSpan.FromHours(25));
        await world.PumpAsync();
        Assert.False(await store.ExistsAsync(gone.Hash, CancellationToken.None));
        Assert.True(await store.ExistsAsync(kept.Hash, CancellationToken.None));
        Assert.True(await store.ExistsAsync(keptSmall.Hash, CancellationToken.None));
    }

    private static IEnumerable<string> FilesOf(TestWorld world) => Directory.EnumerateFiles(world.Get<DataLayout>().Blobs, "*", SearchOption.AllDirectories);

    /// <summary>Gives a few bytes at a time, as a slow connection does.</summary>
    private sealed class DrippingStream(byte[] bytes) : MemoryStream(bytes)
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            base.ReadAsync(buffer[..Math.Min(buffer.Length, 7919)], cancellationToken);
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
