using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>Why an alert is not told.</summary>
/// <param name="Kind">`silence`, `inhibition`, `time` or `snooze`.</param>
/// <param name="By">Id of the silence or of the alert that inhibits, name of the time interval, or who snoozed.</param>
/// <param name="Text">In words.</param>
/// <param name="Until">When it ends by itself; null when that is not known.</param>
public sealed record Mute(string Kind, string By, string Text, DateTimeOffset? Until);

/// <summary>Everything that can keep an alert quiet at one moment.</summary>
internal sealed class Mutes(AlertRouting routing, IReadOnlyList<Silence> silences, IReadOnlyList<Alert> firing, DateTimeOffset now)
{
    public static async Task<Mutes> LoadAsync(Session s, AlertRouting routing, DateTimeOffset now)
    {
        IReadOnlyList<SilenceRow> silences = await s.QueryAsync<SilenceRow>($"SELECT {SilenceRow.Columns} FROM monitoring_silences WHERE start_us <= @at AND end_us > @at ORDER BY id", new { at = Time.ToMicros(now) });
        IReadOnlyList<AlertRow> firing = routing.Inhibitions.Count == 0 ? [] : await s.QueryAsync<AlertRow>($"SELECT {AlertRow.Columns} FROM monitoring_alerts WHERE state = 'firing'");
        return new Mutes(routing, [.. silences.Select(r => r.Read())], [.. firing.Select(r => r.Read())], now);
    }

    /// <summary>What mutes the alert on a route; null when nothing does.</summary>
    public Mute? Of(Alert alert, AlertRoute? route) => Snoozed(alert) ?? Inhibited(alert) ?? (route is null ? null : OutOfTime(route)) ?? Silenced(alert);

    /// <summary>The members that are not silenced; all when the alert has none.</summary>
    public IReadOnlyList<AlertMember> Heard(Alert alert) => [.. alert.Members.Where(m => !silences.Any(s => s.Matches(alert.LabelsOf(m))))];

    public IReadOnlyList<Silence> SilencesOf(Alert alert) => [.. silences.Where(s => s.Matches(alert.Labels) || alert.Members.Any(m => s.Matches(alert.LabelsOf(m))))];

    private Mute? Snoozed(Alert alert) => alert.SnoozedUntil is { } until && until > now ? new Mute("snooze", alert.AssignedTo ?? "", $"snoozed until {AlertText.Moment(until)}", until) : null;

    private Mute? Inhibited(Alert alert)
    {
        foreach (Inhibition inhibition in routing.Inhibitions)
        {
            if (firing.FirstOrDefault(f => f.Id != alert.Id && inhibition.Mutes(f.Labels, alert.Labels)) is { } source)
            {
                return new Mute("inhibition", source.Id, $"inhibited by alert {source.Id} ({source.Labels.GetValueOrDefault("alertname", source.Family)})", null);
            }
        }

        return null;
    }

    private Mute? OutOfTime(AlertRoute route)
    {
        if (route.MuteTimeIntervals.FirstOrDefault(n => routing.Intervals[n].Contains(now)) is { } quiet)
        {
            return new Mute("time", quiet, $"the route is quiet in the time interval {quiet}", null);
        }

        return route.ActiveTimeIntervals.Count > 0 && !route.ActiveTimeIntervals.Any(n => routing.Intervals[n].Contains(now))
            ? new Mute("time", string.Join(", ", route.ActiveTimeIntervals), $"the route is quiet outside of {string.Join(", ", route.ActiveTimeIntervals)}", null)
            : null;
    }

    /// <summary>An alert is silenced as a whole by a silence that matches it, or when each of its members is.</summary>
    private Mute? Silenced(Alert alert)
    {
        Silence? whole = silences.FirstOrDefault(s => s.Matches(alert.Labels));
        Silence[] parts = whole is not null ? [whole] : alert.Members.Count > 0 && Heard(alert).Count == 0 ? [.. alert.Members.Select(m => silences.First(s => s.Matches(alert.LabelsOf(m)))).Distinct()] : [];
        if (parts.Length == 0)
        {
            return null;
        }

        DateTimeOffset until = parts.Min(p => p.EndsAt);
        return new Mute("silence", parts[0].Id, $"silenced by {parts[0].CreatedBy} until {AlertText.Moment(until)}: {parts[0].Comment}", until);
    }
}
