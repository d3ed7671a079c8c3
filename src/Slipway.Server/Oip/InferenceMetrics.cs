using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Slipway.Serving;

namespace Slipway.Server.Oip;

/// <summary>
/// The Prometheus names that dashboards for Triton and KServe read, beside the server's own meters. They have no <c>_total</c> and no unit
/// suffix of OpenTelemetry's making, so they are written here, from the counters that serving keeps anyway.
/// </summary>
internal static class InferenceMetrics
{
    private static readonly (string Name, string Help, Func<VersionStatistics, double> Value)[] Counters =
    [
        ("nv_inference_request_success", "Successful inference requests", static s => s.Success.Count),
        ("nv_inference_count", "Inferences, counting every row of a batch", static s => s.Rows),
        ("nv_inference_exec_count", "Runs of the model", static s => s.Executions),
        ("nv_inference_request_duration_us", "Time of requests in microseconds", static s => Micros(s.Success)),
        ("nv_inference_queue_duration_us", "Time that requests waited in microseconds", static s => Micros(s.Queue)),
        ("nv_inference_compute_input_duration_us", "Time of gathering inputs in microseconds", static s => Micros(s.ComputeInput)),
        ("nv_inference_compute_infer_duration_us", "Time of running models in microseconds", static s => Micros(s.ComputeInfer)),
        ("nv_inference_compute_output_duration_us", "Time of handing out outputs in microseconds", static s => Micros(s.ComputeOutput)),
    ];

    /// <summary>Maps the scrape: OpenTelemetry's meters, then these.</summary>
    public static IEndpointConventionBuilder MapMetrics(this IEndpointRouteBuilder routes, string path)
    {
        var meters = routes.CreateApplicationBuilder().UseOpenTelemetryPrometheusScrapingEndpoint(static _ => true).Build();
        return routes.MapGet(path, async context =>
        {
            // The other text format ends in a mark after which nothing may follow.
            context.Request.Headers.Accept = "text/plain";
            // What follows the meters would stand behind the end of their compressed text, and Prometheus refuses that; so both are compressed together.
            var encodings = context.Request.Headers.AcceptEncoding;
            context.Request.Headers.Remove("Accept-Encoding");
            var response = context.Response.Body;
            using var text = new MemoryStream();
            context.Response.Body = text;
            try
            {
                await meters(context);
            }
            finally
            {
                context.Response.Body = response;
                context.Request.Headers.AcceptEncoding = encodings;
            }

            text.Write(Encoding.UTF8.GetBytes(Write(context.RequestServices.GetRequiredService<Endpoints>().Statistics(null, null))));
            context.Response.ContentType = "text/plain; version=0.0.4; charset=utf-8";
            context.Response.Headers.Vary = "Accept-Encoding";
            ReadOnlyMemory<byte> answer = text.GetBuffer().AsMemory(0, (int)text.Length);
            if (Compression.For(context.Request, answer.Length) is { } encoding)
            {
                answer = Compression.Deflate(answer.Span, encoding);
                context.Response.Headers.ContentEncoding = encoding;
            }

            context.Response.ContentLength = answer.Length;
            await response.WriteAsync(answer, context.RequestAborted);
        });
    }

    internal static string Write(IReadOnlyList<VersionStatistics> versions)
    {
        var text = new StringBuilder();
        foreach (var (name, help, value) in Counters)
        {
            Head(text, name, help, "counter");
            foreach (var version in versions)
            {
                Line(text, name, Labels(version), value(version));
            }
        }

        Head(text, "nv_inference_request_failure", "Failed inference requests by reason", "counter");
        foreach (var version in versions)
        {
            Line(text, "nv_inference_request_failure", $"{Labels(version)},reason=\"REJECTED\"", version.Failures.Rejected);
            Line(text, "nv_inference_request_failure", $"{Labels(version)},reason=\"CANCELED\"", version.Failures.Canceled);
            Line(text, "nv_inference_request_failure", $"{Labels(version)},reason=\"BACKEND\"", version.Failures.Backend);
            Line(text, "nv_inference_request_failure", $"{Labels(version)},reason=\"OTHER\"", version.Failures.Other);
        }

        Head(text, "nv_inference_pending_request_count", "Requests that wait", "gauge");
        foreach (var version in versions)
        {
            Line(text, "nv_inference_pending_request_count", Labels(version), version.Pending);
        }

        // KServe's dashboards take quantiles of the buckets and divide the sum by the count.
        Head(text, "request_predict_seconds", "Time of predictions in seconds", "histogram");
        foreach (var endpoint in versions.GroupBy(version => version.Endpoint, StringComparer.Ordinal))
        {
            var labels = $"model_name=\"{Escaped(endpoint.Key)}\"";
            var bounds = VersionStatistics.LatencyBounds;
            var cumulated = 0L;
            for (var at = 0; at <= bounds.Length; at++)
            {
                cumulated += endpoint.Sum(version => version.Latencies[at]);
                Line(text, "request_predict_seconds_bucket", $"{labels},le=\"{(at < bounds.Length ? bounds[at].ToString(CultureInfo.InvariantCulture) : "+Inf")}\"", cumulated);
            }

            Line(text, "request_predict_seconds_sum", labels, endpoint.Sum(version => version.Success.Nanoseconds) / 1e9);
            // From the buckets, so that the histogram agrees with itself while requests go on.
            Line(text, "request_predict_seconds_count", labels, cumulated);
        }

        return text.ToString();
    }

    private static double Micros(Counted counted) => counted.Nanoseconds / 1000;

    private static string Labels(VersionStatistics version) => $"model=\"{Escaped(version.Endpoint)}\",version=\"{OipModels.Number(version)}\"";

    private static string Escaped(string value) => value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal);

    private static void Head(StringBuilder text, string name, string help, string type) => text.Append("# HELP ").Append(name).Append(' ').Append(help).Append("\n# TYPE ").Append(name).Append(' ').Append(type).Append('\n');

    private static void Line(StringBuilder text, string name, string labels, double value) =>
        text.Append(name).Append('{').Append(labels).Append("} ").Append(value.ToString(CultureInfo.InvariantCulture)).Append('\n');
}
