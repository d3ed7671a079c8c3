namespace Slipway.Foundation;

/// <summary>Where the truth lies.</summary>
public sealed record FoundationOptions
{
    /// <summary>The data folder. Created when absent, with access for its owner only.</summary>
    public required string DataDirectory { get; init; }

    /// <summary>This process's name among those that share the database and the data folder; null: it is alone.</summary>
    public string? Node { get; init; }

    /// <summary>Whether a commit on SQLite waits for the disk (default), or only for the operating system.</summary>
    public bool SynchronousFull { get; init; } = true;

    /// <summary>Everything that is wrong, not only the first thing.</summary>
    public IEnumerable<string> Problems()
    {
        if (string.IsNullOrWhiteSpace(DataDirectory))
        {
            yield return "data: the data folder has no name";
        }
        else if (File.Exists(DataDirectory))
        {
            yield return $"data: \"{DataDirectory}\" is a file, not a folder";
        }

        if (Node is not null && (Node.Length is 0 or > 40 || Node[0] == '-' || !Node.All(c => c is (>= 'a' and <= 'z') or (>= '0' and <= '9') or '-')))
        {
            yield return $"node: \"{Node}\" is not a name of 1 to 40 lower-case letters, digits and hyphens";
        }
    }
}
