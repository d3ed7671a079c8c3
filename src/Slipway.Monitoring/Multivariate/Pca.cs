namespace Slipway.Monitoring;

/// <summary>
/// Reconstruction error of principal components: how far rows lie from the linear structure of the reference. Columns are imputed with the
/// reference's mean, standardised (population deviation, 0 counts as 1) and projected on the fewest components that explain more than a share of the
/// variance. It finds only broken linear structure.
/// </summary>
public sealed class Pca
{
    /// <summary>Share of variance that the components explain.</summary>
    public const double DefaultExplained = 0.65;

    private readonly double[] mean;
    private readonly double[] scale;
    private readonly double[][] components;

    private Pca(double[] mean, double[] scale, double[][] components, double[] explained) => (this.mean, this.scale, this.components, Explained) = (mean, scale, components, explained);

    /// <summary>Share of the variance that each component explains.</summary>
    public IReadOnlyList<double> Explained { get; }

    /// <summary>Fits on the reference.</summary>
    /// <param name="columns">One array a column; NaN is missing. Categories as the share of their value in the reference (<see cref="Frequencies"/>).</param>
    /// <param name="explained">Share of variance to exceed.</param>
    public static Pca Fit(IReadOnlyList<double[]> columns, double explained = DefaultExplained)
    {
        int k = columns.Count;
        double[] mean = new double[k], scale = new double[k];
        double[][] z = new double[k][];
        for (int c = 0; c < k; c++)
        {
            mean[c] = Moments.Of(columns[c].Where(double.IsFinite).ToArray()).Mean;
            double at = mean[c];
            double[] filled = columns[c].Select(v => double.IsFinite(v) ? v : at).ToArray();
            scale[c] = Math.Sqrt(Moments.Of(filled).Variance ?? 0);
            scale[c] = scale[c] == 0 ? 1 : scale[c];
            double by = scale[c];
            z[c] = filled.Select(v => (v - at) / by).ToArray();
        }

        double[,] covariance = new double[k, k];
        for (int a = 0; a < k; a++)
        {
            for (int b = a; b < k; b++)
            {
                double sum = 0;
                for (int i = 0; i < z[a].Length; i++)
                {
                    sum += z[a][i] * z[b][i];
                }

                covariance[a, b] = covariance[b, a] = sum / Math.Max(1, z[a].Length - 1);
            }
        }

        (double[] values, double[][] vectors) = Jacobi(covariance);
        double total = values.Sum(), cumulated = 0;
        int kept = 0;
        while (kept < k)
        {
            cumulated += values[kept++] / total;
            if (cumulated > explained)
            {
                break;
            }
        }

        return new Pca(mean, scale, vectors[..kept], values.Take(kept).Select(v => v / total).ToArray());
    }

    /// <summary>Mean Euclidean reconstruction error of a window; its standard error is the sample deviation over sqrt(n).</summary>
    public Measured Error(IReadOnlyList<double[]> columns)
    {
        int n = columns.Count == 0 ? 0 : columns[0].Length;
        if (n == 0)
        {
            return Measured.Undefined("the window has no rows");
        }

        double[] errors = new double[n], row = new double[mean.Length];
        for (int i = 0; i < n; i++)
        {
            double left = 0;
            for (int c = 0; c < row.Length; c++)
            {
                double v = columns[c][i];
                row[c] = ((double.IsFinite(v) ? v : mean[c]) - mean[c]) / scale[c];
            }

            double[] rest = (double[])row.Clone();
            foreach (double[] component in components)
            {
                double along = 0;
                for (int c = 0; c < row.Length; c++)
                {
                    along += row[c] * component[c];
                }

                for (int c = 0; c < row.Length; c++)
                {
                    rest[c] -= along * component[c];
                }
            }

            foreach (double r in rest)
            {
                left += r * r;
            }

            errors[i] = Math.Sqrt(left);
        }

        Moments m = Moments.Of(errors);
        return Measured.Of(m.Mean, m.SampleVariance is { } v2 ? Math.Sqrt(v2 / n) : null);
    }

    /// <summary>Categories as numbers: the share of the value in the reference, 0 for an unseen one, and the most frequent value's share for a missing one.</summary>
    public static double[] Frequencies(IReadOnlyList<string?> reference, IReadOnlyList<string?> values)
    {
        Dictionary<string, double> shares = reference.OfType<string>().GroupBy(v => v, StringComparer.Ordinal).ToDictionary(g => g.Key, g => (double)g.Count() / reference.Count(v => v is not null), StringComparer.Ordinal);
        double mode = shares.Count == 0 ? 0 : shares.Values.Max();
        return values.Select(v => v is null ? mode : shares.GetValueOrDefault(v)).ToArray();
    }

    /// <summary>Eigenvalues, largest first, and eigenvectors of a symmetric matrix, by Jacobi's rotations.</summary>
    private static (double[] Values, double[][] Vectors) Jacobi(double[,] a)
    {
        int n = a.GetLength(0);
        double[,] v = new double[n, n];
        for (int i = 0; i < n; i++)
        {
            v[i, i] = 1;
        }

        for (int sweep = 0; sweep < 100; sweep++)
        {
            double off = 0;
            for (int p = 0; p < n; p++)
            {
                for (int q = p + 1; q < n; q++)
                {
                    off += a[p, q] * a[p, q];
                }
            }

            if (off < 1e-28)
            {
                break;
            }

            for (int p = 0; p < n; p++)
            {
                for (int q = p + 1; q < n; q++)
                {
                    if (Math.Abs(a[p, q]) < 1e-300)
                    {
                        continue;
                    }

                    double theta = (a[q, q] - a[p, p]) / (2 * a[p, q]), t = (theta >= 0 ? 1 : -1) / (Math.Abs(theta) + Math.Sqrt(theta * theta + 1)), c = 1 / Math.Sqrt(t * t + 1), s = t * c;
                    for (int k = 0; k < n; k++)
                    {
                        (a[k, p], a[k, q]) = (c * a[k, p] - s * a[k, q], s * a[k, p] + c * a[k, q]);
                    }

                    for (int k = 0; k < n; k++)
                    {
                        (a[p, k], a[q, k]) = (c * a[p, k] - s * a[q, k], s * a[p, k] + c * a[q, k]);
                        (v[k, p], v[k, q]) = (c * v[k, p] - s * v[k, q], s * v[k, p] + c * v[k, q]);
                    }
                }
            }
        }

        int[] order = Enumerable.Range(0, n).OrderByDescending(i => a[i, i]).ToArray();
        return (order.Select(i => a[i, i]).ToArray(), order.Select(i => Enumerable.Range(0, n).Select(k => v[k, i]).ToArray()).ToArray());
    }
}
