using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Concurrency;

namespace Slipway.Foundation;

/// <summary>One at a time, per key, with a clock: the only grain. Its key is <c>kind/key</c> of the clocked work.</summary>
[Alias("slipway.clock")]
internal interface IClockGrain : IGrainWithStringKey
{
    [Alias("wake"), AlwaysInterleave]
    Task WakeAsync();
}

/// <inheritdoc/>
internal sealed partial class ClockGrain(IEnumerable<IClockedWork> works, IHostApplicationLifetime lifetime, TimeProvider clock, ILogger<ClockGrain> log) : Grain, IClockGrain
{
    private static readonly TimeSpan AfterFailure = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Longest = TimeSpan.FromHours(1);
    private IGrainTimer? timer;
    private bool running;
    private bool again;

    public Task WakeAsync()
    {
        if (running)
        {
            // The step that runs may have looked already; one more follows it.
            again = true;
        }
        else
        {
            Arm(TimeSpan.Zero);
        }

        return Task.CompletedTask;
    }

    private void Arm(TimeSpan due)
    {
        timer?.Dispose();
        timer = this.RegisterGrainTimer(RunAsync, new GrainTimerCreationOptions(due, Timeout.InfiniteTimeSpan) { KeepAlive = true });
    }

    private async Task RunAsync(CancellationToken ct)
    {
        var key = this.GetPrimaryKeyString();
        var slash = key.IndexOf('/', StringComparison.Ordinal);
        var work = works.FirstOrDefault(w => w.Kind == key[..slash]);
        if (work is null || lifetime.ApplicationStopping.IsCancellationRequested)
        {
            return;
        }

        running = true;
        again = false;
        DateTimeOffset? next = null;
        try
        {
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(ct, lifetime.ApplicationStopping);
            next = await work.StepAsync(key[(slash + 1)..], stop.Token);
        }
        catch (Exception e)
        {
            if (lifetime.ApplicationStopping.IsCancellationRequested)
            {
                return;
            }

            Log.Failed(log, e, key);
            next = clock.GetUtcNow() + AfterFailure;
        }
        finally
        {
            running = false;
        }

        if (again)
        {
            Arm(TimeSpan.Zero);
        }
        else if (next is { } at)
        {
            var due = at - clock.GetUtcNow();
            Arm(due < TimeSpan.Zero ? TimeSpan.Zero : due > Longest ? Longest : due);
        }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Error, "A step of {Key} failed; it runs again in 5 seconds")]
        public static partial void Failed(ILogger logger, Exception e, string key);
    }
}
