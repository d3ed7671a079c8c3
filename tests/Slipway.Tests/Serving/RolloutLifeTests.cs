using Microsoft.Extensions.DependencyInjection;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;
using Slipway.Serving;
using Slipway.Serving.Routing;
using Slipway.Tests.Governance;
using static Slipway.Tests.Serving.ServingWorld;

namespace Slipway.Tests.Serving;

/// <summary>Rollouts on real databases: workers that die at every boundary, commands that come twice, undo, supersede, first deployment.</summary>
public sealed class RolloutLifeTests
{
    private static readonly RolloutSpec Long = new()
    {
        Bake = TimeSpan.FromSeconds(5),
        Steps =
        [
            new("warm"), new("match") { Header = "x-team", Values = ["qa"] }, RolloutStep.SetWeight(5), RolloutStep.Pause(TimeSpan.FromSeconds(10)), RolloutStep.Mirror(50), RolloutStep.SetWeight(25), RolloutStep.Pause(TimeSpan.FromSeconds(10)),
            RolloutStep.Mirror(0), new("match") { Clear = true }, RolloutStep.SetWeight(100),
        ],
    };

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Workers_that_die_at_every_boundary_reach_the_same_end(Engine engine)
    {
        Assert.Equal(await LiveAsync(engine, dies: false), await LiveAsync(engine, dies: true));

        static async Task<string> LiveAsync(Engine engine, bool dies)
        {
            await using var world = await CreateAsync(engine);
            await EndpointAsync(world);
            var id = (await world.Get<Rollouts>().ProposeAsync(TestWorld.Ada, new() { Endpoint = "flowers", Candidate = Better, Spec = Long }, None)).Id;
            for (var second = 0; second < 40; second++)
            {
                if (dies)
                {
                    // A worker that dies after each single transition: before its commit, after it and before its publication, and after both.
                    for (var boundary = 0; ; boundary++)
                    {
                        var rollout = await world.Get<Rollouts>().GetAsync(id, None);
                        var observer = world.Get<RolloutObserver>();
                        var seen = await observer.ObserveAsync(rollout, None);
                        if (RolloutPlan.Next(rollout.Spec, rollout.Status, seen) is not { } transition)
                        {
                            break;
                        }

                        if (boundary % 3 == 0)
                        {
                            // Decided and died: nothing of it is stored, and the next worker decides anew.
                            continue;
                        }

                        if (transition.Route == RouteMove.Settle)
                        {
                            await world.Get<Models>().SetAliasAsync(TestWorld.Ada, "iris", "champion", 2, None);
                        }

                        var committed = await world.Get<RolloutTransitions>().CommitAsync(Actor.System("rollout"), rollout, transition, None);
                        // A second worker that decided the same from the same status is too late.
                        Assert.Null(await world.Get<RolloutTransitions>().CommitAsync(Actor.System("rollout"), rollout, transition, None));
                        if (boundary % 3 == 1 || committed!.Route is not { } route)
                        {
                            // Died before the nodes were told: they find the revision by their poll.
                            await world.Get<RouteFollower>().CatchUpAsync(None);
                            continue;
                        }

                        await world.Get<Routes>().PublishAsync(route, None);
                    }
                }
                else
                {
                    await world.Get<RolloutWork>().StepAsync(id, None);
                }

                world.Clock.Advance(TimeSpan.FromSeconds(1));
            }

            var end = await world.Get<Rollouts>().GetAsync(id, None);
            var timeline = await world.Get<Rollouts>().TimelineAsync(id, None);
            var revisions = await world.Get<Endpoints>().HistoryAsync("flowers", 100, None);
            Assert.Equal(RolloutState.Healthy, end.Status.State);
            Assert.All(revisions.Where(revision => revision.Spec.Revision > 1), revision => Assert.Contains($"rollout {id}: ", revision.Cause));
            return string.Join('\n', timeline.Select(row => $"{row.Number} {row.Kind} {row.State} {row.Step} {row.Percent}")) + "\n"
                + string.Join('\n', revisions.Select(revision => $"{revision.Spec.Revision} {string.Join(' ', revision.Spec.Variants.Select(v => $"{v.Name}={v.Percent}"))} {revision.Spec.Rules?.Count} {revision.Spec.Mirrors?.Count}"));
        }
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Commands_with_one_key_are_done_once_and_two_promotes_at_once_are_one_step(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        var rollouts = world.Get<Rollouts>();
        var request = new ProposeRollout { Endpoint = "flowers", Candidate = Better, Spec = new() { Steps = [RolloutStep.SetWeight(10), RolloutStep.Pause(), RolloutStep.SetWeight(20), RolloutStep.Pause(), RolloutStep.SetWeight(30), RolloutStep.Pause()] } };
        var id = (await rollouts.ProposeAsync(TestWorld.Ada, request, None, "p-1")).Id;
        Assert.Equal(id, (await rollouts.ProposeAsync(TestWorld.Ada, request, None, "p-1")).Id);
        await world.Get<RolloutWork>().StepAsync(id, None);
        await rollouts.PromoteAsync(TestWorld.Ada, id, full: false, None, key: "k-1");
        await world.Get<RolloutWork>().StepAsync(id, None);
        // The same command again, as a client does that lost the answer.
        Assert.Equal(20, (await rollouts.PromoteAsync(TestWorld.Ada, id, full: false, None, key: "k-1")).Status.Percent);
        await world.Get<RolloutWork>().StepAsync(id, None);
        Assert.Equal(20, (await rollouts.GetAsync(id, None)).Status.Percent);
        var other = await Assert.ThrowsAsync<SlipwayException>(() => rollouts.AbortAsync(TestWorld.Ada, id, "x", None, "k-1"));
        Assert.Contains("another command", other.Why);

        var both = await Task.WhenAll(Enumerable.Range(0, 2).Select(_ => Task.Run(async () =>
        {
            try
            {
                return (await rollouts.PromoteAsync(TestWorld.Ada, id, full: false, None)).Status.Step;
            }
            catch (SlipwayException refused) when (refused.Code == ErrorCode.Conflict)
            {
                return -1;
            }
        })));
        Assert.Equal([-1, 4], both.Order());
        await world.Get<RolloutWork>().StepAsync(id, None);
        Assert.Equal(30, (await rollouts.GetAsync(id, None)).Status.Percent);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Undo_is_one_revision_while_warm_and_a_rollout_afterwards(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        var rollouts = world.Get<Rollouts>();
        var id = await FinishAsync(world, Better);
        Assert.Equal(Better, (await world.Get<Endpoints>().GetAsync("flowers", None)).ModelVersion);
        var actions = (await rollouts.ActionsAsync(TestWorld.Ada, id, None)).ToDictionary(action => action.Command);
        Assert.True(actions["undo"] is { Allowed: true, Serves: Good }, actions["undo"].Why);
        Assert.Contains("undo goes back", actions["abort"].Why);

        var undone = await rollouts.UndoAsync(TestWorld.Grace, id, null, "complaints", None, "u-1");
        Assert.Equal((RolloutState.RollingBack, id), (undone.Status.State, undone.Id));
        Assert.Equal(["stable"], (await TrafficAsync(world, 20)).Keys);
        Assert.Equal(Good, (await world.Get<Endpoints>().GetAsync("flowers", None)).ModelVersion);
        await world.Get<RolloutWork>().StepAsync(id, None);
        // Again, with and without the key: nothing happens twice.
        Assert.Equal(RolloutState.Healthy, (await rollouts.UndoAsync(TestWorld.Grace, id, null, "complaints", None, "u-1")).Status.State);
        var revision = (await world.Get<Endpoints>().GetAsync("flowers", None)).Route.Revision;
        await rollouts.UndoAsync(TestWorld.Grace, id, null, null, None);
        Assert.Equal(revision, (await world.Get<Endpoints>().GetAsync("flowers", None)).Route.Revision);
        Assert.Equal(1, (await world.Get<Models>().ResolveAsync("iris@champion", None)).Version);

        // Outside of the window it takes a rollout.
        var later = await FinishAsync(world, Blind);
        world.Clock.Advance(TimeSpan.FromDays(3));
        var again = await rollouts.UndoAsync(TestWorld.Ada, later, null, null, None);
        Assert.NotEqual(later, again.Id);
        Assert.Equal((Good, RolloutState.Pending), (again.Candidate, again.Status.State));
        Assert.Contains($"undo of rollout {later}", again.Spec.Reason);
        Assert.Contains("taken back to iris/1", (await Assert.ThrowsAsync<SlipwayException>(() => rollouts.UndoAsync(TestWorld.Ada, id, "iris/4", null, None))).Message);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Newer_rollout_supersedes_by_policy(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        var rollouts = world.Get<Rollouts>();
        var spec = new RolloutSpec { Steps = [RolloutStep.SetWeight(10), RolloutStep.Pause()], OnNewVersion = NewVersionRule.Supersede };
        var first = (await rollouts.ProposeAsync(TestWorld.Ada, new() { Endpoint = "flowers", Candidate = Better, Spec = spec }, None)).Id;
        await world.Get<RolloutWork>().StepAsync(first, None);
        world.Clock.Advance(TimeSpan.FromSeconds(1));
        var second = (await rollouts.ProposeAsync(TestWorld.Ada, new() { Endpoint = "flowers", Candidate = Blind, Spec = spec }, None)).Id;
        await world.Get<RolloutWork>().StepAsync(first, None);
        var ended = await rollouts.GetAsync(first, None);
        Assert.Equal((RolloutState.Superseded, second), (ended.Status.State, ended.Status.SupersededBy));
        await world.Get<RolloutWork>().StepAsync(second, None);
        var present = await rollouts.GetAsync(second, None);
        Assert.Equal((10.0, Good), (present.Status.Percent, present.Stable));
        Assert.Null(await world.Get<RolloutWork>().StepAsync(first, None));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task First_deployment_skips_steps_and_waits_for_its_gate(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await world.Get<Policies>().ApplyAsync(Samples.Root, Samples.Automatic, None);
        var rollouts = world.Get<Rollouts>();
        var request = new ProposeRollout { Endpoint = "fresh", Candidate = Better, Policy = "automatic", Spec = Long };
        Assert.Equal(ErrorCode.NotFound, (await Assert.ThrowsAsync<SlipwayException>(() => rollouts.ProposeAsync(TestWorld.Ada, request, None))).Code);
        var id = (await rollouts.ProposeAsync(Samples.Root, request with { CreateEndpoint = true }, None)).Id;
        await world.Get<RolloutWork>().StepAsync(id, None);
        Assert.Equal(RolloutState.Pending, (await rollouts.GetAsync(id, None)).Status.State);
        await EndpointsTests.GrantAsync(world, Better);
        await world.Get<RolloutWork>().StepAsync(id, None);
        var rollout = await rollouts.GetAsync(id, None);
        Assert.Equal(RolloutState.Healthy, rollout.Status.State);
        var endpoint = await world.Get<Endpoints>().GetAsync("fresh", None);
        Assert.Equal((Better, "automatic", true), (endpoint.ModelVersion, endpoint.Policy, endpoint.Ready));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Every_variant_passes_the_gate_and_an_alert_of_any_aborts(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await world.Get<Policies>().ApplyAsync(Samples.Root, Samples.Automatic, None);
        await EndpointAsync(world);
        var rollouts = world.Get<Rollouts>();
        var spec = new RolloutSpec { Variants = [new("b", Better), new("c", Blind)], Steps = [RolloutStep.SetWeight(20, "b"), RolloutStep.SetWeight(20, "c"), RolloutStep.Pause()] };
        var id = (await rollouts.ProposeAsync(TestWorld.Ada, new() { Endpoint = "flowers", Policy = "automatic", Spec = spec }, None)).Id;
        await EndpointsTests.GrantAsync(world, Better);
        await world.Get<RolloutWork>().StepAsync(id, None);
        Assert.Equal(RolloutState.Pending, (await rollouts.GetAsync(id, None)).Status.State);
        await EndpointsTests.GrantAsync(world, Blind);
        await world.Get<RolloutWork>().StepAsync(id, None);
        Assert.Equal((RolloutState.Paused, 40.0), (await rollouts.GetAsync(id, None)) is var running ? (running.Status.State, running.Status.Percent) : default);
        Assert.Equal(id, Assert.Single(await world.Get<RolloutTransitions>().OpenOfAsync(Blind, None)).Id);
        Assert.Contains("none of its candidates", (await Assert.ThrowsAsync<SlipwayException>(() => rollouts.PromoteAsync(TestWorld.Ada, id, full: true, None, "stable"))).Message);
        // The winner takes everything, and is what an undo goes back from.
        await rollouts.PromoteAsync(TestWorld.Ada, id, full: true, None, "c");
        await world.Get<RolloutWork>().StepAsync(id, None);
        world.Clock.Advance(TimeSpan.FromSeconds(10));
        await world.Get<RolloutWork>().StepAsync(id, None);
        Assert.Equal(Blind, (await world.Get<Endpoints>().GetAsync("flowers", None)).ModelVersion);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Secrets_of_webhooks_leave_the_plan_and_variants_get_their_shares(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        var rollouts = world.Get<Rollouts>();
        var spec = new RolloutSpec
        {
            Variants = [new("b", "iris/2"), new("base", "", VariantRole.Baseline)],
            Lease = new(TimeSpan.FromMinutes(5)),
            Steps = [RolloutStep.SetWeight(20, "b"), RolloutStep.SetWeight(20, "base"), RolloutStep.Pause(), new("webhook") { Url = "https://example.org", Secret = "s3cret" }],
        };
        var id = (await rollouts.ProposeAsync(TestWorld.Ada, new() { Endpoint = "flowers", Spec = spec }, None)).Id;
        await world.Get<RolloutWork>().StepAsync(id, None);
        var rollout = await rollouts.GetAsync(id, None);
        Assert.True(rollout.Spec.Steps[3] is { Secret: null, Signed: true });
        Assert.Equal("s3cret", await world.Get<RolloutTransitions>().SecretAsync(id, 3, None));
        var route = (await world.Get<Endpoints>().GetAsync("flowers", None)).Route;
        Assert.Equal([("stable", 60.0, Good), ("b", 20.0, Better), ("base", 20.0, Good)], route.Variants.Select(variant => (variant.Name, variant.Percent, variant.ModelVersion)));
        Assert.Equal(id, route.Salt);

        // Nobody renews: the nodes go back alone, and the rollout stands still until a person says how it goes on.
        world.Clock.Advance(TimeSpan.FromMinutes(20));
        await world.Get<RolloutWork>().StepAsync(id, None);
        Assert.Equal(PauseReason.ControlPlane, (await rollouts.GetAsync(id, None)).Status.Pause);
        await rollouts.ResumeAsync(TestWorld.Ada, id, None);
        await world.Get<RolloutWork>().StepAsync(id, None);
        Assert.Equal(PauseReason.Step, (await rollouts.GetAsync(id, None)).Status.Pause);
    }

    private static async Task<string> FinishAsync(TestWorld world, string candidate)
    {
        var spec = new RolloutSpec { Steps = [RolloutStep.SetWeight(100)], Bake = TimeSpan.FromSeconds(1) };
        var id = (await world.Get<Rollouts>().ProposeAsync(TestWorld.Ada, new() { Endpoint = "flowers", Candidate = candidate, Spec = spec }, None)).Id;
        await world.Get<RolloutWork>().StepAsync(id, None);
        world.Clock.Advance(TimeSpan.FromSeconds(2));
        await world.Get<RolloutWork>().StepAsync(id, None);
        Assert.Equal(RolloutState.Healthy, (await world.Get<Rollouts>().GetAsync(id, None)).Status.State);
        return id;
    }
}
