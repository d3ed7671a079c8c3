using System.Text.Json.Serialization;

namespace Slipway.Monitoring;

/// <summary>What a comparison of two tables looks at and when it alerts.</summary>
public sealed record ReportOptions
{
    /// <summary>Statistics that can decide on their own against <see cref="Threshold"/>.</summary>
    public static readonly IReadOnlyList<string> Statistics = ["psi", "js", "hellinger", "tvd", "l_infinity", "kl", "ks", "wasserstein"];

    /// <summary>Corrections for testing many columns.</summary>
    public static readonly IReadOnlyList<string> Corrections = ["by", "bh", "holm", "bonferroni", "none"];

    /// <summary>The column of true outcomes; null without.</summary>
    public string? Target { get; init; }

    /// <summary>The column of predictions: classes or numbers; null without.</summary>
    public string? Prediction { get; init; }

    /// <summary>The column of scores of the positive class; null without.</summary>
    public string? Score { get; init; }

    /// <summary>The target that counts as positive; null takes `1`, `true` or `yes` where one of them occurs.</summary>
    public string? Positive { get; init; }

    /// <summary>Only these columns; null takes all.</summary>
    public IReadOnlyList<string>? Columns { get; init; }

    /// <summary>The statistic that decides. Null is the default rule: the population stability index must be significant and material.</summary>
    public string? Statistic { get; init; }

    /// <summary>From which value a column drifts: the material index of the default rule (0.02 when null), or the statistic's own value (0.1 when null).</summary>
    public double? Threshold { get; init; }

    /// <summary>How p-values are corrected for the number of columns.</summary>
    public string Correction { get; init; } = "by";

    /// <summary>Rate of false discoveries (or of family-wise error) over all columns.</summary>
    public double Rate { get; init; } = 0.05;

    /// <summary>The share of features that makes a drift of the whole set.</summary>
    public double DatasetShare { get; init; } = 0.3;

    /// <summary>Methods of <see cref="MultivariateDrift.Methods"/> that compare all features together; none by default, as each costs seconds.</summary>
    public IReadOnlyList<string> Multivariate { get; init; } = [];

    internal IReadOnlyList<string> Problems()
    {
        var problems = new List<string>();
        if (Statistic is { } s && !Statistics.Contains(s, StringComparer.Ordinal))
        {
            problems.Add($"`{s}` is no statistic; one of {string.Join(", ", Statistics)} is");
        }

        if (!Corrections.Contains(Correction, StringComparer.Ordinal))
        {
            problems.Add($"`{Correction}` is no correction; one of {string.Join(", ", Corrections)} is");
        }

        foreach (string method in Multivariate.Where(m => !MultivariateDrift.Methods.Contains(m, StringComparer.Ordinal)))
        {
            problems.Add($"`{method}` is no multivariate method; one of {string.Join(", ", MultivariateDrift.Methods)} is");
        }

        if (Threshold is { } t && !(t >= 0 && double.IsFinite(t)))
        {
            problems.Add($"the threshold is {t}; it is at least 0");
        }

        if (!(Rate is > 0 and < 1) || !(DatasetShare is > 0 and <= 1))
        {
            problems.Add("rates lie between 0 and 1");
        }

        return problems;
    }
}

/// <summary>One bin of both sides, as shares.</summary>
/// <param name="Label">`(3, 7]`, `= 4`, a category or `other`.</param>
/// <param name="Reference">Share of the reference.</param>
/// <param name="Current">Share of the current table.</param>
public sealed record ReportBin(string Label, double Reference, double Current);

/// <summary>A histogram of both sides for the eye: equal steps over the bulk of both.</summary>
/// <param name="From">Left end of the first step; NaN is not written.</param>
/// <param name="To">Right end of the last step.</param>
/// <param name="Reference">Share of the reference in each step.</param>
/// <param name="Current">Share of the current table in each step.</param>
public sealed record Overlay(double From, double To, IReadOnlyList<double> Reference, IReadOnlyList<double> Current);

/// <summary>How one column compares.</summary>
public sealed record ColumnReport
{
    /// <summary>The column.</summary>
    public required string Name { get; init; }

    /// <summary>`feature`, `target`, `prediction` or `score`.</summary>
    public required string Role { get; init; }

    /// <summary>Numbers or texts.</summary>
    public required ColumnKind Kind { get; init; }

    /// <summary>A value of <see cref="PointState"/>.</summary>
    public required string State { get; init; }

    /// <summary>A value of <see cref="DriftLevel"/>.</summary>
    public string Level { get; init; } = DriftLevel.None;

    /// <summary>The statistic that decided, such as `psi`.</summary>
    public required string Statistic { get; init; }

    /// <summary>Its value; null when there is none.</summary>
    public double? Value { get; init; }

    /// <summary>The least value that alerts.</summary>
    public double? Limit { get; init; }

    /// <summary>Probability of the value without drift.</summary>
    public double? P { get; init; }

    /// <summary>The same, corrected for all columns.</summary>
    public double? AdjustedP { get; init; }

    /// <summary>The index less its expectation without drift.</summary>
    public double? Material { get; init; }

    /// <summary>The binning rule.</summary>
    public required string Rule { get; init; }

    /// <summary>Why there is no value.</summary>
    public string? Why { get; init; }

    /// <summary>Every statistic that is defined, by name.</summary>
    public IReadOnlyDictionary<string, double> Statistics { get; init; } = new Dictionary<string, double>();

    /// <summary>How much the Kolmogorov-Smirnov D over bins may be short of the exact one; 0 when it is exact.</summary>
    public double KolmogorovSmirnovBound { get; init; }

    /// <summary>Quality of the reference.</summary>
    public required ColumnQuality Reference { get; init; }

    /// <summary>Quality of the current table.</summary>
    public required ColumnQuality Current { get; init; }

    /// <summary>Shares by bin.</summary>
    public IReadOnlyList<ReportBin> Bins { get; init; } = [];

    /// <summary>A histogram for the eye; null for categories.</summary>
    public Overlay? Overlay { get; init; }

    /// <summary>The place by drift, from 1.</summary>
    public int Rank { get; init; }

    /// <summary>Whether the column drifted.</summary>
    [JsonIgnore]
    public bool Drifted => State == PointState.Alert;
}

/// <summary>A finding about the data themselves.</summary>
/// <param name="Column">The column; null for the table.</param>
/// <param name="Check">`lost_column`, `new_column`, `type_change`, `order`, `missing_rate`, `unseen`, `out_of_range`, `violations`, `constant`, `infinite` or `rows`.</param>
/// <param name="Text">A sentence with the numbers.</param>
/// <param name="Fails">Whether it fails the test; otherwise it is for reading.</param>
public sealed record QualityFinding(string? Column, string Check, string Text, bool Fails);

/// <summary>One performance metric on both sides.</summary>
/// <param name="Metric">Its name.</param>
/// <param name="Reference">On the reference; null when undefined.</param>
/// <param name="Current">On the current table; null when undefined.</param>
/// <param name="Error">Standard error of the difference; null when not known.</param>
/// <param name="Estimated">Whether the current value is estimated without labels.</param>
/// <param name="Why">Why a value is missing.</param>
public sealed record MetricReport(string Metric, double? Reference, double? Current, double? Error, bool Estimated, string? Why);

/// <summary>A comparison of a current table with a reference: drift of every column, data quality, performance.</summary>
public sealed record DriftReport
{
    /// <summary>The reference's name and rows.</summary>
    public required string Reference { get; init; }

    /// <summary>Rows of the reference.</summary>
    public required long ReferenceRows { get; init; }

    /// <summary>The current table's name.</summary>
    public required string Current { get; init; }

    /// <summary>Rows of the current table.</summary>
    public required long CurrentRows { get; init; }

    /// <summary>What was asked.</summary>
    public required ReportOptions Options { get; init; }

    /// <summary>Every column of both tables, the strongest drift first.</summary>
    public required IReadOnlyList<ColumnReport> Columns { get; init; }

    /// <summary>Findings about the data.</summary>
    public IReadOnlyList<QualityFinding> Findings { get; init; } = [];

    /// <summary>Performance; empty without a target and predictions.</summary>
    public IReadOnlyList<MetricReport> Performance { get; init; } = [];

    /// <summary>`binary`, `multiclass` or `regression`; null without predictions.</summary>
    public string? ModelType { get; init; }

    /// <summary>Drift of all features together, by each method that was asked for.</summary>
    public IReadOnlyList<MultivariateReport> Multivariate { get; init; } = [];

    /// <summary>Columns that drifted.</summary>
    public int DriftedColumns => Columns.Count(c => c.Drifted);

    /// <summary>Whether the set as a whole drifted: a feature severely, or the share of features that the options name.</summary>
    public bool DatasetDrift
    {
        get
        {
            ColumnReport[] features = Columns.Where(c => c.Role == "feature").ToArray();
            return Array.Exists(features, c => c.Level == DriftLevel.Severe) || (features.Length > 0 && features.Count(c => c.Drifted) >= Options.DatasetShare * features.Length);
        }
    }

    /// <summary>Whether nothing drifted, no finding fails, and every multivariate method that was asked for has found no drift: one without a value does not pass.</summary>
    public bool Passed => DriftedColumns == 0 && !Findings.Any(f => f.Fails) && Multivariate.All(m => m.State == PointState.Ok);
}
