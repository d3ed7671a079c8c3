using System.CommandLine;
using System.Text;
using System.Text.Json;

namespace Slipway.Cli.Commands;

/// <summary>Routes: which receiver hears of which alerts.</summary>
internal static class RouteCommand
{
    private static readonly Column[] Columns = [new("VERSION", "version"), new("BY", "appliedBy"), new("SINCE", "appliedAt"), new("DOCUMENT", e => Output.At(e, "document").GetString() is { Length: > 0 } text ? "\n" + text.TrimEnd() : "none: every receiver hears of every alert")];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var file = new Option<string>("--file", "-f") { Description = "The routing's YAML, or - for standard input", Required = true };
        var labels = new Argument<string[]>("label") { Description = "A label of the alert, such as severity=major; may be repeated", Arity = ArgumentArity.OneOrMore };
        return new Noun("route", "Which receiver hears of which alerts")
        {
            new Verb("show", "Shows the routing in force", "slipway route show", "slipway route show -o json")
                .Does(globals, terminal, s => s.ShowAsync($"routing", Columns)),
            new Verb("apply", "Puts a routing in force", "slipway route apply -f routing.yaml", "cat routing.yaml | slipway route apply -f -")
                .With(file)
                .Does(globals, terminal, async s =>
                {
                    using var body = new StringContent(await Input.ReadAsync(s, s.Value(file)!), Encoding.UTF8, "application/yaml");
                    s.Out.One(await s.Client.PutAsync<JsonElement>($"routing", body, s.Stop), Columns);
                    return ExitCodes.Done;
                }),
            new Verb("test", "Shows who would hear of an alert; nothing is sent", "slipway route test alertname=drift severity=major", "slipway route test severity=severe model=flights -o json")
                .With(labels)
                .Does(globals, terminal, async s =>
                {
                    var given = s.Value(labels).Select(l => l.Split('=', 2)).ToDictionary(l => l[0], l => l.Length == 2 ? l[1] : throw new CliException(ExitCodes.Usage, "the label cannot be read", $"\"{l[0]}\" has no value", "write for example severity=major"), StringComparer.Ordinal);
                    var result = await s.Client.PostAsync<JsonElement>($"routing/test", given, s.Stop);
                    s.Out.List(
                        [.. Output.At(result, "items").EnumerateArray()], more: false,
                        new("ROUTE", "path"), new("RECEIVER", e => Output.At(e, "receiver").GetString() is { Length: > 0 } name ? name : "nobody"), new("MATCHERS", "matchers"), new("GROUP", "group"), new("QUIET NOW", "quietNow"));
                    return ExitCodes.Done;
                }),
        };
    }
}
