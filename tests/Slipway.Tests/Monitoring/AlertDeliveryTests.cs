using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text.Json;
using Slipway.Foundation;
using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring;

/// <summary>Delivery to real receivers, its limits, and what a restart finds.</summary>
public sealed class AlertDeliveryTests
{
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Fact]
    public async Task Mail_arrives_at_a_real_server_once_threaded_and_with_the_ten_strongest_columns()
    {
        await using AlertWorld alerts = await AlertWorld.CreateAsync(Engine.Sqlite);
        await using var mail = new SmtpSink();
        await alerts.World.Get<Receivers>().RemoveAsync(TestWorld.Ada, "team", Ct);
        var settings = new ReceiverSettings { From = "Slipway <slipway@example.org>", To = ["ops@example.org", "ml@example.org"] };
        await alerts.World.Get<Receivers>().SetAsync(TestWorld.Ada, "mail", new ReceiverRequest(ReceiverKind.Email, $"smtp://127.0.0.1:{mail.Port}", AllowLoopback: true, Settings: settings), Ct);
        await alerts.PostAsync("Drift", "m1", "a", "major");
        await alerts.GoToAsync(31);

        SmtpSink.Mail got = Assert.Single(mail.Mails);
        Assert.Equal(("slipway@example.org", "ops@example.org ml@example.org"), (got.From, string.Join(' ', got.To)));
        Assert.Contains("Subject: [Firing:1]", got.Data, StringComparison.Ordinal);
        Assert.Contains("Auto-Submitted: auto-generated", got.Data, StringComparison.Ordinal);
        Assert.Matches("(?i)Message-Id: <[0-9a-f]{32}@slipway>", got.Data);
        Assert.True((await alerts.World.Get<Receivers>().TestAsync(TestWorld.Ada, "mail", Ct)).Delivered);
        mail.Refuse = true;
        ReceiverTest refused = await alerts.World.Get<Receivers>().TestAsync(TestWorld.Ada, "mail", Ct);
        Assert.Equal((false, 554), (refused.Delivered, refused.Status));
    }

    [Fact]
    public async Task Real_alertmanager_takes_alerts_and_their_end()
    {
        string program = "/usr/bin/prometheus-alertmanager";
        Assert.True(File.Exists(program), $"{program} is not installed; ./test installs it");
        using var folder = new TemporaryFolder();
        int port = HttpSink.FreePort();
        string config = Path.Combine(folder.Path, "alertmanager.yml");
        await File.WriteAllTextAsync(config, "route: {receiver: none}\nreceivers: [{name: none}]\n", Ct);
        using Process process = Process.Start(new ProcessStartInfo(program, [$"--config.file={config}", $"--storage.path={folder.Path}/data", $"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", "--log.level=error"]) { RedirectStandardError = true, RedirectStandardOutput = true, UseShellExecute = false })!;
        try
        {
            using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}/") };
            await ReadyAsync(http);
            await using AlertWorld alerts = await AlertWorld.CreateAsync(Engine.Sqlite);
            // Alertmanager lives in real time; what this world lives through in ten minutes is past there.
            alerts.World.Clock.SetUtcNow(new DateTimeOffset(File.GetLastWriteTimeUtc(config)).AddMinutes(-10));
            await alerts.World.Get<Receivers>().SetAsync(TestWorld.Ada, "team", new ReceiverRequest(ReceiverKind.Alertmanager, $"http://127.0.0.1:{port}/", AllowLoopback: true), Ct);
            DateTimeOffset begun = alerts.World.Clock.GetUtcNow();
            await alerts.PostAsync("Drift", "m1", "a", "major", TimeSpan.FromHours(2));
            await alerts.GoToAsync((begun - alerts.Start).TotalSeconds + 31);
            JsonElement active = Assert.Single((await http.GetFromJsonAsync<JsonElement>("api/v2/alerts", Ct)).EnumerateArray());
            Assert.Equal(("Drift", "m1", "a"), (active.GetProperty("labels").GetProperty("alertname").GetString(), active.GetProperty("labels").GetProperty("model").GetString(), active.GetProperty("labels").GetProperty("feature").GetString()));
            Assert.Contains("Drift", active.GetProperty("annotations").GetProperty("summary").GetString(), StringComparison.Ordinal);
            // Without a later word it would resolve only after the next repeat.
            Assert.True(active.GetProperty("endsAt").GetDateTimeOffset() > begun + TimeSpan.FromHours(4));

            await alerts.PostAsync("Drift", "m1", "a", "major", TimeSpan.Zero);
            await alerts.GoToAsync((begun - alerts.Start).TotalSeconds + 400);
            Assert.Empty((await http.GetFromJsonAsync<JsonElement>("api/v2/alerts", Ct)).EnumerateArray());
        }
        finally
        {
            process.Kill();
            await process.WaitForExitAsync(Ct);
        }
    }

    [Fact]
    public async Task Slack_and_pagerduty_get_their_own_forms()
    {
        await using AlertWorld alerts = await AlertWorld.CreateAsync(Engine.Sqlite, null, "team");
        await alerts.World.Get<Receivers>().RemoveAsync(TestWorld.Ada, "team", Ct);
        await alerts.World.Get<Receivers>().SetAsync(TestWorld.Ada, "chat", new ReceiverRequest(ReceiverKind.Slack, alerts.Sink.Url + "chat", AllowLoopback: true), Ct);
        await alerts.World.Get<Receivers>().SetAsync(TestWorld.Ada, "duty", new ReceiverRequest(ReceiverKind.PagerDuty, alerts.Sink.Url + "duty", "routing-key", AllowLoopback: true), Ct);
        await alerts.PostAsync("Drift", "<m1>", "a", "severe");
        await alerts.GoToAsync(31);
        await alerts.PostAsync("Drift", "<m1>", "a", "severe", TimeSpan.Zero);
        await alerts.GoToAsync(400);

        JsonElement chat = Body(alerts.Sink.Requests.First(r => r.Path == "/chat"));
        Assert.StartsWith("[Firing:1] model=&lt;m1&gt;", chat.GetProperty("text").GetString(), StringComparison.Ordinal);
        Assert.Equal("#c62828", chat.GetProperty("attachments")[0].GetProperty("color").GetString());
        JsonElement[] duty = [.. alerts.Sink.Requests.Where(r => r.Path == "/duty").Select(Body)];
        Assert.Equal(["trigger", "resolve"], duty.Select(d => d.GetProperty("event_action").GetString()));
        Assert.Single(duty.Select(d => d.GetProperty("dedup_key").GetString()).Distinct());
        Assert.Equal(("routing-key", "critical"), (duty[0].GetProperty("routing_key").GetString(), duty[0].GetProperty("payload").GetProperty("severity").GetString()));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Beyond_the_limit_of_a_receiver_one_digest_tells_the_rest(Engine engine)
    {
        await using AlertWorld alerts = await AlertWorld.CreateAsync(engine, "route: {receiver: team, groupBy: ['...'], groupWait: 1s}\n");
        await alerts.World.Get<Receivers>().SetAsync(TestWorld.Ada, "team", new ReceiverRequest(ReceiverKind.Webhook, alerts.Sink.Url + "team", AllowLoopback: true, Settings: new ReceiverSettings { PerMinute = 3 }), Ct);
        for (int i = 0; i < 10; i++)
        {
            await alerts.PostAsync("Drift", $"m{i}", "a", "major", TimeSpan.FromHours(1));
        }

        await alerts.GoToAsync(5);
        Assert.Equal(["alerts.digest", "alerts.firing", "alerts.firing"], alerts.Sink.Requests.Select(r => r.Headers["Slipway-Event"]).Order());
        JsonElement digest = Body(alerts.Sink.Requests.First(r => r.Headers["Slipway-Event"] == "alerts.digest"));
        Assert.Equal((8, 8), (digest.GetProperty("alertCount").GetInt32(), digest.GetProperty("digest").GetArrayLength()));
        foreach (Alert alert in await alerts.World.Get<Alerts>().ListAsync("firing", Ct))
        {
            Assert.Equal("delivered", Assert.Single(await alerts.World.Get<Alerts>().NotificationsAsync(alert.Id, Ct)).State);
        }
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Attempt_that_was_begun_before_a_crash_is_made_again_under_the_same_key(Engine engine)
    {
        await using AlertWorld alerts = await AlertWorld.CreateAsync(engine, "route: {receiver: team, groupBy: [model], groupWait: 1s, groupInterval: 10s}\n");
        await alerts.PostAsync("Drift", "m1", "a", "major", TimeSpan.FromHours(1));
        await alerts.GoToAsync(2);
        string key = Assert.Single(alerts.Sink.Requests).Headers["Idempotency-Key"];
        // As a process leaves it that dies between the answer and its own commit.
        await alerts.World.Database.WriteAsync(
            async tx =>
            {
                await tx.ExecuteAsync("UPDATE monitoring_notifications SET state = 'pending', done_us = NULL");
                await tx.ExecuteAsync("UPDATE monitoring_groups SET told = '{}', told_us = NULL");
            },
            Ct);
        await alerts.GoToAsync(5);
        Assert.Equal([key, key], alerts.Sink.Requests.Select(r => r.Headers["Idempotency-Key"]));
        await alerts.PostAsync("Drift", "m1", "a", "major", TimeSpan.Zero);
        await alerts.GoToAsync(60);
        Assert.Equal(["firing", "firing", "resolved"], alerts.Sink.Told.Select(t => t.Status));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Fast_resolve_does_not_wait_and_acknowledged_alerts_are_not_repeated(Engine engine)
    {
        await using AlertWorld alerts = await AlertWorld.CreateAsync(engine, "route: {receiver: team, groupBy: [model], groupWait: 1s, groupInterval: 5m, repeatInterval: 10m, resolveFast: true}\n");
        Alert seen = (await alerts.PostAsync("Drift", "m1", "a", "major", TimeSpan.FromDays(1)))[0];
        await alerts.PostAsync("Drift", "m2", "a", "major", TimeSpan.FromDays(1));
        await alerts.GoToAsync(2);
        await alerts.World.Get<Alerts>().AcknowledgeAsync(TestWorld.Grace, seen.Id, Ct);
        await alerts.GoToAsync(1300);
        Assert.Equal(["m1", "m2", "m2", "m2"], alerts.Sink.Told.Select(t => t.Alerts[0].Split(' ')[2]).Order());
        await alerts.PostAsync("Drift", "m1", "a", "major", TimeSpan.Zero);
        await alerts.GoToAsync(1301);
        Assert.Equal("resolved Drift m1 a", alerts.Sink.Told[^1].Alerts[0]);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Snoozed_alert_is_told_when_it_wakes_and_quiet_hours_end_to_the_minute(Engine engine)
    {
        await using AlertWorld alerts = await AlertWorld.CreateAsync(
            engine,
            """
            route:
              receiver: team
              groupBy: [model]
              groupWait: 1s
              groupInterval: 1h
              routes:
                - {matchers: [model=night], muteTimeIntervals: [morning]}
            timeIntervals:
              - {name: morning, times: ['06:00-09:20']}

            """);
        Alert one = (await alerts.PostAsync("Drift", "m1", "a", "major", TimeSpan.FromDays(1)))[0];
        await alerts.PostAsync("Drift", "night", "a", "major", TimeSpan.FromDays(1));
        await alerts.World.Get<Alerts>().SnoozeAsync(TestWorld.Ada, one.Id, TimeSpan.FromMinutes(10), Ct);
        await alerts.GoToAsync(599);
        Assert.Empty(alerts.Sink.Requests);
        await alerts.GoToAsync(600);
        Assert.Equal(["firing Drift m1 a"], Assert.Single(alerts.Sink.Told).Alerts);
        Assert.Contains("morning", (await alerts.World.Get<Alerts>().WhyAsync((await alerts.World.Get<Alerts>().ListAsync("firing", Ct)).First(a => a.Labels["model"] == "night").Id, Ct)).Verdict, StringComparison.Ordinal);
        await alerts.GoToAsync(1200);
        Assert.Equal(["firing Drift night a"], alerts.Sink.Told[^1].Alerts);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Restarted_server_neither_repeats_nor_forgets(Engine engine)
    {
        using var folder = new TemporaryFolder();
        string? postgres = engine == Engine.Postgres ? await PostgresServer.NewDatabaseAsync() : null;
        using var sink = new HttpSink();
        DateTimeOffset now;
        await using (var world = await TestWorld.CreateAsync(engine, folder: folder.Path, postgres: postgres))
        {
            await using var alerts = new AlertWorld(world);
            await world.Get<Receivers>().SetAsync(TestWorld.Ada, "team", new ReceiverRequest(ReceiverKind.Webhook, sink.Url, "a-secret-of-at-least-sixteen", AllowLoopback: true), Ct);
            await alerts.PostAsync("Drift", "m1", "a", "major", TimeSpan.FromDays(1));
            await alerts.GoToAsync(40);
            Assert.Single(sink.Requests);
            now = world.Clock.GetUtcNow();
        }

        await using (var world = await TestWorld.CreateAsync(engine, folder: folder.Path, postgres: postgres))
        {
            world.Clock.SetUtcNow(now);
            await using var alerts = new AlertWorld(world);
            await alerts.GoToAsync(1000);
            Assert.Single(sink.Requests);
            await alerts.PostAsync("Drift", "m1", "a", "major", TimeSpan.Zero);
            await alerts.GoToAsync(2000);
            Assert.Equal(["firing", "resolved"], sink.Told.Select(t => t.Status));
            Assert.StartsWith("t=", sink.Requests.Last().Headers["Slipway-Signature"], StringComparison.Ordinal);
        }
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Four_hundred_drifted_columns_and_lost_performance_are_one_message_with_the_ten_strongest(Engine engine)
    {
        await using AlertWorld alerts = await AlertWorld.CreateAsync(engine);
        var state = alerts.World.Get<AlertState>();
        var monitor = new Watched("m", "late", "flights/2");
        AlertMember[] drifted = [.. Enumerable.Range(0, 400).Select(i => new AlertMember("psi", $"c{i}", 4 - (i / 100.0), 0.1, 5000, DriftLevel.Severe))];
        (DateTimeOffset, DateTimeOffset) window = (Traffic.Monday, Traffic.Monday.AddDays(1));
        await alerts.World.Database.WriteAsync(tx => state.RaiseAsync(tx, monitor, null, Families.Drift, drifted, window, "much drifted", "judged", LabelSet.Empty, LabelSet.Empty), Ct);
        await alerts.GoToAsync(10);
        await alerts.World.Database.WriteAsync(tx => state.RaiseAsync(tx, monitor, null, Families.Performance, [new AlertMember("auc", null, 0.5, 0.6, 5000, DriftLevel.Major)], window, "AUC fell", "judged", LabelSet.Empty, LabelSet.Empty), Ct);
        await alerts.GoToAsync(1000);

        JsonElement message = Body(Assert.Single(alerts.Sink.Requests));
        Assert.Equal(("flights", "2", "2001-02-05T00:00:00Z"), (message.GetProperty("group").GetProperty("model").GetString(), message.GetProperty("group").GetProperty("version").GetString(), message.GetProperty("group").GetProperty("window").GetString()));
        JsonElement[] told = [.. message.GetProperty("alerts").EnumerateArray()];
        Assert.Equal(["much drifted", "AUC fell"], told.Select(a => a.GetProperty("sentence").GetString()));
        Assert.Equal((400, 10, "c0"), (told[0].GetProperty("memberCount").GetInt32(), told[0].GetProperty("members").GetArrayLength(), told[0].GetProperty("members")[0].GetProperty("column").GetString()));
    }

    private static JsonElement Body(HttpSink.Request request)
    {
        using JsonDocument document = JsonDocument.Parse(request.Body);
        return document.RootElement.Clone();
    }

    private static async Task ReadyAsync(HttpClient http)
    {
        for (int i = 0; ; i++)
        {
            try
            {
                if ((await http.GetAsync(new Uri("-/ready", UriKind.Relative), Ct)).IsSuccessStatusCode)
                {
                    return;
                }
            }
            catch (HttpRequestException) when (i < 200)
            {
                // It is still starting.
            }

            await Task.Delay(50, Ct);
        }
    }
}

/// <summary>A small mail server on loopback that speaks enough of RFC 5321 for a client to deliver.</summary>
internal sealed class SmtpSink : IAsyncDisposable
{
    private readonly TcpListener listener = new(IPAddress.Loopback, 0);
    private readonly Task serving;

    public SmtpSink()
    {
        listener.Start();
        Port = ((IPEndPoint)listener.LocalEndpoint).Port;
        serving = Task.Run(ServeAsync);
    }

    public int Port { get; }

    public bool Refuse { get; set; }

    public List<Mail> Mails { get; } = [];

    public async ValueTask DisposeAsync()
    {
        listener.Stop();
        await serving;
    }

    private async Task ServeAsync()
    {
        try
        {
            while (true)
            {
                using TcpClient client = await listener.AcceptTcpClientAsync();
                await TalkAsync(client.GetStream());
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or InvalidOperationException)
        {
            // The test is over.
            return;
        }
    }

    private async Task TalkAsync(Stream stream)
    {
        using var reader = new StreamReader(stream);
        await using var writer = new StreamWriter(stream) { NewLine = "\r\n", AutoFlush = true };
        await writer.WriteLineAsync("220 sink ESMTP");
        string from = "";
        List<string> to = [];
        while (await reader.ReadLineAsync() is { } line)
        {
            string verb = line.Split(' ', ':')[0].ToUpperInvariant();
            string address = line.Contains('<', StringComparison.Ordinal) ? line[(line.IndexOf('<', StringComparison.Ordinal) + 1)..line.IndexOf('>', StringComparison.Ordinal)] : "";
            switch (verb)
            {
                case "EHLO" or "HELO":
                    await writer.WriteLineAsync("250 sink");
                    break;
                case "MAIL":
                    from = address;
                    await writer.WriteLineAsync(Refuse ? "554 not today" : "250 ok");
                    break;
                case "RCPT":
                    to.Add(address);
                    await writer.WriteLineAsync("250 ok");
                    break;
                case "DATA":
                    await writer.WriteLineAsync("354 go on");
                    var data = new List<string>();
                    while (await reader.ReadLineAsync() is { } part && part != ".")
                    {
                        data.Add(part);
                    }

                    Mails.Add(new Mail(from, [.. to], string.Join('\n', data)));
                    await writer.WriteLineAsync("250 taken");
                    break;
                case "QUIT":
                    await writer.WriteLineAsync("221 bye");
                    return;
                default:
                    await writer.WriteLineAsync("250 ok");
                    break;
            }
        }
    }

    internal sealed record Mail(string From, IReadOnlyList<string> To, string Data);
}
