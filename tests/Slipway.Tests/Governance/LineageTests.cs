using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Tests.Governance;

public class LineageTests
{
    private static readonly CancellationToken None = CancellationToken.None;
    private static readonly Subject Data1 = new("dataset-version", "flights/1");
    private static readonly Subject Data2 = new("dataset-version", "flights/2");
    private static readonly Subject Run = new("run", "r1");
    private static readonly Subject Version = new("model-version", "flights/1");
    private static readonly Subject Endpoint = new("endpoint", "flights");

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Lineage_is_followed_both_ways_and_no_deeper_than_asked(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        await StoryAsync(world);
        var lineage = world.Get<Lineage>();

        var up = await lineage.OfAsync(Endpoint, LineageDirection.Upstream, 10, None);
        var near = await lineage.OfAsync(Endpoint, LineageDirection.Upstream, 2, None);
        var down = await lineage.OfAsync(Data1, LineageDirection.Downstream, 10, None);
        var both = await lineage.OfAsync(Run, LineageDirection.Both, 1, None);

        Assert.Equal([(Endpoint, 0), (Version, -1), (Run, -2), (Data2, -3), (Data1, -4)], up.Nodes.Select(n => (n.Subject, n.Depth)));
        Assert.Equal([(Data2, Data1), (Run, Data2), (Version, Run), (Endpoint, Version)], up.Edges.Select(e => (e.From, e.To)));
        Assert.Equal(["dataset.committed", "run.started", "version.registered", "endpoint.created"], up.Edges.Select(e => e.Kind));
        Assert.Equal(3, near.Nodes.Count);
        Assert.Equal([Data1, Data2, Run, Version, Endpoint], down.Nodes.Select(n => n.Subject));
        Assert.Equal([Run, Data2, Version], both.Nodes.Select(n => n.Subject));
        Assert.False(up.Truncated);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Unknown_things_and_impossible_depths_are_refused(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        await StoryAsync(world);
        var lineage = world.Get<Lineage>();

        Assert.Equal(ErrorCode.NotFound, (await Assert.ThrowsAsync<SlipwayException>(() => lineage.OfAsync(new Subject("run", "x"), LineageDirection.Both, 3, None))).Code);
        Assert.Equal(ErrorCode.InvalidArgument, (await Assert.ThrowsAsync<SlipwayException>(() => lineage.OfAsync(Run, LineageDirection.Both, 0, None))).Code);
        Assert.Equal(ErrorCode.InvalidArgument, (await Assert.ThrowsAsync<SlipwayException>(() => lineage.OfAsync(Run, LineageDirection.Both, 51, None))).Code);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Circles_end_and_refused_attempts_are_no_lineage(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        await AppendAsync(world, "x.made", Version, [Run]);
        await AppendAsync(world, "x.made", Run, [Version, Run]);
        await world.Database.WriteAsync(tx => world.Journal.AppendAsync(tx, Samples.Root, "x.made", Version, null, [Endpoint], outcome: "denied"), None);
        await world.SealAsync();

        var graph = await world.Get<Lineage>().OfAsync(Version, LineageDirection.Both, 50, None);

        Assert.Equal([Version, Run], graph.Nodes.Select(n => n.Subject));
        Assert.Equal(2, graph.Edges.Count);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_long_journal_costs_no_more_than_the_answer(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        await StoryAsync(world);
        // The index alone is filled: sealing 100,000 entries is another test's matter. 20,000 of them hang on the endpoint itself.
        await world.Database.WriteAsync(
            async tx =>
            {
                const string numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)";
                await tx.ExecuteAsync($"INSERT INTO journal_entries (seq, id, at, kind, actor, subject, outcome, entry, leaf, key_id, detail) {numbers} SELECT 1000 + i, 'x' || i, at, 'x.made', actor, CASE WHEN i % 5 = 0 THEN 'endpoint:flights' ELSE 'run:other' || i END, outcome, entry, leaf, key_id, detail FROM n, journal_entries WHERE seq = 1");
                await tx.ExecuteAsync($"INSERT INTO journal_links (seq, subject) {numbers} SELECT 1000 + i, CASE WHEN i % 5 = 0 THEN 'model-version:flights/1' ELSE 'dataset-version:other/' || (i / 10) END FROM n");
            },
            None);

        var watch = System.Diagnostics.Stopwatch.StartNew();
        var graph = await world.Get<Lineage>().OfAsync(Endpoint, LineageDirection.Both, 10, None);

        Assert.Equal(5, graph.Nodes.Count);
        Assert.Equal(5, graph.Edges.Count + 1);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(2), $"took {watch.Elapsed}");
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_graph_that_is_too_large_says_so(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        await world.Database.WriteAsync(
            async tx =>
            {
                for (var i = 0; i < Lineage.MaxNodes + 10; i++) await world.Journal.AppendAsync(tx, Samples.Root, "x.made", new Subject("run", $"r{i}"), null, [Data1]);
            },
            None);
        await world.SealAsync();

        var graph = await world.Get<Lineage>().OfAsync(Data1, LineageDirection.Downstream, 3, None);

        Assert.True(graph.Truncated);
        Assert.Equal(Lineage.MaxNodes, graph.Nodes.Count);
    }

    private static async Task StoryAsync(TestWorld world)
    {
        await AppendAsync(world, "dataset.committed", Data1, []);
        await AppendAsync(world, "dataset.committed", Data2, [Data1]);
        await AppendAsync(world, "run.started", Run, [Data2]);
        await AppendAsync(world, "version.registered", Version, [Run]);
        await AppendAsync(world, "endpoint.created", Endpoint, [Version]);
        await world.SealAsync();
    }

    private static Task AppendAsync(TestWorld world, string kind, Subject subject, Subject[] links) =>
        world.Database.WriteAsync(tx => world.Journal.AppendAsync(tx, Samples.Root, kind, subject, null, links), None);
}
