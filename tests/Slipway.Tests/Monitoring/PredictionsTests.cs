using Slipway.Foundation;
using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring;

public sealed class PredictionsTests
{
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Find_and_list_read_compacted_and_open_segments_as_one(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var predictions = world.Get<Predictions>();
        Traffic.Day(world, 0, 300);
        Assert.Equal(1, await predictions.CompactAsync(Ct));
        Traffic.Day(world, 1, 200);
        predictions.Append(new PredictionRecord("other", "hotels", "stable", "hotels/1", "guest-7", 5, 1, new[] { 1f, float.NaN }, new[] { 0.5f, 0.1f }, 503));
        Assert.Equal(1, await predictions.CompactAsync(Ct));
        Traffic.Day(world, 2, 100);

        Prediction old = (await predictions.FindAsync("d0-17", Ct))!, open = (await predictions.FindAsync("d2-17", Ct))!, other = (await predictions.FindAsync("other", Ct))!;
        Assert.Equal((Traffic.Version, 3, 1, 250), (old.ModelVersion, old.Features.Count, old.Outputs.Count, old.LatencyMicros));
        Assert.NotEqual(old.Segment, open.Segment);
        Assert.Equal(("guest-7", 503), (other.EntityKey, other.Status));
        Assert.Equal([1f, float.NaN], other.Features);
        Assert.Null(await predictions.FindAsync("nobody", Ct));

        IReadOnlyList<Prediction> newest = await predictions.ListAsync(Traffic.Endpoint, null, null, 450, Ct);
        Assert.Equal(450, newest.Count);
        Assert.Equal("d2-99", newest[0].Id);
        Assert.True(newest.Zip(newest.Skip(1)).All(p => p.First.At >= p.Second.At));
        IReadOnlyList<Prediction> day = await predictions.ListAsync(Traffic.Endpoint, Traffic.Monday.AddDays(1), Traffic.Monday.AddDays(2), 1000, Ct);
        Assert.Equal(200, day.Count);
        Assert.Equal(new PredictionExtent(600, Traffic.Monday, newest[0].At), await predictions.ExtentAsync(Traffic.Endpoint, null, Ct));
        Assert.Null(await predictions.ExtentAsync(Traffic.Endpoint, "flights/9", Ct));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Compaction_journals_digests_that_match_the_blob_and_removes_the_log(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        Traffic.Day(world, 0, 50);
        await world.Get<Predictions>().CompactAsync(Ct);
        await world.SealAsync();
        JournalEntry entry = Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "prediction.batch" }, Ct)).Items);
        var batch = entry.Read<PredictionBatch>();
        Assert.Equal((50, Traffic.Monday), (batch.Rows, batch.First));
        Assert.Equal(64, batch.Digest.Length);
        Assert.Contains(new Subject("model-version", Traffic.Version), entry.Links);
        Assert.True(await world.Get<IBlobStore>().ExistsAsync(batch.Blob, Ct));
        Assert.Empty(Directory.GetFiles(world.Get<DataLayout>().Predictions, "*.log"));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Segment_that_was_committed_but_not_removed_is_not_counted_twice(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        Traffic.Day(world, 0, 50);
        var log = world.Get<PredictionLog>();
        await log.RollAsync(Ct);
        string path = log.Complete()[0].Path, copy = path + ".kept";
        File.Copy(path, copy);
        await world.Get<PredictionArchive>().CompactAsync(Ct);
        File.Move(copy, path);
        // What a start after that crash does: the segment is recovered and compacted again.
        string folder = Directory.CreateTempSubdirectory("slipway-again-").FullName;
        File.Copy(path, Path.Combine(folder, Path.GetFileName(path)));
        await using (var again = new PredictionLog(folder, new MonitoringOptions(), world.Clock, Microsoft.Extensions.Logging.Abstractions.NullLogger<PredictionLog>.Instance))
        {
            await again.RollAsync(Ct);
            using var archive = new PredictionArchive(again, world.Database, world.Get<IBlobStore>(), world.Journal, world.Get<DataLayout>(), world.Clock, Microsoft.Extensions.Logging.Abstractions.NullLogger<PredictionArchive>.Instance);
            Assert.Equal(50, (await archive.ExtentAsync(Traffic.Endpoint, null, Ct)).Rows);
            Assert.Equal(50, (await archive.ListAsync(Traffic.Endpoint, 0, long.MaxValue, 1000, Ct)).Count);
            await archive.CompactAsync(Ct);
            Assert.Equal(50, (await archive.ExtentAsync(Traffic.Endpoint, null, Ct)).Rows);
        }

        await world.SealAsync();
        Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "prediction.batch" }, Ct)).Items);
        Directory.Delete(folder, recursive: true);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Running_server_compacts_a_segment_as_soon_as_it_has_rolled(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        using var compaction = new Compaction(world.Get<PredictionArchive>(), Microsoft.Extensions.Logging.Abstractions.NullLogger<Compaction>.Instance);
        await compaction.StartAsync(Ct);
        Traffic.Day(world, 0, 40);
        await world.Get<PredictionLog>().RollAsync(Ct);
        long rows = 0;
        for (int i = 0; i < 600 && rows == 0; i++)
        {
            await Task.Delay(50);
            rows = await world.Database.ReadAsync(s => s.ScalarAsync<long>("SELECT COALESCE(SUM(row_count), 0) FROM monitoring_segments"), Ct);
        }

        await compaction.StopAsync(Ct);
        Assert.Equal(40, rows);
        Assert.Equal(40, (await world.Get<Predictions>().ListAsync(Traffic.Endpoint, null, null, 100, Ct)).Count);
    }

    [Fact]
    public async Task Listing_refuses_a_limit_out_of_range()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var error = await Assert.ThrowsAsync<SlipwayException>(() => world.Get<Predictions>().ListAsync("flights", null, null, 0, Ct));
        Assert.Equal(ErrorCode.InvalidArgument, error.Code);
    }
}
