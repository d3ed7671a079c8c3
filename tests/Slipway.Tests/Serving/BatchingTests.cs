using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving.Batching;
using Slipway.Serving.Runtimes;
using Slipway.Serving.Tensors;

namespace Slipway.Tests.Serving;

public sealed class BatchingTests
{
    private static readonly CancellationToken None = CancellationToken.None;
    private static readonly LaneRule Alone = new(1, TimeSpan.Zero, 1000, TimeSpan.FromMinutes(1));
    private static readonly LaneRule Together = Alone with { MaxRows = 8 };

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task Any_interleaving_gives_what_one_by_one_gives(int seed)
    {
        using var scheduler = Make(out _);
        using var model = new LoadedModel(OnnxRuntime.Load(ReferenceModels.PathOf("digits_mlp")));
        Assert.Null(model.Traits.CannotBatch);
        var lane = new Lane(model, scheduler, new("e", "m/1"), Together, inlineMicros: 0);
        var random = new Random(seed);
        var sizes = Enumerable.Range(0, 200).Select(_ => random.Next(1, 6)).ToArray();
        var answers = await Task.WhenAll(sizes.Index().Select(pair => Task.Run(async () =>
        {
            using var request = Digits(pair.Item, pair.Index);
            var result = await lane.RunAsync(request, long.MaxValue, None);
            Assert.True(result.Ok, result.Message);
            return Values(request);
        })));
        for (var i = 0; i < sizes.Length; i++)
        {
            using var request = Digits(sizes[i], i);
            Assert.True(OnnxRuntimeTests.Run(model, request).Ok);
            var expected = Values(request);
            Assert.Equal(expected.Length, answers[i].Length);
            Assert.All(expected.Zip(answers[i]), pair => Assert.True(Math.Abs(pair.First - pair.Second) < 1e-4, $"request {i}: {pair}"));
        }

        var counted = lane.Counters.Read();
        Assert.Equal(sizes.Sum(), counted.Batches.Sum(batch => batch.Rows * batch.ComputeInfer.Count));
        Assert.InRange(counted.Batches.Max(batch => batch.Rows), 1, 8);
    }

    [Fact]
    public async Task Idle_model_starts_at_once_and_what_waits_runs_together()
    {
        using var scheduler = Make(out _);
        using var held = new Held();
        var lane = held.Lane(scheduler, Together);
        // Every core is taken, so the next ones wait; nothing was held back for company.
        var running = await held.OccupyAsync(lane, Environment.ProcessorCount);
        var waiting = Enumerable.Range(0, 5).Select(i => held.Ask(lane, rows: 2, value: i)).ToArray();
        held.Open();
        Assert.All(await Task.WhenAll(running.Concat(waiting)), result => Assert.True(result.Ok, result.Message));
        Assert.Equal([1, 2, 8], lane.Counters.Read().Batches.Select(batch => batch.Rows));
        Assert.Equal(Environment.ProcessorCount + 2, lane.Counters.Read().Executions);
    }

    [Fact]
    public async Task Full_queue_refuses_at_once_and_the_caller_who_leaves_is_not_run()
    {
        using var scheduler = Make(out _);
        using var held = new Held();
        var lane = held.Lane(scheduler, Alone with { QueueRows = 2 });
        var running = await held.OccupyAsync(lane, Environment.ProcessorCount);
        using var leaving = new CancellationTokenSource();
        var first = held.Ask(lane, ct: leaving.Token);
        var second = held.Ask(lane);
        var refused = await held.Ask(lane);
        Assert.Equal((ErrorCode.ResourceExhausted, true), (refused.Code, refused.Refused));
        await leaving.CancelAsync();
        Assert.Equal(ErrorCode.Cancelled, (await first).Code);
        var third = held.Ask(lane);
        Assert.Equal(2, Volatile.Read(ref lane.Counters.Pending));
        held.Open();
        Assert.All(await Task.WhenAll([.. running, second, third]), result => Assert.True(result.Ok, result.Message));
        Assert.Equal(Environment.ProcessorCount + 2, held.Runs);
    }

    [Fact]
    public async Task Passed_deadline_is_told_without_a_run()
    {
        using var scheduler = Make(out var clock);
        using var held = new Held();
        var lane = held.Lane(scheduler, Alone);
        var running = await held.OccupyAsync(lane, Environment.ProcessorCount);
        var late = held.Ask(lane, deadline: clock.GetTimestamp() + (clock.TimestampFrequency / 10));
        clock.Advance(TimeSpan.FromMilliseconds(200));
        Assert.Equal(ErrorCode.DeadlineExceeded, (await late).Code);
        held.Open();
        await Task.WhenAll(running);
        Assert.Equal(Environment.ProcessorCount, held.Runs);
    }

    [Fact]
    public async Task Busy_endpoint_does_not_starve_another()
    {
        using var scheduler = Make(out _);
        using var held = new Held();
        var (busy, quiet) = (held.Lane(scheduler, Alone, "busy"), held.Lane(scheduler, Alone, "quiet"));
        var running = await held.OccupyAsync(busy, Environment.ProcessorCount);
        var flood = Enumerable.Range(0, 50).Select(_ => held.Ask(busy)).ToArray();
        var one = held.Ask(quiet);
        held.Open();
        Assert.True((await one).Ok);
        await Task.WhenAll(running.Concat(flood));
        // It came last and ran among the first that were free.
        Assert.True(held.Order.IndexOf("quiet") < Environment.ProcessorCount * 3, string.Join(' ', held.Order));
    }

    [Fact]
    public async Task Budget_holds_requests_back_only_while_the_model_runs()
    {
        if (Environment.ProcessorCount < 2)
        {
            Assert.Skip("needs two cores");
        }

        using var scheduler = Make(out var clock);
        using var held = new Held();
        var lane = held.Lane(scheduler, Together with { Budget = TimeSpan.FromMilliseconds(50) });
        var running = await held.OccupyAsync(lane, 1);
        var waiting = Enumerable.Range(0, 3).Select(_ => held.Ask(lane)).ToArray();
        Assert.Equal(1, held.Started);
        clock.Advance(TimeSpan.FromMilliseconds(100));
        await held.UntilStartedAsync(2);
        held.Open();
        await Task.WhenAll(running.Concat(waiting));
        Assert.Equal([1, 3], lane.Counters.Read().Batches.Select(batch => batch.Rows));
    }

    [Fact]
    public async Task Guilty_request_alone_gets_the_error_of_its_batch()
    {
        using var scheduler = Make(out _);
        using var held = new Held { Poison = 7 };
        var lane = held.Lane(scheduler, Together);
        var running = await held.OccupyAsync(lane, Environment.ProcessorCount);
        var waiting = new[] { 1, 7, 2 }.Select(value => held.Ask(lane, value: value)).ToArray();
        held.Open();
        await Task.WhenAll(running);
        var results = await Task.WhenAll(waiting);
        Assert.Equal([true, false, true], results.Select(result => result.Ok));
    }

    [Theory]
    [InlineData("digits_mlp", true)]
    [InlineData("iris_string_label", false)]
    public void Batchable_models_are_found_by_trying(string model, bool batchable)
    {
        using var onnx = OnnxRuntime.Load(ReferenceModels.PathOf(model));
        Assert.Equal(batchable, onnx.Traits.CannotBatch is null);
    }

    [Fact]
    public void Model_that_mixes_its_rows_or_has_a_fixed_batch_is_found_out()
    {
        using var mixing = Load(TinyOnnx.MixesRows());
        Assert.Contains("depends on the other rows", mixing.Traits.CannotBatch);
        using var single = Load(TinyOnnx.FixedBatch());
        Assert.Contains("fixed first dimension", single.Traits.CannotBatch);
    }

    internal static OnnxRuntime Load(byte[] content)
    {
        var path = Path.GetTempFileName();
        File.WriteAllBytes(path, content);
        try
        {
            return OnnxRuntime.Load(path);
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static Scheduler Make(out FakeTimeProvider clock) => new(new(), clock = new FakeTimeProvider(), NullLogger<Scheduler>.Instance);

    private static InferRequest Digits(int rows, int seed)
    {
        var request = InferRequest.Rent();
        var tensor = request.Inputs.Add();
        (tensor.Name, tensor.Datatype) = ("X", Datatype.Fp32);
        tensor.TrySetShape([rows, 64]);
        var values = MemoryMarshal.Cast<byte, float>(tensor.Allocate(rows * 256));
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = ((i * 31) + (seed * 17)) % 17 / 16f;
        }

        return request;
    }

    private static double[] Values(InferRequest request) =>
        [.. Enumerable.Range(0, request.Outputs.Count).SelectMany(i => request.Outputs[i].Datatype == Datatype.Fp32
            ? request.Outputs[i].As<float>().ToArray().Select(value => (double)value) : request.Outputs[i].As<long>().ToArray().Select(value => (double)value))];

    /// <summary>A model whose runs wait until they are let go: y = x, and an error for one value.</summary>
    private sealed class Held : IModelRuntime
    {
        private readonly ManualResetEventSlim _open = new();
        private readonly List<LoadedModel> _models = [];
        private readonly SemaphoreSlim _begun = new(0);
        private int _started;
        private int _runs;

        public float? Poison { get; init; }

        public int Started => Volatile.Read(ref _started);

        public int Runs => Volatile.Read(ref _runs);

        public List<string> Order { get; } = [];

        public ModelSignature Signature { get; } = new([new("x", "FP32", [-1, 1])], [new("y", "FP32", [-1, 1])], null);

        // Longer than a caller's thread is lent for.
        public RuntimeTraits Traits { get; } = new(2000, 0, null, 2, 0);

        public Lane Lane(Scheduler scheduler, LaneRule rule, string endpoint = "e")
        {
            var model = new LoadedModel(new Named(this, endpoint));
            _models.Add(model);
            return new(model, scheduler, new(endpoint, "m/1"), rule, inlineMicros: 0);
        }

        public async Task<Task<RunResult>[]> OccupyAsync(Lane lane, int cores)
        {
            var tasks = new List<Task<RunResult>>();
            for (var i = 0; i < cores; i++)
            {
                tasks.Add(Ask(lane));
                await UntilStartedAsync(i + 1);
            }

            return [.. tasks];
        }

        public async Task UntilStartedAsync(int runs)
        {
            while (Started < runs)
            {
                await _begun.WaitAsync();
            }
        }

        public async Task<RunResult> Ask(Lane lane, int rows = 1, float value = 0, long deadline = long.MaxValue, CancellationToken ct = default)
        {
            using var request = InferRequest.Rent();
            var tensor = request.Inputs.Add();
            (tensor.Name, tensor.Datatype) = ("x", Datatype.Fp32);
            tensor.TrySetShape([rows, 1]);
            MemoryMarshal.Cast<byte, float>(tensor.Allocate(rows * 4)).Fill(value);
            var result = await lane.RunAsync(request, deadline, ct);
            if (result.Ok)
            {
                Assert.Equal(Enumerable.Repeat(value, rows), request.Outputs[0].As<float>().ToArray());
            }

            return result;
        }

        public void Open() => _open.Set();

        public ValueTask<RunResult> RunAsync(InferRequest request, CancellationToken ct) => Run(request, "e");

        public void Dispose()
        {
            _open.Set();
            _models.ForEach(model => model.Dispose());
        }

        private ValueTask<RunResult> Run(InferRequest request, string endpoint)
        {
            Interlocked.Increment(ref _started);
            _begun.Release();
            _open.Wait();
            Interlocked.Increment(ref _runs);
            lock (Order)
            {
                Order.Add(endpoint);
            }

            var x = request.Inputs[0];
            if (Poison is { } poison && x.As<float>().Contains(poison))
            {
                return new(new RunResult(ErrorCode.Internal, "poison"));
            }

            var y = request.Outputs.Add();
            (y.Name, y.Datatype) = ("y", Datatype.Fp32);
            y.TrySetShape(x.Shape);
            y.Set(x.Data);
            return new(new RunResult { Rows = x.Rows });
        }

        private sealed class Named(Held held, string endpoint) : IModelRuntime
        {
            public ModelSignature Signature => held.Signature;

            public RuntimeTraits Traits => held.Traits;

            public ValueTask<RunResult> RunAsync(InferRequest request, CancellationToken ct) => held.Run(request, endpoint);

            public void Dispose()
            {
                // The model is the test's.
            }
        }
    }
}
