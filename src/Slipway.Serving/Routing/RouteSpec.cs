using System.Text.Json.Serialization;

namespace Slipway.Serving.Routing;

/// <summary>One variant of an endpoint's route.</summary>
/// <param name="Name">Its name in answers, health and the prediction log: <c>stable</c> or <c>candidate</c>.</param>
/// <param name="ModelVersion">What it serves, as <c>name/version</c>.</param>
/// <param name="Percent">Its share of slots, 0 to 100 in steps of 0.01.</param>
public sealed record RouteVariant(string Name, string ModelVersion, double Percent);

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
    /// The next revision with <paramref name="percent"/> of the slots on <paramref name="candidate"/>. A rollout's first revision takes its id as
    /// the salt (nobody has seen the candidate yet, so re-drawing moves nobody); later ones move only the slots they must.
    /// </summary>
    public RouteSpec WithCandidate(string rollout, string candidate, double percent)
    {
        var before = Candidate?.ModelVersion == candidate && Rollout == rollout ? SlotTable.Decode(Slots) : SlotTable.Whole();
        var slots = SlotTable.Reassign(before, SlotTable.Share([100 - percent, percent]));
        return this with
        {
            Revision = Revision + 1,
            Salt = rollout,
            Slots = SlotTable.Encode(slots),
            Variants = [Stable with { Percent = 100 - percent }, new("candidate", candidate, percent)],
            Rollout = rollout,
        };
    }

    /// <summary>The next revision in which only <paramref name="modelVersion"/> serves: the end of a rollout either way.</summary>
    public RouteSpec Settled(string modelVersion) => this with
    {
        Revision = Revision + 1,
        Slots = SlotTable.Encode(SlotTable.Whole()),
        Variants = [new("stable", modelVersion, 100)],
        Rollout = null,
    };
}
