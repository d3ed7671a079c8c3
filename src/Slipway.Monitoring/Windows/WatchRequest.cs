using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>The frozen reference as raw columns: what the model was validated on, not what it was trained on.</summary>
public sealed record ReferenceTable
{
    /// <summary>One array a feature in the order of the feature names; NaN is a missing value. All have the same length.</summary>
    public required IReadOnlyList<float[]> Columns { get; init; }

    /// <summary>The model's score of each row, its predicted number, or the index of its predicted class; null watches no drift of it and no performance.</summary>
    public float[]? Scores { get; init; }

    /// <summary>The probability of each class, one array a class; null when the model gives the class only.</summary>
    public IReadOnlyList<float[]>? Probabilities { get; init; }

    /// <summary>The outcome of each row of a binary model; null watches no performance against the reference.</summary>
    public bool[]? Labels { get; init; }

    /// <summary>The number that came true, or the index of the true class; NaN where it is not known. Null watches no performance against the reference.</summary>
    public double[]? Targets { get; init; }

    /// <summary>Of rankings: the query that each row is a candidate of; null rows belong to none. Null watches no performance against the reference.</summary>
    public string?[]? Queries { get; init; }

    /// <summary>Of forecasts: the lower end of each row's interval; null without.</summary>
    public float[]? Lower { get; init; }

    /// <summary>Of forecasts: the upper end of each row's interval; null without.</summary>
    public float[]? Upper { get; init; }

    /// <summary>How many rows there are.</summary>
    internal int Rows => Columns.Count > 0 ? Columns[0].Length : Scores?.Length ?? (Probabilities is { Count: > 0 } p ? p[0].Length : 0);

    /// <summary>Share of the model's decisions that rest on a feature, by its name; null when nobody knows.</summary>
    public IReadOnlyDictionary<string, double>? Importance { get; init; }

    /// <summary>Where the rows come from, such as a dataset version or a run; kept with the reference and linked in the journal.</summary>
    public IReadOnlyList<Subject> Sources { get; init; } = [];

    /// <summary>The rows whose features are told from others, in their order.</summary>
    internal ReferenceTable Where(Func<Func<int, float>, bool> holds)
    {
        int[] kept = [.. Enumerable.Range(0, Rows).Where(row => holds(feature => Columns[feature][row]))];
        return this with
        {
            Columns = [.. Columns.Select(c => Kept(c)!)],
            Scores = Kept(Scores),
            Probabilities = Probabilities?.Select(p => Kept(p)!).ToArray(),
            Labels = Kept(Labels),
            Targets = Kept(Targets),
            Queries = Kept(Queries),
            Lower = Kept(Lower),
            Upper = Kept(Upper),
        };

        T[]? Kept<T>(T[]? of) => of is null ? null : Array.ConvertAll(kept, row => of[row]);
    }
}

/// <summary>What to watch: one model version on one endpoint against a frozen reference.</summary>
public sealed record WatchRequest
{
    /// <summary>The endpoint whose predictions are watched.</summary>
    public required string Endpoint { get; init; }

    /// <summary>The version in the form `flights/2`.</summary>
    public required string ModelVersion { get; init; }

    /// <summary>What the model predicts.</summary>
    public ModelType Type { get; init; } = ModelType.Binary;

    /// <summary>Names of the classes in the order of their indexes and of the probabilities.</summary>
    public IReadOnlyList<string> Classes { get; init; } = [];

    /// <summary>Names of the features in the order of <see cref="PredictionRecord.Features"/>.</summary>
    public required IReadOnlyList<string> FeatureNames { get; init; }

    /// <summary>The features to watch; null watches all.</summary>
    public IReadOnlyList<string>? Watched { get; init; }

    /// <summary>Features whose numbers are codes of categories.</summary>
    public IReadOnlyList<string> Categorical { get; init; } = [];

    /// <summary>The rows that windows are compared with.</summary>
    public required ReferenceTable Reference { get; init; }

    /// <summary>How event time is cut.</summary>
    public WindowRule Window { get; init; } = WindowRule.Week();

    /// <summary>When points alert and alerts fire.</summary>
    public Thresholds Thresholds { get; init; } = new();

    /// <summary>Which output is the score; -1 is the last one. With probabilities of classes: where they end.</summary>
    public int ScoreOutput { get; init; } = -1;

    /// <summary>A label at or above this value is a true outcome.</summary>
    public double PositiveFrom { get; init; } = 0.5;

    /// <summary>Of rankings: how predictions make them; null is the defaults.</summary>
    public RankingRule? Ranking { get; init; }

    /// <summary>Of forecasts: how predictions make them.</summary>
    public ForecastRule? Forecast { get; init; }

    /// <summary>Which predictions are looked at, and what performance is broken down by. The rows of the reference are those of the same segment.</summary>
    public MonitorScope Scope { get; init; } = MonitorScope.All;

    /// <summary>Event time before which the stream detector takes no labels: what came before is the reference, or belongs to an earlier one.</summary>
    internal DateTimeOffset? StreamFrom { get; init; }

    /// <summary>Another version's thresholds, as far as this reference bears them.</summary>
    public Thresholds Fitting(Thresholds thresholds)
    {
        thresholds = thresholds.Stream?.Misfit(Type, Reference.Probabilities is not null, Scope.Shadow) is null ? thresholds : thresholds with { Stream = null };
        return JudgedRows.Of(this) is null ? thresholds.WithoutRows() : thresholds;
    }
}
