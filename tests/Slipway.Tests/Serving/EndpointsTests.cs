using Microsoft.Extensions.Logging.Abstractions;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Monitoring;
using Slipway.Registry;
using Slipway.Serving;
using Slipway.Serving.Batching;
using Slipway.Serving.Routing;
using Slipway.Serving.Runtimes;
using Slipway.Serving.Tensors;
using Slipway.Tests.Governance;
using static Slipway.Tests.Serving.ServingWorld;

namespace Slipway.Tests.Serving;

public sealed class EndpointsTests
{
    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Created_endpoint_answers_logs_and_is_journalled(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        var endpoint = await EndpointAsync(world);
        Assert.True(endpoint.Ready);
        Assert.Equal((Good, 1), (endpoint.ModelVersion, endpoint.Route.Revision));

        var outcome = await AskAsync(world, "p-1", eventMicros: 1_772_323_200_000_000);
        Assert.True(outcome.Ok, outcome.Message);
        Assert.Equal(("iris", "1", "stable", "p-1"), (outcome.ModelName, outcome.ModelVersion, outcome.Variant, outcome.PredictionId));

        var logged = await world.Get<Predictions>().FindAsync("p-1", None);
        Assert.NotNull(logged);
        Assert.Equal(("flowers", "stable", Good, "p-1", 200), (logged.Endpoint, logged.Variant, logged.ModelVersion, logged.EntityKey, logged.Status));
        Assert.Equal(Time.FromMicros(1_772_323_200_000_000), logged.At);
        // Four features; the label and three probabilities.
        Assert.Equal((4, 4), (logged.Features.Count, logged.Outputs.Count));
        Assert.Equal(1, logged.Outputs.Skip(1).Sum(), 1e-5);
        Assert.Equal((1, 0), (Health(world).Of("flowers", "stable", DateTimeOffset.MinValue).Requests, Health(world).Of("flowers", "stable", DateTimeOffset.MinValue).Errors));

        await world.SealAsync();
        var entries = (await world.Journal.ListAsync(new JournalFilter { Kind = "endpoint.", Descending = false }, None)).Items;
        Assert.Equal(["endpoint.created", "endpoint.changed"], entries.Select(entry => entry.Kind));
        Assert.Contains(new Subject("model-version", Good), entries[1].Links);
        Assert.Equal(1, entries[1].Read<EndpointChanged>().Revision);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Batch_is_logged_row_by_row(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        using var request = OnnxRuntimeTests.Flowers(3);
        (request.Endpoint, request.Id) = ("flowers", "b");
        Assert.True((await world.Get<Endpoints>().InferAsync(request, None)).Ok);
        var rows = await world.Get<Predictions>().ListAsync("flowers", null, null, 10, None);
        Assert.Equal(["b:0", "b:1", "b:2"], rows.Select(row => row.Id).Order(StringComparer.Ordinal));
        Assert.All(rows, row => Assert.Equal(4, row.Features.Count));
        Assert.Equal(3, rows.Select(row => string.Join(",", row.Features)).Distinct().Count());
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Policy_demands_a_granted_gate_for_every_version(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await world.Get<Policies>().ApplyAsync(Samples.Root, Samples.Automatic, None);
        Assert.Equal(ErrorCode.PreconditionFailed, (await Assert.ThrowsAsync<SlipwayException>(() => EndpointAsync(world, policy: "automatic"))).Code);
        await GrantAsync(world, Good);
        await EndpointAsync(world, policy: "automatic");
        var endpoints = world.Get<Endpoints>();
        Assert.Equal(ErrorCode.PreconditionFailed, (await Assert.ThrowsAsync<SlipwayException>(() => endpoints.DeployAsync(TestWorld.Ada, "flowers", Better, "new", None))).Code);
        await GrantAsync(world, Better);
        Assert.Equal(Better, (await endpoints.DeployAsync(TestWorld.Ada, "flowers", Better, "new", None)).ModelVersion);
        Assert.Equal("2", (await AskAsync(world, "x")).ModelVersion);
        Assert.Equal([2, 1], (await endpoints.HistoryAsync("flowers", 10, None)).Select(revision => revision.Spec.Revision));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Refusals_are_values_with_their_reason(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        Assert.Equal(ErrorCode.NotFound, (await AskAsync(world, "x", "nowhere")).Code);
        using var request = OnnxRuntimeTests.Flowers(1);
        (request.Endpoint, request.Version) = ("flowers", "9");
        Assert.Equal(ErrorCode.NotFound, (await world.Get<Endpoints>().InferAsync(request, None)).Code);
        request.Version = "1";
        request.RequestedOutputs.Add(new("nothing", null));
        Assert.Contains("no output 'nothing'", (await world.Get<Endpoints>().InferAsync(request, None)).Message);
        request.RequestedOutputs.Clear();
        request.RequestedOutputs.Add(new("probabilities", true));
        Assert.True((await world.Get<Endpoints>().InferAsync(request, None)).Ok);
        Assert.Equal(("probabilities", 1, true), (request.Outputs[0].Name, request.Outputs.Count, request.Outputs[0].Binary));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Name_taken_model_unreadable_and_bad_names_are_refused(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        Assert.Equal(ErrorCode.AlreadyExists, (await Assert.ThrowsAsync<SlipwayException>(() => EndpointAsync(world))).Code);
        await RegisterAsync(world, "iris", [1, 2, 3]);
        Assert.Equal(ErrorCode.InvalidArgument, (await Assert.ThrowsAsync<SlipwayException>(() => EndpointAsync(world, "iris/5", "other"))).Code);
        foreach (var name in new[] { "", "a/b", "..", "stats", "a b", new string('x', 101) })
        {
            Assert.Equal(ErrorCode.InvalidArgument, (await Assert.ThrowsAsync<SlipwayException>(() => EndpointAsync(world, name: name))).Code);
        }

        Assert.Equal(["flowers"], (await world.Get<Endpoints>().ListAsync(None)).Select(endpoint => endpoint.Name));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Deleted_endpoint_is_gone_and_its_revisions_go_on_counting(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        await world.Get<Endpoints>().DeleteAsync(TestWorld.Ada, "flowers", None);
        Assert.Equal(ErrorCode.NotFound, (await AskAsync(world, "x")).Code);
        Assert.Equal(ErrorCode.NotFound, (await Assert.ThrowsAsync<SlipwayException>(() => world.Get<Endpoints>().DeleteAsync(TestWorld.Ada, "flowers", None))).Code);
        Assert.Equal(2, (await EndpointAsync(world)).Route.Revision);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Restarted_node_and_another_node_serve_the_stored_route(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        // A second set of routes over the same tables is what another node, or this one after a restart, has.
        using var models = new LoadedModels(world.Get<Models>(), world.Get<IBlobStore>(), world.Get<DataLayout>(), new(new()), new(), world.Clock, NullLogger<LoadedModels>.Instance);
        using var routes = new Routes(models, world.Get<Scheduler>(), world.Get<Predictions>(), world.Get<Health>(), new(), world.Clock, NullLogger<Routes>.Instance);
        using var follower = new RouteFollower(world.Get<Deployments>(), routes, world.Get<Nodes>(), new(), world.Clock, world.Get<Microsoft.Extensions.Logging.ILogger<RouteFollower>>());
        await follower.CatchUpAsync(None);
        Assert.Equal(1, routes.Find("flowers")!.Table!.Spec.Revision);
        await world.Get<Endpoints>().DeployAsync(TestWorld.Ada, "flowers", Better, "new", None);
        await follower.CatchUpAsync(None);
        Assert.Equal(Better, routes.Find("flowers")!.Table!.Variants[0].ModelVersion);
        await world.Get<Endpoints>().DeleteAsync(TestWorld.Ada, "flowers", None);
        await follower.CatchUpAsync(None);
        Assert.Null(routes.Find("flowers"));
    }

    [Fact]
    public async Task Swapping_versions_under_traffic_fails_no_request()
    {
        await using var world = await CreateAsync(Engine.Sqlite);
        await EndpointAsync(world);
        using var stop = new CancellationTokenSource();
        var workers = Enumerable.Range(0, 3).Select(worker => Task.Run(async () =>
        {
            var answered = 0;
            while (!stop.IsCancellationRequested)
            {
                var outcome = await AskAsync(world, $"w{worker}-{answered}");
                Assert.True(outcome.Ok, outcome.Message);
                answered++;
            }

            return answered;
        })).ToArray();
        for (var i = 0; i < 12; i++)
        {
            await world.Get<Endpoints>().DeployAsync(TestWorld.Ada, "flowers", i % 2 == 0 ? Better : Good, "swap", None);
        }

        await stop.CancelAsync();
        Assert.All(await Task.WhenAll(workers), answered => Assert.True(answered > 0));
    }

    [Fact]
    public async Task Idle_models_leave_memory_beyond_the_bound()
    {
        await using var world = await CreateAsync(Engine.Sqlite);
        using var models = new LoadedModels(world.Get<Models>(), world.Get<IBlobStore>(), world.Get<DataLayout>(), new(new()), new() { IdleModels = 1 }, world.Clock, NullLogger<LoadedModels>.Instance);
        var first = await models.PinAsync(Good, null, None);
        Assert.Same(first, await models.PinAsync(Good, null, None));
        models.Unpin(first);
        models.Unpin(await models.PinAsync(Better, null, None));
        models.Unpin(first);
        Assert.Equal(1, models.Count);
        Assert.True(first.TryEnter());
        await Assert.ThrowsAsync<SlipwayException>(() => models.PinAsync("iris/99", null, None));
        Assert.Equal(1, models.Count);
    }

    internal static Task GrantAsync(TestWorld world, string version) =>
        world.Get<Gates>().RequestAsync(Samples.Root, new("model-version", version), "automatic", Samples.Good, ["ada"], None);
}
