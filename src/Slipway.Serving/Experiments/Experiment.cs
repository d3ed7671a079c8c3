using System.Runtime.InteropServices;
using Slipway.Monitoring;

namespace Slipway.Serving;

/// <summary>What was read for one look.</summary>
/// <param name="Arms">The baseline first.</param>
/// <param name="Expected">Units that each arm should have; null if the route's history does not say.</param>
/// <param name="Cuped">What CUPED did to the primary metric; null if it was not asked for.</param>
/// <param name="From">First exposure that counts.</param>
/// <param name="Cut">Exposures from here on are immature.</param>
/// <param name="Anonymous">Units without an entity key.</param>
/// <param name="LeftOut">Predictions of overrides, match rules and mirrors.</param>
/// <param name="Sampled">Share of units that was read.</param>
internal sealed record ExperimentData(
    IReadOnlyList<ArmData> Arms, IReadOnlyList<double>? Expected, CupedReport? Cuped, DateTimeOffset From, DateTimeOffset Cut, long Anonymous, long LeftOut, double Sampled);

/// <summary>Judges what was read. Pure: no clock, no store.</summary>
internal static class Experiment
{
    // The normal approximation of the mixture test needs about this many events in each arm (contract: rollouts, 5.2).
    private const long NormalEvents = 100;

    // The mixture's width, in standard deviations of a unit, of metrics without an effect of their own.
    private const double Width = 0.1;

    /// <summary>One look. Earlier looks' smallest p-values and intersected intervals are in <paramref name="memory"/>.</summary>
    public static ExperimentReport Judge(ExperimentSpec spec, ExperimentData data, AnalysisMemory memory, DateTimeOffset now)
    {
        var looks = new Dictionary<string, AnalysisLook>(memory.Looks, StringComparer.Ordinal);
        var baseline = data.Arms[0];
        var others = data.Arms.Skip(1).ToList();
        var ratio = data.Expected is { } expected
            ? SampleRatio.Check([.. data.Arms.Select(arm => arm.Exposed)], expected)
            : new SampleRatioReport(null, null, false, "the route's history does not say which weights were in force");
        var least = data.Arms.Min(arm => arm.Mature);
        var ended = (spec.Design.Horizon is { } horizon && now - data.From >= horizon) || (spec.Design.UnitsPerArm is { } units && least >= units);
        IReadOnlyList<(MetricSpec Metric, string Role)> metrics =
            [(spec.Primary, "primary"), .. spec.Secondary.Select(metric => (metric, "secondary")), .. spec.Guardrails.Select(metric => (metric, "guardrail"))];
        var results = new List<MetricResult>();
        for (var i = 0; i < metrics.Count; i++)
        {
            var (metric, role) = metrics[i];
            // One winner among several candidates is found with alpha over all of them; guardrails are not corrected.
            var alpha = role == "primary" ? spec.Design.Alpha / Math.Max(1, others.Count) : spec.Design.Alpha;
            foreach (var arm in others)
            {
                results.Add(spec.Design.Stop == StopRule.Fixed && role != "guardrail" && ended
                    ? Once(spec, metric, role, baseline, arm, i, alpha)
                    : AtEveryLook(spec, metric, role, baseline, arm, i, alpha, looks));
            }
        }

        Adjust(results, spec.Design.Alpha);
        var (decision, winner, why) = Decide(spec, results, ratio, ended, others.Count);
        return new(
            decision, winner, why, now, data.From, data.Cut,
            [.. data.Arms.Select((arm, i) => new ArmReport(arm.Arm.Variant, arm.Arm.ModelVersion, arm.Exposed, data.Expected?[i], arm.Mature, arm.Immature, arm.Crossovers))],
            results, ratio, data.Cuped, data.Anonymous, data.LeftOut, data.Sampled, memory with { Looks = looks });
    }

    /// <summary>One metric of an analysis: the candidate against the baseline at every look.</summary>
    public static MetricResult Compare(MetricSpec metric, ArmData baseline, ArmData arm, int index, double alpha, long least, IDictionary<string, AnalysisLook> looks)
    {
        var spec = new ExperimentSpec { Primary = metric, Design = new ExperimentDesign { MinUnitsPerArm = least, Effect = metric.Margin > 0 ? metric.Margin : 0.01 } };
        return AtEveryLook(spec, metric, "guardrail", baseline, arm, index, alpha, looks);
    }

    private static (ExperimentDecision Decision, string? Winner, string Why) Decide(
        ExperimentSpec spec, IReadOnlyList<MetricResult> results, SampleRatioReport ratio, bool ended, int candidates)
    {
        var guardrails = results.Where(result => result.Role == "guardrail").ToList();
        var primary = results.Where(result => result.Role == "primary").ToList();
        if (guardrails.FirstOrDefault(result => result.Verdict == Verdict.Fail) is { } tripped)
        {
            return (ExperimentDecision.Harm, null, $"guardrail: {tripped.Why}");
        }

        if (ratio.Mismatch)
        {
            return (ended ? ExperimentDecision.Horizon : ExperimentDecision.Running, null, ratio.Why);
        }

        // A fixed design looks at its primary metric once, at its end; before that, only guardrails decide.
        var decides = spec.Design.Stop == StopRule.Sequential || ended;
        if (decides && primary.Count == candidates && primary.All(result => result.Verdict == Verdict.Fail))
        {
            return (ExperimentDecision.Harm, null, string.Join("; ", primary.Select(result => result.Why)));
        }

        var better = primary.Where(result => decides && result.Verdict == Verdict.Pass).OrderByDescending(result => Improvement(spec.Primary, result.Effect)).ToList();
        foreach (var result in better)
        {
            if (guardrails.All(guardrail => guardrail.Variant != result.Variant || guardrail.Verdict == Verdict.Pass))
            {
                return (ExperimentDecision.Winner, result.Variant, result.Why);
            }
        }

        if (decides && primary.Count > 0 && primary.All(result => result.Lower > -spec.Design.Effect && result.Upper < spec.Design.Effect))
        {
            return (ExperimentDecision.NoDifference, null, $"no variant differs by {spec.Design.Effect:0.####}: {string.Join("; ", primary.Select(result => result.Why))}");
        }

        var reason = better.Count > 0
            ? $"{better[0].Variant} is better, but a guardrail is not passed: {guardrails.First(guardrail => guardrail.Variant == better[0].Variant && guardrail.Verdict != Verdict.Pass).Why}"
            : string.Join("; ", primary.Select(result => result.Why));
        return ended ? (ExperimentDecision.Horizon, null, $"the planned end is reached without an answer: {reason}") : (ExperimentDecision.Running, null, reason);
    }

    private static MetricResult AtEveryLook(
        ExperimentSpec spec, MetricSpec metric, string role, ArmData baseline, ArmData arm, int index, double alpha, IDictionary<string, AnalysisLook> looks)
    {
        const string Test = "mixture sequential";
        var (first, second) = (baseline.Metrics[index], arm.Metrics[index]);
        if (Missing(spec, metric, role, Test, baseline, arm, first, second) is { } missing)
        {
            return missing;
        }

        var (effect, variance, before, after) = Difference(metric, first, second, alpha);
        if (!double.IsFinite(effect) || !double.IsFinite(variance))
        {
            return Nothing(metric, role, Test, baseline, arm, first, second, Verdict.NoData, $"{metric.Name} is undefined: {(metric.Kind == MetricKind.Auc ? "a score is not a number, or one class has fewer than two labels" : "an outcome is not a number, or the denominators are zero")}");
        }

        var width = role == "primary" ? spec.Design.Effect : metric.Margin > 0 ? metric.Margin : Width * Spread(metric, first);
        var tau2 = width * width;
        if (!(tau2 > 0))
        {
            return Nothing(metric, role, Test, baseline, arm, first, second, Verdict.NoData, $"{metric.Name} is undefined: the baseline's outcomes do not vary");
        }

        // Rare events have no normal approximation, but given their number their split is binomial: a guardrail may trip on it.
        var rare = metric.Kind == MetricKind.Proportion && Math.Min(first.Sums.X, second.Sums.X) < NormalEvents;
        var p = rare
            ? Analysis.RareEventsPValue(new(first.Sums.N, (long)first.Sums.X, double.NaN), new(second.Sums.N, (long)second.Sums.X, double.NaN))
            : SequentialTest.PValue(effect, variance, tau2);
        var radius = SequentialTest.Radius(variance, tau2, alpha);
        var (lower, upper) = (effect - radius, effect + radius);
        var key = $"{arm.Arm.Variant}/{metric.Name}";
        if (looks.TryGetValue(key, out var earlier))
        {
            p = Math.Min(p, earlier.P);
            if (!rare)
            {
                (lower, upper) = (Math.Max(lower, earlier.Lower), Math.Min(upper, earlier.Upper));
            }
        }

        // Without a normal approximation there is no interval to intersect with later.
        looks[key] = rare ? new(p, earlier?.Lower ?? double.MinValue, earlier?.Upper ?? double.MaxValue) : new(p, lower, upper);
        var verdict = role == "guardrail" ? Guard(metric, effect, rare, p, lower, upper, alpha)
            : rare ? Verdict.NoData
            : lower > upper ? Verdict.Inconclusive
            : lower > 0 ? Of(metric, 1)
            : upper < 0 ? Of(metric, -1)
            : Verdict.Inconclusive;
        var text = $"{Figures(metric, arm, after, before, effect, rare ? null : lower, rare ? null : upper, p)}, n {second.Sums.N} and {first.Sums.N}"
            + (rare ? $", fewer than {NormalEvents} events in an arm" : "")
            + (lower > upper ? ", the intervals of earlier looks exclude each other: the effect changed over time" : "");
        return new(
            metric.Name, role, arm.Arm.Variant, baseline.Arm.Variant, rare ? "beta-binomial mixture" : Test, second.Sums.N, first.Sums.N, after, before,
            effect, rare ? null : lower, rare ? null : upper, p, null, verdict, text);
    }

    private static MetricResult Once(ExperimentSpec spec, MetricSpec metric, string role, ArmData baseline, ArmData arm, int index, double alpha)
    {
        var (first, second) = (baseline.Metrics[index], arm.Metrics[index]);
        if (Missing(spec, metric, role, "fixed horizon", baseline, arm, first, second) is { } missing)
        {
            return missing;
        }

        RatioSums a = first.Sums, b = second.Sums;
        var found = metric.Kind switch
        {
            MetricKind.Proportion when a.X == Math.Floor(a.X) && b.X == Math.Floor(b.X) => FixedHorizon.Shares((long)a.X, a.N, (long)b.X, b.N, alpha),
            MetricKind.Proportion or MetricKind.Mean => FixedHorizon.Means(a.Ratio, a.Variance * a.N, a.N, b.Ratio, b.Variance * b.N, b.N, alpha),
            MetricKind.Ratio => FixedHorizon.Ratios(a, b, alpha),
            MetricKind.Auc => FixedHorizon.Areas(first.Auc(), second.Auc(), alpha),
            _ => FixedHorizon.Quantiles(first.Values, second.Values, metric.Quantile, alpha, Seed(arm, metric)),
        };
        if (found.Difference is not { } effect || found.P is not { } p || !double.IsFinite(effect) || !double.IsFinite(p))
        {
            return Nothing(metric, role, found.Test, baseline, arm, first, second, Verdict.NoData, $"{metric.Name} is undefined: {found.Why ?? "an outcome is not a number"}");
        }

        var (before, after) = (Value(metric, first), Value(metric, second));
        return new(
            metric.Name, role, arm.Arm.Variant, baseline.Arm.Variant, found.Test, b.N, a.N, after, before, effect, found.Lower, found.Upper, p, null,
            p < alpha ? Of(metric, Math.Sign(effect)) : Verdict.Inconclusive, $"{Figures(metric, arm, after, before, effect, found.Lower, found.Upper, p)}, n {b.N} and {a.N}, {found.Test}");
    }

    /// <summary>Secondary metrics by Benjamini and Hochberg, all variants together: what is no discovery then is no verdict either.</summary>
    private static void Adjust(List<MetricResult> results, double alpha)
    {
        int[] at = [.. Enumerable.Range(0, results.Count).Where(i => results[i].Role == "secondary")];
        var adjusted = MultipleTesting.BenjaminiHochberg([.. at.Select(i => results[i].P ?? double.NaN)]);
        for (var i = 0; i < at.Length; i++)
        {
            var result = results[at[i]];
            if (!double.IsNaN(adjusted[i]))
            {
                results[at[i]] = result with
                {
                    Adjusted = adjusted[i],
                    Verdict = result.Verdict is Verdict.Pass or Verdict.Fail && adjusted[i] >= alpha ? Verdict.Inconclusive : result.Verdict,
                };
            }
        }
    }

    private static MetricResult? Missing(ExperimentSpec spec, MetricSpec metric, string role, string test, ArmData baseline, ArmData arm, MetricData first, MetricData second) =>
        Math.Min(first.Sums.N, second.Sums.N) >= spec.Design.MinUnitsPerArm ? null : Nothing(
            metric, role, test, baseline, arm, first, second, Verdict.NoData,
            $"{metric.Name}: {arm.Arm.Variant} has {second.Sums.N} and {baseline.Arm.Variant} {first.Sums.N} units with an outcome, {spec.Design.MinUnitsPerArm} are needed in each");

    private static MetricResult Nothing(MetricSpec metric, string role, string test, ArmData baseline, ArmData arm, MetricData first, MetricData second, Verdict verdict, string why) =>
        new(metric.Name, role, arm.Arm.Variant, baseline.Arm.Variant, test, second.Sums.N, first.Sums.N, null, null, null, null, null, null, null, verdict, why);

    private static (double Effect, double Variance, double Before, double After) Difference(MetricSpec metric, MetricData first, MetricData second, double alpha)
    {
        RatioSums a = first.Sums, b = second.Sums;
        switch (metric.Kind)
        {
            case MetricKind.Quantile:
                var found = FixedHorizon.Quantiles(first.Values, second.Values, metric.Quantile, alpha, 1);
                return (found.Difference ?? double.NaN, found.Error is { } error ? error * error : double.NaN, Value(metric, first), Value(metric, second));
            case MetricKind.Auc:
                return first.Auc() is { } before && second.Auc() is { } after ? (after.Auc - before.Auc, before.Variance + after.Variance, before.Auc, after.Auc) : (double.NaN, double.NaN, double.NaN, double.NaN);
            case MetricKind.Proportion when a.X >= 0 && b.X >= 0 && a.X <= a.N && b.X <= b.N && a.X == Math.Floor(a.X) && b.X == Math.Floor(b.X):
                return (b.Ratio - a.Ratio, SequentialTest.ProportionVariance((long)a.X, a.N, (long)b.X, b.N), a.Ratio, b.Ratio);
            default:
                return (b.Ratio - a.Ratio, a.Variance + b.Variance, a.Ratio, b.Ratio);
        }
    }

    // The spread of one unit's outcome; of a quantile that of its values.
    private static double Spread(MetricSpec metric, MetricData data)
    {
        if (metric.Kind == MetricKind.Auc)
        {
            return Math.Sqrt((data.Auc()?.Variance ?? double.NaN) * data.Scores.Count);
        }

        if (metric.Kind != MetricKind.Quantile)
        {
            return Math.Sqrt(data.Sums.Variance * data.Sums.N);
        }

        var mean = data.Values.Average(value => value.Value);
        return Math.Sqrt(data.Values.Average(value => (value.Value - mean) * (value.Value - mean)));
    }

    private static double Value(MetricSpec metric, MetricData data)
    {
        if (metric.Kind == MetricKind.Auc)
        {
            return data.Auc()?.Auc ?? double.NaN;
        }

        if (metric.Kind != MetricKind.Quantile)
        {
            return data.Sums.Ratio;
        }

        double[] sorted = [.. data.Values.Select(value => value.Value).Order()];
        return sorted.Length == 0 ? double.NaN : sorted[Math.Clamp((int)Math.Ceiling(metric.Quantile * sorted.Length) - 1, 0, sorted.Length - 1)];
    }

    // Harm beyond the margin fails once it is proven to be harm at all; a point estimate within the margin passes, one beyond it without proof is in doubt.
    private static Verdict Guard(MetricSpec metric, double effect, bool rare, double p, double lower, double upper, double alpha)
    {
        var up = metric.Direction == MetricDirection.Up;
        var harm = up ? -effect : effect;
        var proven = p < alpha || (!rare && lower <= upper && (up ? upper < 0 : lower > 0));
        return harm > metric.Margin && proven ? Verdict.Fail : harm <= metric.Margin ? Verdict.Pass : Verdict.Inconclusive;
    }

    private static Verdict Of(MetricSpec metric, int sign) =>
        sign == 0 ? Verdict.Inconclusive : sign > 0 == (metric.Direction == MetricDirection.Up) ? Verdict.Pass : Verdict.Fail;

    private static double Improvement(MetricSpec metric, double? effect) => metric.Direction == MetricDirection.Up ? effect ?? 0 : -(effect ?? 0);

    // Repeatable, but not the same draws for every metric.
    private static int Seed(ArmData arm, MetricSpec metric) => (int)System.IO.Hashing.XxHash3.HashToUInt64(MemoryMarshal.AsBytes($"{arm.Arm.Variant}/{metric.Name}".AsSpan()));

    private static string Figures(MetricSpec metric, ArmData arm, double after, double before, double effect, double? lower, double? upper, double p) =>
        FormattableString.Invariant($"{metric.Name} of {arm.Arm.Variant} {after:0.####} against {before:0.####}: {effect:+0.####;-0.####;0}{(lower is null ? "" : FormattableString.Invariant($" [{lower:0.####}, {upper:0.####}]"))}, p {p:0.####}");
}
