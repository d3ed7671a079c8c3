using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Slipway.Foundation;
using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring;

public sealed class PredictionLogTests : IDisposable
{
    private static readonly CancellationToken Ct = CancellationToken.None;
    private readonly string folder = Directory.CreateTempSubdirectory("slipway-predictions-").FullName;
    private readonly FakeTimeProvider clock = new(new DateTimeOffset(2026, 3, 2, 9, 0, 0, TimeSpan.Zero));

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public async Task Record_comes_back_with_every_field()
    {
        await using var log = Open(folder);
        var record = new PredictionRecord("päivä-1", "flights", "canary", "flights/2", "AA-12", 981_331_200_000_001, 417, new float[] { 1.5f, float.NaN, -3 }, new float[] { 0.25f }, 200);
        Assert.True(log.Append(record));
        Assert.True(log.Append(record with { Id = "2", EntityKey = null, Features = default, Outputs = default, Status = 500 }));
        await log.FlushAsync(Ct);
        Prediction a = log.Live[0].Find("päivä-1")!, b = log.Live[0].Find("2")!;
        Assert.Equal(("flights", "canary", "flights/2", "AA-12", 417, 200), (a.Endpoint, a.Variant, a.ModelVersion, a.EntityKey, a.LatencyMicros, a.Status));
        Assert.Equal(Time.FromMicros(981_331_200_000_001), a.At);
        Assert.Equal([1.5f, float.NaN, -3], a.Features);
        Assert.Equal([0.25f], a.Outputs);
        Assert.Equal((null, 0, 0, 500), (b.EntityKey, b.Features.Count, b.Outputs.Count, b.Status));
    }

    [Fact]
    public async Task Torn_tail_is_cut_behind_the_last_whole_batch_and_the_log_goes_on()
    {
        string path;
        await using (var log = Open(folder))
        {
            Fill(log, 0, 40);
            await log.FlushAsync(Ct);
            path = log.Live[0].Path;
        }

        byte[] whole = File.ReadAllBytes(path);
        // Half a record, then a record whose checksum is wrong: what a crash of the machine may leave.
        File.WriteAllBytes(path, [.. whole, .. whole.AsSpan(8, 50)]);
        await using (var log = Open(folder))
        {
            Assert.Equal(40, log.Live.Sum(s => s.Rows));
            Assert.Equal(whole.Length, new FileInfo(path).Length);
            Fill(log, 40, 45);
        }

        byte[] damaged = File.ReadAllBytes(path);
        damaged[whole.Length + 20] ^= 1;
        File.WriteAllBytes(path, damaged);
        await using (var log = Open(folder))
        {
            Assert.Equal(40, log.Live.Sum(s => s.Rows));
            Assert.NotNull(log.Live[0].Find("p39"));
            Assert.Null(log.Live[0].Find("p40"));
        }
    }

    [Fact]
    public async Task Every_cut_of_the_file_leaves_whole_batches_only()
    {
        string source;
        await using (var log = Open(folder))
        {
            for (int i = 0; i < 4; i++)
            {
                Fill(log, i * 3, i * 3 + 3);
                await log.FlushAsync(Ct);
            }

            source = log.Live[0].Path;
        }

        byte[] bytes = File.ReadAllBytes(source);
        var random = new Random(11);
        for (int i = 0; i < 25; i++)
        {
            string copy = Directory.CreateTempSubdirectory("slipway-cut-").FullName;
            File.WriteAllBytes(Path.Combine(copy, Path.GetFileName(source)), bytes[..random.Next(bytes.Length + 1)]);
            await using (var log = Open(copy))
            {
                long rows = log.Live.Sum(s => s.Rows);
                Assert.Equal(rows, log.Live.Sum(s => s.All().Count()));
                Fill(log, 100, 102);
                await log.FlushAsync(Ct);
                Assert.Equal(rows + 2, log.Live.Sum(s => s.Rows));
            }

            Directory.Delete(copy, recursive: true);
        }
    }

    [Fact]
    public async Task Appended_but_unwritten_predictions_survive_the_death_of_the_process()
    {
        string dead = Directory.CreateTempSubdirectory("slipway-dead-").FullName;
        await using (var log = Open(folder, new MonitoringOptions { FlushInterval = TimeSpan.FromHours(1) }))
        {
            Fill(log, 0, 10);
            await log.FlushAsync(Ct);
            Fill(log, 10, 25);
            // A killed process leaves exactly these files: nothing of its memory is written by closing.
            Copy(folder, dead);
        }

        for (int start = 0; start < 2; start++)
        {
            await using var log = Open(dead);
            Assert.Equal(25, log.Live.Sum(s => s.Rows));
            Assert.All(Enumerable.Range(0, 25), i => Assert.NotNull(log.Live.Select(s => s.Find($"p{i}")).FirstOrDefault(p => p is not null)));
        }

        Directory.Delete(dead, recursive: true);
    }

    [Fact]
    public async Task Batch_that_was_written_but_not_released_is_not_replayed_twice()
    {
        string dead = Directory.CreateTempSubdirectory("slipway-dead-").FullName;
        await using (var log = Open(folder, new MonitoringOptions { FlushInterval = TimeSpan.FromHours(1) }))
        {
            Fill(log, 0, 10);
            string[] rings = Directory.GetFiles(folder, "*.ring");
            var before = rings.ToDictionary(r => r, File.ReadAllBytes);
            await log.FlushAsync(Ct);
            Copy(folder, dead);
            // The process died between the write of the segment and the release of the buffer.
            foreach ((string ring, byte[] bytes) in before)
            {
                File.WriteAllBytes(Path.Combine(dead, Path.GetFileName(ring)), bytes);
            }
        }

        await using (var log = Open(dead))
        {
            Assert.Equal(10, log.Live.Sum(s => s.Rows));
        }

        Directory.Delete(dead, recursive: true);
    }

    [Fact]
    public async Task Full_buffers_drop_and_count_and_every_record_is_either_kept_or_counted()
    {
        await using var log = Open(folder, new MonitoringOptions { FlushInterval = TimeSpan.FromHours(1), BufferBytes = 64 * 1024 });
        int kept = 0;
        for (int i = 0; i < 20_000; i++)
        {
            kept += log.Append(Record($"p{i}")) ? 1 : 0;
        }

        await log.FlushAsync(Ct);
        Assert.InRange(kept, 100, 19_999);
        Assert.Equal(20_000 - kept, log.Dropped);
        Assert.Equal((kept, kept), (log.Written, log.Live.Sum(s => s.Rows)));
        Assert.True(log.Append(Record("after")));
    }

    [Fact]
    public async Task Too_large_record_is_dropped_and_counted()
    {
        await using var log = Open(folder);
        Assert.False(log.Append(Record("big") with { Features = new float[100_000] }));
        Assert.False(log.Append(Record(new string('x', 40_000))));
        Assert.Equal(2, log.Dropped);
    }

    [Fact]
    public async Task Concurrent_appends_keep_each_record_once()
    {
        await using var log = Open(folder);
        int kept = 0;
        await Task.WhenAll(Enumerable.Range(0, 4).Select(t => Task.Run(() =>
        {
            for (int i = 0; i < 5_000; i++)
            {
                if (log.Append(Record($"{t}-{i}")))
                {
                    Interlocked.Increment(ref kept);
                }
            }
        })));
        await log.FlushAsync(Ct);
        string[] ids = log.Live.SelectMany(s => s.All()).Select(p => p.Id).ToArray();
        Assert.Equal(kept, ids.Length);
        Assert.Equal(ids.Length, ids.Distinct(StringComparer.Ordinal).Count());
        Assert.Equal(20_000, kept + log.Dropped);
    }

    [Fact]
    public async Task Segments_roll_by_rows_and_by_age()
    {
        await using var log = Open(folder, new MonitoringOptions { SegmentRows = 1000, SegmentAge = TimeSpan.FromMinutes(10), FlushInterval = TimeSpan.FromHours(1) });
        Fill(log, 0, 1000);
        await log.FlushAsync(Ct);
        Assert.Single(log.Complete());
        Fill(log, 1000, 1001);
        await log.FlushAsync(Ct);
        Assert.Single(log.Complete());
        clock.Advance(TimeSpan.FromMinutes(11));
        await log.FlushAsync(Ct);
        Assert.Equal(2, log.Complete().Count);
    }

    [Fact]
    public async Task Second_process_on_the_same_folder_is_refused()
    {
        await using var log = Open(folder);
        var error = Assert.Throws<SlipwayException>(() => Open(folder));
        Assert.Equal(ErrorCode.Conflict, error.Code);
    }

    private static PredictionRecord Record(string id) => new(id, "flights", "stable", "flights/1", null, 981_331_200_000_000, 100, new float[] { 1, 2, 3 }, new float[] { 0.5f }, 200);

    private static void Fill(PredictionLog log, int from, int to)
    {
        for (int i = from; i < to; i++)
        {
            Assert.True(log.Append(Record($"p{i}")));
        }
    }

    private static void Copy(string from, string to)
    {
        foreach (string path in Directory.GetFiles(from).Where(p => Path.GetFileName(p) != "lock"))
        {
            File.WriteAllBytes(Path.Combine(to, Path.GetFileName(path)), Bytes(path));
        }

        static byte[] Bytes(string path)
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            byte[] bytes = new byte[stream.Length];
            stream.ReadExactly(bytes);
            return bytes;
        }
    }

    private PredictionLog Open(string directory, MonitoringOptions? options = null) => new(directory, options ?? new MonitoringOptions(), clock, NullLogger<PredictionLog>.Instance);
}
