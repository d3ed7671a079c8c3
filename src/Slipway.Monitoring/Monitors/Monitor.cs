using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>The states of a monitor point. Only <see cref="Ok"/> and <see cref="Alert"/> carry a number that was judged.</summary>
public static class PointState
{
    /// <summary>Measured and inside its limits.</summary>
    public const string Ok = "ok";

    /// <summary>Measured and outside its limits.</summary>
    public const string Alert = "alert";

    /// <summary>Too few rows, labels or classes to judge.</summary>
    public const string Insufficient = "insufficient";

    /// <summary>The window holds no rows.</summary>
    public const string NoData = "no_data";

    /// <summary>The metric is not defined on this data.</summary>
    public const string Undefined = "undefined";

    /// <summary>The evaluation failed.</summary>
    public const string Error = "error";
}

/// <summary>How large a drift is, in rising order.</summary>
public static class DriftLevel
{
    /// <summary>Not both significant and material.</summary>
    public const string None = "none";

    /// <summary>Material index of at least <see cref="Thresholds.Warn"/>.</summary>
    public const string Warn = "warn";

    /// <summary>Material index of at least <see cref="Thresholds.Major"/>.</summary>
    public const string Major = "major";

    /// <summary>Material index of at least <see cref="Thresholds.Severe"/>.</summary>
    public const string Severe = "severe";

    /// <summary>0 for none up to 3 for severe; -1 for anything else.</summary>
    public static int Rank(string? level) => level switch { None => 0, Warn => 1, Major => 2, Severe => 3, _ => -1 };
}

/// <summary>Fires when <paramref name="K"/> of the last <paramref name="N"/> judged windows breach (1 &lt;= K &lt;= N &lt;= 32).</summary>
public sealed record AlertFor(int K = 1, int N = 1);

/// <summary>When a point alerts. Defaults are those of the drift decision described at the monitor guide.</summary>
public sealed record Thresholds
{
    /// <summary>Material index of a warning.</summary>
    public double Warn { get; init; } = 0.02;

    /// <summary>Material index of a major drift.</summary>
    public double Major { get; init; } = 0.1;

    /// <summary>Material index of a severe drift.</summary>
    public double Severe { get; init; } = 0.25;

    /// <summary>The level at which a column's point alerts.</summary>
    public string AlertFrom { get; init; } = DriftLevel.Warn;

    /// <summary>False discovery rate over all columns of one window.</summary>
    public double DiscoveryRate { get; init; } = 0.05;

    /// <summary>Significance level when only one column is tested.</summary>
    public double SingleAlpha { get; init; } = 0.001;

    /// <summary>The least loss of ROC-AUC that matters; a loss must also exceed three combined standard errors.</summary>
    public double AucDrop { get; init; } = 0.02;

    /// <summary>The least rise of log loss that alerts, in nats; null (default) shows log loss without judging it, since it moves with the base rate.</summary>
    public double? LogLossRise { get; init; }

    /// <summary>The least change of a column's missing rate that matters; it must also exceed three standard errors.</summary>
    public double MissingChange { get; init; } = 0.01;

    /// <summary>The least share of a window's predictions with a label before performance is judged.</summary>
    public double LeastCoverage { get; init; } = 0.5;

    /// <summary>The least labelled rows of a window.</summary>
    public int LeastLabelled { get; init; } = 30;

    /// <summary>The least labelled rows of each class.</summary>
    public int LeastPerClass { get; init; } = 10;

    /// <summary>How many windows must breach before drift at level `warn` fires.</summary>
    public AlertFor ForWarn { get; init; } = new(2, 3);

    /// <summary>How many windows must breach before major or severe drift, missing values or lost performance fire.</summary>
    public AlertFor ForMajor { get; init; } = new(1, 1);

    /// <summary>How many windows in a row must be clear before a firing rule resolves.</summary>
    public int ResolveAfter { get; init; } = 1;

    /// <summary>A firing drift rule is clear when its index is not significant or its material part is below this share of the level that fires; between that and the level it goes on firing.</summary>
    public double ClearBelow { get; init; } = 0.8;
}

/// <summary>The frozen reference as raw columns: what the model was validated on, not what it was trained on.</summary>
public sealed record ReferenceTable
{
    /// <summary>One array a feature in the order of the feature names; NaN is a missing value. All have the same length.</summary>
    public required IReadOnlyList<float[]> Columns { get; init; }

    /// <summary>The model's score of each row; null watches no score drift and no performance.</summary>
    public float[]? Scores { get; init; }

    /// <summary>The outcome of each row; null watches no performance.</summary>
    public bool[]? Labels { get; init; }

    /// <summary>Where the rows come from, such as a dataset version or a run; kept with the reference and linked in the journal.</summary>
    public IReadOnlyList<Subject> Sources { get; init; } = [];
}

/// <summary>What to watch: one model version on one endpoint against a frozen reference.</summary>
public sealed record WatchRequest
{
    /// <summary>The endpoint whose predictions are watched.</summary>
    public required string Endpoint { get; init; }

    /// <summary>The version in the form `flights/2`.</summary>
    public required string ModelVersion { get; init; }

    /// <summary>Names of the features in the order of <see cref="PredictionRecord.Features"/>.</summary>
    public required IReadOnlyList<string> FeatureNames { get; init; }

    /// <summary>The features to watch; null watches all.</summary>
    public IReadOnlyList<string>? Watched { get; init; }

    /// <summary>Features whose numbers are codes of categories.</summary>
    public IReadOnlyList<string> Categorical { get; init; } = [];

    /// <summary>The rows that windows are compared with.</summary>
    public required ReferenceTable Reference { get; init; }

    /// <summary>How event time is cut.</summary>
    public WindowRule Window { get; init; } = WindowRule.Week();

    /// <summary>When points alert and alerts fire.</summary>
    public Thresholds Thresholds { get; init; } = new();

    /// <summary>Which output is the score; -1 is the last one.</summary>
    public int ScoreOutput { get; init; } = -1;

    /// <summary>A label at or above this value is a true outcome.</summary>
    public double PositiveFrom { get; init; } = 0.5;
}

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
}

/// <summary>One metric of one column in one window.</summary>
/// <param name="WindowStart">First instant of the window.</param>
/// <param name="WindowEnd">First instant behind it.</param>
/// <param name="Metric">`rows`, `psi`, `score_psi`, `missing_rate`, `auc`, `log_loss`, `brier` or `accuracy`.</param>
/// <param name="Column">The feature; null for metrics of the whole window.</param>
/// <param name="Value">Null unless the state is ok or alert.</param>
/// <param name="N">Rows that the value is made of.</param>
/// <param name="State">A value of <see cref="PointState"/>.</param>
/// <param name="Lower">The value alerts below it.</param>
/// <param name="Upper">The value alerts above it (at it, for drift).</param>
/// <param name="Why">The reason of a state that carries no number.</param>
/// <param name="Detail">JSON: the parts of the decision (bins and shares, significance, coverage).</param>
/// <param name="Level">A value of <see cref="DriftLevel"/> for drift; `none` otherwise.</param>
/// <param name="Revision">0 for the first evaluation; later labels make later revisions of performance points.</param>
/// <param name="Error">Standard error of the value; null when it has none.</param>
/// <param name="Coverage">Share of the window's predictions that have a label; null for drift.</param>
public sealed record MonitorPoint(
    DateTimeOffset WindowStart,
    DateTimeOffset WindowEnd,
    string Metric,
    string? Column,
    double? Value,
    long N,
    string State,
    double? Lower,
    double? Upper,
    string? Why,
    string Detail,
    string Level = DriftLevel.None,
    int Revision = 0,
    double? Error = null,
    double? Coverage = null)
{
    /// <summary>Whether the value is far enough inside its limits to resolve a firing rule. Known when the point is made; it is not stored.</summary>
    internal bool Clear { get; init; } = true;
}
