using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;

namespace Slipway.Server.Api;

/// <summary>Policies, gate requests, approvals and lineage.</summary>
internal static class GovernanceApi
{
    private const int TestedVersions = 20;

    /// <param name="Yaml">The text to try; it is not put in force.</param>
    /// <param name="Model">Try it on the newest versions of this model.</param>
    /// <param name="Facts">Try it on these facts.</param>
    private sealed record PolicyTest(string Yaml, string? Model = null, IReadOnlyDictionary<string, string>? Facts = null);

    private sealed record PolicyTrial(Subject? Subject, bool Allowed, IReadOnlyList<RuleResult> Rules);

    private sealed record NewGate(Subject Subject, string Policy);

    private sealed record Decision(bool Approve, string EvidenceDigest, string Comment = "");

    public static void Map(ApiRoutes api)
    {
        api.Get("/policies", Permissions.ModelRead, async c => c.Page(await c.Of<Policies>().ListAsync(c.Stop), p => p.Name));
        api.Post("/policies", Permissions.PolicyActivate, async c => await c.Of<Policies>().ApplyAsync(c.Actor, await c.TextAsync(), c.Stop));
        api.Post("/policies/test", Permissions.VersionRead, async c => await TestAsync(c));
        api.Get("/policies/{policy}", Permissions.ModelRead, async c => await c.Of<Policies>().GetAsync(c["policy"], c.Stop));
        api.Get("/policies/{policy}/history", Permissions.ModelRead, async c =>
        {
            await c.Of<Policies>().GetAsync(c["policy"], c.Stop);
            return c.Page(await c.Of<Policies>().HistoryAsync(c["policy"], c.Stop), p => p.Digest);
        });

        api.Get("/gates", Permissions.VersionRead, async c => await RequestsAsync(c, null));
        api.Post("/gates", Permissions.GateRun, async c =>
        {
            var body = await c.BodyAsync<NewGate>();
            var (evidence, authors) = await GateEvidence.OfAsync(c, body.Subject);
            return new Created(await c.Of<Gates>().RequestAsync(c.Actor, body.Subject, body.Policy, evidence, authors, c.Stop));
        });
        api.Get("/gates/{gate}", Permissions.VersionRead, async c => await c.Of<Gates>().GetAsync(c["gate"], c.Stop));
        api.Get("/gates/{gate}/replay", Permissions.VersionRead, async c =>
        {
            var (decision, identical) = await c.Of<Gates>().ReplayAsync(c["gate"], c.Stop);
            return new { identical, decision };
        });

        api.Get("/approvals", Permissions.VersionRead, async c => await RequestsAsync(c, GateRequest.Pending));
        api.Get("/approvals/{gate}", Permissions.VersionRead, async c => await c.Of<Gates>().GetAsync(c["gate"], c.Stop));
        api.Post("/approvals/{gate}/decision", Permissions.ApprovalGrant, async c =>
        {
            var body = await c.BodyAsync<Decision>();
            return await c.Of<Approvals>().DecideAsync(c.Actor, c["gate"], body.Approve, body.Comment, body.EvidenceDigest, c.Stop);
        });

        api.Get("/lineage", Permissions.ModelRead, async c => await c.Of<Lineage>().OfAsync(
            Subject.Parse(c.Needed("subject")), Direction(c.Query("direction")), c.Number("depth", 1, 1, Lineage.MaxDepth), c.Stop));
    }

    private static async Task<object> RequestsAsync(Call c, string? otherwise)
    {
        var state = c.Query("state") ?? otherwise;
        return c.Page(await c.Of<Gates>().ListAsync(c.Query("subject"), state == "all" ? null : state, c.Stop), g => g.Id);
    }

    private static async Task<object> TestAsync(Call c)
    {
        var body = await c.BodyAsync<PolicyTest>();
        var policy = Policy.Parse(body.Yaml);
        var trials = new List<PolicyTrial>();
        if (body.Facts is { } facts)
        {
            var decision = Policies.Evaluate(policy, new Evidence(facts, []));
            trials.Add(new PolicyTrial(null, decision.Allowed, decision.Rules));
        }

        if (body.Model is { } model)
        {
            foreach (var version in (await c.Of<Models>().ListVersionsAsync(model, c.Stop)).OrderByDescending(v => v.Version).Take(TestedVersions))
            {
                var decision = Policies.Evaluate(policy, (await GateEvidence.OfAsync(c, version.Subject)).Evidence);
                trials.Add(new PolicyTrial(version.Subject, decision.Allowed, decision.Rules));
            }
        }

        return new { policy = policy.Name, policy.Digest, policy.RequiredApprovals, blocked = trials.Count(t => !t.Allowed), trials };
    }

    private static LineageDirection Direction(string? text) => text switch
    {
        null or "both" => LineageDirection.Both,
        "up" or "upstream" => LineageDirection.Upstream,
        "down" or "downstream" => LineageDirection.Downstream,
        _ => throw new SlipwayException(ErrorCode.InvalidArgument, "the parameter direction is not valid", $"\"{text}\" is not one of upstream, downstream, both"),
    };
}
