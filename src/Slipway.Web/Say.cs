using System.Globalization;

namespace Slipway.Web;

/// <summary>Numbers as people read them, always with the point as decimal mark.</summary>
internal static class Say
{
    /// <summary>At most five significant digits; thousands are grouped; tiny and huge values get an exponent.</summary>
    public static string Number(double value)
    {
        if (double.IsNaN(value))
            return "NaN";
        if (double.IsInfinity(value))
            return value > 0 ? "∞" : "−∞";
        var size = Math.Abs(value);
        var text = size switch
        {
            0 => "0",
            < 1e-4 or >= 1e15 => value.ToString("0.###e0", CultureInfo.InvariantCulture),
            _ when value == Math.Floor(value) => value.ToString("#,0", CultureInfo.InvariantCulture),
            >= 1000 => value.ToString("#,0.#", CultureInfo.InvariantCulture),
            >= 10 => value.ToString("0.###", CultureInfo.InvariantCulture),
            _ => value.ToString("0.#####", CultureInfo.InvariantCulture),
        };
        return text;
    }

    /// <summary>A count with grouped thousands.</summary>
    public static string Count(long value) => value.ToString("#,0", CultureInfo.InvariantCulture);

    /// <summary>A count with its noun: "1 run", "12 runs".</summary>
    public static string Count(long value, string one, string? many = null) => $"{Count(value)} {(value == 1 ? one : many ?? one + "s")}";

    /// <summary>A share between 0 and 1 in percent.</summary>
    public static string Percent(double share) => (share * 100).ToString(share is > 0 and < 0.01 ? "0.##" : "0.#", CultureInfo.InvariantCulture) + " %";

    /// <summary>Bytes in the largest binary unit below the value.</summary>
    public static string Size(long bytes)
    {
        string[] units = ["B", "KiB", "MiB", "GiB", "TiB"];
        double value = bytes;
        var unit = 0;
        while (value >= 1024 && unit < units.Length - 1)
        {
            value /= 1024;
            unit++;
        }
        return $"{value.ToString(unit == 0 ? "0" : "0.#", CultureInfo.InvariantCulture)} {units[unit]}";
    }

    /// <summary>Microseconds as a latency: "840 µs", "12.4 ms", "1.2 s".</summary>
    public static string Latency(double micros) => micros switch
    {
        < 1000 => $"{micros.ToString("0", CultureInfo.InvariantCulture)} µs",
        < 1_000_000 => $"{(micros / 1000).ToString("0.#", CultureInfo.InvariantCulture)} ms",
        _ => $"{(micros / 1_000_000).ToString("0.##", CultureInfo.InvariantCulture)} s",
    };

    /// <summary>A moment in UTC to the minute.</summary>
    public static string Moment(DateTimeOffset at) => at.UtcDateTime.ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture);

    /// <summary>A day in UTC.</summary>
    public static string Day(DateTimeOffset at) => at.UtcDateTime.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);
}
