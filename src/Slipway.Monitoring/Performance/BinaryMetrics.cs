namespace Slipway.Monitoring;

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

    /// <summary>The rows against the threshold.</summary>
    public Confusion Confusion { get; private init; }

    /// <summary>Average precision: the sum over distinct scores of the step in recall times the precision there, without interpolation; undefined with one class.</summary>
    public Measured AveragePrecision { get; private init; }

    /// <summary>The largest difference of true and false positive rate over all thresholds; undefined with one class.</summary>
    public Measured KolmogorovSmirnov { get; private init; }

    /// <summary>2 AUC - 1.</summary>
    public Measured Gini => RocAuc.Value is { } auc ? Measured.Of(2 * auc - 1, 2 * RocAuc.Error) : RocAuc;

    /// <summary>Expected calibration error over ten bins of equal width, (lower, upper]: the mean gap of score and outcome, weighted by rows.</summary>
    public Measured CalibrationError { get; private init; }

    /// <summary>The same over ten bins of equal numbers of rows.</summary>
    public Measured CalibrationErrorEqualMass { get; private init; }

    /// <summary>Slope of outcomes on the log-odds of the scores, by logistic regression: 1 is calibrated, below 1 over-confident; undefined with one class.</summary>
    public Measured CalibrationSlope { get; private init; }

    /// <summary>Intercept that goes with <see cref="CalibrationSlope"/>: 0 is calibrated.</summary>
    public Measured CalibrationIntercept { get; private init; }

    /// <summary>Variance of the AUC after Hanley and McNeil (1982); a separation that looks perfect gives half a pair away. Null when the AUC is undefined.</summary>
    public double? AucVariance
    {
        get
        {
            if (RocAuc.Value is not { } auc)
            {
                return null;
            }

            double n1 = Positives, n0 = N - Positives, a = Math.Min(auc, 1 - 0.5 / Math.Max(1, n1 * n0)), q1 = a / (2 - a), q2 = 2 * a * a / (1 + a);
            return (a * (1 - a) + (n1 - 1) * (q1 - a * a) + (n0 - 1) * (q2 - a * a)) / (n1 * n0);
        }
    }

    /// <summary>Share of positives among the <paramref name="share"/> rows of highest score, over the share among all; ties count in proportion. Undefined without positives.</summary>
    public static Measured Lift(ReadOnlySpan<double> scores, ReadOnlySpan<bool> outcomes, double share)
    {
        (double Score, bool Outcome)[] rows = Kept(scores, outcomes);
        double positives = rows.Count(r => r.Outcome), top = Math.Ceiling(rows.Length * share), hits = 0, left = top;
        for (int end = rows.Length; end > 0 && left > 0;)
        {
            int start = end;
            double tied = 0;
            while (start > 0 && rows[start - 1].Score == rows[end - 1].Score)
            {
                tied += rows[--start].Outcome ? 1 : 0;
            }

            double taken = Math.Min(left, end - start);
            hits += tied * taken / (end - start);
            left -= taken;
            end = start;
        }

        return positives == 0 || top == 0 ? Measured.Undefined($"{positives} positives in {rows.Length} rows") : Measured.Of(hits / top / (positives / rows.Length));
    }

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

        (double Score, bool Outcome)[] rows = Kept(scores, outcomes);
        long left = scores.Length - rows.Length;
        if (rows.Length == 0)
        {
            Measured none = Measured.Undefined(left == 0 ? "no rows" : $"none of {left} rows has a finite score");
            return new BinaryMetrics { LeftOut = left, RocAuc = none, LogLoss = none, Brier = none, Accuracy = none, AveragePrecision = none, KolmogorovSmirnov = none, CalibrationError = none, CalibrationErrorEqualMass = none, CalibrationSlope = none, CalibrationIntercept = none };
        }

        double n = rows.Length;
        long positives = rows.LongCount(r => r.Outcome);
        (Measured auc, double? spread) = Auc(rows, positives);
        Moments loss = Moments.Of(rows.Select(Loss).ToArray());
        long truePositives = rows.LongCount(r => r.Outcome && r.Score >= threshold), falsePositives = rows.LongCount(r => !r.Outcome && r.Score >= threshold);
        var confusion = new Confusion(truePositives, falsePositives, rows.Length - positives - falsePositives, positives - truePositives);
        (Measured slope, Measured intercept) = Calibration(rows, positives);
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
            Accuracy = confusion.Accuracy,
            Confusion = confusion,
            AveragePrecision = Precision(rows, positives),
            KolmogorovSmirnov = Separation(rows, positives),
            CalibrationError = Measured.Of(Gap(rows, static (row, _, _) => Math.Clamp((int)Math.Ceiling(row.Score * 10) - 1, 0, 9))),
            CalibrationErrorEqualMass = Measured.Of(Gap(rows, static (_, at, count) => (int)(at * 10L / count))),
            CalibrationSlope = slope,
            CalibrationIntercept = intercept,
        };
    }

    /// <summary>The AUC alone.</summary>
    internal static Measured Area(ReadOnlySpan<double> scores, ReadOnlySpan<bool> outcomes)
    {
        (double Score, bool Outcome)[] rows = Kept(scores, outcomes);
        return Auc(rows, rows.LongCount(r => r.Outcome)).Auc;
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

    /// <summary>The rows with a finite score, ascending by score, negatives first: sums run in an order that does not depend on how rows arrived.</summary>
    private static (double Score, bool Outcome)[] Kept(ReadOnlySpan<double> scores, ReadOnlySpan<bool> outcomes)
    {
        double[] negative = new double[scores.Length], positive = new double[scores.Length];
        int n0 = 0, n1 = 0;
        for (int i = 0; i < scores.Length; i++)
        {
            if (double.IsFinite(scores[i]))
            {
                _ = outcomes[i] ? positive[n1++] = scores[i] : negative[n0++] = scores[i];
            }
        }

        Array.Sort(negative, 0, n0);
        Array.Sort(positive, 0, n1);
        var rows = new (double Score, bool Outcome)[n0 + n1];
        for (int i = 0, j = 0; i + j < rows.Length;)
        {
            rows[i + j] = j == n1 || (i < n0 && negative[i] <= positive[j]) ? (negative[i++], false) : (positive[j++], true);
        }

        return rows;
    }

    private static Measured Precision((double Score, bool Outcome)[] rows, long positives)
    {
        if (positives == 0 || positives == rows.Length)
        {
            return Measured.Undefined($"{positives} positives and {rows.Length - positives} negatives: both classes are needed");
        }

        double sum = 0;
        long above = 0, hits = 0;
        for (int end = rows.Length; end > 0;)
        {
            int start = end;
            long tied = 0;
            while (start > 0 && rows[start - 1].Score == rows[end - 1].Score)
            {
                tied += rows[--start].Outcome ? 1 : 0;
            }

            above += end - start;
            hits += tied;
            sum += (double)tied / positives * hits / above;
            end = start;
        }

        return Measured.Of(sum);
    }

    private static Measured Separation((double Score, bool Outcome)[] rows, long positives)
    {
        long negatives = rows.Length - positives, hits = 0, misses = 0;
        if (positives == 0 || negatives == 0)
        {
            return Measured.Undefined($"{positives} positives and {negatives} negatives: both classes are needed");
        }

        double most = 0;
        for (int i = 0; i < rows.Length; i++)
        {
            _ = rows[i].Outcome ? hits++ : misses++;
            if (i + 1 == rows.Length || rows[i + 1].Score != rows[i].Score)
            {
                most = Math.Max(most, Math.Abs((double)misses / negatives - (double)hits / positives));
            }
        }

        return Measured.Of(most);
    }

    private static double Gap((double Score, bool Outcome)[] rows, Func<(double Score, bool Outcome), long, int, int> bin)
    {
        Span<double> score = stackalloc double[10], outcome = stackalloc double[10];
        score.Clear();
        outcome.Clear();
        for (int i = 0; i < rows.Length; i++)
        {
            int at = bin(rows[i], i, rows.Length);
            score[at] += rows[i].Score;
            outcome[at] += rows[i].Outcome ? 1 : 0;
        }

        double sum = 0;
        for (int at = 0; at < 10; at++)
        {
            sum += Math.Abs(score[at] - outcome[at]);
        }

        return sum / rows.Length;
    }

    /// <summary>Newton's method on the logistic likelihood of outcome ~ a + b logit(score).</summary>
    private static (Measured Slope, Measured Intercept) Calibration((double Score, bool Outcome)[] rows, long positives)
    {
        if (positives == 0 || positives == rows.Length || rows[0].Score < 0 || rows[^1].Score > 1)
        {
            Measured none = Measured.Undefined(positives == 0 || positives == rows.Length ? "both classes are needed" : "the scores are not probabilities");
            return (none, none);
        }

        double a = 0, b = 1, haa = 0, hab = 0, hbb = 0;
        for (int step = 0; step < 50; step++)
        {
            double ga = 0, gb = 0;
            (haa, hab, hbb) = (0, 0, 0);
            foreach ((double score, bool outcome) in rows)
            {
                double p = Math.Clamp(score, Clip, 1 - Clip), x = Math.Log(p / (1 - p)), q = 1 / (1 + Math.Exp(-a - b * x)), w = q * (1 - q), g = (outcome ? 1 : 0) - q;
                ga += g;
                gb += g * x;
                haa += w;
                hab += w * x;
                hbb += w * x * x;
            }

            double det = haa * hbb - hab * hab;
            if (!(det > 1e-12 * haa * hbb))
            {
                Measured none = Measured.Undefined("the scores do not vary enough, or separate the classes");
                return (none, none);
            }

            double da = (hbb * ga - hab * gb) / det, db = (haa * gb - hab * ga) / det;
            a += da;
            b += db;
            if (Math.Abs(da) + Math.Abs(db) < 1e-10)
            {
                return (Measured.Of(b, Math.Sqrt(haa / det)), Measured.Of(a, Math.Sqrt(hbb / det)));
            }
        }

        Measured diverged = Measured.Undefined("the scores separate the classes, so that the likelihood has no maximum");
        return (diverged, diverged);
    }

    private static double Loss((double Score, bool Outcome) row)
    {
        double p = Math.Clamp(row.Score, Clip, 1 - Clip);
        return -Math.Log(row.Outcome ? p : 1 - p);
    }

    private static double Square(double x) => x * x;
}
