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
public sealed class Wakeups(IServiceProvider services)
{
    /// <summary>Makes the work of that key take a step soon. Returns without waiting for the step.</summary>
    public Task WakeAsync(string kind, string key)
    {
        // Without a silo (module tests, offline commands) nobody's clock runs, and tests take steps by hand.
        var grains = services.GetService<IGrainFactory>();
        return grains is null ? Task.CompletedTask : grains.GetGrain<IClockGrain>($"{kind}/{key}").WakeAsync();
    }
}

/// <summary>Wakes everything that is open, at the start and then each minute, so that no reminder has to survive a crash.</summary>
internal sealed partial class Sweep(IEnumerable<IClockedWork> works, Wakeups wakeups, TimeProvider clock, ILogger<Sweep> log) : BackgroundService
{
    private static readonly TimeSpan Period = TimeSpan.FromMinutes(1);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Period, clock);
        do
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
        }
        while (await timer.WaitForNextTickAsync(stoppingToken).AsTask().ContinueWith(t => t.IsCompletedSuccessfully && t.GetAwaiter().GetResult(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default));
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Error, "The sweep over open {Kind} work failed; it runs again in a minute")]
        public static partial void Failed(ILogger logger, Exception e, string kind);
    }
}
