namespace Slipway.Monitoring;

/// <summary>What one comparison of a column with its reference says.</summary>
/// <param name="State">A value of <see cref="PointState"/>.</param>
/// <param name="Level">A value of <see cref="DriftLevel"/>; `none` unless the state is alert.</param>
/// <param name="Psi">The population stability index; null when it is not a number.</param>
/// <param name="P">Tail probability of that index when nothing drifted.</param>
/// <param name="AdjustedP">The same after the correction for all columns of the window.</param>
/// <param name="Material">The index minus its expectation without drift.</param>
/// <param name="Limit">The least index that is both significant and material at the level that alerts first.</param>
/// <param name="Why">Why there is no number; null when there is one.</param>
/// <param name="Clear">Whether the index is far enough below its limit to end a drift (hysteresis).</param>
internal sealed record DriftVerdict(string State, string Level, double? Psi, double? P, double? AdjustedP, double? Material, double? Limit, string? Why, bool Clear = false);

/// <summary>Counts of one column on both sides in the same bins, with the rows that they come from.</summary>
internal sealed record ComparedBins(long[] Reference, long ReferenceFinite, long ReferenceRows, long[] Window, long WindowFinite, long WindowRows)
{
    public int Bins => Reference.Length;

    /// <summary>1/n_r + 1/n_c: without drift the index is this times chi-square.</summary>
    public double Scale => 1.0 / ReferenceFinite + 1.0 / WindowFinite;
}

/// <summary>
/// The default drift decision: a column alerts only when its population stability index is significant (unlikely without drift at
/// this sample size) and material (large enough to matter). Without drift the index is distributed like
/// (1/n_r + 1/n_c) times chi-square with B - 1 degrees of freedom (Yurdakul 2018), which is what both halves use.
/// </summary>
internal static class Drift
{
    /// <summary>The least rows of a window.</summary>
    public const int LeastRows = 30;

    /// <summary>The least reference rows a bin.</summary>
    public const int LeastReferencePerBin = 5;

    /// <summary>Compares all columns of one window at once: the significance level is shared among them (<see cref="MultipleTesting"/>).</summary>
    public static IReadOnlyList<DriftVerdict> Decide(IReadOnlyList<(ColumnReference Reference, ColumnSketch Window)> columns, Thresholds thresholds) => Decide(
        columns.Select(c => new ComparedBins(c.Reference.Counts, c.Reference.Finite, c.Reference.Rows, c.Window.Counts, c.Window.Finite, c.Window.Rows)).ToArray(), thresholds, MultipleTesting.BenjaminiYekutieli);

    /// <summary>The same over bin counts, with a correction for the number of columns.</summary>
    public static IReadOnlyList<DriftVerdict> Decide(IReadOnlyList<ComparedBins> columns, Thresholds thresholds, Func<IReadOnlyList<double>, double[]> correct)
    {
        DriftVerdict[] first = columns.Select(Measure).ToArray();
        double[] adjusted = columns.Count == 1 ? [first[0].P ?? double.NaN] : correct(first.Select(v => v.P ?? double.NaN).ToArray());
        double level = columns.Count == 1 ? thresholds.SingleAlpha : thresholds.DiscoveryRate;
        return first.Select((v, i) => Rule(v, adjusted[i], level, columns[i], thresholds)).ToArray();
    }

    private static DriftVerdict Measure(ComparedBins c)
    {
        if (c.WindowRows == 0)
        {
            return Without(PointState.NoData, "the window has no rows");
        }

        if (c.ReferenceFinite == 0)
        {
            return Without(PointState.Undefined, $"the reference column has no finite value in {c.ReferenceRows} rows");
        }

        if (c.WindowFinite == 0)
        {
            return Without(PointState.Undefined, $"all {c.WindowRows} values of the window are missing or infinite");
        }

        if (c.WindowFinite < LeastRows)
        {
            return Without(PointState.Insufficient, $"{c.WindowFinite} rows with a value, {LeastRows} are needed");
        }

        int least = LeastReferencePerBin * c.Bins;
        if (c.ReferenceFinite < least)
        {
            return Without(PointState.Insufficient, $"the reference has {c.ReferenceFinite} rows with a value, {least} are needed for {c.Bins} bins");
        }

        double psi = Distances.Psi(c.Reference, c.Window);
        double p = c.Bins == 1 ? 1 : Tails.ChiSquare(psi / c.Scale, c.Bins - 1);
        return new DriftVerdict(PointState.Ok, DriftLevel.None, psi, p, null, psi - (c.Bins - 1) * c.Scale, null, null);
    }

    private static DriftVerdict Rule(DriftVerdict v, double adjusted, double alpha, ComparedBins c, Thresholds t)
    {
        if (v.Psi is null)
        {
            return v;
        }

        double mean = (c.Bins - 1) * c.Scale;
        // The raw significance limit is what a single test at alpha would need; the shared limit is at least that.
        double significant = c.Bins == 1 ? 0 : Tails.ChiSquareQuantile(alpha, c.Bins - 1) * c.Scale;
        string level = adjusted <= alpha ? LevelOf(v.Material!.Value, t) : DriftLevel.None;
        bool alert = DriftLevel.Rank(level) >= DriftLevel.Rank(t.AlertFrom);
        double limit = Math.Max(significant, mean + Floor(t.AlertFrom, t));
        bool clear = !alert && (adjusted > alpha || v.Material < t.ClearBelow * Floor(t.AlertFrom, t));
        return v with { State = alert ? PointState.Alert : PointState.Ok, Level = level, AdjustedP = adjusted, Limit = limit, Clear = clear };
    }

    private static string LevelOf(double material, Thresholds t) =>
        material >= t.Severe ? DriftLevel.Severe : material >= t.Major ? DriftLevel.Major : material >= t.Warn ? DriftLevel.Warn : DriftLevel.None;

    /// <summary>The material index at which a level begins.</summary>
    internal static double Floor(string level, Thresholds t) => level switch
    {
        DriftLevel.Severe => t.Severe,
        DriftLevel.Major => t.Major,
        _ => t.Warn,
    };

    private static DriftVerdict Without(string state, string why) => new(state, DriftLevel.None, null, null, null, null, null, why);
}
