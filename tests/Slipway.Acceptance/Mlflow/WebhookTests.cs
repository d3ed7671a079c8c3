using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Slipway.Registry;

namespace Slipway.Acceptance.Mlflow;

/// <summary>A webhook from its creation over MLflow's protocol to the delivery, and the command line over its log.</summary>
public sealed class WebhookTests
{
    private const string Secret = "the secret of the receiver";

    [Fact]
    public async Task Alias_that_moves_is_posted_and_signed()
    {
        await using var server = new RunningServer(withOwner: true, webhooksToLoopback: true);
        await server.InitializeAsync();
        using var receiver = new Receiver();
        using var client = server.Client(server.OwnerKey);
        var request = new { name = "ci", url = receiver.Url, events = new[] { new { entity = "MODEL_VERSION_ALIAS", action = "CREATED" } }, secret = Secret };
        using var created = await client.PostAsync("/api/2.0/mlflow/webhooks", new StringContent(JsonSerializer.Serialize(request), Encoding.UTF8, "application/json"), TestContext.Current.CancellationToken);
        var text = await created.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.OK, created.StatusCode);
        Assert.DoesNotContain(Secret, text, StringComparison.Ordinal);
        var id = (string)JsonNode.Parse(text)!["webhook"]!["webhook_id"]!;
        await server.RegisterIrisAsync(0.9);
        await server.Get<Models>().SetAliasAsync(server.Ada, "iris", "best", 1, TestContext.Current.CancellationToken);

        var (headers, body) = await receiver.NextAsync();
        Assert.Equal("""{"name":"iris","alias":"best","version":"1"}""", JsonDocument.Parse(body).RootElement.GetProperty("data").GetRawText());
        var signed = $"{headers["X-MLflow-Delivery-Id"]}.{headers["X-MLflow-Timestamp"]}.{body}";
        Assert.Equal("v1," + Convert.ToBase64String(HMACSHA256.HashData(Encoding.UTF8.GetBytes(Secret), Encoding.UTF8.GetBytes(signed))), headers["X-MLflow-Signature"]);

        var delivery = headers["X-MLflow-Delivery-Id"];
        await SettledAsync(server, id);
        var replayed = await server.CliAsync($"webhook replay {id} {delivery} -o name");
        Assert.Equal((0, $"{delivery}\n"), (replayed.Exit, replayed.Out));
        Assert.Equal(delivery, (await receiver.NextAsync()).Headers["X-MLflow-Delivery-Id"]);
        await SettledAsync(server, id);
        var log = await server.CliAsync($"webhook deliveries {id} --columns EVENT,STATE,ATTEMPTS,STATUS");
        Assert.Equal("EVENT                        STATE      ATTEMPTS  STATUS\nmodel_version_alias.created  delivered  2         200\n", log.Out);
    }

    [Fact]
    public async Task Command_line_makes_tests_and_deletes()
    {
        await using var server = new RunningServer(withOwner: true, webhooksToLoopback: true);
        await server.InitializeAsync();
        using var receiver = new Receiver();
        await File.WriteAllTextAsync(Path.Combine(server.Folder, "secret.txt"), Secret + "\n", TestContext.Current.CancellationToken);
        var created = await server.CliAsync($"webhook create ci {receiver.Url} --event model_version.created model_version_tag.set --secret-file FOLDER/secret.txt -o name");
        Assert.Equal(0, created.Exit);
        var id = created.Out.Trim();
        Assert.Equal(
            "NAME  EVENTS                                        ACTIVE  SIGNED\nci    model_version.created, model_version_tag.set  yes     yes\n",
            (await server.CliAsync("webhook list --columns NAME,EVENTS,ACTIVE,SIGNED")).Out);
        Assert.Contains("DELIVERED: yes", (await server.CliAsync($"webhook test {id}")).Out, StringComparison.Ordinal);
        Assert.Equal("model_version", JsonDocument.Parse((await receiver.NextAsync()).Body).RootElement.GetProperty("entity").GetString());
        Assert.Equal(2, (await server.CliAsync("webhook create x https://10.0.0.1/ --event model_version.created")).Exit);
        Assert.Equal(2, (await server.CliAsync("webhook create x https://example.org/ --event model_version.updated")).Exit);
        Assert.Equal(3, (await server.CliAsync("webhook deliveries none")).Exit);
        Assert.Equal(4, (await server.CliAsync("webhook list", key: await server.KeyOfAsync("vera", "viewer"))).Exit);
        Assert.Equal(0, (await server.CliAsync($"webhook delete {id} --yes")).Exit);
        Assert.DoesNotContain("ci", (await server.CliAsync("webhook list")).Out, StringComparison.Ordinal);
    }

    private static async Task SettledAsync(RunningServer server, string id)
    {
        while ((await server.Get<Webhooks>().DeliveriesAsync(id, 10, null, TestContext.Current.CancellationToken)).Items.Any(d => d.State == "pending"))
        {
            await Task.Delay(20, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>A real HTTP listener on loopback.</summary>
    private sealed class Receiver : IDisposable
    {
        private readonly HttpListener listener = new();
        private readonly ConcurrentQueue<(Dictionary<string, string> Headers, string Body)> requests = new();
        private readonly SemaphoreSlim arrived = new(0);

        public Receiver()
        {
            using (var probe = new TcpListener(IPAddress.Loopback, 0))
            {
                probe.Start();
                Url = $"http://127.0.0.1:{((IPEndPoint)probe.LocalEndpoint).Port}/";
            }

            listener.Prefixes.Add(Url);
            listener.Start();
            _ = Task.Run(ServeAsync);
        }

        public string Url { get; }

        public async Task<(Dictionary<string, string> Headers, string Body)> NextAsync()
        {
            Assert.True(await arrived.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken), "nothing was posted");
            Assert.True(requests.TryDequeue(out var request));
            return request;
        }

        public void Dispose()
        {
            listener.Close();
            arrived.Dispose();
        }

        private async Task ServeAsync()
        {
            while (listener.IsListening)
            {
                var context = await listener.GetContextAsync();
                using var reader = new StreamReader(context.Request.InputStream);
                requests.Enqueue((context.Request.Headers.AllKeys.ToDictionary(k => k!, k => context.Request.Headers[k]!, StringComparer.OrdinalIgnoreCase), await reader.ReadToEndAsync()));
                context.Response.Close();
                arrived.Release();
            }
        }
    }
}
