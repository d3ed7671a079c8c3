using System.Runtime.CompilerServices;
using Slipway.Foundation;
using Slipway.Monitoring;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Tests.Monitoring;

/// <summary>Rules of users, the alerts that every monitor has, silences, routes, and the path that leads to a message.</summary>
public sealed class AlertingTests
{
    private const string Head = "apiVersion: slipway.dev/alert-rules/v1\nkind: AlertRules\n";
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Fact]
    public void Sample_rules_pass_their_tests_and_sample_routing_is_sound()
    {
        string rules = File.ReadAllText(Repository("samples/alerting/rules.yaml"));
        Assert.All(RuleTests.Run(rules, "rules.yaml"), t => Assert.Equal([], t.Failures));
        RuleTestResult failed = RuleTests.Run(rules.Replace("'.P.FFFF.'", "'.P.FFF..'", StringComparison.Ordinal), "rules.yaml").First(t => !t.Passed);
        Assert.Equal("rules.yaml:34: psi-high{column=\"distance\"}: expected .P.FFF.., got .P.FFFF.", Assert.Single(failed.Failures));
        AlertRouting.Parse(File.ReadAllText(Repository("samples/alerting/routing.yaml")), ["team"]);
        Assert.Equal(2, DeclaredSilence.Parse(File.ReadAllText(Repository("samples/alerting/silences.yaml"))).Count);
    }

    [Theory]
    [InlineData("fields")]
    [InlineData("values")]
    public void Bad_rule_files_name_every_problem_with_its_line(string name)
    {
        string text = File.ReadAllText(Repository($"tests/Slipway.Tests/Monitoring/Rules/{name}.bad.yaml"));
        string[] expected = [.. text.Split('\n').TakeWhile(l => l.StartsWith('#')).Select(l => l[2..])];
        // The head takes the place of two of the comments, so that the lines stay those of the file.
        string document = string.Join('\n', text.Split('\n').Select((l, i) => i == 0 ? "apiVersion: slipway.dev/alert-rules/v1" : i == 1 ? "kind: AlertRules" : l));
        var e = Assert.Throws<SlipwayException>(() => RuleTests.Run(document, "rules.yaml"));
        foreach (string problem in expected)
        {
            Assert.Contains(problem, e.Why, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("a + 1 * 2 > 2.5", 1, true)]
    [InlineData("(a + 1) * 2 > 4", 1, false)]
    [InlineData("a / 0 > 1", 1, true)]
    [InlineData("0 * a / 0 > 1", 1, false)]
    [InlineData("a != 1", double.NaN, false)]
    [InlineData("-a < -0.5", 1, true)]
    [InlineData("a{column=\"x\"} >= 1e0", 1, true)]
    [InlineData("absent(b)", 1, true)]
    [InlineData("absent(a)", 1, false)]
    public void Expressions_follow_ieee_arithmetic(string text, double value, bool holds) =>
        Assert.Equal(holds, Assert.Single(RuleExpression.Parse(text).Evaluate([new RuleSample("a", LabelSet.Of([KeyValuePair.Create("column", "x")]), value)])).Holds);

    [Theory]
    [InlineData("severity=\"major\"", true)]
    [InlineData("severity!=major", false)]
    [InlineData("severity=~\"maj|min\"", false)]
    [InlineData("severity=~\"maj.*\"", true)]
    [InlineData("severity!~\"maj\"", true)]
    [InlineData("owner=\"\"", true)]
    [InlineData("owner!=\"\"", false)]
    [InlineData("owner=~\".+\"", false)]
    public void Matchers_are_anchored_and_a_missing_label_is_empty(string matcher, bool matches) =>
        Assert.Equal(matches, Matcher.Parse(matcher).Matches(LabelSet.Of([KeyValuePair.Create("severity", "major")])));

    [Fact]
    public void Patterns_that_backtrack_run_in_linear_time()
    {
        var labels = LabelSet.Of([KeyValuePair.Create("a", new string('a', 900) + "!")]);
        Assert.False(Matcher.Parse("a=~\"(a+)+b\"").Matches(labels));
        Assert.Equal(ErrorCode.InvalidArgument, Assert.Throws<SlipwayException>(() => Matcher.Parse("a=~\"(a)\\1\"")).Code);
    }

    [Theory]
    [InlineData("2026-03-02T07:30:00Z", true)]
    [InlineData("2026-03-02T08:30:00Z", false)]
    [InlineData("2026-03-08T07:30:00Z", false)]
    public void Time_intervals_keep_the_clock_of_their_zone(string at, bool quiet)
    {
        var interval = new TimeInterval(TimeZoneInfo.FindSystemTimeZoneById("Europe/Berlin"), [TimeInterval.Minutes("08:00-09:00")], [TimeInterval.Weekdays("monday:friday")], [TimeInterval.DaysOfMonth("1:7")], [TimeInterval.Months("march")]);
        Assert.Equal(quiet, interval.Contains(DateTimeOffset.Parse(at)));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Two_windows_without_data_are_an_alert_that_ends_with_the_data(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        Monitor monitor = await world.Get<Monitors>().WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Traffic.Day(world, 0, 300);
        Traffic.Tick(world, 4);
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        Alert alert = Assert.Single(await world.Get<Alerts>().ListAsync("firing", Ct));
        Assert.Equal((Families.NoData, "no-data", "flights", "1"), (alert.Family, alert.Labels["alertname"], alert.Labels["model"], alert.Labels["version"]));
        Assert.Contains("has nothing to judge", alert.Sentence, StringComparison.Ordinal);
        Traffic.Day(world, 4, 300);
        Traffic.Tick(world, 5);
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        Assert.Equal("resolved", (await world.Get<Alerts>().GetAsync(alert.Id, Ct)).State);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Stream_that_ends_and_monitor_that_fails_are_alerts(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        Monitor monitor = await world.Get<Monitors>().WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        await world.Get<AlertClock>().StepAsync(AlertClock.Key, Ct);
        Assert.Empty(await world.Get<Alerts>().ListAsync(null, Ct));
        world.Clock.Advance(TimeSpan.FromDays(4));
        await world.Get<AlertClock>().StepAsync(AlertClock.Key, Ct);
        Assert.Contains("has closed no window", Assert.Single(await world.Get<Alerts>().ListAsync("firing", Ct)).Sentence, StringComparison.Ordinal);

        await world.Database.WriteAsync(tx => tx.ExecuteAsync("UPDATE monitoring_monitors SET last_error = 'the archive is broken'"), Ct);
        await world.Get<AlertClock>().StepAsync(AlertClock.Key, Ct);
        Alert failing = (await world.Get<Alerts>().ListAsync("firing", Ct)).Single(a => a.Family == Families.MonitorError);
        Assert.Contains("the archive is broken", failing.Sentence, StringComparison.Ordinal);
        await world.Database.WriteAsync(tx => tx.ExecuteAsync("UPDATE monitoring_monitors SET last_error = NULL"), Ct);
        await world.Get<AlertClock>().StepAsync(AlertClock.Key, Ct);
        Assert.Equal("resolved", (await world.Get<Alerts>().GetAsync(failing.Id, Ct)).State);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Rule_of_a_user_judges_windows_and_its_alert_goes_with_it(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var rules = world.Get<AlertRules>();
        const string document = Head + """
            rules:
              - name: moved
                expression: psi > 0.5
                clear: psi < 0.2
                severity: severe
                labels: {team: risk}
                annotations: {summary: '`{column}` moved to {value}', runbook: 'https://wiki.example.org/moved'}
            """;
        Assert.Equal(ErrorCode.PreconditionFailed, (await Assert.ThrowsAsync<SlipwayException>(() => rules.ApplyAsync(TestWorld.Ada, document + "\ntests:\n  - {name: t, series: [{series: psi, values: '1'}], timeline: {moved: '.'}}\n", Ct))).Code);
        await rules.ApplyAsync(TestWorld.Ada, document, Ct);
        Monitor monitor = await world.Get<Monitors>().WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Traffic.Day(world, 0, 300, shift: 2);
        Traffic.Tick(world, 1);
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        Alert alert = (await world.Get<Alerts>().ListAsync("firing", Ct)).Single(a => a.Family == "rule:moved");
        Assert.StartsWith("`delay` moved to ", alert.Sentence, StringComparison.Ordinal);
        Assert.Equal(("moved", "risk", "severe"), (alert.Labels["alertname"], alert.Labels["team"], alert.Severity));
        AlertPath path = await world.Get<Alerts>().WhyAsync(alert.Id, Ct);
        Assert.Equal(("moved", "delay", "firing"), (path.Rules.First(r => r.State == "firing").Metric, path.Rules.First(r => r.State == "firing").Column, path.Rules.First(r => r.State == "firing").State));
        Assert.Contains("no route with a receiver", path.Verdict, StringComparison.Ordinal);
        await rules.ApplyAsync(TestWorld.Ada, Head + "rules: []", Ct);
        Assert.Equal("resolved", (await world.Get<Alerts>().GetAsync(alert.Id, Ct)).State);
        await world.SealAsync();
        Assert.Equal(2, (await world.Journal.ListAsync(new JournalFilter { Kind = "alert-rules.changed" }, Ct)).Items.Count);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Silence_is_previewed_attributed_extended_ended_and_never_deleted(Engine engine)
    {
        await using AlertWorld alerts = await AlertWorld.CreateAsync(engine);
        var silences = alerts.World.Get<Silences>();
        Alert alert = (await alerts.PostAsync("Drift", "m1", "a", "major", TimeSpan.FromDays(2)))[0];
        Assert.Equal(alert.Id, Assert.Single(await silences.PreviewAsync(["model=m1"], Ct)).Id);
        Assert.Empty(await silences.PreviewAsync(["model=m2"], Ct));
        Assert.Equal(ErrorCode.InvalidArgument, (await Assert.ThrowsAsync<SlipwayException>(() => silences.CreateAsync(TestWorld.Ada, ["model=~\".*\""], null, TimeSpan.FromHours(1), "all", Ct))).Code);
        Assert.Equal(ErrorCode.InvalidArgument, (await Assert.ThrowsAsync<SlipwayException>(() => silences.CreateAsync(TestWorld.Ada, ["model=m1"], null, TimeSpan.FromHours(1), " ", Ct))).Code);
        SilenceView made = await silences.CreateAsync(TestWorld.Grace, ["model=m1"], null, TimeSpan.FromHours(2), "backfill", Ct);
        Assert.Equal(("active", "grace", false), (made.State, made.Silence.CreatedBy, made.EndsWhileMatching));
        await alerts.GoToAsync(3600);
        Assert.Empty(alerts.Sink.Requests);
        Assert.StartsWith("nobody is told: silenced by grace", (await alerts.World.Get<Alerts>().WhyAsync(alert.Id, Ct)).Verdict, StringComparison.Ordinal);
        Assert.True(Assert.Single(await silences.ListAsync(expired: false, Ct)).EndsWhileMatching);
        Assert.Equal(TimeSpan.FromHours(3), (await silences.ExtendAsync(TestWorld.Ada, made.Silence.Id, TimeSpan.FromHours(1), Ct)).Silence.EndsAt - made.Silence.StartsAt);
        await alerts.GoToAsync(7300);
        Assert.Empty(alerts.Sink.Requests);
        Assert.Equal("expired", (await silences.ExpireAsync(TestWorld.Ada, made.Silence.Id, Ct)).State);
        await alerts.GoToAsync(7301);
        Assert.Equal(["firing Drift m1 a"], Assert.Single(alerts.Sink.Told).Alerts);
        Assert.Equal(ErrorCode.PreconditionFailed, (await Assert.ThrowsAsync<SlipwayException>(() => silences.ExpireAsync(TestWorld.Ada, made.Silence.Id, Ct))).Code);
        Assert.Empty(await silences.ListAsync(expired: false, Ct));
        Assert.Equal("ada", Assert.Single(await silences.ListAsync(expired: true, Ct)).Silence.ExpiredBy);
        Assert.Equal(["fired", "silenced", "muted", "silenced", "silenced", "unmuted", "notified", "delivered"], (await alerts.World.Get<Alerts>().TimelineAsync(alert.Id, Ct)).Select(t => t.Kind));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Silences_of_a_document_are_previewed_made_once_and_moved(Engine engine)
    {
        await using AlertWorld alerts = await AlertWorld.CreateAsync(engine);
        var silences = alerts.World.Get<Silences>();
        Alert alert = (await alerts.PostAsync("Drift", "m1", "a", "major", TimeSpan.FromDays(2)))[0];
        DateTimeOffset now = alerts.World.Clock.GetUtcNow();
        string Document(string end, string more = "") => string.Create(
            System.Globalization.CultureInfo.InvariantCulture,
            $$"""
            apiVersion: slipway.dev/silences/v1
            kind: Silences
            silences:
              - { matchers: [model=m1, severity=major], endsAt: "{{end}}", comment: backfill }
              - { matchers: [model=m2], startsAt: "{{now.AddDays(1):u}}", endsAt: "{{now.AddDays(2):u}}", comment: migration }
              - { matchers: [model=m3], endsAt: "{{now.AddDays(-1):u}}", comment: "over long ago" }
            {{more}}
            """);
        string end = now.AddHours(3).ToString("u");
        IReadOnlyList<SilenceChange> seen = await silences.ApplyAsync(TestWorld.Grace, Document(end), preview: true, Ct);
        Assert.Equal([("create", "active", 1), ("create", "pending", 0), ("ended", "expired", 0)], seen.Select(c => (c.Action, c.View.State, c.View.Matches.Count)));
        Assert.Equal(alert.Id, seen[0].View.Matches[0].Id);
        Assert.Empty(await silences.ListAsync(expired: true, Ct));

        IReadOnlyList<SilenceChange> made = await silences.ApplyAsync(TestWorld.Grace, Document(end), preview: false, Ct);
        Assert.Equal(["create", "create", "ended"], made.Select(c => c.Action));
        Assert.StartsWith("nobody is told: silenced by grace", (await alerts.World.Get<Alerts>().WhyAsync(alert.Id, Ct)).Verdict, StringComparison.Ordinal);
        // The same document again, its matchers in another order, changes nothing; what somebody else made is left alone.
        await silences.CreateAsync(TestWorld.Ada, ["model=m9"], null, TimeSpan.FromHours(1), "mine", Ct);
        alerts.World.Clock.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(["none", "none", "ended"], (await silences.ApplyAsync(TestWorld.Ada, Document(end).Replace("model=m1, severity=major", "severity=major, model=m1", StringComparison.Ordinal), preview: false, Ct)).Select(c => c.Action));
        SilenceChange moved = (await silences.ApplyAsync(TestWorld.Ada, Document(now.AddHours(1).ToString("u")), preview: false, Ct))[0];
        Assert.Equal(("change", now.AddHours(1), made[0].View.Silence.Id), (moved.Action, moved.View.Silence.EndsAt, moved.View.Silence.Id));
        Assert.Equal(now.AddHours(1), (await silences.GetAsync(moved.View.Silence.Id, Ct)).Silence.EndsAt);
        Assert.Equal(3, (await silences.ListAsync(expired: false, Ct)).Count);
        await alerts.World.SealAsync();
        Assert.Equal(3, (await alerts.World.Journal.ListAsync(new JournalFilter { Kind = "silence.created" }, Ct)).Items.Count);
        Assert.Equal("ada", Assert.Single((await alerts.World.Journal.ListAsync(new JournalFilter { Kind = "silence.extended" }, Ct)).Items).Actor.Name);

        var wrong = await Assert.ThrowsAsync<SlipwayException>(() => silences.ApplyAsync(TestWorld.Ada, Document(end, "  - { matchers: [], endsAt: soon, comment: c }\n  - { matchers: ['model=~\".*\"'], endsAt: \"2030-01-01\", comment: all, for: 2h }\n  - { matchers: [model=m2], endsAt: \"2030-01-01\", comment: migration }"), preview: true, Ct));
        Assert.Equal(ErrorCode.InvalidArgument, wrong.Code);
        foreach (string problem in new[] { "line 7: 'endsAt': 'soon' is not a time", "line 7: it has no matchers", "line 8: unknown field 'for'", "line 8: its matchers take an alert without any label", "line 9: a silence with these matchers and this comment is in the document already" })
        {
            Assert.Contains(problem, wrong.Why, StringComparison.Ordinal);
        }
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Silence_of_a_column_hides_that_column_only(Engine engine)
    {
        await using AlertWorld alerts = await AlertWorld.CreateAsync(engine);
        TestWorld world = alerts.World;
        Monitor monitor = await world.Get<Monitors>().WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Traffic.Day(world, 0, 300, shift: 2);
        Traffic.Tick(world, 1);
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        Alert alert = Assert.Single(await world.Get<Alerts>().ListAsync("firing", Ct));
        Assert.Contains(alert.Members, m => m.Column == "delay");
        SilenceView part = await world.Get<Silences>().CreateAsync(TestWorld.Ada, ["column=delay"], null, TimeSpan.FromHours(1), "known", Ct);
        Assert.Equal((1, false), (part.Matches.Count, part.Hides(alert)));
        await alerts.GoToAsync(31);
        using (System.Text.Json.JsonDocument body = System.Text.Json.JsonDocument.Parse(Assert.Single(alerts.Sink.Requests).Body))
        {
            Assert.DoesNotContain(body.RootElement.GetProperty("alerts")[0].GetProperty("members").EnumerateArray(), m => m.TryGetProperty("column", out System.Text.Json.JsonElement c) && c.GetString() == "delay");
        }

        await world.Get<Silences>().CreateAsync(TestWorld.Ada, ["metric=~\"score_psi|class_share|confidence|entropy\""], null, TimeSpan.FromHours(1), "known", Ct);
        Assert.StartsWith("silenced", (await world.Get<Alerts>().WhyAsync(alert.Id, Ct)).Routes[0].Mute!.Text, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Routing_is_a_document_that_is_checked_versioned_and_tried(Engine engine)
    {
        await using AlertWorld alerts = await AlertWorld.CreateAsync(engine, null, "team", "pager");
        var routes = alerts.World.Get<AlertRoutes>();
        Assert.Equal(["pager", "team"], (await routes.TestAsync(new Dictionary<string, string> { ["alertname"] = "x" }, Ct)).Select(r => r.Receiver));
        const string head = "apiVersion: slipway.dev/routing/v1\nkind: AlertRouting\n";
        var bad = await Assert.ThrowsAsync<SlipwayException>(() => routes.ApplyAsync(TestWorld.Ada, head + "route:\n  receiver: taem\n  groupInterval: 1ms\n  routes:\n    - {matchers: ['a~b'], muteTimeIntervals: [night]}\n", Ct));
        Assert.Contains("line 4: there is no receiver 'taem', did you mean 'team'?", bad.Why, StringComparison.Ordinal);
        Assert.Contains("line 7: 'matchers'", bad.Why, StringComparison.Ordinal);
        Assert.Contains("there is no time interval 'night'", bad.Why, StringComparison.Ordinal);
        string document = head + "route:\n  receiver: team\n  routes:\n    - {name: severe, receiver: pager, matchers: ['severity=severe'], continue: true}\n    - {name: rest, matchers: ['severity=~\"severe|major\"']}\n";
        Assert.Equal(1, (await routes.ApplyAsync(TestWorld.Ada, document, Ct)).Version);
        Assert.Equal(1, (await routes.ApplyAsync(TestWorld.Ada, document, Ct)).Version);
        Assert.Equal(["/severe", "/rest"], (await routes.TestAsync(new Dictionary<string, string> { ["severity"] = "severe" }, Ct)).Select(r => r.Path));
        Assert.Equal(["/"], (await routes.TestAsync(new Dictionary<string, string> { ["severity"] = "warn" }, Ct)).Select(r => r.Path));
        Assert.Equal(ErrorCode.PreconditionFailed, (await Assert.ThrowsAsync<SlipwayException>(() => alerts.World.Get<Receivers>().RemoveAsync(TestWorld.Ada, "pager", Ct))).Code);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Accepted_window_ends_its_alert_and_a_window_becomes_the_next_reference(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var baselines = world.Get<Baselines>();
        Monitor monitor = await world.Get<Monitors>().WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Traffic.Day(world, 0, 300, shift: 2);
        Traffic.Tick(world, 1);
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        Alert alert = Assert.Single(await world.Get<Alerts>().ListAsync("firing", Ct));
        Assert.Equal(ErrorCode.NotFound, (await Assert.ThrowsAsync<SlipwayException>(() => baselines.AcceptAsync(TestWorld.Ada, monitor.Id, Traffic.Monday.AddDays(3), null, "why", Ct))).Code);
        Assert.Equal(ErrorCode.InvalidArgument, (await Assert.ThrowsAsync<SlipwayException>(() => baselines.AcceptAsync(TestWorld.Ada, monitor.Id, Traffic.Monday, null, " ", Ct))).Code);
        await baselines.AcceptAsync(TestWorld.Ada, monitor.Id, Traffic.Monday, "delay", "known", Ct);
        Assert.Equal((null, "firing"), ((await world.Get<Alerts>().GetAsync(alert.Id, Ct)).Members.FirstOrDefault(m => m.Column == "delay")?.Column, (await world.Get<Alerts>().GetAsync(alert.Id, Ct)).State));
        await baselines.AcceptAsync(TestWorld.Grace, monitor.Id, Traffic.Monday, null, "holiday", Ct);
        Assert.Equal("resolved", (await world.Get<Alerts>().GetAsync(alert.Id, Ct)).State);
        Assert.Equal(["grace", "ada"], (await baselines.ListAsync(monitor.Id, Ct)).Select(a => a.By));

        Assert.Equal(ErrorCode.PreconditionFailed, (await Assert.ThrowsAsync<SlipwayException>(() => baselines.RebaseAsync(TestWorld.Ada, monitor.Id, Traffic.Monday.AddDays(9), Ct))).Code);
        Monitor next = await baselines.RebaseAsync(TestWorld.Ada, monitor.Id, Traffic.Monday, Ct);
        Assert.Equal((300, "flights/1"), (next.ReferenceRows, next.ModelVersion));
        Assert.NotNull((await world.Get<Monitors>().GetAsync(monitor.Id, Ct)).StoppedAt);
        // What was drift is the rule now.
        Traffic.Day(world, 1, 300, shift: 2);
        Traffic.Tick(world, 2);
        await world.Get<Monitors>().EvaluateAsync(next.Id, Ct);
        Assert.Empty(await world.Get<Alerts>().ListAsync("firing", Ct));
        await world.SealAsync();
        Assert.Equal(["monitor.rebased", "monitor.accepted", "monitor.accepted"], (await world.Journal.ListAsync(new JournalFilter { Kind = "monitor." }, Ct)).Items.Select(e => e.Kind).Where(k => k is "monitor.rebased" or "monitor.accepted"));
    }

    private static string Repository(string path, [CallerFilePath] string here = "") => Path.Combine(Path.GetDirectoryName(here)!, "../../..", path);
}
