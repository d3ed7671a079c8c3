using System.Text.Json;
using Microsoft.Extensions.DependencyInjection;
using Slipway.Foundation;
using Slipway.Monitoring;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Tests.Monitoring;

/// <summary>Windows whose rows were logged by several nodes.</summary>
public sealed class NodesTests : IDisposable
{
    private static readonly CancellationToken Ct = CancellationToken.None;
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task Nodes_give_the_same_points_and_what_a_node_holds_back_is_counted_as_late()
    {
        string postgres = await PostgresServer.NewDatabaseAsync();
        await using TestWorld a = await NodeAsync("a", postgres), b = await NodeAsync("b", postgres);
        WatchRequest watch = Traffic.Watch(window: WindowRule.Day(TimeSpan.Zero));
        Monitor first = await a.Get<Monitors>().WatchAsync(TestWorld.Ada, watch, Ct);
        var random = new Random(8);
        for (int i = 0; i < 1200; i++)
        {
            float x = (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
            var record = new PredictionRecord($"r{i}", Traffic.Endpoint, "stable", Traffic.Version, null, Time.ToMicros(Traffic.Monday.AddMinutes(i)), 250, new float[] { x, random.Next(4), (float)random.NextDouble() }, new float[] { 1 / (1 + MathF.Exp(-1.5f * x)) }, 200);
            Assert.True((i % 2 == 0 ? a : b).Get<Predictions>().Append(record));
        }

        Traffic.Tick(a, 1);
        // The other node has not closed its part of the log: without a lateness that covers it, its rows are late, and said to be.
        await a.Get<Monitors>().EvaluateAsync(first.Id, Ct);
        Assert.Equal((600L, 0L), Rows(await a.Get<Monitors>().PointsAsync(first.Id, Ct)));
        await b.Get<Predictions>().CompactAsync(Ct);
        a.Clock.Advance(TimeSpan.FromMinutes(2));
        await a.Get<Monitors>().EvaluateAsync(first.Id, Ct);
        Assert.Equal((600L, 600L), Rows(await a.Get<Monitors>().PointsAsync(first.Id, Ct)));

        // Once the parts are closed either node gives the same points: one from its own file and the other's blob, one from blobs only.
        Monitor second = await AgainAsync(a, first, watch);
        await a.Get<Monitors>().EvaluateAsync(second.Id, Ct);
        await a.Get<Predictions>().CompactAsync(Ct);
        Monitor third = await AgainAsync(a, second, watch);
        await b.Get<Monitors>().EvaluateAsync(third.Id, Ct);
        MonitorPoint[] one = [.. await a.Get<Monitors>().PointsAsync(second.Id, Ct)], other = [.. await b.Get<Monitors>().PointsAsync(third.Id, Ct)];
        Assert.Equal((1200L, 0L), Rows(one));
        Assert.Equal(one.Select(p => (p.Metric, p.Column, p.N, p.State, p.Level)), other.Select(p => (p.Metric, p.Column, p.N, p.State, p.Level)));
        Assert.All(one.Zip(other), p => Assert.Equal(p.First.Value ?? -1, p.Second.Value ?? -1, 1e-9));

        // What is kept of a window is in the database when its points are: a process that begins now puts together the same.
        string before = JsonSerializer.Serialize(await a.Get<Monitors>().MergedAsync(second.Id, "day", Against.Reference, null, null, null, Ct));
        await using TestWorld c = await NodeAsync("c", postgres);
        Assert.Equal(before, JsonSerializer.Serialize(await c.Get<Monitors>().MergedAsync(second.Id, "day", Against.Reference, null, null, null, Ct)));
        MergedColumn[] mine = [.. await a.Get<Monitors>().MergedAsync(second.Id, "day", Against.Reference, null, null, null, Ct)], theirs = [.. await c.Get<Monitors>().MergedAsync(third.Id, "day", Against.Reference, null, null, null, Ct)];
        Assert.Equal(mine.Select(m => (m.Psi, m.Rows, m.Missing, m.Distinct)), theirs.Select(m => (m.Psi, m.Rows, m.Missing, m.Distinct)));
    }

    private static (long N, long Late) Rows(IReadOnlyList<MonitorPoint> points)
    {
        MonitorPoint rows = points.Single(p => p.Metric == "rows");
        return (rows.N, rows.LateRows);
    }

    private static async Task<Monitor> AgainAsync(TestWorld world, Monitor before, WatchRequest watch)
    {
        await world.Get<Monitors>().StopAsync(TestWorld.Ada, before.Id, Ct);
        return await world.Get<Monitors>().WatchAsync(TestWorld.Ada, watch, Ct);
    }

    private Task<TestWorld> NodeAsync(string name, string postgres) =>
        TestWorld.CreateAsync(Engine.Postgres, services => services.AddSingleton(new DataLayout(folder.Path, name)), folder.Path, postgres);
}
