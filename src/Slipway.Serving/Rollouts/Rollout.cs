using System.Text.Json.Serialization;
using Slipway.Foundation;

namespace Slipway.Serving;

/// <summary>Where a rollout stands. The names are persisted and may only grow.</summary>
public enum RolloutState
{
    /// <summary>Proposed; waits for the gate or for a start.</summary>
    Pending,

    /// <summary>Working through its steps.</summary>
    Progressing,

    /// <summary>Halted, see the pause reason; guardrails go on.</summary>
    Paused,

    /// <summary>All steps are done; the candidate takes all traffic next.</summary>
    Promoting,

    /// <summary>The candidate has all traffic and is watched before it becomes stable.</summary>
    Baking,

    /// <summary>Finished: the candidate is stable.</summary>
    Healthy,

    /// <summary>Traffic is back on stable; bookkeeping follows.</summary>
    Aborting,

    /// <summary>Ended on stable; may be retried.</summary>
    Aborted,
}

/// <summary>Why a rollout is paused. The names are persisted and may only grow.</summary>
public enum PauseReason
{
    /// <summary>A pause step of the plan.</summary>
    Step,

    /// <summary>A person paused it.</summary>
    Manual,

    /// <summary>The analysis could not decide; it goes on measuring and continues by itself once it can.</summary>
    Inconclusive,

    /// <summary>The analysis has too little data; it goes on measuring and continues by itself once it has enough.</summary>
    NoData,

    /// <summary>An approve step waits for a person.</summary>
    Approval,
}

/// <summary>One step of a plan.</summary>
/// <param name="Kind"><c>setWeight</c>, <c>pause</c>, <c>analysis</c> or <c>approve</c>.</param>
/// <param name="Percent">setWeight: the candidate's share, 0 to 100.</param>
/// <param name="Duration">pause: how long; null: until promoted.</param>
/// <param name="Analysis">analysis: what is compared; null: the plan's guardrails.</param>
public sealed record RolloutStep(string Kind, double? Percent = null, TimeSpan? Duration = null, AnalysisSpec? Analysis = null)
{
    /// <summary>Gives the candidate a share of the traffic.</summary>
    public static RolloutStep SetWeight(double percent) => new("setWeight", Percent: percent);

    /// <summary>Waits; without a duration until a person promotes.</summary>
    public static RolloutStep Pause(TimeSpan? duration = null) => new("pause", Duration: duration);

    /// <summary>Compares candidate and stable and goes on only if the candidate passes.</summary>
    public static RolloutStep Analyse(AnalysisSpec? analysis = null) => new("analysis", Analysis: analysis);

    /// <summary>Waits for a person who did not propose the rollout.</summary>
    public static RolloutStep Approve() => new("approve");

    internal bool IsWait => Kind is "pause" or "analysis" or "approve";
}

/// <summary>How a candidate replaces stable. Fixed when proposed.</summary>
public sealed record RolloutSpec
{
    /// <summary>Executed in order; weights only grow.</summary>
    public IReadOnlyList<RolloutStep> Steps { get; init; } = [];

    /// <summary>Error rate and latency limits that are watched from the first exposed request to the end, also during pauses.</summary>
    public AnalysisSpec Guardrails { get; init; } = new();

    /// <summary>How long the candidate carries all traffic before it becomes stable.</summary>
    public TimeSpan Bake { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Time in progress (pauses do not count) after which the rollout aborts.</summary>
    public TimeSpan ProgressDeadline { get; init; } = TimeSpan.FromHours(24);

    /// <summary>Whether it starts by itself once the gate is granted, or at once without a policy.</summary>
    public bool AutoStart { get; init; } = true;

    /// <summary>A canary: after each weight below 100 the analysis decides about the next.</summary>
    public static RolloutSpec Canary(AnalysisSpec analysis, params double[] percents) => new()
    {
        Guardrails = analysis with { Quality = [] },
        Steps = [.. percents.SelectMany(percent => percent < 100
            ? new[] { RolloutStep.SetWeight(percent), RolloutStep.Analyse(analysis) }
            : [RolloutStep.SetWeight(percent)])],
    };

    /// <summary>Every fault of the plan at once; empty if it can run.</summary>
    public IReadOnlyList<string> Faults()
    {
        var faults = new List<string>();
        var weight = 0.0;
        if (Steps.Count is 0 or > 100)
        {
            faults.Add($"a plan has 1 to 100 steps, this one has {Steps.Count}");
        }

        for (var i = 0; i < Steps.Count; i++)
        {
            var step = Steps[i];
            if (step.Kind is not ("setWeight" or "pause" or "analysis" or "approve"))
            {
                faults.Add($"step {i + 1}: '{step.Kind}' is not a kind of step (setWeight, pause, analysis, approve)");
            }
            else if (step.Kind == "setWeight" && step.Percent is not (>= 0 and <= 100))
            {
                faults.Add($"step {i + 1}: a weight is 0 to 100 percent, this one is {step.Percent?.ToString() ?? "missing"}");
            }
            else if (step.Kind == "setWeight" && step.Percent < weight)
            {
                faults.Add($"step {i + 1}: weights only grow, {step.Percent} follows {weight}; a user of the candidate would go back to stable");
            }
            else if (step.Kind == "pause" && step.Duration < TimeSpan.Zero)
            {
                faults.Add($"step {i + 1}: a pause cannot last {step.Duration}");
            }

            weight = step.Kind == "setWeight" && step.Percent is { } percent ? Math.Max(weight, percent) : weight;
            faults.AddRange((step.Analysis?.Faults() ?? []).Select(fault => $"step {i + 1}: {fault}"));
        }

        faults.AddRange(Guardrails.Faults().Select(fault => $"guardrails: {fault}"));
        if (Bake < TimeSpan.Zero || ProgressDeadline <= TimeSpan.Zero)
        {
            faults.Add($"bake ({Bake}) cannot be negative and the progress deadline ({ProgressDeadline}) must be positive");
        }

        return faults;
    }
}

/// <summary>What the rollout's worker remembers; saved with every transition.</summary>
/// <param name="State">Where it stands.</param>
/// <param name="Pause">Why it is paused, or null.</param>
/// <param name="Step">Index of the step in progress; the number of steps when all are done.</param>
/// <param name="StepSince">When that step began, Unix microseconds: a timed pause keeps its deadline over restarts.</param>
/// <param name="Percent">The candidate's share by this rollout's last decision.</param>
/// <param name="ExposedSince">When the candidate first got traffic, or 0.</param>
/// <param name="ActiveMicros">Time in progress up to <paramref name="ActiveSince"/>.</param>
/// <param name="ActiveSince">Since when it progresses without a pause, or 0.</param>
/// <param name="Attempt">1, and one more with every retry.</param>
/// <param name="Cause">Why it is where it is, in words.</param>
/// <param name="Memory">What the sequential tests established so far.</param>
public sealed record RolloutStatus(
    RolloutState State, PauseReason? Pause, int Step, long StepSince, double Percent, long ExposedSince, long ActiveMicros, long ActiveSince,
    int Attempt, string Cause, AnalysisMemory Memory)
{
    /// <summary>The status of a proposal.</summary>
    public static RolloutStatus Proposed(long at) => new(RolloutState.Pending, null, 0, at, 0, 0, 0, 0, 1, "proposed", AnalysisMemory.Empty);

    /// <summary>Whether nothing will happen any more by itself.</summary>
    [JsonIgnore]
    public bool Ended => State is RolloutState.Healthy or RolloutState.Aborted;
}

/// <summary>A rollout.</summary>
/// <param name="Id">32 hexadecimal digits; also the salt of the slots.</param>
/// <param name="Endpoint">The endpoint's name.</param>
/// <param name="Stable">The version to go back to, as <c>name/version</c>.</param>
/// <param name="Candidate">The version under trial, as <c>name/version</c>.</param>
/// <param name="Policy">The policy whose gate the candidate must have passed, or null.</param>
/// <param name="Spec">The plan.</param>
/// <param name="Status">Where it stands.</param>
/// <param name="Rev">Grows with every transition; commands are compare-and-set on it.</param>
/// <param name="LastAnalysis">The newest look, or null.</param>
/// <param name="ProposedBy">The person who proposed it.</param>
/// <param name="ProposedAt">UTC.</param>
/// <param name="UpdatedAt">UTC, of the last transition.</param>
public sealed record Rollout(
    string Id, string Endpoint, string Stable, string Candidate, string? Policy, RolloutSpec Spec, RolloutStatus Status, long Rev,
    AnalysisReport? LastAnalysis, string ProposedBy, DateTimeOffset ProposedAt, DateTimeOffset UpdatedAt)
{
    /// <summary>How the journal names it.</summary>
    public Subject Subject => new("rollout", Id);
}

/// <summary>One row of a rollout's story.</summary>
public sealed record RolloutEvent(long Number, DateTimeOffset At, string Kind, RolloutState State, int Step, double Percent, string Actor, string Cause, AnalysisReport? Analysis);
