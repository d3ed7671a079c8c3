using Slipway.Foundation;
using Slipway.Monitoring;
using Slipway.Registry;
using Slipway.Serving.Routing;

namespace Slipway.Serving;

/// <summary>A place where predictions are asked for: a name, and the route that decides which model version answers.</summary>
/// <param name="Name">Its name in request paths.</param>
/// <param name="Policy">The policy whose gate a version must have passed to be deployed here, or null.</param>
/// <param name="Route">The present route.</param>
/// <param name="Ready">Whether this node can answer.</param>
/// <param name="Why">Why it cannot, or null.</param>
/// <param name="CreatedBy">Name of the actor who made it.</param>
/// <param name="CreatedAt">UTC.</param>
/// <param name="UpdatedAt">UTC, of the last route revision.</param>
public sealed record Endpoint(
    string Name, string? Policy, RouteSpec Route, bool Ready, string? Why, string CreatedBy, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt)
{
    /// <summary>The stable model version, as <c>name/version</c>.</summary>
    public string ModelVersion => Route.Stable.ModelVersion;

    /// <summary>How the journal names it.</summary>
    public Subject Subject => new("endpoint", Name);
}

/// <summary>What a new endpoint needs.</summary>
public sealed record CreateEndpoint
{
    /// <summary>Unique; letters, digits, dot, dash and underscore, 1 to 100 characters.</summary>
    public required string Name { get; init; }

    /// <summary>The version it serves first: <c>flights/2</c> or <c>flights@champion</c>.</summary>
    public required string ModelVersion { get; init; }

    /// <summary>The policy that gates every version deployed here, or null.</summary>
    public string? Policy { get; init; }

    /// <summary>Whether predictions are logged.</summary>
    public bool LogPredictions { get; init; } = true;

    /// <summary>How it serves; null: <see cref="EndpointSettings.Default"/>.</summary>
    public EndpointSettings? Settings { get; init; }
}

/// <summary>Which variant an entity sees on this node, and why.</summary>
/// <param name="Key">The entity key.</param>
/// <param name="Slot">Its slot under the route's salt, 0 to 9,999.</param>
/// <param name="Variant">The variant that answers, with its share.</param>
/// <param name="Reason">Why.</param>
/// <param name="Revision">The route revision that decides.</param>
/// <param name="Rollout">The rollout that steers the route, or null.</param>
/// <param name="Why">The reason in words.</param>
public sealed record Assignment(string Key, int Slot, RouteVariant Variant, DecisionReason Reason, long Revision, string? Rollout, string Why);

/// <summary>A version behind an endpoint, as the protocol's repository index lists it.</summary>
/// <param name="Endpoint">The endpoint's name.</param>
/// <param name="Version">The version's number as text; empty when nothing is loaded.</param>
/// <param name="Ready">Whether it can be asked.</param>
/// <param name="Why">Why it cannot, or null.</param>
public sealed record IndexedVersion(string Endpoint, string Version, bool Ready, string? Why);

/// <summary>What an endpoint on this node takes and gives, for protocol metadata. Read from memory.</summary>
/// <param name="Name">The endpoint's name.</param>
/// <param name="Ready">Whether it can answer.</param>
/// <param name="Why">Why it cannot, or null.</param>
/// <param name="Versions">Versions that may be asked for, stable first.</param>
/// <param name="Signature">Of the version asked for, or of stable.</param>
public sealed record ServedModel(string Name, bool Ready, string? Why, IReadOnlyList<string> Versions, ModelSignature? Signature)
{
    /// <summary>Rows that one request may have; null: any number.</summary>
    public int? MaxRequestRows { get; init; }
}
