namespace Slipway.Registry;

/// <summary>Settings of the registry.</summary>
public sealed record RegistryOptions
{
    /// <summary>Whether a webhook may post to this machine, by http too. Other private addresses are always refused.</summary>
    public bool WebhooksToLoopback { get; init; }

    /// <summary>First pause after a failed delivery of a webhook; it doubles up to 15 minutes. Default 2 s.</summary>
    public TimeSpan DeliveryBackoff { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>After this long an undelivered event is given up. Default 24 h.</summary>
    public TimeSpan DeliveryDeadline { get; init; } = TimeSpan.FromHours(24);

    /// <summary>How long the log keeps a delivery that ended. Default 30 days.</summary>
    public TimeSpan DeliveryLog { get; init; } = TimeSpan.FromDays(30);
}
