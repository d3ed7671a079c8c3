using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Tumbling windows of event time in UTC, half-open [start, end): a day, a week from Monday, a calendar month, or a number of hours counted from
/// Monday 1970-01-05. A window closes when the watermark (the latest event time seen less the lateness) reaches its end.
/// </summary>
/// <param name="Period">`day`, `week`, `month` or `hours`.</param>
/// <param name="Hours">The length when the period is `hours`, 1 to 8784; otherwise 0.</param>
/// <param name="Lateness">How far the stream may be out of order, 0 to 30 days.</param>
public sealed record WindowRule(string Period, int Hours, TimeSpan Lateness)
{
    /// <summary>Whether rows that come behind the lateness make a new revision of their window's points; otherwise they are counted beside them.</summary>
    [System.Text.Json.Serialization.JsonIgnore(Condition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingDefault)]
    public bool RecomputeLate { get; init; }

    private static readonly DateTimeOffset Monday = new(1970, 1, 5, 0, 0, 0, TimeSpan.Zero);

    /// <summary>Calendar days.</summary>
    public static WindowRule Day(TimeSpan? lateness = null) => new("day", 0, lateness ?? TimeSpan.FromHours(1));

    /// <summary>Weeks from Monday.</summary>
    public static WindowRule Week(TimeSpan? lateness = null) => new("week", 0, lateness ?? TimeSpan.FromHours(1));

    /// <summary>Calendar months.</summary>
    public static WindowRule Month(TimeSpan? lateness = null) => new("month", 0, lateness ?? TimeSpan.FromHours(1));

    /// <summary>Windows of <paramref name="hours"/> hours.</summary>
    public static WindowRule Every(int hours, TimeSpan? lateness = null) => new("hours", hours, lateness ?? TimeSpan.FromHours(1));

    /// <summary>The length; of months the longest.</summary>
    internal TimeSpan Length => Period switch { "day" => TimeSpan.FromDays(1), "week" => TimeSpan.FromDays(7), "month" => TimeSpan.FromDays(31), _ => TimeSpan.FromHours(Hours) };

    internal DateTimeOffset StartOf(DateTimeOffset at)
    {
        if (Period == "month")
        {
            return new DateTimeOffset(at.UtcDateTime.Year, at.UtcDateTime.Month, 1, 0, 0, 0, TimeSpan.Zero);
        }

        long length = Length.Ticks, since = (at - Monday).Ticks, index = Math.DivRem(since, length, out long rest);
        return Monday.AddTicks((rest < 0 ? index - 1 : index) * length);
    }

    /// <summary>The end of the window that begins at <paramref name="start"/>.</summary>
    internal DateTimeOffset EndOf(DateTimeOffset start) => Period == "month" ? start.AddMonths(1) : start + Length;

    internal void Validate()
    {
        string? why = Period switch
        {
            "day" or "week" or "month" when Hours != 0 => $"hours is {Hours} beside period {Period}",
            "day" or "week" or "month" => null,
            "hours" when Hours is < 1 or > 8784 => $"hours is {Hours}, 1 to 8784 are allowed",
            "hours" => null,
            _ => $"period is '{Period}', one of day, week, month, hours is allowed",
        };
        why ??= Lateness < TimeSpan.Zero || Lateness > TimeSpan.FromDays(30) ? $"lateness is {Lateness}, 0 to 30 days are allowed" : null;
        if (why is not null)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, "The window rule is not valid.", why, "Give a period of day, week, month or hours.");
        }
    }
}
