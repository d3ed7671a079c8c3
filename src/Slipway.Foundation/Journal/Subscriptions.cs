using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Slipway.Foundation;

/// <summary>How often an entry is delivered to a subscription.</summary>
public enum Delivery
{
    /// <summary>To one consumer in the cluster, from a durable cursor, at least once.</summary>
    Once,

    /// <summary>To every process, from the moment it started.</summary>
    EveryNode,
}

/// <summary>A reaction to journal entries. Handlers are idempotent: an entry may come again after a crash.</summary>
/// <param name="Name">Unique; names the durable cursor.</param>
/// <param name="Delivery">Once or on every node.</param>
/// <param name="Kinds">The kinds it takes, exactly.</param>
/// <param name="Handle">The handler; a failure is retried with a growing pause and holds back the later entries.</param>
public sealed record Subscription(string Name, Delivery Delivery, IReadOnlyList<string> Kinds, Func<IServiceProvider, JournalEntry, CancellationToken, Task> Handle);

/// <summary>Where a durable subscription stands.</summary>
public sealed record SubscriptionState(string Name, long Seq, long Failures, string? LastError);

/// <summary>Delivers entries to the Once subscriptions, each as one piece of clocked work.</summary>
internal sealed partial class SubscriptionWork(Database database, Journal journal, IEnumerable<Subscription> subscriptions, IServiceProvider services, TimeProvider clock, ILogger<SubscriptionWork> log) : IClockedWork
{
    private const int BatchSize = 200;

    /// <summary>A cursor that only passed over entries of other kinds is written after so many.</summary>
    private const int Unsaved = 10_000;
    private readonly Dictionary<string, Subscription> once = subscriptions.Where(s => s.Delivery == Delivery.Once).ToDictionary(s => s.Name, StringComparer.Ordinal);

    public string Kind => "subscription";

    public Task<IReadOnlyList<string>> OpenAsync(CancellationToken ct) => Task.FromResult<IReadOnlyList<string>>([.. once.Keys]);

    public async Task<DateTimeOffset?> StepAsync(string key, CancellationToken ct)
    {
        if (!once.TryGetValue(key, out var subscription))
        {
            return null;
        }

        var state = await database.ReadAsync(s => s.FindAsync<CursorRow>("SELECT seq AS Seq, failures AS Failures FROM journal_cursors WHERE name = @key", new { key }), ct) ?? new CursorRow();
        // Everything up to the head that is of another kind is passed over without being read.
        var head = await journal.HeadAsync(ct);
        var saved = state.Seq;
        while (state.Seq < head)
        {
            var entries = await journal.OfKindsAsync(subscription.Kinds, state.Seq, head, BatchSize, ct);
            foreach (var entry in entries)
            {
                try
                {
                    await subscription.Handle(services, entry, ct);
                }
                catch (Exception e) when (!ct.IsCancellationRequested)
                {
                    state.Failures++;
                    state.Seq = entry.Seq - 1;
                    Log.Failed(log, e, key, entry.Seq, entry.Kind, state.Failures);
                    await SaveAsync(key, state, e.Message, ct);
                    return clock.GetUtcNow() + TimeSpan.FromSeconds(Math.Min(60, Math.Pow(2, Math.Min(state.Failures, 6)) / 4));
                }

                state.Failures = 0;
                state.Seq = entry.Seq;
                await SaveAsync(key, state, null, ct);
                saved = state.Seq;
            }

            if (entries.Count < BatchSize)
            {
                state.Seq = head;
            }
        }

        if (state.Seq - saved >= Unsaved)
        {
            await SaveAsync(key, state, null, ct);
        }

        return null;
    }

    private Task SaveAsync(string name, CursorRow state, string? error, CancellationToken ct) => database.WriteAsync(
        tx => tx.ExecuteAsync(
            "INSERT INTO journal_cursors (name, seq, failures, last_error) VALUES (@name, @Seq, @Failures, @error) ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, failures = excluded.failures, last_error = excluded.last_error",
            new { name, state.Seq, state.Failures, error }),
        ct);

    private sealed class CursorRow
    {
        public long Seq { get; set; }

        public long Failures { get; set; }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Error, "Subscription {Name} failed at entry {Seq} ({Kind}), failure {Failures}; it is retried")]
        public static partial void Failed(ILogger logger, Exception e, string name, long seq, string kind, long failures);
    }
}

/// <summary>The live feed inside this process: every sealed entry, in order, from the moment the server started.</summary>
public sealed class JournalFeed
{
    private readonly Lock gate = new();
    private Action<JournalEntry>[] listeners = [];

    /// <summary>Calls the listener for each entry until the result is disposed. It returns at once and throws nothing.</summary>
    public IDisposable Subscribe(Action<JournalEntry> onSealed)
    {
        lock (gate)
        {
            listeners = [.. listeners, onSealed];
        }

        return new Handle(this, onSealed);
    }

    internal bool HasListeners => listeners.Length > 0;

    internal void Publish(JournalEntry entry)
    {
        foreach (var listener in listeners)
        {
            listener(entry);
        }
    }

    private sealed class Handle(JournalFeed feed, Action<JournalEntry> listener) : IDisposable
    {
        public void Dispose()
        {
            lock (feed.gate)
            {
                feed.listeners = [.. feed.listeners.Where(l => l != listener)];
            }
        }
    }
}

/// <summary>Adds reactions to the journal.</summary>
public static class SubscriptionRegistration
{
    /// <summary>Registers a handler of another service for some kinds of entries.</summary>
    public static IServiceCollection AddSubscription<THandler>(this IServiceCollection services, string name, Delivery delivery, string[] kinds, Func<THandler, JournalEntry, CancellationToken, Task> handle)
        where THandler : notnull =>
        services.AddSingleton(new Subscription(name, delivery, kinds, (provider, entry, ct) => handle(provider.GetRequiredService<THandler>(), entry, ct)));
}
