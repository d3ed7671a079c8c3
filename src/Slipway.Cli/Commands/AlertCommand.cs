using System.CommandLine;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Alerts: what needs somebody now, and why.</summary>
internal static class AlertCommand
{
    private static readonly Column[] Columns =
    [
        new("ALERT", "id"), new("STATE", "state"), new("SEVERITY", "severity"), new("ENDPOINT", "endpoint"), new("VERSION", "modelVersion"), new("FIRED", "firedAt"), new("SEEN BY", "acknowledgedBy"), new("CAUSE", "sentence"),
        new("RESOLVED", "resolvedAt", wide: true), new("MONITOR", "monitor", wide: true),
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var alert = Opt.Id("alert");
        var state = new Option<string?>("--state") { Description = "firing or resolved" };
        var limit = Opt.Limit();
        return new Noun("alert", "What needs somebody now, and why")
        {
            new Verb("list", "Lists alerts, newest first", "slipway alert list --state firing", "slipway alert list -o json | jq -r '.items[].sentence'")
                .With(state, limit)
                .Does(globals, terminal, s => s.ListAsync($"alerts{Query.Of(("state", s.Value(state)))}", s.Value(limit), Columns)),
            new Verb("show", "Shows an alert and its rules", "slipway alert show 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway alert show 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(alert)
                .Does(globals, terminal, s => s.ShowAsync(
                    $"alerts/{s.About("alerts", s.Value(alert), "id")}",
                    [.. Columns.Select(c => c with { Wide = false }), new("RULES", e => string.Join('\n', Output.At(e, "members").EnumerateArray().Select(m => $"{Output.Text(Output.At(m, "metric"))} {Output.Text(Output.At(m, "column"))}: {Output.Rounded(Output.At(m, "value"))} against {Output.Rounded(Output.At(m, "threshold"))}, n {Output.Text(Output.At(m, "n"))}, {Output.Text(Output.At(m, "level"))}")))])),
            new Verb("why", "Shows how an alert came to be, and who was told", "slipway alert why 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway alert why 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(alert)
                .Does(globals, terminal, s => s.ShowAsync(
                    $"alerts/{s.About("alerts", s.Value(alert), "id")}/timeline",
                    new("TIMELINE", e => string.Join('\n', Output.At(e, "items").EnumerateArray().Select(t => $"{Output.Text(Output.At(t, "at"))}  {Output.Text(Output.At(t, "kind"))}  {Output.Text(Output.At(t, "text"))}").DefaultIfEmpty("-"))),
                    new("TOLD", e => string.Join('\n', Output.At(e, "notifications").EnumerateArray().Select(n => $"{Output.Text(Output.At(n, "receiver"))}  {Output.Text(Output.At(n, "event"))}  {Output.Text(Output.At(n, "state"))} after {Output.Text(Output.At(n, "attempts"))} attempts{(Output.At(n, "lastError").ValueKind == JsonValueKind.String ? ": " + Output.Text(Output.At(n, "lastError")) : "")}").DefaultIfEmpty("nobody: there is no receiver"))))),
            new Verb("ack", "Takes an alert upon oneself", "slipway alert ack 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway alert ack 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(alert)
                .Does(globals, terminal, async s =>
                {
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"alerts/{s.About("alerts", s.Value(alert), "id")}/ack", new { }, s.Stop), Columns);
                    return ExitCodes.Done;
                }),
        };
    }
}
