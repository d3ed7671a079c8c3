using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Things side by side: one row for each name, one column for each thing, by default only where they differ.</summary>
internal sealed class SideBySide(IReadOnlyList<string> titles)
{
    private readonly List<(string Kind, string Name, string[] Values)> rows = [];

    /// <summary>Adds the pairs that each thing has, for example its metrics.</summary>
    public void Add(string kind, IReadOnlyList<IReadOnlyDictionary<string, string>> things)
    {
        foreach (var name in things.SelectMany(t => t.Keys).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal))
        {
            rows.Add((kind, name, [.. things.Select(t => t.GetValueOrDefault(name, "-"))]));
        }
    }

    public int Show(Session s, bool all)
    {
        var shown = rows.Where(r => all || r.Values.Distinct(StringComparer.Ordinal).Count() > 1).ToList();
        var items = shown.Select(r => JsonSerializer.SerializeToElement(new { kind = r.Kind, name = r.Name, values = r.Values, differs = r.Values.Distinct(StringComparer.Ordinal).Count() > 1 }, SlipwayClient.Json)).ToList();
        s.Out.List(items, more: false, [new("KIND", "kind"), new("NAME", "name"), .. titles.Select((t, i) => new Column(t, $"values.{i}")), new("DIFFERS", "differs", wide: true)]);
        if (shown.Count < rows.Count)
        {
            s.Note($"{rows.Count - shown.Count} more are equal: --all");
        }

        return ExitCodes.Done;
    }

    /// <summary>A record's list of keys and values.</summary>
    public static IReadOnlyDictionary<string, string> Pairs(JsonElement record, string member, bool rounded = false) => Output.At(record, member) is { ValueKind: JsonValueKind.Array } pairs
        ? pairs.EnumerateArray().ToDictionary(
            p => Output.Text(Output.At(p, "key")),
            p => rounded ? Output.Rounded(Output.At(p, "value")) : Output.Text(Output.At(p, "value")).Split('\n')[0],
            StringComparer.Ordinal)
        : new Dictionary<string, string>(StringComparer.Ordinal);
}
