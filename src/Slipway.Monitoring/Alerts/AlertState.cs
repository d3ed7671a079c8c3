using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// The life of an alert: fired, updated, resolved. Row, journal entry, timeline and membership in the groups of the routes are written in the
/// transaction of what caused them, so they exist together or not at all.
/// </summary>
internal sealed class AlertState(Journal journal, Groups groups, TimeProvider clock)
{
    internal static readonly Actor Self = Actor.System("monitor");
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
    private long written;

    /// <summary>Resolves every firing alert of a monitor that stops.</summary>
    public async Task StopAsync(Tx tx, Actor actor, string monitor)
    {
        foreach (AlertRow row in await tx.QueryAsync<AlertRow>($"SELECT {AlertRow.Columns} FROM monitoring_alerts WHERE monitor = @monitor AND state = 'firing'", new { monitor }))
        {
            await ResolveAsync(tx, actor, row.Read(), "the monitor was stopped");
        }
    }

    /// <summary>Resolves the posted alerts whose time is over.</summary>
    public async Task ExpireAsync(Tx tx)
    {
        foreach (AlertRow row in await tx.QueryAsync<AlertRow>($"SELECT {AlertRow.Columns} FROM monitoring_alerts WHERE state = 'firing' AND expires_us <= @now", new { now = clock.NowMicros() }))
        {
            await ResolveAsync(tx, Self, row.Read(), "it was not posted again in time");
        }
    }

    public async Task<Alert?> OpenAsync(Session s, string monitor, string family) =>
        (await s.FindAsync<AlertRow>($"SELECT {AlertRow.Columns} FROM monitoring_alerts WHERE monitor = @monitor AND family = @family AND state = 'firing'", new { monitor, family }))?.Read();

    /// <summary>Fires the alert of a family, or updates the one that fires.</summary>
    /// <param name="tx">The transaction of what caused it.</param>
    /// <param name="monitor">Whose it is.</param>
    /// <param name="open">The alert that fires already.</param>
    /// <param name="family">Its family.</param>
    /// <param name="members">Its rules, the strongest first; at least one.</param>
    /// <param name="span">The newest window that breached.</param>
    /// <param name="sentence">The alert in words and numbers.</param>
    /// <param name="evaluated">What was looked at, for the timeline.</param>
    /// <param name="labels">Further labels.</param>
    /// <param name="annotations">Its annotations.</param>
    public async Task RaiseAsync(
        Tx tx, Watched monitor, Alert? open, string family, IReadOnlyList<AlertMember> members, (DateTimeOffset Start, DateTimeOffset End) span, string sentence, string evaluated,
        IReadOnlyDictionary<string, string> labels, IReadOnlyDictionary<string, string> annotations)
    {
        AlertMember top = members[0];
        DateTimeOffset now = clock.GetUtcNow();
        string severity = members.MaxBy(m => DriftLevel.Rank(m.Level))!.Level;
        // An alert from before there were labels joins its groups now.
        bool grew = open is not null && (open.Labels.Count == 0 || members.Any(m => open.Members.All(o => (o.Metric, o.Column) != (m.Metric, m.Column))) || DriftLevel.Rank(severity) > DriftLevel.Rank(open.Severity));
        string window = open?.Labels.GetValueOrDefault("window") ?? span.Start.UtcDateTime.ToString("yyyy-MM-ddTHH:mm:ssZ", System.Globalization.CultureInfo.InvariantCulture);
        IReadOnlyDictionary<string, string> all = LabelsOf(monitor, family, severity, window, labels);
        var alert = new Alert(
            open?.Id ?? Ids.New(), monitor.MonitorId, monitor.Endpoint, monitor.ModelVersion, family, "firing", severity, top.Metric, top.Column, top.Value, top.Threshold, top.N,
            span.Start, span.End, sentence, members, open?.FiredAt ?? now, now, null, open?.AcknowledgedBy, open?.AcknowledgedAt)
        {
            Labels = all,
            Annotations = annotations,
            Fingerprint = LabelSet.Fingerprint(LabelSet.Of(all.Where(l => l.Key != "severity"))),
            Revision = (open?.Revision ?? 0) + (grew ? 1 : 0),
            SnoozedUntil = open?.SnoozedUntil,
            AssignedTo = open?.AssignedTo,
        };
        if (open is null)
        {
            await AlertRow.InsertAsync(tx, alert);
            var body = new AlertFired(alert.Id, monitor.MonitorId, monitor.Endpoint, monitor.ModelVersion, top.Metric, top.Column, top.Value, top.Threshold, top.N, span.Start, span.End, sentence, family);
            await journal.AppendAsync(tx, Self, "alert.fired", alert.Subject, body, Links(alert));
            await TimelineAsync(tx, alert.Id, "evaluated", evaluated);
            await TimelineAsync(tx, alert.Id, "fired", sentence);
            await groups.OfferAsync(tx, alert);
            return;
        }

        await AlertRow.UpdateAsync(tx, alert);
        await TimelineAsync(tx, alert.Id, "evaluated", evaluated);
        if (!grew)
        {
            return;
        }

        string[] names = members.Select(m => m.Column is null ? m.Metric : $"{m.Metric}:{m.Column}").ToArray();
        await journal.AppendAsync(tx, Self, "alert.updated", alert.Subject, new AlertUpdated(alert.Id, monitor.MonitorId, monitor.Endpoint, monitor.ModelVersion, severity, names, span.Start, span.End, sentence), Links(alert));
        await TimelineAsync(tx, alert.Id, "updated", sentence);
        await groups.OfferAsync(tx, alert);
    }

    /// <summary>Ends an alert.</summary>
    public async Task ResolveAsync(Tx tx, Actor actor, Alert open, string why)
    {
        DateTimeOffset now = clock.GetUtcNow();
        Alert alert = open with { State = "resolved", ResolvedAt = now, UpdatedAt = now };
        await AlertRow.UpdateAsync(tx, alert);
        var body = new AlertResolved(alert.Id, alert.Monitor, alert.Endpoint, alert.ModelVersion, alert.WindowStart, alert.WindowEnd, why);
        await journal.AppendAsync(tx, actor, "alert.resolved", alert.Subject, body, Links(alert));
        await TimelineAsync(tx, alert.Id, "resolved", why);
        await groups.OfferAsync(tx, alert);
    }

    /// <summary>The labels of a monitor's alert: what it is about.</summary>
    private static IReadOnlyDictionary<string, string> LabelsOf(Watched monitor, string family, string severity, string window, IReadOnlyDictionary<string, string> also)
    {
        int slash = monitor.ModelVersion.LastIndexOf('/');
        string name = family.StartsWith("rule:", StringComparison.Ordinal) ? family["rule:".Length..] : family;
        return LabelSet.Of(also.Concat(
        [
            KeyValuePair.Create("alertname", name), KeyValuePair.Create("endpoint", monitor.Endpoint), KeyValuePair.Create("model", slash > 0 ? monitor.ModelVersion[..slash] : monitor.ModelVersion),
            KeyValuePair.Create("version", slash > 0 ? monitor.ModelVersion[(slash + 1)..] : ""), KeyValuePair.Create("monitor", monitor.MonitorId), KeyValuePair.Create("severity", severity), KeyValuePair.Create("window", window),
        ]));
    }

    internal Task TimelineAsync(Tx tx, string alert, string kind, string text)
    {
        // Entries of one moment keep the order in which they were written.
        long at = clock.NowMicros();
        string id = $"{at:D20}-{Interlocked.Increment(ref written):D10}-{Ids.New()}";
        return tx.ExecuteAsync("INSERT INTO monitoring_timeline (id, alert, at_us, kind, text) VALUES (@id, @alert, @at, @kind, @text)", new { id, alert, at, kind, text });
    }

    internal static Subject[] Links(Alert alert) =>
        [.. new[] { new Subject("monitor", alert.Monitor), new Subject("endpoint", alert.Endpoint), new Subject("model-version", alert.ModelVersion) }.Where(l => l.Name.Length > 0)];

}

/// <summary>An alert as the table keeps it.</summary>
internal class AlertRow
{
    public const string Columns = "id AS Id, monitor AS Monitor, endpoint AS Endpoint, model_version AS ModelVersion, family AS Family, state AS State, severity AS Severity, metric AS Metric, column_name AS ColumnName, value AS Value, threshold AS Threshold, n AS N, start_us AS StartUs, end_us AS EndUs, sentence AS Sentence, members AS Members, fired_us AS FiredUs, updated_us AS UpdatedUs, resolved_us AS ResolvedUs, acknowledged_by AS AcknowledgedBy, acknowledged_us AS AcknowledgedUs, labels AS Labels, annotations AS Annotations, fingerprint AS Fingerprint, revision AS Revision, expires_us AS ExpiresUs, snoozed_us AS SnoozedUs, assigned_to AS AssignedTo";
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

    public string Labels { get; set; } = "{}";

    public string Annotations { get; set; } = "{}";

    public string Fingerprint { get; set; } = "";

    public long Revision { get; set; }

    public long? ExpiresUs { get; set; }

    public long? SnoozedUs { get; set; }

    public string? AssignedTo { get; set; }

    public static Task InsertAsync(Tx tx, Alert a) => tx.ExecuteAsync(
        "INSERT INTO monitoring_alerts (id, monitor, endpoint, model_version, family, state, severity, metric, column_name, value, threshold, n, start_us, end_us, sentence, members, fired_us, updated_us, resolved_us, labels, annotations, fingerprint, revision, expires_us) VALUES (@Id, @Monitor, @Endpoint, @ModelVersion, @Family, @State, @Severity, @Metric, @ColumnName, @Value, @Threshold, @N, @StartUs, @EndUs, @Sentence, @Members, @FiredUs, @UpdatedUs, @ResolvedUs, @Labels, @Annotations, @Fingerprint, @Revision, @ExpiresUs)",
        Of(a));

    public static Task UpdateAsync(Tx tx, Alert a) => tx.ExecuteAsync(
        "UPDATE monitoring_alerts SET state = @State, severity = @Severity, metric = @Metric, column_name = @ColumnName, value = @Value, threshold = @Threshold, n = @N, start_us = @StartUs, end_us = @EndUs, sentence = @Sentence, members = @Members, updated_us = @UpdatedUs, resolved_us = @ResolvedUs, acknowledged_by = @AcknowledgedBy, acknowledged_us = @AcknowledgedUs, labels = @Labels, annotations = @Annotations, fingerprint = @Fingerprint, revision = @Revision, expires_us = @ExpiresUs, snoozed_us = @SnoozedUs, assigned_to = @AssignedTo WHERE id = @Id",
        Of(a));

    public Alert Read() => new(
        Id, Monitor, Endpoint, ModelVersion, Family, State, Severity, Metric, ColumnName, Value, Threshold, N, Time.FromMicros(StartUs), Time.FromMicros(EndUs), Sentence,
        JsonSerializer.Deserialize<AlertMember[]>(Members, Json)!, Time.FromMicros(FiredUs), Time.FromMicros(UpdatedUs), At(ResolvedUs), AcknowledgedBy, At(AcknowledgedUs))
    {
        Labels = LabelSet.Read(Labels),
        Annotations = LabelSet.Read(Annotations),
        Fingerprint = Fingerprint.Length > 0 ? Fingerprint : Id,
        Revision = Revision,
        ExpiresAt = At(ExpiresUs),
        SnoozedUntil = At(SnoozedUs),
        AssignedTo = AssignedTo,
    };

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
        Labels = LabelSet.Write(a.Labels),
        Annotations = LabelSet.Write(a.Annotations),
        Fingerprint = a.Fingerprint,
        Revision = a.Revision,
        ExpiresUs = a.ExpiresAt is { } e ? Time.ToMicros(e) : null,
        SnoozedUs = a.SnoozedUntil is { } z ? Time.ToMicros(z) : null,
        AssignedTo = a.AssignedTo,
    };

    private static DateTimeOffset? At(long? micros) => micros is { } m ? Time.FromMicros(m) : null;
}
