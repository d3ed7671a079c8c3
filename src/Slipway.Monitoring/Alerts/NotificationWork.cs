using System.Globalization;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Delivers notifications at least once, in the order they were made for one alert and receiver, with exponential back-off until a
/// deadline. The outcome is written with its journal entry and timeline; a crash in between delivers again under the same key.
/// </summary>
internal sealed class NotificationWork(Database database, Journal journal, AlertState alerts, Webhook webhook, MonitoringOptions options, TimeProvider clock) : IClockedWork
{
    public const string Name = "notification";
    private const int Gone = 410;
    private static readonly Actor Self = Actor.System("notifier");
    private static readonly TimeSpan LongestPause = TimeSpan.FromMinutes(15);

    public string Kind => Name;

    public Task<IReadOnlyList<string>> OpenAsync(CancellationToken ct) =>
        database.ReadAsync(s => s.QueryAsync<string>("SELECT id FROM monitoring_notifications WHERE state = 'pending' ORDER BY created_us, id"), ct);

    public async Task<DateTimeOffset?> StepAsync(string key, CancellationToken ct)
    {
        NotificationRow? row = await database.ReadAsync(s => s.FindAsync<NotificationRow>($"SELECT {NotificationRow.Columns} FROM monitoring_notifications WHERE id = @key", new { key }), ct);
        if (row is not { State: "pending" })
        {
            return null;
        }

        if (row.NextUs > clock.NowMicros())
        {
            return Time.FromMicros(row.NextUs);
        }

        long? earlier = await database.ReadAsync(
            s => s.ScalarAsync<long?>(
                "SELECT MIN(next_us) FROM monitoring_notifications WHERE alert = @Alert AND receiver = @Receiver AND state = 'pending' AND (created_us < @CreatedUs OR (created_us = @CreatedUs AND id < @Id))",
                new { row.Alert, row.Receiver, row.CreatedUs, row.Id }),
            ct);
        if (earlier is { } first)
        {
            // `resolved` must not overtake a `fired` that is still being tried.
            DateTimeOffset soon = clock.GetUtcNow() + options.DeliveryBackoff;
            return Time.FromMicros(first) > soon ? Time.FromMicros(first) : soon;
        }

        ReceiverRow? receiver = await database.ReadAsync(s => s.FindAsync<ReceiverRow>($"SELECT {ReceiverRow.Columns} FROM monitoring_receivers WHERE name = @Receiver AND removed_us IS NULL", new { row.Receiver }), ct);
        OutboundAnswer attempt = receiver is null
            ? new OutboundAnswer(Gone, "the receiver was removed", TimeSpan.Zero)
            : await webhook.PostAsync(receiver.Url, receiver.Secret, receiver.AllowLoopback == 1, row.Id, row.Kind, row.Body, ct);
        return await SettleAsync(row, attempt, ct);
    }

    private async Task<DateTimeOffset?> SettleAsync(NotificationRow row, OutboundAnswer attempt, CancellationToken ct)
    {
        DateTimeOffset now = clock.GetUtcNow(), next = now + Pause(row.Id, row.Attempts + 1);
        bool over = attempt.Status == Gone || next - Time.FromMicros(row.CreatedUs) > options.DeliveryDeadline;
        string state = attempt.Delivered ? "delivered" : over ? "failed" : "pending";
        string text = state switch
        {
            "delivered" => $"receiver {row.Receiver} took {row.Kind}: status {attempt.Status}, attempt {row.Attempts + 1}",
            "failed" => $"receiver {row.Receiver} did not take {row.Kind}: {attempt.Error}; given up after attempt {row.Attempts + 1}",
            _ => $"receiver {row.Receiver} did not take {row.Kind}: {attempt.Error}; attempt {row.Attempts + 2} at {next.UtcDateTime.ToString("HH:mm:ss", CultureInfo.InvariantCulture)} UTC",
        };
        await database.WriteAsync(
            async tx =>
            {
                await tx.ExecuteAsync(
                    "UPDATE monitoring_notifications SET state = @state, attempts = attempts + 1, next_us = @nextUs, last_status = @Status, last_error = @Error, done_us = @done WHERE id = @Id",
                    new { state, nextUs = Time.ToMicros(next), attempt.Status, attempt.Error, done = state == "pending" ? (long?)null : Time.ToMicros(now), row.Id });
                await alerts.TimelineAsync(tx, row.Alert, state == "delivered" ? "delivered" : "failed", text);
                if (state != "pending")
                {
                    var body = new NotificationDone(row.Id, row.Alert, row.Receiver, row.Kind, (int)row.Attempts + 1, attempt.Status, attempt.Error);
                    await journal.AppendAsync(tx, Self, state == "delivered" ? "notification.delivered" : "notification.failed", new Subject("alert", row.Alert), body, outcome: state == "delivered" ? "success" : "error", reason: state == "delivered" ? null : "notification.undelivered");
                }
            },
            ct);
        return state == "pending" ? next : null;
    }

    /// <summary>Doubles from the configured pause up to 15 minutes; a quarter of it varies with the notification, so that many do not come at once.</summary>
    private TimeSpan Pause(string id, long attempt)
    {
        double full = Math.Min(LongestPause.TotalSeconds, options.DeliveryBackoff.TotalSeconds * Math.Pow(2, Math.Min(attempt - 1, 30)));
        double part = int.Parse(id.AsSpan(id.Length - 4), NumberStyles.HexNumber, CultureInfo.InvariantCulture) / 65536.0;
        return TimeSpan.FromSeconds(full * (0.75 + 0.25 * part));
    }
}

/// <summary>A notification as the table keeps it.</summary>
internal sealed class NotificationRow
{
    public const string Columns = "id AS Id, alert AS Alert, receiver AS Receiver, kind AS Kind, state AS State, attempts AS Attempts, next_us AS NextUs, created_us AS CreatedUs, body AS Body, last_status AS LastStatus, last_error AS LastError";

    public string Id { get; set; } = "";

    public string Alert { get; set; } = "";

    public string Receiver { get; set; } = "";

    public string Kind { get; set; } = "";

    public string State { get; set; } = "";

    public long Attempts { get; set; }

    public long NextUs { get; set; }

    public long CreatedUs { get; set; }

    public string Body { get; set; } = "";

    public long? LastStatus { get; set; }

    public string? LastError { get; set; }

    public Notification Read() => new(Id, Alert, Receiver, Kind, State, (int)Attempts, (int?)LastStatus, LastError, Time.FromMicros(CreatedUs), State == "pending" ? Time.FromMicros(NextUs) : null);
}

/// <summary>A receiver as the table keeps it.</summary>
internal sealed class ReceiverRow
{
    public const string Columns = "name AS Name, url AS Url, secret AS Secret, allow_loopback AS AllowLoopback, created_by AS CreatedBy, created_us AS CreatedUs";

    public string Name { get; set; } = "";

    public string Url { get; set; } = "";

    public string? Secret { get; set; }

    public long AllowLoopback { get; set; }

    public string CreatedBy { get; set; } = "";

    public long CreatedUs { get; set; }

    public Receiver Read() => new(Name, Url, Secret is not null, AllowLoopback == 1, CreatedBy, Time.FromMicros(CreatedUs));
}
