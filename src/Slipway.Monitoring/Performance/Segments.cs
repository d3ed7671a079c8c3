namespace Slipway.Monitoring;

/// <summary>A slice of the rows where the model does worse or better than elsewhere.</summary>
/// <param name="Column">The attribute.</param>
/// <param name="Value">Its value in the slice.</param>
/// <param name="N">Rows of the slice.</param>
/// <param name="Loss">Mean loss in it.</param>
/// <param name="LossElsewhere">Mean loss outside.</param>
/// <param name="AdjustedP">Welch's test of the difference, corrected for all slices that were looked at.</param>
public sealed record Segment(string Column, string Value, long N, double Loss, double LossElsewhere, double AdjustedP)
{
    /// <summary>What slices are ordered by: the difference of losses times the share of rows.</summary>
    public double Weight { get; init; }
}

/// <summary>Finds slices of one attribute each where losses differ. The false discovery rate over all slices is controlled.</summary>
public static class Segments
{
    /// <summary>Slices whose loss is significantly different, the largest effect times size first.</summary>
    /// <param name="losses">One loss a row, such as 0/1 errors or squared errors; rows with NaN are left out.</param>
    /// <param name="attributes">By name, one value a row.</param>
    /// <param name="rate">False discovery rate (Benjamini and Yekutieli).</param>
    /// <param name="leastRows">The least rows of a slice.</param>
    public static IReadOnlyList<Segment> Discover(IReadOnlyList<double> losses, IReadOnlyDictionary<string, IReadOnlyList<string?>> attributes, double rate = 0.05, int leastRows = Fairness.LeastRows)
    {
        int[] rows = Enumerable.Range(0, losses.Count).Where(i => double.IsFinite(losses[i])).ToArray();
        var found = new List<(Segment Segment, double P)>();
        foreach ((string column, IReadOnlyList<string?> values) in attributes.OrderBy(a => a.Key, StringComparer.Ordinal))
        {
            foreach (IGrouping<string?, int> slice in rows.GroupBy(i => values[i]).Where(g => g.Key is not null).OrderBy(g => g.Key, StringComparer.Ordinal))
            {
                double[] inside = slice.Select(i => losses[i]).ToArray(), outside = rows.Where(i => values[i] != slice.Key).Select(i => losses[i]).ToArray();
                if (inside.Length >= leastRows && outside.Length >= leastRows && TwoSample.Welch(inside, outside).P is { } p)
                {
                    double here = Moments.Of(inside).Mean, there = Moments.Of(outside).Mean;
                    found.Add((new Segment(column, slice.Key!, inside.Length, here, there, p) { Weight = Math.Abs(here - there) * inside.Length / rows.Length }, p));
                }
            }
        }

        double[] adjusted = MultipleTesting.BenjaminiYekutieli(found.Select(f => f.P).ToArray());
        return found.Select((f, i) => f.Segment with { AdjustedP = adjusted[i] }).Where(s => s.AdjustedP <= rate).OrderByDescending(s => s.Weight).ThenBy(s => s.Column, StringComparer.Ordinal).ThenBy(s => s.Value, StringComparer.Ordinal).ToArray();
    }
}
