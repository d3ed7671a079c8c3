using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Where something came from, and what became of it.</summary>
internal static class LineageCommand
{
    public static Command Build(Globals globals, Terminal terminal)
    {
        var subject = new Argument<string>("subject") { Description = "For example flights/7, prediction:ID or dataset:flights" };
        var up = new Option<bool>("--up") { Description = "Only what it was made from" };
        var down = new Option<bool>("--down") { Description = "Only what was made from it" };
        var depth = new Option<int>("--depth") { Description = "How many steps", DefaultValueFactory = _ => 5 };
        return new Verb("lineage", "Shows where something came from, and what became of it", "slipway lineage flights/7 --up", "slipway lineage dataset:flights --down --depth 3 -o json")
            .With(subject, up, down, depth)
            .Does(globals, terminal, async s =>
            {
                var name = s.Value(subject);
                if (!name.Contains(':', StringComparison.Ordinal))
                {
                    var (model, version) = VersionCommand.Split(name);
                    name = Output.Text(Output.At(await s.Client.GetAsync<JsonElement>($"models/{s.About("models", model)}/versions/{version}", s.Stop), "subject"));
                }

                var direction = (s.Value(up), s.Value(down)) switch { (true, false) => "upstream", (false, true) => "downstream", _ => "both" };
                var graph = await s.Client.GetAsync<JsonElement>($"lineage{Query.Of(("subject", name), ("direction", direction), ("depth", s.Value(depth)))}", s.Stop);
                if (!s.Out.IsTable)
                {
                    s.Out.One(graph, new Column("NODES", e => string.Join('\n', Output.At(e, "nodes").EnumerateArray().Select(n => Output.Text(Output.At(n, "subject"))))));
                    return ExitCodes.Done;
                }

                if (direction != "downstream")
                {
                    Draw(s.Terminal.Out, graph, name, upstream: true);
                }

                if (direction != "upstream")
                {
                    Draw(s.Terminal.Out, graph, name, upstream: false);
                }

                if (Output.At(graph, "truncated").ValueKind == JsonValueKind.True)
                {
                    s.Note("there is more than was shown");
                }

                return ExitCodes.Done;
            });
    }

    /// <summary>A tree; a thing that was drawn before is named, but not followed again.</summary>
    private static void Draw(TextWriter to, JsonElement graph, string root, bool upstream)
    {
        to.WriteLine($"{root} {(upstream ? "came from" : "led to")}:");
        var edges = Output.At(graph, "edges").EnumerateArray()
            .Select(e => (From: Output.Text(Output.At(e, "from")), To: Output.Text(Output.At(e, "to")), Kind: Output.Text(Output.At(e, "kind")), Seq: Output.Text(Output.At(e, "seq"))))
            .ToLookup(e => upstream ? e.From : e.To, StringComparer.Ordinal);
        var depths = Output.At(graph, "nodes").EnumerateArray().ToDictionary(n => Output.Text(Output.At(n, "subject")), n => (int)Output.Number(Output.At(n, "depth"))!.Value, StringComparer.Ordinal);
        var drawn = new HashSet<string>(StringComparer.Ordinal) { root };
        if (!Follow(root, "  "))
        {
            to.WriteLine("  nothing that is known");
        }

        bool Follow(string subject, string indent)
        {
            var any = false;
            foreach (var edge in edges[subject].DistinctBy(e => upstream ? e.To : e.From))
            {
                var next = upstream ? edge.To : edge.From;
                if (!depths.TryGetValue(next, out var depth) || (upstream ? depth >= 0 : depth <= 0))
                {
                    continue;
                }

                any = true;
                var first = drawn.Add(next);
                to.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{indent}{next}  ({edge.Kind}, entry {edge.Seq}){(first ? "" : "  see above")}"));
                if (first)
                {
                    Follow(next, indent + "  ");
                }
            }

            return any;
        }
    }
}
