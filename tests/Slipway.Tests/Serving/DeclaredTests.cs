using System.Text.Json;
using Slipway.Foundation;
using Slipway.Serving;

namespace Slipway.Tests.Serving;

public sealed class DeclaredTests
{
    private const string Canary = """
        # The flights model, step by step.
        apiVersion: slipway.dev/rollout/v1
        kind: Rollout
        endpoint: late
        candidate: flights/8
        policy: production
        strategy: canary
        steps:
          - setWeight: 5
          - pause: 10m
          - analysis: {minRequests: 500, quality: [auc], background: true}
          - match: {header: x-team, values: [qa]}
          - setWeight: {percent: 25}
          - approve: {role: approver, expiry: 1d}
          - webhook: {url: "https://example.org/go", secret: s3cret, countsAsFailure: false}
          - warm
          - setWeight: 100
        bake: 90s
        lease: {duration: 2m, freeze: true}
        """;

    [Fact]
    public void Rollout_file_is_read_as_people_write_it()
    {
        var (items, faults) = Declared.Read(Canary);
        Assert.Empty(faults);
        var rollout = Assert.Single(items).Rollout!;
        Assert.Equal(("late", "flights/8", "production"), (rollout.Endpoint, rollout.Candidate, rollout.Policy));
        var steps = rollout.Spec.Steps;
        Assert.Equal(["setWeight", "pause", "analysis", "match", "setWeight", "approve", "webhook", "warm", "setWeight"], steps.Select(step => step.Kind));
        Assert.Equal((5.0, TimeSpan.FromMinutes(10), 500, true), (steps[0].Percent!.Value, steps[1].Duration!.Value, steps[2].Analysis!.MinRequests, steps[2].Background));
        Assert.Equal((TimeSpan.FromDays(1), false, TimeSpan.FromSeconds(90)), (steps[5].Expiry!.Value, steps[6].CountsAsFailure, rollout.Spec.Bake));
        Assert.True(rollout.Spec.Lease!.Freeze);
    }

    [Fact]
    public void Every_fault_has_its_line_and_column()
    {
        var (_, faults) = Declared.Read("""
            apiVersion: slipway.dev/rollout/v1
            kind: Rollout
            endpoint: late
            candidate: flights/8
            stratgy: canary
            steps:
              - setWeight: 50
              - setWeight: 10
              - dance
              - pause: soon
              - setWeight: 60
              - setWeight: {percent: 100, varant: candidate}
            bake: -1s
            guardrails: {alpha: 2}
            ---
            apiVersion: slipway.dev/endpoint/v2
            kind: Endpoint
            name: late
            settings: {queueRows: 0, batching: {maxRows: many}}
            """);
        Assert.Equal(
            [(5L, 1L), (8, 16), (9, 5), (10, 12), (12, 31), (13, 1), (14, 1)],
            faults.Where(fault => fault.Line < 15).Select(fault => (fault.Line, fault.Column)));
        Assert.Contains("did you mean 'strategy'", faults[0].Text);
        Assert.Contains("weights only grow, 10 follows 50", faults[1].Text);
        Assert.Contains("not a duration", faults[3].Text);
        Assert.Contains(faults, fault => fault is { Line: 19 } && fault.Text.Contains("'many' is not a whole number", StringComparison.Ordinal));
        Assert.Contains(faults, fault => fault.Text.Contains("apiVersion must be slipway.dev/endpoint/v1", StringComparison.Ordinal));
        Assert.Contains(faults, fault => fault.Text.Contains("'modelVersion' is missing", StringComparison.Ordinal));
    }

    [Fact]
    public void Faults_of_attribute_conditions_say_what_is_wrong_with_the_value_and_what_to_do()
    {
        const string Head = "apiVersion: slipway.dev/rollout/v1\nkind: Rollout\nendpoint: late\ncandidate: flights/8\nstrategy: canary\nsteps:\n";
        var (items, none) = Declared.Read(Head + "  - match: {attributes: [{name: country, values: [se, \"no\"]}, {name: amount, atLeast: 10, below: 1000}]}\n  - setWeight: 100\n");
        Assert.Empty(none);
        Assert.Equal(["country = se, no", "amount >= 10 and < 1000"], items[0].Rollout!.Spec.Steps[0].Attributes!.Select(condition => condition.Words));

        Assert.Equal(
            [
                (7L, "step 1: 'entity_key' is no attribute: Slipway reads it itself; list the keys under entities"),
                (8, "step 2: the attribute 'amount' accepts no number (> 10 and < 5); let the bounds leave room"),
                (9, "step 3: the attribute 'amount' has values and bounds (>= 1); give one of them, and a second condition for the other"),
                (10, "step 4: the attribute 'amount' has two bounds on one side (> 1 and >= 2); keep the narrower one"),
                (11, "step 5: the attribute 'plan' lists 0 values; list 1 to 1,000, or none to accept any"),
                (12, "the field 'name' is missing"),
            ],
            Declared.Read(Head + """
                  - match: {attributes: [{name: entity_key, values: [a]}]}
                  - match: {attributes: [{name: amount, above: 10, below: 5}]}
                  - match: {attributes: [{name: amount, values: ["1"], atLeast: 1}]}
                  - match: {attributes: [{name: amount, above: 1, atLeast: 2}]}
                  - match: {attributes: [{name: plan, values: []}]}
                  - match: {attributes: [{values: [a]}]}
                  - setWeight: 100
                """).Faults.OrderBy(fault => fault.Line).Select(fault => (fault.Line, fault.Text)));
    }

    [Fact]
    public void Documents_that_are_no_yaml_are_faults_and_not_exceptions()
    {
        Assert.NotEmpty(Declared.Read("").Faults);
        Assert.NotEmpty(Declared.Read("kind: [").Faults);
        Assert.NotEmpty(Declared.Read("- 1\n- 2").Faults);
        Assert.Equal(3, Declared.Read("a: 1\nb: 2\na: 3").Faults[0].Line);
        Assert.NotEmpty(Declared.Read(new string('a', 300_000)).Faults);
    }

    [Fact]
    public void Written_plans_of_every_kind_are_read_back_equal()
    {
        var (canary, _) = Declared.Read(Canary);
        RolloutSpec[] plans =
        [
            canary[0].Rollout!.Spec,
            new() { Kind = RolloutKind.BlueGreen, BlueGreen = new() { PrePromotion = new() { MinRequests = 7 }, AutoPromoteAfter = TimeSpan.FromMinutes(5), Mirror = 20 } },
            new() { Kind = RolloutKind.Shadow, Shadow = new() { MinPairs = 500, MaxClassFlips = 0.02 } },
            new() { Kind = RolloutKind.AbTest, Variants = [new("b", "m/2"), new("base", "", VariantRole.Baseline)], Experiment = new() { Primary = new() { Name = "clicks" }, Cuped = true } },
            new() { Kind = RolloutKind.Bandit, Variants = [new("b", "m/2"), new("c", "m/3")], Bandit = new() { Reward = new() { Name = "clicks" }, StopAt = 0.95 } },
        ];
        foreach (var plan in plans)
        {
            var document = Declared.Write(new ProposeRollout { Endpoint = "late", Candidate = plan.Variants.Count > 0 ? null : "flights/8", Spec = plan });
            // JSON is YAML.
            var (items, faults) = Declared.Read(document.ToJsonString());
            Assert.Empty(faults);
            Assert.Equal(JsonSerializer.Serialize(plan.Planned(), CanonicalJson.Options), JsonSerializer.Serialize(items[0].Rollout!.Spec, CanonicalJson.Options));
            Assert.Empty(Declared.Diff(document, Declared.Write(items[0].Rollout!)));
        }
    }

    [Fact]
    public void Endpoint_is_written_without_what_it_would_be_anyway()
    {
        var endpoint = new CreateEndpoint { Name = "late", ModelVersion = "flights/7", Settings = new() { QueueRows = 7, MaxWaitMillis = 1000 } };
        var document = Declared.Write(endpoint);
        Assert.Equal("""{"apiVersion":"slipway.dev/endpoint/v1","kind":"Endpoint","name":"late","modelVersion":"flights/7","settings":{"queueRows":7}}""", document.ToJsonString());
        Assert.Equal([("modelVersion", "flights/7", "flights/8")], Declared.Diff(document, Declared.Write(endpoint with { ModelVersion = "flights/8" })));
        Assert.Equal(endpoint.Settings, Declared.Read(document.ToJsonString()).Items[0].Endpoint!.Settings);
    }
}
