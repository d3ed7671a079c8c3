namespace Slipway.Monitoring;

/// <summary>What the primary metric needs of single rows of a reference, in their order, evenly spread over it when it has more than <see cref="Most"/>.</summary>
/// <param name="Predicted">The score, the index of the predicted class, or the predicted number.</param>
/// <param name="Truth">The outcome as 1 or 0, the index of the true class, or the number that came true.</param>
internal sealed record JudgedRows(float[] Predicted, double[] Truth)
{
    public const int Most = 20_000;

    /// <summary>The most rows of a drawn window: limits of larger ones are those of this size, which are wider.</summary>
    public const int MostOfAWindow = 5_000;

    /// <summary>The rows that have both; null when the reference lacks one of them, or its type is not measured row by row.</summary>
    public static JudgedRows? Of(WatchRequest request)
    {
        ReferenceTable table = request.Reference;
        double[]? truth = request.Type == ModelType.Binary ? table.Labels?.Select(l => l ? 1.0 : 0.0).ToArray() : table.Targets;
        float[]? predicted = request.Type is ModelType.Ranking or ModelType.Forecasting ? null : table.Scores ?? (table.Probabilities is { } p ? [.. Enumerable.Range(0, table.Rows).Select(row => (float)MonitorConfig.MostProbable(p.Select(c => c[row]).ToArray()))] : null);
        if (truth is null || predicted is null)
        {
            return null;
        }

        int[] known = [.. Enumerable.Range(0, truth.Length).Where(i => double.IsFinite(truth[i]) && float.IsFinite(predicted[i]))];
        int[] kept = known.Length <= Most ? known : [.. Enumerable.Range(0, Most).Select(i => known[(int)((long)i * known.Length / Most)])];
        return kept.Length < 2 ? null : new JudgedRows(Array.ConvertAll(kept, i => predicted[i]), Array.ConvertAll(kept, i => truth[i]));
    }

    /// <summary>Limits for windows of <paramref name="n"/> labelled rows by a rule that <see cref="LimitRule.TakesRows"/>.</summary>
    public Limits LimitsOf(string rule, ModelType type, int n)
    {
        int window = Math.Clamp(n, 1, Math.Min(MostOfAWindow, Truth.Length));
        if (rule == LimitRule.Bootstrap)
        {
            return Limits.OfBootstrap(Truth.Length, window, at => Measure(type, at), least: 0, most: type == ModelType.Regression ? null : 1);
        }

        double all = Measure(type, [.. Enumerable.Range(0, Truth.Length)]);
        double worse = type == ModelType.Regression ? 1 : -1;
        Limits loss = Limits.OfDistance(Truth.Length, window, (rest, own) => worse * (Measure(type, own) - Measure(type, rest)));
        double? limit = loss.Upper is { } most ? all + worse * most : null;
        return loss with { Lower = worse < 0 ? limit : null, Upper = worse > 0 ? limit : null };
    }

    private double Measure(ModelType type, IReadOnlyList<int> at) => type switch
    {
        ModelType.Regression => at.Average(i => Math.Abs(Truth[i] - Predicted[i])),
        ModelType.Multiclass => at.Average(i => Truth[i] == Predicted[i] ? 1.0 : 0.0),
        _ => BinaryMetrics.Of(at.Select(i => (double)Predicted[i]).ToArray(), at.Select(i => Truth[i] == 1).ToArray()).RocAuc.Value ?? double.NaN,
    };
}
