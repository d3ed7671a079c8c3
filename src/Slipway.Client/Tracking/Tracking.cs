namespace Slipway.Client;

/// <summary>
/// Experiment tracking in one line, on the server that <c>MLFLOW_TRACKING_URI</c> names: Slipway, or any other that speaks
/// MLflow's REST protocol.
/// </summary>
/// <example>
/// <code>
/// await using var run = await Tracking.StartRunAsync("fraud");
/// run.LogParams(new { trees = 100, learning_rate = 0.1 });
/// run.Log("loss", loss, step);
/// await run.LogArtifactAsync("model.zip");
/// run.Complete();
/// </code>
/// </example>
public static class Tracking
{
    /// <summary>Starts a run; the experiment is created when it does not exist. A run that is disposed without <see cref="ActiveRun.Complete"/> has FAILED.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public static Task<ActiveRun> StartRunAsync(string experiment, string? name = null, IReadOnlyDictionary<string, string>? tags = null, CancellationToken ct = default) =>
        new TrackingClient().StartOwnedAsync(c => c.StartRunAsync(experiment, name, tags, ct));

    /// <summary>Opens a run again, to log more to it.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public static Task<ActiveRun> ResumeRunAsync(string runId, CancellationToken ct = default) =>
        new TrackingClient().StartOwnedAsync(c => c.ResumeRunAsync(runId, ct));

    /// <summary>Runs the work inside a run, which ends as FINISHED, as KILLED when the work was cancelled, or as FAILED when it threw; the exception goes on.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public static async Task RunAsync(string experiment, Func<ActiveRun, Task> work, CancellationToken ct = default)
    {
        await using var run = await StartRunAsync(experiment, ct: ct);
        try
        {
            await work(run);
            run.Complete();
        }
        catch (OperationCanceledException)
        {
            run.Complete(RunState.Killed);
            throw;
        }
    }
}
