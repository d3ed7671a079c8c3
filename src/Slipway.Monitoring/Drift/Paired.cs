namespace Slipway.Monitoring;

/// <summary>Statistics of pairs: two numbers of the same request, run or row.</summary>
public static class Paired
{
    /// <summary>Up to this many differences without ties or zeros the signed-rank probability is exact.</summary>
    public const int MostForExact = 50;

    /// <summary>Ranks from 1; equal values share the mean of their ranks.</summary>
    public static double[] Ranks(ReadOnlySpan<double> values)
    {
        double[] sorted = values.ToArray(), ranks = new double[values.Length];
        int[] order = Enumerable.Range(0, values.Length).ToArray();
        Array.Sort(sorted, order);
        for (int start = 0; start < order.Length;)
        {
            int end = start + 1;
            while (end < order.Length && sorted[end] == sorted[start])
            {
                end++;
            }

            for (int i = start; i < end; i++)
            {
                ranks[order[i]] = (start + end + 1) / 2.0;
            }

            start = end;
        }

        return ranks;
    }

    /// <summary>Spearman's rank correlation: Pearson's correlation of the ranks. Null for fewer than two pairs or a constant side.</summary>
    public static double? Spearman(ReadOnlySpan<double> x, ReadOnlySpan<double> y) => Pearson(Ranks(x), Ranks(y));

    /// <summary>Pearson's correlation; null for fewer than two pairs or a constant side.</summary>
    public static double? Pearson(ReadOnlySpan<double> x, ReadOnlySpan<double> y)
    {
        double meanX = 0, meanY = 0, xx = 0, yy = 0, xy = 0;
        for (int i = 0; i < x.Length; i++)
        {
            meanX += x[i];
            meanY += y[i];
        }

        (meanX, meanY) = (meanX / x.Length, meanY / x.Length);

        for (int i = 0; i < x.Length; i++)
        {
            double dx = x[i] - meanX, dy = y[i] - meanY;
            xx += dx * dx;
            yy += dy * dy;
            xy += dx * dy;
        }

        return x.Length < 2 || !(xx > 0) || !(yy > 0) ? null : xy / Math.Sqrt(xx * yy);
    }

    /// <summary>
    /// McNemar's exact test: whether one side fails on more of the pairs than the other. Only pairs that differ count; under no difference each falls to
    /// either side with probability 1/2. The statistic is their share on the second side.
    /// </summary>
    /// <param name="firstOnly">Pairs in which only the first failed.</param>
    /// <param name="secondOnly">Pairs in which only the second failed.</param>
    public static StatisticalTest McNemar(long firstOnly, long secondOnly)
    {
        long n = firstOnly + secondOnly, less = Math.Min(firstOnly, secondOnly);
        // P(X <= less) of the binomial law with n trials is the incomplete beta I(1/2; n - less, less + 1).
        return n == 0
            ? new StatisticalTest(double.NaN, null, "no pair differs")
            : new StatisticalTest((double)secondOnly / n, 2 * less == n ? 1 : Math.Min(1, 2 * Tails.Beta(0.5, n - less, less + 1)));
    }

    /// <summary>
    /// Wilcoxon's signed-rank test of differences, two-sided: zeros are dropped; exact up to <see cref="MostForExact"/> differences without ties, else the
    /// normal law with the correction for ties. The statistic is the smaller rank sum.
    /// </summary>
    public static StatisticalTest Wilcoxon(ReadOnlySpan<double> differences)
    {
        List<double> sizes = [], signs = [];
        foreach (double d in differences)
        {
            if (!double.IsFinite(d))
            {
                return new StatisticalTest(double.NaN, null, "a difference is not a number");
            }

            if (d != 0)
            {
                sizes.Add(Math.Abs(d));
                signs.Add(d);
            }
        }

        int n = sizes.Count;
        if (n == 0)
        {
            return new StatisticalTest(double.NaN, null, "no pair differs");
        }

        double[] absolute = [.. sizes], ranks = Ranks(absolute);
        double plus = 0;
        for (int i = 0; i < n; i++)
        {
            plus += signs[i] > 0 ? ranks[i] : 0;
        }

        Array.Sort(absolute);
        double total = n * (n + 1.0) / 2, ties = 0;
        for (int start = 0; start < n;)
        {
            int end = start + 1;
            while (end < n && absolute[end] == absolute[start])
            {
                end++;
            }

            double size = end - start;
            ties += size * size * size - size;
            start = end;
        }

        double least = Math.Min(plus, total - plus);
        if (n <= MostForExact && ties == 0 && n == differences.Length)
        {
            return new StatisticalTest(least, Math.Min(1, 2 * SignedRank(n, (int)least)));
        }

        double variance = n * (n + 1.0) * (2 * n + 1) / 24 - ties / 48;
        return new StatisticalTest(least, Math.Min(1, 2 * Tails.Normal((total / 2 - least) / Math.Sqrt(variance))));
    }

    /// <summary>P(W &lt;= w) of the signed-rank sum of n differences: the number of subsets of 1..n with that sum, over 2^n.</summary>
    private static double SignedRank(int n, int w)
    {
        double[] ways = new double[w + 1];
        ways[0] = Math.Pow(0.5, n);
        for (int rank = 1; rank <= n; rank++)
        {
            for (int sum = w; sum >= rank; sum--)
            {
                ways[sum] += ways[sum - rank];
            }
        }

        return ways.Sum();
    }
}
