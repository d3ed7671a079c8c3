namespace Slipway.Monitoring;

/// <summary>How predictions make rankings: which of them answer one query, and how deep people look.</summary>
public sealed record RankingRule
{
    /// <summary>Predictions of one request are the candidates of one query.</summary>
    public const string ByRequest = "request";

    /// <summary>Predictions with one entity key in one window are the candidates of one query.</summary>
    public const string ByEntity = "entity";

    /// <summary>The deepest k.</summary>
    public const int MostDepth = 1_000;

    /// <summary>`request`, `entity`, or the name of the feature that holds the query's number.</summary>
    public string Query { get; init; } = ByRequest;

    /// <summary>Depth of NDCG, MAP, precision, recall and hit rate, 1 to <see cref="MostDepth"/>.</summary>
    public int K { get; init; } = 10;

    /// <summary>Whether the gain is the relevance itself instead of 2^relevance - 1.</summary>
    public bool LinearGain { get; init; }

    /// <summary>Whether the output is a position, of which the smallest comes first, instead of a score.</summary>
    public bool ScoreIsRank { get; init; }

    /// <summary>
    /// Whether candidates without a label are not relevant as soon as another one of their query has a label, as with clicks. Otherwise a query is measured
    /// once all of its candidates have one.
    /// </summary>
    public bool UnlabelledIsIrrelevant { get; init; }

    internal IEnumerable<string> Problems(IReadOnlyList<string> features)
    {
        if (K is < 1 or > MostDepth)
        {
            yield return $"k is {K}, 1 to {MostDepth} are allowed";
        }

        if (Query is not (ByRequest or ByEntity) && features.Count > 0 && !features.Contains(Query, StringComparer.Ordinal))
        {
            yield return $"the query is told by `{Query}`, which is neither {ByRequest} nor {ByEntity} nor a feature";
        }
    }
}

/// <summary>How predictions make forecasts: one prediction a step ahead. Horizons are measured one by one.</summary>
public sealed record ForecastRule
{
    /// <summary>The most horizons that are measured: rows of later ones are counted and left out.</summary>
    public const int MostHorizons = 200;

    /// <summary>The longest training series.</summary>
    public const int LongestTraining = 10_000;

    /// <summary>The feature that holds how many steps ahead the prediction is, a whole number from 1.</summary>
    public required string Horizon { get; init; }

    /// <summary>The feature that tells origins apart; null is the prediction's event time.</summary>
    public string? Origin { get; init; }

    /// <summary>Steps of one season, for the naive forecast that errors are scaled by.</summary>
    public int Season { get; init; } = 1;

    /// <summary>Intervals hold the actual with probability 1 - alpha.</summary>
    public double Alpha { get; init; } = 0.1;

    /// <summary>Which output is the lower end of the interval; null without intervals.</summary>
    public int? LowerOutput { get; init; }

    /// <summary>Which output is the upper end of the interval; null without intervals.</summary>
    public int? UpperOutput { get; init; }

    /// <summary>The feature that holds the seasonal naive forecast of the same step, for the skill; null gives none.</summary>
    public string? Naive { get; init; }

    /// <summary>The series that the model was trained on, in order, at most <see cref="LongestTraining"/> values; null scales by the reference's actuals of the shortest horizon.</summary>
    public IReadOnlyList<double>? Training { get; init; }

    internal IEnumerable<string> Problems(IReadOnlyList<string> features)
    {
        if (Season < 1)
        {
            yield return $"the season is {Season} steps, at least 1 is needed";
        }

        if (Alpha is not (> 0 and < 1))
        {
            yield return $"alpha is {Alpha}; it lies between 0 and 1";
        }

        if (LowerOutput is null != UpperOutput is null || LowerOutput < 0 || UpperOutput < 0)
        {
            yield return "an interval needs both of its outputs, by their index from 0";
        }

        if (Training is { Count: > LongestTraining } || Training?.Any(v => !double.IsFinite(v)) == true)
        {
            yield return $"the training series has {Training.Count} values; at most {LongestTraining} finite ones are allowed";
        }

        foreach (string name in new[] { Horizon, Origin, Naive }.OfType<string>().Where(n => features.Count > 0 && !features.Contains(n, StringComparer.Ordinal)))
        {
            yield return $"`{name}`, which tells about forecasts, is not a feature";
        }
    }
}
