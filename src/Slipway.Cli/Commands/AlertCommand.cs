using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Alerts: what needs somebody now, and why.</summary>
internal static class AlertCommand
{
    internal static readonly Column[] Columns =
    [
        new("ALERT", "id"), new("STATE", "state"), new("SEVERITY", "severity"), new("ENDPOINT", "endpoint"), new("VERSION", "modelVersion"), new("FIRED", "firedAt"), new("OWNER", "assignedTo"), new("CAUSE", "sentence"),
        new("RESOLVED", "resolvedAt", wide: true), new("MONITOR", "monitor", wide: true), new("LABELS", "labels", wide: true),
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var alert = Opt.Id("alert");
        var state = new Option<string?>("--state") { Description = "firing or resolved" };
        var to = new Argument<string?>("name") { Description = "Who looks after it; absent takes the name away", Arity = ArgumentArity.ZeroOrOne };
        var span = new Option<string>("--for") { Description = "How long, for example 2h; 0s ends it", Required = true };
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
                    [.. Columns.Select(c => c with { Wide = false }), new("SEEN BY", "acknowledgedBy"), new("SNOOZED UNTIL", "snoozedUntil"), new("NOTES", "annotations"), new("RULES", e => string.Join('\n', Output.At(e, "members").EnumerateArray().Select(Member).DefaultIfEmpty("-")))])),
            new Verb("why", "Shows how an alert came to be, and who was told", "slipway alert why 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway alert why 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(alert)
                .Does(globals, terminal, s => s.ShowAsync($"alerts/{s.About("alerts", s.Value(alert), "id")}/why", Path)),
            Act("ack", "Takes an alert upon oneself; it is not repeated any more", "slipway alert ack 0193a7c2f0d27f3c9a41b6d0a2e5c001", [alert], s => (s.Value(alert), "ack", new { })),
            Act("assign", "Says who looks after an alert", "slipway alert assign 0193a7c2f0d27f3c9a41b6d0a2e5c001 grace", [alert, to], s => (s.Value(alert), "assign", new { to = s.Value(to) })),
            Act("snooze", "Tells nobody of an alert for a while", "slipway alert snooze 0193a7c2f0d27f3c9a41b6d0a2e5c001 --for 2h", [alert, span], s => (s.Value(alert), "snooze", new { @for = s.Value(span) })),
        };

        Verb Act(string name, string description, string example, Symbol[] symbols, Func<Session, (string Alert, string Verb, object Body)> what) => new Verb(name, description, example, example + " -o json")
            .With(symbols)
            .Does(globals, terminal, async s =>
            {
                var (id, verb, body) = what(s);
                s.Out.One(await s.Client.PostAsync<JsonElement>($"alerts/{s.About("alerts", id, "id")}/{verb}", body, s.Stop), Columns);
                return ExitCodes.Done;
            });
    }

    private static readonly Column[] Path =
    [
        new("ALERT", "alert.id"),
        new("CAUSE", "alert.sentence"),
        new("VERDICT", "verdict"),
        new("STATE", e => $"{Text(e, "alert.state")}, {Text(e, "alert.severity")}, fired {Text(e, "alert.firedAt")}{(Has(e, "alert.resolvedAt") ? $", resolved {Text(e, "alert.resolvedAt")}" : "")}"),
        new("WINDOW", e => $"{Text(e, "alert.windowStart")} to {Text(e, "alert.windowEnd")}"),
        new("LABELS", "alert.labels"),
        new("RULES", e => Lines(e, "rules", r =>
            $"{Text(r, "metric")}{(Has(r, "column") ? $" of {Text(r, "column")}" : "")}: {Text(r, "state")}{(Has(r, "value") ? $", {Output.Rounded(Output.At(r, "value"))} against {Output.Rounded(Output.At(r, "threshold"))}" : "")}"
            + $"; {string.Join(", ", Output.At(r, "windows").EnumerateArray().Select(w => $"{Text(w, "start")[..10]} {Text(w, "verdict")}"))}")),
        new("ROUTES", e => Lines(e, "routes", r =>
            $"{Text(r, "route")} to {(Output.At(r, "receiver").GetString() is { Length: > 0 } name ? name : "nobody")}, group {Text(r, "group")}: waits {Text(r, "groupWait")}, then each {Text(r, "groupInterval")}, repeats after {Text(r, "repeatInterval")}"
            + (Has(r, "mute") ? $"; quiet: {Text(r, "mute.text")}" : ""))),
        new("SILENCES", e => Lines(e, "silences", x => $"{Text(x, "id")} {Text(x, "matchers")} by {Text(x, "createdBy")} until {Text(x, "endsAt")}: {Text(x, "comment")}")),
        new("DELIVERIES", e => Lines(e, "deliveries", n =>
            $"{Text(n, "createdAt")} {Text(n, "receiver")} {Text(n, "event")}: {Text(n, "state")} after {Text(n, "attempts")} {(Text(n, "attempts") == "1" ? "attempt" : "attempts")}{(Has(n, "lastStatus") ? $", status {Text(n, "lastStatus")}" : "")}{(Has(n, "lastError") ? $", {Text(n, "lastError")}" : "")}")),
        new("DEPENDS ON IT", e => Lines(e, "blastRadius", b => b.GetString()!)),
        new("TIMELINE", e => Lines(e, "timeline", t => $"{Text(t, "at")}  {Text(t, "kind")}  {Text(t, "text")}")),
    ];

    private static string Member(JsonElement m) => string.Create(
        CultureInfo.InvariantCulture, $"{Text(m, "metric")} {Text(m, "column")}: {Output.Rounded(Output.At(m, "value"))} against {Output.Rounded(Output.At(m, "threshold"))}, n {Text(m, "n")}, {Text(m, "level")}");

    private static string Lines(JsonElement e, string list, Func<JsonElement, string> line) => string.Join('\n', Output.At(e, list).EnumerateArray().Select(line).DefaultIfEmpty("none"));

    private static string Text(JsonElement e, string path) => Output.Text(Output.At(e, path));

    private static bool Has(JsonElement e, string path) => Output.At(e, path).ValueKind is not (JsonValueKind.Undefined or JsonValueKind.Null);
}
