namespace Slipway.Foundation;

/// <summary>Time as rows keep it: microseconds since 1970-01-01T00:00:00Z.</summary>
public static class Time
{
    public static long ToMicros(DateTimeOffset at) => (at.UtcTicks - DateTimeOffset.UnixEpoch.Ticks) / TimeSpan.TicksPerMicrosecond;

    public static DateTimeOffset FromMicros(long micros) => DateTimeOffset.UnixEpoch.AddTicks(micros * TimeSpan.TicksPerMicrosecond);

    public static long NowMicros(this TimeProvider clock) => ToMicros(clock.GetUtcNow());
}
