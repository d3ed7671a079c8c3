namespace Slipway.Registry;

/// <summary>State of a run. The numbers are those of the MLflow protocol and are stored: they may only grow.</summary>
public enum RunStatus
{
    /// <summary>Under way.</summary>
    Running = 1,

    /// <summary>Planned.</summary>
    Scheduled = 2,

    /// <summary>Ended well.</summary>
    Finished = 3,

    /// <summary>Ended with an error.</summary>
    Failed = 4,

    /// <summary>Stopped from outside.</summary>
    Killed = 5,
}

/// <summary>One execution of training or evaluation code, with everything it logged.</summary>
/// <param name="Id">32 lower-case hex digits.</param>
/// <param name="ExperimentId">The experiment it belongs to.</param>
/// <param name="Name">Kept equal to the tag <c>mlflow.runName</c>.</param>
/// <param name="UserId">As the client said it; the authenticated actor is in the journal.</param>
/// <param name="Status">State.</param>
/// <param name="StartedAt">UTC.</param>
/// <param name="EndedAt">UTC, or null while it runs.</param>
/// <param name="ArtifactUri">Root of its artifacts.</param>
/// <param name="Deleted">True after a delete; a deleted run can be read and restored, not written.</param>
/// <param name="Metrics">Latest point of every metric, ordered by key.</param>
/// <param name="Params">Ordered by key.</param>
/// <param name="Tags">Ordered by key.</param>
/// <param name="Inputs">Datasets it read.</param>
public sealed record Run(string Id, string ExperimentId, string Name, string UserId, RunStatus Status, DateTimeOffset StartedAt,
    DateTimeOffset? EndedAt, string ArtifactUri, bool Deleted, IReadOnlyList<MetricPoint> Metrics, IReadOnlyList<Param> Params,
    IReadOnlyList<Tag> Tags, IReadOnlyList<DatasetInput> Inputs)
{
    /// <summary><c>run:ID</c>.</summary>
    public Subject Subject => new("run", Id);

    /// <summary>Logged models that it read.</summary>
    public IReadOnlyList<ModelLink> ModelInputs { get; init; } = [];

    /// <summary>Logged models that it made.</summary>
    public IReadOnlyList<ModelLink> ModelOutputs { get; init; } = [];

    /// <summary>Value of a latest metric, or null if the run never logged it.</summary>
    public double? Metric(string key)
    {
        foreach (var point in Metrics)
        {
            if (point.Key == key)
            {
                return point.Value;
            }
        }

        return null;
    }
}

/// <summary>One point of a metric's series.</summary>
/// <param name="Key">Metric name, 1 to 250 characters.</param>
/// <param name="Value">Any double, NaN and infinities included.</param>
/// <param name="TimestampMs">Unix milliseconds, not negative.</param>
/// <param name="Step">Any integer.</param>
public readonly record struct MetricPoint(string Key, double Value, long TimestampMs, long Step = 0);

/// <summary>A write-once parameter of a run.</summary>
public readonly record struct Param(string Key, string Value);

/// <summary>A dataset that a run read. One experiment knows a dataset once by name and digest.</summary>
/// <param name="Name">1 to 500 characters.</param>
/// <param name="Digest">1 to 36 characters as MLflow clients compute it.</param>
/// <param name="SourceType">For example <c>local</c>, <c>http</c>, or <see cref="SlipwaySource"/>.</param>
/// <param name="Source">Where it came from; for <see cref="SlipwaySource"/> the URN of a dataset version.</param>
/// <param name="Schema">Schema document, or null.</param>
/// <param name="Profile">Profile document, or null.</param>
/// <param name="Context">What it was used for, for example <c>training</c>: the input tag <c>mlflow.data.context</c>.</param>
/// <param name="Tags">Further input tags.</param>
public sealed record DatasetInput(string Name, string Digest, string SourceType, string Source, string? Schema = null,
    string? Profile = null, string? Context = null, IReadOnlyList<Tag>? Tags = null)
{
    /// <summary>Source type of a version held by this server: <c>Source</c> is <c>dataset-version:NAME/ID</c> and the version is pinned by the run.</summary>
    public const string SlipwaySource = "slipway";
}

/// <summary>What to start.</summary>
public sealed record CreateRun
{
    /// <summary>An existing, live experiment.</summary>
    public required string ExperimentId { get; init; }

    /// <summary>Null or empty: a random name is given.</summary>
    public string? Name { get; init; }

    /// <summary>User as the client says; empty if unknown.</summary>
    public string UserId { get; init; } = "";

    /// <summary>Null means now.</summary>
    public DateTimeOffset? StartTime { get; init; }

    /// <summary>Initial tags; <c>mlflow.runName</c> may stand in for <see cref="Name"/>.</summary>
    public IReadOnlyList<Tag> Tags { get; init; } = [];
}

/// <summary>A change of a run; null leaves a field as it is.</summary>
/// <param name="Status">New state.</param>
/// <param name="EndTime">New end time.</param>
/// <param name="Name">New name; the tag <c>mlflow.runName</c> follows.</param>
public sealed record RunChange(RunStatus? Status = null, DateTimeOffset? EndTime = null, string? Name = null);

/// <summary>A search over runs.</summary>
public sealed record RunSearch
{
    /// <summary>Experiments to look in; empty finds nothing.</summary>
    public IReadOnlyList<string> ExperimentIds { get; init; } = [];

    /// <summary>MLflow filter, for example <c>metrics.auc &gt; 0.8 AND params.model = 'gbm'</c>; null matches all.</summary>
    public string? Filter { get; init; }

    /// <summary>Terms such as <c>metrics.auc DESC</c>; <c>start_time DESC, run_id ASC</c> always follow.</summary>
    public IReadOnlyList<string> OrderBy { get; init; } = [];

    /// <summary>Live runs by default.</summary>
    public View View { get; init; } = View.ActiveOnly;

    /// <summary>Rows a page, 1 to 50,000.</summary>
    public int Limit { get; init; } = 1000;

    /// <summary>Token of the page before, or null for the first.</summary>
    public string? PageToken { get; init; }
}

/// <summary>A dataset seen in an experiment.</summary>
public sealed record DatasetSummary(string ExperimentId, string Name, string Digest, string? Context);

/// <summary>An artifact file or folder.</summary>
/// <param name="Path">Relative to the folder that was asked for its root.</param>
/// <param name="IsDir">True for a folder.</param>
/// <param name="Size">Bytes; null for a folder.</param>
/// <param name="Hash">SHA-256 of the content, 64 lower-case hex digits; null for a folder.</param>
public sealed record ArtifactInfo(string Path, bool IsDir, long? Size, string? Hash);
