using System.Text.Json;

namespace Slipway.Pipelines;

/// <summary>Where a run stands. The names are persisted and may only grow.</summary>
public enum PipelineState
{
    /// <summary>Under way.</summary>
    Running,

    /// <summary>All steps are done.</summary>
    Succeeded,

    /// <summary>A gate did not let the version pass; nothing is broken.</summary>
    Rejected,

    /// <summary>A step failed.</summary>
    Failed,

    /// <summary>Somebody stopped it.</summary>
    Cancelled,
}

/// <summary>Where a step stands. The names are persisted and may only grow.</summary>
public enum StepState
{
    /// <summary>Waits for its turn.</summary>
    Pending,

    /// <summary>Under way on a node.</summary>
    Running,

    /// <summary>Done.</summary>
    Succeeded,

    /// <summary>Its gate said no.</summary>
    Rejected,

    /// <summary>Failed, see the error.</summary>
    Failed,

    /// <summary>Stopped.</summary>
    Cancelled,

    /// <summary>Never begun, because the run ended before.</summary>
    Skipped,
}

/// <summary>What to start a run with.</summary>
public sealed record StartRun
{
    /// <summary>What it is started for, for example <c>alert:…</c>; linked in the journal.</summary>
    public IReadOnlyList<Subject> Causes { get; init; } = [];

    /// <summary>Values in place of the spec's: <c>STEP.FIELD</c> to JSON, see <see cref="With{T}"/>.</summary>
    public IReadOnlyDictionary<string, JsonElement> Parameters { get; init; } = new Dictionary<string, JsonElement>(StringComparer.Ordinal);

    /// <summary>A second start with the same key gives the first run. Null: every start is a run.</summary>
    public string? Key { get; init; }

    /// <summary>The same start with one more value, for example <c>With("train.shuffleLabels", true)</c>.</summary>
    public StartRun With<T>(string parameter, T value) => this with
    {
        Parameters = new Dictionary<string, JsonElement>(Parameters, StringComparer.Ordinal) { [parameter] = StepSpec.JsonOf(value) },
    };
}

/// <summary>One run of a pipeline.</summary>
/// <param name="Id">32 lower-case hexadecimal digits.</param>
/// <param name="Pipeline">The pipeline.</param>
/// <param name="Version">Its version, pinned.</param>
/// <param name="Spec">The steps with all parameters as they are used.</param>
/// <param name="State">Where it stands.</param>
/// <param name="Causes">What it was started for.</param>
/// <param name="Trigger">The trigger that started it, or null.</param>
/// <param name="StartedBy">The person it acts for, or the part of Slipway that started it.</param>
/// <param name="Authors">Who may not approve what it makes.</param>
/// <param name="CreatedAt">UTC.</param>
/// <param name="FinishedAt">UTC; null while it runs.</param>
/// <param name="CancelledBy">Who asked to stop it, or null.</param>
/// <param name="ModelVersion">The version it made, such as <c>flights/3</c>, or null.</param>
/// <param name="Error">Why it did not succeed, or null.</param>
public sealed record PipelineRun(
    string Id, string Pipeline, int Version, PipelineSpec Spec, PipelineState State, IReadOnlyList<Subject> Causes, string? Trigger, string StartedBy,
    IReadOnlyList<string> Authors, DateTimeOffset CreatedAt, DateTimeOffset? FinishedAt, string? CancelledBy, string? ModelVersion, string? Error)
{
    /// <summary>What its start was known by, so that it was started once; null: nothing.</summary>
    public string? Key { get; init; }

    /// <summary><c>pipeline-run:ID</c>.</summary>
    public Subject Subject => new("pipeline-run", Id);
}

/// <summary>One step of a run.</summary>
/// <param name="Run">The run.</param>
/// <param name="Ordinal">0 for the first step.</param>
/// <param name="Name">Its name in the spec.</param>
/// <param name="Kind">Its kind.</param>
/// <param name="State">Where it stands.</param>
/// <param name="Attempt">0 before it began; one more with every try.</param>
/// <param name="StartedAt">Begin of the newest attempt.</param>
/// <param name="FinishedAt">When it ended.</param>
/// <param name="Done">How much of <paramref name="Total"/> is done; null when it is not counted.</param>
/// <param name="Total">What <paramref name="Done"/> counts to.</param>
/// <param name="Progress">What it does now or did last, in words.</param>
/// <param name="Output">What it made.</param>
/// <param name="Error">Why it failed, or why the attempt before did.</param>
public sealed record PipelineStep(
    string Run, int Ordinal, string Name, string Kind, StepState State, int Attempt, DateTimeOffset? StartedAt, DateTimeOffset? FinishedAt,
    long? Done, long? Total, string? Progress, StepOutput? Output, string? Error);

/// <summary>What a step made; later steps read it.</summary>
public sealed record StepOutput
{
    /// <summary>The experiment run, or null.</summary>
    public string? RunId { get; init; }

    /// <summary>The registered version, such as <c>flights/3</c>, or null.</summary>
    public string? ModelVersion { get; init; }

    /// <summary>The rows that the version was validated on, or null.</summary>
    public RowSelection? Validation { get; init; }

    /// <summary>The gate request, or null.</summary>
    public string? GateRequest { get; init; }

    /// <summary>The policy it was asked under, or null.</summary>
    public string? Policy { get; init; }

    /// <summary>The proposed rollout, or null.</summary>
    public string? Rollout { get; init; }

    /// <summary>Exit code of the command, or null.</summary>
    public int? ExitCode { get; init; }

    /// <summary>SHA-256 of the command's output in the blob store, or null.</summary>
    public string? Log { get; init; }
}

/// <summary>Rows of a dataset version: those with a label whose event time lies in <c>[From, To)</c>.</summary>
/// <param name="Dataset">Name of the dataset.</param>
/// <param name="Version">Id of the version.</param>
/// <param name="Path">One Parquet file; null: all of them.</param>
/// <param name="Label">The label column.</param>
/// <param name="Time">The event-time column.</param>
/// <param name="From">First instant.</param>
/// <param name="To">First instant behind.</param>
public sealed record RowSelection(string Dataset, string Version, string? Path, string Label, string Time, DateTimeOffset From, DateTimeOffset To)
{
    /// <summary>SHA-256 over the selection: equal exactly when the rows are.</summary>
    internal string Digest => Foundation.Digest.Sha256Hex(CanonicalJson.Serialize(this));
}
