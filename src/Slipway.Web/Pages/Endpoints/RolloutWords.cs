using System.Globalization;
using Slipway.Monitoring;
using Slipway.Serving;
using Slipway.Web.Parts;

namespace Slipway.Web.Pages;

/// <summary>A rollout's plan in words.</summary>
internal static class RolloutWords
{
    /// <summary>The kind as the guide names it.</summary>
    public static string Of(RolloutKind kind) => kind switch
    {
        RolloutKind.BlueGreen => "blue-green",
        RolloutKind.AbTest => "A/B test",
        var other => other.ToString().ToLowerInvariant(),
    };

    /// <summary>The rollout by its candidates.</summary>
    public static string Title(Rollout rollout)
    {
        var candidates = rollout.Variants.Where(v => v.Role == VariantRole.Candidate).Select(v => EndpointShares.Short(v.ModelVersion)).Distinct(StringComparer.Ordinal).ToList();
        return $"Rollout of {(candidates.Count == 1 ? candidates[0] : $"{string.Join(", ", candidates.SkipLast(1))} and {candidates[^1]}")}";
    }

    /// <summary>That outcomes have not chosen a winner, for a person who is about to choose one; empty once they have.</summary>
    public static string Undecided(Rollout rollout) => rollout.Findings switch
    {
        { Experiment: { Decision: ExperimentDecision.Winner } } or { Bandit.Best: not null } => "",
        { Experiment: { } report } => $"The experiment has not found a winner: {report.Why}{(report.Why.EndsWith('.') ? "" : ".")}",
        { Bandit: { } report } => $"The bandit has not found the best variant: {report.Why}{(report.Why.EndsWith('.') ? "" : ".")}",
        _ => "Nothing has been measured yet.",
    };

    /// <summary>What is known of a variant's outcomes, with its interval and n.</summary>
    public static string Evidence(Rollout rollout, string variant)
    {
        var version = EndpointShares.Short(rollout.Variants.First(v => v.Name == variant).ModelVersion);
        if (rollout.Findings?.Experiment?.Metrics.FirstOrDefault(m => m.Variant == variant && m.Role == "primary") is { } metric)
            return $"{version}: {metric.Metric} {Figure(metric.Value)} against {Figure(metric.BaselineValue)} of {metric.Baseline}, effect {Figure(metric.Effect)}"
                + (metric is { Lower: { } lower, Upper: { } upper } ? $" [{Figure(lower)}, {Figure(upper)}]" : "") + $", n {Say.Count(metric.N)} / {Say.Count(metric.BaselineN)}; {Of(metric.Verdict)}.";
        if (rollout.Findings?.Bandit?.Arms.FirstOrDefault(a => a.Variant == variant) is { } arm)
            return $"{version}: P(best) {(arm.PBest is { } sure ? Say.Percent(sure) : "unknown")}, mean reward {Figure(arm.Unbiased)}, n {Say.Count(arm.N)}.";
        return $"{version}: no outcome is known yet.";
    }

    /// <summary>What a step is.</summary>
    public static string Of(RolloutStep step) => char.ToUpperInvariant(step.Words[0]) + step.Words[1..];

    /// <summary>When a step is done, or what it does.</summary>
    public static string Detail(RolloutStep step, RolloutSpec spec) => step.Kind switch
    {
        "setWeight" => "one revision of the route, until every node serves it",
        "pause" => "guardrails stay on",
        "analysis" => Of(step.Analysis ?? spec.Guardrails) + (step.Background ? "; runs beside the later steps and must have passed before the end" : ""),
        "experiment" when spec.Experiment is { } asked => $"{asked.Primary.Name} decides; smallest effect that matters {Say.Number(asked.Design.Effect)}"
            + (asked.Design.Horizon is { } horizon ? $"; at most {TimeAgo.Span(horizon)}" : ""),
        "bandit" when spec.Bandit is { } bandit => $"shares follow {bandit.Reward.Name} every {TimeAgo.Span(bandit.Interval)}"
            + (bandit.StopAt is { } stop ? $"; ends at P(best) {Say.Percent(stop)}" : "; runs until somebody ends it"),
        "compare" when spec.Shadow is { } shadow => $"at least {Say.Count(shadow.MinPairs, "pair")}{Limits(shadow)}",
        "mirror" => step.Percent > 0 ? "its answers are never returned" : "",
        "match" when !step.Clear => Matches(step),
        "warm" => (step.MinReady is { } least ? $"every node loads it, at least {least}" : "every node loads it")
            + (step.MaxMillis is { } limit ? $"; one call takes at most {Say.Latency(limit * 1000)}" : "") + (step.MaxP99Millis is { } p99 ? $"; p99 of the warm-up at most {Say.Latency(p99 * 1000)}" : ""),
        "approve" => (step.FourEyes ? "by somebody who did not propose the rollout" : "by anybody with the right to") + (step.Expiry is { } expiry ? $"; aborts after {TimeAgo.Span(expiry)}" : ""),
        "webhook" => $"goes on with a 2xx, tried for {TimeAgo.Span(step.Expiry ?? TimeSpan.FromMinutes(10))}; a refusal {(step.CountsAsFailure ? "aborts" : "is only noted")}",
        "job" => $"goes on when its run succeeds, waited for {TimeAgo.Span(step.Expiry ?? TimeSpan.FromHours(1))}; a failed run {(step.CountsAsFailure ? "aborts" : "is only noted")}",
        _ => "",
    };

    /// <summary>A check's name as people say it.</summary>
    public static string Check(string metric) => metric switch
    {
        "errorRate" => "error rate",
        "latencyP95" => "latency p95",
        "latencyP99" => "latency p99",
        "nanShare" => "NaN share",
        "schemaViolations" => "schema violations",
        "cost" => "cost of a million answers",
        var other => MetricNames.Of(other),
    };

    /// <summary>Why a rollout stands still, in a word or two; null while it does not.</summary>
    public static string? Halted(RolloutStatus status) => status is not { State: RolloutState.Paused, Pause: { } reason } ? null : reason switch
    {
        PauseReason.Step => "planned",
        PauseReason.Manual => "by hand",
        PauseReason.Inconclusive => "no verdict",
        PauseReason.NoData => "not enough data",
        PauseReason.Approval => "approval",
        _ => "lease lost",
    };

    /// <summary>A state as chips say it, with the reason of a pause.</summary>
    public static string State(RolloutStatus status) => Halted(status) is { } why ? $"paused: {why}" : status.State == RolloutState.RollingBack ? "rolling back" : status.State.ToString().ToLowerInvariant();

    /// <summary>A moment in UTC: the time today, with the day on any other.</summary>
    public static string Moment(DateTimeOffset at, DateTimeOffset now) =>
        at.UtcDateTime.ToString(at.UtcDateTime.Date == now.UtcDateTime.Date ? "HH:mm:ss 'UTC'" : "yyyy-MM-dd HH:mm 'UTC'", CultureInfo.InvariantCulture);

    /// <summary>A p-value; tiny ones are not shown as zero.</summary>
    public static string P(double? value) => value is > 0 and < 0.0001 or 0 ? "< 0.0001" : Figure(value);

    /// <summary>A verdict as tables say it.</summary>
    public static string Of(Verdict verdict) => verdict switch
    {
        Verdict.Pass => "pass",
        Verdict.Fail => "fail",
        Verdict.NoData => "not enough data",
        Verdict.Error => "no answer",
        _ => "undecided",
    };

    /// <summary>A cause as a sentence.</summary>
    public static string Sentence(string cause) =>
        cause.Length == 0 ? "" : char.ToUpperInvariant(cause[0]) + cause[1..] + (cause[^1] is '.' or '!' or '?' ? "" : ".");

    /// <summary>A figure of a table; a dash where it is undefined.</summary>
    public static string Figure(double? value) => value is { } v && double.IsFinite(v) ? v.ToString("0.####", CultureInfo.InvariantCulture) : "–";

    /// <summary>A share of 0 to 1; a dash where it is undefined.</summary>
    public static string Share(double? value) => value is { } v && double.IsFinite(v) ? Say.Percent(v) : "–";

    private static string Of(AnalysisSpec spec) =>
        $"at least {Say.Count(spec.MinRequests, "request")} each; errors at most {Say.Percent(spec.MaxErrorRateIncrease)} above, p95 at most {Say.Number(spec.MaxLatencyRatio)} times"
        + (spec.Quality.Count == 0 ? "" : $"; {string.Join(" and ", spec.Quality)} on at least {Say.Count(spec.MinLabels, "label")}");

    private static string Limits(ShadowSpec spec) =>
        (spec.MaxClassFlips is { } flips ? $"; class flips at most {Say.Percent(flips)}" : "")
        + (spec.MinRankCorrelation is { } rank ? $"; rank correlation at least {Figure(rank)}" : "")
        + (spec.MaxScorePsi is { } psi ? $"; PSI at most {Figure(psi)}" : "")
        + (spec.MaxSlowerMicros is { } slower ? $"; median at most {Say.Latency(slower)} slower" : "");

    private static string Matches(RolloutStep step)
    {
        var values = step.Values is { Count: > 0 } accepted ? $" = {string.Join(", ", accepted.Take(5))}" : "";
        var by = step.Header is { } header ? $"header {header}{values}" : step.Cookie is { } cookie ? $"cookie {cookie}{values}" : "";
        var attributes = string.Join(" and ", (step.Attributes ?? []).Select(condition => condition.Words));
        var entities = step.Entities is { Count: > 0 } named ? Say.Count(named.Count, "entity", "entities") : "";
        return string.Join("; ", new[] { by, attributes, entities }.Where(part => part.Length > 0));
    }
}
