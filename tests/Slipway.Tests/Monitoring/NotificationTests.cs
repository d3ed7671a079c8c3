using System.Net;
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
        await using var alerts = new AlertWorld(world);
        alerts.Sink.Next.Enqueue(500);
        Receiver receiver = await OpsAsync(alerts, Secret);
        Assert.True(receiver.Signed);
        Alert alert = await FireAsync(world);
        await alerts.GoToAsync(29);
        Assert.Empty(alerts.Sink.Requests);
        await alerts.GoToAsync(30);
        Notification pending = Assert.Single(await world.Get<Alerts>().NotificationsAsync(alert.Id, Ct));
        Assert.Equal(("pending", 1, 500), (pending.State, pending.Attempts, pending.LastStatus));
        await alerts.GoToAsync(33);

        Notification delivered = Assert.Single(await world.Get<Alerts>().NotificationsAsync(alert.Id, Ct));
        Assert.Equal(("delivered", 2, 200), (delivered.State, delivered.Attempts, delivered.LastStatus));
        HttpSink.Request[] requests = alerts.Sink.Requests.ToArray();
        Assert.Equal(2, requests.Length);
        Assert.All(requests, r => Assert.Equal((pending.Id, "alerts.firing"), (r.Headers["Idempotency-Key"], r.Headers["Slipway-Event"])));
        string signature = requests[1].Headers["Slipway-Signature"];
        Assert.Equal(OutboundSignature.Of(Secret, DateTimeOffset.FromUnixTimeSeconds(long.Parse(signature.Split(',')[0][2..])), requests[1].Body), signature);
        using JsonDocument body = JsonDocument.Parse(requests[1].Body);
        Assert.Equal(alert.Sentence, body.RootElement.GetProperty("alerts")[0].GetProperty("sentence").GetString());
        Assert.Equal(["evaluated", "fired", "notified", "failed", "delivered"], (await world.Get<Alerts>().TimelineAsync(alert.Id, Ct)).Select(t => t.Kind));
        await world.SealAsync();
        NotificationDone done = Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "notification." }, Ct)).Items).Read<NotificationDone>();
        Assert.Equal(("ops", 2, 200), (done.Receiver, done.Attempts, done.Status));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Whoever_may_have_heard_firing_hears_resolved(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        await using var alerts = new AlertWorld(world);
        for (int i = 0; i < 6; i++)
        {
            alerts.Sink.Next.Enqueue(500);
        }

        await OpsAsync(alerts, null);
        await FireAsync(world);
        await alerts.GoToAsync(40);
        Assert.NotEmpty(alerts.Sink.Requests);
        await CalmAsync(world);
        await alerts.GoToAsync(700);

        // The first message never got a 200, but it may have arrived.
        Assert.Equal("alerts.resolved", alerts.Sink.Requests.Last().Headers["Slipway-Event"]);
        Assert.DoesNotContain("Slipway-Signature", alerts.Sink.Requests.First().Headers.Keys);
        Assert.Equal(0, await CountAsync(world, "monitoring_groups"));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task What_fires_and_resolves_within_the_wait_is_not_told(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        await using var alerts = new AlertWorld(world);
        await OpsAsync(alerts, null);
        Alert alert = await FireAsync(world);
        await alerts.GoToAsync(10);
        await CalmAsync(world);
        await alerts.GoToAsync(1000);
        Assert.Empty(alerts.Sink.Requests);
        Assert.Equal("nobody was told: it resolved before its group was due", (await world.Get<Alerts>().WhyAsync(alert.Id, Ct)).Verdict);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Undeliverable_notification_is_given_up_and_journalled(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        await using var alerts = new AlertWorld(world);
        await world.Get<Receivers>().SetAsync(TestWorld.Ada, "ops", new ReceiverRequest(ReceiverKind.Webhook, $"http://127.0.0.1:{HttpSink.FreePort()}/", AllowLoopback: true), Ct);
        Alert alert = await FireAsync(world);
        await alerts.GoToAsync(TimeSpan.FromHours(25).TotalSeconds);

        Notification failed = (await world.Get<Alerts>().NotificationsAsync(alert.Id, Ct))[0];
        Assert.Equal(("failed", null), (failed.State, failed.LastStatus));
        Assert.InRange(failed.DoneAt!.Value - failed.CreatedAt, TimeSpan.FromHours(23), TimeSpan.FromHours(24));
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
        var receivers = world.Get<Receivers>();
        await receivers.SetAsync(TestWorld.Ada, "ops", new ReceiverRequest(ReceiverKind.Webhook, "https://hooks.example.com/a", Secret), Ct);
        await receivers.SetAsync(TestWorld.Ada, "ops", new ReceiverRequest(ReceiverKind.Webhook, "https://hooks.example.com/b", Secret), Ct);
        Assert.Equal("https://hooks.example.com/b", Assert.Single(await receivers.ListAsync(Ct)).Url);
        Receiver slack = await receivers.SetAsync(TestWorld.Ada, "chat", new ReceiverRequest(ReceiverKind.Slack, "https://hooks.example.com/services/T0/B0/abcdef"), Ct);
        Assert.Equal("https://hooks.example.com/…", slack.Url);
        Assert.DoesNotContain(await world.Database.ReadAsync(s => s.QueryAsync<string>("SELECT COALESCE(secret, '') || url || COALESCE(sealed_secret, '') FROM monitoring_receivers"), Ct), r => r.Contains(Secret, StringComparison.Ordinal) || r.Contains("abcdef", StringComparison.Ordinal));
        await receivers.RemoveAsync(TestWorld.Ada, "ops", Ct);
        await receivers.RemoveAsync(TestWorld.Ada, "chat", Ct);
        Assert.Empty(await receivers.ListAsync(Ct));
        await world.SealAsync();
        IReadOnlyList<JournalEntry> entries = (await world.Journal.ListAsync(new JournalFilter { Kind = "receiver." }, Ct)).Items;
        Assert.Equal(5, entries.Count);
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

    private static async Task CalmAsync(TestWorld world)
    {
        Traffic.Day(world, 1, 300);
        Traffic.Tick(world, 2);
        await world.Get<Monitors>().EvaluateAsync((await world.Get<Monitors>().ListAsync(Ct))[0].Id, Ct);
        Assert.Empty(await world.Get<Alerts>().ListAsync("firing", Ct));
    }

    private static Task<Receiver> OpsAsync(AlertWorld alerts, string? secret) =>
        alerts.World.Get<Receivers>().SetAsync(TestWorld.Ada, "ops", new ReceiverRequest(ReceiverKind.Webhook, alerts.Sink.Url, secret, AllowLoopback: true), Ct);

    private static Task<long> CountAsync(TestWorld world, string table) => world.Database.ReadAsync(s => s.ScalarAsync<long>($"SELECT COUNT(*) FROM {table}"), Ct);
}
