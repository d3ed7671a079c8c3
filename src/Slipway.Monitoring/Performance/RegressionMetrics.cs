namespace Slipway.Monitoring;

/// <summary>
/// Realized performance of predicted numbers. Rows whose target or prediction is missing or infinite are left out and counted. Errors are
/// prediction less target.
/// </summary>
public sealed record RegressionMetrics
{
    private RegressionMetrics()
    {
    }

    /// <summary>Rows measured.</summary>
    public long N { get; private init; }

    /// <summary>Rows left out.</summary>
    public long LeftOut { get; private init; }

    /// <summary>Targets that are 0: left out of <see cref="MeanAbsolutePercentageError"/>.</summary>
    public long ZeroTargets { get; private init; }

    /// <summary>Mean absolute error.</summary>
    public Measured MeanAbsoluteError { get; private init; }

    /// <summary>Mean squared error.</summary>
    public Measured MeanSquaredError { get; private init; }

    /// <summary>Root of the mean squared error; its standard error is sd(e^2) / (2 RMSE sqrt n).</summary>
    public Measured RootMeanSquaredError { get; private init; }

    /// <summary>Median absolute error.</summary>
    public Measured MedianAbsoluteError { get; private init; }

    /// <summary>Largest absolute error.</summary>
    public Measured MaxError { get; private init; }

    /// <summary>Mean error: the bias.</summary>
    public Measured MeanError { get; private init; }

    /// <summary>Population standard deviation of the errors.</summary>
    public Measured ErrorDeviation { get; private init; }

    /// <summary>Share of the target's variance that is explained, bias counted; undefined for a constant target.</summary>
    public Measured R2 { get; private init; }

    /// <summary>The same without the bias; undefined for a constant target.</summary>
    public Measured ExplainedVariance { get; private init; }

    /// <summary>Mean of |e / y| over targets that are not 0, as a share.</summary>
    public Measured MeanAbsolutePercentageError { get; private init; }

    /// <summary>Mean of 2 |e| / (|y| + |p|), as a share; a row where both are 0 counts 0.</summary>
    public Measured SymmetricPercentageError { get; private init; }

    /// <summary>Sum of |e| over sum of |y|.</summary>
    public Measured WeightedPercentageError { get; private init; }

    /// <summary>Mean squared difference of ln(1 + y); undefined with values of -1 or less.</summary>
    public Measured MeanSquaredLogError { get; private init; }

    /// <summary>Its root.</summary>
    public Measured RootMeanSquaredLogError { get; private init; }

    /// <summary>Mean Poisson deviance, 2 (y ln(y / p) - y + p); undefined with negative targets or predictions that are not positive.</summary>
    public Measured PoissonDeviance { get; private init; }

    /// <summary>Share of the absolute deviation from the median that is explained (D2).</summary>
    public Measured AbsoluteD2 { get; private init; }

    /// <summary>Correlation of each error with the next one, in the order of the rows: near 0 when errors are independent.</summary>
    public Measured Autocorrelation { get; private init; }

    /// <summary>Skewness of the errors.</summary>
    public Measured ErrorSkewness { get; private init; }

    /// <summary>Measures.</summary>
    public static RegressionMetrics Of(ReadOnlySpan<double> targets, ReadOnlySpan<double> predictions)
    {
        (double[] y, double[] p) = Kept(targets, predictions);
        long n = y.Length, left = targets.Length - n;
        if (n == 0)
        {
            Measured none = Measured.Undefined($"none of {left} rows has both a target and a prediction");
            return new RegressionMetrics
            {
                LeftOut = left,
                MeanAbsoluteError = none,
                MeanSquaredError = none,
                RootMeanSquaredError = none,
                MedianAbsoluteError = none,
                MaxError = none,
                MeanError = none,
                ErrorDeviation = none,
                R2 = none,
                ExplainedVariance = none,
                MeanAbsolutePercentageError = none,
                SymmetricPercentageError = none,
                WeightedPercentageError = none,
                MeanSquaredLogError = none,
                RootMeanSquaredLogError = none,
                PoissonDeviance = none,
                AbsoluteD2 = none,
                Autocorrelation = none,
                ErrorSkewness = none,
            };
        }

        double[] errors = new double[n], absolute = new double[n], squared = new double[n];
        for (int i = 0; i < n; i++)
        {
            errors[i] = p[i] - y[i];
            absolute[i] = Math.Abs(errors[i]);
            squared[i] = errors[i] * errors[i];
        }

        Moments e = Moments.Of(errors), a = Moments.Of(absolute), s = Moments.Of(squared), t = Moments.Of(y);
        int[] counted = Enumerable.Range(0, (int)n).Where(i => y[i] != 0).ToArray();
        double root = Math.Sqrt(s.Mean), sumAbsolute = y.Sum(Math.Abs);
        double[] sortedTargets = TwoSample.Sorted(y), sortedErrors = TwoSample.Sorted(absolute);
        double median = Bins.Quantile(sortedTargets, 0.5), deviation = y.Average(v => Math.Abs(v - median));
        Measured constant = Measured.Undefined($"the target is constant in {n} rows"), log = LogError(y, p);
        return new RegressionMetrics
        {
            N = n,
            LeftOut = left,
            ZeroTargets = n - counted.Length,
            MeanAbsoluteError = Mean(a),
            MeanSquaredError = Mean(s),
            RootMeanSquaredError = Measured.Of(root, root == 0 ? 0 : Math.Sqrt(s.Variance!.Value / (4 * n * s.Mean))),
            MedianAbsoluteError = Measured.Of(Bins.Quantile(sortedErrors, 0.5)),
            MaxError = Measured.Of(sortedErrors[^1]),
            MeanError = Mean(e),
            ErrorDeviation = Measured.Of(Math.Sqrt(e.Variance!.Value)),
            R2 = t.M2 == 0 ? constant : Measured.Of(1 - s.Mean / t.Variance!.Value),
            ExplainedVariance = t.M2 == 0 ? constant : Measured.Of(1 - e.Variance!.Value / t.Variance!.Value),
            MeanAbsolutePercentageError = counted.Length == 0 ? Measured.Undefined("all targets are 0") : Mean(Moments.Of(counted.Select(i => absolute[i] / Math.Abs(y[i])).ToArray())),
            SymmetricPercentageError = Mean(Moments.Of(Enumerable.Range(0, (int)n).Select(i => absolute[i] == 0 ? 0 : 2 * absolute[i] / (Math.Abs(y[i]) + Math.Abs(p[i]))).ToArray())),
            WeightedPercentageError = sumAbsolute == 0 ? Measured.Undefined("all targets are 0") : Measured.Of(a.Mean * n / sumAbsolute),
            MeanSquaredLogError = log,
            RootMeanSquaredLogError = log.Value is { } l ? Measured.Of(Math.Sqrt(l), l == 0 ? 0 : log.Error / (2 * Math.Sqrt(l))) : log,
            PoissonDeviance = Poisson(y, p),
            AbsoluteD2 = deviation == 0 ? constant : Measured.Of(1 - a.Mean / deviation),
            Autocorrelation = Lag(errors, e),
            ErrorSkewness = e.Skewness is { } skewness ? Measured.Of(skewness) : Measured.Undefined("the errors are constant"),
        };
    }

    /// <summary>Pinball loss of a predicted quantile <paramref name="q"/>: mean of q (y - p) above it and (1 - q)(p - y) below.</summary>
    public static Measured Pinball(ReadOnlySpan<double> targets, ReadOnlySpan<double> predictions, double q)
    {
        (double[] y, double[] p) = Kept(targets, predictions);
        return y.Length == 0 ? Measured.Undefined("no row has both a target and a prediction") : Mean(Moments.Of(y.Zip(p, (t, v) => t >= v ? q * (t - v) : (1 - q) * (v - t)).ToArray()));
    }

    internal static (double[] Targets, double[] Predictions) Kept(ReadOnlySpan<double> targets, ReadOnlySpan<double> predictions)
    {
        if (targets.Length != predictions.Length)
        {
            throw new ArgumentException($"{targets.Length} targets and {predictions.Length} predictions: one of each is needed for every row.", nameof(predictions));
        }

        double[] y = new double[targets.Length], p = new double[targets.Length];
        int n = 0;
        for (int i = 0; i < targets.Length; i++)
        {
            if (double.IsFinite(targets[i]) && double.IsFinite(predictions[i]))
            {
                (y[n], p[n]) = (targets[i], predictions[i]);
                n++;
            }
        }

        return (y[..n], p[..n]);
    }

    private static Measured Mean(Moments m) => Measured.Of(m.Mean, Math.Sqrt(m.Variance!.Value / m.Count));

    private static Measured LogError(double[] y, double[] p) => Array.Exists(y, v => v <= -1) || Array.Exists(p, v => v <= -1)
        ? Measured.Undefined("a target or prediction is -1 or less")
        : Array.Exists(y, v => v < 0) || Array.Exists(p, v => v < 0)
            ? Measured.Undefined("a target or prediction is negative")
            : Mean(Moments.Of(y.Zip(p, (t, v) => (Math.Log(1 + t) - Math.Log(1 + v)) * (Math.Log(1 + t) - Math.Log(1 + v))).ToArray()));

    private static Measured Poisson(double[] y, double[] p) => Array.Exists(y, v => v < 0) || Array.Exists(p, v => v <= 0)
        ? Measured.Undefined("a target is negative or a prediction is not positive")
        : Mean(Moments.Of(y.Zip(p, (t, v) => 2 * ((t == 0 ? 0 : t * Math.Log(t / v)) - t + v)).ToArray()));

    private static Measured Lag(double[] errors, Moments e)
    {
        if (e.M2 == 0)
        {
            return Measured.Undefined("the errors are constant");
        }

        double sum = 0;
        for (int i = 1; i < errors.Length; i++)
        {
            sum += (errors[i] - e.Mean) * (errors[i - 1] - e.Mean);
        }

        return Measured.Of(sum / e.M2, 1 / Math.Sqrt(errors.Length));
    }
}
