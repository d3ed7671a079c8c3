using System.CommandLine;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Triggers: when a pipeline runs by itself.</summary>
internal static class TriggerCommand
{
    private static readonly Column[] Columns =
    [
        new("NAME", "spec.name"), new("PIPELINE", "spec.pipeline"), new("ON", "spec.on"), new("MATCH", "spec.match"), new("COOL-DOWN", "spec.coolDown"), new("MOST A DAY", "spec.maxPerDay"), new("MOST A WEEK", "spec.maxPerWeek", wide: true), new("BY", "appliedBy", wide: true), new("SINCE", "appliedAt", wide: true),
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var trigger = Opt.Name("trigger");
        var limit = Opt.Limit();
        var file = new Option<string>("--file", "-f") { Description = "The trigger as JSON, or - for standard input", Required = true };
        return new Noun("trigger", "When a pipeline runs by itself")
        {
            new Verb("list", "Lists triggers", "slipway trigger list", "slipway trigger list -o wide")
                .With(limit)
                .Does(globals, terminal, s => s.ListAsync($"triggers", s.Value(limit), Columns)),
            new Verb("show", "Shows a trigger", "slipway trigger show drifted", "slipway trigger show drifted -o json")
                .With(trigger)
                .Does(globals, terminal, s => s.ShowAsync($"triggers/{s.About("triggers", s.Value(trigger), "spec.name")}", [.. Columns.Select(c => c with { Wide = false })])),
            new Verb("apply", "Makes or changes a trigger", "slipway trigger apply -f drifted.json", "cat drifted.json | slipway trigger apply -f -")
                .With(file)
                .Does(globals, terminal, async s =>
                {
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"triggers", JsonSerializer.Deserialize<JsonElement>(await Input.ReadAsync(s, s.Value(file)!), SlipwayClient.Json), s.Stop), Columns);
                    return ExitCodes.Done;
                }),
            new Verb("decisions", "Lists what a trigger made of each alert, and why", "slipway trigger decisions drifted", "slipway trigger decisions drifted -o json")
                .With(trigger, limit)
                .Does(globals, terminal, s => s.ListAsync(
                    $"triggers/{s.About("triggers", s.Value(trigger), "spec.name")}/decisions", s.Value(limit), new("AT", "at"), new("FIRED", "fired"), new("CODE", "code"), new("REASON", "reason"), new("RUN", "run"), new("ALERT", "alert"))),
        };
    }
}
