using Slipway.Monitoring;

namespace Slipway.Serving;

/// <summary>Units that each arm needs, for two-sided tests with unequal arms.</summary>
internal static class SampleSize
{
    // Half the width, in standard deviations, and the number of nodes of the integral over the chi law.
    private const double Width = 9;
    private const int Nodes = 400;

    /// <summary>
    /// Proportions, by the normal law with unpooled variance: n1 = (z(alpha/2) + z(1-power))^2 (p1 q1 + p2 q2 / ratio) / effect^2 with ratio = n2 / n1.
    /// </summary>
    /// <returns>Units of the first arm and of the second.</returns>
    public static (long First, long Second) Proportions(double p, double effect, double alpha, double power, double ratio = 1)
    {
        var first = ProportionUnits(p, effect, alpha, power, ratio);
        return ((long)Math.Ceiling(first), (long)Math.Ceiling(first * ratio));
    }

    /// <summary>Means: the smallest arms with that power of the t test, by the noncentral t law. The effect is in standard deviations.</summary>
    public static (long First, long Second) Means(double effect, double alpha, double power, double ratio = 1)
    {
        long low = 1, high = 4;
        while (MeanPower(effect, high, Second(high), alpha) < power)
        {
            low = high;
            high *= 2;
            if (high > 1L << 50)
            {
                throw new ArgumentOutOfRangeException(nameof(effect), effect, "no realistic number of units finds this effect");
            }
        }

        while (high - low > 1)
        {
            var middle = low + ((high - low) / 2);
            (low, high) = MeanPower(effect, middle, Second(middle), alpha) < power ? (middle, high) : (low, middle);
        }

        return (high, Second(high));

        long Second(long first) => Math.Max(2, (long)Math.Ceiling(first * ratio));
    }

    /// <summary>Power of the two-sided t test at these arms.</summary>
    public static double MeanPower(double effect, long n1, long n2, double alpha)
    {
        double degrees = n1 + n2 - 2;
        if (n1 < 1 || n2 < 1 || degrees < 1)
        {
            return 0;
        }

        double delta = Math.Abs(effect) * Math.Sqrt((double)n1 * n2 / (n1 + n2)), critical = Tails.StudentQuantile(alpha / 2, degrees);
        return 1 - NoncentralT(critical, delta, degrees) + NoncentralT(-critical, delta, degrees);
    }

    /// <summary>Power of the two-sided z test of proportions, the far tail left out as in <see cref="Proportions"/>.</summary>
    public static double ProportionPower(double p, double effect, double n1, double n2, double alpha)
    {
        double q = p + effect, error = Math.Sqrt((p * (1 - p) / n1) + (q * (1 - q) / n2));
        return Tails.Normal(Tails.NormalQuantile(alpha / 2) - (Math.Abs(effect) / error));
    }

    /// <summary>The smallest rise of a proportion that these arms find; null if none does.</summary>
    public static double? SmallestProportionEffect(double p, double n1, double n2, double alpha, double power) =>
        Smallest(1 - p, effect => ProportionUnits(p, effect, alpha, power, n2 / n1) <= n1);

    /// <summary>The smallest difference of means, in standard deviations, that these arms find; null if they find none.</summary>
    public static double? SmallestMeanEffect(long n1, long n2, double alpha, double power) =>
        n1 < 2 || n2 < 2 ? null : Smallest(1000, effect => MeanPower(effect, n1, n2, alpha) >= power);

    private static double ProportionUnits(double p, double effect, double alpha, double power, double ratio)
    {
        double q = p + effect, z = Tails.NormalQuantile(alpha / 2) + Tails.NormalQuantile(1 - power);
        return z * z * ((p * (1 - p)) + (q * (1 - q) / ratio)) / (effect * effect);
    }

    private static double? Smallest(double largest, Func<double, bool> found)
    {
        // At the very end a proportion has no variance and any number of units would do.
        double low = 0, high = largest * (1 - 1e-9);
        if (!(largest > 0) || !found(high))
        {
            return null;
        }

        for (var i = 0; i < 60; i++)
        {
            var middle = (low + high) / 2;
            (low, high) = found(middle) ? (low, middle) : (middle, high);
        }

        return high;
    }

    /// <summary>
    /// P(T &lt;= t) of the noncentral t law: the mean of Phi(t s - delta) over s, the root of a chi-square over its degrees of freedom, by
    /// the trapezoid rule on the body of that density.
    /// </summary>
    private static double NoncentralT(double t, double delta, double degrees)
    {
        // ln s is nearly normal with standard deviation 1 / sqrt(2 df); the density in ln s is smooth and falls off on both sides.
        double spread = 1 / Math.Sqrt(2 * degrees), from = -Width * spread * (degrees < 30 ? 3 : 1), to = Width * spread, step = (to - from) / Nodes, sum = 0, mass = 0;
        for (var i = 0; i <= Nodes; i++)
        {
            double u = from + (i * step), s = Math.Exp(u);
            // s^df exp(-df s^2 / 2), relative to its peak at s = 1; the constant cancels against the mass.
            var density = Math.Exp(degrees * (u - ((s * s - 1) / 2)));
            mass += density;
            sum += density * (1 - Tails.Normal((t * s) - delta));
        }

        return sum / mass;
    }
}
