using System.Text.Json;

namespace Slipway.Monitoring;

/// <summary>
/// One window cut into groups of one or two features, which are the bins of their references: the primary metric of each group, with its own count, coverage and
/// error, and, of a binary model, how far groups are apart. Groups are measured and do not alert: they differ by nature, and a segment that matters has a monitor
/// of its own. What alerts is a ratio between groups under four fifths whose 95 % intervals are apart.
/// </summary>
internal sealed class BrokenDown
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
    private readonly string by;
    private readonly MonitorConfig config;
    private readonly MonitorReference reference;
    private readonly DateTimeOffset start;
    private readonly DateTimeOffset end;
    private readonly (ColumnReference Column, int At)[] columns;
    private readonly SortedDictionary<string, OutputWindow> groups = new(StringComparer.Ordinal);
    private readonly List<(string Group, double Score, bool Outcome)> rows = [];

    private BrokenDown(string by, (ColumnReference, int)[] columns, MonitorConfig config, MonitorReference reference, DateTimeOffset start, DateTimeOffset end) =>
        (this.by, this.columns, this.config, this.reference, this.start, this.end) = (by, columns, config, reference, start, end);

    /// <summary>One for each way to break the monitor down; none while it has no reference to take the bins from.</summary>
    public static BrokenDown[] Of(MonitorConfig config, MonitorReference reference, DateTimeOffset start, DateTimeOffset end) =>
    [
        .. from feature in config.Scope?.By ?? []
           let columns = feature.Split('|').Select(name => reference.Columns.FirstOrDefault(c => c.Name == name)).ToArray()
           where columns.All(c => c is not null)
           select new BrokenDown(feature, [.. columns.Select(c => (c!, config.FeatureNames.IndexOf(c!.Name)))], config, reference, start, end),
    ];

    public void Add(Prediction prediction, KnownLabel? label)
    {
        var parts = new string[columns.Length];
        for (int i = 0; i < parts.Length; i++)
        {
            float value = prediction.Features[columns[i].At];
            if (!float.IsFinite(value))
            {
                // What has no value is in no group.
                return;
            }

            parts[i] = $"{columns[i].Column.Name} {columns[i].Column.Bins.Label(columns[i].Column.Bins.IndexOf(value))}";
        }

        string group = string.Join(" | ", parts);
        if (!groups.TryGetValue(group, out OutputWindow? own))
        {
            // A group's own reference is not known, so nothing of it has limits.
            groups[group] = own = OutputWindow.Of(config, MonitorReference.None(config.Type), start, end);
        }

        own.Add(prediction, label);
        if (config.Type == ModelType.Binary && label is { } known && config.Score(prediction.Outputs) is var score && double.IsFinite(score))
        {
            rows.Add((group, score, known.Value >= config.PositiveFrom));
        }
    }

    public IEnumerable<MonitorPoint> Points()
    {
        string primary = PrimaryMetric.Of(config.Type);
        foreach ((string group, OutputWindow window) in groups)
        {
            foreach (MonitorPoint point in window.Performance().Where(p => p.Metric == primary))
            {
                yield return point with { Metric = MetricNames.Grouped + primary, Column = point.Column is null ? group : $"{group}, {point.Column}", Detail = JsonSerializer.Serialize(new { by, group, predictions = window.Rows, labelled = window.Labelled }, Json) };
            }
        }

        if (config.Type != ModelType.Binary || groups.Count == 0)
        {
            yield break;
        }

        // In an order of their own, so that sums do not depend on the log's.
        rows.Sort();
        var fairness = Fairness.Of(rows.Select(r => r.Group).ToArray(), rows.Select(r => r.Score >= 0.5).ToArray(), rows.Select(r => r.Outcome).ToArray(), rows.Select(r => r.Score).ToArray());
        string detail = JsonSerializer.Serialize(
            new
            {
                by,
                calibrationGap = fairness.CalibrationGap,
                groups = fairness.Groups.Select(g => new
                {
                    group = g.Group,
                    n = g.N,
                    baseRate = g.BaseRate,
                    selectionRate = g.SelectionRate,
                    selectionFrom = g.SelectionInterval.Lower,
                    selectionTo = g.SelectionInterval.Upper,
                    truePositiveRate = g.Confusion.Recall.Value,
                    falsePositiveRate = 1 - g.Confusion.Specificity.Value,
                    precision = g.Confusion.Precision.Value,
                    accuracy = g.Confusion.Accuracy.Value,
                    f1 = g.Confusion.F1.Value,
                    auc = g.Scores?.RocAuc.Value,
                    brier = g.Scores?.Brier.Value,
                    calibrationError = g.Scores?.CalibrationError.Value,
                    meanScore = g.MeanScore,
                    insufficient = g.Insufficient,
                }),
            },
            Json);
        foreach (Disparity d in new[] { fairness.DemographicParity, fairness.EqualOpportunity, fairness.EqualizedOdds, fairness.PredictiveParity })
        {
            yield return Apart($"{d.Metric}_difference", d.Difference, lower: null, JsonSerializer.Serialize(new { by, separated = d.Separated }, Json));
            // The groups stand beside the first of the ratios.
            yield return Apart($"{d.Metric}_ratio", d.Ratio, Fairness.FourFifths, d == fairness.DemographicParity ? detail : JsonSerializer.Serialize(new { by, separated = d.Separated }, Json), d.Separated);
        }
    }

    private MonitorPoint Apart(string metric, double? value, double? lower, string detail, bool separated = false)
    {
        string state = value is { } v ? v < lower && separated ? PointState.Alert : PointState.Ok : PointState.Insufficient;
        string? why = value is not null ? null : $"fewer than two groups of {by} have {Fairness.LeastRows} labelled rows, {Fairness.LeastPerClass} of each class and a rate to compare";
        return new MonitorPoint(start, end, metric, by, value, rows.Count, state, lower, null, why, detail) { Clear = state != PointState.Alert };
    }
}
