using System.Collections.Concurrent;

namespace Slipway.Registry;

/// <summary>Runs as they were read, each under its revision: one that did not change since is neither read nor put together again.</summary>
/// <remarks>Two generations bound the memory: a full young one becomes the old one, and what is asked for again moves to the young.</remarks>
internal sealed class RunCache
{
    /// <summary>Of one generation, estimated.</summary>
    private const long MostBytes = 32 * 1024 * 1024;
    private readonly Lock gate = new();
    private volatile ConcurrentDictionary<string, (long Revision, Run Run)> young = new(StringComparer.Ordinal);
    private volatile ConcurrentDictionary<string, (long Revision, Run Run)> old = new(StringComparer.Ordinal);
    private long bytes;

    /// <summary>The run, or null when it is not known under this revision.</summary>
    public Run? Find(string id, long revision)
    {
        if (young.TryGetValue(id, out var known))
        {
            return known.Revision == revision ? known.Run : null;
        }

        if (!old.TryGetValue(id, out known) || known.Revision != revision)
        {
            return null;
        }

        Keep(revision, known.Run);
        return known.Run;
    }

    public void Keep(long revision, Run run)
    {
        young[run.Id] = (revision, run);
        if (Interlocked.Add(ref bytes, Size(run)) > MostBytes)
        {
            lock (gate)
            {
                if (bytes > MostBytes)
                {
                    (old, young, bytes) = (young, new(StringComparer.Ordinal), 0);
                }
            }
        }
    }

    /// <summary>The run's memory, and as much again for its text as it is sent.</summary>
    private static long Size(Run run)
    {
        long characters = run.Metrics.Sum(m => m.Key.Length) + run.Params.Sum(p => p.Key.Length + p.Value.Length) + run.Tags.Sum(t => t.Key.Length + t.Value.Length)
            + run.Inputs.Sum(i => i.Source.Length + (i.Schema?.Length ?? 0) + (i.Profile?.Length ?? 0) + 200);
        return 2000 + (100 * (run.Metrics.Count + run.Params.Count + run.Tags.Count + run.ModelInputs.Count + run.ModelOutputs.Count)) + (3 * characters);
    }
}
