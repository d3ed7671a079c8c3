using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli;

/// <summary>A column of a table, or a line of a single record.</summary>
/// <param name="Title">In capitals.</param>
/// <param name="Of">Its text.</param>
/// <param name="Wide">Whether only <c>-o wide</c> shows it.</param>
internal sealed record Column(string Title, Func<JsonElement, string> Of, bool Wide = false)
{
    /// <summary>The member at a path like <c>status.state</c>.</summary>
    public Column(string title, string path, bool wide = false)
        : this(title, e => Output.Text(Output.At(e, path)), wide)
    {
    }
}

/// <summary>Writes answers in the format that was asked for. Data goes to standard output, and nothing else does.</summary>
internal sealed class Output(Terminal terminal, string format, IReadOnlyList<string> columns, bool noHeaders)
{
    private static readonly JsonSerializerOptions Indented = new(SlipwayClient.Json) { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public bool IsTable => format is "table" or "wide";

    /// <summary>A list: one row an item, the first column names it.</summary>
    public void List(IReadOnlyList<JsonElement> items, bool more, params Column[] known)
    {
        switch (format)
        {
            case "json":
                terminal.Out.WriteLine(JsonSerializer.Serialize(new { items, more = more ? true : (bool?)null }, Indented));
                break;
            case "yaml":
                WriteYaml(JsonSerializer.SerializeToElement(items, Indented));
                break;
            case "name":
                foreach (var item in items)
                {
                    terminal.Out.WriteLine(known[0].Of(item));
                }

                break;
            default:
                Rows(items, Chosen(known));
                break;
        }
    }

    /// <summary>One record: a line for each of its columns.</summary>
    public void One(JsonElement item, params Column[] known)
    {
        switch (format)
        {
            case "json":
                terminal.Out.WriteLine(JsonSerializer.Serialize(item, Indented));
                break;
            case "yaml":
                WriteYaml(item);
                break;
            case "name":
                terminal.Out.WriteLine(known[0].Of(item));
                break;
            default:
                var chosen = Chosen(known);
                var width = chosen.Max(c => c.Title.Length) + 2;
                foreach (var column in chosen)
                {
                    var lines = column.Of(item).Split('\n');
                    terminal.Out.WriteLine((noHeaders ? "" : (column.Title + ":").PadRight(width)) + lines[0]);
                    foreach (var line in lines.Skip(1))
                    {
                        terminal.Out.WriteLine((noHeaders ? "" : new string(' ', width)) + line);
                    }
                }

                break;
        }
    }

    /// <summary>The member at a path like <c>status.state</c> or <c>variants.0.name</c>; undefined when there is none.</summary>
    public static JsonElement At(JsonElement element, string path)
    {
        foreach (var part in path.Split('.'))
        {
            if (element.ValueKind == JsonValueKind.Array && int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var index) && index < element.GetArrayLength())
            {
                element = element[index];
            }
            else if (element.ValueKind != JsonValueKind.Object || !element.TryGetProperty(part, out element))
            {
                return default;
            }
        }

        return element;
    }

    /// <summary>A value as people read it: times to the second, lists by comma, nothing as a dash.</summary>
    public static string Text(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => Words(value.GetString()!),
        JsonValueKind.True => "yes",
        JsonValueKind.False => "no",
        JsonValueKind.Number => value.GetRawText(),
        JsonValueKind.Array => value.GetArrayLength() == 0 ? "-" : string.Join(", ", value.EnumerateArray().Select(Text)),
        JsonValueKind.Object when !value.EnumerateObject().Any() => "-",
        JsonValueKind.Object => string.Join(", ", value.EnumerateObject().Select(p => $"{p.Name}={Text(p.Value)}")),
        _ => "-",
    };

    public static double? Number(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Number => value.GetDouble(),
        JsonValueKind.String when double.TryParse(value.GetString(), NumberStyles.Float, CultureInfo.InvariantCulture, out var number) => number,
        _ => null,
    };

    public static string Rounded(JsonElement value) => Number(value) is { } number ? number.ToString("0.####", CultureInfo.InvariantCulture) : "-";

    private static string Words(string text) =>
        text.Length == 0 ? "-" :
        text.Length is >= 20 and <= 35 && text[4] == '-' && text[10] == 'T' && DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.None, out var at)
            ? at.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss'Z'", CultureInfo.InvariantCulture)
            : text;

    private List<Column> Chosen(Column[] known)
    {
        if (columns.Count == 0)
        {
            return [.. known.Where(c => !c.Wide || format == "wide")];
        }

        return [.. columns.Select(name => known.FirstOrDefault(c => c.Title.Equals(name, StringComparison.OrdinalIgnoreCase)) ?? new Column(name.ToUpperInvariant(), name))];
    }

    private void Rows(IReadOnlyList<JsonElement> items, List<Column> chosen)
    {
        var rows = items.Select(i => chosen.ConvertAll(c => c.Of(i).ReplaceLineEndings(" "))).ToList();
        if (terminal.ShowsTables)
        {
            Pretty.Table(terminal, noHeaders ? null : chosen.ConvertAll(c => c.Title), rows);
            return;
        }

        // In a pipe: columns under one another, two spaces between, nothing behind the last.
        var all = noHeaders ? rows : [chosen.ConvertAll(c => c.Title), .. rows];
        var widths = chosen.Select((_, i) => all.Count == 0 ? 0 : all.Max(r => r[i].Length)).ToList();
        foreach (var row in all)
        {
            terminal.Out.WriteLine(string.Join("  ", row.Select((cell, i) => cell.PadRight(widths[i]))).TrimEnd());
        }
    }

    private void WriteYaml(JsonElement value)
    {
        var text = new StringBuilder();
        Yaml.Write(text, value, 0);
        terminal.Out.Write(text);
    }
}
