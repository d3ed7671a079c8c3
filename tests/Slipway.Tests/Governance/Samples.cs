using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Tests.Governance;

/// <summary>The policy and evidence that the tests of this folder share.</summary>
internal static class Samples
{
    public const string Policy = """
        apiVersion: slipway.dev/policy/v1
        kind: GatePolicy
        metadata: { name: flights }
        approvals:
          - { stage: technical, require: 1, from: [role:validator] }
          - { stage: risk, require: 2, from: [role:risk-officer], distinctFrom: [technical] }
        validity: { days: 30 }
        gates:
          - id: auc-floor
            check: metric_threshold
            with: { metric: auc, op: ">=", value: "0.70", minSamples: 5000 }
            enforcement: block
          - id: not-worse
            check: champion_noninferiority
            with: { metric: auc, margin: "0.005" }
        """;

    /// <summary>One rule, one validator.</summary>
    public const string Simple = """
        apiVersion: slipway.dev/policy/v1
        kind: GatePolicy
        metadata: { name: simple }
        approvals:
          - { stage: technical, require: 1, from: [role:validator] }
        gates:
          - id: auc-floor
            check: metric_threshold
            with: { metric: auc, op: ">=", value: "0.70" }
        """;

    /// <summary>One rule, nobody to ask.</summary>
    public const string Automatic = """
        apiVersion: slipway.dev/policy/v1
        kind: GatePolicy
        metadata: { name: automatic }
        gates:
          - id: auc-floor
            check: metric_threshold
            with: { metric: auc, op: ">=", value: "0.70" }
        """;

    public static readonly Subject Version = new("model-version", "flights/2");

    public static readonly Actor Root = Actor.System("test");

    public static Evidence Evidence(params (string Name, string Value)[] facts) =>
        new(facts.ToDictionary(f => f.Name, f => f.Value, StringComparer.Ordinal), [new Subject("run", "0123"), new Subject("dataset-version", "flights/abc")]);

    public static Evidence Good => Evidence(("metrics.auc", "0.81"), ("metrics.auc.samples", "9000"), ("champion.metrics.auc", "0.80"));

    public static Actor Person(string name) => new(ActorKind.User, name, "session");
}
