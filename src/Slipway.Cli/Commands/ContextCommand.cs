using System.CommandLine;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Named servers, kept in the user's configuration folder.</summary>
internal static class ContextCommand
{
    private static readonly Column[] Columns = [new("NAME", "name"), new("CURRENT", "current"), new("URL", "url"), new("TOKEN", e => Output.At(e, "token").ValueKind == JsonValueKind.True ? "kept" : "none")];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var context = Opt.Name("context");
        return new Noun("context", "Named servers")
        {
            new Verb("list", "Lists contexts", "slipway context list", "slipway context list -o json")
                .Does(globals, terminal, s =>
                {
                    var contexts = Contexts.Load(s.Terminal);
                    s.Out.List([.. contexts.All.Select(c => Shown(contexts, c.Key))], more: false, Columns);
                    return Task.FromResult(ExitCodes.Done);
                }),
            new Verb("add", "Adds or changes a context; the first one becomes current", "slipway context add team --url https://slipway.example.org --token slp_…", "slipway context add local --url http://127.0.0.1:5600")
                .With(context)
                .Does(globals, terminal, s =>
                {
                    var url = s.Value(globals.Url) ?? throw new CliException(ExitCodes.Usage, "the context was not added", "it has no address", $"slipway context add {s.Value(context)} --url {Session.DefaultUrl}");
                    if (!Uri.TryCreate(url, UriKind.Absolute, out var address) || address.Scheme is not ("http" or "https"))
                    {
                        throw new CliException(ExitCodes.Usage, "the context was not added", $"\"{url}\" is not an address like {Session.DefaultUrl}", "correct --url");
                    }

                    var contexts = Contexts.Load(s.Terminal);
                    contexts.Save(contexts.Current ?? s.Value(context), s.Value(context), new ServerContext(url, s.Value(globals.Token)));
                    s.Out.One(Shown(Contexts.Load(s.Terminal), s.Value(context)), Columns);
                    return Task.FromResult(ExitCodes.Done);
                }),
            new Verb("use", "Makes a context the current one", "slipway context use team", "slipway context use local")
                .With(context)
                .Does(globals, terminal, s =>
                {
                    var contexts = Known(s, s.Value(context));
                    contexts.Save(s.Value(context));
                    s.Out.One(Shown(Contexts.Load(s.Terminal), s.Value(context)), Columns);
                    return Task.FromResult(ExitCodes.Done);
                }),
            new Verb("show", "Shows which server commands go to", "slipway context show", "slipway context show -o name")
                .Does(globals, terminal, s =>
                {
                    var contexts = Contexts.Load(s.Terminal);
                    var name = s.Value(globals.Context) ?? terminal.Environment("SLIPWAY_CONTEXT") ?? contexts.Current;
                    var known = name is not null && contexts.All.ContainsKey(name);
                    s.Out.One(known ? Shown(contexts, name!) : JsonSerializer.SerializeToElement(new { url = s.Client.Address }, SlipwayClient.Json), new("NAME", "name"), new("URL", _ => s.Client.Address.GetLeftPart(UriPartial.Authority)));
                    return Task.FromResult(ExitCodes.Done);
                }),
            new Verb("remove", "Forgets a context", "slipway context remove team", "slipway context remove local")
                .With(context)
                .Does(globals, terminal, s =>
                {
                    var contexts = Known(s, s.Value(context));
                    contexts.Save(contexts.Current == s.Value(context) ? null : contexts.Current, s.Value(context));
                    s.Note("forgotten");
                    return Task.FromResult(ExitCodes.Done);
                }),
        };
    }

    private static JsonElement Shown(Contexts contexts, string name) =>
        JsonSerializer.SerializeToElement(new { name, current = contexts.Current == name, url = contexts.All[name].Url, token = contexts.All[name].Token is not null }, SlipwayClient.Json);

    private static Contexts Known(Session s, string name)
    {
        var contexts = Contexts.Load(s.Terminal);
        return contexts.All.ContainsKey(name)
            ? contexts
            : throw new CliException(ExitCodes.NotFound, $"there is no context \"{name}\"", Nearest.Of(name, contexts.All.Keys) is { } near ? $"did you mean \"{near}\"?" : "it was never added", "slipway context list");
    }
}
