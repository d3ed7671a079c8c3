namespace Slipway.Monitoring;

/// <summary>A measured number, or the reason why the data define none. A reason never passes a threshold.</summary>
/// <param name="Value">Null when undefined.</param>
/// <param name="Error">Standard error of the value at its sample size; null when it has none.</param>
/// <param name="Why">The reason when undefined.</param>
public readonly record struct Measured(double? Value, double? Error, string? Why)
{
    /// <summary>The band of three standard errors around the value, clipped to the metric's range; null without a value or an error.</summary>
    public (double Lower, double Upper)? Band(double least = double.NegativeInfinity, double most = double.PositiveInfinity) =>
        Value is { } v && Error is { } e ? (Math.Max(least, v - 3 * e), Math.Min(most, v + 3 * e)) : null;

    internal static Measured Of(double value, double? error = null) =>
        double.IsNaN(value) ? Undefined("the value is not a number") : new(value, error, null);

    internal static Measured Undefined(string why) => new(null, null, why);

    /// <summary>A share with its standard error sqrt(p (1 - p) / n), or the reason why there is none.</summary>
    internal static Measured Share(long hits, long of, string empty) =>
        of == 0 ? Undefined(empty) : new((double)hits / of, Math.Sqrt((double)hits / of * (1 - (double)hits / of) / of), null);
}
