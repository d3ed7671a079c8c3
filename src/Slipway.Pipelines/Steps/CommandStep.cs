using Slipway.Pipelines.Jobs;
using Slipway.Registry;

namespace Slipway.Pipelines.Steps;

/// <summary>Runs a command as a child process that survives a restart of the server; its output becomes an artifact of the run.</summary>
internal sealed class CommandStep(LocalJobRunner jobs, Registry.Runs runs, StepRuns stepRuns, PipelinesOptions options) : IStep
{
    // What a program needs to find its way; the server's secrets are not among it.
    private static readonly string[] Inherited = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

    public string Kind => StepSpec.CommandKind;

    public bool MakesVersion => true;

    public IEnumerable<string> Faults(StepSpec step, bool complete)
    {
        var faults = step.Read<CommandParameters>().Faults();
        return options.AllowCommands ? faults : faults.Prepend("this server runs no commands; its operator can allow them with pipelines.allowCommands");
    }

    public Task<StepSpec> PinAsync(StepSpec step, CancellationToken ct) => Task.FromResult(step);

    public async Task<StepResult> RunAsync(StepContext context, CancellationToken ct)
    {
        var p = context.Spec.Read<CommandParameters>();
        if (!options.AllowCommands)
        {
            throw new SlipwayException(ErrorCode.PermissionDenied, "the command was not run", "this server runs no commands", "allow them with pipelines.allowCommands");
        }

        // A cancellation does not end this attempt before it has found, and stopped, what an earlier one may have left running.
        var run = await stepRuns.OpenAsync(context, p.Experiment, [], context.Stopping);
        var name = $"{context.Run.Id}-{context.Step.Ordinal}";
        try
        {
            await context.Report(null, null, $"Running {p.Command[0]}");
            var result = await jobs.RunAsync(new Job(name, p.Command, EnvironmentOf(p, run.Id), p.Deadline, options.MaxLogBytes, options.Grace), ct, context.Stopping);
            BlobInfo log;
            // The process may have died before its first word.
            await using (Stream content = File.Exists(result.LogFile) ? File.OpenRead(result.LogFile) : new MemoryStream())
            {
                log = await runs.PutArtifactAsync(context.Actor, run.Id, $"logs/{context.Step.Name}.log", content, CancellationToken.None);
            }

            jobs.Forget(name);
            if (result.End == JobEnd.Cancelled)
            {
                throw new OperationCanceledException(ct);
            }

            if (result.End != JobEnd.Exited || result.ExitCode != 0)
            {
                var failed = new SlipwayException(ErrorCode.PreconditionFailed, $"{p.Command[0]} failed", result.Why(p.Deadline, options.MaxLogBytes), $"read artifact logs/{context.Step.Name}.log of run {run.Id}");
                await stepRuns.FailAsync(context, run.Id, failed);
                return new StepResult(new StepOutput { RunId = run.Id, ExitCode = result.End == JobEnd.Exited ? result.ExitCode : null, Log = log.Hash }, Failure: StepTasks.Sentence(failed));
            }

            await runs.FinishAsync(context.Actor, run.Id, RunStatus.Finished, ct);
            var version = await stepRuns.OfRunAsync(run.Id, ct);
            return new StepResult(new StepOutput { RunId = run.Id, ExitCode = 0, Log = log.Hash, ModelVersion = version is null ? null : $"{version.Name}/{version.Version}" });
        }
        catch (Exception e) when (!context.Stopping.IsCancellationRequested)
        {
            await stepRuns.FailAsync(context, run.Id, e);
            throw;
        }
    }

    private Dictionary<string, string> EnvironmentOf(CommandParameters p, string runId)
    {
        var environment = new Dictionary<string, string>(p.Environment, StringComparer.Ordinal) { ["MLFLOW_RUN_ID"] = runId };
        if (options.TrackingUri is { } uri)
        {
            environment["MLFLOW_TRACKING_URI"] = uri;
        }

        foreach (var name in Inherited)
        {
            if (Environment.GetEnvironmentVariable(name) is { } value)
            {
                environment.TryAdd(name, value);
            }
        }

        return environment;
    }
}
