using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Slipway.Client;

/// <summary>The protocol: JSON over HTTP, repeated where that is safe, refusals as exceptions.</summary>
internal sealed class TrackingWire : IDisposable
{
    private const string Api = "api/2.0/mlflow/";
    private const string Proxy = "api/2.0/mlflow-artifacts/artifacts";
    private static readonly TimeSpan LongestPause = TimeSpan.FromMinutes(2);
    private readonly HttpClient http;
    private readonly TrackingOptions options;

    public TrackingWire(TrackingOptions options)
    {
        this.options = options;
        var server = options.Server.GetComponents(UriComponents.SchemeAndServer | UriComponents.Path, UriFormat.UriEscaped);
        var handler = options.Handler ?? new SocketsHttpHandler { ConnectTimeout = TimeSpan.FromSeconds(10), AllowAutoRedirect = false, PooledConnectionLifetime = TimeSpan.FromMinutes(10) };
        http = new HttpClient(handler, disposeHandler: options.Handler is null)
        {
            BaseAddress = new Uri(server.TrimEnd('/') + "/"),
            Timeout = Timeout.InfiniteTimeSpan,
        };
        http.DefaultRequestHeaders.Authorization = options.Authorization();
        http.DefaultRequestHeaders.UserAgent.Add(new ProductInfoHeaderValue("slipway-client", typeof(TrackingWire).Assembly.GetName().Version?.ToString(3)));
    }

    /// <summary>snake_case, numbers also as strings, NaN and infinities as strings, nothing for null.</summary>
    public static JsonSerializerOptions Json { get; } = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowReadingFromString | JsonNumberHandling.AllowNamedFloatingPointLiterals,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    public Task<T> GetAsync<T>(string path, CancellationToken ct) => AnswerAsync<T>(HttpMethod.Get, Api + path, null, repeat: true, ct);

    /// <param name="path">Below the API.</param>
    /// <param name="body">The message.</param>
    /// <param name="repeat">Whether a second arrival does no harm.</param>
    /// <param name="ct">Stops.</param>
    public Task<T> PostAsync<T>(string path, object body, bool repeat, CancellationToken ct) =>
        AnswerAsync<T>(HttpMethod.Post, Api + path, JsonSerializer.SerializeToUtf8Bytes(body, body.GetType(), Json), repeat, ct);

    public async Task PostAsync(string path, object body, CancellationToken ct) => await PostAsync<JsonElement>(path, body, repeat: true, ct);

    public async Task PostAsync(string path, ReadOnlyMemory<byte> json, CancellationToken ct) => await AnswerAsync<JsonElement>(HttpMethod.Post, Api + path, json, repeat: true, ct);

    /// <summary>Sends a file; the content is opened anew for each try.</summary>
    public async Task PutFileAsync(string path, Func<Stream> open, CancellationToken ct)
    {
        using var response = await SendAsync(
            () => new HttpRequestMessage(HttpMethod.Put, $"{Proxy}/{Escape(path)}")
            {
                Content = new StreamContent(open(), 1 << 17) { Headers = { ContentType = new MediaTypeHeaderValue("application/octet-stream") } },
            },
            repeat: true,
            timeout: null,
            ct);
    }

    /// <summary>A file's content, which fails at its end when the connection breaks. The caller disposes the answer.</summary>
    public Task<HttpResponseMessage> GetFileAsync(string path, CancellationToken ct) =>
        SendAsync(() => new HttpRequestMessage(HttpMethod.Get, $"{Proxy}/{Escape(path)}"), repeat: true, timeout: null, ct);

    /// <summary>What lies in a folder of the proxy, by base name.</summary>
    public Task<FilesAnswer> ListFilesAsync(string path, CancellationToken ct) =>
        AnswerAsync<FilesAnswer>(HttpMethod.Get, $"{Proxy}?path={Uri.EscapeDataString(path)}", null, repeat: true, ct);

    /// <summary>The path below this server's proxy that an artifact URI means.</summary>
    /// <exception cref="SlipwayClientException">The files lie in a store that this client does not reach.</exception>
    public static string ProxyPath(string uri)
    {
        const string scheme = "mlflow-artifacts:";
        if (!uri.StartsWith(scheme, StringComparison.OrdinalIgnoreCase))
        {
            throw new SlipwayClientException("notImplemented", "the artifacts cannot be reached", $"they lie at {uri}, which the server does not hand through", "start the tracking server with --serve-artifacts, or create an experiment without artifact_location");
        }

        var rest = uri[scheme.Length..];
        if (rest.StartsWith("//", StringComparison.Ordinal))
        {
            var slash = rest.IndexOf('/', 2);
            rest = slash < 0 ? "" : rest[slash..];
        }

        return rest.Trim('/');
    }

    public void Dispose() => http.Dispose();

    private static string Escape(string path) => string.Join('/', path.Split('/').Select(Uri.EscapeDataString));

    private async Task<T> AnswerAsync<T>(HttpMethod method, string path, ReadOnlyMemory<byte>? json, bool repeat, CancellationToken ct)
    {
        using var response = await SendAsync(
            () => new HttpRequestMessage(method, path)
            {
                Content = json is { } bytes ? new ReadOnlyMemoryContent(bytes) { Headers = { ContentType = new MediaTypeHeaderValue("application/json") } } : null,
            },
            repeat,
            options.Timeout,
            ct);
        var body = await response.Content.ReadAsByteArrayAsync(ct);
        try
        {
            return JsonSerializer.Deserialize<T>(body.Length == 0 ? "{}"u8 : body, Json) ?? throw new JsonException("the answer is null");
        }
        catch (JsonException e)
        {
            throw new SlipwayClientException("internal", $"the answer of {http.BaseAddress} cannot be read", e.Message, "is MLFLOW_TRACKING_URI a tracking server?", status: (int)response.StatusCode, inner: e);
        }
    }

    private async Task<HttpResponseMessage> SendAsync(Func<HttpRequestMessage> make, bool repeat, TimeSpan? timeout, CancellationToken ct)
    {
        for (var attempt = 0; ; attempt++)
        {
            using var request = make();
            var (response, broken) = await TryAsync(request, timeout, ct);
            if (response is { IsSuccessStatusCode: true })
            {
                return response;
            }

            using (response)
            {
                if (attempt >= options.Retries || !MayRepeat(response, broken, repeat))
                {
                    throw response is null ? Unreachable(broken!) : await RefusedAsync(response, ct);
                }

                await Task.Delay(Pause(response, attempt), options.Clock, ct);
            }
        }
    }

    private async Task<(HttpResponseMessage? Response, Exception? Broken)> TryAsync(HttpRequestMessage request, TimeSpan? timeout, CancellationToken ct)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(ct);
        if (timeout is { } time)
        {
            limit.CancelAfter(time);
        }

        try
        {
            return (await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, limit.Token), null);
        }
        catch (HttpRequestException e)
        {
            return (null, e);
        }
        catch (OperationCanceledException e) when (!ct.IsCancellationRequested)
        {
            return (null, e);
        }
    }

    // What may have been done already is repeated only where that does no harm; a refused connection and a busy server did nothing.
    private static bool MayRepeat(HttpResponseMessage? response, Exception? broken, bool repeat) => response is null
        ? repeat || broken is HttpRequestException { HttpRequestError: HttpRequestError.ConnectionError or HttpRequestError.NameResolutionError }
        : response.StatusCode is HttpStatusCode.TooManyRequests or HttpStatusCode.ServiceUnavailable
            || (repeat && response.StatusCode is HttpStatusCode.RequestTimeout or HttpStatusCode.InternalServerError or HttpStatusCode.BadGateway or HttpStatusCode.GatewayTimeout);

    private TimeSpan Pause(HttpResponseMessage? response, int attempt)
    {
        var asked = response?.Headers.RetryAfter?.Delta ?? TimeSpan.Zero;
        var own = options.RetryAfter * (Math.Pow(2, attempt) * (1 + (Random.Shared.NextDouble() / 4)));
        var pause = asked > own ? asked : own;
        return pause > LongestPause ? LongestPause : pause;
    }

    private SlipwayClientException Unreachable(Exception e) => new(
        "unavailable",
        $"no tracking server answers at {http.BaseAddress!.GetLeftPart(UriPartial.Authority)}",
        e is OperationCanceledException ? string.Create(CultureInfo.InvariantCulture, $"nothing came within {options.Timeout.TotalSeconds} s") : e.Message,
        "start it, or name another one with MLFLOW_TRACKING_URI",
        inner: e);

    private static async Task<SlipwayClientException> RefusedAsync(HttpResponseMessage response, CancellationToken ct)
    {
        var status = (int)response.StatusCode;
        if (response.Content.Headers.ContentType?.MediaType is "application/json")
        {
            try
            {
                var error = JsonSerializer.Deserialize<ErrorMessage>(await response.Content.ReadAsByteArrayAsync(ct), Json);
                if (error is { Code: not null, Message: not null })
                {
                    return new SlipwayClientException(error.Code, error.Message, status: status);
                }
            }
            catch (JsonException e)
            {
                return new SlipwayClientException("INTERNAL_ERROR", $"the server answered {status} with text that cannot be read", e.Message, status: status, inner: e);
            }
        }

        return new SlipwayClientException(
            status switch { 404 => "ENDPOINT_NOT_FOUND", 401 => "UNAUTHENTICATED", 403 => "PERMISSION_DENIED", >= 500 => "INTERNAL_ERROR", _ => "BAD_REQUEST" },
            $"the server answered {status} {response.ReasonPhrase} to {response.RequestMessage?.RequestUri?.AbsolutePath}",
            status: status);
    }
}
