using Slipway.Pipelines.Training;
using Slipway.Serving;

namespace Slipway.Pipelines;

/// <summary>
/// Parameters of a <c>train</c> step: a table of a dataset version, cut by event time. Rows whose label is missing are left out of both
/// windows and counted. The windows are half-open, <c>[from, to)</c>, and validation begins where training ends or later: a random split
/// would see the future.
/// </summary>
public sealed record TrainParameters
{
    /// <summary>The registered model that gets a new version; made when there is none.</summary>
    public required string Model { get; init; }

    /// <summary>The experiment of the run; null takes the pipeline's name.</summary>
    public string? Experiment { get; init; }

    /// <summary>Name of the dataset.</summary>
    public required string Dataset { get; init; }

    /// <summary>Version id, tag or branch; fixed to the version's id when the run starts.</summary>
    public string Version { get; init; } = "main";

    /// <summary>One Parquet file of the version; null takes all its Parquet files as one table.</summary>
    public string? Path { get; init; }

    /// <summary>The feature columns (numbers or booleans), in the order of the model's input. A null is a missing value.</summary>
    public required IReadOnlyList<string> Features { get; init; }

    /// <summary>Features whose numbers are codes of categories: monitors compare them value by value.</summary>
    public IReadOnlyList<string> Categorical { get; init; } = [];

    /// <summary>The label column, boolean or 0 and 1.</summary>
    public required string Label { get; init; }

    /// <summary>The event-time column: TIMESTAMP (in UTC), TIMESTAMP WITH TIME ZONE or DATE.</summary>
    public required string Time { get; init; }

    /// <summary>First instant of the training window; needed at the latest when a run starts, as the other three.</summary>
    public DateTimeOffset? From { get; init; }

    /// <summary>First instant behind the training window.</summary>
    public DateTimeOffset? To { get; init; }

    /// <summary>First instant of the validation window.</summary>
    public DateTimeOffset? ValidateFrom { get; init; }

    /// <summary>First instant behind the validation window.</summary>
    public DateTimeOffset? ValidateTo { get; init; }

    /// <summary>Parameters of the trees.</summary>
    public LightGbmParameters Trainer { get; init; } = new();

    /// <summary>Mixes the training labels, so that a useless model comes out: for drills of gates and rollouts. Recorded on run and version.</summary>
    public bool ShuffleLabels { get; init; }

    /// <summary>Everything that is wrong.</summary>
    internal IEnumerable<string> Faults(bool complete)
    {
        if (string.IsNullOrWhiteSpace(Model) || string.IsNullOrWhiteSpace(Dataset) || string.IsNullOrWhiteSpace(Label) || string.IsNullOrWhiteSpace(Time))
        {
            yield return "model, dataset, label and time need a value";
        }

        if (Features.Count is 0 or > MostFeatures || Features.Any(string.IsNullOrWhiteSpace))
        {
            yield return $"there are {Features.Count} features; 1 to {MostFeatures} with names are allowed";
        }

        foreach (var twice in Features.GroupBy(f => f, StringComparer.Ordinal).Where(g => g.Count() > 1))
        {
            yield return $"the feature '{twice.Key}' is given twice";
        }

        // The label would be learned from itself.
        if (Features.Contains(Label, StringComparer.Ordinal))
        {
            yield return $"the label '{Label}' is among the features";
        }

        foreach (var unknown in Categorical.Except(Features, StringComparer.Ordinal))
        {
            yield return $"'{unknown}' is categorical but no feature";
        }

        if (From >= To || ValidateFrom >= ValidateTo)
        {
            yield return $"a window ends before it begins: training {From:u} to {To:u}, validation {ValidateFrom:u} to {ValidateTo:u}";
        }

        if (ValidateFrom < To)
        {
            yield return $"validation begins at {ValidateFrom:u}, before training ends at {To:u}; the model would be judged on what it has seen";
        }

        if (complete && (From is null || To is null || ValidateFrom is null || ValidateTo is null))
        {
            yield return "from, to, validateFrom and validateTo are needed to start";
        }
    }

    internal const int MostFeatures = 2_000;
}

/// <summary>Parameters of a <c>gate</c> step.</summary>
public sealed record GateParameters
{
    /// <summary>The policy to pass.</summary>
    public required string Policy { get; init; }

    /// <summary><c>flights/3</c>; null takes the version that an earlier step made.</summary>
    public string? ModelVersion { get; init; }

    /// <summary>The alias of the version to compare with, scored now on the same rows.</summary>
    public string Champion { get; init; } = "champion";
}

/// <summary>Parameters of a <c>propose-rollout</c> step.</summary>
public sealed record RolloutParameters
{
    /// <summary>The endpoint to roll out on.</summary>
    public required string Endpoint { get; init; }

    /// <summary><c>flights/3</c>; null takes the version that an earlier step made.</summary>
    public string? ModelVersion { get; init; }

    /// <summary>The shares of traffic in per cent, rising; an analysis decides after each one below 100.</summary>
    public IReadOnlyList<double> Percents { get; init; } = [10, 50, 100];

    /// <summary>What is compared between the shares.</summary>
    public AnalysisSpec Analysis { get; init; } = new();

    /// <summary>How long the candidate carries all traffic before it becomes stable.</summary>
    public TimeSpan Bake { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>The policy whose gate must be granted; null takes the endpoint's.</summary>
    public string? Policy { get; init; }

    internal RolloutSpec Plan() => RolloutSpec.Canary(Analysis, [.. Percents]) with { Bake = Bake };
}

/// <summary>
/// Parameters of a <c>command</c> step: a program on the server's machine, in a process group of its own. It finds a run to log to in
/// <c>MLFLOW_RUN_ID</c> and the server in <c>MLFLOW_TRACKING_URI</c>; of the server's own environment it sees only PATH, HOME, LANG, TZ and TMPDIR.
/// A version that it registers from that run is the version of the step.
/// </summary>
public sealed record CommandParameters
{
    /// <summary>The program and its arguments, without a shell: <c>["sh", "-c", "python train.py"]</c>.</summary>
    public required IReadOnlyList<string> Command { get; init; }

    /// <summary>Further environment variables.</summary>
    public IReadOnlyDictionary<string, string> Environment { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>The experiment of the run; null takes the pipeline's name.</summary>
    public string? Experiment { get; init; }

    /// <summary>How long it may run, over restarts of the server: 1 second to 7 days.</summary>
    public TimeSpan Deadline { get; init; } = TimeSpan.FromHours(1);

    internal IEnumerable<string> Faults()
    {
        if (Command.Count is 0 or > 1_000 || string.IsNullOrWhiteSpace(Command[0]) || Command.Any(a => a.Contains('\0', StringComparison.Ordinal)))
        {
            yield return $"the command has {Command.Count} words; 1 to 1000 are allowed, the first names a program, and none holds a NUL";
        }

        if (Deadline < TimeSpan.FromSeconds(1) || Deadline > TimeSpan.FromDays(7))
        {
            yield return $"the deadline is {Deadline}; 1 second to 7 days are allowed";
        }

        foreach (var name in Environment.Keys.Where(n => n.Length == 0 || n.Any(c => !char.IsAsciiLetterOrDigit(c) && c != '_') || char.IsAsciiDigit(n[0])))
        {
            yield return $"'{name}' is no name of an environment variable";
        }
    }
}
