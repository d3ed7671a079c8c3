using System.Globalization;
using System.Text.Json;
using DuckDB.NET.Data;
using Slipway.Foundation;
using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring;

public sealed class ReportTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("slipway-report-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public void Csv_with_quotes_empty_fields_and_both_line_ends_is_read_by_column()
    {
        Table table = TableFile.Read(Write("a.csv", "\uFEFFn,t,\"q,x\",e\r\n1,a,\"x,\"\"y\"\"\",\r\n,NA,\"two\nlines\",2.5e3\n-0.25,,b,NaN\n\n"));
        Assert.Equal(["n", "t", "q,x", "e"], table.Columns.Select(c => c.Name));
        Assert.Equal([ColumnKind.Number, ColumnKind.Category, ColumnKind.Category, ColumnKind.Number], table.Columns.Select(c => c.Kind));
        Assert.Equal([1, double.NaN, -0.25], table.Columns[0].Numbers);
        Assert.Equal(["a", "NA", null], Enumerable.Range(0, 3).Select(table.Columns[1].TextAt));
        Assert.Equal(["x,\"y\"", "two\nlines", "b"], Enumerable.Range(0, 3).Select(table.Columns[2].TextAt));
        Assert.Equal([double.NaN, 2500, double.NaN], table.Columns[3].Numbers);
        ColumnQuality quality = ColumnQuality.OfNumbers(table.Columns[3].Numbers);
        Assert.Equal((2, 1), (quality.Missing, quality.NaN));
    }

    [Theory]
    [InlineData("0")]
    [InlineData("-0.1")]
    [InlineData("3.14159265358979")]
    [InlineData("123456789012345678901234567890")]
    [InlineData("1e-7")]
    [InlineData("9007199254740993")]
    [InlineData("0.000000000000000000000001234")]
    [InlineData("-1.7976931348623157E308")]
    public void Numbers_are_read_to_the_last_bit(string text)
    {
        Assert.True(CsvReader.TryNumber(System.Text.Encoding.ASCII.GetBytes(text), out double value));
        Assert.Equal(double.Parse(text, CultureInfo.InvariantCulture), value);
    }

    [Theory]
    [InlineData("")]
    [InlineData("-")]
    [InlineData(".")]
    [InlineData("1.2.3")]
    [InlineData("12a")]
    [InlineData("2020-01-01")]
    public void What_is_no_number_is_a_text(string text) => Assert.False(CsvReader.TryNumber(System.Text.Encoding.ASCII.GetBytes(text), out _));

    [Fact]
    public void Broken_correlation_is_seen_by_multivariate_methods_alone_and_equal_data_pass()
    {
        Table reference = Joint(4_000, seed: 1, together: true), same = Joint(1_500, seed: 2, together: true), broken = Joint(1_500, seed: 3, together: false);
        var asked = new ReportOptions { Multivariate = MultivariateDrift.Methods };
        DriftReport quiet = Comparison.Of(reference, same, asked), loud = Comparison.Of(reference, broken, asked);
        Assert.True(quiet.Passed, JsonSerializer.Serialize(quiet.Multivariate));
        Assert.Equal(0, loud.DriftedColumns);
        Assert.False(loud.Passed);
        Assert.All(loud.Multivariate, m => Assert.Equal(PointState.Alert, m.State));
        Assert.Equal(MultivariateDrift.Methods, loud.Multivariate.Select(m => m.Method));
        Assert.All(loud.Multivariate, m => Assert.Equal(4, m.Features));
        Assert.Equal([(4_000, 1_000), (3_000, 300), (1_000, 1_000)], loud.Multivariate.Select(m => (m.ReferenceRows, m.CurrentRows)));
        Assert.Equal(loud.Multivariate, Comparison.Of(reference, broken, asked).Multivariate);
        Assert.True(Comparison.Of(reference, broken).Passed);
        Assert.Empty(Comparison.Of(reference, broken).Multivariate);
        string page = HtmlReport.Write(loud);
        Assert.Contains("All features together", page, StringComparison.Ordinal);
        Assert.Contains("but the features did together", page, StringComparison.Ordinal);
    }

    [Fact]
    public void A_multivariate_method_without_a_value_does_not_pass()
    {
        var asked = new ReportOptions { Multivariate = MultivariateDrift.Methods };
        DriftReport few = Comparison.Of(Joint(299, seed: 1, together: true), Joint(299, seed: 2, together: true), asked);
        Assert.All(few.Multivariate, m => Assert.Equal((PointState.Insufficient, null), (m.State, m.Value)));
        Assert.False(few.Passed);
        DriftReport one = Comparison.Of(Joint(400, seed: 1, together: true), Joint(400, seed: 2, together: true), asked with { Columns = ["a"] });
        Assert.All(one.Multivariate, m => Assert.Equal(PointState.Undefined, m.State));
        double[] flat = new double[400];
        var constant = new Table("flat", [TableColumn.OfNumbers("a", flat), TableColumn.OfNumbers("b", flat)]);
        Assert.Equal([PointState.Ok, PointState.Ok, PointState.Undefined], Comparison.Of(constant, constant, asked).Multivariate.Select(m => m.State));
        Assert.Contains("`umap` is no multivariate method", Assert.Throws<SlipwayException>(() => Comparison.Of(constant, constant, new ReportOptions { Multivariate = ["umap"] })).Why, StringComparison.Ordinal);
    }

    /// <summary>Four columns of one distribution each; a to c and the category move together, or not.</summary>
    private static Table Joint(int rows, int seed, bool together)
    {
        var random = new Random(seed);
        double[] a = new double[rows], b = new double[rows], c = new double[rows];
        string?[] d = new string?[rows];
        for (int i = 0; i < rows; i++)
        {
            double x = Normal(random), y = together ? x : Normal(random), z = together ? x : Normal(random), w = together ? x : Normal(random);
            (a[i], b[i], c[i]) = (x, 0.95 * y + 0.31 * Normal(random), 100 * (0.95 * z + 0.31 * Normal(random)));
            d[i] = i % 50 == 0 ? null : w > 0.5 ? "high" : "low";
            c[i] = i % 40 == 0 ? double.NaN : c[i];
        }

        return new Table("joint", [TableColumn.OfNumbers("a", a), TableColumn.OfNumbers("b", b), TableColumn.OfNumbers("c", c), TableColumn.OfTexts("d", d)]);

        static double Normal(Random random) => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
    }

    [Fact]
    public void A_row_of_another_width_is_refused_with_its_number()
    {
        SlipwayException e = Assert.Throws<SlipwayException>(() => TableFile.Read(Write("b.csv", "a,b\n1,2\n3\n")));
        Assert.Equal("row 2 has 1 fields, the header has 2", e.Why);
        Assert.Equal(ErrorCode.NotFound, Assert.Throws<SlipwayException>(() => TableFile.Read(Path.Combine(folder, "none.csv"))).Code);
        Assert.Equal("the file is empty", Assert.Throws<SlipwayException>(() => TableFile.Read(Write("c.csv", ""))).Why);
    }

    [Fact]
    public void Parquet_gives_the_same_table_as_csv()
    {
        string csv = Write("d.csv", "n,t,at\n1.5,a,2026-01-01 00:00:00\n,b,2026-01-02 00:00:00\n");
        string parquet = Path.Combine(folder, "d.parquet");
        using (var duck = new DuckDBConnection("DataSource=:memory:"))
        {
            duck.Open();
            using DuckDBCommand command = duck.CreateCommand();
            command.CommandText = $"COPY (SELECT * FROM read_csv('{csv}')) TO '{parquet}' (FORMAT parquet)";
            command.ExecuteNonQuery();
        }

        Table table = TableFile.Read(parquet);
        Assert.Equal([1.5, double.NaN], table.Find("n")!.Numbers);
        Assert.Equal(["a", "b"], table.Find("t")!.Categories);
        Assert.Equal(86_400, table.Find("at")!.Numbers[1] - table.Find("at")!.Numbers[0]);
        Assert.Contains("cannot be read as Parquet", Assert.Throws<SlipwayException>(() => TableFile.Read(Write("no.parquet", "text"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_quiet_table_passes_and_a_drifted_one_fails_with_the_strongest_column_first()
    {
        Table reference = Make(4_000, 1), quiet = Make(2_000, 2), drifted = Make(2_000, 3, shift: 0.6, swap: true);
        DriftReport same = Comparison.Of(reference, quiet);
        Assert.True(same.Passed, string.Join("; ", same.Columns.Where(c => c.Drifted).Select(c => c.Name).Concat(same.Findings.Select(f => f.Text))));
        DriftReport report = Comparison.Of(reference, drifted);
        Assert.False(report.Passed);
        Assert.Equal(["city", "delay"], report.Columns.Where(c => c.Drifted).Select(c => c.Name).Order());
        Assert.True(report.Columns[0].Drifted);
        ColumnReport delay = report.Columns.Single(c => c.Name == "delay");
        Assert.Equal(("psi", "quantile10", 10), (delay.Statistic, delay.Rule, delay.Bins.Count));
        double[] x = TwoSample.Sorted(reference.Find("delay")!.Numbers), y = TwoSample.Sorted(drifted.Find("delay")!.Numbers);
        Assert.Equal(TwoSample.KolmogorovSmirnov(x, y).Statistic, delay.Statistics["ks"]);
        Assert.Equal(1, delay.Overlay!.Reference.Sum(), 0.05);
    }

    [Fact]
    public void One_statistic_against_one_limit_decides_when_it_is_asked_for()
    {
        Table reference = Make(4_000, 1), drifted = Make(2_000, 3, shift: 0.6);
        DriftReport js = Comparison.Of(reference, drifted, new ReportOptions { Statistic = "js", Threshold = 0.9 });
        Assert.Equal(0, js.DriftedColumns);
        Assert.Equal("js", js.Columns[0].Statistic);
        Assert.True(Comparison.Of(reference, drifted, new ReportOptions { Statistic = "ks", Threshold = 0.1, Columns = ["delay"] }).Columns.Single().Drifted);
        Assert.Equal(0, Comparison.Of(reference, drifted, new ReportOptions { Threshold = 5 }).DriftedColumns);
        SlipwayException e = Assert.Throws<SlipwayException>(() => Comparison.Of(reference, drifted, new ReportOptions { Statistic = "taste", Target = "none", Threshold = double.NaN }));
        Assert.All(["`taste` is no statistic", "the threshold is NaN", "no column `none`"], problem => Assert.Contains(problem, e.Why, StringComparison.Ordinal));
    }

    [Fact]
    public void Quality_findings_name_column_and_numbers()
    {
        Table reference = new("r", [TableColumn.OfNumbers("a", Numbers(500, i => i % 50)), TableColumn.OfTexts("t", Texts(500, i => $"v{i % 3}")), TableColumn.OfNumbers("gone", Numbers(500, i => i)), TableColumn.OfNumbers("kind", Numbers(500, i => i))]);
        Table current = new("c", [TableColumn.OfTexts("t", Texts(500, i => i % 10 == 0 ? "new" : $"v{i % 3}")), TableColumn.OfNumbers("a", Numbers(500, i => i % 5 == 0 ? double.NaN : i == 1 ? double.PositiveInfinity : i % 60)), TableColumn.OfTexts("kind", Texts(500, i => "x")), TableColumn.OfNumbers("extra", Numbers(500, i => i))]);
        DriftReport report = Comparison.Of(reference, current);
        Assert.Equal(["constant", "infinite", "lost_column", "missing_rate", "new_column", "order", "out_of_range", "type_change", "unseen"], report.Findings.Select(f => f.Check).Append("constant").Distinct().Order(StringComparer.Ordinal));
        Assert.Contains(report.Findings, f => f.Text == "`a` is missing in 20.00 % of the rows, 0.00 % in the reference." || f.Text == "`a` is missing in 20.00% of the rows, 0.00% in the reference.");
        Assert.Contains(report.Findings, f => f is { Check: "unseen", Fails: true } && f.Text.StartsWith("50 rows of `t` (10.00", StringComparison.Ordinal));
        Assert.Contains(report.Findings, f => f is { Check: "order", Fails: false });
    }

    [Fact]
    public void A_table_that_streams_by_gives_what_a_table_in_memory_gives()
    {
        Table reference = Make(3_000, 1), current = Make(3_000, 3, shift: 0.4, swap: true);
        string path = WriteTable("e.csv", current);
        ColumnProfile[] profiles = reference.Columns.Select(ColumnProfile.OfReference).ToArray();
        (long rows, ColumnProfile[] streamed, _) = new StreamedTable(CsvReader.Open(path), profiles).Read();
        Assert.Equal(3_000, rows);
        foreach ((ColumnProfile r, ColumnProfile s) in profiles.Zip(streamed))
        {
            ColumnProfile exact = ColumnProfile.OfCurrent(current.Find(r.Name)!, r);
            Assert.Equal(exact.Counts, s.Counts);
            Assert.Equal(exact.FineCounts, s.FineCounts);
            Assert.Equal(exact.Categories, s.Categories);
            Assert.Equal((exact.Quality.Missing, exact.Quality.Distinct, exact.Quality.OutOfRange, exact.Quality.UnseenRows, exact.Quality.Min), (s.Quality.Missing, s.Quality.Distinct, s.Quality.OutOfRange, s.Quality.UnseenRows, s.Quality.Min));
        }
    }

    [Fact]
    public void Performance_is_realized_with_a_target_and_estimated_without()
    {
        Table reference = Make(4_000, 1), labelled = Make(2_000, 2);
        var options = new ReportOptions { Target = "late", Score = "p" };
        DriftReport report = Comparison.Of(reference, labelled, options);
        Assert.Equal("binary", report.ModelType);
        MetricReport auc = report.Performance.Single(m => m.Metric == "ROC-AUC");
        Assert.False(auc.Estimated);
        Assert.InRange(Math.Abs(auc.Current!.Value - auc.Reference!.Value), 0, 4 * auc.Error!.Value);
        Table unlabelled = new("u", labelled.Columns.Where(c => c.Name != "late").ToArray());
        DriftReport estimated = Comparison.Of(reference, unlabelled, options);
        MetricReport promised = estimated.Performance.Single(m => m.Metric == "ROC-AUC");
        Assert.True(promised.Estimated);
        Assert.Equal(auc.Current.Value, promised.Current!.Value, 0.03);
        Assert.True(estimated.Passed);
    }

    [Fact]
    public void The_page_needs_nothing_from_elsewhere_and_escapes_names()
    {
        Table reference = new("<r>", [TableColumn.OfNumbers("<script>", Numbers(300, i => i)), TableColumn.OfTexts("t", Texts(300, i => "<b>"))]), current = new("c", [TableColumn.OfNumbers("<script>", Numbers(300, i => i + 200)), TableColumn.OfTexts("t", Texts(300, i => "<i>"))]);
        string page = HtmlReport.Write(Comparison.Of(reference, current));
        Assert.DoesNotContain("<script", page, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("http", page, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("<b>&lt;b", page, StringComparison.Ordinal);
        Assert.Contains("&lt;script&gt;", page, StringComparison.Ordinal);
        Assert.Contains("<svg", page, StringComparison.Ordinal);
        using JsonDocument json = JsonDocument.Parse(JsonSerializer.Serialize(Comparison.Of(reference, current), ReportJson.Options));
        Assert.False(json.RootElement.GetProperty("passed").GetBoolean());
        Assert.Equal("number", json.RootElement.GetProperty("columns").EnumerateArray().First(c => c.GetProperty("name").GetString() == "<script>").GetProperty("kind").GetString());
    }

    [Fact]
    public void Windows_by_size_count_and_calendar()
    {
        Assert.Equal([4, 4, 2], Chunks.BySize(10, 4).Select(c => c.Rows));
        Assert.Equal([4, 4], Chunks.BySize(10, 4, Remainder.Drop).Select(c => c.Rows));
        Assert.Equal([4, 6], Chunks.BySize(10, 4, Remainder.Append).Select(c => c.Rows));
        Assert.Equal(11, Chunks.ByCount(107).Count);
        DateTimeOffset[] hours = Enumerable.Range(0, 24 * 70).Select(i => new DateTimeOffset(2026, 1, 30, 0, 0, 0, TimeSpan.Zero).AddHours(i)).ToArray();
        Assert.Equal(["2026-01", "2026-02", "2026-03", "2026-04"], Chunks.ByPeriod(hours, "month").Select(c => c.Key));
        Assert.Equal([true, false, false, true], Chunks.ByPeriod(hours, "month").Select(c => c.Partial));
        Assert.Equal("2026-W05", Chunks.ByPeriod(hours, "week")[0].Key);
        Assert.Equal("2026-Q1", Chunks.ByPeriod(hours, "quarter")[0].Key);
        Assert.Equal(23, Chunks.ByPeriod(hours, "day", TimeZoneInfo.CreateCustomTimeZone("x", TimeSpan.FromHours(1), "x", "x"))[0].Rows);
    }

    private static double[] Numbers(int n, Func<int, double> of) => Enumerable.Range(0, n).Select(of).ToArray();

    private static string[] Texts(int n, Func<int, string> of) => Enumerable.Range(0, n).Select(of).ToArray();

    /// <summary>`delay` (normal), `hour` (24 values), `noise` (uniform), `city` (four names), `p` (score) and `late` (its outcome).</summary>
    private static Table Make(int rows, int seed, double shift = 0, bool swap = false)
    {
        var random = new Random(seed);
        double[] delay = Numbers(rows, _ => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())), score = delay.Select(d => 1 / (1 + Math.Exp(-d))).ToArray();
        return new Table($"t{seed}",
        [
            TableColumn.OfNumbers("delay", delay.Select(d => d + shift).ToArray()), TableColumn.OfNumbers("hour", Numbers(rows, _ => random.Next(24))), TableColumn.OfNumbers("noise", Numbers(rows, i => i % 11 == 0 ? double.NaN : random.NextDouble())),
            TableColumn.OfTexts("city", Texts(rows, _ => random.NextDouble() < (swap ? 0.2 : 0.6) ? "Ulm" : "Bonn")), TableColumn.OfNumbers("p", score), TableColumn.OfNumbers("late", score.Select(s => random.NextDouble() < s ? 1.0 : 0).ToArray()),
        ]);
    }

    private string Write(string name, string text)
    {
        string path = Path.Combine(folder, name);
        File.WriteAllText(path, text);
        return path;
    }

    private string WriteTable(string name, Table table) => Write(
        name, string.Join(',', table.Columns.Select(c => c.Name)) + "\n" + string.Concat(Enumerable.Range(0, table.Rows).Select(i => string.Join(',', table.Columns.Select(c => c.TextAt(i) ?? "")) + "\n")));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Deciles_of_a_long_column_are_those_of_the_sorted_values(bool ties)
    {
        var random = new Random(11);
        double[] values = [.. Enumerable.Range(0, 120_001).Select(i => i % 50 == 0 ? double.NaN : ties && i % 3 == 0 ? 0.25 : Math.Exp(random.NextDouble() * 4) - 2)];
        double[] sorted = [.. values.Where(double.IsFinite).Order()];
        ColumnProfile profile = ColumnProfile.OfReference(TableColumn.OfNumbers("x", values));
        Assert.Null(profile.Sorted);
        Assert.Equal(Bins.OfQuantiles(sorted).Edges, profile.Bins.Edges);
        long[] counts = new long[profile.Bins.Count], fine = new long[profile.Fine!.Count];
        profile.Bins.CountInto(sorted, counts);
        profile.Fine.CountInto(sorted, fine);
        Assert.Equal(counts, profile.Counts);
        Assert.Equal(fine, profile.FineCounts);
        Assert.InRange(fine.Max() / (double)sorted.Length, 0.005, ties ? 0.35 : 0.0065);
        Assert.Equal((values.Length, sorted.Length), (profile.Quality.Rows, profile.Quality.Finite));
    }

    [Fact]
    public void Report_of_long_tables_is_the_same_each_time()
    {
        var random = new Random(4);
        Table Long(string name, double shift) => new(name,
        [
            .. Enumerable.Range(0, 6).Select(c => TableColumn.OfNumbers($"n{c}", [.. Enumerable.Range(0, 110_000).Select(i => c == 5 && i % 30 == 0 ? double.NaN : c == 4 ? random.Next(12) : Math.Exp(c * random.NextDouble()) + (c == 0 ? shift : 0))])),
            TableColumn.OfTexts("t", [.. Enumerable.Range(0, 110_000).Select(_ => $"v{random.Next(30)}")]),
        ]);
        Table before = Long("a", 0), after = Long("b", 0.3);
        string first = Text();
        Assert.True(Comparison.Of(before, after).Columns.Single(c => c.Name == "n0").Drifted);
        Assert.All(Enumerable.Range(0, 4), _ => Assert.Equal(first, Text()));

        string Text() => System.Text.Json.JsonSerializer.Serialize(Comparison.Of(before, after));
    }
}
