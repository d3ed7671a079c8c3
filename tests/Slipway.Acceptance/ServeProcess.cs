using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text.Json;

namespace Slipway.Acceptance;

/// <summary><c>slipway serve</c> as a process of its own, which a test may kill and start again at the same address.</summary>
internal sealed class ServeProcess(params string[] arguments) : IAsyncDisposable
{
    private readonly List<string> log = [];
    private Process? process;
    private int uploads;

    public string Url { get; } = $"http://127.0.0.1:{FreePort()}";

    public HttpClient Http => field ??= new HttpClient { BaseAddress = new Uri(Url), Timeout = TimeSpan.FromSeconds(30) };

    public bool Running => process is { HasExited: false };

    /// <summary>What it wrote to standard error.</summary>
    public string Log
    {
        get
        {
            lock (log)
            {
                return string.Join('\n', log);
            }
        }
    }

    public async Task StartAsync(CancellationToken ct)
    {
        var program = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "../../Slipway.Cli/release/slipway"));
        var start = new ProcessStartInfo(program, ["serve", "--urls", Url, "--grpc-urls", "none", .. arguments]) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true };
        process = Process.Start(start)!;
        process.ErrorDataReceived += (_, line) =>
        {
            lock (log)
            {
                log.Add(line.Data ?? "");
            }
        };
        process.BeginErrorReadLine();
        process.BeginOutputReadLine();
        for (var i = 0; ; i++)
        {
            try
            {
                if ((await Http.GetAsync(new Uri("/api/v1/endpoints", UriKind.Relative), ct)).IsSuccessStatusCode)
                {
                    return;
                }
            }
            catch (HttpRequestException) when (i < 900 && Running)
            {
                // It is still starting.
            }

            Assert.True(Running && i < 900, $"the server did not start:\n{Log}");
            await Task.Delay(100, ct);
        }
    }

    /// <summary>SIGKILL: it gets no chance to write or tell anything.</summary>
    public async Task KillAsync()
    {
        if (Running)
        {
            process!.Kill();
            await process.WaitForExitAsync(CancellationToken.None);
        }
    }

    public async Task<JsonElement> GetAsync(string path, CancellationToken ct) => await ReadAsync(await Http.GetAsync(new Uri($"/api/v1/{path}", UriKind.Relative), ct), ct);

    /// <summary>The same, or null while it cannot answer.</summary>
    public async Task<JsonElement?> FindAsync(string path, CancellationToken ct)
    {
        using var answer = await Http.GetAsync(new Uri($"/api/v1/{path}", UriKind.Relative), ct);
        return answer.IsSuccessStatusCode ? JsonDocument.Parse(await answer.Content.ReadAsStringAsync(ct)).RootElement : null;
    }

    public async Task<JsonElement> PostAsync(string path, object body, CancellationToken ct, string? key = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri($"/api/v1/{path}", UriKind.Relative)) { Content = JsonContent.Create(body) };
        if (key is not null)
        {
            request.Headers.Add("Idempotency-Key", key);
        }

        return await ReadAsync(await Http.SendAsync(request, ct), ct);
    }

    /// <summary>Registers the iris model's next version from its file.</summary>
    public async Task RegisterIrisAsync(CancellationToken ct)
    {
        var path = $"uploads/iris/{++uploads}";
        using var content = new ByteArrayContent(await File.ReadAllBytesAsync(Path.Combine(AppContext.BaseDirectory, "models", "iris_logreg.onnx"), ct));
        using var put = await Http.PutAsync(new Uri($"/api/2.0/mlflow-artifacts/artifacts/{path}/model.onnx", UriKind.Relative), content, ct);
        Assert.True(put.IsSuccessStatusCode, await put.Content.ReadAsStringAsync(ct));
        using var made = await Http.PostAsJsonAsync("/api/v1/models", new { name = "iris" }, ct);
        Assert.True(made.IsSuccessStatusCode || made.StatusCode == HttpStatusCode.Conflict, await made.Content.ReadAsStringAsync(ct));
        await PostAsync("models/iris/versions", new { source = $"mlflow-artifacts:/{path}" }, ct);
    }

    /// <summary>Asks an endpoint for one flower as an entity; the version that answered. Throws HttpRequestException where nobody listens, and fails on any other answer than 200.</summary>
    public async Task<string> AskAsync(string endpoint, string entity, CancellationToken ct)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri($"/v2/models/{endpoint}/infer", UriKind.Relative))
        {
            Content = new StringContent("""{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"""),
        };
        request.Headers.Add("x-slipway-entity-key", entity);
        using var answer = await Http.SendAsync(request, ct);
        var body = await answer.Content.ReadAsStringAsync(ct);
        Assert.True(answer.IsSuccessStatusCode, body);
        return JsonDocument.Parse(body).RootElement.GetProperty("model_version").GetString()!;
    }

    public async ValueTask DisposeAsync()
    {
        await KillAsync();
        process?.Dispose();
        Http.Dispose();
    }

    private static async Task<JsonElement> ReadAsync(HttpResponseMessage answer, CancellationToken ct)
    {
        using (answer)
        {
            var text = await answer.Content.ReadAsStringAsync(ct);
            Assert.True(answer.IsSuccessStatusCode, $"{answer.RequestMessage!.RequestUri}: {text}");
            return JsonDocument.Parse(text).RootElement;
        }
    }

    private static int FreePort()
    {
        using var port = new TcpListener(IPAddress.Loopback, 0);
        port.Start();
        return ((IPEndPoint)port.LocalEndpoint).Port;
    }
}
