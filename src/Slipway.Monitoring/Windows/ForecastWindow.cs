using System.Globalization;
using System.Text.Json;

namespace Slipway.Monitoring;

/// <summary>A window of forecasts. Every horizon has points of its own, and none before the first of its actuals has arrived.</summary>
internal sealed class ForecastWindow(MonitorConfig config, MonitorReference reference, DateTimeOffset start, DateTimeOffset end) : OutputWindow(config, reference, start, end)
{
    /// <summary>Origins that a point's detail names: the newest.</summary>
    private const int MostOrigins = 31;

    private readonly ForecastRule rule = config.Forecast ?? throw new InvalidOperationException("A monitor of forecasts knows their horizon.");
    private readonly WatchedOutput? forecast = reference.Score is null ? null : new(null, reference.Score, reference.Score.Sketch());
    private readonly int horizonAt = config.FeatureNames.IndexOf(config.Forecast?.Horizon ?? "");
    private readonly int originAt = config.FeatureNames.IndexOf(config.Forecast?.Origin ?? "");
    private readonly int naiveAt = config.FeatureNames.IndexOf(config.Forecast?.Naive ?? "");
    private readonly SortedDictionary<int, List<Step>> horizons = [];
    private long without;

    public override IReadOnlyList<WatchedOutput> Outputs => forecast is null ? [] : [forecast];

    public static string ColumnOf(int horizon) => $"horizon {horizon.ToString(CultureInfo.InvariantCulture)}";

    public override IEnumerable<MonitorPoint> Estimates() => [];

    public override IEnumerable<MonitorPoint> Performance() => horizons.Where(h => h.Value.Exists(s => double.IsFinite(s.Point.Actual))).SelectMany(h => Of(h.Key, h.Value));

    protected override void Take(Prediction prediction, double? label)
    {
        double value = Config.Score(prediction.Outputs), steps = At(horizonAt);
        forecast?.Window.Add(value);
        if (!(steps >= 1 && steps <= int.MaxValue && steps == Math.Floor(steps)) || (!horizons.ContainsKey((int)steps) && horizons.Count == ForecastRule.MostHorizons))
        {
            without++;
            return;
        }

        if (!horizons.TryGetValue((int)steps, out List<Step>? of))
        {
            horizons[(int)steps] = of = [];
        }

        string origin = originAt < 0 ? AlertText.Moment(prediction.At) : At(originAt).ToString("R", CultureInfo.InvariantCulture);
        of.Add(new Step(prediction.Id, origin, new ForecastPoint((int)steps, prediction.At, label ?? double.NaN, value, Output(rule.LowerOutput), Output(rule.UpperOutput)), At(naiveAt)));

        double At(int feature) => feature >= 0 && feature < prediction.Features.Count ? prediction.Features[feature] : double.NaN;

        double? Output(int? at) => at is { } i && i < prediction.Outputs.Count && float.IsFinite(prediction.Outputs[i]) ? prediction.Outputs[i] : null;
    }

    private IEnumerable<MonitorPoint> Of(int horizon, List<Step> unordered)
    {
        string column = ColumnOf(horizon);
        // In the order of origins, whichever order the log gave them in: sums come out the same whenever they are made.
        Step[] steps = [.. unordered.OrderBy(s => s.Point.Origin).ThenBy(s => s.Id, StringComparer.Ordinal)];
        ForecastMetrics m = ForecastMetrics.Of(steps.Select(s => s.Point), Reference.Series ?? [], rule.Season, rule.Alpha);
        RegressionMetrics e = m.Errors;
        double coverage = (double)steps.Count(s => double.IsFinite(s.Point.Actual)) / steps.Length;
        Thresholds t = Config.Thresholds;
        string? few = coverage < t.LeastCoverage ? $"the actuals of {steps.Count(s => double.IsFinite(s.Point.Actual))} of {steps.Length} forecasts {horizon} ahead have arrived, {t.LeastCoverage:P0} are needed"
            : e.N < t.LeastLabelled ? $"{e.N} forecasts {horizon} ahead have their actual, {t.LeastLabelled} are needed" : null;
        string detail = JsonSerializer.Serialize(
            new
            {
                horizon,
                forecasts = steps.Length,
                arrived = e.N,
                waiting = m.Waiting,
                leftOut = e.LeftOut,
                zeroActuals = e.ZeroTargets,
                withoutHorizon = without,
                season = rule.Season,
                scaledBy = rule.Training is not null ? "training" : "reference",
                medianLabelDelaySeconds = MedianDelay,
                origins = steps.GroupBy(s => s.Origin).TakeLast(MostOrigins).Select(g => new { origin = g.Key, n = g.Count(s => double.IsFinite(s.Point.Actual)), mae = ForecastMetrics.Of(g.Select(s => s.Point), [], 1).Errors.MeanAbsoluteError.Value }),
                reference = Reference.Metrics?.Where(r => r.Column == column),
            },
            Json);
        yield return Point("mae", e.MeanAbsoluteError, upper: Limit("mae", e.N, t.ErrorRise * (Reference.Before("mae", column)?.Value ?? 0), lowIsBad: false, column));
        yield return Point("rmse", e.RootMeanSquaredError);
        yield return Point("mean_error", e.MeanError);
        yield return Point("mape", e.MeanAbsolutePercentageError);
        yield return Point("smape", e.SymmetricPercentageError);
        yield return Point("wape", e.WeightedPercentageError);
        yield return Point("mase", m.Mase);
        yield return Point("rmsse", m.Rmsse);
        // Without bias the sum of n independent errors spreads by the root of n: in units of the mean absolute error, normal errors give sqrt(pi n / 2).
        double band = Math.Max(ForecastMetrics.TrackingLimit, 3 * Math.Sqrt(Math.PI / 2 * e.N));
        yield return Point("tracking_signal", m.TrackingSignal, -band, band);
        if (naiveAt >= 0)
        {
            Step[] known = [.. steps.Where(s => double.IsFinite(s.Point.Actual) && double.IsFinite(s.Naive) && double.IsFinite(s.Point.Forecast))];
            yield return Point("skill", ForecastMetrics.Skill(Absolute(known, s => s.Point.Forecast), Absolute(known, s => s.Naive)));
        }

        if (rule.LowerOutput is not null)
        {
            yield return Point("interval_coverage", m.Coverage);
            yield return Point("interval_width", m.IntervalWidth);
            yield return Point("winkler", m.Winkler);
            yield return Point("pinball_lower", m.PinballLower);
            yield return Point("pinball_upper", m.PinballUpper);
        }

        MonitorPoint Point(string metric, Measured value, double? lower = null, double? upper = null) => Realized(metric, value, e.N, few, detail, lower, upper, column) with { Coverage = coverage };

        static Measured Absolute(Step[] of, Func<Step, double> forecast) => RegressionMetrics.Of(of.Select(s => s.Point.Actual).ToArray(), of.Select(forecast).ToArray()).MeanAbsoluteError;
    }

    private sealed record Step(string Id, string Origin, ForecastPoint Point, double Naive);
}
