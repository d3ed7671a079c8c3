using System.Globalization;
using Slipway.Registry;

namespace Slipway.Web.Charts;

/// <summary>How a metric chart is drawn. Its text form stands in the address: <c>x:relative;z:20~60;y:log;s:ema~0.6;o:hide;b:minmax</c>.</summary>
/// <param name="X"><c>step</c>, <c>epoch</c>, <c>relative</c>, <c>wall</c>, <c>version</c>, or <c>metric</c>.</param>
/// <param name="XKey">For <c>metric</c>: the metric on x.</param>
/// <param name="Log">True for a logarithmic y axis.</param>
/// <param name="Smooth">How the curves are smoothed.</param>
/// <param name="Amount">Weight of the past, or share of the points in the window.</param>
/// <param name="HideOutliers">True when the y axis ends at the 1st and 99th percentile.</param>
/// <param name="Band">The band of a group: <c>std</c>, <c>minmax</c> or <c>none</c>.</param>
/// <param name="Large">The metric whose chart takes the whole width.</param>
/// <param name="From">Where the part of x that is shown begins, in percent.</param>
/// <param name="To">Where it ends, in percent.</param>
public sealed record ChartSettings(string X = "step", string? XKey = null, bool Log = false, Smoothing Smooth = Smoothing.None, double Amount = 0.6, bool HideOutliers = false, string Band = "std", string? Large = null, int From = 0, int To = 100)
{
    private static readonly string[] Axes = ["step", "epoch", "relative", "wall", "version", "metric"];

    /// <summary>The axis as the registry knows it.</summary>
    public SeriesAxis Axis => X switch
    {
        "relative" => SeriesAxis.Relative,
        "wall" => SeriesAxis.Wall,
        "epoch" or "metric" => SeriesAxis.Metric,
        _ => SeriesAxis.Step,
    };

    /// <summary>The metric on x, if any. An epoch is what clients log under that name.</summary>
    public string? AxisKey => X == "epoch" ? "epoch" : X == "metric" ? XKey : null;

    /// <summary>True when only a part of x is shown.</summary>
    public bool Zoomed => From > 0 || To < 100;

    /// <summary>What the x axis says.</summary>
    public string XName => X switch
    {
        "relative" => "seconds since the start",
        "wall" => "time (UTC)",
        "metric" => XKey ?? "another metric",
        _ => X,
    };

    /// <summary>Reads the text form; what cannot be read stays at its default.</summary>
    public static ChartSettings Parse(string? text)
    {
        var settings = new ChartSettings();
        foreach (var part in text?.Split(';', StringSplitOptions.RemoveEmptyEntries) ?? [])
        {
            var colon = part.IndexOf(':', StringComparison.Ordinal);
            if (colon < 0)
                continue;
            var value = part[(colon + 1)..];
            var tilde = value.IndexOf('~', StringComparison.Ordinal);
            var (word, rest) = tilde < 0 ? (value, null) : (value[..tilde], value[(tilde + 1)..]);
            settings = part[..colon] switch
            {
                "x" when Axes.Contains(word, StringComparer.Ordinal) && (word != "metric" || rest is not null) => settings with { X = word, XKey = rest },
                "y" => settings with { Log = word == "log" },
                "s" when word is "ema" or "centred" && double.TryParse(rest, NumberStyles.Float, CultureInfo.InvariantCulture, out var amount) && amount is >= 0 and <= 1 =>
                    settings with { Smooth = word == "ema" ? Smoothing.Ema : Smoothing.Centred, Amount = amount },
                "o" => settings with { HideOutliers = word == "hide" },
                "b" when word is "std" or "minmax" or "none" => settings with { Band = word },
                "l" => settings with { Large = value },
                "z" when int.TryParse(word, CultureInfo.InvariantCulture, out var from) && int.TryParse(rest, CultureInfo.InvariantCulture, out var to) && from >= 0 && to <= 100 && from < to =>
                    settings with { From = from, To = to },
                _ => settings,
            };
        }

        return settings;
    }

    /// <summary>The text form; null when all is at its default.</summary>
    public string? Write()
    {
        List<string> parts = [];
        if (X != "step")
            parts.Add(X == "metric" ? $"x:metric~{XKey}" : $"x:{X}");
        if (Zoomed)
            parts.Add(FormattableString.Invariant($"z:{From}~{To}"));
        if (Log)
            parts.Add("y:log");
        if (Smooth != Smoothing.None)
            parts.Add(FormattableString.Invariant($"s:{(Smooth == Smoothing.Ema ? "ema" : "centred")}~{Amount:0.###}"));
        if (HideOutliers)
            parts.Add("o:hide");
        if (Band != "std")
            parts.Add($"b:{Band}");
        if (Large is not null)
            parts.Add($"l:{Large}");
        return parts.Count == 0 ? null : string.Join(';', parts);
    }
}

/// <summary>One line of a metric chart.</summary>
/// <param name="Id">Tells it from the others, for example the run's id.</param>
/// <param name="Name">Its full name.</param>
/// <param name="Color">A theme colour such as <c>--series-1</c>.</param>
/// <param name="Points">As logged, ordered by x.</param>
/// <param name="Smooth">Smoothed; empty when it is not.</param>
public sealed record Curve(string Id, string Name, string Color, IReadOnlyList<SeriesPoint> Points, IReadOnlyList<SeriesPoint> Smooth);

/// <summary>Something that happened at a place on x.</summary>
/// <param name="X">Where: Unix milliseconds, or a version.</param>
/// <param name="Name">What, in a few words.</param>
/// <param name="Tone">Theme colour.</param>
public sealed record ChartMark(double X, string Name, string Tone);

/// <summary>A group of curves as its mean with a band.</summary>
/// <param name="Name">The group.</param>
/// <param name="Color">Theme colour.</param>
/// <param name="Points">Mean, lower and upper edge, and how many curves have a value there.</param>
public sealed record GroupBand(string Name, string Color, IReadOnlyList<(double X, double Mean, double Low, double High, int N)> Points);
