using Slipway.Foundation;
using Slipway.Monitoring;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Tests.Monitoring;

/// <summary>Sketches that are kept of final windows, and what is put together from them.</summary>
public sealed class SketchWindowTests
{
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Hours_make_days_whose_bins_are_those_of_all_rows(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        WatchRequest watch = Traffic.Watch(window: WindowRule.Every(6, TimeSpan.Zero)) with { Categorical = ["hour"] };
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, watch, Ct);
        Traffic.Day(world, 0, 2000);
        Traffic.Day(world, 1, 2000, shift: 1.2);
        Traffic.Tick(world, 2);
        await monitors.EvaluateAsync(monitor.Id, Ct);

        IReadOnlyList<MergedColumn> days = await monitors.MergedAsync(monitor.Id, "day", Against.Reference, null, null, null, Ct);
        Assert.Equal(8, days.Count);
        MergedColumn delay = days.Single(d => d.Column == "delay" && d.WindowStart == Traffic.Monday);
        Assert.Equal((4, 2000, Traffic.Monday.AddDays(1), PointState.Ok), (delay.Windows, delay.Rows, delay.WindowEnd, delay.State));
        // The same rows as one window give the same index: counts add.
        Monitor whole = await monitors.WatchAsync(TestWorld.Ada, watch with { ModelVersion = "flights/9", Window = WindowRule.Day(TimeSpan.Zero) }, Ct);
        Traffic.Day(world, 0, 2000, version: "flights/9");
        Traffic.Day(world, 1, 2000, shift: 1.2, version: "flights/9");
        Traffic.Tick(world, 2);
        await monitors.EvaluateAsync(whole.Id, Ct);
        foreach (MonitorPoint point in (await monitors.PointsAsync(whole.Id, Ct)).Where(p => p.Metric is "psi" or "score_psi"))
        {
            MergedColumn merged = days.Single(d => d.Metric == point.Metric && d.Column == point.Column && d.WindowStart == point.WindowStart);
            Assert.Equal((point.Value!.Value, point.State, point.Level), (merged.Psi!.Value, merged.State, merged.Level));
        }

        float[] values = [.. (await world.Get<Predictions>().ListAsync(Traffic.Endpoint, Traffic.Monday, Traffic.Monday.AddDays(1), 10_000, Ct)).Where(p => p.ModelVersion == "flights/9").Select(p => p.Features[0]).Order()];
        Assert.Equal(values.Average(v => (double)v), delay.Mean!.Value, 1e-9);
        double rank = values.Count(v => v <= delay.Quantiles["0.5"]) / (double)values.Length;
        Assert.InRange(rank, 0.5 - delay.RankError - 1e-3, 0.5 + delay.RankError + 1e-3);
        Assert.InRange(delay.Distinct!.Value / (double)values.Distinct().Count(), 0.93, 1.07);
        MergedColumn hour = days.Single(d => d.Column == "hour" && d.WindowStart == Traffic.Monday);
        Assert.Equal([0.0, 1, 2, 3], hour.Frequent.Select(f => f.Value).Order());
        Assert.Equal(2000, hour.Frequent.Sum(f => f.Rows));
        Assert.Equal((4, 0.0), (hour.Distinct, hour.DistinctError));

        // The second day against the first: what moved is found without the frozen reference.
        IReadOnlyList<MergedColumn> previous = await monitors.MergedAsync(monitor.Id, "day", Against.Previous, "delay", null, null, Ct);
        Assert.Equal([PointState.Insufficient, PointState.Alert], previous.Select(p => p.State));
        Assert.Equal("there is no earlier period to compare with", previous[0].Why);
        IReadOnlyList<MergedColumn> trailing = await monitors.MergedAsync(monitor.Id, "window", Against.Trailing, "delay", null, null, Ct);
        Assert.Equal(8, trailing.Count);
        Assert.Equal(PointState.Alert, trailing[4].State);
        // Put together once more it is the same to the last bit.
        Assert.Equal(System.Text.Json.JsonSerializer.Serialize(days), System.Text.Json.JsonSerializer.Serialize(await monitors.MergedAsync(monitor.Id, "day", Against.Reference, null, null, null, Ct)));

        var period = await Assert.ThrowsAsync<SlipwayException>(() => monitors.MergedAsync(monitor.Id, "year", Against.Reference, null, null, null, Ct));
        Assert.Equal("the period is 'year'", period.Why);
        await Assert.ThrowsAsync<SlipwayException>(() => monitors.MergedAsync(monitor.Id, "day", "yesterday", null, null, null, Ct));
    }

    [Fact]
    public async Task Windows_that_reach_over_a_period_are_refused()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var monitors = world.Get<Monitors>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(window: WindowRule.Week(TimeSpan.Zero)), Ct);
        Traffic.Day(world, 0, 200);
        Traffic.Tick(world, 9);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        var error = await Assert.ThrowsAsync<SlipwayException>(() => monitors.MergedAsync(monitor.Id, "day", Against.Reference, null, null, null, Ct));
        Assert.Contains("reaches over the end of its day", error.Why, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Sketches_of_a_window_stay_small_and_follow_its_rows(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch() with { Categorical = ["hour"] }, Ct);
        Traffic.Day(world, 0, 30_000);
        Traffic.Tick(world, 1);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Assert.Equal(["psi:delay", "psi:hour", "psi:noise", "score_psi:"], (await StoredAsync(world)).Select(r => r.Name));
        Assert.All(await StoredAsync(world), r => Assert.InRange(r.Body.Length, 100, r.Name == "psi:hour" ? 8 * 1024 : 16 * 1024));
        Assert.All(await StoredAsync(world), r => Assert.Equal("SKT"u8.ToArray(), r.Body[..3]));

        // Sketches do not subtract: what was deleted leaves them because they are made anew.
        await world.Get<Predictions>().DeleteAsync(TestWorld.Ada, Traffic.Endpoint, ["d0-5"], Ct);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Assert.Equal([29_999L, 29_999, 29_999, 29_999], (await monitors.MergedAsync(monitor.Id, "window", Against.Reference, null, null, null, Ct)).Select(m => m.Rows));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task What_moved_most_is_ranked_over_the_windows(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        WatchRequest watch = Traffic.Watch();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, watch with { Reference = watch.Reference with { Importance = new Dictionary<string, double> { ["delay"] = 0.7, ["hour"] = 0.2, ["noise"] = 0.1 } } }, Ct);
        // Days times the false discovery rate.
        Assert.Equal(30.4375 * 0.05, monitor.FalseAlertsAMonth, 1e-9);
        for (int day = 0; day < 4; day++)
        {
            await world.Get<Labels>().AppendAsync(TestWorld.Ada, Traffic.Endpoint, Traffic.Day(world, day, 500, shift: day >= 2 ? 1.5 : 0, concept: day < 2, missing: 0), Ct);
        }

        Traffic.Tick(world, 4);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        IReadOnlyList<MovedColumn> moved = await monitors.MovedAsync(monitor.Id, Ct);
        Assert.Equal(4, moved.Count);
        Assert.Equal([1, 2, 3, 4], moved.Select(m => m.Rank));
        MovedColumn delay = moved.Single(m => m.Column == "delay");
        Assert.Equal((2, 4, 0.7), (delay.Alerts, delay.Windows, delay.Importance));
        Assert.Equal(["delay", null], moved.Take(2).Select(m => m.Column).OrderBy(c => c is null));
        Assert.InRange(delay.Correlation!.Value, 0.9, 1);
        Assert.True(delay.StrongestAt >= Traffic.Monday.AddDays(2));
        Assert.Null(moved.Single(m => m.Column is null).Importance);
    }

    private static Task<IReadOnlyList<SketchRow>> StoredAsync(TestWorld world) =>
        world.Database.ReadAsync(s => s.QueryAsync<SketchRow>("SELECT start_us AS StartUs, end_us AS EndUs, column_name AS Name, body AS Body FROM monitoring_sketches ORDER BY column_name"), Ct);
}
