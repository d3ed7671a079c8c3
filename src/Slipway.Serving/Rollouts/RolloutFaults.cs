namespace Slipway.Serving;

/// <summary>A fault of a plan: where it is, as <c>steps[2].percent</c>, and what is wrong.</summary>
internal readonly record struct PlanFault(string Path, string Text);

/// <summary>What a plan must fulfil before it may run. Pure.</summary>
internal static class RolloutFaults
{
    private const int MostVariants = 8;

    /// <summary>Every fault at once.</summary>
    public static IReadOnlyList<PlanFault> Of(RolloutSpec given)
    {
        var spec = given.Planned();
        var faults = new List<PlanFault>();
        Variants(spec, faults);
        if (spec.Steps.Count is 0 or > 100)
        {
            faults.Add(new("steps", $"a plan has 1 to 100 steps, this one has {spec.Steps.Count}"));
        }

        var weights = new Dictionary<string, double>(StringComparer.Ordinal);
        for (var i = 0; i < spec.Steps.Count; i++)
        {
            foreach (var (path, text) in Of(spec, spec.Steps[i], weights))
            {
                faults.Add(new(given.Steps.Count == 0 ? "strategy" : $"steps[{i}]{path}", $"step {i + 1}: {text}"));
            }
        }

        faults.AddRange(spec.Guardrails.Faults().Select(fault => new PlanFault("guardrails", $"guardrails: {fault}")));
        if (spec.Bake < TimeSpan.Zero || spec.ProgressDeadline <= TimeSpan.Zero)
        {
            faults.Add(new("bake", $"bake ({spec.Bake}) cannot be negative and the progress deadline ({spec.ProgressDeadline}) must be positive"));
        }

        if (spec.Leased.Duration < TimeSpan.FromSeconds(5))
        {
            faults.Add(new("lease", $"a lease lasts at least 5 seconds, this one {spec.Leased.Duration}"));
        }

        if (spec.KeepWarm < TimeSpan.Zero || spec.RollbackWindow < TimeSpan.Zero)
        {
            faults.Add(new("keepWarm", $"keepWarm ({spec.KeepWarm}) and rollbackWindow ({spec.RollbackWindow}) cannot be negative"));
        }

        if (spec.Namespace?.Fault() is { } part)
        {
            faults.Add(new("namespace", $"namespace: {part}"));
        }
        else if (spec.Namespace is not null && spec.Kind is not (RolloutKind.AbTest or RolloutKind.Bandit))
        {
            faults.Add(new("namespace", $"a namespace keeps experiments apart, and {Name(spec.Kind)} is none: the candidate goes to everyone in the end; use abTest or bandit, or leave the namespace out"));
        }

        Kind(spec, faults);
        return faults;
    }

    private static void Variants(RolloutSpec spec, List<PlanFault> faults)
    {
        for (var i = 0; i < spec.Variants.Count; i++)
        {
            var variant = spec.Variants[i];
            if (variant.Name == "stable" || variant.Role == VariantRole.Stable)
            {
                faults.Add(new($"variants[{i}]", "stable is what serves now; name the variants beside it"));
            }
            else if (!Endpoints.IsName(variant.Name))
            {
                faults.Add(new($"variants[{i}].name", $"'{variant.Name}' is not a name for a variant"));
            }
            else if (variant.Role == VariantRole.Candidate && string.IsNullOrWhiteSpace(variant.ModelVersion))
            {
                faults.Add(new($"variants[{i}]", $"the variant {variant.Name} needs a model version"));
            }
        }

        if (spec.Variants.Count > MostVariants)
        {
            faults.Add(new("variants", $"a rollout has at most {MostVariants} variants beside stable, this one has {spec.Variants.Count}"));
        }

        if (spec.Variants.Count > 0 && spec.Variants.All(variant => variant.Role != VariantRole.Candidate))
        {
            faults.Add(new("variants", "one of the variants must be a candidate"));
        }

        faults.AddRange(spec.Variants.GroupBy(variant => variant.Name, StringComparer.Ordinal).Where(same => same.Count() > 1).Select(same => new PlanFault("variants", $"two variants are named '{same.Key}'")));
    }

    private static void Kind(RolloutSpec spec, List<PlanFault> faults)
    {
        if (spec.Kind == RolloutKind.Canary && spec.Steps.Any(step => step.Kind == "bandit"))
        {
            faults.Add(new("steps", "a bandit step belongs to the strategy bandit: shares of a canary only grow"));
        }

        if (spec.Kind is RolloutKind.BlueGreen or RolloutKind.Shadow && spec.Variants.Count > 1)
        {
            faults.Add(new("variants", $"a {Name(spec.Kind)} rollout has one candidate"));
        }

        Needs(RolloutKind.AbTest, spec.Experiment is not null && spec.Steps.Any(step => step.Kind == "experiment"), "experiment", "an A/B test needs an experiment, and a step for it");
        Needs(RolloutKind.Bandit, spec.Bandit is not null && spec.Steps.Any(step => step.Kind == "bandit"), "bandit", "a bandit needs its reward (bandit), and a step for it");
        Needs(RolloutKind.Bandit, spec.Variants.All(variant => variant.Role == VariantRole.Candidate), "variants", "a bandit compares with stable itself; a baseline slice would be a second one");
        Needs(RolloutKind.Shadow, spec.Steps.All(step => step.Kind != "setWeight"), "steps", "a shadow never takes traffic");
        Needs(RolloutKind.BlueGreen, spec.Steps.All(step => step.Kind != "setWeight" || step.Percent is 0 or 100), "steps", "blue-green switches all traffic at once");
        faults.AddRange((spec.Experiment?.Faults() ?? []).Select(fault => new PlanFault("experiment", $"experiment: {fault}")));
        faults.AddRange((spec.Bandit?.Faults() ?? []).Select(fault => new PlanFault("bandit", $"bandit: {fault}")));
        faults.AddRange((spec.BlueGreen?.PrePromotion?.Faults() ?? []).Select(fault => new PlanFault("blueGreen.prePromotion", $"prePromotion: {fault}")));
        faults.AddRange((spec.BlueGreen?.PostPromotion?.Faults() ?? []).Select(fault => new PlanFault("blueGreen.postPromotion", $"postPromotion: {fault}")));
        if (spec.BlueGreen is { } green && (green.Mirror is not (>= 0 and <= 100) || green.AutoPromoteAfter < TimeSpan.Zero || green.ScaleDownDelay < TimeSpan.Zero))
        {
            faults.Add(new("blueGreen", $"mirror is 0 to 100 percent ({green.Mirror}), and its times are not negative"));
        }

        if (spec.Shadow is { } shadow && (shadow.Percent is not (> 0 and <= 100) || shadow.MinPairs < 1 || shadow.Interval <= TimeSpan.Zero || shadow.MaxWait < TimeSpan.Zero || shadow.Alpha is not (> 0 and < 0.5)))
        {
            faults.Add(new("shadow", "a shadow copies above 0 to 100 percent, needs at least one pair, a positive interval and an alpha between 0 and 0.5"));
        }

        void Needs(RolloutKind kind, bool holds, string path, string fault)
        {
            if (spec.Kind == kind && !holds)
            {
                faults.Add(new(path, fault));
            }
        }
    }

    private static IEnumerable<(string Path, string Text)> Of(RolloutSpec spec, RolloutStep step, Dictionary<string, double> weights)
    {
        var variant = step.Variant ?? spec.First;
        if (!RolloutStep.Kinds.Contains(step.Kind, StringComparer.Ordinal))
        {
            yield return ("", $"'{step.Kind}' is not a kind of step ({string.Join(", ", RolloutStep.Kinds)})");
            yield break;
        }

        if (!spec.Names.Contains(variant, StringComparer.Ordinal))
        {
            yield return (".variant", $"there is no variant '{variant}' ({string.Join(", ", spec.Names)})");
        }

        switch (step.Kind)
        {
            case "setWeight" when step.Percent is not (>= 0 and <= 100):
                yield return (".percent", $"a weight is 0 to 100 percent, this one is {step.Percent?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "missing"}");
                break;
            case "setWeight":
                var before = weights.GetValueOrDefault(variant);
                if (step.Percent < before && spec.Kind is RolloutKind.Canary or RolloutKind.BlueGreen)
                {
                    yield return (".percent", FormattableString.Invariant($"weights only grow, {step.Percent} follows {before}; a user of the candidate would go back to stable"));
                }

                weights[variant] = Math.Max(before, step.Percent.Value);
                if (weights.Values.Sum() > 100.0001)
                {
                    yield return (".percent", FormattableString.Invariant($"the weights of all variants add up to {weights.Values.Sum():0.##} percent"));
                }

                break;
            case "pause" when step.Duration < TimeSpan.Zero:
                yield return (".duration", $"a pause cannot last {step.Duration}");
                break;
            case "mirror" when step.Percent is not (>= 0 and <= 100):
                yield return (".percent", "a mirror copies 0 to 100 percent of the requests");
                break;
            case "match" when !step.Clear && step.Header is null && step.Cookie is null && step.Attributes is not { Count: > 0 } && step.Entities is not { Count: > 0 }:
                yield return ("", "a match names a header, a cookie, attributes or entities, or clear: true");
                break;
            case "match" when step.Values?.Count > 1000 || step.Entities?.Count > 1000:
                yield return ("", "a match has at most 1,000 values and 1,000 entities");
                break;
            case "match" when step.Attributes?.Count > 10:
                yield return (".attributes", $"a match has at most 10 conditions on attributes, this one has {step.Attributes.Count}; leave some out, or use a match of its own for others");
                break;
            case "match":
                for (var i = 0; i < step.Attributes?.Count; i++)
                {
                    foreach (var fault in step.Attributes[i].Faults())
                    {
                        yield return ($".attributes[{i}]", fault);
                    }
                }

                break;
            case "warm" when step.MaxMillis is <= 0:
                yield return (".maxMillis", $"a limit of {step.MaxMillis} ms accepts no model");
                break;
            case "warm" when step.MaxP99Millis is not (null or (> 0 and < 1e9)):
                yield return (".maxP99Millis", FormattableString.Invariant($"a p99 of {step.MaxP99Millis} ms accepts no model; give a positive number of milliseconds"));
                break;
            case "warm" when step.Requests is < 1 or > 1000:
                yield return (".requests", $"a warm step sends 1 to 1,000 requests, this one {step.Requests}; give a number in between, or leave it out");
                break;
            case "warm" when step.MinReady is < 1 or > 1000:
                yield return (".minReady", $"1 to 1,000 nodes can be ready, this step asks for {step.MinReady}; give a number in between, or leave it out");
                break;
            case "approve" when step.Expiry <= TimeSpan.Zero:
                yield return (".expiry", $"an approval cannot expire after {step.Expiry}");
                break;
            case "webhook" when !(Uri.TryCreate(step.Url, UriKind.Absolute, out var url) && url.Scheme is "http" or "https"):
                yield return (".url", $"a webhook needs an address like https://host/path, it is '{step.Url}'");
                break;
            case "job" when string.IsNullOrWhiteSpace(step.Pipeline):
                yield return (".pipeline", "a job names the pipeline that it runs");
                break;
            case "webhook" or "job" when step.Expiry <= TimeSpan.Zero:
                yield return (".expiry", $"a {step.Kind} cannot be given up after {step.Expiry}");
                break;
            case "experiment" when spec.Experiment is null:
                yield return ("", "the plan has no experiment");
                break;
            case "bandit" when spec.Bandit is null:
                yield return ("", "the plan has no bandit");
                break;
        }

        foreach (var fault in step.Analysis?.Faults() ?? [])
        {
            yield return (".analysis", fault);
        }
    }

    private static string Name(RolloutKind kind) => char.ToLowerInvariant(kind.ToString()[0]) + kind.ToString()[1..];
}
