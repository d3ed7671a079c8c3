using System.CommandLine;
using System.Globalization;
using System.Net.Http.Headers;
using System.Reflection;
using System.Text;
using System.Text.Json;

namespace Slipway.Cli.Commands;

/// <summary>Model versions; without a verb, the version of this program.</summary>
internal static class VersionCommand
{
    public static readonly Column[] Columns =
    [
        new("VERSION", e => $"{Output.Text(Output.At(e, "name"))}/{Output.Text(Output.At(e, "version"))}"), new("ALIASES", "aliases"), new("STATUS", "status"), new("CREATED", "createdAt"), new("BY", "createdBy"),
        new("RUN", "runId", wide: true), new("SOURCE", "source", wide: true), new("DESCRIPTION", "description", wide: true),
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var version = new Argument<string>("version") { Description = "For example flights/7 or flights@champion" };
        var model = Opt.Name("model").Completes(globals, terminal, "models");
        var dry = Opt.DryRun();
        var source = new Option<string>("--source") { Description = "Where its files are: runs:/ID/path, models:/NAME/VERSION or an artifact address", Required = true };
        var run = new Option<string?>("--run") { Description = "The run that made it" };
        var description = new Option<string?>("--description") { Description = "What is new" };
        var noun = new Noun("version", "Model versions; alone: the version of this program")
        {
            new Verb("show", "Shows a version", "slipway version show flights/7", "slipway version show flights@champion -o json")
                .With(version)
                .Does(globals, terminal, async s =>
                {
                    var (name, reference) = Split(s.Value(version));
                    return await s.ShowAsync(
                        $"models/{s.About("models", name)}/versions/{reference}",
                        [.. Columns.Select(c => c with { Wide = false }), new("INPUTS", e => Tensors(e, "inputs")), new("OUTPUTS", e => Tensors(e, "outputs")), new("FILES", Files), new("TAGS", "tags")]);
                }),
            new Verb("register", "Registers the next version of a model", "slipway version register flights --source runs:/0193a7c2f0d27f3c9a41b6d0a2e5c001/model", "slipway version register flights --source models:/flights/6 --description 'again'")
                .With(model, source, run, description, dry)
                .Does(globals, terminal, async s =>
                {
                    if (!s.Rehearses($"register {s.Value(source)} as the next version of model {s.Value(model)}", dry))
                    {
                        s.Out.One(
                            await s.Client.PostAsync<JsonElement>($"models/{s.About("models", s.Value(model))}/versions", new { source = s.Value(source), runId = s.Value(run), description = s.Value(description) }, s.Stop),
                            Columns);
                    }

                    return ExitCodes.Done;
                }),
            Compare(globals, terminal),
            Save(globals, terminal),
            Try(globals, terminal),
        };
        noun.SetAction(_ =>
        {
            terminal.Out.WriteLine($"slipway {typeof(VersionCommand).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0]}");
            return ExitCodes.Done;
        });
        return noun;
    }

    private static Verb Compare(Globals globals, Terminal terminal)
    {
        var versions = new Argument<string[]>("versions") { Description = "Two versions or more", Arity = new ArgumentArity(2, 20) };
        var all = new Option<bool>("--all") { Description = "Also what is equal" };
        return new Verb("compare", "Shows versions and the runs they came from side by side, where they differ", "slipway version compare flights/6 flights/7", "slipway version compare flights@champion flights/8 --all -o json")
            .With(versions, all)
            .Does(globals, terminal, async s =>
            {
                var (found, runs) = (new List<JsonElement>(), new List<JsonElement>());
                foreach (var text in s.Value(versions))
                {
                    var (name, reference) = Split(text);
                    found.Add(await s.Client.GetAsync<JsonElement>($"models/{s.About("models", name)}/versions/{reference}", s.Stop));
                    runs.Add(Output.At(found[^1], "runId") is { ValueKind: JsonValueKind.String } run ? await s.Client.GetAsync<JsonElement>($"runs/{run.GetString()}", s.Stop) : default);
                }

                var comparison = new SideBySide([.. found.Select(v => Columns[0].Of(v))]);
                comparison.Add("version", [.. found.Select(v => Columns.Skip(1).Where(c => c.Title is not ("RUN" or "SOURCE" or "CREATED")).ToDictionary(c => c.Title.ToLowerInvariant(), c => c.Of(v)))]);
                comparison.Add("signature", [.. found.Select(v => new Dictionary<string, string> { ["inputs"] = Tensors(v, "inputs").Replace('\n', ';'), ["outputs"] = Tensors(v, "outputs").Replace('\n', ';') })]);
                comparison.Add("file", [.. found.Select(v => Output.At(v, "files").EnumerateArray().ToDictionary(f => Output.Text(Output.At(f, "path")), f => $"{Output.Text(Output.At(f, "size"))} bytes {Output.Text(Output.At(f, "hash"))[..12]}"))]);
                comparison.Add("param", [.. runs.Select(r => SideBySide.Pairs(r, "params"))]);
                comparison.Add("metric", [.. runs.Select(r => SideBySide.Pairs(r, "metrics", rounded: true))]);
                return comparison.Show(s, s.Value(all));
            });
    }

    private static Verb Save(Globals globals, Terminal terminal)
    {
        var version = new Argument<string>("version") { Description = "For example flights/7 or flights@champion" };
        var to = new Option<string>("--to") { Description = "The folder to save to", DefaultValueFactory = _ => "." };
        return new Verb("download", "Saves the files of a version, each checked against its hash", "slipway version download flights/7 --to ./model", "slipway version download flights@champion")
            .With(version, to)
            .Does(globals, terminal, async s =>
            {
                var (name, reference) = Split(s.Value(version));
                var found = await s.Client.GetAsync<JsonElement>($"models/{s.About("models", name)}/versions/{reference}", s.Stop);
                foreach (var file in Output.At(found, "files").EnumerateArray())
                {
                    var path = Output.At(file, "path").GetString()!;
                    await using var content = await s.Client.OpenVersionFileAsync(name, Output.Text(Output.At(found, "version")), path, s.Stop);
                    await Download.SaveAsync(s, content, s.Value(to)!, path, Output.At(file, "hash").GetString());
                    s.Note($"saved {path}");
                }

                return ExitCodes.Done;
            });
    }

    private static Verb Try(Globals globals, Terminal terminal)
    {
        var version = new Argument<string>("version") { Description = "For example flights/7 or flights@champion" };
        var input = new Option<string>("--input", "-i") { Description = "A request of the Open Inference Protocol, or - for standard input", Required = true, HelpName = "file" };
        var csv = new Option<bool>("--csv") { Description = "The file is a table: a header line with the names of the inputs (or of the features), then a row a prediction; so is every file that ends in .csv" };
        return new Verb("try", "Runs one request through a version that need not be deployed, in a process of its own", "slipway version try flights/7 --input request.json", "slipway version try flights@champion --input rows.csv -o json")
            .With(version, input, csv)
            .Does(globals, terminal, async s =>
            {
                var (name, reference) = Split(s.Value(version));
                var file = s.Value(input)!;
                var text = await Input.ReadAsync(s, file);
                if (s.Value(csv) || file.EndsWith(".csv", StringComparison.OrdinalIgnoreCase))
                {
                    text = CsvRequest.Of(text, await s.Client.GetAsync<JsonElement>($"models/{s.About("models", name)}/versions/{reference}/signature", s.Stop));
                }

                using var body = new ByteArrayContent(Encoding.UTF8.GetBytes(text));
                body.Headers.ContentType = new MediaTypeHeaderValue("application/json");
                var answer = await s.Client.PostAsync<JsonElement>($"models/{s.About("models", name)}/versions/{reference}/try", body, s.Stop);
                if (s.Out.IsTable)
                {
                    Predictions(s, answer);
                    s.Note($"{Output.Text(Output.At(answer, "modelVersion"))} answered in {Millis(answer, "latencyMillis")}; it was loaded in {Millis(answer, "loadMillis")}, in a process of its own");
                }
                else
                {
                    s.Out.One(answer, new Column("VERSION", "modelVersion"));
                }

                return ExitCodes.Done;
            });
    }

    /// <summary>Outputs with the same rows side by side, a line a row; else a line an output.</summary>
    private static void Predictions(Session s, JsonElement answer)
    {
        var outputs = Output.At(answer, "outputs").EnumerateArray().Select(o => (
            Name: Output.Text(Output.At(o, "name")), Datatype: Output.Text(Output.At(o, "datatype")), Shape: Output.At(o, "shape").EnumerateArray().Select(d => d.GetInt64()).ToArray(), Data: Output.At(o, "data").EnumerateArray().ToArray())).ToList();
        var rows = outputs.Count > 0 && outputs[0].Shape is [> 0, ..] ? outputs[0].Shape[0] : 0;
        if (rows == 0 || outputs.Any(o => o.Shape.Length == 0 || o.Shape[0] != rows))
        {
            s.Out.List(
                [.. Output.At(answer, "outputs").EnumerateArray()], more: false,
                new("OUTPUT", "name"), new("TYPE", "datatype"), new("SHAPE", e => $"[{Output.Text(Output.At(e, "shape"))}]"), new("DATA", e => Some([.. Output.At(e, "data").EnumerateArray()])));
            return;
        }

        var lines = JsonSerializer.SerializeToElement(Enumerable.Range(0, (int)rows)).EnumerateArray().ToArray();
        s.Out.List(
            lines, more: false,
            [new("ROW", e => (e.GetInt32() + 1).ToString(CultureInfo.InvariantCulture)), .. outputs.Select(o => new Column($"{o.Name} ({o.Datatype})", e =>
            {
                var width = o.Data.Length / (int)rows;
                return Some(o.Data.AsSpan(e.GetInt32() * width, width).ToArray());
            }))]);
    }

    private static string Some(JsonElement[] values)
    {
        const int Most = 12;
        return values.Length == 0 ? "-" : string.Join(", ", values.Take(Most).Select(v => v.ValueKind == JsonValueKind.Number ? v.GetRawText() : Output.Text(v))) + (values.Length > Most ? $", … {values.Length} in all" : "");
    }

    private static string Millis(JsonElement answer, string member) => Output.At(answer, member) is { ValueKind: JsonValueKind.Number } millis ? FormattableString.Invariant($"{millis.GetDouble():0.##} ms") : "-";

    /// <summary>A model and what names its version: <c>flights/7</c>, <c>flights@champion</c> or <c>model-version:flights/7</c>.</summary>
    public static (string Model, string Version) Split(string text)
    {
        const string Kind = "model-version:";
        var name = text.StartsWith(Kind, StringComparison.Ordinal) ? text[Kind.Length..] : text;
        var at = name.LastIndexOfAny(['/', '@']);
        return at > 0 && at < name.Length - 1
            ? (name[..at], name[at] == '@' ? name[at..] : name[(at + 1)..])
            : throw new CliException(ExitCodes.Usage, $"\"{text}\" is not a model version", "it has no number and no alias", $"write {(name.Length == 0 ? "flights" : name)}/7 or {(name.Length == 0 ? "flights" : name)}@champion");
    }

    private static string Tensors(JsonElement version, string side) => Output.At(version, "signature." + side) is { ValueKind: JsonValueKind.Array } tensors
        ? string.Join('\n', tensors.EnumerateArray().Select(t => $"{Output.Text(Output.At(t, "name"))}  {Output.Text(Output.At(t, "datatype"))}  [{Output.Text(Output.At(t, "shape"))}]"))
        : "unknown";

    private static string Files(JsonElement version) =>
        string.Join('\n', Output.At(version, "files").EnumerateArray().Select(f => $"{Output.Text(Output.At(f, "path"))}  {Output.Text(Output.At(f, "size"))} bytes").DefaultIfEmpty("-"));
}
