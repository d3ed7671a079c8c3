using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Moves the rules and alerts of one monitor after one of its windows was judged, inside the transaction that stores the points:
/// state, journal entry, timeline and the notifications to send exist together or not at all.
/// </summary>
internal sealed class AlertState(Journal journal, TimeProvider clock)
{
    private static readonly Actor Self = Actor.System("monitor");
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
    private long written;

    /// <summary>Applies the newest points of one window.</summary>
    /// <returns>Ids of the notifications that wait to be delivered.</returns>
    public async Task<IReadOnlyList<string>> ApplyAsync(Tx tx, Watched monitor, MonitorReference reference, Thresholds thresholds, IReadOnlyList<MonitorPoint> changed, IReadOnlyList<MonitorPoint> window)
    {
        Dictionary<(string Metric, string Column), AlertRule> rules = await LoadAsync(tx, monitor.MonitorId);
        foreach (MonitorPoint point in changed)
        {
            if (point.Metric == "rows" || AlertRule.Observe(point) is not { } observation)
            {
                continue;
            }

            (string Metric, string Column) key = (point.Metric, point.Column ?? "");
            AlertRule before = rules.GetValueOrDefault(key, AlertRule.New), after = before.Next(observation, thresholds);
            rules[key] = after;
            await SaveAsync(tx, monitor.MonitorId, key, after);
        }

        var notifications = new List<string>();
        foreach (string family in Families.All)
        {
            notifications.AddRange(await MoveAsync(tx, monitor, family, rules, reference, thresholds, changed, window));
        }

        return notifications;
    }

    /// <summary>Resolves every firing alert of a monitor that stops.</summary>
    public async Task<IReadOnlyList<string>> StopAsync(Tx tx, Actor actor, string monitor)
    {
        var notifications = new List<string>();
        foreach (AlertRow row in await tx.QueryAsync<AlertRow>($"SELECT {AlertRow.Columns} FROM monitoring_alerts WHERE monitor = @monitor AND state = 'firing'", new { monitor }))
        {
            notifications.AddRange(await ResolveAsync(tx, actor, row.Read(), "the monitor was stopped"));
        }

        return notifications;
    }

    private async Task<IReadOnlyList<string>> MoveAsync(
        Tx tx, Watched monitor, string family, Dictionary<(string Metric, string Column), AlertRule> rules, MonitorReference reference, Thresholds thresholds, IReadOnlyList<MonitorPoint> changed, IReadOnlyList<MonitorPoint> window)
    {
        if (!changed.Any(p => Families.Of(p.Metric) == family && p.State is PointState.Ok or PointState.Alert))
        {
            if (family == Families.Drift)
            {
                await AddAucAsync(tx, monitor, reference, thresholds, window);
            }

            return [];
        }

        Alert? open = (await tx.FindAsync<AlertRow>($"SELECT {AlertRow.Columns} FROM monitoring_alerts WHERE monitor = @MonitorId AND family = @family AND state = 'firing'", new { monitor.MonitorId, family }))?.Read();
        AlertMember[] members = Members(family, rules, open, window);
        if (members.Length == 0)
        {
            return open is null ? [] : await ResolveAsync(tx, Self, open, $"every rule is clear in {AlertText.Span(window[0].WindowStart, window[0].WindowEnd)}");
        }

        AlertMember top = members[0];
        bool breached = window.Any(p => Families.Of(p.Metric) == family && p.State == PointState.Alert);
        string sentence = breached || open is null ? AlertText.Of(family, members, window, reference, thresholds) : open.Sentence;
        (DateTimeOffset start, DateTimeOffset end) = breached || open is null ? (window[0].WindowStart, window[0].WindowEnd) : (open.WindowStart, open.WindowEnd);
        DateTimeOffset now = clock.GetUtcNow();
        string severity = members.MaxBy(m => DriftLevel.Rank(m.Level))!.Level;
        var alert = new Alert(
            open?.Id ?? Ids.New(), monitor.MonitorId, monitor.Endpoint, monitor.ModelVersion, family, "firing", severity, top.Metric, top.Column, top.Value, top.Threshold, top.N,
            start, end, sentence, members, open?.FiredAt ?? now, now, null, open?.AcknowledgedBy, open?.AcknowledgedAt);
        if (open is null)
        {
            await AlertRow.InsertAsync(tx, alert);
            var body = new AlertFired(alert.Id, monitor.MonitorId, monitor.Endpoint, monitor.ModelVersion, top.Metric, top.Column, top.Value, top.Threshold, top.N, start, end, sentence);
            await journal.AppendAsync(tx, Self, "alert.fired", alert.Subject, body, Links(alert));
            await TimelineAsync(tx, alert.Id, "evaluated", $"window {AlertText.Span(start, end)} judged: {members.Length} of {rules.Count(r => Families.Of(r.Key.Metric) == family)} rules of family {family} fire");
            await TimelineAsync(tx, alert.Id, "fired", sentence);
            return await NotifyAsync(tx, alert, "alert.fired");
        }

        await AlertRow.UpdateAsync(tx, alert);
        await TimelineAsync(tx, alert.Id, "evaluated", $"window {AlertText.Span(window[0].WindowStart, window[0].WindowEnd)} judged: {members.Length} rules fire");
        bool grew = members.Any(m => open.Members.All(o => (o.Metric, o.Column) != (m.Metric, m.Column)));
        if (!grew && DriftLevel.Rank(severity) <= DriftLevel.Rank(open.Severity))
        {
            return [];
        }

        string[] names = members.Select(m => m.Column is null ? m.Metric : $"{m.Metric}:{m.Column}").ToArray();
        await journal.AppendAsync(tx, Self, "alert.updated", alert.Subject, new AlertUpdated(alert.Id, monitor.MonitorId, monitor.Endpoint, monitor.ModelVersion, severity, names, start, end, sentence), Links(alert));
        await TimelineAsync(tx, alert.Id, "updated", sentence);
        return await NotifyAsync(tx, alert, "alert.updated");
    }

    /// <summary>Labels come after the drift: the sentence of a firing drift alert gets the realized AUC of its window once there is one.</summary>
    private async Task AddAucAsync(Tx tx, Watched monitor, MonitorReference reference, Thresholds thresholds, IReadOnlyList<MonitorPoint> window)
    {
        Alert? open = (await tx.FindAsync<AlertRow>(
            $"SELECT {AlertRow.Columns} FROM monitoring_alerts WHERE monitor = @MonitorId AND family = 'drift' AND state = 'firing' AND start_us = @start", new { monitor.MonitorId, start = Time.ToMicros(window[0].WindowStart) }))?.Read();
        if (open is null || AlertText.Of(Families.Drift, open.Members, window, reference, thresholds) is var sentence && sentence == open.Sentence)
        {
            return;
        }

        await AlertRow.UpdateAsync(tx, open with { Sentence = sentence, UpdatedAt = clock.GetUtcNow() });
        await TimelineAsync(tx, open.Id, "evaluated", sentence);
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
        double threshold = p.Lower is { } lower && p.Value < lower ? lower : p.Upper ?? p.Lower ?? 0;
        return new AlertMember(p.Metric, p.Column, p.Value!.Value, threshold, p.N, drift ? p.Level : DriftLevel.Major);
    }

    private async Task<IReadOnlyList<string>> ResolveAsync(Tx tx, Actor actor, Alert open, string why)
    {
        DateTimeOffset now = clock.GetUtcNow();
        Alert alert = open with { State = "resolved", ResolvedAt = now, UpdatedAt = now };
        await AlertRow.UpdateAsync(tx, alert);
        var body = new AlertResolved(alert.Id, alert.Monitor, alert.Endpoint, alert.ModelVersion, alert.WindowStart, alert.WindowEnd, why);
        await journal.AppendAsync(tx, actor, "alert.resolved", alert.Subject, body, Links(alert));
        await TimelineAsync(tx, alert.Id, "resolved", why);
        return await NotifyAsync(tx, alert, "alert.resolved");
    }

    private async Task<IReadOnlyList<string>> NotifyAsync(Tx tx, Alert alert, string what)
    {
        var made = new List<string>();
        long now = clock.NowMicros();
        foreach (string receiver in await tx.QueryAsync<string>("SELECT name FROM monitoring_receivers WHERE removed_us IS NULL ORDER BY name"))
        {
            string id = Ids.New();
            string body = JsonSerializer.Serialize(new { id, @event = what, at = clock.GetUtcNow(), alert, link = $"/alerts/{alert.Id}" }, Json);
            await tx.ExecuteAsync(
                "INSERT INTO monitoring_notifications (id, alert, receiver, kind, state, attempts, next_us, created_us, body) VALUES (@id, @alertId, @receiver, @what, 'pending', 0, @now, @now, @body)",
                new { id, alertId = alert.Id, receiver, what, now, body });
            await TimelineAsync(tx, alert.Id, "notified", $"{what} goes to receiver {receiver}");
            made.Add(id);
        }

        return made;
    }

    internal Task TimelineAsync(Tx tx, string alert, string kind, string text)
    {
        // Entries of one moment keep the order in which they were written.
        long at = clock.NowMicros();
        string id = $"{at:D20}-{Interlocked.Increment(ref written):D10}-{Ids.New()}";
        return tx.ExecuteAsync("INSERT INTO monitoring_timeline (id, alert, at_us, kind, text) VALUES (@id, @alert, @at, @kind, @text)", new { id, alert, at, kind, text });
    }

    internal static Subject[] Links(Alert alert) => [new("monitor", alert.Monitor), new("endpoint", alert.Endpoint), new("model-version", alert.ModelVersion)];

    private static async Task<Dictionary<(string Metric, string Column), AlertRule>> LoadAsync(Tx tx, string monitor)
    {
        IReadOnlyList<RuleRow> rows = await tx.QueryAsync<RuleRow>("SELECT metric AS Metric, column_name AS ColumnName, state AS State, since_us AS SinceUs, history AS History FROM monitoring_rules WHERE monitor = @monitor", new { monitor });
        return rows.ToDictionary(r => (r.Metric, r.ColumnName), r => new AlertRule(r.State, r.SinceUs, JsonSerializer.Deserialize<RuleObservation[]>(r.History, Json)!));
    }

    private static Task SaveAsync(Tx tx, string monitor, (string Metric, string Column) key, AlertRule rule) => tx.ExecuteAsync(
        "INSERT INTO monitoring_rules (monitor, metric, column_name, state, since_us, history) VALUES (@monitor, @Metric, @Column, @State, @Since, @history) ON CONFLICT (monitor, metric, column_name) DO UPDATE SET state = excluded.state, since_us = excluded.since_us, history = excluded.history",
        new { monitor, key.Metric, key.Column, rule.State, rule.Since, history = JsonSerializer.Serialize(rule.History, Json) });

    private sealed class RuleRow
    {
        public string Metric { get; set; } = "";

        public string ColumnName { get; set; } = "";

        public string State { get; set; } = "";

        public long SinceUs { get; set; }

        public string History { get; set; } = "";
    }
}

/// <summary>An alert as the table keeps it.</summary>
internal sealed class AlertRow
{
    public const string Columns = "id AS Id, monitor AS Monitor, endpoint AS Endpoint, model_version AS ModelVersion, family AS Family, state AS State, severity AS Severity, metric AS Metric, column_name AS ColumnName, value AS Value, threshold AS Threshold, n AS N, start_us AS StartUs, end_us AS EndUs, sentence AS Sentence, members AS Members, fired_us AS FiredUs, updated_us AS UpdatedUs, resolved_us AS ResolvedUs, acknowledged_by AS AcknowledgedBy, acknowledged_us AS AcknowledgedUs";
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    public string Id { get; set; } = "";

    public string Monitor { get; set; } = "";

    public string Endpoint { get; set; } = "";

    public string ModelVersion { get; set; } = "";

    public string Family { get; set; } = "";

    public string State { get; set; } = "";

    public string Severity { get; set; } = "";

    public string Metric { get; set; } = "";

    public string? ColumnName { get; set; }

    public double Value { get; set; }

    public double Threshold { get; set; }

    public long N { get; set; }

    public long StartUs { get; set; }

    public long EndUs { get; set; }

    public string Sentence { get; set; } = "";

    public string Members { get; set; } = "";

    public long FiredUs { get; set; }

    public long UpdatedUs { get; set; }

    public long? ResolvedUs { get; set; }

    public string? AcknowledgedBy { get; set; }

    public long? AcknowledgedUs { get; set; }

    public static Task InsertAsync(Tx tx, Alert a) => tx.ExecuteAsync(
        "INSERT INTO monitoring_alerts (id, monitor, endpoint, model_version, family, state, severity, metric, column_name, value, threshold, n, start_us, end_us, sentence, members, fired_us, updated_us) VALUES (@Id, @Monitor, @Endpoint, @ModelVersion, @Family, @State, @Severity, @Metric, @ColumnName, @Value, @Threshold, @N, @StartUs, @EndUs, @Sentence, @Members, @FiredUs, @UpdatedUs)",
        Of(a));

    public static Task UpdateAsync(Tx tx, Alert a) => tx.ExecuteAsync(
        "UPDATE monitoring_alerts SET state = @State, severity = @Severity, metric = @Metric, column_name = @ColumnName, value = @Value, threshold = @Threshold, n = @N, start_us = @StartUs, end_us = @EndUs, sentence = @Sentence, members = @Members, updated_us = @UpdatedUs, resolved_us = @ResolvedUs, acknowledged_by = @AcknowledgedBy, acknowledged_us = @AcknowledgedUs WHERE id = @Id",
        Of(a));

    public Alert Read() => new(
        Id, Monitor, Endpoint, ModelVersion, Family, State, Severity, Metric, ColumnName, Value, Threshold, N, Time.FromMicros(StartUs), Time.FromMicros(EndUs), Sentence,
        JsonSerializer.Deserialize<AlertMember[]>(Members, Json)!, Time.FromMicros(FiredUs), Time.FromMicros(UpdatedUs), At(ResolvedUs), AcknowledgedBy, At(AcknowledgedUs));

    private static AlertRow Of(Alert a) => new()
    {
        Id = a.Id,
        Monitor = a.Monitor,
        Endpoint = a.Endpoint,
        ModelVersion = a.ModelVersion,
        Family = a.Family,
        State = a.State,
        Severity = a.Severity,
        Metric = a.Metric,
        ColumnName = a.Column,
        Value = a.Value,
        Threshold = a.Threshold,
        N = a.N,
        StartUs = Time.ToMicros(a.WindowStart),
        EndUs = Time.ToMicros(a.WindowEnd),
        Sentence = a.Sentence,
        Members = JsonSerializer.Serialize(a.Members, Json),
        FiredUs = Time.ToMicros(a.FiredAt),
        UpdatedUs = Time.ToMicros(a.UpdatedAt),
        ResolvedUs = a.ResolvedAt is { } r ? Time.ToMicros(r) : null,
        AcknowledgedBy = a.AcknowledgedBy,
        AcknowledgedUs = a.AcknowledgedAt is { } k ? Time.ToMicros(k) : null,
    };

    private static DateTimeOffset? At(long? micros) => micros is { } m ? Time.FromMicros(m) : null;
}
