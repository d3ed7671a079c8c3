using System.Text;
using Slipway.Foundation;

namespace Slipway.Data;

/// <summary>
/// The names of files inside a version. They are keys in a manifest and never become paths of the server's disk, but they travel to other
/// machines, so a name that is dangerous or ambiguous anywhere is refused here: no way up, no drive, no device, no percent sign (and so no second decoding),
/// no control or direction characters, normalised to NFC.
/// </summary>
public static class LogicalPath
{
    private const int MaxPath = 1024;
    private const int MaxSegment = 255;
    private const string Forbidden = "\\/:*?\"<>|%";

    private static readonly HashSet<string> Devices = new(
        ["con", "prn", "aux", "nul", "conin$", "conout$", .. Enumerable.Range(0, 10).SelectMany(i => new[] { $"com{i}", $"lpt{i}" }), "com¹", "com²", "com³", "lpt¹", "lpt²", "lpt³"],
        StringComparer.OrdinalIgnoreCase);

    /// <summary>Refuses a path that is not a sound logical path.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.InvalidArgument"/> with the path and the rule it breaks.</exception>
    public static void Demand(string path)
    {
        if (Problem(path) is { } why)
            throw SlipwayException.Invalid($"\"{Shown(path)}\" cannot be the path of a file", why, "use plain names separated by /, such as data/2001-01.csv");
    }

    /// <summary>Refuses paths that are equal, or equal on a file system that ignores case.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.InvalidArgument"/> naming both; also when one path is the folder of another.</exception>
    public static void DemandDistinct(IReadOnlyCollection<string> paths)
    {
        var seen = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (var path in paths)
        {
            if (!seen.TryAdd(path, path))
                throw SlipwayException.Invalid("the files cannot be committed together", $"\"{Shown(path)}\" and \"{Shown(seen[path])}\" are the same path where case does not count", "rename one of them");
        }
        foreach (var path in paths)
        {
            for (var slash = path.IndexOf('/', StringComparison.Ordinal); slash > 0; slash = path.IndexOf('/', slash + 1))
            {
                if (seen.TryGetValue(path[..slash], out var file))
                    throw SlipwayException.Invalid("the files cannot be committed together", $"\"{Shown(file)}\" is a file and the folder of \"{Shown(path)}\"", "rename one of them");
            }
        }
    }

    /// <summary>What is wrong with the path, or null.</summary>
    internal static string? Problem(string path)
    {
        if (path.Length == 0) return "it is empty";
        if (path.Length > MaxPath || Encoding.UTF8.GetByteCount(path) > MaxPath) return $"it is longer than {MaxPath} bytes";
        for (var i = 0; i < path.Length; i++)
        {
            if (char.IsHighSurrogate(path[i]) && i + 1 < path.Length && char.IsLowSurrogate(path[i + 1])) { i++; continue; }
            if (char.IsSurrogate(path[i])) return "it is no valid Unicode";
        }
        if (path.EnumerateRunes().FirstOrDefault(Decomposed) is { Value: not 0 } mark) return $"U+{mark.Value:X4} is not in Unicode normalisation form C";
        if (path[0] == '/') return "it begins with /";
        foreach (var segment in path.Split('/'))
        {
            if (SegmentProblem(segment) is { } why) return why;
        }
        return null;
    }

    private static string? SegmentProblem(string segment)
    {
        if (segment.Length == 0) return "it has an empty segment";
        if (segment is "." or "..") return $"it has the segment {segment}";
        if (Encoding.UTF8.GetByteCount(segment) > MaxSegment) return $"a segment is longer than {MaxSegment} bytes";
        foreach (var c in segment)
        {
            if (char.IsControl(c)) return $"it has the control character U+{(int)c:X4}";
            if (Forbidden.Contains(c, StringComparison.Ordinal)) return $"it has the character {c}";
            if (c is (>= '\u200B' and <= '\u200F') or (>= '\u202A' and <= '\u202E') or (>= '\u2060' and <= '\u2069') or '\uFEFF' or '\u2028' or '\u2029') return $"it has the invisible character U+{(int)c:X4}";
            if (c is '．' or '／' or '＼' or '：' or '％') return $"it has the look-alike character {c}";
        }
        if (segment[0] is ' ' or '.') return "a segment begins with a space or dot";
        if (segment[^1] is ' ' or '.') return "a segment ends with a space or dot";
        var stem = segment.Split('.')[0].TrimEnd(' ');
        return Devices.Contains(stem) ? $"{stem} is a device name" : null;
    }

    // The product runs without ICU, where IsNormalized answers true to everything. Decomposed text needs a combining mark, a conjoining jamo
    // or one of the characters that form C always replaces; refusing those refuses every twin of a composed name.
    private static bool Decomposed(Rune rune) => rune.Value is (>= 0x0300 and <= 0x036F) or (>= 0x1AB0 and <= 0x1AFF) or (>= 0x1DC0 and <= 0x1DFF) or (>= 0x20D0 and <= 0x20FF)
        or (>= 0xFE20 and <= 0xFE2F) or (>= 0x1100 and <= 0x11FF) or 0x2126 or 0x212A or 0x212B or (>= 0xF900 and <= 0xFAFF) or (>= 0x2F800 and <= 0x2FA1F);

    private static string Shown(string path) => string.Concat(path.Take(120).Select(c => char.IsControl(c) ? '?' : c));
}
