namespace Slipway.Serving;

/// <summary>Kinds of serving's journal entries. Kinds and bodies may only grow.</summary>
public static class Events
{
    /// <summary>Body <see cref="Serving.EndpointCreated"/>; links the model version.</summary>
    public const string EndpointCreated = "endpoint.created";

    /// <summary>A new route revision; body <see cref="Serving.EndpointChanged"/>; links the model versions of the route and the rollout.</summary>
    public const string EndpointChanged = "endpoint.changed";

    /// <summary>Empty body.</summary>
    public const string EndpointDeleted = "endpoint.deleted";

    /// <summary>Nodes hold it in memory again; empty body.</summary>
    public const string EndpointLoaded = "endpoint.loaded";

    /// <summary>Taken out of memory until it is loaded again; empty body.</summary>
    public const string EndpointUnloaded = "endpoint.unloaded";

    /// <summary>Body <see cref="Serving.RolloutChanged"/>; links the endpoint, the candidate and stable, as do the other rollout kinds.</summary>
    public const string RolloutProposed = "rollout.proposed";

    /// <summary>The steps began; body <see cref="Serving.RolloutChanged"/>.</summary>
    public const string RolloutStarted = "rollout.started";

    /// <summary>One step forward; body <see cref="Serving.RolloutChanged"/>.</summary>
    public const string RolloutStepped = "rollout.stepped";

    /// <summary>A job step began: a pipeline is to be run for it; body <see cref="Serving.RolloutChanged"/> with its name.</summary>
    public const string RolloutJobAsked = "rollout.job-asked";

    /// <summary>An analysis needs the exit code of a pipeline's command: it is to be run; body <see cref="Serving.RolloutMetricAsked"/>.</summary>
    public const string RolloutMetricAsked = "rollout.metric-asked";

    /// <summary>Body <see cref="Serving.RolloutChanged"/>.</summary>
    public const string RolloutPaused = "rollout.paused";

    /// <summary>Body <see cref="Serving.RolloutChanged"/>.</summary>
    public const string RolloutResumed = "rollout.resumed";

    /// <summary>All traffic is back on stable; body <see cref="Serving.RolloutChanged"/> with the reason as its cause.</summary>
    public const string RolloutAborted = "rollout.aborted";

    /// <summary>A finished rollout is taken back; body <see cref="Serving.RolloutChanged"/>.</summary>
    public const string RolloutUndone = "rollout.undone";

    /// <summary>The plan has other durations, or another plan before it began; body <see cref="Serving.RolloutChanged"/>.</summary>
    public const string RolloutEdited = "rollout.edited";

    /// <summary>It ended well; body <see cref="Serving.RolloutChanged"/> that says which version serves now.</summary>
    public const string RolloutFinished = "rollout.finished";
}

/// <summary>Body of <see cref="Events.EndpointCreated"/>.</summary>
public sealed record EndpointCreated(string ModelVersion, string? Policy, bool LogPredictions);

/// <summary>Body of <see cref="Events.EndpointChanged"/>: the route's revision, its share per model version, and why it changed.</summary>
public sealed record EndpointChanged(string Endpoint, long Revision, string Stable, string? Candidate, double CandidatePercent, string? Rollout, string Cause)
{
    /// <summary>Every variant with its share, stable first; null in entries of earlier releases.</summary>
    public IReadOnlyList<Routing.RouteVariant>? Variants { get; init; }
}

/// <summary>Body of the rollout kinds.</summary>
public sealed record RolloutChanged(
    string Rollout, string Endpoint, string Stable, string Candidate, string State, string? Pause, int Step, double Percent, int Attempt, string Cause)
{
    /// <summary>Of <see cref="Events.RolloutFinished"/>: the version that is stable now; null in older entries, where it is the candidate.</summary>
    public string? Serves { get; init; }

    /// <summary>Of <see cref="Events.RolloutJobAsked"/>: the pipeline.</summary>
    public string? Pipeline { get; init; }

    /// <summary>Shares by variant, stable aside.</summary>
    public IReadOnlyDictionary<string, double>? Weights { get; init; }
}

/// <summary>Body of <see cref="Events.RolloutMetricAsked"/>.</summary>
/// <param name="Rollout">The rollout.</param>
/// <param name="Endpoint">Its endpoint.</param>
/// <param name="Stable">The version to go back to.</param>
/// <param name="Candidate">The version under trial.</param>
/// <param name="Metric">The metric's name.</param>
/// <param name="Pipeline">The pipeline to run.</param>
/// <param name="AskedAt">Unix microseconds; the answer names it again.</param>
public sealed record RolloutMetricAsked(string Rollout, string Endpoint, string Stable, string Candidate, string Metric, string Pipeline, long AskedAt);
