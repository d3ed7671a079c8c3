namespace Slipway.Registry;

/// <summary>Where events of the model registry are posted.</summary>
/// <param name="Id">32 lower-case hex digits.</param>
/// <param name="Name">1 to 256 characters, not unique.</param>
/// <param name="Description">Null if never set.</param>
/// <param name="Url">An https address of a public host.</param>
/// <param name="Events">What is posted.</param>
/// <param name="Active">A webhook that is not active gets nothing.</param>
/// <param name="Signed">Whether it has a secret, which is never shown.</param>
/// <param name="CreatedBy">Name of the actor who made it.</param>
/// <param name="CreatedAt">UTC.</param>
/// <param name="UpdatedAt">UTC.</param>
public sealed record Webhook(string Id, string Name, string? Description, string Url, IReadOnlyList<WebhookEvent> Events, bool Active, bool Signed, string CreatedBy, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt)
{
    /// <summary><c>webhook:ID</c>.</summary>
    public Subject Subject => new("webhook", Id);
}

/// <summary>What happened, in the words of the MLflow protocol.</summary>
/// <param name="Entity">For example <c>model_version</c>.</param>
/// <param name="Action"><c>created</c>, <c>set</c> or <c>deleted</c>.</param>
public sealed record WebhookEvent(string Entity, string Action)
{
    private static readonly (string Entity, string[] Actions)[] Known =
    [
        ("registered_model", ["created"]),
        ("model_version", ["created"]),
        ("model_version_tag", ["set", "deleted"]),
        ("model_version_alias", ["created", "deleted"]),
        ("prompt", ["created"]),
        ("prompt_version", ["created"]),
        ("prompt_tag", ["set", "deleted"]),
        ("prompt_version_tag", ["set", "deleted"]),
        ("prompt_alias", ["created", "deleted"]),
    ];

    /// <summary>Every event that there is.</summary>
    public static IReadOnlyList<WebhookEvent> All { get; } = [.. Known.SelectMany(k => k.Actions.Select(a => new WebhookEvent(k.Entity, a)))];

    /// <summary>Reads <c>model_version.created</c>.</summary>
    /// <exception cref="SlipwayException">InvalidArgument for an entity or action that there is not.</exception>
    public static WebhookEvent Parse(string text)
    {
        var dot = text.IndexOf('.', StringComparison.Ordinal);
        return Of(dot < 0 ? text : text[..dot], dot < 0 ? "" : text[(dot + 1)..]);
    }

    /// <summary>The event of an entity and an action.</summary>
    /// <exception cref="SlipwayException">InvalidArgument for one that there is not.</exception>
    public static WebhookEvent Of(string entity, string action)
    {
        var actions = Known.FirstOrDefault(k => k.Entity == entity).Actions
            ?? throw SlipwayException.Invalid($"Invalid entity {Limits.Quote(entity)}", next: $"use one of {string.Join(", ", Known.Select(k => k.Entity))}");
        return actions.Contains(action, StringComparer.Ordinal)
            ? new WebhookEvent(entity, action)
            : throw SlipwayException.Invalid($"Invalid action {Limits.Quote(action)} for entity '{entity}'. Valid actions are: [{string.Join(", ", actions.Select(a => $"'{a}'"))}]");
    }

    /// <summary><c>entity.action</c>.</summary>
    public override string ToString() => $"{Entity}.{Action}";
}

/// <summary>What to make, or to change; null leaves a field as it is.</summary>
/// <param name="Name">1 to 256 characters.</param>
/// <param name="Url">An https address of a public host.</param>
/// <param name="Events">At least one.</param>
/// <param name="Description">At most 1,000 characters.</param>
/// <param name="Secret">Signs the deliveries; up to 1,000 characters.</param>
/// <param name="Active">Whether events are posted.</param>
public sealed record WebhookChange(string? Name = null, string? Url = null, IReadOnlyList<WebhookEvent>? Events = null, string? Description = null, string? Secret = null, bool? Active = null);

/// <summary>An event on its way to a webhook.</summary>
/// <param name="Id">The same on every attempt: the header <c>X-MLflow-Delivery-Id</c>.</param>
/// <param name="Event">What happened.</param>
/// <param name="State"><c>pending</c>, <c>delivered</c> or <c>failed</c>.</param>
/// <param name="Attempts">How often it was tried.</param>
/// <param name="LastStatus">HTTP status of the last answer, or null.</param>
/// <param name="LastError">Why the last attempt does not count, or null.</param>
/// <param name="CreatedAt">UTC.</param>
/// <param name="NextAt">When it is tried again; null once it has ended.</param>
/// <param name="Body">What is posted.</param>
public sealed record WebhookDelivery(string Id, string Event, string State, int Attempts, int? LastStatus, string? LastError, DateTimeOffset CreatedAt, DateTimeOffset? NextAt, string Body);
