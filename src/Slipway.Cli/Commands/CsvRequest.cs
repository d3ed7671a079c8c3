using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Slipway.Cli.Commands;

/// <summary>A request of the Open Inference Protocol from a table, with the columns put where the model's signature wants them.</summary>
internal static class CsvRequest
{
    /// <param name="text">A header line, then a row a prediction. A field may be quoted; a quote in it is doubled.</param>
    /// <param name="signature">The endpoint's signature: its inputs, and the names of its features.</param>
    public static string Of(string text, JsonElement signature)
    {
        var rows = Rows(text);
        if (rows.Count < 2)
        {
            throw Bad("it has no row", "a header line comes first, then a row a prediction");
        }

        var header = rows[0];
        if (rows.FindIndex(row => row.Length != header.Length) is >= 0 and var uneven)
        {
            throw Bad($"row {uneven} has {rows[uneven].Length} fields, the header has {header.Length}", "write a field for every column");
        }

        var inputs = Output.At(signature, "inputs").EnumerateArray().Select(input => (
            Name: Output.At(input, "name").GetString()!, Datatype: Output.At(input, "datatype").GetString()!, Shape: Output.At(input, "shape").EnumerateArray().Select(d => d.GetInt64()).ToArray())).ToList();
        var features = Output.At(signature, "featureNames") is { ValueKind: JsonValueKind.Array } names ? names.EnumerateArray().Select(name => name.GetString()!).ToArray() : null;
        object[] tensors = inputs is [{ Shape: [_, var width] } only] && (width < 0 || width > 1 || features is not null)
            ? [Tensor(only.Name, only.Datatype, rows, Columns(header, features, width), [rows.Count - 1, header.Length])]
            : [.. inputs.Select(input => input.Shape.Length <= 2
                ? Tensor(input.Name, input.Datatype, rows, [Index(header, input.Name)], input.Shape.Length == 2 ? [rows.Count - 1, 1] : [rows.Count - 1])
                : throw Bad($"input '{input.Name}' of the model has {input.Shape.Length} dimensions", "send the request as JSON"))];
        return JsonSerializer.Serialize(new { inputs = tensors });
    }

    /// <summary>Where the model's features are in the table: by name where the model names them, else in the order of the table.</summary>
    private static int[] Columns(string[] header, string[]? features, long width)
    {
        if (features is null)
        {
            return width < 0 || width == header.Length ? [.. Enumerable.Range(0, header.Length)] : throw Bad($"it has {header.Length} columns, the model takes {width}", "write a column for every feature, in the model's order");
        }

        var unknown = header.Except(features, StringComparer.Ordinal).ToList();
        return unknown.Count == 0 ? [.. features.Select(feature => Index(header, feature))] : throw Bad($"its column '{unknown[0]}' is no feature of the model", $"the model takes {string.Join(", ", features)}");
    }

    private static int Index(string[] header, string column) => Array.IndexOf(header, column) is >= 0 and var at ? at : throw Bad($"it has no column '{column}'", $"its columns are {string.Join(", ", header)}");

    private static object Tensor(string name, string datatype, List<string[]> rows, int[] columns, long[] shape) => new
    {
        name,
        datatype,
        shape,
        data = rows.Skip(1).SelectMany((row, at) => columns.Select(column => Value(row[column], datatype, rows[0][column], at + 1))).ToArray(),
    };

    private static object Value(string text, string datatype, string column, int row) => datatype switch
    {
        "BYTES" => text,
        "BOOL" => bool.TryParse(text, out var truth) ? truth : text is "0" or "1" ? text == "1" : throw NoValue(text, datatype, column, row),
        "FP32" or "FP64" => double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number) ? number : throw NoValue(text, datatype, column, row),
        "FP16" or "BF16" => throw Bad($"the model takes {datatype}, which has no JSON form", "send binary tensor data"),
        _ => decimal.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var whole) ? whole : throw NoValue(text, datatype, column, row),
    };

    private static List<string[]> Rows(string text)
    {
        var rows = new List<string[]>();
        var fields = new List<string>();
        var field = new StringBuilder();
        var quoted = false;
        var before = '\n';
        foreach (var c in text.TrimStart('\uFEFF').ReplaceLineEndings("\n").TrimEnd('\n').Append('\n'))
        {
            if (c == '"')
            {
                // A doubled quote closes and opens again, which leaves one quote in between.
                if (!quoted && before == '"')
                {
                    field.Append('"');
                }

                quoted = !quoted;
            }
            else if (c is ',' or '\n' && !quoted)
            {
                fields.Add(field.ToString().Trim());
                field.Clear();
                if (c == '\n')
                {
                    rows.Add([.. fields]);
                    fields.Clear();
                }
            }
            else
            {
                field.Append(c);
            }

            before = c;
        }

        return quoted ? throw Bad("a quote is never closed", "double a quote inside of a quoted field") : rows;
    }

    private static CliException NoValue(string text, string datatype, string column, int row) => Bad($"row {row}, column '{column}': \"{text}\" is not a value of {datatype}", "correct the table");

    private static CliException Bad(string why, string next) => new(ExitCodes.Usage, "the table is not a request", why, next);
}
