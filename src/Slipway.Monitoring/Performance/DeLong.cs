namespace Slipway.Monitoring;

/// <summary>
/// ROC-AUC with its variance, and the covariance of two models' AUC on the same rows, after DeLong, DeLong and Clarke-Pearson (1988); the
/// structural components come from midranks (Sun and Xu, 2014), so the time is that of sorting. Rows of one unit may be alike: then the variance is that of
/// clustered data (Obuchowski, 1997).
/// </summary>
public sealed class DeLong
{
    // 97.5 % quantile of the standard normal distribution: two-sided 95 % intervals.
    private const double Z = 1.959963984540054;

    private readonly double[] positives;
    private readonly double[] negatives;

    private DeLong(double auc, double[] positives, double[] negatives, double variance) => (Auc, this.positives, this.negatives, Variance) = (auc, positives, negatives, variance);

    /// <summary>Area under the ROC curve, ties counting half.</summary>
    public double Auc { get; }

    /// <summary>
    /// Sampling variance of the AUC, with the rows of a unit taken together. A separation that looks perfect has none of its own; it gets that of an AUC half a
    /// pair away (Hanley and McNeil, 1982).
    /// </summary>
    public double Variance { get; }

    /// <summary>Null when a class has fewer than two rows, or rows of fewer than two units: then there is no variance.</summary>
    /// <param name="scores">The higher, the more likely positive; finite.</param>
    /// <param name="labels">Whether a row is positive; as many as scores.</param>
    /// <param name="units">Whom each row belongs to; null: every row stands for itself.</param>
    public static DeLong? Of(double[] scores, bool[] labels, int[]? units = null)
    {
        var high = scores.Where((_, i) => labels[i]).ToArray();
        var low = scores.Where((_, i) => !labels[i]).ToArray();
        double m = high.Length, n = low.Length;
        if (m < 2 || n < 2)
        {
            return null;
        }

        var all = Midranks(scores);
        double[] among = Midranks(high), below = Midranks(low), v10 = new double[high.Length], v01 = new double[low.Length];
        var (p, q) = (0, 0);
        for (var i = 0; i < scores.Length; i++)
        {
            if (labels[i])
            {
                // Share of negatives below this positive.
                v10[p] = (all[i] - among[p]) / n;
                p++;
            }
            else
            {
                v01[q] = 1 - ((all[i] - below[q]) / m);
                q++;
            }
        }

        var auc = v10.Average();
        var variance = Clustered(auc, v10, v01, labels, units);
        if (variance <= 0)
        {
            double near = Math.Min(auc, 1 - (0.5 / (m * n))), q1 = near / (2 - near), q2 = 2 * near * near / (1 + near), square = near * near;
            variance = ((near * (1 - near)) + ((m - 1) * (q1 - square)) + ((n - 1) * (q2 - square))) / (m * n);
        }

        return double.IsNaN(variance) ? null : new(auc, v10, v01, variance);
    }

    /// <summary>NaN when a class has rows of one unit only.</summary>
    private static double Clustered(double auc, double[] v10, double[] v01, bool[] labels, int[]? units)
    {
        double m = v10.Length, n = v01.Length;
        if (units is null)
        {
            return (Of(v10, v10) / m) + (Of(v01, v01) / n);
        }

        // What each unit's rows deviate by, in both classes.
        var sums = new Dictionary<int, (double High, int Highs, double Low, int Lows)>();
        var (p, q) = (0, 0);
        for (var i = 0; i < labels.Length; i++)
        {
            var unit = sums.GetValueOrDefault(units[i]);
            sums[units[i]] = labels[i] ? unit with { High = unit.High + v10[p++] - auc, Highs = unit.Highs + 1 } : unit with { Low = unit.Low + v01[q++] - auc, Lows = unit.Lows + 1 };
        }

        double all = sums.Count, highs = sums.Values.Count(unit => unit.Highs > 0), lows = sums.Values.Count(unit => unit.Lows > 0);
        if (highs < 2 || lows < 2)
        {
            return double.NaN;
        }

        return (highs / (highs - 1) * sums.Values.Sum(unit => unit.High * unit.High) / (m * m)) + (lows / (lows - 1) * sums.Values.Sum(unit => unit.Low * unit.Low) / (n * n))
            + (2 * all / (all - 1) * sums.Values.Sum(unit => unit.High * unit.Low) / (m * n));
    }

    /// <summary>95 % interval of the AUC, inside [0, 1].</summary>
    public (double Lower, double Upper) Interval()
    {
        var half = Z * Math.Sqrt(Covariance(this, this));
        return (Math.Max(0, Auc - half), Math.Min(1, Auc + half));
    }

    /// <summary>This AUC less the other model's on the same rows, with its 95 % interval.</summary>
    public (double Difference, double Lower, double Upper) Less(DeLong other)
    {
        var variance = Math.Max(0, Covariance(this, this) + Covariance(other, other) - (2 * Covariance(this, other)));
        var (difference, half) = (Auc - other.Auc, Z * Math.Sqrt(variance));
        return (difference, difference - half, difference + half);
    }

    private static double Covariance(DeLong a, DeLong b) => (Of(a.positives, b.positives) / a.positives.Length) + (Of(a.negatives, b.negatives) / a.negatives.Length);

    private static double Of(double[] a, double[] b)
    {
        double meanA = a.Average(), meanB = b.Average(), sum = 0;
        for (var i = 0; i < a.Length; i++)
        {
            sum += (a[i] - meanA) * (b[i] - meanB);
        }

        return sum / (a.Length - 1);
    }

    private static double[] Midranks(double[] values)
    {
        var order = Enumerable.Range(0, values.Length).ToArray();
        Array.Sort([.. values], order);
        var ranks = new double[values.Length];
        for (int first = 0, next; first < order.Length; first = next)
        {
            next = first;
            while (next < order.Length && values[order[next]] == values[order[first]])
            {
                next++;
            }

            for (var i = first; i < next; i++)
            {
                ranks[order[i]] = (first + next + 1) / 2.0;
            }
        }

        return ranks;
    }
}
