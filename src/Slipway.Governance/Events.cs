using Slipway.Foundation;

namespace Slipway.Governance;

// The bodies of the journal entries this module writes. Fields may be added, never renamed or removed: old entries are read for years.

/// <summary>Body of <c>user.created</c>.</summary>
public sealed record UserCreated(string Name, string? Owner, IReadOnlyList<string> Roles);

/// <summary>Body of <c>user.disabled</c>.</summary>
public sealed record UserDisabled(string Name);

/// <summary>Body of <c>apikey.created</c>; never the secret.</summary>
public sealed record ApiKeyCreated(string KeyId, string Owner, string Name, IReadOnlyList<string> Roles, DateTimeOffset ExpiresAt);

/// <summary>Body of <c>apikey.revoked</c>.</summary>
public sealed record ApiKeyRevoked(string KeyId, string Owner);

/// <summary>Body of <c>ownerlink.created</c>; never the token.</summary>
public sealed record OwnerLinkCreated(DateTimeOffset ExpiresAt);

/// <summary>Body of <c>access.denied</c>.</summary>
/// <param name="Permission">What was missing.</param>
/// <param name="Unwritten">Earlier refusals of the same actor that were counted but not written.</param>
public sealed record AccessDenied(string Permission, long Unwritten);

/// <summary>Body of <c>policy.changed</c>.</summary>
public sealed record PolicyChanged(string Name, int Version, string Digest, string? PreviousDigest);

/// <summary>Body of <c>gate.requested</c>. Pins the evidence, the policy and the authors, so that a changed row is noticed at deploy time.</summary>
public sealed record GateRequested(string RequestId, Subject Subject, string Policy, string PolicyDigest, string EvidenceDigest, string State, IReadOnlyList<string> Authors, IReadOnlyList<RuleResult> Rules, int RequiredApprovals);

/// <summary>
/// Body of <c>approval.granted</c> and <c>approval.denied</c> (exactly one for each request that is decided) and of <c>gate.decided</c>
/// (decided by the rules alone, or superseded by a newer request).
/// </summary>
public sealed record GateDecided(string RequestId, Subject Subject, string Policy, string State);

/// <summary>Body of <c>vote.cast</c>.</summary>
public sealed record VoteCast(string RequestId, string Voter, bool Approve, string Comment, string EvidenceDigest, IReadOnlyList<string> Roles);

/// <summary>Body of <c>approval.refused</c>: somebody tried to vote who may not. The entry's outcome is <c>denied</c>, its reason the rule.</summary>
public sealed record ApprovalRefused(string RequestId, string Voter, string Rule, string Why);
