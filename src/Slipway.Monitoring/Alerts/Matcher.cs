using System.Text.RegularExpressions;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// One condition on a label: `name="value"`, `!=`, `=~` or `!~`. A label that is missing counts as the empty text. Regular expressions are
/// anchored at both ends and run in time linear in the text, so that nobody's pattern can hold up the messages of others.
/// </summary>
public sealed record Matcher
{
    /// <summary>Longest value or pattern, in characters.</summary>
    public const int Longest = 1_000;

    private static readonly TimeSpan LongestMatch = TimeSpan.FromMilliseconds(100);
    private readonly Regex? regex;

    /// <summary>A condition.</summary>
    /// <param name="name">The label's name.</param>
    /// <param name="op">`=`, `!=`, `=~` or `!~`.</param>
    /// <param name="value">A text, or a pattern for the last two.</param>
    /// <exception cref="SlipwayException">InvalidArgument when a part is not valid.</exception>
    public Matcher(string name, string op, string value)
    {
        string? why = !LabelSet.IsName(name) ? $"'{name}' is not a label name"
            : op is not ("=" or "!=" or "=~" or "!~") ? $"'{op}' is not one of = != =~ !~"
            : value.Length > Longest ? $"the value of {name} has {value.Length} characters, at most {Longest} are allowed"
            : null;
        if (why is null && op is "=~" or "!~")
        {
            try
            {
                regex = new Regex($@"\A(?:{value})\z", RegexOptions.NonBacktracking | RegexOptions.CultureInvariant, LongestMatch);
            }
            catch (Exception e) when (e is ArgumentException or NotSupportedException)
            {
                why = $"the pattern of {name} is not a regular expression of the linear kind: {e.Message}";
            }
        }

        if (why is not null)
        {
            throw SlipwayException.Invalid("the matcher is not valid", why, "write for example severity=~\"major|severe\"");
        }

        (Name, Op, Value) = (name, op, value);
    }

    /// <summary>The label's name.</summary>
    public string Name { get; }

    /// <summary>`=`, `!=`, `=~` or `!~`.</summary>
    public string Op { get; }

    /// <summary>A text, or a pattern.</summary>
    public string Value { get; }

    /// <summary>Reads `name="value"`; the quotes may be left out where the value holds no quote and no brace.</summary>
    /// <exception cref="SlipwayException">InvalidArgument.</exception>
    public static Matcher Parse(string text)
    {
        int at = text.AsSpan().IndexOfAny('=', '!');
        int width = at > 0 && at + 1 < text.Length && text[at + 1] is '~' or '=' ? 2 : 1;
        if (at <= 0 || at + width > text.Length)
        {
            throw SlipwayException.Invalid("the matcher is not valid", $"'{text}' has no operator after a label name", "write for example severity=~\"major|severe\"");
        }

        string value = text[(at + width)..].Trim();
        if (value.Length >= 2 && value[0] == '"' && value[^1] == '"')
        {
            value = value[1..^1].Replace("\\\"", "\"", StringComparison.Ordinal);
        }
        else if (value.Contains('"', StringComparison.Ordinal))
        {
            throw SlipwayException.Invalid("the matcher is not valid", $"the quotes of '{text}' do not close", "write for example severity=~\"major|severe\"");
        }

        return new Matcher(text[..at].Trim(), text.Substring(at, width), value);
    }

    /// <summary>Whether the labels meet the condition.</summary>
    public bool Matches(IReadOnlyDictionary<string, string> labels)
    {
        string value = labels.TryGetValue(Name, out string? found) ? found : "";
        return Op switch
        {
            "=" => value == Value,
            "!=" => value != Value,
            "=~" => regex!.IsMatch(value),
            _ => !regex!.IsMatch(value),
        };
    }

    /// <inheritdoc/>
    public bool Equals(Matcher? other) => other is not null && (Name, Op, Value) == (other.Name, other.Op, other.Value);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Name, Op, Value);

    /// <summary>`name="value"`.</summary>
    public override string ToString() => $"{Name}{Op}\"{Value.Replace("\"", "\\\"", StringComparison.Ordinal)}\"";

    internal static bool All(IEnumerable<Matcher> matchers, IReadOnlyDictionary<string, string> labels) => matchers.All(m => m.Matches(labels));
}

