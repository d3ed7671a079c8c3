using System.Runtime.InteropServices;
using Slipway.Monitoring;

namespace Slipway.Serving;

/// <summary>The difference of two arms by a test that is looked at once.</summary>
/// <param name="Test">Which test.</param>
/// <param name="Difference">Second minus first; null if undefined.</param>
/// <param name="Statistic">z or t; null for exact and bootstrap tests.</param>
/// <param name="P">Two-sided p-value; null if undefined.</param>
/// <param name="Lower">Lower end of the interval of the difference.</param>
/// <param name="Upper">Upper end.</param>
/// <param name="Why">Why something is undefined; null if nothing is.</param>
/// <param name="Error">Standard error of the difference, where the test estimates one.</param>
internal sealed record Comparison(string Test, double? Difference, double? Statistic, double? P, double? Lower, double? Upper, string? Why, double? Error = null)
{
    public static Comparison Undefined(string test, string why) => new(test, null, null, null, null, null, why);
}

/// <summary>The sums of one arm's ratio metric over its entities: a numerator and a denominator each.</summary>
[StructLayout(LayoutKind.Auto)]
internal record struct RatioSums(long N, double X, double Y, double XX, double YY, double XY)
{
    public void Add(double x, double y) =>
        (N, X, Y, XX, YY, XY) = (N + 1, X + x, Y + y, XX + (x * x), YY + (y * y), XY + (x * y));

    /// <summary>Sum of numerators over sum of denominators.</summary>
    public readonly double Ratio => X / Y;

    /// <summary>The ratio's sampling variance to first order (delta method): var(x - R y) / (n mean(y)^2).</summary>
    public readonly double Variance
    {
        get
        {
            double n = N, r = Ratio, mean = Y / n;
            var spread = (XX - (2 * r * XY) + (r * r * YY)) / (n - 1);
            return spread / (n * mean * mean);
        }
    }
}

/// <summary>Tests with one planned look. What is undefined is null with its reason, never a number.</summary>
internal static class FixedHorizon
{
    /// <summary>Counts below this in a cell of the 2 x 2 table call for the exact test.</summary>
    public const long FewInACell = 10;

    // One look draws this many bootstrap samples: the Monte Carlo error of a 95 % bound is then small against the bound's own.
    private const int Draws = 1000;

    /// <summary>
    /// Two shares: pooled z, or Fisher's exact test with fewer than <see cref="FewInACell"/> in a cell; the interval is Newcombe's hybrid of Wilson
    /// intervals (method 10 of Newcombe 1998), which keeps its level without events.
    /// </summary>
    public static Comparison Shares(long events1, long n1, long events2, long n2, double alpha)
    {
        if (n1 <= 0 || n2 <= 0 || events1 < 0 || events2 < 0 || events1 > n1 || events2 > n2)
        {
            return Comparison.Undefined("pooled z", $"{events1} of {n1} against {events2} of {n2} are not two shares");
        }

        double p1 = (double)events1 / n1, p2 = (double)events2 / n2, difference = p2 - p1;
        var (lower, upper) = Newcombe(events1, n1, events2, n2, alpha);
        if (Math.Min(Math.Min(events1, n1 - events1), Math.Min(events2, n2 - events2)) < FewInACell)
        {
            var exact = Contingency.Fisher([events1, n1 - events1], [events2, n2 - events2]);
            return new("Fisher exact", difference, null, exact.P, lower, upper, exact.Why);
        }

        var z = Z(events1, n1, events2, n2);
        return new("pooled z", difference, z.Statistic, z.P, lower, upper, z.Why);
    }

    /// <summary>The z of the difference of two shares under their pooled share, positive if the second is larger.</summary>
    public static StatisticalTest Z(long events1, long n1, long events2, long n2) => Contingency.ZOfShares(events2, n2, events1, n1);

    /// <summary>Newcombe's interval of the difference of two shares.</summary>
    public static (double Lower, double Upper) Newcombe(long events1, long n1, long events2, long n2, double alpha)
    {
        var z = Tails.NormalQuantile(alpha / 2);
        double p1 = (double)events1 / n1, p2 = (double)events2 / n2;
        var (l1, u1) = Wilson(p1, n1, z);
        var (l2, u2) = Wilson(p2, n2, z);
        return (p2 - p1 - Length(p2 - l2, u1 - p1), p2 - p1 + Length(u2 - p2, p1 - l1));

        static double Length(double a, double b) => Math.Sqrt((a * a) + (b * b));
    }

    /// <summary>Welch's t with its interval, from means, sample variances and counts.</summary>
    public static Comparison Means(double mean1, double variance1, long n1, double mean2, double variance2, long n2, double alpha)
    {
        var (test, degrees, error) = TwoSample.Welch(mean2, variance2, n2, mean1, variance1, n1);
        if (test.P is not { } p || !double.IsFinite(p))
        {
            return Comparison.Undefined("Welch t", test.Why ?? "the values are not finite numbers");
        }

        var radius = Tails.StudentQuantile(alpha / 2, degrees) * error;
        return new("Welch t", mean2 - mean1, test.Statistic, p, mean2 - mean1 - radius, mean2 - mean1 + radius, null);
    }

    /// <summary>Two ratios of sums by the delta method and the normal law.</summary>
    public static Comparison Ratios(in RatioSums first, in RatioSums second, double alpha)
    {
        double difference = second.Ratio - first.Ratio, error = Math.Sqrt(first.Variance + second.Variance);
        if (first.N < 2 || second.N < 2 || !double.IsFinite(difference) || !(error > 0) || !double.IsFinite(error))
        {
            return Comparison.Undefined("delta method", "two units a side, a denominator and some variance are needed");
        }

        double z = difference / error, radius = Tails.NormalQuantile(alpha / 2) * error;
        return new("delta method", difference, z, 2 * Tails.Normal(Math.Abs(z)), difference - radius, difference + radius, null);
    }

    /// <summary>
    /// Difference of quantiles with a percentile interval of a Poisson bootstrap over units: each unit takes part in a draw as often as a Poisson
    /// variable of mean 1 says, with all its values. The seed makes it repeatable.
    /// </summary>
    /// <param name="first">Values and the unit that each belongs to.</param>
    /// <param name="second">The same for the second arm.</param>
    /// <param name="q">The quantile, in (0, 1).</param>
    /// <param name="alpha">One minus the level of the interval.</param>
    /// <param name="seed">Of the bootstrap.</param>
    public static Comparison Quantiles(IReadOnlyList<(int Unit, double Value)> first, IReadOnlyList<(int Unit, double Value)> second, double q, double alpha, int seed)
    {
        if (first.Count < 2 || second.Count < 2 || first.Concat(second).Any(value => !double.IsFinite(value.Value)))
        {
            return Comparison.Undefined("bootstrap", "two finite values a side are needed");
        }

        var random = new Random(seed);
        var (a, b) = (new Resampled(first), new Resampled(second));
        var draws = new double[Draws];
        for (var i = 0; i < Draws; i++)
        {
            draws[i] = b.Draw(q, random) - a.Draw(q, random);
        }

        Array.Sort(draws);
        var difference = b.Quantile(q) - a.Quantile(q);
        var below = draws.Count(draw => draw <= 0);
        var above = draws.Count(draw => draw >= 0);
        // One more on either side: a bootstrap of finite length never proves a probability of zero.
        var p = Math.Min(1, 2.0 * (Math.Min(below, above) + 1) / (Draws + 1));
        return new("bootstrap", difference, null, p, At(alpha / 2), At(1 - (alpha / 2)), null, Spread(draws));

        static double Spread(double[] draws)
        {
            var mean = draws.Average();
            return Math.Sqrt(draws.Sum(draw => (draw - mean) * (draw - mean)) / (draws.Length - 1));
        }

        double At(double share) => draws[Math.Clamp((int)Math.Round(share * (Draws - 1)), 0, Draws - 1)];
    }

    /// <summary>Two areas under ROC curves over different rows: their difference is normal with the sum of their variances (DeLong).</summary>
    public static Comparison Areas(DeLong? first, DeLong? second, double alpha)
    {
        if (first is null || second is null)
        {
            return Comparison.Undefined("DeLong", "each side needs finite scores and two labels of both classes");
        }

        double difference = second.Auc - first.Auc, error = Math.Sqrt(first.Variance + second.Variance), z = difference / error, radius = Tails.NormalQuantile(alpha / 2) * error;
        return new("DeLong", difference, z, 2 * Tails.Normal(Math.Abs(z)), difference - radius, difference + radius, null, error);
    }

    private static (double Lower, double Upper) Wilson(double p, double n, double z)
    {
        double z2 = z * z, centre = (p + (z2 / (2 * n))) / (1 + (z2 / n)), radius = z / (1 + (z2 / n)) * Math.Sqrt((p * (1 - p) / n) + (z2 / (4 * n * n)));
        // At the ends the bound is the end itself; rounding must not move it.
        return (p == 0 ? 0 : centre - radius, p == 1 ? 1 : centre + radius);
    }

    /// <summary>Sorted values whose units are drawn with Poisson weights; a draw costs one pass.</summary>
    private sealed class Resampled
    {
        private readonly double[] _values;
        private readonly int[] _units;
        private readonly byte[] _weights;

        public Resampled(IReadOnlyList<(int Unit, double Value)> values)
        {
            _values = [.. values.Select(value => value.Value)];
            var units = new Dictionary<int, int>();
            _units = [.. values.Select(value => units.TryGetValue(value.Unit, out var known) ? known : units[value.Unit] = units.Count)];
            _weights = new byte[units.Count];
            Array.Sort(_values, _units);
        }

        public double Quantile(double q) => _values[Math.Clamp((int)Math.Ceiling(q * _values.Length) - 1, 0, _values.Length - 1)];

        public double Draw(double q, Random random)
        {
            for (var i = 0; i < _weights.Length; i++)
            {
                _weights[i] = Poisson(random.NextDouble());
            }

            long total = 0, seen = 0;
            foreach (var unit in _units)
            {
                total += _weights[unit];
            }

            var rank = Math.Max(1, (long)Math.Ceiling(q * total));
            for (var i = 0; i < _values.Length; i++)
            {
                seen += _weights[_units[i]];
                if (seen >= rank)
                {
                    return _values[i];
                }
            }

            return _values[^1];
        }

        // By inversion of the law with mean 1.
        private static byte Poisson(double u)
        {
            var term = Math.Exp(-1);
            byte k = 0;
            while (u > term && k < 20)
            {
                u -= term;
                term /= ++k;
            }

            return k;
        }
    }
}
