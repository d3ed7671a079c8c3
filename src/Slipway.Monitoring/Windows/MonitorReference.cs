using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>What a monitor was told, as it is stored: canonical JSON whose digest every point can be traced to.</summary>
internal sealed record MonitorConfig(
    IReadOnlyList<string> FeatureNames,
    IReadOnlyList<string>? Watched,
    IReadOnlyList<string> Categorical,
    WindowRule Window,
    Thresholds Thresholds,
    int ScoreOutput,
    double PositiveFrom)
{
    public static MonitorConfig Of(WatchRequest r) => new(r.FeatureNames, r.Watched, r.Categorical, r.Window, r.Thresholds, r.ScoreOutput, r.PositiveFrom);

    /// <summary>The score among the outputs; NaN when the outputs hold none.</summary>
    public double Score(IReadOnlyList<float> outputs)
    {
        int at = ScoreOutput < 0 ? outputs.Count + ScoreOutput : ScoreOutput;
        return at >= 0 && at < outputs.Count ? outputs[at] : double.NaN;
    }
}

/// <summary>Performance of the reference, with the parts of the standard errors that do not depend on the sample size.</summary>
internal sealed record ReferencePerformance(long N, long Positives, double? Auc, double? AucSpread, double LogLoss, double LogLossSpread, double Brier, double Accuracy);

/// <summary>
/// The frozen reference: bins and counts of each watched feature and of the score, realized performance. It holds no rows, so it is
/// small, and a window is compared with it without reading the data again.
/// </summary>
/// <param name="Rows">Rows of the reference.</param>
/// <param name="Columns">Each watched feature.</param>
/// <param name="Score">The score.</param>
/// <param name="Performance">Realized performance.</param>
/// <param name="Sources">Where the rows come from.</param>
/// <param name="Estimator">Calibration for estimates without labels; null without scores and labels, and in references from before there were estimates.</param>
internal sealed record MonitorReference(long Rows, IReadOnlyList<ColumnReference> Columns, ColumnReference? Score, ReferencePerformance? Performance, IReadOnlyList<Subject> Sources, Cbpe? Estimator = null)
{
    public static MonitorReference Freeze(WatchRequest request)
    {
        ReferenceTable table = request.Reference;
        var watched = (request.Watched ?? request.FeatureNames).ToHashSet(StringComparer.Ordinal);
        var categorical = request.Categorical.ToHashSet(StringComparer.Ordinal);
        ColumnReference[] columns = request.FeatureNames
            .Select((name, i) => (Name: name, Column: table.Columns[i]))
            .Where(c => watched.Contains(c.Name))
            .Select(c => ColumnReference.Freeze(c.Name, c.Column, categorical.Contains(c.Name)))
            .ToArray();
        ColumnReference? score = table.Scores is null ? null : ColumnReference.Freeze("score", table.Scores, categorical: false);
        Cbpe? estimator = table.Scores is null || table.Labels is null ? null : Cbpe.Fit(table.Scores.Select(s => (double)s).ToArray(), table.Labels);
        return new MonitorReference(table.Columns[0].Length, columns, score, Measure(table), table.Sources, estimator);
    }

    private static ReferencePerformance? Measure(ReferenceTable table)
    {
        if (table.Scores is null || table.Labels is null)
        {
            return null;
        }

        BinaryMetrics m = BinaryMetrics.Of(table.Scores.Select(s => (double)s).ToArray(), table.Labels);
        return m.N == 0
            ? null
            : new ReferencePerformance(m.N, m.Positives, m.RocAuc.Value, m.AucSpread, m.LogLoss.Value!.Value, m.LogLossSpread!.Value, m.Brier.Value!.Value, m.Accuracy.Value!.Value);
    }
}
