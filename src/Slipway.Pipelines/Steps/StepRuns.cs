using Slipway.Registry;

namespace Slipway.Pipelines.Steps;

/// <summary>The experiment runs of steps: one for each pipeline run and step, found again by its tag after an interruption.</summary>
internal sealed class StepRuns(Experiments experiments, Registry.Runs runs, Models models, TimeProvider clock)
{
    /// <summary>The step's run in state RUNNING, made when this is the first attempt.</summary>
    public async Task<Run> OpenAsync(StepContext context, string? experiment, IReadOnlyList<Tag> tags, CancellationToken ct)
    {
        var home = await experiments.EnsureAsync(context.Actor, experiment ?? context.Run.Pipeline, ct);
        var found = await runs.SearchAsync(
            new RunSearch
            {
                ExperimentIds = [home.Id],
                Filter = $"tags.`{StepContext.RunTag}` = '{context.Run.Id}' AND tags.`{StepContext.StepTag}` = '{context.Step.Name}'",
                Limit = 1,
            },
            ct);
        if (found.Items is [var there, ..])
        {
            return there.Status == RunStatus.Running ? there : await runs.UpdateAsync(context.Actor, there.Id, new RunChange(RunStatus.Running), ct);
        }

        return await runs.CreateAsync(
            context.Actor,
            new CreateRun
            {
                ExperimentId = home.Id,
                Name = $"{context.Run.Pipeline}-{context.Step.Name}-{context.Run.Id[^6..]}",
                UserId = context.Run.StartedBy,
                StartTime = clock.GetUtcNow(),
                Tags =
                [
                    .. tags, .. VersionTags(context), new Tag("slipway.pipeline", context.Run.Pipeline), new Tag("mlflow.user", context.Run.StartedBy),
                    new Tag("mlflow.source.type", "JOB"), new Tag("mlflow.source.name", $"slipway pipeline {context.Run.Pipeline}, step {context.Step.Name}"),
                ],
            },
            ct);
    }

    /// <summary>Ends the run with what went wrong, also when the step was cancelled in the middle.</summary>
    public async Task FailAsync(StepContext context, string runId, Exception error)
    {
        var cancelled = error is OperationCanceledException;
        if (!cancelled)
        {
            await runs.LogBatchAsync(context.Actor, runId, [], [], [new Tag("slipway.error", StepTasks.Sentence(error))], CancellationToken.None);
        }

        await runs.FinishAsync(context.Actor, runId, cancelled ? RunStatus.Killed : RunStatus.Failed, CancellationToken.None);
    }

    /// <summary>The version of the model that an earlier attempt of the step registered, or null.</summary>
    public async Task<ModelVersion?> RegisteredAsync(StepContext context, string model, CancellationToken ct) => (await models.ListVersionsAsync(model, ct)).LastOrDefault(v =>
        v.Tags.GetValueOrDefault(StepContext.RunTag) == context.Run.Id && v.Tags.GetValueOrDefault(StepContext.StepTag) == context.Step.Name);

    /// <summary>The newest version that was registered from a run, whoever did it; null if there is none.</summary>
    public async Task<ModelVersion?> OfRunAsync(string runId, CancellationToken ct) =>
        (await models.SearchVersionsAsync(new ModelSearch { Filter = $"run_id = '{runId}'", Limit = 100 }, ct)).Items.MaxBy(v => v.CreatedAt);

    public static IReadOnlyList<Tag> VersionTags(StepContext context) => [new Tag(StepContext.RunTag, context.Run.Id), new Tag(StepContext.StepTag, context.Step.Name)];
}
