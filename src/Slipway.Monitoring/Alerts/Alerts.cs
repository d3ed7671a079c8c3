using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>Alerts, what happened to them, and the receivers that hear of them.</summary>
public sealed class Alerts
{
    /// <summary>The most alerts that one listing gives.</summary>
    public const int LargestPage = 1_000;

    private readonly Database database;
    private readonly Journal journal;
    private readonly AlertState state;
    private readonly TimeProvider clock;

    internal Alerts(Database database, Journal journal, AlertState state, TimeProvider clock) =>
        (this.database, this.journal, this.state, this.clock) = (database, journal, state, clock);

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
    public async Task<IReadOnlyList<Notification>> NotificationsAsync(string id, CancellationToken ct)
    {
        IReadOnlyList<NotificationRow> rows = await database.ReadAsync(
            s => s.QueryAsync<NotificationRow>($"SELECT {NotificationRow.Columns} FROM monitoring_notifications WHERE alert = @id ORDER BY created_us, id", new { id }), ct);
        return rows.Select(r => r.Read()).ToArray();
    }

    /// <summary>Says that someone looks after the alert. Once is enough: a second acknowledgement changes nothing.</summary>
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
            alert = alert with { AcknowledgedBy = actor.Name, AcknowledgedAt = now };
            await AlertRow.UpdateAsync(tx, alert);
            await journal.AppendAsync(tx, actor, "alert.acknowledged", alert.Subject, new AlertAcknowledged(alert.Id, alert.Monitor, alert.Endpoint), AlertState.Links(alert));
            await state.TimelineAsync(tx, id, "acknowledged", $"by {actor.Name}");
            return alert;
        },
        ct);

    /// <summary>Sends future alerts to a public https address; see the overload for a receiver on this machine.</summary>
    public Task<Receiver> SetReceiverAsync(Actor actor, string name, string url, string? secret, CancellationToken ct) => SetReceiverAsync(actor, name, url, secret, allowLoopback: false, ct);

    /// <summary>Adds or replaces a receiver; every alert that fires, changes or resolves from now on is sent to it.</summary>
    /// <param name="actor">Who sets it.</param>
    /// <param name="name">Its name, 1 to 100 characters.</param>
    /// <param name="url">An https address; http and any port are allowed only on loopback.</param>
    /// <param name="secret">The key of the signature, at least 16 characters; null sends unsigned.</param>
    /// <param name="allowLoopback">Whether the address may be this machine; other private addresses are always refused.</param>
    /// <param name="ct">Cancels.</param>
    /// <exception cref="SlipwayException">InvalidArgument when the name, address or secret is not allowed.</exception>
    public async Task<Receiver> SetReceiverAsync(Actor actor, string name, string url, string? secret, bool allowLoopback, CancellationToken ct)
    {
        if (name.Length is 0 or > 100 || secret is { Length: < 16 or > 1024 })
        {
            throw SlipwayException.Invalid("the receiver cannot be set", $"the name has {name.Length} characters (1 to 100) and the secret {secret?.Length ?? 0} (16 to 1,024, or none)", "give a name and a longer secret");
        }

        OutboundAddress.Check(url, allowLoopback);
        var row = new ReceiverRow { Name = name, Url = url, Secret = secret, AllowLoopback = allowLoopback ? 1 : 0, CreatedBy = actor.Name, CreatedUs = clock.NowMicros() };
        await database.WriteAsync(
            async tx =>
            {
                await tx.ExecuteAsync(
                    "INSERT INTO monitoring_receivers (name, url, secret, allow_loopback, created_by, created_us) VALUES (@Name, @Url, @Secret, @AllowLoopback, @CreatedBy, @CreatedUs) ON CONFLICT (name) DO UPDATE SET url = excluded.url, secret = excluded.secret, allow_loopback = excluded.allow_loopback, created_by = excluded.created_by, created_us = excluded.created_us, removed_us = NULL",
                    row);
                await journal.AppendAsync(tx, actor, "receiver.changed", new Subject("receiver", name), new ReceiverChanged(name, url, allowLoopback, secret is not null, Removed: false));
            },
            ct);
        return row.Read();
    }

    /// <summary>The receivers, by name.</summary>
    public async Task<IReadOnlyList<Receiver>> ListReceiversAsync(CancellationToken ct)
    {
        IReadOnlyList<ReceiverRow> rows = await database.ReadAsync(s => s.QueryAsync<ReceiverRow>($"SELECT {ReceiverRow.Columns} FROM monitoring_receivers WHERE removed_us IS NULL ORDER BY name"), ct);
        return rows.Select(r => r.Read()).ToArray();
    }

    /// <summary>Sends nothing to the receiver from now on; what still waits for it fails.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public Task RemoveReceiverAsync(Actor actor, string name, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            ReceiverRow row = await tx.FindAsync<ReceiverRow>($"SELECT {ReceiverRow.Columns} FROM monitoring_receivers WHERE name = @name AND removed_us IS NULL", new { name })
                ?? throw SlipwayException.NotFound("receiver", name, "slipway alert receiver list");
            await tx.ExecuteAsync("UPDATE monitoring_receivers SET removed_us = @now, secret = NULL WHERE name = @name", new { now = clock.NowMicros(), name });
            await journal.AppendAsync(tx, actor, "receiver.changed", new Subject("receiver", name), new ReceiverChanged(name, row.Url, row.AllowLoopback == 1, row.Secret is not null, Removed: true));
        },
        ct);

    private static async Task<Alert> GetAsync(Session s, string id) =>
        (await s.FindAsync<AlertRow>($"SELECT {AlertRow.Columns} FROM monitoring_alerts WHERE id = @id", new { id }))?.Read() ?? throw SlipwayException.NotFound("alert", id, "slipway alert list");

    private sealed class TimelineRow
    {
        public long AtUs { get; set; }

        public string Kind { get; set; } = "";

        public string Text { get; set; } = "";
    }
}
