using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;
using Slipway.Serving;

namespace Slipway.Server;

internal static class Telemetry
{
    /// <summary>
    /// Publishes the meters of all modules, of Kestrel and of the runtime as Prometheus text at /metrics. Spans are made and sent (OTLP) only where
    /// OpenTelemetry's own variable says where to.
    /// </summary>
    public static void AddTelemetry(this WebApplicationBuilder builder)
    {
        var telemetry = builder.Services.AddOpenTelemetry().WithMetrics(metrics => metrics
            .AddMeter("slipway.*", "Microsoft.AspNetCore.Server.Kestrel", "Microsoft.AspNetCore.Hosting", "System.Runtime")
            .AddPrometheusExporter());
        if (Environment.GetEnvironmentVariable("OTEL_EXPORTER_OTLP_ENDPOINT") is { Length: > 0 } || Environment.GetEnvironmentVariable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") is { Length: > 0 })
        {
            telemetry.WithTracing(traces => traces.AddSource(Traces.SourceName).AddOtlpExporter());
        }
    }
}
