namespace Slipway.Foundation;

/// <summary>Where things lie in the data folder.</summary>
/// <param name="directory">The data folder.</param>
/// <param name="node">The process's name where several share the folder: what only one may write then lies in a folder of its own.</param>
public sealed class DataLayout(string directory, string? node = null)
{
    public string Root { get; } = Path.GetFullPath(directory);

    /// <summary>What belongs to this process alone.</summary>
    public string Own => node is null ? Root : Path.Combine(Nodes, node);

    /// <summary>What belongs to the processes that share the folder, each in a folder of its name.</summary>
    public string Nodes => Path.Combine(Root, "nodes");

    public string SqliteFile => Path.Combine(Root, "slipway.db");

    public string Blobs => Path.Combine(Root, "blobs");

    public string Keys => Path.Combine(Root, "keys");

    public string Checkpoint => Path.Combine(Root, "journal", "checkpoint");

    public string Predictions => PredictionsOf(Own);

    /// <summary>The prediction log of a process whose own folder is given.</summary>
    public static string PredictionsOf(string own) => Path.Combine(own, "predictions");

    /// <summary>Parts of uploads that are not complete.</summary>
    public string Uploads => Path.Combine(Root, "uploads");

    public string Temporary => Path.Combine(Own, "tmp");

    public string LockFile => Path.Combine(Root, "slipway.lock");

    /// <summary>Whether other processes may use the folder at the same time.</summary>
    public bool Shared => node is not null;
}
