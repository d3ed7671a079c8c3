using System.CommandLine;
using System.Text;
using System.Text.Json;

namespace Slipway.Cli.Commands;

/// <summary>Policies: what must be true before production.</summary>
internal static class PolicyCommand
{
    private static readonly Column[] Columns =
    [
        new("NAME", "name"), new("VERSION", "version"), new("RULES", e => Output.At(e, "gates").GetArrayLength().ToString(System.Globalization.CultureInfo.InvariantCulture)), new("APPROVALS", "requiredApprovals"),
        new("SINCE", "appliedAt"), new("BY", "appliedBy"), new("DIGEST", "digest", wide: true), new("DESCRIPTION", "description", wide: true),
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var policy = Opt.Name("policy");
        var limit = Opt.Limit();
        var file = new Option<string>("--file", "-f") { Description = "The policy's YAML, or - for standard input", Required = true };
        var model = new Option<string?>("--model") { Description = "Try it on the newest versions of this model" };
        var facts = new Option<string[]>("--fact") { Description = "Try it on this fact, for example metrics.auc=0.91; may be repeated" };
        return new Noun("policy", "What must be true before production")
        {
            new Verb("list", "Lists the policies in force", "slipway policy list", "slipway policy list -o wide")
                .With(limit)
                .Does(globals, terminal, s => s.ListAsync($"policies", s.Value(limit), Columns)),
            new Verb("show", "Shows a policy and its text", "slipway policy show production", "slipway policy show production -o json")
                .With(policy)
                .Does(globals, terminal, s => s.ShowAsync($"policies/{s.About("policies", s.Value(policy))}", [.. Columns.Select(c => c with { Wide = false }), new("TEXT", e => "\n" + Output.At(e, "yaml").GetString()!.TrimEnd())])),
            new Verb("history", "Lists every version of a policy", "slipway policy history production", "slipway policy history production -o json")
                .With(policy, limit)
                .Does(globals, terminal, s => s.ListAsync($"policies/{s.About("policies", s.Value(policy))}/history", s.Value(limit), Columns)),
            new Verb("apply", "Puts a policy in force", "slipway policy apply -f production.yaml", "cat production.yaml | slipway policy apply -f -")
                .With(file)
                .Does(globals, terminal, async s =>
                {
                    using var body = new StringContent(await Input.ReadAsync(s, s.Value(file)!), Encoding.UTF8, "application/yaml");
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"policies", body, s.Stop), Columns);
                    return ExitCodes.Done;
                }),
            new Verb("test", "Tries a policy without putting it in force; exit code 5 when it would block", "slipway policy test -f production.yaml --model flights", "slipway policy test -f production.yaml --fact metrics.auc=0.91")
                .With(file, model, facts)
                .Does(globals, terminal, async s =>
                {
                    var given = (s.Value(facts) ?? []).Select(f => f.Split('=', 2)).ToDictionary(f => f[0], f => f.Length == 2 ? f[1] : throw new CliException(ExitCodes.Usage, "the fact cannot be read", $"\"{f[0]}\" has no value", "write for example --fact metrics.auc=0.91"), StringComparer.Ordinal);
                    var result = await s.Client.PostAsync<JsonElement>($"policies/test", new { yaml = await Input.ReadAsync(s, s.Value(file)!), model = s.Value(model), facts = given.Count == 0 ? null : given }, s.Stop);
                    s.Out.One(
                        result,
                        new("POLICY", "policy"), new("TRIED ON", e => Output.At(e, "trials").GetArrayLength().ToString(System.Globalization.CultureInfo.InvariantCulture)), new("WOULD BLOCK", "blocked"),
                        new("RULES", e => string.Join('\n', Output.At(e, "trials").EnumerateArray().SelectMany(Trial).DefaultIfEmpty("-"))));
                    return Output.Number(Output.At(result, "blocked")) > 0 ? ExitCodes.Conflict : ExitCodes.Done;
                }),
        };
    }

    private static IEnumerable<string> Trial(JsonElement trial) => Output.At(trial, "rules").EnumerateArray()
        .Select(r => $"{Output.Text(Output.At(r, "outcome")),-5} {(Output.At(trial, "subject").ValueKind == JsonValueKind.String ? Output.Text(Output.At(trial, "subject")) + "  " : "")}{GateCommand.Rule(r)}");
}
