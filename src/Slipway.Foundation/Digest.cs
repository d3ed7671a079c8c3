using System.Security.Cryptography;

namespace Slipway.Foundation;

/// <summary>SHA-256 as lower-case hexadecimal, the form in which every digest is shown and stored.</summary>
public static class Digest
{
    public static string Sha256Hex(ReadOnlySpan<byte> data) => Convert.ToHexStringLower(SHA256.HashData(data));

    /// <summary>Whether the text is 64 lower-case hexadecimal digits.</summary>
    public static bool IsSha256(string? text)
    {
        if (text is not { Length: 64 })
        {
            return false;
        }

        foreach (var c in text)
        {
            if (c is not ((>= '0' and <= '9') or (>= 'a' and <= 'f')))
            {
                return false;
            }
        }

        return true;
    }
}
