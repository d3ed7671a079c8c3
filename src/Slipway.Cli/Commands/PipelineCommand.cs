using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Pipelines and their runs.</summary>
internal static class PipelineCommand
{
    private static readonly Column[] Columns = [new("NAME", "name"), new("VERSION", "version"), new("STEPS", e => Steps(Output.At(e, "spec.steps"))), new("SINCE", "appliedAt"), new("BY", "appliedBy"), new("DIGEST", "digest", wide: true)];

    private static readonly Column[] Runs =
    [
        new("RUN", "id"), new("PIPELINE", "pipeline"), new("STATE", "state"), new("STARTED", "createdAt"), new("FINISHED", "finishedAt"), new("BECAUSE", e => Because(e)), new("MADE", "modelVersion"), new("ERROR", "error", wide: true),
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var of = new Option<string?>("--pipeline") { Description = "Only of this pipeline" };
        var run = Opt.Id("run");
        var limit = Opt.Limit();
        var file = new Option<string>("--file", "-f") { Description = "The pipeline as JSON, or - for standard input", Required = true };
        return new Noun("pipeline", "Steps from data to a proposed version")
        {
            new Verb("list", "Lists pipelines", "slipway pipeline list", "slipway pipeline list -o wide")
                .With(limit)
                .Does(globals, terminal, s => s.ListAsync($"pipelines", s.Value(limit), Columns)),
            new Verb("apply", "Makes or changes a pipeline", "slipway pipeline apply -f retrain.json", "cat retrain.json | slipway pipeline apply -f -")
                .With(file)
                .Does(globals, terminal, async s =>
                {
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"pipelines", JsonSerializer.Deserialize<JsonElement>(await Input.ReadAsync(s, s.Value(file)!), SlipwayClient.Json), s.Stop), Columns);
                    return ExitCodes.Done;
                }),
            Run(globals, terminal),
            new Verb("runs", "Lists runs, newest first", "slipway pipeline runs", "slipway pipeline runs --pipeline retrain -o wide")
                .With(of, limit)
                .Does(globals, terminal, s => s.ListAsync($"pipeline-runs{Query.Of(("pipeline", s.Value(of)))}", s.Value(limit), Runs)),
            new Verb("show", "Shows a run and its steps", "slipway pipeline show 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway pipeline show 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(run)
                .Does(globals, terminal, async s =>
                {
                    s.Out.One(await WithStepsAsync(s, s.About("pipeline-runs", s.Value(run), "id")), All);
                    return ExitCodes.Done;
                }),
            Cancel(globals, terminal),
        };
    }

    private static Column[] All => [.. Runs.Select(c => c with { Wide = false }), new("STEPS", e => string.Join('\n', Output.At(e, "steps").EnumerateArray().Select(Step)))];

    private static Verb Run(Globals globals, Terminal terminal)
    {
        var pipeline = Opt.Name("pipeline");
        var set = new Option<string[]>("--set") { Description = "A parameter in place of the pipeline's, for example train.seed=7; may be repeated" };
        var (wait, timeout) = (Opt.Wait(), Opt.Timeout());
        return new Verb("run", "Starts a run", "slipway pipeline run retrain", "slipway pipeline run retrain --set train.from=2001-01-01T00:00:00Z --wait --timeout 1h")
            .With(pipeline, set, wait, timeout)
            .Does(globals, terminal, async s =>
            {
                var parameters = (s.Value(set) ?? []).Select(p => p.Split('=', 2)).ToDictionary(p => p[0], p => Parameter(p), StringComparer.Ordinal);
                var started = await s.Client.PostAsync<JsonElement>($"pipelines/{s.About("pipelines", s.Value(pipeline))}/runs", new { parameters }, s.Stop);
                var id = Output.Text(Output.At(started, "id"));
                if (s.Value(wait))
                {
                    started = await s.WaitAsync(
                        () => WithStepsAsync(s, id), r => Output.At(r, "steps").EnumerateArray().Select(Step).LastOrDefault(t => !t.StartsWith("pending", StringComparison.Ordinal)) ?? State(r), r => State(r) != "running", Duration.Parse(s.Value(timeout)!, "--timeout"));
                }

                s.Out.One(started, Runs);
                return State(started) is "running" or "succeeded" ? ExitCodes.Done : State(started) == "rejected" ? ExitCodes.Conflict : ExitCodes.Failed;
            });
    }

    private static Verb Cancel(Globals globals, Terminal terminal)
    {
        var run = Opt.Id("run");
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        return new Verb("cancel", "Stops a run", "slipway pipeline cancel 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway pipeline cancel 0193a7c2f0d27f3c9a41b6d0a2e5c001 --yes")
            .With(run, dry, yes)
            .Does(globals, terminal, async s =>
            {
                var now = await s.Client.GetAsync<JsonElement>($"pipeline-runs/{s.About("pipeline-runs", s.Value(run), "id")}", s.Stop);
                if (await s.GoesOnAsync($"stop the run of {Output.Text(Output.At(now, "pipeline"))}, which is {State(now)}", dry, yes))
                {
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"pipeline-runs/{s.Value(run)}/cancel", new { }, s.Stop), Runs);
                }

                return ExitCodes.Done;
            });
    }

    /// <summary>The run with a member for its steps.</summary>
    private static async Task<JsonElement> WithStepsAsync(Session s, string id)
    {
        var run = await s.Client.GetAsync<JsonElement>($"pipeline-runs/{id}", s.Stop);
        var members = run.EnumerateObject().ToDictionary(p => p.Name, p => p.Value, StringComparer.Ordinal);
        members["steps"] = Output.At(await s.Client.GetAsync<JsonElement>($"pipeline-runs/{id}/steps", s.Stop), "items");
        return JsonSerializer.SerializeToElement(members, SlipwayClient.Json);
    }

    /// <summary>JSON where it is JSON, else text.</summary>
    private static object Parameter(string[] parts)
    {
        if (parts.Length != 2)
        {
            throw new CliException(ExitCodes.Usage, "the parameter cannot be read", $"\"{parts[0]}\" has no value", "write for example --set train.seed=7");
        }

        try
        {
            return JsonSerializer.Deserialize<JsonElement>(parts[1]);
        }
        catch (JsonException)
        {
            // Words need no quotes on a command line.
            return parts[1];
        }
    }

    private static string State(JsonElement run) => Output.Text(Output.At(run, "state"));

    private static string Because(JsonElement run) => Output.At(run, "trigger") is { ValueKind: JsonValueKind.String } trigger ? $"trigger {trigger.GetString()}: {Output.Text(Output.At(run, "causes"))}" : Output.Text(Output.At(run, "startedBy"));

    private static string Steps(JsonElement steps) => string.Join(" > ", steps.EnumerateArray().Select(s => Output.Text(Output.At(s, "name"))));

    private static string Step(JsonElement step)
    {
        var (done, total) = (Output.Number(Output.At(step, "done")), Output.Number(Output.At(step, "total")));
        var share = done is not null && total > 0 ? string.Create(CultureInfo.InvariantCulture, $" {100 * done / total:0} %") : "";
        var words = Output.At(step, "error") is { ValueKind: JsonValueKind.String } error ? ": " + error.GetString() : Output.At(step, "progress") is { ValueKind: JsonValueKind.String } progress ? ": " + progress.GetString() : "";
        return $"{State(step)}{share}  {Output.Text(Output.At(step, "name"))}{words}";
    }
}
