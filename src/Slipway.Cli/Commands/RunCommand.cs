using System.CommandLine;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Runs: executions of training code, with what they logged.</summary>
internal static class RunCommand
{
    private const string Example = "0193a7c2f0d27f3c9a41b6d0a2e5c001";

    private static readonly Column[] Columns =
    [
        new("RUN", "id"), new("NAME", "name"), new("STATUS", "status"), new("STARTED", "startedAt"), new("METRICS", e => Metrics(e, ", ", 4)),
        new("EXPERIMENT", "experimentId", wide: true), new("ENDED", "endedAt", wide: true), new("USER", "userId", wide: true),
    ];

    private static readonly Column[] Files = [new("PATH", "path"), new("SIZE", "size"), new("FOLDER", "isDir"), new("HASH", "hash", wide: true)];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var run = Opt.Id("run").Completes(globals, terminal, "runs", "id");
        var limit = Opt.Limit();
        var experiment = new Option<string?>("--experiment") { Description = "Only of this experiment" };
        var filter = new Option<string?>("--filter") { Description = "MLflow's filter language, for example 'metrics.auc > 0.8'" };
        var order = new Option<string?>("--order") { Description = "For example 'metrics.auc DESC'" };
        var metric = new Argument<string>("metric") { Description = "The metric's name" };
        return new Noun("run", "Executions of training code, with what they logged")
        {
            new Verb("list", "Lists runs", "slipway run list --experiment flights", "slipway run list --filter 'metrics.auc > 0.7' --order 'metrics.auc DESC'")
                .With(experiment, filter, order, limit)
                .Does(globals, terminal, s => s.ListAsync($"runs{Query.Of(("experiment", s.Value(experiment)), ("filter", s.Value(filter)), ("orderBy", s.Value(order)))}", s.Value(limit), Columns)),
            new Verb("show", "Shows a run", $"slipway run show {Example}", $"slipway run show {Example} -o json")
                .With(run)
                .Does(globals, terminal, s => s.ShowAsync(
                    $"runs/{s.About("runs", s.Value(run), "id")}",
                    [
                        .. Columns.Where(c => c.Title != "METRICS").Select(c => c with { Wide = false }),
                        new("PARAMS", e => Pairs(e, "params")), new("METRICS", e => Metrics(e, "\n", int.MaxValue)), new("TAGS", e => Pairs(e, "tags")),
                        new("INPUTS", e => string.Join('\n', Output.At(e, "inputs").EnumerateArray().Select(i => $"{Output.Text(Output.At(i, "name"))} {Output.Text(Output.At(i, "source"))}").DefaultIfEmpty("-"))),
                    ])),
            Compare(globals, terminal),
            Watch(globals, terminal),
            new Verb("metric", "Lists the points of a metric", $"slipway run metric {Example} auc", $"slipway run metric {Example} loss -o json")
                .With(run, metric, limit)
                .Does(globals, terminal, s => s.ListAsync($"runs/{s.About("runs", s.Value(run), "id")}/metrics/{s.Value(metric)}", s.Value(limit), new("STEP", "step"), new("VALUE", "value"), new("TIMESTAMP", "timestampMs"))),
            Log(globals, terminal),
            Artifact(globals, terminal),
            Delete(globals, terminal),
            Restore(globals, terminal),
        };
    }

    private static Verb Compare(Globals globals, Terminal terminal)
    {
        var runs = new Argument<string[]>("runs") { Description = "Two runs or more", Arity = new ArgumentArity(2, 20) };
        var all = new Option<bool>("--all") { Description = "Also what is equal" };
        return new Verb("compare", "Shows runs side by side, where they differ", $"slipway run compare {Example} 0193a7c2f0d27f3c9a41b6d0a2e5c002", $"slipway run compare {Example} 0193a7c2f0d27f3c9a41b6d0a2e5c002 --all -o json")
            .With(runs, all)
            .Does(globals, terminal, async s =>
            {
                var found = new List<JsonElement>();
                foreach (var id in s.Value(runs))
                {
                    found.Add(await s.Client.GetAsync<JsonElement>($"runs/{s.About("runs", id, "id")}", s.Stop));
                }

                var comparison = new SideBySide([.. found.Select(r => Output.Text(Output.At(r, "name")))]);
                comparison.Add("run", [.. found.Select(r => new Dictionary<string, string> { ["status"] = Output.Text(Output.At(r, "status")), ["user"] = Output.Text(Output.At(r, "userId")), ["started"] = Output.Text(Output.At(r, "startedAt")) })]);
                comparison.Add("param", [.. found.Select(r => SideBySide.Pairs(r, "params"))]);
                comparison.Add("metric", [.. found.Select(r => SideBySide.Pairs(r, "metrics", rounded: true))]);
                return comparison.Show(s, s.Value(all));
            });
    }

    private static Verb Watch(Globals globals, Terminal terminal)
    {
        var run = Opt.Id("run").Completes(globals, terminal, "runs", "id");
        var timeout = new Option<string>("--timeout") { Description = "How long at most, for example 90s or 2h", DefaultValueFactory = _ => "7d" };
        return new Verb("watch", "Follows a run until it has ended; exit code 1 when it failed", $"slipway run watch {Example}", $"slipway run watch {Example} --timeout 2h")
            .With(run, timeout)
            .Does(globals, terminal, async s =>
            {
                var id = s.About("runs", s.Value(run), "id");
                var ended = await s.WaitAsync(
                    () => s.Client.GetAsync<JsonElement>($"runs/{id}", s.Stop),
                    r => $"{Output.Text(Output.At(r, "status"))}  {Metrics(r, ", ", 6)}",
                    r => Status(r) is not ("running" or "scheduled"),
                    Duration.Parse(s.Value(timeout)!, "--timeout"));
                s.Out.One(ended, Columns);
                return Status(ended) == "finished" ? ExitCodes.Done : ExitCodes.Failed;
            });
    }

    private static Noun Log(Globals globals, Terminal terminal)
    {
        var run = Opt.Id("run").Completes(globals, terminal, "runs", "id");
        var pairs = new Argument<string[]>("values") { Description = "As name=value", Arity = ArgumentArity.OneOrMore };
        var step = new Option<long>("--step") { Description = "The training step" };
        var dry = Opt.DryRun();
        return new Noun("log", "Adds to a run", counted: false)
        {
            new Verb("params", "Logs parameters, which cannot change afterwards", $"slipway run log params {Example} trees=100 learning_rate=0.1", $"slipway run log params {Example} trainer=lightgbm --dry-run")
                .With(run, pairs, dry)
                .Does(globals, terminal, async s =>
                {
                    var values = s.Value(pairs).Select(Pair).ToList();
                    if (!s.Rehearses($"log {values.Count} parameters to run {s.Value(run)}", dry))
                    {
                        await s.Client.LogAsync(s.About("runs", s.Value(run), "id"), [], 0, values, s.Terminal.Clock.GetUtcNow(), s.Stop);
                        s.Note($"logged {values.Count} parameters");
                    }

                    return ExitCodes.Done;
                }),
            new Verb("metrics", "Logs values of metrics", $"slipway run log metrics {Example} loss=0.12 auc=0.91 --step 10", $"slipway run log metrics {Example} loss=NaN")
                .With(run, pairs, step, dry)
                .Does(globals, terminal, async s =>
                {
                    var values = s.Value(pairs).Select(Pair).Select(p => KeyValuePair.Create(p.Key, Number(p.Key, p.Value))).ToList();
                    if (!s.Rehearses($"log {values.Count} metrics to run {s.Value(run)}", dry))
                    {
                        await s.Client.LogAsync(s.About("runs", s.Value(run), "id"), values, s.Value(step), [], s.Terminal.Clock.GetUtcNow(), s.Stop);
                        s.Note($"logged {values.Count} metrics");
                    }

                    return ExitCodes.Done;
                }),
        };
    }

    private static Noun Artifact(Globals globals, Terminal terminal)
    {
        var run = Opt.Id("run").Completes(globals, terminal, "runs", "id");
        var folder = new Option<string?>("--path") { Description = "A folder of artifacts" };
        var limit = Opt.Limit();
        var path = new Argument<string>("path") { Description = "A file, or a folder with everything in it" };
        var to = new Option<string>("--to") { Description = "The folder to save to; - prints a file", DefaultValueFactory = _ => "." };
        var file = new Argument<string>("file") { Description = "The local file" };
        var name = new Option<string?>("--as") { Description = "Its path in the run; the file's name unless given" };
        var dry = Opt.DryRun();
        return new Noun("artifact", "Files of a run")
        {
            new Verb("list", "Lists what lies in a folder", $"slipway run artifact list {Example}", $"slipway run artifact list {Example} --path model")
                .With(run, folder, limit)
                .Does(globals, terminal, s => s.ListAsync($"runs/{s.About("runs", s.Value(run), "id")}/artifacts{Query.Of(("path", s.Value(folder)))}", s.Value(limit), Files)),
            new Verb("get", "Downloads a file or a folder", $"slipway run artifact get {Example} model --to ./model", $"slipway run artifact get {Example} metrics.json --to -")
                .With(run, path, to)
                .Does(globals, terminal, s => GetAsync(s, s.About("runs", s.Value(run), "id"), s.Value(path).Trim('/'), s.Value(to)!)),
            new Verb("put", "Uploads a file", $"slipway run artifact put {Example} plot.png", $"slipway run artifact put {Example} plot.png --as plots/roc.png")
                .With(run, file, name, dry)
                .Does(globals, terminal, async s =>
                {
                    await using var content = File.OpenRead(s.Value(file));
                    var target = s.Value(name) ?? Path.GetFileName(s.Value(file));
                    if (!s.Rehearses($"store {content.Length} bytes as {target} in run {s.Value(run)}", dry))
                    {
                        await s.Client.PutRunArtifactAsync(s.About("runs", s.Value(run), "id"), target, content, s.Stop);
                        s.Note($"stored {target}");
                    }

                    return ExitCodes.Done;
                }),
        };
    }

    private static async Task<int> GetAsync(Session s, string run, string path, string to)
    {
        var (inside, _) = await s.Client.ListAsync<JsonElement>($"runs/{run}/artifacts{Query.Of(("path", path))}", int.MaxValue, s.Stop);
        if (inside.Count == 0)
        {
            await using var content = await OpenAsync(s, run, path);
            if (to == "-")
            {
                using var reader = new StreamReader(content);
                await s.Terminal.Out.WriteAsync(await reader.ReadToEndAsync(s.Stop));
                return ExitCodes.Done;
            }

            s.Note($"saved {Path.GetRelativePath(Path.GetFullPath(to), await Download.SaveAsync(s, content, to, path[(path.LastIndexOf('/') + 1)..], hash: null))}");
            return ExitCodes.Done;
        }

        if (to == "-")
        {
            throw new CliException(ExitCodes.Usage, $"{path} cannot be printed", "it is a folder", "save it with --to FOLDER");
        }

        await SaveFolderAsync(s, run, path.Length == 0 ? 0 : path.Length + 1, inside, to);
        return ExitCodes.Done;
    }

    private static async Task SaveFolderAsync(Session s, string run, int prefix, IReadOnlyList<JsonElement> inside, string to)
    {
        foreach (var entry in inside)
        {
            var path = Output.At(entry, "path").GetString()!;
            if (Output.At(entry, "isDir").ValueKind == JsonValueKind.True)
            {
                var (below, _) = await s.Client.ListAsync<JsonElement>($"runs/{run}/artifacts{Query.Of(("path", path))}", int.MaxValue, s.Stop);
                await SaveFolderAsync(s, run, prefix, below, to);
            }
            else
            {
                await using var content = await s.Client.OpenAsync(FileOf(run, path), s.Stop);
                await Download.SaveAsync(s, content, to, path[prefix..], Output.At(entry, "hash").GetString());
                s.Note($"saved {path[prefix..]}");
            }
        }
    }

    private static async Task<Stream> OpenAsync(Session s, string run, string path)
    {
        try
        {
            return await s.Client.OpenAsync(FileOf(run, path), s.Stop);
        }
        catch (SlipwayClientException e) when (e.Code == "notFound")
        {
            throw new CliException(ExitCodes.NotFound, $"artifact \"{path}\" does not exist", "the run has no file or folder of that name", $"slipway run artifact list {run}");
        }
    }

    /// <summary>The address of a file: each part of its path is escaped by itself.</summary>
    private static FormattableString FileOf(string run, string path)
    {
        object[] parts = [run, .. path.Split('/')];
        return FormattableStringFactory.Create("runs/{0}/artifacts/" + string.Join('/', Enumerable.Range(1, parts.Length - 1).Select(i => $"{{{i}}}")), parts);
    }

    private static Verb Delete(Globals globals, Terminal terminal)
    {
        var run = Opt.Id("run").Completes(globals, terminal, "runs", "id");
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        return new Verb("delete", "Moves a run to the trash", $"slipway run delete {Example}", $"slipway run delete {Example} --yes")
            .With(run, dry, yes)
            .Does(globals, terminal, async s =>
            {
                var found = await s.Client.GetAsync<JsonElement>($"runs/{s.About("runs", s.Value(run), "id")}", s.Stop);
                if (await s.GoesOnAsync($"delete run {Output.Text(Output.At(found, "name"))}", dry, yes))
                {
                    await s.Client.DeleteAsync($"runs/{s.Value(run)}", s.Stop);
                    s.Note($"deleted; undo it with: slipway run restore {s.Value(run)}");
                }

                return ExitCodes.Done;
            });
    }

    private static Verb Restore(Globals globals, Terminal terminal)
    {
        var run = Opt.Id("run");
        var dry = Opt.DryRun();
        return new Verb("restore", "Brings a deleted run back", $"slipway run restore {Example}", $"slipway run restore {Example} -o json")
            .With(run, dry)
            .Does(globals, terminal, async s =>
            {
                if (!s.Rehearses($"restore run {s.Value(run)}", dry))
                {
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"runs/{s.Value(run)}/restore", new { }, s.Stop), Columns);
                }

                return ExitCodes.Done;
            });
    }

    private static KeyValuePair<string, string> Pair(string text) => text.IndexOf('=', StringComparison.Ordinal) is > 0 and var at
        ? KeyValuePair.Create(text[..at], text[(at + 1)..])
        : throw new CliException(ExitCodes.Usage, "nothing was logged", $"\"{text}\" is not name=value", "write for example auc=0.91");

    private static double Number(string name, string text) => double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number)
        ? number
        : throw new CliException(ExitCodes.Usage, "nothing was logged", $"{name} is \"{text}\", which is no number", "write for example auc=0.91, or NaN");

    private static string Status(JsonElement run) => Output.Text(Output.At(run, "status")).ToLowerInvariant();

    private static string Metrics(JsonElement run, string between, int most)
    {
        var metrics = Output.At(run, "metrics").EnumerateArray().ToList();
        var shown = metrics.Take(most).Select(m => $"{Output.Text(Output.At(m, "key"))} {Output.Rounded(Output.At(m, "value"))}");
        return metrics.Count == 0 ? "-" : string.Join(between, shown) + (metrics.Count > most ? ", …" : "");
    }

    private static string Pairs(JsonElement run, string member) =>
        string.Join('\n', Output.At(run, member).EnumerateArray().Select(p => $"{Output.Text(Output.At(p, "key"))} = {Output.Text(Output.At(p, "value")).Split('\n')[0]}").DefaultIfEmpty("-"));
}
