using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>What a receiver is told about one group: the body of a webhook, and what every other kind is made of.</summary>
/// <param name="Id">The idempotency key: every attempt carries it.</param>
/// <param name="Event">`alerts.firing`, `alerts.resolved`, `alerts.digest` or `receiver.test`.</param>
/// <param name="At">When it was made.</param>
/// <param name="Receiver">To whom.</param>
/// <param name="Route">Path of the route that chose the receiver.</param>
/// <param name="GroupKey">The same for every message of one group.</param>
/// <param name="Group">The labels that its alerts have in common.</param>
/// <param name="Status">`firing` while one of its alerts fires, else `resolved`.</param>
/// <param name="Alerts">Firing ones first; at most 100.</param>
/// <param name="AlertCount">How many there are.</param>
/// <param name="ValidUntil">A receiver that hears nothing more by then may take the group as resolved.</param>
/// <param name="Server">The server's public address; null when it is not set.</param>
internal sealed record Message(
    string Id,
    string Event,
    DateTimeOffset At,
    string Receiver,
    string Route,
    string GroupKey,
    IReadOnlyDictionary<string, string> Group,
    string Status,
    IReadOnlyList<MessageAlert> Alerts,
    int AlertCount,
    DateTimeOffset ValidUntil,
    string? Server)
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull };

    /// <summary>Messages that a receiver's rate limit held back, told as one.</summary>
    public IReadOnlyList<Message>? Digest { get; init; }

    [JsonIgnore]
    public string Title
    {
        get
        {
            if (Digest is { } held)
            {
                return $"[Digest] {held.Count} messages about {held.Sum(m => m.AlertCount)} alerts";
            }

            int firing = Alerts.Count(a => a.State == "firing");
            string about = string.Join(" ", Group.Select(g => $"{g.Key}={g.Value}"));
            return Event == "receiver.test" ? "[Test] Slipway reaches this receiver" : $"[{(firing > 0 ? $"Firing:{firing}" : "Resolved")}] {(about.Length > 0 ? about : Alerts[0].Labels.GetValueOrDefault("alertname", "alert"))}";
        }
    }

    public string Write() => JsonSerializer.Serialize(this, Json);

    public static Message Read(string json) => JsonSerializer.Deserialize<Message>(json, Json) ?? throw new SlipwayException(ErrorCode.DataLoss, "a notification cannot be read", "its body is null");

    /// <summary>In lines of plain text.</summary>
    public string Text()
    {
        var text = new StringBuilder();
        foreach (Message message in Digest ?? [this])
        {
            if (Digest is not null)
            {
                text.Append(message.Title).Append('\n');
            }

            foreach (MessageAlert alert in message.Alerts)
            {
                text.Append(alert.Text()).Append('\n');
            }

            if (message.AlertCount > message.Alerts.Count)
            {
                text.Append("and ").Append(message.AlertCount - message.Alerts.Count).Append(" more\n");
            }
        }

        return text.ToString().TrimEnd();
    }
}

/// <summary>One alert of a message; its members are the ten strongest of <paramref name="MemberCount"/>.</summary>
internal sealed record MessageAlert(
    string Id,
    string Fingerprint,
    string State,
    IReadOnlyDictionary<string, string> Labels,
    IReadOnlyDictionary<string, string> Annotations,
    string Sentence,
    string Severity,
    string Monitor,
    DateTimeOffset WindowStart,
    DateTimeOffset WindowEnd,
    IReadOnlyList<AlertMember> Members,
    int MemberCount,
    DateTimeOffset FiredAt,
    DateTimeOffset? ResolvedAt,
    string? AcknowledgedBy,
    string Link,
    string? Runbook)
{
    public string Text()
    {
        var text = new StringBuilder($"{(State == "firing" ? Severity : "resolved")}: {Sentence}");
        if (State == "firing" && MemberCount > 1)
        {
            foreach (AlertMember m in Members)
            {
                text.Append("\n  ").Append(m.Column ?? m.Metric).Append(": ").Append(m.Column is null ? "" : m.Metric + " ")
                    .Append(m.Value.ToString("0.###", System.Globalization.CultureInfo.InvariantCulture)).Append(" against ").Append(m.Threshold.ToString("0.###", System.Globalization.CultureInfo.InvariantCulture)).Append(", n ").Append(m.N);
            }

            if (MemberCount > Members.Count)
            {
                text.Append("\n  and ").Append(MemberCount - Members.Count).Append(" more");
            }
        }

        return text.Append("\n  ").Append(Link).Append(Runbook is null ? "" : $"\n  runbook: {Runbook}").ToString();
    }
}
