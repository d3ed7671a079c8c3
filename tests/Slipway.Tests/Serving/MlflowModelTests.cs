using System.Text;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving;
using Slipway.Serving.Tensors;
using static Slipway.Tests.Serving.ServingWorld;

namespace Slipway.Tests.Serving;

/// <summary>MLflow folders with the onnx flavour: the signature's columns are held against what comes.</summary>
public sealed class MlflowModelTests
{
    private const string Columns = """[{"type":"double","name":"sepal length"},{"type":"double","name":"sepal width"},{"type":"double","name":"petal length"},{"type":"double","name":"petal width"}]""";

    [Fact]
    public async Task Columns_become_the_matrix_that_the_graph_takes()
    {
        await using var world = await WorldAsync(MlModel("model.onnx", Columns));
        using var request = Request((0, "petal width", Datatype.Fp64, [1.8, 0.2]), (1, "sepal length", Datatype.Fp64, [5.9, 5.1]), (2, "petal length", Datatype.Fp32, [5.1, 1.4]), (3, "sepal width", Datatype.Int32, [3, 3]));
        var outcome = await world.Get<Endpoints>().InferAsync(request, None);

        Assert.True(outcome.Ok, outcome.Message);
        Assert.Equal([2L, 0L], request.Outputs.Find("label")!.As<long>().ToArray());
        Assert.Equal(["sepal length", "sepal width", "petal length", "petal width"], world.Get<Endpoints>().Describe("flowers", null)!.Signature!.FeatureNames!);

        // The graph's own input is still accepted.
        using var matrix = OnnxRuntimeTests.Flowers(1);
        matrix.Endpoint = "flowers";
        Assert.True((await world.Get<Endpoints>().InferAsync(matrix, None)).Ok);
    }

    [Fact]
    public async Task Refusals_name_the_column_what_came_and_what_was_expected()
    {
        await using var world = await WorldAsync(MlModel("model.onnx", Columns));
        await RefusedAsync(world, "column 'petal width' (double) is missing", (0, "sepal length", Datatype.Fp64, [1]), (1, "sepal width", Datatype.Fp64, [1]), (2, "petal length", Datatype.Fp64, [1]));
        await RefusedAsync(world, "column 'sepal width' must be double (FP64), got INT64", (0, "sepal length", Datatype.Fp64, [1]), (1, "sepal width", Datatype.Int64, [1]), (2, "petal length", Datatype.Fp64, [1]), (3, "petal width", Datatype.Fp64, [1]));
        await RefusedAsync(world, "column 'petal width' has 2 rows, the columns before it have 1", (0, "sepal length", Datatype.Fp64, [1]), (1, "sepal width", Datatype.Fp64, [1]), (2, "petal length", Datatype.Fp64, [1]), (3, "petal width", Datatype.Fp64, [1, 2]));
        await RefusedAsync(world, "there is no column 'colour'", (0, "sepal length", Datatype.Fp64, [1]), (1, "colour", Datatype.Fp64, [1]));
    }

    [Theory]
    [InlineData("flavors:\n  sklearn: {}\n", "has the flavors sklearn and not onnx")]
    [InlineData("flavors:\n  onnx:\n    data: ../../etc/passwd\n", "lies outside")]
    [InlineData("flavors: [", "not valid YAML")]
    [InlineData("- 1\n", "not a YAML document with names")]
    [InlineData("flavors:\n  onnx:\n    data: model.onnx\nsignature:\n  inputs: '{'\n", "not valid JSON")]
    public async Task A_folder_that_is_no_such_model_is_refused(string mlmodel, string reason)
    {
        var refused = await Assert.ThrowsAsync<SlipwayException>(() => WorldAsync(mlmodel));
        Assert.Equal(ErrorCode.InvalidArgument, refused.Code);
        Assert.Contains(reason, refused.Sentence, StringComparison.Ordinal);
    }

    private static string MlModel(string file, string inputs) => $"""
        artifact_path: model
        flavors:
          onnx:
            data: {file}
            onnx_version: 1.14.1
          python_function:
            loader_module: mlflow.onnx
        signature:
          inputs: '{inputs}'
          outputs: null
        saved_input_example_info:
          artifact_path: input_example.json
          type: dataframe
        """;

    private static async Task<TestWorld> WorldAsync(string mlmodel)
    {
        var world = await TestWorld.CreateAsync(Engine.Sqlite);
        try
        {
            await world.Get<Models>().CreateAsync(TestWorld.Ada, "iris", null, None);
            var files = new List<ModelFile>();
            foreach (var (path, content) in new[] { ("model/MLmodel", Encoding.UTF8.GetBytes(mlmodel)), ("model/model.onnx", ReferenceModels.Bytes("iris_logreg")) })
            {
                var blob = await world.Get<IBlobStore>().PutAsync(new MemoryStream(content), None);
                files.Add(new(path, blob.Hash, blob.Size));
            }

            await world.Get<Models>().RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "iris", Source = "s3://models/m", Files = files }, None);
            await EndpointAsync(world);
            return world;
        }
        catch
        {
            await world.DisposeAsync();
            throw;
        }
    }

    private static InferRequest Request(params (int At, string Name, Datatype Type, double[] Values)[] columns)
    {
        var request = InferRequest.Rent();
        request.Endpoint = "flowers";
        foreach (var (_, name, type, values) in columns)
        {
            var tensor = request.Inputs.Add();
            (tensor.Name, tensor.Datatype) = (name, type);
            tensor.TrySetShape([values.Length]);
            tensor.Set([.. values.SelectMany(value => type switch
            {
                Datatype.Fp64 => BitConverter.GetBytes(value),
                Datatype.Fp32 => BitConverter.GetBytes((float)value),
                Datatype.Int64 => BitConverter.GetBytes((long)value),
                _ => BitConverter.GetBytes((int)value),
            })]);
        }

        return request;
    }

    private static async Task RefusedAsync(TestWorld world, string reason, params (int At, string Name, Datatype Type, double[] Values)[] columns)
    {
        using var request = Request(columns);
        var outcome = await world.Get<Endpoints>().InferAsync(request, None);
        Assert.Equal(ErrorCode.InvalidArgument, outcome.Code);
        Assert.Contains(reason, outcome.Message, StringComparison.Ordinal);
    }
}
