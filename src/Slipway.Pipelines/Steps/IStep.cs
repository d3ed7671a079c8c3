namespace Slipway.Pipelines.Steps;

/// <summary>A kind of step. A step may die anywhere and run again: it finds what an earlier attempt made by names derived from run and step.</summary>
internal interface IStep
{
    string Kind { get; }

    /// <summary>Whether it can make a model version that later steps take.</summary>
    bool MakesVersion { get; }

    /// <summary>Everything that is wrong with the parameters; <paramref name="complete"/> asks also for what may come with the start.</summary>
    IEnumerable<string> Faults(StepSpec step, bool complete);

    /// <summary>The step with branches and tags fixed to what they name now.</summary>
    Task<StepSpec> PinAsync(StepSpec step, CancellationToken ct);

    /// <summary>Does the work. The token is cancelled when somebody stops the run, and when the server stops: then the step runs again later.</summary>
    Task<StepResult> RunAsync(StepContext context, CancellationToken ct);
}

/// <summary>How a step ended, with what it made.</summary>
/// <param name="Output">What it made.</param>
/// <param name="Rejection">Why the run ends here without a failure, or null.</param>
/// <param name="Failure">Why it failed although it has something to tell, such as an exit code; or null.</param>
internal sealed record StepResult(StepOutput Output, string? Rejection = null, string? Failure = null);

/// <summary>What a step sees of its run.</summary>
/// <param name="Run">The run.</param>
/// <param name="Step">The step, as this attempt began.</param>
/// <param name="Earlier">What the steps before made.</param>
/// <param name="Report">Writes progress: done, total, words.</param>
/// <param name="Stopping">Cancelled when the server stops, so that the step can tell that from a cancelled run.</param>
internal sealed record StepContext(PipelineRun Run, PipelineStep Step, IReadOnlyList<StepOutput> Earlier, Func<long?, long?, string, Task> Report, CancellationToken Stopping)
{
    /// <summary>Tag of runs and versions that names the pipeline run.</summary>
    public const string RunTag = "slipway.pipeline_run";

    /// <summary>Tag of runs and versions that names the step.</summary>
    public const string StepTag = "slipway.pipeline_step";

    public StepSpec Spec => Run.Spec.Steps[Step.Ordinal];

    /// <summary>Who acts: pipelines, for the person who started the run.</summary>
    public Actor Actor => Actor.System("pipelines") with { OnBehalfOf = Run.StartedBy, RequestId = Run.Id };

    /// <summary>The version that the parameters name, or the newest that an earlier step made.</summary>
    public string VersionOr(string? named) => named ?? Earlier.LastOrDefault(o => o.ModelVersion is not null)?.ModelVersion
        ?? throw new SlipwayException(ErrorCode.PreconditionFailed, $"step '{Spec.Name}' has no model version", "no step before it made one", "name one in modelVersion, or register one in the step before");
}

/// <summary>The kinds of steps, and what can be said of a spec before it runs.</summary>
internal sealed class StepKinds(IEnumerable<IStep> steps)
{
    private readonly Dictionary<string, IStep> byKind = steps.ToDictionary(s => s.Kind, StringComparer.Ordinal);

    public IStep Of(string kind) => byKind.TryGetValue(kind, out var step)
        ? step
        : throw new SlipwayException(ErrorCode.InvalidArgument, $"there is no step kind '{kind}'", $"known are {string.Join(", ", byKind.Keys.Order(StringComparer.Ordinal))}");

    public List<string> Faults(PipelineSpec spec, int index, bool complete)
    {
        var step = spec.Steps[index];
        try
        {
            var faults = Of(step.Kind).Faults(step, complete).ToList();
            var needs = step.Kind switch
            {
                StepSpec.GateKind => step.Read<GateParameters>().ModelVersion is null,
                StepSpec.RolloutKind => step.Read<RolloutParameters>().ModelVersion is null,
                _ => false,
            };
            if (needs && !spec.Steps.Take(index).Any(s => byKind.TryGetValue(s.Kind, out var kind) && kind.MakesVersion))
            {
                faults.Add("it names no modelVersion, and no step before it makes one");
            }

            return faults;
        }
        catch (SlipwayException e) when (e.Code == ErrorCode.InvalidArgument)
        {
            return [e.Sentence];
        }
    }

    public async Task<PipelineSpec> PinAsync(PipelineSpec spec, CancellationToken ct)
    {
        var pinned = new List<StepSpec>();
        foreach (var step in spec.Steps)
        {
            pinned.Add(await Of(step.Kind).PinAsync(step, ct));
        }

        return spec with { Steps = pinned };
    }

    /// <summary>The dataset versions that a pinned spec reads.</summary>
    public static IEnumerable<Subject> Reads(PipelineSpec spec) => spec.Steps
        .Where(s => s.Kind == StepSpec.TrainKind)
        .Select(s => s.Read<TrainParameters>())
        .Select(p => new Subject("dataset-version", $"{p.Dataset}/{p.Version}"));
}
