using System.Globalization;
using System.Text;
using System.Text.Json;
using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring;

/// <summary>What real Prometheus and real Alertmanager did, done again.</summary>
public sealed class AlertTraceTests
{
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Fact]
    public void Rule_states_are_those_of_prometheus_minute_by_minute()
    {
        JsonElement trace = Read("prometheus_rule_timeline");
        var yaml = new StringBuilder("apiVersion: slipway.dev/alert-rules/v1\nkind: AlertRules\nrules:\n");
        foreach (JsonElement rule in trace.GetProperty("rules").EnumerateArray())
        {
            // A sum by the only label that a series has is the series.
            string expression = rule.GetProperty("expr").GetString()!.Replace("sum by (feature) (errors)", "errors", StringComparison.Ordinal).Replace("sum by (feature) (total)", "total", StringComparison.Ordinal);
            yaml.Append(CultureInfo.InvariantCulture, $"  - {{name: {rule.GetProperty("alert").GetString()!.ToLowerInvariant()}, expression: '{expression}', noData: ok");
            yaml.Append(rule.TryGetProperty("for", out JsonElement f) ? $", for: {f.GetString()}" : "");
            yaml.Append(rule.TryGetProperty("keep_firing_for", out JsonElement k) ? $", keepFiringFor: {k.GetString()}" : "").Append("}\n");
        }

        yaml.Append("tests:\n  - name: timeline\n    interval: 1m\n    lookback: 5m\n    series:\n");
        foreach (JsonProperty series in trace.GetProperty("series").EnumerateObject())
        {
            yaml.Append(CultureInfo.InvariantCulture, $"      - {{series: '{series.Name}', values: '{series.Value.GetString()}'}}\n");
        }

        yaml.Append("    timeline:\n");
        int lines = 0;
        foreach (JsonProperty line in trace.GetProperty("timeline").EnumerateObject())
        {
            string[] key = line.Name.Split('|');
            yaml.Append(CultureInfo.InvariantCulture, $"      '{key[0].ToLowerInvariant()}{{feature=\"{key[1]}\"}}': '{line.Value.GetString()}'\n");
            lines++;
        }

        Assert.Equal(14, lines);
        RuleTestResult result = Assert.Single(RuleTests.Run(yaml.ToString(), null));
        Assert.Empty(result.Failures);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Notifications_are_those_of_alertmanager(Engine engine)
    {
        JsonElement trace = Read("alertmanager_notifications");
        await using AlertWorld alerts = await AlertWorld.CreateAsync(engine, Config + "alertmanagerBehaviour: true\n", "team", "pager");
        List<(double T, string Receiver, string Status, string[] Alerts)> got = await PlayAsync(alerts, trace);
        var expected = trace.GetProperty("notifications").EnumerateArray()
            .Select(n => (T: n.GetProperty("t").GetDouble(), Receiver: n.GetProperty("receiver").GetString()!, Status: n.GetProperty("status").GetString()!, Alerts: n.GetProperty("alerts").EnumerateArray().Select(a => string.Join(' ', a.EnumerateArray().Select(p => p.GetString()))).ToArray()))
            .ToList();

        // News: order, contents and times. Two messages of one tick have no order among themselves.
        Assert.Equal(News(expected).Select(Text), News(got).Select(Text));
        foreach (((double t, _, _, _), (double want, _, _, _)) in News(got).Zip(News(expected)))
        {
            Assert.InRange(t, want - 0.3, want + 0.3);
        }

        // Repeats are due 15 s after the message before, on a tick of 5 s. The real one slips a tick where its clock ran a little behind.
        foreach (List<(double T, string Receiver, string Status, string[] Alerts)> all in new[] { expected, got })
        {
            var last = new Dictionary<string, double>(StringComparer.Ordinal);
            var news = News(all).ToHashSet();
            foreach ((double T, string Receiver, string Status, string[] Alerts) n in all)
            {
                string group = $"{n.Receiver} {n.Alerts[0].Split(' ')[2]}";
                Assert.True(news.Contains(n) || n.T - last[group] is > 14.7 and < 20.3, $"{Text(n)} at {n.T}");
                last[group] = n.T;
            }
        }

        Assert.InRange(got.Count, expected.Count, expected.Count + 3);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task What_resolved_under_a_silence_is_told_when_the_silence_ends(Engine engine)
    {
        await using AlertWorld alerts = await AlertWorld.CreateAsync(engine, Config, "team", "pager");
        List<(double T, string Receiver, string Status, string[] Alerts)> got = await PlayAsync(alerts, Read("alertmanager_notifications"));

        // Alertmanager waits for the tick at 47 s and never tells that `a` resolved.
        (double T, string Receiver, string Status, string[] Alerts) unmuted = got.First(n => n.T > 34 && n.Alerts.Any(a => a.Contains(" m1 ", StringComparison.Ordinal)));
        Assert.Equal(46, unmuted.T, 0.3);
        Assert.Equal(["firing Drift m1 c", "firing Drift m1 d", "resolved Drift m1 a"], unmuted.Alerts);
        foreach (IGrouping<string, string> resolved in got.SelectMany(n => n.Alerts.Where(a => a.StartsWith("resolved", StringComparison.Ordinal)).Select(a => $"{n.Receiver}: {a}")).GroupBy(a => a))
        {
            Assert.Single(resolved);
        }
    }

    private const string Config = """
        resolveTimeout: 6s
        route:
          receiver: team
          groupBy: [model]
          groupWait: 2s
          groupInterval: 5s
          repeatInterval: 15s
          routes:
            - {receiver: pager, matchers: ['severity="critical"'], continue: true}
            - {receiver: team, matchers: ['severity=~"warning|critical"']}
        inhibit:
          - {source: ['severity="critical"'], target: ['severity="warning"'], equal: [model]}

        """;

    private static async Task<List<(double T, string Receiver, string Status, string[] Alerts)>> PlayAsync(AlertWorld alerts, JsonElement trace)
    {
        var got = new List<(double, string, string, string[])>();
        string silence = "";
        foreach (JsonElement step in trace.GetProperty("script").EnumerateArray())
        {
            double at = step.GetProperty("t").GetDouble();
            string action = step.GetProperty("action").GetString()!;
            await ToAsync(at);
            string[] words = action.Split(' ');
            if (action.StartsWith("silence", StringComparison.Ordinal))
            {
                silence = (await alerts.World.Get<Silences>().CreateAsync(TestWorld.Ada, ["model=\"m1\""], null, TimeSpan.FromSeconds(20), "maintenance", Ct)).Silence.Id;
            }
            else if (action.StartsWith("expire", StringComparison.Ordinal))
            {
                await alerts.World.Get<Silences>().ExpireAsync(TestWorld.Ada, silence, Ct);
            }
            else
            {
                // Without a word about its end the script posts an end an hour ahead.
                TimeSpan? lasts = action.Contains("'now'", StringComparison.Ordinal) ? TimeSpan.Zero : action.Contains("'none'", StringComparison.Ordinal) ? null : TimeSpan.FromHours(1);
                await alerts.PostAsync(words[1], words[2], words[3], words[4], lasts);
            }
        }

        await ToAsync(100);
        return got;

        async Task ToAsync(double second)
        {
            for (double t = Math.Floor(alerts.Now * 10 + 1) / 10; t < second; t += 0.1)
            {
                await TakeAsync(t);
            }

            await TakeAsync(second);
        }

        async Task TakeAsync(double second)
        {
            int before = alerts.Sink.Requests.Count;
            await alerts.GoToAsync(second);
            got.AddRange(alerts.Sink.Told.Skip(before).Select(t => (alerts.Now, t.Receiver, t.Status, t.Alerts)));
        }
    }

    private static string Text((double T, string Receiver, string Status, string[] Alerts) n) => $"{n.Receiver} {n.Status}: {string.Join(", ", n.Alerts.Order(StringComparer.Ordinal))}";

    /// <summary>Messages that say something their receiver was not told before.</summary>
    private static List<(double T, string Receiver, string Status, string[] Alerts)> News(IEnumerable<(double T, string Receiver, string Status, string[] Alerts)> all)
    {
        var told = new HashSet<string>(StringComparer.Ordinal);
        return [.. all.Where(n => n.Alerts.Select(a => told.Add($"{n.Receiver} {a}")).ToArray().Any(isNew => isNew)).OrderBy(n => Math.Round(n.T)).ThenBy(n => n.Receiver, StringComparer.Ordinal).ThenBy(Text, StringComparer.Ordinal)];
    }

    private static JsonElement Read(string name)
    {
        using Stream stream = typeof(AlertTraceTests).Assembly.GetManifestResourceStream($"Slipway.Tests.Monitoring.Figures.{name}.json")!;
        using JsonDocument document = JsonDocument.Parse(stream);
        return document.RootElement.Clone();
    }
}
