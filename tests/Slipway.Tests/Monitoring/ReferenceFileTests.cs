using System.Globalization;
using System.Text;
using DuckDB.NET.Data;
using Slipway.Data;
using Slipway.Foundation;
using Slipway.Monitoring;
using Slipway.Pipelines;
using Slipway.Registry;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Tests.Monitoring;

/// <summary>References from CSV and Parquet files: what becomes of their columns, and what is refused.</summary>
public sealed class ReferenceFileTests : IDisposable
{
    private static readonly CancellationToken Ct = CancellationToken.None;
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Version_is_watched_against_a_file_and_a_shift_alerts(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var version = await RegisterAsync(world);
        var text = new StringBuilder("area,age,predicted,price\n");
        var random = new Random(3);
        for (int i = 0; i < 2000; i++)
        {
            double area = Draw(random);
            text.AppendLine(string.Create(CultureInfo.InvariantCulture, $"{area:R},{random.NextDouble():R},{100 + 20 * area:R},{100 + 20 * area + 5 * Draw(random):R}"));
        }

        string csv = Write("sold.csv", text.ToString());
        var file = new ReferenceFile { Path = csv, Name = "sold.csv", Type = ModelType.Regression, Score = "predicted", Target = "price" };
        var references = world.Get<References>();
        Monitor monitor = await references.WatchFileAsync(TestWorld.Ada, "prices", version, file, WindowRule.Day(TimeSpan.Zero), null, ["area"], null, Ct);
        Assert.Equal((ModelType.Regression, BaselineKind.Reference, 2000, "mae"), (monitor.Type, monitor.Baseline, monitor.ReferenceRows, monitor.PrimaryMetric));
        Assert.Equal(["area", "age"], monitor.FeatureNames);
        Assert.Equal(["area"], monitor.Watched);
        Assert.InRange(monitor.ReferenceValue!.Value, 3.5, 4.5);
        // The same rows as Parquet are the same reference: nothing new begins.
        Monitor again = await references.WatchFileAsync(TestWorld.Ada, "prices", version, file with { Path = Parquet(csv), Name = "sold.parquet" }, WindowRule.Day(TimeSpan.Zero), null, ["area"], null, Ct);
        Assert.Equal(monitor.Id, again.Id);

        for (int day = 0; day < 3; day++)
        {
            for (int i = 0; i < 500; i++)
            {
                double area = Draw(random) + day;
                Assert.True(world.Get<Predictions>().Append(new PredictionRecord($"d{day}-{i}", "prices", "stable", version, null, Time.ToMicros(Traffic.Monday.AddDays(day).AddSeconds(i)), 250, new float[] { (float)area, 0.5f }, new float[] { (float)(100 + 20 * area) }, 200)));
            }
        }

        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        var points = await world.Get<Monitors>().PointsAsync(monitor.Id, Ct);
        Assert.Equal([PointState.Ok, PointState.Alert], points.Where(p => p.Metric == "psi").Select(p => p.State));
        Assert.Equal([PointState.Ok, PointState.Alert], points.Where(p => p is { Metric: "score_psi", Column: null }).Select(p => p.State));

        var refused = await Assert.ThrowsAsync<SlipwayException>(() => references.WatchFileAsync(TestWorld.Ada, "prices", version, file with { Type = ModelType.Binary }, null, null, null, null, Ct));
        Assert.Contains("the target of a binary model is 1 or 0", refused.Why, StringComparison.Ordinal);
        refused = await Assert.ThrowsAsync<SlipwayException>(() => references.WatchAsync(TestWorld.Ada, "prices", version, null, null, ["area"], null, null, null, Ct));
        Assert.Contains("none is stored for prices/1", refused.Why, StringComparison.Ordinal);
        Assert.Single(await world.Get<Monitors>().ListAsync(Ct));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Version_is_watched_against_a_dataset_version_that_the_monitor_links(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var version = await RegisterAsync(world);
        var random = new Random(5);
        string csv = Write("sold.csv", "area,age,predicted,price\n" + string.Concat(Enumerable.Range(0, 400).Select(_ => string.Create(CultureInfo.InvariantCulture, $"{Draw(random):R},{Draw(random):R},1,{1 + Draw(random):R}\n"))));
        var datasets = world.Get<Datasets>();
        await datasets.CreateAsync(TestWorld.Ada, "sales", null, Ct);
        DatasetVersion first = await datasets.CommitAsync(TestWorld.Ada, "sales", new CommitRequest { Message = "one table", Files = [CommitFile.FromDisk("2026/sold.csv", csv), CommitFile.FromBytes("readme.md", "sales"u8.ToArray())] }, Ct);
        await datasets.CommitAsync(TestWorld.Ada, "sales", new CommitRequest { Message = "two", Files = [CommitFile.FromDisk("2026/sold.csv", csv), CommitFile.FromDisk("sold.parquet", Parquet(csv))] }, Ct);
        await datasets.TagAsync(TestWorld.Ada, "sales", "v1", first.Id, Ct);
        var columns = new ReferenceFile { Path = "", Name = "", Type = ModelType.Regression, Score = "predicted", Target = "price" };
        var references = world.Get<References>();
        Task<Monitor> WatchAsync(string endpoint, string rows) => references.WatchDatasetAsync(TestWorld.Ada, endpoint, version, DatasetReference.Parse(rows), columns, null, null, null, null, Ct);

        Monitor tagged = await WatchAsync("prices", "dataset:sales@v1");
        Assert.Equal((400, BaselineKind.Reference), (tagged.ReferenceRows, tagged.Baseline));
        Assert.Equal(["area", "age"], tagged.FeatureNames);
        await world.SealAsync();
        JournalEntry created = Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "monitor.created" }, Ct)).Items);
        Assert.Contains(first.Subject, created.Links);
        Assert.Equal(400, (await WatchAsync("other", "dataset:sales@main/sold.parquet")).ReferenceRows);
        Assert.Empty(Directory.GetFiles(world.Get<DataLayout>().Temporary, "reference-*"));

        await RefusesAsync(ErrorCode.InvalidArgument, "it has 2 tables: 2026/sold.csv, sold.parquet", "dataset:sales@main");
        await RefusesAsync(ErrorCode.NotFound, "it has no file rows.csv", "dataset:sales@v1/rows.csv");
        await RefusesAsync(ErrorCode.NotFound, "", "dataset:sales@v7");
        await RefusesAsync(ErrorCode.NotFound, "", "dataset:nothing@v1");
        await RefusesAsync(ErrorCode.InvalidArgument, "does not name a dataset version", "dataset:sales");
        await RefusesAsync(ErrorCode.InvalidArgument, "does not name a dataset version", "sales@v1");

        async Task RefusesAsync(ErrorCode code, string why, string rows)
        {
            var e = await Assert.ThrowsAsync<SlipwayException>(() => WatchAsync("third", rows));
            Assert.Equal(code, e.Code);
            Assert.Contains(why, e.Why ?? "", StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Features_are_found_by_name_or_by_position()
    {
        string csv = Write("r.csv", "note,b,a,y,p\nx,1,2,0,0.1\ny,3,,1,0.9\n");
        WatchRequest named = Read(csv, ["a", "b"]);
        Assert.Equal(["a", "b"], named.FeatureNames);
        Assert.Equal([2, float.NaN], named.Reference.Columns[0]);
        Assert.Equal([false, true], named.Reference.Labels!);
        Assert.Equal([0.1f, 0.9f], named.Reference.Scores!);
        WatchRequest placed = Read(Write("s.csv", "u,v,y,p\n1,2,0,0.1\n3,4,1,0.9\n"), ["X[0]", "X[1]"]);
        Assert.Equal(["u", "v"], placed.FeatureNames);
        Assert.Null(Read(csv, ["a", "b"], target: null).Reference.Labels);

        Refuses("it has no column c, a feature of the model; its columns are note, b, a, y, p", () => Read(csv, ["a", "c"]));
        Refuses("it has no column q; its columns are", () => Read(csv, ["a", "b"], score: "q"));
        Refuses("beside score and target it has 3 columns (note, b, a), and the model has 2 inputs (X[0], X[1])", () => Read(csv, ["X[0]", "X[1]"]));
        Refuses("the column note holds texts such as \"x\"", () => Read(csv, ["note", "b"]));
        Refuses("the column y has no value in row 2", () => Read(Write("m.csv", "a,y\n1,0\n2,\n"), ["a"], null), ["leave out rows"]);
        Refuses("the column a is 2 in row 1", () => Read(csv, ["b"], target: "a"), ["multiclass or regression"]);
        Refuses("row 2 has 1 fields, the header has 2", () => Read(Write("f.csv", "a,b\n1,2\n1\n"), ["a", "b"], null, null));
        Refuses("it has no rows", () => Read(Write("e.csv", "a,b\n"), ["a", "b"], null, null));
    }

    [Fact]
    public void Classes_come_by_probability_index_or_name()
    {
        WatchRequest r = Read(Write("p.csv", "a,y,p.truck,p.car,p.bus\n1,car,0.1,0.8,0.1\n2,bus,0,0,1\n3,,1,0,0\n"), ["a"], "p", "y", ModelType.Multiclass);
        Assert.Equal(["truck", "car", "bus"], r.Classes);
        Assert.Equal([1, 2, double.NaN], r.Reference.Targets!);
        Assert.Equal([0.8f, 0, 0], r.Reference.Probabilities![1]);
        Assert.Equal([1, 2], Read(Write("i.csv", "a,y,p.truck,p.car,p.bus\n1,1,0.1,0.8,0.1\n2,2,0,0,1\n"), ["a"], "p", "y", ModelType.Multiclass).Reference.Targets!);
        r = Read(Write("n.csv", "a,y,p\n1,car,bus\n2,bus,bus\n"), ["a"], "p", "y", ModelType.Multiclass);
        Assert.Equal(["bus", "car"], r.Classes);
        Assert.Equal([0f, 0f], r.Reference.Scores!);
        Assert.Equal(0, r.ScoreOutput);
        Assert.Equal([1, 0], r.Reference.Targets!);
        Assert.Equal(["0", "1", "2"], Read(Write("x.csv", "a,y,p\n1,2,0\n2,0,0\n"), ["a"], "p", "y", ModelType.Multiclass).Classes);

        Refuses("the column y holds van, which is none of the 2 classes (truck, car)", () => Read(Write("v.csv", "a,y,p.truck,p.car\n1,van,0.1,0.9\n"), ["a"], "p", "y", ModelType.Multiclass));
        Refuses("0.5 is no index of a class", () => Read(Write("h.csv", "a,y,p\n1,0.5,0\n"), ["a"], "p", "y", ModelType.Multiclass));
        Refuses("no column says which classes there are", () => Read(Write("w.csv", "a\n1\n"), ["a"], null, null, ModelType.Multiclass));
        Refuses("it has no column q and no columns q.CLASS", () => Read(Write("q.csv", "a,y\n1,2\n"), ["a"], "q", "y", ModelType.Multiclass));
    }

    [Fact]
    public void Small_parquet_file_with_very_many_rows_is_refused_before_it_is_read()
    {
        string file = Path.Combine(folder.Path, "many.parquet");
        Run($"COPY (SELECT 1 AS a, 2 AS b FROM range(11_000_000)) TO '{file}' (FORMAT parquet)");
        Refuses("11000000 rows of 2 columns are 22000000 values, 20000000 are allowed", () => Read(file, ["a", "b"], null, null));
    }

    [Fact]
    public void Month_is_a_window_of_its_own_length()
    {
        var month = WindowRule.Month();
        var february = new DateTimeOffset(2024, 2, 1, 0, 0, 0, TimeSpan.Zero);
        Assert.Equal(february, month.StartOf(february.AddDays(28.5)));
        Assert.Equal(february.AddDays(29), month.EndOf(february));
        Assert.Equal(february.AddDays(29), month.StartOf(february.AddDays(29)));
        month.Validate();
    }

    private static void Refuses(string why, Func<WatchRequest> read, string[]? next = null)
    {
        var e = Assert.Throws<SlipwayException>(read);
        Assert.Equal(ErrorCode.InvalidArgument, e.Code);
        Assert.Contains(why, e.Why, StringComparison.Ordinal);
        Assert.NotEmpty(e.Next!);
        Assert.All(next ?? [], n => Assert.Contains(n, e.Next, StringComparison.Ordinal));
    }

    private static WatchRequest Read(string path, string[] features, string? score = "p", string? target = "y", ModelType type = ModelType.Binary) =>
        new ReferenceFile { Path = path, Name = Path.GetFileName(path), Type = type, Score = score, Target = target }.Read(features);

    private static async Task<string> RegisterAsync(TestWorld world)
    {
        using var bytes = new MemoryStream("weights"u8.ToArray());
        var blob = await world.Get<IBlobStore>().PutAsync(bytes, Ct);
        await world.Get<Models>().CreateAsync(TestWorld.Ada, "prices", null, Ct);
        await world.Get<Models>().RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "prices", Source = "s3://models/m", Files = [new("model.bin", blob.Hash, blob.Size)] }, Ct);
        return "prices/1";
    }

    private static double Draw(Random random) => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());

    private string Write(string name, string text)
    {
        string path = Path.Combine(folder.Path, name);
        File.WriteAllText(path, text);
        return path;
    }

    private static string Parquet(string csv)
    {
        string file = Path.ChangeExtension(csv, ".parquet");
        Run($"COPY (SELECT * FROM read_csv('{csv}')) TO '{file}' (FORMAT parquet)");
        return file;
    }

    private static void Run(string sql)
    {
        using var connection = new DuckDBConnection("DataSource=:memory:");
        connection.Open();
        using DuckDBCommand command = connection.CreateCommand();
        command.CommandText = sql;
        command.ExecuteNonQuery();
    }
}
