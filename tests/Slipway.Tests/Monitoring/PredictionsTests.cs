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
            using var archive = new PredictionArchive(again, world.Get<NodeLogs>(), world.Database, world.Get<IBlobStore>(), world.Journal, world.Get<DataLayout>(), world.Clock, Microsoft.Extensions.Logging.Abstractions.NullLogger<PredictionArchive>.Instance);
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

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Shadows_and_exposures_are_read_by_their_own_readers_only(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var (predictions, archive) = (world.Get<Predictions>(), world.Get<PredictionArchive>());
        var live = new PredictionRecord("a", "flights", "stable", "flights/1", "AA-1", 5, 40, new[] { 1f, 2, 3 }, new[] { 0.25f }, 200) { Revision = 7, Reason = DecisionReason.Slot };
        var shadow = new PredictionRecord("a", "flights", "candidate", "flights/2", "AA-1", 5, 90, new[] { 0.25f }, new[] { 0.75f }, 200)
        {
            Kind = PredictionKind.Shadow,
            Revision = 7,
            Reason = DecisionReason.Mirror,
            PrimaryVariant = "stable",
            PrimaryLatencyMicros = 40,
            PrimaryStatus = 200,
        };
        var met = new PredictionRecord("b", "flights", "candidate", "flights/2", "AA-2", 6, 30, default, default, 200) { Kind = PredictionKind.Exposure, Revision = 8, Reason = DecisionReason.Match };
        foreach (bool compacted in new[] { false, true })
        {
            if (compacted)
            {
                Assert.Equal(1, await predictions.CompactAsync(Ct));
            }
            else
            {
                Assert.True(predictions.Append(live) && predictions.Append(shadow) && predictions.Append(met));
            }

            // The shadow has the live answer's id, and nobody takes it for that.
            Assert.Equal((0.25f, "stable", 7L, DecisionReason.Slot), await predictions.FindAsync("a", Ct) is { } p ? (p.Outputs[0], p.Variant, p.Revision, p.Reason) : default);
            Assert.Equal("a", Assert.Single(await predictions.ListAsync("flights", null, null, 10, Ct)).Id);
            Assert.Equal(1, (await predictions.ExtentAsync("flights", null, Ct))!.Rows);
            Assert.Null(await predictions.ExtentAsync("flights", "flights/2", Ct));
            Assert.Empty(await ListAsync(archive.ScanAsync("flights", "flights/2", PredictionKind.Live, 0, 100, Ct)));

            ShadowPair pair = Assert.Single(await ListAsync(predictions.ShadowPairsAsync("flights", null, null, Ct)));
            Assert.Equal(("a", "stable", 200, 40L, 0.25f), (pair.PredictionId, pair.PrimaryVariant, pair.PrimaryStatus, pair.PrimaryLatencyMicros, pair.PrimaryOutputs[0]));
            Assert.Equal(("candidate", "flights/2", 200, 90L, 0.75f, 7L), (pair.Variant, pair.ModelVersion, pair.Status, pair.LatencyMicros, pair.Outputs[0], pair.Revision));

            var exposures = (await ListAsync(predictions.ExposuresAsync("flights", null, null, Ct))).OrderBy(e => e.At).ToList();
            Assert.Equal([("a", "stable", 7L, DecisionReason.Slot), ("b", "candidate", 8L, DecisionReason.Match)], exposures.Select(e => (e.PredictionId, e.Variant, e.Revision, e.Reason)));
            Assert.False(exposures.Exists(e => e.Anonymous));
            Assert.Empty(await ListAsync(predictions.ExposuresAsync("flights", Time.FromMicros(7), null, Ct)));
        }
    }

    [Fact]
    public async Task Compacted_segments_of_earlier_releases_are_read_as_answers_without_a_decision()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        using var folder = new TemporaryFolder();
        string file = Path.Combine(folder.Path, "old.parquet");
        using (var duck = new DuckDB.NET.Data.DuckDBConnection("DataSource=:memory:"))
        {
            duck.Open();
            using var command = duck.CreateCommand();
            command.CommandText = $"COPY (SELECT 'old-1' AS id, 'flights' AS endpoint, 'stable' AS variant, 'flights/1' AS model_version, NULL::VARCHAR AS entity_key, 5::BIGINT AS event_us, 7::BIGINT AS latency_us, 200 AS status, [1.0::FLOAT] AS features, [0.5::FLOAT] AS outputs, 'S1' AS segment) TO '{file}' (FORMAT parquet)";
            command.ExecuteNonQuery();
        }

        await using (var content = File.OpenRead(file))
        {
            var blob = await world.Get<IBlobStore>().PutAsync(content, Ct);
            await world.Database.WriteAsync(
                async tx =>
                {
                    await tx.ExecuteAsync("INSERT INTO monitoring_segments (id, blob, digest, row_count, byte_count, min_id, max_id, first_us, last_us, created_us) VALUES ('S1', @Hash, '', 1, @Size, 'old-1', 'old-1', 5, 5, 5)", new { blob.Hash, blob.Size });
                    await tx.ExecuteAsync("INSERT INTO monitoring_segment_parts (segment, endpoint, model_version, row_count, first_us, last_us) VALUES ('S1', 'flights', 'flights/1', 1, 5, 5)", new { });
                },
                Ct);
        }

        Prediction old = Assert.Single(await world.Get<Predictions>().ListAsync("flights", null, null, 10, Ct));
        Assert.Equal((PredictionKind.Live, DecisionReason.None, 0L), (old.Kind, old.Reason, old.Revision));
        Assert.Equal("old-1", (await world.Get<Predictions>().FindAsync("old-1", Ct))!.Id);
        Assert.Single(await ListAsync(world.Get<PredictionArchive>().ScanAsync("flights", "flights/1", PredictionKind.Live, 0, 10, Ct)));
        Assert.Empty(await ListAsync(world.Get<Predictions>().ExposuresAsync("flights", null, null, Ct)));
    }

    [Fact]
    public async Task Listing_refuses_a_limit_out_of_range()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var error = await Assert.ThrowsAsync<SlipwayException>(() => world.Get<Predictions>().ListAsync("flights", null, null, 0, Ct));
        Assert.Equal(ErrorCode.InvalidArgument, error.Code);
    }

    private static async Task<List<T>> ListAsync<T>(IAsyncEnumerable<T> rows)
    {
        var list = new List<T>();
        await foreach (T row in rows)
        {
            list.Add(row);
        }

        return list;
    }
}
