using Slipway.Foundation;
using Slipway.Monitoring;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Tests.Monitoring;

/// <summary>Limits: what they are made from, and which rule makes them.</summary>
public sealed class LimitTests
{
    private static readonly CancellationToken Ct = CancellationToken.None;
    private static readonly double[] Rows = [.. Enumerable.Range(0, 3000).Select(i => Math.Sin(i * 12.9898) * 43758.5453 % 1)];

    [Theory]
    [InlineData(300, "standard_deviation", 10)]
    [InlineData(500, "standard_deviation", 6)]
    [InlineData(1000, "bootstrap", Limits.Draws)]
    public void Metric_takes_windows_of_the_size_that_is_judged_and_draws_them_when_they_are_few(int windowRows, string rule, int inputs)
    {
        Limits limits = Limits.OfReference(Rows.Length, windowRows, at => at.Average(i => Rows[i]));
        Assert.Equal((rule, inputs, windowRows), (limits.Rule, limits.Inputs, limits.WindowRows));
        Assert.Equal(inputs, limits.Values.Count);
        Assert.Null(limits.Warning);
        Assert.Equal(rule == "bootstrap" ? 1 : null, limits.Seed);
        // Three standard errors of a mean over as many rows.
        double mean = Rows.Average(), deviation = Math.Sqrt(Rows.Average(v => (v - mean) * (v - mean)));
        Assert.InRange((limits.Upper!.Value - limits.Lower!.Value) / 6 / (deviation / Math.Sqrt(windowRows)), 0.5, 1.6);
        Assert.Equal(limits.Upper, Limits.OfReference(Rows.Length, windowRows, at => at.Average(i => Rows[i])).Upper);
    }

    [Theory]
    [InlineData(200, "standard_deviation", 15)]
    [InlineData(400, "leave_one_window_out", 7)]
    [InlineData(900, "bootstrap", Limits.Draws)]
    public void Distance_leaves_a_window_out_of_what_it_is_compared_with(int windowRows, string rule, int inputs)
    {
        var sizes = new List<int>();
        Limits limits = Limits.OfDistance(
            Rows.Length, windowRows,
            (reference, window) =>
            {
                sizes.Add(reference.Count);
                Assert.Equal(rule == "standard_deviation", window.All(reference.ToHashSet().Contains));
                return Math.Abs(reference.Average(i => Rows[i]) - window.Average(i => Rows[i]));
            });
        Assert.Equal((rule, inputs, (double?)null), (limits.Rule, limits.Inputs, limits.Lower));
        Assert.All(sizes, n => Assert.InRange(n, rule == "standard_deviation" ? Rows.Length : 1, rule == "standard_deviation" ? Rows.Length : Rows.Length - 1));
        Assert.True(limits.Upper > limits.Values.Average());
    }

    [Fact]
    public void Season_takes_the_same_hour_of_the_week()
    {
        (DateTimeOffset Start, double Value)[] hours = [.. Enumerable.Range(0, 24 * 7 * 8).Select(h => (Traffic.Monday.AddHours(h), h % 24 == 9 ? 100.0 + (h / 24 % 3) : 1 + (h % 5)))];
        Limits nine = Limits.OfSeason(hours, Traffic.Monday.AddDays(70).AddHours(9)), ten = Limits.OfSeason(hours, Traffic.Monday.AddDays(70).AddHours(10));
        Assert.Equal(("seasonal", 8, "seasonal", 8), (nine.Rule, nine.Inputs, ten.Rule, ten.Inputs));
        Assert.InRange(nine.Lower!.Value, 90, 102);
        Assert.InRange(ten.Upper!.Value, 1, 20);
        Assert.Equal(8, nine.Values.Count);
    }

    [Theory]
    [InlineData(LimitRule.Bootstrap, "bootstrap", 300)]
    [InlineData(LimitRule.LeaveOneWindowOut, "leave_one_window_out", 400)]
    [InlineData(LimitRule.LeaveOneWindowOut, "bootstrap", 900)]
    public async Task Rows_of_the_reference_give_the_limits_where_that_is_told(string rule, string method, int rows)
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var monitors = world.Get<Monitors>();
        WatchRequest watch = Traffic.Watch(thresholds: new Thresholds { Limits = rule });
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, watch, Ct);
        await world.Get<Labels>().AppendAsync(TestWorld.Ada, Traffic.Endpoint, [.. Traffic.Day(world, 0, rows), .. Traffic.Day(world, 1, rows, concept: false)], Ct);
        Traffic.Tick(world, 2);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        MonitorPoint[] auc = [.. (await monitors.PointsAsync(monitor.Id, Ct)).Where(p => p.Metric == "auc").OrderBy(p => p.WindowStart)];
        Assert.Equal([PointState.Ok, PointState.Alert], auc.Select(p => p.State));
        Assert.Null(auc[0].Upper);
        using var detail = System.Text.Json.JsonDocument.Parse(auc[0].Detail);
        System.Text.Json.JsonElement limits = detail.RootElement.GetProperty("limits");
        Assert.Equal((rule, method, rows), (limits.GetProperty("rule").GetString(), limits.GetProperty("method").GetString(), limits.GetProperty("windowRows").GetInt32()));
        // What the library gives on the same rows.
        double[] scores = [.. watch.Reference.Scores!.Select(s => (double)s)];
        double Auc(IEnumerable<int> at) => BinaryMetrics.Of(at.Select(i => scores[i]).ToArray(), at.Select(i => watch.Reference.Labels![i]).ToArray()).RocAuc.Value!.Value;
        double expected = rule == LimitRule.Bootstrap
            ? Limits.OfBootstrap(3000, rows, Auc, 0, 1).Lower!.Value
            : Auc(Enumerable.Range(0, 3000)) - Limits.OfDistance(3000, rows, (rest, window) => Auc(rest) - Auc(window)).Upper!.Value;
        Assert.Equal(expected, auc[0].Lower!.Value, 1e-9);

        var refused = await Assert.ThrowsAsync<SlipwayException>(() => monitors.WatchAsync(TestWorld.Ada, watch with { ModelVersion = "flights/2", Reference = watch.Reference with { Labels = null } }, Ct));
        Assert.Contains("predictions and outcomes", refused.Why, StringComparison.Ordinal);
        refused = await Assert.ThrowsAsync<SlipwayException>(() => monitors.WatchFirstWindowAsync(TestWorld.Ada, Traffic.Endpoint, "flights/2", Traffic.Features, null, watch.Thresholds, null, null, null, Ct));
        Assert.Contains("none is stored", refused.Why, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Windows_before_give_the_limits_where_that_is_told_and_stand_beside_the_point(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(thresholds: new Thresholds { Limits = LimitRule.Trailing, LimitWindows = 7 }), Ct);
        for (int day = 0; day < 9; day++)
        {
            await world.Get<Labels>().AppendAsync(TestWorld.Ada, Traffic.Endpoint, Traffic.Day(world, day, 300, concept: day < 8), Ct);
        }

        Traffic.Tick(world, 9);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        MonitorPoint[] auc = [.. (await monitors.PointsAsync(monitor.Id, Ct)).Where(p => p.Metric == "auc")];
        Assert.Equal(9, auc.Length);
        // Before six windows are there nothing is judged.
        Assert.All(auc.Take(6), p => Assert.Equal((PointState.Ok, null), (p.State, p.Lower)));
        Assert.All(auc.Skip(6), p => Assert.NotNull(p.Lower));
        Assert.Null(auc[8].Upper);
        Assert.Equal(PointState.Alert, auc[8].State);
        using var detail = System.Text.Json.JsonDocument.Parse(auc[8].Detail);
        System.Text.Json.JsonElement limits = detail.RootElement.GetProperty("limits");
        Assert.Equal(("trailing", "mad", 7), (limits.GetProperty("rule").GetString(), limits.GetProperty("method").GetString(), limits.GetProperty("values").GetArrayLength()));
        Assert.Equal(auc.Skip(1).Take(7).Select(p => p.Value!.Value), limits.GetProperty("values").EnumerateArray().Select(v => v.GetDouble()));
        Assert.Equal(Limits.OfMedianDeviation(auc.Skip(1).Take(7).Select(p => p.Value!.Value)).Lower!.Value, auc[8].Lower!.Value, 1e-12);

        var refused = await Assert.ThrowsAsync<SlipwayException>(() => monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(thresholds: new Thresholds { Limits = "guess" }) with { ModelVersion = "flights/2" }, Ct));
        Assert.Contains("limits come from", refused.Why, StringComparison.Ordinal);
    }
}
