using System.IO.Hashing;
using System.Text;
using System.Text.Json;

namespace Slipway.Monitoring;

/// <summary>
/// One window of one monitor: predictions go in one by one, points come out. Pure: the same predictions and labels give the same
/// points. A prediction that failed, or whose feature vector has another length, is counted and left out; of several with one id the
/// first counts.
/// </summary>
internal sealed class WindowMeasure(MonitorConfig config, MonitorReference reference, DateTimeOffset start, DateTimeOffset end)
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    private readonly ColumnSketch[] columns = reference.Columns.Select(c => new ColumnSketch(c.Bins)).ToArray();
    private readonly int[] positions = reference.Columns.Select(c => config.FeatureNames.IndexOf(c.Name)).ToArray();
    private readonly ColumnSketch? score = reference.Score is null ? null : new ColumnSketch(reference.Score.Bins);
    private readonly HashSet<UInt128> seen = [];
    private readonly List<(double Score, bool Outcome)> labelled = [];
    private readonly List<TimeSpan> delays = [];
    private readonly CbpeHistogram? estimated = reference.Estimator is null ? null : new CbpeHistogram();
    private readonly ColumnSketch? labelledScores = reference.Score is null ? null : new ColumnSketch(reference.Score.Bins);
    private long failed;
    private long misshapen;
    private long repeated;

    /// <summary>Predictions that count.</summary>
    public long Rows { get; private set; }

    /// <summary>Those of them with a label.</summary>
    public long Labelled => labelled.Count;

    /// <summary>Takes one prediction and its label, if there is one.</summary>
    public void Add(Prediction prediction, KnownLabel? label)
    {
        if (prediction.Status is < 200 or > 299)
        {
            failed++;
            return;
        }

        if (prediction.Features.Count != config.FeatureNames.Count)
        {
            misshapen++;
            return;
        }

        if (!seen.Add(XxHash128.HashToUInt128(Encoding.UTF8.GetBytes(prediction.Id))))
        {
            repeated++;
            return;
        }

        Rows++;
        for (int i = 0; i < columns.Length; i++)
        {
            columns[i].Add(prediction.Features[positions[i]]);
        }

        double s = config.Score(prediction.Outputs);
        score?.Add(s);
        estimated?.Add(s, s >= 0.5);
        if (label is { } known)
        {
            labelled.Add((s, known.Value >= config.PositiveFrom));
            delays.Add(known.At - prediction.At);
            labelledScores?.Add(s);
        }
    }

    /// <summary>The row count, drift of every watched feature and of the score, and missing rates. A window without rows has the row count only.</summary>
    public IReadOnlyList<MonitorPoint> Drift()
    {
        string? why = Rows == 0 ? "no prediction of this version has an event time in the window" : null;
        string counts = JsonSerializer.Serialize(new { failed, misshapen, repeated }, Json);
        var points = new List<MonitorPoint> { new(start, end, "rows", null, why is null ? Rows : null, Rows, why is null ? PointState.Ok : PointState.NoData, null, null, why, counts) };
        if (Rows == 0)
        {
            return points;
        }

        var compared = reference.Columns.Select((c, i) => (Reference: c, Window: columns[i])).ToList();
        if (score is not null)
        {
            compared.Add((reference.Score!, score));
        }

        if (compared.Count == 0)
        {
            return points;
        }

        IReadOnlyList<DriftVerdict> verdicts = Monitoring.Drift.Decide(compared, config.Thresholds);
        for (int i = 0; i < compared.Count; i++)
        {
            bool isScore = i == columns.Length;
            points.Add(Drifted(isScore ? "score_psi" : "psi", isScore ? null : compared[i].Reference.Name, compared[i].Reference, compared[i].Window, verdicts[i]));
            if (!isScore)
            {
                points.Add(Missing(compared[i].Reference, compared[i].Window));
                if (Unseen(compared[i].Reference, compared[i].Window) is { } unseen)
                {
                    points.Add(unseen);
                }
            }
        }

        points.AddRange(Estimates());
        return points;
    }

    /// <summary>Realized performance over the labelled rows; none without rows.</summary>
    public IReadOnlyList<MonitorPoint> Performance()
    {
        if (Rows == 0)
        {
            return [];
        }

        double coverage = (double)Labelled / Rows;
        BinaryMetrics m = BinaryMetrics.Of(labelled.Select(l => l.Score).ToArray(), labelled.Select(l => l.Outcome).ToArray());
        Thresholds t = config.Thresholds;
        string? few = coverage < t.LeastCoverage ? $"{Labelled} of {Rows} predictions have a label, {t.LeastCoverage:P0} are needed"
            : m.N < t.LeastLabelled ? $"{m.N} labelled rows, {t.LeastLabelled} are needed" : null;
        long smaller = Math.Min(m.Positives, m.N - m.Positives);
        string? fewOfAClass = few ?? (smaller > 0 && smaller < t.LeastPerClass ? $"{m.Positives} positives and {m.N - m.Positives} negatives, {t.LeastPerClass} of each are needed" : null);
        string detail = JsonSerializer.Serialize(
            new { m.N, m.Positives, m.LeftOut, predictions = Rows, labelled = Labelled, medianLabelDelaySeconds = MedianDelay(), selectiveLabels = Selective(), reference = reference.Performance is { } r ? new { r.N, r.Positives, r.Auc, r.LogLoss, r.Brier, r.Accuracy } : null }, Json);
        return
        [
            Point("auc", m.RocAuc, fewOfAClass, LowestAuc(m), null, reference.Performance?.Auc),
            Point("log_loss", m.LogLoss, few, null, HighestLogLoss(m), reference.Performance?.LogLoss),
            Point("brier", m.Brier, few, null, null, null),
            Point("accuracy", m.Accuracy, few, null, null, null),
            Point("average_precision", m.AveragePrecision, fewOfAClass, null, null, null),
            Point("precision", m.N == 0 ? m.Accuracy : m.Confusion.Precision, fewOfAClass, null, null, null),
            Point("recall", m.N == 0 ? m.Accuracy : m.Confusion.Recall, fewOfAClass, null, null, null),
            Point("f1", m.N == 0 ? m.Accuracy : m.Confusion.F1, fewOfAClass, null, null, null),
            Point("calibration_error", m.CalibrationError, few, null, null, null),
            .. Gap(m, coverage, fewOfAClass),
        ];

        MonitorPoint Point(string metric, Measured value, string? insufficient, double? lower, double? upper, double? before)
        {
            string state = insufficient is not null ? PointState.Insufficient
                : value.Value is not { } v || double.IsNaN(v) ? PointState.Undefined
                : v < lower || v > upper ? PointState.Alert : PointState.Ok;
            bool number = state is PointState.Ok or PointState.Alert;
            // What was lost against the reference has to shrink to a share of what may be lost before a firing rule ends.
            bool clear = (lower ?? upper) is not { } limit || Math.Abs(value.Value - before ?? 0) <= t.ClearBelow * Math.Abs(limit - before ?? 0) || (lower is not null ? value.Value > before : value.Value < before);
            return new MonitorPoint(start, end, metric, null, number ? value.Value : null, m.N, state, lower, upper, number ? null : insufficient ?? value.Why, detail, Error: number ? value.Error : null, Coverage: coverage) { Clear = clear };
        }
    }

    /// <summary>Performance that the scores promise before labels come. It shows and does not alert: what it assumes, only labels can confirm.</summary>
    private IEnumerable<MonitorPoint> Estimates()
    {
        if (estimated is null || reference.Performance is not { AucSpread: { } spread } r)
        {
            return [];
        }

        BinaryEstimate e = estimated.Estimate(reference.Estimator!, out double bound);
        string detail = JsonSerializer.Serialize(new { method = "cbpe", calibrated = reference.Estimator!.Calibration is not null, bound, reference = new { r.N, r.Auc, r.Accuracy } }, Json);
        return [Point("estimated_auc", e.RocAuc, spread / Math.Sqrt(Math.Max(1, e.N))), Point("estimated_accuracy", e.Confusion?.Accuracy ?? e.RocAuc, null)];

        MonitorPoint Point(string metric, Measured value, double? error)
        {
            string? few = e.N < Monitoring.Drift.LeastRows ? $"{e.N} rows with a score, {Monitoring.Drift.LeastRows} are needed" : null;
            string state = few is not null ? PointState.Insufficient : value.Value is null ? PointState.Undefined : PointState.Ok;
            bool number = state == PointState.Ok;
            return new MonitorPoint(start, end, metric, null, number ? value.Value : null, e.N, state, null, null, number ? null : few ?? value.Why, detail, Error: number ? error ?? value.Error : null);
        }
    }

    /// <summary>Concept drift: what labels say against what the scores promised, on a window that is mature.</summary>
    private IEnumerable<MonitorPoint> Gap(BinaryMetrics m, double coverage, string? insufficient)
    {
        if (estimated is null || reference.Performance is not { AucSpread: { } spread })
        {
            return [];
        }

        Measured promised = estimated.Estimate(reference.Estimator!, out _).RocAuc with { Error = spread / Math.Sqrt(Math.Max(1, estimated.N)) };
        Measured realized = m.RocAuc with { Error = spread / Math.Sqrt(Math.Max(1, m.N)) };
        string? why = insufficient ?? (coverage < ConceptGap.MatureCoverage ? $"{coverage:P0} of the predictions have a label, {ConceptGap.MatureCoverage:P0} are needed to compare with the estimate" : null);
        string state = why is not null ? PointState.Insufficient : ConceptGap.Exceeds(promised, realized) is not { } exceeds ? PointState.Undefined : exceeds ? PointState.Alert : PointState.Ok;
        bool number = state is PointState.Ok or PointState.Alert;
        double limit = 3 * Math.Sqrt(promised.Error!.Value * promised.Error.Value + realized.Error!.Value * realized.Error.Value);
        double? gap = number ? Math.Abs(promised.Value!.Value - realized.Value!.Value) : null;
        string detail = JsonSerializer.Serialize(new { estimated = promised.Value, realized = realized.Value }, Json);
        return
        [
            new MonitorPoint(start, end, "concept_gap", null, gap, m.N, state, null, limit, number ? null : why ?? promised.Why ?? realized.Why, detail, state == PointState.Alert ? DriftLevel.Warn : DriftLevel.None, Coverage: coverage)
            {
                Clear = gap <= limit * config.Thresholds.ClearBelow,
            },
        ];
    }

    private double? MedianDelay() => delays.Count == 0 ? null : Bins.Quantile(TwoSample.Sorted(delays.Select(d => d.TotalSeconds)), 0.5);

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

        (string Bin, double Coverage)[] bins = score.Counts.Select((n, i) => (Bin: reference.Score!.Bins.Label(i), N: n, Labelled: labelledScores.Counts[i]))
            .Where(b => b.N >= Monitoring.Drift.LeastRows).Select(b => (b.Bin, (double)b.Labelled / b.N)).ToArray();
        return bins.Length > 1 && bins.Max(b => b.Coverage) > 2 * bins.Min(b => b.Coverage)
            ? new { warning = "coverage differs more than twofold between scores: metrics over labelled rows are biased", coverage = bins.Select(b => new { bin = b.Bin, share = b.Coverage }) }
            : null;
    }

    /// <summary>The AUC alerts below the reference's by more than three combined standard errors and by more than the drop that matters.</summary>
    private double? LowestAuc(BinaryMetrics m)
    {
        if (reference.Performance is not { Auc: { } auc, AucSpread: { } spread } r || m.N == 0)
        {
            return null;
        }

        return auc - Math.Max(3 * spread * Math.Sqrt(1.0 / r.N + 1.0 / m.N), config.Thresholds.AucDrop);
    }

    private double? HighestLogLoss(BinaryMetrics m)
    {
        if (config.Thresholds.LogLossRise is not { } rise || reference.Performance is not { } r || m.N == 0)
        {
            return null;
        }

        return r.LogLoss + Math.Max(3 * r.LogLossSpread * Math.Sqrt(1.0 / r.N + 1.0 / m.N), rise);
    }

    private MonitorPoint Drifted(string metric, string? column, ColumnReference r, ColumnSketch w, DriftVerdict v)
    {
        string detail = JsonSerializer.Serialize(
            new
            {
                rule = r.Bins.Rule,
                bins = r.Counts.Select((c, i) => new { bin = r.Bins.Label(i), reference = Share(c, r.Finite), window = Share(w.Counts[i], w.Finite) }),
                p = v.P,
                adjustedP = v.AdjustedP,
                material = v.Material,
                referenceRows = r.Finite,
                referenceMean = r.Moments.Count == 0 ? (double?)null : r.Moments.Mean,
                mean = w.Moments.Count == 0 ? (double?)null : w.Moments.Mean,
                missing = w.Missing,
                infinite = w.Infinite,
            },
            Json);
        return new MonitorPoint(start, end, metric, column, v.Psi, w.Finite, v.State, null, v.Limit, v.Why, detail, v.Level) { Clear = v.Clear };
    }

    /// <summary>A change of the missing rate alerts when it exceeds three standard errors of the difference of two shares and the change that matters.</summary>
    private MonitorPoint Missing(ColumnReference r, ColumnSketch w)
    {
        double before = (double)r.Missing / r.Rows, now = (double)w.Missing / w.Rows, pooled = (double)(r.Missing + w.Missing) / (r.Rows + w.Rows);
        double error = Math.Sqrt(pooled * (1 - pooled) * (1.0 / r.Rows + 1.0 / w.Rows)), band = Math.Max(3 * error, config.Thresholds.MissingChange);
        string detail = JsonSerializer.Serialize(new { reference = before, referenceRows = r.Rows, missing = w.Missing }, Json);
        if (w.Rows < Monitoring.Drift.LeastRows)
        {
            return new MonitorPoint(start, end, "missing_rate", r.Name, null, w.Rows, PointState.Insufficient, null, null, $"{w.Rows} rows, {Monitoring.Drift.LeastRows} are needed", detail);
        }

        string state = Math.Abs(now - before) > band ? PointState.Alert : PointState.Ok;
        return new MonitorPoint(start, end, "missing_rate", r.Name, now, w.Rows, state, Math.Max(0, before - band), Math.Min(1, before + band), null, detail, Error: error);
    }

    /// <summary>Rows with a value that no reference row has; only where the reference's values are all known.</summary>
    private MonitorPoint? Unseen(ColumnReference r, ColumnSketch w)
    {
        if (r.Bins.Rule is not (Bins.ValuesRule or Bins.CategoriesRule) || r.Finite == 0 || r.Counts[^1] > 0)
        {
            return null;
        }

        const double limit = 0.01;
        string detail = JsonSerializer.Serialize(new { unseen = w.Counts[^1], rule = r.Bins.Rule }, Json);
        if (w.Finite < Monitoring.Drift.LeastRows)
        {
            return new MonitorPoint(start, end, "unseen_rate", r.Name, null, w.Finite, PointState.Insufficient, null, limit, $"{w.Finite} rows with a value, {Monitoring.Drift.LeastRows} are needed", detail);
        }

        double share = Share(w.Counts[^1], w.Finite);
        return new MonitorPoint(start, end, "unseen_rate", r.Name, share, w.Finite, share > limit ? PointState.Alert : PointState.Ok, null, limit, null, detail, Error: Math.Sqrt(share * (1 - share) / w.Finite));
    }

    private static double Share(long count, long of) => of == 0 ? 0 : (double)count / of;
}

internal static class Lists
{
    public static int IndexOf(this IReadOnlyList<string> names, string name)
    {
        for (int i = 0; i < names.Count; i++)
        {
            if (names[i] == name)
            {
                return i;
            }
        }

        return -1;
    }
}
