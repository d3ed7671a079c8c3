namespace Slipway.Data;

/// <summary>What a table holds.</summary>
/// <param name="Rows">Rows.</param>
/// <param name="Columns">One profile for each column, in order.</param>
public sealed record TableProfile(long Rows, IReadOnlyList<ColumnProfile> Columns)
{
    /// <summary>The profile of a column, or null.</summary>
    public ColumnProfile? Find(string column) => Columns.FirstOrDefault(c => c.Name == column);
}

/// <summary>What a column holds. Every figure is exact, not an estimate.</summary>
/// <param name="Name">The column.</param>
/// <param name="Type">Its SQL type.</param>
/// <param name="Count">Values that are there: rows minus <paramref name="Missing"/>.</param>
/// <param name="Missing">Nulls, and NaN in columns of floating point.</param>
/// <param name="Distinct">Different values among those that are there.</param>
/// <param name="Min">Smallest, as text (numbers in numeric order, text in byte order, cut after 200 characters); null for types without order.</param>
/// <param name="Max">Largest, likewise.</param>
/// <param name="Mean">Arithmetic mean of the finite values; numbers only.</param>
/// <param name="Std">Sample standard deviation (n - 1) of the finite values; null below two values.</param>
/// <param name="Quantiles">Numbers only: for each share the smallest finite value that at least that share of the finite values does not exceed (inverse of the empirical distribution).</param>
/// <param name="Top">The most frequent values, at most 10, most frequent first, ties by value.</param>
public sealed record ColumnProfile(
    string Name, string Type, long Count, long Missing, long Distinct, string? Min, string? Max, double? Mean, double? Std,
    IReadOnlyList<Quantile> Quantiles, IReadOnlyList<ValueCount> Top);

/// <summary>A point of the distribution.</summary>
/// <param name="Share">0 to 1, e.g. 0.5 for the median.</param>
/// <param name="Value">The value there.</param>
public sealed record Quantile(double Share, double Value);

/// <summary>A value and how often it occurs.</summary>
/// <param name="Value">As text, cut after 200 characters.</param>
/// <param name="Count">Rows with it.</param>
public sealed record ValueCount(string Value, long Count);
