using System.Globalization;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Slipway.Client;

/// <summary>
/// A server's /api/v1. Paths are interpolated text relative to it, whose every inserted value is escaped; answers are read
/// as the asked type, or as the JSON itself (<see cref="JsonElement"/>), so that a field of a newer server is not lost.
/// </summary>
public sealed class SlipwayClient : IDisposable
{
    private readonly HttpClient http;

    /// <param name="address">The server, for example <c>http://127.0.0.1:5600</c>.</param>
    /// <param name="token">An API key; null where the server asks for none.</param>
    public SlipwayClient(Uri address, string? token = null)
    {
        Address = address;
        http = new HttpClient(new SocketsHttpHandler { ConnectTimeout = TimeSpan.FromSeconds(5), AllowAutoRedirect = false })
        {
            BaseAddress = new Uri(address, "/"),
            Timeout = Timeout.InfiniteTimeSpan,
        };
        http.DefaultRequestHeaders.Authorization = token is null ? null : new AuthenticationHeaderValue("Bearer", token);
        http.DefaultRequestHeaders.UserAgent.Add(new ProductInfoHeaderValue("slipway", null));
    }

    /// <summary>How records become JSON: camelCase, enums as words, nothing for null.</summary>
    public static JsonSerializerOptions Json { get; } = new(JsonSerializerDefaults.Web)
    {
        NumberHandling = JsonNumberHandling.AllowReadingFromString | JsonNumberHandling.AllowNamedFloatingPointLiterals,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase) },
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    public Uri Address { get; }

    /// <summary>Reads.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public Task<T> GetAsync<T>(FormattableString path, CancellationToken ct) => AnswerAsync<T>(HttpMethod.Get, Path(path), null, ct);

    /// <summary>Asks for something to be done, with a JSON body.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public Task<T> PostAsync<T>(FormattableString path, object body, CancellationToken ct) =>
        AnswerAsync<T>(HttpMethod.Post, Path(path), JsonContent.Create(body, body.GetType(), options: Json), ct);

    /// <summary>Asks for something to be done, with any body.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public Task<T> PostAsync<T>(FormattableString path, HttpContent body, CancellationToken ct) => AnswerAsync<T>(HttpMethod.Post, Path(path), body, ct);

    /// <summary>Sets.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public Task<T> PutAsync<T>(FormattableString path, object body, CancellationToken ct) =>
        AnswerAsync<T>(HttpMethod.Put, Path(path), JsonContent.Create(body, body.GetType(), options: Json), ct);

    /// <summary>Sets, with any body.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public Task<T> PutAsync<T>(FormattableString path, HttpContent body, CancellationToken ct) => AnswerAsync<T>(HttpMethod.Put, Path(path), body, ct);

    /// <summary>Removes.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async Task DeleteAsync(FormattableString path, CancellationToken ct)
    {
        using var response = await SendAsync(HttpMethod.Delete, Path(path), null, ct);
    }

    /// <summary>A file. The reader disposes the stream.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async Task<Stream> OpenAsync(FormattableString path, CancellationToken ct)
    {
        var response = await SendAsync(HttpMethod.Get, Path(path), null, ct);
        return await response.Content.ReadAsStreamAsync(ct);
    }

    /// <summary>A list, page after page.</summary>
    /// <param name="path">The list, without limit and pageToken.</param>
    /// <param name="most">At most so many items.</param>
    /// <param name="ct">Stops waiting.</param>
    /// <returns>The items, and whether there are more.</returns>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async Task<(List<T> Items, bool More)> ListAsync<T>(FormattableString path, int most, CancellationToken ct)
    {
        var items = new List<T>();
        string? token = null;
        do
        {
            var query = Query.Of(("limit", Math.Min(most - items.Count, 1000)), ("pageToken", token)).Text;
            var start = Path(path);
            var page = await AnswerAsync<Page<T>>(HttpMethod.Get, start + (start.Contains('?', StringComparison.Ordinal) ? "&" + query[1..] : query), null, ct);
            items.AddRange(page.Items);
            token = page.NextToken;
        }
        while (token is not null && items.Count < most);
        return (items, token is not null);
    }

    /// <summary>Commits the files as a version of a dataset.</summary>
    /// <param name="dataset">The dataset's name.</param>
    /// <param name="commit">Why, and where to.</param>
    /// <param name="files">Path in the dataset, and its bytes.</param>
    /// <param name="ct">Stops waiting.</param>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async Task<T> CommitAsync<T>(string dataset, NewCommit commit, IEnumerable<(string Path, Stream Content)> files, CancellationToken ct)
    {
        using var form = new MultipartFormDataContent();
        form.Add(JsonContent.Create(commit, options: Json), "commit");
        foreach (var (path, content) in files)
        {
            form.Add(new StreamContent(content, 1 << 16), "file", path);
        }

        return await AnswerAsync<T>(HttpMethod.Post, Path($"datasets/{dataset}/commits"), form, ct);
    }

    /// <summary>Stores a file in the server's artifact store, from where a model version can be registered.</summary>
    /// <param name="path">Its path in the store, for example <c>uploads/flights/model.onnx</c>.</param>
    /// <param name="content">The bytes.</param>
    /// <param name="ct">Stops the upload; nothing becomes visible then.</param>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async Task PutArtifactAsync(string path, Stream content, CancellationToken ct)
    {
        var escaped = string.Join('/', path.Split('/').Select(Uri.EscapeDataString));
        using var response = await SendAsync(HttpMethod.Put, $"api/2.0/mlflow-artifacts/artifacts/{escaped}", new StreamContent(content, 1 << 16), ct);
    }

    /// <summary>Adds to a run: values of metrics at one step, and parameters. All of them or none.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public Task LogAsync(string run, IReadOnlyList<KeyValuePair<string, double>> metrics, long step, IReadOnlyList<KeyValuePair<string, string>> parameters, DateTimeOffset at, CancellationToken ct) => AnswerAsync<JsonElement>(
        HttpMethod.Post,
        "api/2.0/mlflow/runs/log-batch",
        JsonContent.Create(
            new
            {
                run_id = run,
                metrics = metrics.Select(m => new { key = m.Key, value = m.Value, timestamp = at.ToUnixTimeMilliseconds(), step }),
                @params = parameters.Select(p => new { key = p.Key, value = p.Value }),
            },
            options: Json),
        ct);

    /// <summary>Stores a file of a run.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async Task PutRunArtifactAsync(string run, string path, Stream content, CancellationToken ct)
    {
        using var response = await SendAsync(HttpMethod.Post, $"ajax-api/2.0/mlflow/upload-artifact{Query.Of(("run_uuid", run), ("path", path))}", new StreamContent(content, 1 << 16), ct);
    }

    /// <summary>A file of a model version. The reader disposes the stream.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async Task<Stream> OpenVersionFileAsync(string model, string version, string path, CancellationToken ct)
    {
        var response = await SendAsync(HttpMethod.Get, $"model-versions/get-artifact{Query.Of(("name", model), ("version", version), ("path", path))}", null, ct);
        return await response.Content.ReadAsStreamAsync(ct);
    }

    /// <summary>Asks an endpoint for a prediction, in the JSON of the Open Inference Protocol.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public Task<JsonElement> InferAsync(string endpoint, HttpContent request, CancellationToken ct) =>
        AnswerAsync<JsonElement>(HttpMethod.Post, $"v2/models/{Uri.EscapeDataString(endpoint)}/infer", request, ct);

    /// <summary>Follows the journal, from the entry after a number on, or from now on.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async IAsyncEnumerable<JsonElement> FollowAsync(long? after, string? kind, [EnumeratorCancellation] CancellationToken ct)
    {
        using var response = await SendAsync(HttpMethod.Get, Path($"feed{Query.Of(("after", after), ("kind", kind))}"), null, ct);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(ct));
        while (await reader.ReadLineAsync(ct) is { } line)
        {
            if (line.StartsWith("data: ", StringComparison.Ordinal))
            {
                yield return JsonSerializer.Deserialize<JsonElement>(line.AsSpan(6), Json);
            }
        }
    }

    public void Dispose() => http.Dispose();

    private static string Path(FormattableString path) => "api/v1/" + string.Format(
        CultureInfo.InvariantCulture, path.Format, [.. path.GetArguments().Select(a => (object)(a is Query query ? query.Text : Uri.EscapeDataString(Convert.ToString(a, CultureInfo.InvariantCulture) ?? "")))]);

    private async Task<T> AnswerAsync<T>(HttpMethod method, string path, HttpContent? body, CancellationToken ct)
    {
        using var response = await SendAsync(method, path, body, ct);
        try
        {
            return await response.Content.ReadFromJsonAsync<T>(Json, ct) ?? throw new JsonException("the answer is null");
        }
        catch (JsonException e)
        {
            throw new SlipwayClientException("internal", $"the answer of {Address} cannot be read", e.Message, "is that address a Slipway server of this version?", status: (int)response.StatusCode, inner: e);
        }
    }

    private async Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, HttpContent? body, CancellationToken ct)
    {
        using var request = new HttpRequestMessage(method, path) { Content = body };
        HttpResponseMessage response;
        try
        {
            response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, ct);
        }
        catch (HttpRequestException e)
        {
            var why = e.GetBaseException() is SocketException { SocketErrorCode: SocketError.ConnectionRefused } ? "the connection was refused" : e.Message;
            throw new SlipwayClientException("unavailable", $"no Slipway server answers at {Address.GetLeftPart(UriPartial.Authority)}", why, "slipway serve · or name another server with --url or slipway context use", inner: e);
        }

        if (response.IsSuccessStatusCode)
        {
            return response;
        }

        using (response)
        {
            throw await RefusedAsync(response, ct);
        }
    }

    private async Task<SlipwayClientException> RefusedAsync(HttpResponseMessage response, CancellationToken ct)
    {
        var status = (int)response.StatusCode;
        var type = response.Content.Headers.ContentType?.MediaType ?? "";
        if (type.EndsWith("json", StringComparison.Ordinal))
        {
            try
            {
                var problem = await response.Content.ReadFromJsonAsync<Problem>(Json, ct);
                if ((problem?.Title ?? problem?.Error ?? problem?.Message) is { } title)
                {
                    return new SlipwayClientException(problem!.Code ?? CodeOf(status), title, problem.Detail, problem.Next, problem.Request, status);
                }
            }
            catch (JsonException e)
            {
                return new SlipwayClientException(CodeOf(status), $"{Address} answered {status} and a document that cannot be read", e.Message, status: status, inner: e);
            }
        }

        return new SlipwayClientException(CodeOf(status), $"{Address} answered {status} {response.ReasonPhrase}", "the answer is no document of a Slipway server", "check the address: slipway context show", status: status);
    }

    private static string CodeOf(int status) => status switch
    {
        400 => "invalidArgument",
        401 => "unauthenticated",
        403 => "permissionDenied",
        404 => "notFound",
        409 => "conflict",
        413 => "tooLarge",
        429 => "resourceExhausted",
        499 => "cancelled",
        501 => "notImplemented",
        502 or 503 => "unavailable",
        504 => "deadlineExceeded",
        _ => "internal",
    };

    /// <summary>A problem document, the Open Inference Protocol's <c>error</c>, or MLflow's <c>message</c>.</summary>
    private sealed record Problem(string? Title, string? Code, string? Detail, string? Next, string? Request, string? Error, string? Message);
}
