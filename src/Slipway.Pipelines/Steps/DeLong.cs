namespace Slipway.Pipelines.Steps;

/// <summary>
/// ROC-AUC with its variance, and the covariance of two models' AUC on the same rows, after DeLong, DeLong and Clarke-Pearson (1988); the
/// structural components come from midranks (Sun and Xu, 2014), so the time is that of sorting.
/// </summary>
internal sealed class DeLong
{
    // 97.5 % quantile of the standard normal distribution: two-sided 95 % intervals.
    private const double Z = 1.959963984540054;

    private readonly double[] positives;
    private readonly double[] negatives;

    private DeLong(double auc, double[] positives, double[] negatives) => (Auc, this.positives, this.negatives) = (auc, positives, negatives);

    /// <summary>Area under the ROC curve, ties counting half.</summary>
    public double Auc { get; }

    /// <summary>Null when a class has fewer than two rows: then there is no variance.</summary>
    public static DeLong? Of(float[] scores, bool[] labels)
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

        return new(v10.Average(), v10, v01);
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

    private static double[] Midranks(float[] values)
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
