using System.Text.Json.Serialization;

namespace Slipway.Monitoring;

/// <summary>What a rule does with a window that gave no number it could judge.</summary>
public static class NoData
{
    /// <summary>Keeps the state that it has (default).</summary>
    public const string Keep = "keep";

    /// <summary>Keeps the state, and raises an alert of its own after <see cref="RuleSpec.NoDataFor"/> such windows in a row.</summary>
    public const string Alert = "alert";

    /// <summary>Counts the window as a clear one.</summary>
    public const string Ok = "ok";

    /// <summary>Ends pending and firing at once.</summary>
    public const string Resolve = "resolve";

    internal static readonly string[] All = [Keep, Alert, Ok, Resolve];
}

/// <summary>When a rule fires and when it ends.</summary>
public sealed record RuleSpec
{
    /// <summary>How long the condition must hold, measured between evaluations; zero fires at once.</summary>
    public TimeSpan For { get; init; }

    /// <summary>How long the alert goes on firing after the condition ended.</summary>
    public TimeSpan KeepFiringFor { get; init; }

    /// <summary>In how many of the last windows a breach of any rank must be.</summary>
    public AlertFor Breach { get; init; } = new(1, 1);

    /// <summary>The same for a breach of rank major or severe.</summary>
    public AlertFor MajorBreach { get; init; } = new(1, 1);

    /// <summary>How many windows in a row must be clear before the condition counts as ended.</summary>
    public int ResolveAfter { get; init; } = 1;

    /// <summary>A value of <see cref="Monitoring.NoData"/>.</summary>
    public string NoData { get; init; } = Monitoring.NoData.Keep;

    /// <summary>With <see cref="Monitoring.NoData.Alert"/>: after how many windows without a number.</summary>
    public int NoDataFor { get; init; } = 2;

    /// <summary>As the thresholds of a monitor say it.</summary>
    internal static RuleSpec Of(Thresholds t) => new() { Breach = t.ForWarn, MajorBreach = t.ForMajor, ResolveAfter = t.ResolveAfter };
}

/// <summary>Where a rule stands after an evaluation.</summary>
/// <param name="State">`inactive`, `pending` or `firing`.</param>
/// <param name="Since">Evaluation at which this state began, Unix microseconds.</param>
/// <param name="ActiveSince">First evaluation of the present run of true conditions.</param>
/// <param name="FalseSince">First evaluation at which the condition of a firing rule had ended.</param>
/// <param name="Gaps">Evaluations without a number in a row, up to now.</param>
internal sealed record RulePhase(string State, long Since, long? ActiveSince = null, long? FalseSince = null, int Gaps = 0)
{
    public static readonly RulePhase New = new(AlertRule.Inactive, 0);
}

/// <summary>What one judged window says to a rule.</summary>
/// <param name="Window">Start of the window, Unix microseconds: the time of this evaluation.</param>
/// <param name="Rank">Rank of the breach (<see cref="DriftLevel.Rank"/>), 0 for none.</param>
/// <param name="Clear">Whether the value is far enough inside its limits to resolve.</param>
/// <param name="Gap">Whether there was no number to judge.</param>
internal sealed record RuleObservation(long Window, int Rank, bool Clear, bool Gap = false)
{
    /// <summary>Where the rule stood after this observation.</summary>
    [JsonInclude]
    public RulePhase? After { get; init; }
}

/// <summary>
/// The rule of one metric of one column: inactive, pending (breached, but not in enough windows or not for long enough) or firing.
/// The condition is true when the newest window breaches and is one of k in the last n judged ones. Values between the limits change
/// nothing while it fires. Pure: the state after each observation is kept, so that judging an old window again derives what follows anew.
/// </summary>
internal sealed record AlertRule(string State, long Since, IReadOnlyList<RuleObservation> History)
{
    public const string Inactive = "inactive";
    public const string Pending = "pending";
    public const string Firing = "firing";

    /// <summary>How many observations are kept; k and n are at most this.</summary>
    public const int LongestHistory = 32;

    public static readonly AlertRule New = new(Inactive, 0, []);

    /// <summary>Evaluations without a number in a row, up to now.</summary>
    [JsonIgnore]
    public int Gaps => History.Count == 0 ? 0 : History[^1].After?.Gaps ?? 0;

    /// <summary>The rule under the thresholds of its monitor.</summary>
    public AlertRule Next(RuleObservation observation, Thresholds thresholds) => Next(observation, RuleSpec.Of(thresholds));

    /// <summary>The rule after a window was judged, or judged again: the newer verdict replaces the older one of the same window.</summary>
    public AlertRule Next(RuleObservation observation, RuleSpec spec)
    {
        if (History.Count >= LongestHistory && observation.Window < History[0].Window)
        {
            return this;
        }

        List<RuleObservation> history = [.. History.Where(o => o.Window != observation.Window).Append(observation).OrderBy(o => o.Window)];
        for (int i = history.FindIndex(o => o.Window == observation.Window); i < history.Count; i++)
        {
            RulePhase before = i == 0 ? RulePhase.New : history[i - 1].After ?? new RulePhase(State, Since, State == Inactive ? null : Since);
            history[i] = history[i] with { After = Step(before, history, i, spec) };
        }

        RulePhase now = history[^1].After!;
        return new AlertRule(now.State, now.Since, history.TakeLast(LongestHistory).ToArray());
    }

    private static RulePhase Step(RulePhase before, List<RuleObservation> history, int i, RuleSpec spec)
    {
        RuleObservation o = history[i];
        if (o.Gap)
        {
            int gaps = before.Gaps + 1;
            switch (spec.NoData)
            {
                case NoData.Resolve:
                    return Moved(before, Inactive, o.Window) with { Gaps = gaps };
                case NoData.Ok:
                    o = o with { Clear = true, Rank = 0 };
                    break;
                default:
                    return before with { Gaps = gaps };
            }
        }

        int kept = o.Gap ? before.Gaps + 1 : 0;
        RuleObservation[] judged = [.. history.Take(i).Where(h => !h.Gap || spec.NoData == NoData.Ok).Select(h => h.Gap ? h with { Clear = true } : h), o];
        if (o.Rank > 0 && (Breached(judged, 2, spec.MajorBreach) || Breached(judged, 1, spec.Breach)))
        {
            long active = before.ActiveSince ?? o.Window;
            bool fires = before.State == Firing || o.Window - active >= Micros(spec.For);
            return Moved(before, fires ? Firing : Pending, o.Window) with { ActiveSince = active, Gaps = kept };
        }

        if (before.State != Firing)
        {
            return Moved(before, o.Rank > 0 ? Pending : Inactive, o.Window) with { Gaps = kept };
        }

        int calm = Math.Max(1, spec.ResolveAfter);
        if (judged.Length < calm || !judged.TakeLast(calm).All(h => h.Clear))
        {
            return before with { FalseSince = null, Gaps = kept };
        }

        long ended = before.FalseSince ?? o.Window;
        return o.Window - ended >= Micros(spec.KeepFiringFor)
            ? Moved(before, Inactive, o.Window) with { Gaps = kept }
            : before with { FalseSince = ended, Gaps = kept };
    }

    private static RulePhase Moved(RulePhase before, string state, long at) => new(state, before.State == state ? before.Since : at);

    private static long Micros(TimeSpan span) => span.Ticks / TimeSpan.TicksPerMicrosecond;

    private static bool Breached(RuleObservation[] judged, int rank, AlertFor rule) => judged.TakeLast(rule.N).Count(o => o.Rank >= rank) >= rule.K;

    /// <summary>What a point says to its rule; null when it carries no verdict.</summary>
    public static RuleObservation? Observe(MonitorPoint point)
    {
        if (point.State is not (PointState.Ok or PointState.Alert))
        {
            return null;
        }

        bool alert = point.State == PointState.Alert;
        int breach = Families.HasLevels(Families.Of(point.Metric)) ? DriftLevel.Rank(point.Level) : DriftLevel.Rank(DriftLevel.Major);
        return new RuleObservation(Foundation.Time.ToMicros(point.WindowStart), alert ? breach : 0, !alert && point.Clear);
    }
}
