using Slipway.Registry;

namespace Slipway.Web.Pages;

/// <summary>A run as a point.</summary>
public sealed record PlotPoint(string Id, string Name, double X, double Y, double? Z);

/// <summary>One of several parallel axes; as text the column, and its scale after a tilde: <c>params.lr~log</c>.</summary>
/// <param name="Column">What stands on it.</param>
/// <param name="Scale"><c>linear</c>, <c>log</c> or <c>category</c>; null for what suits the values.</param>
public sealed record ParallelAxis(RunColumn Column, string? Scale = null)
{
    /// <summary>Reads the text form; null for another form.</summary>
    public static ParallelAxis? TryParse(string text)
    {
        var at = text.LastIndexOf('~');
        var scale = at > 0 ? text[(at + 1)..] : null;
        return RunColumn.TryParse(at > 0 ? text[..at] : text) is { } column ? new ParallelAxis(column, scale is "linear" or "log" or "category" ? scale : null) : null;
    }

    /// <inheritdoc/>
    public override string ToString() => Scale is null ? Column.ToString() : $"{Column}~{Scale}";
}
