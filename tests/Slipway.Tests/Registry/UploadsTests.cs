using Slipway.Foundation;
using Slipway.Registry;

namespace Slipway.Tests.Registry;

public sealed class UploadsTests
{
    private const string Path = "0/r/artifacts/big.bin";
    private static readonly CancellationToken None = CancellationToken.None;

    [Theory]
    [MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Parts_in_any_order_become_one_artifact(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var uploads = world.Get<Uploads>();
        var upload = await uploads.StartAsync(TestWorld.Ada, Path, 3, None);

        var third = await uploads.PutPartAsync(TestWorld.Ada, upload.Id, Path, 3, Bytes("cc"), None);
        await uploads.PutPartAsync(TestWorld.Ada, upload.Id, Path, 1, Bytes("a part that was sent again"), None);
        var parts = await Task.WhenAll(
            uploads.PutPartAsync(TestWorld.Ada, upload.Id, Path, 1, Bytes("aa"), None),
            uploads.PutPartAsync(TestWorld.Ada, upload.Id, Path, 2, Bytes("bb"), None));
        Assert.Null(await world.Get<Artifacts>().FindAsync(Path, None));

        var blob = await uploads.CompleteAsync(TestWorld.Ada, upload.Id, Path, [new UploadPart(1, parts[0]), new UploadPart(2, $"\"{parts[1]}\""), new UploadPart(3, third)], None);

        Assert.Equal(Digest.Sha256Hex("aabbcc"u8), blob.Hash);
        Assert.Equal(blob.Hash, (await world.Get<Artifacts>().FindAsync(Path, None))!.Hash);
        Assert.Empty(FilesOf(world));
        await RefusedAsync(ErrorCode.NotFound, () => uploads.CompleteAsync(TestWorld.Ada, upload.Id, Path, [], None));
    }

    [Fact]
    public async Task A_wrong_completion_changes_nothing_and_can_be_repeated()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var uploads = world.Get<Uploads>();
        var upload = await uploads.StartAsync(TestWorld.Ada, Path, 2, None);
        var one = await uploads.PutPartAsync(TestWorld.Ada, upload.Id, Path, 1, Bytes("a"), None);

        await RefusedAsync(ErrorCode.InvalidArgument, () => uploads.CompleteAsync(TestWorld.Ada, upload.Id, Path, [], None));
        await RefusedAsync(ErrorCode.InvalidArgument, () => uploads.CompleteAsync(TestWorld.Ada, upload.Id, Path, [new UploadPart(1, one), new UploadPart(2, one)], None));
        await RefusedAsync(ErrorCode.InvalidArgument, () => uploads.CompleteAsync(TestWorld.Ada, upload.Id, Path, [new UploadPart(1, one), new UploadPart(1, one)], None));
        await RefusedAsync(ErrorCode.InvalidArgument, () => uploads.CompleteAsync(TestWorld.Ada, upload.Id, Path, [new UploadPart(1, "other")], None));
        await RefusedAsync(ErrorCode.InvalidArgument, () => uploads.PutPartAsync(TestWorld.Ada, upload.Id, Path, 3, Bytes("c"), None));
        await RefusedAsync(ErrorCode.NotFound, () => uploads.PutPartAsync(TestWorld.Ada, upload.Id, "0/r/artifacts/other.bin", 2, Bytes("c"), None));
        await RefusedAsync(ErrorCode.NotFound, () => uploads.PutPartAsync(TestWorld.Ada, "../../etc", Path, 2, Bytes("c"), None));
        await RefusedAsync(ErrorCode.InvalidArgument, () => uploads.StartAsync(TestWorld.Ada, "../x", 1, None));
        await RefusedAsync(ErrorCode.InvalidArgument, () => uploads.StartAsync(TestWorld.Ada, Path, Uploads.MostParts + 1, None));
        Assert.Null(await world.Get<Artifacts>().FindAsync(Path, None));

        await uploads.CompleteAsync(TestWorld.Ada, upload.Id, Path, [new UploadPart(1, one)], None);
        Assert.NotNull(await world.Get<Artifacts>().FindAsync(Path, None));
    }

    [Theory]
    [MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task An_aborted_and_an_expired_upload_leave_nothing(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var uploads = world.Get<Uploads>();
        var aborted = await uploads.StartAsync(TestWorld.Ada, Path, 1, None);
        await uploads.PutPartAsync(TestWorld.Ada, aborted.Id, Path, 1, Bytes("a"), None);
        await uploads.AbortAsync(TestWorld.Ada, aborted.Id, Path, None);
        await RefusedAsync(ErrorCode.NotFound, () => uploads.PutPartAsync(TestWorld.Ada, aborted.Id, Path, 1, Bytes("a"), None));
        Assert.Empty(FilesOf(world));

        var expiring = await uploads.StartAsync(TestWorld.Ada, Path, 1, None);
        await uploads.PutPartAsync(TestWorld.Ada, expiring.Id, Path, 1, Bytes("a"), None);
        world.Clock.Advance(Uploads.Life - TimeSpan.FromMinutes(1));
        await world.PumpAsync();
        Assert.Single(FilesOf(world));
        world.Clock.Advance(TimeSpan.FromMinutes(2));
        await world.PumpAsync();

        Assert.Empty(FilesOf(world));
        Assert.Empty(await uploads.OpenAsync(None));
    }

    private static MemoryStream Bytes(string text) => new(System.Text.Encoding.UTF8.GetBytes(text));

    private static IEnumerable<string> FilesOf(TestWorld world) =>
        Directory.Exists(world.Get<DataLayout>().Uploads) ? Directory.EnumerateFiles(world.Get<DataLayout>().Uploads, "*", SearchOption.AllDirectories) : [];

    private static async Task RefusedAsync(ErrorCode code, Func<Task> act) => Assert.Equal(code, (await Assert.ThrowsAsync<SlipwayException>(act)).Code);
}
