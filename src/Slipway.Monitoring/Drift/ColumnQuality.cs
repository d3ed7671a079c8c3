namespace Slipway.Monitoring;

/// <summary>Data quality of one column in one window. A figure that the data do not define is null, never 0.</summary>
public sealed record ColumnQuality
{
    /// <summary>A column is almost constant when one value has at least this share of its values.</summary>
    public const double AlmostConstantFrom = 0.95;

    /// <summary>Distinct values are counted exactly up to this many, then estimated.</summary>
    public const int ExactDistinct = 10_000;

    /// <summary>Rows, whatever their value.</summary>
    public long Rows { get; init; }

    /// <summary>Values that are neither missing, infinite nor of a wrong type.</summary>
    public long Finite { get; init; }

    /// <summary>Nulls and NaN.</summary>
    public long Missing { get; init; }

    /// <summary>NaN among the missing.</summary>
    public long NaN { get; init; }

    /// <summary>Positive and negative infinity.</summary>
    public long Infinite { get; init; }

    /// <summary>Values that are not of the column's type, such as a text among numbers.</summary>
    public long Violations { get; init; }

    /// <summary>Missing over all rows; null without rows.</summary>
    public double? MissingRate => Rows == 0 ? null : (double)Missing / Rows;

    /// <summary>Different values.</summary>
    public long? Distinct { get; init; }

    /// <summary>Relative standard error of <see cref="Distinct"/>; 0 when it is exact.</summary>
    public double DistinctError { get; init; }

    /// <summary>Values equal to 0.</summary>
    public long Zeros { get; init; }

    /// <summary>Values below 0.</summary>
    public long Negatives { get; init; }

    /// <summary>The least value.</summary>
    public double? Min { get; init; }

    /// <summary>The largest value.</summary>
    public double? Max { get; init; }

    /// <summary>Mean; its standard error is the sample deviation over the square root of n.</summary>
    public double? Mean { get; init; }

    /// <summary>Population standard deviation.</summary>
    public double? Deviation { get; init; }

    /// <summary>Sample standard deviation; null under two values.</summary>
    public double? SampleDeviation { get; init; }

    /// <summary>Sum of the values.</summary>
    public double? Sum { get; init; }

    /// <summary>Population skewness; null without variance.</summary>
    public double? Skewness { get; init; }

    /// <summary>Population excess kurtosis; null without variance.</summary>
    public double? ExcessKurtosis { get; init; }

    /// <summary>Share of the most frequent value; null where it is not kept.</summary>
    public double? MostFrequentShare { get; init; }

    /// <summary>Rows outside the reference's [min, max]; null for the reference itself and for categories.</summary>
    public long? OutOfRange { get; init; }

    /// <summary>Rows whose category the reference does not have; missing is not unseen. Null for the reference itself and for numbers.</summary>
    public long? UnseenRows { get; init; }

    /// <summary>Different categories that the reference does not have; null as <see cref="UnseenRows"/>.</summary>
    public long? UnseenValues { get; init; }

    /// <summary>Shortest and longest text of a category; null for numbers.</summary>
    public (int Least, int Most)? TextLength { get; init; }

    /// <summary>Standard error of the mean.</summary>
    public double? MeanError => SampleDeviation / Math.Sqrt(Finite);

    /// <summary>Standard error of the sum, s sqrt(n).</summary>
    public double? SumError => SampleDeviation * Math.Sqrt(Finite);

    /// <summary>Standard error of the sample standard deviation from the fourth moment, sqrt((m4 - s^4 (n - 3) / (n - 1)) / n) / (2 s).</summary>
    public double? DeviationError => SampleDeviation is > 0 and { } s && ExcessKurtosis is { } k && Finite > 3
        ? Math.Sqrt(Math.Max(0, (k + 3) * Math.Pow(Deviation!.Value, 4) - s * s * s * s * (Finite - 3) / (Finite - 1)) / Finite) / (2 * s)
        : null;

    /// <summary>Standard error of the missing rate at <paramref name="rows"/> rows of a window, from this reference's rate: sqrt(p (1 - p) / n).</summary>
    public double? MissingRateError(long rows) => MissingRate is { } p && rows > 0 ? Math.Sqrt(p * (1 - p) / rows) : null;

    /// <summary>Measures a column of numbers; NaN is missing.</summary>
    public static ColumnQuality OfNumbers(ReadOnlySpan<double> values)
    {
        var sketch = new ColumnSketch(new Bins(Bins.QuantileRule, [], []), distinct: ExactDistinct);
        sketch.Add(values);
        return Of(sketch);
    }

    internal static ColumnQuality Of(ColumnSketch sketch)
    {
        Moments m = sketch.Moments;
        bool any = m.Count > 0;
        return new ColumnQuality
        {
            Rows = sketch.Rows,
            Finite = sketch.Finite,
            Missing = sketch.Missing,
            NaN = sketch.NaN,
            Infinite = sketch.Infinite,
            Distinct = sketch.Distinct?.Count,
            DistinctError = sketch.Distinct?.RelativeError ?? 0,
            Zeros = sketch.Zeros,
            Negatives = sketch.Negatives,
            Min = m.Min,
            Max = m.Max,
            Mean = any ? m.Mean : null,
            Deviation = m.Variance is { } v ? Math.Sqrt(v) : null,
            SampleDeviation = m.SampleVariance is { } s ? Math.Sqrt(s) : null,
            Sum = any ? m.Mean * m.Count : null,
            Skewness = m.Skewness,
            ExcessKurtosis = m.ExcessKurtosis,
            MostFrequentShare = any && m.Min == m.Max ? 1 : null,
        };
    }
}
