using Slipway.Foundation;

namespace Slipway.Data;

/// <summary>A named line of versions.</summary>
/// <param name="Name">Unique.</param>
/// <param name="Description">What it holds.</param>
/// <param name="Branches">Branch name to the version at its head.</param>
/// <param name="Tags">Tag to the version it names, for good.</param>
/// <param name="CreatedBy">Who made it.</param>
/// <param name="CreatedAt">When.</param>
public sealed record Dataset(
    string Name, string? Description, IReadOnlyDictionary<string, string> Branches, IReadOnlyDictionary<string, string> Tags,
    string CreatedBy, DateTimeOffset CreatedAt)
{
    public Subject Subject => new("dataset", Name);
}

/// <summary>What to commit: the whole content of the new version, not a change to the one before.</summary>
public sealed record CommitRequest
{
    /// <summary>The branch to move; it comes into being with its first commit.</summary>
    public string Branch { get; init; } = "main";

    /// <summary>Why, in words. At most 4,000 characters.</summary>
    public required string Message { get; init; }

    /// <summary>All files of the version.</summary>
    public required IReadOnlyList<CommitFile> Files { get; init; }

    /// <summary>The version id that must be the branch's head; null takes the head at the beginning of the call.</summary>
    public string? ExpectedParent { get; init; }
}

/// <summary>A file to commit.</summary>
/// <param name="Path">Its logical path, see <see cref="LogicalPath"/>.</param>
/// <param name="Open">Opens its bytes; called once.</param>
public sealed record CommitFile(string Path, Func<CancellationToken, Task<Stream>> Open)
{
    /// <summary>A file of the local disk.</summary>
    public static CommitFile FromDisk(string path, string file) =>
        new(path, _ => Task.FromResult<Stream>(new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read, 1, FileOptions.Asynchronous | FileOptions.SequentialScan)));

    /// <summary>Bytes in memory.</summary>
    public static CommitFile FromBytes(string path, byte[] bytes) => new(path, _ => Task.FromResult<Stream>(new MemoryStream(bytes, writable: false)));
}

/// <summary>An immutable version of a dataset.</summary>
/// <param name="Id">SHA-256 of its canonical manifest, 64 lower hex digits.</param>
/// <param name="Dataset">The dataset's name.</param>
/// <param name="Parent">The version before; null for the first of a branch.</param>
/// <param name="Branch">The branch it was committed to.</param>
/// <param name="Message">Why.</param>
/// <param name="Author">Who.</param>
/// <param name="At">When, to the microsecond.</param>
/// <param name="Files">Its files by path.</param>
/// <param name="Schema">The columns, where every table file of the version has the same; else null.</param>
/// <param name="Profile">What the columns hold, over all table files together; null exactly when <paramref name="Schema"/> is.</param>
public sealed record DatasetVersion(
    string Id, string Dataset, string? Parent, string Branch, string Message, string Author, DateTimeOffset At,
    IReadOnlyList<DataFile> Files, TableSchema? Schema, TableProfile? Profile)
{
    public Subject Subject => new("dataset-version", $"{Dataset}/{Id}");
}

/// <summary>A file of a version.</summary>
/// <param name="Path">Logical path.</param>
/// <param name="Hash">SHA-256 of its bytes, under which the blob store has it.</param>
/// <param name="Size">Bytes.</param>
/// <param name="Rows">Rows, where it is a table (CSV or Parquet).</param>
public sealed record DataFile(string Path, string Hash, long Size, long? Rows);

/// <summary>The columns of a table, in order.</summary>
/// <param name="Columns">The columns.</param>
public sealed record TableSchema(IReadOnlyList<ColumnSchema> Columns);

/// <summary>One column.</summary>
/// <param name="Name">As in the file.</param>
/// <param name="Type">SQL type as DuckDB names it, e.g. <c>BIGINT</c>, <c>DOUBLE</c>, <c>VARCHAR</c>, <c>TIMESTAMP</c>.</param>
/// <param name="Nullable">Whether a value is missing anywhere in the version.</param>
public sealed record ColumnSchema(string Name, string Type, bool Nullable);
