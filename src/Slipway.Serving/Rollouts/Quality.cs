namespace Slipway.Serving;

/// <summary>A prediction whose true outcome is known.</summary>
/// <param name="Score">Predicted probability of the positive class.</param>
/// <param name="Positive">The outcome.</param>
internal readonly record struct LabelledScore(double Score, bool Positive);

/// <summary>Quality of a binary classifier over labelled predictions.</summary>
internal static class ClassifierQuality
{
    // Scores of exactly 0 or 1 would make one wrong answer infinitely bad; this is the clip scikit-learn's log_loss has for float64.
    private const double Clip = 2.220446049250313e-16;

    /// <summary>
    /// Log loss with its per-prediction variance, and AUC (ties count half) with the variance of Hanley and McNeil (1982). Scores that are not a
    /// probability are left out of neither: they make every figure NaN, and NaN never passes.
    /// </summary>
    public static ArmQuality Of(IReadOnlyList<LabelledScore> outcomes)
    {
        long n = outcomes.Count;
        if (n == 0)
        {
            return new(0, 0, double.NaN, double.NaN, double.NaN, double.NaN);
        }

        long positives = 0;
        double mean = 0, squares = 0;
        var seen = 0;
        foreach (var (score, positive) in outcomes)
        {
            var probability = score is >= 0 and <= 1 ? Math.Clamp(score, Clip, 1 - Clip) : double.NaN;
            var loss = -Math.Log(positive ? probability : 1 - probability);
            var delta = loss - mean;
            mean += delta / ++seen;
            squares += delta * (loss - mean);
            positives += positive ? 1 : 0;
        }

        var auc = double.IsNaN(mean) ? double.NaN : Auc(outcomes, positives);
        return new(n, positives, mean, n > 1 ? squares / (n - 1) : double.NaN, auc, AucVariance(auc, positives, n - positives));
    }

    private static double Auc(IReadOnlyList<LabelledScore> outcomes, long positives)
    {
        long negatives = outcomes.Count - positives;
        if (positives == 0 || negatives == 0)
        {
            return double.NaN;
        }

        var sorted = outcomes.ToArray();
        Array.Sort(sorted, static (a, b) => a.Score.CompareTo(b.Score));
        var rankSum = 0.0;
        for (var start = 0; start < sorted.Length;)
        {
            var end = start;
            long tied = 0;
            while (end < sorted.Length && sorted[end].Score == sorted[start].Score)
            {
                tied += sorted[end++].Positive ? 1 : 0;
            }

            rankSum += tied * (start + 1 + end) / 2.0;
            start = end;
        }

        return (rankSum - (positives * (positives + 1) / 2.0)) / ((double)positives * negatives);
    }

    private static double AucVariance(double auc, long positives, long negatives)
    {
        // A separation that looks perfect still has sampling error: half a pair is taken away, as in a continuity correction.
        var a = Math.Min(auc, 1 - (0.5 / Math.Max(1, positives * (double)negatives)));
        var q1 = a / (2 - a);
        var q2 = 2 * a * a / (1 + a);
        return ((a * (1 - a)) + ((positives - 1) * (q1 - (a * a))) + ((negatives - 1) * (q2 - (a * a)))) / (positives * (double)negatives);
    }
}
