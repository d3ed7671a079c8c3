using System.Buffers.Text;

namespace Slipway.Web.Pages;

/// <summary>
/// Run ids in an address. A few are written as they are, with commas; many as 22 characters each (their 16 bytes in
/// base64url), so that three hundred fit into what servers take as one line.
/// </summary>
internal static class RunPicks
{
    /// <summary>Most runs that one address holds.</summary>
    public const int Most = 300;

    private const int Readable = 8;
    private const int Packed = 22;

    /// <summary>The ids; what is no id is left out.</summary>
    public static IReadOnlyList<string> Read(string? text)
    {
        if (string.IsNullOrEmpty(text))
            return [];
        var ids = new List<string>();
        if (text.Contains(',', StringComparison.Ordinal) || text.Length == 32)
        {
            ids.AddRange(text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Where(IsId));
        }
        else
        {
            Span<byte> bytes = stackalloc byte[16];
            for (var i = 0; i + Packed <= text.Length; i += Packed)
            {
                if (Base64Url.IsValid(text.AsSpan(i, Packed)) && Base64Url.TryDecodeFromChars(text.AsSpan(i, Packed), bytes, out var written) && written == 16)
                    ids.Add(Convert.ToHexStringLower(bytes));
            }
        }

        return [.. ids.Distinct(StringComparer.Ordinal).Take(Most)];
    }

    /// <summary>The ids as text; null for none.</summary>
    public static string? Write(IReadOnlyCollection<string> ids) => ids.Count switch
    {
        0 => null,
        <= Readable => string.Join(',', ids),
        _ => string.Concat(ids.Take(Most).Select(id => Base64Url.EncodeToString(Convert.FromHexString(id)))),
    };

    private static bool IsId(string text) => text.Length == 32 && text.All(char.IsAsciiHexDigitLower);
}
