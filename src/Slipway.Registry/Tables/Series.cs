using System.Runtime.InteropServices;

namespace Slipway.Registry;

/// <summary>What the x axis of a curve is.</summary>
public enum SeriesAxis
{
    /// <summary>The step of the point.</summary>
    Step,

    /// <summary>Unix milliseconds.</summary>
    Wall,

    /// <summary>Seconds since the run's first point of the metric.</summary>
    Relative,

    /// <summary>The value of another metric at the same step; points at steps that it lacks are left out.</summary>
    Metric,
}

/// <summary>How a curve is smoothed.</summary>
public enum Smoothing
{
    /// <summary>Not at all.</summary>
    None,

    /// <summary>Exponential moving average, corrected for its start at zero (Kingma and Ba 2015, section 3).</summary>
    Ema,

    /// <summary>Mean over a window that is centred on the point.</summary>
    Centred,
}

/// <summary>Which curves to read.</summary>
public sealed record SeriesQuery
{
    /// <summary>Most runs at once.</summary>
    public const int MostRuns = 1000;

    /// <summary>Runs.</summary>
    public required IReadOnlyList<string> RunIds { get; init; }

    /// <summary>The metric.</summary>
    public required string Key { get; init; }

    /// <summary>The x axis.</summary>
    public SeriesAxis Axis { get; init; }

    /// <summary>For <see cref="SeriesAxis.Metric"/>: the metric on x.</summary>
    public string? AxisKey { get; init; }

    /// <summary>Bins on x, as many as there are pixels; the smallest and the largest point of each are kept.</summary>
    public int Bins { get; init; } = 400;

    /// <summary>Smoothing; it sees all points, before they are sampled.</summary>
    public Smoothing Smoothing { get; init; }

    /// <summary>Weight of the past for <see cref="Smoothing.Ema"/>, 0 up to 1; share of the curve's points in the window for <see cref="Smoothing.Centred"/>.</summary>
    public double Amount { get; init; } = 0.6;

    /// <summary>Where the part of x that is wanted begins, as a share of what all the curves span: 0 to 1.</summary>
    public double From { get; init; }

    /// <summary>Where it ends: above <see cref="From"/>, up to 1. A part is sampled anew, so it shows what the whole had no room for.</summary>
    public double To { get; init; } = 1;
}

/// <summary>A point of a curve.</summary>
[StructLayout(LayoutKind.Auto)]
public readonly record struct SeriesPoint(double X, double Y, long Step);

/// <summary>One run's curve, ordered by x. Points that are not finite are left out of the curve and counted.</summary>
/// <param name="RunId">The run.</param>
/// <param name="Points">The curve as logged: all points, or the smallest and largest of each bin.</param>
/// <param name="Smooth">The smoothed curve, sampled in the same way; empty when not asked for.</param>
/// <param name="Total">Points that were logged within the part of x that was asked for.</param>
/// <param name="NotFinite">Of these, NaN and infinities.</param>
public sealed record RunSeries(string RunId, IReadOnlyList<SeriesPoint> Points, IReadOnlyList<SeriesPoint> Smooth, int Total, int NotFinite)
{
    /// <summary>True when <see cref="Points"/> is a part of what was logged.</summary>
    public bool Sampled => Points.Count < Total - NotFinite;
}
