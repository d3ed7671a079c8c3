using Slipway.Foundation;
using Slipway.Registry;

namespace Slipway.Tests.Registry;

public sealed class TablesTests
{
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Theory]
    [InlineData("metrics.auc", "auc", MetricTake.Last)]
    [InlineData("metrics.auc:max", "auc", MetricTake.Max)]
    [InlineData("metrics.a:min:last", "a:min", MetricTake.Last)]
    [InlineData("metrics.val/auc:at(min val loss)", "val/auc", MetricTake.At)]
    [InlineData("params.lr", "lr", MetricTake.Last)]
    [InlineData("tags.mlflow.source.name", "mlflow.source.name", MetricTake.Last)]
    [InlineData("attributes.duration", "duration", MetricTake.Last)]
    public void A_column_reads_back_as_it_was_written(string text, string key, MetricTake take)
    {
        var column = RunColumn.Parse(text);
        Assert.Equal((key, take, text), (column.Key, column.Take, column.ToString()));
    }

    [Theory]
    [InlineData("auc")]
    [InlineData("metrics.")]
    [InlineData("attributes.password")]
    [InlineData("other.x")]
    public void What_is_no_column_is_refused_with_its_text(string text) =>
        Assert.Contains(text, Assert.Throws<SlipwayException>(() => RunColumn.Parse(text)).Message, StringComparison.Ordinal);

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Metric_expressions_pick_the_last_the_best_and_the_value_where_another_was_best(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        var a = await RunAsync(world, "a", ("lr", "0.1"));
        await runs.LogBatchAsync(TestWorld.Ada, a, [P("auc", 0.5, 0), P("auc", 0.9, 1), P("auc", 0.7, 2), P("loss", 3, 0), P("loss", 1, 2), P("loss", 2, 1), P("loss", double.NaN, 3)], [], [], Ct);

        var line = Assert.Single(await runs.LinesAsync([a], [.. new[] { "metrics.auc", "metrics.auc:max", "metrics.auc:min", "metrics.auc:at(min loss)", "metrics.auc:at(max loss)", "metrics.loss", "params.lr", "params.none", "attributes.run_name" }.Select(RunColumn.Parse)], Ct));

        Assert.Equal([0.7, 0.9, 0.5, 0.7, 0.5, double.NaN, 0.1, null, null], line.Cells.Select(c => c.Number));
        Assert.Equal([null, null, null, null, null, null, "0.1", null, "a"], line.Cells.Select(c => c.Text));
        Assert.True(line.Cells[7].IsEmpty);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_list_is_found_filtered_and_ordered_by_any_column(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        var (a, b, c, d) = (await RunAsync(world, "a"), await RunAsync(world, "b"), await RunAsync(world, "c"), await RunAsync(world, "d"));
        await runs.LogBatchAsync(TestWorld.Ada, a, [P("m", 1, 0), P("m", 9, 1)], [], [], Ct);
        await runs.LogBatchAsync(TestWorld.Ada, b, [P("m", 5, 0), P("m", 2, 1)], [], [], Ct);
        await runs.LogBatchAsync(TestWorld.Ada, c, [P("m", double.NaN, 0)], [], [], Ct);
        var search = new RunSearch { ExperimentIds = ["0"] };

        Assert.Equal([a, b], (await runs.FindAsync(search, RunColumn.Parse("metrics.m:min"), false, 2, Ct)).Ids);

        // Runs without a number come last in either direction, the newest of them first.
        Assert.Equal([b, a, d, c], (await runs.FindAsync(search, RunColumn.Parse("metrics.m:min"), true, 10, Ct)).Ids);
        Assert.Equal([a, b, c, d], (await runs.FindAsync(search, RunColumn.Parse("metrics.m"), true, 10, Ct)).Ids);
        Assert.Equal([a, b, c, d], (await runs.FindAsync(search, RunColumn.Parse("attributes.run_name"), false, 10, Ct)).Ids);
        Assert.Equal([b], (await runs.FindAsync(search with { Filter = "metrics.m < 3" }, null, false, 10, Ct)).Ids);
        Assert.Equal((2, true), ((await runs.FindAsync(search, null, false, 2, Ct)).Ids.Count, (await runs.FindAsync(search, null, false, 2, Ct)).More));
        Assert.Empty((await runs.FindAsync(new RunSearch(), null, false, 2, Ct)).Ids);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Groups_carry_counts_means_and_spread(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        var ids = new List<string>();
        foreach (var (name, kind, auc) in new[] { ("a", "gbm", 0.8), ("b", "gbm", 0.9), ("c", "mlp", 0.5) })
        {
            ids.Add(await RunAsync(world, name, ("kind", kind)));
            await runs.LogMetricAsync(TestWorld.Ada, ids[^1], P("auc", auc, 0), Ct);
        }

        ids.Add(await RunAsync(world, "d"));

        var groups = await runs.GroupAsync(ids, RunColumn.Parse("params.kind"), [RunColumn.Parse("metrics.auc"), RunColumn.Parse("params.kind")], Ct);

        Assert.Equal(["gbm", "mlp", null], groups.Select(g => g.Value));
        Assert.Equal([0, 1], groups[0].Rows);
        Assert.Equal((2, 0.85, 0.8, 0.9, 1, "gbm"), (groups[0].Cells[0].Count, Math.Round(groups[0].Cells[0].Mean!.Value, 12), groups[0].Cells[0].Min, groups[0].Cells[0].Max, groups[0].Cells[1].Distinct, groups[0].Cells[1].Text));
        Assert.Equal(Math.Sqrt(0.005), groups[0].Cells[0].Deviation!.Value, 12);
        Assert.Null(groups[1].Cells[0].Deviation);
        Assert.Equal((0, null), (groups[2].Cells[0].Count, groups[2].Cells[0].Mean));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Keys_are_all_that_the_experiments_logged(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        var other = await world.Get<Experiments>().CreateAsync(TestWorld.Ada, "other", [], Ct);
        await runs.LogBatchAsync(TestWorld.Ada, await RunAsync(world, "a", ("lr", "1")), [P("b", 1, 0), P("a", 1, 0)], [], [], Ct);
        await runs.LogBatchAsync(TestWorld.Ada, await RunAsync(world, "b", ("depth", "1")), [P("b", 1, 0), P("c/d", 1, 0)], [], [], Ct);

        var keys = await runs.KeysAsync(["0"], Ct);

        Assert.Equal(["a", "b", "c/d"], keys.Metrics);
        Assert.Equal(["depth", "lr"], keys.Params);
        Assert.Equal(["mlflow.runName"], keys.Tags);
        Assert.Empty((await runs.KeysAsync([other.Id], Ct)).Metrics);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_sampled_curve_keeps_its_ends_and_its_peaks(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        var id = await RunAsync(world, "a");
        for (var part = 0; part < 2; part++)
        {
            await runs.LogBatchAsync(TestWorld.Ada, id, [.. Enumerable.Range(part * 500, 500).Select(i => P("m", i == 777 ? 1e6 : i % 7, i))], [], [], Ct);
        }

        await runs.LogMetricAsync(TestWorld.Ada, id, P("m", double.NaN, 2000), Ct);
        await runs.LogBatchAsync(TestWorld.Ada, id, [P("x", 10, 0), P("x", 20, 999)], [], [], Ct);

        var series = Assert.Single(await runs.SeriesAsync(new SeriesQuery { RunIds = [id], Key = "m", Bins = 20 }, Ct));
        Assert.InRange(series.Points.Count, 30, 42);
        Assert.Contains(series.Points, p => p.Y == 1e6);
        Assert.Equal((0d, 999d), (series.Points[0].X, series.Points[^1].X));
        Assert.Equal((1001, 1, true), (series.Total, series.NotFinite, series.Sampled));
        Assert.True(series.Points.Zip(series.Points.Skip(1)).All(p => p.First.X < p.Second.X));

        var whole = Assert.Single(await runs.SeriesAsync(new SeriesQuery { RunIds = [id], Key = "m", Bins = 5000, Smoothing = Smoothing.Ema, Amount = 0 }, Ct));
        Assert.False(whole.Sampled);
        Assert.Equal(whole.Points, whole.Smooth);

        var byOther = Assert.Single(await runs.SeriesAsync(new SeriesQuery { RunIds = [id], Key = "m", Axis = SeriesAxis.Metric, AxisKey = "x" }, Ct));
        Assert.Equal([(10d, 0d), (20d, 999 % 7)], byOther.Points.Select(p => (p.X, p.Y)));

        await Assert.ThrowsAsync<SlipwayException>(() => runs.SeriesAsync(new SeriesQuery { RunIds = [id], Key = "m", Bins = 1 }, Ct));
    }

    [Fact]
    public void Smoothing_is_unbiased_at_the_start_and_symmetric_in_the_middle()
    {
        SeriesPoint[] points = [new(0, 2, 0), new(1, 4, 1), new(2, 9, 2), new(3, 4, 3), new(4, 2, 4)];

        // Kingma and Ba: the first value is itself, the second (0.5 * 1 + 2) / 0.75.
        Assert.Equal([2, 10d / 3], SeriesSampling.Ema(points, 0.5).Take(2).Select(p => Math.Round(p.Y, 12)).Select(y => Math.Abs(y - (10d / 3)) < 1e-9 ? 10d / 3 : y));
        Assert.Equal([2d, 5d, 17d / 3, 5d, 2d], SeriesSampling.Centred(points, 0.6).Select(p => p.Y));
        Assert.Equal(points, SeriesSampling.Centred(points, 0));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_view_belongs_to_the_person_who_kept_it(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var views = world.Get<SavedViews>();
        await views.SaveAsync(TestWorld.Ada, SavedViews.Runs, " best ", "sort=-metrics.auc", Ct);
        await views.SaveAsync(TestWorld.Ada, SavedViews.Runs, "best", "sort=metrics.loss", Ct);

        Assert.Equal(("best", "sort=metrics.loss"), (await views.ListAsync(TestWorld.Ada, SavedViews.Runs, Ct)).Select(v => (v.Name, v.Query)).Single());
        Assert.Empty(await views.ListAsync(TestWorld.Grace, SavedViews.Runs, Ct));
        Assert.Equal(ErrorCode.InvalidArgument, (await Assert.ThrowsAsync<SlipwayException>(() => views.SaveAsync(TestWorld.Ada, "audit", "x", "", Ct))).Code);
        Assert.Equal(ErrorCode.InvalidArgument, (await Assert.ThrowsAsync<SlipwayException>(() => views.SaveAsync(TestWorld.Ada, SavedViews.Runs, "  ", "", Ct))).Code);

        await views.DeleteAsync(TestWorld.Grace, SavedViews.Runs, "best", Ct);
        Assert.Single(await views.ListAsync(TestWorld.Ada, SavedViews.Runs, Ct));
        await views.DeleteAsync(TestWorld.Ada, SavedViews.Runs, "best", Ct);
        Assert.Empty(await views.ListAsync(TestWorld.Ada, SavedViews.Runs, Ct));
    }

    private static MetricPoint P(string key, double value, long step) => new(key, value, 1_700_000_000_000 + (step * 1000), step);

    private static async Task<string> RunAsync(TestWorld world, string name, params (string Key, string Value)[] parameters)
    {
        world.Clock.Advance(TimeSpan.FromSeconds(1));
        var run = await world.Get<Runs>().CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0", Name = name }, Ct);
        await world.Get<Runs>().LogBatchAsync(TestWorld.Ada, run.Id, [], [.. parameters.Select(p => new Param(p.Key, p.Value))], [], Ct);
        return run.Id;
    }
}
