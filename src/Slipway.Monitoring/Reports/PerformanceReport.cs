using System.Globalization;

namespace Slipway.Monitoring;

/// <summary>Performance on both sides of a comparison: realized where the target is known, estimated where it is not.</summary>
internal static class PerformanceReport
{
    /// <summary>A numeric target with more distinct values than this is a number to predict, not a class.</summary>
    private const int MostClasses = 20;

    private static readonly string[] Truths = ["1", "true", "True", "TRUE", "yes", "Yes"];

    public static (string? Type, IReadOnlyList<MetricReport> Metrics) Of(ReportOptions asked, Table reference, Table current)
    {
        TableColumn target = reference.Find(asked.Target!)!;
        string?[] before = Texts(target);
        string[] classes = before.OfType<string>().Distinct(StringComparer.Ordinal).Take(MostClasses + 1).Order(StringComparer.Ordinal).ToArray();
        if (target.Kind == ColumnKind.Number && classes.Length > MostClasses)
        {
            return asked.Prediction is null || reference.Find(asked.Prediction)!.Kind != ColumnKind.Number ? (null, []) : ("regression", Regression(asked, reference, current));
        }

        return classes.Length == 2 && (asked.Score ?? asked.Prediction) is not null ? ("binary", Binary(asked, reference, current, classes))
            : asked.Prediction is null ? (null, [])
            : ("multiclass", Multiclass(asked, reference, current));
    }

    private static MetricReport[] Regression(ReportOptions asked, Table reference, Table current)
    {
        RegressionMetrics r = RegressionMetrics.Of(reference.Find(asked.Target!)!.Numbers, reference.Find(asked.Prediction!)!.Numbers);
        RegressionMetrics? c = current.Find(asked.Target!) is { Kind: ColumnKind.Number } y && current.Find(asked.Prediction!) is { Kind: ColumnKind.Number } p ? RegressionMetrics.Of(y.Numbers, p.Numbers) : null;
        return
        [
            Both("MAE", r.MeanAbsoluteError, c?.MeanAbsoluteError), Both("RMSE", r.RootMeanSquaredError, c?.RootMeanSquaredError), Both("mean error", r.MeanError, c?.MeanError), Both("median absolute error", r.MedianAbsoluteError, c?.MedianAbsoluteError),
            Both("R2", r.R2, c?.R2), Both("MAPE", r.MeanAbsolutePercentageError, c?.MeanAbsolutePercentageError), Both("sMAPE", r.SymmetricPercentageError, c?.SymmetricPercentageError), Both("RMSLE", r.RootMeanSquaredLogError, c?.RootMeanSquaredLogError),
        ];
    }

    private static MetricReport[] Binary(ReportOptions asked, Table reference, Table current, string[] classes)
    {
        string positive = asked.Positive ?? Array.Find(Truths, t => classes.Contains(t, StringComparer.Ordinal)) ?? classes[1];
        (double[]? scores, bool[]? predicted, bool?[]? outcomes) = Side(reference);
        (double[]? Scores, bool[]? Predicted, bool?[]? Outcomes) now = Side(current);
        BinaryMetrics? r = scores is null ? null : Scored(scores, outcomes!), c = now.Scores is null || now.Outcomes is null ? null : Scored(now.Scores, now.Outcomes);
        Confusion? rc = Counted(predicted, outcomes), cc = Counted(now.Predicted, now.Outcomes);
        var metrics = new List<MetricReport>();
        if (r is not null && now.Outcomes is null && now.Scores is not null)
        {
            // No labels yet: what the scores say about themselves.
            (double[] s, bool[] o) = Labelled(scores!, outcomes!);
            BinaryEstimate estimate = Cbpe.Fit(s, o).Estimate(now.Scores, now.Predicted ?? now.Scores.Select(v => v >= 0.5).ToArray());
            metrics.Add(Estimated("ROC-AUC", r.RocAuc, estimate.RocAuc));
            metrics.Add(Estimated("average precision", r.AveragePrecision, estimate.AveragePrecision));
            metrics.Add(Estimated("accuracy", rc?.Accuracy ?? r.Accuracy, estimate.Confusion!.Value.Accuracy));
            metrics.Add(Estimated("precision", rc?.Precision ?? r.Confusion.Precision, estimate.Confusion.Value.Precision));
            metrics.Add(Estimated("recall", rc?.Recall ?? r.Confusion.Recall, estimate.Confusion.Value.Recall));
            metrics.Add(Estimated("F1", rc?.F1 ?? r.Confusion.F1, estimate.Confusion.Value.F1));
            return [.. metrics];
        }

        if (r is not null)
        {
            metrics.AddRange([Both("ROC-AUC", r.RocAuc, c?.RocAuc), Both("average precision", r.AveragePrecision, c?.AveragePrecision), Both("log loss", r.LogLoss, c?.LogLoss), Both("Brier", r.Brier, c?.Brier), Both("calibration error", r.CalibrationError, c?.CalibrationError)]);
        }

        if ((rc ?? r?.Confusion) is { } a)
        {
            Confusion? b = cc ?? c?.Confusion;
            metrics.AddRange([Both("accuracy", a.Accuracy, b?.Accuracy), Both("precision", a.Precision, b?.Precision), Both("recall", a.Recall, b?.Recall), Both("F1", a.F1, b?.F1)]);
        }

        return [.. metrics];

        (double[]? Scores, bool[]? Predicted, bool?[]? Outcomes) Side(Table table) => (
            asked.Score is { } score && table.Find(score) is { Kind: ColumnKind.Number } s ? s.Numbers : null,
            asked.Prediction is { } prediction && table.Find(prediction) is { } p ? Texts(p).Select(t => t == positive).ToArray() : null,
            table.Find(asked.Target!) is { } y ? Texts(y).Select(t => t is null ? (bool?)null : t == positive).ToArray() : null);
    }

    private static MetricReport[] Multiclass(ReportOptions asked, Table reference, Table current)
    {
        MulticlassMetrics r = MulticlassMetrics.Of(Texts(reference.Find(asked.Target!)!), Texts(reference.Find(asked.Prediction!)!));
        MulticlassMetrics? c = current.Find(asked.Target!) is { } y && current.Find(asked.Prediction!) is { } p ? MulticlassMetrics.Of(Texts(y), Texts(p)) : null;
        return
        [
            Both("accuracy", r.Accuracy, c?.Accuracy), Both("macro F1", r.MacroF1, c?.MacroF1), Both("macro precision", r.MacroPrecision, c?.MacroPrecision), Both("macro recall", r.MacroRecall, c?.MacroRecall), Both("kappa", r.Kappa, c?.Kappa), Both("Matthews", r.Matthews, c?.Matthews),
        ];
    }

    private static string?[] Texts(TableColumn column) => Enumerable.Range(0, column.Rows)
        .Select(i => column.Kind == ColumnKind.Number ? double.IsNaN(column.Numbers[i]) ? null : column.Numbers[i].ToString("R", CultureInfo.InvariantCulture) : column.TextAt(i)).ToArray();

    private static (double[] Scores, bool[] Outcomes) Labelled(double[] scores, bool?[] outcomes)
    {
        int[] rows = Enumerable.Range(0, scores.Length).Where(i => outcomes[i] is not null).ToArray();
        return (rows.Select(i => scores[i]).ToArray(), rows.Select(i => outcomes[i]!.Value).ToArray());
    }

    private static BinaryMetrics Scored(double[] scores, bool?[] outcomes)
    {
        (double[] s, bool[] o) = Labelled(scores, outcomes);
        return BinaryMetrics.Of(s, o);
    }

    private static Confusion? Counted(bool[]? predicted, bool?[]? outcomes)
    {
        if (predicted is null || outcomes is null)
        {
            return null;
        }

        double tp = 0, fp = 0, tn = 0, fn = 0;
        for (int i = 0; i < predicted.Length; i++)
        {
            _ = (predicted[i], outcomes[i]) switch { (true, true) => tp++, (true, false) => fp++, (false, false) => tn++, (false, true) => fn++, _ => 0 };
        }

        return new Confusion(tp, fp, tn, fn);
    }

    private static MetricReport Both(string metric, Measured reference, Measured? current) => new(
        metric, reference.Value, current?.Value, reference.Error is { } a && current?.Error is { } b ? Math.Sqrt(a * a + b * b) : null, Estimated: false, current is null ? "the current table has no target" : current.Value.Why ?? reference.Why);

    private static MetricReport Estimated(string metric, Measured reference, Measured current) => new(metric, reference.Value, current.Value, reference.Error, Estimated: true, current.Why ?? reference.Why);
}
