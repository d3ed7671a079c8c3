namespace Slipway.Cli;

/// <summary>The known name that a misspelt one most likely meant.</summary>
internal static class Nearest
{
    private const int Longest = 64;

    /// <summary>The closest name by edit distance, at most a third of its length or two edits away; null when none is.</summary>
    public static string? Of(string word, IEnumerable<string> known) => word.Length > Longest ? null : known
        .Where(name => name.Length <= Longest)
        .Select(name => (Name: name, Edits: Distance(word, name)))
        .Where(n => n.Edits <= Math.Max(2, n.Name.Length / 3) && n.Edits < n.Name.Length)
        .OrderBy(n => n.Edits).ThenBy(n => n.Name, StringComparer.Ordinal)
        .Select(n => n.Name)
        .FirstOrDefault();

    private static int Distance(string a, string b)
    {
        var row = Enumerable.Range(0, b.Length + 1).ToArray();
        for (var i = 1; i <= a.Length; i++)
        {
            var diagonal = row[0];
            row[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                var replaced = diagonal + (char.ToLowerInvariant(a[i - 1]) == char.ToLowerInvariant(b[j - 1]) ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.Min(replaced, Math.Min(row[j], row[j - 1]) + 1);
            }
        }

        return row[b.Length];
    }
}
