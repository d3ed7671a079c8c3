namespace Slipway.Monitoring;

/// <summary>
/// Distances between two clouds of rows: the maximum mean discrepancy with a Gaussian kernel (Gretton et al. 2012) and the energy distance. Both cost
/// the square of the rows, so each side is thinned to <see cref="MostRows"/>.
/// </summary>
public static class Mmd
{
    /// <summary>Rows of either side that are compared.</summary>
    public const int MostRows = 2_000;

    /// <summary>The median of all pairwise distances in the pool: the kernel width when none is given.</summary>
    public static double MedianDistance(IReadOnlyList<double[]> x, IReadOnlyList<double[]> y)
    {
        double[][] pool = [.. x, .. y];
        var distances = new List<double>(pool.Length * (pool.Length - 1) / 2);
        for (int i = 0; i < pool.Length; i++)
        {
            for (int j = i + 1; j < pool.Length; j++)
            {
                distances.Add(Math.Sqrt(Squared(pool[i], pool[j])));
            }
        }

        return distances.Count == 0 ? double.NaN : Bins.Quantile(TwoSample.Sorted(distances), 0.5);
    }

    /// <summary>Squared MMD, mean k(x, x') + mean k(y, y') - 2 mean k(x, y) with k = exp(-d^2 / (2 sigma^2)).</summary>
    /// <param name="x">Rows of the reference.</param>
    /// <param name="y">Rows of the window.</param>
    /// <param name="sigma">Kernel width; the median distance when null.</param>
    /// <param name="biased">Whether a row is paired with itself; the unbiased form can be below 0.</param>
    public static double Squared(IReadOnlyList<double[]> x, IReadOnlyList<double[]> y, double? sigma = null, bool biased = false)
    {
        double width = sigma ?? MedianDistance(x, y);
        double[,] kernel = Kernel([.. x, .. y], width);
        return Squared(kernel, Enumerable.Range(0, x.Count + y.Count).ToArray(), x.Count, biased);
    }

    /// <summary>The unbiased statistic with its permutation probability (1 + #{permuted &gt;= observed}) / (1 + permutations), which is never 0.</summary>
    /// <param name="x">Rows of the reference.</param>
    /// <param name="y">Rows of the window.</param>
    /// <param name="permutations">How many.</param>
    /// <param name="seed">The same seed gives the same probability.</param>
    public static StatisticalTest Test(IReadOnlyList<double[]> x, IReadOnlyList<double[]> y, int permutations = 200, int seed = 1)
    {
        double[][] a = Thinned(x), b = Thinned(y);
        if (a.Length < 2 || b.Length < 2)
        {
            return new StatisticalTest(double.NaN, null, "two rows on either side are needed");
        }

        double[,] kernel = Kernel([.. a, .. b], MedianDistance(a, b));
        int[] order = Enumerable.Range(0, a.Length + b.Length).ToArray();
        double observed = Squared(kernel, order, a.Length, biased: false);
        if (!double.IsFinite(observed))
        {
            return new StatisticalTest(observed, null, "all rows are equal");
        }

        // The sums of whole rows do not change with the order: of each permutation only the pairs of one side are summed.
        double[] sums = new double[order.Length];
        for (int i = 0; i < sums.Length; i++)
        {
            for (int j = 0; j < sums.Length; j++)
            {
                sums[i] += i == j ? 0 : kernel[i, j];
            }
        }

        double all = sums.Sum(), least = OfSums(kernel, order, sums, all, a.Length);
        var random = new Random(seed);
        int larger = 0;
        for (int i = 0; i < permutations; i++)
        {
            random.Shuffle(order);
            larger += OfSums(kernel, order, sums, all, a.Length) >= least ? 1 : 0;
        }

        return new StatisticalTest(observed, (1.0 + larger) / (1 + permutations));
    }

    /// <summary>Energy distance of rows, 2 E|x - y| - E|x - x'| - E|y - y'| (Szekely and Rizzo 2004).</summary>
    public static double Energy(IReadOnlyList<double[]> x, IReadOnlyList<double[]> y) => 2 * Mean(x, y) - Mean(x, x) - Mean(y, y);

    private static double Mean(IReadOnlyList<double[]> x, IReadOnlyList<double[]> y)
    {
        double sum = 0;
        foreach (double[] a in x)
        {
            foreach (double[] b in y)
            {
                sum += Math.Sqrt(Squared(a, b));
            }
        }

        return sum / x.Count / y.Count;
    }

    private static double[][] Thinned(IReadOnlyList<double[]> rows)
    {
        int kept = Math.Min(rows.Count, MostRows);
        return Enumerable.Range(0, kept).Select(i => rows[(int)((long)i * rows.Count / kept)]).ToArray();
    }

    private static double[,] Kernel(double[][] pool, double sigma)
    {
        double[,] kernel = new double[pool.Length, pool.Length];
        for (int i = 0; i < pool.Length; i++)
        {
            for (int j = i; j < pool.Length; j++)
            {
                kernel[i, j] = kernel[j, i] = Math.Exp(-Squared(pool[i], pool[j]) / (2 * sigma * sigma));
            }
        }

        return kernel;
    }

    private static double Squared(double[,] kernel, int[] order, int n, bool biased)
    {
        int m = order.Length - n;
        double xx = 0, yy = 0, xy = 0;
        for (int i = 0; i < order.Length; i++)
        {
            for (int j = 0; j < order.Length; j++)
            {
                double k = i == j && !biased ? 0 : kernel[order[i], order[j]];
                _ = (i < n, j < n) switch { (true, true) => xx += k, (false, false) => yy += k, _ => xy += k };
            }
        }

        double nx = biased ? (double)n * n : n * (n - 1.0), ny = biased ? (double)m * m : m * (m - 1.0);
        return xx / nx + yy / ny - xy / n / m;
    }

    /// <summary>The unbiased statistic from the sums of the kernel's rows: the rows of one side hold its own pairs twice and all mixed pairs once.</summary>
    private static double OfSums(double[,] kernel, int[] order, double[] sums, double all, int n)
    {
        double xx = 0, rows = 0, m = order.Length - n;
        ReadOnlySpan<double> flat = System.Runtime.InteropServices.MemoryMarshal.CreateReadOnlySpan(ref kernel[0, 0], kernel.Length);
        for (int i = 0; i < n; i++)
        {
            ReadOnlySpan<double> row = flat.Slice(order[i] * order.Length, order.Length);
            rows += sums[order[i]];
            for (int j = 0; j < i; j++)
            {
                xx += row[order[j]];
            }
        }

        xx *= 2;
        double xy = rows - xx, yy = all - xx - 2 * xy;
        return xx / (n * (n - 1.0)) + yy / (m * (m - 1)) - 2 * xy / n / m;
    }

    private static double Squared(double[] a, double[] b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++)
        {
            sum += (a[i] - b[i]) * (a[i] - b[i]);
        }

        return sum;
    }
}
