using System.Buffers.Text;
using System.IO.Hashing;
using System.Security.Cryptography;
using System.Text;
using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>
/// The text of an API key: <c>slp_ID_SECRET_CRC</c> with 8 characters of id (a-z, 2-7), 43 of base64url (32 random bytes) and 8 hex digits of
/// CRC-32 over what stands before, which lets scanners of source code recognise a leaked key and lets us refuse a mistyped one without a look-up.
/// </summary>
internal readonly record struct KeyText(string Id, string Secret)
{
    private const string Prefix = "slp_";
    private const int IdLength = 8;
    private const int SecretLength = 43;
    private const int CrcLength = 8;
    private const int Length = 4 + IdLength + 1 + SecretLength + 1 + CrcLength;
    private const string IdAlphabet = "abcdefghijklmnopqrstuvwxyz234567";

    public static KeyText Mint() =>
        new(RandomNumberGenerator.GetString(IdAlphabet, IdLength), Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32)));

    public static KeyText? TryParse(string text)
    {
        if (text.Length != Length || !text.StartsWith(Prefix, StringComparison.Ordinal)) return null;
        var key = new KeyText(text.Substring(Prefix.Length, IdLength), text.Substring(Prefix.Length + IdLength + 1, SecretLength));
        return string.Equals(key.ToString(), text, StringComparison.Ordinal) ? key : null;
    }

    /// <summary>What is stored: SHA-256 of the secret part, lower hex.</summary>
    public string SecretHash() => Digest.Sha256Hex(Encoding.UTF8.GetBytes(Secret));

    public override string ToString()
    {
        var body = $"{Prefix}{Id}_{Secret}";
        return $"{body}_{Crc32.HashToUInt32(Encoding.UTF8.GetBytes(body)):x8}";
    }
}
