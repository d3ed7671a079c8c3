using System.Globalization;
using System.Text;

namespace Slipway.Registry;

/// <summary>
/// Logical paths of artifacts: keys of a table, never paths of a file system. One spelling per name: percent signs, separators
/// of other systems, dot segments, device names, control and bidirectional characters are refused.
/// </summary>
internal static class ArtifactPath
{
    public const string Scheme = "mlflow-artifacts";
    private const int MaxBytes = 1024;
    private const int MaxSegmentBytes = 255;
    private static readonly HashSet<string> Devices = new(
        ["con", "prn", "aux", "nul", .. Enumerable.Range(0, 10).SelectMany(n => new[] { $"com{n}", $"lpt{n}" })],
        StringComparer.OrdinalIgnoreCase);

    /// <summary>Checks a path that must name something below the root.</summary>
    /// <exception cref="SlipwayException">InvalidArgument with the reason.</exception>
    public static string Check(string? path)
    {
        if (string.IsNullOrEmpty(path))
        {
            throw Invalid(path, "it is empty");
        }

        if (Encoding.UTF8.GetByteCount(path) > MaxBytes)
        {
            throw Invalid(path, $"it is longer than {MaxBytes} bytes");
        }

        foreach (var segment in path.Split('/'))
        {
            if (Fault(segment) is { } fault)
            {
                throw Invalid(path, fault);
            }
        }

        return path;
    }

    /// <summary>A folder to list: empty for the root, a trailing slash is allowed.</summary>
    public static string CheckFolder(string? path)
    {
        var trimmed = path?.TrimEnd('/') ?? "";
        return trimmed.Length == 0 && path is null or "" ? "" : Check(trimmed);
    }

    /// <summary>The path in this server's store that a URI names, or null when another store holds it.</summary>
    public static string? OfUri(string uri)
    {
        if (!uri.StartsWith(Scheme + ":", StringComparison.OrdinalIgnoreCase))
        {
            return null;
        }

        var rest = uri[(Scheme.Length + 1)..];
        if (rest.StartsWith("//", StringComparison.Ordinal))
        {
            var slash = rest.IndexOf('/', 2);
            rest = slash < 0 ? "" : rest[slash..];
        }

        rest = rest.Trim('/');
        return rest.Length == 0 ? "" : Check(rest);
    }

    public static (string Parent, string Name) Split(string path)
    {
        var slash = path.LastIndexOf('/');
        return slash < 0 ? ("", path) : (path[..slash], path[(slash + 1)..]);
    }

    public static string Join(string folder, string path) => folder.Length == 0 ? path : path.Length == 0 ? folder : $"{folder}/{path}";

    private static string? Fault(string segment)
    {
        if (segment.Length == 0)
        {
            return "it has an empty segment";
        }

        // Servers that know path parameters read "..;" as "..".
        if (segment.Split(';')[0] is "." or "..")
        {
            return "'.' and '..' are refused";
        }

        if (Encoding.UTF8.GetByteCount(segment) > MaxSegmentBytes)
        {
            return $"a name is longer than {MaxSegmentBytes} bytes";
        }

        if (segment[^1] is '.' or ' ' || segment[0] == ' ')
        {
            return "a name begins or ends with a space, or ends with a dot";
        }

        foreach (var rune in segment.EnumerateRunes())
        {
            if (rune.Value is '\\' or ':' or '*' or '?' or '"' or '<' or '>' or '|' or '%' or '#')
            {
                return $"the character {rune} is refused";
            }

            // Full-width and look-alike dots and slashes become real ones in systems that fold compatibility forms.
            if (rune.Value is 0xFF0E or 0xFF0F or 0xFF3C or 0xFF05 or 0x2024 or 0x2025 or 0x2044 or 0x2215 or 0xFFFD)
            {
                return $"the character U+{rune.Value:X4} is refused";
            }

            if (IsDecomposed(rune.Value))
            {
                return $"the character U+{rune.Value:X4} is a part of a decomposed letter; send the composed form (Unicode NFC)";
            }

            if (Rune.GetUnicodeCategory(rune) is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator
                or UnicodeCategory.ParagraphSeparator or UnicodeCategory.Surrogate)
            {
                return "control, format and line characters are refused";
            }
        }

        var dot = segment.IndexOf('.', StringComparison.Ordinal);
        return Devices.Contains(dot < 0 ? segment : segment[..dot]) ? "device names of other systems are refused" : null;
    }

    /// <summary>
    /// Marks that a second spelling of a name consists of. The process runs with invariant globalization, where the runtime does not
    /// normalise, so the ranges that NFC composes are named here: Latin, Greek and Cyrillic accents, kana voicing, Hangul parts, and letter twins.
    /// </summary>
    private static bool IsDecomposed(int c) =>
        c is (>= 0x0300 and <= 0x036F) or (>= 0x1AB0 and <= 0x1AFF) or (>= 0x1DC0 and <= 0x1DFF) or (>= 0x20D0 and <= 0x20FF)
            or 0x3099 or 0x309A or (>= 0x1100 and <= 0x11FF) or 0x2126 or 0x212A or 0x212B;

    private static SlipwayException Invalid(string? path, string why) =>
        new(ErrorCode.InvalidArgument, "Invalid path", why, path is { Length: > 0 } ? "use names joined by '/', without '..' and special characters" : "name a file below the root");
}
