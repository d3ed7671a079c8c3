using System.Runtime.InteropServices;
using Slipway.Monitoring;

namespace Slipway.Serving;

/// <summary>One variant of an experiment and the version that it serves; the baseline comes first.</summary>
/// <param name="Variant">Its name in the route.</param>
/// <param name="ModelVersion">In the form <c>flights/2</c>.</param>
internal sealed record ExperimentArm(string Variant, string ModelVersion);

/// <summary>One metric of one arm over its mature units.</summary>
internal sealed class MetricData
{
    /// <summary>Sums over units; a proportion or mean has the denominator 1 of each.</summary>
    public RatioSums Sums;

    /// <summary>Of a quantile: its values and their units.</summary>
    public List<(int Unit, double Value)> Values { get; } = [];

    /// <summary>Of an AUC: labelled scores and their units.</summary>
    public List<(int Unit, double Score, bool Positive)> Scores { get; } = [];

    /// <summary>The AUC of the scores; null if it is undefined.</summary>
    public DeLong? Auc() => Scores.Exists(score => !double.IsFinite(score.Score)) ? null
        : DeLong.Of([.. Scores.Select(score => score.Score)], [.. Scores.Select(score => score.Positive)], [.. Scores.Select(score => score.Unit)]);
}

/// <summary>What was read of one arm.</summary>
internal sealed class ArmData(ExperimentArm arm, int metrics)
{
    public ExperimentArm Arm { get; } = arm;

    public long Exposed { get; set; }

    public long Mature { get; set; }

    public long Immature { get; set; }

    public long Crossovers { get; set; }

    public MetricData[] Metrics { get; } = [.. Enumerable.Range(0, metrics).Select(_ => new MetricData())];
}

/// <summary>What one unit did by one metric.</summary>
/// <param name="Count">Outcomes.</param>
/// <param name="Sum">Their sum.</param>
/// <param name="Any">Whether one of them was positive.</param>
[StructLayout(LayoutKind.Auto)]
internal record struct UnitOutcome(int Count, double Sum, bool Any)
{
    public void Add(double value) => (Count, Sum, Any) = (Count + 1, Sum + value, Any || value > 0);

    /// <summary>What the unit counts with: 0 or 1 of a proportion, its mean otherwise.</summary>
    public readonly double Value(MetricKind kind) => kind == MetricKind.Proportion && !double.IsNaN(Sum) ? (Any ? 1 : 0) : Sum / Count;
}

/// <summary>Reads a metric's number from a prediction.</summary>
internal static class MetricValue
{
    /// <summary>
    /// The number, or null if this prediction has none (it failed or its outputs are not in the log and the metric needs them, or its label is not known). NaN is a number: it makes every
    /// figure of the metric undefined.
    /// </summary>
    /// <param name="metric">What is read.</param>
    /// <param name="prediction">From which prediction.</param>
    /// <param name="label">Its label, if that became known in time.</param>
    public static double? Of(MetricSpec metric, Prediction prediction, double? label)
    {
        var ok = prediction.Status == 200;
        switch (metric.Source)
        {
            case MetricSource.ErrorRate:
                return ok ? 0 : 1;
            case MetricSource.Latency:
                return prediction.LatencyMicros;
            case MetricSource.Label:
                return label is { } known ? (metric.Kind == MetricKind.Proportion ? (known >= metric.PositiveFrom ? 1 : 0) : known) : metric.MissingIsZero ? 0 : null;
            case MetricSource.NanRate:
                return !ok || prediction.Kind == PredictionKind.Exposure ? null : prediction.Outputs.Any(output => !float.IsFinite(output)) ? 1 : 0;
            default:
                break;
        }

        if (!ok || prediction.Kind == PredictionKind.Exposure || (metric.NeedsLabels && label is null))
        {
            return null;
        }

        var at = metric.ScoreOutput < 0 ? prediction.Outputs.Count + metric.ScoreOutput : metric.ScoreOutput;
        double score = at >= 0 && at < prediction.Outputs.Count ? prediction.Outputs[at] : double.NaN;
        var truth = label.GetValueOrDefault();
        return metric.Source switch
        {
            _ when double.IsNaN(score) => double.NaN,
            MetricSource.Score => score,
            MetricSource.PositiveRate => score >= metric.PositiveFrom ? 1 : 0,
            MetricSource.SquaredError => (score - truth) * (score - truth),
            MetricSource.Accuracy => score >= metric.PositiveFrom == truth >= metric.PositiveFrom ? 1 : 0,
            _ => score is >= 0 and <= 1 ? -Math.Log(Math.Max(truth >= metric.PositiveFrom ? score : 1 - score, BinaryMetrics.Clip)) : double.NaN,
        };
    }
}
