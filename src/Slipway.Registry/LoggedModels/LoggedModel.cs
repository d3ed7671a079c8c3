namespace Slipway.Registry;

/// <summary>State of a logged model. The numbers are those of the MLflow protocol.</summary>
public enum LoggedModelStatus
{
    /// <summary>Its files are being uploaded.</summary>
    Pending = 1,

    /// <summary>Whole, and usable.</summary>
    Ready = 2,

    /// <summary>The upload ended with an error.</summary>
    UploadFailed = 3,
}

/// <summary>A model that a run made: files, parameters and metrics under an id of its own, before and apart from any registration.</summary>
/// <param name="Id"><c>m-</c> and 32 lower-case hex digits.</param>
/// <param name="ExperimentId">The experiment it belongs to.</param>
/// <param name="Name">Not unique.</param>
/// <param name="ModelType">As the client says, or null.</param>
/// <param name="SourceRunId">The run that made it, or null.</param>
/// <param name="ArtifactUri">Root of its files.</param>
/// <param name="Status">State.</param>
/// <param name="Deleted">True after a delete.</param>
/// <param name="CreatedBy">Name of the actor who logged it.</param>
/// <param name="CreatedAt">UTC.</param>
/// <param name="UpdatedAt">UTC, of the last change of state, tags or parameters.</param>
/// <param name="Tags">Ordered by key.</param>
/// <param name="Params">Ordered by key.</param>
/// <param name="Metrics">The 1,000 newest points that speak about it, oldest first.</param>
public sealed record LoggedModel(string Id, string ExperimentId, string Name, string? ModelType, string? SourceRunId, string ArtifactUri,
    LoggedModelStatus Status, bool Deleted, string CreatedBy, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt, IReadOnlyList<Tag> Tags,
    IReadOnlyList<Param> Params, IReadOnlyList<ModelMetric> Metrics)
{
    /// <summary><c>logged-model:ID</c>.</summary>
    public Subject Subject => new("logged-model", Id);
}

/// <summary>A point of a run's metric that speaks about a model.</summary>
/// <param name="Point">The point; it is a point of the run as well.</param>
/// <param name="ModelId">A logged model.</param>
/// <param name="RunId">The run that logged it.</param>
/// <param name="DatasetName">The dataset that it was measured on, or empty.</param>
/// <param name="DatasetDigest">Digest of that dataset, or empty.</param>
public readonly record struct ModelMetric(MetricPoint Point, string ModelId, string RunId, string DatasetName = "", string DatasetDigest = "");

/// <summary>A model that a run made or read.</summary>
/// <param name="ModelId">A logged model.</param>
/// <param name="Step">The step at which it was made; 0 for one that was read.</param>
public readonly record struct ModelLink(string ModelId, long Step = 0);

/// <summary>What to log.</summary>
public sealed record CreateLoggedModel
{
    /// <summary>An existing, live experiment.</summary>
    public required string ExperimentId { get; init; }

    /// <summary>Null or empty: a random name is given.</summary>
    public string? Name { get; init; }

    /// <summary>For example <c>agent</c>, or null.</summary>
    public string? ModelType { get; init; }

    /// <summary>The run that makes it, or null.</summary>
    public string? SourceRunId { get; init; }

    /// <summary>Initial parameters.</summary>
    public IReadOnlyList<Param> Params { get; init; } = [];

    /// <summary>Initial tags.</summary>
    public IReadOnlyList<Tag> Tags { get; init; } = [];
}

/// <summary>A search over logged models.</summary>
public sealed record LoggedModelSearch
{
    /// <summary>Experiments to look in; empty finds nothing.</summary>
    public IReadOnlyList<string> ExperimentIds { get; init; } = [];

    /// <summary>Filter over attributes, <c>metrics</c>, <c>params</c> and <c>tags</c>; null matches all.</summary>
    public string? Filter { get; init; }

    /// <summary>Datasets that metrics must have been measured on; without a metric in the filter, any metric will do.</summary>
    public IReadOnlyList<MetricDataset> Datasets { get; init; } = [];

    /// <summary>Sort terms; newest first always follows.</summary>
    public IReadOnlyList<LoggedModelOrder> OrderBy { get; init; } = [];

    /// <summary>Rows a page, 1 to 50,000.</summary>
    public int Limit { get; init; } = 50;

    /// <summary>Token of the page before, or null for the first.</summary>
    public string? PageToken { get; init; }
}

/// <summary>A dataset that metrics were measured on.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Digest">Null means any.</param>
public sealed record MetricDataset(string Name, string? Digest = null);

/// <summary>A sort term.</summary>
/// <param name="Field">An attribute, or <c>metrics.KEY</c>: its latest number.</param>
/// <param name="Ascending">Direction; what is absent comes last in both.</param>
/// <param name="Dataset">Only metrics measured on this dataset, or null.</param>
public sealed record LoggedModelOrder(string Field, bool Ascending = true, MetricDataset? Dataset = null);
