using CsCheck;
using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Tests.Governance;

public class PolicyTests
{
    [Fact]
    public void A_sound_policy_is_read_with_its_stages_gates_and_validity()
    {
        var policy = Policy.Parse(Samples.Policy);

        Assert.Equal("flights", policy.Name);
        Assert.Equal(30, policy.ValidDays);
        Assert.Equal(3, policy.RequiredApprovals);
        Assert.Equal(["technical", "risk"], policy.Stages.Select(s => s.Name));
        Assert.Equal(["auc-floor", "not-worse"], policy.Gates.Select(g => g.Id));
        Assert.Equal("0.70", policy.Gates[0].With["value"]);
        Assert.True(Digest.IsSha256(policy.Digest));
    }

    [Fact]
    public void The_digest_is_of_the_meaning_and_not_of_the_layout()
    {
        var commented = "# a remark\n" + Samples.Policy.Replace("metadata: { name: flights }", "metadata:\n  name: \"flights\"", StringComparison.Ordinal);
        var looser = Samples.Policy.Replace("\"0.70\"", "\"0.69\"", StringComparison.Ordinal);

        Assert.Equal(Policy.Parse(Samples.Policy).Digest, Policy.Parse(commented).Digest);
        Assert.NotEqual(Policy.Parse(Samples.Policy).Digest, Policy.Parse(looser).Digest);
    }

    [Theory]
    [InlineData("a: &x 1\nb: *x", "line 1: the anchor &x is not allowed")]
    [InlineData("a: *x", "line 1: the alias *x is not allowed")]
    [InlineData("a: !!str 1", "the tag ")]
    [InlineData("a: !secret 1", "the tag ")]
    [InlineData("a: 1\na: 2", "line 2: the field 'a' is given twice")]
    [InlineData("<<: { a: 1 }", "the merge key << is not allowed")]
    [InlineData("a: 1\n---\nb: 2", "line 2: a second document is not allowed")]
    [InlineData("", "it is empty")]
    [InlineData("? [a, b]\n: 1", "a field name must be plain text")]
    [InlineData("a: [1, 2", "line ")]
    [InlineData("%TAG ! tag:example.org,2026:\n---\na: 1", "directives are not allowed")]
    public void Yaml_that_can_mean_two_things_is_refused_with_its_line(string yaml, string expected)
    {
        var refused = Assert.Throws<SlipwayException>(() => Policy.Parse(yaml));

        Assert.Equal(ErrorCode.InvalidArgument, refused.Code);
        Assert.Contains(expected, refused.Why, StringComparison.Ordinal);
    }

    [Fact]
    public void An_alias_ladder_is_refused_before_it_is_built()
    {
        var ladder = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + string.Concat(Enumerable.Range(1, 20).Select(i => $"a{i}: &a{i} [{string.Join(", ", Enumerable.Repeat($"*a{i - 1}", 9))}]\n"));

        var refused = Assert.Throws<SlipwayException>(() => Policy.Parse(ladder));

        Assert.Contains("anchor", refused.Why, StringComparison.Ordinal);
    }

    [Fact]
    public void Yaml_that_is_too_long_or_too_deep_is_refused()
    {
        Assert.Equal(ErrorCode.TooLarge, Assert.Throws<SlipwayException>(() => Policy.Parse(new string('#', 300_000))).Code);
        Assert.Contains("deeper than 32", Assert.Throws<SlipwayException>(() => Policy.Parse("a: " + new string('[', 40) + new string(']', 40))).Why, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_error_of_a_policy_is_told_at_once_with_line_and_nearest_name()
    {
        const string yaml = """
            apiVersion: slipway.dev/policy/v1
            kind: GatePolicy
            metadata: { name: Bad Name }
            aprovals:
              - { stage: technical, require: 1, from: [role:validator] }
            gates:
              - id: auc-floor
                check: metric_treshold
                with: { metric: auc, op: ">=", value: "0.7" }
              - id: second
                check: metric_threshold
                with: { metirc: auc, op: "=>", value: "1e3" }
              - id: third
                check: champion_noninferiority
                with: { metric: auc, margin: "-0.1" }
            """;

        var why = Assert.Throws<SlipwayException>(() => Policy.Parse(yaml)).Why!;

        Assert.Contains("line 4: unknown field 'aprovals'; did you mean 'approvals'?", why, StringComparison.Ordinal);
        Assert.Contains("line 3: the name 'Bad Name' must be", why, StringComparison.Ordinal);
        Assert.Contains("line 7: unknown check 'metric_treshold'; did you mean 'metric_threshold'?", why, StringComparison.Ordinal);
        Assert.Contains("line 12: unknown field 'metirc'; did you mean 'metric'?", why, StringComparison.Ordinal);
        Assert.Contains("line 12: 'op' must be one of >= > <= < ==, not '=>'", why, StringComparison.Ordinal);
        Assert.Contains("line 12: 'value' must be a decimal string: '1e3' is not a plain decimal number", why, StringComparison.Ordinal);
        Assert.Contains("line 15: 'margin' must not be negative", why, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("approvals: [{ stage: a, require: 0, from: [role:validator] }]", "'require' must be a whole number from 1 to 20")]
    [InlineData("approvals: [{ stage: a, require: 1, from: [role:validatr] }]", "unknown role 'validatr'; did you mean 'validator'?")]
    [InlineData("approvals: [{ stage: a, require: 1, from: [role:ml-engineer] }]", "the role 'ml-engineer' may not approve")]
    [InlineData("approvals: [{ stage: a, require: 1, from: [group:x] }]", "must be role:NAME or user:NAME")]
    [InlineData("approvals: [{ stage: a, require: 1, from: [] }]", "needs at least one approver")]
    [InlineData("approvals: [{ stage: a, require: 1, from: [role:validator] }, { stage: a, require: 1, from: [role:validator] }]", "the stage 'a' is given twice")]
    [InlineData("gates: []", "needs at least one gate or one approval")]
    [InlineData("gates: [{ id: a, check: metric_threshold, with: { metric: auc, op: '>=', value: '.nan' } }]", "is not a finite number")]
    [InlineData("gates: [{ id: a, check: metric_threshold, with: { metric: auc, op: '>=', value: 'Infinity' } }]", "is not a finite number")]
    [InlineData("gates: [{ id: a, check: metric_threshold, with: { metric: auc, op: '>=' } }]", "the field 'value' is missing")]
    [InlineData("gates: [{ id: a, check: metric_threshold, enforcement: warn, with: { metric: auc, op: '>=', value: '1' } }]", "'enforcement' must be 'block'")]
    [InlineData("gates: { id: a }", "'gates' must be a list")]
    [InlineData("validity: { days: 0 }\ngates: [{ id: a, check: metric_threshold, with: { metric: auc, op: '>=', value: '1' } }]", "'days' must be a whole number")]
    public void A_policy_that_would_decide_wrongly_is_refused(string rest, string expected)
    {
        var refused = Assert.Throws<SlipwayException>(() => Policy.Parse("apiVersion: slipway.dev/policy/v1\nkind: GatePolicy\nmetadata: { name: x }\n" + rest));

        Assert.Contains(expected, refused.Why, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0.70", "pass")]
    [InlineData("0.7", "pass")]
    [InlineData("0.71234567890123456789012345678901234567890", "pass")]
    [InlineData("0.6999999999999999999999999999999999999999999", "fail")]
    [InlineData("0.69", "fail")]
    [InlineData("-0.80", "fail")]
    [InlineData("NaN", "error")]
    [InlineData("Infinity", "error")]
    [InlineData("-Infinity", "error")]
    [InlineData("1e999999", "error")]
    [InlineData("8e-1", "error")]
    [InlineData("0.80 ", "error")]
    [InlineData(" 0.80", "error")]
    [InlineData("+0.80", "error")]
    [InlineData("0,80", "error")]
    [InlineData(".80", "error")]
    [InlineData("00.80", "error")]
    [InlineData("0x1", "error")]
    [InlineData("\u0660.\u0668", "error")]
    [InlineData("", "error")]
    [InlineData("high", "error")]
    public void A_threshold_compares_decimals_and_takes_nothing_else_for_a_number(string measured, string outcome)
    {
        var decision = Policies.Evaluate(Threshold(">=", "0.70"), Samples.Evidence(("metrics.auc", measured)));

        Assert.Equal(outcome, decision.Rules[0].Outcome);
        Assert.Equal(outcome == "pass", decision.Allowed);
        if (outcome != "pass") Assert.NotNull(decision.Rules[0].Why);
    }

    [Fact]
    public void A_missing_metric_blocks()
    {
        var decision = Policies.Evaluate(Threshold(">=", "0.70"), Samples.Evidence(("metrics.Auc", "0.9")));

        Assert.False(decision.Allowed);
        Assert.Equal("error", decision.Rules[0].Outcome);
        Assert.Contains("no fact metrics.auc", decision.Rules[0].Why, StringComparison.Ordinal);
        Assert.Contains("error g: auc >= 0.70; measured nothing", decision.Explain()[0], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("5000", "pass")]
    [InlineData("4999", "fail")]
    [InlineData("5000.5", "error")]
    [InlineData("-1", "error")]
    [InlineData("NaN", "error")]
    [InlineData(null, "error")]
    public void Too_few_samples_block(string? samples, string outcome)
    {
        var policy = Threshold(">=", "0.70", ", minSamples: 5000");
        var evidence = samples is null ? Samples.Evidence(("metrics.auc", "0.9")) : Samples.Evidence(("metrics.auc", "0.9"), ("metrics.auc.samples", samples));

        Assert.Equal(outcome, Policies.Evaluate(policy, evidence).Rules[0].Outcome);
    }

    [Theory]
    [InlineData("0.741", "0.745", "pass")]
    [InlineData("0.740", "0.745", "pass")]
    [InlineData("0.7399999999999999999999999999999999", "0.745", "fail")]
    [InlineData("NaN", "0.745", "error")]
    [InlineData("0.74", "NaN", "error")]
    [InlineData("0.74", null, "error")]
    public void A_challenger_may_lose_at_most_the_margin(string challenger, string? champion, string outcome)
    {
        var facts = new List<(string, string)> { ("metrics.auc", challenger) };
        if (champion is not null) facts.Add(("champion.metrics.auc", champion));

        Assert.Equal(outcome, Policies.Evaluate(Noninferior("block"), Samples.Evidence([.. facts])).Rules[0].Outcome);
    }

    [Theory]
    [InlineData("pass", "pass")]
    [InlineData("block", "fail")]
    public void Without_a_champion_the_policy_says_what_follows(string noChampion, string outcome) =>
        Assert.Equal(outcome, Policies.Evaluate(Noninferior(noChampion), Samples.Evidence(("champion", "none"), ("metrics.auc", "0.5"))).Rules[0].Outcome);

    [Fact]
    public void Models_measured_on_different_rows_are_not_compared()
    {
        var evidence = Samples.Evidence(("metrics.auc", "0.8"), ("metrics.auc.dataset", "a"), ("champion.metrics.auc", "0.7"), ("champion.metrics.auc.dataset", "b"));
        var half = Samples.Evidence(("metrics.auc", "0.8"), ("metrics.auc.dataset", "a"), ("champion.metrics.auc", "0.7"));

        Assert.Equal("error", Policies.Evaluate(Noninferior("block"), evidence).Rules[0].Outcome);
        Assert.Equal("error", Policies.Evaluate(Noninferior("block"), half).Rules[0].Outcome);
    }

    [Fact]
    public void One_failing_rule_blocks_whatever_the_others_say()
    {
        var decision = Policies.Evaluate(Policy.Parse(Samples.Policy), Samples.Evidence(("metrics.auc", "0.9"), ("metrics.auc.samples", "9000"), ("champion.metrics.auc", "0.95")));

        Assert.Equal(["pass", "fail"], decision.Rules.Select(r => r.Outcome));
        Assert.False(decision.Allowed);
    }

    [Fact]
    public void Comparison_agrees_with_decimal_arithmetic() =>
        Gen.Select(Gen.Decimal[-1_000m, 1_000m], Gen.Decimal[-1_000m, 1_000m]).Sample((a, b) =>
        {
            var op = Policies.Evaluate(Threshold(">", Text(b)), Samples.Evidence(("metrics.auc", Text(a)))).Allowed;
            return op == a > b;
        });

    [Fact]
    public void A_double_becomes_a_plain_decimal_that_reads_back_as_itself() =>
        Gen.Double.Where(double.IsFinite).Sample(value =>
        {
            var text = Evidence.Number(value);
            return !text.Contains('E', StringComparison.Ordinal) && (value == double.Parse(text, System.Globalization.CultureInfo.InvariantCulture));
        });

    [Theory]
    [InlineData(1e-7, "0.0000001")]
    [InlineData(-1.5e20, "-150000000000000000000")]
    [InlineData(0.1, "0.1")]
    [InlineData(double.NaN, "NaN")]
    public void Numbers_are_written_without_exponent(double value, string text) => Assert.Equal(text, Evidence.Number(value));

    [Fact]
    public void The_policy_in_the_guide_is_read_as_the_guide_says()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Slipway.slnx"))) folder = folder.Parent;
        Assert.SkipWhen(folder is null, "the guide is not beside the tests");
        var guide = File.ReadAllText(Path.Combine(folder!.FullName, "docs", "guide", "policies.md"));

        var policy = Policy.Parse(guide.Split("```yaml")[1].Split("```")[0]);

        Assert.Equal((2, 180), (policy.RequiredApprovals, policy.ValidDays));
        Assert.Equal(PolicyRules.Checks, policy.Gates.Select(g => g.Check));
        Assert.All(PolicyRules.Checks, check => Assert.Contains($"| `{check}` |", guide, StringComparison.Ordinal));
    }

    private static string Text(decimal d) => d.ToString("0.############################", System.Globalization.CultureInfo.InvariantCulture);

    private static Policy Threshold(string op, string value, string more = "") => Policy.Parse(
        $"apiVersion: slipway.dev/policy/v1\nkind: GatePolicy\nmetadata: {{ name: x }}\ngates: [{{ id: g, check: metric_threshold, with: {{ metric: auc, op: '{op}', value: '{value}'{more} }} }}]");

    private static Policy Noninferior(string noChampion) => Policy.Parse(
        $"apiVersion: slipway.dev/policy/v1\nkind: GatePolicy\nmetadata: {{ name: x }}\ngates: [{{ id: g, check: champion_noninferiority, with: {{ metric: auc, margin: '0.005', noChampion: {noChampion} }} }}]");
}
