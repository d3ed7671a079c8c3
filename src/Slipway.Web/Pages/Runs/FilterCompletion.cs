using System.Globalization;
using System.Text.RegularExpressions;
using Slipway.Registry;

namespace Slipway.Web.Pages;

/// <summary>A way to go on with a filter.</summary>
/// <param name="Show">What the list says.</param>
/// <param name="Text">The whole filter once it is taken.</param>
/// <param name="Kind">What it is: <c>metric</c>, <c>param</c>, <c>operator</c> and so on.</param>
internal sealed record Completion(string Show, string Text, string Kind);

/// <summary>Says how a filter in MLflow's grammar can go on at its end: a key, an operator, a value, AND.</summary>
internal static partial class FilterCompletion
{
    /// <summary>Most suggestions at once.</summary>
    public const int Most = 12;

    private static readonly string[] Attributes = ["run_name", "run_id", "status", "user_id", "start_time", "end_time", "artifact_uri"];
    private static readonly string[] NumberOperators = [">", ">=", "<", "<=", "=", "!="];
    private static readonly string[] TextOperators = ["=", "!=", "LIKE", "ILIKE", "IS NULL", "IS NOT NULL"];
    private static readonly string[] AttributeOperators = ["=", "!=", "LIKE", "ILIKE"];
    private static readonly string[] States = ["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"];

    /// <summary>Suggestions for the end of <paramref name="text"/>.</summary>
    /// <param name="text">The filter so far.</param>
    /// <param name="keys">Keys that the runs have.</param>
    /// <param name="values">Values of <c>params.KEY</c> or <c>tags.KEY</c>, as far as they are known.</param>
    public static IReadOnlyList<Completion> Suggest(string text, RunKeys keys, Func<string, IReadOnlyList<string>> values)
    {
        var start = LastClause(text);
        var (before, clause) = (text[..start], text[start..]);
        var match = Clause().Match(clause);
        if (!match.Groups["space"].Success)
            return Keys(before + Lead(clause), clause.TrimStart(), keys);
        var (entity, key) = (match.Groups["entity"].Value.ToLowerInvariant(), match.Groups["key"].Value.Trim('`', '"'));
        var numeric = entity.StartsWith("metric", StringComparison.Ordinal) || key is "start_time" or "end_time";
        var upToKey = before + clause[..match.Groups["space"].Index];
        var typed = match.Groups["operator"].Value;
        var begun = match.Groups["value"].Success || (char.IsWhiteSpace(clause[^1]) && TextOperators.Concat(NumberOperators).Contains(typed, StringComparer.OrdinalIgnoreCase));
        if (!begun)
        {
            var operators = numeric ? NumberOperators : entity.StartsWith("attr", StringComparison.Ordinal) ? AttributeOperators : TextOperators;
            return [.. operators.Where(o => o.StartsWith(typed, StringComparison.OrdinalIgnoreCase)).Select(o => new Completion(o, $"{upToKey} {o} ", "operator"))];
        }

        var value = match.Groups["value"].Value;
        if (IsComplete(value, numeric) || typed.StartsWith("IS", StringComparison.OrdinalIgnoreCase))
            return [new("AND", text.TrimEnd() + " AND ", "operator")];
        if (numeric)
            return [];
        var known = key == "status" ? States : values($"{(entity.StartsWith("tag", StringComparison.Ordinal) ? "tags" : "params")}.{key}");
        var upToValue = before + (value.Length == 0 ? clause : clause[..match.Groups["value"].Index]);
        var part = value.TrimStart('\'');
        return [.. known.Where(v => v.Contains(part, StringComparison.OrdinalIgnoreCase) && !v.Contains('\'', StringComparison.Ordinal)).Take(Most).Select(v => new Completion(v, $"{upToValue}'{v}'", "value"))];
    }

    /// <summary>A key as the grammar takes it: bare when it is a plain word, else between backticks.</summary>
    public static string Quote(string key) => key.Length > 0 && key.All(c => char.IsAsciiLetterOrDigit(c) || c == '_') ? key : $"`{key}`";

    private static List<Completion> Keys(string before, string typed, RunKeys keys)
    {
        var bare = typed.Replace("`", "", StringComparison.Ordinal).Replace("\"", "", StringComparison.Ordinal);
        var all = keys.Metrics.Select(k => ("metric", $"metrics.{k}", $"metrics.{Quote(k)}"))
            .Concat(keys.Params.Select(k => ("param", $"params.{k}", $"params.{Quote(k)}")))
            .Concat(Attributes.Select(k => ("attribute", $"attributes.{k}", $"attributes.{k}")))
            .Concat(keys.Tags.Select(k => ("tag", $"tags.{k}", $"tags.{Quote(k)}")));

        // What begins with the typed text comes before what only holds it; the key alone counts as a beginning too.
        return
        [
            .. all.Select(k => (Key: k, Rank: Rank(k.Item2, bare)))
                .Where(k => k.Rank < 3).OrderBy(k => k.Rank).Take(Most)
                .Select(k => new Completion(k.Key.Item2, $"{before}{k.Key.Item3} ", k.Key.Item1)),
        ];
    }

    private static int Rank(string name, string typed) =>
        name.StartsWith(typed, StringComparison.OrdinalIgnoreCase) ? 0
        : name[(name.IndexOf('.', StringComparison.Ordinal) + 1)..].StartsWith(typed, StringComparison.OrdinalIgnoreCase) ? 1
        : name.Contains(typed, StringComparison.OrdinalIgnoreCase) ? 2 : 3;

    private static bool IsComplete(string value, bool numeric) => numeric
        ? value.Length > 1 && char.IsWhiteSpace(value[^1]) && double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out _)
        : (value.Length > 1 && value[0] == '\'' && value.TrimEnd()[^1] == '\'' && value.TrimEnd().Length > 1) || value.TrimEnd().EndsWith(')');

    private static string Lead(string clause) => clause[..(clause.Length - clause.TrimStart().Length)];

    /// <summary>Where the last condition begins: behind the last AND that stands outside of quotes.</summary>
    private static int LastClause(string text)
    {
        var (start, quote) = (0, '\0');
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            if (quote != '\0')
                quote = c == quote ? '\0' : quote;
            else if (c is '\'' or '"' or '`')
                quote = c;
            else if (char.IsWhiteSpace(c) && text.AsSpan(i + 1).StartsWith("AND", StringComparison.OrdinalIgnoreCase) && i + 4 < text.Length && char.IsWhiteSpace(text[i + 4]))
                start = i + 5;
        }

        return start;
    }

    [GeneratedRegex("""^\s*(?<entity>\w+)\.(?<key>`[^`]*`|"[^"]*"|[^\s=<>!`"]+)(?:(?<space>\s+)|(?<space>(?=[=<>!])))(?:(?<operator>IS NOT NULL|IS NULL|NOT IN|IN|LIKE|ILIKE|[=<>!]+|\w*)(?:\s*(?<value>(?<=[=<>!]|\s)[^\s=<>!].*))?)?\s*$""", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture | RegexOptions.Singleline, matchTimeoutMilliseconds: 200)]
    private static partial Regex Clause();
}
