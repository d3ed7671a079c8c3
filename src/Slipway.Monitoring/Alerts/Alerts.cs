using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Monitoring;

/// <summary>An alert that a program posts.</summary>
/// <param name="Labels">What it is about; `alertname` is needed. Posting the same labels again refreshes it.</param>
/// <param name="Annotations">Texts for people; `summary` is its sentence, `runbook` a link.</param>
/// <param name="StartsAt">Since when it fires; null is now.</param>
/// <param name="EndsAt">When it ended or will end; null: the resolve timeout of the routing after it was last posted.</param>
public sealed record PostedAlert(IReadOnlyDictionary<string, string> Labels, IReadOnlyDictionary<string, string>? Annotations = null, DateTimeOffset? StartsAt = null, DateTimeOffset? EndsAt = null);

/// <summary>Alerts, what happened to them, and who looks after them.</summary>
public sealed class Alerts
{
    /// <summary>The most alerts that one listing gives.</summary>
    public const int LargestPage = 1_000;

    private const int MostPosted = 1_000;
    private static readonly TimeSpan LongestSnooze = TimeSpan.FromDays(30);
    private readonly Database database;
    private readonly Journal journal;
    private readonly AlertState state;
    private readonly Groups groups;
    private readonly Lineage lineage;
    private readonly TimeProvider clock;

    internal Alerts(Database database, Journal journal, AlertState state, Groups groups, Lineage lineage, TimeProvider clock) =>
        (this.database, this.journal, this.state, this.groups, this.lineage, this.clock) = (database, journal, state, groups, lineage, clock);

    /// <summary>The newest alerts, firing ones first.</summary>
    /// <param name="state">`firing`, `resolved`, or null for both.</param>
    /// <param name="ct">Cancels.</param>
    /// <exception cref="SlipwayException">InvalidArgument for another state.</exception>
    public async Task<IReadOnlyList<Alert>> ListAsync(string? state, CancellationToken ct)
    {
        if (state is not (null or "firing" or "resolved"))
        {
            throw SlipwayException.Invalid("the alerts cannot be listed", $"state is '{state}', firing or resolved is allowed", "slipway alert list --state firing");
        }

        string where = state is null ? "" : " WHERE state = @state";
        IReadOnlyList<AlertRow> rows = await database.ReadAsync(
            s => s.QueryAsync<AlertRow>($"SELECT {AlertRow.Columns} FROM monitoring_alerts{where} ORDER BY CASE WHEN state = 'firing' THEN 0 ELSE 1 END, fired_us DESC, id DESC LIMIT {LargestPage}", new { state }), ct);
        return rows.Select(r => r.Read()).ToArray();
    }

    /// <summary>One alert.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public async Task<Alert> GetAsync(string id, CancellationToken ct) => await database.ReadAsync(s => GetAsync(s, id), ct);

    /// <summary>What happened to an alert, the oldest first.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public async Task<IReadOnlyList<TimelineEntry>> TimelineAsync(string id, CancellationToken ct)
    {
        await GetAsync(id, ct);
        IReadOnlyList<TimelineRow> rows = await database.ReadAsync(
            s => s.QueryAsync<TimelineRow>("SELECT at_us AS AtUs, kind AS Kind, text AS Text FROM monitoring_timeline WHERE alert = @id ORDER BY at_us, id LIMIT 10000", new { id }), ct);
        return rows.Select(r => new TimelineEntry(Time.FromMicros(r.AtUs), r.Kind, r.Text)).ToArray();
    }

    /// <summary>The messages about an alert, the oldest first.</summary>
    public Task<IReadOnlyList<Notification>> NotificationsAsync(string id, CancellationToken ct) => database.ReadAsync(s => NotificationsAsync(s, id), ct);

    /// <summary>Why this alert fires or does not, who was told, and who was not.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public async Task<AlertPath> WhyAsync(string id, CancellationToken ct)
    {
        AlertPath path = await database.ReadAsync(async s => await AlertPath.LoadAsync(s, await GetAsync(s, id), groups, clock.GetUtcNow()), ct);
        return path with { BlastRadius = await BlastRadiusAsync(path.Alert, ct) };
    }

    /// <summary>Posts alerts, as a pipeline or a script does. Those with the labels of a firing one refresh it; those with an end in the past resolve it.</summary>
    /// <returns>The alerts.</returns>
    /// <exception cref="SlipwayException">InvalidArgument with every problem; nothing is posted then.</exception>
    public Task<IReadOnlyList<Alert>> PostAsync(Actor actor, IReadOnlyList<PostedAlert> posted, CancellationToken ct)
    {
        if (posted.Count is 0 or > MostPosted)
        {
            throw SlipwayException.Invalid("the alerts cannot be posted", $"{posted.Count} alerts; 1 to {MostPosted} are allowed", "post them in parts");
        }

        foreach (PostedAlert alert in posted)
        {
            LabelSet.Check(alert.Labels, "label");
            LabelSet.Check(alert.Annotations ?? LabelSet.Empty, "annotation");
            string severity = alert.Labels.GetValueOrDefault("severity", "");
            if (alert.Labels.GetValueOrDefault("alertname", "").Length == 0 || alert.EndsAt < alert.StartsAt)
            {
                throw SlipwayException.Invalid("the alerts cannot be posted", $"{LabelSet.Text(alert.Labels)} has no alertname, or ends before it starts", "give the label alertname, and an end behind the start");
            }

            if (severity.Length > 50)
            {
                throw SlipwayException.Invalid("the alerts cannot be posted", $"the severity has {severity.Length} characters, at most 50 are allowed", "use warn, major or severe");
            }
        }

        return database.WriteAsync(
            async tx =>
            {
                TimeSpan timeout = (await groups.RoutingAsync(tx)).ResolveTimeout;
                var made = new List<Alert>();
                foreach (PostedAlert alert in posted)
                {
                    made.Add(await PostAsync(tx, actor, alert, timeout));
                }

                groups.Wake(tx, AlertClock.Name, AlertClock.Key);
                return (IReadOnlyList<Alert>)made;
            },
            ct);
    }

    /// <summary>Says that someone looks after the alert; it is not repeated from then on. Once is enough: a second acknowledgement changes nothing.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public Task<Alert> AcknowledgeAsync(Actor actor, string id, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            Alert alert = await GetAsync(tx, id);
            if (alert.AcknowledgedBy is not null)
            {
                return alert;
            }

            DateTimeOffset now = clock.GetUtcNow();
            alert = alert with { AcknowledgedBy = actor.Name, AcknowledgedAt = now, AssignedTo = alert.AssignedTo ?? actor.Name };
            await AlertRow.UpdateAsync(tx, alert);
            await journal.AppendAsync(tx, actor, "alert.acknowledged", alert.Subject, new AlertAcknowledged(alert.Id, alert.Monitor, alert.Endpoint), AlertState.Links(alert));
            await state.TimelineAsync(tx, id, "acknowledged", $"by {actor.Name}");
            return alert;
        },
        ct);

    /// <summary>Says who has to look after the alert; null takes the name away.</summary>
    /// <exception cref="SlipwayException">NotFound, or InvalidArgument for a name that cannot be one.</exception>
    public Task<Alert> AssignAsync(Actor actor, string id, string? to, CancellationToken ct)
    {
        if (to is { Length: 0 or > 200 })
        {
            throw SlipwayException.Invalid("the alert cannot be assigned", $"the name has {to.Length} characters (1 to 200)", "slipway alert assign ID NAME");
        }

        return ChangeAsync(actor, id, a => a with { AssignedTo = to }, "assigned", to is null ? $"to nobody, by {actor.Name}" : $"to {to}, by {actor.Name}",
            (tx, a) => journal.AppendAsync(tx, actor, "alert.assigned", a.Subject, new AlertAssigned(a.Id, to), AlertState.Links(a)), ct);
    }

    /// <summary>Tells nobody of this alert for a while; zero ends that now.</summary>
    /// <exception cref="SlipwayException">NotFound; PreconditionFailed when it has resolved; InvalidArgument for more than 30 days.</exception>
    public Task<Alert> SnoozeAsync(Actor actor, string id, TimeSpan duration, CancellationToken ct)
    {
        if (duration < TimeSpan.Zero || duration > LongestSnooze)
        {
            throw SlipwayException.Invalid("the alert cannot be snoozed", $"{Duration.Text(duration)} is not between 0 and {LongestSnooze.TotalDays} days", "slipway alert snooze ID --for 2h");
        }

        DateTimeOffset? until = duration == TimeSpan.Zero ? null : clock.GetUtcNow() + duration;
        return ChangeAsync(
            actor, id,
            a => a.State == "firing" ? a with { SnoozedUntil = until } : throw new SlipwayException(ErrorCode.PreconditionFailed, $"alert {id} cannot be snoozed", "it has resolved", "slipway alert list --state firing"),
            "snoozed", until is { } u ? $"until {AlertText.Moment(u)}, by {actor.Name}" : $"ended by {actor.Name}",
            (tx, a) => journal.AppendAsync(tx, actor, "alert.snoozed", a.Subject, new AlertSnoozed(a.Id, until), AlertState.Links(a)), ct);
    }

    private Task<Alert> ChangeAsync(Actor actor, string id, Func<Alert, Alert> change, string kind, string text, Func<Tx, Alert, Task> record, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            Alert alert = change(await GetAsync(tx, id));
            await AlertRow.UpdateAsync(tx, alert);
            await record(tx, alert);
            await state.TimelineAsync(tx, id, kind, text);
            await groups.HurryAlertAsync(tx, id, clock.NowMicros());
            return alert;
        },
        ct);

    private async Task<Alert> PostAsync(Tx tx, Actor actor, PostedAlert posted, TimeSpan timeout)
    {
        DateTimeOffset now = clock.GetUtcNow();
        IReadOnlyDictionary<string, string> labels = LabelSet.Of(posted.Labels), annotations = LabelSet.Of(posted.Annotations ?? LabelSet.Empty);
        string fingerprint = LabelSet.Fingerprint(labels), family = $"{Families.Posted}:{fingerprint}";
        Alert? open = await state.OpenAsync(tx, "", family);
        DateTimeOffset expires = posted.EndsAt ?? now + timeout;
        string sentence = annotations.GetValueOrDefault("summary") ?? $"{labels["alertname"]} {LabelSet.Text(LabelSet.Of(labels.Where(l => l.Key is not ("alertname" or "severity"))))}";
        string severity = labels.GetValueOrDefault("severity", DriftLevel.Major);
        DateTimeOffset start = posted.StartsAt ?? open?.WindowStart ?? now;
        Alert alert = (open ?? new Alert(
            Ids.New(), "", labels.GetValueOrDefault("endpoint", ""), VersionOf(labels), family, "firing", severity, labels["alertname"], labels.GetValueOrDefault("column"), 0, 0, 0, start, now, sentence, [], now, now, null, null, null)) with
        {
            Sentence = sentence,
            UpdatedAt = now,
            WindowStart = start,
            WindowEnd = now > start ? now : start,
            Labels = labels,
            Annotations = annotations,
            Fingerprint = fingerprint,
            ExpiresAt = expires,
        };
        if (expires <= now)
        {
            if (open is not null)
            {
                await AlertRow.UpdateAsync(tx, alert);
                await state.ResolveAsync(tx, actor, alert, $"{actor.Name} posted its end");
            }

            return open is null ? alert with { State = "resolved", ResolvedAt = expires } : alert with { State = "resolved", ResolvedAt = now };
        }

        if (open is not null)
        {
            await AlertRow.UpdateAsync(tx, alert);
            return alert;
        }

        await AlertRow.InsertAsync(tx, alert);
        var body = new AlertFired(alert.Id, "", alert.Endpoint, alert.ModelVersion, alert.Metric, alert.Column, 0, 0, 0, alert.WindowStart, alert.WindowEnd, sentence, Families.Posted);
        await journal.AppendAsync(tx, actor, "alert.fired", alert.Subject, body, AlertState.Links(alert));
        await state.TimelineAsync(tx, alert.Id, "fired", $"posted by {actor.Name}: {sentence}");
        await groups.OfferAsync(tx, alert);
        return alert;
    }

    private static string VersionOf(IReadOnlyDictionary<string, string> labels) =>
        labels.GetValueOrDefault("model") is { } model && labels.GetValueOrDefault("version") is { } version ? $"{model}/{version}" : "";

    /// <summary>What stands downstream of the watched version and its endpoint.</summary>
    private async Task<IReadOnlyList<Subject>> BlastRadiusAsync(Alert alert, CancellationToken ct)
    {
        var found = new List<Subject>();
        foreach (Subject subject in AlertState.Links(alert).Where(l => l.Kind is "endpoint" or "model-version"))
        {
            try
            {
                LineageGraph graph = await lineage.OfAsync(subject, LineageDirection.Downstream, 3, ct);
                found.AddRange(graph.Nodes.Select(n => n.Subject).Where(s => s != subject && s.Kind is not ("alert" or "monitor" or "silence")));
            }
            catch (SlipwayException e) when (e.Code == ErrorCode.NotFound)
            {
                // A label may name what this server never knew; nothing here depends on that.
                continue;
            }
        }

        return [.. found.Distinct().OrderBy(s => s.Kind, StringComparer.Ordinal).ThenBy(s => s.Name, StringComparer.Ordinal).Take(50)];
    }

    internal static async Task<IReadOnlyList<Notification>> NotificationsAsync(Session s, string id) =>
        [.. (await s.QueryAsync<NotificationRow>(
            $"SELECT {NotificationRow.Columns} FROM monitoring_notifications WHERE id IN (SELECT notification FROM monitoring_notification_alerts WHERE alert = @id) ORDER BY created_us, id LIMIT 1000", new { id })).Select(r => r.Read())];

    private static async Task<Alert> GetAsync(Session s, string id) =>
        (await s.FindAsync<AlertRow>($"SELECT {AlertRow.Columns} FROM monitoring_alerts WHERE id = @id", new { id }))?.Read() ?? throw SlipwayException.NotFound("alert", id, "slipway alert list");

    private sealed class TimelineRow
    {
        public long AtUs { get; set; }

        public string Kind { get; set; } = "";

        public string Text { get; set; } = "";
    }
}
