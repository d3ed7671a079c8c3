namespace Slipway.Monitoring;

/// <summary>How the joint distribution of the features compares, by one method.</summary>
public sealed record MultivariateReport
{
    /// <summary>A value of <see cref="MultivariateDrift.Methods"/>.</summary>
    public required string Method { get; init; }

    /// <summary>A value of <see cref="PointState"/>.</summary>
    public required string State { get; init; }

    /// <summary>Reconstruction error, AUC of the classifier or unbiased squared discrepancy; null when there is none.</summary>
    public double? Value { get; init; }

    /// <summary>Standard error of the value; null when it has none.</summary>
    public double? Error { get; init; }

    /// <summary>A value below it alerts; null when the p-value decides.</summary>
    public double? Lower { get; init; }

    /// <summary>A value above it alerts; null when the p-value decides.</summary>
    public double? Upper { get; init; }

    /// <summary>Probability of the value without drift, by permutation; null when limits decide.</summary>
    public double? P { get; init; }

    /// <summary>A p-value up to it alerts; null when limits decide.</summary>
    public double? Alpha { get; init; }

    /// <summary>Rows of the reference that were compared, evenly spread over it.</summary>
    public required int ReferenceRows { get; init; }

    /// <summary>Rows of the current table that were compared, evenly spread over it.</summary>
    public required int CurrentRows { get; init; }

    /// <summary>How many features were compared together.</summary>
    public required int Features { get; init; }

    /// <summary>Why there is no value, or what to keep in mind about the limits; null when there is nothing to say.</summary>
    public string? Why { get; init; }
}

/// <summary>
/// Drift that no single column shows: correlations that break, and combinations of values that did not occur. Every method compares rows that are evenly
/// spread over both sides, so its cost does not grow with the tables; the report says how many. Limits come from ten consecutive windows of the reference,
/// each compared with the rest of it, so that order within the reference does not alarm.
/// </summary>
public static class MultivariateDrift
{
    /// <summary>PCA reconstruction error, domain classifier and maximum mean discrepancy.</summary>
    public static readonly IReadOnlyList<string> Methods = [Pca, Classifier, Discrepancy];

    /// <summary>Rows of the reference that are compared at most.</summary>
    public const int MostReferenceRows = 10_000;

    /// <summary>Rows of the current table that are compared at most.</summary>
    public const int MostCurrentRows = 1_000;

    /// <summary>Rows of the current table that the classifier is trained on at most, and a tenth of those of the reference: it is trained 55 times.</summary>
    public const int MostClassifierRows = 300;

    /// <summary>Features that are compared at most: the cost of components grows with their cube.</summary>
    public const int MostFeatures = 100;

    /// <summary>Consecutive windows of the reference that limits come from.</summary>
    internal const int Windows = 10;

    private const string Pca = "pca";
    private const string Classifier = "domain_classifier";
    private const string Discrepancy = "mmd";
    private const int ClassifierReference = 2;
    private const int Permutations = 1_000;
    // A monitor's windows are many, and its discrepancy must exceed what windows of the reference have as well.
    private const int LivePermutations = 200;
    private const double LiveAlpha = 0.01;
    private const int DiscrepancyWindowRows = 500;
    private const double LeastAuc = 0.45;
    private const double MostAuc = 0.65;
    // A column that is the sum of others is reconstructed up to rounding: that is no distance.
    private const double Rounding = 1e-9;

    /// <summary>Compares the features of two tables by each method.</summary>
    /// <param name="reference">Columns of the reference.</param>
    /// <param name="current">The same columns of the current table.</param>
    /// <param name="methods">Values of <see cref="Methods"/>.</param>
    /// <param name="alpha">The p-value up to which the discrepancy alerts.</param>
    internal static IReadOnlyList<MultivariateReport> Of(IReadOnlyList<TableColumn> reference, IReadOnlyList<TableColumn> current, IReadOnlyList<string> methods, double alpha)
    {
        int nr = reference.Count == 0 ? 0 : reference[0].Rows, nc = current.Count == 0 ? 0 : current[0].Rows;
        int[] before = Spread(nr, MostReferenceRows), after = Spread(nc, MostCurrentRows);
        string? state = nc == 0 ? PointState.NoData : before.Length < Windows * Drift.LeastRows || after.Length < Drift.LeastRows ? PointState.Insufficient : null;
        string why = $"{nr} rows in the reference and {nc} in the current table; {Windows * Drift.LeastRows} and {Drift.LeastRows} are needed";
        double[][] r = [], c = [];
        if (state is null)
        {
            (double[] Reference, double[] Current)[] sides = [.. Enumerable.Range(0, reference.Count).Select(i => Numbers(reference[i], current[i], before, after)).Where(s => Array.Exists(s.Reference, double.IsFinite))];
            (r, c) = ([.. sides.Select(s => s.Reference)], [.. sides.Select(s => s.Current)]);
            (state, why) = r.Length switch
            {
                < 2 => (PointState.Undefined, $"{r.Length} features have values on both sides; two are needed to differ jointly"),
                > MostFeatures => (PointState.Undefined, $"{r.Length} features are more than {MostFeatures}; name those that matter"),
                _ => (null, ""),
            };
        }

        return methods.Distinct(StringComparer.Ordinal).Select(method =>
        {
            var report = new MultivariateReport { Method = method, State = state ?? PointState.Undefined, ReferenceRows = before.Length, CurrentRows = after.Length, Features = r.Length, Why = why };
            return state is not null ? report : method switch
            {
                Discrepancy => Permuted(report, r, c, alpha, Permutations),
                _ => Judged(report, r, c, Calibrated(method, r)),
            };
        }).ToArray();
    }

    /// <summary>Limits of a method from ten consecutive windows of a reference, each against the rest of it.</summary>
    internal static Calibration Calibrated(string method, double[][] reference) => method switch
    {
        Pca => Each(reference, Reconstruction),
        Classifier => Each(At(reference, Spread(reference[0].Length, Windows * MostClassifierRows)), Told),
        _ => Each(At(reference, Spread(reference[0].Length, Windows * DiscrepancyWindowRows)), Discrepant),
    };

    /// <summary>Compares a window with a reference by a method whose limits are known.</summary>
    internal static MultivariateReport Judged(MultivariateReport report, double[][] reference, double[][] window, Calibration calibration)
    {
        if (report.Method == Pca)
        {
            return Limited(report, Reconstruction(reference, window), calibration, null);
        }

        if (report.Method == Classifier)
        {
            return Told(report, reference, window, calibration);
        }

        MultivariateReport told = Permuted(report, reference, window, LiveAlpha, LivePermutations);
        MultivariateReport limited = Limited(told, told.Value is { } v ? Measured.Of(v) : Measured.Undefined(told.Why!), calibration, null) with { Lower = null };
        bool alerts = told.State == PointState.Alert && limited.Value > limited.Upper;
        return limited with { State = limited.State == PointState.Undefined ? limited.State : alerts ? PointState.Alert : PointState.Ok };
    }

    /// <summary>The discrepancy of a window, each side thinned and in units of the reference.</summary>
    private static Measured Discrepant(double[][] reference, double[][] window)
    {
        (double Mean, double Deviation)[] scales = Scales(reference);
        double value = Mmd.Squared(Rows(reference, scales, Spread(reference[0].Length, DiscrepancyWindowRows)), Rows(window, scales, Spread(window[0].Length, DiscrepancyWindowRows)));
        return double.IsFinite(value) ? Measured.Of(value) : Measured.Undefined("all compared rows of a window of the reference are equal");
    }

    private static Measured Reconstruction(double[][] reference, double[][] window) => Monitoring.Pca.Fit(reference).Error(window);

    private static MultivariateReport Told(MultivariateReport report, double[][] reference, double[][] current, Calibration calibration)
    {
        int[] before = Spread(report.ReferenceRows, Windows * MostClassifierRows), after = Spread(report.CurrentRows, MostClassifierRows);
        return Limited(report with { ReferenceRows = before.Length, CurrentRows = after.Length }, Told(At(reference, before), At(current, after)), calibration, (LeastAuc, MostAuc));
    }

    private static Measured Told(double[][] reference, double[][] window)
    {
        Measured auc = DomainClassifier.Auc(reference, window, ClassifierReference);
        double n = window[0].Length, rest = Math.Min(reference[0].Length, ClassifierReference * n);
        // The spread of an area of 0.5, which is what it is without drift.
        return auc with { Error = Math.Sqrt((n + rest + 1) / (12 * n * rest)) };
    }

    /// <summary>Each window of the reference against the rest of it.</summary>
    private static Calibration Each(double[][] reference, Func<double[][], double[][], Measured> of)
    {
        int n = reference[0].Length;
        var values = new Measured[Windows];
        Parallel.For(0, Windows, new ParallelOptions { MaxDegreeOfParallelism = 2 }, w =>
        {
            int from = (int)((long)w * n / Windows), to = (int)((long)(w + 1) * n / Windows);
            values[w] = of([.. reference.Select(c => (double[])[.. c[..from], .. c[to..]])], [.. reference.Select(c => c[from..to])]);
        });
        return new Calibration(n / Windows, [.. values.Select(v => v.Value)], values.Average(v => v.Error ?? 0), values.Where(v => v.Value is null).Select(v => v.Why).FirstOrDefault());
    }

    private static MultivariateReport Limited(MultivariateReport report, Measured value, Calibration windows, (double Least, double Most)? material)
    {
        double[] values = [.. windows.Values.OfType<double>()];
        if (value.Value is not { } at || values.Length < Windows)
        {
            return report with { State = PointState.Undefined, Why = value.Why ?? windows.Why };
        }

        double mean = values.Average();
        // Ten values tell a deviation badly: it is at least what sampling alone makes at this number of rows.
        double sampling = windows.Error * Math.Sqrt((double)windows.Rows / report.CurrentRows);
        double deviation = Math.Max(Math.Sqrt(values.Average(v => (v - mean) * (v - mean))), sampling);
        double lower = Math.Min(mean - 3 * deviation - Rounding, material?.Least ?? double.PositiveInfinity), upper = Math.Max(mean + 3 * deviation + Rounding, material?.Most ?? double.NegativeInfinity);
        return report with
        {
            State = at < lower || at > upper ? PointState.Alert : PointState.Ok,
            Value = at,
            Error = value.Error,
            Lower = lower,
            Upper = upper,
            Why = report.CurrentRows > 2 * windows.Rows || 2 * report.CurrentRows < windows.Rows ? $"the limits come from windows of {windows.Rows} rows, the value from {report.CurrentRows}"
                : material is not null && upper >= 1 ? "windows of the reference are told from the rest of it as well as can be: nothing can alert" : null,
        };
    }

    private static MultivariateReport Permuted(MultivariateReport report, double[][] reference, double[][] current, double alpha, int permutations)
    {
        int[] before = Spread(reference[0].Length, MostCurrentRows), after = Spread(current[0].Length, MostCurrentRows);
        (double Mean, double Deviation)[] scales = Scales(reference);
        StatisticalTest test = Mmd.Test(Rows(reference, scales, before), Rows(current, scales, after), permutations);
        return report with
        {
            State = test.P is not { } p || !double.IsFinite(test.Statistic) ? PointState.Undefined : p <= alpha ? PointState.Alert : PointState.Ok,
            Value = double.IsFinite(test.Statistic) ? test.Statistic : null,
            P = test.P,
            Alpha = alpha,
            ReferenceRows = before.Length,
            Why = double.IsFinite(test.Statistic) ? null : "all compared rows are equal, or too few",
        };
    }

    private static (double Mean, double Deviation)[] Scales(double[][] columns) => [.. columns.Select(c =>
    {
        Moments m = Moments.Of(c.Where(double.IsFinite).ToArray());
        return (m.Mean, Math.Sqrt(m.Variance ?? 0) is > 0 and var d ? d : 1);
    })];

    private static double[][] Rows(double[][] columns, (double Mean, double Deviation)[] scales, int[] at) =>
        [.. at.Select(i => columns.Select((c, k) => double.IsFinite(c[i]) ? (c[i] - scales[k].Mean) / scales[k].Deviation : 0).ToArray())];

    private static double[][] At(double[][] columns, int[] at) => [.. columns.Select(c => at.Select(i => c[i]).ToArray())];

    private static (double[] Reference, double[] Current) Numbers(TableColumn reference, TableColumn current, int[] before, int[] after)
    {
        if (reference.Kind == ColumnKind.Number)
        {
            return ([.. before.Select(i => Known(reference.Numbers[i]))], [.. after.Select(i => Known(current.Numbers[i]))]);
        }

        string?[] known = [.. before.Select(reference.TextAt)];
        return (Monitoring.Pca.Frequencies(known, known), Monitoring.Pca.Frequencies(known, [.. after.Select(current.TextAt)]));

        static double Known(double value) => double.IsFinite(value) ? value : double.NaN;
    }

    /// <summary>Indexes of at most so many rows, evenly spread.</summary>
    internal static int[] Spread(int rows, int most)
    {
        int kept = Math.Min(rows, most);
        return [.. Enumerable.Range(0, kept).Select(i => (int)((long)i * rows / kept))];
    }
}

/// <summary>What a method gave for consecutive windows of a reference, each against the rest of it.</summary>
/// <param name="Rows">Rows of one window.</param>
/// <param name="Values">One value a window; null where it has none.</param>
/// <param name="Error">Mean standard error of the values; 0 where they have none.</param>
/// <param name="Why">Why a value is null.</param>
internal sealed record Calibration(int Rows, IReadOnlyList<double?> Values, double Error, string? Why = null);
