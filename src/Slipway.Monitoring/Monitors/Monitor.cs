using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>A monitor: one model version on one endpoint, its frozen reference and its rules.</summary>
/// <param name="Id">32 lower-case hexadecimal digits.</param>
/// <param name="Endpoint">The endpoint whose predictions are watched.</param>
/// <param name="ModelVersion">The version in the form `flights/2`.</param>
/// <param name="FeatureNames">Names of the features in their order.</param>
/// <param name="Window">How event time is cut.</param>
/// <param name="Thresholds">When points alert and alerts fire.</param>
/// <param name="ReferenceHash">SHA-256 of the frozen reference in the blob store.</param>
/// <param name="ReferenceRows">Rows of the reference.</param>
/// <param name="NextWindow">Start of the first window that is not evaluated; null before the first prediction.</param>
/// <param name="Watermark">Event time up to which the endpoint's stream counts as complete; null before the first prediction.</param>
/// <param name="ReferenceAuc">ROC-AUC of the reference; null when it has none.</param>
/// <param name="CreatedBy">Who watches.</param>
/// <param name="CreatedAt">Since when.</param>
/// <param name="StoppedAt">When it was stopped; null while it watches.</param>
/// <param name="LastError">Why the last evaluation failed; null when it did not.</param>
public sealed record Monitor(
    string Id,
    string Endpoint,
    string ModelVersion,
    IReadOnlyList<string> FeatureNames,
    WindowRule Window,
    Thresholds Thresholds,
    string ReferenceHash,
    long ReferenceRows,
    double? ReferenceAuc,
    DateTimeOffset? NextWindow,
    DateTimeOffset? Watermark,
    string CreatedBy,
    DateTimeOffset CreatedAt,
    DateTimeOffset? StoppedAt,
    string? LastError)
{
    /// <summary>`monitor:{id}`.</summary>
    public Subject Subject => new("monitor", Id);

    /// <summary>The features that are watched; null when all are.</summary>
    public IReadOnlyList<string>? Watched { get; init; }

    /// <summary>Which output is the score; -1 is the last one.</summary>
    public int ScoreOutput { get; init; } = -1;

    /// <summary>A label at or above this value is a true outcome.</summary>
    public double PositiveFrom { get; init; } = 0.5;

    /// <summary>
    /// How many windows a month may alert by chance when nothing drifts: windows times the false discovery rate (of one column: its significance level). What must
    /// also matter, and be seen in several windows, makes it fewer.
    /// </summary>
    public double FalseAlertsAMonth => 30.4375 / Window.Length.TotalDays * ((Watched ?? FeatureNames).Count > 0 ? Thresholds.DiscoveryRate : Thresholds.SingleAlpha);

    /// <summary>What the model predicts.</summary>
    public ModelType Type { get; init; } = ModelType.Binary;

    /// <summary>Names of the classes in the order of their indexes; empty for other types.</summary>
    public IReadOnlyList<string> Classes { get; init; } = [];

    /// <summary>The metric that performance is judged by: `auc`, `accuracy`, `mae` or `ndcg`.</summary>
    public string PrimaryMetric { get; init; } = "auc";

    /// <summary>That metric on the reference, of forecasts the one of the shortest horizon; null when it has none.</summary>
    public double? ReferenceValue { get; init; }

    /// <summary>How predictions make rankings; null for other types.</summary>
    public RankingRule? Ranking { get; init; }

    /// <summary>How predictions make forecasts; null for other types.</summary>
    public ForecastRule? Forecast { get; init; }

    /// <summary>What windows are compared with: a value of <see cref="BaselineKind"/>.</summary>
    public string Baseline { get; init; } = BaselineKind.Reference;

    /// <summary>Who stopped it; null while it watches, and for monitors that ended before this was kept.</summary>
    public string? StoppedBy { get; init; }

    /// <summary>Which of the version's predictions it looks at, and what performance is broken down by.</summary>
    public MonitorScope Scope { get; init; } = MonitorScope.All;
}

/// <summary>What the windows of a monitor are compared with.</summary>
public static class BaselineKind
{
    /// <summary>Rows that were given: what the version was validated on.</summary>
    public const string Reference = "reference";

    /// <summary>Nothing yet: the first window with enough rows will be it.</summary>
    public const string Awaited = "awaited";

    /// <summary>The first window with enough rows, since no reference was stored: drift before or in it cannot be seen.</summary>
    public const string FirstWindow = "first window";
}
