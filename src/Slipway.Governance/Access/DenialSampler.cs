namespace Slipway.Governance;

/// <summary>
/// Lets the first refusals of an actor in each minute into the journal and counts the rest, so that a flood of refused requests
/// can neither fill the journal nor go unseen: the next entry says how many were left out.
/// </summary>
internal sealed class DenialSampler
{
    private const int PerMinute = 20;
    private const int MaxActors = 10_000;

    private readonly Dictionary<string, Window> windows = new(StringComparer.Ordinal);
    private readonly Lock gate = new();

    /// <param name="actor">Who was refused.</param>
    /// <param name="now">When.</param>
    /// <param name="unwritten">Refusals of this actor since its last entry that were not written.</param>
    /// <returns>True when this refusal is to be written.</returns>
    public bool Take(string actor, DateTimeOffset now, out long unwritten)
    {
        unwritten = 0;
        lock (gate)
        {
            if (windows.Count >= MaxActors && !windows.ContainsKey(actor)) windows.Clear();
            if (!windows.TryGetValue(actor, out var window)) windows[actor] = window = new Window();
            if (now - window.Start >= TimeSpan.FromMinutes(1)) (window.Start, window.Written) = (now, 0);
            if (window.Written >= PerMinute) { window.Unwritten++; return false; }
            window.Written++;
            (unwritten, window.Unwritten) = (window.Unwritten, 0);
            return true;
        }
    }

    private sealed class Window
    {
        public DateTimeOffset Start { get; set; }
        public int Written { get; set; }
        public long Unwritten { get; set; }
    }
}
