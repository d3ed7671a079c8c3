using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Tests.Governance;

public class GateTests
{
    private static readonly CancellationToken None = CancellationToken.None;

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Rules_alone_grant_or_deny_where_nobody_is_asked(Engine engine)
    {
        await using var world = await StartAsync(engine);
        var gates = world.Get<Gates>();

        var granted = await gates.RequestAsync(Samples.Root, Samples.Version, "automatic", Samples.Good, ["ada"], None);
        var denied = await gates.RequestAsync(Samples.Root, new Subject("model-version", "flights/3"), "automatic", Samples.Evidence(("metrics.auc", "NaN")), ["ada"], None);

        Assert.Equal(denied.Id, (await gates.RequestAsync(Samples.Root, denied.Subject, "automatic", denied.Evidence, ["ada"], None)).Id);
        Assert.Equal(GateRequest.Granted, granted.State);
        Assert.NotNull(granted.DecidedAt);
        Assert.Equal(GateRequest.Denied, denied.State);
        Assert.Equal("error", denied.Rules[0].Outcome);
        await gates.DemandGrantedAsync(Samples.Version, "automatic", None);
        var refused = await Refused(ErrorCode.PreconditionFailed, () => gates.DemandGrantedAsync(denied.Subject, "automatic", None));
        Assert.Contains("NaN", refused.Why, StringComparison.Ordinal);
        Assert.Equal(["gate.requested", "gate.decided", "approval.granted", "gate.requested", "gate.decided", "approval.denied"], await KindsAsync(world));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Evidence_is_frozen_under_a_digest_that_ignores_order(Engine engine)
    {
        await using var world = await StartAsync(engine);
        var gates = world.Get<Gates>();
        var facts = new Dictionary<string, string>(StringComparer.Ordinal) { ["metrics.auc"] = "0.81", ["zürich"] = "naïve \"text\"\n€" };
        var one = new Evidence(facts, [new Subject("run", "1"), new Subject("dataset-version", "d/2")]);
        var other = new Evidence(facts.Reverse().ToDictionary(f => f.Key, f => f.Value, StringComparer.Ordinal), [new Subject("dataset-version", "d/2"), new Subject("run", "1")]);
        Assert.Equal(one.Digest(), other.Digest());
        Assert.NotEqual(one.Digest(), (one with { Links = [] }).Digest());

        var request = await gates.RequestAsync(Samples.Root, Samples.Version, "simple", one, ["ada"], None);
        facts["metrics.auc"] = "0.10";

        var frozen = await gates.GetAsync(request.Id, None);
        Assert.Equal("0.81", frozen.Evidence.Facts["metrics.auc"]);
        Assert.Equal("naïve \"text\"\n€", frozen.Evidence.Facts["zürich"]);
        Assert.Equal(request.EvidenceDigest, frozen.Evidence.Digest());
        Assert.Equal(other.Digest(), frozen.EvidenceDigest);
        var (decision, identical) = await gates.ReplayAsync(request.Id, None);
        Assert.True(identical);
        Assert.Equal(request.Rules, decision.Rules);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Asking_again_gives_the_same_request_and_new_evidence_supersedes_it(Engine engine)
    {
        await using var world = await StartAsync(engine);
        var gates = world.Get<Gates>();

        var first = await gates.RequestAsync(Samples.Root, Samples.Version, "simple", Samples.Good, ["ada"], None);
        var again = await gates.RequestAsync(Samples.Root, Samples.Version, "simple", Samples.Good, ["ada"], None);
        var newer = await gates.RequestAsync(Samples.Root, Samples.Version, "simple", Samples.Evidence(("metrics.auc", "0.9")), [], None);

        Assert.Equal(first.Id, again.Id);
        Assert.NotEqual(first.Id, newer.Id);
        Assert.Equal(GateRequest.Superseded, (await gates.GetAsync(first.Id, None)).State);
        Assert.Equal(["ada"], newer.Authors);
        Assert.Equal([newer.Id], (await gates.ListAsync(Samples.Version.ToString(), GateRequest.Pending, None)).Select(r => r.Id));
        Assert.Equal(2, (await gates.ListAsync(Samples.Version.ToString(), null, None)).Count);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Deploying_without_a_grant_is_refused(Engine engine)
    {
        await using var world = await StartAsync(engine);
        var gates = world.Get<Gates>();

        Assert.Contains("nobody asked", (await Refused(ErrorCode.PreconditionFailed, () => gates.DemandGrantedAsync(Samples.Version, "simple", None))).Why, StringComparison.Ordinal);
        await gates.RequestAsync(Samples.Root, Samples.Version, "simple", Samples.Good, ["ada"], None);
        Assert.Contains("pending", (await Refused(ErrorCode.PreconditionFailed, () => gates.DemandGrantedAsync(Samples.Version, "simple", None))).Why, StringComparison.Ordinal);
        await Refused(ErrorCode.NotFound, () => gates.DemandGrantedAsync(Samples.Version, "no-such-policy", None));
        await Refused(ErrorCode.NotFound, () => gates.RequestAsync(Samples.Root, Samples.Version, "no-such-policy", Samples.Good, [], None));
        await Refused(ErrorCode.NotFound, () => gates.GetAsync("no-such-request", None));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_grant_is_decided_again_under_the_policy_now_in_force(Engine engine)
    {
        await using var world = await StartAsync(engine);
        var gates = world.Get<Gates>();
        await gates.RequestAsync(Samples.Root, Samples.Version, "automatic", Samples.Good, ["ada"], None);
        await gates.DemandGrantedAsync(Samples.Version, "automatic", None);

        await world.Get<Policies>().ApplyAsync(Samples.Root, Samples.Automatic.Replace("0.70", "0.82", StringComparison.Ordinal), None);
        var stricter = await Refused(ErrorCode.PreconditionFailed, () => gates.DemandGrantedAsync(Samples.Version, "automatic", None));
        await world.Get<Policies>().ApplyAsync(Samples.Root, Samples.Simple.Replace("name: simple", "name: automatic", StringComparison.Ordinal), None);
        var asked = await Refused(ErrorCode.PreconditionFailed, () => gates.DemandGrantedAsync(Samples.Version, "automatic", None));

        Assert.Contains("metrics.auc is 0.81, required >= 0.82", stricter.Why, StringComparison.Ordinal);
        Assert.Contains("1 more approval(s) in stage technical", asked.Why, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_grant_runs_out(Engine engine)
    {
        await using var world = await StartAsync(engine);
        await world.Get<Policies>().ApplyAsync(Samples.Root, Samples.Automatic + "\nvalidity: { days: 7 }", None);
        await world.Get<Gates>().RequestAsync(Samples.Root, Samples.Version, "automatic", Samples.Good, ["ada"], None);

        world.Clock.Advance(TimeSpan.FromDays(7) - TimeSpan.FromSeconds(1));
        await world.Get<Gates>().DemandGrantedAsync(Samples.Version, "automatic", None);
        world.Clock.Advance(TimeSpan.FromSeconds(1));
        Assert.Contains("ran out", (await Refused(ErrorCode.PreconditionFailed, () => world.Get<Gates>().DemandGrantedAsync(Samples.Version, "automatic", None))).Why, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Rows_changed_by_hand_do_not_let_anything_pass(Engine engine)
    {
        await using var world = await StartAsync(engine);
        var gates = world.Get<Gates>();
        var denied = await gates.RequestAsync(Samples.Root, Samples.Version, "automatic", Samples.Evidence(("metrics.auc", "0.10")), ["ada"], None);
        var better = Samples.Evidence(("metrics.auc", "0.99"));
        await world.SealAsync();

        await ForgeAsync(world, "UPDATE governance_requests SET state = 'granted', decided_at = 1 WHERE id = @Id", new { denied.Id });
        Assert.Contains("auc-floor is fail", (await Refused(ErrorCode.PreconditionFailed, () => gates.DemandGrantedAsync(Samples.Version, "automatic", None))).Why, StringComparison.Ordinal);

        var text = System.Text.Encoding.UTF8.GetString(CanonicalJson.Serialize(new { facts = better.Facts, links = better.Links.Select(l => l.ToString()).Order(StringComparer.Ordinal) }));
        await ForgeAsync(world, "UPDATE governance_requests SET evidence = @text WHERE id = @Id", new { denied.Id, text });
        Assert.Contains("no longer hashes", (await Refused(ErrorCode.PreconditionFailed, () => gates.DemandGrantedAsync(Samples.Version, "automatic", None))).Why, StringComparison.Ordinal);

        await ForgeAsync(world, "UPDATE governance_requests SET evidence_digest = @digest WHERE id = @Id", new { denied.Id, digest = better.Digest() });
        Assert.Contains("not in the journal", (await Refused(ErrorCode.PreconditionFailed, () => gates.DemandGrantedAsync(Samples.Version, "automatic", None))).Why, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Evidence_that_is_too_large_is_refused(Engine engine)
    {
        await using var world = await StartAsync(engine);
        var gates = world.Get<Gates>();
        var many = new Evidence(Enumerable.Range(0, Evidence.MaxFacts + 1).ToDictionary(i => $"f{i}", _ => "1", StringComparer.Ordinal), []);

        await Refused(ErrorCode.InvalidArgument, () => gates.RequestAsync(Samples.Root, Samples.Version, "simple", many, [], None));
        await Refused(ErrorCode.InvalidArgument, () => gates.RequestAsync(Samples.Root, Samples.Version, "simple", Samples.Evidence(("a b", "1")), [], None));
        await Refused(ErrorCode.InvalidArgument, () => gates.RequestAsync(Samples.Root, Samples.Version, "simple", Samples.Evidence(("a", new string('x', 5_000))), [], None));
        await Refused(ErrorCode.InvalidArgument, () => gates.RequestAsync(Samples.Root, Samples.Version, "simple", Samples.Good, [" "], None));
        Assert.Empty(await gates.ListAsync(null, null, None));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Policies_are_versioned_and_a_text_of_the_same_meaning_changes_nothing(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var policies = world.Get<Policies>();

        var first = await policies.ApplyAsync(TestWorld.Ada, Samples.Simple, None);
        var same = await policies.ApplyAsync(TestWorld.Ada, "# remark\n" + Samples.Simple, None);
        var second = await policies.ApplyAsync(TestWorld.Grace, Samples.Simple.Replace("0.70", "0.75", StringComparison.Ordinal), None);
        var reverted = await policies.ApplyAsync(TestWorld.Ada, Samples.Simple, None);

        Assert.Equal([1, 1, 2, 3], new[] { first, same, second, reverted }.Select(p => p.Version));
        Assert.Equal(first.Digest, reverted.Digest);
        Assert.Equal("grace", second.AppliedBy);
        Assert.Equal(3, (await policies.GetAsync("simple", None)).Version);
        Assert.Equal([3, 2, 1], (await policies.HistoryAsync("simple", None)).Select(p => p.Version));
        Assert.Single(await policies.ListAsync(None));
        await world.SealAsync();
        var changed = (await world.Journal.ListAsync(new JournalFilter { Kind = "policy.changed", Descending = false }, None)).Items;
        Assert.Equal([null, first.Digest, second.Digest], changed.Select(e => e.Read<PolicyChanged>().PreviousDigest));
    }

    private static async Task<TestWorld> StartAsync(Engine engine)
    {
        var world = await TestWorld.CreateAsync(engine);
        await world.Get<Policies>().ApplyAsync(Samples.Root, Samples.Simple, None);
        await world.Get<Policies>().ApplyAsync(Samples.Root, Samples.Automatic, None);
        return world;
    }

    private static Task ForgeAsync(TestWorld world, string sql, object args) => world.Database.WriteAsync(tx => tx.ExecuteAsync(sql, args), None);

    private static async Task<List<string>> KindsAsync(TestWorld world)
    {
        await world.SealAsync();
        return [.. (await world.Journal.ListAsync(new JournalFilter { Descending = false }, None)).Items.Select(e => e.Kind).Where(k => k != "policy.changed")];
    }

    private static async Task<SlipwayException> Refused(ErrorCode code, Func<Task> act)
    {
        var refused = await Assert.ThrowsAsync<SlipwayException>(act);
        Assert.Equal(code, refused.Code);
        return refused;
    }
}
