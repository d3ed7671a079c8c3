using System.Text.Json;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Slipway.Pipelines.Training;
using Xunit;

namespace Slipway.Tests.Pipelines;

public sealed class LightGbmTrainerTests
{
    private static readonly LightGbmParameters s_small = new() { Trees = 40, Leaves = 15, MinRowsPerLeaf = 20 };

    [Theory]
    [InlineData(0)]
    [InlineData(0.2)]
    public void Onnx_OnHeldOutRows_GivesTheProbabilitiesOfMlNet(double missingShare)
    {
        var (training, heldOut) = Table(6_000, missingShare).SplitLast(1.0 / 3);
        var fit = LightGbmTrainer.Fit(training, s_small);

        var expected = fit.Predict(heldOut);
        var served = Serve(OnnxWriter.Write(training.Features, fit.Trees, fit.Scale, fit.Offset), heldOut.Columns);

        Assert.Equal(0, MaxDifference(expected, served), tolerance: 1e-5);
        Assert.True(expected.Max() - expected.Min() > 0.5, "the model must have learned something");
    }

    [Fact]
    public void Onnx_OnEverySplitThresholdAndItsNeighbours_GivesTheProbabilitiesOfMlNet()
    {
        var training = Table(4_000, missingShare: 0.1);
        var fit = LightGbmTrainer.Fit(training, s_small);

        var rows = new List<float[]>();
        foreach (var tree in fit.Trees)
        {
            for (var i = 0; i < tree.Feature.Length; i++)
            {
                foreach (var value in new[] { tree.Threshold[i], MathF.BitIncrement(tree.Threshold[i]), MathF.BitDecrement(tree.Threshold[i]), float.NaN })
                {
                    var row = training.Columns.Select(c => c[rows.Count % training.Rows]).ToArray();
                    row[tree.Feature[i]] = value;
                    rows.Add(row);
                }
            }
        }
        // The lowest float itself stands for "missing", so stepping below it is no value.
        rows.RemoveAll(r => r.Any(float.IsInfinity));
        var columns = training.Columns.Select((_, f) => rows.Select(r => r[f]).ToArray()).ToArray();
        var table = new TabularData(training.Features, columns, new bool[rows.Count]);

        var served = Serve(OnnxWriter.Write(training.Features, fit.Trees, fit.Scale, fit.Offset), columns);

        Assert.True(rows.Count > 1_000);
        Assert.Equal(0, MaxDifference(fit.Predict(table), served), tolerance: 1e-5);
    }

    [Fact]
    public void Train_AFeatureWhoseAbsenceTells_LearnsFromMissingValues()
    {
        var random = new Random(3);
        var labels = Enumerable.Range(0, 2_000).Select(_ => random.NextDouble() < 0.5).ToArray();
        var told = labels.Select(l => l ? float.NaN : (float)random.NextDouble() - 0.5f).ToArray();

        var (training, validation) = new TabularData(["told"], [told], labels).SplitLast(0.25);

        Assert.Equal(1, LightGbmTrainer.Train(training, validation, s_small).Validation.Auc!.Value, tolerance: 1e-9);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Train_Twice_GivesTheSameBytes(int threads)
    {
        var (training, validation) = Table(20_000, missingShare: 0.05).SplitLast(0.2);
        var parameters = s_small with { Threads = threads };

        var first = LightGbmTrainer.Train(training, validation, parameters);
        var second = LightGbmTrainer.Train(training, validation, parameters);

        Assert.Equal(first.Onnx, second.Onnx);
        Assert.Equal(first.Validation, second.Validation);
    }

    [Fact]
    public void Train_WritesNamesShapesAndMetrics()
    {
        var (training, validation) = Table(6_000, missingShare: 0).SplitLast(0.25);

        var model = LightGbmTrainer.Train(training, validation, s_small);

        using var session = new InferenceSession(model.Onnx);
        Assert.Equal(training.Features, JsonSerializer.Deserialize<string[]>(session.ModelMetadata.CustomMetadataMap["slipway.features"]));
        Assert.Equal([-1, 4], session.InputMetadata["features"].Dimensions);
        Assert.Equal([-1, 1], session.OutputMetadata["probability"].Dimensions);
        Assert.Equal(4_500, model.TrainingRows);
        Assert.Equal(1_500, model.Validation.Rows);
        Assert.InRange(model.Validation.Auc!.Value, 0.8, 1);
        Assert.Equal(1, model.Gains.Values.Sum(), tolerance: 1e-9);
        Assert.True(model.Gains["noise"] < model.Gains["a"]);
        // The metrics are those of the model that is served.
        var served = ValidationMetrics.Of(Serve(model.Onnx, validation.Columns), validation.Labels);
        Assert.Equal(model.Validation.LogLoss, served.LogLoss, tolerance: 1e-6);
        Assert.Equal(model.Validation.Auc.Value, served.Auc!.Value, tolerance: 1e-6);
    }

    [Fact]
    public void Onnx_OfAStumpAndALoneLeaf_IsTheirSum()
    {
        var stump = new Tree([1], [0.5f], [~0], [~1], [2, -2]);
        var leaf = new Tree([], [], [], [], [1]);

        var served = Serve(OnnxWriter.Write(["x", "y"], [stump, leaf], scale: 0.5, offset: 0.25), [[9, 9, 9, 9], [0.5f, 0.50001f, float.NaN, float.PositiveInfinity]]);

        double left = Sigmoid((0.5 * (2 + 1)) + 0.25), right = Sigmoid((0.5 * (-2 + 1)) + 0.25);
        Assert.Equal(0, MaxDifference([(float)left, (float)right, (float)left, (float)right], served), tolerance: 1e-6);
    }

    [Fact]
    public void Metrics_OfKnownRows_AreTheTextbookValues()
    {
        // Pairs (positive, negative): 0.8>0.4, 0.8>0.1, 0.4=0.4 (half), 0.4>0.1 -> 3.5 of 4.
        var metrics = ValidationMetrics.Of([0.8f, 0.4f, 0.4f, 0.1f], [true, true, false, false]);

        Assert.Equal(0.875, metrics.Auc!.Value, tolerance: 1e-12);
        Assert.Equal(-(Math.Log(0.8) + Math.Log(0.4) + Math.Log(0.6) + Math.Log(0.9)) / 4, metrics.LogLoss, tolerance: 1e-6);
        Assert.Equal((0.04 + 0.36 + 0.16 + 0.01) / 4, metrics.Brier, tolerance: 1e-6);
        Assert.Equal(0.75, metrics.Accuracy);
        Assert.Equal(0.5, metrics.PositiveShare);
        Assert.Null(ValidationMetrics.Of([0.8f, 0.4f], [true, true]).Auc);
    }

    [Fact]
    public void BadTables_AreRefusedWithTheReason()
    {
        Refused("no rows", () => new TabularData(["x"], [[]], []));
        Refused("no feature", () => new TabularData([], [], [true]));
        Refused("2 feature names for 1 columns", () => new TabularData(["x", "y"], [[1]], [true]));
        Refused("'y' has 1 values for 2 labels", () => new TabularData(["x", "y"], [[1, 2], [1]], [true, false]));
        Refused("'x' is used twice", () => new TabularData(["x", "x"], [[1], [1]], [true]));
        Refused("no name", () => new TabularData([" "], [[1]], [true]));
        Refused("'x' is infinite in row 1", () => new TabularData(["x"], [[1, float.PositiveInfinity]], [true, false]));
        Refused("2 are missing and 1 are neither", () => TabularData.LabelsFrom([1, float.NaN, 0, float.NaN, 2]));
        Refused("not in a table", () => Table(10, 0).Slice(5, 6));
        Refused("leaves no rows", () => Table(10, 0).SplitLast(double.NaN));
    }

    [Fact]
    public void BadTrainings_AreRefusedWithTheReason()
    {
        var good = Table(500, missingShare: 0);
        var oneClass = new TabularData(good.Features, good.Columns, new bool[500]);
        var otherNames = new TabularData(["a", "b", "noise", "tied"], good.Columns, good.Labels);

        Refused("needs both classes", () => LightGbmTrainer.Train(oneClass, good, s_small));
        Refused("same features in the same order", () => LightGbmTrainer.Train(good, otherNames, s_small));
        Refused("cannot fill two leaves", () => LightGbmTrainer.Train(good, good, s_small with { MinRowsPerLeaf = 251 }));
        Refused("Trees is 0", () => LightGbmTrainer.Train(good, good, s_small with { Trees = 0 }));
        Refused("Leaves is 1", () => LightGbmTrainer.Train(good, good, s_small with { Leaves = 1 }));
        Refused("LearningRate is NaN", () => LightGbmTrainer.Train(good, good, s_small with { LearningRate = double.NaN }));
        Refused("Threads is 0", () => LightGbmTrainer.Train(good, good, s_small with { Threads = 0 }));
    }

    private static void Refused(string reason, Func<object> act) =>
        Assert.Contains(reason, Assert.Throws<TrainingException>(act).Message, StringComparison.Ordinal);

    private static TabularData Table(int rows, double missingShare)
    {
        var random = new Random(17);
        var columns = Enumerable.Range(0, 4).Select(_ => new float[rows]).ToArray();
        var labels = new bool[rows];
        for (var i = 0; i < rows; i++)
        {
            double a = random.NextDouble() * 1e4, b = random.NextDouble() - 0.5, noise = random.NextDouble(), tied = random.Next(4);
            labels[i] = random.NextDouble() < Sigmoid((a > 4e3 ? 2 : -2) + (8 * b * tied) - 0.5);
            double[] row = [a, b, tied, noise];
            for (var f = 0; f < 4; f++)
            {
                columns[f][i] = random.NextDouble() < missingShare ? float.NaN : (float)row[f];
            }
        }
        return new(["a", "b", "tied", "noise"], columns, labels);
    }

    private static float[] Serve(byte[] onnx, float[][] columns)
    {
        int rows = columns[0].Length, width = columns.Length;
        var matrix = new DenseTensor<float>([rows, width]);
        for (var i = 0; i < rows; i++)
        {
            for (var f = 0; f < width; f++)
            {
                matrix[i, f] = columns[f][i];
            }
        }
        using var session = new InferenceSession(onnx);
        using var results = session.Run([NamedOnnxValue.CreateFromTensor("features", matrix)]);
        var probability = results.Single(r => r.Name == "probability").AsTensor<float>();
        Assert.Equal([rows, 1], probability.Dimensions.ToArray());
        return [.. probability];
    }

    private static double MaxDifference(float[] x, float[] y) => x.Zip(y, (a, b) => Math.Abs((double)a - b)).Max();

    private static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));
}
