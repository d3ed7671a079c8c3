using Microsoft.ML;
using Microsoft.ML.Trainers;
using Slipway.Client;
using Slipway.Samples.MlNet;

// Which machines fail soon? The five marked lines are all that tracking needs.
var ml = new MLContext(seed: 7);
var data = ml.Data.TrainTestSplit(ml.Data.LoadFromEnumerable(Machine.Fleet(4000, seed: 7)), testFraction: 0.25, seed: 7);
var trainer = new LbfgsLogisticRegressionBinaryTrainer.Options { LabelColumnName = nameof(Machine.Failed), L2Regularization = 0.1f, HistorySize = 20 };

await using var run = await Tracking.StartRunAsync("machine-failure"); // 1

run.LogParams(new { Trainer = "lbfgs", trainer.L1Regularization, trainer.L2Regularization, trainer.HistorySize }); // 2

var model = ml.Transforms.Concatenate("Features", nameof(Machine.Temperature), nameof(Machine.Vibration), nameof(Machine.Age))
    .Append(ml.Transforms.NormalizeMeanVariance("Features"))
    .Append(ml.BinaryClassification.Trainers.LbfgsLogisticRegression(trainer))
    .Fit(data.TrainSet);

run.LogMetrics(ml.BinaryClassification.Evaluate(model.Transform(data.TestSet), nameof(Machine.Failed))); // 3

var file = Path.Combine(Directory.CreateTempSubdirectory("machine-failure-").FullName, "model.zip");
ml.Model.Save(model, data.TrainSet.Schema, file);

var version = await run.LogModelAsync(new LoggedModelFiles(file) { RegisterAs = "machine-failure" }); // 4

run.Complete(); // 5
Console.WriteLine($"run {run.Id}, model {version!.Model}/{version.Version}");
