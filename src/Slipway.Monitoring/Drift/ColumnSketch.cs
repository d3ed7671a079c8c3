using System.Text.Json.Serialization;

namespace Slipway.Monitoring;

/// <summary>
/// All that is kept of one column of one window: counts in the reference's bins, missing and infinite values, moments. Order of the
/// rows does not change the counts; two sketches over the same bins merge by adding.
/// </summary>
internal sealed class ColumnSketch(Bins bins)
{
    public long[] Counts { get; } = new long[bins.Count];

    public long Finite { get; private set; }

    public long Missing { get; private set; }

    public long Infinite { get; private set; }

    public Moments Moments { get; private set; } = Moments.Empty;

    /// <summary>Rows seen, whatever their value.</summary>
    public long Rows => Finite + Missing + Infinite;

    public void Add(double value)
    {
        if (double.IsNaN(value))
        {
            Missing++;
        }
        else if (double.IsInfinity(value))
        {
            Infinite++;
        }
        else
        {
            Counts[bins.IndexOf(value)]++;
            Finite++;
            Moments = Moments.Merge(new Moments(1, value, 0, 0, 0, value, value));
        }
    }
}

/// <summary>One column of the frozen reference.</summary>
internal sealed record ColumnReference(string Name, Bins Bins, long[] Counts, long Finite, long Missing, long Infinite, Moments Moments)
{
    [JsonIgnore]
    public long Rows => Finite + Missing + Infinite;

    public static ColumnReference Freeze(string name, IReadOnlyList<float> column, bool categorical)
    {
        double[] sorted = column.Where(float.IsFinite).Select(v => (double)v).Order().ToArray();
        Bins bins = sorted.Length == 0 ? new Bins(Bins.ValuesRule, [], []) : categorical ? Bins.OfCategories(sorted) : Bins.OfNumbers(sorted);
        var sketch = new ColumnSketch(bins);
        foreach (float value in column)
        {
            sketch.Add(value);
        }

        return new ColumnReference(name, bins, sketch.Counts, sketch.Finite, sketch.Missing, sketch.Infinite, sketch.Moments);
    }
}
