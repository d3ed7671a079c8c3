using Microsoft.ML;
using Microsoft.ML.Calibrators;
using Microsoft.ML.Data;
using Microsoft.ML.Trainers.FastTree;
using Microsoft.ML.Trainers.LightGbm;

namespace Slipway.Pipelines.Training;

/// <summary>The parameters of boosted trees. The defaults fit tables of 10,000 to 1,000,000 rows.</summary>
public sealed record LightGbmParameters
{
    /// <summary>Boosting rounds, 1 to 10,000.</summary>
    public int Trees { get; init; } = 100;

    /// <summary>Most leaves a tree may have, 2 to 4,096.</summary>
    public int Leaves { get; init; } = 31;

    /// <summary>Shrinkage of each tree, above 0 and at most 1.</summary>
    public double LearningRate { get; init; } = 0.1;

    /// <summary>Fewest training rows in a leaf, at least 1.</summary>
    public int MinRowsPerLeaf { get; init; } = 100;

    /// <summary>Seed of everything random.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>Threads of the tree learner, 1 to 64. One is the fastest on a busy machine: LightGBM's threads spin while they wait for each other.</summary>
    public int Threads { get; init; } = 1;

    internal void Check()
    {
        Require(Trees is >= 1 and <= 10_000, nameof(Trees), Trees, "1 to 10000");
        Require(Leaves is >= 2 and <= 4_096, nameof(Leaves), Leaves, "2 to 4096");
        Require(LearningRate is > 0 and <= 1, nameof(LearningRate), LearningRate, "above 0 and at most 1");
        Require(MinRowsPerLeaf >= 1, nameof(MinRowsPerLeaf), MinRowsPerLeaf, "at least 1");
        Require(Seed >= 0, nameof(Seed), Seed, "at least 0");
        Require(Threads is >= 1 and <= 64, nameof(Threads), Threads, "1 to 64");
    }

    private static void Require(bool holds, string name, double value, string bound)
    {
        if (!holds)
        {
            throw new TrainingException($"{name} is {value}; it must be {bound}.");
        }
    }
}

/// <summary>What a training gives.</summary>
/// <param name="Onnx">An ONNX model: input <c>features</c> FP32 [batch, F], NaN meaning missing; output <c>probability</c> FP32 [batch, 1];
/// the feature names as a JSON list in the metadata property <c>slipway.features</c>.</param>
/// <param name="Features">The feature names, in input column order.</param>
/// <param name="TrainingRows">Rows trained on.</param>
/// <param name="Validation">The metrics on the validation rows.</param>
/// <param name="Gains">A feature's total split gain as a share of all features' (sums to 1; all 0 when nothing could be split).</param>
public sealed record TrainedModel(
    byte[] Onnx, IReadOnlyList<string> Features, int TrainingRows, ValidationMetrics Validation, IReadOnlyDictionary<string, double> Gains);

/// <summary>
/// Trains a binary classifier of boosted trees with LightGBM (by ML.NET) and exports it to ONNX, so that training and serving share one runtime.
/// <para>The same data, parameters and package versions give the same bytes on one machine. A missing value is ordered below every number, in training as in
/// serving: LightGBM's learned side for missing values is not public in ML.NET, and this way nothing is lost but one split.</para>
/// <para>The native library needs libgomp (Debian package <c>libgomp1</c>). A training cannot be cancelled half-way.</para>
/// </summary>
public static class LightGbmTrainer
{
    // The lowest float stands for a missing value; a real value of that size is not told apart from it.
    private const float Missing = float.MinValue;

    /// <summary>Trains on the one table, measures on the other. Both must have the same features in the same order.</summary>
    /// <exception cref="TrainingException">Parameters out of bounds, one class only in the training rows, too few rows, or tables that do not fit together.</exception>
    public static TrainedModel Train(TabularData training, TabularData validation, LightGbmParameters? parameters = null)
    {
        ArgumentNullException.ThrowIfNull(training);
        ArgumentNullException.ThrowIfNull(validation);
        if (!training.Features.SequenceEqual(validation.Features, StringComparer.Ordinal))
        {
            throw new TrainingException("The training and the validation table must have the same features in the same order.");
        }

        var fit = Fit(training, parameters ?? new());
        return new(
            OnnxWriter.Write(training.Features, fit.Trees, fit.Scale, fit.Offset),
            training.Features,
            training.Rows,
            ValidationMetrics.Of(fit.Predict(validation), validation.Labels),
            Gains(training.Features, fit.Ensemble));
    }

    /// <summary>The fitted ML.NET model and its parts, before the export.</summary>
    internal static Fitted Fit(TabularData data, LightGbmParameters parameters)
    {
        parameters.Check();
        var positives = data.Labels.Count(l => l);
        if (positives == 0 || positives == data.Rows)
        {
            throw new TrainingException($"All {data.Rows} training labels are {(positives > 0 ? "true" : "false")}; a classifier needs both classes.");
        }
        if (data.Rows < 2L * parameters.MinRowsPerLeaf)
        {
            throw new TrainingException($"{data.Rows} training rows cannot fill two leaves of {parameters.MinRowsPerLeaf} rows.");
        }

        var ml = new MLContext(parameters.Seed);
        var model = ml.BinaryClassification.Trainers.LightGbm(new LightGbmBinaryTrainer.Options
        {
            NumberOfIterations = parameters.Trees,
            NumberOfLeaves = parameters.Leaves,
            LearningRate = parameters.LearningRate,
            MinimumExampleCountPerLeaf = parameters.MinRowsPerLeaf,
            Seed = parameters.Seed,
            NumberOfThreads = parameters.Threads,
            // LightGBM otherwise chooses its histogram layout by a timing, and layouts sum in different orders.
            Deterministic = true,
            ForceColumnWise = true,
            UseCategoricalSplit = false,
            LabelColumnName = nameof(Row.Label),
            FeatureColumnName = nameof(Row.Features),
        }).Fit(View(ml, data));

        return new(ml, model);
    }

    private static Dictionary<string, double> Gains(IReadOnlyList<string> features, RegressionTreeEnsemble ensemble)
    {
        var gains = new double[features.Count];
        foreach (var tree in ensemble.Trees)
        {
            for (var i = 0; i < tree.NumberOfNodes; i++)
            {
                gains[tree.NumericalSplitFeatureIndexes[i]] += tree.SplitGains[i];
            }
        }
        var total = gains.Sum();
        return features.Select((name, f) => (name, gain: total > 0 ? gains[f] / total : 0)).ToDictionary(p => p.name, p => p.gain, StringComparer.Ordinal);
    }

    private static IDataView View(MLContext ml, TabularData data)
    {
        var schema = SchemaDefinition.Create(typeof(Row));
        schema[nameof(Row.Features)].ColumnType = new VectorDataViewType(NumberDataViewType.Single, data.Features.Count);
        return ml.Data.LoadFromEnumerable(Rows(data), schema);
    }

    private static IEnumerable<Row> Rows(TabularData data)
    {
        for (var i = 0; i < data.Rows; i++)
        {
            var values = new float[data.Columns.Length];
            for (var f = 0; f < values.Length; f++)
            {
                values[f] = float.IsNaN(data.Columns[f][i]) ? Missing : data.Columns[f][i];
            }
            yield return new Row { Features = values, Label = data.Labels[i] };
        }
    }

    private sealed class Row
    {
        public float[] Features { get; init; } = [];

        public bool Label { get; init; }
    }

    /// <summary>A fitted booster: <c>probability = sigmoid(Scale * sum(leaves) + Offset)</c>.</summary>
    internal sealed class Fitted
    {
        private readonly MLContext _ml;
        private readonly BinaryPredictionTransformer<CalibratedModelParametersBase<LightGbmBinaryModelParameters, PlattCalibrator>> _model;

        public Fitted(MLContext ml, BinaryPredictionTransformer<CalibratedModelParametersBase<LightGbmBinaryModelParameters, PlattCalibrator>> model)
        {
            (_ml, _model) = (ml, model);
            Ensemble = model.Model.SubModel.TrainedTreeEnsemble;
            // ML.NET: p = 1 / (1 + exp(Slope * score + Offset)), score = Bias + sum(weight * leaf).
            Scale = -model.Model.Calibrator.Slope;
            Offset = (Scale * Ensemble.Bias) - model.Model.Calibrator.Offset;
            Trees = [.. Ensemble.Trees.Select((t, i) => new Tree(
                [.. t.NumericalSplitFeatureIndexes], [.. t.NumericalSplitThresholds], [.. t.LeftChild], [.. t.RightChild],
                [.. t.LeafValues.Select(v => v * Ensemble.TreeWeights[i])]))];
        }

        public RegressionTreeEnsemble Ensemble { get; }

        public IReadOnlyList<Tree> Trees { get; }

        public double Scale { get; }

        public double Offset { get; }

        /// <summary>ML.NET's own probability of each row.</summary>
        public float[] Predict(TabularData data) => [.. _model.Transform(View(_ml, data)).GetColumn<float>("Probability")];
    }
}
