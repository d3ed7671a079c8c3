namespace Slipway.Monitoring;

/// <summary>Tail functions of the chi-square law: what turns a distance between bin counts into a probability.</summary>
internal static class Tails
{
    private const int MostTerms = 100_000;
    private const double Tiny = 1e-300;

    /// <summary>
    /// P(X &gt;= <paramref name="x"/>) for X chi-square with <paramref name="degrees"/> degrees of freedom: the regularised upper
    /// incomplete gamma function Q(degrees/2, x/2), by its power series below the mean and by Legendre's continued fraction
    /// (evaluated with Lentz's method) above it, so that far tails keep their relative accuracy.
    /// </summary>
    public static double ChiSquare(double x, double degrees)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(degrees);
        if (double.IsNaN(x))
        {
            return double.NaN;
        }

        if (x <= 0)
        {
            return 1;
        }

        if (double.IsPositiveInfinity(x))
        {
            return 0;
        }

        double a = degrees / 2, z = x / 2;
        double front = Math.Exp(a * Math.Log(z) - z - LogGamma(a));
        return z < a + 1 ? 1 - front * LowerSeries(a, z) : front * UpperFraction(a, z);
    }

    /// <summary>The x with P(X &gt;= x) = <paramref name="tail"/>, by bisection on the tail itself (tail in (0, 1)).</summary>
    public static double ChiSquareQuantile(double tail, double degrees)
    {
        if (!(tail > 0 && tail < 1))
        {
            throw new ArgumentOutOfRangeException(nameof(tail), tail, "A tail probability lies strictly between 0 and 1.");
        }

        double low = 0, high = degrees + 10;
        while (ChiSquare(high, degrees) > tail)
        {
            low = high;
            high *= 2;
        }

        for (int i = 0; i < 200; i++)
        {
            double middle = low + (high - low) / 2;
            if (middle <= low || middle >= high)
            {
                break;
            }

            if (ChiSquare(middle, degrees) > tail)
            {
                low = middle;
            }
            else
            {
                high = middle;
            }
        }

        return high;
    }

    /// <summary>ln Gamma(x) for x &gt; 0: Stirling's series after the recurrence has moved x above 15 (error below 1e-14).</summary>
    internal static double LogGamma(double x)
    {
        double shift = 0;
        while (x < 15)
        {
            shift += Math.Log(x);
            x += 1;
        }

        double r = 1 / x, r2 = r * r;
        double series = r * (1.0 / 12 - r2 * (1.0 / 360 - r2 * (1.0 / 1260 - r2 * (1.0 / 1680 - r2 * (1.0 / 1188 - r2 * (691.0 / 360360))))));
        return (x - 0.5) * Math.Log(x) - x + 0.5 * Math.Log(2 * Math.PI) + series - shift;
    }

    private static double LowerSeries(double a, double z)
    {
        double term = 1 / a, sum = term;
        for (int k = 1; k < MostTerms && Math.Abs(term) > Math.Abs(sum) * 1e-17; k++)
        {
            term *= z / (a + k);
            sum += term;
        }

        return sum;
    }

    private static double UpperFraction(double a, double z)
    {
        double b = z + 1 - a, c = 1 / Tiny, d = 1 / b, value = d;
        for (int k = 1; k < MostTerms; k++)
        {
            double numerator = -k * (k - a);
            b += 2;
            d = numerator * d + b;
            d = 1 / (Math.Abs(d) < Tiny ? Tiny : d);
            c = b + numerator / c;
            c = Math.Abs(c) < Tiny ? Tiny : c;
            double step = c * d;
            value *= step;
            if (Math.Abs(step - 1) < 1e-16)
            {
                break;
            }
        }

        return value;
    }
}
