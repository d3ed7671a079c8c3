using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using OpenTelemetry.Metrics;

namespace Slipway.Server;

internal static class Telemetry
{
    /// <summary>Publishes the meters of all modules, of Kestrel and of the runtime as Prometheus text at /metrics.</summary>
    public static void AddTelemetry(this WebApplicationBuilder builder) => builder.Services.AddOpenTelemetry().WithMetrics(metrics => metrics
        .AddMeter("slipway.*", "Microsoft.AspNetCore.Server.Kestrel", "Microsoft.AspNetCore.Hosting", "System.Runtime")
        .AddPrometheusExporter());
}
