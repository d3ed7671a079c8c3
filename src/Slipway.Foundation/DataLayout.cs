namespace Slipway.Foundation;

/// <summary>Where things lie in the data folder.</summary>
public sealed class DataLayout(string directory)
{
    public string Root { get; } = Path.GetFullPath(directory);

    public string SqliteFile => Path.Combine(Root, "slipway.db");

    public string Blobs => Path.Combine(Root, "blobs");

    public string Keys => Path.Combine(Root, "keys");

    public string Checkpoint => Path.Combine(Root, "journal", "checkpoint");

    public string Predictions => Path.Combine(Root, "predictions");

    /// <summary>Parts of uploads that are not complete.</summary>
    public string Uploads => Path.Combine(Root, "uploads");

    public string Temporary => Path.Combine(Root, "tmp");

    public string LockFile => Path.Combine(Root, "slipway.lock");
}
