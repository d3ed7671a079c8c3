using System.Globalization;

namespace Slipway.Registry;

/// <summary>Delivers events at least once, with exponential back-off until a deadline; a crash in between delivers again under the same id.</summary>
internal sealed class WebhookWork(Database database, Journal journal, WebhookPost post, RegistryOptions options, TimeProvider clock) : IClockedWork
{
    public const string Name = "webhook";
    private const int Gone = 410;
    private static readonly Actor Self = Actor.System("webhooks");
    private static readonly TimeSpan LongestPause = TimeSpan.FromMinutes(15);
    private static readonly TimeSpan LongestStep = TimeSpan.FromSeconds(2);

    public string Kind => Name;

    public Task<IReadOnlyList<string>> OpenAsync(CancellationToken ct) =>
        database.ReadAsync(s => s.QueryAsync<string>("SELECT DISTINCT webhook_id FROM registry_deliveries WHERE state = 'pending'"), ct);

    /// <summary>Posts what is due to one webhook, one after the other, so that a burst does not become a flood. One that fails waits; those behind it do not.</summary>
    public async Task<DateTimeOffset?> StepAsync(string key, CancellationToken ct)
    {
        var begun = clock.GetTimestamp();
        while (clock.GetElapsedTime(begun) < LongestStep)
        {
            var row = await database.ReadAsync(
                s => s.FindAsync<DeliveryRow>($"SELECT {DeliveryRow.Columns} FROM registry_deliveries WHERE webhook_id = @key AND state = 'pending' ORDER BY next_at, seq LIMIT 1", new { key }),
                ct);
            if (row is null)
            {
                return null;
            }

            if (row.NextAt > clock.NowMicros())
            {
                return Time.FromMicros(row.NextAt);
            }

            var webhook = await database.ReadAsync(s => s.FindAsync<WebhookRow>($"SELECT {WebhookRow.Columns} FROM registry_webhooks WHERE id = @key", new { key }), ct);
            var answer = webhook is { Active: 1 }
                ? await post.SendAsync(webhook, row.Id, row.Body, ct)
                : new OutboundAnswer(null, webhook is null ? "the webhook was deleted" : "the webhook is disabled", TimeSpan.Zero);
            await SettleAsync(row, answer, over: webhook is not { Active: 1 }, ct);
        }

        return clock.GetUtcNow();
    }

    private async Task SettleAsync(DeliveryRow row, OutboundAnswer answer, bool over, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var next = now + Pause(row.Id, row.Attempts + 1);
        over |= answer.Status == Gone || next - Time.FromMicros(row.TriesLeftUntil) > options.DeliveryDeadline;
        var state = answer.Delivered ? "delivered" : over ? "failed" : "pending";
        await database.WriteAsync(
            async tx =>
            {
                await tx.ExecuteAsync(
                    "UPDATE registry_deliveries SET state = @state, attempts = attempts + 1, next_at = @nextAt, last_status = @Status, last_error = @Error, done_at = @done WHERE id = @Id",
                    new { state, nextAt = Time.ToMicros(next), answer.Status, answer.Error, done = state == "pending" ? (long?)null : Time.ToMicros(now), row.Id });
                if (state == "failed")
                {
                    await journal.AppendAsync(
                        tx, Self, Events.WebhookFailed, new Subject("webhook", row.WebhookId), new WebhookFailed(row.Id, row.Event, (int)row.Attempts + 1, answer.Status, answer.Error), outcome: "error", reason: "webhook.undelivered");
                }

                if (state != "pending")
                {
                    await tx.ExecuteAsync(
                        "DELETE FROM registry_deliveries WHERE webhook_id = @WebhookId AND state <> 'pending' AND created_at < @old",
                        new { row.WebhookId, old = Time.ToMicros(now - options.DeliveryLog) });
                }
            },
            ct);
    }

    /// <summary>Doubles from the configured pause up to 15 minutes; a quarter of it varies with the delivery, so that many do not come at once.</summary>
    private TimeSpan Pause(string id, long attempt)
    {
        var full = Math.Min(LongestPause.TotalSeconds, options.DeliveryBackoff.TotalSeconds * Math.Pow(2, Math.Min(attempt - 1, 30)));
        var part = int.Parse(id.AsSpan(id.Length - 4), NumberStyles.HexNumber, CultureInfo.InvariantCulture) / 65536.0;
        return TimeSpan.FromSeconds(full * (0.75 + (0.25 * part)));
    }
}
