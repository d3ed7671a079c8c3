using System.CommandLine;
using System.Text;
using System.Text.Json;
using Slipway.Foundation;
using Slipway.Monitoring;
using Slipway.Server;

namespace Slipway.Cli.Commands;

/// <summary>Alert rules of users: tested in a file, without a server, and put in force.</summary>
internal static class AlertRuleVerbs
{
    private static readonly Column[] Columns = [new("RULE", "name"), new("FIRES WHEN", "expression"), new("CLEAR WHEN", "clear"), new("SEVERITY", "severity"), new("WHERE", "where", wide: true), new("SPEC", "spec", wide: true)];

    public static Verb Test(Globals globals, Terminal terminal)
    {
        var file = new Argument<string>("file") { Description = "YAML of kind AlertRules with tests, or - for standard input" };
        return new Verb("test-rules", "Runs the tests of a file of alert rules, without a server; exit code 1 when one fails", "slipway monitor test-rules rules.yaml", "slipway monitor test-rules rules.yaml -o json")
            .With(file)
            .Does(globals, terminal, async s =>
            {
                var name = s.Value(file);
                IReadOnlyList<RuleTestResult> results;
                try
                {
                    results = RuleTests.Run(await Input.ReadAsync(s, name), name);
                }
                catch (SlipwayException e)
                {
                    // One line for each problem: an editor finds file:line by itself.
                    Report.Error(s.Terminal, e.Message, e.Why?.Replace("; ", "\n        ", StringComparison.Ordinal), e.Next, null);
                    return Errors.Of(e.Code).Exit;
                }

                var items = results.Select(r => JsonSerializer.SerializeToElement(new { name = r.Name, passed = r.Passed, failures = r.Failures })).ToList();
                s.Out.List(items, more: false, new("TEST", "name"), new("RESULT", e => Output.At(e, "passed").GetBoolean() ? "passed" : "failed"), new("WHY", e => string.Join("; ", Output.At(e, "failures").EnumerateArray().Select(f => f.GetString())) is { Length: > 0 } why ? why : "-"));
                var failed = results.Count(r => !r.Passed);
                s.Note(results.Count == 0 ? "the rules are sound, and the file has no tests" : $"{results.Count - failed} passed, {failed} failed");
                return failed == 0 ? ExitCodes.Done : ExitCodes.Failed;
            });
    }

    public static Verb List(Globals globals, Terminal terminal)
    {
        var limit = Opt.Limit();
        return new Verb("rules", "Lists the alert rules in force besides those that every monitor has", "slipway monitor rules", "slipway monitor rules -o wide")
            .With(limit)
            .Does(globals, terminal, s => s.ListAsync($"alert-rules", s.Value(limit), Columns));
    }

    public static Verb Apply(Globals globals, Terminal terminal)
    {
        var file = new Option<string>("--file", "-f") { Description = "YAML of kind AlertRules, or - for standard input", Required = true };
        return new Verb("apply-rules", "Puts the alert rules of a file in force, in place of all others; its tests must pass", "slipway monitor apply-rules -f rules.yaml", "cat rules.yaml | slipway monitor apply-rules -f -")
            .With(file)
            .Does(globals, terminal, async s =>
            {
                using var body = new StringContent(await Input.ReadAsync(s, s.Value(file)!), Encoding.UTF8, "application/yaml");
                var result = await s.Client.PutAsync<JsonElement>($"alert-rules", body, s.Stop);
                s.Out.List([.. Output.At(result, "items").EnumerateArray()], more: false, Columns);
                return ExitCodes.Done;
            });
    }
}
