namespace Slipway.Monitoring;

/// <summary>Tests of a 2 x K table of category counts: the reference in one row, the window in the other. Categories that neither has are dropped.</summary>
public static class Contingency
{
    /// <summary>
    /// Pearson's chi-square of independence, K - 1 degrees of freedom. <paramref name="yates"/> applies the continuity correction, which exists
    /// for K = 2 only. No probability with fewer than two categories.
    /// </summary>
    public static StatisticalTest ChiSquare(ReadOnlySpan<long> reference, ReadOnlySpan<long> window, bool yates = false)
    {
        (double nr, double nc, int k) = Totals(reference, window);
        if (k < 2 || nr == 0 || nc == 0)
        {
            return new StatisticalTest(double.NaN, null, $"{k} categories and {nr} against {nc} rows: two categories and rows on both sides are needed");
        }

        double statistic = 0, correction = yates && k == 2 ? 0.5 : 0;
        for (int i = 0; i < reference.Length; i++)
        {
            double column = reference[i] + window[i];
            if (column > 0)
            {
                double er = column * nr / (nr + nc), ec = column * nc / (nr + nc);
                double off = Math.Abs(reference[i] - er);
                off -= Math.Min(off, correction);
                statistic += off * off * (1 / er + 1 / ec);
            }
        }

        return new StatisticalTest(statistic, Tails.ChiSquare(statistic, k - 1));
    }

    /// <summary>
    /// Goodness of fit of the window against the reference's shares, K - 1 degrees of freedom: what Evidently calls chi-square. A category
    /// that the reference lacks has no expectation, so that the statistic is infinite and the probability 0.
    /// </summary>
    public static StatisticalTest GoodnessOfFit(ReadOnlySpan<long> reference, ReadOnlySpan<long> window)
    {
        (double nr, double nc, int k) = Totals(reference, window);
        double statistic = 0;
        for (int i = 0; i < reference.Length; i++)
        {
            double expected = reference[i] * nc / nr, off = window[i] - expected;
            statistic += off == 0 ? 0 : off * off / expected;
        }

        return k < 2 || nr == 0 || nc == 0 ? new StatisticalTest(double.NaN, null, "two categories and rows on both sides are needed") : new StatisticalTest(statistic, Tails.ChiSquare(statistic, k - 1));
    }

    /// <summary>The likelihood ratio (G) statistic, 2 sum observed ln(observed / expected), K - 1 degrees of freedom.</summary>
    public static StatisticalTest GTest(ReadOnlySpan<long> reference, ReadOnlySpan<long> window)
    {
        (double nr, double nc, int k) = Totals(reference, window);
        if (k < 2 || nr == 0 || nc == 0)
        {
            return new StatisticalTest(double.NaN, null, "two categories and rows on both sides are needed");
        }

        double statistic = 0;
        for (int i = 0; i < reference.Length; i++)
        {
            double column = reference[i] + window[i];
            statistic += Part(reference[i], column * nr / (nr + nc)) + Part(window[i], column * nc / (nr + nc));
        }

        statistic *= 2;
        return new StatisticalTest(statistic, Tails.ChiSquare(statistic, k - 1));

        static double Part(double observed, double expected) => observed == 0 ? 0 : observed * Math.Log(observed / expected);
    }

    /// <summary>Fisher's exact test of a 2 x 2 table, two-sided: the mass of all tables that are at most as likely. The statistic is the sample odds ratio.</summary>
    /// <exception cref="ArgumentException">The table has not two columns.</exception>
    public static StatisticalTest Fisher(ReadOnlySpan<long> reference, ReadOnlySpan<long> window)
    {
        if (reference.Length != 2 || window.Length != 2)
        {
            throw new ArgumentException($"Fisher's test takes two categories, the table has {reference.Length}.", nameof(reference));
        }

        long row = reference[0] + reference[1], column = reference[0] + window[0], all = row + window[0] + window[1];
        double odds = (double)reference[0] * window[1] / ((double)reference[1] * window[0]);
        long least = Math.Max(0, row + column - all), most = Math.Min(row, column);
        double seen = Log(reference[0]), sum = 0;
        for (long a = least; a <= most; a++)
        {
            double here = Log(a);
            sum += here <= seen + 1e-9 ? Math.Exp(here) : 0;
        }

        return new StatisticalTest(odds, Math.Min(1, sum));

        double Log(long a) => Choose(column, a) + Choose(all - column, row - a) - Choose(all, row);

        static double Choose(long n, long k) => Tails.LogGamma(n + 1) - Tails.LogGamma(k + 1) - Tails.LogGamma(n - k + 1);
    }

    /// <summary>Two-sided z of the difference of two shares under their pooled share.</summary>
    public static StatisticalTest ZOfShares(long referenceHits, long referenceRows, long windowHits, long windowRows)
    {
        double pooled = (double)(referenceHits + windowHits) / (referenceRows + windowRows), error = Math.Sqrt(pooled * (1 - pooled) * (1.0 / referenceRows + 1.0 / windowRows));
        if (!(error > 0))
        {
            return new StatisticalTest(double.NaN, null, "all rows fall on one side");
        }

        double z = ((double)referenceHits / referenceRows - (double)windowHits / windowRows) / error;
        return new StatisticalTest(z, 2 * Tails.Normal(Math.Abs(z)));
    }

    /// <summary>Cramer's V, sqrt(chi-square / n) for a table of two rows: an effect size in [0, 1].</summary>
    public static double CramersV(ReadOnlySpan<long> reference, ReadOnlySpan<long> window) =>
        Math.Sqrt(ChiSquare(reference, window).Statistic / (Distances.Sum(reference) + Distances.Sum(window)));

    /// <summary>The least expected count of the table; the chi-square law is rough where it is below 5.</summary>
    public static double LeastExpected(ReadOnlySpan<long> reference, ReadOnlySpan<long> window)
    {
        (double nr, double nc, _) = Totals(reference, window);
        double least = double.NaN;
        for (int i = 0; i < reference.Length; i++)
        {
            double column = reference[i] + window[i];
            if (column > 0)
            {
                double here = column * Math.Min(nr, nc) / (nr + nc);
                least = double.IsNaN(least) ? here : Math.Min(least, here);
            }
        }

        return least;
    }

    private static (double Reference, double Window, int Categories) Totals(ReadOnlySpan<long> reference, ReadOnlySpan<long> window)
    {
        if (reference.Length != window.Length)
        {
            throw new ArgumentException($"The rows have {reference.Length} and {window.Length} categories.", nameof(window));
        }

        int k = 0;
        for (int i = 0; i < reference.Length; i++)
        {
            k += reference[i] + window[i] > 0 ? 1 : 0;
        }

        return (Distances.Sum(reference), Distances.Sum(window), k);
    }
}
