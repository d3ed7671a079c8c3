using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>A policy in force or once in force. Immutable: applying a changed text makes the next version.</summary>
/// <param name="Name">Unique name.</param>
/// <param name="Version">1 for the first text of this name, counting up.</param>
/// <param name="Digest">SHA-256 over the canonical meaning (comments and layout do not count).</param>
/// <param name="Yaml">The text as it was applied.</param>
/// <param name="Description">What the author says it is for.</param>
/// <param name="Stages">The people who must agree, after every gate passed. Empty: no person is asked.</param>
/// <param name="Gates">The rules over evidence; every one must pass.</param>
/// <param name="ValidDays">Days a grant lasts; null = without end.</param>
/// <param name="AppliedBy">Who put this version in force.</param>
/// <param name="AppliedAt">Since when.</param>
public sealed record Policy(
    string Name, int Version, string Digest, string Yaml, string? Description,
    IReadOnlyList<ApprovalStage> Stages, IReadOnlyList<PolicyGate> Gates, int? ValidDays,
    string AppliedBy, DateTimeOffset AppliedAt)
{
    public Subject Subject => new("policy", Name);

    /// <summary>Approvals needed over all stages.</summary>
    public int RequiredApprovals => Stages.Sum(s => s.Require);

    /// <summary>Reads a policy text without putting it in force; <see cref="Version"/> is 0.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.InvalidArgument"/> with every error of the text and its line.</exception>
    public static Policy Parse(string yaml) => PolicyParser.Parse(yaml);
}

/// <summary>A group of people of whom some number must agree.</summary>
/// <param name="Name">Shown to approvers, e.g. <c>technical</c>.</param>
/// <param name="Require">How many different people must approve in this stage.</param>
/// <param name="From">Who may: <c>role:NAME</c> or <c>user:NAME</c>.</param>
public sealed record ApprovalStage(string Name, int Require, IReadOnlyList<string> From);

/// <summary>One rule of a policy.</summary>
/// <param name="Id">Unique within the policy.</param>
/// <param name="Check">The kind of rule: <c>metric_threshold</c> or <c>champion_noninferiority</c>.</param>
/// <param name="With">The checked parameters of that kind.</param>
public sealed record PolicyGate(string Id, string Check, IReadOnlyDictionary<string, string> With);

/// <summary>What one rule said. Anything but <c>pass</c> blocks.</summary>
/// <param name="Id">The gate's id.</param>
/// <param name="Text">The rule in words.</param>
/// <param name="Required">What had to hold, e.g. <c>&gt;= 0.74</c>.</param>
/// <param name="Measured">The value found, as it was written; null when there is none.</param>
/// <param name="Outcome"><c>pass</c>, <c>fail</c> or <c>error</c>.</param>
/// <param name="Why">Why it did not pass; null when it did.</param>
public sealed record RuleResult(string Id, string Text, string Required, string? Measured, string Outcome, string? Why)
{
    public const string Pass = "pass";
    public const string Fail = "fail";
    public const string Error = "error";
}

/// <summary>The outcome of a policy over evidence, complete enough to be computed again and compared.</summary>
/// <param name="Allowed">True only if every rule passed.</param>
/// <param name="PolicyDigest">Which policy meaning decided.</param>
/// <param name="EvidenceDigest">Over which evidence.</param>
/// <param name="Engine">Which version of the rules decided, e.g. <c>gate/1</c>.</param>
/// <param name="Rules">One result for each gate, in the policy's order.</param>
public sealed record PolicyDecision(bool Allowed, string PolicyDigest, string EvidenceDigest, string Engine, IReadOnlyList<RuleResult> Rules)
{
    /// <summary>One readable line for each rule.</summary>
    public IReadOnlyList<string> Explain() =>
        [.. Rules.Select(r => $"{r.Outcome,-5} {r.Id}: {r.Text}; measured {r.Measured ?? "nothing"}{(r.Why is null ? "" : $" ({r.Why})")}")];
}
