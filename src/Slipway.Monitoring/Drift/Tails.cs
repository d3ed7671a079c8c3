namespace Slipway.Monitoring;

/// <summary>Tail functions of the laws that turn a statistic into a probability, and their inverses: chi-square, normal, Student's t, beta, Kolmogorov.</summary>
public static class Tails
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

        return Invert(x => ChiSquare(x, degrees), tail, degrees + 10);
    }

    /// <summary>The z with P(Z &gt;= z) = <paramref name="tail"/> for Z standard normal (tail in (0, 1)).</summary>
    public static double NormalQuantile(double tail) => tail > 0.5 ? -NormalQuantile(1 - tail) : tail == 0.5 ? 0 : Math.Sqrt(ChiSquareQuantile(2 * tail, 1));

    /// <summary>The t with P(T &gt;= t) = <paramref name="tail"/> for Student's t (tail in (0, 1)).</summary>
    public static double StudentQuantile(double tail, double degrees)
    {
        if (!(tail > 0 && tail < 1))
        {
            throw new ArgumentOutOfRangeException(nameof(tail), tail, "A tail probability lies strictly between 0 and 1.");
        }

        return tail > 0.5 ? -StudentQuantile(1 - tail, degrees) : tail == 0.5 ? 0 : Invert(t => Student(t, degrees), tail, 10);
    }

    /// <summary>P(X &lt;= <paramref name="x"/>) for X beta distributed: the regularised incomplete beta I(x; a, b).</summary>
    public static double Beta(double x, double a, double b)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(a);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(b);
        return double.IsNaN(x) ? double.NaN : IncompleteBeta(x, a, b);
    }

    /// <summary>P(Z &gt;= <paramref name="z"/>) for Z standard normal: half the chi-square tail of z squared with one degree of freedom.</summary>
    public static double Normal(double z) => z < 0 ? 1 - Normal(-z) : 0.5 * ChiSquare(z * z, 1);

    /// <summary>P(T &gt;= <paramref name="t"/>) for Student's t: half the regularised incomplete beta I(v / (v + t^2); v/2, 1/2).</summary>
    public static double Student(double t, double degrees)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(degrees);
        if (double.IsNaN(t))
        {
            return double.NaN;
        }

        double half = t == 0 ? 0.5 : 0.5 * IncompleteBeta(degrees / (degrees + t * t), degrees / 2, 0.5);
        return t < 0 ? 1 - half : half;
    }

    /// <summary>
    /// P(K &gt;= <paramref name="x"/>) for the limit law of Kolmogorov (1933): 2 sum (-1)^(k-1) exp(-2 k^2 x^2), and Jacobi's dual series
    /// where that one converges slowly.
    /// </summary>
    public static double Kolmogorov(double x)
    {
        if (!(x > 0))
        {
            return double.IsNaN(x) ? double.NaN : 1;
        }

        double sum = 0;
        if (x < 0.82)
        {
            for (int k = 1; k <= 20; k++)
            {
                double odd = (2 * k - 1) * Math.PI / x;
                sum += Math.Exp(-odd * odd / 8);
            }

            return 1 - Math.Sqrt(2 * Math.PI) / x * sum;
        }

        for (int k = 20; k >= 1; k--)
        {
            sum += (k % 2 == 1 ? 2 : -2) * Math.Exp(-2.0 * k * k * x * x);
        }

        return sum;
    }

    /// <summary>
    /// P(D &gt;= <paramref name="d"/>) for the two-sided one-sample Kolmogorov-Smirnov statistic of <paramref name="n"/> values. The choice of
    /// method by region follows Simard and L'Ecuyer (2011): the matrix power of Marsaglia, Tsang and Wang (2003) and the expansion of
    /// Pelz and Good (1976) in the body, twice Smirnov's one-sided law in the tail.
    /// </summary>
    public static double KolmogorovSmirnov(double d, int n)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(n, 1);
        if (double.IsNaN(d))
        {
            return double.NaN;
        }

        double t = n * d;
        if (t <= 0.5)
        {
            return 1;
        }

        if (d >= 1)
        {
            return 0;
        }

        if (t <= 1)
        {
            // Ruben and Gambino (1982): P(D < d) = n! (2d - 1/n)^n.
            return 1 - Math.Exp(LogGamma(n + 1) + n * Math.Log(2 * d - 1.0 / n));
        }

        if (t >= n - 1)
        {
            return 2 * Math.Pow(1 - d, n);
        }

        double squared = t * d;
        if (d >= 0.5 || squared > (n <= 140 ? 4 : 2.2))
        {
            return Math.Min(1, 2 * Smirnov(d, n));
        }

        bool matrix = n <= 140 || (n <= 100_000 && n * Math.Pow(d, 1.5) <= 1.4);
        return Math.Clamp(1 - (matrix ? MarsagliaTsangWang(d, n) : PelzGood(d, n)), 0, 1);
    }

    /// <summary>
    /// P(D+ &gt;= <paramref name="d"/>) of the one-sided statistic: d times the sum over k &lt;= n (1 - d) of C(n, k) (d + k/n)^(k-1) (1 - d - k/n)^(n-k)
    /// (Smirnov 1944). All terms are positive; the sum walks outwards from a middle term until terms stop mattering.
    /// </summary>
    internal static double Smirnov(double d, int n)
    {
        int last = (int)Math.Floor(n * (1 - d));
        double all = LogGamma(n + 1), peak = double.NegativeInfinity;
        int step = Math.Max(1, last / 512), middle = 0;
        for (int k = 0; k <= last; k += step)
        {
            double term = Term(k);
            (peak, middle) = term > peak ? (term, k) : (peak, middle);
        }

        double sum = 0;
        for (int direction = -1; direction <= 1; direction += 2)
        {
            for (int k = direction < 0 ? middle : middle + 1; k >= 0 && k <= last; k += direction)
            {
                double part = Math.Exp(Term(k) - peak);
                sum += part;
                if (part < 1e-18 && Math.Abs(k - middle) > step)
                {
                    break;
                }
            }
        }

        return Math.Exp(Math.Log(d) + peak + Math.Log(sum));

        double Term(int k)
        {
            double at = d + (double)k / n, rest = 1 - at;
            double tail = n - k == 0 ? 0 : rest <= 0 ? double.NegativeInfinity : (n - k) * Math.Log(rest);
            return all - LogGamma(k + 1) - LogGamma(n - k + 1) + (k - 1) * Math.Log(at) + tail;
        }
    }

    /// <summary>ln Gamma(x) for x &gt; 0: Stirling's series after the recurrence has moved x above 15 (error below 1e-14).</summary>
    public static double LogGamma(double x)
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

    /// <summary>The x of a falling tail function on [0, infinity) at <paramref name="tail"/>, by bisection to the last bit.</summary>
    private static double Invert(Func<double, double> of, double tail, double high)
    {
        double low = 0;
        while (of(high) > tail)
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

            if (of(middle) > tail)
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

    /// <summary>Regularised incomplete beta by its continued fraction (Lentz's method), mirrored where it converges slowly.</summary>
    private static double IncompleteBeta(double x, double a, double b)
    {
        if (x <= 0 || x >= 1)
        {
            return x <= 0 ? 0 : 1;
        }

        if (x > (a + 1) / (a + b + 2))
        {
            return 1 - IncompleteBeta(1 - x, b, a);
        }

        double front = Math.Exp(LogGamma(a + b) - LogGamma(a) - LogGamma(b) + a * Math.Log(x) + b * Math.Log(1 - x)) / a;
        double c = 1, d = 1 / Away(1 - (a + b) * x / (a + 1)), value = d;
        for (int m = 1; m < MostTerms; m++)
        {
            double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
            d = 1 / Away(1 + even * d);
            c = Away(1 + even / c);
            value *= d * c;
            double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
            d = 1 / Away(1 + odd * d);
            c = Away(1 + odd / c);
            double step = d * c;
            value *= step;
            if (Math.Abs(step - 1) < 1e-16)
            {
                break;
            }
        }

        return front * value;

        static double Away(double v) => Math.Abs(v) < Tiny ? Tiny : v;
    }

    /// <summary>P(D &lt; d), exact: n! / n^n times an entry of the n-th power of a band matrix of order 2k - 1, k = floor(n d) + 1.</summary>
    private static double MarsagliaTsangWang(double d, int n)
    {
        int k = (int)(n * d) + 1, m = 2 * k - 1;
        double h = k - n * d;
        double[] matrix = new double[m * m];
        for (int i = 0; i < m; i++)
        {
            for (int j = 0; j < m; j++)
            {
                matrix[i * m + j] = i - j + 1 < 0 ? 0 : 1;
            }
        }

        for (int i = 0; i < m; i++)
        {
            matrix[i * m] -= Math.Pow(h, i + 1);
            matrix[(m - 1) * m + i] -= Math.Pow(h, m - i);
        }

        matrix[(m - 1) * m] += 2 * h - 1 > 0 ? Math.Pow(2 * h - 1, m) : 0;
        for (int i = 0; i < m; i++)
        {
            for (int j = 0; j < m; j++)
            {
                for (int g = 2; g <= i - j + 1; g++)
                {
                    matrix[i * m + j] /= g;
                }
            }
        }

        (double[] power, int exponent) = Power(matrix, m, n);
        double value = power[(k - 1) * m + k - 1];
        for (int i = 1; i <= n; i++)
        {
            value = value * i / n;
            if (value < 1e-140)
            {
                value *= 1e140;
                exponent -= 140;
            }
        }

        return value * Math.Pow(10, exponent);
    }

    /// <summary>A matrix power whose entries are kept in range by a decimal exponent.</summary>
    private static (double[] Matrix, int Exponent) Power(double[] matrix, int m, int n)
    {
        if (n == 1)
        {
            return (matrix, 0);
        }

        (double[] half, int exponent) = Power(matrix, m, n / 2);
        double[] product = Multiply(half, half, m);
        exponent *= 2;
        if (n % 2 == 1)
        {
            product = Multiply(matrix, product, m);
        }

        if (product[m / 2 * m + m / 2] > 1e140)
        {
            for (int i = 0; i < product.Length; i++)
            {
                product[i] *= 1e-140;
            }

            exponent += 140;
        }

        return (product, exponent);
    }

    private static double[] Multiply(double[] a, double[] b, int m)
    {
        double[] product = new double[m * m];
        for (int i = 0; i < m; i++)
        {
            for (int k = 0; k < m; k++)
            {
                double x = a[i * m + k];
                for (int j = 0; x != 0 && j < m; j++)
                {
                    product[i * m + j] += x * b[k * m + j];
                }
            }
        }

        return product;
    }

    /// <summary>P(D &lt; d) by the expansion in powers of 1/sqrt(n).</summary>
    private static double PelzGood(double d, int n)
    {
        double z = Math.Sqrt(n) * d, z2 = z * z, z4 = z2 * z2, z6 = z4 * z2, pi2 = Math.PI * Math.PI, root = Math.Sqrt(Math.PI / 2);
        double k0 = 0, k1 = 0, k2 = 0, k3 = 0, whole2 = 0, whole3 = 0;
        int terms = (int)Math.Ceiling(16 * z / Math.PI) + 2;
        for (int k = terms; k >= 0; k--)
        {
            double a = (k + 0.5) * (k + 0.5) * pi2, e = 2 * Math.Exp(-a / (2 * z2));
            k0 += e;
            k1 += (a - z2) * e;
            k2 += (6 * z6 + 2 * z4 + a * (2 * z4 - 5 * z2) + a * a * (1 - 2 * z2)) * e;
            k3 += (a * a * a * (5 - 30 * z2) + a * a * (-60 * z2 + 212 * z4) + a * (135 * z4 - 96 * z6) - 30 * z6 - 90 * z4 * z4) * e;
            double b = k * (double)k * pi2, f = 2 * Math.Exp(-b / (2 * z2));
            whole2 += b * f;
            whole3 += (-b * b + 3 * b * z2) * f;
        }

        k0 *= root / z;
        k1 *= root / (6 * z4);
        k2 = k2 * root / (72 * z6 * z) - whole2 * root / (36 * z2 * z);
        k3 = k3 * root / (6480 * z6 * z4) + whole3 * root / (216 * z6);
        double s = Math.Sqrt(n);
        return k0 + k1 / s + k2 / n + k3 / (n * s);
    }
}
