using Slipway.Foundation;

namespace Slipway.Web;

/// <summary>
/// The journal as one open page sees it: one subscription to the feed for the whole circuit, shared by everything on the
/// page. Refreshes are gathered for 250 ms, so that a burst of entries draws once; while the reader has paused the page
/// they are counted and made up for on resume.
/// </summary>
internal sealed class Live : IDisposable
{
    private static readonly TimeSpan Gather = TimeSpan.FromMilliseconds(250);
    private readonly Lock gate = new();
    private readonly List<Listener> listeners = [];
    private readonly TimeProvider clock;
    private readonly IDisposable feed;

    public Live(JournalFeed feed, TimeProvider clock)
    {
        this.clock = clock;
        this.feed = feed.Subscribe(Sealed);
    }

    /// <summary>Raised when the pause or the number of waiting entries changed, on any thread.</summary>
    public event Action? Changed;

    /// <summary>True while the page stands still.</summary>
    public bool Paused { get; private set; }

    /// <summary>Entries sealed since the page was paused.</summary>
    public int Waiting { get; private set; }

    /// <summary>Calls <paramref name="refresh"/>, at most four times a second, after entries that concern it. Disposing stops it.</summary>
    public IDisposable On(Predicate<JournalEntry> concerns, Func<Task> refresh)
    {
        var listener = new Listener(this, concerns, refresh);
        lock (gate)
            listeners.Add(listener);
        return listener;
    }

    /// <summary>Stops or continues the refreshes.</summary>
    public void Pause(bool paused)
    {
        Listener[] all;
        lock (gate)
        {
            Paused = paused;
            Waiting = 0;
            all = [.. listeners];
        }

        if (!paused)
        {
            foreach (var listener in all)
                listener.Resume();
        }

        Changed?.Invoke();
    }

    public void Dispose()
    {
        feed.Dispose();
        lock (gate)
        {
            foreach (var listener in listeners)
                listener.Stop();
            listeners.Clear();
        }
    }

    private void Sealed(JournalEntry entry)
    {
        Listener[] all;
        bool paused;
        lock (gate)
        {
            paused = Paused;
            if (paused)
                Waiting++;
            all = [.. listeners];
        }

        foreach (var listener in all)
            listener.Offer(entry, paused);
        if (paused)
            Changed?.Invoke();
    }

    private sealed class Listener(Live owner, Predicate<JournalEntry> concerns, Func<Task> refresh) : IDisposable
    {
        private readonly Lock gate = new();
        private ITimer? timer;
        private bool missed;
        private bool stopped;

        public void Offer(JournalEntry entry, bool paused)
        {
            if (!concerns(entry))
                return;
            lock (gate)
            {
                if (paused)
                    missed = true;
                else
                    Arm();
            }
        }

        public void Resume()
        {
            lock (gate)
            {
                if (missed)
                    Arm();
                missed = false;
            }
        }

        public void Stop()
        {
            lock (gate)
            {
                stopped = true;
                timer?.Dispose();
                timer = null;
            }
        }

        public void Dispose()
        {
            lock (owner.gate)
                owner.listeners.Remove(this);
            Stop();
        }

        private void Arm()
        {
            if (!stopped)
                timer ??= owner.clock.CreateTimer(_ => Fire(), null, Gather, Timeout.InfiniteTimeSpan);
        }

        // The component behind the refresh shows its own failures; here nothing can be done about them.
        private void Fire()
        {
            lock (gate)
            {
                timer?.Dispose();
                timer = null;
                if (stopped)
                    return;
            }

            _ = refresh();
        }
    }
}
