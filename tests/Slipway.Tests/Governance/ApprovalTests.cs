using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Tests.Governance;

public class ApprovalTests
{
    private static readonly CancellationToken None = CancellationToken.None;

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Somebody_who_is_no_author_approves_and_the_version_may_be_deployed(Engine engine)
    {
        await using var world = await StartAsync(engine);
        var request = await AskAsync(world);

        var granted = await VoteAsync(world, "grace", request, comment: "looks good");

        Assert.Equal(GateRequest.Granted, granted.State);
        Assert.Equal(("grace", true, "looks good"), (granted.Votes[0].Voter, granted.Votes[0].Approve, granted.Votes[0].Comment));
        await world.Get<Gates>().DemandGrantedAsync(Samples.Version, "simple", None);
        Assert.Equal(granted.Votes[0] with { Roles = Array.Empty<string>() }, Assert.Single(Assert.Single(await world.Get<Gates>().ListAsync(null, GateRequest.Granted, None)).Votes) with { Roles = Array.Empty<string>() });
        await world.SealAsync();
        var entry = Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "approval.granted" }, None)).Items);
        Assert.Equal(Samples.Version, entry.Subject);
        Assert.Equal(new GateDecided(request.Id, Samples.Version, "simple", GateRequest.Granted), entry.Read<GateDecided>());
        Assert.Equal("grace approved model-version flights/2: looks good", Audit.Sentence(Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "vote.cast" }, None)).Items)));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task An_author_is_refused_and_the_attempt_stays_in_the_journal(Engine engine)
    {
        await using var world = await StartAsync(engine);
        var request = await AskAsync(world, authors: ["grace", "trainer"]);
        var access = world.Get<Access>();
        var graces = await access.AuthenticateAsync((await access.CreateKeyAsync(Samples.Root, "grace", "k", [Roles.Validator], null, None)).Secret, None);

        // Herself, her key, the requester, and the person who owns the service account that trained.
        foreach (var (actor, n) in new[] { (Samples.Person("grace"), 1), (graces!, 2), (Samples.Person("ada"), 3), (Samples.Person("olga"), 4) })
        {
            var refused = await Refused(ErrorCode.PermissionDenied, () => world.Get<Approvals>().DecideAsync(actor, request.Id, true, "", request.EvidenceDigest, None));
            Assert.StartsWith("sod.author", refused.Why, StringComparison.Ordinal);
            await world.SealAsync();
            var entries = (await world.Journal.ListAsync(new JournalFilter { Kind = "approval.refused" }, None)).Items;
            Assert.Equal(n, entries.Count);
            Assert.Equal(("denied", "sod.author", Samples.Version), (entries[0].Outcome, entries[0].Reason, entries[0].Subject));
            Assert.Equal(actor.Principal, entries[0].Read<ApprovalRefused>().Voter);
        }
        var after = await world.Get<Gates>().GetAsync(request.Id, None);
        Assert.Equal((GateRequest.Pending, 0), (after.State, after.Votes.Count));
        Assert.True((await world.Get<Audit>().VerifyAsync(None)).Intact);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task An_author_of_an_earlier_request_stays_barred(Engine engine)
    {
        await using var world = await StartAsync(engine);
        await AskAsync(world, authors: ["grace"]);
        var second = await world.Get<Gates>().RequestAsync(Samples.Person("ada"), Samples.Version, "simple", Samples.Evidence(("metrics.auc", "0.9")), [], None);

        var refused = await Refused(ErrorCode.PermissionDenied, () => VoteAsync(world, "grace", second));

        Assert.StartsWith("sod.author", refused.Why, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Services_the_product_itself_and_people_without_the_role_do_not_vote(Engine engine)
    {
        await using var world = await StartAsync(engine);
        var request = await AskAsync(world);
        var access = world.Get<Access>();
        var bot = await access.AuthenticateAsync((await access.CreateKeyAsync(Samples.Root, "bot", "k", [Roles.Deployer], null, None)).Secret, None);
        Assert.Equal(("bot", "grace"), (bot!.Name, bot.Principal));

        Assert.StartsWith("sod.nonhuman", (await Refused(ErrorCode.PermissionDenied, () => world.Get<Approvals>().DecideAsync(bot, request.Id, true, "", request.EvidenceDigest, None))).Why, StringComparison.Ordinal);
        Assert.StartsWith("sod.nonhuman", (await Refused(ErrorCode.PermissionDenied, () => world.Get<Approvals>().DecideAsync(Samples.Root, request.Id, true, "", request.EvidenceDigest, None))).Why, StringComparison.Ordinal);
        Assert.StartsWith("approver.role", (await Refused(ErrorCode.PermissionDenied, () => VoteAsync(world, "vic", request))).Why, StringComparison.Ordinal);
        Assert.StartsWith("approver.role", (await Refused(ErrorCode.PermissionDenied, () => VoteAsync(world, "rita", request))).Why, StringComparison.Ordinal);
        Assert.StartsWith("approver.role", (await Refused(ErrorCode.PermissionDenied, () => VoteAsync(world, "stranger", request))).Why, StringComparison.Ordinal);

        world.Get<GovernanceOptions>().KeysMayVote = false;
        var key = await access.AuthenticateAsync((await access.CreateKeyAsync(Samples.Root, "grace", "k", [Roles.Validator], null, None)).Secret, None);
        Assert.StartsWith("sod.nonhuman", (await Refused(ErrorCode.PermissionDenied, () => world.Get<Approvals>().DecideAsync(key!, request.Id, true, "", request.EvidenceDigest, None))).Why, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_person_has_one_vote_whatever_they_come_with(Engine engine)
    {
        await using var world = await StartAsync(engine, Samples.Simple.Replace("require: 1", "require: 2", StringComparison.Ordinal));
        var request = await AskAsync(world);
        var access = world.Get<Access>();
        var key = await access.AuthenticateAsync((await access.CreateKeyAsync(Samples.Root, "grace", "k", [Roles.Validator], null, None)).Secret, None);

        Assert.Equal(GateRequest.Pending, (await VoteAsync(world, "grace", request)).State);
        await Refused(ErrorCode.Conflict, () => VoteAsync(world, "grace", request));
        await Refused(ErrorCode.Conflict, () => world.Get<Approvals>().DecideAsync(key!, request.Id, true, "", request.EvidenceDigest, None));
        await Refused(ErrorCode.PreconditionFailed, () => world.Get<Gates>().DemandGrantedAsync(Samples.Version, "simple", None));

        Assert.Equal(GateRequest.Granted, (await VoteAsync(world, "heidi", request)).State);
        await world.Get<Gates>().DemandGrantedAsync(Samples.Version, "simple", None);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_vote_about_other_evidence_or_an_older_policy_is_stale(Engine engine)
    {
        await using var world = await StartAsync(engine);
        var request = await AskAsync(world);

        var stale = await Refused(ErrorCode.Conflict, () => world.Get<Approvals>().DecideAsync(Samples.Person("grace"), request.Id, true, "", new string('0', 64), None));
        Assert.Contains(request.EvidenceDigest, stale.Why, StringComparison.Ordinal);

        await world.Get<Policies>().ApplyAsync(Samples.Root, Samples.Simple.Replace("0.70", "0.71", StringComparison.Ordinal), None);
        var changed = await Refused(ErrorCode.Conflict, () => VoteAsync(world, "grace", request));
        Assert.Contains("version 2", changed.Why, StringComparison.Ordinal);
        Assert.Empty((await world.Get<Gates>().GetAsync(request.Id, None)).Votes);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task One_refusal_ends_it_needs_a_comment_and_bars_the_same_evidence(Engine engine)
    {
        await using var world = await StartAsync(engine);
        var request = await AskAsync(world);

        await Refused(ErrorCode.InvalidArgument, () => VoteAsync(world, "grace", request, approve: false, comment: "  "));
        await Refused(ErrorCode.InvalidArgument, () => VoteAsync(world, "grace", request, comment: new string('x', 4_001)));
        var denied = await VoteAsync(world, "grace", request, approve: false, comment: "leaks the target");

        Assert.Equal(GateRequest.Denied, denied.State);
        await Refused(ErrorCode.Conflict, () => VoteAsync(world, "heidi", request));
        await Refused(ErrorCode.Conflict, () => AskAsync(world));
        await Refused(ErrorCode.PreconditionFailed, () => world.Get<Gates>().DemandGrantedAsync(Samples.Version, "simple", None));
        await world.SealAsync();
        Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "approval.denied" }, None)).Items);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Fifty_votes_at_once_make_exactly_one_grant(Engine engine)
    {
        await using var world = await StartAsync(engine, Samples.Simple.Replace("require: 1", "require: 3", StringComparison.Ordinal));
        var request = await AskAsync(world);
        var access = world.Get<Access>();
        var voters = Enumerable.Range(0, 50).Select(i => $"v{i}").ToList();
        foreach (var voter in voters) await access.CreateUserAsync(Samples.Root, voter, [Roles.Validator], None);
        // A second instance shares only the database, as another node of a cluster would.
        var other = new Approvals(world.Database, world.Journal, world.Get<Gates>(), world.Clock, access, world.Get<GovernanceOptions>());

        var outcomes = await Task.WhenAll(voters.Select(async (voter, i) =>
        {
            try
            {
                await (i % 2 == 0 ? world.Get<Approvals>() : other).DecideAsync(Samples.Person(voter), request.Id, true, "", request.EvidenceDigest, None);
                return (ErrorCode?)null;
            }
            catch (SlipwayException e)
            {
                return e.Code;
            }
        }));

        Assert.Equal(3, outcomes.Count(o => o is null));
        Assert.Equal(47, outcomes.Count(o => o == ErrorCode.Conflict));
        Assert.Equal((GateRequest.Granted, 3), await StateAsync(world, request.Id));
        await world.SealAsync();
        Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "approval.granted" }, None)).Items);
        Assert.Equal(3, (await world.Journal.ListAsync(new JournalFilter { Kind = "vote.cast" }, None)).Items.Count);
        await world.Get<Gates>().DemandGrantedAsync(Samples.Version, "simple", None);
        other.Dispose();
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_vote_written_by_hand_is_found_at_deployment(Engine engine)
    {
        await using var world = await StartAsync(engine, Samples.Simple.Replace("require: 1", "require: 2", StringComparison.Ordinal));
        var request = await AskAsync(world);
        await VoteAsync(world, "grace", request);
        await world.Database.WriteAsync(
            async tx =>
            {
                await tx.ExecuteAsync("INSERT INTO governance_votes SELECT request_id, 'heidi', approve, comment, evidence_digest, roles, auth, at, entry_id FROM governance_votes");
                await tx.ExecuteAsync("UPDATE governance_requests SET state = 'granted', decided_at = 1");
            },
            None);
        await world.SealAsync();

        var refused = await Refused(ErrorCode.PreconditionFailed, () => world.Get<Gates>().DemandGrantedAsync(Samples.Version, "simple", None));

        Assert.Contains("the vote of heidi is not in the journal", refused.Why, StringComparison.Ordinal);
    }

    private static async Task<TestWorld> StartAsync(Engine engine, string policy = Samples.Simple)
    {
        var world = await TestWorld.CreateAsync(engine);
        await world.Get<Policies>().ApplyAsync(Samples.Root, policy, None);
        var access = world.Get<Access>();
        foreach (var (name, role) in new[] { ("ada", Roles.Validator), ("grace", Roles.Validator), ("heidi", Roles.Validator), ("olga", Roles.Validator), ("rita", Roles.RiskOfficer), ("vic", Roles.Viewer) })
            await access.CreateUserAsync(Samples.Root, name, [role], None);
        await access.CreateServiceAsync(Samples.Root, "trainer", "olga", [Roles.Trainer], None);
        await access.CreateServiceAsync(Samples.Root, "bot", "grace", [Roles.Deployer], None);
        return world;
    }

    private static Task<GateRequest> AskAsync(TestWorld world, IReadOnlyList<string>? authors = null) =>
        world.Get<Gates>().RequestAsync(Samples.Person("ada"), Samples.Version, "simple", Samples.Good, authors ?? ["trainer"], None);

    private static Task<GateRequest> VoteAsync(TestWorld world, string voter, GateRequest request, bool approve = true, string comment = "") =>
        world.Get<Approvals>().DecideAsync(Samples.Person(voter), request.Id, approve, comment, request.EvidenceDigest, None);

    private static async Task<(string, int)> StateAsync(TestWorld world, string id)
    {
        var request = await world.Get<Gates>().GetAsync(id, None);
        return (request.State, request.Approvals);
    }

    private static async Task<SlipwayException> Refused(ErrorCode code, Func<Task> act)
    {
        var refused = await Assert.ThrowsAsync<SlipwayException>(act);
        Assert.Equal(code, refused.Code);
        return refused;
    }
}
