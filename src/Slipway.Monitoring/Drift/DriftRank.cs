namespace Slipway.Monitoring;

/// <summary>A column's place among drifting columns.</summary>
/// <param name="Rank">From 1.</param>
/// <param name="Column">The column.</param>
/// <param name="Value">What it was ranked by.</param>
public sealed record RankedColumn(int Rank, string Column, double Value);

/// <summary>How much a column moved over the windows of a monitor.</summary>
/// <param name="Rank">From 1: by windows that alerted (weighted by importance where every column has one), then by the strongest index, then by name.</param>
/// <param name="Column">The feature; null for the model's own output.</param>
/// <param name="Alerts">Windows whose point alerted.</param>
/// <param name="Windows">Windows that were judged.</param>
/// <param name="Strongest">The largest index; null when none is known.</param>
/// <param name="StrongestAt">Start of its window.</param>
/// <param name="Correlation">Absolute Pearson correlation, over windows, of the index with how far performance is from the reference; null under three windows with both.</param>
/// <param name="Importance">Share of the model's decisions that rest on the feature, as the reference says; null when it does not.</param>
public sealed record MovedColumn(int Rank, string? Column, int Alerts, int Windows, double? Strongest, DateTimeOffset? StrongestAt, double? Correlation, double? Importance);

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

    /// <summary>Every feature and the output of a monitor, the most moved first.</summary>
    /// <param name="points">The newest revision of each point.</param>
    /// <param name="metric">The metric that performance is judged by.</param>
    /// <param name="before">That metric on the reference; null gives no correlations.</param>
    /// <param name="importance">By feature; null when the reference has none.</param>
    public static IReadOnlyList<MovedColumn> Of(IReadOnlyList<MonitorPoint> points, string metric, double? before, IReadOnlyDictionary<string, double>? importance)
    {
        string? series = points.Where(p => p.Metric == metric).Select(p => p.Column).Distinct().OrderBy(c => c?.Length ?? 0).ThenBy(c => c, StringComparer.Ordinal).FirstOrDefault();
        Dictionary<DateTimeOffset, double> performance = points.Where(p => p.Metric == metric && p.Column == series && p.Value is not null && p.Phase != WindowPhase.Provisional).ToDictionary(p => p.WindowStart, p => p.Value!.Value);
        MovedColumn[] columns =
        [
            .. points.Where(p => p.Phase != WindowPhase.Provisional && (p.Metric == "psi" || p is { Metric: "score_psi", Column: null })).GroupBy(p => p.Column).Select(g =>
            {
                MonitorPoint[] judged = [.. g.Where(p => p.Value is not null).OrderBy(p => p.WindowStart)], both = [.. judged.Where(p => performance.ContainsKey(p.WindowStart))];
                MonitorPoint? strongest = judged.MaxBy(p => p.Value);
                double correlation = before is not { } reference || both.Length < 3 ? double.NaN : Math.Abs(Correlation([.. both.Select(p => p.Value!.Value)], [.. both.Select(p => Math.Abs(performance[p.WindowStart] - reference))]));
                double? weight = g.Key is { } name && importance is not null && importance.TryGetValue(name, out double share) ? share : null;
                return new MovedColumn(0, g.Key, judged.Count(p => p.State == PointState.Alert), judged.Length, strongest?.Value, strongest?.WindowStart, double.IsFinite(correlation) ? correlation : null, weight);
            }),
        ];
        // An importance that only some columns have would put the others last for no reason of theirs.
        bool weighted = columns.All(c => c.Column is null || c.Importance is not null);
        return [.. columns.OrderByDescending(c => c.Alerts * (weighted ? c.Importance ?? 1 : 1)).ThenByDescending(c => c.Strongest ?? -1).ThenBy(c => c.Column, StringComparer.Ordinal).Select((c, i) => c with { Rank = i + 1 })];
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
