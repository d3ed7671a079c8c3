using System.Runtime.InteropServices;
using Slipway.Serving.Runtimes;
using Slipway.Serving.Tensors;

namespace Slipway.Tests.Serving;

public sealed class CompiledGraphTests
{
    /// <summary>Which may run compiled is known by what they are made of; whether they do is decided by the clock.</summary>
    private const string Slower = "ONNX Runtime is faster";

    [Theory]
    [InlineData("iris_logreg", null)]
    [InlineData("iris_string_label", null)]
    [InlineData("cancer_pipeline", null)]
    [InlineData("wine_gbt100", null)]
    [InlineData("diabetes_xgb500", null)]
    [InlineData("digits_mlp", null)]
    [InlineData("digits_cnn", "its input 'image' is FP32 [-1,1,8,8]")]
    [InlineData("digits_fp16", "its input 'image' is FP16")]
    [InlineData("iris_mixed_inputs", "its input 'species' is BYTES")]
    public void Classical_models_compile_and_others_say_why_not(string model, string? why)
    {
        using var runtime = OnnxRuntime.Load(ReferenceModels.PathOf(model));
        if (why is null)
        {
            Assert.Contains(runtime.NotCompiled, new[] { null, Slower });
            Assert.Equal(runtime.NotCompiled is null, runtime.CompiledRows > 0);
        }
        else
        {
            Assert.StartsWith(why, runtime.NotCompiled, StringComparison.Ordinal);
            Assert.Equal(0, runtime.CompiledRows);
        }
    }

    [Theory]
    [InlineData("iris_logreg", 8)]
    [InlineData("iris_string_label", 8)]
    [InlineData("cancer_pipeline", 100)]
    [InlineData("wine_gbt100", 100)]
    [InlineData("diabetes_xgb500", 1)]
    [InlineData("digits_mlp", 16)]
    public async Task Compiled_answers_are_those_of_the_session(string model, double scale)
    {
        using var compiled = OnnxRuntime.Load(ReferenceModels.PathOf(model));
        using var session = OnnxRuntime.Load(ReferenceModels.PathOf(model), compile: false);
        Assert.Equal("compiling is switched off", session.NotCompiled);
        foreach (var rows in new[] { 1, 3, 64, 128, 129 })
        {
            using var ours = Rows(session.Signature.Inputs[0].Name, rows, (int)session.Signature.Inputs[0].Shape[1], scale, rows);
            using var theirs = Rows(session.Signature.Inputs[0].Name, rows, (int)session.Signature.Inputs[0].Shape[1], scale, rows);
            Assert.True((await compiled.RunAsync(ours, CancellationToken.None)).Ok);
            Assert.True((await session.RunAsync(theirs, CancellationToken.None)).Ok);
            Same(theirs, ours);
        }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(3.4e38f)]
    public async Task Numbers_that_are_not_finite_are_answered_by_the_session(float value)
    {
        foreach (var model in new[] { "iris_logreg", "diabetes_xgb500" })
        {
            using var compiled = OnnxRuntime.Load(ReferenceModels.PathOf(model));
            using var session = OnnxRuntime.Load(ReferenceModels.PathOf(model), compile: false);
            var input = session.Signature.Inputs[0];
            using var ours = Rows(input.Name, 2, (int)input.Shape[1], 1, 5);
            using var theirs = Rows(input.Name, 2, (int)input.Shape[1], 1, 5);
            MemoryMarshal.Cast<byte, float>(ours.Inputs[0].Writable)[1] = value;
            MemoryMarshal.Cast<byte, float>(theirs.Inputs[0].Writable)[1] = value;
            Assert.True((await compiled.RunAsync(ours, CancellationToken.None)).Ok);
            Assert.True((await session.RunAsync(theirs, CancellationToken.None)).Ok);
            Same(theirs, ours);
        }
    }

    [Fact]
    public void What_comes_out_otherwise_is_left_to_the_session()
    {
        using var file = new TemporaryFile(TinyOnnx.DividesByZero());
        using var runtime = OnnxRuntime.Load(file.Path);
        Assert.Equal("it refuses the values that it was tried with", runtime.NotCompiled);
        Assert.Equal(0, runtime.CompiledRows);
    }

    [Fact]
    public async Task Classes_of_a_map_come_in_their_order()
    {
        using var file = new TemporaryFile(TinyOnnx.ClassMap(9, 7, 8));
        using var runtime = OnnxRuntime.Load(file.Path);
        Assert.Contains(runtime.NotCompiled, new[] { null, Slower });
        using var request = Rows("X", 1, 3, 1, 1);
        new[] { .9f, .7f, .8f }.CopyTo(MemoryMarshal.Cast<byte, float>(request.Inputs[0].Writable));
        Assert.True((await runtime.RunAsync(request, CancellationToken.None)).Ok);
        Assert.Equal([.7f, .8f, .9f], request.Outputs[0].As<float>().ToArray());
    }

    [Fact]
    public async Task Run_allocates_nothing()
    {
        using var runtime = OnnxRuntime.Load(ReferenceModels.PathOf("iris_logreg"));
        Assert.SkipUnless(runtime.NotCompiled is null, "this machine was too busy to see that compiled is faster");
        using var request = Rows("X", 1, 4, 8, 1);
        _ = await runtime.RunAsync(request, CancellationToken.None);
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 100; i++)
        {
            _ = await runtime.RunAsync(request, CancellationToken.None);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    private static void Same(InferRequest expected, InferRequest given)
    {
        Assert.Equal(expected.Outputs.Count, given.Outputs.Count);
        for (var i = 0; i < expected.Outputs.Count; i++)
        {
            var (theirs, ours) = (expected.Outputs[i], given.Outputs[i]);
            Assert.Equal(theirs.Name, ours.Name);
            Assert.Equal(theirs.Datatype, ours.Datatype);
            Assert.Equal(theirs.Shape.ToArray(), ours.Shape.ToArray());
            if (theirs.Datatype == Datatype.Fp32)
            {
                Assert.Equal(theirs.As<float>().ToArray(), ours.As<float>().ToArray(), (a, b) => a.Equals(b) || Math.Abs(a - b) <= 1e-6 + (1e-5 * Math.Abs(a)));
            }
            else
            {
                Assert.Equal(theirs.Data.ToArray(), ours.Data.ToArray());
            }
        }
    }

    private static InferRequest Rows(string name, int rows, int columns, double scale, int seed)
    {
        var random = new Random(seed);
        var request = InferRequest.Rent();
        var tensor = request.Inputs.Add();
        (tensor.Name, tensor.Datatype) = (name, Datatype.Fp32);
        tensor.TrySetShape([rows, columns]);
        foreach (ref var number in MemoryMarshal.Cast<byte, float>(tensor.Allocate(rows * columns * sizeof(float))))
        {
            number = (float)(random.NextDouble() * scale);
        }

        return request;
    }

    private sealed class TemporaryFile : IDisposable
    {
        public TemporaryFile(byte[] content) => File.WriteAllBytes(Path, content);

        public string Path { get; } = System.IO.Path.GetTempFileName();

        public void Dispose() => File.Delete(Path);
    }
}
