namespace Slipway.Pipelines;

/// <summary>Kinds of the pipelines' journal entries. Kinds and bodies may only grow.</summary>
public static class Events
{
    /// <summary>Body <see cref="PipelineApplied"/>.</summary>
    public const string PipelineApplied = "pipeline.applied";

    /// <summary>Body <see cref="PipelineRunStarted"/>; links the pipeline, the causes, the trigger and the dataset versions it will read.</summary>
    public const string RunStarted = "pipeline-run.started";

    /// <summary>Body <see cref="PipelineRunFinished"/>; links the pipeline, the causes and what the steps made.</summary>
    public const string RunFinished = "pipeline-run.finished";

    /// <summary>Body <see cref="PipelineRunCancelled"/>: somebody asked to stop it.</summary>
    public const string RunCancelled = "pipeline-run.cancel-requested";

    /// <summary>Body <see cref="TriggerApplied"/>; links the pipeline.</summary>
    public const string TriggerApplied = "trigger.applied";

    /// <summary>Body <see cref="TriggerDecided"/>; links the alert and the pipeline run.</summary>
    public const string TriggerFired = "trigger.fired";

    /// <summary>Body <see cref="TriggerDecided"/> with the reason; links the alert.</summary>
    public const string TriggerSuppressed = "trigger.suppressed";
}

/// <summary>Body of <see cref="Events.PipelineApplied"/>.</summary>
public sealed record PipelineApplied(string Name, int Version, string Digest, string? PreviousDigest);

/// <summary>Body of <see cref="Events.RunStarted"/>.</summary>
public sealed record PipelineRunStarted(string Run, string Pipeline, int Version, string? Trigger, string SpecDigest);

/// <summary>Body of <see cref="Events.RunFinished"/>.</summary>
public sealed record PipelineRunFinished(string Run, string Pipeline, string State, string? ModelVersion, string? Error);

/// <summary>Body of <see cref="Events.RunCancelled"/>.</summary>
public sealed record PipelineRunCancelled(string Run, string Pipeline);

/// <summary>Body of <see cref="Events.TriggerApplied"/>.</summary>
public sealed record TriggerApplied(string Name, string Pipeline, string Digest);

/// <summary>Body of <see cref="Events.TriggerFired"/> and <see cref="Events.TriggerSuppressed"/>.</summary>
public sealed record TriggerDecided(string Trigger, string Pipeline, string Alert, string Code, string Reason, string? Run);
