using System.CommandLine;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Experiments: named sets of runs.</summary>
internal static class ExperimentCommand
{
    private static readonly Column[] Columns =
    [
        new("NAME", "name"), new("ID", "id"), new("CREATED", "createdAt"), new("UPDATED", "updatedAt"), new("DELETED", "deleted", wide: true), new("ARTIFACTS", "artifactLocation", wide: true),
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var named = new Argument<string>("experiment") { Description = "Its name" };
        var experiment = new Argument<string>("experiment") { Description = "Its name or id" }.Completes(globals, terminal, "experiments");
        var limit = Opt.Limit();
        var filter = new Option<string?>("--filter") { Description = "MLflow's filter language, for example \"name LIKE 'fl%'\"" };
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        return new Noun("experiment", "Named sets of runs")
        {
            new Verb("list", "Lists experiments", "slipway experiment list", "slipway experiment list --filter \"name LIKE 'fl%'\"")
                .With(filter, limit)
                .Does(globals, terminal, s => s.ListAsync($"experiments{Query.Of(("filter", s.Value(filter)))}", s.Value(limit), Columns)),
            new Verb("show", "Shows an experiment", "slipway experiment show flights", "slipway experiment show 1 -o json")
                .With(experiment)
                .Does(globals, terminal, s => s.ShowAsync($"experiments/{s.About("experiments", s.Value(experiment))}", [.. Columns.Select(c => c with { Wide = false })])),
            new Verb("create", "Makes an experiment", "slipway experiment create flights", "slipway experiment create flights -o name")
                .With(named, dry)
                .Does(globals, terminal, async s =>
                {
                    if (!s.Rehearses($"create experiment {s.Value(named)}", dry))
                    {
                        s.Out.One(await s.Client.PostAsync<JsonElement>($"experiments", new { name = s.Value(named) }, s.Stop), Columns);
                    }

                    return ExitCodes.Done;
                }),
            new Verb("delete", "Moves an experiment and its runs to the trash", "slipway experiment delete flights", "slipway experiment delete flights --yes")
                .With(experiment, dry, yes)
                .Does(globals, terminal, async s =>
                {
                    var found = await s.Client.GetAsync<JsonElement>($"experiments/{s.About("experiments", s.Value(experiment))}", s.Stop);
                    if (await s.GoesOnAsync($"delete experiment {Output.Text(Output.At(found, "name"))}", dry, yes))
                    {
                        await s.Client.DeleteAsync($"experiments/{Output.Text(Output.At(found, "id"))}", s.Stop);
                        s.Note($"deleted; undo it with: slipway experiment restore {Output.Text(Output.At(found, "id"))}");
                    }

                    return ExitCodes.Done;
                }),
            new Verb("restore", "Brings a deleted experiment back", "slipway experiment restore flights", "slipway experiment restore 1")
                .With(experiment, dry)
                .Does(globals, terminal, async s =>
                {
                    if (!s.Rehearses($"restore experiment {s.Value(experiment)}", dry))
                    {
                        s.Out.One(await s.Client.PostAsync<JsonElement>($"experiments/{s.Value(experiment)}/restore", new { }, s.Stop), Columns);
                    }

                    return ExitCodes.Done;
                }),
        };
    }
}
