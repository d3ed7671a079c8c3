using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>Makes references out of logged predictions, and tells from their numbers what a model predicts where nobody said so.</summary>
internal static class FirstWindow
{
    /// <summary>Rows that a reference is made of: evenly spread over the window when it holds more.</summary>
    public const int MostRows = 100_000;

    /// <summary>Whole numbers with at most this many values are indexes of classes.</summary>
    private const int MostCodes = 50;

    private const double SumsToOne = 1e-3;

    /// <summary>The rows as what later windows are compared with.</summary>
    /// <param name="endpoint">The endpoint.</param>
    /// <param name="modelVersion">The version.</param>
    /// <param name="config">What the monitor was told.</param>
    /// <param name="rows">Predictions with as many features as <paramref name="config"/> names, at least one.</param>
    /// <param name="known">Labels of all rows; null when some have none.</param>
    public static WatchRequest Request(string endpoint, string modelVersion, MonitorConfig config, IReadOnlyList<Prediction> rows, IReadOnlyDictionary<string, KnownLabel>? known)
    {
        int classes = config.Probabilities ? config.Classes!.Count : 0;
        float[][] probabilities = Enumerable.Range(0, classes).Select(_ => new float[rows.Count]).ToArray();
        float[] row = new float[classes];
        for (int i = 0; i < rows.Count && classes > 0; i++)
        {
            config.Distribution(rows[i].Outputs, row);
            for (int c = 0; c < classes; c++)
            {
                probabilities[c][i] = row[c];
            }
        }

        return new WatchRequest
        {
            Endpoint = endpoint,
            ModelVersion = modelVersion,
            Type = config.Type,
            Classes = config.Classes ?? [],
            FeatureNames = config.FeatureNames,
            Watched = config.Watched,
            Categorical = config.Categorical,
            Window = config.Window,
            Thresholds = config.Thresholds,
            ScoreOutput = config.ScoreOutput,
            PositiveFrom = config.PositiveFrom,
            Ranking = config.Ranking,
            Forecast = config.Forecast,
            Scope = config.Scope ?? MonitorScope.All,
            Reference = new ReferenceTable
            {
                Queries = config.Ranking is { } ranking ? [.. rows.Select(p => RankingWindow.QueryOf(p, ranking, config.FeatureNames.IndexOf(ranking.Query)))] : null,
                Lower = Output(config.Forecast?.LowerOutput),
                Upper = Output(config.Forecast?.UpperOutput),
                Columns = [.. config.FeatureNames.Select((_, i) => rows.Select(p => p.Features[i]).ToArray())],
                Scores = config.Probabilities ? null : [.. rows.Select(p => (float)config.Score(p.Outputs))],
                Probabilities = config.Probabilities ? probabilities : null,
                Labels = known is null || config.Type != ModelType.Binary ? null : [.. rows.Select(p => known[p.Id].Value >= config.PositiveFrom)],
                Targets = known is null || config.Type == ModelType.Binary ? null : [.. rows.Select(p => known[p.Id].Value)],
            },
        };

        float[]? Output(int? at) => at is { } i ? [.. rows.Select(p => i < p.Outputs.Count ? p.Outputs[i] : float.NaN)] : null;
    }

    /// <summary>
    /// What the rows tell. Probabilities are a block of outputs in [0, 1] that sums to 1, alone or behind the class: two are a binary model, more are
    /// classes. A single output in [0, 1] is a binary score, whole numbers with few values are indexes of classes, any other number is a regression.
    /// Outputs of another shape are not watched; features without a name in the signature are named by their position.
    /// </summary>
    /// <param name="config">What the signature said.</param>
    /// <param name="rows">Predictions of one window.</param>
    /// <returns>The configuration, and the rows that have its shape.</returns>
    public static (MonitorConfig Config, IReadOnlyList<Prediction> Rows) Tell(MonitorConfig config, IReadOnlyList<Prediction> rows)
    {
        (int features, int outputs) = rows.GroupBy(p => (p.Features.Count, p.Outputs.Count)).MaxBy(g => g.Count())!.Key;
        Prediction[] alike = [.. rows.Where(p => p.Features.Count == features && p.Outputs.Count == outputs)];
        string[] names = features > Monitors.MostFeatures ? [] : config.FeatureNames.Count == features ? [.. config.FeatureNames] : [.. Enumerable.Range(0, features).Select(i => $"feature {i}")];
        MonitorConfig told = config with { FeatureNames = names };
        if (config.Ranking is not null || config.Forecast is not null)
        {
            // Outputs do not tell these types: somebody said so.
            string[] problems = [.. (config.Ranking?.Problems(names) ?? []).Concat(config.Forecast?.Problems(names) ?? [])];
            return problems.Length == 0 ? (told, alike) : throw SlipwayException.Invalid("the first window cannot become the reference", string.Join("; ", problems), $"watch the version with one of {string.Join(", ", names.Take(20))}");
        }

        int block = Block(alike, outputs);
        if (block > 2)
        {
            return (told with { Type = ModelType.Multiclass, Classes = Indexes(block), Probabilities = true }, alike);
        }

        if (block == 2)
        {
            return (told with { Type = ModelType.Binary }, alike);
        }

        if (outputs != 1)
        {
            // Behind the last output there is none: the score is missing in every row and is not judged.
            return (told with { Type = ModelType.Regression, ScoreOutput = outputs }, alike);
        }

        float[] values = alike.Select(p => p.Outputs[0]).Where(float.IsFinite).Distinct().ToArray();
        bool whole = values.Length is > 0 and <= MostCodes && values.All(v => v >= 0 && v == MathF.Floor(v) && v < Monitors.MostClasses);
        return values.Length > 0 && values.All(v => v is >= 0 and <= 1) ? (told with { Type = ModelType.Binary }, alike)
            : whole ? (told with { Type = ModelType.Multiclass, Classes = Indexes((int)values.Max() + 1) }, alike)
            : (told with { Type = ModelType.Regression }, alike);
    }

    private static string[] Indexes(int count) => [.. Enumerable.Range(0, count).Select(i => i.ToString(System.Globalization.CultureInfo.InvariantCulture))];

    /// <summary>How many outputs at the end are probabilities of classes; 0 without such a block.</summary>
    private static int Block(IReadOnlyList<Prediction> rows, int outputs)
    {
        foreach (int size in new[] { outputs, outputs - 1 })
        {
            if (size >= 2 && size <= Monitors.MostClasses && rows.All(p => Distributes(p.Outputs, outputs - size)))
            {
                return size;
            }
        }

        return 0;

        static bool Distributes(IReadOnlyList<float> outputs, int from)
        {
            double sum = 0;
            for (int i = from; i < outputs.Count; i++)
            {
                if (outputs[i] is not (>= 0 and <= 1))
                {
                    return false;
                }

                sum += outputs[i];
            }

            return Math.Abs(sum - 1) <= SumsToOne;
        }
    }
}
