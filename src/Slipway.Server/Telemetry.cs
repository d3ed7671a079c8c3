using System.Diagnostics.Metrics;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
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
            .AddMeter("slipway.*", "Microsoft.AspNetCore.Server.Kestrel", "System.Runtime")
            .AddPrometheusExporter());
        if (Environment.GetEnvironmentVariable("OTEL_EXPORTER_OTLP_ENDPOINT") is { Length: > 0 } || Environment.GetEnvironmentVariable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") is { Length: > 0 })
        {
            telemetry.WithTracing(traces => traces.AddSource(Traces.SourceName).AddOtlpExporter());
        }
    }

    /// <summary>
    /// Times every request behind it by method, route and status, under the name of OpenTelemetry's conventions. The host's own meter would do that
    /// for inferences as well, which cost little more than the metering and have meters of their own.
    /// </summary>
    public static IApplicationBuilder UseRequestDuration(this IApplicationBuilder app)
    {
        var clock = app.ApplicationServices.GetRequiredService<TimeProvider>();
        var duration = app.ApplicationServices.GetRequiredService<IMeterFactory>().Create("slipway.http").CreateHistogram(
            "http.server.request.duration", "s", "Duration of requests other than inferences", tags: null,
            new InstrumentAdvice<double> { HistogramBucketBoundaries = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10] });
        return app.Use(next => async context =>
        {
            var started = clock.GetTimestamp();
            try
            {
                await next(context);
            }
            finally
            {
                duration.Record(
                    clock.GetElapsedTime(started).TotalSeconds,
                    new("http.request.method", context.Request.Method is "GET" or "POST" or "PUT" or "PATCH" or "DELETE" or "HEAD" or "OPTIONS" ? context.Request.Method : "_OTHER"),
                    new("http.route", (context.GetEndpoint() as RouteEndpoint)?.RoutePattern.RawText),
                    new("http.response.status_code", context.Response.StatusCode));
            }
        });
    }
}
