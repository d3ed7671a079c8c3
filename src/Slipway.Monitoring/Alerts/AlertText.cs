using System.Globalization;

namespace Slipway.Monitoring;

/// <summary>Alerts in words: which column, which number against which limit, on how many rows of which days.</summary>
internal static class AlertText
{
    private const int MostNamed = 3;

    public static string Of(Watched monitor, string family, IReadOnlyList<AlertMember> members, IReadOnlyList<MonitorPoint> window, MonitorReference reference, Thresholds thresholds)
    {
        MonitorPoint at = window[0];
        string span = Span(at.WindowStart, at.WindowEnd);
        IEnumerable<string> parts = members.Take(MostNamed).Select(m => Part(m, window, reference, thresholds));
        string more = members.Count > MostNamed ? $" and {members.Count - MostNamed} more" : "";
        string list = string.Join(", ", parts) + more;
        string tail = family == Families.Drift ? Realized(window, reference) : family == Families.Performance ? Strongest(window) : "";
        return $"{list} on {Count(members[0].N)} rows{monitor.Of} in {span}{tail}";
    }

    /// <summary>A window's days, or its minutes when it does not start and end at midnight UTC.</summary>
    public static string Span(DateTimeOffset start, DateTimeOffset end)
    {
        string format = start.TimeOfDay == TimeSpan.Zero && end.TimeOfDay == TimeSpan.Zero ? "yyyy-MM-dd" : "yyyy-MM-dd HH:mm";
        return $"{start.UtcDateTime.ToString(format, CultureInfo.InvariantCulture)}..{end.UtcDateTime.ToString(format, CultureInfo.InvariantCulture)}";
    }

    /// <summary>A moment in UTC, to the second.</summary>
    public static string Moment(DateTimeOffset at) => at.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    private static string Part(AlertMember m, IReadOnlyList<MonitorPoint> window, MonitorReference reference, Thresholds thresholds) => m.Metric switch
    {
        "psi" or "score_psi" => Drifted(m, reference, thresholds),
        "missing_rate" => $"`{m.Column}` is missing in {Percent(m.Value)} ({(m.Value > m.Threshold ? "above" : "below")} {Percent(m.Threshold)})",
        "concept_gap" => $"realized {Primary(reference)} is {Number(m.Value)} away from what the {(reference.Type == ModelType.Binary ? "scores" : "predictions")} promise (above {Number(m.Threshold)}): the relation of inputs and outcomes has changed",
        _ when JointMetrics.Has(m.Metric) => $"all features together drifted: {MetricNames.Of(m.Metric)} {Number(m.Value)} ({(m.Value > m.Threshold ? "above" : "below")} {Number(m.Threshold)} of the reference's own windows)",
        LabelStream.Metric => window.FirstOrDefault(p => p.Metric == LabelStream.Metric) is { } at ? LabelStream.Sentence(at) : "the errors of labelled predictions changed",
        "out_of_range_rate" => $"`{m.Column}` is outside the range of the reference in {Percent(m.Value)} of the rows (above {Percent(m.Threshold)})",
        "constant_share" => $"`{m.Column}` is almost constant: one value in {Percent(m.Value)} of the rows (from {Percent(m.Threshold)})",
        "duplicate_key_rate" => $"{Percent(m.Value)} of the predictions repeat an id (above {Percent(m.Threshold)})",
        "class_share" => $"the share of {(m.Column is null ? "positive decisions" : $"predicted {m.Column}")} is {Percent(m.Value)} ({(m.Value > m.Threshold ? "above" : "below")} {Percent(m.Threshold)})",
        "confidence" or "entropy" => $"the mean {m.Metric} of predictions is {Number(m.Value)} ({(m.Value > m.Threshold ? "above" : "below")} {Number(m.Threshold)})",
        "unseen_rate" => $"`{m.Column}` has values that the reference does not have in {Percent(m.Value)} of the rows (above {Percent(m.Threshold)})",
        _ when Families.Of(m.Metric) == Families.Fairness => $"the {MetricNames.Of(m.Metric)} between groups of `{m.Column}` is {Number(m.Value)} (below {Number(m.Threshold)}, and not by chance)",
        "error_rate" => $"{Percent(m.Value)} of the requests failed (above {Percent(m.Threshold)})",
        "latency_p95" => $"95 of 100 requests took up to {Number(m.Value)} ms (above {Number(m.Threshold)} ms)",
        _ when reference.Before(m.Metric, m.Column) is { } before => $"{MetricNames.Of(m.Metric)}{Of(m.Column)} {(m.Value < m.Threshold ? "fell" : "rose")} to {Number(m.Value)} ({(m.Value < m.Threshold ? "below" : "above")} {Number(m.Threshold)}, reference {Number(before.Value)}; {Covered(m, window)})",
        _ => $"{MetricNames.Of(m.Metric)}{Of(m.Column)} is {Number(m.Value)} ({(m.Value > m.Threshold ? "above" : "below")} {Number(m.Threshold)})",
    };

    private static string Drifted(AlertMember m, MonitorReference reference, Thresholds thresholds)
    {
        ColumnReference? column = m.Metric == "score_psi" ? m.Column is null ? reference.Score : reference.Outputs?.FirstOrDefault(c => c.Name == m.Column) : reference.Columns.FirstOrDefault(c => c.Name == m.Column);
        double noise = column is null || m.N == 0 ? 0 : (column.Bins.Count - 1) * (1.0 / column.Finite + 1.0 / m.N);
        string name = (m.Metric, m.Column, reference.Type) switch
        {
            ("score_psi", { } of, _) => $"the probability of {of}",
            ("score_psi", _, ModelType.Multiclass) => "the share of predicted classes",
            ("score_psi", _, ModelType.Regression) => "the prediction",
            ("score_psi", _, ModelType.Forecasting) => "the forecast",
            ("score_psi", _, _) => "the score",
            _ => $"`{m.Column}`",
        };
        return $"{name} drifted: PSI {Number(m.Value)} (material {Number(m.Value - noise)} >= {Number(Monitoring.Drift.Floor(m.Level, thresholds))})";
    }

    private static string Primary(MonitorReference reference) => MetricNames.Of(PrimaryMetric.Of(reference.Type));

    private static string Realized(IReadOnlyList<MonitorPoint> window, MonitorReference reference) =>
        window.FirstOrDefault(p => p.Metric == PrimaryMetric.Of(reference.Type) && p.Value is not null) is { } p && reference.Before(p.Metric, p.Column) is { } before
            ? $"; {Primary(reference)}{Of(p.Column)} {Number(before.Value)} -> {Number(p.Value!.Value)} (n {Count(p.N)})"
            : "";

    private static string Strongest(IReadOnlyList<MonitorPoint> window) =>
        window.Where(p => p.Metric == "psi" && p.State == PointState.Alert).MaxBy(p => p.Value) is { } p ? $"; most drifted: `{p.Column}` PSI {Number(p.Value!.Value)}" : "";

    private static string Of(string? column) => column is null ? "" : $" of {column}";

    private static string Covered(AlertMember m, IReadOnlyList<MonitorPoint> window) =>
        window.FirstOrDefault(p => p.Metric == m.Metric && p.Column == m.Column) is { Coverage: { } c } ? $"{Percent(c)} labelled" : "labels unknown";

    /// <summary>Two decimals, or as many digits as tell a number that is far from 1.</summary>
    private static string Number(double value) => value.ToString(Math.Abs(value) switch { >= 1000 => "#,0", > 0 and < 0.005 => "G2", _ => "0.00" }, CultureInfo.InvariantCulture);

    private static string Percent(double value) => (100 * value).ToString("0.0", CultureInfo.InvariantCulture) + " %";

    private static string Count(long value) => value.ToString("#,0", CultureInfo.InvariantCulture);
}

/// <summary>The families of alerts: rules of one family of one monitor make one alert.</summary>
public static class Families
{
    /// <summary>Inputs or scores moved away from the reference.</summary>
    public const string Drift = "drift";

    /// <summary>The data is damaged: values are missing.</summary>
    public const string Quality = "quality";

    /// <summary>Labelled predictions are worse than the reference.</summary>
    public const string Performance = "performance";

    /// <summary>No data arrives, or too little to judge.</summary>
    public const string NoData = "no-data";

    /// <summary>The monitor itself fails.</summary>
    public const string MonitorError = "monitor-error";

    /// <summary>A program posted it.</summary>
    public const string Posted = "posted";

    /// <summary>Labels say otherwise than the scores promised: the relation of inputs and outcomes has changed.</summary>
    public const string Concept = "concept";

    /// <summary>Requests fail or take too long.</summary>
    public const string Operation = "operation";

    /// <summary>A model treats groups unlike: a rate of one is under four fifths of another's, and not by chance.</summary>
    public const string Fairness = "fairness";

    internal static readonly string[] All = [Drift, Quality, Performance, Concept, Operation, Fairness];

    /// <summary>Whether an alert of this family says that nothing is known, rather than that something is wrong with the model.</summary>
    public static bool IsBlind(string family) => family is NoData or MonitorError;

    internal static string OfRule(string name) => $"rule:{name}";

    internal static string Of(string metric) => metric switch { "psi" or "score_psi" or "class_share" or "confidence" or "entropy" or "out_of_range_rate" => Drift, _ when JointMetrics.Has(metric) => Drift, "missing_rate" or "unseen_rate" or "constant_share" or "duplicate_key_rate" => Quality, "concept_gap" or LabelStream.Metric => Concept, "error_rate" or "latency_p95" => Operation, "rows" or "duplicate_row_rate" or "freshness" or "auc_gap" or "rmse_gap" or "throughput" or "latency_p50" or "latency_p99" => "", _ when metric.StartsWith(MetricNames.Grouped, StringComparison.Ordinal) || metric.EndsWith("_difference", StringComparison.Ordinal) => "", _ when metric.EndsWith("_ratio", StringComparison.Ordinal) => Fairness, _ => Performance };

    /// <summary>Whether rules of a family rank their breaches by the point's level; in other families every breach is major.</summary>
    internal static bool HasLevels(string family) => family is Drift or Concept;
}
