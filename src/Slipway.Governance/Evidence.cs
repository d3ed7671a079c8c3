using System.Globalization;
using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>
/// What a gate decides on: named facts and the things they were measured on. Frozen with the request as canonical JSON (RFC 8785)
/// and its SHA-256; a vote and a deployment are about exactly those bytes.
/// <para>Names the built-in checks read: <c>metrics.NAME</c> (the value), <c>metrics.NAME.samples</c> (rows it was measured on),
/// <c>metrics.NAME.ci_lower</c> and <c>.ci_upper</c> (confidence bounds), <c>metrics.NAME.dataset</c> (what it was measured on);
/// the same under <c>champion.</c> for the version in production, or <c>champion</c> = <c>none</c> where there is none.</para>
/// </summary>
/// <param name="Facts">Dotted name to plain decimal string or text.</param>
/// <param name="Links">Runs, dataset versions and other things the facts speak of.</param>
public sealed record Evidence(IReadOnlyDictionary<string, string> Facts, IReadOnlyList<Subject> Links)
{
    /// <summary>Most facts in one request.</summary>
    public const int MaxFacts = 2_000;

    private const int MaxName = 200;
    private const int MaxValue = 4_000;
    private const int MaxLinks = 200;

    /// <summary>SHA-256 of the canonical form, 64 lower hex digits. Independent of the order in which facts and links were given.</summary>
    public string Digest() => Foundation.Digest.Sha256Hex(Canonical());

    /// <summary>
    /// A measured number as a fact: the shortest plain decimal that reads back as the same double.
    /// NaN and infinities are kept as words, which no check accepts as a number.
    /// </summary>
    public static string Number(double value)
    {
        if (!double.IsFinite(value)) return value.ToString(CultureInfo.InvariantCulture);
        var text = value.ToString("R", CultureInfo.InvariantCulture);
        var e = text.IndexOf('E', StringComparison.Ordinal);
        if (e < 0) return text == "-0" ? "0" : text;

        var exponent = int.Parse(text.AsSpan(e + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        var negative = text[0] == '-';
        var mantissa = text[(negative ? 1 : 0)..e];
        var point = mantissa.IndexOf('.', StringComparison.Ordinal);
        var digits = mantissa.Replace(".", "", StringComparison.Ordinal);
        var whole = (point < 0 ? mantissa.Length : point) + exponent;
        var plain = whole <= 0 ? "0." + new string('0', -whole) + digits
            : whole >= digits.Length ? digits + new string('0', whole - digits.Length)
            : digits[..whole] + "." + digits[whole..];
        return negative ? "-" + plain : plain;
    }

    internal byte[] Canonical() => CanonicalJson.Serialize(new Dictionary<string, object>(StringComparer.Ordinal)
    {
        ["facts"] = Facts.ToDictionary(f => f.Key, f => f.Value, StringComparer.Ordinal),
        ["links"] = Links.Select(l => l.ToString()).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).ToArray(),
    });

    /// <summary>Refuses evidence that is larger than the journal and the approval screen can carry.</summary>
    internal void DemandBounded()
    {
        if (Facts.Count > MaxFacts) throw Refuse($"it has {Facts.Count} facts; at most {MaxFacts} are kept");
        if (Links.Count > MaxLinks) throw Refuse($"it has {Links.Count} links; at most {MaxLinks} are kept");
        foreach (var (name, value) in Facts)
        {
            if (name.Length is 0 or > MaxName || name.Any(c => char.IsControl(c) || char.IsWhiteSpace(c)))
                throw Refuse($"the fact name '{name[..Math.Min(name.Length, 60)]}' is empty, longer than {MaxName} characters or contains white space");
            if (value is null) throw Refuse($"the fact {name} has no value");
            if (value.Length > MaxValue) throw Refuse($"the fact {name} has {value.Length} characters; at most {MaxValue} are kept");
        }
    }

    private static SlipwayException Refuse(string why) =>
        new(ErrorCode.InvalidArgument, "the evidence cannot be frozen", why, "put large material in the blob store and give its digest as a fact");
}
