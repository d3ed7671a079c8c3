namespace Slipway.Registry;

/// <summary>A registered model: a name under which versions are kept.</summary>
/// <param name="Name">Unique; no slash or colon.</param>
/// <param name="Description">Null if never set.</param>
/// <param name="CreatedBy">Name of the actor who made it.</param>
/// <param name="CreatedAt">UTC.</param>
/// <param name="UpdatedAt">UTC.</param>
/// <param name="Tags">Ordered by key.</param>
/// <param name="Aliases">Alias to version number, ordered by alias.</param>
/// <param name="Latest">Newest version of every legacy stage that has one.</param>
public sealed record Model(string Name, string? Description, string CreatedBy, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt,
    IReadOnlyList<Tag> Tags, IReadOnlyList<ModelAlias> Aliases, IReadOnlyList<ModelVersion> Latest)
{
    /// <summary><c>model:NAME</c>.</summary>
    public Subject Subject => new("model", Name);
}

/// <summary>A movable name of one version.</summary>
public sealed record ModelAlias(string Alias, int Version);

/// <summary>One immutable set of model files.</summary>
/// <param name="Name">The model's name.</param>
/// <param name="Version">1, 2, 3, ...; never used again after a delete.</param>
/// <param name="RunId">The run that made it, or null.</param>
/// <param name="Source">URI it was registered from, verbatim.</param>
/// <param name="Status"><c>READY</c>.</param>
/// <param name="Files">Content frozen at registration; empty when the source is a store that the clients read themselves.</param>
/// <param name="Signature">Names, types and shapes of its tensors, or null if unknown.</param>
/// <param name="Tags">By key.</param>
/// <param name="Aliases">Aliases that point here, ordered.</param>
/// <param name="CreatedBy">Name of the actor who registered it.</param>
/// <param name="CreatedAt">UTC.</param>
/// <param name="Description">Null if never set.</param>
public sealed record ModelVersion(string Name, int Version, string? RunId, string Source, string Status, IReadOnlyList<ModelFile> Files,
    ModelSignature? Signature, IReadOnlyDictionary<string, string> Tags, IReadOnlyList<string> Aliases, string CreatedBy,
    DateTimeOffset CreatedAt, string? Description)
{
    /// <summary><c>model-version:NAME/VERSION</c>.</summary>
    public Subject Subject => new("model-version", $"{Name}/{Version}");

    /// <summary>UTC, of the last change of description, stage or tags.</summary>
    public DateTimeOffset UpdatedAt { get; init; }

    /// <summary>Legacy stage: <c>None</c>, <c>Staging</c>, <c>Production</c> or <c>Archived</c>.</summary>
    public string Stage { get; init; } = "None";

    /// <summary>Where the files can be downloaded: the source with <c>runs:/</c> and <c>models:/</c> resolved.</summary>
    public string StorageUri { get; init; } = "";

    /// <summary>Link to the run as the client gave it.</summary>
    public string RunLink { get; init; } = "";

    /// <summary>The logged model that it was registered from, or null.</summary>
    public string? LoggedModelId => ModelSource.LoggedModelId(Source);
}

/// <summary>One file of a version.</summary>
/// <param name="Path">Relative to the model's root.</param>
/// <param name="Hash">SHA-256, 64 lower-case hex digits.</param>
/// <param name="Size">Bytes.</param>
public sealed record ModelFile(string Path, string Hash, long Size);

/// <summary>Tensors that a model takes and gives.</summary>
/// <param name="Inputs">In the order of the model.</param>
/// <param name="Outputs">In the order of the model.</param>
/// <param name="FeatureNames">Names of the columns of the first input, or null.</param>
public sealed record ModelSignature(IReadOnlyList<TensorSpec> Inputs, IReadOnlyList<TensorSpec> Outputs, IReadOnlyList<string>? FeatureNames);

/// <summary>One tensor.</summary>
/// <param name="Name">Tensor name.</param>
/// <param name="Datatype">Open Inference Protocol name, for example <c>FP32</c>.</param>
/// <param name="Shape">Dimensions; -1 stands for any length.</param>
public sealed record TensorSpec(string Name, string Datatype, IReadOnlyList<long> Shape);

/// <summary>What to register as the next version of a model.</summary>
public sealed record RegisterVersion
{
    /// <summary>An existing model.</summary>
    public required string Name { get; init; }

    /// <summary>Artifact URI, <c>runs:/ID/path</c>, <c>models:/NAME/VERSION</c>, <c>models:/m-…</c> of a logged model, or a store of the client (<c>s3://bucket/key</c>).</summary>
    public required string Source { get; init; }

    /// <summary>The run that made it.</summary>
    public string? RunId { get; init; }

    /// <summary>Link to a run elsewhere.</summary>
    public string RunLink { get; init; } = "";

    /// <summary>Files; empty takes everything that lies under <see cref="Source"/> in this server's artifact store.</summary>
    public IReadOnlyList<ModelFile> Files { get; init; } = [];

    /// <summary>Tensors, or null if unknown.</summary>
    public ModelSignature? Signature { get; init; }

    /// <summary>Initial tags.</summary>
    public IReadOnlyList<Tag> Tags { get; init; } = [];

    /// <summary>Description, or null.</summary>
    public string? Description { get; init; }

    /// <summary>Further ancestors; the run and the dataset versions it read are linked by themselves.</summary>
    public IReadOnlyList<Subject> Lineage { get; init; } = [];
}

/// <summary>A search over registered models or over model versions.</summary>
public sealed record ModelSearch
{
    /// <summary>MLflow filter, for example <c>name LIKE 'fl%' AND tags.team = 'ops'</c>; null matches all.</summary>
    public string? Filter { get; init; }

    /// <summary>Terms such as <c>name ASC</c>.</summary>
    public IReadOnlyList<string> OrderBy { get; init; } = [];

    /// <summary>Rows a page; 1 to 1,000 for models, 1 to 200,000 for versions.</summary>
    public int Limit { get; init; } = 100;

    /// <summary>Token of the page before, or null for the first.</summary>
    public string? PageToken { get; init; }
}
