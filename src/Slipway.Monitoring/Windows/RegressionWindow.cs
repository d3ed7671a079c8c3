using System.Text.Json;

namespace Slipway.Monitoring;

/// <summary>A window of predicted numbers.</summary>
internal sealed class RegressionWindow(MonitorConfig config, MonitorReference reference, DateTimeOffset start, DateTimeOffset end) : OutputWindow(config, reference, start, end)
{
    private readonly WatchedOutput? predicted = reference.Score is null ? null : new(null, reference.Score, reference.Score.Sketch());
    private readonly List<double> predictions = [];
    private readonly List<double> targets = [];
    private readonly double[] row = new double[config.FeatureNames.Count + 1];
    private long promised;
    private double promisedMean;
    private double promisedSquares;

    public override IReadOnlyList<WatchedOutput> Outputs => predicted is null ? [] : [predicted];

    public override IEnumerable<MonitorPoint> Estimates() => Reference.Loss is null
        ? []
        : [Estimated("estimated_mae", Promised(), promised, "a prediction", JsonSerializer.Serialize(new { method = "dle", reference = Reference.Metrics }, Json))];

    public override IEnumerable<MonitorPoint> Performance()
    {
        RegressionMetrics m = RegressionMetrics.Of(targets.ToArray(), predictions.ToArray());
        string? few = TooFew(m.N);
        string detail = JsonSerializer.Serialize(
            new { m.N, m.LeftOut, zeroTargets = m.ZeroTargets, predictions = Rows, labelled = Labelled, medianLabelDelaySeconds = MedianDelay, errorDeviation = m.ErrorDeviation.Value, autocorrelation = m.Autocorrelation.Value, reference = Reference.Metrics }, Json);
        double matters = Config.Thresholds.ErrorRise * (Reference.Before("mae")?.Value ?? 0);
        yield return Realized("mae", m.MeanAbsoluteError, m.N, few, detail, upper: Limit("mae", m.N, matters, lowIsBad: false));
        yield return Realized("rmse", m.RootMeanSquaredError, m.N, few, detail);
        yield return Realized("mean_error", m.MeanError, m.N, few, detail);
        yield return Realized("r2", m.R2, m.N, few, detail);
        yield return Realized("mape", m.MeanAbsolutePercentageError, m.N, few, detail);
        if (Reference.Loss is not null && Gap(Promised(), promised, m.MeanAbsoluteError, m.N, few) is { } gap)
        {
            yield return gap;
        }
    }

    protected override void Take(Prediction prediction, double? label)
    {
        double p = Config.Score(prediction.Outputs);
        predicted?.Window.Add(p);
        if (Reference.Loss is { } loss && double.IsFinite(p))
        {
            for (int i = 0; i < prediction.Features.Count; i++)
            {
                row[i] = prediction.Features[i];
            }

            row[^1] = p;
            double expected = Math.Max(0, loss.Predict(row)), off = expected - promisedMean;
            promised++;
            promisedMean += off / promised;
            promisedSquares += off * (expected - promisedMean);
        }

        if (label is { } value)
        {
            targets.Add(value);
            predictions.Add(p);
        }
    }

    private Measured Promised() => promised == 0 ? Measured.Undefined("no row has a prediction") : Measured.Of(promisedMean, Math.Sqrt(promisedSquares / promised / promised));
}
