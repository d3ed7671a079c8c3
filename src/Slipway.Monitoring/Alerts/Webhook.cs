using System.Security.Cryptography;
using System.Text;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Posts one notification. Its headers: `Idempotency-Key` names the notification on every attempt, `Slipway-Event` its kind, and with
/// a secret `Slipway-Signature: t=&lt;Unix seconds&gt;,v1=&lt;hex HMAC-SHA256 of "t.body"&gt;`.
/// </summary>
internal sealed class Webhook(Outbound outbound, TimeProvider clock)
{
    public Task<OutboundAnswer> PostAsync(string url, string? secret, bool allowLoopback, string id, string kind, string body, CancellationToken ct)
    {
        var headers = new Dictionary<string, string>(StringComparer.Ordinal) { ["Idempotency-Key"] = id, ["Slipway-Event"] = kind };
        if (secret is not null)
        {
            headers["Slipway-Signature"] = Sign(secret, clock.GetUtcNow().ToUnixTimeSeconds(), body);
        }

        return outbound.PostAsync(url, allowLoopback, body, headers, ct);
    }

    /// <summary>The signature header of a body at a moment (Unix seconds).</summary>
    public static string Sign(string secret, long at, string body) =>
        $"t={at},v1={Convert.ToHexStringLower(HMACSHA256.HashData(Encoding.UTF8.GetBytes(secret), Encoding.UTF8.GetBytes($"{at}.{body}")))}";
}
