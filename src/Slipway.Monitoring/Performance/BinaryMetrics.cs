namespace Slipway.Monitoring;

/// <summary>A measured number, or the reason why the data define none. A reason never passes a threshold.</summary>
/// <param name="Value">Null when undefined.</param>
/// <param name="Error">Standard error of the value at its sample size; null when it has none.</param>
/// <param name="Why">The reason when undefined.</param>
public readonly record struct Measured(double? Value, double? Error, string? Why)
{
    internal static Measured Of(double value, double? error = null) => new(value, error, null);

    internal static Measured Undefined(string why) => new(null, null, why);
}

/// <summary>
/// Realized performance of scores in [0, 1] against 0/1 outcomes. A metric
/// whose denominator is empty is undefined with a reason, never 0.
/// </summary>
public sealed record BinaryMetrics
{
    /// <summary>Log loss clips scores to [this, 1 - this]; the same figure that common tools use for doubles.</summary>
    public const double Clip = 1e-15;

    private BinaryMetrics()
    {
    }

    /// <summary>Rows measured.</summary>
    public long N { get; private init; }

    /// <summary>Rows whose outcome is true.</summary>
    public long Positives { get; private init; }

    /// <summary>Rows left out because the score is missing or not finite.</summary>
    public long LeftOut { get; private init; }

    /// <summary>Area under the ROC curve from average ranks, ties counting half; undefined with one class.</summary>
    public Measured RocAuc { get; private init; }

    /// <summary>
    /// The part of the AUC's standard error that does not depend on the sample size: divide by the square root of n. It is the
    /// standard deviation over positives of the share of negatives ranked below, over the square root of the positive share (classes
    /// swapped when positives are the majority). Null when the AUC is undefined.
    /// </summary>
    public double? AucSpread { get; private init; }

    /// <summary>Mean negative log likelihood in nats, scores clipped to <see cref="Clip"/>.</summary>
    public Measured LogLoss { get; private init; }

    /// <summary>Standard deviation of the per-row log loss: over the square root of n it is the standard error.</summary>
    public double? LogLossSpread { get; private init; }

    /// <summary>Mean squared difference of score and outcome.</summary>
    public Measured Brier { get; private init; }

    /// <summary>Share of rows where (score &gt;= threshold) equals the outcome.</summary>
    public Measured Accuracy { get; private init; }

    /// <summary>Measures; rows whose score is NaN or infinite are left out and counted.</summary>
    /// <param name="scores">Probabilities of the positive class.</param>
    /// <param name="outcomes">The truth, one a score.</param>
    /// <param name="threshold">A score at or above it predicts true.</param>
    public static BinaryMetrics Of(ReadOnlySpan<double> scores, ReadOnlySpan<bool> outcomes, double threshold = 0.5)
    {
        if (scores.Length != outcomes.Length)
        {
            throw new ArgumentException($"{scores.Length} scores and {outcomes.Length} outcomes: one of each is needed for every row.", nameof(outcomes));
        }

        var kept = new List<(double Score, bool Outcome)>(scores.Length);
        for (int i = 0; i < scores.Length; i++)
        {
            if (double.IsFinite(scores[i]))
            {
                kept.Add((scores[i], outcomes[i]));
            }
        }

        long left = scores.Length - kept.Count;
        if (kept.Count == 0)
        {
            Measured none = Measured.Undefined(left == 0 ? "no rows" : $"none of {left} rows has a finite score");
            return new BinaryMetrics { LeftOut = left, RocAuc = none, LogLoss = none, Brier = none, Accuracy = none };
        }

        (double Score, bool Outcome)[] rows = kept.ToArray();
        // Sorted once, so that every sum runs in an order that does not depend on how the rows arrived.
        Array.Sort(rows, static (a, b) => a.Score != b.Score ? a.Score.CompareTo(b.Score) : a.Outcome.CompareTo(b.Outcome));
        double n = rows.Length;
        long positives = rows.LongCount(r => r.Outcome);
        (Measured auc, double? spread) = Auc(rows, positives);
        Moments loss = Moments.Of(rows.Select(Loss).ToArray());
        double right = rows.Count(r => (r.Score >= threshold) == r.Outcome) / n;
        Moments squared = Moments.Of(rows.Select(r => Square(r.Score - (r.Outcome ? 1 : 0))).ToArray());
        return new BinaryMetrics
        {
            N = rows.Length,
            Positives = positives,
            LeftOut = left,
            RocAuc = auc,
            AucSpread = spread,
            LogLoss = Measured.Of(loss.Mean, Math.Sqrt(loss.Variance!.Value / n)),
            LogLossSpread = Math.Sqrt(loss.Variance!.Value),
            Brier = Measured.Of(squared.Mean, Math.Sqrt(squared.Variance!.Value / n)),
            Accuracy = Measured.Of(right, Math.Sqrt(right * (1 - right) / n)),
        };
    }

    private static (Measured Auc, double? Spread) Auc((double Score, bool Outcome)[] rows, long positives)
    {
        long negatives = rows.Length - positives;
        if (positives == 0 || negatives == 0)
        {
            return (Measured.Undefined($"{positives} positives and {negatives} negatives: both classes are needed"), null);
        }

        // Over groups of tied scores: a positive beats the negatives below its group and half of those inside it. The minority class
        // carries the standard error; by symmetry a negative beats the positives above it.
        bool minorityIsPositive = positives <= negatives;
        double wins = 0;
        Moments shares = Moments.Empty;
        long negativesBelow = 0, positivesBelow = 0;
        for (int start = 0; start < rows.Length;)
        {
            int end = start;
            long groupPositives = 0;
            while (end < rows.Length && rows[end].Score == rows[start].Score)
            {
                groupPositives += rows[end].Outcome ? 1 : 0;
                end++;
            }

            long groupNegatives = end - start - groupPositives;
            wins += groupPositives * (negativesBelow + groupNegatives / 2.0);
            double share = minorityIsPositive
                ? (negativesBelow + groupNegatives / 2.0) / negatives
                : (positives - positivesBelow - groupPositives + groupPositives / 2.0) / positives;
            long weight = minorityIsPositive ? groupPositives : groupNegatives;
            shares = shares.Merge(weight == 0 ? Moments.Empty : new Moments(weight, share, 0, 0, 0, share, share));
            negativesBelow += groupNegatives;
            positivesBelow += groupPositives;
            start = end;
        }

        double minorityShare = Math.Min(positives, negatives) / (double)rows.Length;
        double spread = Math.Sqrt(shares.Variance!.Value) / Math.Sqrt(minorityShare);
        return (Measured.Of(wins / positives / negatives, spread / Math.Sqrt(rows.Length)), spread);
    }

    private static double Loss((double Score, bool Outcome) row)
    {
        double p = Math.Clamp(row.Score, Clip, 1 - Clip);
        return -Math.Log(row.Outcome ? p : 1 - p);
    }

    private static double Square(double x) => x * x;
}
