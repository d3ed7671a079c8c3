using System.Numerics;

namespace Slipway.Monitoring;

/// <summary>
/// Tests and distances between two samples of numbers. Samples are finite and sorted ascending (<see cref="Sorted"/>); an empty sample gives
/// NaN. Ties are handled by right-continuous empirical distribution functions and average ranks.
/// </summary>
public static class TwoSample
{
    /// <summary>Up to this many values in the larger sample the Kolmogorov-Smirnov probability is exact.</summary>
    public const int MostForExact = 10_000;

    /// <summary>Cramer-von Mises probabilities assume a continuous law; above this share of tied values they are refused.</summary>
    public const double MostTied = 0.1;

    /// <summary>The finite values, ascending.</summary>
    public static double[] Sorted(IEnumerable<double> values)
    {
        double[] sorted = values.Where(double.IsFinite).ToArray();
        Array.Sort(sorted);
        return sorted;
    }

    /// <summary>
    /// Kolmogorov-Smirnov: D = sup |F - G|, and its two-sided probability: exact by lattice paths up to <see cref="MostForExact"/> values a side
    /// (<paramref name="exact"/> null), otherwise the one-sample law at round(n m / (n + m)) values.
    /// </summary>
    public static StatisticalTest KolmogorovSmirnov(double[] x, double[] y, bool? exact = null)
    {
        if (x.Length == 0 || y.Length == 0)
        {
            return new StatisticalTest(double.NaN, null, "a sample is empty");
        }

        // In units of 1/lcm(n, m) the difference of the two functions is an integer, so that no rounding decides.
        long gcd = (long)BigInteger.GreatestCommonDivisor(x.Length, y.Length), stepX = y.Length / gcd, stepY = x.Length / gcd, most = 0;
        int i = 0, j = 0;
        while (i < x.Length && j < y.Length)
        {
            double at = Math.Min(x[i], y[j]);
            while (i < x.Length && x[i] == at)
            {
                i++;
            }

            while (j < y.Length && y[j] == at)
            {
                j++;
            }

            most = Math.Max(most, Math.Abs(i * stepX - j * stepY));
        }

        double d = most / ((double)x.Length * stepX);
        bool lattice = exact ?? Math.Max(x.Length, y.Length) <= MostForExact;
        double p = lattice ? Paths(x.Length, y.Length, gcd, most) : Tails.KolmogorovSmirnov(d, Math.Max(1, (int)Math.Round((double)x.Length * y.Length / (x.Length + y.Length))));
        return new StatisticalTest(d, p);
    }

    /// <summary>Wasserstein-1 (earth mover's) distance, the integral of |F - G|, in the unit of the values.</summary>
    public static double Wasserstein(double[] x, double[] y) => Integrate(x, y, squared: false);

    /// <summary>Wasserstein-1 over the population standard deviation of the reference <paramref name="x"/>, which counts as at least 0.001.</summary>
    public static double WassersteinNormed(double[] x, double[] y) => Wasserstein(x, y) / Math.Max(Math.Sqrt(Moments.Of(x).Variance ?? double.NaN), 0.001);

    /// <summary>Energy distance in one dimension, sqrt(2 integral (F - G)^2) (Szekely and Rizzo).</summary>
    public static double Energy(double[] x, double[] y) => Math.Sqrt(2 * Integrate(x, y, squared: true));

    /// <summary>
    /// Cramer-von Mises (Anderson 1962) with its limit law. No probability is given when more than <see cref="MostTied"/> of the pooled values
    /// are tied: the law does not hold there.
    /// </summary>
    public static StatisticalTest CramerVonMises(double[] x, double[] y)
    {
        double n = x.Length, m = y.Length, all = n + m, u = 0;
        (double[] ranksX, double[] ranksY, _, long tied) = Ranks(x, y);
        for (int i = 0; i < x.Length; i++)
        {
            u += n * Square(ranksX[i] - (i + 1));
        }

        for (int j = 0; j < y.Length; j++)
        {
            u += m * Square(ranksY[j] - (j + 1));
        }

        double k = n * m, t = u / (k * all) - (4 * k - 1) / (6 * all);
        if (tied > MostTied * all)
        {
            return new StatisticalTest(t, null, $"{tied} of {all} pooled values are tied, at most {MostTied:P0} may be");
        }

        double expected = (1 + 1 / all) / 6, variance = (all + 1) * (4 * k * all - 3 * (n * n + m * m) - 2 * k) / (45 * all * all * 4 * k);
        double limit = 1.0 / 6 + (t - expected) / Math.Sqrt(45 * variance);
        return new StatisticalTest(t, limit < 0.003 ? 1 : Math.Max(0, 1 - CramerVonMisesLimit(limit)));
    }

    /// <summary>Welch's t of unequal variances, two-sided. Needs two values a side and some variance.</summary>
    public static StatisticalTest Welch(double[] x, double[] y)
    {
        Moments a = Moments.Of(x), b = Moments.Of(y);
        return Welch(a.Mean, a.SampleVariance ?? double.NaN, x.Length, b.Mean, b.SampleVariance ?? double.NaN, y.Length).Test;
    }

    /// <summary>Welch's t from means, sample variances and counts, with the degrees of freedom and the standard error of the difference of the means.</summary>
    public static (StatisticalTest Test, double Degrees, double Error) Welch(double meanX, double varianceX, double nX, double meanY, double varianceY, double nY)
    {
        double vx = varianceX / nX, vy = varianceY / nY, error = Math.Sqrt(vx + vy);
        if (!(nX >= 2 && nY >= 2 && error > 0))
        {
            return (new StatisticalTest(double.NaN, null, "two values and some variance on either side are needed"), double.NaN, double.NaN);
        }

        double t = (meanX - meanY) / error, degrees = Square(vx + vy) / (vx * vx / (nX - 1) + vy * vy / (nY - 1));
        return (new StatisticalTest(t, 2 * Tails.Student(Math.Abs(t), degrees)), degrees, error);
    }

    /// <summary>Mann-Whitney U of <paramref name="x"/>, two-sided by the normal law with corrections for ties and continuity.</summary>
    public static StatisticalTest MannWhitney(double[] x, double[] y)
    {
        double n = x.Length, m = y.Length, all = n + m;
        (double[] ranks, _, double ties, _) = Ranks(x, y);
        double u = ranks.Sum() - n * (n + 1) / 2, variance = n * m / 12 * (all + 1 - ties / (all * (all - 1)));
        return variance > 0
            ? new StatisticalTest(u, Math.Min(1, 2 * Tails.Normal((Math.Max(u, n * m - u) - n * m / 2 - 0.5) / Math.Sqrt(variance))))
            : new StatisticalTest(u, null, "all values are tied");
    }

    /// <summary>
    /// Anderson-Darling for two samples, midrank form, standardised (Scholz and Stephens 1987); the probability is interpolated in their table
    /// and lies in [0.001, 0.25].
    /// </summary>
    public static StatisticalTest AndersonDarling(double[] x, double[] y)
    {
        double n = x.Length + y.Length;
        double[] pooled = [.. x, .. y];
        Array.Sort(pooled);
        if (x.Length == 0 || y.Length == 0 || pooled[0] == pooled[^1])
        {
            return new StatisticalTest(double.NaN, null, "two distinct values are needed");
        }

        double statistic = 0;
        foreach (double[] sample in (double[][])[x, y])
        {
            double inner = 0;
            int below = 0;
            for (int start = 0; start < pooled.Length;)
            {
                int end = start, own = below;
                while (end < pooled.Length && pooled[end] == pooled[start])
                {
                    end++;
                }

                while (own < sample.Length && sample[own] == pooled[start])
                {
                    own++;
                }

                double tie = end - start, middle = start + tie / 2, mine = below + (own - below) / 2.0;
                inner += tie / n * Square(n * mine - middle * sample.Length) / (middle * (n - middle) - n * tie / 4);
                below = own;
                start = end;
            }

            statistic += inner / sample.Length;
        }

        statistic *= (n - 1) / n;
        double h = 1.0 / x.Length + 1.0 / y.Length, harmonic = 0, g = 0;
        double[] suffix = new double[pooled.Length + 1];
        for (int i = pooled.Length - 1; i >= 1; i--)
        {
            harmonic += 1.0 / i;
            suffix[i] = suffix[i + 1] + 1.0 / i;
        }

        for (int i = 1; i <= pooled.Length - 2; i++)
        {
            g += (suffix[i + 1]) / (pooled.Length - i);
        }

        const double k = 2;
        double a = (4 * g - 6) * (k - 1) + (10 - 6 * g) * h;
        double b = (2 * g - 4) * k * k + 8 * harmonic * k + (2 * g - 14 * harmonic - 4) * h - 8 * harmonic + 4 * g - 6;
        double c = (6 * harmonic + 2 * g - 2) * k * k + (4 * harmonic - 4 * g + 6) * k + (2 * harmonic - 6) * h + 4 * harmonic;
        double e = (2 * harmonic + 6) * k * k - 4 * harmonic * k;
        double variance = (a * n * n * n + b * n * n + c * n + e) / ((n - 1) * (n - 2) * (n - 3));
        double standard = (statistic - (k - 1)) / Math.Sqrt(variance);
        return new StatisticalTest(standard, AndersonDarlingP(standard));
    }

    /// <summary>
    /// The share of lattice paths from (0, 0) to (n, m) that touch |x / n - y / m| &gt;= D, for D = <paramref name="reach"/> / lcm(n, m). The
    /// recurrence carries that share itself, conditional on the point reached, so nothing cancels and small probabilities keep their digits.
    /// </summary>
    private static double Paths(int n, int m, long gcd, long reach)
    {
        if (reach == 0)
        {
            return 1;
        }

        (n, m) = n < m ? (m, n) : (n, m);
        long ng = n / gcd, mg = m / gcd;
        // Column x of the band: y with |x mg - y ng| < reach; outside it a path has touched for certain.
        double[] column = new double[m + 1];
        int low = 0, high = (int)Math.Min(m, (reach - 1) / ng);
        Array.Fill(column, 1.0);
        Array.Clear(column, 0, high + 1);
        for (int x = 1; x <= n; x++)
        {
            long middle = x * mg;
            int nextLow = (int)Math.Max(0, middle - reach < 0 ? 0 : (middle - reach) / ng + 1), nextHigh = (int)Math.Min(m, (middle + reach - 1) / ng);
            Array.Fill(column, 1.0, low, Math.Max(0, Math.Min(nextLow, m + 1) - low));
            double below = nextLow == 0 ? 0 : 1;
            for (int y = nextLow; y <= nextHigh; y++)
            {
                double total = x + y;
                below = (column[y] * x + below * y) / total;
                column[y] = below;
            }

            low = nextLow;
        }

        return Math.Clamp(column[m], 0, 1);
    }

    /// <summary>The integral of |F - G|, or of its square.</summary>
    private static double Integrate(double[] x, double[] y, bool squared)
    {
        if (x.Length == 0 || y.Length == 0)
        {
            return double.NaN;
        }

        double sum = 0, before = Math.Min(x[0], y[0]), perX = 1.0 / x.Length, perY = 1.0 / y.Length;
        int i = 0, j = 0;
        while (i < x.Length || j < y.Length)
        {
            double at = j == y.Length || (i < x.Length && x[i] <= y[j]) ? x[i] : y[j];
            if (at > before)
            {
                double d = Math.Abs(i * perX - j * perY);
                sum += (squared ? d * d : d) * (at - before);
                before = at;
            }

            while (i < x.Length && x[i] == at)
            {
                i++;
            }

            while (j < y.Length && y[j] == at)
            {
                j++;
            }
        }

        return sum;
    }

    /// <summary>Average ranks of both samples in the pool, the sum of t^3 - t over groups of t ties, and how many values are tied.</summary>
    private static (double[] X, double[] Y, double Ties, long Tied) Ranks(double[] x, double[] y)
    {
        double[] ranksX = new double[x.Length], ranksY = new double[y.Length];
        double ties = 0;
        long tied = 0;
        int i = 0, j = 0;
        while (i < x.Length || j < y.Length)
        {
            double at = j == y.Length || (i < x.Length && x[i] <= y[j]) ? x[i] : y[j];
            int fromX = i, fromY = j;
            while (i < x.Length && x[i] == at)
            {
                i++;
            }

            while (j < y.Length && y[j] == at)
            {
                j++;
            }

            double size = i - fromX + (j - fromY), rank = fromX + fromY + (size + 1) / 2;
            Array.Fill(ranksX, rank, fromX, i - fromX);
            Array.Fill(ranksY, rank, fromY, j - fromY);
            ties += size * size * size - size;
            tied += size > 1 ? (long)size : 0;
        }

        return (ranksX, ranksY, ties, tied);
    }

    /// <summary>Limit law of the one-sample statistic (Anderson and Darling 1952), a series in Bessel functions of order 1/4.</summary>
    private static double CramerVonMisesLimit(double x)
    {
        double sum = 0, binomial = 1;
        for (int k = 0; k < 50; k++)
        {
            double odd = 4 * k + 1, q = odd * odd / (16 * x);
            // exp(-q) K(q) in one piece: both factors underflow early on their own.
            double term = binomial * Math.Sqrt(odd) * ScaledBessel(q);
            sum += term;
            if (term < sum * 1e-17)
            {
                break;
            }

            binomial *= (k + 0.5) / (k + 1);
        }

        return sum / (Math.PI * Math.Sqrt(x));

        // exp(-q) K_{1/4}(q), by the trapezoid rule on the integral of exp(-q (1 + cosh t)) cosh(t / 4) over t >= 0.
        static double ScaledBessel(double q)
        {
            const double step = 1.0 / 64;
            double sum = Math.Exp(-2 * q) / 2;
            for (int i = 1; i < 4096; i++)
            {
                double t = i * step, term = Math.Exp(-q * (1 + Math.Cosh(t))) * Math.Cosh(t / 4);
                sum += term;
                if (term < sum * 1e-18)
                {
                    break;
                }
            }

            return sum * step;
        }
    }

    private static double AndersonDarlingP(double standard)
    {
        ReadOnlySpan<double> levels = [0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.001];
        ReadOnlySpan<double> b0 = [0.675, 1.281, 1.645, 1.96, 2.326, 2.573, 3.085], b1 = [-0.245, 0.25, 0.678, 1.149, 1.822, 2.364, 3.615], b2 = [-0.105, -0.305, -0.362, -0.391, -0.396, -0.345, -0.154];
        // One degree of freedom: the critical values are the plain sums. A parabola through the logarithms of the levels interpolates.
        double[] critical = new double[levels.Length];
        for (int i = 0; i < critical.Length; i++)
        {
            critical[i] = b0[i] + b1[i] + b2[i];
        }

        if (standard < critical[0] || standard > critical[^1])
        {
            return standard < critical[0] ? levels[0] : levels[^1];
        }

        double[] s = new double[5], r = new double[3];
        for (int i = 0; i < critical.Length; i++)
        {
            double power = 1;
            for (int d = 0; d < 5; d++)
            {
                s[d] += power;
                r[Math.Min(d, 2)] += d < 3 ? power * Math.Log(levels[i]) : 0;
                power *= critical[i];
            }
        }

        // Cramer's rule on the normal equations of the parabola.
        double det = Det(s[0], s[1], s[2], s[1], s[2], s[3], s[2], s[3], s[4]);
        double c0 = Det(r[0], s[1], s[2], r[1], s[2], s[3], r[2], s[3], s[4]) / det;
        double c1 = Det(s[0], r[0], s[2], s[1], r[1], s[3], s[2], r[2], s[4]) / det;
        double c2 = Det(s[0], s[1], r[0], s[1], s[2], r[1], s[2], s[3], r[2]) / det;
        return Math.Exp(c0 + c1 * standard + c2 * standard * standard);

        static double Det(double a, double b, double c, double d, double e, double f, double g, double h, double i) => a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
    }

    private static double Square(double x) => x * x;
}
