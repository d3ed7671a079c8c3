using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Moves the rules of one monitor after one of its windows was judged, inside the transaction that stores the points: those that come with
/// every monitor, by the verdicts of the points, and those of users, by their numbers.
/// </summary>
internal sealed class WindowRules(AlertState alerts, BlindRules blind, AlertRules userRules, TimeProvider clock)
{
    /// <summary>Applies the newest points of one window.</summary>
    public async Task ApplyAsync(Tx tx, Watched monitor, MonitorReference reference, Thresholds thresholds, IReadOnlyList<MonitorPoint> changed, IReadOnlyList<MonitorPoint> window)
    {
        Dictionary<(string Metric, string Column), AlertRule> rules = await RuleRows.LoadAsync(tx, monitor.MonitorId);
        foreach (MonitorPoint point in changed)
        {
            if (Families.Of(point.Metric).Length == 0 || AlertRule.Observe(point) is not { } observation)
            {
                continue;
            }

            (string Metric, string Column) key = (point.Metric, point.Column ?? "");
            AlertRule before = rules.GetValueOrDefault(key, AlertRule.New), after = before.Next(observation, thresholds);
            rules[key] = after;
            await RuleRows.SaveAsync(tx, monitor.MonitorId, key, after);
        }

        foreach (string family in Families.All)
        {
            await MoveAsync(tx, monitor, family, rules, reference, thresholds, changed, window);
        }

        await blind.JudgedAsync(tx, monitor, changed);
        await userRules.ApplyAsync(tx, monitor, window);
    }

    /// <summary>Moves the rule of the stream detector after labels of one window of label time were taken. Rules of users look at windows of event time only.</summary>
    public async Task StreamAsync(Tx tx, Watched monitor, MonitorReference reference, Thresholds thresholds, MonitorPoint point)
    {
        if (AlertRule.Observe(point) is not { } observation)
        {
            return;
        }

        Dictionary<(string Metric, string Column), AlertRule> rules = await RuleRows.LoadAsync(tx, monitor.MonitorId);
        (string Metric, string Column) key = (point.Metric, "");
        rules[key] = rules.GetValueOrDefault(key, AlertRule.New).Next(observation, thresholds);
        await RuleRows.SaveAsync(tx, monitor.MonitorId, key, rules[key]);
        await MoveAsync(tx, monitor, Families.Concept, rules, reference, thresholds, [point], [point]);
    }

    /// <summary>Counts the drift of a window as clear; the alert goes on with the members that still fire, or ends.</summary>
    public async Task AcceptAsync(Tx tx, Actor actor, Monitor monitor, DateTimeOffset windowStart, string? column, string comment)
    {
        Dictionary<(string Metric, string Column), AlertRule> rules = await RuleRows.LoadAsync(tx, monitor.Id);
        foreach ((string Metric, string Column) key in rules.Keys.Where(k => Families.Of(k.Metric) == Families.Drift && (column is null || k.Column == column)).ToArray())
        {
            rules[key] = rules[key].Next(new RuleObservation(Time.ToMicros(windowStart), 0, Clear: true), monitor.Thresholds);
            await RuleRows.SaveAsync(tx, monitor.Id, key, rules[key]);
        }

        if (await alerts.OpenAsync(tx, monitor.Id, Families.Drift) is not { } open)
        {
            return;
        }

        AlertMember[] left = [.. open.Members.Where(m => rules.GetValueOrDefault((m.Metric, m.Column ?? ""), AlertRule.New).State == AlertRule.Firing)];
        string why = $"window {AlertText.Moment(windowStart)} was accepted by {actor.Name}{(column is null ? "" : $" for `{column}`")}: {comment}";
        if (left.Length == 0)
        {
            await alerts.ResolveAsync(tx, actor, open, why);
        }
        else
        {
            await alerts.RaiseAsync(tx, new Watched(monitor.Id, monitor.Endpoint, monitor.ModelVersion, monitor.Scope), open, Families.Drift, left, (open.WindowStart, open.WindowEnd), open.Sentence, why, LabelSet.Empty, LabelSet.Empty);
        }
    }

    private async Task MoveAsync(
        Tx tx, Watched monitor, string family, Dictionary<(string Metric, string Column), AlertRule> rules, MonitorReference reference, Thresholds thresholds, IReadOnlyList<MonitorPoint> changed, IReadOnlyList<MonitorPoint> window)
    {
        if (!changed.Any(p => Families.Of(p.Metric) == family && p.State is PointState.Ok or PointState.Alert))
        {
            if (family == Families.Drift)
            {
                await AddRealizedAsync(tx, monitor, reference, thresholds, window);
            }

            return;
        }

        Alert? open = await alerts.OpenAsync(tx, monitor.MonitorId, family);
        AlertMember[] members = Members(family, rules, open, window);
        if (members.Length == 0)
        {
            if (open is not null)
            {
                await alerts.ResolveAsync(tx, AlertState.Self, open, $"every rule is clear in {AlertText.Span(window[0].WindowStart, window[0].WindowEnd)}");
            }

            return;
        }

        bool breached = window.Any(p => Families.Of(p.Metric) == family && p.State == PointState.Alert);
        string sentence = breached || open is null ? AlertText.Of(monitor, family, members, window, reference, thresholds) : open.Sentence;
        (DateTimeOffset Start, DateTimeOffset End) span = breached || open is null ? (window[0].WindowStart, window[0].WindowEnd) : (open.WindowStart, open.WindowEnd);
        string evaluated = $"window {AlertText.Span(window[0].WindowStart, window[0].WindowEnd)} judged: {members.Length} of {rules.Count(r => Families.Of(r.Key.Metric) == family)} rules of family {family} fire";
        await alerts.RaiseAsync(tx, monitor, open, family, members, span, sentence, evaluated, LabelSet.Empty, LabelSet.Empty);
    }

    /// <summary>Labels come after the drift: the sentence of a firing drift alert gets the realized performance of its window once there is one.</summary>
    private async Task AddRealizedAsync(Tx tx, Watched monitor, MonitorReference reference, Thresholds thresholds, IReadOnlyList<MonitorPoint> window)
    {
        Alert? open = (await tx.FindAsync<AlertRow>(
            $"SELECT {AlertRow.Columns} FROM monitoring_alerts WHERE monitor = @MonitorId AND family = 'drift' AND state = 'firing' AND start_us = @start", new { monitor.MonitorId, start = Time.ToMicros(window[0].WindowStart) }))?.Read();
        if (open is null || AlertText.Of(monitor, Families.Drift, open.Members, window, reference, thresholds) is var sentence && sentence == open.Sentence)
        {
            return;
        }

        await AlertRow.UpdateAsync(tx, open with { Sentence = sentence, UpdatedAt = clock.GetUtcNow() });
        await alerts.TimelineAsync(tx, open.Id, "evaluated", sentence);
    }

    /// <summary>The firing rules with their numbers: those of this window where they breached, else those that the open alert has.</summary>
    private static AlertMember[] Members(string family, Dictionary<(string Metric, string Column), AlertRule> rules, Alert? open, IReadOnlyList<MonitorPoint> window) => rules
        .Where(r => r.Value.State == AlertRule.Firing && Families.Of(r.Key.Metric) == family)
        .Select(r =>
        {
            MonitorPoint? point = window.FirstOrDefault(p => p.Metric == r.Key.Metric && (p.Column ?? "") == r.Key.Column && p.State == PointState.Alert);
            return point is null ? open?.Members.FirstOrDefault(m => m.Metric == r.Key.Metric && (m.Column ?? "") == r.Key.Column) : Member(point);
        })
        .OfType<AlertMember>()
        .OrderByDescending(m => DriftLevel.Rank(m.Level))
        .ThenByDescending(m => Math.Abs(m.Value - m.Threshold))
        .ThenBy(m => m.Column, StringComparer.Ordinal)
        .ToArray();

    private static AlertMember Member(MonitorPoint p)
    {
        bool drift = Families.Of(p.Metric) == Families.Drift;
        double threshold = p.Metric == LabelStream.Metric ? LabelStream.BeforeOf(p) : p.Lower is { } lower && p.Value < lower ? lower : p.Upper ?? p.Lower ?? 0;
        return new AlertMember(p.Metric, p.Column, p.Value!.Value, threshold, p.N, drift ? p.Level : DriftLevel.Major);
    }
}
