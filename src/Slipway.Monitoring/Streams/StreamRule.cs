namespace Slipway.Monitoring;

/// <summary>The stream detectors that a monitor can have, by name.</summary>
public static class StreamDetectors
{
    /// <summary>Adaptive windowing (default): takes any real values.</summary>
    public const string Adwin = "adwin";

    /// <summary>Drift detection method: takes errors of 0 and 1.</summary>
    public const string Ddm = "ddm";

    /// <summary>Early drift detection method: takes errors of 0 and 1.</summary>
    public const string Eddm = "eddm";

    /// <summary>Hoeffding's bound on means: takes errors of 0 and 1.</summary>
    public const string HddmA = "hddm_a";

    /// <summary>McDiarmid's bound on weighted means: takes errors of 0 and 1.</summary>
    public const string HddmW = "hddm_w";

    /// <summary>Page and Hinkley's cumulative sum: takes any real values, in standard deviations of the reference.</summary>
    public const string PageHinkley = "page_hinkley";

    /// <summary>Every name.</summary>
    public static IReadOnlyList<string> All { get; } = [Adwin, Ddm, Eddm, HddmA, HddmW, PageHinkley];

    /// <summary>A new detector with its usual settings.</summary>
    internal static StreamDetector New(string name) => name switch
    {
        Ddm => new Ddm(),
        Eddm => new Eddm(),
        HddmA => new HddmA(),
        HddmW => new HddmW(),
        PageHinkley => new PageHinkley(),
        _ => new Adwin(),
    };

    /// <summary>Whether a detector takes values other than errors of 0 and 1.</summary>
    internal static bool TakesReals(string name) => name is Adwin or PageHinkley;
}

/// <summary>What a stream detector is fed, one value a labelled prediction.</summary>
public static class StreamInput
{
    /// <summary>1 for a wrong decision, 0 for a right one; of classifiers. Binary decisions are those of a score of at least 0.5.</summary>
    public const string Error = "error";

    /// <summary>Of classifiers with probabilities: minus the logarithm of the true outcome's probability (clipped at 1e-15). Of numbers: the absolute error.</summary>
    public const string Loss = "loss";

    /// <summary>What came true less what was predicted; of numbers.</summary>
    public const string Residual = "residual";

    /// <summary>Every name.</summary>
    public static IReadOnlyList<string> All { get; } = [Error, Loss, Residual];

    /// <summary>What a type is fed when nobody says.</summary>
    internal static string Of(ModelType type) => type is ModelType.Regression or ModelType.Forecasting ? Loss : Error;
}

/// <summary>Concept drift on the stream of labelled predictions, in the order of the time at which their labels became known.</summary>
/// <param name="Detector">A value of <see cref="StreamDetectors"/>.</param>
/// <param name="Input">A value of <see cref="StreamInput"/>; null is errors of classifiers and losses of numbers.</param>
public sealed record StreamRule(string Detector = StreamDetectors.Adwin, string? Input = null)
{
    /// <summary>What of it is wrong whatever the model predicts.</summary>
    internal IEnumerable<string> Problems()
    {
        if (!StreamDetectors.All.Contains(Detector, StringComparer.Ordinal))
        {
            yield return $"the stream detector is '{Detector}', one of {string.Join(", ", StreamDetectors.All)} is allowed";
        }
        else if (Input is not null && !StreamInput.All.Contains(Input, StringComparer.Ordinal))
        {
            yield return $"the stream's input is '{Input}', one of {string.Join(", ", StreamInput.All)} is allowed";
        }
        else if (Input is not (null or StreamInput.Error) && !StreamDetectors.TakesReals(Detector))
        {
            yield return $"{Detector} takes errors of 0 and 1, not the {Input}: use {StreamDetectors.Adwin} or {StreamDetectors.PageHinkley} for it";
        }
    }

    /// <summary>Why it cannot be fed by what a monitor knows; null when it can.</summary>
    /// <param name="type">What the model predicts.</param>
    /// <param name="probabilities">Whether classes have probabilities.</param>
    /// <param name="shadow">Whether answers to copies are watched.</param>
    internal string? Misfit(ModelType type, bool probabilities, bool shadow)
    {
        string input = Input ?? StreamInput.Of(type), a = $"a {type.ToString().ToLowerInvariant()} model";
        bool numbers = type is ModelType.Regression or ModelType.Forecasting;
        return shadow ? "the stream takes answers that callers got, not answers to copies"
            : type == ModelType.Ranking ? $"{a} has no error of a single prediction"
            : numbers && input == StreamInput.Error ? $"{a} has no right and wrong: its stream takes the loss or the residual"
            : numbers && !StreamDetectors.TakesReals(Detector) ? $"{Detector} takes errors of 0 and 1, which {a} does not have: use {StreamDetectors.Adwin} or {StreamDetectors.PageHinkley}"
            : !numbers && input == StreamInput.Residual ? $"{a} has no residual: its stream takes the error or the loss"
            : type == ModelType.Multiclass && input == StreamInput.Loss && !probabilities ? "the loss of classes needs their probabilities, which the outputs do not hold"
            : null;
    }

    /// <summary>The standard deviation of its values in the reference; null where the reference does not know it.</summary>
    internal double? Deviation(MonitorReference reference)
    {
        bool numbers = reference.Type is ModelType.Regression or ModelType.Forecasting;
        double? of = (Input ?? StreamInput.Of(reference.Type)) switch
        {
            StreamInput.Error => reference.Before("accuracy")?.Value is { } a ? Math.Sqrt(a * (1 - a)) : null,
            StreamInput.Loss => reference.Before(numbers ? "mae" : "log_loss")?.Spread,
            _ => reference.Before("rmse")?.Value is { } rmse && reference.Before("mean_error")?.Value is { } mean ? Math.Sqrt(Math.Max(0, rmse * rmse - mean * mean)) : null,
        };
        return of is > 0 ? of : null;
    }

    /// <summary>One value; null when the prediction or its label does not give one.</summary>
    internal double? Value(MonitorConfig config, IReadOnlyList<float> outputs, double label)
    {
        string input = Input ?? StreamInput.Of(config.Type);
        double value;
        switch (config.Type)
        {
            case ModelType.Binary:
                double score = config.Score(outputs);
                bool outcome = label >= config.PositiveFrom;
                value = !double.IsFinite(score) ? double.NaN : input == StreamInput.Error ? (score >= 0.5 == outcome ? 0 : 1) : -Math.Log(Math.Clamp(outcome ? score : 1 - score, LeastProbability, 1));
                break;
            case ModelType.Multiclass:
                float[] probabilities = config.Probabilities ? new float[config.Classes!.Count] : [];
                config.Distribution(outputs, probabilities);
                double chosen = config.Probabilities ? MonitorConfig.MostProbable(probabilities) is >= 0 and var at ? at : double.NaN : config.Score(outputs);
                value = !double.IsFinite(chosen) ? double.NaN
                    : input == StreamInput.Error ? (config.ClassName(chosen) == config.ClassName(label) ? 0 : 1)
                    : label >= 0 && label < probabilities.Length && label == Math.Floor(label) ? -Math.Log(Math.Clamp(probabilities[(int)label], LeastProbability, 1)) : double.NaN;
                break;
            default:
                double predicted = config.Score(outputs);
                value = input == StreamInput.Residual ? label - predicted : Math.Abs(label - predicted);
                break;
        }

        return double.IsFinite(value) ? value : null;
    }

    private const double LeastProbability = 1e-15;
}
