namespace Slipway.Monitoring;

/// <summary>A column's place among drifting columns.</summary>
/// <param name="Rank">From 1.</param>
/// <param name="Column">The column.</param>
/// <param name="Value">What it was ranked by.</param>
public sealed record RankedColumn(int Rank, string Column, double Value);

/// <summary>Orders columns by how much they drifted. Ties go by name.</summary>
public static class DriftRank
{
    /// <summary>By the number of windows that alerted.</summary>
    public static IReadOnlyList<RankedColumn> ByAlerts(IEnumerable<(string Column, bool Alert)> windows) =>
        Number(windows.GroupBy(w => w.Column, w => w.Alert).Select(g => (g.Key, (double)g.Count(a => a))));

    /// <summary>
    /// By the absolute Pearson correlation, over windows, of a column's drift with how far performance is from its reference mean: drift that
    /// goes with lost performance comes first. Columns without a correlation come last.
    /// </summary>
    /// <param name="drift">One series a column, one value a window.</param>
    /// <param name="performance">Performance in the same windows.</param>
    /// <param name="referenceMean">Mean performance of the reference windows.</param>
    public static IReadOnlyList<RankedColumn> ByCorrelation(IReadOnlyDictionary<string, double[]> drift, IReadOnlyList<double> performance, double referenceMean)
    {
        double[] distance = performance.Select(p => Math.Abs(p - referenceMean)).ToArray();
        return Number(drift.Select(d => (d.Key, Math.Abs(Correlation(d.Value, distance)))));
    }

    private static double Correlation(double[] x, double[] y)
    {
        (double X, double Y)[] both = x.Zip(y).Where(p => double.IsFinite(p.First) && double.IsFinite(p.Second)).ToArray();
        if (both.Length < 2)
        {
            return double.NaN;
        }

        double mx = both.Average(p => p.X), my = both.Average(p => p.Y), xy = 0, xx = 0, yy = 0;
        foreach ((double a, double b) in both)
        {
            xy += (a - mx) * (b - my);
            xx += (a - mx) * (a - mx);
            yy += (b - my) * (b - my);
        }

        return xy / Math.Sqrt(xx * yy);
    }

    private static RankedColumn[] Number(IEnumerable<(string Column, double Value)> values) => values
        .OrderByDescending(v => double.IsNaN(v.Value) ? double.NegativeInfinity : v.Value)
        .ThenBy(v => v.Column, StringComparer.Ordinal)
        .Select((v, i) => new RankedColumn(i + 1, v.Column, v.Value))
        .ToArray();
}
