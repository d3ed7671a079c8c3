using System.Text.Json;

namespace Slipway.Monitoring;

/// <summary>A window of a classifier among several classes. With probabilities, the predicted class is the most probable one.</summary>
internal sealed class MulticlassWindow : OutputWindow
{
    /// <summary>Up to this many classes, scores are kept in as many bins as those of a binary model; above, in fewer, so that a window stays small.</summary>
    private const int FewClasses = 64;

    private readonly WatchedOutput? shares;
    private readonly WatchedOutput[] probabilities;
    private readonly int classes;
    private readonly float[] row;
    private readonly double[] calibrated;
    private readonly double[][]? expected;
    private readonly List<(double Truth, int Chosen, float[] Row)> labelled = [];
    private readonly MulticlassCbpe? estimator;
    private readonly ExpectedCurve[]? curves;
    private readonly int[] rank;
    private long estimatedRows;
    private double expectedRight;

    public MulticlassWindow(MonitorConfig config, MonitorReference reference, DateTimeOffset start, DateTimeOffset end)
        : base(config, reference, start, end)
    {
        classes = config.Classes?.Count ?? 0;
        shares = reference.Score is null ? null : new(null, reference.Score, reference.Score.Sketch());
        probabilities = reference.Outputs?.Select(o => new WatchedOutput(o.Name, o, o.Sketch())).ToArray() ?? [];
        row = new float[config.Probabilities ? classes : 0];
        calibrated = new double[row.Length];
        estimator = config.Probabilities ? reference.ClassEstimator : null;
        // The estimator keeps classes in the order of their names, the outputs in the order of their indexes.
        rank = estimator is null ? [] : config.Classes!.Select(c => estimator.Classes.IndexOf(c)).ToArray();
        curves = estimator is null ? null : [.. Enumerable.Range(0, classes).Select(_ => new ExpectedCurve(classes <= FewClasses ? 1 << 12 : 1 << 8))];
        expected = estimator is null ? null : Enumerable.Range(0, classes).Select(_ => new double[classes]).ToArray();
    }

    public override IReadOnlyList<WatchedOutput> Outputs => shares is null ? probabilities : [shares, .. probabilities];

    public override IEnumerable<MonitorPoint> Estimates()
    {
        if (expected is null)
        {
            yield break;
        }

        string detail = JsonSerializer.Serialize(new { method = "cbpe", calibrated = estimator!.PerClass.Count(c => c.Calibration is not null), reference = Reference.Metrics }, Json);
        yield return Estimated("estimated_accuracy", Promised(), estimatedRows, "probabilities", detail);
        double[] f1 = Enumerable.Range(0, classes).Select(c => OneClass(c).F1.Value ?? double.NaN).Where(v => !double.IsNaN(v)).ToArray();
        yield return Estimated("estimated_macro_f1", f1.Length == 0 ? Measured.Undefined("no class defines it") : Measured.Of(f1.Average()), estimatedRows, "probabilities", detail);
        Measured auc = PromisedAuc(out double bound);
        yield return Estimated("estimated_auc", auc, estimatedRows, "probabilities", JsonSerializer.Serialize(new { method = "cbpe", bound, reference = Reference.Metrics }, Json));
    }

    public override IEnumerable<MonitorPoint> Performance()
    {
        (double Truth, int Chosen, float[] Row)[] rows = InTime(labelled);
        string?[] truth = rows.Select(l => double.IsFinite(l.Truth) ? Config.ClassName(l.Truth) : null).ToArray(), chosen = rows.Select(l => l.Chosen < 0 ? null : Config.ClassName(l.Chosen)).ToArray();
        Dictionary<string, double[]>? named = Config.Probabilities
            ? Config.Classes!.Select((name, c) => (name, Values: rows.Select(l => (double)l.Row[c]).ToArray())).ToDictionary(x => x.name, x => x.Values, StringComparer.Ordinal)
            : null;
        MulticlassMetrics m = MulticlassMetrics.Of(truth, chosen, named);
        string? few = TooFew(m.N);
        ClassMetrics? rare = m.Classes.Where(c => c.Support > 0).MinBy(c => c.Support);
        string? fewOfAClass = few ?? (rare is not null && rare.Support < Config.Thresholds.LeastPerClass ? $"{rare.Support} rows of class {rare.Name}, {Config.Thresholds.LeastPerClass} of each are needed" : null);
        long strange = rows.LongCount(l => !(l.Truth >= 0 && l.Truth < classes && l.Truth == Math.Floor(l.Truth)));
        string detail = JsonSerializer.Serialize(
            new
            {
                m.N,
                m.LeftOut,
                predictions = Rows,
                labelled = Labelled,
                medianLabelDelaySeconds = MedianDelay,
                absent = m.Absent,
                unknownLabels = strange,
                classes = m.Classes.Select(c => new { name = c.Name, support = c.Support, precision = c.Confusion.Precision.Value, recall = c.Confusion.Recall.Value, f1 = c.Confusion.F1.Value, auc = c.RocAuc.Value }),
                reference = Reference.Metrics,
            },
            Json);
        yield return Realized("accuracy", m.Accuracy, m.N, few, detail, lower: Limit("accuracy", m.N, Config.Thresholds.AccuracyDrop, lowIsBad: true));
        yield return Realized("macro_f1", m.MacroF1, m.N, fewOfAClass, detail);
        yield return Realized("macro_precision", m.MacroPrecision, m.N, fewOfAClass, detail);
        yield return Realized("macro_recall", m.MacroRecall, m.N, fewOfAClass, detail);
        if (named is not null)
        {
            yield return Realized("log_loss", m.LogLoss, m.N, few, detail, upper: Config.Thresholds.LogLossRise is { } rise ? Limit("log_loss", m.N, rise, lowIsBad: false) : null);
            yield return Realized("auc", m.RocAucOneVsRest, m.N, fewOfAClass, detail);
        }

        if (expected is not null && Gap("concept_gap", Primary, Promised(), estimatedRows, m.Accuracy, m.N, few) is { } gap)
        {
            yield return gap;
        }

        if (curves is not null && Gap("auc_gap", "auc", PromisedAuc(out _), estimatedRows, m.RocAucOneVsRest, m.N, fewOfAClass) is { } ranking)
        {
            yield return ranking;
        }
    }

    protected override void Take(Prediction prediction, double? label)
    {
        int chosen;
        if (Config.Probabilities)
        {
            Config.Distribution(prediction.Outputs, row);
            chosen = MonitorConfig.MostProbable(row);
            for (int c = 0; c < probabilities.Length; c++)
            {
                probabilities[c].Window.Add(row[c]);
            }

            Expect(chosen);
        }
        else
        {
            double index = Config.Score(prediction.Outputs);
            chosen = index >= 0 && index < int.MaxValue ? (int)index : -1;
        }

        shares?.Window.Add(chosen < 0 ? double.NaN : chosen);
        if (label is { } value)
        {
            labelled.Add((value, chosen, Config.Probabilities ? (float[])row.Clone() : []));
        }
    }

    private void Expect(int chosen)
    {
        if (expected is null || chosen < 0)
        {
            return;
        }

        for (int c = 0; c < classes; c++)
        {
            calibrated[rank[c]] = row[c];
        }

        estimator!.Calibrate(calibrated);
        for (int c = 0; c < classes; c++)
        {
            // In whole parts of 2^32 sums are exact, whichever order the rows come in.
            calibrated[c] = Math.Round(calibrated[c] * (1L << 32)) / (1L << 32);
        }

        estimatedRows++;
        expectedRight += calibrated[rank[chosen]];
        for (int c = 0; c < classes; c++)
        {
            expected[c][chosen] += calibrated[rank[c]];
            curves![c].Add(row[c], calibrated[rank[c]]);
        }
    }

    private Measured Promised()
    {
        double share = estimatedRows == 0 ? double.NaN : expectedRight / estimatedRows;
        return estimatedRows == 0 ? Measured.Undefined("no row has a probability of every class") : Measured.Of(share, Math.Sqrt(Math.Max(0, share * (1 - share)) / estimatedRows));
    }

    /// <summary>The mean AUC of each class against the rest, of the classes that define one, as the realized one is.</summary>
    /// <param name="bound">The largest error that the bins of the scores cause.</param>
    private Measured PromisedAuc(out double bound)
    {
        (Measured Auc, double Bound)[] each = [.. curves!.Select(c => (c.RocAuc(out double off), off)).Where(c => c.Item1.Value is not null)];
        bound = each.Length == 0 ? 0 : each.Average(c => c.Bound);
        double? error = Reference.Before("auc") is { Spread: { } spread } ? spread / Math.Sqrt(Math.Max(1, estimatedRows)) : null;
        return each.Length == 0 ? Measured.Undefined("the expected outcome of every class is one only") : Measured.Of(each.Average(c => c.Auc.Value!.Value), error);
    }

    /// <summary>Expected counts of one class against the rest.</summary>
    private Confusion OneClass(int c)
    {
        double hits = expected![c][c], support = expected[c].Sum(), picked = expected.Sum(t => t[c]);
        return new Confusion(hits, picked - hits, estimatedRows - support - picked + hits, support - hits);
    }
}
