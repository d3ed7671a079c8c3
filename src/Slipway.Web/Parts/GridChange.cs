namespace Slipway.Web.Parts;

/// <summary>What a reader did to a column of a <c>DataGrid</c>.</summary>
public enum GridChange
{
    /// <summary>Keep it at the left.</summary>
    Pin,

    /// <summary>Let it scroll again.</summary>
    Unpin,

    /// <summary>One place to the left.</summary>
    Left,

    /// <summary>One place to the right.</summary>
    Right,

    /// <summary>Take it out of the table.</summary>
    Hide,
}
