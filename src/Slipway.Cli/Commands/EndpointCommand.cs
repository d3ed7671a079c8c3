using System.CommandLine;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Endpoints: where predictions are asked for.</summary>
internal static class EndpointCommand
{
    private static readonly Column[] Columns =
    [
        new("NAME", "name"), new("SERVES", e => Variants(e)), new("READY", e => Output.At(e, "ready").ValueKind == JsonValueKind.True ? "ready" : "not ready: " + Output.Text(Output.At(e, "why"))),
        new("POLICY", "policy"), new("UPDATED", "updatedAt"), new("REVISION", "route.revision", wide: true), new("LOGGED", "route.logPredictions", wide: true), new("CREATED", "createdAt", wide: true), new("BY", "createdBy", wide: true),
    ];

    public static Command Build(Globals globals, Terminal terminal) => new Noun("endpoint", "Where predictions are asked for")
    {
        List(globals, terminal),
        Create(globals, terminal),
        Show(globals, terminal),
        Weights(globals, terminal),
        Shadow(globals, terminal),
        Explain(globals, terminal),
        Infer(globals, terminal),
        Predictions(globals, terminal),
        Deploy(globals, terminal),
        Delete(globals, terminal),
    };

    private static Verb List(Globals globals, Terminal terminal)
    {
        var limit = Opt.Limit();
        return new Verb("list", "Lists endpoints", "slipway endpoint list", "slipway endpoint list -o wide").With(limit)
            .Does(globals, terminal, s => s.ListAsync($"endpoints", s.Value(limit), Columns));
    }

    private static Verb Create(Globals globals, Terminal terminal)
    {
        var endpoint = Opt.Name("endpoint");
        var version = new Option<string?>("--version") { Description = "What it serves first, for example flights/7 or flights@champion" };
        var onnx = new Option<string?>("--onnx") { Description = "A model file, or a folder that holds one (as MLflow writes it): registered first, under the endpoint's name", HelpName = "file" };
        var model = new Option<string?>("--model") { Description = "Under which name --onnx is registered" };
        var policy = new Option<string?>("--policy") { Description = "The policy that every version must have passed" };
        var noLog = new Option<bool>("--no-log") { Description = "Do not keep predictions" };
        var (wait, timeout) = (Opt.Wait(), Opt.Timeout());
        return new Verb("create", "Makes an endpoint", "slipway endpoint create late --version flights/7", "slipway endpoint create iris --onnx iris.onnx --wait")
            .With(endpoint, version, onnx, model, policy, noLog, wait, timeout)
            .Does(globals, terminal, async s =>
            {
                var name = s.Value(endpoint);
                var modelVersion = (s.Value(version), s.Value(onnx)) switch
                {
                    ({ } given, null) => given,
                    (null, { } file) => await ModelUpload.RegisterAsync(s, name, s.Value(model) ?? name, file),
                    _ => throw new CliException(ExitCodes.Usage, "slipway endpoint create cannot be run", "it needs either --version or --onnx", "slipway endpoint create --help"),
                };
                var made = await s.Client.PostAsync<JsonElement>($"endpoints", new { name, modelVersion, policy = s.Value(policy), logPredictions = !s.Value(noLog) }, s.Stop);
                if (s.Value(wait))
                {
                    made = await s.WaitAsync(() => s.Client.GetAsync<JsonElement>($"endpoints/{name}", s.Stop), e => Columns[2].Of(e), e => Output.At(e, "ready").ValueKind == JsonValueKind.True, Duration.Parse(s.Value(timeout)!, "--timeout"));
                }

                s.Out.One(made, Columns);
                return ExitCodes.Done;
            });
    }

    private static Verb Show(Globals globals, Terminal terminal)
    {
        var endpoint = Opt.Name("endpoint");
        return new Verb("show", "Shows an endpoint", "slipway endpoint show late", "slipway endpoint show late -o json").With(endpoint)
            .Does(globals, terminal, s => s.ShowAsync($"endpoints/{s.About("endpoints", s.Value(endpoint))}", [.. Columns.Select(c => c with { Wide = false })]));
    }

    private static Verb Weights(Globals globals, Terminal terminal)
    {
        var endpoint = Opt.Name("endpoint");
        var minutes = new Option<int>("--minutes") { Description = "Over how many minutes", DefaultValueFactory = _ => 5 };
        return new Verb("weights", "Shows each variant's share, set and actual, with its health", "slipway endpoint weights late", "slipway endpoint weights late --minutes 15 -o json")
            .With(endpoint, minutes)
            .Does(globals, terminal, async s =>
            {
                var shares = await s.Client.GetAsync<JsonElement>($"endpoints/{s.About("endpoints", s.Value(endpoint))}/shares{Query.Of(("minutes", s.Value(minutes)))}", s.Stop);
                s.Out.List(
                    [.. Output.At(shares, "items").EnumerateArray()], more: false,
                    new("VARIANT", "name"), new("VERSION", "modelVersion"), new("SET %", "percent"), new("ACTUAL %", e => Output.Rounded(Output.At(e, "actual"))), new("REQUESTS", "requests"), new("ERRORS", "errors"),
                    new("P50", e => Micros(e, "p50Micros")), new("P95", e => Micros(e, "p95Micros")), new("P99", e => Micros(e, "p99Micros")));
                return ExitCodes.Done;
            });
    }

    private static Verb Shadow(Globals globals, Terminal terminal)
    {
        var endpoint = Opt.Name("endpoint");
        var minutes = new Option<int>("--minutes") { Description = "Over how many minutes latency is measured", DefaultValueFactory = _ => 5 };
        return new Verb("shadow", "Shows what became of the copies that mirrors got", "slipway endpoint shadow late", "slipway endpoint shadow late -o json")
            .With(endpoint, minutes)
            .Does(globals, terminal, async s =>
            {
                var shadow = await s.Client.GetAsync<JsonElement>($"endpoints/{s.About("endpoints", s.Value(endpoint))}/shadow{Query.Of(("minutes", s.Value(minutes)))}", s.Stop);
                s.Out.List(
                    [.. Output.At(shadow, "items").EnumerateArray()], more: false,
                    new("VARIANT", "variant"), new("VERSION", "modelVersion"), new("COPIES %", "percent"), new("ANSWERED", "answered"), new("FAILED", "failed"), new("DROPPED", "dropped"), new("WAITING", "queued"),
                    new("P50", e => Micros(e, "p50Micros")), new("P99", e => Micros(e, "p99Micros")));
                return ExitCodes.Done;
            });
    }

    private static Verb Explain(Globals globals, Terminal terminal)
    {
        var endpoint = Opt.Name("endpoint");
        var key = new Argument<string>("key") { Description = "The entity key that a request carries" };
        var header = new Option<string[]>("--header", "-H") { Description = "What the request carries besides, as 'name: value'" };
        return new Verb("explain", "Shows which variant an entity sees, and why", "slipway endpoint explain late customer-7", "slipway endpoint explain late customer-7 --header 'x-group: beta'")
            .With(endpoint, key, header)
            .Does(globals, terminal, async s =>
            {
                var query = string.Concat((s.Value(header) ?? []).Select(h => $"&header={Uri.EscapeDataString(h)}"));
                var seen = await s.Client.GetAsync<JsonElement>($"endpoints/{s.About("endpoints", s.Value(endpoint))}/assignment{Query.Of(("key", s.Value(key)))}{query}", s.Stop);
                s.Out.One(
                    seen, new("KEY", "key"), new("VARIANT", "variant.name"), new("VERSION", "variant.modelVersion"), new("REASON", "reason"), new("WHY", "why"), new("SLOT", "slot"), new("REVISION", "revision"), new("ROLLOUT", "rollout"));
                return ExitCodes.Done;
            });
    }

    private static Verb Infer(Globals globals, Terminal terminal)
    {
        var endpoint = Opt.Name("endpoint");
        var file = new Argument<string>("file") { Description = "A request of the Open Inference Protocol, or - for standard input", DefaultValueFactory = _ => "-" };
        var csv = new Option<bool>("--csv") { Description = "The file is a table: a header line with the names of the inputs (or of the features), then a row a prediction" };
        return new Verb("infer", "Asks for a prediction", "slipway endpoint infer late request.json", "slipway endpoint infer late rows.csv --csv -o json")
            .With(endpoint, file, csv)
            .Does(globals, terminal, async s =>
            {
                var text = await Input.ReadAsync(s, s.Value(file));
                if (s.Value(csv))
                {
                    text = CsvRequest.Of(text, await s.Client.GetAsync<JsonElement>($"endpoints/{s.About("endpoints", s.Value(endpoint))}/signature", s.Stop));
                }

                using var body = new ByteArrayContent(Encoding.UTF8.GetBytes(text));
                body.Headers.ContentType = new MediaTypeHeaderValue("application/json");
                var answer = await s.Client.InferAsync(s.About("endpoints", s.Value(endpoint)), body, s.Stop);
                s.Out.One(
                    answer,
                    new("PREDICTION", "id"), new("VERSION", e => $"{Output.Text(Output.At(e, "model_name"))} {Output.Text(Output.At(e, "model_version"))}"),
                    new("OUTPUTS", e => string.Join('\n', Output.At(e, "outputs").EnumerateArray().Select(o => $"{Output.Text(Output.At(o, "name"))}  {Output.Text(Output.At(o, "datatype"))}  [{Output.Text(Output.At(o, "shape"))}]  {Output.Text(Output.At(o, "data"))}"))));
                return ExitCodes.Done;
            });
    }

    private static Verb Predictions(Globals globals, Terminal terminal)
    {
        var endpoint = Opt.Name("endpoint");
        var from = new Option<string?>("--from") { Description = "Event time from, for example 2026-01-31T12:00:00Z" };
        var to = new Option<string?>("--to") { Description = "Event time before" };
        var limit = Opt.Limit();
        return new Verb("predictions", "Lists logged predictions, newest first", "slipway endpoint predictions late --limit 20", "slipway endpoint predictions late --from 2026-01-01 -o json")
            .With(endpoint, from, to, limit)
            .Does(globals, terminal, async s =>
            {
                await s.Client.GetAsync<JsonElement>($"endpoints/{s.About("endpoints", s.Value(endpoint))}", s.Stop);
                return await s.ListAsync(
                    $"endpoints/{s.Value(endpoint)}/predictions{Query.Of(("from", s.Value(from)), ("to", s.Value(to)))}", s.Value(limit),
                    new("PREDICTION", "id"), new("AT", "at"), new("VARIANT", "variant"), new("VERSION", "modelVersion"), new("STATUS", "status"), new("LATENCY", e => Micros(e, "latencyMicros")),
                    new("OUTPUTS", "outputs"), new("ENTITY", "entityKey", wide: true), new("FEATURES", "features", wide: true));
            });
    }

    private static Verb Deploy(Globals globals, Terminal terminal)
    {
        var endpoint = Opt.Name("endpoint");
        var version = new Argument<string>("version") { Description = "For example flights/6" };
        var because = new Option<string>("--because", "-m") { Description = "Why", Required = true };
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        return new Verb("deploy", "Gives all traffic to a version at once, without steps", "slipway endpoint deploy late flights/6 --because 'back to the last good one'", "slipway endpoint deploy late flights/6 -m 'incident 12' --yes")
            .With(endpoint, version, because, dry, yes)
            .Does(globals, terminal, async s =>
            {
                var present = await s.Client.GetAsync<JsonElement>($"endpoints/{s.About("endpoints", s.Value(endpoint))}", s.Stop);
                if (await s.GoesOnAsync($"give all traffic of {s.Value(endpoint)} to {s.Value(version)} (now {Variants(present)})", dry, yes))
                {
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"endpoints/{s.Value(endpoint)}/deploy", new { modelVersion = s.Value(version), cause = s.Value(because) }, s.Stop), Columns);
                }

                return ExitCodes.Done;
            });
    }

    private static Verb Delete(Globals globals, Terminal terminal)
    {
        var endpoint = Opt.Name("endpoint");
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        return new Verb("delete", "Removes an endpoint", "slipway endpoint delete late", "slipway endpoint delete late --dry-run").With(endpoint, dry, yes)
            .Does(globals, terminal, async s =>
            {
                var present = await s.Client.GetAsync<JsonElement>($"endpoints/{s.About("endpoints", s.Value(endpoint))}", s.Stop);
                if (await s.GoesOnAsync($"remove endpoint {s.Value(endpoint)}, which serves {Variants(present)}", dry, yes))
                {
                    await s.Client.DeleteAsync($"endpoints/{s.Value(endpoint)}", s.Stop);
                    s.Note("removed");
                }

                return ExitCodes.Done;
            });
    }

    public static string Micros(JsonElement e, string member) => Output.Number(Output.At(e, member)) is { } micros ? FormattableString.Invariant($"{micros / 1000:0.##} ms") : "-";

    private static string Variants(JsonElement endpoint) =>
        string.Join(", ", Output.At(endpoint, "route.variants").EnumerateArray().Select(v => $"{Output.Text(Output.At(v, "modelVersion"))} {Output.Text(Output.At(v, "percent"))} %"));
}
