namespace Slipway.Foundation;

/// <summary>Where things lie in the data folder.</summary>
/// <param name="directory">The data folder.</param>
/// <param name="node">The process's name where several share the folder: what only one may write then lies in a folder of its own.</param>
public sealed class DataLayout(string directory, string? node = null)
{
    public string Root { get; } = Path.GetFullPath(directory);

    /// <summary>What belongs to this process alone.</summary>
    public string Own => node is null ? Root : Path.Combine(Root, "nodes", node);

    public string SqliteFile => Path.Combine(Root, "slipway.db");

    public string Blobs => Path.Combine(Root, "blobs");

    public string Keys => Path.Combine(Root, "keys");

    public string Checkpoint => Path.Combine(Root, "journal", "checkpoint");

    public string Predictions => Path.Combine(Own, "predictions");

    /// <summary>Parts of uploads that are not complete.</summary>
    public string Uploads => Path.Combine(Root, "uploads");

    public string Temporary => Path.Combine(Own, "tmp");

    public string LockFile => Path.Combine(Root, "slipway.lock");

    /// <summary>Whether other processes may use the folder at the same time.</summary>
    public bool Shared => node is not null;
}
