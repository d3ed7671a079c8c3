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
/// An alert: all firing rules of one family of one monitor, or one that a program posted. While it fires it is updated, never
/// doubled; the next one after it resolved has a new id.
/// </summary>
/// <param name="Id">32 lower-case hexadecimal digits.</param>
/// <param name="Monitor">Id of the monitor; empty for a posted alert.</param>
/// <param name="Endpoint">The watched endpoint; empty when it is about none.</param>
/// <param name="ModelVersion">The watched version, such as `flights/2`; empty when it is about none.</param>
/// <param name="Family">A value of <see cref="Families"/>, or `rule:NAME` for a rule of a user.</param>
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

    /// <summary>What it is about: routes, silences and inhibitions look at these.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; init; } = LabelSet.Empty;

    /// <summary>Texts for people, such as `summary` and `runbook`.</summary>
    public IReadOnlyDictionary<string, string> Annotations { get; init; } = LabelSet.Empty;

    /// <summary>Hash of the labels without the severity, which may rise: alerts with the same fingerprint are one alert.</summary>
    public string Fingerprint { get; init; } = "";

    /// <summary>Counts up when it grows more severe or gains members; then those who were told hear of it again.</summary>
    public long Revision { get; init; }

    /// <summary>When a posted alert without an end resolves unless it is posted again; null for alerts of monitors.</summary>
    public DateTimeOffset? ExpiresAt { get; init; }

    /// <summary>Until when nobody is told; null when it is not snoozed.</summary>
    public DateTimeOffset? SnoozedUntil { get; init; }

    /// <summary>Who has to look after it; null for nobody.</summary>
    public string? AssignedTo { get; init; }

    /// <summary>Its labels with those of one member: `metric` and `column`.</summary>
    internal IReadOnlyDictionary<string, string> LabelsOf(AlertMember member) =>
        LabelSet.Of(Labels.Append(KeyValuePair.Create("metric", member.Metric)).Append(KeyValuePair.Create("column", member.Column ?? "")));
}

/// <summary>One thing that happened to an alert.</summary>
/// <param name="At">When.</param>
/// <param name="Kind">`evaluated`, `fired`, `updated`, `resolved`, `acknowledged`, `assigned`, `snoozed`, `silenced`, `muted`, `unmuted`, `notified`, `delivered` or `failed`.</param>
/// <param name="Text">In words.</param>
public sealed record TimelineEntry(DateTimeOffset At, string Kind, string Text);

/// <summary>One message about an alert to one receiver.</summary>
/// <param name="Id">The idempotency key: every attempt carries it.</param>
/// <param name="Alert">Id of the first alert in it.</param>
/// <param name="Receiver">Name of the receiver.</param>
/// <param name="Event">`alerts.firing` or `alerts.resolved`.</param>
/// <param name="State">`pending`, `delivered`, `failed`, or `superseded` when a newer message of its group took its place.</param>
/// <param name="Attempts">Attempts so far.</param>
/// <param name="LastStatus">Status of the last attempt (HTTP or SMTP); null when there was no answer.</param>
/// <param name="LastError">Why the last attempt failed.</param>
/// <param name="CreatedAt">When it was made.</param>
/// <param name="NextAt">When the next attempt is due; null when none is.</param>
public sealed record Notification(string Id, string Alert, string Receiver, string Event, string State, int Attempts, int? LastStatus, string? LastError, DateTimeOffset CreatedAt, DateTimeOffset? NextAt)
{
    /// <summary>When it was delivered, given up or superseded; null while it waits.</summary>
    public DateTimeOffset? DoneAt { get; init; }
}
