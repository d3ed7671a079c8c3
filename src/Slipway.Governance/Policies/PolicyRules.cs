namespace Slipway.Governance;

/// <summary>
/// The checks themselves: pure functions of parameters and facts, no clock, no input or output. A rule passes only when it could
/// read every number it needs and the comparison holds; everything else is <c>fail</c> or <c>error</c>, and both block.
/// </summary>
internal static class PolicyRules
{
    /// <summary>Changes whenever the same policy and evidence could give another result.</summary>
    public const string Engine = "gate/1";

    public const string MetricThreshold = "metric_threshold";
    public const string ChampionNoninferiority = "champion_noninferiority";

    public static readonly IReadOnlyList<string> Checks = [MetricThreshold, ChampionNoninferiority];
    public static readonly IReadOnlyList<string> Operators = [">=", ">", "<=", "<", "=="];

    public static PolicyDecision Evaluate(Policy policy, Evidence evidence)
    {
        var rules = policy.Gates.Select(gate => Evaluate(gate, evidence.Facts)).ToList();
        return new PolicyDecision(rules.TrueForAll(r => r.Outcome == RuleResult.Pass), policy.Digest, evidence.Digest(), Engine, rules);
    }

    private static RuleResult Evaluate(PolicyGate gate, IReadOnlyDictionary<string, string> facts) => gate.Check switch
    {
        MetricThreshold => Threshold(gate, facts),
        ChampionNoninferiority => Noninferiority(gate, facts),
        _ => new RuleResult(gate.Id, gate.Check, "a known check", null, RuleResult.Error, $"this version knows no check '{gate.Check}'"),
    };

    private static RuleResult Threshold(PolicyGate gate, IReadOnlyDictionary<string, string> facts)
    {
        var (metric, op, bound) = (gate.With["metric"], gate.With["op"], gate.With["bound"]);
        var required = $"{op} {gate.With["value"]}" + Samples(gate);
        var fact = bound == "point" ? $"metrics.{metric}" : $"metrics.{metric}.{bound}";
        var text = bound == "point" ? $"{metric} {required}" : $"{metric} ({bound}) {required}";

        if (Read(facts, fact, out var measured) is { } unreadable) return Result(RuleResult.Error, Shown(facts, fact), unreadable);
        if (!ExactDecimal.TryParse(gate.With["value"], out var limit, out var why)) return Result(RuleResult.Error, measured.ToString(), $"the policy's value: {why}");
        if (TooFew(gate, facts, $"metrics.{metric}.samples") is { } few) return Result(few.Outcome, measured.ToString(), few.Why);

        var order = measured.CompareTo(limit);
        var holds = op switch { ">=" => order >= 0, ">" => order > 0, "<=" => order <= 0, "<" => order < 0, "==" => order == 0, _ => false };
        return holds ? Result(RuleResult.Pass, measured.ToString(), null) : Result(RuleResult.Fail, measured.ToString(), $"{fact} is {measured}, required {op} {limit}");

        RuleResult Result(string outcome, string? value, string? reason) => new(gate.Id, text, required, value, outcome, reason);
    }

    private static RuleResult Noninferiority(PolicyGate gate, IReadOnlyDictionary<string, string> facts)
    {
        var (metric, margin, bound) = (gate.With["metric"], gate.With["margin"], gate.With["bound"]);
        var required = $"challenger - champion >= -{margin}" + Samples(gate);
        var text = $"{metric} not worse than the champion's by more than {margin}";

        if (facts.TryGetValue("champion", out var champion) && champion == "none")
        {
            return gate.With["noChampion"] == "pass"
                ? Result(RuleResult.Pass, "no champion", null)
                : Result(RuleResult.Fail, "no champion", "there is no champion to compare with, and the policy says noChampion: block");
        }
        if (Differing(facts, $"metrics.{metric}.dataset") is { } rows) return Result(RuleResult.Error, null, rows);
        if (!ExactDecimal.TryParse(margin, out var allowed, out var why)) return Result(RuleResult.Error, null, $"the policy's margin: {why}");

        ExactDecimal difference;
        if (bound == "ci_lower")
        {
            var fact = $"champion.metrics.{metric}.difference.ci_lower";
            if (Read(facts, fact, out difference) is { } unreadable) return Result(RuleResult.Error, Shown(facts, fact), unreadable);
        }
        else
        {
            if (Read(facts, $"metrics.{metric}", out var own) is { } bad) return Result(RuleResult.Error, Shown(facts, $"metrics.{metric}"), bad);
            if (Read(facts, $"champion.metrics.{metric}", out var theirs) is { } missing) return Result(RuleResult.Error, own.ToString(), missing);
            difference = own - theirs;
        }
        if (TooFew(gate, facts, $"metrics.{metric}.samples") is { } few) return Result(few.Outcome, difference.ToString(), few.Why);
        return difference.CompareTo(-allowed) >= 0
            ? Result(RuleResult.Pass, difference.ToString(), null)
            : Result(RuleResult.Fail, difference.ToString(), $"the challenger is {(-difference)} below the champion, allowed {margin}");

        RuleResult Result(string outcome, string? value, string? reason) => new(gate.Id, text, required, value, outcome, reason);
    }

    /// <summary>Null and the number, or the reason why there is none.</summary>
    private static string? Read(IReadOnlyDictionary<string, string> facts, string name, out ExactDecimal value)
    {
        value = default;
        if (!facts.TryGetValue(name, out var text)) return $"the evidence has no fact {name}";
        return ExactDecimal.TryParse(text, out value, out var why) ? null : $"{name}: {why}";
    }

    private static (string Outcome, string Why)? TooFew(PolicyGate gate, IReadOnlyDictionary<string, string> facts, string name)
    {
        if (!gate.With.TryGetValue("minSamples", out var least)) return null;
        if (Read(facts, name, out var samples) is { } unreadable) return (RuleResult.Error, unreadable);
        if (!samples.IsInteger || samples.IsNegative) return (RuleResult.Error, $"{name} is {samples}, which is no count");
        if (!ExactDecimal.TryParse(least, out var needed, out var why)) return (RuleResult.Error, $"the policy's minSamples: {why}");
        return samples.CompareTo(needed) >= 0 ? null : (RuleResult.Fail, $"measured on {samples} samples, required {least}");
    }

    /// <summary>Two models are comparable only on the same rows: where either side names its data set, both must, and the names must be equal.</summary>
    private static string? Differing(IReadOnlyDictionary<string, string> facts, string name)
    {
        facts.TryGetValue(name, out var own);
        facts.TryGetValue("champion." + name, out var theirs);
        return own == theirs ? null : $"the champion was measured on {theirs ?? "unnamed data"}, the challenger on {own ?? "unnamed data"}";
    }

    private static string Samples(PolicyGate gate) => gate.With.TryGetValue("minSamples", out var least) ? $" on at least {least} samples" : "";

    private static string? Shown(IReadOnlyDictionary<string, string> facts, string name) => facts.TryGetValue(name, out var text) ? text : null;
}
