using System.Globalization;
using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>
/// Turns a policy text into a <see cref="Policy"/>, or into one error that lists everything wrong with it, each with its line.
/// An unknown field is an error, never ignored: a misspelt threshold must not become no threshold.
/// </summary>
internal sealed class PolicyParser
{
    private const string ApiVersion = "slipway.dev/policy/v1";
    private const string Kind = "GatePolicy";
    private const int MaxGates = 100;
    private const int MaxStages = 10;
    private const int MaxApprovals = 20;

    private readonly List<string> errors = [];

    public static Policy Parse(string yaml)
    {
        var parser = new PolicyParser();
        var policy = parser.Read(StrictYaml.Parse(yaml, "policy"), yaml);
        if (parser.errors.Count > 0 || policy is null)
            throw new SlipwayException(ErrorCode.InvalidArgument, "the policy cannot be applied", string.Join("; ", parser.errors), "correct the lines named and apply it again");
        return policy;
    }

    private Policy? Read(YamlNode root, string yaml)
    {
        if (Fields(root, "policy", "apiVersion", "kind", "metadata", "approvals", "gates", "validity") is not { } top) return null;
        Exactly(top, "apiVersion", ApiVersion, root.Line);
        Exactly(top, "kind", Kind, root.Line);

        string? name = null, description = null;
        if (Need(top, "metadata", root.Line) is { } metadata && Fields(metadata, "metadata", "name", "description", "owner") is { } about)
        {
            name = Text(about, "name", metadata.Line);
            if (name is not null && !Names.IsName(name)) Error(metadata.Line, $"the name '{name}' must be {Names.Rule}");
            description = about.ContainsKey("description") ? Text(about, "description", metadata.Line) : null;
            if (about.ContainsKey("owner")) Text(about, "owner", metadata.Line);
        }

        var stages = top.TryGetValue("approvals", out var approvals) ? Stages(approvals) : [];
        var gates = top.TryGetValue("gates", out var rules) ? Gates(rules) : [];
        if (stages.Count == 0 && gates.Count == 0) Error(root.Line, "a policy needs at least one gate or one approval; without any it would allow everything");

        int? days = null;
        if (top.TryGetValue("validity", out var validity) && Fields(validity, "validity", "days") is { } life)
            days = Integer(life, "days", validity.Line, 1, 3_650);

        if (errors.Count > 0) return null;
        var digest = Digest.Sha256Hex(CanonicalJson.Serialize(new Dictionary<string, object?>(StringComparer.Ordinal)
        {
            ["name"] = name,
            ["stages"] = stages.Select(s => new Dictionary<string, object?>(StringComparer.Ordinal) { ["name"] = s.Name, ["require"] = s.Require, ["from"] = s.From.Order(StringComparer.Ordinal).ToArray() }).ToArray(),
            ["gates"] = gates.Select(g => new Dictionary<string, object?>(StringComparer.Ordinal) { ["id"] = g.Id, ["check"] = g.Check, ["with"] = g.With }).ToArray(),
            ["validDays"] = days,
        }));
        return new Policy(name!, 0, digest, yaml, description, stages, gates, days, "", DateTimeOffset.UnixEpoch);
    }

    private List<ApprovalStage> Stages(YamlNode node)
    {
        var stages = new List<ApprovalStage>();
        foreach (var item in Items(node, "approvals", MaxStages))
        {
            if (Fields(item, "approval stage", "stage", "require", "from", "distinctFrom") is not { } map) continue;
            var name = Text(map, "stage", item.Line);
            if (name is not null && stages.Any(s => s.Name == name)) Error(item.Line, $"the stage '{name}' is given twice");
            var require = Integer(map, "require", item.Line, 1, MaxApprovals);
            var from = Need(map, "from", item.Line) is { } approvers ? Items(approvers, "from", 50).Select(Approver).OfType<string>().ToList() : [];
            if (map.TryGetValue("distinctFrom", out var others))
            {
                // One person has one vote over all stages, so stages are always distinct; the names must still exist.
                foreach (var other in Items(others, "distinctFrom", MaxStages).OfType<YamlScalar>().Where(o => stages.TrueForAll(s => s.Name != o.Value)))
                    Error(other.Line, $"there is no earlier stage '{other.Value}'");
            }
            if (name is not null && require is not null && from.Count > 0) stages.Add(new ApprovalStage(name, require.Value, from));
            else if (from.Count == 0) Error(item.Line, "a stage needs at least one approver in 'from'");
        }
        return stages;
    }

    private string? Approver(YamlNode node)
    {
        if (node is not YamlScalar { Value: var text }) { Error(node.Line, "an approver is text such as role:validator"); return null; }
        if (text.StartsWith("user:", StringComparison.Ordinal) && Names.IsName(text[5..])) return text;
        if (!text.StartsWith("role:", StringComparison.Ordinal)) { Error(node.Line, $"the approver '{text}' must be role:NAME or user:NAME"); return null; }
        var role = text[5..];
        if (!Roles.All.Contains(role, StringComparer.Ordinal)) { Error(node.Line, Unknown("role", role, Roles.All)); return null; }
        if (!Roles.PermissionsOf([role]).Contains(Permissions.ApprovalGrant)) { Error(node.Line, $"the role '{role}' may not approve"); return null; }
        return text;
    }

    private List<PolicyGate> Gates(YamlNode node)
    {
        var gates = new List<PolicyGate>();
        foreach (var item in Items(node, "gates", MaxGates))
        {
            if (Fields(item, "gate", "id", "check", "with", "enforcement") is not { } map) continue;
            var id = Text(map, "id", item.Line);
            if (id is not null && !Names.IsName(id)) Error(item.Line, $"the gate id '{id}' must be {Names.Rule}");
            if (id is not null && gates.Any(g => g.Id == id)) Error(item.Line, $"the gate '{id}' is given twice");
            if (map.ContainsKey("enforcement")) Exactly(map, "enforcement", "block", item.Line);
            var check = Text(map, "check", item.Line);
            if (check is not null && !PolicyRules.Checks.Contains(check, StringComparer.Ordinal)) { Error(item.Line, Unknown("check", check, PolicyRules.Checks)); continue; }
            if (Need(map, "with", item.Line) is { } with && id is not null && check is not null && With(check, with) is { } parameters)
                gates.Add(new PolicyGate(id, check, parameters));
        }
        return gates;
    }

    private Dictionary<string, string>? With(string check, YamlNode node)
    {
        var threshold = check == PolicyRules.MetricThreshold;
        var map = threshold
            ? Fields(node, check, "metric", "op", "value", "minSamples", "bound")
            : Fields(node, check, "metric", "margin", "minSamples", "bound", "noChampion");
        if (map is null) return null;
        var before = errors.Count;
        var with = new Dictionary<string, string>(StringComparer.Ordinal);

        var metric = Text(map, "metric", node.Line);
        if (metric is not null && (metric.Length > 100 || metric.Any(char.IsWhiteSpace))) Error(node.Line, $"the metric '{metric}' must have no white space and at most 100 characters");
        with["metric"] = metric ?? "";

        if (threshold)
        {
            with["op"] = OneOf(map, "op", node.Line, null, PolicyRules.Operators) ?? "";
            with["value"] = Decimal(map, "value", node.Line, negativeAllowed: true);
            with["bound"] = OneOf(map, "bound", node.Line, "point", ["point", "ci_lower", "ci_upper"]) ?? "";
        }
        else
        {
            with["margin"] = Decimal(map, "margin", node.Line, negativeAllowed: false);
            with["bound"] = OneOf(map, "bound", node.Line, "point", ["point", "ci_lower"]) ?? "";
            with["noChampion"] = OneOf(map, "noChampion", node.Line, "block", ["pass", "block"]) ?? "";
        }
        if (map.ContainsKey("minSamples") && Integer(map, "minSamples", node.Line, 1, 1_000_000_000) is { } samples)
            with["minSamples"] = samples.ToString(CultureInfo.InvariantCulture);
        return errors.Count == before ? with : null;
    }

    private Dictionary<string, YamlNode>? Fields(YamlNode node, string where, params string[] known)
    {
        if (node is not YamlMap map) { Error(node.Line, $"the {where} must be a map with the fields {string.Join(", ", known)}"); return null; }
        foreach (var field in map.Fields.Where(f => !known.Contains(f.Name, StringComparer.Ordinal))) Error(field.Line, Unknown("field", field.Name, known));
        return map.Fields.ToDictionary(f => f.Name, f => f.Value, StringComparer.Ordinal);
    }

    private IReadOnlyList<YamlNode> Items(YamlNode node, string where, int most)
    {
        if (node is not YamlList list) { Error(node.Line, $"'{where}' must be a list"); return []; }
        if (list.Items.Count <= most) return list.Items;
        Error(node.Line, $"'{where}' has {list.Items.Count} entries; at most {most} are allowed");
        return [];
    }

    private YamlNode? Need(Dictionary<string, YamlNode> map, string field, long line)
    {
        if (map.TryGetValue(field, out var node)) return node;
        Error(line, $"the field '{field}' is missing");
        return null;
    }

    private string? Text(Dictionary<string, YamlNode> map, string field, long line)
    {
        switch (Need(map, field, line))
        {
            case YamlScalar { Value: { Length: > 0 and <= 4_000 } value }: return value;
            case { } other: Error(other.Line, $"'{field}' must be text of 1 to 4000 characters"); return null;
            default: return null;
        }
    }

    private void Exactly(Dictionary<string, YamlNode> map, string field, string wanted, long line)
    {
        if (Text(map, field, line) is { } value && value != wanted) Error(map[field].Line, $"'{field}' must be '{wanted}', not '{value}'");
    }

    private string? OneOf(Dictionary<string, YamlNode> map, string field, long line, string? otherwise, IReadOnlyList<string> known)
    {
        if (otherwise is not null && !map.ContainsKey(field)) return otherwise;
        if (Text(map, field, line) is not { } value) return null;
        if (known.Contains(value, StringComparer.Ordinal)) return value;
        Error(map[field].Line, $"'{field}' must be one of {string.Join(" ", known)}, not '{value}'");
        return null;
    }

    private string Decimal(Dictionary<string, YamlNode> map, string field, long line, bool negativeAllowed)
    {
        if (Text(map, field, line) is not { } value) return "";
        if (!ExactDecimal.TryParse(value, out var number, out var why)) Error(map[field].Line, $"'{field}' must be a decimal string: {why}");
        else if (number.IsNegative && !negativeAllowed) Error(map[field].Line, $"'{field}' must not be negative, and {value} is");
        return value;
    }

    private int? Integer(Dictionary<string, YamlNode> map, string field, long line, int least, int most)
    {
        if (Text(map, field, line) is not { } value) return null;
        if (int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= least && number <= most) return number;
        Error(map[field].Line, $"'{field}' must be a whole number from {least} to {most}, not '{value}'");
        return null;
    }

    private void Error(long line, string why) => errors.Add($"line {line}: {why}");

    private static string Unknown(string what, string name, IReadOnlyList<string> known) =>
        $"unknown {what} '{name}'; {Nearest.Hint(name, known) ?? "known: " + string.Join(", ", known)}";
}
