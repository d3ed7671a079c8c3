namespace Slipway.Monitoring;

/// <summary>What a model predicts, which decides how its performance is measured and estimated.</summary>
public enum ModelType
{
    /// <summary>A score of a yes-or-no question. A label is 1 or 0.</summary>
    Binary,

    /// <summary>One of several classes: a probability of each, or the index of the class. A label is the index of the true class.</summary>
    Multiclass,

    /// <summary>A number. A label is the number that came true.</summary>
    Regression,

    /// <summary>Scores that order the candidates of a query (<see cref="RankingRule"/>). A label is the relevance of one candidate, at least 0.</summary>
    Ranking,

    /// <summary>Numbers for steps ahead (<see cref="ForecastRule"/>), one prediction a step. A label is the number that came true.</summary>
    Forecasting,
}

/// <summary>The one metric of a type by which windows are told apart: revisions, limits and alerts follow it.</summary>
internal static class PrimaryMetric
{
    public static string Of(ModelType type) => type switch { ModelType.Multiclass => "accuracy", ModelType.Regression or ModelType.Forecasting => "mae", ModelType.Ranking => "ndcg", _ => "auc" };
}

/// <summary>How people write the metrics of monitors.</summary>
public static class MetricNames
{
    private const string Estimated = "estimated_";

    /// <summary>What names of metrics of one group begin with.</summary>
    internal const string Grouped = "group_";

    /// <summary>The name without a unit.</summary>
    public static string Of(string metric) => metric switch
    {
        "auc" => "AUC",
        "mae" => "MAE",
        "rmse" => "RMSE",
        "r2" => "R2",
        "mape" => "MAPE",
        "smape" => "sMAPE",
        "wape" => "WAPE",
        "mase" => "MASE",
        "rmsse" => "RMSSE",
        "ndcg" => "NDCG",
        "map" => "MAP",
        "mrr" => "MRR",
        "f1" => "F1",
        "macro_f1" => "macro F1",
        JointMetrics.ReconstructionError => "PCA reconstruction error",
        JointMetrics.DomainAuc => "domain classifier AUC",
        JointMetrics.Discrepancy => "maximum mean discrepancy",
        "concept_gap" => "estimated against realized",
        LabelStream.Metric => "errors in the order of labels",
        "auc_gap" or "rmse_gap" => $"{Of(metric[..^"_gap".Length])}, estimated against realized",
        _ when metric.StartsWith(Estimated, StringComparison.Ordinal) => $"estimated {Of(metric[Estimated.Length..])}",
        _ when metric.StartsWith(Grouped, StringComparison.Ordinal) => $"{Of(metric[Grouped.Length..])} of a group",
        _ => metric.Replace('_', ' '),
    };

    /// <summary>The name with its unit where it has one, for titles over numbers.</summary>
    public static string WithUnit(string metric) => metric switch
    {
        "latency_p50" or "latency_p95" or "latency_p99" => $"{Of(metric)}, ms",
        "throughput" => "requests a second",
        "freshness" => "age of the newest row, s",
        _ => Of(metric),
    };
}
