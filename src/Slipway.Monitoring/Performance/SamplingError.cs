namespace Slipway.Monitoring;

/// <summary>
/// Standard errors of binary metrics at any sample size, from the reference alone: the spread of a row's contribution, over the square root of the
/// rows that contribute. So a window's band is known before its labels are.
/// </summary>
public sealed record SamplingError
{
    private SamplingError()
    {
    }

    /// <summary>ROC-AUC: the deviation over positives of the share of negatives ranked below, over sqrt(n x positive share); classes swapped when positives are the majority.</summary>
    public double? RocAuc { get; private init; }

    /// <summary>Accuracy.</summary>
    public double? Accuracy { get; private init; }

    /// <summary>Precision, over rows predicted positive.</summary>
    public double? Precision { get; private init; }

    /// <summary>Recall, over positive rows.</summary>
    public double? Recall { get; private init; }

    /// <summary>Specificity, over negative rows.</summary>
    public double? Specificity { get; private init; }

    /// <summary>F1: the deviation of 1 for a true positive and 0 for a wrong row, times N / (TP + (FP + FN) / 2), over rows that are not true negatives.</summary>
    public double? F1 { get; private init; }

    /// <summary>Errors at <paramref name="rows"/> rows of a window.</summary>
    /// <param name="scores">Scores of the reference.</param>
    /// <param name="predicted">Its predicted labels.</param>
    /// <param name="outcomes">Its true labels.</param>
    /// <param name="rows">Rows of the window.</param>
    public static SamplingError Of(ReadOnlySpan<double> scores, ReadOnlySpan<bool> predicted, ReadOnlySpan<bool> outcomes, long rows)
    {
        double n = outcomes.Length, tp = 0, fp = 0, tn = 0, fn = 0;
        for (int i = 0; i < outcomes.Length; i++)
        {
            _ = (predicted[i], outcomes[i]) switch { (true, true) => tp++, (true, false) => fp++, (false, false) => tn++, _ => fn++ };
        }

        double? spread = BinaryMetrics.Of(scores, outcomes).AucSpread;
        double counted = tp + fp + fn, scale = counted / (tp + (fp + fn) / 2);
        return new SamplingError
        {
            RocAuc = spread / Math.Sqrt(rows),
            Accuracy = Share(tp + tn, n, rows, n),
            Precision = Share(tp, tp + fp, rows, n),
            Recall = Share(tp, tp + fn, rows, n),
            Specificity = Share(tn, tn + fp, rows, n),
            F1 = Share(tp, counted, rows, n) * scale,
        };
    }

    /// <summary>Deviation of a 0/1 contribution with <paramref name="hits"/> of <paramref name="of"/>, at the part of <paramref name="rows"/> that contributes.</summary>
    private static double? Share(double hits, double of, long rows, double n) =>
        of == 0 || rows == 0 ? null : Math.Sqrt(hits / of * (1 - hits / of)) / Math.Sqrt(rows * of / n);
}
