using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;
using Slipway.Monitoring;

namespace Slipway.Acceptance;

/// <summary>Alerting from the command line, and through the death of the server.</summary>
public sealed class AlertingTests
{
    [Fact]
    public async Task Receivers_routes_silences_rules_and_the_path_of_an_alert()
    {
        await using var server = new RunningServer();
        await server.InitializeAsync();
        var ct = TestContext.Current.CancellationToken;
        await File.WriteAllTextAsync(
            Path.Combine(server.Folder, "routing.yaml"),
            """
            apiVersion: slipway.dev/routing/v1
            kind: AlertRouting
            route:
              receiver: team
              routes:
                - {name: severe, matchers: ['severity="severe"'], receiver: mail, continue: true}
                - {name: all, matchers: ['severity=~"major|severe"']}
            """,
            ct);
        await File.WriteAllTextAsync(Path.Combine(server.Folder, "bad.yaml"), "apiVersion: slipway.dev/routing/v1\nkind: AlertRouting\nroute:\n  reciever: team\n  groupWait: soon\n", ct);
        await File.WriteAllTextAsync(
            Path.Combine(server.Folder, "rules.yaml"),
            """
            apiVersion: slipway.dev/alert-rules/v1
            kind: AlertRules
            rules:
              - {name: psi-high, expression: psi > 0.25, clear: psi < 0.15, severity: major}
            tests:
              - {name: hysteresis, series: [{series: 'psi{column="a"}', values: '0.1 0.3 0.2 0.1'}], timeline: {'psi-high{column="a"}': '.FF.'}}
              - {name: wrong on purpose, series: [{series: psi, values: '0.3'}], expect: [{at: 0s, alert: psi-high, state: inactive}]}
            """,
            ct);
        await File.WriteAllTextAsync(Path.Combine(server.Folder, "badrules.yaml"), "apiVersion: slipway.dev/alert-rules/v1\nkind: AlertRules\nrules:\n  - {name: a, expression: psi >, sevrity: major}\n", ct);
        await File.WriteAllTextAsync(
            Path.Combine(server.Folder, "planned.yaml"),
            """
            apiVersion: slipway.dev/silences/v1
            kind: Silences
            silences:
              - {matchers: [model=flights, severity=severe], startsAt: "2099-01-01T00:00:00Z", endsAt: "2099-01-02T00:00:00Z", comment: the nightly load moves}
            """,
            ct);
        await File.WriteAllTextAsync(Path.Combine(server.Folder, "badsilences.yaml"), "apiVersion: slipway.dev/silences/v1\nkind: Silences\nsilences:\n  - {matchers: [model], endAt: soon}\n", ct);
        var posted = await server.Get<Alerts>().PostAsync(
            server.Ada,
            [new PostedAlert(new Dictionary<string, string> { ["alertname"] = "etl-late", ["model"] = "flights", ["severity"] = "severe" }, new Dictionary<string, string> { ["summary"] = "the nightly load is late" }, EndsAt: DateTimeOffset.MaxValue.AddYears(-1))],
            ct);
        var id = posted[0].Id;
        await Transcript.MatchesAsync(server, "alerting",
        [
            "receiver list",
            "receiver set team http://127.0.0.1:1/ --allow-loopback",
            "receiver set team http://127.0.0.1:1/",
            "receiver set mail smtp://127.0.0.1:1 --kind email --from slipway@example.org --to team@example.org --allow-loopback",
            "receiver set mail smtp://127.0.0.1:1 --kind email --from nobody --to team@example.org --allow-loopback",
            "receiver list",
            "receiver test mial",
            "route show",
            "route apply -f FOLDER/bad.yaml",
            "route test alertname=x severity=severe",
            "silence create model=flights --preview",
            "silence create model=flights --for 2h",
            "silence create model=flights --for 2h --comment backfill",
            "silence list",
            "silence apply -f FOLDER/badsilences.yaml",
            "silence apply -f FOLDER/planned.yaml --preview",
            "silence apply -f FOLDER/planned.yaml -o wide",
            "silence apply -f FOLDER/planned.yaml",
            "silence export",
            "route apply -f FOLDER/routing.yaml",
            "route test alertname=x severity=severe",
            "route test severity=warn",
            "receiver remove team --yes",
            "alert list",
            $"alert why {id}",
            $"alert ack {id}",
            $"alert assign {id} grace",
            $"alert snooze {id} --for 90",
            $"alert snooze {id} --for 90m",
            $"alert show {id}",
            "silence list --expired -o name",
            "silence create a=~\"(\" --preview",
            "monitor test-rules FOLDER/rules.yaml",
            "monitor test-rules FOLDER/badrules.yaml",
            "monitor apply-rules -f FOLDER/rules.yaml",
            "monitor rules",
        ]);
        var silence = (await server.Get<Silences>().ListAsync(expired: false, ct))[0].Silence.Id;
        Assert.Equal(0, (await server.CliAsync($"silence extend {silence} --by 1h")).Exit);
        Assert.Equal(0, (await server.CliAsync($"silence expire {silence}")).Exit);
        Assert.Equal(5, (await server.CliAsync($"silence expire {silence}")).Exit);
    }

    [Fact]
    public async Task Server_that_is_killed_while_it_tells_tells_again_under_the_same_key_and_nothing_twice()
    {
        var ct = TestContext.Current.CancellationToken;
        var folder = Directory.CreateTempSubdirectory("slipway-killed-");
        using var sink = new Sink();
        await using var server = new ServeProcess("--data", folder.FullName);
        await server.StartAsync(ct);
        try
        {
            var http = server.Http;
            await PutAsync(http, "api/v1/receivers/team", JsonContent.Create(new { url = sink.Url, allowLoopback = true }), ct);
            await PutAsync(http, "api/v1/routing", new StringContent("apiVersion: slipway.dev/routing/v1\nkind: AlertRouting\nroute: {receiver: team, groupBy: [model], groupWait: 0s, groupInterval: 1s}\n"), ct);
            sink.Hold();
            await PostAsync(http, DateTimeOffset.MaxValue.AddYears(-1), ct);
            await sink.Arrived.WaitAsync(ct);
            await server.KillAsync();
            sink.Release();
            await server.StartAsync(ct);
            await sink.WaitAsync(2, ct);
            await Task.Delay(TimeSpan.FromSeconds(3), ct);
            Assert.Equal(2, sink.Told.Count);
            Assert.Single(sink.Told.Select(t => t.Key).Distinct());
            await PostAsync(http, DateTimeOffset.UnixEpoch.AddYears(1), ct);
            await sink.WaitAsync(3, ct);
            await Task.Delay(TimeSpan.FromSeconds(3), ct);
            Assert.Equal(["alerts.firing", "alerts.firing", "alerts.resolved"], sink.Told.Select(t => t.Event));
        }
        finally
        {
            await server.KillAsync();
            folder.Delete(recursive: true);
        }
    }

    private static async Task PutAsync(HttpClient http, string path, HttpContent content, CancellationToken ct)
    {
        using var answer = await http.PutAsync(new Uri(path, UriKind.Relative), content, ct);
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync(ct));
    }

    private static async Task PostAsync(HttpClient http, DateTimeOffset end, CancellationToken ct)
    {
        using var answer = await http.PostAsJsonAsync("api/v1/alerts", new[] { new { labels = new { alertname = "late", model = "m" }, startsAt = DateTimeOffset.UnixEpoch, endsAt = end } }, ct);
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync(ct));
    }

    private static int FreePort()
    {
        using var port = new TcpListener(IPAddress.Loopback, 0);
        port.Start();
        return ((IPEndPoint)port.LocalEndpoint).Port;
    }

    /// <summary>A receiver that can hold back its answer.</summary>
    private sealed class Sink : IDisposable
    {
        private readonly HttpListener listener = new();
        private TaskCompletionSource? held;

        public Sink()
        {
            Url = $"http://127.0.0.1:{FreePort()}/";
            listener.Prefixes.Add(Url);
            listener.Start();
            _ = Task.Run(ServeAsync);
        }

        public string Url { get; }

        public SemaphoreSlim Arrived { get; } = new(0);

        public ConcurrentQueue<(string Key, string Event)> Told { get; } = new();

        public void Hold() => held = new TaskCompletionSource();

        public void Release() => held!.SetResult();

        public async Task WaitAsync(int count, CancellationToken ct)
        {
            while (Told.Count < count)
            {
                await Arrived.WaitAsync(ct);
            }
        }

        public void Dispose()
        {
            listener.Close();
            Arrived.Dispose();
        }

        private async Task ServeAsync()
        {
            try
            {
                while (listener.IsListening)
                {
                    var context = await listener.GetContextAsync();
                    Told.Enqueue((context.Request.Headers["Idempotency-Key"]!, context.Request.Headers["Slipway-Event"]!));
                    Arrived.Release();
                    if (held is { } wait)
                    {
                        await wait.Task;
                    }

                    try
                    {
                        context.Response.StatusCode = 200;
                        context.Response.Close();
                    }
                    catch (HttpListenerException)
                    {
                        // Who asked is dead.
                        continue;
                    }
                }
            }
            catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
            {
                return;
            }
        }
    }
}
