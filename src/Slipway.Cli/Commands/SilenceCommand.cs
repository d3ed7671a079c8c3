using System.CommandLine;
using System.Text;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Silences: what is kept quiet, by whom, and until when.</summary>
internal static class SilenceCommand
{
    private static readonly Column[] Columns =
    [
        new("SILENCE", "id"), new("STATE", "state"), new("MATCHERS", "matchers"), new("HIDES", e => Output.At(e, "matches").GetArrayLength().ToString(System.Globalization.CultureInfo.InvariantCulture)), new("ENDS", "endsAt"),
        new("BY", "createdBy"), new("REASON", "comment"), new("STARTS", "startsAt", wide: true), new("ENDED BY", "expiredBy", wide: true),
    ];

    private static readonly Column[] Applied =
    [
        new("ACTION", "action"), new("STATE", "silence.state"), new("MATCHERS", "silence.matchers"), new("HIDES", e => Output.At(e, "silence.matches").GetArrayLength().ToString(System.Globalization.CultureInfo.InvariantCulture)), new("ENDS", "silence.endsAt"),
        new("REASON", "silence.comment"), new("SILENCE", "silence.id", wide: true), new("ALERTS", "silence.matches", wide: true),
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var silence = Opt.Id("silence");
        var matchers = new Argument<string[]>("matcher") { Description = "A label and its value, such as model=flights or column=~\"dist.*\"; may be repeated", Arity = ArgumentArity.OneOrMore };
        var span = new Option<string?>("--for") { Description = "How long, for example 2h" };
        var comment = new Option<string?>("--comment") { Description = "Why" };
        var preview = new Option<bool>("--preview") { Description = "Show which alerts it would hide, and do nothing" };
        var by = new Option<string>("--by") { Description = "How much longer, for example 2h", Required = true };
        var expired = new Option<bool>("--expired") { Description = "Those that have ended as well" };
        var file = new Option<string>("--file", "-f") { Description = "YAML of kind Silences, or - for standard input", Required = true };
        var limit = Opt.Limit();
        return new Noun("silence", "What is kept quiet, by whom, and until when")
        {
            new Verb("create", "Keeps alerts quiet for a while", "slipway silence create model=flights --for 2h --comment \"backfill\"", "slipway silence create severity=~\"warn|major\" --preview")
                .With(matchers, span, comment, preview)
                .Does(globals, terminal, async s =>
                {
                    if (s.Value(preview))
                    {
                        var hidden = await s.Client.PostAsync<JsonElement>($"silences/preview", new { matchers = s.Value(matchers) }, s.Stop);
                        s.Out.List([.. Output.At(hidden, "items").EnumerateArray()], more: false, AlertCommand.Columns);
                        var count = Output.At(hidden, "items").GetArrayLength();
                        s.Note($"it would hide {count} firing {(count == 1 ? "alert" : "alerts")} now; nothing was changed");
                        return ExitCodes.Done;
                    }

                    if (s.Value(span) is not { } duration || s.Value(comment) is not { } why)
                    {
                        throw new CliException(ExitCodes.Usage, "the silence is not made", "--for or --comment is missing", "slipway silence create model=flights --for 2h --comment \"why\"");
                    }

                    s.Out.One(await s.Client.PostAsync<JsonElement>($"silences", new { matchers = s.Value(matchers), @for = duration, comment = why }, s.Stop), Columns);
                    return ExitCodes.Done;
                }),
            new Verb("list", "Lists silences, active ones first", "slipway silence list", "slipway silence list --expired -o wide")
                .With(expired, limit)
                .Does(globals, terminal, s => s.ListAsync($"silences{Query.Of(("expired", s.Value(expired) ? "true" : null))}", s.Value(limit), Columns)),
            new Verb("apply", "Makes the silences of a file; those that it does not name are left alone", "slipway silence apply -f silences.yaml --preview", "slipway silence apply -f silences.yaml")
                .With(file, preview)
                .Does(globals, terminal, async s =>
                {
                    using var body = new StringContent(await Input.ReadAsync(s, s.Value(file)!), Encoding.UTF8, "application/yaml");
                    var result = s.Value(preview) ? await s.Client.PostAsync<JsonElement>($"silences/document/preview", body, s.Stop) : await s.Client.PutAsync<JsonElement>($"silences", body, s.Stop);
                    List<JsonElement> items = [.. Output.At(result, "items").EnumerateArray()];
                    s.Out.List(items, more: false, Applied);
                    var changed = items.Count(i => Output.Text(Output.At(i, "action")) is "create" or "change");
                    s.Note($"{changed} of {items.Count} {(s.Value(preview) ? "would change; nothing was changed" : "changed")}");
                    return ExitCodes.Done;
                }),
            new Verb("export", "Writes the silences that have not ended as YAML that apply reads", "slipway silence export", "slipway silence export | tee silences.yaml")
                .Does(globals, terminal, async s =>
                {
                    var (open, _) = await s.Client.ListAsync<JsonElement>($"silences", 1_000, s.Stop);
                    var document = new
                    {
                        apiVersion = "slipway.dev/silences/v1",
                        kind = "Silences",
                        silences = open.Select(e => new { matchers = Output.At(e, "matchers"), startsAt = Output.At(e, "startsAt"), endsAt = Output.At(e, "endsAt"), comment = Output.At(e, "comment") }),
                    };
                    var text = new StringBuilder();
                    Yaml.Write(text, JsonSerializer.SerializeToElement(document), 0);
                    await s.Terminal.Out.WriteAsync(text.ToString());
                    return ExitCodes.Done;
                }),
            new Verb("extend", "Moves the end of a silence", "slipway silence extend 0193a7c2f0d27f3c9a41b6d0a2e5c001 --by 2h", "slipway silence extend 0193a7c2f0d27f3c9a41b6d0a2e5c001 --by 1d -o json")
                .With(silence, by)
                .Does(globals, terminal, s => ChangeAsync(s, silence, "extend", new { by = s.Value(by) })),
            new Verb("expire", "Ends a silence now; what still fires is told at once", "slipway silence expire 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway silence expire 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(silence)
                .Does(globals, terminal, s => ChangeAsync(s, silence, "expire", new { })),
        };
    }

    private static async Task<int> ChangeAsync(Session s, Argument<string> silence, string verb, object body)
    {
        s.Out.One(await s.Client.PostAsync<JsonElement>($"silences/{s.About("silences", s.Value(silence), "id")}/{verb}", body, s.Stop), Columns);
        return ExitCodes.Done;
    }
}
