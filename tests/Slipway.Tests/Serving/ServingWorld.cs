using Slipway.Foundation;
using Slipway.Monitoring;
using Slipway.Registry;
using Slipway.Serving;
using Slipway.Serving.Tensors;

namespace Slipway.Tests.Serving;

/// <summary>A world with the model <c>iris</c> in several versions: 1 and 2 good, 3 breaks on real input, 4 answers without knowing.</summary>
internal static class ServingWorld
{
    public const string Good = "iris/1";
    public const string Better = "iris/2";
    public const string Broken = "iris/3";
    public const string Blind = "iris/4";
    public static readonly CancellationToken None = CancellationToken.None;

    public static async Task<TestWorld> CreateAsync(Engine engine)
    {
        var world = await TestWorld.CreateAsync(engine);
        await world.Get<Models>().CreateAsync(TestWorld.Ada, "iris", null, None);
        var good = ReferenceModels.Bytes("iris_logreg");
        foreach (var content in new[] { good, good, TinyOnnx.BreaksOnRealInput(), TinyOnnx.Constant(0.34f, 0.33f, 0.33f) })
        {
            await RegisterAsync(world, "iris", content);
        }

        return world;
    }

    public static async Task<ModelVersion> RegisterAsync(TestWorld world, string model, byte[] content)
    {
        var blob = await world.Get<IBlobStore>().PutAsync(new MemoryStream(content), None);
        return await world.Get<Models>().RegisterAsync(
            TestWorld.Ada, new RegisterVersion { Name = model, Source = "s3://models/m", Files = [new("model.onnx", blob.Hash, blob.Size)] }, None);
    }

    public static Task<Endpoint> EndpointAsync(TestWorld world, string version = Good, string name = "flowers", string? policy = null) =>
        world.Get<Endpoints>().CreateAsync(TestWorld.Ada, new CreateEndpoint { Name = name, ModelVersion = version, Policy = policy }, None);

    /// <summary>Asks for one flower; the key decides the variant and is the id.</summary>
    public static async Task<InferOutcome> AskAsync(TestWorld world, string key, string endpoint = "flowers", long eventMicros = 0)
    {
        using var request = OnnxRuntimeTests.Flowers(1);
        (request.Endpoint, request.Id, request.EntityKey, request.EventMicros) = (endpoint, key, key, eventMicros);
        return await world.Get<Endpoints>().InferAsync(request, None);
    }

    /// <summary>Asks for many flowers and returns how many each variant answered; every answer must succeed.</summary>
    public static async Task<Dictionary<string, int>> TrafficAsync(TestWorld world, int requests, string prefix = "user")
    {
        var counts = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var i = 0; i < requests; i++)
        {
            var outcome = await AskAsync(world, $"{prefix}-{i}");
            Assert.True(outcome.Ok, outcome.Message);
            counts[outcome.Variant] = counts.GetValueOrDefault(outcome.Variant) + 1;
        }

        return counts;
    }

    /// <summary>Lets a rollout take the steps that are due.</summary>
    public static async Task<Rollout> StepAsync(TestWorld world, string id)
    {
        await world.Get<RolloutWork>().StepAsync(id, None);
        return await world.Get<Rollouts>().GetAsync(id, None);
    }

    public static Health Health(TestWorld world) => world.Get<Health>();
}
