using System.Text.Json;

namespace Slipway.Monitoring;

/// <summary>A window of a binary classifier's scores.</summary>
internal sealed class BinaryWindow(MonitorConfig config, MonitorReference reference, DateTimeOffset start, DateTimeOffset end) : OutputWindow(config, reference, start, end)
{
    private readonly WatchedOutput? score = reference.Score is null ? null : new(null, reference.Score, reference.Score.Sketch());
    private readonly ColumnSketch? labelledScores = reference.Score is null ? null : new ColumnSketch(reference.Score.Bins);
    private readonly List<(double Score, bool Outcome)> labelled = [];
    private readonly CbpeHistogram? estimated = reference.Estimator is null ? null : new CbpeHistogram();

    public override IReadOnlyList<WatchedOutput> Outputs => score is null ? [] : [score];

    public override IEnumerable<MonitorPoint> Estimates()
    {
        if (estimated is null || Reference.Performance is not { AucSpread: { } spread } r)
        {
            return [];
        }

        BinaryEstimate e = estimated.Estimate(Reference.Estimator!, out double bound);
        string detail = JsonSerializer.Serialize(new { method = "cbpe", calibrated = Reference.Estimator!.Calibration is not null, bound, reference = new { r.N, r.Auc, r.Accuracy } }, Json);
        return
        [
            Estimated("estimated_auc", e.RocAuc with { Error = spread / Math.Sqrt(Math.Max(1, e.N)) }, e.N, "a score", detail),
            Estimated("estimated_accuracy", e.Confusion?.Accuracy ?? e.RocAuc, e.N, "a score", detail),
        ];
    }

    public override IEnumerable<MonitorPoint> Performance()
    {
        (double Score, bool Outcome)[] rows = InTime(labelled);
        BinaryMetrics m = BinaryMetrics.Of(rows.Select(l => l.Score).ToArray(), rows.Select(l => l.Outcome).ToArray());
        Thresholds t = Config.Thresholds;
        string? few = TooFew(m.N);
        long smaller = Math.Min(m.Positives, m.N - m.Positives);
        string? fewOfAClass = few ?? (smaller > 0 && smaller < t.LeastPerClass ? $"{m.Positives} positives and {m.N - m.Positives} negatives, {t.LeastPerClass} of each are needed" : null);
        string detail = JsonSerializer.Serialize(
            new { m.N, m.Positives, m.LeftOut, predictions = Rows, labelled = Labelled, medianLabelDelaySeconds = MedianDelay, selectiveLabels = Selective(), reference = Reference.Performance is { } r ? new { r.N, r.Positives, r.Auc, r.LogLoss, r.Brier, r.Accuracy } : null }, Json);
        yield return Realized("auc", m.RocAuc, m.N, fewOfAClass, detail, lower: Limit("auc", m.N, t.AucDrop, lowIsBad: true));
        yield return Realized("log_loss", m.LogLoss, m.N, few, detail, upper: t.LogLossRise is { } rise ? Limit("log_loss", m.N, rise, lowIsBad: false) : null);
        yield return Realized("brier", m.Brier, m.N, few, detail);
        yield return Realized("accuracy", m.Accuracy, m.N, few, detail);
        yield return Realized("average_precision", m.AveragePrecision, m.N, fewOfAClass, detail);
        yield return Realized("precision", m.N == 0 ? m.Accuracy : m.Confusion.Precision, m.N, fewOfAClass, detail);
        yield return Realized("recall", m.N == 0 ? m.Accuracy : m.Confusion.Recall, m.N, fewOfAClass, detail);
        yield return Realized("f1", m.N == 0 ? m.Accuracy : m.Confusion.F1, m.N, fewOfAClass, detail);
        yield return Realized("calibration_error", m.CalibrationError, m.N, few, detail);
        if (estimated is not null && Gap("concept_gap", Primary, estimated.Estimate(Reference.Estimator!, out _).RocAuc, estimated.N, m.RocAuc, m.N, fewOfAClass) is { } gap)
        {
            yield return gap;
        }
    }

    protected override void Take(Prediction prediction, double? label)
    {
        double s = Config.Score(prediction.Outputs);
        score?.Window.Add(s);
        estimated?.Add(s, s >= 0.5);
        if (label is { } value)
        {
            labelled.Add((s, value >= Config.PositiveFrom));
            labelledScores?.Add(s);
        }
    }

    /// <summary>
    /// Coverage by score: labels that come for some scores only (approved applications) bias every metric. Given when it differs more than twofold
    /// between bins of at least 30 predictions; null otherwise.
    /// </summary>
    private object? Selective()
    {
        if (score is null || labelledScores is null)
        {
            return null;
        }

        (string Bin, double Coverage)[] bins = score.Window.Counts.Select((n, i) => (Bin: score.Reference.Bins.Label(i), N: n, Labelled: labelledScores.Counts[i]))
            .Where(b => b.N >= Monitoring.Drift.LeastRows).Select(b => (b.Bin, (double)b.Labelled / b.N)).ToArray();
        return bins.Length > 1 && bins.Max(b => b.Coverage) > 2 * bins.Min(b => b.Coverage)
            ? new { warning = "coverage differs more than twofold between scores: metrics over labelled rows are biased", coverage = bins.Select(b => new { bin = b.Bin, share = b.Coverage }) }
            : null;
    }
}
