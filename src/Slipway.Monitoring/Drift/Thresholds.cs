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

/// <summary>What the limits of the metric that performance is judged by are made from.</summary>
public static class LimitRule
{
    /// <summary>The reference: worse by three combined standard errors and by what matters (default).</summary>
    public const string Reference = "reference";

    /// <summary>The windows before: their median and three of their scaled median absolute deviations.</summary>
    public const string Trailing = "trailing";

    /// <summary>The windows before: their 1 % and 99 % quantiles.</summary>
    public const string Quantile = "quantile";

    /// <summary>The windows before that begin at the same hour of the week, as <see cref="Trailing"/>.</summary>
    public const string Seasonal = "seasonal";

    /// <summary>
    /// The reference's rows: 200 windows of as many rows are drawn from them with replacement; three standard deviations of the metric over these. Worse than chance makes
    /// windows of this size, without what matters.
    /// </summary>
    public const string Bootstrap = "bootstrap";

    /// <summary>
    /// The reference's rows in their order: how much worse consecutive windows of as many rows are than the rest of the reference, mean and three standard deviations; with ten
    /// windows or more, than all of it, and with less than six as <see cref="Bootstrap"/>. So what changes within the reference does not alert.
    /// </summary>
    public const string LeaveOneWindowOut = "leave_one_window_out";

    internal static readonly string[] All = [Reference, Trailing, Quantile, Seasonal, Bootstrap, LeaveOneWindowOut];

    /// <summary>Whether limits by a rule are made from single labelled rows of the reference.</summary>
    internal static bool TakesRows(string rule) => rule is Bootstrap or LeaveOneWindowOut;
}

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

    /// <summary>The least loss of accuracy of a multiclass model that matters; a loss must also exceed three combined standard errors.</summary>
    public double AccuracyDrop { get; init; } = 0.02;

    /// <summary>The least loss of NDCG of a ranking that matters; a loss must also exceed three combined standard errors.</summary>
    public double NdcgDrop { get; init; } = 0.02;

    /// <summary>The least rise of a regression's, or of each horizon's, mean absolute error that matters, as a share of the reference's; a rise must also exceed three combined standard errors.</summary>
    public double ErrorRise { get; init; } = 0.1;

    /// <summary>The share of failed requests that may be; a window alerts beyond it by more than three standard errors.</summary>
    public double FailureRate { get; init; } = 0.01;

    /// <summary>The highest 95th percentile of latency, in milliseconds; null compares with the earlier windows (<see cref="LatencyRise"/>).</summary>
    public double? LatencyP95 { get; init; }

    /// <summary>Without <see cref="LatencyP95"/>: how far the 95th percentile of latency may rise above its median over the earlier windows, as a share of it; it must also exceed what the windows differ by.</summary>
    public double LatencyRise { get; init; } = 0.5;

    /// <summary>The least rise of log loss that alerts, in nats; null (default) shows log loss without judging it, since it moves with the base rate.</summary>
    public double? LogLossRise { get; init; }

    /// <summary>A value of <see cref="LimitRule"/>; the rules of earlier windows need no reference with labels.</summary>
    public string Limits { get; init; } = LimitRule.Reference;

    /// <summary>With a rule of the windows before: how many before are looked at, 6 to 400.</summary>
    public int LimitWindows { get; init; } = 28;

    /// <summary>Values of <see cref="MultivariateDrift.Methods"/> by which the watched features of each window are compared together; null does not.</summary>
    public IReadOnlyList<string>? Multivariate { get; init; }

    /// <summary>Looks for concept drift on the stream of labelled predictions; null does not.</summary>
    public StreamRule? Stream { get; init; }

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

    /// <summary>A firing drift rule is clear when its index is not significant or its material part is below this share of the level that fires; between that and the level it goes on firing. Lost performance ends alike when the loss is at most this share of the loss that fires.</summary>
    public double ClearBelow { get; init; } = 0.8;

    /// <summary>The same for a version that has no reference with outcomes: limits that would be drawn from its rows are those of the default rule.</summary>
    public Thresholds WithoutRows() => LimitRule.TakesRows(Limits) ? this with { Limits = LimitRule.Reference } : this;
}
