using System.Diagnostics.Metrics;
using Microsoft.Extensions.Hosting;
using Slipway.Monitoring;
using Slipway.Serving;

namespace Slipway.Server;

/// <summary>
/// What this node knows of itself, as meters: read when a scraper asks, never on the request path. Traffic is that of the last
/// minute by endpoint and variant.
/// </summary>
internal sealed class Meters : IHostedService, IDisposable
{
    private static readonly TimeSpan Window = TimeSpan.FromMinutes(1);
    private readonly Meter meter = new("slipway.server");
    private readonly Predictions predictions;
    private readonly Health health;
    private readonly Endpoints endpoints;
    private readonly TimeProvider clock;

    public Meters(Predictions predictions, Health health, Endpoints endpoints, TimeProvider clock) =>
        (this.predictions, this.health, this.endpoints, this.clock) = (predictions, health, endpoints, clock);

    public Task StartAsync(CancellationToken cancellationToken)
    {
        meter.CreateObservableCounter("slipway.predictions.written", () => predictions.Written, "{prediction}", "Predictions committed to the log since the start");
        meter.CreateObservableCounter("slipway.predictions.dropped", () => predictions.Dropped, "{prediction}", "Predictions that the log refused since the start");
        meter.CreateObservableGauge("slipway.endpoint.requests", () => Each(h => h.Requests), "{request}", "Requests of the last minute");
        meter.CreateObservableGauge("slipway.endpoint.errors", () => Each(h => h.Errors), "{request}", "Requests of the last minute that failed");
        meter.CreateObservableGauge("slipway.endpoint.latency.p50", () => Each(h => h.P50Micros), "us", "Median latency of the last minute");
        meter.CreateObservableGauge("slipway.endpoint.latency.p99", () => Each(h => h.P99Micros), "us", "99th percentile of the latency of the last minute");
        meter.CreateObservableCounter("slipway.shadow.answered", () => Mirrors(m => m.Answered), "{request}", "Copies of requests that a mirror answered since the start");
        meter.CreateObservableCounter("slipway.shadow.failed", () => Mirrors(m => m.Failed), "{request}", "Copies of requests that a mirror failed since the start");
        meter.CreateObservableCounter("slipway.shadow.dropped", () => Mirrors(m => m.Dropped), "{request}", "Copies of requests that were dropped since the start because a mirror's queue was full");
        return Task.CompletedTask;
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public void Dispose() => meter.Dispose();

    private IEnumerable<Measurement<long>> Mirrors(Func<MirrorStatistics, long> value) =>
        endpoints.Mirrors(null).Select(m => new Measurement<long>(value(m), new("endpoint", m.Endpoint), new("variant", m.Variant), new("version", m.ModelVersion)));

    // A variant without requests has no latency; it is left out, not reported as 0.
    private IEnumerable<Measurement<double>> Each(Func<VariantHealth, double?> value)
    {
        var since = clock.GetUtcNow() - Window;
        foreach (var endpoint in endpoints.Names)
        {
            foreach (var variant in health.Variants(endpoint))
            {
                if (value(health.Of(endpoint, variant, since)) is { } number)
                {
                    yield return new Measurement<double>(number, new("endpoint", endpoint), new("variant", variant));
                }
            }
        }
    }
}
