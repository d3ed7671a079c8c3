namespace Slipway.Monitoring;

/// <summary>Performance of a window of a binary classifier, estimated without labels.</summary>
/// <param name="N">Rows with a score.</param>
/// <param name="Confusion">Expected counts; null when no predicted labels were given.</param>
/// <param name="RocAuc">Expected area under the ROC curve.</param>
/// <param name="AveragePrecision">Expected average precision.</param>
public sealed record BinaryEstimate(long N, Confusion? Confusion, Measured RocAuc, Measured AveragePrecision);

/// <summary>
/// Confidence-based performance estimation: with calibrated scores, the expected counts of a window follow from the scores alone. It assumes that
/// the relation of scores and outcomes has not changed since the reference (no concept drift), that the window's scores occur in the reference,
/// and that calibration on the reference holds; a screen that shows an estimate must say so. Fit it on data that the model was not trained on.
/// </summary>
/// <param name="Calibration">The map of raw scores to probabilities; null when the scores are calibrated as they are.</param>
public sealed record Cbpe(Isotonic? Calibration)
{
    /// <summary>Folds that decide whether calibration helps.</summary>
    private const int Folds = 10;

    /// <summary>Fits on labelled reference rows; rows without a finite score are left out.</summary>
    public static Cbpe Fit(ReadOnlySpan<double> scores, ReadOnlySpan<bool> outcomes)
    {
        var s = new List<double>(scores.Length);
        var y = new List<double>(scores.Length);
        for (int i = 0; i < scores.Length; i++)
        {
            if (double.IsFinite(scores[i]))
            {
                s.Add(scores[i]);
                y.Add(outcomes[i] ? 1 : 0);
            }
        }

        double[] x = s.ToArray(), target = y.ToArray();
        return NeedsCalibration(x, target) ? new Cbpe(Isotonic.Fit(x, target)) : new Cbpe((Isotonic?)null);
    }

    /// <summary>The probability that a score stands for.</summary>
    public double Probability(double score) => Calibration is { } map ? map.Map(score) : score;

    /// <summary>Estimates a window.</summary>
    /// <param name="scores">Raw scores; NaN rows are left out.</param>
    /// <param name="predicted">Predicted labels; empty when there are none, then only AUC and average precision are estimated.</param>
    public BinaryEstimate Estimate(ReadOnlySpan<double> scores, ReadOnlySpan<bool> predicted = default)
    {
        double[] raw = new double[scores.Length], p = new double[scores.Length];
        int n = 0;
        double tp = 0, fp = 0, tn = 0, fn = 0;
        for (int i = 0; i < scores.Length; i++)
        {
            if (!double.IsFinite(scores[i]))
            {
                continue;
            }

            double probability = Probability(scores[i]);
            (raw[n], p[n]) = (scores[i], probability);
            n++;
            if (!predicted.IsEmpty)
            {
                if (predicted[i])
                {
                    tp += probability;
                    fp += 1 - probability;
                }
                else
                {
                    fn += probability;
                    tn += 1 - probability;
                }
            }
        }

        if (n == 0)
        {
            Measured none = Measured.Undefined("no row has a score");
            return new BinaryEstimate(0, null, none, none);
        }

        Array.Sort(raw, p, 0, n);
        (Measured auc, Measured ap) = Curves(p.AsSpan(0, n));
        return new BinaryEstimate(n, predicted.IsEmpty ? null : new Confusion(tp, fp, tn, fn), auc, ap);
    }

    /// <summary>
    /// Expected AUC by trapezoids between rows, and expected average precision by steps, over rows in ascending order of raw score.
    /// </summary>
    internal static (Measured RocAuc, Measured AveragePrecision) Curves(ReadOnlySpan<double> p)
    {
        double positives = 0, negatives = 0;
        foreach (double probability in p)
        {
            positives += probability;
            negatives += 1 - probability;
        }

        if (positives <= 0 || negatives <= 0)
        {
            Measured none = Measured.Undefined("the expected outcome is one class only");
            return (none, none);
        }

        // Rows of one score have one probability, so a step a row draws the same curve as a step a score.
        double tp = 0, fp = 0, area = 0, precision = 0;
        for (int i = p.Length - 1; i >= 0; i--)
        {
            area += (1 - p[i]) * (tp + p[i] / 2);
            tp += p[i];
            fp += 1 - p[i];
            precision += p[i] / positives * (tp / (tp + fp));
        }

        return (Measured.Of(area / positives / negatives), Measured.Of(precision));
    }

    /// <summary>
    /// Whether isotonic calibration lowers the expected calibration error out of fold. Not with one class or with an AUC above 0.999. Folds are
    /// stratified: within each class rows are dealt out in turn, so the answer needs no random numbers.
    /// </summary>
    private static bool NeedsCalibration(double[] scores, double[] outcomes)
    {
        bool[] positive = outcomes.Select(v => v > 0).ToArray();
        if (BinaryMetrics.Area(scores, positive).Value is not (<= 0.999))
        {
            return false;
        }

        int[] fold = new int[scores.Length];
        int positives = 0, negatives = 0;
        for (int i = 0; i < fold.Length; i++)
        {
            fold[i] = (positive[i] ? positives++ : negatives++) % Folds;
        }

        double[] calibrated = new double[scores.Length];
        for (int f = 0; f < Folds; f++)
        {
            int[] rest = Enumerable.Range(0, scores.Length).Where(i => fold[i] != f).ToArray();
            Isotonic map = Isotonic.Fit(rest.Select(i => scores[i]).ToArray(), rest.Select(i => outcomes[i]).ToArray());
            for (int i = 0; i < scores.Length; i++)
            {
                calibrated[i] = fold[i] == f ? map.Map(scores[i]) : calibrated[i];
            }
        }

        return Gap(calibrated, outcomes) < Gap(scores, outcomes);
    }

    /// <summary>Expected calibration error over ten bins of equal counts.</summary>
    private static double Gap(double[] scores, double[] outcomes)
    {
        double[] s = (double[])scores.Clone(), y = (double[])outcomes.Clone();
        Array.Sort(s, y);
        double sum = 0;
        for (int bin = 0; bin < Folds; bin++)
        {
            int start = (int)((long)s.Length * bin / Folds), end = (int)((long)s.Length * (bin + 1) / Folds);
            double gap = 0;
            for (int i = start; i < end; i++)
            {
                gap += s[i] - y[i];
            }

            sum += Math.Abs(gap);
        }

        return sum / s.Length;
    }
}

/// <summary>
/// The same for several classes: one calibration a class against the rest, rows renormalised to sum 1.
/// </summary>
/// <param name="Classes">Class names as ordered strings.</param>
/// <param name="PerClass">One calibration each.</param>
public sealed record MulticlassCbpe(IReadOnlyList<string> Classes, IReadOnlyList<Cbpe> PerClass)
{
    /// <summary>Fits on labelled reference rows.</summary>
    public static MulticlassCbpe Fit(IReadOnlyDictionary<string, double[]> probabilities, IReadOnlyList<string?> truth)
    {
        string[] names = probabilities.Keys.Order(StringComparer.Ordinal).ToArray();
        int[] rows = Enumerable.Range(0, truth.Count).Where(i => truth[i] is not null).ToArray();
        return new MulticlassCbpe(names, names.Select(name => Cbpe.Fit(rows.Select(i => probabilities[name][i]).ToArray(), rows.Select(i => truth[i] == name).ToArray())).ToArray());
    }

    /// <summary>Turns the raw probabilities of one row, in the order of <see cref="Classes"/>, into calibrated ones that sum to 1; uniform where all are 0.</summary>
    public void Calibrate(Span<double> row)
    {
        double sum = 0;
        for (int c = 0; c < row.Length; c++)
        {
            sum += row[c] = PerClass[c].Probability(row[c]);
        }

        for (int c = 0; c < row.Length; c++)
        {
            row[c] = sum == 0 ? 1.0 / row.Length : row[c] / sum;
        }
    }

    /// <summary>Estimates a window.</summary>
    public MulticlassEstimate Estimate(IReadOnlyDictionary<string, double[]> probabilities, IReadOnlyList<string?> predicted)
    {
        int k = Classes.Count;
        int[] rows = Enumerable.Range(0, predicted.Count).Where(i => predicted[i] is not null && Classes.All(c => double.IsFinite(probabilities[c][i]))).ToArray();
        double[][] p = Classes.Select(_ => new double[rows.Length]).ToArray();
        double[] row = new double[k];
        for (int r = 0; r < rows.Length; r++)
        {
            for (int c = 0; c < k; c++)
            {
                row[c] = probabilities[Classes[c]][rows[r]];
            }

            Calibrate(row);
            for (int c = 0; c < k; c++)
            {
                p[c][r] = row[c];
            }
        }

        int[] chosen = rows.Select(i => Classes.IndexOf(predicted[i]!)).ToArray();
        double[][] table = Classes.Select(_ => new double[k]).ToArray();
        double right = 0;
        for (int r = 0; r < rows.Length; r++)
        {
            for (int c = 0; c < k && chosen[r] >= 0; c++)
            {
                table[c][chosen[r]] += p[c][r];
            }

            right += chosen[r] >= 0 ? p[chosen[r]][r] : 0;
        }

        var classes = new ClassMetrics[k];
        for (int c = 0; c < k; c++)
        {
            double support = table[c].Sum(), picked = table.Sum(t => t[c]), hits = table[c][c];
            double[] raw = rows.Select(i => probabilities[Classes[c]][i]).ToArray(), own = (double[])p[c].Clone();
            Array.Sort(raw, own);
            classes[c] = new ClassMetrics(Classes[c], new Confusion(hits, picked - hits, rows.Length - support - picked + hits, support - hits), Cbpe.Curves(own).RocAuc);
        }

        return new MulticlassEstimate(rows.Length, table, classes, rows.Length == 0 ? Measured.Undefined("no row has a prediction and all probabilities") : Measured.Of(right / rows.Length));
    }
}

/// <summary>Performance of a window of a classifier, estimated without labels.</summary>
/// <param name="N">Rows.</param>
/// <param name="Confusion">Expected counts by truth, then by prediction.</param>
/// <param name="Classes">Each class against the rest.</param>
/// <param name="Accuracy">Mean probability of the predicted class.</param>
public sealed record MulticlassEstimate(long N, IReadOnlyList<double[]> Confusion, IReadOnlyList<ClassMetrics> Classes, Measured Accuracy)
{
    /// <summary>Mean precision over the classes.</summary>
    public Measured MacroPrecision => Mean(c => c.Confusion.Precision);

    /// <summary>Mean recall over the classes.</summary>
    public Measured MacroRecall => Mean(c => c.Confusion.Recall);

    /// <summary>Mean specificity over the classes.</summary>
    public Measured MacroSpecificity => Mean(c => c.Confusion.Specificity);

    /// <summary>Mean F1 over the classes.</summary>
    public Measured MacroF1 => Mean(c => c.Confusion.F1);

    /// <summary>Mean AUC of each class against the rest.</summary>
    public Measured RocAuc => Mean(c => c.RocAuc);

    private Measured Mean(Func<ClassMetrics, Measured> of)
    {
        double[] values = Classes.Select(c => of(c).Value ?? double.NaN).ToArray();
        return values.Length == 0 || values.All(double.IsNaN) ? Measured.Undefined("no class defines it") : Measured.Of(values.Where(v => !double.IsNaN(v)).Average());
    }
}
