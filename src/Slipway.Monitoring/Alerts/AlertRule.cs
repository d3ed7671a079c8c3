namespace Slipway.Monitoring;

/// <summary>What one judged window says to a rule.</summary>
/// <param name="Window">Start of the window, Unix microseconds.</param>
/// <param name="Rank">Rank of the breach (<see cref="DriftLevel.Rank"/>), 0 for none.</param>
/// <param name="Clear">Whether the value is far enough inside its limits to resolve.</param>
internal sealed record RuleObservation(long Window, int Rank, bool Clear);

/// <summary>
/// The rule of one metric of one column: inactive, pending (breached, but not in enough windows) or firing. It fires when the
/// newest window breaches and is one of k in the last n judged ones, and resolves when the newest windows are all clear, so values between the two limits change nothing.
/// A window without a verdict (no data, too few rows) is not an observation and keeps the state. Pure.
/// </summary>
internal sealed record AlertRule(string State, long Since, IReadOnlyList<RuleObservation> History)
{
    public const string Inactive = "inactive";
    public const string Pending = "pending";
    public const string Firing = "firing";

    /// <summary>How many observations are kept; k and n are at most this.</summary>
    public const int LongestHistory = 32;

    public static readonly AlertRule New = new(Inactive, 0, []);

    /// <summary>The rule after a window was judged, or judged again: the newer verdict replaces the older one of the same window.</summary>
    public AlertRule Next(RuleObservation observation, Thresholds thresholds)
    {
        RuleObservation[] history = History.Where(o => o.Window != observation.Window).Append(observation).OrderBy(o => o.Window).TakeLast(LongestHistory).ToArray();
        bool breached = history[^1].Rank > 0 && (Breached(history, 2, thresholds.ForMajor) || Breached(history, 1, thresholds.ForWarn));
        int calm = Math.Max(1, thresholds.ResolveAfter);
        bool resolved = history.Length >= calm && history.TakeLast(calm).All(o => o.Clear);
        string state = breached || (State == Firing && !resolved) ? Firing : history[^1].Rank > 0 ? Pending : Inactive;
        return new AlertRule(state, state == State ? Since : observation.Window, history);
    }

    private static bool Breached(RuleObservation[] history, int rank, AlertFor rule) => history.TakeLast(rule.N).Count(o => o.Rank >= rank) >= rule.K;

    /// <summary>What a point says to its rule; null when it carries no verdict.</summary>
    public static RuleObservation? Observe(MonitorPoint point)
    {
        if (point.State is not (PointState.Ok or PointState.Alert))
        {
            return null;
        }

        bool alert = point.State == PointState.Alert;
        int breach = Families.Of(point.Metric) == Families.Drift ? DriftLevel.Rank(point.Level) : DriftLevel.Rank(DriftLevel.Major);
        return new RuleObservation(Foundation.Time.ToMicros(point.WindowStart), alert ? breach : 0, !alert && point.Clear);
    }
}
