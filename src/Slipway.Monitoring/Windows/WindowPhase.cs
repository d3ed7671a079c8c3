namespace Slipway.Monitoring;

/// <summary>Whether the numbers of a window may still move.</summary>
public static class WindowPhase
{
    /// <summary>Its time is over, and rows may come until the watermark has passed its end: a look ahead that no alert rests on.</summary>
    public const string Provisional = "provisional";

    /// <summary>The watermark has passed its end: judged. Labels, and where that is told late rows, make new revisions.</summary>
    public const string Final = "final";

    /// <summary>Predictions or labels that it counts were deleted; it is measured again without them.</summary>
    public const string Stale = "stale";
}
