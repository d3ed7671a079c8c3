namespace Slipway.Monitoring;

/// <summary>Performance of one group.</summary>
/// <param name="Group">Its name; of an intersection, the parts joined by `|`.</param>
/// <param name="N">Rows.</param>
/// <param name="Positives">Rows whose truth is positive.</param>
/// <param name="Selected">Rows predicted positive.</param>
/// <param name="Confusion">Counts.</param>
/// <param name="MeanScore">Mean score; null without scores.</param>
/// <param name="Scores">Metrics of the scores; null without scores.</param>
public sealed record GroupMetrics(string Group, long N, long Positives, long Selected, Confusion Confusion, double? MeanScore, BinaryMetrics? Scores)
{
    /// <summary>Why the group takes no part in differences and ratios; null when it does.</summary>
    public string? Insufficient { get; init; }

    /// <summary>Share of positive truth.</summary>
    public double BaseRate => (double)Positives / N;

    /// <summary>Share predicted positive.</summary>
    public double SelectionRate => (double)Selected / N;

    /// <summary>Mean score less the base rate; null without scores.</summary>
    public double? CalibrationGap => MeanScore - BaseRate;

    /// <summary>Wilson's interval of the selection rate.</summary>
    public (double Lower, double Upper) SelectionInterval => Fairness.Wilson(Selected, N);
}

/// <summary>A difference between groups.</summary>
/// <param name="Metric">Such as `demographic_parity`.</param>
/// <param name="Difference">Largest less least; null when fewer than two groups have the number.</param>
/// <param name="Ratio">Least over largest; null when the largest is 0.</param>
/// <param name="Separated">Whether the 95 % Wilson intervals of the two groups are apart: only then it may alert.</param>
public sealed record Disparity(string Metric, double? Difference, double? Ratio, bool Separated);

/// <summary>
/// Performance by group and the differences between groups. Groups under 30 rows or with fewer than 5 rows of a class are shown as insufficient and
/// take no part in differences: one tiny group would set them.
/// </summary>
public sealed record Fairness
{
    /// <summary>Rows that a group needs.</summary>
    public const int LeastRows = 30;

    /// <summary>Rows of each class that a group needs.</summary>
    public const int LeastPerClass = 5;

    /// <summary>The four-fifths rule: a ratio of selection rates below this is a disparate impact.</summary>
    public const double FourFifths = 0.8;

    private Fairness()
    {
    }

    /// <summary>Every group, in order of names.</summary>
    public IReadOnlyList<GroupMetrics> Groups { get; private init; } = [];

    /// <summary>Selection rates.</summary>
    public required Disparity DemographicParity { get; init; }

    /// <summary>True positive rates.</summary>
    public required Disparity EqualOpportunity { get; init; }

    /// <summary>The larger of the differences of true and false positive rates, the smaller of their ratios.</summary>
    public required Disparity EqualizedOdds { get; init; }

    /// <summary>Precision.</summary>
    public required Disparity PredictiveParity { get; init; }

    /// <summary>Largest less least calibration gap; null without scores.</summary>
    public double? CalibrationGap { get; private init; }

    /// <summary>Measures.</summary>
    /// <param name="groups">The group of each row; null rows are left out.</param>
    /// <param name="predicted">Predicted labels.</param>
    /// <param name="outcomes">True labels.</param>
    /// <param name="scores">Scores; empty without.</param>
    public static Fairness Of(IReadOnlyList<string?> groups, ReadOnlySpan<bool> predicted, ReadOnlySpan<bool> outcomes, ReadOnlySpan<double> scores = default)
    {
        var rows = new SortedDictionary<string, List<int>>(StringComparer.Ordinal);
        for (int i = 0; i < groups.Count; i++)
        {
            if (groups[i] is { } name)
            {
                if (!rows.TryGetValue(name, out List<int>? own))
                {
                    rows[name] = own = [];
                }

                own.Add(i);
            }
        }

        var all = new List<GroupMetrics>(rows.Count);
        foreach ((string name, List<int> own) in rows)
        {
            bool[] p = new bool[own.Count], y = new bool[own.Count];
            double[] s = new double[scores.IsEmpty ? 0 : own.Count];
            for (int i = 0; i < own.Count; i++)
            {
                (p[i], y[i]) = (predicted[own[i]], outcomes[own[i]]);
                if (s.Length > 0)
                {
                    s[i] = scores[own[i]];
                }
            }

            all.Add(Group(name, p, y, s));
        }

        GroupMetrics[] counted = all.Where(g => g.Insufficient is null).ToArray();
        Disparity tpr = Between("equal_opportunity", counted, g => (g.Confusion.TruePositives, g.Confusion.TruePositives + g.Confusion.FalseNegatives));
        Disparity fpr = Between("false_positive_rate", counted, g => (g.Confusion.FalsePositives, g.Confusion.FalsePositives + g.Confusion.TrueNegatives));
        double[] gaps = counted.Select(g => g.CalibrationGap).OfType<double>().ToArray();
        return new Fairness
        {
            Groups = all,
            DemographicParity = Between("demographic_parity", counted, g => (g.Selected, g.N)),
            EqualOpportunity = tpr,
            EqualizedOdds = new Disparity("equalized_odds", Larger(tpr.Difference, fpr.Difference), Smaller(tpr.Ratio, fpr.Ratio), tpr.Separated || fpr.Separated),
            PredictiveParity = Between("predictive_parity", counted, g => (g.Confusion.TruePositives, g.Confusion.TruePositives + g.Confusion.FalsePositives)),
            CalibrationGap = gaps.Length < 2 ? null : gaps.Max() - gaps.Min(),
        };

        static double? Larger(double? a, double? b) => a is null || b is null ? null : Math.Max(a.Value, b.Value);

        static double? Smaller(double? a, double? b) => a is null || b is null ? null : Math.Min(a.Value, b.Value);
    }

    /// <summary>Groups of two attributes together, `Female|White`; a row that lacks one is left out.</summary>
    public static string?[] Intersection(IReadOnlyList<string?> one, IReadOnlyList<string?> other) => one.Zip(other, (a, b) => a is null || b is null ? null : $"{a}|{b}").ToArray();

    /// <summary>Selection rate of each group over that of a named one; below <see cref="FourFifths"/> is a disparate impact. Null where the named group selects nobody.</summary>
    public IReadOnlyDictionary<string, double?> DisparateImpact(string referenceGroup)
    {
        GroupMetrics reference = Groups.FirstOrDefault(g => g.Group == referenceGroup)
            ?? throw Foundation.SlipwayException.NotFound("group", referenceGroup, $"one of {string.Join(", ", Groups.Select(g => g.Group))}");
        return Groups.Where(g => g.Insufficient is null).ToDictionary(g => g.Group, g => reference.SelectionRate > 0 ? g.SelectionRate / reference.SelectionRate : (double?)null);
    }

    /// <summary>Wilson's score interval of a share (1927), 95 % unless another z is given.</summary>
    public static (double Lower, double Upper) Wilson(double hits, double n, double z = 1.959963984540054)
    {
        if (n == 0)
        {
            return (0, 1);
        }

        double p = hits / n, z2 = z * z, middle = (p + z2 / (2 * n)) / (1 + z2 / n), half = z / (1 + z2 / n) * Math.Sqrt(p * (1 - p) / n + z2 / (4 * n * n));
        return (Math.Max(0, middle - half), Math.Min(1, middle + half));
    }

    private static GroupMetrics Group(string name, bool[] predicted, bool[] outcomes, double[] scores)
    {
        long tp = 0, fp = 0, tn = 0, fn = 0;
        for (int i = 0; i < outcomes.Length; i++)
        {
            _ = (predicted[i], outcomes[i]) switch { (true, true) => tp++, (true, false) => fp++, (false, false) => tn++, _ => fn++ };
        }

        long n = outcomes.Length, positives = tp + fn, smaller = Math.Min(positives, n - positives);
        return new GroupMetrics(name, n, positives, tp + fp, new Confusion(tp, fp, tn, fn), scores.Length == 0 ? null : Moments.Of(scores).Mean, scores.Length == 0 ? null : BinaryMetrics.Of(scores, outcomes))
        {
            Insufficient = n < LeastRows ? $"{n} rows, {LeastRows} are needed" : smaller < LeastPerClass ? $"{positives} positives and {n - positives} negatives, {LeastPerClass} of each are needed" : null,
        };
    }

    private static Disparity Between(string metric, GroupMetrics[] groups, Func<GroupMetrics, (double Hits, double Of)> of)
    {
        (double Hits, double Of)[] rates = groups.Select(of).Where(r => r.Of > 0).OrderBy(r => r.Hits / r.Of).ToArray();
        if (rates.Length < 2)
        {
            return new Disparity(metric, null, null, Separated: false);
        }

        (double Hits, double Of) least = rates[0], most = rates[^1];
        double low = least.Hits / least.Of, high = most.Hits / most.Of;
        return new Disparity(metric, high - low, high > 0 ? low / high : null, Wilson(most.Hits, most.Of).Lower > Wilson(least.Hits, least.Of).Upper);
    }
}
