namespace Slipway.Governance;

/// <summary>The known name that a misspelt one most likely meant, by edit distance.</summary>
public static class Nearest
{
    private const int LongestCompared = 64;

    /// <summary>"did you mean 'x'?", or null when nothing is close.</summary>
    public static string? Hint(string word, IEnumerable<string> known) =>
        Of(word, known) is { } best ? $"did you mean '{best}'?" : null;

    /// <summary>The closest name, at most a third of its length (and at least 2 edits) away; null when nothing is that close.</summary>
    public static string? Of(string word, IEnumerable<string> known)
    {
        if (word.Length > LongestCompared) return null;
        return known
            .Select(name => (name, edits: Distance(word, name)))
            .Where(x => x.edits <= Math.Max(2, x.name.Length / 3))
            .OrderBy(x => x.edits).ThenBy(x => x.name, StringComparer.Ordinal)
            .Select(x => x.name)
            .FirstOrDefault();
    }

    private static int Distance(string a, string b)
    {
        var previous = Enumerable.Range(0, b.Length + 1).ToArray();
        var current = new int[b.Length + 1];
        for (var i = 1; i <= a.Length; i++)
        {
            current[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                var substitute = previous[j - 1] + (char.ToLowerInvariant(a[i - 1]) == char.ToLowerInvariant(b[j - 1]) ? 0 : 1);
                current[j] = Math.Min(substitute, Math.Min(previous[j], current[j - 1]) + 1);
            }
            (previous, current) = (current, previous);
        }
        return previous[b.Length];
    }
}
