using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>The decision path of an alert: from the windows that were judged to the people who were told.</summary>
/// <param name="Alert">It.</param>
/// <param name="Verdict">In one sentence: who was told, or why nobody was.</param>
/// <param name="Rules">Its rules with the windows that they looked at.</param>
/// <param name="Routes">The routes that take it, with what is so there now.</param>
/// <param name="Silences">Silences that match it at present.</param>
/// <param name="Deliveries">Every message about it.</param>
/// <param name="BlastRadius">What depends on the watched version and endpoint.</param>
/// <param name="Timeline">What happened, the oldest first.</param>
public sealed record AlertPath(
    Alert Alert,
    string Verdict,
    IReadOnlyList<RulePath> Rules,
    IReadOnlyList<RoutePath> Routes,
    IReadOnlyList<Silence> Silences,
    IReadOnlyList<Notification> Deliveries,
    IReadOnlyList<Subject> BlastRadius,
    IReadOnlyList<TimelineEntry> Timeline)
{
    private const int MostRules = 50;
    private const int MostWindows = 8;

    internal static async Task<AlertPath> LoadAsync(Session s, Alert alert, Groups groups, DateTimeOffset now)
    {
        AlertRouting routing = await groups.RoutingAsync(s);
        Mutes mutes = await Mutes.LoadAsync(s, routing, now);
        IReadOnlyList<Notification> deliveries = await Alerts.NotificationsAsync(s, alert.Id);
        var routes = new List<RoutePath>();
        foreach (AlertRoute route in routing.Match(alert.Labels))
        {
            IReadOnlyDictionary<string, string> group = route.Group(alert.Labels);
            long? next = await s.ScalarAsync<long?>("SELECT next_us FROM monitoring_groups WHERE id = @id", new { id = Groups.IdOf(route, alert.Labels) });
            routes.Add(new RoutePath(
                route.Path, route.Receiver, [.. route.Matchers.Select(m => m.ToString())], group, alert.State == "firing" ? mutes.Of(alert, route) : null,
                next is { } at ? Time.FromMicros(at) : null, Duration.Text(route.GroupWait), Duration.Text(route.GroupInterval), Duration.Text(route.RepeatInterval)));
        }

        IReadOnlyList<TimelineRow> timeline = await s.QueryAsync<TimelineRow>("SELECT at_us AS AtUs, kind AS Kind, text AS Text FROM monitoring_timeline WHERE alert = @Id ORDER BY at_us, id LIMIT 10000", new { alert.Id });
        return new AlertPath(
            alert, Say(alert, routes, deliveries), await RulesAsync(s, alert), routes, mutes.SilencesOf(alert), deliveries, [], [.. timeline.Select(t => new TimelineEntry(Time.FromMicros(t.AtUs), t.Kind, t.Text))]);
    }

    private static string Say(Alert alert, List<RoutePath> routes, IReadOnlyList<Notification> deliveries)
    {
        string[] told = [.. deliveries.Where(d => d.State == "delivered").Select(d => d.Receiver).Distinct(StringComparer.Ordinal)];
        string[] waiting = [.. deliveries.Where(d => d.State == "pending").Select(d => $"{d.Receiver} ({(d.Attempts == 0 ? "not tried yet" : $"{d.Attempts} attempts, {d.LastError}")})")];
        if (told.Length > 0 || waiting.Length > 0)
        {
            return string.Join("; ", new[] { told.Length > 0 ? $"told: {string.Join(", ", told)}" : "nobody was told yet", waiting.Length > 0 ? $"waiting: {string.Join(", ", waiting)}" : "" }.Where(t => t.Length > 0));
        }

        string[] failed = [.. deliveries.Where(d => d.State == "failed").Select(d => $"{d.Receiver}: {d.LastError}")];
        RoutePath[] heard = [.. routes.Where(r => r.Receiver.Length > 0)];
        return failed.Length > 0 ? $"nobody was told; given up: {string.Join(", ", failed)}"
            : heard.Length == 0 ? "nobody is told: no route with a receiver takes it; make one with slipway receiver set"
            : heard.All(r => r.Mute is not null) ? $"nobody is told: {heard[0].Mute!.Text}"
            : alert.State == "resolved" ? "nobody was told: it resolved before its group was due"
            : $"nobody was told yet: {string.Join(", ", heard.Where(r => r.Mute is null).Select(r => $"{r.Receiver} is due {(r.NextAt is { } at ? "at " + AlertText.Moment(at) : "soon")}"))}";
    }

    private static async Task<IReadOnlyList<RulePath>> RulesAsync(Session s, Alert alert)
    {
        if (alert.Family.StartsWith("rule:", StringComparison.Ordinal))
        {
            string name = alert.Family.Split(':')[1];
            return [.. (await AlertRules.SetsAsync(s, alert.Monitor, name)).Values.Take(MostRules).Select(r => Of(name, r.Labels.GetValueOrDefault("column"), r.State, r.Last?.Value, r.Last?.Limit))];
        }

        if (alert.Monitor.Length == 0)
        {
            return [];
        }

        Dictionary<(string Metric, string Column), AlertRule> rules = await RuleRows.LoadAsync(s, alert.Monitor);
        return
        [
            .. rules.Where(r => Families.Of(r.Key.Metric) == alert.Family || (alert.Family == Families.NoData && r.Key.Metric == BlindRules.Key))
                .Select(r => (r.Key, r.Value, Member: alert.Members.FirstOrDefault(m => m.Metric == r.Key.Metric && (m.Column ?? "") == r.Key.Column)))
                .OrderBy(r => r.Member is null ? 1 : 0).ThenBy(r => r.Value.State == AlertRule.Firing ? 0 : r.Value.State == AlertRule.Pending ? 1 : 2).Take(MostRules)
                .Select(r => Of(r.Key.Metric, r.Key.Column.Length == 0 ? null : r.Key.Column, r.Value, r.Member?.Value, r.Member?.Threshold)),
        ];
    }

    private static RulePath Of(string metric, string? column, AlertRule rule, double? value, double? threshold) => new(
        metric, column, rule.State, rule.Since == 0 && rule.History.Count == 0 ? null : Time.FromMicros(rule.Since), value, threshold,
        [.. rule.History.TakeLast(MostWindows).Select(h => new WindowPath(Time.FromMicros(h.Window), h.Gap ? "no data" : h.Rank > 0 ? $"breached ({h.Rank switch { 3 => DriftLevel.Severe, 2 => DriftLevel.Major, _ => DriftLevel.Warn }})" : h.Clear ? "clear" : "between the limits", h.After?.State ?? rule.State))]);

    private sealed class TimelineRow
    {
        public long AtUs { get; set; }

        public string Kind { get; set; } = "";

        public string Text { get; set; } = "";
    }
}

/// <summary>One rule of an alert and the newest windows that it looked at.</summary>
/// <param name="Metric">The metric, or the name of a user's rule.</param>
/// <param name="Column">The feature; null when it is about none.</param>
/// <param name="State">`inactive`, `pending` or `firing`.</param>
/// <param name="Since">Start of the window at which that began.</param>
/// <param name="Value">The newest value that breached.</param>
/// <param name="Threshold">The limit that it breached.</param>
/// <param name="Windows">The newest at the end.</param>
public sealed record RulePath(string Metric, string? Column, string State, DateTimeOffset? Since, double? Value, double? Threshold, IReadOnlyList<WindowPath> Windows);

/// <summary>What one window said to a rule, and where the rule stood then.</summary>
public sealed record WindowPath(DateTimeOffset Start, string Verdict, string State);

/// <summary>A route that takes an alert.</summary>
/// <param name="Route">Its path.</param>
/// <param name="Receiver">Who hears; empty for nobody.</param>
/// <param name="Matchers">What it asks for.</param>
/// <param name="Group">The labels of the alert's group there.</param>
/// <param name="Mute">What keeps it quiet now; null when nothing does.</param>
/// <param name="NextAt">When the group is looked at next; null when there is no group.</param>
/// <param name="GroupWait">How long a new group waits.</param>
/// <param name="GroupInterval">How often it is looked at.</param>
/// <param name="RepeatInterval">After how long an unchanged group is told again.</param>
public sealed record RoutePath(
    string Route, string Receiver, IReadOnlyList<string> Matchers, IReadOnlyDictionary<string, string> Group, Mute? Mute, DateTimeOffset? NextAt, string GroupWait, string GroupInterval, string RepeatInterval);
