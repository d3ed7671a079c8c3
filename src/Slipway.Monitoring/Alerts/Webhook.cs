using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>The answer to one attempt.</summary>
internal sealed record Attempt(int? Status, string? Error)
{
    public bool Delivered => Error is null;
}

/// <summary>
/// Posts one notification. Its headers: `Idempotency-Key` names the notification on every attempt, `Slipway-Event` its kind, and with
/// a secret `Slipway-Signature: t=&lt;Unix seconds&gt;,v1=&lt;hex HMAC-SHA256 of "t.body"&gt;`. The answer's body is not read; no redirect is followed.
/// </summary>
internal sealed class Webhook(TimeProvider clock) : IDisposable
{
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(5);
    private readonly HttpClient publicOnly = Client(allowLoopback: false);
    private readonly HttpClient loopbackToo = Client(allowLoopback: true);

    public async Task<Attempt> PostAsync(string url, string? secret, bool allowLoopback, string id, string kind, string body, CancellationToken ct)
    {
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(ct);
        timeout.CancelAfter(Longest);
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, OutboundAddress.Check(url, allowLoopback));
            request.Content = new StringContent(body, Encoding.UTF8, new MediaTypeHeaderValue("application/json"));
            request.Headers.Add("Idempotency-Key", id);
            request.Headers.Add("Slipway-Event", kind);
            if (secret is not null)
            {
                request.Headers.Add("Slipway-Signature", Sign(secret, clock.GetUtcNow().ToUnixTimeSeconds(), body));
            }

            using HttpResponseMessage response = await (allowLoopback ? loopbackToo : publicOnly).SendAsync(request, HttpCompletionOption.ResponseHeadersRead, timeout.Token);
            int status = (int)response.StatusCode;
            return response.IsSuccessStatusCode ? new Attempt(status, null) : new Attempt(status, $"the receiver answered {status}");
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            return new Attempt(null, $"no answer within {Longest.TotalSeconds} s");
        }
        catch (Exception e) when (e is HttpRequestException or SlipwayException)
        {
            return new Attempt(null, e is SlipwayException s ? s.Sentence : e.InnerException?.Message ?? e.Message);
        }
    }

    /// <summary>The signature header of a body at a moment (Unix seconds).</summary>
    public static string Sign(string secret, long at, string body) =>
        $"t={at},v1={Convert.ToHexStringLower(HMACSHA256.HashData(Encoding.UTF8.GetBytes(secret), Encoding.UTF8.GetBytes($"{at}.{body}")))}";

    public void Dispose()
    {
        publicOnly.Dispose();
        loopbackToo.Dispose();
    }

    private static HttpClient Client(bool allowLoopback) => new(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        UseProxy = false,
        UseCookies = false,
        AutomaticDecompression = DecompressionMethods.None,
        // A connection serves one delivery, so that every delivery checks the address again.
        PooledConnectionLifetime = TimeSpan.Zero,
        MaxResponseHeadersLength = 16,
        MaxResponseDrainSize = 0,
        ConnectCallback = (context, ct) => OutboundAddress.ConnectAsync(context.DnsEndPoint, allowLoopback, ct),
    });
}
