using System.Security.Cryptography;
using System.Text;

namespace Slipway.Foundation;

/// <summary>
/// Encrypts what the database has to keep and nobody may read there, such as the secret that signs a webhook: AES-256-GCM under a
/// key of its own for each purpose (HKDF-SHA-256), with the root in a file outside the database that only the server's user can read.
/// </summary>
public sealed class Secrets(DataLayout layout)
{
    private readonly Lazy<byte[]> root = new(() => JournalKeys.Secret(Path.Combine(layout.Keys, "secrets.key"), create: true));

    /// <summary>The encrypted text, as base64.</summary>
    public string Seal(string purpose, string text) => Convert.ToBase64String(JournalKeys.Encrypt(Key(purpose), Encoding.UTF8.GetBytes(text)));

    /// <exception cref="SlipwayException">DataLoss when it was sealed for another purpose or under another key.</exception>
    public string Open(string purpose, string sealedText)
    {
        try
        {
            return Encoding.UTF8.GetString(JournalKeys.Decrypt(Key(purpose), Convert.FromBase64String(sealedText)));
        }
        catch (Exception e) when (e is CryptographicException or FormatException)
        {
            throw new SlipwayException(ErrorCode.DataLoss, $"the secret of a {purpose} cannot be read", "it was encrypted under another key", $"restore {layout.Keys} from a backup, or set the secret again", e);
        }
    }

    /// <summary>HMAC-SHA-256 of a text, as 64 hexadecimal digits.</summary>
    public string Sign(string purpose, string text) => Convert.ToHexStringLower(HMACSHA256.HashData(Key(purpose), Encoding.UTF8.GetBytes(text)));

    private byte[] Key(string purpose) => HKDF.Expand(HashAlgorithmName.SHA256, root.Value, 32, Encoding.UTF8.GetBytes(purpose));
}
