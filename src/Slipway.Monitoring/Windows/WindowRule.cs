using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Tumbling windows of event time, half-open [start, end), by the calendar of a time zone: a day, a week from Monday, a month or a quarter, each from local midnight to local midnight
/// whatever the clocks do between; or a number of hours counted from Monday 1970-01-05 in the zone's standard time. A window closes when the watermark (the latest event time seen less the lateness) reaches its end.
/// </summary>
/// <param name="Period">`day`, `week`, `month`, `quarter` or `hours`.</param>
/// <param name="Hours">The length when the period is `hours`, 1 to 8784; otherwise 0.</param>
/// <param name="Lateness">How far the stream may be out of order, 0 to 30 days.</param>
public sealed record WindowRule(string Period, int Hours, TimeSpan Lateness)
{
    /// <summary>Whether rows that come behind the lateness make a new revision of their window's points; otherwise they are counted beside them.</summary>
    [System.Text.Json.Serialization.JsonIgnore(Condition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingDefault)]
    public bool RecomputeLate { get; init; }

    /// <summary>The IANA name of the time zone whose calendar it follows, such as `Europe/Berlin`; null is UTC.</summary>
    [System.Text.Json.Serialization.JsonIgnore(Condition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull)]
    public string? TimeZone { get; init; }

    private static readonly DateTimeOffset Monday = new(1970, 1, 5, 0, 0, 0, TimeSpan.Zero);

    /// <summary>Calendar days.</summary>
    public static WindowRule Day(TimeSpan? lateness = null) => new("day", 0, lateness ?? TimeSpan.FromHours(1));

    /// <summary>Weeks from Monday.</summary>
    public static WindowRule Week(TimeSpan? lateness = null) => new("week", 0, lateness ?? TimeSpan.FromHours(1));

    /// <summary>Calendar months.</summary>
    public static WindowRule Month(TimeSpan? lateness = null) => new("month", 0, lateness ?? TimeSpan.FromHours(1));

    /// <summary>Calendar quarters.</summary>
    public static WindowRule Quarter(TimeSpan? lateness = null) => new("quarter", 0, lateness ?? TimeSpan.FromHours(1));

    /// <summary>Windows of <paramref name="hours"/> hours.</summary>
    public static WindowRule Every(int hours, TimeSpan? lateness = null) => new("hours", hours, lateness ?? TimeSpan.FromHours(1));

    /// <summary>The length; of months and quarters the longest, of days the usual one.</summary>
    internal TimeSpan Length => Period switch { "day" => TimeSpan.FromDays(1), "week" => TimeSpan.FromDays(7), "month" => TimeSpan.FromDays(31), "quarter" => TimeSpan.FromDays(92), _ => TimeSpan.FromHours(Hours) };

    /// <summary>Whether data that begin at <paramref name="first"/> and end at <paramref name="last"/> cut the window by more than a twentieth of it.</summary>
    internal bool Cuts(DateTimeOffset start, DateTimeOffset first, DateTimeOffset last) => Period != "hours" && (first - start > Length / PartOfFull || EndOf(start) - last > Length / PartOfFull);

    /// <summary>A window counts as full when its first prediction comes in this part of it.</summary>
    internal const int PartOfFull = 20;

    /// <summary>The zone whose calendar it follows.</summary>
    internal TimeZoneInfo Zone => TimeZone is null ? TimeZoneInfo.Utc : TimeZoneInfo.FindSystemTimeZoneById(TimeZone);

    internal DateTimeOffset StartOf(DateTimeOffset at)
    {
        TimeZoneInfo zone = Zone;
        if (Period != "hours")
        {
            return Chunks.Instant(Chunks.PeriodOf(TimeZoneInfo.ConvertTime(at, zone).DateTime, Period).Start, zone).ToUniversalTime();
        }

        DateTimeOffset monday = Monday - zone.BaseUtcOffset;
        long length = Length.Ticks, since = (at - monday).Ticks, index = Math.DivRem(since, length, out long rest);
        return monday.AddTicks((rest < 0 ? index - 1 : index) * length);
    }

    /// <summary>The end of the window that begins at <paramref name="start"/>.</summary>
    internal DateTimeOffset EndOf(DateTimeOffset start) => Period == "hours" ? start + Length : Chunks.Instant(Chunks.PeriodOf(TimeZoneInfo.ConvertTime(start, Zone).DateTime, Period).Stop, Zone).ToUniversalTime();

    internal void Validate()
    {
        string? why = Period switch
        {
            "day" or "week" or "month" or "quarter" when Hours != 0 => $"hours is {Hours} beside period {Period}",
            "day" or "week" or "month" or "quarter" => null,
            "hours" when Hours is < 1 or > 8784 => $"hours is {Hours}, 1 to 8784 are allowed",
            "hours" => null,
            _ => $"period is '{Period}', one of day, week, month, quarter, hours is allowed",
        };
        why ??= Lateness < TimeSpan.Zero || Lateness > TimeSpan.FromDays(30) ? $"lateness is {Lateness}, 0 to 30 days are allowed" : null;
        why ??= TimeZone is not null && !TimeZoneInfo.TryFindSystemTimeZoneById(TimeZone, out _) ? $"this machine knows no time zone '{TimeZone}'" : null;
        if (why is not null)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, "The window rule is not valid.", why, "Give a period of day, week, month, quarter or hours, and a time zone by its IANA name such as Europe/Berlin.");
        }
    }
}
