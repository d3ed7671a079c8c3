using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>Votes on gate requests, under separation of duties. Nobody has a way around it, owners and admins included.</summary>
public sealed class Approvals(Database database, Journal journal, Gates gates, TimeProvider clock, Access access, GovernanceOptions options) : IDisposable
{
    private const int MaxComment = 4_000;

    // Votes race for one row. Taking turns inside the process spares the retries; between processes the row itself decides.
    private readonly SemaphoreSlim turn = new(1, 1);

    /// <summary>
    /// Casts one vote. One vote against denies the request; the approval that completes the policy's stages grants it, exactly once however many race for it.
    /// </summary>
    /// <param name="actor">The voter. A key counts as its owner; a service account never votes.</param>
    /// <param name="requestId">The gate request.</param>
    /// <param name="approve">For or against.</param>
    /// <param name="comment">Why; needed against. At most 4000 characters.</param>
    /// <param name="evidenceDigest">The digest of the evidence that the voter was shown.</param>
    /// <param name="ct">Stops waiting.</param>
    /// <exception cref="SlipwayException">
    /// <see cref="ErrorCode.PermissionDenied"/> for authors (<c>sod.author</c>), service accounts (<c>sod.nonhuman</c>) and people without a role that the policy names (<c>approver.role</c>);
    /// the attempt is journalled. <see cref="ErrorCode.Conflict"/> when the request is decided, the evidence or the policy is another one by now, or the person voted before.
    /// <see cref="ErrorCode.InvalidArgument"/>, <see cref="ErrorCode.NotFound"/>.
    /// </exception>
    public async Task<GateRequest> DecideAsync(Actor actor, string requestId, bool approve, string comment, string evidenceDigest, CancellationToken ct)
    {
        comment = comment.Trim();
        if (comment.Length > MaxComment) throw SlipwayException.Invalid("the vote was not cast", $"the comment has {comment.Length} characters, at most {MaxComment} are kept");
        if (!approve && comment.Length == 0) throw SlipwayException.Invalid("the refusal was not recorded", "it has no comment, so its author could not act on it", "say what has to change");

        await turn.WaitAsync(ct);
        try
        {
            var (request, refusal) = await database.WriteAsync(tx => VoteAsync(tx, actor, requestId, approve, comment, evidenceDigest), ct);
            return refusal is null ? request : throw refusal;
        }
        finally
        {
            turn.Release();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => turn.Dispose();

    private async Task<(GateRequest Request, SlipwayException? Refusal)> VoteAsync(Tx tx, Actor actor, string requestId, bool approve, string comment, string evidenceDigest)
    {
        // Writing the row first makes racing votes wait for one another, or retry.
        var found = await tx.ExecuteAsync("UPDATE governance_requests SET revision = revision + 1 WHERE id = @requestId", new { requestId });
        if (found == 0) throw SlipwayException.NotFound("gate request", requestId, "slipway approvals list");
        var row = (await GateRequestRow.FindAsync(tx, requestId))!;
        if (row.State != GateRequest.Pending) throw Conflict(row, $"it is {row.State} already", $"slipway approvals show {row.Id}");

        var policy = await Policies.GetAsync(tx, row.Policy);
        var roles = await access.RolesAsync(tx, actor);
        var voter = actor.Principal;
        if (await ForbiddenAsync(tx, actor, row, policy, roles) is var (rule, why))
        {
            // The refusal is a fact to keep: it commits, and only then does the call fail.
            await journal.AppendAsync(tx, actor, "approval.refused", Subject.Parse(row.Subject), new ApprovalRefused(row.Id, voter, rule, why), [new Subject("gate-request", row.Id)], outcome: "denied", reason: rule);
            return (row.ToRequest(), new SlipwayException(ErrorCode.PermissionDenied, $"{voter} may not vote on {row.Subject}", $"{rule}: {why}", "let somebody else decide"));
        }
        if (!string.Equals(evidenceDigest, row.EvidenceDigest, StringComparison.Ordinal))
            throw Conflict(row, $"the vote is about evidence {evidenceDigest}, the request holds {row.EvidenceDigest}", "look at the evidence as it is now and vote again");
        if (policy.Digest != row.PolicyDigest) throw Conflict(row, $"the policy {policy.Name} changed to version {policy.Version} after it was asked for", "ask for the gate again");
        if (row.Votes.Any(v => string.Equals(v.Voter, voter, StringComparison.OrdinalIgnoreCase))) throw Conflict(row, $"{voter} has voted on it already; a person has one vote", $"slipway approvals show {row.Id}");

        var subject = Subject.Parse(row.Subject);
        var entry = await journal.AppendAsync(tx, actor, "vote.cast", subject, new VoteCast(row.Id, voter, approve, comment, evidenceDigest, roles), [new Subject("gate-request", row.Id)]);
        await tx.ExecuteAsync(
            "INSERT INTO governance_votes (request_id, voter, approve, comment, evidence_digest, roles, auth, at, entry_id) VALUES (@Id, @voter, @approve, @comment, @evidenceDigest, @roles, @Auth, @now, @entry)",
            new { row.Id, voter, approve = approve ? 1 : 0, comment, evidenceDigest, roles = JsonSerializer.Serialize(roles, CanonicalJson.Options), actor.Auth, now = clock.NowMicros(), entry });

        var votes = (await GateRequestRow.FindAsync(tx, row.Id))!.ToRequest().Votes;
        if (!approve) await gates.DecideAsync(tx, actor, row, GateRequest.Denied);
        else if (Quorum.Missing(policy.Stages, votes).Count == 0) await gates.DecideAsync(tx, actor, row, GateRequest.Granted);
        return ((await GateRequestRow.FindAsync(tx, row.Id))!.ToRequest(), null);
    }

    private async Task<(string Rule, string Why)?> ForbiddenAsync(Session session, Actor actor, GateRequestRow row, Policy policy, IReadOnlyList<string> roles)
    {
        if (actor.Kind is ActorKind.Service or ActorKind.System) return ("sod.nonhuman", $"{actor.Name} is no person, and only people vote");
        if (actor.Kind is ActorKind.ApiKey && !options.KeysMayVote) return ("sod.nonhuman", "API keys may not vote on this server; sign in");

        var authors = await Access.PeopleAsync(session, GateRequestRow.Read<string[]>(row.Authors));
        var self = await Access.PeopleAsync(session, [actor.Name, actor.Principal]);
        if (self.Overlaps(authors)) return ("sod.author", $"{actor.Principal} made or requested it");

        if (!Roles.PermissionsOf(roles).Contains(Permissions.ApprovalGrant)) return ("approver.role", $"{actor.Principal} has no role with {Permissions.ApprovalGrant}");
        return policy.Stages.Any(stage => Quorum.MayServe(stage, actor.Principal, roles))
            ? null
            : ("approver.role", $"the policy {policy.Name} asks {string.Join(" or ", policy.Stages.SelectMany(s => s.From).Distinct(StringComparer.Ordinal))}");
    }

    private static SlipwayException Conflict(GateRequestRow row, string why, string next) => new(ErrorCode.Conflict, $"the vote on {row.Subject} was not cast", why, next);
}
