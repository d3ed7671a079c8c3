using System.Text.Json.Serialization;

namespace Slipway.Serving.Routing;

/// <summary>One variant of an endpoint's route.</summary>
/// <param name="Name">Its name in answers, health and the prediction log: <c>stable</c>, <c>candidate</c>, or what the rollout calls it.</param>
/// <param name="ModelVersion">What it serves, as <c>name/version</c>.</param>
/// <param name="Percent">Its share of slots, 0 to 100 in steps of 0.01; with 0 it is loaded and answers only what is matched, mirrored or previewed.</param>
public sealed record RouteVariant(string Name, string ModelVersion, double Percent);

/// <summary>
/// Requests that go to a variant whatever their slot: those for which every condition given here holds. Rules are tried in order, overrides before
/// the others. What a rule decides is no part of an experiment's statistics.
/// </summary>
/// <param name="Variant">Where the requests go.</param>
/// <param name="Header">A request header (gRPC: metadata), by name without regard to case.</param>
/// <param name="Cookie">A cookie, by its exact name.</param>
/// <param name="Values">Values of the header or cookie that match, exactly; null: any.</param>
/// <param name="Entities">Entity keys that match, exactly; null: any.</param>
/// <param name="Override">Whether it is tried before every rule that is none: for testers.</param>
public sealed record MatchRule(
    string Variant, string? Header = null, string? Cookie = null, IReadOnlyList<string>? Values = null, IReadOnlyList<string>? Entities = null, bool Override = false)
{
    /// <summary>Conditions on attributes of the request; null: none.</summary>
    public IReadOnlyList<AttributeRule>? Attributes { get; init; }
}

/// <summary>A variant that gets copies of answered requests. Its answers are compared with those that were given and never returned.</summary>
/// <param name="Variant">The variant that gets them.</param>
/// <param name="Percent">Share of requests that are copied, 0 to 100; the prediction id decides.</param>
public sealed record MirrorRule(string Variant, double Percent = 100);

/// <summary>What a node does when nobody has renewed the lease of a rollout's route for its duration.</summary>
public enum LeaseExpiry
{
    /// <summary>The weights stay as they are.</summary>
    Freeze,

    /// <summary>Only stable serves until the lease is renewed.</summary>
    Revert,
}

/// <summary>How long a rollout's route may serve without its control plane.</summary>
/// <param name="Duration">From the last renewal that the node has seen.</param>
/// <param name="OnExpiry">What then happens on the node.</param>
public sealed record LeaseRule(TimeSpan Duration, LeaseExpiry OnExpiry = LeaseExpiry.Revert);

/// <summary>A version without traffic that stays loaded, so that going back to it is one route revision.</summary>
/// <param name="ModelVersion">As <c>name/version</c>.</param>
/// <param name="UntilMicros">Until when, in Unix microseconds.</param>
public sealed record WarmVersion(string ModelVersion, long UntilMicros);

/// <summary>When a node takes a candidate out of its own traffic without asking anyone. Thresholds travel with the route.</summary>
/// <param name="ConsecutiveErrors">Failures of the candidate in a row that trip the fuse.</param>
/// <param name="BurstRequests">Requests in one second from which the error share counts.</param>
/// <param name="BurstErrorShare">Error share (0 to 1) of such a second that trips the fuse.</param>
public sealed record FuseRule(int ConsecutiveErrors = 5, int BurstRequests = 50, double BurstErrorShare = 0.2);

/// <summary>
/// A revision of an endpoint's route as it is stored: immutable, complete, and the proof of who saw what.
/// </summary>
/// <param name="Endpoint">The endpoint's name.</param>
/// <param name="Revision">Grows by one with every change.</param>
/// <param name="Salt">Hash salt of the slots: the rollout's id, or the endpoint's first revision.</param>
/// <param name="Slots">The table as run-length text, see <see cref="SlotTable.Encode"/>.</param>
/// <param name="Variants">Index 0 is the stable variant.</param>
/// <param name="LogPredictions">Whether predictions are logged.</param>
/// <param name="Rollout">The rollout that steers the route, or null.</param>
/// <param name="Fuse">The local fuse.</param>
/// <param name="Settings">How the endpoint serves; null: <see cref="EndpointSettings.Default"/>.</param>
public sealed record RouteSpec(
    string Endpoint, long Revision, string Salt, string Slots, IReadOnlyList<RouteVariant> Variants, bool LogPredictions, string? Rollout, FuseRule Fuse,
    EndpointSettings? Settings = null)
{
    // Versions that left longest ago give way: each of them holds memory.
    private const int MostWarm = 3;

    /// <summary>Requests that go to a variant whatever their slot; null: none.</summary>
    public IReadOnlyList<MatchRule>? Rules { get; init; }

    /// <summary>Variants that get copies of requests; null: none.</summary>
    public IReadOnlyList<MirrorRule>? Mirrors { get; init; }

    /// <summary>How long the route may serve without its control plane; null: without end.</summary>
    public LeaseRule? Lease { get; init; }

    /// <summary>The variant that answers at <c>ENDPOINT@preview</c>, or null.</summary>
    public string? Preview { get; init; }

    /// <summary>Versions without traffic that stay loaded, the last to leave first; null: none.</summary>
    public IReadOnlyList<WarmVersion>? Warm { get; init; }

    /// <summary>Whether each request's variant is recorded even where the prediction itself is not sampled: an experiment counts everyone.</summary>
    public bool Exposures { get; init; }

    /// <summary>The part of a namespace whose entities the slots are for; null: all.</summary>
    public NamespaceRule? Namespace { get; init; }

    /// <summary>The stable variant.</summary>
    [JsonIgnore]
    public RouteVariant Stable => Variants[0];

    /// <summary>The variant under trial, or null.</summary>
    [JsonIgnore]
    public RouteVariant? Candidate => Variants.Count > 1 ? Variants[1] : null;

    /// <summary>The route of a new endpoint: one variant with every slot.</summary>
    public static RouteSpec First(string endpoint, long revision, string modelVersion, bool logPredictions, EndpointSettings? settings = null) =>
        new(endpoint, revision, endpoint, SlotTable.Encode(SlotTable.Whole()), [new("stable", modelVersion, 100)], logPredictions, null, new FuseRule(), settings);

    /// <summary>
    /// The next revision under a rollout. Weights are turned into slots by moving the least possible number of them, as long as salt and rollout stay;
    /// a new salt redraws everyone, so a rollout's first revision starts with every slot on stable. Variants are known again by name.
    /// </summary>
    /// <param name="rollout">The rollout that steers the route from now on.</param>
    /// <param name="salt">Its salt: its id, or that of a rollout whose entities it wants again.</param>
    /// <param name="variants">Index 0 is stable; percents add up to 100.</param>
    /// <param name="rules">See <see cref="Rules"/>.</param>
    /// <param name="mirrors">See <see cref="Mirrors"/>.</param>
    /// <param name="lease">See <see cref="Lease"/>.</param>
    /// <param name="preview">See <see cref="Preview"/>.</param>
    /// <param name="exposures">See <see cref="Exposures"/>.</param>
    /// <exception cref="ArgumentException">A rule, mirror or preview names a variant that is not there, two variants share a name, or the percents are no shares.</exception>
    public RouteSpec Next(
        string rollout, string salt, IReadOnlyList<RouteVariant> variants, IReadOnlyList<MatchRule>? rules = null, IReadOnlyList<MirrorRule>? mirrors = null,
        LeaseRule? lease = null, string? preview = null, bool exposures = false)
    {
        var names = variants.Select(variant => variant.Name).ToList();
        var unknown = (rules ?? []).Select(rule => rule.Variant).Concat((mirrors ?? []).Select(mirror => mirror.Variant)).Append(preview ?? names[0]).FirstOrDefault(name => !names.Contains(name));
        if (unknown is not null || names.Distinct(StringComparer.Ordinal).Count() != names.Count)
        {
            throw new ArgumentException(unknown is null ? $"two variants share a name: {string.Join(", ", names)}" : $"there is no variant '{unknown}' among {string.Join(", ", names)}", nameof(variants));
        }

        return this with
        {
            Revision = Revision + 1,
            Salt = salt,
            Slots = SlotTable.Encode(SlotTable.Reassign(Carried(rollout, salt, names), SlotTable.Share([.. variants.Select(variant => variant.Percent)]))),
            Variants = variants,
            Rollout = rollout,
            Rules = rules is { Count: > 0 } ? rules : null,
            Mirrors = mirrors is { Count: > 0 } ? mirrors : null,
            Lease = lease,
            Preview = preview,
            Exposures = exposures,
        };
    }

    /// <summary>The next revision with <paramref name="percent"/> of the slots on <paramref name="candidate"/> and the rest on stable, see <see cref="Next"/>.</summary>
    public RouteSpec WithCandidate(string rollout, string candidate, double percent) =>
        Next(rollout, rollout, [Stable with { Percent = 100 - percent }, new("candidate", candidate, percent)]);

    /// <summary>
    /// The next revision in which only <paramref name="modelVersion"/> serves: the end of a rollout either way. Versions that leave stay loaded until
    /// <paramref name="keepWarmUntil"/> (Unix microseconds), if that is given.
    /// </summary>
    public RouteSpec Settled(string modelVersion, long? keepWarmUntil = null)
    {
        var leaving = Variants.Select(variant => variant.ModelVersion).Where(_ => keepWarmUntil is not null).Select(version => new WarmVersion(version, keepWarmUntil ?? 0));
        var warm = leaving.Concat(Warm ?? []).Where(version => version.ModelVersion != modelVersion).DistinctBy(version => version.ModelVersion, StringComparer.Ordinal).Take(MostWarm).ToList();
        return this with
        {
            Revision = Revision + 1,
            Slots = SlotTable.Encode(SlotTable.Whole()),
            Variants = [new("stable", modelVersion, 100)],
            Rollout = null,
            Rules = null,
            Mirrors = null,
            Lease = null,
            Preview = null,
            Namespace = null,
            Exposures = false,
            Warm = warm.Count > 0 ? warm : null,
        };
    }

    // The present owners under the next revision's indexes; the slots of variants that leave have an owner that is due nothing, so that they go first.
    private byte[] Carried(string rollout, string salt, List<string> names)
    {
        if (Rollout != rollout || Salt != salt)
        {
            return SlotTable.Whole();
        }

        var slots = SlotTable.Decode(Slots);
        var index = Variants.Select(variant => names.IndexOf(variant.Name) is var at and >= 0 ? (byte)at : byte.MaxValue).ToArray();
        for (var slot = 0; slot < slots.Length; slot++)
        {
            slots[slot] = index[slots[slot]];
        }

        return slots;
    }
}
