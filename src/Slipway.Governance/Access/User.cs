using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>A person or a service account.</summary>
/// <param name="Name">Unique, lower case.</param>
/// <param name="Owner">The person a service account counts as; null for a person.</param>
/// <param name="Roles">Roles held, see <see cref="Governance.Roles"/>.</param>
/// <param name="CreatedAt">When it was made.</param>
/// <param name="CreatedBy">Who made it.</param>
/// <param name="DisabledAt">Since when it may do nothing; its keys stop with it.</param>
public sealed record User(string Name, string? Owner, IReadOnlyList<string> Roles, DateTimeOffset CreatedAt, string CreatedBy, DateTimeOffset? DisabledAt)
{
    public bool IsService => Owner is not null;

    public Subject Subject => new("actor", Name);
}

/// <summary>An API key without its secret, which nobody can read again.</summary>
/// <param name="Id">The 8 characters after <c>slp_</c>.</param>
/// <param name="Owner">The user it acts as.</param>
/// <param name="Name">What it is for.</param>
/// <param name="Roles">Its scope: it may do what these roles <em>and</em> its owner's present roles allow.</param>
/// <param name="CreatedAt">When it was made.</param>
/// <param name="CreatedBy">Who made it.</param>
/// <param name="ExpiresAt">When it stops by itself.</param>
/// <param name="RevokedAt">When it was ended; null while it was not.</param>
/// <param name="LastUsedAt">Last use, to the minute; null before the first.</param>
public sealed record ApiKey(
    string Id, string Owner, string Name, IReadOnlyList<string> Roles, DateTimeOffset CreatedAt, string CreatedBy,
    DateTimeOffset ExpiresAt, DateTimeOffset? RevokedAt, DateTimeOffset? LastUsedAt)
{
    public Subject Subject => new("api-key", Id);
}

/// <summary>A fresh key with the only copy of its text.</summary>
/// <param name="Key">The key as it is listed from now on.</param>
/// <param name="Secret">The whole key, <c>slp_…</c>, to be shown once.</param>
public sealed record CreatedApiKey(ApiKey Key, string Secret);

/// <summary>The first owner, made by redeeming the owner link, and a key to go on with.</summary>
/// <param name="Actor">The owner, for the host to open a session for.</param>
/// <param name="Key">A key with the owner role.</param>
public sealed record FirstOwner(Actor Actor, CreatedApiKey Key);
