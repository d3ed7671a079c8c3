using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Monitoring;
using Slipway.Serving.Routing;

namespace Slipway.Serving;

/// <summary>
/// What rollouts react to: a decided gate wakes the proposals that wait for it, an alert of a candidate aborts its rollout, and a candidate that
/// a node took out on its own is aborted for everyone.
/// </summary>
internal sealed partial class RolloutReactions(Rollouts rollouts, RolloutTransitions transitions, Monitors monitors, Routes routes, Wakeups wakeups, TimeProvider clock, ILogger<RolloutReactions> log)
    : BackgroundService
{
    public async Task HandleAsync(JournalEntry entry, CancellationToken ct)
    {
        if (entry.Kind == "alert.fired")
        {
            var alert = entry.Read<AlertFired>();
            if (alert.Family is { } family && Families.IsBlind(family))
            {
                // That nothing is known of a candidate is no finding against it; its own analysis waits for numbers.
                return;
            }

            if (alert.Family is Families.Drift or Families.Quality && (await monitors.ListAsync(ct)).Any(m => m.Id == alert.Monitor && m.CreatedBy == Monitors.ByDefault))
            {
                // The traffic of a candidate is that of stable, and its first window is seldom a whole one. Whoever wants drift to abort watches the candidate on purpose.
                return;
            }

            foreach (var rollout in await transitions.OpenOfAsync(alert.ModelVersion, ct))
            {
                if (rollout.Endpoint == alert.Endpoint && rollout.Status.State != RolloutState.Pending)
                {
                    await AbortAsync(Actor.System("alerts"), rollout.Id, $"alert {alert.AlertId}: {alert.Sentence}", ct);
                }
            }
        }
        else if (entry.Subject.Kind == "model-version")
        {
            foreach (var rollout in await transitions.OpenOfAsync(entry.Subject.Name, ct))
            {
                await wakeups.WakeAsync(RolloutWork.WorkKind, rollout.Id);
            }
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await foreach (var revert in routes.Reverts.ReadAllAsync(stoppingToken))
        {
            for (var attempt = 1; ; attempt++)
            {
                try
                {
                    await AbortAsync(Actor.System("serving-node"), revert.Rollout, revert.Cause, stoppingToken);
                    break;
                }
                catch (Exception failure) when (failure is not OperationCanceledException)
                {
                    // The node's own traffic is safe already; the others wait for this, so it is tried until it succeeds.
                    Log.AbortFailed(log, failure, revert.Rollout, attempt);
                    await Task.Delay(TimeSpan.FromSeconds(Math.Min(attempt, 10)), clock, stoppingToken);
                }
            }
        }
    }

    private async Task AbortAsync(Actor actor, string rollout, string cause, CancellationToken ct)
    {
        try
        {
            await rollouts.AbortAsync(actor, rollout, cause, ct);
        }
        catch (SlipwayException gone) when (gone.Code is ErrorCode.NotFound or ErrorCode.Conflict)
        {
            // It finished in the meantime: there is no candidate any more that could be taken back.
            Log.TooLate(log, rollout, gone.Sentence, cause);
        }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Error, "Rollout {Rollout} could not be aborted (attempt {Attempt}); this node serves stable only and tries again")]
        public static partial void AbortFailed(ILogger logger, Exception failure, string rollout, int attempt);

        [LoggerMessage(LogLevel.Warning, "Rollout {Rollout} was not aborted ({Why}) although: {Cause}")]
        public static partial void TooLate(ILogger logger, string rollout, string why, string cause);
    }
}
