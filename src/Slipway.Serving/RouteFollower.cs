using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Serving.Routing;

namespace Slipway.Serving;

/// <summary>
/// Keeps this node's routes equal to the stored ones: all of them before the server takes requests, each change when the journal tells of it,
/// and a comparison four times a second as a second way, which also sees that leases are renewed. Leases end by this node's own clock, whether or
/// not the database answers.
/// </summary>
internal sealed partial class RouteFollower(Deployments deployments, Routes routes, Nodes nodes, ServingOptions options, TimeProvider clock, ILogger<RouteFollower> log) : BackgroundService
{
    private static readonly TimeSpan RetryLoad = TimeSpan.FromSeconds(30);
    private readonly Dictionary<string, (long Revision, DateTimeOffset Until)> _failed = new(StringComparer.Ordinal);

    public override async Task StartAsync(CancellationToken cancellationToken)
    {
        await CatchUpAsync(cancellationToken);
        await base.StartAsync(cancellationToken);
    }

    public Task HandleAsync(JournalEntry entry, CancellationToken ct) => RefreshAsync(entry.Subject.Name, routes.PublishAsync, ct);

    /// <summary>Publishes what is newer than this node's routes and removes what is gone.</summary>
    public async Task CatchUpAsync(CancellationToken ct)
    {
        var stored = await deployments.CurrentAsync(ct);
        foreach (var row in stored)
        {
            var route = routes.Find(row.Name);
            if (row.Unloaded != 0)
            {
                if (route is not { Unloaded: true })
                {
                    await routes.UnloadAsync(row.Name, ct);
                }

                continue;
            }

            route?.Renew(row.LeaseUntil);
            var waits = _failed.TryGetValue(row.Name, out var failure) && failure.Revision == row.Revision && clock.GetUtcNow() < failure.Until;
            if (waits || route?.Table?.Spec.Revision >= row.Revision)
            {
                continue;
            }

            try
            {
                await RefreshAsync(row.Name, routes.LoadAsync, ct);
                // A node that starts may find a lease that ended while it was down.
                routes.Find(row.Name)?.Renew(row.LeaseUntil);
                _failed.Remove(row.Name);
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                // One model that does not load must not keep the others from serving.
                _failed[row.Name] = (row.Revision, clock.GetUtcNow() + RetryLoad);
                Log.NotServed(log, e, row.Name, row.Revision);
            }
        }

        var names = stored.Select(row => row.Name).ToHashSet(StringComparer.Ordinal);
        foreach (var route in routes.All.Where(route => !route.FromRepository && !names.Contains(route.Endpoint)))
        {
            await RefreshAsync(route.Endpoint, routes.PublishAsync, ct);
        }

        routes.Expire(leasesOnly: false);
        await nodes.ReportAsync(stored.Where(row => row.LeaseUntil > 0).Select(row => row.Name), ct);
    }

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        try
        {
            await nodes.LeaveAsync(cancellationToken);
        }
        catch (SlipwayException e) when (e.Code == ErrorCode.Unavailable)
        {
            // Without the database nobody can be told; the others take this node for gone when it has been silent for long enough.
            Log.NotLeft(log, e);
        }
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) => Task.WhenAll(PollAsync(stoppingToken), WatchLeasesAsync(stoppingToken));

    private async Task WatchLeasesAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(options.RoutePoll, clock);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            routes.Expire(leasesOnly: true);
        }
    }

    private async Task PollAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(options.RoutePoll, clock);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            try
            {
                await CatchUpAsync(stoppingToken);
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                Log.NotRead(log, e);
            }
        }
    }

    private async Task RefreshAsync(string endpoint, Func<RouteSpec, CancellationToken, Task> serve, CancellationToken ct)
    {
        if (await deployments.FindAsync(endpoint, ct) is { } spec)
        {
            await serve(spec, ct);
        }
        else
        {
            await routes.RemoveAsync(endpoint, ct);
        }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Error, "Endpoint {Endpoint} cannot serve route revision {Revision} on this node; it is tried again later")]
        public static partial void NotServed(ILogger logger, Exception e, string endpoint, long revision);

        [LoggerMessage(LogLevel.Warning, "The other nodes cannot be told that this one stops")]
        public static partial void NotLeft(ILogger logger, Exception e);

        [LoggerMessage(LogLevel.Error, "The stored routes cannot be read; this node goes on with those it has")]
        public static partial void NotRead(ILogger logger, Exception e);
    }
}
