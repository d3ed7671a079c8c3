using Slipway.Foundation;
using Slipway.Monitoring;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Tests.Monitoring;

/// <summary>What a live window says of its data beside drift, and of the model's outputs as a whole.</summary>
public sealed class LiveQualityTests
{
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Fact]
    public async Task Values_that_are_new_constant_or_repeated_alert()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        Monitor monitor = await world.Get<Monitors>().WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        // 3 of 100 delays are beyond the reference, every hour is the same one, a tenth of the ids comes twice, and all of the last rows are alike.
        for (int i = 0; i < 500; i++)
        {
            float[] row = [i % 33 == 0 ? 100 : i % 7 / 7f, 2, i < 250 ? i / 500f : 0.25f];
            Append(world, 0, i % 10 == 9 ? i - 1 : i, i, row, 0.5f);
        }

        Traffic.Day(world, 1, 500);
        Traffic.Tick(world, 2);
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        IReadOnlyList<MonitorPoint> points = await world.Get<Monitors>().PointsAsync(monitor.Id, Ct);
        MonitorPoint Of(string metric, string? column, int day = 0) => points.Single(p => p.Metric == metric && p.Column == column && p.WindowStart == Traffic.Monday.AddDays(day));
        Assert.Equal((PointState.Alert, 450L, 0.01), (Of("out_of_range_rate", "delay").State, Of("out_of_range_rate", "delay").N, Of("out_of_range_rate", "delay").Upper));
        Assert.InRange(Of("out_of_range_rate", "delay").Value!.Value, 0.025, 0.035);
        Assert.Equal((PointState.Ok, PointState.Ok), (Of("out_of_range_rate", "noise").State, Of("out_of_range_rate", "delay", day: 1).State));
        Assert.Equal((PointState.Alert, 1.0), (Of("constant_share", "hour").State, Of("constant_share", "hour").Value));
        Assert.Equal((PointState.Alert, 0.1, 500L), (Of("duplicate_key_rate", null).State, Of("duplicate_key_rate", null).Value, Of("duplicate_key_rate", null).N));
        Assert.InRange(Of("duplicate_row_rate", null).Value!.Value, 0.4, 0.55);
        Assert.InRange(Of("freshness", null).Value!.Value, 400, 900);
        Assert.Equal((PointState.Ok, PointState.Ok), (Of("constant_share", "hour", day: 1).State, Of("duplicate_key_rate", null, day: 1).State));
        Alert alert = Assert.Single(await world.Get<Alerts>().ListAsync(null, Ct), a => a.Family == "quality");
        Assert.Contains("`hour` is almost constant: one value in 100.0 % of the rows (from 95.0 %)", alert.Sentence);
    }

    [Fact]
    public void Limit_of_new_values_is_three_times_what_the_reference_holds_out()
    {
        // Each of ten windows of the reference has two values of its own in 50 rows: 4 % are new where it is held out, so 12 % may be.
        float[] codes = [.. Enumerable.Range(0, 500).Select(i => i % 25 == 0 ? 100 + i : i % 3)];
        ColumnReference categories = ColumnReference.Freeze("code", codes, categorical: true), quiet = ColumnReference.Freeze("code", [.. codes.Select(c => c % 3)], categorical: true);
        Assert.Equal((0.04, 0.12), (categories.HeldOut!.Value, Math.Round(categories.NewRateLimit, 12)));
        Assert.Equal((null, 0.01), (quiet.HeldOut, quiet.NewRateLimit));
        // A trend: the first and the last window lie outside the range of the others.
        ColumnReference trend = ColumnReference.Freeze("time", [.. Enumerable.Range(0, 1000).Select(i => (float)i)], categorical: false);
        Assert.Equal((0.2, 0.6), (trend.HeldOut!.Value, Math.Round(trend.NewRateLimit, 12)));
        Assert.Null(ColumnReference.Freeze("time", [.. Enumerable.Range(0, 299).Select(i => (float)i)], categorical: false).HeldOut);
    }

    [Fact]
    public async Task Shares_of_decisions_confidence_and_entropy_are_judged()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        Monitor monitor = await world.Get<Monitors>().WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Traffic.Day(world, 0, 1000);
        for (int i = 0; i < 1000; i++)
        {
            Append(world, 1, i, i, [0, 1, 0.5f], i % 10 == 0 ? 0.4f : 0.55f);
        }

        Append(world, 2, 0, 0, [0, 1, 0.5f], 0.9f);
        Traffic.Tick(world, 3);
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        foreach ((string metric, double now) in new[] { ("class_share", 0.9), ("confidence", 0.9 * 0.55 + 0.1 * 0.6), ("entropy", 0.9 * Entropy(0.55) + 0.1 * Entropy(0.4)) })
        {
            MonitorPoint[] of = [.. (await world.Get<Monitors>().PointsAsync(monitor.Id, Ct)).Where(p => p.Metric == metric).OrderBy(p => p.WindowStart)];
            Assert.Equal([PointState.Ok, PointState.Alert, PointState.Insufficient], of.Select(p => p.State));
            Assert.Equal(now, of[1].Value!.Value, 1e-6);
            Assert.Equal(1000, of[1].N);
            Assert.True(DriftLevel.Rank(of[1].Level) >= DriftLevel.Rank(DriftLevel.Major), $"{metric}: {of[1].Level}");
        }

        Alert alert = Assert.Single(await world.Get<Alerts>().ListAsync(null, Ct), a => a.Family == "drift");
        Assert.Contains(alert.Members, m => m.Metric == "class_share");

        static double Entropy(double p) => -(p * Math.Log(p) + (1 - p) * Math.Log(1 - p)) / Math.Log(2);
    }

    private static void Append(TestWorld world, int day, int id, int at, float[] row, float score) =>
        Assert.True(world.Get<Predictions>().Append(new PredictionRecord($"q{day}-{id}", Traffic.Endpoint, "stable", Traffic.Version, null, Time.ToMicros(Traffic.Monday.AddDays(day).AddSeconds(86_000.0 * at / (day == 0 ? 500 : 1_000))), 250, row, new[] { score }, 200)));
}
