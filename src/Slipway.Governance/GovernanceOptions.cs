namespace Slipway.Governance;

/// <summary>Limits and lifetimes of identities and approvals.</summary>
public sealed class GovernanceOptions
{
    /// <summary>Life of an API key when its maker names none.</summary>
    public TimeSpan KeyLife { get; set; } = TimeSpan.FromDays(90);

    /// <summary>Longest life that may be asked for; there is no key without an end.</summary>
    public TimeSpan MaxKeyLife { get; set; } = TimeSpan.FromDays(365);

    /// <summary>How long the one-time owner link works.</summary>
    public TimeSpan OwnerLinkLife { get; set; } = TimeSpan.FromMinutes(15);

    /// <summary>
    /// Whether an actor who proved nothing (<see cref="Access.Unproven"/>) and is no listed user is the owner. The host sets it to false
    /// before it opens any address but a loopback one, or as soon as it asks for credentials.
    /// </summary>
    public bool SingleUser { get; set; } = true;

    /// <summary>
    /// Whether a person's API key may vote as that person. Service accounts never vote. Turn it off where people sign in interactively,
    /// so that a leaked key cannot approve.
    /// </summary>
    public bool KeysMayVote { get; set; } = true;

    /// <summary>Every error of these options, empty when they are sound.</summary>
    public IReadOnlyList<string> Validate()
    {
        var errors = new List<string>();
        if (MaxKeyLife <= TimeSpan.Zero || MaxKeyLife > TimeSpan.FromDays(3_650)) errors.Add($"MaxKeyLife must be more than 0 and at most 3650 days, not {MaxKeyLife}");
        if (KeyLife <= TimeSpan.Zero || KeyLife > MaxKeyLife) errors.Add($"KeyLife must be more than 0 and at most MaxKeyLife ({MaxKeyLife}), not {KeyLife}");
        if (OwnerLinkLife <= TimeSpan.Zero || OwnerLinkLife > TimeSpan.FromDays(1)) errors.Add($"OwnerLinkLife must be more than 0 and at most 1 day, not {OwnerLinkLife}");
        return errors;
    }
}
