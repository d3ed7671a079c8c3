using System.Text;
using System.Text.Json;
using Slipway.Foundation;
using Slipway.Server.Oip;
using Slipway.Serving.Runtimes;
using Slipway.Serving.Tensors;

namespace Slipway.Tests.Serving;

public sealed class OnnxRuntimeTests
{
    // The cases are read as JSON, which has no half precision; that model is asked in binary over both transports.
    public static TheoryData<string> Models => [.. ReferenceModels.All.Select(row => row.Data).Where(model => model != "digits_fp16")];

    [Theory]
    [MemberData(nameof(Models))]
    public void Reference_model_gives_the_expected_outputs_bound_and_unbound(string model)
    {
        var onnx = OnnxRuntime.Load(ReferenceModels.PathOf(model));
        using var runtime = new LoadedModel(onnx);
        for (var i = 0; i < 3; i++)
        {
            using var request = Read(ReferenceModels.Request(model));
            var result = Run(runtime, request);
            Assert.True(result.Ok, result.Message);
            ReferenceModels.Check(model, Answer(request).GetProperty("outputs"));
        }

        Assert.Equal(model is not ("iris_string_label" or "iris_mixed_inputs"), onnx.IsBound);
    }

    [Fact]
    public void Batches_of_every_size_equal_their_rows()
    {
        using var runtime = new LoadedModel(OnnxRuntime.Load(ReferenceModels.PathOf("iris_logreg")));
        foreach (var rows in new[] { 1, 2, 3, 128, 129, 1000 })
        {
            using var batch = Flowers(rows);
            Assert.True(Run(runtime, batch).Ok);
            Assert.Equal([rows, 3], batch.Outputs[1].Shape.ToArray());
            var all = batch.Outputs[1].As<float>().ToArray();
            using var last = Flowers(1, rows - 1);
            Assert.True(Run(runtime, last).Ok);
            Assert.Equal(last.Outputs[1].As<float>().ToArray().Select(p => (double)p), all[^3..].Select(p => (double)p), (a, b) => Math.Abs(a - b) < 1e-5);
        }
    }

    [Fact]
    public async Task Concurrent_runs_do_not_mix()
    {
        using var runtime = new LoadedModel(OnnxRuntime.Load(ReferenceModels.PathOf("iris_logreg")));
        using var one = Flowers(1, 3);
        using var other = Flowers(1, 40);
        Run(runtime, one);
        Run(runtime, other);
        var (first, second) = (one.Outputs[1].As<float>().ToArray(), other.Outputs[1].As<float>().ToArray());
        await Task.WhenAll(Enumerable.Range(0, 8).Select(worker => Task.Run(() =>
        {
            for (var i = 0; i < 500; i++)
            {
                using var request = Flowers(1, worker % 2 == 0 ? 3 : 40);
                Assert.True(Run(runtime, request).Ok);
                Assert.Equal(worker % 2 == 0 ? first : second, request.Outputs[1].As<float>().ToArray());
            }
        })));
    }

    [Theory]
    [InlineData("""{"inputs":[{"name":"X","shape":[1,5],"datatype":"FP32","data":[1,2,3,4,5]}]}""", "must have the shape [-1,4], got [1,5]")]
    [InlineData("""{"inputs":[{"name":"X","shape":[4],"datatype":"FP32","data":[1,2,3,4]}]}""", "must have the shape")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP64","data":[1,2,3,4]}]}""", "must be FP32, got FP64")]
    [InlineData("""{"inputs":[{"name":"Y","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}""", "has no input 'Y'; it has 'X'")]
    [InlineData("""{"inputs":[]}""", "input 'X' (FP32 [-1,4]) is missing")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]},{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}""", "given twice")]
    public void Inputs_that_do_not_fit_are_refused_with_what_came_and_what_was_expected(string json, string message)
    {
        using var runtime = new LoadedModel(OnnxRuntime.Load(ReferenceModels.PathOf("iris_logreg")));
        using var request = Read(Encoding.UTF8.GetBytes(json));
        var result = Run(runtime, request);
        Assert.True(result.Refused);
        Assert.Equal(ErrorCode.InvalidArgument, result.Code);
        Assert.Contains(message, result.Message);
    }

    [Fact]
    public void Inputs_in_another_order_give_the_same_answer()
    {
        using var runtime = new LoadedModel(OnnxRuntime.Load(ReferenceModels.PathOf("iris_mixed_inputs")));
        var request = ReferenceModels.Case("iris_mixed_inputs").GetProperty("request").GetProperty("inputs").EnumerateArray().Reverse().ToArray();
        using var read = Read(JsonSerializer.SerializeToUtf8Bytes(new { inputs = request }));
        Assert.True(Run(runtime, read).Ok);
        ReferenceModels.Check("iris_mixed_inputs", Answer(read).GetProperty("outputs"));
        Assert.Equal("sepal_length", read.Inputs[0].Name);
    }

    [Fact]
    public void Class_map_becomes_a_matrix()
    {
        using var runtime = Load(TinyOnnx.ClassMap(7, 8, 9));
        Assert.Equal([-1, -1], runtime.Signature.Outputs[0].Shape);
        using var request = Read("""{"inputs":[{"name":"X","shape":[2,3],"datatype":"FP32","data":[[0.5,0.25,0.25],[0,1,0]]}]}"""u8);
        Assert.True(Run(runtime, request).Ok);
        Assert.Equal([2, 3], request.Outputs[0].Shape.ToArray());
        Assert.Equal([0.5f, 0.25f, 0.25f, 0, 1, 0], request.Outputs[0].As<float>().ToArray());
    }

    [Fact]
    public void Failure_inside_the_model_is_a_value_and_the_model_serves_on()
    {
        using var runtime = Load(TinyOnnx.BreaksOnRealInput());
        using var request = Flowers(1);
        var result = Run(runtime, request);
        Assert.False(result.Ok || result.Refused);
        using var zeros = Read("""{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[0,0,0,0]}]}"""u8);
        Assert.True(Run(runtime, zeros).Ok);
    }

    [Fact]
    public void Signature_reads_the_feature_names_and_refuses_files_that_are_no_model()
    {
        using var folder = new TemporaryModel(TinyOnnx.WithFeatures("""["dep_hour","distance"]"""));
        Assert.Equal(["dep_hour", "distance"], OnnxSignature.Read(folder.Path).FeatureNames);
        using var broken = new TemporaryModel([1, 2, 3]);
        Assert.Equal(ErrorCode.InvalidArgument, Assert.Throws<SlipwayException>(() => OnnxSignature.Read(broken.Path)).Code);
        using var list = new TemporaryModel(TinyOnnx.WithFeatures("not json"));
        Assert.Contains("slipway.features", Assert.Throws<SlipwayException>(() => OnnxSignature.Read(list.Path)).Why);
    }

    [Fact]
    public void Last_user_out_frees_the_model()
    {
        var runtime = new LoadedModel(OnnxRuntime.Load(ReferenceModels.PathOf("iris_logreg")));
        Assert.True(runtime.TryEnter());
        runtime.Dispose();
        using var request = Flowers(1);
        Assert.True(Run(runtime, request).Ok);
        runtime.Exit();
        Assert.False(runtime.TryEnter());
    }

    internal static InferRequest Flowers(int rows, int from = 0)
    {
        var request = InferRequest.Rent();
        var tensor = request.Inputs.Add();
        (tensor.Name, tensor.Datatype) = ("X", Datatype.Fp32);
        tensor.TrySetShape([rows, 4]);
        var values = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(tensor.Allocate(rows * 16));
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = 4 + ((((from * 4) + i) * 7 % 40) / 10f);
        }

        return request;
    }

    internal static InferRequest Read(ReadOnlySpan<byte> json)
    {
        var request = InferRequest.Rent();
        OipReader.Read(json, json.Length, request);
        return request;
    }

    internal static JsonElement Answer(InferRequest request) =>
        JsonDocument.Parse(OipWriter.Write(request, new(null, null, "m", "1", "stable", "p", 1), out _).ToArray()).RootElement;

    /// <summary>Runs as a lane does: against the signature first.</summary>
    internal static RunResult Run(LoadedModel model, InferRequest request) =>
        model.Fit(request) ?? model.RunAsync(request, CancellationToken.None).AsTask().GetAwaiter().GetResult();

    private static LoadedModel Load(byte[] model)
    {
        using var file = new TemporaryModel(model);
        return new(OnnxRuntime.Load(file.Path));
    }

    private sealed class TemporaryModel : IDisposable
    {
        public TemporaryModel(byte[] content) => File.WriteAllBytes(Path, content);

        public string Path { get; } = System.IO.Path.GetTempFileName();

        public void Dispose() => File.Delete(Path);
    }
}
