using System.Globalization;
using Slipway.Foundation;
using Slipway.Monitoring;

namespace Slipway.Server.Api;

/// <summary>
/// Labels as comma-separated text: a header line, then a label a line. Ids and numbers need no quotes; a field may be quoted,
/// but holds no comma.
/// </summary>
internal static class LabelCsv
{
    private const int MostErrors = 10;
    private static readonly string[] Known = ["prediction_id", "value", "at", "revision"];

    /// <param name="text">The whole text.</param>
    /// <param name="now">When labels without a time became known.</param>
    /// <exception cref="SlipwayException">InvalidArgument with the first ten bad lines.</exception>
    public static IReadOnlyList<Label> Parse(string text, DateTimeOffset now)
    {
        var lines = text.TrimStart('\uFEFF').Split('\n');
        var header = Fields(lines[0]);
        if (header.Except(Known, StringComparer.Ordinal).Any() || !header.Contains("prediction_id") || !header.Contains("value") || header.Distinct(StringComparer.Ordinal).Count() != header.Length)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, "the labels cannot be read", $"line 1 is \"{lines[0].Trim()}\"", "begin with the line prediction_id,value (and, where known, at and revision)");
        }

        var labels = new List<Label>(lines.Length);
        var errors = new List<string>();
        for (var i = 1; i < lines.Length && errors.Count < MostErrors; i++)
        {
            if (lines[i].AsSpan().Trim().IsEmpty)
            {
                continue;
            }

            var fields = Fields(lines[i]);
            if (fields.Length != header.Length)
            {
                errors.Add($"line {i + 1} has {fields.Length} fields, not {header.Length}");
                continue;
            }

            Read(header, fields, i + 1, now, labels, errors);
        }

        return errors.Count == 0 ? labels : throw new SlipwayException(ErrorCode.InvalidArgument, "the labels cannot be read", string.Join("; ", errors), "correct the file and send it again: labels that were stored are not doubled");
    }

    private static void Read(string[] header, string[] fields, int line, DateTimeOffset now, List<Label> labels, List<string> errors)
    {
        var id = fields[Array.IndexOf(header, "prediction_id")];
        var text = fields[Array.IndexOf(header, "value")];
        var at = now;
        var revision = 0;
        if (id.Length == 0)
        {
            errors.Add($"line {line} has no prediction_id");
        }
        else if (!double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) || !double.IsFinite(value))
        {
            errors.Add($"line {line}: value \"{text}\" is not a number");
        }
        else if (Optional("at") is { } when && !DateTimeOffset.TryParse(when, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out at))
        {
            errors.Add($"line {line}: at \"{when}\" is not a time");
        }
        else if (Optional("revision") is { } number && !int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out revision))
        {
            errors.Add($"line {line}: revision \"{number}\" is not a number");
        }
        else
        {
            labels.Add(new Label(id, value, at, revision));
        }

        string? Optional(string name) => Array.IndexOf(header, name) is >= 0 and var index && fields[index].Length > 0 ? fields[index] : null;
    }

    private static string[] Fields(string line) => [.. line.Trim().Split(',').Select(f => f.Trim().Trim('"'))];
}
