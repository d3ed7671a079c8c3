using Slipway.Monitoring;

namespace Slipway.Pipelines;

/// <summary>What is known of an alert when a trigger decides.</summary>
/// <param name="Alert">The alert.</param>
/// <param name="Stable">The version that the endpoint serves; null when there is no such endpoint.</param>
/// <param name="QualityAlert">Id of a firing alert about the endpoint's data, or null.</param>
internal sealed record AlertFacts(Alert Alert, string? Stable, string? QualityAlert);

/// <summary>A run that the trigger started, the newest first in a history.</summary>
internal sealed record PastRun(string Id, PipelineState State, DateTimeOffset CreatedAt, DateTimeOffset? FinishedAt);

/// <summary>What came before.</summary>
/// <param name="OpenRun">A run of the pipeline that has not ended, whoever started it; or null.</param>
/// <param name="Runs">Runs of this trigger, newest first.</param>
internal sealed record TriggerHistory(string? OpenRun, IReadOnlyList<PastRun> Runs);

/// <summary>A decision before it is written.</summary>
internal readonly record struct Ruling(bool Fire, string Code, string Reason);

/// <summary>
/// Whether an alert starts a run: pure. The order tells the most useful reason first. Bad data is told from drift before anything is trained:
/// a model trained on broken columns passes no gate, and may pass one by accident.
/// </summary>
internal static class TriggerRules
{
    /// <summary>The codes of rulings whose reason passes by itself, as SQL.</summary>
    public const string Passing = "'data-quality', 'run-open', 'cool-down', 'budget'";

    private static readonly TimeSpan LongestCoolDown = TimeSpan.FromDays(14);
    private static readonly TimeSpan Day = TimeSpan.FromDays(1);
    private static readonly TimeSpan Week = TimeSpan.FromDays(7);

    public static Ruling Decide(TriggerSpec spec, AlertFacts facts, TriggerHistory history, DateTimeOffset now)
    {
        var alert = facts.Alert;
        if (Mismatch(spec.Match, alert) is { } mismatch)
        {
            return new(false, "no-match", mismatch);
        }

        if (Families.IsBlind(alert.Family) || alert.Monitor.Length == 0)
        {
            return new(false, "no-evidence", $"alert {alert.Id} brings no measurement of a monitor: {alert.Sentence}");
        }

        if (alert.Family == Families.Operation)
        {
            return new(false, "no-evidence", $"alert {alert.Id} is about how requests are served, which training does not mend: {alert.Sentence}");
        }

        if (alert.Family == "quality" || facts.QualityAlert is not null)
        {
            return new(false, "data-quality", $"alert {facts.QualityAlert ?? alert.Id} says that the data is damaged; repair it first");
        }

        if (facts.Stable is { } stable && stable != alert.ModelVersion)
        {
            return new(false, "not-stable", $"the alert is about {alert.ModelVersion}, but endpoint {alert.Endpoint} serves {stable}");
        }

        if (history.OpenRun is { } open)
        {
            return new(false, "run-open", $"pipeline run {open} has not ended");
        }

        if (CoolDownUntil(spec.CoolDown, history.Runs) is { } until && now < until)
        {
            return new(false, "cool-down", $"the trigger rests until {until:u}, after run {history.Runs[0].Id} ended {history.Runs[0].State.ToString().ToLowerInvariant()}");
        }

        var today = history.Runs.Count(r => r.CreatedAt > now - Day);
        if (today >= spec.MaxPerDay)
        {
            return new(false, "budget", $"{today} runs in 24 hours, and {spec.MaxPerDay} are allowed");
        }

        var week = history.Runs.Count(r => r.CreatedAt > now - Week);
        return week >= spec.MaxPerWeek
            ? new(false, "budget", $"{week} runs in 7 days, and {spec.MaxPerWeek} are allowed")
            : new(true, "fired", alert.Sentence);
    }

    /// <summary>The end of the rest after the newest run that has ended; null before the first.</summary>
    public static DateTimeOffset? CoolDownUntil(TimeSpan coolDown, IReadOnlyList<PastRun> runs)
    {
        if (runs is not [{ FinishedAt: { } finished } last, ..])
        {
            return null;
        }

        // Nobody's fault and no result: a cancelled run rests as a good one does.
        var bad = runs.TakeWhile(r => r.State is PipelineState.Rejected or PipelineState.Failed).Count();
        var longest = coolDown > LongestCoolDown ? coolDown : LongestCoolDown;
        return finished + (last.State is PipelineState.Rejected or PipelineState.Failed && bad > 0 ? TimeSpan.FromTicks((long)Math.Min(longest.Ticks, coolDown.Ticks * Math.Pow(2, bad))) : coolDown);
    }

    /// <summary>The values that set the windows of every <c>train</c> step of a spec.</summary>
    public static StartRun Windows(StartRun start, PipelineSpec pipeline, TrailingWindow window, DateTimeOffset end)
    {
        var validateFrom = end - window.Validation;
        var to = validateFrom - window.Embargo;
        return pipeline.Steps.Where(s => s.Kind == StepSpec.TrainKind).Aggregate(
            start,
            (with, step) => with
                .With($"{step.Name}.from", to - window.Length).With($"{step.Name}.to", to)
                .With($"{step.Name}.validateFrom", validateFrom).With($"{step.Name}.validateTo", end));
    }

    private static string? Mismatch(TriggerMatch match, Alert alert)
    {
        var model = alert.ModelVersion.LastIndexOf('/') is > 0 and var slash ? alert.ModelVersion[..slash] : alert.ModelVersion;
        return match.Endpoint is { } endpoint && endpoint != alert.Endpoint ? $"the alert is of endpoint {alert.Endpoint}, not {endpoint}"
            : match.Model is { } wanted && wanted != model ? $"the alert is of model {model}, not {wanted}"
            : match.Metric is { } metric && alert.Metric != metric && alert.Members.All(m => m.Metric != metric) ? $"the alert is about {alert.Metric}, not {metric}"
            : DriftLevel.Rank(alert.Severity) < DriftLevel.Rank(match.MinSeverity) ? $"the alert's severity is {alert.Severity}, below {match.MinSeverity}"
            : null;
    }
}
