using System.Globalization;
using System.Text.Json;

namespace Slipway.Registry;

/// <summary>Webhooks on the events of the model registry, and the log of what was posted.</summary>
public sealed class Webhooks(Database database, Journal journal, Secrets secrets, Outbound outbound, RegistryOptions options, Wakeups wakeups, TimeProvider clock)
{
    private readonly WebhookPost post = new(outbound, secrets, options, clock);

    /// <summary>Makes a webhook; it is told what happens from now on.</summary>
    /// <exception cref="SlipwayException">InvalidArgument for a bad name, address or event.</exception>
    public async Task<Webhook> CreateAsync(Actor actor, WebhookChange request, CancellationToken ct)
    {
        Limits.Require(request.Name, "name");
        Limits.Require(request.Url, "url");
        if (request.Events is not { Count: > 0 })
        {
            throw SlipwayException.Invalid("Missing value for required parameter 'events'.", "a webhook without events would never be called", $"give at least one of {string.Join(", ", WebhookEvent.All)}");
        }

        Check(request);
        var now = clock.NowMicros();
        var row = new WebhookRow { Id = Ids.New(), Active = 1, CreatedBy = actor.Principal, CreatedAt = now, UpdatedAt = now };
        Apply(row, request);
        await database.WriteAsync(
            async tx =>
            {
                await tx.ExecuteAsync(
                    """
                    INSERT INTO registry_webhooks (id, name, description, url, secret, events, active, created_by, created_at, updated_at)
                    VALUES (@Id, @Name, @Description, @Url, @Secret, @Events, @Active, @CreatedBy, @CreatedAt, @UpdatedAt)
                    """,
                    row);
                await JournalAsync(tx, actor, Events.WebhookCreated, row);
            },
            ct);
        return row.Read();
    }

    /// <summary>One webhook.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public async Task<Webhook> GetAsync(string id, CancellationToken ct) => (await database.ReadAsync(s => RowAsync(s, id), ct)).Read();

    /// <summary>Webhooks in the order they were made.</summary>
    /// <exception cref="SlipwayException">InvalidArgument for a bad limit (1 to 1,000) or token.</exception>
    public async Task<Page<Webhook>> ListAsync(int limit, string? pageToken, CancellationToken ct)
    {
        Limits.PageSize(limit, 1000);
        var after = string.IsNullOrEmpty(pageToken) ? "" : PageToken.Decode(pageToken, 1)[0];
        var rows = await database.ReadAsync(s => s.QueryAsync<WebhookRow>($"SELECT {WebhookRow.Columns} FROM registry_webhooks WHERE id > @after ORDER BY id LIMIT @limit", new { after, limit = limit + 1 }), ct);
        return Cut(rows.Select(r => r.Read()).ToList(), limit, w => w.Id);
    }

    /// <summary>Changes what is given.</summary>
    public Task<Webhook> UpdateAsync(Actor actor, string id, WebhookChange change, CancellationToken ct)
    {
        Check(change);
        return database.WriteAsync(
            async tx =>
            {
                var row = await RowAsync(tx, id);
                Apply(row, change);
                row.UpdatedAt = clock.NowMicros();
                await tx.ExecuteAsync("UPDATE registry_webhooks SET name = @Name, description = @Description, url = @Url, secret = @Secret, events = @Events, active = @Active, updated_at = @UpdatedAt WHERE id = @Id", row);
                await JournalAsync(tx, actor, Events.WebhookChanged, row);
                return row.Read();
            },
            ct);
    }

    /// <summary>Deletes a webhook with its log; what still waits for it is dropped.</summary>
    public Task DeleteAsync(Actor actor, string id, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            var row = await RowAsync(tx, id);
            await tx.ExecuteAsync("DELETE FROM registry_deliveries WHERE webhook_id = @id", new { id });
            await tx.ExecuteAsync("DELETE FROM registry_webhooks WHERE id = @id", new { id });
            await JournalAsync(tx, actor, Events.WebhookDeleted, row);
        },
        ct);

    /// <summary>Posts an example of an event once, also to a webhook that is not active.</summary>
    /// <param name="id">The webhook.</param>
    /// <param name="happened">One of its events, or null for the first.</param>
    /// <param name="ct">Cancels.</param>
    public async Task<OutboundAnswer> TestAsync(string id, WebhookEvent? happened, CancellationToken ct)
    {
        var row = await database.ReadAsync(s => RowAsync(s, id), ct);
        var chosen = happened ?? row.Read().Events[0];
        return await post.SendAsync(row, Ids.New(), WebhookPost.Body(chosen, clock.GetUtcNow(), Example(chosen)), ct);
    }

    /// <summary>What was posted, or is to be, the newest first.</summary>
    public async Task<Page<WebhookDelivery>> DeliveriesAsync(string id, int limit, string? pageToken, CancellationToken ct)
    {
        Limits.PageSize(limit, 1000);
        var before = string.IsNullOrEmpty(pageToken) ? null : PageToken.Decode(pageToken, 2);
        var at = before is null ? long.MaxValue : long.TryParse(before[0], CultureInfo.InvariantCulture, out var micros) ? micros : throw SlipwayException.Invalid("Invalid page token", next: "start again without a page token");
        var rows = await database.ReadAsync(
            async s =>
            {
                await RowAsync(s, id);
                return await s.QueryAsync<DeliveryRow>(
                    $"SELECT {DeliveryRow.Columns} FROM registry_deliveries WHERE webhook_id = @id AND (created_at, id) < (@at, @last) ORDER BY created_at DESC, id DESC LIMIT @limit",
                    new { id, at, last = before?[1] ?? "", limit = limit + 1 });
            },
            ct);
        return Cut(rows.Select(r => r.Read()).ToList(), limit, d => Time.ToMicros(d.CreatedAt).ToString(CultureInfo.InvariantCulture), d => d.Id);
    }

    /// <summary>Posts an event that ended, delivered or not, again under its id.</summary>
    /// <exception cref="SlipwayException">NotFound; PreconditionFailed while it is still being tried.</exception>
    public async Task<WebhookDelivery> ReplayAsync(Actor actor, string id, string deliveryId, CancellationToken ct)
    {
        var now = clock.NowMicros();
        var row = await database.WriteAsync(
            async tx =>
            {
                var webhook = await RowAsync(tx, id);
                var delivery = await tx.FindAsync<DeliveryRow>($"SELECT {DeliveryRow.Columns} FROM registry_deliveries WHERE id = @deliveryId AND webhook_id = @id", new { deliveryId, id })
                    ?? throw SlipwayException.NotFound("delivery", deliveryId, $"slipway webhook deliveries {id}");
                if (delivery.State == "pending")
                {
                    throw new SlipwayException(ErrorCode.PreconditionFailed, "the delivery cannot be replayed", $"it is still tried: the next attempt is at {Time.FromMicros(delivery.NextAt):HH:mm:ss} UTC", "wait until it has ended");
                }

                await tx.ExecuteAsync("UPDATE registry_deliveries SET state = 'pending', next_at = @now, tries_left_until = @now, done_at = NULL WHERE id = @deliveryId", new { deliveryId, now });
                await journal.AppendAsync(tx, actor, Events.WebhookReplayed, new Subject("webhook", id), new WebhookReplayed(deliveryId, delivery.Event, webhook.Name));
                delivery.State = "pending";
                delivery.NextAt = now;
                return delivery;
            },
            ct);
        await wakeups.WakeAsync(WebhookWork.Name, id);
        return row.Read();
    }

    private static async Task<WebhookRow> RowAsync(Session session, string id) =>
        await session.FindAsync<WebhookRow>($"SELECT {WebhookRow.Columns} FROM registry_webhooks WHERE id = @id", new { id })
        ?? throw new SlipwayException(ErrorCode.NotFound, $"Webhook with ID {FilterTokens.Cut(id)} not found.");

    private static Page<T> Cut<T>(List<T> items, int limit, params Func<T, string>[] keys)
    {
        if (items.Count <= limit)
        {
            return new Page<T>(items, null);
        }

        items.RemoveAt(limit);
        return new Page<T>(items, PageToken.Encode([.. keys.Select(k => k(items[^1]))]));
    }

    private void Check(WebhookChange change)
    {
        if (change.Name is not null)
        {
            Limits.Require(change.Name, "name");
            Limits.CheckLength(change.Name, 256, "name");
            Limits.CheckText(change.Name, "name");
        }

        Limits.CheckLength(change.Description, 1000, "description");
        Limits.CheckText(change.Description, "description");
        Limits.CheckLength(change.Secret, 1000, "secret");
        if (change.Url is not null)
        {
            OutboundAddress.Check(change.Url, options.WebhooksToLoopback);
        }
    }

    private void Apply(WebhookRow row, WebhookChange change)
    {
        row.Name = change.Name ?? row.Name;
        row.Description = change.Description ?? row.Description;
        row.Url = change.Url ?? row.Url;
        row.Events = change.Events is { Count: > 0 } events ? JsonSerializer.Serialize(events.Distinct().Select(e => e.ToString())) : row.Events;
        row.Active = change.Active switch { null => row.Active, true => 1, false => 0 };
        row.Secret = string.IsNullOrEmpty(change.Secret) ? row.Secret : secrets.Seal(WebhookPost.Purpose, change.Secret);
    }

    private Task JournalAsync(Tx tx, Actor actor, string kind, WebhookRow row) =>
        journal.AppendAsync(tx, actor, kind, new Subject("webhook", row.Id), new WebhookChanged(row.Name, row.Url, JsonSerializer.Deserialize<string[]>(row.Events)!, row.Active == 1, row.Secret is not null));

    private static Dictionary<string, object?> Example(WebhookEvent happened)
    {
        var prompt = happened.Entity.StartsWith("prompt", StringComparison.Ordinal);
        var tags = new Dictionary<string, string>(StringComparer.Ordinal) { ["example_key"] = "example_value" };
        var data = new Dictionary<string, object?>(StringComparer.Ordinal) { ["name"] = prompt ? "example_prompt" : "example_model" };
        switch (happened.Entity)
        {
            case "registered_model" or "prompt":
                data["tags"] = tags;
                data["description"] = prompt ? "An example prompt" : "An example registered model";
                break;
            case "model_version" or "prompt_version":
                data["version"] = "1";
                data[prompt ? "template" : "source"] = prompt ? "Hello {{name}}!" : "runs:/abcd1234abcd5678/model";
                if (!prompt)
                {
                    data["run_id"] = "abcd1234abcd5678";
                }

                data["tags"] = tags;
                data["description"] = prompt ? "An example prompt version" : "An example model version";
                break;
            case "model_version_alias" or "prompt_alias":
                data["alias"] = "example_alias";
                if (happened.Action == "created")
                {
                    data["version"] = "1";
                }

                break;
            default:
                if (happened.Entity != "prompt_tag")
                {
                    data["version"] = "1";
                }

                data["key"] = "example_key";
                if (happened.Action == "set")
                {
                    data["value"] = "example_value";
                }

                break;
        }

        return data;
    }
}
