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

/// <summary>
/// The default drift decision: a column alerts only when its population stability index is significant (unlikely without drift at
/// this sample size) and material (large enough to matter). Without drift the index is distributed like
/// (1/n_r + 1/n_c) times chi-square with B - 1 degrees of freedom (Yurdakul 2018), which is what both halves use.
/// </summary>
internal static class Drift
{
    /// <summary>Bin shares under this floor count as the floor, on both sides and without renormalising.</summary>
    public const double ShareFloor = 1e-4;

    /// <summary>The least rows of a window.</summary>
    public const int LeastRows = 30;

    /// <summary>The least reference rows a bin.</summary>
    public const int LeastReferencePerBin = 5;

    /// <summary>Population stability index, sum over bins of (q - p) ln(q / p) of the two bin shares.</summary>
    public static double Psi(ReadOnlySpan<long> reference, ReadOnlySpan<long> window)
    {
        double nr = Sum(reference), nc = Sum(window), psi = 0;
        for (int i = 0; i < reference.Length; i++)
        {
            double p = Math.Max(reference[i] / nr, ShareFloor), q = Math.Max(window[i] / nc, ShareFloor);
            psi += (q - p) * Math.Log(q / p);
        }

        return psi;
    }

    /// <summary>Compares all columns of one window at once: the significance level is shared among them (<see cref="FalseDiscovery"/>).</summary>
    public static IReadOnlyList<DriftVerdict> Decide(IReadOnlyList<(ColumnReference Reference, ColumnSketch Window)> columns, Thresholds thresholds)
    {
        var first = columns.Select(c => Measure(c.Reference, c.Window)).ToArray();
        double[] adjusted = columns.Count == 1 ? [first[0].P ?? double.NaN] : FalseDiscovery.BenjaminiYekutieli(first.Select(v => v.P ?? double.NaN).ToArray());
        double level = columns.Count == 1 ? thresholds.SingleAlpha : thresholds.DiscoveryRate;
        return first.Select((v, i) => Rule(v, adjusted[i], level, columns[i].Reference, columns[i].Window, thresholds)).ToArray();
    }

    private static DriftVerdict Measure(ColumnReference reference, ColumnSketch window)
    {
        if (window.Rows == 0)
        {
            return Without(PointState.NoData, "the window has no rows");
        }

        if (reference.Finite == 0)
        {
            return Without(PointState.Undefined, $"the reference column has no finite value in {reference.Rows} rows");
        }

        if (window.Finite == 0)
        {
            return Without(PointState.Undefined, $"all {window.Rows} values of the window are missing or infinite");
        }

        if (window.Finite < LeastRows)
        {
            return Without(PointState.Insufficient, $"{window.Finite} rows with a value, {LeastRows} are needed");
        }

        int least = LeastReferencePerBin * reference.Bins.Count;
        if (reference.Finite < least)
        {
            return Without(PointState.Insufficient, $"the reference has {reference.Finite} rows with a value, {least} are needed for {reference.Bins.Count} bins");
        }

        double psi = Psi(reference.Counts, window.Counts), scale = Scale(reference, window);
        double p = reference.Bins.Count == 1 ? 1 : Tails.ChiSquare(psi / scale, reference.Bins.Count - 1);
        return new DriftVerdict(PointState.Ok, DriftLevel.None, psi, p, null, psi - (reference.Bins.Count - 1) * scale, null, null);
    }

    private static DriftVerdict Rule(DriftVerdict v, double adjusted, double alpha, ColumnReference reference, ColumnSketch window, Thresholds t)
    {
        if (v.Psi is null)
        {
            return v;
        }

        double scale = Scale(reference, window), mean = (reference.Bins.Count - 1) * scale;
        // The raw significance limit is what a single test at alpha would need; the shared limit is at least that.
        double significant = reference.Bins.Count == 1 ? 0 : Tails.ChiSquareQuantile(alpha, reference.Bins.Count - 1) * scale;
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

    private static double Scale(ColumnReference reference, ColumnSketch window) => 1.0 / reference.Finite + 1.0 / window.Finite;

    private static DriftVerdict Without(string state, string why) => new(state, DriftLevel.None, null, null, null, null, null, why);

    private static double Sum(ReadOnlySpan<long> counts)
    {
        long sum = 0;
        foreach (long count in counts)
        {
            sum += count;
        }

        return sum;
    }
}
