namespace Slipway.Monitoring;

/// <summary>A forecast and what came true.</summary>
/// <param name="Horizon">How many steps ahead it was made.</param>
/// <param name="Origin">When it was made; null when that is not known.</param>
/// <param name="Actual">What came true; NaN while it has not arrived.</param>
/// <param name="Forecast">The forecast.</param>
/// <param name="Lower">Lower end of the interval; null without one.</param>
/// <param name="Upper">Upper end of the interval; null without one.</param>
public sealed record ForecastPoint(int Horizon, DateTimeOffset? Origin, double Actual, double Forecast, double? Lower = null, double? Upper = null);

/// <summary>
/// Realized performance of forecasts of one horizon or origin; horizons are never averaged silently. A point counts once its actual has arrived.
/// Scaled errors divide by the error of a naive forecast inside the training series, so a constant series gives none.
/// </summary>
public sealed record ForecastMetrics
{
    /// <summary>A tracking signal outside plus or minus this says that the forecasts are biased.</summary>
    public const double TrackingLimit = 4;

    private ForecastMetrics()
    {
    }

    /// <summary>Point metrics: errors are forecast less actual.</summary>
    public required RegressionMetrics Errors { get; init; }

    /// <summary>Forecasts whose actual has not arrived.</summary>
    public long Waiting { get; private init; }

    /// <summary>Mean absolute error over that of the seasonal naive forecast in the training series (Hyndman and Koehler 2006).</summary>
    public Measured Mase { get; private init; }

    /// <summary>The same with the naive forecast of one step.</summary>
    public Measured MaseNaive { get; private init; }

    /// <summary>Root mean squared error over that of the naive one-step forecast in the training series.</summary>
    public Measured Rmsse { get; private init; }

    /// <summary>Theil's U1: RMSE / (rms of forecasts + rms of actuals).</summary>
    public Measured TheilU1 { get; private init; }

    /// <summary>Sum of (actual less forecast) over the mean absolute error.</summary>
    public Measured TrackingSignal { get; private init; }

    /// <summary>Share of actuals inside their interval, ends included.</summary>
    public Measured Coverage { get; private init; }

    /// <summary>Mean width of the intervals.</summary>
    public Measured IntervalWidth { get; private init; }

    /// <summary>Mean Winkler score: the width, and 2 / alpha times by how far the actual lies outside.</summary>
    public Measured Winkler { get; private init; }

    /// <summary>Pinball loss of the lower end, a quantile alpha / 2.</summary>
    public Measured PinballLower { get; private init; }

    /// <summary>Pinball loss of the upper end, a quantile 1 - alpha / 2.</summary>
    public Measured PinballUpper { get; private init; }

    /// <summary>Whether <see cref="TrackingSignal"/> is outside <see cref="TrackingLimit"/>.</summary>
    public bool Biased => Math.Abs(TrackingSignal.Value ?? 0) > TrackingLimit;

    /// <summary>One result a horizon.</summary>
    public static IReadOnlyDictionary<int, ForecastMetrics> ByHorizon(IEnumerable<ForecastPoint> points, IReadOnlyList<double> training, int season, double alpha = 0.1) =>
        points.GroupBy(p => p.Horizon).OrderBy(g => g.Key).ToDictionary(g => g.Key, g => Of(g, training, season, alpha));

    /// <summary>One result an origin.</summary>
    public static IReadOnlyDictionary<DateTimeOffset, ForecastMetrics> ByOrigin(IEnumerable<ForecastPoint> points, IReadOnlyList<double> training, int season, double alpha = 0.1) =>
        points.Where(p => p.Origin is not null).GroupBy(p => p.Origin!.Value).OrderBy(g => g.Key).ToDictionary(g => g.Key, g => Of(g, training, season, alpha));

    /// <summary>Measures points that belong together.</summary>
    /// <param name="points">Points of one horizon, or of one origin.</param>
    /// <param name="training">The series that the model was trained on, in order.</param>
    /// <param name="season">Steps of one season, at least 1.</param>
    /// <param name="alpha">The intervals hold the actual with probability 1 - alpha.</param>
    public static ForecastMetrics Of(IEnumerable<ForecastPoint> points, IReadOnlyList<double> training, int season, double alpha = 0.1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(season, 1);
        ForecastPoint[] all = points.ToArray(), arrived = all.Where(p => double.IsFinite(p.Actual) && double.IsFinite(p.Forecast)).ToArray();
        RegressionMetrics errors = RegressionMetrics.Of(arrived.Select(p => p.Actual).ToArray(), arrived.Select(p => p.Forecast).ToArray());
        ForecastPoint[] ranged = arrived.Where(p => p.Lower is not null && p.Upper is not null).ToArray();
        double[] actuals = ranged.Select(p => p.Actual).ToArray();
        Measured none = Measured.Undefined("no forecast with an interval has its actual yet");
        double mae = errors.MeanAbsoluteError.Value ?? double.NaN;
        return new ForecastMetrics
        {
            Errors = errors,
            Waiting = all.Length - arrived.Length,
            Mase = Scaled(errors.MeanAbsoluteError, Naive(training, season, Math.Abs), season),
            MaseNaive = Scaled(errors.MeanAbsoluteError, Naive(training, 1, Math.Abs), 1),
            Rmsse = Scaled(errors.RootMeanSquaredError, Math.Sqrt(Naive(training, 1, static e => e * e)), 1),
            TheilU1 = errors.N == 0 ? errors.MeanAbsoluteError : Measured.Of(errors.RootMeanSquaredError.Value!.Value / (Rms(arrived.Select(p => p.Forecast)) + Rms(arrived.Select(p => p.Actual)))),
            TrackingSignal = mae > 0 ? Measured.Of(-errors.MeanError.Value!.Value * errors.N / mae) : Measured.Undefined(errors.N == 0 ? "no actual has arrived" : "every forecast is exact"),
            Coverage = Measured.Share(ranged.LongCount(p => p.Actual >= p.Lower && p.Actual <= p.Upper), ranged.Length, none.Why!),
            IntervalWidth = Mean(ranged.Select(p => p.Upper!.Value - p.Lower!.Value)),
            Winkler = Mean(ranged.Select(p => p.Upper!.Value - p.Lower!.Value + 2 / alpha * (Math.Max(0, p.Lower.Value - p.Actual) + Math.Max(0, p.Actual - p.Upper.Value)))),
            PinballLower = ranged.Length == 0 ? none : RegressionMetrics.Pinball(actuals, ranged.Select(p => p.Lower!.Value).ToArray(), alpha / 2),
            PinballUpper = ranged.Length == 0 ? none : RegressionMetrics.Pinball(actuals, ranged.Select(p => p.Upper!.Value).ToArray(), 1 - alpha / 2),
        };

        Measured Mean(IEnumerable<double> values)
        {
            Moments m = Moments.Of(values.ToArray());
            return m.Count == 0 ? none : Measured.Of(m.Mean, Math.Sqrt(m.Variance!.Value / m.Count));
        }

        static double Rms(IEnumerable<double> values) => Math.Sqrt(values.Average(v => v * v));
    }

    /// <summary>1 - MAE / MAE of a baseline's forecasts of the same points: above 0 the model is better than the baseline.</summary>
    public static Measured Skill(Measured meanAbsoluteError, Measured baseline) =>
        meanAbsoluteError.Value is { } mae && baseline.Value is > 0 and { } other ? Measured.Of(1 - mae / other) : Measured.Undefined("both errors are needed, and the baseline's must not be 0");

    private static double Naive(IReadOnlyList<double> series, int season, Func<double, double> of)
    {
        double sum = 0;
        for (int i = season; i < series.Count; i++)
        {
            sum += of(series[i] - series[i - season]);
        }

        return series.Count > season ? sum / (series.Count - season) : double.NaN;
    }

    private static Measured Scaled(Measured error, double scale, int season) =>
        error.Value is not { } e ? error
        : scale > 0 ? Measured.Of(e / scale, error.Error / scale)
        : Measured.Undefined(double.IsNaN(scale) ? $"the training series is not longer than its season of {season}" : "the naive forecast has no error inside the training series");
}
