namespace Slipway.Web.Pages;

/// <summary>How people write the metrics of monitors.</summary>
internal static class MetricNames
{
    public static string Of(string metric) => metric switch
    {
        "auc" => "AUC",
        "mae" => "MAE",
        "rmse" => "RMSE",
        "r2" => "R2",
        "mape" => "MAPE",
        "f1" => "F1",
        "macro_f1" => "macro F1",
        "estimated_auc" => "estimated AUC",
        "estimated_mae" => "estimated MAE",
        "estimated_macro_f1" => "estimated macro F1",
        "latency_p50" => "latency p50, ms",
        "latency_p95" => "latency p95, ms",
        "latency_p99" => "latency p99, ms",
        "throughput" => "requests a second",
        _ => metric.Replace('_', ' '),
    };
}
