using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.WebUtilities;
using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Server.Mlflow;

/// <summary>
/// Addresses that carry their own right: one method, one path, until a time, on behalf of who asked for them. The right is
/// looked up again when they are used, so that it ends with the role that gave it.
/// </summary>
internal sealed class SignedUrls(Secrets secrets, Access access, TimeProvider clock)
{
    /// <summary>The address on this host below the artifact proxy.</summary>
    /// <param name="http">The request that asks for it.</param>
    /// <param name="method">The only method that it works with.</param>
    /// <param name="path">Full path of the artifact.</param>
    /// <param name="expires">When it ends.</param>
    /// <param name="upload">The upload and the number of the part that may be sent; null for the whole file.</param>
    public string Make(HttpContext http, string method, string path, DateTimeOffset expires, (string Id, int Part)? upload = null)
    {
        var actor = http.GetActor();
        var query = new Dictionary<string, string?>
        {
            ["expires"] = expires.ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture),
            ["by"] = WebEncoders.Base64UrlEncode(JsonSerializer.SerializeToUtf8Bytes(new[] { actor.Kind.ToString(), actor.Name, actor.Auth, actor.OnBehalfOf })),
        };
        if (upload is { } part)
        {
            query["upload"] = part.Id;
            query["part"] = part.Part.ToString(CultureInfo.InvariantCulture);
        }

        query["signature"] = Sign(method, path, query["expires"], query["by"], upload?.Id, query.GetValueOrDefault("part"));
        var escaped = string.Join('/', path.Split('/').Select(Uri.EscapeDataString));
        return QueryHelpers.AddQueryString($"{http.Request.Scheme}://{http.Request.Host}{http.Request.PathBase}/api/2.0/mlflow-artifacts/signed/{escaped}", query);
    }

    /// <summary>Makes whom the address speaks for the request's actor, and demands the permission.</summary>
    /// <exception cref="SlipwayException">PermissionDenied when it was changed, has expired, or its owner lost the right.</exception>
    public async Task DemandAsync(HttpContext http, string path, string permission)
    {
        var query = http.Request.Query;
        string? One(string name) => query.TryGetValue(name, out var values) && values.Count == 1 ? values[0] : null;
        var method = HttpMethods.IsHead(http.Request.Method) ? HttpMethods.Get : http.Request.Method;
        var expected = Encoding.ASCII.GetBytes(Sign(method, path, One("expires"), One("by"), One("upload"), One("part")));
        if (!CryptographicOperations.FixedTimeEquals(expected, Encoding.UTF8.GetBytes(One("signature") ?? "")))
        {
            throw new SlipwayException(ErrorCode.PermissionDenied, "The address is not valid", "its signature does not fit", "ask for a new one");
        }

        if (long.Parse(One("expires")!, CultureInfo.InvariantCulture) <= clock.GetUtcNow().ToUnixTimeSeconds())
        {
            throw new SlipwayException(ErrorCode.PermissionDenied, "The address is not valid", "it has expired", "ask for a new one");
        }

        var by = JsonSerializer.Deserialize<string?[]>(WebEncoders.Base64UrlDecode(One("by")!))!;
        var actor = new Actor(Enum.Parse<ActorKind>(by[0]!), by[1]!, by[2]!, by[3], http.TraceIdentifier);
        await access.DemandAsync(actor, permission, null, http.RequestAborted);
        http.Items[typeof(Actor)] = actor;
    }

    private string Sign(params ReadOnlySpan<string?> parts)
    {
        // Each part with its length, so that no two lists give the same text.
        var text = new StringBuilder();
        foreach (var part in parts)
        {
            text.Append(part?.Length ?? -1).Append(':').Append(part).Append('\n');
        }

        return secrets.Sign("artifact-url", text.ToString());
    }
}
