using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>One rule that takes part in an alert, with its numbers in the newest window that breached.</summary>
/// <param name="Metric">As in <see cref="MonitorPoint"/>.</param>
/// <param name="Column">The feature; null for metrics of the whole window.</param>
/// <param name="Value">The value that breached.</param>
/// <param name="Threshold">The limit that it breached.</param>
/// <param name="N">Rows it is made of.</param>
/// <param name="Level">A value of <see cref="DriftLevel"/>.</param>
public sealed record AlertMember(string Metric, string? Column, double Value, double Threshold, long N, string Level);

/// <summary>
/// An alert: all firing rules of one family (`drift`, `quality` or `performance`) of one monitor. While it fires it is updated, never
/// doubled; the next one after it resolved has a new id.
/// </summary>
/// <param name="Id">32 lower-case hexadecimal digits.</param>
/// <param name="Monitor">Id of the monitor.</param>
/// <param name="Endpoint">The watched endpoint.</param>
/// <param name="ModelVersion">The watched version, such as `flights/2`.</param>
/// <param name="Family">`drift`, `quality` or `performance`.</param>
/// <param name="State">`firing` or `resolved`.</param>
/// <param name="Severity">The highest level among its members.</param>
/// <param name="Metric">Metric of its strongest member.</param>
/// <param name="Column">Feature of its strongest member.</param>
/// <param name="Value">Value of its strongest member.</param>
/// <param name="Threshold">The limit that value breached.</param>
/// <param name="N">Rows that value is made of.</param>
/// <param name="WindowStart">First instant of the newest window that breached.</param>
/// <param name="WindowEnd">First instant behind that window.</param>
/// <param name="Sentence">The alert in words and numbers.</param>
/// <param name="Members">Its rules, the strongest first.</param>
/// <param name="FiredAt">When it began to fire.</param>
/// <param name="UpdatedAt">When it last changed.</param>
/// <param name="ResolvedAt">When it resolved; null while it fires.</param>
/// <param name="AcknowledgedBy">Who acknowledged it; null when nobody has.</param>
/// <param name="AcknowledgedAt">When it was acknowledged.</param>
public sealed record Alert(
    string Id,
    string Monitor,
    string Endpoint,
    string ModelVersion,
    string Family,
    string State,
    string Severity,
    string Metric,
    string? Column,
    double Value,
    double Threshold,
    long N,
    DateTimeOffset WindowStart,
    DateTimeOffset WindowEnd,
    string Sentence,
    IReadOnlyList<AlertMember> Members,
    DateTimeOffset FiredAt,
    DateTimeOffset UpdatedAt,
    DateTimeOffset? ResolvedAt,
    string? AcknowledgedBy,
    DateTimeOffset? AcknowledgedAt)
{
    /// <summary>`alert:{id}`.</summary>
    public Subject Subject => new("alert", Id);
}

/// <summary>One thing that happened to an alert.</summary>
/// <param name="At">When.</param>
/// <param name="Kind">`evaluated`, `fired`, `updated`, `resolved`, `acknowledged`, `notified`, `delivered` or `failed`.</param>
/// <param name="Text">In words.</param>
public sealed record TimelineEntry(DateTimeOffset At, string Kind, string Text);

/// <summary>Where alerts are sent.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Url">The webhook's address.</param>
/// <param name="Signed">Whether deliveries carry a signature.</param>
/// <param name="AllowLoopback">Whether the address may be this machine.</param>
/// <param name="CreatedBy">Who set it.</param>
/// <param name="CreatedAt">When it was set.</param>
public sealed record Receiver(string Name, string Url, bool Signed, bool AllowLoopback, string CreatedBy, DateTimeOffset CreatedAt);

/// <summary>One message of an alert to one receiver.</summary>
/// <param name="Id">The idempotency key: every attempt carries it.</param>
/// <param name="Alert">Id of the alert.</param>
/// <param name="Receiver">Name of the receiver.</param>
/// <param name="Event">`alert.fired`, `alert.updated` or `alert.resolved`.</param>
/// <param name="State">`pending`, `delivered` or `failed`.</param>
/// <param name="Attempts">Attempts so far.</param>
/// <param name="LastStatus">HTTP status of the last attempt; null when there was no answer.</param>
/// <param name="LastError">Why the last attempt failed.</param>
/// <param name="CreatedAt">When it was made.</param>
/// <param name="NextAt">When the next attempt is due; null when none is.</param>
public sealed record Notification(string Id, string Alert, string Receiver, string Event, string State, int Attempts, int? LastStatus, string? LastError, DateTimeOffset CreatedAt, DateTimeOffset? NextAt);
