using System.CommandLine;
using System.Text.Json;

namespace Slipway.Cli.Commands;

/// <summary>What is live, what waits and what fires.</summary>
internal static class StatusCommand
{
    public static Command Build(Globals globals, Terminal terminal) =>
        new Verb("status", "What is live, what waits, what fires", "slipway status", "slipway status -o json | jq '.firing[].sentence'")
            .Does(globals, terminal, async s =>
            {
                var status = await s.Client.GetAsync<JsonElement>($"status", s.Stop);
                s.Out.One(
                    status,
                    new Column("LIVE", e => Lines(e, "endpoints", Endpoint)),
                    new Column("ROLLING OUT", e => Lines(e, "rollouts", Rollout)),
                    new Column("WAITING", e => Lines(e, "waiting", Request)),
                    new Column("FIRING", e => Lines(e, "firing", a => $"{Word(a, "severity")}  {Word(a, "sentence")}{(Word(a, "acknowledgedBy") is var by and not "-" ? $" (seen by {by})" : "")}")),
                    new Column("JOURNAL", e => $"{Word(e, "journal")} entries"),
                    new Column("PREDICTIONS", e => $"{Word(e, "predictions.written")} written, {Word(e, "predictions.dropped")} dropped since the start", Wide: true),
                    new Column("VERSION", "version", wide: true));
                return ExitCodes.Done;
            });

    private static string Endpoint(JsonElement e)
    {
        var shares = Output.At(e, "variants").EnumerateArray().Select(v => $"{Word(v, "modelVersion")} {Word(v, "percent")} %");
        return $"{Word(e, "name")}  {string.Join(", ", shares)}{(Word(e, "ready") == "yes" ? "" : $"  not ready: {Word(e, "why")}")}";
    }

    private static string Rollout(JsonElement r) =>
        $"{Word(r, "endpoint")}  {Word(r, "candidate")} at {Word(r, "percent")} %, {Word(r, "state")}, step {Output.Number(Output.At(r, "step")) + 1} of {Word(r, "steps")}: {Word(r, "cause")}";

    private static string Request(JsonElement g) =>
        $"{Word(g, "subject")} under {Word(g, "policy")}, {Word(g, "approvals")} of {Word(g, "requiredApprovals")} approvals: slipway approval show {Word(g, "id")}";

    private static string Lines(JsonElement status, string name, Func<JsonElement, string> line)
    {
        var lines = Output.At(status, name).EnumerateArray().Select(line).ToList();
        return lines.Count == 0 ? "nothing" : string.Join('\n', lines);
    }

    private static string Word(JsonElement e, string path) => Output.Text(Output.At(e, path));
}
