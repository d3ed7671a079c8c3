namespace Slipway.Monitoring;

/// <summary>
/// The range outside which a value alerts, with what it was made from. The comparison is strict: a value equal to a limit never alerts, and
/// NaN never passes.
/// </summary>
/// <param name="Lower">Alerts below it; null when nothing is too low.</param>
/// <param name="Upper">Alerts above it; null when nothing is too high.</param>
/// <param name="Rule">`constant`, `standard_deviation`, `quantile` or `mad`.</param>
/// <param name="Inputs">How many reference windows it was made from; 0 for constants.</param>
public sealed record Limits(double? Lower, double? Upper, string Rule, int Inputs)
{
    /// <summary>Under this many reference windows a standard deviation says little; limits made from it carry a warning.</summary>
    public const int LeastWindows = 6;

    /// <summary>Why these limits should be read with care; null when there is no reason.</summary>
    public string? Warning { get; init; }

    /// <summary>Fixed limits.</summary>
    public static Limits Constant(double? lower, double? upper) => new(lower, upper, "constant", 0);

    /// <summary>
    /// Mean plus and minus <paramref name="times"/> population standard deviations of the values of the reference windows. NaN is skipped; both
    /// ends are clipped to the metric's own range.
    /// </summary>
    /// <param name="values">One value a reference window.</param>
    /// <param name="times">How many standard deviations.</param>
    /// <param name="least">The least value the metric can have; null when there is none.</param>
    /// <param name="most">The largest value the metric can have; null when there is none.</param>
    /// <param name="upperOnly">Whether low values are good, as for distances.</param>
    public static Limits OfStandardDeviation(IEnumerable<double> values, double times = 3, double? least = null, double? most = null, bool upperOnly = false)
    {
        double[] kept = values.Where(v => !double.IsNaN(v)).ToArray();
        if (kept.Length == 0)
        {
            return new Limits(null, null, "standard_deviation", 0) { Warning = "no reference window has a value, so nothing can alert" };
        }

        double mean = kept.Average(), deviation = Math.Sqrt(kept.Sum(v => (v - mean) * (v - mean)) / kept.Length);
        double lower = Math.Max(mean - times * deviation, least ?? double.NegativeInfinity), upper = Math.Min(mean + times * deviation, most ?? double.PositiveInfinity);
        return new Limits(upperOnly ? null : lower, upper, "standard_deviation", kept.Length) { Warning = Few(kept.Length) };
    }

    /// <summary>Quantiles of the values of trailing windows, linear interpolation.</summary>
    public static Limits OfQuantiles(IEnumerable<double> values, double? lower, double? upper)
    {
        double[] sorted = TwoSample.Sorted(values);
        return sorted.Length == 0
            ? new Limits(null, null, "quantile", 0) { Warning = "no window has a value, so nothing can alert" }
            : new Limits(lower is { } l ? Bins.Quantile(sorted, l) : null, upper is { } u ? Bins.Quantile(sorted, u) : null, "quantile", sorted.Length) { Warning = Few(sorted.Length) };
    }

    /// <summary>Median plus and minus <paramref name="times"/> scaled median absolute deviations (1.4826 makes it a standard deviation of a normal law).</summary>
    public static Limits OfMedianDeviation(IEnumerable<double> values, double times = 3)
    {
        double[] sorted = TwoSample.Sorted(values);
        if (sorted.Length == 0)
        {
            return new Limits(null, null, "mad", 0) { Warning = "no window has a value, so nothing can alert" };
        }

        double median = Bins.Quantile(sorted, 0.5), deviation = 1.4826 * Bins.Quantile(TwoSample.Sorted(sorted.Select(v => Math.Abs(v - median))), 0.5);
        return new Limits(median - times * deviation, median + times * deviation, "mad", sorted.Length) { Warning = Few(sorted.Length) };
    }

    /// <summary>Whether the value is outside. A NaN is neither inside nor outside: it is no number to judge.</summary>
    public bool Outside(double value) => value < Lower || value > Upper;

    private static string? Few(int windows) => windows < LeastWindows ? $"only {windows} reference windows, {LeastWindows} are needed for a reliable spread" : null;
}
