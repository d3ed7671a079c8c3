using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Slipway.Foundation;
using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring;

/// <summary>A world with a real HTTP receiver, whose clock runs from one thing that is due to the next.</summary>
internal sealed class AlertWorld(TestWorld world) : IAsyncDisposable
{
    private static readonly CancellationToken Ct = CancellationToken.None;
    private bool owns;

    public TestWorld World { get; } = world;

    public HttpSink Sink { get; } = new();

    public DateTimeOffset Start { get; init; } = world.Clock.GetUtcNow();

    public double Now => (World.Clock.GetUtcNow() - Start).TotalSeconds;

    public static async Task<AlertWorld> CreateAsync(Engine engine, string? routing = null, params string[] receivers)
    {
        var alerts = new AlertWorld(await TestWorld.CreateAsync(engine)) { owns = true };
        foreach (string name in receivers.DefaultIfEmpty("team"))
        {
            await alerts.World.Get<Receivers>().SetAsync(TestWorld.Ada, name, new ReceiverRequest(ReceiverKind.Webhook, alerts.Sink.Url + name, AllowLoopback: true, Settings: new ReceiverSettings { SendResolved = name != "pager", PerMinute = 600 }), Ct);
        }

        if (routing is not null)
        {
            await alerts.World.Get<AlertRoutes>().ApplyAsync(TestWorld.Ada, $"apiVersion: slipway.dev/routing/v1\nkind: AlertRouting\n{routing}", Ct);
        }

        return alerts;
    }

    public Task<IReadOnlyList<Alert>> PostAsync(string name, string model, string feature, string severity, TimeSpan? lasts = null) => World.Get<Alerts>().PostAsync(
        TestWorld.Ada,
        [
            new PostedAlert(
                new Dictionary<string, string> { ["alertname"] = name, ["model"] = model, ["feature"] = feature, ["severity"] = severity },
                EndsAt: lasts is { } l ? World.Clock.GetUtcNow() + l : null),
        ],
        Ct);

    /// <summary>Lets time pass to that second, and everything that is due on the way be done.</summary>
    public async Task GoToAsync(double seconds)
    {
        DateTimeOffset target = Start.AddSeconds(seconds);
        while (true)
        {
            await StepAsync();
            DateTimeOffset next = await NextAsync();
            if (next > target)
            {
                break;
            }

            if (next > World.Clock.GetUtcNow())
            {
                World.Clock.SetUtcNow(next);
            }
        }

        if (target > World.Clock.GetUtcNow())
        {
            World.Clock.SetUtcNow(target);
        }

        await StepAsync();
    }

    public async Task StepAsync()
    {
        if (await DueAsync("SELECT COUNT(*) FROM monitoring_alerts WHERE state = 'firing' AND expires_us <= @now"))
        {
            await World.Get<AlertClock>().StepAsync(AlertClock.Key, Ct);
        }

        foreach (string group in await World.Get<GroupWork>().OpenAsync(Ct))
        {
            await World.Get<GroupWork>().StepAsync(group, Ct);
        }

        foreach (string receiver in await World.Get<NotificationWork>().OpenAsync(Ct))
        {
            await World.Get<NotificationWork>().StepAsync(receiver, Ct);
        }
    }

    public ValueTask DisposeAsync()
    {
        Sink.Dispose();
        return owns ? World.DisposeAsync() : ValueTask.CompletedTask;
    }

    private async Task<DateTimeOffset> NextAsync()
    {
        long? next = await World.Database.ReadAsync(
            s => s.ScalarAsync<long?>("SELECT MIN(at) FROM (SELECT MIN(next_us) AS at FROM monitoring_groups UNION ALL SELECT MIN(next_us) FROM monitoring_notifications WHERE state = 'pending' UNION ALL SELECT MIN(expires_us) FROM monitoring_alerts WHERE state = 'firing') d"), Ct);
        return next is { } at ? Time.FromMicros(at) : DateTimeOffset.MaxValue;
    }

    private Task<bool> DueAsync(string count) => World.Database.ReadAsync(async s => await s.ScalarAsync<long>(count, new { now = World.Clock.NowMicros() }) > 0, Ct);
}

/// <summary>A real HTTP listener on loopback. It answers 200, unless it was told what to answer next.</summary>
internal sealed class HttpSink : IDisposable
{
    private readonly HttpListener listener = new();

    public HttpSink()
    {
        Url = $"http://127.0.0.1:{FreePort()}/";
        listener.Prefixes.Add(Url);
        listener.Start();
        _ = Task.Run(ServeAsync);
    }

    public string Url { get; }

    public ConcurrentQueue<Request> Requests { get; } = new();

    /// <summary>Statuses of the next answers.</summary>
    public ConcurrentQueue<int> Next { get; } = new();

    /// <summary>What was told: receiver, status, and each alert as `state name model feature`.</summary>
    public IReadOnlyList<(string Receiver, string Status, string[] Alerts)> Told =>
    [
        .. Requests.Select(r =>
        {
            using JsonDocument body = JsonDocument.Parse(r.Body);
            return (r.Path.Trim('/'), body.RootElement.GetProperty("status").GetString()!,
                body.RootElement.GetProperty("alerts").EnumerateArray().Select(a => $"{a.GetProperty("state").GetString()} {a.GetProperty("labels").GetProperty("alertname").GetString()} {a.GetProperty("labels").GetProperty("model").GetString()} {a.GetProperty("labels").GetProperty("feature").GetString()}").ToArray());
        }),
    ];

    public static int FreePort()
    {
        using var port = new TcpListener(IPAddress.Loopback, 0);
        port.Start();
        return ((IPEndPoint)port.LocalEndpoint).Port;
    }

    public void Dispose() => listener.Close();

    private async Task ServeAsync()
    {
        try
        {
            while (listener.IsListening)
            {
                HttpListenerContext context = await listener.GetContextAsync();
                using var reader = new StreamReader(context.Request.InputStream);
                string body = await reader.ReadToEndAsync();
                Requests.Enqueue(new Request(context.Request.Url!.AbsolutePath, context.Request.Headers.AllKeys.ToDictionary(k => k!, k => context.Request.Headers[k]!, StringComparer.OrdinalIgnoreCase), body));
                context.Response.StatusCode = Next.TryDequeue(out int status) ? status : 200;
                context.Response.Close();
            }
        }
        catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
        {
            // The test is over.
            return;
        }
    }

    public sealed record Request(string Path, Dictionary<string, string> Headers, string Body);
}
