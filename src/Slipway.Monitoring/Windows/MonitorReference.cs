using System.Text.Json.Serialization;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>What a monitor was told, as it is stored: canonical JSON whose digest every point can be traced to. What was not there before is left out at its default, so that older rows keep their digest.</summary>
/// <param name="FeatureNames">Names of the features in their order.</param>
/// <param name="Watched">The features to watch; null watches all.</param>
/// <param name="Categorical">Features whose numbers are codes.</param>
/// <param name="Window">How event time is cut.</param>
/// <param name="Thresholds">When points alert and alerts fire.</param>
/// <param name="ScoreOutput">Which output is the score; with probabilities of classes, where their block ends.</param>
/// <param name="PositiveFrom">A binary label at or above this value is a true outcome.</param>
/// <param name="Type">What the model predicts.</param>
/// <param name="Classes">Names of the classes in the order of their indexes.</param>
/// <param name="Probabilities">Whether the outputs hold a probability of each class; otherwise the score is the index of the class.</param>
/// <param name="Ranking">How predictions make rankings; null for other types.</param>
/// <param name="Forecast">How predictions make forecasts; null for other types.</param>
/// <param name="Scope">Which predictions are looked at; null is all that callers got, in one piece.</param>
internal sealed record MonitorConfig(
    IReadOnlyList<string> FeatureNames,
    IReadOnlyList<string>? Watched,
    IReadOnlyList<string> Categorical,
    WindowRule Window,
    Thresholds Thresholds,
    int ScoreOutput,
    double PositiveFrom,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)] ModelType Type = ModelType.Binary,
    IReadOnlyList<string>? Classes = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)] bool Probabilities = false,
    RankingRule? Ranking = null,
    ForecastRule? Forecast = null,
    MonitorScope? Scope = null)
{
    public static MonitorConfig Of(WatchRequest r) => new(
        r.FeatureNames, r.Watched, r.Categorical, r.Window, r.Thresholds, r.ScoreOutput, r.PositiveFrom, r.Type, r.Type == ModelType.Multiclass ? r.Classes : null, r.Reference.Probabilities is not null,
        r.Type == ModelType.Ranking ? r.Ranking ?? new RankingRule() : null, r.Type == ModelType.Forecasting ? r.Forecast : null, Stored(r.Scope));

    /// <summary>A scope as it is stored: nothing where all predictions are looked at in one piece.</summary>
    public static MonitorScope? Stored(MonitorScope scope) => scope.IsWhole && scope.By.Count == 0 ? null : scope;

    /// <summary>Which rows of the log it looks at.</summary>
    [JsonIgnore]
    public PredictionKind Kind => Scope?.Kind ?? PredictionKind.Live;

    /// <summary>The rows of the segment; null when all rows are looked at.</summary>
    public Func<Func<int, float>, bool>? Segment() => Scope?.Filter(FeatureNames);

    /// <summary>The score among the outputs; NaN when the outputs hold none.</summary>
    public double Score(IReadOnlyList<float> outputs)
    {
        int at = ScoreOutput < 0 ? outputs.Count + ScoreOutput : ScoreOutput;
        return at >= 0 && at < outputs.Count ? outputs[at] : double.NaN;
    }

    /// <summary>The probabilities of the classes among the outputs.</summary>
    /// <param name="outputs">The outputs of one prediction.</param>
    /// <param name="into">One number a class; NaN where the outputs hold none.</param>
    public void Distribution(IReadOnlyList<float> outputs, Span<float> into)
    {
        int first = (ScoreOutput < 0 ? outputs.Count + ScoreOutput : ScoreOutput) - into.Length + 1;
        for (int c = 0; c < into.Length; c++)
        {
            into[c] = first + c >= 0 && first + c < outputs.Count ? outputs[first + c] : float.NaN;
        }
    }

    /// <summary>The class of an index, or the number itself where no class has it.</summary>
    public string ClassName(double index) =>
        Classes is not null && index >= 0 && index < Classes.Count && index == Math.Floor(index) ? Classes[(int)index] : index.ToString("R", System.Globalization.CultureInfo.InvariantCulture);

    /// <summary>The most probable class; the first of several; -1 when a probability is missing.</summary>
    public static int MostProbable(ReadOnlySpan<float> probabilities)
    {
        int best = 0;
        for (int c = 0; c < probabilities.Length; c++)
        {
            if (!float.IsFinite(probabilities[c]))
            {
                return -1;
            }

            best = probabilities[c] > probabilities[best] ? c : best;
        }

        return best;
    }
}

/// <summary>Performance of a binary reference, with the parts of the standard errors that do not depend on the sample size.</summary>
internal sealed record ReferencePerformance(long N, long Positives, double? Auc, double? AucSpread, double LogLoss, double LogLossSpread, double Brier, double Accuracy);

/// <summary>One metric of the reference.</summary>
/// <param name="Metric">Its name.</param>
/// <param name="N">Rows it was measured on.</param>
/// <param name="Value">Its value.</param>
/// <param name="Spread">Its standard error times the root of <paramref name="N"/>, so that the error at any sample size follows; null when none is known.</param>
/// <param name="Column">The horizon that it is of; null for metrics of the whole reference.</param>
internal sealed record ReferenceMetric(string Metric, long N, double Value, double? Spread, string? Column = null)
{
    public static ReferenceMetric? Of(string metric, Measured value, long n, string? column = null) => value.Value is { } v ? new(metric, n, v, value.Error * Math.Sqrt(n), column) : null;
}

/// <summary>
/// The frozen reference: bins and counts of each watched feature and of the outputs, realized performance, what estimates without labels need. It holds
/// no rows, so it is small, and a window is compared with it without reading the data again.
/// </summary>
/// <param name="Rows">Rows of the reference.</param>
/// <param name="Columns">Each watched feature.</param>
/// <param name="Score">The score, the predicted number, or the index of the predicted class.</param>
/// <param name="Performance">Realized performance of a binary model.</param>
/// <param name="Sources">Where the rows come from.</param>
/// <param name="Estimator">Calibration for estimates without labels of a binary model; null without scores and labels, and in references from before there were estimates.</param>
/// <param name="Type">What the model predicts.</param>
/// <param name="Outputs">The probability of each class.</param>
/// <param name="Metrics">Realized performance of another type than binary.</param>
/// <param name="ClassEstimator">Calibration of the probabilities of classes.</param>
/// <param name="Loss">The absolute error of a row from its features and its prediction.</param>
/// <param name="Importance">Share of the model's decisions that rest on a feature, by its name.</param>
/// <param name="Series">Of forecasts: the series whose naive forecast scales errors.</param>
/// <param name="SquaredLoss">The squared error likewise; null in references from before it was estimated.</param>
/// <param name="Judgements">Rows that limits are drawn from, where a monitor's limits are made so.</param>
/// <param name="Predicted">Of classifiers: predicted classes and how sure the model is; null in references from before it was kept.</param>
/// <param name="Joint">Rows that windows are compared with by all features together, where a monitor does so.</param>
internal sealed record MonitorReference(
    long Rows,
    IReadOnlyList<ColumnReference> Columns,
    ColumnReference? Score,
    ReferencePerformance? Performance,
    IReadOnlyList<Subject> Sources,
    Cbpe? Estimator = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)] ModelType Type = ModelType.Binary,
    IReadOnlyList<ColumnReference>? Outputs = null,
    IReadOnlyList<ReferenceMetric>? Metrics = null,
    MulticlassCbpe? ClassEstimator = null,
    BoostedTrees? Loss = null,
    IReadOnlyList<double>? Series = null,
    IReadOnlyDictionary<string, double>? Importance = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] BoostedTrees? SquaredLoss = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] JudgedRows? Judgements = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] JointReference? Joint = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] PredictedClasses? Predicted = null)
{
    /// <summary>Rows that the model of losses is fitted on: evenly spread over the reference when it has more.</summary>
    private const int MostLossRows = 10_000;

    /// <summary>The least labelled rows to fit the model of losses on.</summary>
    private const int LeastLossRows = 100;

    /// <summary>What a metric was on the reference; null when it is not known.</summary>
    public ReferenceMetric? Before(string metric, string? column = null) => (metric, Performance) switch
    {
        ("auc", { Auc: { } auc } p) => new(metric, p.N, auc, p.AucSpread),
        ("log_loss", { } p) => new(metric, p.N, p.LogLoss, p.LogLossSpread),
        ("brier", { } p) => new(metric, p.N, p.Brier, null),
        ("accuracy", { } p) => new(metric, p.N, p.Accuracy, null),
        _ => Metrics?.FirstOrDefault(m => m.Metric == metric && m.Column == column),
    };

    /// <summary>The metric that the type is judged by; of forecasts that of the shortest horizon.</summary>
    [JsonIgnore]
    public ReferenceMetric? Judged => Type == ModelType.Forecasting ? Metrics?.FirstOrDefault(m => m.Metric == PrimaryMetric.Of(Type)) : Before(PrimaryMetric.Of(Type));

    /// <summary>Of a monitor that has no reference yet.</summary>
    public static MonitorReference None(ModelType type) => new(0, [], null, null, [], Type: type);

    public static MonitorReference Freeze(WatchRequest request)
    {
        ReferenceTable table = request.Scope.Filter(request.FeatureNames) is { } holds ? request.Reference.Where(holds) : request.Reference;
        if (table.Rows == 0)
        {
            throw SlipwayException.Invalid("the version cannot be watched", $"the reference has no row of the segment `{request.Scope.Segment}`", "correct the segment, or give a reference that holds it");
        }

        request = request with { Reference = table };
        var watched = (request.Watched ?? request.FeatureNames).ToHashSet(StringComparer.Ordinal);
        var categorical = request.Categorical.ToHashSet(StringComparer.Ordinal);
        ColumnReference[] columns = request.FeatureNames
            .Select((name, i) => (Name: name, Column: table.Columns[i]))
            .Where(c => watched.Contains(c.Name))
            .Select(c => ColumnReference.Freeze(c.Name, c.Column, categorical.Contains(c.Name)))
            .ToArray();
        var plain = new MonitorReference(table.Rows, columns, null, null, table.Sources, Type: request.Type, Importance: table.Importance, Judgements: LimitRule.TakesRows(request.Thresholds.Limits) ? JudgedRows.Of(request) : null);
        if (request.Thresholds.Multivariate is { Count: > 0 } methods)
        {
            int[] at = [.. Enumerable.Range(0, request.FeatureNames.Count).Where(i => watched.Contains(request.FeatureNames[i]))];
            plain = plain with { Joint = JointReference.Freeze([.. at.Select(i => request.FeatureNames[i])], [.. at.Select(i => table.Columns[i])], [.. at.Select(i => categorical.Contains(request.FeatureNames[i]))], methods) };
        }

        if (ClassTally.Of(MonitorConfig.Of(request)) is { } tally && (table.Scores is not null || table.Probabilities is not null))
        {
            float[] row = new float[table.Probabilities?.Count ?? 0];
            for (int i = 0; i < table.Rows; i++)
            {
                if (row.Length == 0)
                {
                    tally.Add(table.Scores![i]);
                    continue;
                }

                for (int c = 0; c < row.Length; c++)
                {
                    row[c] = table.Probabilities![c][i];
                }

                tally.Add(row);
            }

            plain = plain with { Predicted = tally.Read() };
        }

        return request.Type switch
        {
            ModelType.Multiclass => Multiclass(plain, request),
            ModelType.Regression => Regression(plain, table),
            ModelType.Ranking => Ranking(plain, table, request.Ranking ?? new RankingRule()),
            ModelType.Forecasting => Forecasting(plain, request, request.Forecast!),
            _ => Binary(plain, table),
        };
    }

    private static MonitorReference Binary(MonitorReference plain, ReferenceTable table)
    {
        double[]? scores = table.Scores?.Select(s => (double)s).ToArray();
        if (scores is null)
        {
            return plain;
        }

        ColumnReference score = ColumnReference.Freeze("score", table.Scores!, categorical: false);
        if (table.Labels is null)
        {
            return plain with { Score = score };
        }

        BinaryMetrics m = BinaryMetrics.Of(scores, table.Labels);
        ReferencePerformance? performance = m.N == 0
            ? null
            : new ReferencePerformance(m.N, m.Positives, m.RocAuc.Value, m.AucSpread, m.LogLoss.Value!.Value, m.LogLossSpread!.Value, m.Brier.Value!.Value, m.Accuracy.Value!.Value);
        return plain with { Score = score, Performance = performance, Estimator = Cbpe.Fit(scores, table.Labels) };
    }

    private static MonitorReference Multiclass(MonitorReference plain, WatchRequest request)
    {
        ReferenceTable table = request.Reference;
        IReadOnlyList<string> classes = request.Classes;
        float[] chosen = table.Scores ?? [];
        ColumnReference[]? outputs = null;
        if (table.Probabilities is { } probabilities)
        {
            chosen = new float[plain.Rows];
            float[] row = new float[classes.Count];
            for (int i = 0; i < chosen.Length; i++)
            {
                for (int c = 0; c < row.Length; c++)
                {
                    row[c] = probabilities[c][i];
                }

                chosen[i] = MonitorConfig.MostProbable(row) is >= 0 and var at ? at : float.NaN;
            }

            outputs = classes.Select((name, c) => ColumnReference.Freeze(name, probabilities[c], categorical: false)).ToArray();
        }

        MonitorReference watched = plain with { Score = chosen.Length == 0 ? null : ColumnReference.Freeze("class", chosen, categorical: true), Outputs = outputs };
        if (table.Targets is null || chosen.Length == 0)
        {
            return watched;
        }

        MonitorConfig config = MonitorConfig.Of(request);
        string?[] truth = table.Targets.Select(t => double.IsFinite(t) ? config.ClassName(t) : null).ToArray(), predicted = chosen.Select(c => float.IsFinite(c) ? config.ClassName(c) : null).ToArray();
        Dictionary<string, double[]>? named = table.Probabilities is { } p ? classes.Select((name, c) => (name, Values: p[c].Select(v => (double)v).ToArray())).ToDictionary(x => x.name, x => x.Values, StringComparer.Ordinal) : null;
        MulticlassMetrics m = MulticlassMetrics.Of(truth, predicted, named);
        return watched with
        {
            Metrics = Known(
                ReferenceMetric.Of("accuracy", m.Accuracy, m.N), ReferenceMetric.Of("macro_f1", m.MacroF1, m.N), ReferenceMetric.Of("macro_precision", m.MacroPrecision, m.N),
                ReferenceMetric.Of("macro_recall", m.MacroRecall, m.N), ReferenceMetric.Of("log_loss", m.LogLoss, m.N), named is null || m.RocAucOneVsRest.Value is not { } auc ? null : new ReferenceMetric("auc", m.N, auc, Spread(named, truth))),
            ClassEstimator = named is null ? null : MulticlassCbpe.Fit(named, truth),
        };
    }

    /// <summary>
    /// The spread of the mean AUC of each class against the rest: the mean of the classes' spreads, which it cannot exceed, whatever the classes have to do
    /// with each other. Null where a class that occurs has none.
    /// </summary>
    private static double? Spread(Dictionary<string, double[]> probabilities, string?[] truth)
    {
        int[] rows = Enumerable.Range(0, truth.Length).Where(i => truth[i] is not null).ToArray();
        double?[] spreads = [.. probabilities.Where(p => truth.Contains(p.Key)).Select(p => BinaryMetrics.Of(rows.Select(i => p.Value[i]).ToArray(), rows.Select(i => truth[i] == p.Key).ToArray()).AucSpread)];
        return spreads.Length == 0 || spreads.Any(s => s is null) ? null : spreads.Average();
    }

    private static MonitorReference Regression(MonitorReference plain, ReferenceTable table)
    {
        if (table.Scores is not { } scores)
        {
            return plain;
        }

        MonitorReference watched = plain with { Score = ColumnReference.Freeze("prediction", scores, categorical: false) };
        if (table.Targets is not { } targets)
        {
            return watched;
        }

        double[] predictions = scores.Select(s => (double)s).ToArray();
        RegressionMetrics m = RegressionMetrics.Of(targets, predictions);
        return watched with
        {
            Metrics = Known(
                ReferenceMetric.Of("mae", m.MeanAbsoluteError, m.N), ReferenceMetric.Of("rmse", m.RootMeanSquaredError, m.N), ReferenceMetric.Of("mean_error", m.MeanError, m.N),
                ReferenceMetric.Of("r2", m.R2, m.N), ReferenceMetric.Of("mape", m.MeanAbsolutePercentageError, m.N)),
            Loss = Losses(RowLoss.Absolute, table.Columns, predictions, targets),
            SquaredLoss = Losses(RowLoss.Squared, table.Columns, predictions, targets),
        };
    }

    private static MonitorReference Ranking(MonitorReference plain, ReferenceTable table, RankingRule rule)
    {
        if (table.Scores is not { } scores)
        {
            return plain;
        }

        MonitorReference watched = plain with { Score = ColumnReference.Freeze("score", scores, categorical: false) };
        if (table.Targets is not { } targets || table.Queries is not { } queries)
        {
            return watched;
        }

        IEnumerable<List<(string, double, double?)>> grouped = Enumerable.Range(0, scores.Length).Where(i => queries[i] is not null).GroupBy(i => queries[i]!, StringComparer.Ordinal).OrderBy(g => g.Key, StringComparer.Ordinal)
            .Select(g => g.Select(i => (i.ToString("D9", System.Globalization.CultureInfo.InvariantCulture), (double)scores[i], double.IsFinite(targets[i]) ? targets[i] : (double?)null)).ToList());
        RankingMetrics m = RankingMetrics.Of(RankingWindow.Ready(grouped, rule).Ready, rule.K, rule.LinearGain);
        return watched with
        {
            Metrics = Known(
                ReferenceMetric.Of("ndcg", m.Ndcg, m.N), ReferenceMetric.Of("map", m.MeanAveragePrecision, m.N), ReferenceMetric.Of("mrr", m.MeanReciprocalRank, m.N),
                ReferenceMetric.Of("precision_at_k", m.Precision, m.N), ReferenceMetric.Of("recall_at_k", m.Recall, m.N), ReferenceMetric.Of("hit_rate", m.HitRate, m.N)),
        };
    }

    private static MonitorReference Forecasting(MonitorReference plain, WatchRequest request, ForecastRule rule)
    {
        ReferenceTable table = request.Reference;
        MonitorReference watched = plain with { Series = rule.Training, Score = table.Scores is null ? null : ColumnReference.Freeze("forecast", table.Scores, categorical: false) };
        if (table.Scores is not { } forecasts || table.Targets is not { } actuals)
        {
            return watched;
        }

        float[] horizon = table.Columns[request.FeatureNames.IndexOf(rule.Horizon)];
        ForecastPoint[] points = [.. Enumerable.Range(0, forecasts.Length).Where(i => horizon[i] >= 1 && horizon[i] == MathF.Floor(horizon[i]) && horizon[i] <= int.MaxValue)
            .Select(i => new ForecastPoint((int)horizon[i], null, actuals[i], forecasts[i], End(table.Lower, i), End(table.Upper, i)))];
        // Rows stand in the order of their origins, so those of the shortest horizon give the series itself.
        double[] series = points.Length == 0 ? [] : [.. points.Where(p => p.Horizon == points.Min(q => q.Horizon) && double.IsFinite(p.Actual)).Select(p => p.Actual).TakeLast(ForecastRule.LongestTraining)];
        watched = watched with { Series = rule.Training ?? series };
        var metrics = new List<ReferenceMetric?>();
        foreach ((int h, ForecastMetrics m) in ForecastMetrics.ByHorizon(points, watched.Series, rule.Season, rule.Alpha).Take(ForecastRule.MostHorizons))
        {
            string column = ForecastWindow.ColumnOf(h);
            foreach ((string metric, Measured value) in new[]
            {
                ("mae", m.Errors.MeanAbsoluteError), ("rmse", m.Errors.RootMeanSquaredError), ("mean_error", m.Errors.MeanError), ("mape", m.Errors.MeanAbsolutePercentageError), ("smape", m.Errors.SymmetricPercentageError),
                ("wape", m.Errors.WeightedPercentageError), ("mase", m.Mase), ("rmsse", m.Rmsse), ("interval_coverage", m.Coverage), ("interval_width", m.IntervalWidth), ("winkler", m.Winkler),
            })
            {
                metrics.Add(ReferenceMetric.Of(metric, value, m.Errors.N, column));
            }
        }

        return watched with { Metrics = Known(metrics) };

        static double? End(float[]? ends, int i) => ends is not null && float.IsFinite(ends[i]) ? ends[i] : null;
    }

    private static BoostedTrees? Losses(RowLoss loss, IReadOnlyList<float[]> columns, double[] predictions, double[] targets)
    {
        int[] rows = Enumerable.Range(0, targets.Length).Where(i => double.IsFinite(targets[i]) && double.IsFinite(predictions[i])).ToArray();
        if (rows.Length < LeastLossRows)
        {
            return null;
        }

        if (rows.Length > MostLossRows)
        {
            rows = Enumerable.Range(0, MostLossRows).Select(i => rows[(int)((long)i * rows.Length / MostLossRows)]).ToArray();
        }

        double[][] features = [.. columns.Select(c => rows.Select(i => (double)c[i]).ToArray()), rows.Select(i => predictions[i]).ToArray()];
        return Boosting.Regression(features, rows.Select(i => Dle.Of(loss, targets[i], predictions[i])).ToArray()).Trees;
    }

    private static ReferenceMetric[] Known(params IEnumerable<ReferenceMetric?> metrics) => metrics.OfType<ReferenceMetric>().ToArray();
}
