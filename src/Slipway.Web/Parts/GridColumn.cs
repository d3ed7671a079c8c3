using Microsoft.AspNetCore.Components;

namespace Slipway.Web.Parts;

/// <summary>One column of a <c>DataGrid</c>.</summary>
/// <param name="Key">Tells it from the others; it stands in the address.</param>
/// <param name="Name">Its header.</param>
/// <param name="Cell">How a row fills it.</param>
/// <param name="Number">True for numbers, which are set in tabular figures at the right.</param>
/// <param name="Width">Width in CSS pixels until the reader changes it.</param>
/// <param name="Sortable">True when the rows can be ordered by it.</param>
/// <param name="Title">What it holds, for the pointer and screen readers.</param>
/// <param name="Fixed">True for a column that is always first and cannot be hidden.</param>
public sealed record GridColumn<TRow>(string Key, string Name, RenderFragment<TRow> Cell, bool Number = false, int Width = 120, bool Sortable = true, string? Title = null, bool Fixed = false)
{
    /// <summary>What stands above the name in small type, for example the kind of the key.</summary>
    public string? Over { get; init; }
}

/// <summary>Which rows and columns a <c>DataGrid</c> asks for.</summary>
/// <param name="Start">Position of the first row.</param>
/// <param name="Count">Number of rows.</param>
/// <param name="Columns">Keys of the columns in view.</param>
public sealed record GridWindow(int Start, int Count, IReadOnlyList<string> Columns);
