using Slipway.Foundation;
using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring;

public sealed class LabelsTests
{
    private static readonly CancellationToken Ct = CancellationToken.None;
    private static readonly DateTimeOffset At = Traffic.Monday.AddHours(9);

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Same_revision_is_idempotent_other_value_conflicts_and_higher_revision_replaces(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        Traffic.Day(world, 0, 10);
        var labels = world.Get<Labels>();
        Assert.Equal(new LabelReport(2, 0, 0, 0), await labels.AppendAsync(TestWorld.Ada, "flights", [new("d0-1", 1, At), new("d0-2", 0, At)], Ct));
        Assert.Equal(new LabelReport(0, 0, 1, 1), await labels.AppendAsync(TestWorld.Ada, "flights", [new("d0-1", 1, At), new("d0-2", 1, At)], Ct));
        Assert.Equal(new LabelReport(1, 0, 0, 0), await labels.AppendAsync(TestWorld.Ada, "flights", [new("d0-1", 0, At, Revision: 3)], Ct));
        Assert.Equal(new LabelReport(0, 0, 0, 0, Stale: 1), await labels.AppendAsync(TestWorld.Ada, "flights", [new("d0-1", 1, At, Revision: 2)], Ct));
        IReadOnlyList<StoredLabel> all = await labels.FindAsync("flights", "d0-1", Ct);
        Assert.Equal([(3, 0.0, true), (2, 1.0, false), (0, 1.0, false)], all.Select(l => (l.Label.Revision, l.Label.Value, l.Current)));
        Assert.Equal(0, (await labels.FindAsync("flights", "d0-2", Ct)).Single().Label.Value);
        Assert.Equal(2, (await labels.CountAsync("flights", Ct))["joined"]);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Revisions_inside_one_batch_follow_the_same_rules(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        Traffic.Day(world, 0, 3);
        var report = await world.Get<Labels>().AppendAsync(TestWorld.Ada, "flights", [new("d0-1", 1, At), new("d0-1", 1, At), new("d0-1", 0, At), new("d0-1", 0, At, 1)], Ct);
        Assert.Equal(new LabelReport(2, 0, 1, 1), report);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Label_before_its_prediction_waits_joins_and_is_given_up_in_the_end(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var labels = world.Get<Labels>();
        Assert.Equal(new LabelReport(0, 2, 0, 0), await labels.AppendAsync(TestWorld.Ada, "flights", [new("d0-1", 1, At), new("ghost", 1, At)], Ct));
        Traffic.Day(world, 0, 5);
        await labels.JoinParkedAsync("flights", Ct);
        Assert.Equal("joined", (await labels.FindAsync("flights", "d0-1", Ct)).Single().State);
        Assert.Equal("parked", (await labels.FindAsync("flights", "ghost", Ct)).Single().State);
        Assert.Single(await labels.InForceAsync("flights", Traffic.Version, Time.ToMicros(Traffic.Monday), Time.ToMicros(Traffic.Monday.AddDays(1)), Ct));
        world.Clock.Advance(TimeSpan.FromDays(8));
        Traffic.Day(world, 1, 1);
        await labels.JoinParkedAsync("flights", Ct);
        Assert.Equal("orphan", (await labels.FindAsync("flights", "ghost", Ct)).Single().State);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Label_beyond_the_horizon_is_stored_and_not_applied(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        Traffic.Day(world, 0, 5);
        var labels = world.Get<Labels>();
        Assert.Equal(new LabelReport(0, 0, 0, 0, Late: 1), await labels.AppendAsync(TestWorld.Ada, "flights", [new("d0-1", 1, At.AddDays(91))], Ct));
        Assert.Empty(await labels.InForceAsync("flights", Traffic.Version, 0, long.MaxValue, Ct));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Labels_join_compacted_predictions_and_only_their_own_endpoint(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        Label[] day = Traffic.Day(world, 0, 1500);
        await world.Get<Predictions>().CompactAsync(Ct);
        Assert.Equal(new LabelReport(1500, 0, 0, 0), await world.Get<Labels>().AppendAsync(TestWorld.Ada, "flights", day, Ct));
        Assert.Equal(new LabelReport(0, 1, 0, 0), await world.Get<Labels>().AppendAsync(TestWorld.Ada, "hotels", day[..1], Ct));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Concurrent_batches_with_the_same_labels_store_each_once(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        Label[] day = Traffic.Day(world, 0, 200);
        LabelReport[] reports = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => world.Get<Labels>().AppendAsync(TestWorld.Ada, "flights", day, Ct)));
        Assert.Equal((200, 600), (reports.Sum(r => r.Joined), reports.Sum(r => r.Duplicate)));
        Assert.Equal(200, (await world.Get<Labels>().CountAsync("flights", Ct))["joined"]);
    }

    [Fact]
    public async Task Bad_labels_are_all_named_and_nothing_is_stored()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var labels = world.Get<Labels>();
        var error = await Assert.ThrowsAsync<SlipwayException>(() => labels.AppendAsync(TestWorld.Ada, "flights", [new("a", 1, At), new("", 1, At), new("b", double.NaN, At), new("c", 1, At, -1)], Ct));
        Assert.Equal("label 1: the prediction id is empty; label 2: the value is NaN; label 3: the revision is -1", error.Why);
        Assert.Empty(await labels.CountAsync("flights", Ct));
        error = await Assert.ThrowsAsync<SlipwayException>(() => labels.AppendAsync(TestWorld.Ada, "flights", Enumerable.Range(0, 10_001).Select(i => new Label($"{i}", 1, At)).ToArray(), Ct));
        Assert.Equal(ErrorCode.TooLarge, error.Code);
    }
}
