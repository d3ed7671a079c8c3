using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Monitoring;
using Slipway.Registry;
using Slipway.Serving;
using Slipway.Serving.Routing;
using Slipway.Serving.Tensors;
using Slipway.Tests.Governance;
using static Slipway.Tests.Serving.ServingWorld;

namespace Slipway.Tests.Serving;

public sealed class RolloutsTests
{
    private static readonly AnalysisSpec Quick = new() { MinRequests = 20, Interval = TimeSpan.FromSeconds(1), MaxWait = TimeSpan.FromSeconds(30) };

    [Fact]
    public async Task Warm_up_measures_its_p99_and_waits_for_as_many_nodes_as_the_plan_asks_for()
    {
        await using var world = await ServingWorld.CreateAsync(Engine.Sqlite);
        await ServingWorld.EndpointAsync(world);
        var passed = await RunAsync(new("warm") { Requests = 50, MaxP99Millis = 1e6, MinReady = 1 });
        Assert.Equal(RolloutState.Paused, passed.Status.State);
        Assert.Contains("p99 of 50 warm-up requests ", passed.Status.Clocks[0].How);

        var slow = await RunAsync(new("warm") { MaxP99Millis = 1e-6 });
        Assert.Equal(RolloutState.Aborted, slow.Status.State);
        Assert.Matches("p99 of 100 warm-up requests [0-9.]+ ms; accepted are 0 ms", slow.Status.Cause);

        // Another node is not there, and the step does not go on without it.
        var alone = await RunAsync(new("warm") { MinReady = 2 });
        Assert.Equal((RolloutState.Progressing, 0), (alone.Status.State, alone.Status.Step));
        Assert.Equal(3, new RolloutSpec { Steps = [new("warm") { MinReady = 0 }, new("warm") { Requests = 1001 }, new("warm") { MaxP99Millis = 0 }] }.Faults().Count);

        async Task<Rollout> RunAsync(RolloutStep warm)
        {
            foreach (var open in (await world.Get<Rollouts>().ListAsync("flowers", ServingWorld.None)).Where(rollout => !rollout.Status.Ended))
            {
                await world.Get<Rollouts>().AbortAsync(TestWorld.Ada, open.Id, "test", ServingWorld.None);
                await ServingWorld.StepAsync(world, open.Id);
            }

            var rollout = await world.Get<Rollouts>().ProposeAsync(TestWorld.Ada, new() { Endpoint = "flowers", Candidate = "iris/2", Spec = new() { Steps = [warm, RolloutStep.Pause()] } }, ServingWorld.None);
            return await ServingWorld.StepAsync(world, rollout.Id);
        }
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Guardrails_of_the_answers_abort_a_pause(Engine engine)
    {
        await using var world = await ServingWorld.CreateAsync(engine);
        await ServingWorld.EndpointAsync(world);
        await ServingWorld.RegisterAsync(world, "iris", TinyOnnx.Constant(float.NaN, 0.5f, 0.5f));
        await ServingWorld.RegisterAsync(world, "iris", TinyOnnx.OtherOutputs());
        foreach (var (candidate, metric) in new[] { ("iris/5", "nanShare"), ("iris/6", "schemaViolations") })
        {
            var plan = new RolloutSpec { Steps = [RolloutStep.SetWeight(50), RolloutStep.Pause()], Guardrails = new AnalysisSpec { MinRequests = 30, LatencyFloorMicros = 1e9 } };
            var rollout = await world.Get<Rollouts>().ProposeAsync(TestWorld.Ada, new() { Endpoint = "flowers", Candidate = candidate, Spec = plan }, ServingWorld.None);
            var paused = await ServingWorld.StepAsync(world, rollout.Id);
            Assert.True(paused.Status is { State: RolloutState.Paused, Pause: PauseReason.Step }, paused.Status.Cause);
            await ServingWorld.TrafficAsync(world, 100, metric);
            var ended = await ServingWorld.StepAsync(world, rollout.Id);
            Assert.True(ended.Status.State == RolloutState.Aborted, $"{ended.Status.State}: {ended.Status.Cause}");
            Assert.StartsWith($"guardrail: {metric} 1 against 0", ended.Status.Cause);
            Assert.Equal("iris/1", (await world.Get<Endpoints>().GetAsync("flowers", ServingWorld.None)).ModelVersion);
            world.Clock.Advance(TimeSpan.FromSeconds(2));
        }
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Good_candidate_walks_to_stable_and_becomes_champion(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        var id = await ProposeAsync(world, Better, RolloutSpec.Canary(Quick, 10, 50, 100));
        var rollout = await StepAsync(world, id);
        Assert.Equal((RolloutState.Progressing, 10.0), (rollout.Status.State, rollout.Status.Percent));

        var sticky = new Dictionary<string, string>(StringComparer.Ordinal);
        for (var i = 0; i < 600; i++)
        {
            var outcome = await AskAsync(world, $"user-{i}");
            sticky[$"user-{i}"] = outcome.Variant;
            Assert.Equal(outcome.Variant == "candidate" ? "2" : "1", outcome.ModelVersion);
        }

        Assert.InRange(sticky.Values.Count(variant => variant == "candidate"), 30, 95);
        world.Clock.Advance(TimeSpan.FromSeconds(2));
        rollout = await StepAsync(world, id);
        Assert.Equal((RolloutState.Progressing, 50.0), (rollout.Status.State, rollout.Status.Percent));
        // Without traffic of its own the second step is not passed on the first one's.
        Assert.Equal(rollout.Rev, (await StepAsync(world, id)).Rev);
        foreach (var (key, variant) in sticky.Where(pair => pair.Value == "candidate"))
        {
            Assert.Equal(variant, (await AskAsync(world, key)).Variant);
        }

        await TrafficAsync(world, 100);
        rollout = await StepAsync(world, id);
        Assert.Equal((RolloutState.Baking, 100.0), (rollout.Status.State, rollout.Status.Percent));
        Assert.Equal(["candidate"], (await TrafficAsync(world, 20)).Keys);
        world.Clock.Advance(TimeSpan.FromSeconds(10));
        rollout = await StepAsync(world, id);
        Assert.Equal(RolloutState.Healthy, rollout.Status.State);

        var endpoint = await world.Get<Endpoints>().GetAsync("flowers", None);
        Assert.Equal((Better, null), (endpoint.ModelVersion, endpoint.Route.Rollout));
        Assert.Equal(["stable"], (await TrafficAsync(world, 20)).Keys);
        Assert.Equal(2, (await world.Get<Models>().ResolveAsync("iris@champion", None)).Version);

        var timeline = await world.Get<Rollouts>().TimelineAsync(id, None);
        Assert.Equal("rollout.proposed", timeline[0].Kind);
        Assert.Equal("rollout.finished", timeline[^1].Kind);
        Assert.Equal(Enumerable.Range(1, timeline.Count).Select(n => (long)n), timeline.Select(row => row.Number));
        Assert.Contains(timeline, row => row.Analysis is { Verdict: Verdict.Pass } && row.Cause.Contains("analysis passed", StringComparison.Ordinal));
        await world.SealAsync();
        var kinds = (await world.Journal.ListAsync(new JournalFilter { Subject = $"rollout:{id}", Limit = 1000, Descending = false }, None)).Items.Select(entry => entry.Kind).ToList();
        Assert.Contains("rollout.started", kinds);
        Assert.Contains("endpoint.changed", kinds);
        // The repeated step after the end does nothing.
        Assert.Null(await world.Get<RolloutWork>().StepAsync(id, None));
    }

    [Fact]
    public async Task Candidate_that_takes_other_inputs_does_not_start_unless_the_plan_allows_it()
    {
        await using var world = await CreateAsync(Engine.Sqlite);
        await EndpointAsync(world);
        var other = await RegisterAsync(world, "iris", ReferenceModels.Bytes("wine_gbt100"));
        var refused = await StepAsync(world, await ProposeAsync(world, $"iris/{other.Version}", RolloutSpec.Canary(Quick, 10, 100)));
        Assert.Equal(RolloutState.Aborted, refused.Status.State);
        Assert.StartsWith($"iris/{other.Version} does not take the requests that iris/1 takes: input 'X' comes as [-1,4], expected is [-1,13]", refused.Status.Cause, StringComparison.Ordinal);
        Assert.Contains("--allow-other-inputs", refused.Status.Cause, StringComparison.Ordinal);

        var held = await ProposeAsync(world, $"iris/{other.Version}", RolloutSpec.Canary(Quick, 10, 100) with { AutoStart = false });
        var fault = await Assert.ThrowsAsync<SlipwayException>(() => world.Get<Rollouts>().StartAsync(TestWorld.Ada, held, None));
        Assert.Equal(ErrorCode.PreconditionFailed, fault.Code);
        Assert.Contains("expected is [-1,13]", fault.Why, StringComparison.Ordinal);
        await world.Get<Rollouts>().AbortAsync(TestWorld.Ada, held, "refused", None);
        await StepAsync(world, held);

        var allowed = await StepAsync(world, await ProposeAsync(world, $"iris/{other.Version}", RolloutSpec.Canary(Quick, 10, 100) with { AllowOtherInputs = true }));
        Assert.Equal((RolloutState.Progressing, 10.0), (allowed.Status.State, allowed.Status.Percent));
    }

    [Fact]
    public void Inputs_fit_when_the_candidate_takes_whatever_stable_takes()
    {
        static ModelSignature Of(string[]? columns, params TensorSpec[] inputs) => new(inputs, [], columns);
        TensorSpec x = new("X", "FP32", [-1, 2]);
        Assert.Empty(InputFit.Faults(Of(["age", "pay"], x), Of(["age", "pay"], x)));
        Assert.Empty(InputFit.Faults(Of(null, x), Of(["age", "pay"], x with { Shape = [-1, -1] })));
        Assert.Equal(["column 2 comes as 'pay', expected is 'debt'"], InputFit.Faults(Of(["age", "pay"], x), Of(["age", "debt"], x)));
        Assert.Equal(
            ["2 columns come, expected are 3", "column 'debt' is expected and does not come"],
            InputFit.Faults(Of(["age", "pay"], x), Of(["age", "pay", "debt"], x with { Shape = [-1, 3] })));
        Assert.Equal(["input 'X' comes as [-1,2], expected is [1,2]"], InputFit.Faults(Of(null, x), Of(null, x with { Shape = [1, 2] })));
        Assert.Equal(["input 'X' comes as FP32, expected is INT64"], InputFit.Faults(Of(null, x), Of(null, x with { Datatype = "INT64" })));
        Assert.Equal(["input 'X' (FP32 [-1,2]) comes, expected is 'Y'", "input 'Y' (FP32 [-1,2]) is expected and does not come"], InputFit.Faults(Of(null, x), Of(null, x with { Name = "Y" })));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Candidate_that_breaks_is_taken_out_by_the_fuse_with_zero_failed_requests(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        var id = await ProposeAsync(world, Broken, RolloutSpec.Canary(Quick, 50, 100));
        await StepAsync(world, id);
        // Stable answers each of them, within the same request.
        Assert.Equal(["stable"], (await TrafficAsync(world, 60)).Keys);
        var errors = Health(world).Of("flowers", "candidate", DateTimeOffset.MinValue).Errors;
        Assert.Equal(5, errors);

        Assert.True(world.Get<Routes>().Reverts.TryRead(out var revert));
        Assert.Equal((id, "flowers"), (revert.Rollout, revert.Endpoint));
        Assert.Contains("5 failures of the candidate in a row", revert.Cause);
        var aborted = await world.Get<Rollouts>().AbortAsync(Actor.System("serving-node"), id, revert.Cause, None);
        Assert.Equal(RolloutState.Aborting, aborted.Status.State);
        Assert.Equal(RolloutState.Aborted, (await StepAsync(world, id)).Status.State);
        var endpoint = await world.Get<Endpoints>().GetAsync("flowers", None);
        Assert.Equal((Good, 1, null), (endpoint.ModelVersion, endpoint.Route.Variants.Count, endpoint.Route.Rollout));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Candidate_without_knowledge_is_failed_by_labels_although_it_is_fast_and_never_errs(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        var analysis = Quick with { Quality = ["auc", "logLoss"], MinLabels = 50, ScoreOutput = 3 };
        var id = await ProposeAsync(world, Blind, RolloutSpec.Canary(analysis, 50, 100));
        await StepAsync(world, id);
        var random = new Random(3);
        var labels = new List<Label>();
        for (var i = 0; i < 600; i++)
        {
            using var request = Flower(i % 8);
            (request.Endpoint, request.Id, request.EntityKey) = ("flowers", $"p-{i}", $"p-{i}");
            var outcome = await world.Get<Endpoints>().InferAsync(request, None);
            Assert.True(outcome.Ok);
            // What is true follows from what the good model knows, whoever answered.
            using var known = Flower(i % 8);
            (known.Endpoint, known.Version) = ("flowers", "1");
            await world.Get<Endpoints>().InferAsync(known, None);
            labels.Add(new($"p-{i}", random.NextDouble() < known.Outputs[1].As<float>()[2] ? 1 : 0, world.Clock.GetUtcNow()));
        }

        var waiting = await StepAsync(world, id);
        Assert.Equal((RolloutState.Progressing, Verdict.NoData), (waiting.Status.State, waiting.LastAnalysis!.Verdict));
        var report = await world.Get<Labels>().AppendAsync(TestWorld.Ada, "flowers", labels, None);
        Assert.Equal(600, report.Joined);
        var rollout = await StepAsync(world, id);
        Assert.Equal(RolloutState.Aborted, rollout.Status.State);
        var auc = rollout.LastAnalysis!.Checks.Single(check => check.Metric == "auc");
        Assert.Equal(Verdict.Fail, auc.Verdict);
        Assert.True(auc.Lower > 0 && auc.CandidateN >= 200 && auc.StableN >= 200, auc.Why);
        Assert.Equal(["stable"], (await TrafficAsync(world, 20)).Keys);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Candidate_is_watched_while_it_has_traffic_unless_somebody_said_otherwise(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        await world.PumpAsync();
        var monitors = world.Get<Monitors>();
        var stable = Assert.Single(await monitors.ListAsync(None));
        Assert.Equal((Good, Monitors.ByDefault), (stable.ModelVersion, stable.CreatedBy));
        var rollouts = world.Get<Rollouts>();
        var id = await ProposeAsync(world, Better, new() { Steps = [RolloutStep.SetWeight(10), RolloutStep.Pause(), RolloutStep.SetWeight(100)] });
        Assert.Null(await monitors.FindAsync("flowers", Better, None));
        await StepAsync(world, id);
        await world.PumpAsync();
        var watched = (await monitors.FindAsync("flowers", Better, None))!;
        Assert.Equal((Monitors.ByDefault, stable.Window.Period), (watched.CreatedBy, watched.Window.Period));
        Assert.Equal(2, (await monitors.ListAsync(None)).Count(m => m.StoppedAt is null));

        // Drift of its traffic is no finding against the candidate, unless somebody watches it on purpose.
        var at = world.Clock.GetUtcNow();
        await world.Database.WriteAsync(
            tx => world.Journal.AppendAsync(tx, Actor.System("monitor"), "alert.fired", new("alert", "a-1"), new AlertFired("a-1", watched.Id, "flowers", Better, "psi", "petal", 0.5, 0.1, 1000, at, at, "petal drifted", Families.Drift)), None);
        await world.PumpAsync();
        Assert.Equal(RolloutState.Paused, (await rollouts.GetAsync(id, None)).Status.State);

        await rollouts.AbortAsync(TestWorld.Grace, id, "not yet", None);
        await world.PumpAsync();
        Assert.Equal(Monitors.ByDefault, (await monitors.GetAsync(watched.Id, None)).StoppedBy);
        Assert.Null((await monitors.GetAsync(stable.Id, None)).StoppedAt);

        // A new attempt is watched anew; what somebody stops stays stopped, whatever the route becomes.
        await rollouts.RetryAsync(TestWorld.Ada, id, None);
        await StepAsync(world, id);
        await world.PumpAsync();
        var again = (await monitors.FindAsync("flowers", Better, None))!;
        Assert.NotEqual(watched.Id, again.Id);
        await monitors.StopAsync(TestWorld.Grace, again.Id, None);
        await rollouts.PromoteAsync(TestWorld.Ada, id, full: false, None);
        await StepAsync(world, id);
        await world.PumpAsync();
        Assert.Null(await monitors.FindAsync("flowers", Better, None));
        Assert.Equal("grace", (await monitors.GetAsync(again.Id, None)).StoppedBy);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Mirror_has_a_monitor_of_its_answers_until_it_has_traffic(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        await world.PumpAsync();
        var monitors = world.Get<Monitors>();
        var id = await ProposeAsync(world, Better, new() { Steps = [RolloutStep.Mirror(100), RolloutStep.Pause(), RolloutStep.SetWeight(10), RolloutStep.Pause(), RolloutStep.SetWeight(100)] });
        await StepAsync(world, id);
        await world.PumpAsync();
        var copies = (await monitors.FindAsync("flowers", Better, None))!;
        Assert.Equal((true, Monitors.ByDefault), (copies.Scope.Shadow, copies.CreatedBy));
        await world.Get<Rollouts>().PromoteAsync(TestWorld.Ada, id, full: false, None);
        await StepAsync(world, id);
        await world.PumpAsync();
        var traffic = (await monitors.FindAsync("flowers", Better, None))!;
        Assert.False(traffic.Scope.Shadow);
        Assert.NotNull((await monitors.GetAsync(copies.Id, None)).StoppedAt);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task No_traffic_pauses_and_never_promotes(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        var id = await ProposeAsync(world, Better, RolloutSpec.Canary(Quick, 10, 100) with { Lease = new(TimeSpan.FromDays(30)) });
        await StepAsync(world, id);
        world.Clock.Advance(TimeSpan.FromMinutes(1));
        var rollout = await StepAsync(world, id);
        Assert.Equal((RolloutState.Paused, PauseReason.NoData, 10.0), (rollout.Status.State, rollout.Status.Pause, rollout.Status.Percent));
        world.Clock.Advance(TimeSpan.FromDays(2));
        Assert.Equal(rollout.Rev, (await StepAsync(world, id)).Rev);
        await TrafficAsync(world, 600);
        Assert.Equal(RolloutState.Baking, (await StepAsync(world, id)).Status.State);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Abort_is_idempotent_and_instant_and_retry_starts_over(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        var rollouts = world.Get<Rollouts>();
        var id = await ProposeAsync(world, Better, new() { Steps = [RolloutStep.SetWeight(50), RolloutStep.Pause(), RolloutStep.SetWeight(100)] });
        await StepAsync(world, id);
        var shares = await TrafficAsync(world, 100);
        Assert.Equal(2, shares.Count);
        await rollouts.AbortAsync(TestWorld.Grace, id, "I changed my mind", None);
        Assert.Equal(["stable"], (await TrafficAsync(world, 100)).Keys);
        var again = await rollouts.AbortAsync(TestWorld.Grace, id, "again", None);
        Assert.Equal("I changed my mind", again.Status.Cause);
        Assert.Equal(RolloutState.Aborted, (await StepAsync(world, id)).Status.State);
        Assert.Equal(3, (await world.Get<Endpoints>().GetAsync("flowers", None)).Route.Revision);

        Assert.Equal(2, (await rollouts.RetryAsync(TestWorld.Ada, id, None)).Status.Attempt);
        await StepAsync(world, id);
        Assert.Equal(shares, await TrafficAsync(world, 100));
        Assert.Equal(ErrorCode.Conflict, (await Assert.ThrowsAsync<SlipwayException>(() => rollouts.RetryAsync(TestWorld.Ada, id, None))).Code);
        await rollouts.PromoteAsync(TestWorld.Ada, id, full: false, None);
        Assert.Equal(ErrorCode.Conflict, (await Assert.ThrowsAsync<SlipwayException>(() => rollouts.PromoteAsync(TestWorld.Ada, id, full: false, None))).Code);
        Assert.Equal(100, (await StepAsync(world, id)).Status.Percent);
        world.Clock.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(RolloutState.Healthy, (await StepAsync(world, id)).Status.State);
        Assert.Equal(ErrorCode.Conflict, (await Assert.ThrowsAsync<SlipwayException>(() => rollouts.AbortAsync(TestWorld.Ada, id, "late", None))).Code);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Waits_for_the_gate_and_a_second_rollout_queues(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await world.Get<Policies>().ApplyAsync(Samples.Root, Samples.Automatic, None);
        await EndpointAsync(world);
        var spec = new RolloutSpec { Steps = [RolloutStep.SetWeight(10), RolloutStep.Pause()] };
        var first = await world.Get<Rollouts>().ProposeAsync(TestWorld.Ada, new() { Endpoint = "flowers", Candidate = Better, Spec = spec, Policy = "automatic" }, None);
        Assert.Equal(RolloutState.Pending, (await StepAsync(world, first.Id)).Status.State);
        Assert.Equal(ErrorCode.Conflict, (await Assert.ThrowsAsync<SlipwayException>(() => world.Get<Rollouts>().StartAsync(TestWorld.Ada, first.Id, None))).Code);
        Assert.Equal(ErrorCode.AlreadyExists, (await Assert.ThrowsAsync<SlipwayException>(() => ProposeAsync(world, Better, spec))).Code);
        await EndpointsTests.GrantAsync(world, Better);
        Assert.Equal((RolloutState.Paused, PauseReason.Step), (await StepAsync(world, first.Id)) is var started ? (started.Status.State, started.Status.Pause!.Value) : default);

        var second = await ProposeAsync(world, Blind, spec);
        Assert.Equal(RolloutState.Pending, (await StepAsync(world, second)).Status.State);
        await world.Get<Rollouts>().AbortAsync(TestWorld.Ada, first.Id, "make room", None);
        await StepAsync(world, first.Id);
        Assert.Equal(RolloutState.Paused, (await StepAsync(world, second)).Status.State);
        Assert.Equal(Blind, (await world.Get<Endpoints>().GetAsync("flowers", None)).Route.Candidate?.ModelVersion);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Alert_of_the_candidate_aborts_and_one_of_another_version_does_not(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        var id = await ProposeAsync(world, Better, new() { Steps = [RolloutStep.SetWeight(10), RolloutStep.Pause()] });
        await StepAsync(world, id);
        await FireAsync("iris/1");
        Assert.Equal(RolloutState.Paused, (await world.Get<Rollouts>().GetAsync(id, None)).Status.State);
        await FireAsync(Better);
        var rollout = await world.Get<Rollouts>().GetAsync(id, None);
        Assert.Equal(RolloutState.Aborting, rollout.Status.State);
        Assert.Contains("AUC fell", rollout.Status.Cause);

        async Task FireAsync(string version)
        {
            var at = world.Clock.GetUtcNow();
            var alert = new AlertFired("a-1", "m-1", "flowers", version, "auc", null, 0.5, 0.6, 1000, at, at, "AUC fell to 0.5");
            await world.Database.WriteAsync(tx => world.Journal.AppendAsync(tx, Actor.System("monitor"), "alert.fired", new("alert", "a-1"), alert), None);
            await world.SealAsync();
            var entry = (await world.Journal.ListAsync(new JournalFilter { Kind = "alert.fired", Limit = 1 }, None)).Items[0];
            await world.Get<RolloutReactions>().HandleAsync(entry, None);
            await world.Get<RolloutReactions>().HandleAsync(entry, None);
        }
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Candidate_that_cannot_be_loaded_never_gets_traffic(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        await RegisterAsync(world, "iris", [9, 9, 9]);
        var id = await ProposeAsync(world, "iris/5", RolloutSpec.Canary(Quick, 10, 100));
        var rollout = await StepAsync(world, id);
        Assert.Equal((RolloutState.Aborted, 1), (rollout.Status.State, (await world.Get<Endpoints>().GetAsync("flowers", None)).Route.Revision));
        Assert.Contains("cannot be loaded", rollout.Status.Cause);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Racing_workers_take_each_step_once(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        var id = await ProposeAsync(world, Better, new() { Steps = [RolloutStep.SetWeight(10), RolloutStep.SetWeight(20), RolloutStep.SetWeight(30), RolloutStep.Pause()] });
        await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() => world.Get<RolloutWork>().StepAsync(id, None))));
        var timeline = await world.Get<Rollouts>().TimelineAsync(id, None);
        Assert.Equal([10, 20, 30], timeline.Where(row => row.Cause.EndsWith("% of the traffic", StringComparison.Ordinal)).Select(row => row.Percent));
        Assert.Equal(4, (await world.Get<Endpoints>().GetAsync("flowers", None)).Route.Revision);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Bad_plans_and_missing_things_are_refused(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        Assert.Equal(ErrorCode.InvalidArgument, (await Assert.ThrowsAsync<SlipwayException>(() => ProposeAsync(world, Better, new()))).Code);
        Assert.Equal(ErrorCode.AlreadyExists, (await Assert.ThrowsAsync<SlipwayException>(() => ProposeAsync(world, Good, RolloutSpec.Canary(Quick, 100)))).Code);
        Assert.Equal(ErrorCode.NotFound, (await Assert.ThrowsAsync<SlipwayException>(() => ProposeAsync(world, "iris/77", RolloutSpec.Canary(Quick, 100)))).Code);
        Assert.Equal(ErrorCode.NotFound, (await Assert.ThrowsAsync<SlipwayException>(() => world.Get<Rollouts>().GetAsync("none", None))).Code);
    }

    private static InferRequest Flower(int row)
    {
        var request = OnnxRuntimeTests.Flowers(1);
        var data = ReferenceModels.Case("iris_logreg").GetProperty("request").GetProperty("inputs")[0].GetProperty("data");
        request.Inputs[0].Set(System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(Enumerable.Range(row * 4, 4).Select(i => data[i].GetSingle()).ToArray()));
        return request;
    }

    private static async Task<string> ProposeAsync(TestWorld world, string candidate, RolloutSpec spec) =>
        (await world.Get<Rollouts>().ProposeAsync(TestWorld.Ada, new ProposeRollout { Endpoint = "flowers", Candidate = candidate, Spec = spec }, None)).Id;
}
