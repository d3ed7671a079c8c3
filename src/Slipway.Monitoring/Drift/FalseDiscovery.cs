namespace Slipway.Monitoring;

/// <summary>Correction for testing many features of one window at once.</summary>
internal static class FalseDiscovery
{
    /// <summary>
    /// Adjusted p-values of Benjamini and Yekutieli (2001), which control the false discovery rate under any dependence between
    /// features: with m tests sorted ascending, adj(i) = min over j &gt;= i of p(j) m H(m) / j, H(m) = 1 + 1/2 + ... + 1/m, at most 1.
    /// A NaN (a feature that could not be tested) stays NaN and does not count in m.
    /// </summary>
    public static double[] BenjaminiYekutieli(IReadOnlyList<double> p)
    {
        int[] order = Enumerable.Range(0, p.Count).Where(i => !double.IsNaN(p[i])).OrderByDescending(i => p[i]).ToArray();
        int m = order.Length;
        double harmonic = 0;
        for (int i = 1; i <= m; i++)
        {
            harmonic += 1.0 / i;
        }

        double[] adjusted = Enumerable.Repeat(double.NaN, p.Count).ToArray();
        double least = 1;
        for (int k = 0; k < m; k++)
        {
            int rank = m - k;
            least = Math.Min(least, p[order[k]] * m * harmonic / rank);
            adjusted[order[k]] = least;
        }

        return adjusted;
    }
}
