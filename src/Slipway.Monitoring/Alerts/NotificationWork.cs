using System.Globalization;
using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Delivers what waits for one receiver, at least once: every attempt is counted before it is made, under a key that never changes, and with exponential
/// back-off until a deadline. The outcome is written with its journal entry, the timelines and what the group has told; a crash in between
/// delivers again under the same key. What a receiver's rate limit holds back is told as one digest.
/// </summary>
internal sealed class NotificationWork(Database database, Journal journal, AlertState alerts, Sender sender, Secrets secrets, MonitoringOptions options, TimeProvider clock) : IClockedWork
{
    public const string Name = "notification";
    private const int Gone = 410;
    private const int AtOnce = 20;
    private static readonly Actor Self = Actor.System("notifier");
    private static readonly TimeSpan LongestPause = TimeSpan.FromMinutes(15);

    public string Kind => Name;

    public Task<IReadOnlyList<string>> OpenAsync(CancellationToken ct) =>
        database.ReadAsync(s => s.QueryAsync<string>("SELECT DISTINCT receiver FROM monitoring_notifications WHERE state = 'pending' ORDER BY receiver"), ct);

    public async Task<DateTimeOffset?> StepAsync(string key, CancellationToken ct)
    {
        ReceiverRow? receiver = await ReceiverAsync(key, ct);
        ReceiverSettings settings = receiver is null ? new ReceiverSettings() : ReceiverSettings.Read(receiver.Settings);
        DateTimeOffset now = clock.GetUtcNow();
        IReadOnlyList<NotificationRow> due = await database.ReadAsync(
            s => s.QueryAsync<NotificationRow>($"SELECT {NotificationRow.Columns} FROM monitoring_notifications WHERE receiver = @key AND state = 'pending' AND next_us <= @now ORDER BY created_us, id LIMIT {NotificationRow.MostHeld}", new { key, now = Time.ToMicros(now) }), ct);
        if (due.Count > 0)
        {
            IReadOnlyList<long> sent = await database.ReadAsync(
                s => s.QueryAsync<long>("SELECT MIN(done_us) FROM monitoring_notifications WHERE receiver = @key AND state = 'delivered' AND done_us > @since GROUP BY message ORDER BY MIN(done_us)", new { key, since = Time.ToMicros(now - TimeSpan.FromMinutes(1)) }), ct);
            int free = receiver is null ? due.Count : settings.PerMinute - sent.Count;
            if (free <= 0)
            {
                return Time.FromMicros(sent[0]) + TimeSpan.FromMinutes(1);
            }

            if (receiver is not null && due.Count > free && Sender.KnowsDigest(receiver.Kind))
            {
                // The last free place of the minute tells everything that has none.
                await DeliverAsync(receiver, [.. due.Skip(free - 1)], ct);
                due = [.. due.Take(free - 1)];
            }

            foreach (NotificationRow row in due.Take(Math.Min(free, AtOnce)))
            {
                await DeliverAsync(receiver, [row], ct);
            }
        }

        long? next = await database.ReadAsync(s => s.ScalarAsync<long?>("SELECT MIN(next_us) FROM monitoring_notifications WHERE receiver = @key AND state = 'pending'", new { key }), ct);
        return next is { } at ? Time.FromMicros(at) : null;
    }

    private async Task<ReceiverRow?> ReceiverAsync(string name, CancellationToken ct)
    {
        ReceiverRow? row = await database.ReadAsync(s => s.FindAsync<ReceiverRow>($"SELECT {ReceiverRow.Columns} FROM monitoring_receivers WHERE name = @name AND removed_us IS NULL", new { name }), ct);
        if (row is { Secret: { } plain, SealedSecret: null })
        {
            string kept = secrets.Seal(Sender.Purpose, plain);
            await database.WriteAsync(tx => tx.ExecuteAsync("UPDATE monitoring_receivers SET sealed_secret = @kept, secret = NULL WHERE name = @name AND secret = @plain", new { kept, name, plain }), ct);
            (row.SealedSecret, row.Secret) = (kept, null);
        }

        return row;
    }

    private async Task DeliverAsync(ReceiverRow? receiver, IReadOnlyList<NotificationRow> rows, CancellationToken ct)
    {
        // The attempt is counted before it is made: whoever finds the row after a crash knows that the message may have arrived.
        List<NotificationRow> begun = [];
        await database.WriteAsync(
            async tx =>
            {
                begun.Clear();
                foreach (NotificationRow row in rows)
                {
                    if (await tx.ExecuteAsync("UPDATE monitoring_notifications SET attempts = attempts + 1 WHERE id = @Id AND state = 'pending'", new { row.Id }) == 1)
                    {
                        begun.Add(row);
                    }
                }
            },
            ct);
        if (begun.Count == 0)
        {
            return;
        }

        Message message = MessageOf(begun);
        OutboundAnswer answer = receiver is null ? new OutboundAnswer(Gone, "the receiver was removed", TimeSpan.Zero) : await sender.SendAsync(receiver, message, ct);
        await database.WriteAsync(
            async tx =>
            {
                foreach (NotificationRow row in begun)
                {
                    await SettleAsync(tx, row, answer, message.Id);
                }
            },
            ct);
    }

    private Message MessageOf(List<NotificationRow> rows)
    {
        if (rows.Count == 1)
        {
            return Message.Read(rows[0].Body);
        }

        Message[] held = [.. rows.Select(r => Message.Read(r.Body))];
        string key = Digest.Sha256Hex(System.Text.Encoding.UTF8.GetBytes(string.Join('\0', rows.Select(r => r.Id))))[..32];
        bool firing = held.Any(m => m.Status == "firing");
        return held[0] with { Id = key, Event = "alerts.digest", At = clock.GetUtcNow(), Status = firing ? "firing" : "resolved", AlertCount = held.Sum(m => m.AlertCount), Alerts = [], Group = LabelSet.Empty, GroupKey = "digest", Route = "", Digest = held };
    }

    private async Task SettleAsync(Tx tx, NotificationRow row, OutboundAnswer answer, string message)
    {
        DateTimeOffset now = clock.GetUtcNow(), next = now + Pause(row.Id, row.Attempts + 1);
        bool over = answer.Status == Gone || next - Time.FromMicros(row.CreatedUs) > options.DeliveryDeadline;
        string state = answer.Delivered ? "delivered" : over ? "failed" : "pending";
        string how = message != row.Id ? " in a digest" : "";
        string text = state switch
        {
            "delivered" => $"receiver {row.Receiver} took {row.Kind}{how}: status {answer.Status}, attempt {row.Attempts + 1}",
            "failed" => $"receiver {row.Receiver} did not take {row.Kind}: {answer.Error}; given up after attempt {row.Attempts + 1}",
            _ => $"receiver {row.Receiver} did not take {row.Kind}: {answer.Error}; attempt {row.Attempts + 2} at {next.UtcDateTime.ToString("HH:mm:ss", CultureInfo.InvariantCulture)} UTC",
        };
        // A newer message may have taken its place meanwhile: then only a delivery is still news.
        int still = await tx.ExecuteAsync(
            "UPDATE monitoring_notifications SET state = @state, next_us = @nextUs, last_status = @Status, last_error = @Error, done_us = @done, message = @message WHERE id = @Id AND (state = 'pending' OR (state = 'superseded' AND @state = 'delivered'))",
            new { state, nextUs = Time.ToMicros(next), answer.Status, answer.Error, done = state == "pending" ? (long?)null : Time.ToMicros(now), message, row.Id });
        if (still == 0)
        {
            return;
        }

        IReadOnlyList<string> about = await tx.QueryAsync<string>("SELECT alert FROM monitoring_notification_alerts WHERE notification = @Id ORDER BY alert", new { row.Id });
        foreach (string alert in about)
        {
            await alerts.TimelineAsync(tx, alert, state == "delivered" ? "delivered" : "failed", text);
        }

        if (state == "pending")
        {
            return;
        }

        var body = new NotificationDone(row.Id, row.Alert, row.Receiver, row.Kind, (int)row.Attempts + 1, answer.Status, answer.Error);
        await journal.AppendAsync(
            tx, Self, state == "delivered" ? "notification.delivered" : "notification.failed", new Subject("alert", row.Alert), body, about.Where(a => a != row.Alert).Select(a => new Subject("alert", a)),
            outcome: state == "delivered" ? "success" : "error", reason: state == "delivered" ? null : "notification.undelivered");
        if (row.GroupId is { } group)
        {
            await ToldAsync(tx, row, group, state == "delivered", now);
        }
    }

    /// <summary>Writes into the group what its receiver knows now. What was given up is told anew by the next tick, while it still fires.</summary>
    private static async Task ToldAsync(Tx tx, NotificationRow row, string id, bool delivered, DateTimeOffset now)
    {
        if (await tx.FindAsync<GroupRow>($"SELECT {GroupRow.Columns} FROM monitoring_groups WHERE id = @id", new { id }) is not { } group)
        {
            return;
        }

        Dictionary<string, string> told = group.ReadTold();
        foreach ((string fingerprint, string said) in NotificationRow.ReadContent(row.Content))
        {
            if (!delivered && said != NotificationRow.Resolution)
            {
                continue;
            }

            if (said != NotificationRow.Resolution)
            {
                told[fingerprint] = said;
                continue;
            }

            told.Remove(fingerprint);
            await tx.ExecuteAsync(
                "DELETE FROM monitoring_group_alerts WHERE group_id = @id AND fingerprint = @fingerprint AND alert IN (SELECT alert FROM monitoring_notification_alerts WHERE notification = @notification) AND alert IN (SELECT id FROM monitoring_alerts WHERE state = 'resolved')",
                new { id, fingerprint, notification = row.Id });
        }

        await tx.ExecuteAsync("UPDATE monitoring_groups SET told = @told, told_us = @now WHERE id = @id", new { told = JsonSerializer.Serialize(told), now = Time.ToMicros(now), id });
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
    public const string Columns = "id AS Id, alert AS Alert, receiver AS Receiver, kind AS Kind, state AS State, attempts AS Attempts, next_us AS NextUs, created_us AS CreatedUs, body AS Body, last_status AS LastStatus, last_error AS LastError, done_us AS DoneUs, group_id AS GroupId, content AS Content";
    public const string Resolution = "resolved";

    /// <summary>The most messages of one receiver that a step looks at, and so the longest digest.</summary>
    public const int MostHeld = 200;

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

    public long? DoneUs { get; set; }

    public string? GroupId { get; set; }

    /// <summary>What it tells, by fingerprint: `resolved`, or `firing/` and the alert's revision.</summary>
    public string Content { get; set; } = "{}";

    public static string FiringContent(Alert alert) => $"firing/{alert.Revision}";

    public static Dictionary<string, string> ReadContent(string content) => JsonSerializer.Deserialize<Dictionary<string, string>>(content) ?? [];

    public Notification Read() => new(Id, Alert, Receiver, Kind, State, (int)Attempts, (int?)LastStatus, LastError, Time.FromMicros(CreatedUs), State == "pending" ? Time.FromMicros(NextUs) : null) { DoneAt = DoneUs is { } d ? Time.FromMicros(d) : null };
}
