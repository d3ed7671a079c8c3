using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Slipway.Foundation;

/// <summary>
/// Work with a clock: one step at a time for each key in the whole cluster. Its truth is in tables, so a step may die
/// anywhere and run again. A step takes seconds at most; longer work runs elsewhere and is looked at by the next step.
/// </summary>
public interface IClockedWork
{
    /// <summary>A short unique name, for example <c>rollout</c>.</summary>
    string Kind { get; }

    /// <summary>The keys of all open work, which the sweep wakes after a restart and each minute.</summary>
    Task<IReadOnlyList<string>> OpenAsync(CancellationToken ct);

    /// <summary>Does one step and says when the next is due; null when nothing is due until somebody wakes it.</summary>
    Task<DateTimeOffset?> StepAsync(string key, CancellationToken ct);
}

/// <summary>Wakes clocked work now.</summary>
public sealed partial class Wakeups(IServiceProvider services, ILogger<Wakeups> log)
{
    /// <summary>
    /// Makes the work of that key take a step soon. Returns without waiting for the step. While the node that has the work is lost and not yet missed nobody can be
    /// woken; what was written before stays, and the others take the work up as soon as they miss that node.
    /// </summary>
    public async Task WakeAsync(string kind, string key)
    {
        // Without a silo (module tests, offline commands) nobody's clock runs, and tests take steps by hand.
        if (services.GetService<IGrainFactory>() is not { } grains)
        {
            return;
        }

        try
        {
            await grains.GetGrain<IClockGrain>($"{kind}/{key}").WakeAsync();
        }
        catch (Exception e) when (e is OrleansException or TimeoutException)
        {
            Log.NotWoken(log, e, kind, key);
        }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Warning, "{Kind} {Key} cannot be woken now: the node that has it does not answer; the sweep does it")]
        public static partial void NotWoken(ILogger logger, Exception e, string kind, string key);
    }
}

/// <summary>
/// Wakes everything that is open: at the start, each minute, and when a node of the cluster is lost, whose work the others then take up. So no reminder has to
/// survive a crash.
/// </summary>
internal sealed partial class Sweep(IEnumerable<IClockedWork> works, Wakeups wakeups, IServiceProvider services, TimeProvider clock, ILogger<Sweep> log) : BackgroundService
{
    private static readonly TimeSpan Period = TimeSpan.FromMinutes(1);
    private readonly SemaphoreSlim lost = new(0, 1);

    public override void Dispose()
    {
        base.Dispose();
        lost.Dispose();
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) => Task.WhenAll(SweepAsync(stoppingToken), WatchAsync(stoppingToken));

    private async Task SweepAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            foreach (var work in works)
            {
                try
                {
                    foreach (var key in await work.OpenAsync(stoppingToken))
                    {
                        await wakeups.WakeAsync(work.Kind, key);
                    }
                }
                catch (Exception e) when (!stoppingToken.IsCancellationRequested)
                {
                    Log.Failed(log, e, work.Kind);
                }
            }

            using var minute = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken);
            await Task.WhenAny(Task.Delay(Period, clock, minute.Token), lost.WaitAsync(minute.Token)).ConfigureAwait(false);
            await minute.CancelAsync();
        }
    }

    private async Task WatchAsync(CancellationToken stoppingToken)
    {
        if (services.GetService<IClusterMembershipService>() is not { } cluster)
        {
            return;
        }

        var dead = new HashSet<SiloAddress>();
        try
        {
            await foreach (var members in cluster.MembershipUpdates.WithCancellation(stoppingToken))
            {
                var known = dead.Count;
                dead.UnionWith(members.Members.Values.Where(member => member.Status == SiloStatus.Dead).Select(member => member.SiloAddress));
                if (dead.Count > known && lost.CurrentCount == 0)
                {
                    lost.Release();
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The process stops.
        }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Error, "The sweep over open {Kind} work failed; it runs again in a minute")]
        public static partial void Failed(ILogger logger, Exception e, string kind);
    }
}
