using System.Globalization;
using System.Text;
using CsCheck;
using DuckDB.NET.Data;
using Slipway.Data;
using Slipway.Foundation;

namespace Slipway.Tests.Data;

public sealed class ProfilerTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("slipway-profile-").FullName;
    private readonly Profiler profiler;

    public ProfilerTests()
    {
        var layout = new DataLayout(Path.Combine(folder, "data"));
        Directory.CreateDirectory(layout.Temporary);
        profiler = new Profiler(layout, new DataOptions());
    }

    public void Dispose()
    {
        profiler.Dispose();
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public async Task Every_kind_of_column_is_profiled_exactly()
    {
        var profile = await CsvAsync("id,x,name,day,ok,empty\n1,1.5,ada,2026-01-01,true,\n2,,bob,2026-01-02,false,\n3,2.5,\"x,y\",,true,\n4,1.5,ada,2026-01-05,,\n");

        Assert.Equal(4, profile.Rows);
        Assert.Equal(["BIGINT", "DOUBLE", "VARCHAR", "DATE", "BOOLEAN", "VARCHAR"], profile.Columns.Select(c => c.Type));
        var x = profile.Find("x")!;
        Assert.Equal((3L, 1L, 2L, "1.5", "2.5"), (x.Count, x.Missing, x.Distinct, x.Min, x.Max));
        Assert.Equal(5.5 / 3, x.Mean!.Value, 12);
        Assert.Equal(Math.Sqrt(1.0 / 3), x.Std!.Value, 12);
        Assert.Equal(1.5, x.Quantiles.Single(q => q.Share == 0.5).Value);
        Assert.Equal(2.5, x.Quantiles.Single(q => q.Share == 0.75).Value);
        Assert.Equal([new ValueCount("1.5", 2), new ValueCount("2.5", 1)], x.Top);
        var name = profile.Find("name")!;
        Assert.Equal((4L, 0L, 3L, "ada", "x,y", (double?)null), (name.Count, name.Missing, name.Distinct, name.Min, name.Max, name.Mean));
        Assert.Equal([new ValueCount("ada", 2), new ValueCount("bob", 1), new ValueCount("x,y", 1)], name.Top);
        var day = profile.Find("day")!;
        Assert.Equal(("2026-01-01", "2026-01-05", 1L), (day.Min, day.Max, day.Missing));
        Assert.Equal((0L, 4L, 0L, null), (profile.Find("empty")!.Count, profile.Find("empty")!.Missing, profile.Find("empty")!.Distinct, profile.Find("empty")!.Min));
    }

    [Fact]
    public async Task Nan_is_missing_and_infinity_spoils_no_mean()
    {
        var profile = await CsvAsync("f\nnan\ninf\n1\n3\n-inf\n");
        var f = profile.Columns[0];

        Assert.Equal((4L, 1L, 4L), (f.Count, f.Missing, f.Distinct));
        Assert.Equal((2.0, Math.Sqrt(2)), (f.Mean, f.Std));
        Assert.Equal(1.0, f.Quantiles[0].Value);
        Assert.Equal(3.0, f.Quantiles[^1].Value);
    }

    [Fact]
    public async Task Numbers_too_large_for_a_deviation_give_none()
    {
        var profile = await CsvAsync("f\n1e300\n-1e300\n");

        Assert.Null(profile.Columns[0].Std);
        Assert.Equal(0.0, profile.Columns[0].Mean);
    }

    [Fact]
    public async Task Figures_agree_with_plain_arithmetic() => await Gen.Double[-1_000, 1_000].Select(d => Math.Round(d, 2)).Array[2, 60].SampleAsync(
        async values =>
        {
            var c = (await CsvAsync("v\n" + string.Concat(values.Select(v => v.ToString("R", CultureInfo.InvariantCulture) + "\n")))).Columns[0];
            var mean = values.Average();
            var sorted = values.Order().ToArray();
            Assert.Equal(mean, c.Mean!.Value, 9);
            Assert.Equal(Math.Sqrt(values.Sum(v => (v - mean) * (v - mean)) / (values.Length - 1)), c.Std!.Value, 9);
            Assert.Equal(values.Distinct().Count(), c.Distinct);
            foreach (var q in c.Quantiles)
                Assert.Equal(sorted.First(v => sorted.Count(o => o <= v) >= q.Share * sorted.Length), q.Value);
        },
        iter: 15, threads: 1);

    [Fact]
    public async Task Parquet_and_csv_of_the_same_rows_have_the_same_profile()
    {
        var parquet = Path.Combine(folder, "p");
        Write($"COPY (SELECT i AS id, i % 7 AS k, (i * 0.5)::DOUBLE AS x, 'n' || (i % 3) AS s FROM range(1000) t(i)) TO '{parquet}' (FORMAT parquet)");
        var csv = new StringBuilder("id,k,x,s\n");
        for (var i = 0; i < 1000; i++) csv.Append(CultureInfo.InvariantCulture, $"{i},{i % 7},{i * 0.5:0.0},n{i % 3}\n");

        var one = (await profiler.ProfileAsync([new TableFile("p.parquet", parquet)], CancellationToken.None)).Profile!;
        var other = await CsvAsync(csv.ToString());

        Assert.Equal(one.Rows, other.Rows);
        foreach (var (a, b) in one.Columns.Zip(other.Columns))
        {
            Assert.Equal(a with { Quantiles = [], Top = [] }, b with { Quantiles = [], Top = [] });
            Assert.Equal(a.Quantiles, b.Quantiles);
            Assert.Equal(a.Top, b.Top);
        }
        Assert.Equal((499.5 * 0.5, 1000L), (one.Find("x")!.Mean!.Value, one.Find("id")!.Distinct));
    }

    [Fact]
    public async Task Files_of_one_shape_are_one_table_and_guessed_types_meet()
    {
        var files = new[] { Save("a.csv", "id,x\n1,1\n2,2\n"), Save("b.csv", "id,x\n3,2.5\n"), Save("c.csv", "id,x\nfour,\n") };

        var found = await profiler.ProfileAsync(files, CancellationToken.None);

        Assert.Equal([2L, 1L, 1L], files.Select(f => found.Rows[f.Path]));
        Assert.Equal([("id", "VARCHAR"), ("x", "DOUBLE")], found.Schema!.Columns.Select(c => (c.Name, c.Type)));
        Assert.Equal(4, found.Profile!.Rows);
        Assert.Equal(5.5 / 3, found.Profile.Columns[1].Mean!.Value, 12);
    }

    [Fact]
    public async Task Files_of_different_shapes_have_rows_but_no_common_schema()
    {
        var found = await profiler.ProfileAsync([Save("a.csv", "id,x\n1,1\n"), Save("b.csv", "id,y\n1,1\n2,2\n")], CancellationToken.None);

        Assert.Equal((null, null), (found.Schema, found.Profile));
        Assert.Equal([1L, 2L], found.Rows.Values);
    }

    [Fact]
    public async Task Hostile_names_and_values_stay_data()
    {
        var profile = await CsvAsync("\"a\"\"; DROP TABLE src; --\",it's\n'; SELECT 1; --,\"\"\"\"\n");

        Assert.Equal(["a\"; DROP TABLE src; --", "it's"], profile.Columns.Select(c => c.Name));
        Assert.Equal("'; SELECT 1; --", profile.Columns[0].Min);
        Assert.Equal("\"", profile.Columns[1].Min);
    }

    [Theory]
    [InlineData("id,x\n1,2\n3,4,5\n")]
    [InlineData("id,x\n1,2\n3\n")]
    [InlineData("id\n\"open\n")]
    [InlineData("id,x\n1,\"a\"b\n")]
    [InlineData("")]
    public async Task A_torn_csv_is_refused_by_its_logical_name(string text)
    {
        var refused = await Assert.ThrowsAsync<SlipwayException>(() => CsvAsync(text));

        Assert.Equal(ErrorCode.InvalidArgument, refused.Code);
        Assert.Contains("t.csv", refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(folder, refused.Why, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Bytes_that_are_no_text_are_refused()
    {
        var path = Path.Combine(folder, "bin");
        await File.WriteAllBytesAsync(path, [0x69, 0x64, 0x0a, 0xff, 0xfe, 0x00, 0x0a]);

        await Assert.ThrowsAsync<SlipwayException>(() => profiler.ProfileAsync([new TableFile("t.csv", path)], CancellationToken.None));
    }

    [Fact]
    public async Task A_header_alone_is_a_table_without_rows()
    {
        var profile = await CsvAsync("id,x\n");

        Assert.Equal((0L, 2), (profile.Rows, profile.Columns.Count));
        Assert.All(profile.Columns, c => Assert.Equal((0L, 0L, 0L, null), (c.Count, c.Missing, c.Distinct, c.Mean)));
    }

    [Fact]
    public async Task A_large_column_of_keys_spills_instead_of_growing()
    {
        var parquet = Path.Combine(folder, "keys");
        Write($"COPY (SELECT md5(i::VARCHAR) || md5((i + 1)::VARCHAR) AS key, i AS id FROM range(3000000) t(i)) TO '{parquet}' (FORMAT parquet)");
        var layout = new DataLayout(Path.Combine(folder, "data"));
        using var small = new Profiler(layout, new DataOptions { ProfileMemoryMegabytes = 128 });

        var profile = (await small.ProfileAsync([new TableFile("keys.parquet", parquet)], CancellationToken.None)).Profile!;

        Assert.Equal((3_000_000L, 3_000_000L, 64), (profile.Rows, profile.Columns[0].Distinct, profile.Columns[0].Min!.Length));
        Assert.Equal(1_499_999.5, profile.Columns[1].Mean!.Value, 6);
        Assert.Empty(Directory.EnumerateFileSystemEntries(layout.Temporary));
    }

    private async Task<TableProfile> CsvAsync(string text) => (await profiler.ProfileAsync([Save("t.csv", text)], CancellationToken.None)).Profile!;

    private TableFile Save(string path, string text)
    {
        var file = Path.Combine(folder, path);
        File.WriteAllText(file, text);
        return new TableFile(path, file);
    }

    private static void Write(string sql)
    {
        using var connection = new DuckDBConnection("DataSource=:memory:");
        connection.Open();
        using var command = connection.CreateCommand();
        command.CommandText = sql;
        command.ExecuteNonQuery();
    }
}
