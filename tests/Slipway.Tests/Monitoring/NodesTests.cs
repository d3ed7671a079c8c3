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
    public async Task Nodes_give_the_same_points_and_read_the_open_logs_of_each_other()
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
        await b.Get<Predictions>().FlushAsync(Ct);
        await CloseAsync(a, first, b);
        Assert.Equal((1200L, 0L), Rows(await a.Get<Monitors>().PointsAsync(first.Id, Ct)));
        Assert.Equal("r1199", (await a.Get<Predictions>().FindAsync("r1199", Ct))!.Id);
        await b.Get<Predictions>().CompactAsync(Ct);
        a.Clock.Advance(TimeSpan.FromMinutes(2));
        await a.Get<Monitors>().EvaluateAsync(first.Id, Ct);
        Assert.Equal((1200L, 0L), Rows(await a.Get<Monitors>().PointsAsync(first.Id, Ct)));

        // Once the parts are closed either node gives the same points: one from its own file and the other's blob, one from blobs only.
        Monitor second = await AgainAsync(a, first, watch);
        await CloseAsync(a, second, b);
        await a.Get<Predictions>().CompactAsync(Ct);
        Monitor third = await AgainAsync(a, second, watch);
        await CloseAsync(b, third, a);
        MonitorPoint[] one = [.. await a.Get<Monitors>().PointsAsync(second.Id, Ct)], other = [.. await b.Get<Monitors>().PointsAsync(third.Id, Ct)];
        Assert.Equal((1200L, 0L), Rows(one));
        Assert.Equal(one.Select(p => (p.Metric, p.Column, p.N, p.State, p.Level)), other.Select(p => (p.Metric, p.Column, p.N, p.State, p.Level)));
        Assert.All(one.Zip(other), p => Assert.Equal(p.First.Value, p.Second.Value));

        // What is kept of a window is in the database when its points are: a process that begins now puts together the same.
        string before = JsonSerializer.Serialize(await a.Get<Monitors>().MergedAsync(second.Id, "day", Against.Reference, null, null, null, Ct));
        await using TestWorld c = await NodeAsync("c", postgres);
        Assert.Equal(before, JsonSerializer.Serialize(await c.Get<Monitors>().MergedAsync(second.Id, "day", Against.Reference, null, null, null, Ct)));
        MergedColumn[] mine = [.. await a.Get<Monitors>().MergedAsync(second.Id, "day", Against.Reference, null, null, null, Ct)], theirs = [.. await c.Get<Monitors>().MergedAsync(third.Id, "day", Against.Reference, null, null, null, Ct)];
        Assert.Equal(mine.Select(m => (m.Psi, m.Rows, m.Missing, m.Distinct)), theirs.Select(m => (m.Psi, m.Rows, m.Missing, m.Distinct)));
    }

    [Fact]
    public async Task Window_waits_until_every_node_says_that_its_rows_can_be_read()
    {
        string postgres = await PostgresServer.NewDatabaseAsync();
        await using TestWorld a = await NodeAsync("a", postgres), b = await NodeAsync("b", postgres);
        Monitor monitor = await a.Get<Monitors>().WatchAsync(TestWorld.Ada, Traffic.Watch(window: WindowRule.Every(1, TimeSpan.Zero)), Ct);
        await a.Get<Predictions>().FlushAsync(Ct);
        await b.Get<Predictions>().FlushAsync(Ct);
        DateTimeOffset nine = a.Clock.GetUtcNow();
        Log(a, "a", nine, 100);
        a.Clock.Advance(TimeSpan.FromMinutes(65));
        Log(a, "next", a.Clock.GetUtcNow(), 1);
        await a.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        // The other node may have rows of the window that cannot be read yet, and has.
        Assert.Equal(WindowPhase.Provisional, (await a.Get<Monitors>().PointsAsync(monitor.Id, Ct)).Single(p => p.Metric == "rows").Phase);
        Log(b, "b", nine, 100);
        await MoveAsync(b);
        await a.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        // A mark that moves once may have been begun before.
        Assert.Empty(await FinalAsync());
        await MoveAsync(b);
        await a.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        MonitorPoint rows = Assert.Single(await FinalAsync());
        Assert.Equal((200L, 0L), (rows.N, rows.LateRows));

        // A process that holds its log and does not move on is waited for as long as a segment stays open, by the clock of the node that waits.
        Log(a, "later", nine.AddMinutes(125), 1);
        a.Clock.Advance(TimeSpan.FromMinutes(9));
        await a.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        Assert.Single(await FinalAsync());
        a.Clock.Advance(TimeSpan.FromMinutes(2));
        await a.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        Assert.Equal(1, await CountAsync(nine));
        a.Clock.Advance(TimeSpan.FromMinutes(50));
        await a.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        Assert.Equal(1, await CountAsync(nine.AddHours(1)));

        async Task<int> CountAsync(DateTimeOffset start) => (await FinalAsync()).Count(p => p.WindowStart == start);

        async Task<IReadOnlyList<MonitorPoint>> FinalAsync() => [.. (await a.Get<Monitors>().PointsAsync(monitor.Id, Ct)).Where(p => p.Metric == "rows" && p.Phase == WindowPhase.Final)];

        static void Log(TestWorld world, string name, DateTimeOffset from, int rows)
        {
            for (int i = 0; i < rows; i++)
            {
                Assert.True(world.Get<Predictions>().Append(new PredictionRecord($"{name}{i}", Traffic.Endpoint, "stable", Traffic.Version, null, Time.ToMicros(from.AddSeconds(i)), 250, new float[] { i % 3, i % 4, 0.5f }, new[] { 0.5f }, 200)));
            }
        }
    }

    [Fact]
    public async Task Log_of_a_process_that_is_gone_is_taken_over_with_what_it_had_buffered()
    {
        await using TestWorld a = await NodeAsync("a", await PostgresServer.NewDatabaseAsync()), other = await TestWorld.CreateAsync(Engine.Sqlite);
        Monitor monitor = await a.Get<Monitors>().WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Traffic.Day(other, 0, 500);
        // The files of a living process at any moment are what a killed one leaves, but for the lock.
        string dead = Directory.CreateDirectory(Path.Combine(folder.Path, "nodes", "dead", "predictions")).FullName;
        foreach (string file in Directory.GetFiles(Path.Combine(other.Folder, "predictions")).Where(f => Path.GetFileName(f) != "lock").OrderBy(f => Path.GetExtension(f) == ".ring"))
        {
            File.Copy(file, Path.Combine(dead, Path.GetFileName(file)));
        }

        File.WriteAllText(Path.Combine(dead, "readable"), "1");
        Traffic.Tick(a, 1);
        await a.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        Assert.DoesNotContain(await a.Get<Monitors>().PointsAsync(monitor.Id, Ct), p => p.Phase == WindowPhase.Final);
        await a.Get<PredictionArchive>().TakeOverAsync(Ct);
        await a.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        Assert.Equal((500L, 0L), Rows(await a.Get<Monitors>().PointsAsync(monitor.Id, Ct)));
        Assert.False(File.Exists(Path.Combine(dead, "readable")));
        Assert.Empty(Directory.GetFiles(dead, "*.log"));
    }

    private static (long N, long Late) Rows(IReadOnlyList<MonitorPoint> points)
    {
        MonitorPoint rows = points.Single(p => p.Metric == "rows");
        return (rows.N, rows.LateRows);
    }

    /// <summary>The other node writes what it has and says so.</summary>
    private static async Task MoveAsync(TestWorld node)
    {
        node.Clock.Advance(TimeSpan.FromSeconds(1));
        await node.Get<Predictions>().FlushAsync(Ct);
    }

    private static async Task CloseAsync(TestWorld node, Monitor monitor, TestWorld other)
    {
        await node.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        for (int i = 0; i < 2; i++)
        {
            await MoveAsync(other);
            await node.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        }
    }

    private static async Task<Monitor> AgainAsync(TestWorld world, Monitor before, WatchRequest watch)
    {
        await world.Get<Monitors>().StopAsync(TestWorld.Ada, before.Id, Ct);
        return await world.Get<Monitors>().WatchAsync(TestWorld.Ada, watch, Ct);
    }

    private Task<TestWorld> NodeAsync(string name, string postgres) =>
        TestWorld.CreateAsync(Engine.Postgres, services => services.AddSingleton(new DataLayout(folder.Path, name)), folder.Path, postgres);
}
