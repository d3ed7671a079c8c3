using System.CommandLine;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Models, their versions and aliases.</summary>
internal static class ModelCommand
{
    private static readonly Column[] Columns =
    [
        new("NAME", "name"), new("LATEST", e => Latest(e)), new("ALIASES", e => Aliases(e)), new("CREATED", "createdAt"), new("BY", "createdBy"), new("DESCRIPTION", "description", wide: true),
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var named = Opt.Name("model");
        var model = Opt.Name("model").Completes(globals, terminal, "models");
        var limit = Opt.Limit();
        var filter = new Option<string?>("--filter") { Description = "MLflow's filter language, for example \"name LIKE 'fl%'\"" };
        var description = new Option<string?>("--description") { Description = "What it is for" };
        var dry = Opt.DryRun();
        return new Noun("model", "Registered models")
        {
            new Verb("list", "Lists models", "slipway model list", "slipway model list --filter \"name LIKE 'fl%'\"")
                .With(filter, limit)
                .Does(globals, terminal, s => s.ListAsync($"models{Query.Of(("filter", s.Value(filter)))}", s.Value(limit), Columns)),
            new Verb("show", "Shows a model", "slipway model show flights", "slipway model show flights -o json")
                .With(model)
                .Does(globals, terminal, s => s.ShowAsync($"models/{s.About("models", s.Value(model))}", [.. Columns.Select(c => c with { Wide = false })])),
            new Verb("create", "Makes a model without versions", "slipway model create flights", "slipway model create flights --description 'late arrivals'")
                .With(named, description, dry)
                .Does(globals, terminal, async s =>
                {
                    if (!s.Rehearses($"create model {s.Value(named)}", dry))
                    {
                        s.Out.One(await s.Client.PostAsync<JsonElement>($"models", new { name = s.Value(named), description = s.Value(description) }, s.Stop), Columns);
                    }

                    return ExitCodes.Done;
                }),
            new Verb("versions", "Lists the versions of a model", "slipway model versions flights", "slipway model versions flights -o wide")
                .With(model, limit)
                .Does(globals, terminal, s => s.ListAsync($"models/{s.About("models", s.Value(model))}/versions", s.Value(limit), VersionCommand.Columns)),
            new Verb("history", "Lists what happened to a model and its versions, newest first", "slipway model history flights", "slipway model history flights -o json")
                .With(model, limit)
                .Does(globals, terminal, async s =>
                {
                    await s.Client.GetAsync<JsonElement>($"models/{s.About("models", s.Value(model))}", s.Stop);
                    return await s.ListAsync($"audit{Query.Of(("subject", $"model:{s.Value(model)}"))}", s.Value(limit), new("AT", "at"), new("ACTOR", "actor.name"), new("KIND", "kind"), new("SUBJECT", "subject"), new("ENTRY", "seq", wide: true));
                }),
            Retire(globals, terminal),
            Alias(globals, terminal),
        };
    }

    private static Verb Retire(Globals globals, Terminal terminal)
    {
        var model = Opt.Name("model").Completes(globals, terminal, "models");
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        var verb = new Verb("retire", "Takes a model out of use: it moves to the trash with its versions", "slipway model retire flights --dry-run", "slipway model retire flights --yes")
            .With(model, dry, yes)
            .Does(globals, terminal, async s =>
            {
                var found = await s.Client.GetAsync<JsonElement>($"models/{s.About("models", s.Value(model))}", s.Stop);
                if (await s.GoesOnAsync($"retire model {s.Value(model)} with its versions up to {Latest(found)} and its aliases ({Aliases(found)})", dry, yes))
                {
                    await s.Client.DeleteAsync($"models/{s.Value(model)}", s.Stop);
                    s.Note($"retired; undo it with: slipway trash restore model:{s.Value(model)}");
                }

                return ExitCodes.Done;
            });
        verb.Aliases.Add("delete");
        return verb;
    }

    private static Noun Alias(Globals globals, Terminal terminal)
    {
        var model = Opt.Name("model").Completes(globals, terminal, "models");
        var alias = new Argument<string>("alias") { Description = "For example champion" };
        var version = new Argument<int>("version") { Description = "The version it is to name" };
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        return new Noun("alias", "Movable names of versions")
        {
            new Verb("set", "Lets an alias name a version", "slipway model alias set flights champion 7", "slipway model alias set flights shadow 8")
                .With(model, alias, version, dry)
                .Does(globals, terminal, async s =>
                {
                    if (!s.Rehearses($"let {s.Value(alias)} name version {s.Value(version)} of model {s.Value(model)}", dry))
                    {
                        s.Out.One(await s.Client.PutAsync<JsonElement>($"models/{s.About("models", s.Value(model))}/aliases/{s.Value(alias)}", new { version = s.Value(version) }, s.Stop), Columns);
                    }

                    return ExitCodes.Done;
                }),
            new Verb("remove", "Removes an alias", "slipway model alias remove flights shadow", "slipway model alias remove flights shadow --yes")
                .With(model, alias, dry, yes)
                .Does(globals, terminal, async s =>
                {
                    if (await s.GoesOnAsync($"remove the alias {s.Value(alias)} of model {s.Value(model)}", dry, yes))
                    {
                        await s.Client.DeleteAsync($"models/{s.About("models", s.Value(model))}/aliases/{s.Value(alias)}", s.Stop);
                        s.Note("removed");
                    }

                    return ExitCodes.Done;
                }),
        };
    }

    private static string Latest(JsonElement model) =>
        Output.At(model, "latest").EnumerateArray().Select(v => Output.Number(Output.At(v, "version"))).Max() is { } version ? FormattableString.Invariant($"{version}") : "-";

    private static string Aliases(JsonElement model) =>
        string.Join(", ", Output.At(model, "aliases").EnumerateArray().Select(a => $"{Output.Text(Output.At(a, "alias"))}={Output.Text(Output.At(a, "version"))}").DefaultIfEmpty("-"));
}
