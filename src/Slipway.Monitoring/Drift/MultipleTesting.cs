namespace Slipway.Monitoring;

/// <summary>
/// Corrections for testing many features of one window at once. Each gives adjusted p-values: a feature drifts at rate q when its adjusted
/// value is at most q. A NaN (a feature that could not be tested) stays NaN and does not count in the number m of tests.
/// </summary>
public static class MultipleTesting
{
    /// <summary>Benjamini and Yekutieli (2001): false discovery rate under any dependence. adj(i) = min over j &gt;= i of p(j) m H(m) / j with H(m) = 1 + 1/2 + ... + 1/m.</summary>
    public static double[] BenjaminiYekutieli(IReadOnlyList<double> p)
    {
        double harmonic = 0;
        int m = p.Count(v => !double.IsNaN(v));
        for (int i = 1; i <= m; i++)
        {
            harmonic += 1.0 / i;
        }

        return StepUp(p, (value, rank) => value * m * harmonic / rank);
    }

    /// <summary>Benjamini and Hochberg (1995): false discovery rate of independent tests. adj(i) = min over j &gt;= i of p(j) m / j.</summary>
    public static double[] BenjaminiHochberg(IReadOnlyList<double> p)
    {
        int m = p.Count(v => !double.IsNaN(v));
        return StepUp(p, (value, rank) => value * m / rank);
    }

    /// <summary>Holm (1979): family-wise error under any dependence. adj(i) = max over j &lt;= i of p(j) (m - j + 1).</summary>
    public static double[] Holm(IReadOnlyList<double> p)
    {
        int[] order = Ascending(p);
        double[] adjusted = Nothing(p);
        double most = 0;
        for (int k = 0; k < order.Length; k++)
        {
            most = Math.Max(most, Math.Min(1, p[order[k]] * (order.Length - k)));
            adjusted[order[k]] = most;
        }

        return adjusted;
    }

    /// <summary>Bonferroni: family-wise error, p m.</summary>
    public static double[] Bonferroni(IReadOnlyList<double> p)
    {
        int m = p.Count(v => !double.IsNaN(v));
        return p.Select(v => double.IsNaN(v) ? v : Math.Min(1, v * m)).ToArray();
    }

    private static double[] StepUp(IReadOnlyList<double> p, Func<double, int, double> scaled)
    {
        int[] order = Ascending(p);
        double[] adjusted = Nothing(p);
        double least = 1;
        for (int rank = order.Length; rank >= 1; rank--)
        {
            least = Math.Min(least, scaled(p[order[rank - 1]], rank));
            adjusted[order[rank - 1]] = least;
        }

        return adjusted;
    }

    private static int[] Ascending(IReadOnlyList<double> p) => Enumerable.Range(0, p.Count).Where(i => !double.IsNaN(p[i])).OrderBy(i => p[i]).ToArray();

    private static double[] Nothing(IReadOnlyList<double> p) => Enumerable.Repeat(double.NaN, p.Count).ToArray();
}
