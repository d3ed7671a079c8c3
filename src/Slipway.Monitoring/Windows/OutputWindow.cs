using System.IO.Hashing;
using System.Text;
using System.Text.Json;

namespace Slipway.Monitoring;

/// <summary>One output of a model on both sides: what the window's drift is decided on.</summary>
/// <param name="Column">The class whose probability it is; null for the output as a whole.</param>
/// <param name="Reference">The reference's bins and counts.</param>
/// <param name="Window">The window's counts.</param>
internal sealed record WatchedOutput(string? Column, ColumnReference Reference, ColumnSketch Window);

/// <summary>
/// What one window says about a model's outputs: how they drift, what they promise, and what labels make of them. One subclass a
/// <see cref="ModelType"/>; limits, states and gaps are made alike for all of them.
/// </summary>
internal abstract class OutputWindow(MonitorConfig config, MonitorReference reference, DateTimeOffset start, DateTimeOffset end)
{
    protected static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
    private readonly List<TimeSpan> delays = [];
    private readonly List<(long At, UInt128 Id)> labelled = [];

    /// <summary>Predictions that count.</summary>
    public long Rows { get; private set; }

    /// <summary>Those of them with a label.</summary>
    public long Labelled => delays.Count;

    public abstract IReadOnlyList<WatchedOutput> Outputs { get; }

    protected MonitorConfig Config => config;

    protected MonitorReference Reference => reference;

    protected string Primary => PrimaryMetric.Of(config.Type);

    protected virtual double Coverage => (double)Labelled / Rows;

    /// <summary>The metric's reference and the median delay of labels, for the details of every point of performance.</summary>
    protected double? MedianDelay => delays.Count == 0 ? null : Bins.Quantile(TwoSample.Sorted(delays.Select(d => d.TotalSeconds)), 0.5);

    public static OutputWindow Of(MonitorConfig config, MonitorReference reference, DateTimeOffset start, DateTimeOffset end) => config.Type switch
    {
        ModelType.Multiclass => new MulticlassWindow(config, reference, start, end),
        ModelType.Regression => new RegressionWindow(config, reference, start, end),
        ModelType.Ranking => new RankingWindow(config, reference, start, end),
        ModelType.Forecasting => new ForecastWindow(config, reference, start, end),
        _ => new BinaryWindow(config, reference, start, end),
    };

    public void Add(Prediction prediction, KnownLabel? label)
    {
        Rows++;
        Take(prediction, label?.Value);
        if (label is { } known)
        {
            delays.Add(known.At - prediction.At);
            labelled.Add((prediction.At.UtcTicks, XxHash128.HashToUInt128(Encoding.UTF8.GetBytes(prediction.Id))));
        }
    }

    /// <summary>What was kept of labelled rows, one a row as they came, in the order of event time: whichever order the log gives them in, sums come out the same bit for bit.</summary>
    protected T[] InTime<T>(IReadOnlyList<T> rows)
    {
        T[] ordered = [.. rows];
        Array.Sort(labelled.ToArray(), ordered);
        return ordered;
    }

    /// <summary>Performance that the outputs promise before labels come. It shows and does not alert: what it assumes, only labels can confirm.</summary>
    public abstract IEnumerable<MonitorPoint> Estimates();

    /// <summary>Realized performance over the labelled rows, and how far it is from what the outputs promised.</summary>
    public abstract IEnumerable<MonitorPoint> Performance();

    protected abstract void Take(Prediction prediction, double? label);

    /// <summary>Why <paramref name="n"/> labelled rows are too few to judge; null when they are enough.</summary>
    protected string? TooFew(long n, string what = "labelled rows")
    {
        Thresholds t = config.Thresholds;
        return Coverage < t.LeastCoverage ? $"{Math.Round(Coverage * Rows):0} of {Rows} predictions have a label, {t.LeastCoverage:P0} are needed"
            : n < t.LeastLabelled ? $"{n} {what}, {t.LeastLabelled} are needed" : null;
    }

    /// <summary>
    /// Where a metric alerts: worse than the reference by more than three combined standard errors, and by more than what matters. Null when the reference
    /// does not know the metric.
    /// </summary>
    protected double? Limit(string metric, long n, double matters, bool lowIsBad, string? column = null)
    {
        if (n == 0 || reference.Before(metric, column) is not { Spread: { } spread } before)
        {
            return null;
        }

        double margin = Math.Max(3 * spread * Math.Sqrt(1.0 / before.N + 1.0 / n), matters);
        return lowIsBad ? before.Value - margin : before.Value + margin;
    }

    protected MonitorPoint Realized(string metric, Measured value, long n, string? insufficient, string detail, double? lower = null, double? upper = null, string? column = null)
    {
        double? before = reference.Before(metric, column)?.Value;
        string state = insufficient is not null ? PointState.Insufficient
            : value.Value is not { } v || double.IsNaN(v) ? PointState.Undefined
            : v < lower || v > upper ? PointState.Alert : PointState.Ok;
        bool number = state is PointState.Ok or PointState.Alert;
        // What was lost against the reference has to shrink to a share of what may be lost before a firing rule ends.
        bool clear = (lower ?? upper) is not { } limit || Math.Abs(value.Value - before ?? 0) <= config.Thresholds.ClearBelow * Math.Abs(limit - before ?? 0) || (lower is not null ? value.Value > before : value.Value < before);
        return new MonitorPoint(start, end, metric, column, number ? value.Value : null, n, state, lower, upper, number ? null : insufficient ?? value.Why, detail, Error: number ? value.Error : null, Coverage: Coverage) { Clear = clear };
    }

    protected MonitorPoint Estimated(string metric, Measured value, long n, string what, string detail)
    {
        string? few = n < Monitoring.Drift.LeastRows ? $"{n} rows with {what}, {Monitoring.Drift.LeastRows} are needed" : null;
        string state = few is not null ? PointState.Insufficient : value.Value is null ? PointState.Undefined : PointState.Ok;
        bool number = state == PointState.Ok;
        return new MonitorPoint(start, end, metric, null, number ? value.Value : null, n, state, null, null, number ? null : few ?? value.Why, detail, Error: number ? value.Error : null);
    }

    /// <summary>Concept drift: what labels say of a metric against what the outputs promised, on a window that is mature.</summary>
    /// <param name="name">`concept_gap` for the primary metric, which has a rule of its own; otherwise the metric's name with `_gap`.</param>
    /// <param name="metric">The metric.</param>
    /// <param name="promised">Its estimate.</param>
    /// <param name="promisedN">Rows of the estimate.</param>
    /// <param name="realized">Its value over the labelled rows.</param>
    /// <param name="n">These rows.</param>
    /// <param name="insufficient">Why they are too few; null when they are enough.</param>
    protected MonitorPoint? Gap(string name, string metric, Measured promised, long promisedN, Measured realized, long n, string? insufficient)
    {
        if (reference.Before(metric) is not { Spread: { } spread })
        {
            return null;
        }

        promised = promised with { Error = spread / Math.Sqrt(Math.Max(1, promisedN)) };
        realized = realized with { Error = spread / Math.Sqrt(Math.Max(1, n)) };
        string? why = insufficient ?? (Coverage < ConceptGap.MatureCoverage ? $"{Coverage:P0} of the predictions have a label, {ConceptGap.MatureCoverage:P0} are needed to compare with the estimate" : null);
        string state = why is not null ? PointState.Insufficient : ConceptGap.Exceeds(promised, realized) is not { } exceeds ? PointState.Undefined : exceeds ? PointState.Alert : PointState.Ok;
        bool number = state is PointState.Ok or PointState.Alert;
        double limit = 3 * Math.Sqrt(promised.Error!.Value * promised.Error.Value + realized.Error!.Value * realized.Error.Value);
        double? gap = number ? Math.Abs(promised.Value!.Value - realized.Value!.Value) : null;
        string detail = JsonSerializer.Serialize(new { metric, estimated = promised.Value, realized = realized.Value }, Json);
        return new MonitorPoint(start, end, name, null, gap, n, state, null, limit, number ? null : why ?? promised.Why ?? realized.Why, detail, state == PointState.Alert ? DriftLevel.Warn : DriftLevel.None, Coverage: Coverage)
        {
            Clear = gap <= limit * config.Thresholds.ClearBelow,
        };
    }
}
