using System.Text.Json;

namespace Slipway.Monitoring;

/// <summary>How the requests of one window were served: failures, latencies in milliseconds, requests a second. They need no reference: failures have a constant limit, latencies one of their own past.</summary>
internal sealed class OperationWindow(Thresholds thresholds, DateTimeOffset start, DateTimeOffset end, IReadOnlyList<double> earlierLatencies)
{
    /// <summary>Earlier windows that a latency is compared with.</summary>
    public const int MostEarlier = 28;

    /// <summary>The least earlier windows; before there are so many, latency is shown without a limit.</summary>
    public const int LeastEarlier = 6;

    /// <summary>Milliseconds that no caller feels: a rise by less is the machine's noise, which doubles the latency of a model that answers in a twentieth of it.</summary>
    private const double LeastRise = 1;

    /// <summary>The deviation of a normal law from its median absolute deviation.</summary>
    private const double Deviations = 1.4826;

    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
    private readonly DdSketch latency = new();
    private long failed;

    public void Add(Prediction prediction)
    {
        latency.Add(prediction.LatencyMicros / 1000.0);
        failed += prediction.Status is >= 200 and <= 299 ? 0 : 1;
    }

    public IEnumerable<MonitorPoint> Points()
    {
        long n = latency.N;
        if (n == 0)
        {
            yield break;
        }

        double limit = thresholds.FailureRate;
        yield return Point("error_rate", Measured.Share(failed, n, ""), limit + 3 * Math.Sqrt(limit * (1 - limit) / n), JsonSerializer.Serialize(new { failed, limit }, Json));
        (double? upper, object how) = LatencyLimit();
        foreach ((string metric, double q) in new[] { ("latency_p50", 0.5), ("latency_p95", 0.95), ("latency_p99", 0.99) })
        {
            bool judged = q == 0.95;
            yield return Point(metric, Measured.Of(latency.Quantile(q)), judged ? upper : null, JsonSerializer.Serialize(new { unit = "ms", relativeError = latency.Alpha, limit = judged ? how : null }, Json));
        }

        yield return new MonitorPoint(start, end, "throughput", null, n / (end - start).TotalSeconds, n, PointState.Ok, null, null, null, JsonSerializer.Serialize(new { unit = "requests/s" }, Json));
    }

    /// <summary>What was told, or the median of the windows before, and above it the largest of what matters, three of their deviations (by the median absolute deviation) and <see cref="LeastRise"/>.</summary>
    private (double? Upper, object How) LatencyLimit()
    {
        if (thresholds.LatencyP95 is { } told)
        {
            return (told, new { told });
        }

        double[] before = earlierLatencies.Order().ToArray();
        if (before.Length < LeastEarlier)
        {
            return (null, new { windows = before.Length, needed = LeastEarlier });
        }

        double median = Bins.Quantile(before, 0.5), deviation = Deviations * Bins.Quantile(before.Select(v => Math.Abs(v - median)).Order().ToArray(), 0.5);
        return (median + Math.Max(Math.Max(thresholds.LatencyRise * median, 3 * deviation), LeastRise), new { windows = before.Length, median, deviation });
    }

    private MonitorPoint Point(string metric, Measured value, double? upper, string detail)
    {
        if (latency.N < Drift.LeastRows)
        {
            return new MonitorPoint(start, end, metric, null, null, latency.N, PointState.Insufficient, null, upper, $"{latency.N} requests, {Drift.LeastRows} are needed", detail);
        }

        return new MonitorPoint(start, end, metric, null, value.Value, latency.N, value.Value > upper ? PointState.Alert : PointState.Ok, null, upper, null, detail, Error: value.Error) { Clear = upper is null || value.Value <= upper };
    }
}
