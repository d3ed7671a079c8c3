using System.Text;
using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>
/// Gates: a subject passes a policy when every rule over frozen evidence passes and the people that the policy names agree.
/// What counts is what can be recomputed, so a deployment asks <see cref="DemandGrantedAsync"/> and never looks at a stored flag.
/// </summary>
public sealed class Gates(Database database, Journal journal, TimeProvider clock)
{
    private const int MaxAuthors = 100;
    private const int MaxListed = 500;

    /// <summary>
    /// Freezes the evidence and lets the rules decide: <c>denied</c> if one does not pass, <c>pending</c> if people have to agree, else <c>granted</c>.
    /// Asking again with the same evidence under the same policy gives the same request; other evidence makes a new one and supersedes one that is pending.
    /// </summary>
    /// <param name="actor">Who asks; may not vote.</param>
    /// <param name="subject">What is to pass.</param>
    /// <param name="policy">Name of the policy in force.</param>
    /// <param name="evidence">What to decide on.</param>
    /// <param name="authors">Everybody who made the subject: none of them may vote, now or in a later request for it.</param>
    /// <param name="ct">Stops waiting.</param>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.NotFound"/> (policy), <see cref="ErrorCode.InvalidArgument"/> (evidence, authors), <see cref="ErrorCode.Conflict"/> when people refused exactly this evidence before.</exception>
    public async Task<GateRequest> RequestAsync(Actor actor, Subject subject, string policy, Evidence evidence, IReadOnlyList<string> authors, CancellationToken ct)
    {
        evidence.DemandBounded();
        if (authors.Count > MaxAuthors || authors.Any(a => string.IsNullOrWhiteSpace(a) || a.Length > 200))
            throw SlipwayException.Invalid("the gate request cannot be made", $"it names {authors.Count} authors, of which each needs a name and at most {MaxAuthors} are kept");

        var digest = evidence.Digest();
        return await database.WriteAsync(async tx =>
        {
            var inForce = await Policies.GetAsync(tx, policy);
            var barred = await AuthorsAsync(tx, actor, subject, authors);
            var newest = await GateRequestRow.NewestAsync(tx, subject, policy);
            if (newest is not null && newest.EvidenceDigest == digest && newest.PolicyDigest == inForce.Digest)
            {
                if (newest.State == GateRequest.Denied && newest.Votes.Any(v => v.Approve == 0))
                {
                    throw new SlipwayException(ErrorCode.Conflict, $"{subject} was refused under {policy} with exactly this evidence",
                        $"{newest.Votes.First(v => v.Approve == 0).Voter} refused request {newest.Id}", "change what was criticised and ask with new evidence");
                }
                if (newest.State != GateRequest.Superseded && barred.IsSubsetOf(GateRequestRow.Read<string[]>(newest.Authors))) return newest.ToRequest();
            }
            if (newest is { State: GateRequest.Pending }) await SupersedeAsync(tx, actor, newest);
            return await InsertAsync(tx, actor, subject, inForce, evidence, digest, barred, (newest?.Ordinal ?? 0) + 1);
        }, ct);
    }

    /// <exception cref="SlipwayException"><see cref="ErrorCode.NotFound"/>.</exception>
    public async Task<GateRequest> GetAsync(string id, CancellationToken ct)
    {
        var row = await database.ReadAsync(session => GateRequestRow.FindAsync(session, id), ct);
        return row?.ToRequest() ?? throw SlipwayException.NotFound("gate request", id, "slipway approvals list");
    }

    /// <summary>Requests, newest first, at most 500.</summary>
    /// <param name="subject">Only for this subject, as <c>kind:name</c>; null = all.</param>
    /// <param name="state">Only in this state; null = all.</param>
    /// <param name="ct">Stops waiting.</param>
    public Task<IReadOnlyList<GateRequest>> ListAsync(string? subject, string? state, CancellationToken ct) => database.ReadAsync<IReadOnlyList<GateRequest>>(async session =>
        [.. (await GateRequestRow.ListAsync(session, subject, state, MaxListed)).Select(r => r.ToRequest())], ct);

    /// <summary>Decides a request again from its stored policy text and evidence.</summary>
    /// <returns>The decision now, and whether it is word for word the one that was stored.</returns>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.NotFound"/>; <see cref="ErrorCode.DataLoss"/> when the policy text is gone.</exception>
    public async Task<(PolicyDecision Decision, bool Identical)> ReplayAsync(string id, CancellationToken ct) => await database.ReadAsync(async session =>
    {
        var row = await GateRequestRow.FindAsync(session, id) ?? throw SlipwayException.NotFound("gate request", id, "slipway approvals list");
        var decision = Policies.Evaluate(await Policies.GetByDigestAsync(session, row.Policy, row.PolicyDigest), row.FrozenEvidence());
        return (decision, decision.EvidenceDigest == row.EvidenceDigest && decision.PolicyDigest == row.PolicyDigest && Json(decision.Rules) == row.Rules);
    }, ct);

    /// <summary>
    /// The check at deployment. From the stored facts it computes again: the evidence still hashes to what was frozen and journalled; every rule
    /// passes under the policy now in force; the votes still make that policy's quorum, none of them by an author, each as the journal
    /// recorded it; and the grant has not run out.
    /// </summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.PreconditionFailed"/> saying which of these does not hold; <see cref="ErrorCode.NotFound"/> without the policy.</exception>
    public async Task DemandGrantedAsync(Subject subject, string policy, CancellationToken ct)
    {
        var (row, inForce, people) = await database.ReadAsync(async session =>
        {
            var newest = await GateRequestRow.NewestAsync(session, subject, policy);
            return (newest, await Policies.GetAsync(session, policy), newest is null ? [] : await Access.PeopleAsync(session, GateRequestRow.Read<string[]>(newest.Authors)));
        }, ct);

        if (row is null) throw Refuse("nobody asked for it", $"slipway approvals request {subject} --policy {policy}");
        var request = row.ToRequest();
        if (request.State != GateRequest.Granted)
            throw Refuse($"request {request.Id} is {request.State}" + (request.Rules.FirstOrDefault(r => r.Outcome != RuleResult.Pass) is { } rule ? $": {rule.Id}: {rule.Why}" : ""), $"slipway approvals show {request.Id}");

        if (request.Evidence.Digest() != request.EvidenceDigest) throw Refuse("the stored evidence no longer hashes to its digest", "slipway audit verify");
        await DemandJournalledAsync(row, request, ct);

        var decision = Policies.Evaluate(inForce, request.Evidence);
        if (decision.Rules.FirstOrDefault(r => r.Outcome != RuleResult.Pass) is { } failed)
            throw Refuse($"under version {inForce.Version} of the policy, which is in force now, {failed.Id} is {failed.Outcome}: {failed.Why}", "ask again with new evidence");

        if (request.Votes.FirstOrDefault(v => people.Contains(v.Voter)) is { } own) throw Refuse($"{own.Voter} voted and is an author", "let somebody else approve");
        if (request.Votes.FirstOrDefault(v => !v.Approve) is { } against) throw Refuse($"{against.Voter} voted against it", $"slipway approvals show {request.Id}");
        if (Quorum.Missing(inForce.Stages, request.Votes.Where(v => v.EvidenceDigest == request.EvidenceDigest)) is [var (stage, missing), ..])
            throw Refuse($"version {inForce.Version} of the policy, which is in force now, asks for {missing} more approval(s) in stage {stage}", "ask again");
        if (inForce.ValidDays is { } days && request.DecidedAt + TimeSpan.FromDays(days) is { } end && end <= clock.GetUtcNow())
            throw Refuse($"the grant ran out at {end:u}, {days} days after it was given", "ask again with fresh evidence");

        SlipwayException Refuse(string why, string next) => new(ErrorCode.PreconditionFailed, $"{subject} has no valid approval under {policy}", why, next);
    }

    /// <summary>Writes the decision of a request, in the journal as exactly one <c>approval.granted</c> or <c>approval.denied</c>.</summary>
    internal async Task DecideAsync(Tx tx, Actor actor, GateRequestRow row, string state)
    {
        await tx.ExecuteAsync("UPDATE governance_requests SET state = @state, decided_at = @now WHERE id = @Id", new { row.Id, state, now = clock.NowMicros() });
        var subject = Subject.Parse(row.Subject);
        var kind = state == GateRequest.Granted ? "approval.granted" : "approval.denied";
        await journal.AppendAsync(tx, actor, kind, subject, new GateDecided(row.Id, subject, row.Policy, state), [new Subject("gate-request", row.Id), new Subject("policy", row.Policy)]);
    }

    private async Task<GateRequest> InsertAsync(Tx tx, Actor actor, Subject subject, Policy policy, Evidence evidence, string digest, IReadOnlySet<string> barred, long ordinal)
    {
        var decision = Policies.Evaluate(policy, evidence);
        var state = !decision.Allowed ? GateRequest.Denied : policy.Stages.Count > 0 ? GateRequest.Pending : GateRequest.Granted;
        var id = Ids.New();
        var authors = barred.Order(StringComparer.Ordinal).ToArray();
        var entry = await journal.AppendAsync(tx, actor, "gate.requested", subject,
            new GateRequested(id, subject, policy.Name, policy.Digest, digest, state, authors, decision.Rules, policy.RequiredApprovals),
            [.. evidence.Links, new Subject("gate-request", id), policy.Subject]);
        var inserted = await tx.ExecuteAsync(
            """
            INSERT INTO governance_requests (id, subject, policy, ordinal, policy_digest, state, evidence, evidence_digest, rules, authors, required_approvals, requested_by, requested_at, entry_id, revision)
            VALUES (@id, @subject, @policy, @ordinal, @policyDigest, @state, @evidence, @digest, @rules, @authors, @required, @by, @now, @entry, 0)
            ON CONFLICT (subject, policy, ordinal) DO NOTHING
            """,
            new
            {
                id,
                subject = subject.ToString(),
                policy = policy.Name,
                ordinal,
                policyDigest = policy.Digest,
                state = GateRequest.Pending,
                evidence = Encoding.UTF8.GetString(evidence.Canonical()),
                digest,
                rules = Json(decision.Rules),
                authors = Json(authors),
                required = (long)policy.RequiredApprovals,
                by = actor.Principal,
                now = clock.NowMicros(),
                entry,
            });
        if (inserted == 0)
            throw new SlipwayException(ErrorCode.Conflict, $"the gate request for {subject} was not made", "somebody else asked at the same time", "ask again");

        var row = await GateRequestRow.FindAsync(tx, id);
        if (state != GateRequest.Pending)
        {
            await journal.AppendAsync(tx, actor, "gate.decided", subject, new GateDecided(id, subject, policy.Name, state), [new Subject("gate-request", id), policy.Subject]);
            await DecideAsync(tx, actor, row!, state);
            row = await GateRequestRow.FindAsync(tx, id);
        }
        return row!.ToRequest();
    }

    private async Task SupersedeAsync(Tx tx, Actor actor, GateRequestRow row)
    {
        await tx.ExecuteAsync("UPDATE governance_requests SET state = @state, decided_at = @now WHERE id = @Id", new { row.Id, state = GateRequest.Superseded, now = clock.NowMicros() });
        var subject = Subject.Parse(row.Subject);
        await journal.AppendAsync(tx, actor, "gate.decided", subject, new GateDecided(row.Id, subject, row.Policy, GateRequest.Superseded), [new Subject("gate-request", row.Id)]);
    }

    /// <summary>The authors given, the requester, the owners of the service accounts among them, and everybody barred before: the set only grows.</summary>
    private static async Task<IReadOnlySet<string>> AuthorsAsync(Session session, Actor actor, Subject subject, IReadOnlyList<string> authors)
    {
        var names = authors.Select(a => a.Trim()).ToList();
        if (actor.Kind != ActorKind.System) names.Add(actor.Name);
        if (actor.OnBehalfOf is { } person) names.Add(person);
        foreach (var earlier in await session.QueryAsync<string>("SELECT authors FROM governance_requests WHERE subject = @subject", new { subject = subject.ToString() }))
            names.AddRange(GateRequestRow.Read<string[]>(earlier));
        return await Access.PeopleAsync(session, names);
    }

    /// <summary>Rows are only a copy of what the sealed journal says: a row changed by hand does not let anything pass.</summary>
    private async Task DemandJournalledAsync(GateRequestRow row, GateRequest request, CancellationToken ct)
    {
        var entry = await journal.FindAsync(row.EntryId, ct);
        var asked = entry is { Kind: "gate.requested" } && entry.Subject == request.Subject ? entry.Read<GateRequested>() : null;
        if (asked is null || asked.RequestId != request.Id || asked.EvidenceDigest != request.EvidenceDigest || asked.Policy != request.Policy || asked.Authors.Except(request.Authors, StringComparer.Ordinal).Any())
            throw Refuse("the request");
        foreach (var vote in row.Votes)
        {
            var cast = await journal.FindAsync(vote.EntryId, ct);
            var said = cast is { Kind: "vote.cast" } && cast.Subject == request.Subject ? cast.Read<VoteCast>() : null;
            if (said is null || said.RequestId != request.Id || said.Voter != vote.Voter || said.Approve != (vote.Approve != 0) || said.EvidenceDigest != vote.EvidenceDigest || Json(said.Roles) != vote.Roles)
                throw Refuse($"the vote of {vote.Voter}");
        }

        SlipwayException Refuse(string what) => new(ErrorCode.PreconditionFailed, $"{request.Subject} has no valid approval under {request.Policy}", $"{what} is not in the journal as the database has it", "slipway audit verify");
    }

    private static string Json<T>(T value) => JsonSerializer.Serialize(value, CanonicalJson.Options);
}
