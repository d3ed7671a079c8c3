using System.Text.Json;

namespace Slipway.Monitoring;

/// <summary>A window of predicted numbers.</summary>
internal sealed class RegressionWindow(MonitorConfig config, MonitorReference reference, DateTimeOffset start, DateTimeOffset end) : OutputWindow(config, reference, start, end)
{
    private readonly WatchedOutput? predicted = reference.Score is null ? null : new(null, reference.Score, reference.Score.Sketch());
    private readonly List<double> predictions = [];
    private readonly List<double> targets = [];
    private readonly double[] row = new double[config.FeatureNames.Count + 1];
    private readonly Promise? absolute = reference.Loss is null ? null : new(reference.Loss);
    private readonly Promise? squared = reference.SquaredLoss is null ? null : new(reference.SquaredLoss);

    public override IReadOnlyList<WatchedOutput> Outputs => predicted is null ? [] : [predicted];

    public override IEnumerable<MonitorPoint> Estimates()
    {
        string detail = JsonSerializer.Serialize(new { method = "dle", reference = Reference.Metrics }, Json);
        if (absolute is not null)
        {
            yield return Estimated("estimated_mae", absolute.Mean, absolute.N, "a prediction", detail);
        }

        if (squared is not null)
        {
            yield return Estimated("estimated_rmse", Dle.Root(squared.Mean), squared.N, "a prediction", detail);
        }
    }

    public override IEnumerable<MonitorPoint> Performance()
    {
        RegressionMetrics m = RegressionMetrics.Of(InTime(targets), InTime(predictions));
        string? few = TooFew(m.N);
        string detail = JsonSerializer.Serialize(
            new { m.N, m.LeftOut, zeroTargets = m.ZeroTargets, predictions = Rows, labelled = Labelled, medianLabelDelaySeconds = MedianDelay, errorDeviation = m.ErrorDeviation.Value, autocorrelation = m.Autocorrelation.Value, reference = Reference.Metrics }, Json);
        double matters = Config.Thresholds.ErrorRise * (Reference.Before("mae")?.Value ?? 0);
        yield return Realized("mae", m.MeanAbsoluteError, m.N, few, detail, upper: Limit("mae", m.N, matters, lowIsBad: false));
        yield return Realized("rmse", m.RootMeanSquaredError, m.N, few, detail);
        yield return Realized("mean_error", m.MeanError, m.N, few, detail);
        yield return Realized("r2", m.R2, m.N, few, detail);
        yield return Realized("mape", m.MeanAbsolutePercentageError, m.N, few, detail);
        if (absolute is not null && Gap("concept_gap", Primary, absolute.Mean, absolute.N, m.MeanAbsoluteError, m.N, few) is { } gap)
        {
            yield return gap;
        }

        if (squared is not null && Gap("rmse_gap", "rmse", Dle.Root(squared.Mean), squared.N, m.RootMeanSquaredError, m.N, few) is { } squares)
        {
            yield return squares;
        }
    }

    protected override void Take(Prediction prediction, double? label)
    {
        double p = Config.Score(prediction.Outputs);
        predicted?.Window.Add(p);
        if (double.IsFinite(p) && (absolute ?? squared) is not null)
        {
            for (int i = 0; i < prediction.Features.Count; i++)
            {
                row[i] = prediction.Features[i];
            }

            row[^1] = p;
            absolute?.Add(row);
            squared?.Add(row);
        }

        if (label is { } value)
        {
            targets.Add(value);
            predictions.Add(p);
        }
    }

    /// <summary>The mean of the losses that a model of the reference promises for the rows, none below 0, with its standard error.</summary>
    private sealed class Promise(BoostedTrees loss)
    {
        private readonly List<double> expected = [];

        public long N => expected.Count;

        /// <summary>Summed from the smallest loss on: rows of another order give the same number bit for bit.</summary>
        public Measured Mean
        {
            get
            {
                if (expected.Count == 0)
                {
                    return Measured.Undefined("no row has a prediction");
                }

                expected.Sort();
                double mean = expected.Average();
                return Measured.Of(mean, Math.Sqrt(expected.Sum(e => (e - mean) * (e - mean)) / N / N));
            }
        }

        public void Add(double[] row) => expected.Add(Math.Max(0, loss.Predict(row)));
    }
}
