using System.Globalization;
using System.Text.Json.Serialization;

namespace Slipway.Monitoring;

/// <summary>Which of a version's predictions a monitor looks at, and what it breaks them down by.</summary>
public sealed record MonitorScope
{
    /// <summary>The most ways to break one monitor down.</summary>
    public const int MostBreakdowns = 5;

    private const string And = " and ";

    /// <summary>Every prediction that a caller got, in one piece.</summary>
    public static readonly MonitorScope All = new();

    /// <summary>
    /// Only rows for which all conditions hold: `FEATURE = NUMBER`, also `!=`, `&lt;`, `&lt;=`, `&gt;`, `&gt;=`, and `missing` for a number that is not there; several are
    /// joined by ` and `. Null is all rows.
    /// </summary>
    public string? Segment { get; init; }

    /// <summary>Features whose groups performance is measured in beside the whole, each for itself; `A|B` is the groups of two together.</summary>
    public IReadOnlyList<string> By { get; init; } = [];

    /// <summary>Whether the answers to copies of requests are watched (a mirror's) instead of those that callers got.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool Shadow { get; init; }

    /// <summary>What two monitors of one version on one endpoint must differ in.</summary>
    internal string Key => Shadow ? $"shadow: {Segment}" : Segment ?? "";

    /// <summary>Whether every prediction that callers got is looked at.</summary>
    [JsonIgnore]
    public bool IsWhole => Key.Length == 0;

    internal PredictionKind Kind => Shadow ? PredictionKind.Shadow : PredictionKind.Live;

    /// <summary>What of it does not fit the features; empty when all does.</summary>
    /// <param name="features">Names of the features.</param>
    /// <param name="watched">Those that are watched: a breakdown takes the bins of their references.</param>
    internal IEnumerable<string> Problems(IReadOnlyList<string> features, IReadOnlyList<string> watched)
    {
        foreach (string condition in Conditions())
        {
            if (Read(condition) is not { } read)
            {
                yield return $"the condition `{condition}` of the segment cannot be read; write FEATURE = NUMBER, with =, !=, <, <=, > or >=";
            }
            else if (!features.Contains(read.Feature, StringComparer.Ordinal))
            {
                yield return $"`{read.Feature}`, which the segment asks for, is not a feature";
            }
        }

        if (By.Count > MostBreakdowns || By.Distinct(StringComparer.Ordinal).Count() < By.Count)
        {
            yield return $"performance is broken down in {By.Count} ways, at most {MostBreakdowns} different ones are allowed";
        }

        foreach (string by in By.Where(b => b.Split('|') is not { Length: 1 or 2 } parts || parts.Any(p => !watched.Contains(p, StringComparer.Ordinal))))
        {
            yield return $"performance cannot be broken down by `{by}`: name a watched feature, or two as A|B";
        }
    }

    /// <summary>The conditions in one spelling, so that one segment has one name.</summary>
    internal MonitorScope Normal() => this with { Segment = string.IsNullOrWhiteSpace(Segment) ? null : string.Join(And, Conditions().Select(c => Read(c) is { } r ? $"{r.Feature} {r.Sign} {(double.IsNaN(r.Number) ? "missing" : r.Number.ToString("R", CultureInfo.InvariantCulture))}" : c)) };

    /// <summary>Tells rows of the segment from others; null when all rows are looked at.</summary>
    /// <param name="features">Names of the features in the order of the numbers of a row; <see cref="Problems"/> finds none.</param>
    internal Func<Func<int, float>, bool>? Filter(IReadOnlyList<string> features)
    {
        if (Segment is null)
        {
            return null;
        }

        (int At, string Sign, double Number)[] all = [.. Conditions().Select(c => Read(c)!.Value).Select(c => (features.IndexOf(c.Feature), c.Sign, c.Number))];
        return row => Array.TrueForAll(all, c => Holds(row(c.At), c.Sign, c.Number));
    }

    private static bool Holds(float value, string sign, double number) => sign switch
    {
        "=" => double.IsNaN(number) ? float.IsNaN(value) : value == (float)number,
        "!=" => double.IsNaN(number) ? !float.IsNaN(value) : value != (float)number && !float.IsNaN(value),
        "<" => value < number,
        "<=" => value <= number,
        ">" => value > number,
        _ => value >= number,
    };

    private string[] Conditions() => Segment?.Split(And, StringSplitOptions.TrimEntries) ?? [];

    private static (string Feature, string Sign, double Number)? Read(string condition)
    {
        int at = condition.IndexOfAny(['=', '!', '<', '>']);
        if (at < 1)
        {
            return null;
        }

        int length = condition.AsSpan(at + 1).StartsWith("=") ? 2 : 1;
        (string feature, string sign, string text) = (condition[..at].TrimEnd(), condition.Substring(at, length), condition[(at + length)..].TrimStart());
        return feature.Length == 0 || sign is "!" or "==" ? null
            : text == "missing" ? sign is "=" or "!=" ? (feature, sign, double.NaN) : null
            : double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) && double.IsFinite(number) ? (feature, sign, number) : null;
    }
}
