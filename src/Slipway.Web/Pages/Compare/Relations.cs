using Slipway.Monitoring;

namespace Slipway.Web.Pages;

/// <summary>How strongly a parameter goes with a metric.</summary>
/// <param name="Name">The column.</param>
/// <param name="Strength">0 to 1: the absolute rank correlation, or for categories the correlation ratio of ranks.</param>
/// <param name="Sign">+1 when the metric rises with it, -1 when it falls, 0 for categories.</param>
/// <param name="N">Runs that have both.</param>
internal sealed record Relation(string Name, double Strength, int Sign, int N);

/// <summary>A straight line through points.</summary>
/// <param name="Slope">Change of y for one of x.</param>
/// <param name="Intercept">y at x = 0.</param>
/// <param name="R2">Share of the variance of y that the line explains.</param>
/// <param name="N">Points.</param>
internal sealed record Trend(double Slope, double Intercept, double R2, int N);

/// <summary>What the comparison page says about pairs of columns.</summary>
internal static class Relations
{
    /// <summary>Fewest runs of which anything is said.</summary>
    public const int Fewest = 5;

    /// <summary>Spearman's rank correlation. Null for fewer than five pairs or a constant side.</summary>
    public static double? Spearman(IReadOnlyList<(double X, double Y)> pairs) =>
        pairs.Count < Fewest ? null : Paired.Spearman([.. pairs.Select(p => p.X)], [.. pairs.Select(p => p.Y)]);

    /// <summary>Correlation ratio (eta) of the ranks of y over categories: the root of the share of rank variance between them.</summary>
    public static double? Eta(IReadOnlyList<(string Category, double Y)> pairs)
    {
        if (pairs.Count < Fewest)
            return null;
        var ranks = Paired.Ranks([.. pairs.Select(p => p.Y)]);
        var mean = ranks.Average();
        var total = ranks.Sum(r => (r - mean) * (r - mean));
        var groups = pairs.Select((p, i) => (p.Category, Rank: ranks[i])).GroupBy(p => p.Category, StringComparer.Ordinal).ToList();

        // As many categories as runs would explain everything and say nothing.
        if (total == 0 || groups.Count < 2 || groups.Count > pairs.Count / 2)
            return null;
        var between = groups.Sum(g => g.Count() * Math.Pow(g.Average(p => p.Rank) - mean, 2));
        return Math.Sqrt(between / total);
    }

    /// <summary>Parameters by how strongly they go with a metric, strongest first.</summary>
    public static IReadOnlyList<Relation> Of(IReadOnlyList<(string Name, IReadOnlyList<RelationCell> Cells)> columns, IReadOnlyList<double?> target)
    {
        var found = new List<Relation>();
        foreach (var (name, cells) in columns)
        {
            var both = Enumerable.Range(0, target.Count).Where(i => target[i] is { } y && double.IsFinite(y) && cells[i].Text is not null).ToList();
            if (both.Count > 0 && both.All(i => cells[i].Number is { } x && double.IsFinite(x)))
            {
                if (Spearman([.. both.Select(i => (cells[i].Number!.Value, target[i]!.Value))]) is { } rho)
                    found.Add(new Relation(name, Math.Abs(rho), Math.Sign(rho), both.Count));
            }
            else if (Eta([.. both.Select(i => (cells[i].Text!, target[i]!.Value))]) is { } eta)
            {
                found.Add(new Relation(name, eta, 0, both.Count));
            }
        }

        return [.. found.OrderByDescending(r => r.Strength).ThenBy(r => r.Name, StringComparer.Ordinal)];
    }

    /// <summary>Ordinary least squares; null below three points or when all x are equal.</summary>
    public static Trend? Line(IReadOnlyList<(double X, double Y)> points)
    {
        if (points.Count < 3)
            return null;
        var (mx, my) = (points.Average(p => p.X), points.Average(p => p.Y));
        var sxx = points.Sum(p => (p.X - mx) * (p.X - mx));
        var sxy = points.Sum(p => (p.X - mx) * (p.Y - my));
        var syy = points.Sum(p => (p.Y - my) * (p.Y - my));
        if (sxx == 0)
            return null;
        var slope = sxy / sxx;
        return new Trend(slope, my - (slope * mx), syy == 0 ? 1 : sxy * sxy / (sxx * syy), points.Count);
    }

    /// <summary>
    /// A surface over scattered points by inverse distance weighting (Shepard 1968, power 2) on a square grid. Both axes are
    /// scaled to 0 to 1 first; a cell that is far from every point (a fifth of the picture) stays empty.
    /// </summary>
    public static IReadOnlyList<(int Column, int Row, double Z)> Surface(IReadOnlyList<(double X, double Y, double Z)> points, int cells)
    {
        const double Far = 0.2 * 0.2;
        var result = new List<(int, int, double)>();
        if (points.Count < 3)
            return result;
        var (x0, x1, y0, y1) = (points.Min(p => p.X), points.Max(p => p.X), points.Min(p => p.Y), points.Max(p => p.Y));
        if (x0 == x1 || y0 == y1)
            return result;
        var scaled = points.Select(p => (X: (p.X - x0) / (x1 - x0), Y: (p.Y - y0) / (y1 - y0), p.Z)).ToArray();
        for (var row = 0; row < cells; row++)
        {
            for (var column = 0; column < cells; column++)
            {
                var (x, y) = ((column + 0.5) / cells, (row + 0.5) / cells);
                var (sum, weights, closest) = (0d, 0d, double.MaxValue);
                foreach (var p in scaled)
                {
                    var distance = ((p.X - x) * (p.X - x)) + ((p.Y - y) * (p.Y - y));
                    closest = Math.Min(closest, distance);
                    var weight = 1 / (distance + 1e-6);
                    sum += weight * p.Z;
                    weights += weight;
                }

                if (closest <= Far)
                    result.Add((column, row, sum / weights));
            }
        }

        return result;
    }
}

/// <summary>A parameter's value as text, and as number when it reads as one.</summary>
internal readonly record struct RelationCell(string? Text, double? Number);
