using System.Text.Json;

namespace Slipway.Registry;

/// <summary>A webhook as the table keeps it.</summary>
internal sealed class WebhookRow
{
    public const string Columns = "id AS Id, name AS Name, description AS Description, url AS Url, secret AS Secret, events AS Events, active AS Active, created_by AS CreatedBy, created_at AS CreatedAt, updated_at AS UpdatedAt";

    public string Id { get; set; } = "";

    public string Name { get; set; } = "";

    public string? Description { get; set; }

    public string Url { get; set; } = "";

    public string? Secret { get; set; }

    public string Events { get; set; } = "[]";

    public long Active { get; set; }

    public string CreatedBy { get; set; } = "";

    public long CreatedAt { get; set; }

    public long UpdatedAt { get; set; }

    public Webhook Read() => new(
        Id, Name, Description, Url, JsonSerializer.Deserialize<string[]>(Events)!.Select(WebhookEvent.Parse).ToList(), Active == 1, Secret is not null, CreatedBy, Time.FromMicros(CreatedAt), Time.FromMicros(UpdatedAt));

    public bool Wants(WebhookEvent happened) => JsonSerializer.Deserialize<string[]>(Events)!.Contains(happened.ToString(), StringComparer.Ordinal);
}

/// <summary>A delivery as the table keeps it.</summary>
internal sealed class DeliveryRow
{
    public const string Columns = "id AS Id, webhook_id AS WebhookId, event AS Event, body AS Body, state AS State, attempts AS Attempts, tries_left_until AS TriesLeftUntil, next_at AS NextAt, created_at AS CreatedAt, last_status AS LastStatus, last_error AS LastError";

    public string Id { get; set; } = "";

    public string WebhookId { get; set; } = "";

    public string Event { get; set; } = "";

    public string Body { get; set; } = "";

    public string State { get; set; } = "";

    public long Attempts { get; set; }

    public long TriesLeftUntil { get; set; }

    public long NextAt { get; set; }

    public long CreatedAt { get; set; }

    public long? LastStatus { get; set; }

    public string? LastError { get; set; }

    public WebhookDelivery Read() => new(Id, Event, State, (int)Attempts, (int?)LastStatus, LastError, Time.FromMicros(CreatedAt), State == "pending" ? Time.FromMicros(NextAt) : null, Body);
}
