using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using Slipway.Server;

namespace Slipway.Acceptance.Mlflow;

/// <summary>A running server in single-user mode, shared by the tests of a class.</summary>
public sealed class MlflowServer : IAsyncLifetime
{
    private readonly string folder = Directory.CreateTempSubdirectory("slipway-test-").FullName;
    private SlipwayServer? server;
    private HttpClient? client;

    public HttpClient Client => client!;

    public SlipwayServer Server => server!;

    public async ValueTask InitializeAsync()
    {
        server = SlipwayServer.Create(new SlipwayOptions { DataDirectory = folder, Urls = ["http://127.0.0.1:0"] });
        await server.StartAsync(CancellationToken.None);
        client = new HttpClient { BaseAddress = new Uri(server.Urls[0]) };
    }

    public async ValueTask DisposeAsync()
    {
        client?.Dispose();
        if (server is not null)
        {
            await server.StopAsync(CancellationToken.None);
            await server.DisposeAsync();
        }

        Directory.Delete(folder, recursive: true);
    }

    /// <summary>Sends JSON text as it stands, so that quirks reach the server.</summary>
    public async Task<(int Status, JsonObject Body)> SendAsync(string method, string path, string? json = null, string? contentType = "application/json")
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path.StartsWith('/') ? path : "/api/2.0/mlflow/" + path);
        if (json is not null)
        {
            request.Content = new ByteArrayContent(Encoding.UTF8.GetBytes(json));
            if (contentType is not null)
            {
                request.Content.Headers.ContentType = MediaTypeHeaderValue.Parse(contentType);
            }
        }

        using var response = await Client.SendAsync(request);
        var text = await response.Content.ReadAsStringAsync();
        return ((int)response.StatusCode, JsonNode.Parse(text)!.AsObject());
    }

    public async Task<JsonObject> OkAsync(string method, string path, string? json = null)
    {
        var (status, body) = await SendAsync(method, path, json);
        Assert.True(status == 200, $"{method} {path} answered {status}: {body.ToJsonString()}");
        return body;
    }

    public async Task<string> RefusedAsync(int status, string code, string method, string path, string? json = null, string? contentType = "application/json")
    {
        var (got, body) = await SendAsync(method, path, json, contentType);
        Assert.Equal($"{status} {code}", $"{got} {body["error_code"]} {body["message"]}"[..$"{status} {code}".Length]);
        Assert.True(got == status && (string?)body["error_code"] == code, body.ToJsonString());
        return (string)body["message"]!;
    }

    public async Task<string> NewRunAsync(string experiment = "0", string extra = "")
    {
        var body = await OkAsync("POST", "runs/create", $$"""{"experiment_id":"{{experiment}}","start_time":1700000000000{{extra}}}""");
        return (string)body["run"]!["info"]!["run_id"]!;
    }
}
