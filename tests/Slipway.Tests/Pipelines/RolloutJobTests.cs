using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Pipelines;
using Slipway.Registry;
using Slipway.Serving;
using Slipway.Tests.Serving;
using static Slipway.Tests.Pipelines.PipelinesWorld;
using Specs = Slipway.Pipelines.Pipelines;

namespace Slipway.Tests.Pipelines;

/// <summary>A rollout's job step runs a pipeline once and goes by its end.</summary>
public sealed class RolloutJobTests
{
    private static readonly Actor Root = Actor.System("test");

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Command_that_succeeds_lets_the_plan_go_on_and_one_that_fails_ends_it(Engine engine)
    {
        await using var world = await WorldAsync(engine);
        await ApplyAsync(world, "knows", "test \"$SLIPWAY_CANDIDATE\" = iris/2 -a \"$SLIPWAY_STABLE\" = iris/1 -a \"$SLIPWAY_ENDPOINT\" = flowers");
        await ApplyAsync(world, "fails", "exit 3");

        var passed = await RunAsync(world, RolloutStep.SetWeight(10), new("job") { Pipeline = "knows" }, RolloutStep.Pause());
        Assert.Equal((RolloutState.Paused, PauseReason.Step), (passed.Status.State, passed.Status.Pause!.Value));
        var run = Assert.Single(await world.Get<PipelineRuns>().ListAsync("knows", 10, None));
        Assert.Equal((PipelineState.Succeeded, "rollout-jobs"), (run.State, run.StartedBy));
        Assert.Equal([passed.Subject], run.Causes);
        Assert.Contains(await world.Get<Rollouts>().TimelineAsync(passed.Id, None), e => e.Cause == $"step 2: run pipeline knows: run {run.Id} succeeded");
        await world.Get<Rollouts>().AbortAsync(Root, passed.Id, "enough", None);
        await world.PumpAsync();

        var failed = await RunAsync(world, RolloutStep.SetWeight(10), new("job") { Pipeline = "fails" }, RolloutStep.Pause());
        Assert.Equal(RolloutState.Aborted, failed.Status.State);
        Assert.Contains("run pipeline fails", failed.Status.Cause, StringComparison.Ordinal);

        var noted = await RunAsync(world, RolloutStep.SetWeight(10), new("job") { Pipeline = "fails", CountsAsFailure = false }, RolloutStep.Pause());
        Assert.Equal(RolloutState.Paused, noted.Status.State);
        await world.Get<Rollouts>().AbortAsync(Root, noted.Id, "enough", None);
        await world.PumpAsync();

        var unknown = await RunAsync(world, RolloutStep.SetWeight(10), new("job") { Pipeline = "nothing" }, RolloutStep.Pause());
        Assert.Equal(RolloutState.Aborted, unknown.Status.State);
        Assert.Contains("nothing", unknown.Status.Cause, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Exit_code_is_a_metric_of_an_analysis(Engine engine)
    {
        await using var world = await WorldAsync(engine);
        await ApplyAsync(world, "knows", "test \"$SLIPWAY_CANDIDATE\" = iris/2");
        await ApplyAsync(world, "fails", "exit 3");
        var (passed, check) = await MeasureAsync("knows", failures: 0);
        Assert.Equal((RolloutState.Paused, PauseReason.Step, Verdict.Pass), (passed.Status.State, passed.Status.Pause!.Value, check.Verdict));
        Assert.Equal(0, check.Candidate);
        var run = Assert.Single(await world.Get<PipelineRuns>().ListAsync("knows", 10, None));
        Assert.Contains($"run {run.Id} ended with exit code 0", check.Why, StringComparison.Ordinal);

        var (failed, third) = await MeasureAsync("fails", failures: 1);
        Assert.Equal((RolloutState.Aborted, Verdict.Fail), (failed.Status.State, third.Verdict));
        Assert.Equal(3, third.Candidate);
        // The second failure is the one too many; each has a run of its own.
        Assert.Equal(2, (await world.Get<PipelineRuns>().ListAsync("fails", 10, None)).Count);

        // A pipeline that is not there says nothing of the candidate.
        var (unknown, missing) = await MeasureAsync("nothing", failures: 0);
        Assert.Equal(Verdict.Error, missing.Verdict);
        Assert.Equal((RolloutState.Paused, PauseReason.Inconclusive), (unknown.Status.State, unknown.Status.Pause!.Value));
        Assert.Contains("nothing", missing.Why, StringComparison.Ordinal);

        await world.Get<Access>().CreateUserAsync(Root, "vic", ["viewer"], None);
        var denied = new ProposeRollout { Endpoint = "flowers", Candidate = "iris/2", Spec = new() { Steps = [Analyse("knows", 0)] } };
        Assert.Equal(ErrorCode.PermissionDenied, (await Assert.ThrowsAsync<SlipwayException>(() => world.Get<Rollouts>().ProposeAsync(new Actor(ActorKind.User, "vic"), denied, None))).Code);

        static RolloutStep Analyse(string pipeline, int failures) => RolloutStep.Analyse(new AnalysisSpec
        {
            MinRequests = 1,
            MaxWait = TimeSpan.FromSeconds(20),
            Metrics = [new AnalysisMetric { Name = "replay/hour", Provider = MetricProvider.Job, Pipeline = pipeline, Interval = TimeSpan.FromSeconds(1), MaxFailures = failures, MaxErrors = 0 }],
        });

        async Task<(Rollout, AnalysisCheck)> MeasureAsync(string pipeline, int failures)
        {
            var spec = new RolloutSpec { Guardrails = new() { MinRequests = 1 }, Steps = [RolloutStep.SetWeight(50), Analyse(pipeline, failures), RolloutStep.Pause()] };
            var rollout = await world.Get<Rollouts>().ProposeAsync(Root, new ProposeRollout { Endpoint = "flowers", Candidate = "iris/2", Spec = spec }, None);
            for (var i = 0; i < 60 && rollout.Status is { Ended: false, State: not RolloutState.Paused }; i++)
            {
                await world.PumpAsync();
                await world.Get<StepTasks>().IdleAsync();
                await ServingWorld.TrafficAsync(world, 10, $"{pipeline}-{i}");
                world.Clock.Advance(TimeSpan.FromSeconds(2));
                rollout = await world.Get<Rollouts>().GetAsync(rollout.Id, None);
            }

            // A pause that follows is watched by the guardrails alone, so the step's own look is in the story.
            var looks = (await world.Get<Rollouts>().TimelineAsync(rollout.Id, None)).Select(e => e.Analysis).Append(rollout.LastAnalysis).OfType<AnalysisReport>();
            var check = looks.SelectMany(look => look.Checks).Last(c => c.Metric == "replay/hour");
            if (!rollout.Status.Ended)
            {
                await world.Get<Rollouts>().AbortAsync(Root, rollout.Id, "enough", None);
                await world.PumpAsync();
            }

            return (rollout, check);
        }
    }

    [Fact]
    public async Task Abort_stops_the_run_and_plans_with_jobs_need_the_right_to_run_pipelines()
    {
        await using var world = await WorldAsync(Engine.Sqlite);
        await ApplyAsync(world, "long", "sleep 600");
        var request = new ProposeRollout { Endpoint = "flowers", Candidate = "iris/2", Spec = new() { Steps = [new("job") { Pipeline = "long" }] } };
        await world.Get<Access>().CreateUserAsync(Root, "vic", ["viewer"], None);
        Assert.Equal(ErrorCode.PermissionDenied, (await Assert.ThrowsAsync<SlipwayException>(() => world.Get<Rollouts>().ProposeAsync(new Actor(ActorKind.User, "vic"), request, None))).Code);

        var rollout = await world.Get<Rollouts>().ProposeAsync(Root, request, None);
        await world.PumpAsync();
        var run = Assert.Single(await world.Get<PipelineRuns>().ListAsync("long", 10, None));
        Assert.Null(run.FinishedAt);
        await world.Get<Rollouts>().AbortAsync(Root, rollout.Id, "enough", None);
        Assert.Equal(PipelineState.Cancelled, (await EndAsync(world, run.Id)).State);
        Assert.Equal(RolloutState.Aborted, (await world.Get<Rollouts>().GetAsync(rollout.Id, None)).Status.State);
    }

    private static async Task<TestWorld> WorldAsync(Engine engine)
    {
        var world = await CreateAsync(engine);
        await world.Get<Models>().CreateAsync(TestWorld.Ada, "iris", null, None);
        await ServingWorld.RegisterAsync(world, "iris", ReferenceModels.Bytes("iris_logreg"));
        await ServingWorld.RegisterAsync(world, "iris", ReferenceModels.Bytes("iris_logreg"));
        await ServingWorld.EndpointAsync(world);
        return world;
    }

    private static Task ApplyAsync(TestWorld world, string name, string script) =>
        world.Get<Specs>().ApplyAsync(TestWorld.Ada, new PipelineSpec(name, [StepSpec.Command(new CommandParameters { Command = ["sh", "-c", script] })]), None);

    private static async Task<Rollout> RunAsync(TestWorld world, params RolloutStep[] steps)
    {
        var rollout = await world.Get<Rollouts>().ProposeAsync(Root, new ProposeRollout { Endpoint = "flowers", Candidate = "iris/2", Spec = new() { Steps = steps } }, None);
        for (var i = 0; i < 100 && rollout.Status is { Ended: false, State: not RolloutState.Paused }; i++)
        {
            await world.PumpAsync();
            await world.Get<StepTasks>().IdleAsync();
            rollout = await world.Get<Rollouts>().GetAsync(rollout.Id, None);
        }

        return rollout;
    }
}
