using Slipway.Foundation;
using Slipway.Monitoring;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Tests.Monitoring;

public sealed class MonitorsTests
{
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Fact]
    public void Windows_are_aligned_half_open_and_go_back_before_the_epoch()
    {
        DateTimeOffset at = new(2001, 2, 7, 13, 30, 0, TimeSpan.FromHours(2));
        Assert.Equal(Traffic.Monday, WindowRule.Week().StartOf(at));
        Assert.Equal(new DateTimeOffset(2001, 2, 7, 0, 0, 0, TimeSpan.Zero), WindowRule.Day().StartOf(at));
        Assert.Equal(new DateTimeOffset(2001, 2, 7, 6, 0, 0, TimeSpan.Zero), WindowRule.Every(6).StartOf(at));
        Assert.Equal(Traffic.Monday.AddDays(7), WindowRule.Week().StartOf(Traffic.Monday.AddDays(7)));
        Assert.Equal(new DateTimeOffset(1969, 12, 29, 0, 0, 0, TimeSpan.Zero), WindowRule.Week().StartOf(new DateTimeOffset(1970, 1, 1, 0, 0, 0, TimeSpan.Zero)));
    }

    [Fact]
    public void Windows_follow_the_clock_of_their_zone()
    {
        WindowRule berlin = WindowRule.Day() with { TimeZone = "Europe/Berlin" };
        // Clocks go forward on 2026-03-29 and back on 2026-10-25: days of 23 and 25 hours.
        DateTimeOffset spring = new(2026, 3, 28, 23, 0, 0, TimeSpan.Zero), autumn = new(2026, 10, 24, 22, 0, 0, TimeSpan.Zero);
        Assert.Equal((spring, spring.AddHours(23)), (berlin.StartOf(spring.AddHours(12)), berlin.EndOf(spring)));
        Assert.Equal((autumn, autumn.AddHours(25)), (berlin.StartOf(autumn.AddHours(24.5)), berlin.EndOf(autumn)));
        Assert.Equal(spring.AddHours(-24), berlin.StartOf(spring.AddTicks(-1)));
        WindowRule quarter = WindowRule.Quarter() with { TimeZone = "America/New_York" };
        DateTimeOffset april = new(2026, 4, 1, 4, 0, 0, TimeSpan.Zero);
        Assert.Equal((april, new DateTimeOffset(2026, 7, 1, 4, 0, 0, TimeSpan.Zero)), (quarter.StartOf(april.AddDays(50)), quarter.EndOf(april)));
        Assert.Equal(new DateTimeOffset(2026, 1, 1, 5, 0, 0, TimeSpan.Zero), quarter.StartOf(april.AddTicks(-1)));
        Assert.Equal(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero), WindowRule.Quarter().StartOf(april.AddDays(-2)));
        // In Havana midnight comes twice when clocks go back; the day begins with the first one. In Cairo it is skipped when they go forward.
        WindowRule havana = WindowRule.Day() with { TimeZone = "America/Havana" }, cairo = WindowRule.Day() with { TimeZone = "Africa/Cairo" };
        DateTimeOffset twice = new(2026, 11, 1, 4, 0, 0, TimeSpan.Zero), skipped = new(2026, 4, 23, 22, 0, 0, TimeSpan.Zero);
        Assert.Equal((twice, twice, twice.AddHours(25)), (havana.StartOf(twice), havana.StartOf(twice.AddHours(1.5)), havana.EndOf(twice)));
        Assert.Equal((skipped, skipped.AddHours(23)), (cairo.StartOf(skipped.AddMinutes(1)), cairo.EndOf(skipped)));
        Assert.Equal((twice, twice.AddHours(25)), (havana.EndOf(havana.StartOf(twice.AddTicks(-1))), havana.StartOf(twice.AddHours(25))));
        WindowRule half = WindowRule.Every(1) with { TimeZone = "Asia/Kolkata" };
        Assert.Equal(new DateTimeOffset(2026, 1, 1, 6, 30, 0, TimeSpan.Zero), half.StartOf(new DateTimeOffset(2026, 1, 1, 7, 29, 0, TimeSpan.Zero)));
        Assert.Equal("this machine knows no time zone 'Mars/Olympus'", Assert.Throws<SlipwayException>(() => (WindowRule.Day() with { TimeZone = "Mars/Olympus" }).Validate()).Why);
        // The hour that Berlin's clocks repeat is two windows of rows.
        DateTimeOffset[] times = [.. Enumerable.Range(0, 4).Select(i => autumn.AddHours(2).AddMinutes(30 * i))];
        Assert.Equal([2, 2], Chunks.ByPeriod(times, "hour", TimeZoneInfo.FindSystemTimeZoneById("Europe/Berlin")).Select(c => c.Rows));
    }

    [Fact]
    public async Task Window_that_the_data_cut_is_partial()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        Monitor monitor = await world.Get<Monitors>().WatchAsync(TestWorld.Ada, Traffic.Watch(window: WindowRule.Week(TimeSpan.Zero) with { TimeZone = "America/New_York" }), Ct);
        foreach (int day in new[] { 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 })
        {
            Traffic.Day(world, day, 60);
        }

        Traffic.Tick(world, 22);
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        MonitorPoint[] rows = [.. (await world.Get<Monitors>().PointsAsync(monitor.Id, Ct)).Where(p => p.Metric == "rows").OrderBy(p => p.WindowStart)];
        Assert.Equal(Traffic.Monday.AddHours(5), rows[0].WindowStart);
        // From Thursday on, a whole week, and one of less than a day.
        Assert.Equal([true, false, true], rows.Take(3).Select(p => p.Partial));
        Assert.Equal(720, rows.Sum(p => p.Value ?? 0));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Watching_twice_gives_one_monitor_and_another_reference_conflicts(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor first = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct), second = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Assert.Equal(first.Id, second.Id);
        Assert.InRange(first.ReferenceAuc!.Value, 0.7, 0.85);
        var error = await Assert.ThrowsAsync<SlipwayException>(() => monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(rows: 2999), Ct));
        Assert.Equal((ErrorCode.Conflict, $"monitor {first.Id} has another reference"), (error.Code, error.Why));
        await world.SealAsync();
        JournalEntry entry = Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "monitor.created" }, Ct)).Items);
        Assert.Equal("ada", entry.Actor.Name);
        Assert.Contains(new Subject("dataset-version", "flights/abc"), entry.Links);
        Assert.Equal(first.ReferenceHash, entry.Read<MonitorCreated>().Reference);
    }

    [Fact]
    public async Task Bad_request_names_every_problem()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        WatchRequest request = Traffic.Watch() with { Endpoint = "", Watched = ["delay", "tail"], Thresholds = new Thresholds { Major = 0.5, ForWarn = new AlertFor(3, 2) } };
        var error = await Assert.ThrowsAsync<SlipwayException>(() => world.Get<Monitors>().WatchAsync(TestWorld.Ada, request, Ct));
        Assert.Equal("the endpoint has no name; `tail` is not a feature; drift levels 0.02, 0.5, 0.25 do not rise; k of n needs 1 <= k <= n <= 32", error.Why);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Window_is_judged_once_and_only_when_the_watermark_has_passed_its_end(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(window: WindowRule.Day(TimeSpan.FromHours(2))), Ct);
        Traffic.Day(world, 0, 400);
        Assert.Equal(0, await monitors.EvaluateAsync(monitor.Id, Ct));
        Traffic.Day(world, 1, 10);
        // rows, five of how requests were served, three of repeated and old rows, psi and missing rate of three features, two of them in ranges and one of codes, the score with its
        // decisions, confidence and entropy, and performance.
        Assert.Equal(35, await monitors.EvaluateAsync(monitor.Id, Ct));
        Assert.Equal(0, await monitors.EvaluateAsync(monitor.Id, Ct));
        IReadOnlyList<MonitorPoint> points = await monitors.PointsAsync(monitor.Id, Ct);
        Assert.All(points, p => Assert.Equal((Traffic.Monday, Traffic.Monday.AddDays(1)), (p.WindowStart, p.WindowEnd)));
        Assert.Equal((400.0, PointState.Ok), (points.Single(p => p.Metric == "rows").Value, points.Single(p => p.Metric == "rows").State));
        MonitorPoint auc = points.Single(p => p.Metric == "auc");
        Assert.Equal((PointState.Insufficient, null, 0.0), (auc.State, auc.Value, auc.Coverage));
        Assert.Equal("0 of 400 predictions have a label, 50 % are needed", auc.Why);
        Assert.All(points.Where(p => p.Metric == "psi"), p => Assert.Equal(PointState.Ok, p.State));
        Assert.Equal(Traffic.Monday.AddDays(1), (await monitors.GetAsync(monitor.Id, Ct)).NextWindow);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Gap_gives_no_data_and_an_event_from_the_future_closes_nothing(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Traffic.Day(world, 0, 100);
        Traffic.Day(world, 2, 100);
        Traffic.Tick(world, 3);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        MonitorPoint gap = Assert.Single(await monitors.PointsAsync(monitor.Id, Ct), p => p.WindowStart == Traffic.Monday.AddDays(1));
        Assert.Equal(("rows", PointState.NoData), (gap.Metric, gap.State));
        Traffic.Tick(world, 36_500);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Monitor now = await monitors.GetAsync(monitor.Id, Ct);
        Assert.True(now.Watermark <= world.Clock.GetUtcNow().AddMinutes(5));
        // Behind the last prediction of the version eight empty windows are written, not the twenty-five years until today.
        Assert.Equal(Traffic.Monday.AddDays(11), now.NextWindow);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Drift_fires_one_alert_with_numbers_and_resolves_when_it_is_over(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        var alerts = world.Get<Alerts>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Traffic.Day(world, 0, 800);
        Traffic.Day(world, 1, 800, shift: 1.2);
        Traffic.Tick(world, 2);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Alert alert = Assert.Single(await alerts.ListAsync("firing", Ct));
        Assert.Equal(("drift", DriftLevel.Severe, Traffic.Monday.AddDays(1)), (alert.Family, alert.Severity, alert.WindowStart));
        Assert.Equal(["delay", null], alert.Members.Where(m => m.Metric is "psi" or "score_psi").Select(m => m.Column).OrderBy(c => c is null));
        Assert.Matches(@"^(`delay`|the score) drifted: PSI \d\.\d\d \(material \d\.\d\d >= 0\.25\), (`delay`|the score) drifted: PSI .* on 800 rows in 2001-02-06\.\.2001-02-07$", alert.Sentence);

        Traffic.Day(world, 2, 800, shift: 1.2);
        Traffic.Tick(world, 3);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Alert same = Assert.Single(await alerts.ListAsync(null, Ct));
        Assert.Equal((alert.Id, "firing", Traffic.Monday.AddDays(2)), (same.Id, same.State, same.WindowStart));

        Traffic.Day(world, 3, 800);
        Traffic.Tick(world, 4);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Alert resolved = Assert.Single(await alerts.ListAsync("resolved", Ct));
        Assert.Equal((alert.Id, world.Clock.GetUtcNow()), (resolved.Id, resolved.ResolvedAt));

        await world.SealAsync();
        IReadOnlyList<JournalEntry> entries = (await world.Journal.ListAsync(new JournalFilter { Kind = "alert.", Descending = false }, Ct)).Items;
        // Delays beyond the range of the reference join when the second window has them too.
        Assert.Equal(["alert.fired", "alert.updated", "alert.resolved"], entries.Select(e => e.Kind));
        AlertFired fired = entries[0].Read<AlertFired>();
        Assert.Equal((alert.Id, Traffic.Version, 800, alert.Sentence), (fired.AlertId, fired.ModelVersion, fired.N, fired.Sentence));
        Assert.Contains(new Subject("endpoint", "flights"), entries[0].Links);
        Assert.Equal(["evaluated", "fired", "evaluated", "updated", "resolved"], (await alerts.TimelineAsync(alert.Id, Ct)).Select(t => t.Kind));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Lost_concept_fires_on_realized_auc_when_labels_arrive_and_makes_a_revision(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        var labels = world.Get<Labels>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Label[] good = Traffic.Day(world, 0, 1000), bad = Traffic.Day(world, 1, 1000, concept: false);
        Traffic.Tick(world, 2);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Assert.Empty(await world.Get<Alerts>().ListAsync(null, Ct));

        await labels.AppendAsync(TestWorld.Ada, "flights", good, Ct);
        await labels.AppendAsync(TestWorld.Ada, "flights", bad[..300], Ct);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        MonitorPoint[] auc = (await monitors.PointsAsync(monitor.Id, Ct)).Where(p => p.Metric == "auc").ToArray();
        Assert.Equal([(PointState.Ok, 1), (PointState.Insufficient, 1)], auc.Select(p => (p.State, p.Revision)));
        Assert.InRange(auc[0].Value!.Value, auc[0].Lower!.Value, 0.9);
        Assert.Empty(await world.Get<Alerts>().ListAsync(null, Ct));

        await labels.AppendAsync(TestWorld.Ada, "flights", bad[300..], Ct);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Alert alert = Assert.Single(await world.Get<Alerts>().ListAsync("firing", Ct));
        Assert.Equal(("performance", "auc", 1000), (alert.Family, alert.Metric, alert.N));
        Assert.InRange(alert.Value, 0.4, 0.6);
        Assert.Matches(@"^AUC fell to 0\.\d\d \(below 0\.\d\d, reference 0\.\d\d; 100\.0 % labelled\) on 1,000 rows in 2001-02-06\.\.2001-02-07$", alert.Sentence);
        IReadOnlyList<MonitorPoint> revisions = (await monitors.RevisionsAsync(monitor.Id, Traffic.Monday.AddDays(1), Ct)).Where(p => p.Metric == "auc").ToArray();
        Assert.Equal([PointState.Insufficient, PointState.Insufficient, PointState.Alert], revisions.Select(p => p.State));
        Assert.Equal(0, await monitors.EvaluateAsync(monitor.Id, Ct));
    }

    [Fact]
    public void Auc_between_its_limit_and_the_share_that_clears_keeps_a_firing_rule()
    {
        // Allowed loss is 0.02 (the drop that matters is larger than three errors of 2,000 rows): clear up to a loss of 0.016.
        var performance = new ReferencePerformance(100_000, 50_000, 0.75, 0.2, 0.6, 0.4, 0.2, 0.7);
        var reference = new MonitorReference(100_000, [], null, performance, []);
        MonitorConfig config = MonitorConfig.Of(Traffic.Watch(rows: 1)) with { Watched = [] };
        (double, string, bool)[] seen = new[] { 0.70, 0.732, 0.736, 0.80 }.Select(target => Judge(target)).ToArray();
        Assert.Equal([PointState.Alert, PointState.Ok, PointState.Ok, PointState.Ok], seen.Select(s => s.Item2));
        Assert.Equal([false, false, true, true], seen.Select(s => s.Item3));

        (double, string, bool) Judge(double auc)
        {
            // Positives score 1 with probability 2 auc - 1 beyond the tie at 0.5, so that the AUC is exactly the wanted one.
            var measure = new WindowMeasure(config, reference, Traffic.Monday, Traffic.Monday.AddDays(1));
            int winners = (int)Math.Round((2 * auc - 1) * 1000);
            for (int i = 0; i < 2000; i++)
            {
                bool positive = i < 1000;
                float score = positive && i < winners ? 1f : 0.5f;
                measure.Add(new Prediction($"p{i}", "flights", "stable", "flights/1", null, Traffic.Monday, 1, new float[3], new[] { score }, 200, "s"), new KnownLabel(positive ? 1 : 0, Traffic.Monday));
            }

            MonitorPoint point = measure.Performance().Single(p => p.Metric == "auc");
            Assert.Equal(auc, point.Value!.Value, 1e-3);
            return (point.Value.Value, point.State, AlertRule.Observe(point)!.Clear);
        }
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Corrected_labels_make_a_revision_of_the_point(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Label[] day = Traffic.Day(world, 0, 400);
        await world.Get<Labels>().AppendAsync(TestWorld.Ada, "flights", day, Ct);
        Traffic.Tick(world, 1);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        await world.Get<Labels>().AppendAsync(TestWorld.Ada, "flights", day.Select(l => l with { Value = 1 - l.Value, Revision = 1 }).ToArray(), Ct);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        double[] auc = (await monitors.RevisionsAsync(monitor.Id, Traffic.Monday, Ct)).Where(p => p.Metric == "auc").Select(p => p.Value!.Value).ToArray();
        Assert.Equal(2, auc.Length);
        Assert.Equal(1, auc[0] + auc[1], 1e-9);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Sentence_of_a_drift_alert_gets_the_realized_auc_when_the_labels_come(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Label[] day = Traffic.Day(world, 0, 1000, shift: 1.2);
        Traffic.Tick(world, 1);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Assert.DoesNotContain("AUC", Assert.Single(await world.Get<Alerts>().ListAsync("firing", Ct)).Sentence, StringComparison.Ordinal);
        await world.Get<Labels>().AppendAsync(TestWorld.Ada, "flights", day, Ct);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Alert alert = (await world.Get<Alerts>().ListAsync("firing", Ct)).Single(a => a.Family == "drift");
        Assert.Matches(@"on 1,000 rows in 2001-02-05\.\.2001-02-06; AUC 0\.\d\d -> 0\.\d\d \(n 1,000\)$", alert.Sentence);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Window_that_cannot_be_read_is_an_error_point_until_it_can(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Traffic.Day(world, 0, 100);
        await world.Get<Predictions>().CompactAsync(Ct);
        Traffic.Tick(world, 1);
        string blob = await world.Database.ReadAsync(s => s.ScalarAsync<string>("SELECT blob FROM monitoring_segments"), Ct);
        string path = world.Get<IBlobStore>().LocalPath(blob)!;
        File.Move(path, path + ".away");
        await Assert.ThrowsAnyAsync<Exception>(() => monitors.EvaluateAsync(monitor.Id, Ct));
        await Assert.ThrowsAnyAsync<Exception>(() => monitors.EvaluateAsync(monitor.Id, Ct));
        MonitorPoint point = Assert.Single(await monitors.PointsAsync(monitor.Id, Ct));
        Assert.Equal((PointState.Error, null), (point.State, point.Value));
        Assert.NotNull(point.Why);
        Assert.Equal(point.Why, (await monitors.GetAsync(monitor.Id, Ct)).LastError);
        File.Move(path + ".away", path);
        Assert.Equal(35, await monitors.EvaluateAsync(monitor.Id, Ct));
        Assert.DoesNotContain(await monitors.PointsAsync(monitor.Id, Ct), p => p.State == PointState.Error);
        Assert.Null((await monitors.GetAsync(monitor.Id, Ct)).LastError);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Missing_values_fire_a_quality_alert(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Traffic.Day(world, 0, 500, missing: 60);
        Traffic.Tick(world, 1);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Alert alert = Assert.Single(await world.Get<Alerts>().ListAsync("firing", Ct));
        Assert.Equal(("quality", "missing_rate", "noise", 0.12), (alert.Family, alert.Metric, alert.Column, alert.Value));
        Assert.StartsWith("`noise` is missing in 12.0 % (above ", alert.Sentence, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Monitor_goes_on_after_a_restart_on_the_same_folder(Engine engine)
    {
        string folder = Directory.CreateTempSubdirectory("slipway-restart-").FullName;
        string? postgres = engine == Engine.Postgres ? await PostgresServer.NewDatabaseAsync() : null;
        string id;
        await using (var world = await TestWorld.CreateAsync(engine, folder: folder, postgres: postgres))
        {
            id = (await world.Get<Monitors>().WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct)).Id;
            Traffic.Day(world, 0, 300);
            Traffic.Day(world, 1, 300, shift: 1.2);
            Traffic.Tick(world, 2);
            await world.Get<Monitors>().EvaluateAsync(id, Ct);
        }

        await using (var world = await TestWorld.CreateAsync(engine, folder: folder, postgres: postgres))
        {
            Assert.Equal(0, await world.Get<Monitors>().EvaluateAsync(id, Ct));
            Alert alert = Assert.Single(await world.Get<Alerts>().ListAsync("firing", Ct));
            Traffic.Day(world, 2, 300);
            Traffic.Tick(world, 3);
            await world.PumpAsync();
            Assert.Equal("resolved", (await world.Get<Alerts>().GetAsync(alert.Id, Ct)).State);
        }

        Directory.Delete(folder, recursive: true);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Stopped_monitor_resolves_its_alerts_and_judges_no_more(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Traffic.Day(world, 0, 300, shift: 2);
        Traffic.Tick(world, 1);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Assert.NotNull((await monitors.StopAsync(TestWorld.Grace, monitor.Id, Ct)).StoppedAt);
        Assert.Equal("the monitor was stopped", (await world.Get<Alerts>().TimelineAsync(Assert.Single(await world.Get<Alerts>().ListAsync("resolved", Ct)).Id, Ct))[^1].Text);
        Traffic.Day(world, 1, 300);
        Traffic.Tick(world, 2);
        Assert.Equal(0, await monitors.EvaluateAsync(monitor.Id, Ct));
        Assert.NotEqual(monitor.Id, (await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct)).Id);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Deleted_labels_leave_the_window_and_cannot_come_back_by_repetition(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var (monitors, labels) = (world.Get<Monitors>(), world.Get<Labels>());
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Label[] day = Traffic.Day(world, 0, 400);
        await labels.AppendAsync(TestWorld.Ada, "flights", day, Ct);
        Traffic.Tick(world, 1);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Assert.Equal(50, await labels.DeleteAsync(TestWorld.Ada, "flights", day.Take(50).Select(l => l.PredictionId).ToArray(), Ct));
        Assert.Equal(0, await labels.DeleteAsync(TestWorld.Ada, "flights", day.Take(50).Select(l => l.PredictionId).ToArray(), Ct));
        Assert.Equal(0, (await labels.AppendAsync(TestWorld.Ada, "flights", day.Take(50).ToArray(), Ct)).Joined);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Assert.Equal([400, 350], (await monitors.RevisionsAsync(monitor.Id, Traffic.Monday, Ct)).Where(p => p.Metric == "auc").Select(p => p.N));
        Assert.Equal(("deleted", 0.0), ((await labels.FindAsync("flights", day[0].PredictionId, Ct)).Single().State, (await labels.FindAsync("flights", day[0].PredictionId, Ct)).Single().Label.Value));
        await world.SealAsync();
        Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "label.deleted" }, Ct)).Items);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_concept_that_is_gone_alerts_as_its_own_signal_after_two_windows(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var (monitors, labels) = (world.Get<Monitors>(), world.Get<Labels>());
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        for (int day = 0; day < 3; day++)
        {
            await labels.AppendAsync(TestWorld.Ada, "flights", Traffic.Day(world, day, 800, concept: day == 0), Ct);
            Traffic.Tick(world, day + 1);
            await monitors.EvaluateAsync(monitor.Id, Ct);
            Assert.Equal(day == 2, (await world.Get<Alerts>().ListAsync("firing", Ct)).Any(a => a.Family == "concept"));
        }

        MonitorPoint[] points = (await monitors.PointsAsync(monitor.Id, Ct)).ToArray();
        Assert.Equal([PointState.Ok, PointState.Alert, PointState.Alert], points.Where(p => p.Metric == "concept_gap").Select(p => p.State));
        // The scores promise what they promised before: only labels see that the concept is gone.
        double[] promised = points.Where(p => p.Metric == "estimated_auc").Select(p => p.Value!.Value).ToArray();
        Assert.All(promised, v => Assert.Equal(monitor.ReferenceAuc!.Value, v, 0.05));
        Assert.All(points.Where(p => p.Metric is "precision" or "recall" or "f1" or "average_precision" or "calibration_error"), p => Assert.Equal((PointState.Ok, 800), (p.State, p.N)));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task What_is_watched_by_default_gives_way_to_what_somebody_asks_for(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor byDefault = await monitors.WatchAsync(Actor.System(Monitors.ByDefault), Traffic.Watch(), Ct);
        Assert.Equal(byDefault.Id, (await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct)).Id);
        Monitor asked = await monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(window: WindowRule.Week()), Ct);
        Assert.Equal(asked.Id, Assert.Single(await monitors.ListAsync(Ct)).Id);
        SlipwayException e = await Assert.ThrowsAsync<SlipwayException>(() => monitors.WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct));
        Assert.Equal(ErrorCode.Conflict, e.Code);
    }

    [Fact]
    public void Labels_for_some_scores_only_are_told_with_the_points()
    {
        WatchRequest request = Traffic.Watch();
        var measure = new WindowMeasure(MonitorConfig.Of(request), MonitorReference.Freeze(request), Traffic.Monday, Traffic.Monday.AddDays(1));
        var random = new Random(3);
        for (int i = 0; i < 4000; i++)
        {
            float score = (float)random.NextDouble();
            measure.Add(new Prediction($"p{i}", "flights", "stable", "flights/1", null, Traffic.Monday, 1, new float[3], new[] { score }, 200, "s"), score > 0.5 ? new KnownLabel(i % 2, Traffic.Monday.AddHours(3)) : null);
        }

        string detail = measure.Performance().Single(p => p.Metric == "auc").Detail;
        Assert.Contains("coverage differs more than twofold between scores", detail, StringComparison.Ordinal);
        Assert.Contains("\"medianLabelDelaySeconds\":10800", detail, StringComparison.Ordinal);
    }
}
