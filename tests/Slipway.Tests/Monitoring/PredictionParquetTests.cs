using DuckDB.NET.Data;
using Slipway.Foundation;
using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring;

public sealed class PredictionParquetTests
{
    [Fact]
    public void Every_field_of_every_row_comes_back_through_another_reader_in_the_order_of_endpoint_and_time()
    {
        using var folder = new TemporaryFolder();
        using PredictionSegment segment = Written(folder.Path, 45_000, seed: 7, names: 3);
        string path = Path.Combine(folder.Path, "p.parquet");
        (string least, string greatest) = PredictionParquet.Write(segment, path);
        Prediction[] expected = [.. segment.All().OrderBy(p => p.Endpoint, StringComparer.Ordinal).ThenBy(p => p.At)];
        Assert.Equal(expected.Select(p => p.Id).Min(StringComparer.Ordinal), least);
        Assert.Equal(expected.Select(p => p.Id).Max(StringComparer.Ordinal), greatest);
        AssertRows(expected, path);
    }

    [Fact]
    public void More_names_than_a_dictionary_holds_are_written_plain()
    {
        using var folder = new TemporaryFolder();
        using PredictionSegment segment = Written(folder.Path, 3_000, seed: 8, names: 700);
        string path = Path.Combine(folder.Path, "p.parquet");
        PredictionParquet.Write(segment, path);
        AssertRows([.. segment.All().OrderBy(p => p.Endpoint, StringComparer.Ordinal).ThenBy(p => p.At)], path);
    }

    [Fact]
    public void A_reader_can_skip_row_groups_by_time_and_endpoint()
    {
        using var folder = new TemporaryFolder();
        using PredictionSegment segment = Written(folder.Path, 45_000, seed: 9, names: 3);
        string path = Path.Combine(folder.Path, "p.parquet");
        PredictionParquet.Write(segment, path);
        Prediction[] all = [.. segment.All()];
        using var duck = Open();
        using var command = duck.CreateCommand();
        command.CommandText = $"SELECT row_group_id, stats_min_value, stats_max_value FROM parquet_metadata('{path}') WHERE path_in_schema = 'event_us' ORDER BY 1";
        using var reader = command.ExecuteReader();
        int groups = 0;
        while (reader.Read())
        {
            groups++;
            Assert.InRange(long.Parse(reader.GetString(1)), all.Min(p => Time.ToMicros(p.At)), long.Parse(reader.GetString(2)));
        }

        Assert.Equal(3, groups);
    }

    private static PredictionSegment Written(string folder, int rows, int seed, int names)
    {
        var segment = PredictionSegment.Create(folder, Ids.New(), DateTimeOffset.UnixEpoch);
        var random = new Random(seed);
        byte[] frame = new byte[4096];
        for (int i = 0; i < rows; i++)
        {
            bool shadow = random.Next(10) == 0;
            var record = new PredictionRecord(
                random.Next(20) == 0 ? $"ключ-{i}\U0001F600" : $"id-{random.Next():x8}-{i}", $"endpoint-{random.Next(names)}", random.Next(2) == 0 ? "stable" : "canary", $"m/{random.Next(names)}",
                random.Next(3) == 0 ? null : random.Next(5) == 0 ? "" : $"customer ☃ {random.Next(50)}", 1_700_000_000_000_000 + i * 11L + random.Next(200), random.Next(5000),
                Floats(random, 4), Floats(random, random.Next(2) == 0 ? 0 : 3), random.Next(20) == 0 ? 503 : 200)
            {
                Kind = shadow ? PredictionKind.Shadow : random.Next(9) == 0 ? PredictionKind.Exposure : PredictionKind.Live,
                Reason = (DecisionReason)random.Next(7),
                Revision = random.Next(100),
                PrimaryVariant = shadow && random.Next(4) > 0 ? "stable" : null,
                PrimaryStatus = shadow ? 200 : 0,
                PrimaryLatencyMicros = shadow ? random.Next(900) : 0,
            };
            int size = PredictionFrame.SizeOf(record);
            PredictionFrame.Write(frame.AsSpan(0, size), record);
            segment.Append(frame.AsSpan(0, size), (ulong)i);
        }

        return segment;
    }

    private static float[] Floats(Random random, int count)
    {
        float[] values = new float[count];
        for (int i = 0; i < count; i++)
        {
            values[i] = random.Next(12) == 0 ? float.NaN : random.NextSingle();
        }

        return values;
    }

    private static void AssertRows(Prediction[] expected, string path)
    {
        using var duck = Open();
        using var command = duck.CreateCommand();
        command.CommandText = $"SELECT id, endpoint, variant, model_version, entity_key, event_us, latency_us, status, features, outputs, segment, kind, reason, revision, primary_variant, primary_status, primary_latency_us FROM '{path}'";
        using var r = command.ExecuteReader();
        int n = 0;
        for (; r.Read(); n++)
        {
            Prediction e = expected[n];
            Assert.Equal(
                (e.Id, e.Endpoint, e.Variant, e.ModelVersion, e.EntityKey, Time.ToMicros(e.At), e.LatencyMicros),
                (r.GetString(0), r.GetString(1), r.GetString(2), r.GetString(3), r.IsDBNull(4) ? null : r.GetString(4), r.GetInt64(5), r.GetInt64(6)));
            Assert.Equal(e.Features, r.GetFieldValue<List<float>>(8));
            Assert.Equal(e.Outputs, r.GetFieldValue<List<float>>(9));
            Assert.Equal(
                (e.Status, e.Segment, (byte)e.Kind, (byte)e.Reason, e.Revision, e.PrimaryVariant, e.PrimaryStatus, e.PrimaryLatencyMicros),
                (r.GetInt32(7), r.GetString(10), r.GetByte(11), r.GetByte(12), r.GetInt64(13), r.IsDBNull(14) ? null : r.GetString(14), r.GetInt32(15), r.GetInt64(16)));
        }

        Assert.Equal(expected.Length, n);
    }

    private static DuckDBConnection Open()
    {
        var duck = new DuckDBConnection("DataSource=:memory:");
        duck.Open();
        return duck;
    }
}
