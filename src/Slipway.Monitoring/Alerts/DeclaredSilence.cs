using System.Globalization;
using Slipway.Governance;

namespace Slipway.Monitoring;

/// <summary>A silence as a document says it.</summary>
/// <param name="Matchers">All must hold.</param>
/// <param name="StartsAt">From when; null is from when it is applied.</param>
/// <param name="EndsAt">Until when, not included.</param>
/// <param name="Comment">Why.</param>
internal sealed record DeclaredSilence(IReadOnlyList<Matcher> Matchers, DateTimeOffset? StartsAt, DateTimeOffset EndsAt, string Comment)
{
    private const string ApiVersion = "slipway.dev/silences/v1";
    private const string Kind = "Silences";
    private const int Most = 500;
    private const int MostMatchers = 20;
    private const int LongestComment = 2_000;

    /// <summary>What makes it the same silence when the document is applied again.</summary>
    public string Identity => IdentityOf(Matchers, Comment);

    /// <summary>Matchers, in whatever order, and comment.</summary>
    public static string IdentityOf(IEnumerable<Matcher> matchers, string comment) => string.Join('\n', matchers.Select(m => m.ToString()).Order(StringComparer.Ordinal)) + "\n\n" + comment;

    /// <summary>Reads a document.</summary>
    /// <exception cref="Foundation.SlipwayException">InvalidArgument with every problem and its line.</exception>
    public static IReadOnlyList<DeclaredSilence> Parse(string text)
    {
        var reader = new YamlReader(null);
        var found = new List<DeclaredSilence>();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (YamlNode node in reader.Document(text, "silence document", ApiVersion, Kind, "silences")?.Items("silences", Most) ?? [])
        {
            if (reader.Map(node, "silence", "matchers", "startsAt", "endsAt", "comment") is not { } fields)
            {
                continue;
            }

            Matcher[] matchers = [.. fields.Each("matchers", MostMatchers, Matcher.Parse)];
            DateTimeOffset? start = fields.Read("startsAt", (DateTimeOffset?)null, Moment);
            DateTimeOffset? end = fields.Text("endsAt") is null ? null : fields.Read("endsAt", (DateTimeOffset?)null, Moment);
            string comment = fields.Text("comment")?.Trim() ?? "";
            var silence = new DeclaredSilence(matchers, start, end ?? default, comment);
            string? why = fields.Items("matchers", MostMatchers).Count == 0 ? "it has no matchers"
                : matchers.Length < fields.Items("matchers", MostMatchers).Count || end is null || comment.Length == 0 ? null
                : Silences.TakeAll(matchers) is { } all ? all
                : comment.Length > LongestComment ? $"its comment has {comment.Length} characters, at most {LongestComment} are allowed"
                : end <= start ? "it ends before it starts"
                : end - start > Silences.Longest ? $"it lasts longer than {Silences.Longest.TotalDays} days"
                : seen.Add(silence.Identity) ? null
                : "a silence with these matchers and this comment is in the document already";
            if (why is not null)
            {
                reader.Problem(fields.Line, why);
            }

            found.Add(silence);
        }

        reader.Demand("the silence document");
        return found;
    }

    private static DateTimeOffset? Moment(string text) =>
        DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out DateTimeOffset at)
            ? at
            : throw new FormatException($"'{text}' is not a time like 2026-01-31T12:00:00Z");
}
