using System.CommandLine;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>What was deleted: experiments, runs and models.</summary>
internal static class TrashCommand
{
    private static readonly Column[] Columns =
    [
        new("ITEM", e => $"{Output.Text(Output.At(e, "kind"))}:{Output.Text(Output.At(e, "id"))}"), new("NAME", "name"), new("DELETED", "deletedAt"), new("BY", "deletedBy"),
        new("RUNS", "runs"), new("VERSIONS", "versions"), new("FILES", "files"), new("SIZE", e => Size(Output.Number(Output.At(e, "bytes")) ?? 0)),
    ];

    private static readonly Column[] Results =
    [
        .. Columns.Select(c => c with { Of = e => c.Of(Output.At(e, "item")) }).Where(c => c.Title is "ITEM" or "NAME" or "RUNS" or "VERSIONS" or "SIZE"),
        new("PURGED", "purged"), new("KEPT BY", e => string.Join("; ", Output.At(e, "refused").EnumerateArray().Select(Output.Text).DefaultIfEmpty("-"))),
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var kind = new Option<string?>("--kind") { Description = "Only experiment, run or model" };
        kind.AcceptOnlyFromAmong("experiment", "run", "model");
        var limit = Opt.Limit();
        var item = new Argument<string>("item") { Description = "As trash list shows it, for example run:0193a7c2f0d27f3c9a41b6d0a2e5c001, or model:flights" };
        return new Noun("trash", "What was deleted and can be restored", counted: false)
        {
            new Verb("list", "Lists what was deleted, with its size", "slipway trash list", "slipway trash list --kind model -o json")
                .With(kind, limit)
                .Does(globals, terminal, s => s.ListAsync($"trash{Query.Of(("kind", s.Value(kind)))}", s.Value(limit), Columns)),
            Restore(globals, terminal, item),
            Purge(globals, terminal),
        };
    }

    private static Verb Restore(Globals globals, Terminal terminal, Argument<string> item)
    {
        var dry = Opt.DryRun();
        return new Verb("restore", "Brings something back", "slipway trash restore model:flights", "slipway trash restore run:0193a7c2f0d27f3c9a41b6d0a2e5c001")
            .With(item, dry)
            .Does(globals, terminal, async s =>
            {
                var (kind, id) = Split(s.Value(item));
                if (s.Value(dry))
                {
                    var found = await s.Client.GetAsync<JsonElement>($"trash/{kind}/{id}", s.Stop);
                    s.Rehearses($"restore {kind} {Output.Text(Output.At(found, "item.name"))}", dry);
                    return ExitCodes.Done;
                }

                s.Out.One(await s.Client.PostAsync<JsonElement>($"trash/{kind}/{id}/restore", new { }, s.Stop), Columns);
                return ExitCodes.Done;
            });
    }

    private static Verb Purge(Globals globals, Terminal terminal)
    {
        var items = new Argument<string[]>("items") { Description = "As trash list shows them", Arity = ArgumentArity.ZeroOrMore };
        var older = new Option<string?>("--older-than") { Description = "Everything that was deleted so long ago, for example 30d" };
        var kind = new Option<string?>("--kind") { Description = "With --older-than: only experiment, run or model" };
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        return new Verb("purge", "Ends things for good, unless something needs them; exit code 5 when something was kept", "slipway trash purge model:flights --dry-run", "slipway trash purge --older-than 30d --yes")
            .With(items, older, kind, dry, yes)
            .Does(globals, terminal, async s =>
            {
                var named = s.Value(items);
                if (named.Length == 0 == s.Value(older) is null)
                {
                    throw new CliException(ExitCodes.Usage, "nothing was purged", "either items or --older-than says what", "slipway trash purge --help");
                }

                foreach (var item in named)
                {
                    Split(item);
                }

                DateTimeOffset? before = s.Value(older) is { } age ? s.Terminal.Clock.GetUtcNow() - Duration.Parse(age, "--older-than") : null;
                object Body(bool rehearse) => new { items = named.Length == 0 ? null : named, kind = s.Value(kind), deletedBefore = before, dryRun = rehearse };
                var plan = await s.Client.PostAsync<Page<JsonElement>>($"trash/purge", Body(rehearse: true), s.Stop);
                if (s.Value(dry))
                {
                    return Show(s, plan);
                }

                var going = plan.Items.Count(p => Output.At(p, "purged").ValueKind == JsonValueKind.True);
                return going > 0 && await s.GoesOnAsync($"purge {going} of {plan.Items.Count} items for good", dry, yes)
                    ? Show(s, await s.Client.PostAsync<Page<JsonElement>>($"trash/purge", Body(rehearse: false), s.Stop))
                    : Show(s, plan);
            });
    }

    private static int Show(Session s, Page<JsonElement> results)
    {
        s.Out.List(results.Items, more: false, Results);
        return results.Items.All(r => Output.At(r, "purged").ValueKind == JsonValueKind.True) ? ExitCodes.Done : ExitCodes.Conflict;
    }

    private static (string Kind, string Id) Split(string item) => item.IndexOf(':', StringComparison.Ordinal) is > 0 and var colon && colon < item.Length - 1
        ? (item[..colon], item[(colon + 1)..])
        : throw new CliException(ExitCodes.Usage, $"\"{item}\" is nothing in the trash", "it is not written as kind:name", $"write run:{item}, model:{item} or experiment:{item}");

    private static string Size(double bytes) => bytes switch
    {
        < 1 << 10 => FormattableString.Invariant($"{bytes:0} B"),
        < 1 << 20 => FormattableString.Invariant($"{bytes / (1 << 10):0.#} KiB"),
        < 1 << 30 => FormattableString.Invariant($"{bytes / (1 << 20):0.#} MiB"),
        _ => FormattableString.Invariant($"{bytes / (1 << 30):0.##} GiB"),
    };
}
