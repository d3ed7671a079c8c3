using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using Slipway.Data;
using Slipway.Pipelines.Training;
using Slipway.Registry;
using Slipway.Serving.Runtimes;

namespace Slipway.Pipelines.Steps;

/// <summary>
/// Trains on a window of a dataset version, validates on a later one, and registers the model. Everything that is needed to train it again is
/// on the run: data, parameters, code version, seed, environment.
/// </summary>
internal sealed class TrainStep(
    Datasets datasets, Registry.Runs runs, Models models, StepRuns stepRuns, RowReader rows, References references, IBlobStore blobs, DataLayout layout, PipelinesOptions options, TimeProvider clock) : IStep
{
    private const string ModelFolder = "model";

    public string Kind => StepSpec.TrainKind;

    public bool MakesVersion => true;

    public IEnumerable<string> Faults(StepSpec step, bool complete) => step.Read<TrainParameters>().Faults(complete);

    public async Task<StepSpec> PinAsync(StepSpec step, CancellationToken ct)
    {
        var p = step.Read<TrainParameters>();
        var version = await datasets.GetVersionAsync(p.Dataset, p.Version, ct);
        return step with { With = StepSpec.JsonOf(p with { Version = version.Id }) };
    }

    public async Task<StepResult> RunAsync(StepContext context, CancellationToken ct)
    {
        var p = context.Spec.Read<TrainParameters>();
        var training = new RowSelection(p.Dataset, p.Version, p.Path, p.Label, p.Time, p.From!.Value, p.To!.Value);
        var validation = training with { From = p.ValidateFrom!.Value, To = p.ValidateTo!.Value };
        var run = await stepRuns.OpenAsync(context, p.Experiment, CodeTags(), ct);
        try
        {
            // Training is most of the work, so what an interrupted attempt registered is taken as it is.
            var version = await FindAsync(context, p.Model, ct) ?? await MakeAsync(context, p, training, validation, run, ct);
            await runs.FinishAsync(context.Actor, run.Id, RunStatus.Finished, ct);
            return new StepResult(new StepOutput { RunId = run.Id, ModelVersion = $"{version.Name}/{version.Version}", Validation = validation });
        }
        catch (Exception e) when (!context.Stopping.IsCancellationRequested)
        {
            await stepRuns.FailAsync(context, run.Id, e);
            throw;
        }
    }

    private async Task<ModelVersion?> FindAsync(StepContext context, string model, CancellationToken ct)
    {
        try
        {
            await models.CreateAsync(context.Actor, model, null, ct);
            return null;
        }
        catch (SlipwayException e) when (e.Code == ErrorCode.AlreadyExists)
        {
            return await stepRuns.RegisteredAsync(context, model, ct);
        }
    }

    private async Task<ModelVersion> MakeAsync(StepContext context, TrainParameters p, RowSelection training, RowSelection validation, Run run, CancellationToken ct)
    {
        var source = await datasets.GetVersionAsync(p.Dataset, p.Version, ct);
        // This also pins the version for the run.
        await runs.LogInputAsync(
            context.Actor, run.Id,
            new DatasetInput(
                source.Dataset, source.Id[..36], DatasetInput.SlipwaySource, source.Subject.ToString(), source.Schema is null ? null : RunRow.ToJson(source.Schema), Context: "training"),
            ct);
        await runs.LogBatchAsync(context.Actor, run.Id, [], Parameters(p), [], ct);

        await context.Report(0, p.Trainer.Trees, $"Reading {p.Features.Count} columns of {source.Dataset} from {training.From:u} to {validation.To:u}");
        var learn = await rows.ReadAsync(training, p.Features, ct);
        var judge = await rows.ReadAsync(validation, p.Features, ct);
        var table = p.ShuffleLabels ? Shuffled(learn.Table, p.Trainer.Seed) : learn.Table;

        await context.Report(0, p.Trainer.Trees, $"Training {p.Trainer.Trees} trees on {table.Rows} rows");
        var trained = await Task.Run(() => LightGbmTrainer.Train(table, judge.Table, p.Trainer), ct).WaitAsync(ct);

        await context.Report(p.Trainer.Trees, p.Trainer.Trees, $"Validating on {judge.Table.Rows} rows");
        // What is measured is what will be served: the exported model in the serving runtime.
        var scores = await Task.Run(() => ModelScorer.Score(trained.Onnx, judge.Table, ct), ct).WaitAsync(ct);
        var metrics = ValidationMetrics.Of(scores, judge.Table.Labels);
        if (Math.Abs(metrics.Brier - trained.Validation.Brier) > 1e-4)
        {
            throw new SlipwayException(ErrorCode.DataLoss, "the exported model is not the trained one", $"its Brier score is {metrics.Brier}, the trained model's {trained.Validation.Brier}");
        }

        await LogAsync(context, run.Id, metrics, learn, judge, trained, ct);
        var signature = await StoreAsync(context, run.Id, trained, ct);
        await references.WriteAsync(context.Actor, run.Id, judge.Table, scores, p.Categorical, [source.Subject, run.Subject], options.ReferenceRows, ct);

        await context.Report(p.Trainer.Trees, p.Trainer.Trees, $"Registering {p.Model}");
        return await models.RegisterAsync(
            context.Actor,
            new RegisterVersion
            {
                Name = p.Model,
                RunId = run.Id,
                Source = $"runs:/{run.Id}/{ModelFolder}",
                Signature = signature,
                Tags = [.. StepRuns.VersionTags(context), new Tag("slipway.shuffled_labels", p.ShuffleLabels ? "true" : "false")],
                Description = $"Trained on {table.Rows} rows of {source.Dataset} from {training.From:u} to {training.To:u}{(p.ShuffleLabels ? ", with shuffled labels" : "")}",
                Lineage = [source.Subject, context.Run.Subject],
            },
            ct);
    }

    private async Task LogAsync(StepContext context, string runId, ValidationMetrics m, SelectedRows learn, SelectedRows judge, TrainedModel trained, CancellationToken ct)
    {
        var at = clock.GetUtcNow().ToUnixTimeMilliseconds();
        List<(string Key, double Value)> values =
        [
            ("log_loss", m.LogLoss), ("brier", m.Brier), ("accuracy", m.Accuracy), ("positive_share", m.PositiveShare), ("mean_probability", m.MeanProbability), ("validation_rows", m.Rows),
            ("training_rows", trained.TrainingRows), ("rows_without_label", learn.WithoutLabel + judge.WithoutLabel),
        ];
        if (m.Auc is { } auc)
        {
            values.Add(("auc", auc));
        }

        await runs.LogBatchAsync(context.Actor, runId, [.. values.Select(v => new MetricPoint(v.Key, v.Value, at))], [], [], ct);
        await PutAsync(context, runId, "environment.json", new { os = RuntimeInformation.OSDescription, cpu = RuntimeInformation.ProcessArchitecture.ToString(), cores = Environment.ProcessorCount, runtime = RuntimeInformation.FrameworkDescription, packages = Packages() }, ct);
        await PutAsync(context, runId, "gains.json", trained.Gains, ct);
    }

    private async Task PutAsync(StepContext context, string runId, string path, object value, CancellationToken ct)
    {
        using var content = new MemoryStream(CanonicalJson.Serialize(value));
        await runs.PutArtifactAsync(context.Actor, runId, path, content, ct);
    }

    private async Task<ModelSignature> StoreAsync(StepContext context, string runId, TrainedModel trained, CancellationToken ct)
    {
        using var content = new MemoryStream(trained.Onnx);
        var blob = await runs.PutArtifactAsync(context.Actor, runId, $"{ModelFolder}/model.onnx", content, ct);
        if (blobs.LocalPath(blob.Hash) is { } path)
        {
            return OnnxSignature.Read(path);
        }

        var copy = Path.Combine(layout.Temporary, $"model-{Ids.New()}.onnx");
        try
        {
            await File.WriteAllBytesAsync(copy, trained.Onnx, ct);
            return OnnxSignature.Read(copy);
        }
        finally
        {
            File.Delete(copy);
        }
    }

    /// <summary>The labels in another order, the same for one seed (Fisher and Yates).</summary>
    private static TabularData Shuffled(TabularData table, int seed)
    {
        var labels = table.Labels.ToArray();
        new Random(seed).Shuffle(labels);
        return new TabularData(table.Features, table.Columns, labels);
    }

    private static List<Param> Parameters(TrainParameters p) =>
    [
        new("trainer", "lightgbm"), new("trees", Text(p.Trainer.Trees)), new("leaves", Text(p.Trainer.Leaves)), new("learning_rate", p.Trainer.LearningRate.ToString("R", CultureInfo.InvariantCulture)),
        new("min_rows_per_leaf", Text(p.Trainer.MinRowsPerLeaf)), new("seed", Text(p.Trainer.Seed)), new("threads", Text(p.Trainer.Threads)), new("shuffle_labels", p.ShuffleLabels ? "true" : "false"),
        new("dataset", $"{p.Dataset}/{p.Version}"), new("features", string.Join(",", p.Features)), new("label", p.Label), new("time", p.Time),
        new("from", At(p.From)), new("to", At(p.To)), new("validate_from", At(p.ValidateFrom)), new("validate_to", At(p.ValidateTo)),
    ];

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);

    internal static string At(DateTimeOffset? at) => at?.ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss.FFFFFF'Z'", CultureInfo.InvariantCulture) ?? "";

    // The build writes "version+commit" when it ran inside a repository.
    private static IReadOnlyList<Tag> CodeTags()
    {
        var version = Version(typeof(TrainStep).Assembly);
        return version.Split('+', 2) is [_, { Length: > 0 } commit] ? [new Tag("slipway.code_version", version), new Tag("mlflow.source.git.commit", commit)] : [new Tag("slipway.code_version", version)];
    }

    private static Dictionary<string, string> Packages() => new Assembly[]
    {
        typeof(Microsoft.ML.MLContext).Assembly, typeof(Microsoft.ML.Trainers.LightGbm.LightGbmBinaryTrainer).Assembly, typeof(Microsoft.ML.OnnxRuntime.InferenceSession).Assembly,
        typeof(DuckDB.NET.Data.DuckDBConnection).Assembly,
    }.ToDictionary(a => a.GetName().Name!, Version, StringComparer.Ordinal);

    private static string Version(Assembly assembly) =>
        assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? assembly.GetName().Version?.ToString() ?? "unknown";
}
