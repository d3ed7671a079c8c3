namespace Slipway.Foundation;

/// <summary>What kind of principal acts.</summary>
public enum ActorKind
{
    User,
    Service,
    ApiKey,
    System,
}

/// <summary>Who acts: every mutation takes one, and every journal entry names it.</summary>
/// <param name="Kind">The kind of principal.</param>
/// <param name="Name">Its unique name, as shown to people.</param>
/// <param name="Auth">How it proved its identity: <c>none</c> (single-user mode), <c>apikey</c>, <c>session</c>, <c>system</c>.</param>
/// <param name="OnBehalfOf">The person that a service or key acts for; separation of duties counts that person.</param>
/// <param name="RequestId">The request that carries the action, if any.</param>
public sealed record Actor(ActorKind Kind, string Name, string Auth = "none", string? OnBehalfOf = null, string? RequestId = null)
{
    /// <summary>The person whose separation of duties this actor falls under.</summary>
    public string Principal => OnBehalfOf ?? Name;

    /// <summary>A part of Slipway that acts by itself, for example <c>Actor.System("monitor")</c>.</summary>
    public static Actor System(string name) => new(ActorKind.System, name, "system");

    public override string ToString() => OnBehalfOf is null ? Name : $"{Name} for {OnBehalfOf}";
}
