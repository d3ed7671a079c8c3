using System.CommandLine;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Runs: executions of training code, with what they logged.</summary>
internal static class RunCommand
{
    private static readonly Column[] Columns =
    [
        new("RUN", "id"), new("NAME", "name"), new("STATUS", "status"), new("STARTED", "startedAt"), new("METRICS", e => Metrics(e, ", ", 4)),
        new("EXPERIMENT", "experimentId", wide: true), new("ENDED", "endedAt", wide: true), new("USER", "userId", wide: true),
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var run = Opt.Id("run");
        var limit = Opt.Limit();
        var experiment = new Option<string?>("--experiment") { Description = "Only of this experiment" };
        var filter = new Option<string?>("--filter") { Description = "MLflow's filter language, for example 'metrics.auc > 0.8'" };
        var order = new Option<string?>("--order") { Description = "For example 'metrics.auc DESC'" };
        var metric = new Argument<string>("metric") { Description = "The metric's name" };
        var path = new Option<string?>("--path") { Description = "A folder of artifacts" };
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        return new Noun("run", "Executions of training code, with what they logged")
        {
            new Verb("list", "Lists runs", "slipway run list --experiment flights", "slipway run list --filter 'metrics.auc > 0.7' --order 'metrics.auc DESC'")
                .With(experiment, filter, order, limit)
                .Does(globals, terminal, s => s.ListAsync($"runs{Query.Of(("experiment", s.Value(experiment)), ("filter", s.Value(filter)), ("orderBy", s.Value(order)))}", s.Value(limit), Columns)),
            new Verb("show", "Shows a run", "slipway run show 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway run show 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(run)
                .Does(globals, terminal, s => s.ShowAsync(
                    $"runs/{s.Value(run)}",
                    [
                        .. Columns.Where(c => c.Title != "METRICS").Select(c => c with { Wide = false }),
                        new("PARAMS", e => Pairs(e, "params")), new("METRICS", e => Metrics(e, "\n", int.MaxValue)), new("TAGS", e => Pairs(e, "tags")),
                        new("INPUTS", e => string.Join('\n', Output.At(e, "inputs").EnumerateArray().Select(i => $"{Output.Text(Output.At(i, "name"))} {Output.Text(Output.At(i, "source"))}").DefaultIfEmpty("-"))),
                    ])),
            new Verb("metric", "Lists the points of a metric", "slipway run metric 0193a7c2f0d27f3c9a41b6d0a2e5c001 auc", "slipway run metric 0193a7c2f0d27f3c9a41b6d0a2e5c001 loss -o json")
                .With(run, metric, limit)
                .Does(globals, terminal, s => s.ListAsync($"runs/{s.Value(run)}/metrics/{s.Value(metric)}", s.Value(limit), new("STEP", "step"), new("VALUE", "value"), new("TIMESTAMP", "timestampMs"))),
            new Verb("artifacts", "Lists the artifacts of a run", "slipway run artifacts 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway run artifacts 0193a7c2f0d27f3c9a41b6d0a2e5c001 --path model")
                .With(run, path, limit)
                .Does(globals, terminal, s => s.ListAsync($"runs/{s.Value(run)}/artifacts{Query.Of(("path", s.Value(path)))}", s.Value(limit), new("PATH", "path"), new("SIZE", "size"), new("FOLDER", "isDir"), new("HASH", "hash", wide: true))),
            new Verb("delete", "Deletes a run; it can be restored", "slipway run delete 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway run delete 0193a7c2f0d27f3c9a41b6d0a2e5c001 --yes")
                .With(run, dry, yes)
                .Does(globals, terminal, async s =>
                {
                    var found = await s.Client.GetAsync<JsonElement>($"runs/{s.Value(run)}", s.Stop);
                    if (await s.GoesOnAsync($"delete run {Output.Text(Output.At(found, "name"))}", dry, yes))
                    {
                        await s.Client.DeleteAsync($"runs/{s.Value(run)}", s.Stop);
                        s.Note($"deleted; undo it with: slipway run restore {s.Value(run)}");
                    }

                    return ExitCodes.Done;
                }),
            new Verb("restore", "Brings a deleted run back", "slipway run restore 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway run restore 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(run)
                .Does(globals, terminal, async s =>
                {
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"runs/{s.Value(run)}/restore", new { }, s.Stop), Columns);
                    return ExitCodes.Done;
                }),
        };
    }

    private static string Metrics(JsonElement run, string between, int most)
    {
        var metrics = Output.At(run, "metrics").EnumerateArray().ToList();
        var shown = metrics.Take(most).Select(m => $"{Output.Text(Output.At(m, "key"))} {Output.Rounded(Output.At(m, "value"))}");
        return metrics.Count == 0 ? "-" : string.Join(between, shown) + (metrics.Count > most ? ", …" : "");
    }

    private static string Pairs(JsonElement run, string member) =>
        string.Join('\n', Output.At(run, member).EnumerateArray().Select(p => $"{Output.Text(Output.At(p, "key"))} = {Output.Text(Output.At(p, "value")).Split('\n')[0]}").DefaultIfEmpty("-"));
}
