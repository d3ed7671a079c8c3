using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Slipway.Registry;

/// <summary>
/// Posts an event as MLflow does: <c>X-MLflow-Delivery-Id</c>, <c>X-MLflow-Timestamp</c> (Unix seconds of the attempt) and, with a
/// secret, <c>X-MLflow-Signature: v1,BASE64</c>, the HMAC-SHA-256 of <c>ID.TIMESTAMP.BODY</c>.
/// </summary>
internal sealed class WebhookPost(Outbound outbound, Secrets secrets, RegistryOptions options, TimeProvider clock)
{
    /// <summary>What secrets of webhooks are sealed for.</summary>
    public const string Purpose = "webhook";

    private static readonly JsonSerializerOptions Json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static string Body(WebhookEvent happened, DateTimeOffset at, IReadOnlyDictionary<string, object?> data) => JsonSerializer.Serialize(
        new Dictionary<string, object?>(StringComparer.Ordinal)
        {
            ["entity"] = happened.Entity,
            ["action"] = happened.Action,
            ["timestamp"] = at.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'+00:00'", CultureInfo.InvariantCulture),
            ["data"] = data,
        },
        Json);

    public Task<OutboundAnswer> SendAsync(WebhookRow webhook, string id, string body, CancellationToken ct)
    {
        var timestamp = clock.GetUtcNow().ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);
        var headers = new Dictionary<string, string>(StringComparer.Ordinal) { ["X-MLflow-Delivery-Id"] = id, ["X-MLflow-Timestamp"] = timestamp };
        if (webhook.Secret is not null)
        {
            headers["X-MLflow-Signature"] = Sign(secrets.Open(Purpose, webhook.Secret), id, timestamp, body);
        }

        return outbound.PostAsync(webhook.Url, options.WebhooksToLoopback, body, headers, ct);
    }

    public static string Sign(string secret, string id, string timestamp, string body) =>
        "v1," + Convert.ToBase64String(HMACSHA256.HashData(Encoding.UTF8.GetBytes(secret), Encoding.UTF8.GetBytes($"{id}.{timestamp}.{body}")));
}
