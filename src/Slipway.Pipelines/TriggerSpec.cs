using Slipway.Monitoring;

namespace Slipway.Pipelines;

/// <summary>When a pipeline runs by itself.</summary>
public sealed record TriggerSpec
{
    /// <summary>The only event that fires triggers so far.</summary>
    public const string AlertFired = "alert.fired";

    /// <summary>Unique; as a pipeline's name.</summary>
    public required string Name { get; init; }

    /// <summary>The pipeline it starts.</summary>
    public required string Pipeline { get; init; }

    /// <summary>The event: <c>alert.fired</c>.</summary>
    public string On { get; init; } = AlertFired;

    /// <summary>Which alerts; the default takes every alert of at least a warning.</summary>
    public TriggerMatch Match { get; init; } = new();

    /// <summary>
    /// Rest after a run of this trigger that succeeded. After a run that was rejected or failed it doubles with each one in a row, up to 14 days
    /// (or this value, if longer): the same bad data would only give the same bad model.
    /// </summary>
    public TimeSpan CoolDown { get; init; } = TimeSpan.FromHours(24);

    /// <summary>Most runs it starts in 24 hours, 1 to 1,000.</summary>
    public int MaxPerDay { get; init; } = 4;

    /// <summary>Most runs it starts in 7 days, 1 to 1,000; null sets no weekly limit.</summary>
    public int? MaxPerWeek { get; init; }

    /// <summary>Sets the windows of the pipeline's <c>train</c> steps by the alert; null leaves them as the pipeline has them.</summary>
    public TrailingWindow? Window { get; init; }

    /// <summary>Everything that is wrong.</summary>
    internal IEnumerable<string> Faults()
    {
        if (!Pipelines.IsName(Name))
        {
            yield return $"'{Name}' is no name for a trigger: 1 to 100 letters, digits, dots, dashes and underscores";
        }

        if (On != AlertFired)
        {
            yield return $"'{On}' fires no trigger; '{AlertFired}' does";
        }

        if (DriftLevel.Rank(Match.MinSeverity) < 1)
        {
            yield return $"'{Match.MinSeverity}' is no severity; warn, major and severe are";
        }

        if (CoolDown < TimeSpan.Zero || MaxPerDay is < 1 or > 1000)
        {
            yield return $"the cool-down ({CoolDown}) cannot be negative, and maxPerDay ({MaxPerDay}) lies between 1 and 1000";
        }

        if (MaxPerWeek is < 1 or > 1000)
        {
            yield return $"maxPerWeek ({MaxPerWeek}) lies between 1 and 1000, or is left out";
        }

        if (Window is { } window && (window.Kind != TrailingWindow.Trailing || window.Length <= TimeSpan.Zero || window.Validation <= TimeSpan.Zero || window.Embargo < TimeSpan.Zero))
        {
            yield return $"a window of kind '{window.Kind}' with length {window.Length}, validation {window.Validation} and embargo {window.Embargo} is not possible; kind is 'trailing', lengths are positive";
        }
    }
}

/// <summary>Which alerts a trigger takes; null takes any.</summary>
/// <param name="Endpoint">The endpoint.</param>
/// <param name="Model">The model's name.</param>
/// <param name="Metric">A metric that takes part in the alert, such as <c>auc</c> or <c>psi</c>.</param>
/// <param name="MinSeverity">The least severity: <c>warn</c>, <c>major</c> or <c>severe</c>.</param>
public sealed record TriggerMatch(string? Endpoint = null, string? Model = null, string? Metric = null, string MinSeverity = DriftLevel.Warn);

/// <summary>
/// The time before the end of the alert's window: first the training window, then the embargo, then the validation window, which ends with the
/// alert's window.
/// </summary>
/// <param name="Length">Length of the training window.</param>
/// <param name="Validation">Length of the validation window.</param>
/// <param name="Embargo">Time left out between them: as long as labels take, plus the longest look-back of a feature.</param>
/// <param name="Kind"><c>trailing</c>.</param>
public sealed record TrailingWindow(TimeSpan Length, TimeSpan Validation, TimeSpan Embargo = default, string Kind = TrailingWindow.Trailing)
{
    /// <summary>The only kind so far.</summary>
    public const string Trailing = "trailing";
}

/// <summary>A trigger in force.</summary>
/// <param name="Spec">What it does.</param>
/// <param name="AppliedBy">The person who applied it; its runs act for that person.</param>
/// <param name="AppliedAt">UTC.</param>
public sealed record Trigger(TriggerSpec Spec, string AppliedBy, DateTimeOffset AppliedAt)
{
    /// <summary><c>trigger:NAME</c>.</summary>
    public Subject Subject => new("trigger", Spec.Name);
}

/// <summary>What a trigger made of one alert.</summary>
/// <param name="Id">ULID.</param>
/// <param name="Trigger">The trigger.</param>
/// <param name="Alert">Id of the alert.</param>
/// <param name="Fired">Whether it started a run.</param>
/// <param name="Code"><c>fired</c>, <c>no-match</c>, <c>not-stable</c>, <c>data-quality</c>, <c>run-open</c>, <c>cool-down</c>, <c>budget</c> or <c>refused</c>.</param>
/// <param name="Reason">In words, with the value that decided.</param>
/// <param name="Run">The run it started, or null.</param>
/// <param name="At">UTC.</param>
public sealed record TriggerDecision(string Id, string Trigger, string Alert, bool Fired, string Code, string Reason, string? Run, DateTimeOffset At);
