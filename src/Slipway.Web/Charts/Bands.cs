using Slipway.Registry;

namespace Slipway.Web.Charts;

/// <summary>Means and bands over curves that do not share their x.</summary>
internal static class Bands
{
    private const int Places = 160;

    /// <summary>
    /// The mean of the curves at common places on x, with a band of one sample standard deviation or of the extremes.
    /// Each curve counts where it has points and is interpolated between them; it is never continued beyond its ends.
    /// </summary>
    public static GroupBand Of(string name, string color, IReadOnlyList<IReadOnlyList<SeriesPoint>> curves, string band)
    {
        var filled = curves.Where(c => c.Count > 0).ToList();
        var places = PlacesOf(filled);
        var points = new List<(double, double, double, double, int)>(places.Count);
        var at = new int[filled.Count];
        foreach (var x in places)
        {
            var (n, mean, squares, low, high) = (0, 0d, 0d, double.PositiveInfinity, double.NegativeInfinity);
            for (var c = 0; c < filled.Count; c++)
            {
                if (ValueAt(filled[c], x, ref at[c]) is not { } y)
                    continue;
                n++;
                var delta = y - mean;
                mean += delta / n;
                squares += delta * (y - mean);
                (low, high) = (Math.Min(low, y), Math.Max(high, y));
            }

            if (n == 0)
                continue;
            var deviation = n > 1 ? Math.Sqrt(squares / (n - 1)) : 0;
            points.Add(band switch
            {
                "minmax" => (x, mean, low, high, n),
                "std" => (x, mean, mean - deviation, mean + deviation, n),
                _ => (x, mean, mean, mean, n),
            });
        }

        return new GroupBand(name, color, points);
    }

    // Few places are taken as they are, so that steps stay steps; many become an even grid.
    private static List<double> PlacesOf(List<IReadOnlyList<SeriesPoint>> curves)
    {
        if (curves.Count == 0)
            return [];
        var own = curves.SelectMany(c => c).Select(p => p.X).Distinct().Take(Places + 1).Order().ToList();
        if (own.Count <= Places)
            return own;
        var (from, to) = (curves.Min(c => c[0].X), curves.Max(c => c[^1].X));
        return [.. Enumerable.Range(0, Places).Select(i => from + ((to - from) * i / (Places - 1)))];
    }

    private static double? ValueAt(IReadOnlyList<SeriesPoint> curve, double x, ref int at)
    {
        if (x < curve[0].X || x > curve[^1].X)
            return null;
        while (at < curve.Count - 1 && curve[at + 1].X <= x)
            at++;
        if (at == curve.Count - 1 || curve[at].X == x)
            return curve[at].Y;
        var (a, b) = (curve[at], curve[at + 1]);
        return a.Y + ((b.Y - a.Y) * (x - a.X) / (b.X - a.X));
    }
}
