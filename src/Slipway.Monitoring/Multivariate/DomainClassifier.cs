namespace Slipway.Monitoring;

/// <summary>
/// Classifier two-sample test (Lopez-Paz and Oquab 2017): how well a boosted model tells rows of the window from rows of the reference, as the AUC of
/// out-of-fold scores. 0.5 is no drift. Ordered data differ from window to window without being ill, so calibrate the limit on windows of the
/// reference itself.
/// </summary>
public static class DomainClassifier
{
    /// <summary>The reference is thinned to at most this many times the window.</summary>
    public const int MostReference = 5;

    private const int Folds = 5;

    /// <summary>The AUC of telling the window from the reference.</summary>
    /// <param name="reference">One array a column; NaN is missing.</param>
    /// <param name="window">The same columns.</param>
    /// <param name="mostReference">The reference is thinned to this many times the window.</param>
    public static Measured Auc(IReadOnlyList<double[]> reference, IReadOnlyList<double[]> window, int mostReference = MostReference)
    {
        int nr = reference.Count == 0 ? 0 : reference[0].Length, nc = window.Count == 0 ? 0 : window[0].Length;
        if (nr < Folds || nc < Folds)
        {
            return Measured.Undefined($"{nr} rows in the reference and {nc} in the window, {Folds} are needed on either side");
        }

        int kept = (int)Math.Min(nr, (long)mostReference * nc);
        int[] thinned = Enumerable.Range(0, kept).Select(i => (int)((long)i * nr / kept)).ToArray();
        double[][] table = reference.Select((r, c) => thinned.Select(i => r[i]).Concat(window[c]).ToArray()).ToArray();
        int n = kept + nc;
        double[] target = Enumerable.Range(0, n).Select(i => i < kept ? 0.0 : 1).ToArray(), scores = new double[n];
        // Stratified and unshuffled: each class falls into five runs of neighbours.
        int[] fold = Enumerable.Range(0, n).Select(i => i < kept ? (int)((long)i * Folds / kept) : (int)((long)(i - kept) * Folds / nc)).ToArray();
        for (int f = 0; f < Folds; f++)
        {
            int[] rest = Enumerable.Range(0, n).Where(i => fold[i] != f).ToArray();
            Boosting model = Boosting.Classification(table.Select(c => rest.Select(i => c[i]).ToArray()).ToArray(), rest.Select(i => target[i]).ToArray());
            double[] row = new double[table.Length];
            for (int i = 0; i < n; i++)
            {
                if (fold[i] == f)
                {
                    for (int c = 0; c < row.Length; c++)
                    {
                        row[c] = table[c][i];
                    }

                    scores[i] = model.Predict(row);
                }
            }
        }

        return BinaryMetrics.Area(scores, target.Select(t => t == 1).ToArray());
    }
}
