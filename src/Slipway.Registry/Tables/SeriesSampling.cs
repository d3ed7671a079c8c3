namespace Slipway.Registry;

/// <summary>Turns a metric's history into a curve with few points that looks like the whole.</summary>
internal static class SeriesSampling
{
    public static RunSeries Of(string runId, IReadOnlyList<MetricPoint> history, IReadOnlyList<MetricPoint>? other, SeriesQuery query)
    {
        var points = Place(history, other, query);
        var finite = points.Where(p => double.IsFinite(p.Y)).ToList();
        IReadOnlyList<SeriesPoint> smooth = query.Smoothing switch
        {
            Smoothing.Ema => MinMax(Ema(finite, query.Amount), query.Bins),
            Smoothing.Centred => MinMax(Centred(finite, query.Amount), query.Bins),
            _ => [],
        };
        return new RunSeries(runId, MinMax(finite, query.Bins), smooth, points.Count, points.Count - finite.Count);
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

    private static List<SeriesPoint> Place(IReadOnlyList<MetricPoint> history, IReadOnlyList<MetricPoint>? other, SeriesQuery query)
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
