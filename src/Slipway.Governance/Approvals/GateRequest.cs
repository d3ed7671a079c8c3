using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>A request to let a subject pass a policy: the frozen evidence, what the rules said of it, and who voted.</summary>
/// <param name="Id">Identifier.</param>
/// <param name="Subject">What is to pass, e.g. <c>model-version:flights/2</c>.</param>
/// <param name="Policy">Name of the policy.</param>
/// <param name="PolicyDigest">The policy meaning that was in force.</param>
/// <param name="State"><c>pending</c>, <c>granted</c>, <c>denied</c>, or <c>superseded</c> by a newer request for the same subject and policy.</param>
/// <param name="EvidenceDigest">SHA-256 of the frozen evidence; a vote must carry it.</param>
/// <param name="Evidence">The evidence as frozen.</param>
/// <param name="Rules">What each rule said.</param>
/// <param name="Votes">Votes so far, oldest first.</param>
/// <param name="Authors">People who may not vote: authors, requesters and whoever was one in an earlier request for this subject.</param>
/// <param name="RequiredApprovals">Approvals the policy asks for.</param>
/// <param name="RequestedBy">Who asked.</param>
/// <param name="RequestedAt">When.</param>
/// <param name="DecidedAt">When it left <c>pending</c>; null while it is.</param>
public sealed record GateRequest(
    string Id, Subject Subject, string Policy, string PolicyDigest, string State, string EvidenceDigest, Evidence Evidence,
    IReadOnlyList<RuleResult> Rules, IReadOnlyList<Vote> Votes, IReadOnlyList<string> Authors, int RequiredApprovals,
    string RequestedBy, DateTimeOffset RequestedAt, DateTimeOffset? DecidedAt)
{
    public const string Pending = "pending";
    public const string Granted = "granted";
    public const string Denied = "denied";
    public const string Superseded = "superseded";

    /// <summary>Approvals given so far.</summary>
    public int Approvals => Votes.Count(v => v.Approve);
}

/// <summary>One person's vote.</summary>
/// <param name="Voter">The person, also where a key of theirs spoke.</param>
/// <param name="Approve">For or against.</param>
/// <param name="Comment">What they wrote; never empty against.</param>
/// <param name="EvidenceDigest">The evidence they saw.</param>
/// <param name="Roles">The roles they held at that moment.</param>
/// <param name="At">When.</param>
public sealed record Vote(string Voter, bool Approve, string Comment, string EvidenceDigest, IReadOnlyList<string> Roles, DateTimeOffset At);

/// <summary>A gate request as rows.</summary>
internal sealed class GateRequestRow
{
    private const string Columns =
        "id AS Id, subject AS Subject, policy AS Policy, ordinal AS Ordinal, policy_digest AS PolicyDigest, state AS State, evidence AS Evidence, evidence_digest AS EvidenceDigest, "
        + "rules AS Rules, authors AS Authors, required_approvals AS RequiredApprovals, requested_by AS RequestedBy, requested_at AS RequestedAt, decided_at AS DecidedAt, entry_id AS EntryId";

    private const string VoteColumns =
        "request_id AS RequestId, voter AS Voter, approve AS Approve, comment AS Comment, evidence_digest AS EvidenceDigest, roles AS Roles, at AS At, entry_id AS EntryId";

    public string Id { get; set; } = "";
    public string Subject { get; set; } = "";
    public string Policy { get; set; } = "";
    public long Ordinal { get; set; }
    public string PolicyDigest { get; set; } = "";
    public string State { get; set; } = "";
    public string Evidence { get; set; } = "";
    public string EvidenceDigest { get; set; } = "";
    public string Rules { get; set; } = "[]";
    public string Authors { get; set; } = "[]";
    public long RequiredApprovals { get; set; }
    public string RequestedBy { get; set; } = "";
    public long RequestedAt { get; set; }
    public long? DecidedAt { get; set; }
    public string EntryId { get; set; } = "";

    public IReadOnlyList<VoteRow> Votes { get; private set; } = [];

    public static async Task<GateRequestRow?> FindAsync(Session session, string id) =>
        await WithVotesAsync(session, await session.FindAsync<GateRequestRow>($"SELECT {Columns} FROM governance_requests WHERE id = @id", new { id }));

    /// <summary>The newest request for a subject under a policy; superseded ones are never the newest.</summary>
    public static async Task<GateRequestRow?> NewestAsync(Session session, Subject subject, string policy) => await WithVotesAsync(session,
        await session.FindAsync<GateRequestRow>($"SELECT {Columns} FROM governance_requests WHERE subject = @subject AND policy = @policy ORDER BY ordinal DESC LIMIT 1", new { subject = subject.ToString(), policy }));

    public static async Task<IReadOnlyList<GateRequestRow>> ListAsync(Session session, string? subject, string? state, int limit)
    {
        var where = (subject, state) switch
        {
            (null, null) => "",
            ({ }, null) => "WHERE subject = @subject",
            (null, { }) => "WHERE state = @state",
            _ => "WHERE subject = @subject AND state = @state",
        };
        var asked = $"FROM governance_requests {where} ORDER BY requested_at DESC, id DESC LIMIT @limit";
        var rows = await session.QueryAsync<GateRequestRow>($"SELECT {Columns} {asked}", new { subject, state, limit });
        var votes = (await session.QueryAsync<VoteRow>($"SELECT {VoteColumns} FROM governance_votes WHERE request_id IN (SELECT id {asked}) ORDER BY at, voter", new { subject, state, limit })).ToLookup(v => v.RequestId, StringComparer.Ordinal);
        foreach (var row in rows) row.Votes = [.. votes[row.Id]];
        return rows;
    }

    public GateRequest ToRequest() => new(
        Id, Foundation.Subject.Parse(Subject), Policy, PolicyDigest, State, EvidenceDigest, FrozenEvidence(), Read<RuleResult[]>(Rules),
        [.. Votes.Select(v => v.ToVote())], Read<string[]>(Authors), (int)RequiredApprovals, RequestedBy, Time.FromMicros(RequestedAt),
        DecidedAt is { } at ? Time.FromMicros(at) : null);

    /// <summary>The evidence as it was frozen. What it hashes to now is for the caller to compare.</summary>
    public Evidence FrozenEvidence()
    {
        var frozen = Read<Frozen>(Evidence);
        return new Evidence(frozen.Facts, [.. frozen.Links.Select(Foundation.Subject.Parse)]);
    }

    public static T Read<T>(string json) => JsonSerializer.Deserialize<T>(json, CanonicalJson.Options)
        ?? throw new SlipwayException(ErrorCode.DataLoss, "a gate request cannot be read", "its row holds null", "slipway audit verify");

    private static async Task<GateRequestRow?> WithVotesAsync(Session session, GateRequestRow? row)
    {
        if (row is not null)
            row.Votes = await session.QueryAsync<VoteRow>($"SELECT {VoteColumns} FROM governance_votes WHERE request_id = @Id ORDER BY at, voter", new { row.Id });
        return row;
    }

    private sealed record Frozen(IReadOnlyDictionary<string, string> Facts, IReadOnlyList<string> Links);
}

internal sealed class VoteRow
{
    public string RequestId { get; set; } = "";
    public string Voter { get; set; } = "";
    public long Approve { get; set; }
    public string Comment { get; set; } = "";
    public string EvidenceDigest { get; set; } = "";
    public string Roles { get; set; } = "[]";
    public long At { get; set; }
    public string EntryId { get; set; } = "";

    public Vote ToVote() => new(Voter, Approve != 0, Comment, EvidenceDigest, GateRequestRow.Read<string[]>(Roles), Time.FromMicros(At));
}
