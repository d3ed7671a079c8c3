namespace Slipway.Registry;

/// <summary>A named set of runs.</summary>
/// <param name="Id">Decimal digits; <c>"0"</c> is the experiment <c>Default</c>, which always exists.</param>
/// <param name="Name">1 to 500 characters, unique also among deleted experiments.</param>
/// <param name="ArtifactLocation">URI under which the artifacts of its runs live.</param>
/// <param name="Deleted">True after a delete; a deleted experiment can still be read and restored.</param>
/// <param name="CreatedAt">UTC.</param>
/// <param name="UpdatedAt">UTC, of the last change of name, state or tags.</param>
/// <param name="Tags">Ordered by key.</param>
public sealed record Experiment(string Id, string Name, string ArtifactLocation, bool Deleted, DateTimeOffset CreatedAt,
    DateTimeOffset UpdatedAt, IReadOnlyList<Tag> Tags)
{
    /// <summary><c>experiment:ID</c>.</summary>
    public Subject Subject => new("experiment", Id);
}

/// <summary>A key with a text value. The value of a registry tag may be empty.</summary>
public sealed record Tag(string Key, string Value);

/// <summary>What to look at: live records, deleted ones, or both.</summary>
public enum View
{
    /// <summary>Only live records.</summary>
    ActiveOnly = 1,

    /// <summary>Only deleted records.</summary>
    DeletedOnly = 2,

    /// <summary>Both.</summary>
    All = 3,
}

/// <summary>A search over experiments.</summary>
public sealed record ExperimentSearch
{
    /// <summary>Conditions joined by AND over <c>name</c>, <c>creation_time</c>, <c>last_update_time</c> and <c>tags.KEY</c>; null matches all.</summary>
    public string? Filter { get; init; }

    /// <summary>Terms such as <c>name ASC</c>; empty means newest first.</summary>
    public IReadOnlyList<string> OrderBy { get; init; } = [];

    /// <summary>Live experiments by default.</summary>
    public View View { get; init; } = View.ActiveOnly;

    /// <summary>Rows a page, 1 to 50,000.</summary>
    public int Limit { get; init; } = 1000;

    /// <summary>Token of the page before, or null for the first.</summary>
    public string? PageToken { get; init; }
}
