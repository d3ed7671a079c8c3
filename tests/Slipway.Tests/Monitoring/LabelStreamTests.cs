using Slipway.Foundation;
using Slipway.Monitoring;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Tests.Monitoring;

/// <summary>Stream detectors of live monitors: labels in the order of their time, state that survives, alerts that come once.</summary>
public sealed class LabelStreamTests
{
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Change_of_errors_alerts_once_and_the_next_window_resolves_it(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        Monitor monitor = await WatchAsync(world, new StreamRule());
        await LabelAsync(world, Traffic.Day(world, 0, 1500), Traffic.Day(world, 1, 1500));
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        MonitorStream quiet = await world.Get<Monitors>().StreamAsync(monitor.Id, Ct);
        Assert.Equal(("adwin", "error", "label time", PointState.Ok, 3000L, null), (quiet.Detector, quiet.Input, quiet.Order, quiet.State, quiet.N, quiet.LastChange));
        Assert.Equal((1, 0L), (quiet.BlockRows, quiet.Late));
        Assert.InRange(Math.Abs(quiet.Correlation!.Value), 0, 0.2);
        Assert.DoesNotContain(await world.Get<Alerts>().ListAsync("firing", Ct), a => a.Metric == "stream_drift");

        await LabelAsync(world, Traffic.Day(world, 2, 1500, shift: 1.5, concept: false));
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        MonitorStream changed = await world.Get<Monitors>().StreamAsync(monitor.Id, Ct);
        Assert.InRange(changed.LastChange!.Value, 3000, 4499);
        Assert.Equal(changed.N - 1 - changed.LastChange, changed.SinceReset);
        Assert.InRange(changed.LastChangeAt!.Value, Traffic.Monday.AddDays(2).AddHours(5), Traffic.Monday.AddDays(3).AddHours(5));
        MonitorPoint[] windows = [.. changed.Windows.OrderBy(w => w.WindowStart)];
        Assert.Equal(4500, windows.Sum(w => w.N));
        Assert.Contains(windows, w => w.State == PointState.Alert);
        Alert alert = Assert.Single(await world.Get<Alerts>().ListAsync(null, Ct), a => a.Members.Any(m => m.Metric == "stream_drift"));
        Assert.Equal("concept", alert.Family);
        Assert.Contains("adwin found a change of the error at ", alert.Sentence);
        Assert.Contains("(label time)", alert.Sentence);

        // The errors stay as they are now: the next windows of label time are clear.
        await LabelAsync(world, Traffic.Day(world, 3, 1500, shift: 1.5, concept: false), Traffic.Day(world, 4, 1500, shift: 1.5, concept: false));
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        Assert.DoesNotContain(await world.Get<Alerts>().ListAsync("firing", Ct), a => a.Members.Any(m => m.Metric == "stream_drift"));
    }

    [Theory]
    [InlineData("adwin", null)]
    [InlineData("ddm", "error")]
    [InlineData("eddm", null)]
    [InlineData("hddm_a", null)]
    [InlineData("hddm_w", null)]
    [InlineData("page_hinkley", "loss")]
    public async Task Process_that_dies_goes_on_bit_for_bit(string detector, string? input)
    {
        string folder = Directory.CreateTempSubdirectory("slipway-stream-").FullName;
        try
        {
            var rule = new StreamRule(detector, input);
            byte[] whole, parts;
            MonitorStream uninterrupted, resumed;
            await using (var world = await TestWorld.CreateAsync(Engine.Sqlite))
            {
                Monitor monitor = await WatchAsync(world, rule);
                await LabelAsync(world, Traffic.Day(world, 0, 700), Traffic.Day(world, 1, 700), Traffic.Day(world, 2, 700, concept: false));
                await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
                (whole, uninterrupted) = (await BodyAsync(world, monitor), await world.Get<Monitors>().StreamAsync(monitor.Id, Ct));
            }

            string id;
            await using (var world = await TestWorld.CreateAsync(Engine.Sqlite, folder: folder))
            {
                Monitor monitor = await WatchAsync(world, rule);
                id = monitor.Id;
                await LabelAsync(world, Traffic.Day(world, 0, 700));
                await world.Get<Monitors>().EvaluateAsync(id, Ct);
                await LabelAsync(world, Traffic.Day(world, 1, 700));
                await world.Get<Monitors>().EvaluateAsync(id, Ct);
            }

            await using (var world = await TestWorld.CreateAsync(Engine.Sqlite, folder: folder))
            {
                await LabelAsync(world, Traffic.Day(world, 2, 700, concept: false));
                await world.Get<Monitors>().EvaluateAsync(id, Ct);
                Monitor monitor = await world.Get<Monitors>().GetAsync(id, Ct);
                (parts, resumed) = (await BodyAsync(world, monitor), await world.Get<Monitors>().StreamAsync(id, Ct));
            }

            Assert.Equal(whole, parts);
            Assert.Equal(2100, resumed.N);
            Assert.Equal(uninterrupted with { Windows = [] }, resumed with { Windows = [] });
            Assert.Equal(uninterrupted.Windows, resumed.Windows);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public async Task Labels_count_once_in_the_order_of_their_time_and_those_behind_the_position_are_counted()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        Monitor monitor = await WatchAsync(world, new StreamRule());
        Label[] day = Traffic.Day(world, 0, 500);
        await LabelAsync(world, [.. day[..200], .. day[210..]]);
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        // Ten labels come late, and one is corrected: neither moves the stream.
        await LabelAsync(world, [.. day[200..210], day[0] with { Value = 1 - day[0].Value, Revision = 1, At = day[^1].At.AddHours(1) }]);
        byte[] before = await BodyAsync(world, monitor);
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        MonitorStream stream = await world.Get<Monitors>().StreamAsync(monitor.Id, Ct);
        Assert.Equal((490L, 10L), (stream.N, stream.Late));
        Assert.Equal(before, await BodyAsync(world, monitor));
        Assert.Equal(day[^1].At, stream.Position);
    }

    [Fact]
    public async Task New_reference_begins_behind_its_window_with_a_fresh_detector()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        Monitor monitor = await WatchAsync(world, new StreamRule());
        await LabelAsync(world, Traffic.Day(world, 0, 600), Traffic.Day(world, 1, 600, concept: false));
        Traffic.Tick(world, 2);
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        Monitor next = await world.Get<Baselines>().RebaseAsync(TestWorld.Ada, monitor.Id, Traffic.Monday.AddDays(1), Ct);
        await world.Get<Monitors>().EvaluateAsync(next.Id, Ct);
        Assert.Equal((0L, PointState.Insufficient), ((await world.Get<Monitors>().StreamAsync(next.Id, Ct)).N, (await world.Get<Monitors>().StreamAsync(next.Id, Ct)).State));
        await LabelAsync(world, Traffic.Day(world, 2, 300, concept: false));
        await world.Get<Monitors>().EvaluateAsync(next.Id, Ct);
        MonitorStream stream = await world.Get<Monitors>().StreamAsync(next.Id, Ct);
        Assert.Equal((300L, null), (stream.N, stream.LastChange));
    }

    [Fact]
    public async Task First_window_as_reference_is_not_fed()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        Monitor monitor = await world.Get<Monitors>().WatchFirstWindowAsync(TestWorld.Ada, Traffic.Endpoint, Traffic.Version, Traffic.Features, WindowRule.Day(TimeSpan.Zero), new Thresholds { Stream = new StreamRule() }, null, null, null, Ct);
        await LabelAsync(world, Traffic.Day(world, 0, 300));
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        Assert.Equal((PointState.NoData, "the monitor has no reference yet"), ((await world.Get<Monitors>().StreamAsync(monitor.Id, Ct)).State, (await world.Get<Monitors>().StreamAsync(monitor.Id, Ct)).Why));
        await LabelAsync(world, Traffic.Day(world, 1, 250));
        Traffic.Tick(world, 2);
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        Assert.Equal(250, (await world.Get<Monitors>().StreamAsync(monitor.Id, Ct)).N);
    }

    [Theory]
    [InlineData("cusum", null, "the stream detector is 'cusum', one of adwin, ddm, eddm, hddm_a, hddm_w, page_hinkley is allowed")]
    [InlineData("adwin", "brier", "the stream's input is 'brier', one of error, loss, residual is allowed")]
    [InlineData("ddm", "loss", "ddm takes errors of 0 and 1, not the loss: use adwin or page_hinkley for it")]
    [InlineData("adwin", "residual", "a binary model has no residual: its stream takes the error or the loss")]
    public async Task Rule_that_does_not_fit_is_refused(string detector, string? input, string why)
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var error = await Assert.ThrowsAsync<SlipwayException>(() => WatchAsync(world, new StreamRule(detector, input)));
        Assert.Equal(why, error.Why);
    }

    [Fact]
    public void Stream_saves_its_first_values_blocks_and_detector()
    {
        var random = new Random(3);
        double[] sticky = new double[1_500];
        for (int i = 1; i < sticky.Length; i++)
        {
            sticky[i] = random.NextDouble() < 0.1 ? random.Next(2) : sticky[i - 1];
        }

        foreach (string name in StreamDetectors.All)
        {
            foreach (int cut in new[] { 0, 57, 199, 200, 203, 777 })
            {
                ConceptDriftStream whole = New(name), first = New(name), second = New(name);
                Array.ForEach(sticky, v => whole.Observe(v));
                Array.ForEach(sticky[..cut], v => first.Observe(v));
                second.Load(first.Save());
                Array.ForEach(sticky[cut..], v => second.Observe(v));
                Assert.Equal(whole.Save(), second.Save());
                Assert.True(whole.Blocked);
                // Distances between errors mean nothing among means of blocks.
                Assert.Equal((name != StreamDetectors.Eddm, name == StreamDetectors.Eddm ? 0 : 150), (whole.Judges, whole.Detector.N));
            }
        }

        Assert.Throws<SlipwayException>(() => New(StreamDetectors.Adwin).Load(New(StreamDetectors.Ddm).Save()));
        Assert.Throws<SlipwayException>(() => New(StreamDetectors.Adwin).Load(new ConceptDriftStream(new Adwin(), 2).Save()));

        static ConceptDriftStream New(string name) => new(StreamDetectors.New(name));
    }

    [Fact]
    public void Limit_of_page_and_hinkley_is_in_deviations_of_the_reference()
    {
        var plain = new ConceptDriftStream(new PageHinkley());
        var scaled = new ConceptDriftStream(new PageHinkley(), 1_000);
        var random = new Random(1);
        for (int i = 0; i < 2_000; i++)
        {
            double value = (random.NextDouble() - 0.5) * 3.4 + (i < 1_000 ? 0 : 1);
            Assert.Equal(plain.Observe(value), scaled.Observe(1_000 * value));
        }

        Assert.InRange(plain.LastChange!.Value, 1_000, 1_200);
        Assert.Equal(plain.LastChange, scaled.LastChange);
        MonitorReference reference = MonitorReference.Freeze(Traffic.Watch());
        double accuracy = reference.Performance!.Accuracy;
        Assert.Equal(Math.Sqrt(accuracy * (1 - accuracy)), new StreamRule().Deviation(reference));
        Assert.Equal(reference.Performance.LogLossSpread, new StreamRule(Input: "loss").Deviation(reference));
    }

    private static Task<Monitor> WatchAsync(TestWorld world, StreamRule rule) =>
        world.Get<Monitors>().WatchAsync(TestWorld.Ada, Traffic.Watch(thresholds: new Thresholds { Stream = rule }), Ct);

    private static async Task LabelAsync(TestWorld world, params Label[][] days)
    {
        foreach (Label[] day in days)
        {
            await world.Get<Labels>().AppendAsync(TestWorld.Ada, Traffic.Endpoint, day, Ct);
        }
    }

    private static Task<byte[]> BodyAsync(TestWorld world, Monitor monitor) =>
        world.Database.ReadAsync(s => s.ScalarAsync<byte[]>("SELECT body FROM monitoring_streams WHERE monitor = @Id", new { monitor.Id }), Ct)!;
}
