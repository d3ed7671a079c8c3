using Slipway.Foundation;
using Slipway.Monitoring;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Tests.Monitoring;

/// <summary>Features of a live window compared together: `a` and `b` go together in the reference, and `kind` is a code that goes with neither.</summary>
public sealed class JointDriftTests
{
    private static readonly CancellationToken Ct = CancellationToken.None;
    private static readonly string[] Joint = ["reconstruction_error", "domain_auc", "mmd"];

    [Fact]
    public async Task Correlation_that_breaks_alerts_where_no_column_moves()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        Monitor monitor = await world.Get<Monitors>().WatchAsync(TestWorld.Ada, Request(MultivariateDrift.Methods), Ct);
        Day(world, 0, 600, together: true);
        Day(world, 1, 600, together: false);
        Day(world, 2, 20, together: true);
        Traffic.Tick(world, 3);
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        IReadOnlyList<MonitorPoint> points = await world.Get<Monitors>().PointsAsync(monitor.Id, Ct);
        Assert.All(points.Where(p => p.Metric == "psi" && p.N > 100), p => Assert.Equal(PointState.Ok, p.State));
        foreach (string metric in Joint)
        {
            MonitorPoint[] of = [.. points.Where(p => p.Metric == metric).OrderBy(p => p.WindowStart)];
            Assert.Equal([PointState.Ok, PointState.Alert, PointState.Insufficient], of.Select(p => p.State));
            Assert.Equal([600L, 600, 20], of.Select(p => p.N));
            Assert.Equal((DriftLevel.Major, DriftLevel.None), (of[1].Level, of[0].Level));
            Assert.NotNull(of[1].Upper);
            Assert.Equal("3000 rows in the reference and 20 in the window; 300 and 30 are needed", of[2].Why);
            Assert.Contains("\"calibration\":{\"windowRows\":", of[0].Detail);
        }

        Alert alert = Assert.Single(await world.Get<Alerts>().ListAsync(null, Ct), a => a.Family == "drift");
        Assert.Equal(3, alert.Members.Count(m => Joint.Contains(m.Metric)));
        Assert.Contains("all features together drifted: ", alert.Sentence);
        await world.Get<Baselines>().AcceptAsync(TestWorld.Ada, monitor.Id, Traffic.Monday.AddDays(1), null, "a new feed", Ct);
        Assert.DoesNotContain(await world.Get<Alerts>().ListAsync("firing", Ct), a => a.Family == "drift");
    }

    [Fact]
    public async Task Numbers_do_not_depend_on_the_order_of_rows()
    {
        var read = new List<MonitorPoint[]>();
        foreach (bool backwards in new[] { false, true })
        {
            await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
            Monitor monitor = await world.Get<Monitors>().WatchAsync(TestWorld.Ada, Request(MultivariateDrift.Methods), Ct);
            Day(world, 0, 1500, together: true, backwards);
            Traffic.Tick(world, 1);
            await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
            read.Add([.. (await world.Get<Monitors>().PointsAsync(monitor.Id, Ct)).Where(p => Joint.Contains(p.Metric)).OrderBy(p => p.Metric, StringComparer.Ordinal)]);
        }

        Assert.Equal(3, read[0].Length);
        Assert.Equal(read[0].Select(p => (p.Metric, p.Value, p.Upper, p.Lower, p.Detail)), read[1].Select(p => (p.Metric, p.Value, p.Upper, p.Lower, p.Detail)));
        // A thousand rows of the window are compared, of which the classifier takes fewer.
        Assert.All(read[0], p => Assert.Contains(p.Metric == "domain_auc" ? "\"rows\":300" : "\"rows\":1000", p.Detail));
    }

    [Fact]
    public async Task Order_within_the_reference_widens_its_limits()
    {
        WatchRequest request = Request(["domain_classifier"]);
        float[] trend = [.. Enumerable.Range(0, 3000).Select(i => i / 300f)];
        request = request with { Reference = request.Reference with { Columns = [trend, .. request.Reference.Columns.Skip(1)] } };
        Calibration of = MonitorReference.Freeze(request).Joint!.Calibrations["domain_classifier"];
        Assert.All(of.Values, v => Assert.InRange(v!.Value, 0.65, 1));
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var refused = await Assert.ThrowsAsync<SlipwayException>(() => world.Get<Monitors>().WatchAsync(TestWorld.Ada, Request(["pca", "kernel"]) with { Watched = ["a"] }, Ct));
        Assert.Equal("features are compared together by pca, domain_classifier, mmd, not by kernel; 1 features are watched, 2 to 100 can be compared together", refused.Why);
    }

    private static WatchRequest Request(IReadOnlyList<string> methods)
    {
        var random = new Random(5);
        float[][] rows = [.. Enumerable.Range(0, 3000).Select(_ => Row(random, together: true))];
        return new WatchRequest
        {
            Endpoint = Traffic.Endpoint,
            ModelVersion = Traffic.Version,
            FeatureNames = ["a", "b", "kind"],
            Categorical = ["kind"],
            Reference = new ReferenceTable { Columns = [.. Enumerable.Range(0, 3).Select(c => rows.Select(r => r[c]).ToArray())], Scores = [.. rows.Select(_ => (float)random.NextDouble())] },
            Window = WindowRule.Day(TimeSpan.Zero),
            Thresholds = new Thresholds { Multivariate = methods },
        };
    }

    private static void Day(TestWorld world, int day, int rows, bool together, bool backwards = false)
    {
        var random = new Random(1_000 + day);
        var records = Enumerable.Range(0, rows).Select(i => new PredictionRecord(
            $"j{day}-{i}", Traffic.Endpoint, "stable", Traffic.Version, null, Time.ToMicros(Traffic.Monday.AddDays(day).AddSeconds(80_000.0 * i / rows)), 250, Row(random, together), new[] { (float)random.NextDouble() }, 200)).ToList();
        if (backwards)
        {
            records.Reverse();
        }

        Assert.All(records, r => Assert.True(world.Get<Predictions>().Append(r)));
    }

    private static float[] Row(Random random, bool together)
    {
        double a = Normal(random), b = together ? 0.95 * a + Math.Sqrt(1 - 0.95 * 0.95) * Normal(random) : Normal(random);
        return [(float)a, (float)b, random.Next(4)];
    }

    private static double Normal(Random random) => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
}
