namespace Slipway.Pipelines;

/// <summary>Bounds of pipelines.</summary>
public sealed record PipelinesOptions
{
    /// <summary>
    /// Whether <c>command</c> steps may run. Off unless the host turns it on: whoever may apply a pipeline could then run any program as the server's user.
    /// </summary>
    public bool AllowCommands { get; init; }

    /// <summary>The address at which commands reach this server's MLflow API; null leaves <c>MLFLOW_TRACKING_URI</c> unset.</summary>
    public string? TrackingUri { get; init; }

    /// <summary>Steps that this node works on at a time.</summary>
    public int ConcurrentSteps { get; init; } = 2;

    /// <summary>Tries of a step that was interrupted or whose surroundings were unavailable.</summary>
    public int MaxAttempts { get; init; } = 5;

    /// <summary>Most values (rows times columns) that a training reads.</summary>
    public long MaxValues { get; init; } = 200_000_000;

    /// <summary>Most rows of the validation window kept with a version as the reference of its monitors.</summary>
    public int ReferenceRows { get; init; } = 20_000;

    /// <summary>Most bytes of a command's output.</summary>
    public long MaxLogBytes { get; init; } = 64 * 1024 * 1024;

    /// <summary>Time between the request to stop and the kill of a command.</summary>
    public TimeSpan Grace { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long a node may be silent before another one takes its steps over; on SQLite there is only one node.</summary>
    public TimeSpan LostAfter { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Everything that is wrong, not only the first thing.</summary>
    public IEnumerable<string> Problems()
    {
        if (ConcurrentSteps is < 1 or > 64 || MaxAttempts is < 1 or > 100)
        {
            yield return $"pipelines.concurrentSteps must lie between 1 and 64 and maxAttempts between 1 and 100, they are {ConcurrentSteps} and {MaxAttempts}";
        }

        if (MaxValues < 1 || ReferenceRows < 1 || MaxLogBytes < 1)
        {
            yield return $"pipelines.maxValues, referenceRows and maxLogBytes must be positive, they are {MaxValues}, {ReferenceRows} and {MaxLogBytes}";
        }

        if (Grace < TimeSpan.Zero || LostAfter < TimeSpan.FromSeconds(10))
        {
            yield return $"pipelines.grace cannot be negative and lostAfter is at least 10 seconds, they are {Grace} and {LostAfter}";
        }

        if (TrackingUri is not null && !Uri.TryCreate(TrackingUri, UriKind.Absolute, out _))
        {
            yield return $"pipelines.trackingUri '{TrackingUri}' is no address";
        }
    }
}
