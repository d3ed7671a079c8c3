using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Microsoft.Extensions.DependencyInjection;
using Slipway.Foundation;
using Slipway.Registry;

namespace Slipway.Tests.Registry;

public sealed class WebhooksTests
{
    private const string Secret = "a-secret-of-at-least-sixteen";
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Events_are_posted_signed_as_mlflow_signs_and_only_those_asked_for(Engine engine)
    {
        await using var world = await WorldAsync(engine);
        using var sink = new Sink();
        var (webhooks, models) = (world.Get<Webhooks>(), world.Get<Models>());
        await models.CreateAsync(TestWorld.Ada, "before", null, Ct);
        world.Clock.Advance(TimeSpan.FromSeconds(1));
        var webhook = await webhooks.CreateAsync(TestWorld.Ada, new WebhookChange("ci", sink.Url, [.. WebhookEvent.All.Where(e => e.Entity != "model_version")], Secret: Secret), Ct);
        Assert.True(webhook.Signed);
        await models.CreateAsync(TestWorld.Ada, "m", "words", [new Tag("team", "ops")], Ct);
        await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "m", Source = "s3://b/1" }, Ct);
        await models.SetVersionTagAsync(TestWorld.Ada, "m", 1, new Tag("k", "v"), Ct);
        await models.DeleteVersionTagAsync(TestWorld.Ada, "m", 1, "k", Ct);
        await models.SetAliasAsync(TestWorld.Ada, "m", "best", 1, Ct);
        await models.DeleteAliasAsync(TestWorld.Ada, "m", "best", Ct);
        await models.SetTagAsync(TestWorld.Ada, "m", new Tag("x", "y"), Ct);
        await models.CreateAsync(TestWorld.Ada, "p", null, [new Tag("mlflow.prompt.is_prompt", "true")], Ct);
        await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "p", Source = "prompt-template", Tags = [new Tag("mlflow.prompt.is_prompt", "true"), new Tag("mlflow.prompt.text", "Hi {{name}}")] }, Ct);
        await models.SetTagAsync(TestWorld.Ada, "p", new Tag("x", "y"), Ct);
        await world.PumpAsync();

        Assert.Equal(
            [
                """registered_model.created {"name":"m","tags":{"team":"ops","x":"y"},"description":"words"}""",
                """model_version_tag.set {"name":"m","version":"1","key":"k","value":"v"}""",
                """model_version_tag.deleted {"name":"m","version":"1","key":"k"}""",
                """model_version_alias.created {"name":"m","alias":"best","version":"1"}""",
                """model_version_alias.deleted {"name":"m","alias":"best"}""",
                """prompt.created {"name":"p","tags":{"mlflow.prompt.is_prompt":"true","x":"y"},"description":null}""",
                """prompt_version.created {"name":"p","version":"1","template":"Hi {{name}}","tags":{"mlflow.prompt.is_prompt":"true","mlflow.prompt.text":"Hi {{name}}"},"description":null}""",
                """prompt_tag.set {"name":"p","key":"x","value":"y"}""",
            ],
            sink.Requests.Select(r => JsonDocument.Parse(r.Body).RootElement).Select(b => $"{b.GetProperty("entity")}.{b.GetProperty("action")} {b.GetProperty("data").GetRawText()}"));
        Assert.All(sink.Requests, r => Assert.Equal(
            WebhookPost.Sign(Secret, r.Headers["X-MLflow-Delivery-Id"], r.Headers["X-MLflow-Timestamp"], r.Body), r.Headers["X-MLflow-Signature"]));
        Assert.Equal(sink.Requests.Count, sink.Requests.Select(r => r.Headers["X-MLflow-Delivery-Id"]).Distinct().Count());
        Assert.Equal(8, (await webhooks.DeliveriesAsync(webhook.Id, 100, null, Ct)).Items.Count(d => d is { State: "delivered", LastStatus: 200, Attempts: 1 }));

        // A cursor that was lost makes nothing twice.
        await world.Database.WriteAsync(tx => tx.ExecuteAsync("UPDATE journal_cursors SET seq = 0"), Ct);
        await world.PumpAsync();
        Assert.Equal(8, sink.Requests.Count);
        await world.SealAsync();
        Assert.All((await world.Journal.ListAsync(new JournalFilter { Kind = "webhook." }, Ct)).Items, e => Assert.DoesNotContain(Secret, e.Body.GetRawText(), StringComparison.Ordinal));
        Assert.DoesNotContain(Secret, await world.Database.ReadAsync(s => s.ScalarAsync<string>("SELECT secret FROM registry_webhooks"), Ct), StringComparison.Ordinal);
    }

    // Known values, so that a receiver that checks MLflow's signature accepts this one.
    [Fact]
    public void Signature_is_hmac_sha_256_over_id_timestamp_and_body() =>
        Assert.Equal("v1,GBemBzTgbKoVEGKycqyY3615LbdJbhFLE1oQk+zZ+lo=", WebhookPost.Sign("secret", "id", "1700000000", "{}"));

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Failed_delivery_is_tried_again_given_up_and_replayed(Engine engine)
    {
        await using var world = await WorldAsync(engine);
        using var sink = new Sink(500, 503);
        var (webhooks, models) = (world.Get<Webhooks>(), world.Get<Models>());
        var webhook = await webhooks.CreateAsync(TestWorld.Ada, new WebhookChange("ci", sink.Url, [WebhookEvent.Parse("registered_model.created")]), Ct);
        await models.CreateAsync(TestWorld.Ada, "m", null, Ct);
        await world.PumpAsync();
        var pending = Assert.Single((await webhooks.DeliveriesAsync(webhook.Id, 10, null, Ct)).Items);
        Assert.Equal(("pending", 1, 500), (pending.State, pending.Attempts, pending.LastStatus));
        Assert.Equal(ErrorCode.PreconditionFailed, (await Assert.ThrowsAsync<SlipwayException>(() => webhooks.ReplayAsync(TestWorld.Ada, webhook.Id, pending.Id, Ct))).Code);
        world.Clock.Advance(TimeSpan.FromHours(25));
        await world.PumpAsync();
        var failed = Assert.Single((await webhooks.DeliveriesAsync(webhook.Id, 10, null, Ct)).Items);
        Assert.Equal(("failed", 2, 503, "the receiver answered 503"), (failed.State, failed.Attempts, failed.LastStatus, failed.LastError));
        await world.SealAsync();
        Assert.Equal("error", Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "webhook.failed" }, Ct)).Items).Outcome);

        await webhooks.ReplayAsync(TestWorld.Grace, webhook.Id, failed.Id, Ct);
        await world.PumpAsync();
        var delivered = Assert.Single((await webhooks.DeliveriesAsync(webhook.Id, 10, null, Ct)).Items);
        Assert.Equal(("delivered", 3, null), (delivered.State, delivered.Attempts, delivered.LastError));
        Assert.Equal([pending.Id], sink.Requests.Select(r => r.Headers["X-MLflow-Delivery-Id"]).Distinct());
        Assert.All(sink.Requests, r => Assert.DoesNotContain("X-MLflow-Signature", r.Headers.Keys));
        Assert.Equal(ErrorCode.NotFound, (await Assert.ThrowsAsync<SlipwayException>(() => webhooks.ReplayAsync(TestWorld.Ada, webhook.Id, "none", Ct))).Code);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Webhook_is_changed_disabled_tested_listed_and_deleted(Engine engine)
    {
        await using var world = await WorldAsync(engine);
        using var sink = new Sink();
        var (webhooks, models) = (world.Get<Webhooks>(), world.Get<Models>());
        var created = WebhookEvent.Parse("model_version.created");
        var webhook = await webhooks.CreateAsync(TestWorld.Ada, new WebhookChange("ci", sink.Url, [created], "words", Secret), Ct);
        var changed = await webhooks.UpdateAsync(TestWorld.Ada, webhook.Id, new WebhookChange(Name: "cd", Events: [WebhookEvent.Parse("registered_model.created")], Active: false), Ct);
        Assert.Equal(("cd", "words", false, true), (changed.Name, changed.Description, changed.Active, changed.Signed));
        await models.CreateAsync(TestWorld.Ada, "m", null, Ct);
        await world.PumpAsync();
        Assert.Empty(sink.Requests);
        var answer = await webhooks.TestAsync(webhook.Id, created, Ct);
        Assert.Equal((true, 200), (answer.Delivered, answer.Status));
        Assert.Contains("\"entity\":\"model_version\"", Assert.Single(sink.Requests).Body, StringComparison.Ordinal);
        Assert.All(WebhookEvent.All, e => Assert.Equal(e, WebhookEvent.Parse(e.ToString())));

        for (var i = 0; i < 3; i++)
        {
            await webhooks.CreateAsync(TestWorld.Ada, new WebhookChange($"w{i}", sink.Url, [created]), Ct);
        }

        var first = await webhooks.ListAsync(3, null, Ct);
        var second = await webhooks.ListAsync(3, first.NextToken, Ct);
        Assert.Equal(["ci", "w0", "w1", "w2"], first.Items.Concat(second.Items).Select(w => w.Name).Select(n => n == "cd" ? "ci" : n).Order(StringComparer.Ordinal));
        Assert.Equal((3, 1, null), (first.Items.Count, second.Items.Count, second.NextToken));
        await webhooks.DeleteAsync(TestWorld.Ada, webhook.Id, Ct);
        Assert.Equal(ErrorCode.NotFound, (await Assert.ThrowsAsync<SlipwayException>(() => webhooks.GetAsync(webhook.Id, Ct))).Code);
    }

    [Theory]
    [InlineData("http://example.com/")]
    [InlineData("https://10.1.2.3/")]
    [InlineData("https://169.254.169.254/latest")]
    [InlineData("http://127.0.0.1:9/")]
    [InlineData("https://localhost/")]
    [InlineData("file:///etc/passwd")]
    public async Task Address_that_is_not_public_https_is_refused(string url)
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var request = new WebhookChange("ci", url, [WebhookEvent.Parse("model_version.created")]);
        Assert.Equal(ErrorCode.InvalidArgument, (await Assert.ThrowsAsync<SlipwayException>(() => world.Get<Webhooks>().CreateAsync(TestWorld.Ada, request, Ct))).Code);
        Assert.Empty((await world.Get<Webhooks>().ListAsync(10, null, Ct)).Items);
    }

    [Theory]
    [InlineData("model_version.updated")]
    [InlineData("model.created")]
    [InlineData("model_version")]
    [InlineData("")]
    public void Event_that_there_is_not_is_refused(string text) => Assert.Equal(ErrorCode.InvalidArgument, Assert.Throws<SlipwayException>(() => WebhookEvent.Parse(text)).Code);

    private static Task<TestWorld> WorldAsync(Engine engine) => TestWorld.CreateAsync(engine, services => services.AddSingleton(new RegistryOptions { WebhooksToLoopback = true }));

    /// <summary>A real HTTP listener on loopback that answers with the given statuses in turn, then with 200.</summary>
    private sealed class Sink : IDisposable
    {
        private readonly HttpListener listener = new();
        private readonly Queue<int> statuses;

        public Sink(params int[] statuses)
        {
            this.statuses = new Queue<int>(statuses);
            Url = $"http://127.0.0.1:{FreePort()}/";
            listener.Prefixes.Add(Url);
            listener.Start();
            _ = Task.Run(ServeAsync);
        }

        public string Url { get; }

        public ConcurrentQueue<Request> Requests { get; } = new();

        public void Dispose() => listener.Close();

        private static int FreePort()
        {
            using var probe = new TcpListener(IPAddress.Loopback, 0);
            probe.Start();
            return ((IPEndPoint)probe.LocalEndpoint).Port;
        }

        private async Task ServeAsync()
        {
            while (listener.IsListening)
            {
                var context = await listener.GetContextAsync();
                using var reader = new StreamReader(context.Request.InputStream);
                var body = await reader.ReadToEndAsync();
                Requests.Enqueue(new Request(context.Request.Headers.AllKeys.ToDictionary(k => k!, k => context.Request.Headers[k]!, StringComparer.OrdinalIgnoreCase), body));
                context.Response.StatusCode = statuses.TryDequeue(out var status) ? status : 200;
                context.Response.Close();
            }
        }

        public sealed record Request(Dictionary<string, string> Headers, string Body);
    }
}
