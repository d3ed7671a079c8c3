using System.Globalization;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>Durations as people write them: one or more of `500ms`, `90s`, `10m`, `2h`, `7d`, `1w`, as in `1h30m`.</summary>
public static class Duration
{
    private static readonly TimeSpan Longest = TimeSpan.FromDays(3_650);

    /// <exception cref="SlipwayException">InvalidArgument when the text is no duration, or one of more than ten years.</exception>
    public static TimeSpan Parse(string text)
    {
        double seconds = 0;
        int at = 0;
        while (at < text.Length)
        {
            int start = at;
            while (at < text.Length && (char.IsAsciiDigit(text[at]) || text[at] == '.'))
            {
                at++;
            }

            int unit = at;
            while (at < text.Length && char.IsAsciiLetterLower(text[at]))
            {
                at++;
            }

            double factor = text[unit..at] switch { "ms" => 0.001, "s" => 1, "m" => 60, "h" => 3_600, "d" => 86_400, "w" => 604_800, _ => double.NaN };
            if (!double.TryParse(text.AsSpan(start, unit - start), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number) || double.IsNaN(factor))
            {
                throw Bad(text);
            }

            seconds += number * factor;
        }

        return text.Length > 0 && seconds <= Longest.TotalSeconds ? TimeSpan.FromSeconds(seconds) : throw Bad(text);
    }

    /// <summary>In the largest unit that holds it as a whole number.</summary>
    public static string Text(TimeSpan span) => span switch
    {
        { Ticks: 0 } => "0s",
        _ when span.Ticks % TimeSpan.TicksPerDay == 0 => $"{span.TotalDays:0}d",
        _ when span.Ticks % TimeSpan.TicksPerHour == 0 => $"{span.TotalHours:0}h",
        _ when span.Ticks % TimeSpan.TicksPerMinute == 0 => $"{span.TotalMinutes:0}m",
        _ => string.Create(CultureInfo.InvariantCulture, $"{span.TotalSeconds}s"),
    };

    private static SlipwayException Bad(string text) => SlipwayException.Invalid("the duration cannot be read", $"'{text}' is not a duration such as 30s, 5m, 4h or 7d, of at most ten years", "write for example 90s, 10m, 2h or 7d");
}
