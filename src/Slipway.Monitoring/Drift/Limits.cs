namespace Slipway.Monitoring;

/// <summary>
/// The range outside which a value alerts, with what it was made from. The comparison is strict: a value equal to a limit never alerts, and
/// NaN never passes.
/// </summary>
/// <param name="Lower">Alerts below it; null when nothing is too low.</param>
/// <param name="Upper">Alerts above it; null when nothing is too high.</param>
/// <param name="Rule">`constant`, `standard_deviation`, `leave_one_window_out`, `bootstrap`, `quantile`, `mad` or `seasonal`.</param>
/// <param name="Inputs">How many reference windows it was made from; 0 for constants.</param>
public sealed record Limits(double? Lower, double? Upper, string Rule, int Inputs)
{
    /// <summary>Under this many reference windows a standard deviation says little; limits made from it carry a warning.</summary>
    public const int LeastWindows = 6;

    /// <summary>Under this many reference windows each is compared with the others only: a window that is part of what it is compared with looks too quiet.</summary>
    public const int LeastWindowsWithThemselves = 10;

    /// <summary>Windows that a bootstrap draws.</summary>
    public const int Draws = 200;

    /// <summary>The values that they were made from, in the order of their windows; empty for constants.</summary>
    public IReadOnlyList<double> Values { get; init; } = [];

    /// <summary>Rows of each window that the values were measured on; null when they differ or are not known.</summary>
    public int? WindowRows { get; init; }

    /// <summary>Seed of the bootstrap; null without one.</summary>
    public int? Seed { get; init; }

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
        return new Limits(upperOnly ? null : lower, upper, "standard_deviation", kept.Length) { Warning = Few(kept.Length), Values = kept };
    }

    /// <summary>Quantiles of the values of trailing windows, linear interpolation.</summary>
    public static Limits OfQuantiles(IEnumerable<double> values, double? lower, double? upper)
    {
        double[] sorted = TwoSample.Sorted(values);
        return sorted.Length == 0
            ? new Limits(null, null, "quantile", 0) { Warning = "no window has a value, so nothing can alert" }
            : new Limits(lower is { } l ? Bins.Quantile(sorted, l) : null, upper is { } u ? Bins.Quantile(sorted, u) : null, "quantile", sorted.Length) { Warning = Few(sorted.Length), Values = sorted };
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
        return new Limits(median - times * deviation, median + times * deviation, "mad", sorted.Length) { Warning = Few(sorted.Length), Values = sorted };
    }

    /// <summary>The same over the windows that begin at the same hour of the week (UTC) as <paramref name="at"/>.</summary>
    public static Limits OfSeason(IEnumerable<(DateTimeOffset Start, double Value)> windows, DateTimeOffset at, double times = 3) =>
        OfMedianDeviation(windows.Where(w => HourOfWeek(w.Start) == HourOfWeek(at)).Select(w => w.Value), times) with { Rule = "seasonal" };

    /// <summary>
    /// Limits of a metric from the rows of the reference, for windows of <paramref name="windowRows"/> rows: three standard deviations of its values on consecutive windows,
    /// or, where fewer than six fit, on windows that are drawn from the rows with replacement.
    /// </summary>
    /// <param name="rows">Rows of the reference, in event-time order.</param>
    /// <param name="windowRows">Rows of a window that will be judged.</param>
    /// <param name="metric">The metric of some rows, by their positions; NaN where it is not defined.</param>
    /// <param name="least">The least value the metric can have; null when there is none.</param>
    /// <param name="most">The largest value the metric can have; null when there is none.</param>
    /// <param name="seed">Seed of the draws.</param>
    public static Limits OfReference(int rows, int windowRows, Func<IReadOnlyList<int>, double> metric, double? least = null, double? most = null, int seed = 1)
    {
        IReadOnlyList<Chunk> windows = Chunks.BySize(rows, windowRows, Remainder.Drop);
        return windows.Count >= LeastWindows
            ? OfStandardDeviation(windows.Select(w => metric(Positions(w))), least: least, most: most) with { WindowRows = windowRows }
            : Drawn(rows, windowRows, (_, window) => metric(window), least, most, upperOnly: false, seed);
    }

    /// <summary>The same from windows that are drawn from the rows with replacement, however many would fit.</summary>
    public static Limits OfBootstrap(int rows, int windowRows, Func<IReadOnlyList<int>, double> metric, double? least = null, double? most = null, int seed = 1) =>
        Drawn(rows, windowRows, (_, window) => metric(window), least, most, upperOnly: false, seed);

    /// <summary>
    /// The upper limit of a distance from the rows of the reference. Under ten windows each is compared with the rows outside it only; under six, windows are
    /// drawn with replacement and compared with the rows that were not drawn.
    /// </summary>
    /// <param name="rows">Rows of the reference, in event-time order.</param>
    /// <param name="windowRows">Rows of a window that will be judged.</param>
    /// <param name="distance">The distance of a window (second) from reference rows (first), by their positions.</param>
    /// <param name="most">The largest value the distance can have; null when there is none.</param>
    /// <param name="seed">Seed of the draws.</param>
    public static Limits OfDistance(int rows, int windowRows, Func<IReadOnlyList<int>, IReadOnlyList<int>, double> distance, double? most = null, int seed = 1)
    {
        IReadOnlyList<Chunk> windows = Chunks.BySize(rows, windowRows, Remainder.Drop);
        if (windows.Count < LeastWindows)
        {
            return Drawn(rows, windowRows, distance, 0, most, upperOnly: true, seed);
        }

        int[] all = [.. Enumerable.Range(0, rows)];
        bool apart = windows.Count < LeastWindowsWithThemselves;
        Limits limits = OfStandardDeviation(windows.Select(w => distance(apart ? [.. all[..w.First], .. all[w.End..]] : all, Positions(w))), least: 0, most: most, upperOnly: true) with { WindowRows = windowRows };
        return apart ? limits with { Rule = "leave_one_window_out" } : limits;
    }

    /// <summary>Whether the value is outside. A NaN is neither inside nor outside: it is no number to judge.</summary>
    public bool Outside(double value) => value < Lower || value > Upper;

    private static Limits Drawn(int rows, int windowRows, Func<IReadOnlyList<int>, IReadOnlyList<int>, double> measure, double? least, double? most, bool upperOnly, int seed)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rows, 2);
        ArgumentOutOfRangeException.ThrowIfLessThan(windowRows, 1);
        var random = new Random(seed);
        double[] values = new double[Draws];
        for (int d = 0; d < Draws; d++)
        {
            int[] window = [.. Enumerable.Range(0, windowRows).Select(_ => random.Next(rows))];
            var drawn = window.ToHashSet();
            int[] rest = [.. Enumerable.Range(0, rows).Where(i => !drawn.Contains(i))];
            values[d] = rest.Length == 0 ? double.NaN : measure(rest, window);
        }

        return OfStandardDeviation(values, least: least, most: most, upperOnly: upperOnly) with { Rule = "bootstrap", WindowRows = windowRows, Seed = seed };
    }

    private static int[] Positions(Chunk window) => [.. Enumerable.Range(window.First, window.Rows)];

    /// <summary>Hours since Sunday 00:00 UTC.</summary>
    internal static int HourOfWeek(DateTimeOffset at) => ((int)at.UtcDateTime.DayOfWeek * 24) + at.UtcDateTime.Hour;

    private static string? Few(int windows) => windows < LeastWindows ? $"only {windows} reference windows, {LeastWindows} are needed for a reliable spread" : null;
}
