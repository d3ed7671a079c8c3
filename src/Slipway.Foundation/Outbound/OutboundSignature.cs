using System.Security.Cryptography;
using System.Text;

namespace Slipway.Foundation;

/// <summary>The header <c>Slipway-Signature</c> of what this server posts: <c>t=UNIX-SECONDS,v1=HEX</c>, the HMAC-SHA-256 of <c>UNIX-SECONDS.BODY</c>.</summary>
public static class OutboundSignature
{
    /// <summary>The signature of a body at a moment.</summary>
    public static string Of(string secret, DateTimeOffset at, string body)
    {
        var seconds = at.ToUnixTimeSeconds();
        return $"t={seconds},v1={Convert.ToHexStringLower(HMACSHA256.HashData(Encoding.UTF8.GetBytes(secret), Encoding.UTF8.GetBytes($"{seconds}.{body}")))}";
    }
}
