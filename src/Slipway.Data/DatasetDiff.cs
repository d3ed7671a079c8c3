namespace Slipway.Data;

/// <summary>What changed from one version to another.</summary>
/// <param name="From">Id of the version before.</param>
/// <param name="To">Id of the version after.</param>
/// <param name="Added">Files only in the later one.</param>
/// <param name="Removed">Files only in the earlier one.</param>
/// <param name="Changed">Files with the same path and other bytes.</param>
/// <param name="Renamed">Files with the same bytes and another path.</param>
/// <param name="RowsBefore">Rows of the table before; null without one.</param>
/// <param name="RowsAfter">Rows of the table after; null without one.</param>
/// <param name="Columns">Columns that came, went, changed their type or hold something else. Columns with equal profiles are left out.</param>
public sealed record DatasetDiff(
    string From, string To, IReadOnlyList<DataFile> Added, IReadOnlyList<DataFile> Removed, IReadOnlyList<FileChange> Changed, IReadOnlyList<FileRename> Renamed,
    long? RowsBefore, long? RowsAfter, IReadOnlyList<ColumnDelta> Columns)
{
    /// <summary>True when no file differs.</summary>
    public bool IsEmpty => Added.Count + Removed.Count + Changed.Count + Renamed.Count == 0;

    /// <summary>Compares two versions: a pure function.</summary>
    public static DatasetDiff Between(DatasetVersion from, DatasetVersion to)
    {
        var before = from.Files.ToDictionary(f => f.Path, StringComparer.Ordinal);
        var after = to.Files.ToDictionary(f => f.Path, StringComparer.Ordinal);
        var added = to.Files.Where(f => !before.ContainsKey(f.Path)).ToList();
        var removed = from.Files.Where(f => !after.ContainsKey(f.Path)).ToList();
        var changed = from.Files.Where(f => after.TryGetValue(f.Path, out var now) && now.Hash != f.Hash).Select(f => new FileChange(f.Path, f, after[f.Path])).ToList();

        var renamed = new List<FileRename>();
        var gone = removed.GroupBy(f => f.Hash, StringComparer.Ordinal).ToDictionary(g => g.Key, g => new Queue<DataFile>(g), StringComparer.Ordinal);
        foreach (var file in added)
        {
            if (gone.TryGetValue(file.Hash, out var same) && same.TryDequeue(out var old)) renamed.Add(new FileRename(old.Path, file.Path, file));
        }
        added.RemoveAll(f => renamed.Exists(r => r.To == f.Path));
        removed.RemoveAll(f => renamed.Exists(r => r.From == f.Path));
        return new DatasetDiff(from.Id, to.Id, added, removed, changed, renamed, from.Profile?.Rows, to.Profile?.Rows, Compare(from.Profile, to.Profile));
    }

    private static List<ColumnDelta> Compare(TableProfile? from, TableProfile? to)
    {
        var deltas = new List<ColumnDelta>();
        foreach (var column in from?.Columns ?? [])
        {
            var now = to?.Find(column.Name);
            if (now is null) deltas.Add(new ColumnDelta(column.Name, "removed", column, null));
            else if (now.Type != column.Type) deltas.Add(new ColumnDelta(column.Name, "retyped", column, now));
            else if (!Same(column, now)) deltas.Add(new ColumnDelta(column.Name, "changed", column, now));
        }
        foreach (var column in to?.Columns ?? [])
        {
            if (from?.Find(column.Name) is null) deltas.Add(new ColumnDelta(column.Name, "added", null, column));
        }
        return deltas;
    }

    // Lists inside records compare by reference, so they are compared apart.
    private static bool Same(ColumnProfile a, ColumnProfile b) =>
        a with { Quantiles = [], Top = [] } == b with { Quantiles = [], Top = [] } && a.Quantiles.SequenceEqual(b.Quantiles) && a.Top.SequenceEqual(b.Top);
}

/// <summary>A file whose bytes changed.</summary>
/// <param name="Path">Its path.</param>
/// <param name="Before">The file before.</param>
/// <param name="After">The file after.</param>
public sealed record FileChange(string Path, DataFile Before, DataFile After);

/// <summary>A file that only moved.</summary>
/// <param name="From">Path before.</param>
/// <param name="To">Path after.</param>
/// <param name="File">The file.</param>
public sealed record FileRename(string From, string To, DataFile File);

/// <summary>How a column changed.</summary>
/// <param name="Name">The column.</param>
/// <param name="Kind"><c>added</c>, <c>removed</c>, <c>retyped</c> or <c>changed</c>.</param>
/// <param name="Before">Its profile before.</param>
/// <param name="After">Its profile after.</param>
public sealed record ColumnDelta(string Name, string Kind, ColumnProfile? Before, ColumnProfile? After)
{
    /// <summary>Mean after minus mean before, where both are known.</summary>
    public double? MeanChange => After?.Mean - Before?.Mean;

    /// <summary>Share of missing values after minus before (-1 to 1), where both are known and have rows.</summary>
    public double? MissingShareChange => Share(After) - Share(Before);

    private static double? Share(ColumnProfile? p) => p is null || p.Count + p.Missing == 0 ? null : (double)p.Missing / (p.Count + p.Missing);
}
