namespace Slipway.Monitoring;

/// <summary>
/// A monotone map from scores to probabilities, fitted by pooling adjacent violators (Ayer et al. 1955). Only the ends of its flat parts are kept;
/// between knots it is linear, outside it is constant.
/// </summary>
/// <param name="X">Scores, ascending.</param>
/// <param name="Y">Probabilities, not descending.</param>
public sealed record Isotonic(double[] X, double[] Y)
{
    /// <summary>Fits; rows of one score are averaged first.</summary>
    /// <param name="scores">Finite scores.</param>
    /// <param name="outcomes">0 or 1 each, or any number in a general regression.</param>
    /// <exception cref="ArgumentException">No rows, or different lengths.</exception>
    public static Isotonic Fit(ReadOnlySpan<double> scores, ReadOnlySpan<double> outcomes)
    {
        if (scores.Length != outcomes.Length || scores.IsEmpty)
        {
            throw new ArgumentException($"{scores.Length} scores and {outcomes.Length} outcomes: at least one row with both is needed.", nameof(outcomes));
        }

        double[] x = scores.ToArray(), y = outcomes.ToArray();
        Array.Sort(x, y);
        var values = new List<double>();
        var means = new List<double>();
        var weights = new List<double>();
        for (int start = 0; start < x.Length;)
        {
            int end = start;
            double sum = 0;
            while (end < x.Length && x[end] == x[start])
            {
                sum += y[end++];
            }

            values.Add(x[start]);
            means.Add(sum / (end - start));
            weights.Add(end - start);
            start = end;
        }

        // Blocks on a stack: one that is below the block before joins it.
        int[] first = new int[values.Count];
        double[] mean = new double[values.Count], weight = new double[values.Count];
        int blocks = 0;
        for (int i = 0; i < values.Count; i++)
        {
            first[blocks] = i;
            mean[blocks] = means[i];
            weight[blocks++] = weights[i];
            while (blocks > 1 && mean[blocks - 2] >= mean[blocks - 1])
            {
                double total = weight[blocks - 2] + weight[blocks - 1];
                mean[blocks - 2] = (mean[blocks - 2] * weight[blocks - 2] + mean[blocks - 1] * weight[blocks - 1]) / total;
                weight[blocks - 2] = total;
                blocks--;
            }
        }

        var knotsX = new List<double>();
        var knotsY = new List<double>();
        for (int b = 0; b < blocks; b++)
        {
            int last = b + 1 < blocks ? first[b + 1] - 1 : values.Count - 1;
            knotsX.Add(values[first[b]]);
            knotsY.Add(mean[b]);
            if (last > first[b])
            {
                knotsX.Add(values[last]);
                knotsY.Add(mean[b]);
            }
        }

        return new Isotonic([.. knotsX], [.. knotsY]);
    }

    /// <summary>The probability of a score; NaN for NaN.</summary>
    public double Map(double score)
    {
        if (double.IsNaN(score))
        {
            return double.NaN;
        }

        int at = Array.BinarySearch(X, score);
        if (at >= 0)
        {
            return Y[at];
        }

        at = ~at;
        return at == 0 ? Y[0] : at == X.Length ? Y[^1] : Y[at - 1] + (Y[at] - Y[at - 1]) * (score - X[at - 1]) / (X[at] - X[at - 1]);
    }
}
