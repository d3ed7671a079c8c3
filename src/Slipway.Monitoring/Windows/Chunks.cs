using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>A window over rows that are in event-time order: rows [First, End).</summary>
/// <param name="Key">`2026-03`, `2026-W09`, `2026-Q1` or `[0:999]`.</param>
/// <param name="First">First row.</param>
/// <param name="End">First row behind it.</param>
/// <param name="Start">First instant of a period; null for windows by count.</param>
/// <param name="Stop">First instant behind the period; null for windows by count.</param>
/// <param name="Partial">Whether the data begin after or end before the period does by more than the usual gap between rows.</param>
public sealed record Chunk(string Key, int First, int End, DateTimeOffset? Start, DateTimeOffset? Stop, bool Partial)
{
    /// <summary>Rows in it.</summary>
    public int Rows => End - First;
}

/// <summary>What becomes of rows that do not fill a last window.</summary>
public enum Remainder
{
    /// <summary>One shorter window.</summary>
    Keep,

    /// <summary>They are left out.</summary>
    Drop,

    /// <summary>They join the window before.</summary>
    Append,
}

/// <summary>Cuts a table into windows: by calendar period, by size or by number.</summary>
public static class Chunks
{
    /// <summary>Windows when no rule is given.</summary>
    public const int DefaultCount = 10;

    /// <summary>Consecutive windows of <paramref name="size"/> rows.</summary>
    public static IReadOnlyList<Chunk> BySize(int rows, int size, Remainder remainder = Remainder.Keep)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1);
        var chunks = new List<Chunk>();
        for (int first = 0; first < rows; first += size)
        {
            int end = Math.Min(rows, first + size);
            if (end - first == size || remainder == Remainder.Keep || (remainder == Remainder.Append && chunks.Count == 0))
            {
                chunks.Add(Of(first, end));
            }
            else if (remainder == Remainder.Append)
            {
                chunks[^1] = Of(chunks[^1].First, end);
            }
        }

        return chunks;

        static Chunk Of(int first, int end) => new($"[{first}:{end - 1}]", first, end, null, null, Partial: false);
    }

    /// <summary>Windows of floor(rows / count) rows, so that a remainder makes one more.</summary>
    public static IReadOnlyList<Chunk> ByCount(int rows, int count = DefaultCount, Remainder remainder = Remainder.Keep)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        return BySize(rows, Math.Max(1, rows / count), remainder);
    }

    /// <summary>Calendar windows, half-open, in a time zone; periods without rows are left out.</summary>
    /// <param name="times">Event times, ascending.</param>
    /// <param name="period">`hour`, `day`, `week` (from Monday), `month` or `quarter`.</param>
    /// <param name="zone">Whose calendar; UTC when null.</param>
    /// <exception cref="SlipwayException">InvalidArgument when the period is not known or the times are not in order.</exception>
    public static IReadOnlyList<Chunk> ByPeriod(IReadOnlyList<DateTimeOffset> times, string period, TimeZoneInfo? zone = null)
    {
        TimeZoneInfo calendar = zone ?? TimeZoneInfo.Utc;
        var chunks = new List<Chunk>();
        for (int first = 0; first < times.Count;)
        {
            DateTimeOffset at = TimeZoneInfo.ConvertTime(times[first], calendar);
            (string key, DateTime start, DateTime stop) = PeriodOf(at.DateTime, period);
            // The hour that a clock repeats is two hours, and not one.
            DateTimeOffset from = period == "hour" ? new DateTimeOffset(start, at.Offset) : Instant(start, calendar), to = period == "hour" ? from.AddHours(1) : Instant(stop, calendar);
            int end = first;
            while (end < times.Count && times[end] < to)
            {
                if (times[end] < from)
                {
                    throw SlipwayException.Invalid("the rows cannot be cut into windows", $"row {end} is earlier than the row before it", "sort the rows by event time");
                }

                end++;
            }

            chunks.Add(new Chunk(key, first, end, from, to, Partial: false));
            first = end;
        }

        if (chunks.Count > 0)
        {
            // A period counts as cut when its first or last rows are missing by more than twice the mean gap between rows.
            TimeSpan gap = times.Count < 2 ? TimeSpan.Zero : 2 * (times[^1] - times[0]) / (times.Count - 1);
            chunks[0] = chunks[0] with { Partial = times[0] - chunks[0].Start > gap };
            chunks[^1] = chunks[^1] with { Partial = chunks[^1].Partial || chunks[^1].Stop - times[^1] > gap };
        }

        return chunks;
    }

    /// <summary>The calendar period of a local time.</summary>
    internal static (string Key, DateTime Start, DateTime Stop) PeriodOf(DateTime at, string period)
    {
        switch (period)
        {
            case "hour":
                DateTime hour = at.Date.AddHours(at.Hour);
                return ($"{hour:yyyy-MM-dd HH}:00", hour, hour.AddHours(1));
            case "day":
                return ($"{at:yyyy-MM-dd}", at.Date, at.Date.AddDays(1));
            case "week":
                DateTime monday = at.Date.AddDays(-(((int)at.DayOfWeek + 6) % 7));
                return ($"{System.Globalization.ISOWeek.GetYear(monday)}-W{System.Globalization.ISOWeek.GetWeekOfYear(monday):00}", monday, monday.AddDays(7));
            case "month":
                var month = new DateTime(at.Year, at.Month, 1, 0, 0, 0, DateTimeKind.Unspecified);
                return ($"{month:yyyy-MM}", month, month.AddMonths(1));
            case "quarter":
                var quarter = new DateTime(at.Year, (at.Month - 1) / 3 * 3 + 1, 1, 0, 0, 0, DateTimeKind.Unspecified);
                return ($"{quarter.Year}-Q{(quarter.Month + 2) / 3}", quarter, quarter.AddMonths(3));
            default:
                throw SlipwayException.Invalid("the rows cannot be cut into windows", $"the period is '{period}'", "name hour, day, week, month or quarter");
        }
    }

    /// <summary>The instant at which a local time begins: behind the jump where a clock change skips it, and the first of two where it repeats it.</summary>
    internal static DateTimeOffset Instant(DateTime local, TimeZoneInfo zone)
    {
        DateTime valid = zone.IsInvalidTime(local) ? local.AddHours(1) : local;
        return new DateTimeOffset(valid, zone.IsAmbiguousTime(valid) ? zone.GetAmbiguousTimeOffsets(valid).Max() : zone.GetUtcOffset(valid));
    }
}
