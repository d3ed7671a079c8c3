using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Slipway.Server.Demo;

/// <summary>The other end of the alert webhook: a small server on a free loopback port that checks each signature.</summary>
internal sealed class WebhookReceiver : IAsyncDisposable
{
    public const string Secret = "demo-receiver-secret";
    private readonly WebApplication app;
    private readonly ConcurrentQueue<string> bodies = new();
    private int refused;

    private WebhookReceiver(WebApplication app) => this.app = app;

    /// <summary>The bodies of all deliveries whose signature was right.</summary>
    public IReadOnlyCollection<string> Bodies => bodies;

    /// <summary>Deliveries with a wrong signature.</summary>
    public int Refused => refused;

    public string Url => app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First() + "/alerts";

    public static async Task<WebhookReceiver> StartAsync(CancellationToken ct)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(k => k.Listen(IPAddress.Loopback, 0));
        var app = builder.Build();
        var receiver = new WebhookReceiver(app);
        app.MapPost("/alerts", (Delegate)receiver.TakeAsync);
        await app.StartAsync(ct);
        return receiver;
    }

    public ValueTask DisposeAsync() => app.DisposeAsync();

    private async Task<IResult> TakeAsync(HttpContext context)
    {
        using var reader = new StreamReader(context.Request.Body, Encoding.UTF8);
        var body = await reader.ReadToEndAsync(context.RequestAborted);
        // Slipway-Signature: t=<seconds>,v1=<hex HMAC-SHA-256 of "t.body">
        var parts = context.Request.Headers["Slipway-Signature"].ToString().Split(',').Select(p => p.Split('=', 2)).Where(p => p.Length == 2).ToDictionary(p => p[0].Trim(), p => p[1], StringComparer.Ordinal);
        var expected = HMACSHA256.HashData(Encoding.UTF8.GetBytes(Secret), Encoding.UTF8.GetBytes($"{parts.GetValueOrDefault("t")}.{body}"));
        if (!CryptographicOperations.FixedTimeEquals(Encoding.ASCII.GetBytes(Convert.ToHexStringLower(expected)), Encoding.ASCII.GetBytes(parts.GetValueOrDefault("v1") ?? "")))
        {
            Interlocked.Increment(ref refused);
            return Results.StatusCode(StatusCodes.Status401Unauthorized);
        }

        bodies.Enqueue(body);
        return Results.Ok();
    }
}
