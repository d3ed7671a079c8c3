using System.Globalization;
using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>The alert rules of users: one document is in force at a time, and judges every window that closes from then on.</summary>
public sealed class AlertRules
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
    private readonly Database database;
    private readonly Journal journal;
    private readonly AlertState alerts;
    private readonly TimeProvider clock;

    internal AlertRules(Database database, Journal journal, AlertState alerts, TimeProvider clock) =>
        (this.database, this.journal, this.alerts, this.clock) = (database, journal, alerts, clock);

    /// <summary>Puts the rules of a document in force, in place of all others. Alerts of rules that are gone resolve.</summary>
    /// <param name="actor">Who.</param>
    /// <param name="document">YAML of kind `AlertRules`; its tests are run first.</param>
    /// <param name="ct">Cancels.</param>
    /// <returns>The rules.</returns>
    /// <exception cref="SlipwayException">InvalidArgument with every problem and its line; PreconditionFailed when a test fails.</exception>
    public async Task<IReadOnlyList<RuleDefinition>> ApplyAsync(Actor actor, string document, CancellationToken ct)
    {
        var file = RuleFile.Parse(document);
        string[] failed = [.. RuleTests.Run(document, null).SelectMany(t => t.Failures.Select(f => $"test '{t.Name}': {f}"))];
        if (failed.Length > 0)
        {
            throw new SlipwayException(ErrorCode.PreconditionFailed, "the alert rules are not applied", string.Join("; ", failed), "slipway monitor test-rules FILE, then apply again");
        }

        await database.WriteAsync(
            async tx =>
            {
                string[] before = [.. await tx.QueryAsync<string>("SELECT name FROM monitoring_alert_rules ORDER BY name")];
                await tx.ExecuteAsync("DELETE FROM monitoring_alert_rules");
                foreach (RuleDefinition rule in file.Rules)
                {
                    await tx.ExecuteAsync(
                        "INSERT INTO monitoring_alert_rules (name, body, applied_by, applied_us) VALUES (@Name, @body, @by, @now)",
                        new { rule.Name, body = JsonSerializer.Serialize(rule, Json), by = actor.Name, now = clock.NowMicros() });
                }

                await journal.AppendAsync(tx, actor, "alert-rules.changed", new Subject("alert-rules", "all"), new AlertRulesChanged([.. file.Rules.Select(r => r.Name)], document));
                foreach (string gone in before.Where(b => file.Rules.All(r => r.Name != b)))
                {
                    await tx.ExecuteAsync("DELETE FROM monitoring_rule_sets WHERE rule = @gone", new { gone });
                    foreach (AlertRow row in await tx.QueryAsync<AlertRow>($"SELECT {AlertRow.Columns} FROM monitoring_alerts WHERE state = 'firing' AND family IN (@fires, @blind)", new { fires = Families.OfRule(gone), blind = Families.OfRule(gone) + ":no-data" }))
                    {
                        await alerts.ResolveAsync(tx, actor, row.Read(), $"the rule {gone} was removed");
                    }
                }
            },
            ct);
        return file.Rules;
    }

    /// <summary>The rules in force, by name.</summary>
    public Task<IReadOnlyList<RuleDefinition>> ListAsync(CancellationToken ct) => database.ReadAsync(LoadAsync, ct);

    /// <summary>Judges a window by every rule.</summary>
    internal async Task ApplyAsync(Tx tx, Watched monitor, IReadOnlyList<MonitorPoint> window)
    {
        IReadOnlyList<RuleDefinition> rules = await LoadAsync(tx);
        if (rules.Count == 0 || window.Count == 0)
        {
            return;
        }

        RuleSample[] samples = [.. window.Where(p => p.State is PointState.Ok or PointState.Alert && p.Value is not null).Select(p => new RuleSample(p.Metric, LabelsOf(monitor, p), p.Value!.Value))];
        foreach (RuleDefinition rule in rules)
        {
            await JudgeAsync(tx, monitor, new RuleCondition(rule), samples, window);
        }
    }

    /// <summary>Where a rule stands on a monitor, by labels.</summary>
    internal static async Task<IReadOnlyDictionary<string, RuleSet>> SetsAsync(Session s, string monitor, string rule) =>
        (await s.QueryAsync<SetRow>("SELECT labels AS Labels, state AS State FROM monitoring_rule_sets WHERE monitor = @monitor AND rule = @rule", new { monitor, rule }))
            .ToDictionary(r => r.Labels, r => JsonSerializer.Deserialize<RuleSet>(r.State, StateJson)!, StringComparer.Ordinal);

    private static readonly JsonSerializerOptions StateJson = new(JsonSerializerDefaults.Web) { NumberHandling = System.Text.Json.Serialization.JsonNumberHandling.AllowNamedFloatingPointLiterals };

    private async Task JudgeAsync(Tx tx, Watched monitor, RuleCondition condition, RuleSample[] samples, IReadOnlyList<MonitorPoint> window)
    {
        RuleDefinition rule = condition.Rule;
        var states = new Dictionary<string, RuleSet>(await SetsAsync(tx, monitor.MonitorId, rule.Name), StringComparer.Ordinal);
        condition.Next(states, samples, Time.ToMicros(window[0].WindowStart));
        foreach ((string labels, RuleSet set) in states)
        {
            await tx.ExecuteAsync(
                "INSERT INTO monitoring_rule_sets (monitor, rule, labels, state) VALUES (@monitor, @rule, @labels, @state) ON CONFLICT (monitor, rule, labels) DO UPDATE SET state = excluded.state",
                new { monitor = monitor.MonitorId, rule = rule.Name, labels, state = JsonSerializer.Serialize(set, StateJson) });
        }

        (string Family, Func<RuleSet, bool> Fires)[] families =
        [
            (Families.OfRule(rule.Name), s => s.State.State == AlertRule.Firing),
            (Families.OfRule(rule.Name) + ":no-data", s => rule.Spec.NoData == NoData.Alert && s.State.Gaps >= rule.Spec.NoDataFor),
        ];
        foreach ((string family, Func<RuleSet, bool> fires) in families)
        {
            Alert? open = await alerts.OpenAsync(tx, monitor.MonitorId, family);
            RuleSet[] firing = [.. states.Values.Where(fires)];
            string span = AlertText.Span(window[0].WindowStart, window[0].WindowEnd);
            if (firing.Length == 0)
            {
                if (open is not null)
                {
                    await alerts.ResolveAsync(tx, AlertState.Self, open, $"{rule.Name} is clear in {span}");
                }

                continue;
            }

            string metric = condition.Metrics[0];
            bool blind = family.EndsWith(":no-data", StringComparison.Ordinal);
            AlertMember[] members =
            [
                .. firing.Select(s => new AlertMember(metric, s.Labels.GetValueOrDefault("column"), Finite(s.Last?.Value), Finite(s.Last?.Limit), Rows(window, metric, s.Labels.GetValueOrDefault("column")), rule.Severity))
                    .OrderByDescending(m => Math.Abs(m.Value - m.Threshold)).ThenBy(m => m.Column, StringComparer.Ordinal),
            ];
            string sentence = blind
                ? $"{rule.Name}: {metric} gave no number for {rule.Spec.NoDataFor} windows up to {span}"
                : rule.Annotations.GetValueOrDefault("summary") is { } summary ? Fill(summary, monitor, members[0]) : $"{rule.Name}: {string.Join(", ", members.Take(3).Select(Part))}{(members.Length > 3 ? $" and {members.Length - 3} more" : "")} ({rule.Expression}) in {span}";
            await alerts.RaiseAsync(
                tx, monitor, open, family, members, (window[0].WindowStart, window[0].WindowEnd), sentence, $"window {span} judged: {rule.Expression} holds for {firing.Length} of {states.Count}", rule.Labels, rule.Annotations);
        }
    }

    // A member's numbers are shown and stored, and neither knows infinity; the rule has judged it already.
    private static double Finite(double? value) => value is not { } v || double.IsNaN(v) ? 0 : double.IsFinite(v) ? v : Math.CopySign(double.MaxValue, v);

    private static long Rows(IReadOnlyList<MonitorPoint> window, string metric, string? column) => window.FirstOrDefault(p => p.Metric == metric && p.Column == column)?.N ?? 0;

    private static string Part(AlertMember m) => $"{m.Metric}{(m.Column is null ? "" : $" of `{m.Column}`")} is {Number(m.Value)}";

    private static string Number(double value) => value.ToString("0.###", CultureInfo.InvariantCulture);

    private static string Fill(string template, Watched monitor, AlertMember m) => template
        .Replace("{column}", m.Column ?? "", StringComparison.Ordinal).Replace("{metric}", m.Metric, StringComparison.Ordinal).Replace("{value}", Number(m.Value), StringComparison.Ordinal)
        .Replace("{limit}", Number(m.Threshold), StringComparison.Ordinal).Replace("{n}", m.N.ToString("#,0", CultureInfo.InvariantCulture), StringComparison.Ordinal)
        .Replace("{version}", monitor.ModelVersion, StringComparison.Ordinal).Replace("{endpoint}", monitor.Endpoint, StringComparison.Ordinal);

    private static IReadOnlyDictionary<string, string> LabelsOf(Watched monitor, MonitorPoint point)
    {
        int slash = monitor.ModelVersion.LastIndexOf('/');
        return LabelSet.Of(
        [
            KeyValuePair.Create("endpoint", monitor.Endpoint), KeyValuePair.Create("model", slash > 0 ? monitor.ModelVersion[..slash] : monitor.ModelVersion),
            KeyValuePair.Create("version", slash > 0 ? monitor.ModelVersion[(slash + 1)..] : ""), KeyValuePair.Create("monitor", monitor.MonitorId), KeyValuePair.Create("column", point.Column ?? ""),
        ]);
    }

    private static async Task<IReadOnlyList<RuleDefinition>> LoadAsync(Session s) =>
        [.. (await s.QueryAsync<string>("SELECT body FROM monitoring_alert_rules ORDER BY name")).Select(b => JsonSerializer.Deserialize<RuleDefinition>(b, Json)!)];

    private sealed class SetRow
    {
        public string Labels { get; set; } = "";

        public string State { get; set; } = "";
    }
}

/// <summary>Looks at the clock for every monitor and every posted alert, and keeps the tables of alerting bounded.</summary>
internal sealed class AlertClock(Database database, AlertState alerts, BlindRules blind, MonitoringOptions options, TimeProvider clock) : IClockedWork
{
    public const string Name = "alert-clock";
    public const string Key = "all";
    private static readonly TimeSpan Tick = TimeSpan.FromSeconds(15);
    private DateTimeOffset pruned;

    public string Kind => Name;

    public Task<IReadOnlyList<string>> OpenAsync(CancellationToken ct) => Task.FromResult<IReadOnlyList<string>>([Key]);

    public async Task<DateTimeOffset?> StepAsync(string key, CancellationToken ct)
    {
        DateTimeOffset now = clock.GetUtcNow();
        if (await database.ReadAsync(s => s.ScalarAsync<long>("SELECT COUNT(*) FROM monitoring_alerts WHERE state = 'firing' AND expires_us <= @now", new { now = Time.ToMicros(now) }), ct) > 0)
        {
            await database.WriteAsync(alerts.ExpireAsync, ct);
        }

        foreach (MonitorRow row in await database.ReadAsync(s => s.QueryAsync<MonitorRow>($"SELECT {MonitorRow.Columns} FROM monitoring_monitors WHERE stopped_us IS NULL ORDER BY id"), ct))
        {
            if (!await database.ReadAsync(s => blind.IsDueAsync(s, row), ct))
            {
                continue;
            }

            await database.WriteAsync(
                async tx =>
                {
                    // It may have been stopped or repaired since the list was read.
                    if (await tx.FindAsync<MonitorRow>($"SELECT {MonitorRow.Columns} FROM monitoring_monitors WHERE id = @Id AND stopped_us IS NULL", new { row.Id }) is { } fresh)
                    {
                        await blind.LookAsync(tx, fresh);
                    }
                },
                ct);
        }

        if (now - pruned > TimeSpan.FromHours(1))
        {
            await database.WriteAsync(tx => PruneAsync(tx, Time.ToMicros(now - options.AlertRetention)), ct);
            pruned = now;
        }

        long? expires = await database.ReadAsync(s => s.ScalarAsync<long?>("SELECT MIN(expires_us) FROM monitoring_alerts WHERE state = 'firing' AND expires_us IS NOT NULL"), ct);
        DateTimeOffset next = now + Tick;
        return expires is { } e && Time.FromMicros(e) < next ? Time.FromMicros(e) : next;
    }

    private static async Task PruneAsync(Tx tx, long before)
    {
        await tx.ExecuteAsync("DELETE FROM monitoring_notification_alerts WHERE notification IN (SELECT id FROM monitoring_notifications WHERE state <> 'pending' AND done_us < @before)", new { before });
        await tx.ExecuteAsync("DELETE FROM monitoring_notifications WHERE state <> 'pending' AND done_us < @before", new { before });
        await tx.ExecuteAsync("DELETE FROM monitoring_silences WHERE end_us < @before", new { before });
        await tx.ExecuteAsync("DELETE FROM monitoring_timeline WHERE alert IN (SELECT id FROM monitoring_alerts WHERE state = 'resolved' AND resolved_us < @before)", new { before });
        await tx.ExecuteAsync("DELETE FROM monitoring_alerts WHERE state = 'resolved' AND resolved_us < @before AND id NOT IN (SELECT alert FROM monitoring_group_alerts)", new { before });
    }
}
