using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Slipway.Foundation;
using Slipway.Monitoring;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Tests.Monitoring;

public sealed class NotificationTests
{
    private const string Secret = "a-secret-of-at-least-sixteen";
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Alert_is_delivered_after_a_failure_signed_and_under_one_key(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        using var sink = new Sink(500, 200);
        Receiver receiver = await world.Get<Alerts>().SetReceiverAsync(TestWorld.Ada, "ops", sink.Url, Secret, allowLoopback: true, Ct);
        Assert.True(receiver.Signed);
        Alert alert = await FireAsync(world);
        await StepAsync(world);
        Notification pending = Assert.Single(await world.Get<Alerts>().NotificationsAsync(alert.Id, Ct));
        Assert.Equal(("pending", 1, 500), (pending.State, pending.Attempts, pending.LastStatus));
        await StepAsync(world);
        Assert.Single(sink.Requests);
        world.Clock.Advance(TimeSpan.FromSeconds(3));
        await StepAsync(world);

        Notification delivered = Assert.Single(await world.Get<Alerts>().NotificationsAsync(alert.Id, Ct));
        Assert.Equal(("delivered", 2, 200), (delivered.State, delivered.Attempts, delivered.LastStatus));
        Sink.Request[] requests = sink.Requests.ToArray();
        Assert.Equal(2, requests.Length);
        Assert.All(requests, r => Assert.Equal((pending.Id, "alert.fired"), (r.Headers["Idempotency-Key"], r.Headers["Slipway-Event"])));
        Assert.Equal(Webhook.Sign(Secret, world.Clock.GetUtcNow().ToUnixTimeSeconds(), requests[1].Body), requests[1].Headers["Slipway-Signature"]);
        using JsonDocument body = JsonDocument.Parse(requests[1].Body);
        Assert.Equal(alert.Sentence, body.RootElement.GetProperty("alert").GetProperty("sentence").GetString());
        Assert.Equal(["evaluated", "fired", "notified", "failed", "delivered"], (await world.Get<Alerts>().TimelineAsync(alert.Id, Ct)).Select(t => t.Kind));
        await world.SealAsync();
        NotificationDone done = Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "notification." }, Ct)).Items).Read<NotificationDone>();
        Assert.Equal(("ops", 2, 200), (done.Receiver, done.Attempts, done.Status));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Resolved_does_not_overtake_fired(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        using var sink = new Sink(500, 200, 200);
        await world.Get<Alerts>().SetReceiverAsync(TestWorld.Ada, "ops", sink.Url, null, allowLoopback: true, Ct);
        await FireAsync(world);
        await StepAsync(world);
        Traffic.Day(world, 1, 300);
        Traffic.Tick(world, 2);
        await world.Get<Monitors>().EvaluateAsync((await world.Get<Monitors>().ListAsync(Ct))[0].Id, Ct);
        for (int i = 0; i < 4; i++)
        {
            world.Clock.Advance(TimeSpan.FromSeconds(3));
            await StepAsync(world);
        }

        Assert.Equal(["alert.fired", "alert.fired", "alert.resolved"], sink.Requests.Select(r => r.Headers["Slipway-Event"]));
        Assert.DoesNotContain("Slipway-Signature", sink.Requests.First().Headers.Keys);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Undeliverable_notification_is_given_up_and_journalled(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        int port = FreePort();
        await world.Get<Alerts>().SetReceiverAsync(TestWorld.Ada, "ops", $"http://127.0.0.1:{port}/", null, allowLoopback: true, Ct);
        Alert alert = await FireAsync(world);
        for (int i = 0; i < 3; i++)
        {
            await StepAsync(world);
            world.Clock.Advance(TimeSpan.FromHours(12));
        }

        Notification failed = Assert.Single(await world.Get<Alerts>().NotificationsAsync(alert.Id, Ct));
        Assert.Equal(("failed", null), (failed.State, failed.LastStatus));
        await world.SealAsync();
        Assert.Equal("error", Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "notification.failed" }, Ct)).Items).Outcome);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Acknowledgement_is_attributed_and_happens_once(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        Alert alert = await FireAsync(world);
        var alerts = world.Get<Alerts>();
        Assert.Equal("grace", (await alerts.AcknowledgeAsync(TestWorld.Grace, alert.Id, Ct)).AcknowledgedBy);
        Assert.Equal("grace", (await alerts.AcknowledgeAsync(TestWorld.Ada, alert.Id, Ct)).AcknowledgedBy);
        await world.SealAsync();
        Assert.Equal("grace", Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "alert.acknowledged" }, Ct)).Items).Actor.Name);
        Assert.Equal(ErrorCode.NotFound, (await Assert.ThrowsAsync<SlipwayException>(() => alerts.AcknowledgeAsync(TestWorld.Ada, "none", Ct))).Code);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Receivers_are_replaced_removed_and_never_show_their_secret(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var alerts = world.Get<Alerts>();
        await alerts.SetReceiverAsync(TestWorld.Ada, "ops", "https://hooks.example.com/a", Secret, Ct);
        await alerts.SetReceiverAsync(TestWorld.Ada, "ops", "https://hooks.example.com/b", Secret, Ct);
        Assert.Equal("https://hooks.example.com/b", Assert.Single(await alerts.ListReceiversAsync(Ct)).Url);
        await alerts.RemoveReceiverAsync(TestWorld.Ada, "ops", Ct);
        Assert.Empty(await alerts.ListReceiversAsync(Ct));
        await world.SealAsync();
        IReadOnlyList<JournalEntry> entries = (await world.Journal.ListAsync(new JournalFilter { Kind = "receiver." }, Ct)).Items;
        Assert.Equal(3, entries.Count);
        Assert.All(entries, e => Assert.DoesNotContain(Secret, e.Body.GetRawText(), StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("ftp://example.com/", false)]
    [InlineData("http://example.com/", false)]
    [InlineData("https://user:pw@example.com/", false)]
    [InlineData("https://example.com:8443/", false)]
    [InlineData("https://127.0.0.1/", false)]
    [InlineData("https://localhost/", false)]
    [InlineData("https://10.1.2.3/", true)]
    [InlineData("https://169.254.169.254/latest", true)]
    [InlineData("https://192.168.1.1/", true)]
    [InlineData("https://[fd00::1]/", true)]
    [InlineData("https://[::ffff:10.0.0.1]/", true)]
    [InlineData("https://[64:ff9b::a00:1]/", true)]
    [InlineData("https://exämple.com/", false)]
    [InlineData("not a url", false)]
    public void Addresses_that_are_not_public_https_are_refused(string url, bool allowLoopback) =>
        Assert.Equal(ErrorCode.InvalidArgument, Assert.Throws<SlipwayException>(() => OutboundAddress.Check(url, allowLoopback)).Code);

    [Theory]
    [InlineData("https://hooks.example.com/x", false)]
    [InlineData("http://127.0.0.1:5601/x", true)]
    [InlineData("http://localhost:5601/x", true)]
    [InlineData("https://93.184.216.34/", false)]
    public void Public_https_and_allowed_loopback_pass(string url, bool allowLoopback) => Assert.Equal(new Uri(url), OutboundAddress.Check(url, allowLoopback));

    [Fact]
    public async Task Name_that_resolves_to_this_machine_is_refused_when_connecting()
    {
        var error = await Assert.ThrowsAsync<HttpRequestException>(async () => await OutboundAddress.ConnectAsync(new DnsEndPoint("localhost", 443), allowLoopback: false, Ct));
        Assert.Contains("is not a public address", error.Message, StringComparison.Ordinal);
    }

    private static async Task<Alert> FireAsync(TestWorld world)
    {
        Monitor monitor = await world.Get<Monitors>().WatchAsync(TestWorld.Ada, Traffic.Watch(), Ct);
        Traffic.Day(world, 0, 300, shift: 2);
        Traffic.Tick(world, 1);
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, Ct);
        return Assert.Single(await world.Get<Alerts>().ListAsync("firing", Ct));
    }

    private static async Task StepAsync(TestWorld world)
    {
        var work = world.Get<NotificationWork>();
        foreach (string key in await work.OpenAsync(Ct))
        {
            await work.StepAsync(key, Ct);
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    /// <summary>A real HTTP listener on loopback that answers with the given statuses in turn.</summary>
    private sealed class Sink : IDisposable
    {
        private readonly HttpListener listener = new();

        public Sink(params int[] statuses)
        {
            Url = $"http://127.0.0.1:{FreePort()}/";
            listener.Prefixes.Add(Url);
            listener.Start();
            _ = Task.Run(() => ServeAsync(statuses));
        }

        public string Url { get; }

        public ConcurrentQueue<Request> Requests { get; } = new();

        public void Dispose() => listener.Close();

        private async Task ServeAsync(int[] statuses)
        {
            foreach (int status in statuses)
            {
                HttpListenerContext context = await listener.GetContextAsync();
                using var reader = new StreamReader(context.Request.InputStream);
                string body = await reader.ReadToEndAsync();
                Requests.Enqueue(new Request(context.Request.Headers.AllKeys.ToDictionary(k => k!, k => context.Request.Headers[k]!, StringComparer.OrdinalIgnoreCase), body));
                context.Response.StatusCode = status;
                context.Response.Close();
            }
        }

        public sealed record Request(Dictionary<string, string> Headers, string Body);
    }
}
