using Slipway.Foundation;
using Slipway.Monitoring;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Tests.Monitoring;

/// <summary>Windows that may still move: provisional, final, late rows, deleted rows.</summary>
public sealed class WindowPhaseTests
{
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Window_is_provisional_until_the_watermark_has_passed_its_end_and_no_alert_rests_on_it(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(window: WindowRule.Day(TimeSpan.FromHours(2))), Ct);
        Traffic.Day(world, 0, 400, shift: 2);
        Rows(world, "early", Traffic.Monday.AddDays(1), 1, 1, TimeSpan.FromHours(1));
        await monitors.EvaluateAsync(monitor.Id, Ct);
        IReadOnlyList<MonitorPoint> points = await monitors.PointsAsync(monitor.Id, Ct);
        Assert.All(points, p => Assert.Equal((Traffic.Monday, WindowPhase.Provisional, 0), (p.WindowStart, p.Phase, p.Revision)));
        Assert.Equal((PointState.Alert, 400), (points.Single(p => p is { Metric: "psi", Column: "delay" }).State, points.Single(p => p is { Metric: "psi", Column: "delay" }).N));
        Assert.Empty(await world.Get<Alerts>().ListAsync(null, Ct));
        Assert.Null((await monitors.GetAsync(monitor.Id, Ct)).NextWindow);
        await Assert.ThrowsAsync<SlipwayException>(() => world.Get<Baselines>().AcceptAsync(TestWorld.Ada, monitor.Id, Traffic.Monday, null, "too early", Ct));

        // Rows that come within the lateness belong to it; the look ahead is repeated only after a while.
        Rows(world, "more", Traffic.Monday, 0, 20, TimeSpan.FromHours(5), shift: 2);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Assert.Equal(400, Rows(await monitors.PointsAsync(monitor.Id, Ct)).N);
        world.Clock.Advance(TimeSpan.FromMinutes(20));
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Assert.Equal((420, WindowPhase.Provisional), (Rows(await monitors.PointsAsync(monitor.Id, Ct)).N, Rows(await monitors.PointsAsync(monitor.Id, Ct)).Phase));

        Rows(world, "past", Traffic.Monday.AddDays(1), 2, 1, TimeSpan.FromHours(2));
        await monitors.EvaluateAsync(monitor.Id, Ct);
        points = await monitors.PointsAsync(monitor.Id, Ct);
        Assert.All(points, p => Assert.Equal((Traffic.Monday, WindowPhase.Final, 0, 0), (p.WindowStart, p.Phase, p.Revision, p.LateRows)));
        Assert.Equal(420, Rows(points).N);
        Assert.NotEmpty(await world.Get<Alerts>().ListAsync("firing", Ct));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Rows_behind_the_lateness_are_counted_and_make_a_revision_only_where_that_is_told(Engine engine)
    {
        foreach (bool recompute in new[] { false, true })
        {
            await using var world = await TestWorld.CreateAsync(engine);
            var monitors = world.Get<Monitors>();
            Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(window: WindowRule.Day(TimeSpan.Zero) with { RecomputeLate = recompute }), Ct);
            Assert.Equal(recompute, monitor.Window.RecomputeLate);
            Traffic.Day(world, 0, 400);
            Traffic.Tick(world, 1);
            await monitors.EvaluateAsync(monitor.Id, Ct);
            Rows(world, "late", Traffic.Monday, 0, 50, TimeSpan.FromHours(9));
            // Half of them come as a segment that another node might have stored.
            await world.Get<Predictions>().CompactAsync(Ct);
            Rows(world, "later", Traffic.Monday, 0, 10, TimeSpan.FromHours(10));
            world.Clock.Advance(TimeSpan.FromMinutes(2));
            await monitors.EvaluateAsync(monitor.Id, Ct);
            IReadOnlyList<MonitorPoint> points = await monitors.PointsAsync(monitor.Id, Ct);
            Assert.All(points, p => Assert.Equal((60L, WindowPhase.Final), (p.LateRows, p.Phase)));
            Assert.Equal(recompute ? (460L, 1) : (400L, 0), (Rows(points).N, Rows(points).Revision));
            IReadOnlyList<MonitorPoint> all = await monitors.RevisionsAsync(monitor.Id, Traffic.Monday, Ct);
            Assert.Equal(recompute ? [400L, 460L] : [400L], all.Where(p => p.Metric == "rows").Select(p => p.N));

            // Nothing new: nothing is written again.
            world.Clock.Advance(TimeSpan.FromMinutes(2));
            Assert.Equal(0, await monitors.EvaluateAsync(monitor.Id, Ct));
        }
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Deleted_predictions_and_labels_make_windows_stale_and_then_leave_their_numbers(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        var predictions = world.Get<Predictions>();
        var labels = world.Get<Labels>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Label[] known = Traffic.Day(world, 0, 400);
        Traffic.Tick(world, 1);
        await labels.AppendAsync(TestWorld.Ada, Traffic.Endpoint, known, Ct);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        await predictions.CompactAsync(Ct);

        Assert.Equal(3, await predictions.DeleteAsync(TestWorld.Ada, Traffic.Endpoint, ["d0-1", "d0-2", "d0-3", "never"], Ct));
        Assert.Equal(0, await predictions.DeleteAsync(TestWorld.Ada, Traffic.Endpoint, ["d0-1"], Ct));
        Assert.Equal(0, await predictions.DeleteAsync(TestWorld.Ada, "another", ["d0-5"], Ct));
        Assert.Null(await predictions.FindAsync("d0-1", Ct));
        Assert.NotNull(await predictions.FindAsync("d0-5", Ct));
        Assert.DoesNotContain(await predictions.ListAsync(Traffic.Endpoint, null, null, 1000, Ct), p => p.Id == "d0-2");
        Assert.Equal(["deleted"], (await labels.FindAsync(Traffic.Endpoint, "d0-3", Ct)).Select(l => l.State));
        Assert.All(await monitors.PointsAsync(monitor.Id, Ct), p => Assert.Equal(WindowPhase.Stale, p.Phase));
        await monitors.EvaluateAsync(monitor.Id, Ct);
        IReadOnlyList<MonitorPoint> points = await monitors.PointsAsync(monitor.Id, Ct);
        Assert.All(points, p => Assert.Equal((WindowPhase.Final, 0L), (p.Phase, p.LateRows)));
        Assert.Equal((397, 1), (Rows(points).N, Rows(points).Revision));
        Assert.Equal((397, 1.0), (points.Single(p => p.Metric == "auc").N, points.Single(p => p.Metric == "auc").Coverage));

        Assert.Equal(1, await labels.DeleteAsync(TestWorld.Ada, Traffic.Endpoint, ["d0-7"], Ct));
        Assert.Contains(await monitors.PointsAsync(monitor.Id, Ct), p => p.Phase == WindowPhase.Stale);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        points = await monitors.PointsAsync(monitor.Id, Ct);
        Assert.Equal((397L, 396L), (Rows(points).N, points.Single(p => p.Metric == "auc").N));
        Assert.All(points, p => Assert.Equal(WindowPhase.Final, p.Phase));
        await world.SealAsync();
        JournalEntry entry = Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "prediction.deleted" }, Ct)).Items);
        Assert.Equal(3, entry.Read<PredictionsDeleted>().Predictions);
        Assert.DoesNotContain("d0-1", entry.ToString());
    }

    [Fact]
    public async Task Deleting_nothing_or_too_much_is_refused()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var none = await Assert.ThrowsAsync<SlipwayException>(() => world.Get<Predictions>().DeleteAsync(TestWorld.Ada, Traffic.Endpoint, [], Ct));
        Assert.Equal(ErrorCode.InvalidArgument, none.Code);
        var many = await Assert.ThrowsAsync<SlipwayException>(() => world.Get<Predictions>().DeleteAsync(TestWorld.Ada, Traffic.Endpoint, [.. Enumerable.Range(0, Predictions.LargestPage + 1).Select(i => $"p{i}")], Ct));
        Assert.Equal(ErrorCode.TooLarge, many.Code);
    }

    [Fact]
    public void Window_rule_from_before_late_rows_were_recomputed_keeps_its_digest() =>
        Assert.DoesNotContain("recomputeLate", System.Text.Encoding.UTF8.GetString(CanonicalJson.Serialize(MonitorConfig.Of(Traffic.Watch(rows: 1)))), StringComparison.OrdinalIgnoreCase);

    private static MonitorPoint Rows(IReadOnlyList<MonitorPoint> points) => points.Single(p => p.Metric == "rows");

    private static void Rows(TestWorld world, string name, DateTimeOffset day, int seed, int rows, TimeSpan at, double shift = 0)
    {
        var random = new Random(seed + rows);
        for (int i = 0; i < rows; i++)
        {
            float x = (float)(random.NextDouble() * 2 - 1 + shift);
            Assert.True(world.Get<Predictions>().Append(new PredictionRecord($"{name}-{i}", Traffic.Endpoint, "stable", Traffic.Version, null, Time.ToMicros(day + at), 250, new float[] { x, random.Next(4), (float)random.NextDouble() }, new float[] { 1 / (1 + MathF.Exp(-x)) }, 200)));
        }
    }
}
