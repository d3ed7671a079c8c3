using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Slipway.Foundation;

/// <summary>
/// The journal's own clock in this process: seals the outbox (PostgreSQL), signs a checkpoint at most once a second, and
/// hands new entries to the live feed, the EveryNode subscriptions and the durable ones.
/// </summary>
internal sealed partial class JournalPump(
    Database database,
    Journal journal,
    JournalKeys keys,
    JournalFeed feed,
    IEnumerable<Subscription> subscriptions,
    Wakeups wakeups,
    IServiceProvider services,
    DataLayout layout,
    TimeProvider clock,
    ILogger<JournalPump> log) : BackgroundService
{
    private static readonly TimeSpan OtherNodes = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan CheckpointEvery = TimeSpan.FromSeconds(1);

    /// <summary>Under load a round takes what gathered since the last one; alone, an entry is delivered at once.</summary>
    private static readonly TimeSpan BetweenRounds = TimeSpan.FromMilliseconds(20);
    private const int MostSealed = 500;
    private const int Page = 500;
    private readonly Subscription[] everyNode = [.. subscriptions.Where(s => s.Delivery == Delivery.EveryNode)];
    private readonly HashSet<string> everyNodeKinds = subscriptions.Where(s => s.Delivery == Delivery.EveryNode).SelectMany(s => s.Kinds).ToHashSet(StringComparer.Ordinal);
    private readonly Subscription[] once = [.. subscriptions.Where(s => s.Delivery == Delivery.Once)];
    private readonly SemaphoreSlim signal = new(0, 1);
    private long cursor;
    private long lastRound;
    private long signedSize = -1;
    private long signedAt;

    public override async Task StartAsync(CancellationToken cancellationToken)
    {
        cursor = await journal.HeadAsync(cancellationToken);
        journal.Sealed += Nudge;
        await base.StartAsync(cancellationToken);
    }

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        journal.Sealed -= Nudge;
        await base.StopAsync(cancellationToken);
        await CheckpointAsync(cancellationToken);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await RoundAsync(stoppingToken);
                // Without a local commit the wait still ends: another node may have written, or a checkpoint is due.
                await signal.WaitAsync(OtherNodes, stoppingToken);
                if (TimeProvider.System.GetElapsedTime(lastRound) is var since && since < BetweenRounds)
                {
                    await Task.Delay(BetweenRounds - since, stoppingToken);
                }

                lastRound = TimeProvider.System.GetTimestamp();
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                Log.Failed(log, e);
                await Task.Delay(OtherNodes, clock, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private async Task RoundAsync(CancellationToken ct)
    {
        if (database.Dialect.IsPostgres)
        {
            // One sealer at a time in the cluster: the fence on the journal's head refuses a second one, which then tries again.
            while (await journal.SealOutboxAsync(MostSealed, ct) == MostSealed)
            {
            }
        }

        // Most entries concern no one here: they are opened only for those who take them.
        var wanted = new HashSet<string>(StringComparer.Ordinal);
        for (; ; )
        {
            var next = await journal.KindsAsync(cursor, Page, ct);
            if (next.Count == 0)
            {
                break;
            }

            if (feed.HasListeners || next.Any(e => everyNodeKinds.Contains(e.Kind)))
            {
                await DeliverAsync(next[^1].Seq, ct);
            }

            foreach (var (_, kind) in next)
            {
                wanted.UnionWith(once.Where(s => s.Kinds.Contains(kind)).Select(s => s.Name));
            }

            cursor = next[^1].Seq;
        }

        foreach (var name in wanted)
        {
            await wakeups.WakeAsync("subscription", name);
        }

        if (clock.GetElapsedTime(signedAt) >= CheckpointEvery)
        {
            await CheckpointAsync(ct);
        }
    }

    private async Task DeliverAsync(long last, CancellationToken ct)
    {
        var page = await journal.ListAsync(new JournalFilter { AfterSeq = cursor, BeforeSeq = last + 1, Descending = false, Limit = Page }, ct);
        foreach (var entry in page.Items)
        {
            foreach (var subscription in everyNode)
            {
                if (subscription.Kinds.Contains(entry.Kind))
                {
                    await subscription.Handle(services, entry, ct);
                }
            }

            feed.Publish(entry);
            cursor = entry.Seq;
        }
    }

    private async Task CheckpointAsync(CancellationToken ct)
    {
        var tree = await journal.TreeAsync(ct);
        if (tree.Size == signedSize)
        {
            return;
        }

        signedAt = clock.GetTimestamp();
        Directory.CreateDirectory(Path.GetDirectoryName(layout.Checkpoint)!);
        var temporary = Path.Combine(layout.Temporary, "checkpoint");
        await using (var file = new FileStream(temporary, FileMode.Create, FileAccess.Write))
        {
            await file.WriteAsync(System.Text.Encoding.UTF8.GetBytes(new Checkpoint(keys.Origin, tree.Size, tree.Root()).Sign(keys)), ct);
            file.Flush(flushToDisk: true);
        }

        File.Move(temporary, layout.Checkpoint, overwrite: true);
        signedSize = tree.Size;
    }

    private void Nudge()
    {
        if (signal.CurrentCount == 0)
        {
            try
            {
                signal.Release();
            }
            catch (SemaphoreFullException)
            {
                // Another commit nudged at the same moment: one signal serves both.
            }
        }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Error, "Delivering the journal failed; it is tried again")]
        public static partial void Failed(ILogger logger, Exception e);
    }
}
