using System.CommandLine;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Slipway.Client;
using Slipway.Serving;
using Endpoint = Slipway.Serving.Endpoint;

namespace Slipway.Cli.Commands;

/// <summary>Endpoints and rollouts as files: what is declared, how it differs from what is, and making it so.</summary>
internal static class DeclaredCommands
{
    private static readonly Column[] Columns = [new("KIND", "kind"), new("NAME", "name"), new("ACTION", "action"), new("WHAT", "what")];

    public static IEnumerable<Command> Build(Globals globals, Terminal terminal)
    {
        var file = new Option<string>("--file", "-f") { Description = "YAML of kinds Endpoint and Rollout, or - for standard input", Required = true };
        var dry = Opt.DryRun();
        yield return new Verb("apply", "Makes endpoints and rollouts as a file says; gates and approvals stand", "slipway apply -f late.yaml", "slipway export | slipway apply -f -")
            .With(file, dry)
            .Does(globals, terminal, async s =>
            {
                var results = new List<JsonElement>();
                foreach (var item in await ReadAsync(s, s.Value(file)!))
                {
                    var change = await CompareAsync(s, item);
                    if (change.Action != "none" && !s.Value(dry))
                    {
                        await change.DoAsync();
                    }

                    results.Add(JsonSerializer.SerializeToElement(new { kind = change.Kind, name = change.Name, action = s.Value(dry) && change.Action != "none" ? $"would {change.Action}" : change.Action, what = change.What }));
                }

                s.Out.List(results, more: false, Columns);
                return ExitCodes.Done;
            });
        var given = new Option<string>("--file", "-f") { Description = "YAML of kinds Endpoint and Rollout, or - for standard input", Required = true };
        yield return new Verb("diff", "Says what applying a file would change; exit code 1 when it would change something", "slipway diff -f late.yaml", "slipway diff -f late.yaml -o json")
            .With(given)
            .Does(globals, terminal, async s =>
            {
                var lines = new List<JsonElement>();
                foreach (var item in await ReadAsync(s, s.Value(given)!))
                {
                    var change = await CompareAsync(s, item);
                    lines.AddRange(change.Differences.Select(d => JsonSerializer.SerializeToElement(new { kind = change.Kind, name = change.Name, field = d.Path, present = d.Before, declared = d.After })));
                }

                s.Out.List(lines, more: false, new("KIND", "kind"), new("NAME", "name"), new("FIELD", "field"), new("PRESENT", e => Or(e, "present")), new("DECLARED", e => Or(e, "declared")));
                s.Note(lines.Count == 0 ? "nothing differs" : $"{lines.Count} fields differ; make it so: slipway apply -f {s.Value(given)}");
                return lines.Count == 0 ? ExitCodes.Done : ExitCodes.Failed;
            });
        var only = new Option<string?>("--endpoint") { Description = "Only this endpoint and its rollouts" };
        yield return new Verb("export", "Writes endpoints and their open rollouts as YAML that apply reads", "slipway export", "slipway export --endpoint late")
            .With(only)
            .Does(globals, terminal, async s =>
            {
                var endpoints = s.Value(only) is { } name
                    ? [await s.Client.GetAsync<Endpoint>($"endpoints/{s.About("endpoints", name)}", s.Stop)]
                    : (await s.Client.ListAsync<Endpoint>($"endpoints", 10_000, s.Stop)).Items;
                var documents = new List<JsonObject>();
                foreach (var endpoint in endpoints.Where(endpoint => endpoint.CreatedBy != "model repository"))
                {
                    documents.Add(Declared.Write(endpoint));
                    var (rollouts, _) = await s.Client.ListAsync<Rollout>($"rollouts{Query.Of(("endpoint", endpoint.Name))}", 1_000, s.Stop);
                    documents.AddRange(rollouts.Where(rollout => !rollout.Status.Ended).Reverse().Select(Declared.Write));
                }

                var text = new StringBuilder();
                foreach (var document in documents)
                {
                    text.Append(text.Length == 0 ? "" : "---\n");
                    Yaml.Write(text, JsonSerializer.SerializeToElement(document), 0);
                }

                await s.Terminal.Out.WriteAsync(text.ToString());
                return ExitCodes.Done;
            });
    }

    /// <summary>The verb <c>rollout lint</c>: a file is judged without a server.</summary>
    public static Verb Lint(Globals globals, Terminal terminal)
    {
        var file = new Argument<string>("file") { Description = "YAML of kinds Endpoint and Rollout, or - for standard input" };
        return new Verb("lint", "Finds every fault of a file, with line and column, without a server; exit code 2 when there is one", "slipway rollout lint canary.yaml", "slipway rollout lint canary.yaml -o json")
            .With(file)
            .Does(globals, terminal, async s =>
            {
                var name = s.Value(file);
                var (items, faults) = Declared.Read(await Input.ReadAsync(s, name));
                if (s.Out.IsTable)
                {
                    // As compilers write it, so that an editor finds the place by itself.
                    foreach (var fault in faults)
                    {
                        await s.Terminal.Out.WriteLineAsync($"{name}:{fault.Line}:{fault.Column}: {fault.Text}");
                    }
                }
                else
                {
                    s.Out.List([.. faults.Select(fault => JsonSerializer.SerializeToElement(fault, SlipwayClient.Json))], more: false, new("LINE", "line"), new("COLUMN", "column"), new("FAULT", "text"));
                }

                s.Note(faults.Count == 0 ? $"{name} has no fault ({items.Count} {(items.Count == 1 ? "document" : "documents")})" : $"{faults.Count} {(faults.Count == 1 ? "fault" : "faults")}");
                return faults.Count == 0 ? ExitCodes.Done : ExitCodes.Usage;
            });
    }

    /// <summary>The documents of a file; faults end the command.</summary>
    public static async Task<IReadOnlyList<DeclaredItem>> ReadAsync(Session s, string file)
    {
        var (items, faults) = Declared.Read(await Input.ReadAsync(s, file));
        return faults.Count == 0 ? items : throw new CliException(
            ExitCodes.Usage, $"{file} cannot be used", string.Join("\n        ", faults.Select(fault => $"{file}:{fault.Line}:{fault.Column}: {fault.Text}")), "correct the lines named and try again");
    }

    private static async Task<Change> CompareAsync(Session s, DeclaredItem item) => item.Endpoint is { } endpoint ? await CompareAsync(s, endpoint) : await CompareAsync(s, item.Rollout!);

    private static async Task<Change> CompareAsync(Session s, CreateEndpoint declared)
    {
        if (await FindAsync<Endpoint>(s, $"endpoints/{declared.Name}") is not { } present)
        {
            return new("Endpoint", declared.Name, "create", $"serves {declared.ModelVersion}", Declared.Diff(null, Declared.Write(declared)), () => s.Client.PostAsync<JsonElement>($"endpoints", declared, s.Stop));
        }

        var wanted = declared with { ModelVersion = await ResolveAsync(s, declared.ModelVersion) };
        var differences = Declared.Diff(Declared.Write(present), Declared.Write(wanted));
        if (differences.FirstOrDefault(d => d.Path is "policy" or "logPredictions") is { Path: { } path })
        {
            throw new CliException(ExitCodes.Conflict, $"endpoint '{declared.Name}' cannot be changed so", $"its {path} is fixed when it is created", "delete the endpoint and create it anew, or correct the file");
        }

        var settings = differences.Any(d => d.Path.StartsWith("settings", StringComparison.Ordinal));
        var version = differences.Any(d => d.Path == "modelVersion");
        return new(
            "Endpoint", declared.Name, differences.Count == 0 ? "none" : "change", string.Join(", ", differences.Select(d => $"{d.Path} {(d.Before.Length == 0 ? "-" : d.Before)} -> {(d.After.Length == 0 ? "-" : d.After)}")), differences,
            async () =>
            {
                if (settings)
                {
                    await s.Client.PutAsync<JsonElement>($"endpoints/{declared.Name}/settings", new { settings = declared.Settings ?? EndpointSettings.Default, cause = "applied from a file" }, s.Stop);
                }

                if (version)
                {
                    await s.Client.PostAsync<JsonElement>($"endpoints/{declared.Name}/deploy", new { modelVersion = wanted.ModelVersion, cause = "applied from a file" }, s.Stop);
                }
            });
    }

    private static async Task<Change> CompareAsync(Session s, ProposeRollout declared)
    {
        var candidate = declared.Candidate is { } named ? await ResolveAsync(s, named) : null;
        var variants = new List<RolloutVariant>();
        foreach (var variant in declared.Spec.Variants)
        {
            variants.Add(variant.Role == VariantRole.Baseline ? variant with { ModelVersion = "" } : variant with { ModelVersion = await ResolveAsync(s, variant.ModelVersion) });
        }

        var plan = declared.Spec with { Variants = variants };
        candidate = variants.FirstOrDefault(variant => variant.Role == VariantRole.Candidate)?.ModelVersion ?? candidate;
        var name = $"{candidate} on {declared.Endpoint}";
        var endpoint = await FindAsync<Endpoint>(s, $"endpoints/{declared.Endpoint}");
        var (rollouts, _) = await s.Client.ListAsync<Rollout>($"rollouts{Query.Of(("endpoint", declared.Endpoint))}", 1_000, s.Stop);
        if (rollouts.FirstOrDefault(rollout => !rollout.Status.Ended && rollout.Candidate == candidate) is { } open)
        {
            var wanted = declared with { Candidate = variants.Count > 0 ? null : candidate, Spec = plan, Policy = declared.Policy ?? open.Policy, CreateEndpoint = false };
            var differences = Declared.Diff(Declared.Write(open), Declared.Write(wanted));
            return new("Rollout", name, differences.Count == 0 ? "none" : "change", differences.Count == 0 ? $"{open.Id} is {open.Status.State}" : string.Join(", ", differences.Select(d => $"{d.Path} {d.Before} -> {d.After}")), differences,
                () => s.Client.PutAsync<JsonElement>($"rollouts/{open.Id}/plan", plan, s.Stop));
        }

        if (endpoint?.ModelVersion == candidate)
        {
            return new("Rollout", name, "none", $"{candidate} is stable already", [], () => Task.CompletedTask);
        }

        return new("Rollout", name, "propose", $"{plan.Planned().Steps.Count} steps", Declared.Diff(null, Declared.Write(declared)), () => s.Client.PostAsync<JsonElement>($"rollouts", declared, s.Stop));
    }

    private static async Task<T?> FindAsync<T>(Session s, FormattableString path)
        where T : class
    {
        try
        {
            return await s.Client.GetAsync<T>(path, s.Stop);
        }
        catch (SlipwayClientException e) when (e.Code == "notFound")
        {
            return null;
        }
    }

    // An alias stands for the version that it names now.
    private static async Task<string> ResolveAsync(Session s, string reference)
    {
        if (reference.Split('@') is not [var model, var alias])
        {
            return reference;
        }

        var found = await s.Client.GetAsync<JsonElement>($"models/{model}", s.Stop);
        return Output.At(found, "aliases") is { ValueKind: JsonValueKind.Array } aliases && aliases.EnumerateArray().FirstOrDefault(a => Output.Text(Output.At(a, "alias")) == alias) is { ValueKind: JsonValueKind.Object } version
            ? $"{model}/{Output.Text(Output.At(version, "version"))}"
            : throw new CliException(ExitCodes.NotFound, $"there is no version {reference}", $"the model {model} has no alias {alias}", $"slipway model show {model}");
    }

    private static string Or(JsonElement e, string member) => Output.Text(Output.At(e, member)) is { Length: > 0 } text ? text : "-";

    private sealed record Change(string Kind, string Name, string Action, string What, IReadOnlyList<(string Path, string Before, string After)> Differences, Func<Task> DoAsync);
}
