using System.Text.Json;
using Slipway.Foundation;
using Slipway.Monitoring;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Tests.Monitoring;

/// <summary>Monitors of a part of the predictions, and performance broken down by features.</summary>
public sealed class SegmentTests
{
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Segment_has_a_monitor_of_its_own_beside_the_whole(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        WatchRequest watch = Traffic.Watch();
        Monitor whole = await monitors.WatchAsync(TestWorld.Ada, watch, Ct);
        Monitor part = await monitors.WatchAsync(TestWorld.Ada, watch with { Scope = new MonitorScope { Segment = "hour=2  and delay>= 0" } }, Ct);
        Assert.Equal("hour = 2 and delay >= 0", part.Scope.Segment);
        Assert.Equal(part.Id, (await monitors.WatchAsync(TestWorld.Ada, watch with { Scope = new MonitorScope { Segment = "hour = 2 and delay >= 0.0" } }, Ct)).Id);
        Assert.Equal(whole.Id, (await monitors.FindAsync(Traffic.Endpoint, Traffic.Version, Ct))!.Id);
        Assert.Equal(Enumerable.Range(0, 3000).Count(i => watch.Reference.Columns[1][i] == 2 && watch.Reference.Columns[0][i] >= 0), part.ReferenceRows);

        Label[] labels = Traffic.Day(world, 0, 2000);
        await world.Get<Labels>().AppendAsync(TestWorld.Ada, Traffic.Endpoint, labels, Ct);
        Traffic.Tick(world, 1);
        await monitors.EvaluateAsync(whole.Id, Ct);
        await monitors.EvaluateAsync(part.Id, Ct);
        MonitorPoint all = Rows(await monitors.PointsAsync(whole.Id, Ct)), some = Rows(await monitors.PointsAsync(part.Id, Ct));
        var predictions = (await world.Get<Predictions>().ListAsync(Traffic.Endpoint, null, null, 10_000, Ct)).Where(p => p.ModelVersion == Traffic.Version && p.Features[1] == 2 && p.Features[0] >= 0).ToList();
        Assert.Equal((2000, predictions.Count), ((int)all.N, (int)some.N));
        // The segment's reference is the segment's part of the reference: nothing has drifted although half of the delays are missing from it.
        Assert.DoesNotContain(await monitors.PointsAsync(part.Id, Ct), p => p.State == PointState.Alert);
        MonitorPoint auc = (await monitors.PointsAsync(part.Id, Ct)).Single(p => p.Metric == "auc");
        var outcomes = labels.ToDictionary(l => l.PredictionId, l => l.Value == 1);
        Assert.Equal(BinaryMetrics.Of(predictions.Select(p => (double)p.Outputs[0]).ToArray(), predictions.Select(p => outcomes[p.Id]).ToArray()).RocAuc.Value!.Value, auc.Value!.Value, 1e-12);

        foreach ((string segment, string why) in new[] { ("hour", "cannot be read"), ("nothing = 1", "is not a feature"), ("hour = 99", "no row of the segment") })
        {
            Assert.Contains(why, (await Assert.ThrowsAsync<SlipwayException>(() => monitors.WatchAsync(TestWorld.Ada, watch with { Scope = new MonitorScope { Segment = segment } }, Ct))).Why, StringComparison.Ordinal);
        }
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Groups_are_measured_and_alert_only_when_they_are_apart(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch() with { Scope = new MonitorScope { By = ["hour", "hour|delay"] } }, Ct);
        Label[] labels = [.. Traffic.Day(world, 0, 1200)];
        // From the second day on, hour 3 is selected half as often as the others.
        labels = [.. labels, .. Unfair(world, 1, 1200)];
        await world.Get<Labels>().AppendAsync(TestWorld.Ada, Traffic.Endpoint, labels, Ct);
        Traffic.Tick(world, 2);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        MonitorPoint[] points = [.. await monitors.PointsAsync(monitor.Id, Ct)];
        MonitorPoint[] groups = [.. points.Where(p => p.Metric == "group_auc" && p.WindowStart == Traffic.Monday)];
        Assert.Equal(["hour = 0", "hour = 1", "hour = 2", "hour = 3"], groups.Select(p => p.Column).Where(c => !c!.Contains('|', StringComparison.Ordinal)).Order(StringComparer.Ordinal));
        Assert.Equal(40, groups.Count(p => p.Column!.Contains('|', StringComparison.Ordinal)));
        Assert.Equal(1200, groups.Where(p => !p.Column!.Contains('|', StringComparison.Ordinal)).Sum(p => p.N));
        Assert.All(groups, p => Assert.Equal((null, null), (p.Lower, p.Upper)));
        MonitorPoint[] ratios = [.. points.Where(p => p is { Metric: "demographic_parity_ratio", Column: "hour" }).OrderBy(p => p.WindowStart)];
        Assert.Equal([PointState.Ok, PointState.Alert], ratios.Select(p => p.State));
        using var detail = JsonDocument.Parse(ratios[1].Detail);
        double[] rates = [.. detail.RootElement.GetProperty("groups").EnumerateArray().Select(g => g.GetProperty("selectionRate").GetDouble())];
        Assert.Equal(rates.Min() / rates.Max(), ratios[1].Value!.Value, 1e-12);
        Alert alert = (await world.Get<Alerts>().ListAsync("firing", Ct)).Single(a => a.Family == Families.Fairness);
        Assert.Contains(alert.Members, m => m is { Metric: "demographic_parity_ratio", Column: "hour" });
        Assert.Contains("ratio between groups of `hour", alert.Sentence, StringComparison.Ordinal);

        Assert.Contains("cannot be broken down", (await Assert.ThrowsAsync<SlipwayException>(() => monitors.WatchAsync(TestWorld.Ada, Traffic.Watch() with { ModelVersion = "flights/9", Scope = new MonitorScope { By = ["age"] } }, Ct))).Why, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Copies_of_requests_are_watched_with_the_labels_of_the_requests(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        WatchRequest watch = Traffic.Watch() with { ModelVersion = "flights/2" };
        Monitor copies = await monitors.WatchAsync(TestWorld.Ada, watch with { Scope = new MonitorScope { Shadow = true } }, Ct);
        Label[] labels = Traffic.Day(world, 0, 400);
        var primary = (await world.Get<Predictions>().ListAsync(Traffic.Endpoint, null, null, 1000, Ct)).ToList();
        Assert.Equal(400, primary.Count);
        foreach (Prediction p in primary)
        {
            // The mirror answers the opposite of what callers got.
            Assert.True(world.Get<Predictions>().Append(
                new PredictionRecord(p.Id, p.Endpoint, "candidate", "flights/2", null, Time.ToMicros(p.At), 300, p.Features.ToArray(), new[] { 1 - p.Outputs[0] }, 200) { Kind = PredictionKind.Shadow, PrimaryVariant = "stable", PrimaryStatus = 200 }));
        }

        Traffic.Tick(world, 1);
        await monitors.EvaluateAsync(copies.Id, Ct);
        Assert.Equal(400, Rows(await monitors.PointsAsync(copies.Id, Ct)).N);
        await world.Get<Labels>().AppendAsync(TestWorld.Ada, Traffic.Endpoint, labels, Ct);
        await world.Get<Predictions>().CompactAsync(Ct);
        await monitors.EvaluateAsync(copies.Id, Ct);
        MonitorPoint auc = (await monitors.PointsAsync(copies.Id, Ct)).Single(p => p.Metric == "auc");
        Assert.Equal((400L, PointState.Alert), (auc.N, auc.State));
        Assert.Equal(1 - BinaryMetrics.Of(labels.Select(l => (double)primary.Single(p => p.Id == l.PredictionId).Outputs[0]).ToArray(), labels.Select(l => l.Value == 1).ToArray()).RocAuc.Value!.Value, auc.Value!.Value, 1e-12);
    }

    private static MonitorPoint Rows(IReadOnlyList<MonitorPoint> points) => points.Single(p => p.Metric == "rows");

    private static IEnumerable<Label> Unfair(TestWorld world, int day, int rows)
    {
        var random = new Random(5);
        for (int i = 0; i < rows; i++)
        {
            int hour = random.Next(4);
            float score = (float)(hour == 3 && random.NextDouble() < 0.6 ? 0.5 * random.NextDouble() : random.NextDouble());
            DateTimeOffset at = Traffic.Monday.AddDays(day).AddSeconds(80_000.0 * i / rows);
            Assert.True(world.Get<Predictions>().Append(new PredictionRecord($"u{i}", Traffic.Endpoint, "stable", Traffic.Version, null, Time.ToMicros(at), 250, new float[] { (float)(random.NextDouble() - 0.5), hour, 0.5f }, new[] { score }, 200)));
            yield return new Label($"u{i}", random.NextDouble() < score ? 1 : 0, at.AddHours(1));
        }
    }
}
