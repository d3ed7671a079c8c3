using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>Labels of an alert: what it is about. Two alerts with the same labels are one alert.</summary>
internal static partial class LabelSet
{
    public const int Most = 64;
    public const int LongestValue = 1_000;
    public static readonly IReadOnlyDictionary<string, string> Empty = new SortedDictionary<string, string>(StringComparer.Ordinal);
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    public static bool IsName(string name) => name.Length <= 100 && Name().IsMatch(name);

    /// <summary>The labels without those that are empty, in the order of their names.</summary>
    public static IReadOnlyDictionary<string, string> Of(IEnumerable<KeyValuePair<string, string>> labels)
    {
        var sorted = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach ((string name, string value) in labels)
        {
            if (value.Length > 0)
            {
                sorted[name] = value;
            }
        }

        return sorted;
    }

    /// <summary>SHA-256 over the sorted labels, 32 hexadecimal digits.</summary>
    public static string Fingerprint(IReadOnlyDictionary<string, string> labels)
    {
        var text = new StringBuilder();
        foreach ((string name, string value) in labels.OrderBy(l => l.Key, StringComparer.Ordinal))
        {
            text.Append(name).Append('\0').Append(value).Append('\0');
        }

        return Digest.Sha256Hex(Encoding.UTF8.GetBytes(text.ToString()))[..32];
    }

    public static string Write(IReadOnlyDictionary<string, string> labels) => JsonSerializer.Serialize(labels, Json);

    public static IReadOnlyDictionary<string, string> Read(string json) => JsonSerializer.Deserialize<SortedDictionary<string, string>>(json, Json) ?? Empty;

    /// <summary>`{a="1", b="2"}`.</summary>
    public static string Text(IReadOnlyDictionary<string, string> labels) => "{" + string.Join(", ", labels.Select(l => $"{l.Key}=\"{l.Value}\"")) + "}";

    /// <exception cref="SlipwayException">InvalidArgument with every label that is not allowed.</exception>
    public static void Check(IReadOnlyDictionary<string, string> labels, string what)
    {
        string[] problems =
        [
            .. labels.Count > Most ? new[] { $"{labels.Count} {what}s, at most {Most} are allowed" } : [],
            .. labels.Keys.Where(k => !IsName(k)).Select(k => $"'{k}' is not a name of a {what}"),
            .. labels.Where(l => l.Value.Length > LongestValue).Select(l => $"{what} {l.Key} has {l.Value.Length} characters, at most {LongestValue} are allowed"),
        ];
        if (problems.Length > 0)
        {
            throw SlipwayException.Invalid($"the {what}s are not valid", string.Join("; ", problems), "use letters, digits and underscores");
        }
    }

    [GeneratedRegex(@"\A[A-Za-z_][A-Za-z0-9_]*\z", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Name();
}
