namespace Slipway.Registry;

/// <summary>Turns a metric's history into a curve with few points that looks like the whole.</summary>
internal static class SeriesSampling
{
    /// <summary>Curves of runs whose points are placed on x, of which the part that is asked for is kept.</summary>
    public static IReadOnlyList<RunSeries> Of(IReadOnlyList<(string Id, List<SeriesPoint> Points)> runs, SeriesQuery query)
    {
        var (from, to) = Part(runs, query);
        return [.. runs.Select(run => Of(run.Id, run.Points, from, to, query))];
    }

    private static RunSeries Of(string runId, List<SeriesPoint> points, double from, double to, SeriesQuery query)
    {
        var finite = points.Where(p => double.IsFinite(p.Y)).ToList();
        var total = points.Count(p => p.X >= from && p.X <= to);
        var shown = Within(finite);

        // A smoothed point knows its neighbours outside of the part as well.
        IReadOnlyList<SeriesPoint> smooth = query.Smoothing switch
        {
            Smoothing.Ema => MinMax(Within(Ema(finite, query.Amount)), query.Bins),
            Smoothing.Centred => MinMax(Within(Centred(finite, query.Amount)), query.Bins),
            _ => [],
        };
        return new RunSeries(runId, MinMax(shown, query.Bins), smooth, total, total - shown.Count);

        IReadOnlyList<SeriesPoint> Within(IReadOnlyList<SeriesPoint> all) => double.IsInfinity(from) ? all : [.. all.Where(p => p.X >= from && p.X <= to)];
    }

    private static (double From, double To) Part(IReadOnlyList<(string Id, List<SeriesPoint> Points)> runs, SeriesQuery query)
    {
        var placed = runs.Where(r => r.Points.Count > 0).Select(r => r.Points).ToList();
        if (placed.Count == 0 || query is { From: 0, To: 1 })
        {
            return (double.NegativeInfinity, double.PositiveInfinity);
        }

        var (start, end) = (placed.Min(p => p[0].X), placed.Max(p => p[^1].X));
        return (start + (query.From * (end - start)), start + (query.To * (end - start)));
    }

    /// <summary>The smallest and the largest point of each bin, in the order of x, with the first and the last of the curve: no peak is lost, which averages and every n-th point would do.</summary>
    public static IReadOnlyList<SeriesPoint> MinMax(IReadOnlyList<SeriesPoint> points, int bins)
    {
        if (points.Count <= bins * 2)
        {
            return points;
        }

        var (start, end) = (points[0].X, points[^1].X);
        var width = (end - start) / bins;
        var kept = new List<SeriesPoint>(bins * 2) { points[0] };
        var (bin, low, high) = (0, 1, 1);
        for (var i = 1; i < points.Count - 1; i++)
        {
            var at = width > 0 ? Math.Min(bins - 1, (int)((points[i].X - start) / width)) : 0;
            if (at != bin)
            {
                Keep(i);
                (bin, low, high) = (at, i, i);
            }

            low = points[i].Y < points[low].Y ? i : low;
            high = points[i].Y > points[high].Y ? i : high;
        }

        Keep(points.Count - 1);
        kept.Add(points[^1]);
        return kept;

        void Keep(int next)
        {
            if (low >= next)
            {
                return;
            }

            kept.Add(points[Math.Min(low, high)]);
            if (low != high)
            {
                kept.Add(points[Math.Max(low, high)]);
            }
        }
    }

    public static IReadOnlyList<SeriesPoint> Ema(IReadOnlyList<SeriesPoint> points, double weight)
    {
        weight = Math.Clamp(weight, 0, 0.9999);
        var (average, power) = (0d, 1d);
        var result = new SeriesPoint[points.Count];
        for (var i = 0; i < points.Count; i++)
        {
            average = (weight * average) + ((1 - weight) * points[i].Y);
            power *= weight;
            result[i] = points[i] with { Y = average / (1 - power) };
        }

        return result;
    }

    /// <summary>At the ends the window is cut on both sides alike, so that it stays centred.</summary>
    public static IReadOnlyList<SeriesPoint> Centred(IReadOnlyList<SeriesPoint> points, double share)
    {
        var half = (int)(Math.Clamp(share, 0, 1) * points.Count / 2);
        var sums = new double[points.Count + 1];
        for (var i = 0; i < points.Count; i++)
        {
            sums[i + 1] = sums[i] + points[i].Y;
        }

        var result = new SeriesPoint[points.Count];
        for (var i = 0; i < points.Count; i++)
        {
            var reach = Math.Min(half, Math.Min(i, points.Count - 1 - i));
            result[i] = points[i] with { Y = (sums[i + reach + 1] - sums[i - reach]) / ((2 * reach) + 1) };
        }

        return result;
    }

    /// <summary>Where each point of a history stands on x, in the order of x.</summary>
    public static List<SeriesPoint> Place(IReadOnlyList<MetricPoint> history, IReadOnlyList<MetricPoint>? other, SeriesQuery query)
    {
        var start = history.Count > 0 ? history[0].TimestampMs : 0;
        var byStep = other?.GroupBy(p => p.Step).ToDictionary(g => g.Key, g => g.Last().Value);
        var points = new List<SeriesPoint>(history.Count);
        foreach (var point in history)
        {
            double? x = query.Axis switch
            {
                SeriesAxis.Wall => point.TimestampMs,
                SeriesAxis.Relative => (point.TimestampMs - start) / 1000d,
                SeriesAxis.Metric => byStep?.TryGetValue(point.Step, out var value) == true && double.IsFinite(value) ? value : null,
                _ => point.Step,
            };
            if (x is { } placed)
            {
                points.Add(new SeriesPoint(placed, point.Value, point.Step));
            }
        }

        // Histories come by time, which is the order of x as well unless steps or another metric run backwards.
        for (var i = 1; i < points.Count; i++)
        {
            if (points[i].X < points[i - 1].X)
            {
                return [.. points.OrderBy(p => p.X)];
            }
        }

        return points;
    }
}
