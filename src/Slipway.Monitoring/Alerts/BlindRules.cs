using System.Globalization;
using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// The alerts that every monitor has by itself, because silence must not look like health: no data for two windows or no closed window for
/// as long, and a monitor that fails.
/// </summary>
internal sealed class BlindRules(AlertState alerts, TimeProvider clock)
{
    public const string Key = "blind";
    private static readonly RuleSpec Spec = new() { Breach = new AlertFor(2, 2), MajorBreach = new AlertFor(2, 2) };

    /// <summary>Looks at the points of a window that closed.</summary>
    public async Task JudgedAsync(Tx tx, Watched monitor, IReadOnlyList<MonitorPoint> points)
    {
        // A revision by late labels has no row count: only a window that closes has.
        if (points.FirstOrDefault(p => p.Metric == "rows") is not { } at)
        {
            return;
        }

        MonitorPoint[] drift = [.. points.Where(p => p.Metric is "psi" or "score_psi")];
        bool blind = at.State == PointState.NoData || (drift.Length > 0 && drift.All(p => p.State is PointState.NoData or PointState.Insufficient));
        AlertRule before = await RuleRows.FindAsync(tx, monitor.MonitorId, (Key, ""));
        AlertRule after = before.Next(new RuleObservation(Time.ToMicros(at.WindowStart), blind ? 2 : 0, !blind), Spec);
        await RuleRows.SaveAsync(tx, monitor.MonitorId, (Key, ""), after);
        Alert? open = await alerts.OpenAsync(tx, monitor.MonitorId, Families.NoData);
        string span = AlertText.Span(at.WindowStart, at.WindowEnd);
        if (after.State == AlertRule.Firing)
        {
            long rows = at.N;
            string sentence = $"{monitor.ModelVersion} on {monitor.Endpoint}{monitor.Of} has {(rows == 0 ? "nothing" : $"only {rows.ToString("#,0", CultureInfo.InvariantCulture)} predictions")} to judge in {span}, too little for {Spec.Breach.N} windows{(at.Why is null ? "" : $": {at.Why}")}";
            AlertMember[] members = [new("rows", null, rows, Monitoring.Drift.LeastRows, rows, DriftLevel.Major)];
            await alerts.RaiseAsync(tx, monitor, open, Families.NoData, members, (at.WindowStart, at.WindowEnd), sentence, $"window {span} judged: nothing could be judged", LabelSet.Empty, LabelSet.Empty);
        }
        else if (open is not null && !blind)
        {
            await alerts.ResolveAsync(tx, AlertState.Self, open, $"window {span} holds data again");
        }
    }

    /// <summary>Whether <see cref="LookAsync"/> would change anything, so that a quiet monitor costs no transaction.</summary>
    public async Task<bool> IsDueAsync(Session s, MonitorRow row) =>
        (await alerts.OpenAsync(s, row.Id, Families.MonitorError))?.Sentence != (row.LastError is null ? null : Failing(row))
        || (row.LastError is null && await StaleSinceAsync(s, row) is not null && await alerts.OpenAsync(s, row.Id, Families.NoData) is null);

    /// <summary>Looks at the clock: a stream that has ended closes no window, and a monitor that fails judges none.</summary>
    public async Task LookAsync(Tx tx, MonitorRow row)
    {
        Watched monitor = row.Watched;
        await FailureAsync(tx, row, monitor);
        if (row.LastError is not null || await StaleSinceAsync(tx, row) is not { } last || await alerts.OpenAsync(tx, monitor.MonitorId, Families.NoData) is not null)
        {
            return;
        }

        DateTimeOffset now = clock.GetUtcNow();
        string sentence = $"{monitor.ModelVersion} on {monitor.Endpoint} has closed no window for {Duration.Text(TimeSpan.FromMinutes(Math.Floor((now - last).TotalMinutes)))}: no predictions arrive";
        AlertMember[] members = [new("rows", null, 0, Monitoring.Drift.LeastRows, 0, DriftLevel.Major)];
        await alerts.RaiseAsync(tx, monitor, null, Families.NoData, members, (last, now), sentence, $"looked at {AlertText.Moment(now)}: the newest window was closed at {AlertText.Moment(last)}", LabelSet.Empty, LabelSet.Empty);
    }

    /// <summary>When the newest window was closed, or the monitor began; null while that is not too long ago.</summary>
    private async Task<DateTimeOffset?> StaleSinceAsync(Session s, MonitorRow row)
    {
        WindowRule window = row.ReadConfig().Window;
        long? closed = await s.ScalarAsync<long?>("SELECT MAX(made_us) FROM monitoring_points p WHERE monitor = @Id AND metric = 'rows' AND NOT EXISTS (SELECT 1 FROM monitoring_windows w WHERE w.monitor = p.monitor AND w.start_us = p.start_us AND w.phase = 'provisional')", new { row.Id });
        DateTimeOffset last = Time.FromMicros(closed ?? row.CreatedUs);
        return clock.GetUtcNow() - last >= ((Spec.Breach.N + 1) * window.Length) + window.Lateness ? last : null;
    }

    private static string Failing(MonitorRow row) => $"the monitor of {row.ModelVersion} on {row.Endpoint} fails: {row.LastError}";

    private async Task FailureAsync(Tx tx, MonitorRow row, Watched monitor)
    {
        Alert? open = await alerts.OpenAsync(tx, monitor.MonitorId, Families.MonitorError);
        DateTimeOffset now = clock.GetUtcNow();
        if (row.LastError is null)
        {
            if (open is not null)
            {
                await alerts.ResolveAsync(tx, AlertState.Self, open, "the monitor judges windows again");
            }

            return;
        }

        string sentence = Failing(row);
        if (open is null || open.Sentence != sentence)
        {
            DateTimeOffset at = row.NextUs is { } next ? Time.FromMicros(next) : now;
            AlertMember[] members = [new("error", null, 1, 0, 0, DriftLevel.Major)];
            await alerts.RaiseAsync(tx, monitor, open, Families.MonitorError, members, (at, row.ReadConfig().Window.EndOf(at)), sentence, $"looked at {AlertText.Moment(now)}: {row.LastError}", LabelSet.Empty, LabelSet.Empty);
        }
    }
}

/// <summary>The state of the rules of a monitor, as the table keeps it.</summary>
internal static class RuleRows
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    public static async Task<Dictionary<(string Metric, string Column), AlertRule>> LoadAsync(Session s, string monitor)
    {
        IReadOnlyList<RuleRow> rows = await s.QueryAsync<RuleRow>("SELECT metric AS Metric, column_name AS ColumnName, state AS State, since_us AS SinceUs, history AS History FROM monitoring_rules WHERE monitor = @monitor ORDER BY metric, column_name", new { monitor });
        return rows.ToDictionary(r => (r.Metric, r.ColumnName), r => r.Read());
    }

    public static async Task<AlertRule> FindAsync(Session s, string monitor, (string Metric, string Column) key) =>
        (await s.FindAsync<RuleRow>("SELECT metric AS Metric, column_name AS ColumnName, state AS State, since_us AS SinceUs, history AS History FROM monitoring_rules WHERE monitor = @monitor AND metric = @Metric AND column_name = @Column", new { monitor, key.Metric, key.Column }))?.Read() ?? AlertRule.New;

    public static Task SaveAsync(Tx tx, string monitor, (string Metric, string Column) key, AlertRule rule) => tx.ExecuteAsync(
        "INSERT INTO monitoring_rules (monitor, metric, column_name, state, since_us, history) VALUES (@monitor, @Metric, @Column, @State, @Since, @history) ON CONFLICT (monitor, metric, column_name) DO UPDATE SET state = excluded.state, since_us = excluded.since_us, history = excluded.history",
        new { monitor, key.Metric, key.Column, rule.State, rule.Since, history = JsonSerializer.Serialize(rule.History, Json) });

    private sealed class RuleRow
    {
        public string Metric { get; set; } = "";

        public string ColumnName { get; set; } = "";

        public string State { get; set; } = "";

        public long SinceUs { get; set; }

        public string History { get; set; } = "";

        public AlertRule Read() => new(State, SinceUs, JsonSerializer.Deserialize<RuleObservation[]>(History, Json)!);
    }
}
