using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text.Json.Nodes;

namespace Slipway.Acceptance.Mlflow;

public sealed class ArtifactTests(MlflowServer server) : IClassFixture<MlflowServer>
{
    private const string Proxy = "/api/2.0/mlflow-artifacts";

    [Fact]
    public async Task Head_and_ranges_answer_as_http_says()
    {
        var (path, bytes) = await StoredAsync(100_000);
        using var head = await SendAsync(HttpMethod.Head, path);
        Assert.Equal((HttpStatusCode.OK, 100_000L), (head.StatusCode, head.Content.Headers.ContentLength));
        Assert.Equal(["bytes"], head.Headers.AcceptRanges);
        var tag = head.Headers.ETag!;
        Assert.Equal($"\"{Convert.ToHexStringLower(SHA256.HashData(bytes))}\"", tag.Tag);

        foreach (var (range, from, to) in ((RangeHeaderValue, int, int)[])[(new(0, 9), 0, 10), (new(99_990, 200_000), 99_990, 100_000), (new(50_000, null), 50_000, 100_000), (new(null, 5), 99_995, 100_000)])
        {
            using var part = await SendAsync(HttpMethod.Get, path, r => r.Headers.Range = range);
            Assert.Equal(HttpStatusCode.PartialContent, part.StatusCode);
            Assert.Equal($"bytes {from}-{to - 1}/100000", part.Content.Headers.ContentRange!.ToString());
            Assert.Equal(bytes[from..to], await part.Content.ReadAsByteArrayAsync());
        }

        using var beyond = await SendAsync(HttpMethod.Get, path, r => r.Headers.Range = new RangeHeaderValue(100_000, null));
        Assert.Equal(HttpStatusCode.RequestedRangeNotSatisfiable, beyond.StatusCode);
        Assert.Equal("bytes */100000", beyond.Content.Headers.ContentRange!.ToString());
        using var unchanged = await SendAsync(HttpMethod.Get, path, r => (r.Headers.Range, r.Headers.IfRange) = (new RangeHeaderValue(0, 0), new RangeConditionHeaderValue(tag)));
        Assert.Equal(HttpStatusCode.PartialContent, unchanged.StatusCode);
        using var changed = await SendAsync(HttpMethod.Get, path, r => (r.Headers.Range, r.Headers.IfRange) = (new RangeHeaderValue(0, 0), new RangeConditionHeaderValue("\"other\"")));
        Assert.Equal((HttpStatusCode.OK, 100_000), (changed.StatusCode, (await changed.Content.ReadAsByteArrayAsync()).Length));
        using var several = await SendAsync(HttpMethod.Get, path, r => r.Headers.TryAddWithoutValidation("Range", "bytes=0-1,5-6"));
        Assert.Equal(HttpStatusCode.OK, several.StatusCode);
        using var known = await SendAsync(HttpMethod.Get, path, r => r.Headers.IfNoneMatch.Add(tag));
        Assert.Equal(HttpStatusCode.NotModified, known.StatusCode);
    }

    [Fact]
    public async Task Page_and_picture_with_script_are_downloads()
    {
        var run = await server.NewRunAsync();
        foreach (var name in (string[])["x.html", "x.svg", "x\u0301.js", "naïve \u4E2D.html"])
        {
            var path = $"{Proxy}/artifacts/0/{run}/artifacts/{Uri.EscapeDataString(name)}";
            using var put = await server.Client.PutAsync(path, new StringContent("<script>alert(1)</script>", MediaTypeHeaderValue.Parse("text/html")));
            if (name.Contains('\u0301', StringComparison.Ordinal))
            {
                Assert.Equal(HttpStatusCode.BadRequest, put.StatusCode);
                continue;
            }

            using var got = await SendAsync(HttpMethod.Get, path);
            Assert.Equal("application/octet-stream", got.Content.Headers.ContentType!.ToString());
            Assert.Equal("attachment", got.Content.Headers.ContentDisposition!.DispositionType);
            Assert.Equal(name, got.Content.Headers.ContentDisposition.FileNameStar);
            Assert.Equal("nosniff", got.Headers.GetValues("X-Content-Type-Options").Single());
            Assert.StartsWith("sandbox", got.Headers.GetValues("Content-Security-Policy").Single(), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Upload_in_parts_goes_through_signed_addresses()
    {
        var run = await server.NewRunAsync();
        var bytes = RandomNumberGenerator.GetBytes(700_000);
        var created = await server.OkAsync("POST", $"{Proxy}/mpu/create/0/{run}/artifacts/model", """{"path":"/home/ada/model.bin","num_parts":"3"}""");
        var id = (string)created["upload_id"]!;
        var parts = new JsonArray();
        foreach (var credential in created["credentials"]!.AsArray().Reverse())
        {
            var number = (int)credential!["part_number"]!;
            // The address is the credential: no other header is sent, as clients do.
            using var sent = await server.Client.PutAsync(new Uri((string)credential["url"]!), new ByteArrayContent(bytes[((number - 1) * 300_000)..Math.Min(number * 300_000, bytes.Length)]));
            Assert.Equal(HttpStatusCode.OK, sent.StatusCode);
            parts.Insert(0, new JsonObject { ["part_number"] = number, ["etag"] = sent.Headers.ETag!.Tag, ["url"] = (string)credential["url"]! });
        }

        var body = new JsonObject { ["path"] = "/home/ada/model.bin", ["upload_id"] = id, ["parts"] = parts };
        await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "POST", $"{Proxy}/mpu/complete/0/{run}/artifacts/other", body.ToJsonString());
        await server.OkAsync("POST", $"{Proxy}/mpu/complete/0/{run}/artifacts/model", body.ToJsonString());
        Assert.Equal(bytes, await server.Client.GetByteArrayAsync($"{Proxy}/artifacts/0/{run}/artifacts/model/model.bin"));
        await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "POST", $"{Proxy}/mpu/abort/0/{run}/artifacts/model", body.ToJsonString());
    }

    [Theory]
    [InlineData("create", "../x", "400")]
    [InlineData("create", "..\\\\x", "400")]
    [InlineData("create", "a/..", "400")]
    [InlineData("create", "", "400")]
    [InlineData("complete", "../x", "400")]
    [InlineData("abort", "../x", "400")]
    public async Task Upload_in_parts_refuses_to_leave_its_folder(string verb, string path, string status)
    {
        var (got, body) = await server.SendAsync("POST", $"{Proxy}/mpu/{verb}/0/x/artifacts", $$"""{"path":"{{path}}","num_parts":1,"upload_id":"u","parts":[]}""");
        Assert.Equal(status, $"{got}");
        Assert.Equal("INVALID_PARAMETER_VALUE", (string?)body["error_code"]);
    }

    [Fact]
    public async Task Signed_address_is_good_for_one_thing()
    {
        var (path, bytes) = await StoredAsync(1000);
        var signed = await server.OkAsync("GET", path.Replace("/artifacts/0/", "/presigned/0/", StringComparison.Ordinal));
        Assert.Equal(signed["file_size"]!.ToJsonString(), (await server.OkAsync("GET", path.Replace("/artifacts/0/", "/mpd/presigned/0/", StringComparison.Ordinal)))["file_size"]!.ToJsonString());
        var url = (string)signed["url"]!;
        Assert.Equal(bytes, await server.Client.GetByteArrayAsync(new Uri(url)));
        using var range = await SendAsync(HttpMethod.Get, url, r => r.Headers.Range = new RangeHeaderValue(1, 2));
        Assert.Equal(HttpStatusCode.PartialContent, range.StatusCode);

        await DeniedAsync(HttpMethod.Put, url);
        await DeniedAsync(HttpMethod.Get, url.Replace("/file.bin?", "/other.bin?", StringComparison.Ordinal));
        await DeniedAsync(HttpMethod.Get, url.Replace("expires=", "expires=9", StringComparison.Ordinal));
        await DeniedAsync(HttpMethod.Get, url + "0");
        await DeniedAsync(HttpMethod.Get, url + "&part=1");
        await DeniedAsync(HttpMethod.Get, url[..url.IndexOf('?', StringComparison.Ordinal)]);
    }

    [Fact]
    public async Task Every_shape_of_a_path_that_leaves_is_refused_at_every_door()
    {
        var run = await server.NewRunAsync();
        string[] shapes =
        [
            "../x", "a/../x", "a/../../../x", "..", "a/..", "./x", "a/./x", ".", "/etc/passwd", "//etc/passwd", "a//b", "C:\\x", "C:/x", "\\\\host\\share", "a\\..\\x",
            "..%2fx", "%2e%2e/x", "%252e%252e%252fx", "..%5cx", "%00", "a\0b", "a\rb", "a\nX-Evil: 1", "a\u007fb", "\u202Egpj.exe", "\uFF0E\uFF0E/x", "\u2025/x", "a\u2215b", "\uFF3Cx",
            "..;/x", "a;/..%2fx", "...", "x.", "x ", " x", "con", "NUL.txt", "a/com1.bin", "file:///etc/passwd", "mlflow-artifacts:/0/x", "a?b", "a#b", "a*b", "a|b", "a<b>", "a\"b",
            new string('a', 256), string.Join('/', Enumerable.Repeat("abcdefgh", 120)), "e\u0301",
        ];
        foreach (var shape in shapes)
        {
            var escaped = Uri.EscapeDataString(shape);
            var json = JsonValue.Create(shape)!.ToJsonString();
            foreach (var (method, url, body) in ((string, string, string?)[])
            [
                ("PUT", $"{Proxy}/artifacts/0/{run}/artifacts/{escaped}", "evil"),
                ("GET", $"{Proxy}/artifacts/0/{run}/artifacts/{escaped}", null),
                ("DELETE", $"{Proxy}/artifacts/0/{run}/artifacts/{escaped}", null),
                ("GET", $"{Proxy}/artifacts?path={escaped}", null),
                ("GET", $"/get-artifact?run_id={run}&path={escaped}", null),
                ("POST", $"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path={escaped}", "evil"),
                ("POST", "/api/2.0/mlflow/artifacts/presigned-upload-url", $$"""{"run_id":"{{run}}","path":{{json}}}"""),
                ("POST", $"{Proxy}/mpu/create/{escaped}", """{"path":"x","num_parts":1}"""),
            ])
            {
                using var request = new HttpRequestMessage(new HttpMethod(method), url);
                request.Content = body is null ? null : new StringContent(body, MediaTypeHeaderValue.Parse("application/json"));
                using var answer = await server.Client.SendAsync(request);
                // The HTTP client itself folds dots that stand alone, so that such a request names the folder above.
                var harmless = shape is "." or ".." && url.EndsWith("/" + shape, StringComparison.Ordinal);
                Assert.True(harmless || answer.StatusCode is HttpStatusCode.BadRequest or HttpStatusCode.NotFound, $"{method} {url} answered {(int)answer.StatusCode}");
                Assert.True((int)answer.StatusCode < 500, $"{method} {url} answered {(int)answer.StatusCode}");
                Assert.False(answer.Headers.Contains("X-Evil"));
            }
        }

        Assert.Equal("{}", (await server.OkAsync("GET", $"{Proxy}/artifacts?path=0/{run}/artifacts")).ToJsonString());
    }

    [Fact]
    public async Task Web_clients_upload_and_presigned_upload_store_a_run_s_file()
    {
        var run = await server.NewRunAsync();
        using (var content = new StringContent("by the web client"))
        using (var posted = await server.Client.PostAsync($"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=notes/a.txt", content))
        {
            Assert.Equal(HttpStatusCode.OK, posted.StatusCode);
        }

        var signed = await server.OkAsync("POST", "artifacts/presigned-upload-url", $$"""{"run_id":"{{run}}","path":"notes/b.txt","expiration":60}""");
        using (var put = await server.Client.PutAsync(new Uri((string)signed["presigned_url"]!), new StringContent("by address")))
        {
            Assert.Equal(HttpStatusCode.OK, put.StatusCode);
        }

        Assert.Equal("by the web client", await server.Client.GetStringAsync($"/get-artifact?run_id={run}&path=notes/a.txt"));
        Assert.Equal("by address", await server.Client.GetStringAsync($"/get-artifact?run_id={run}&path=notes/b.txt"));
        await server.RefusedAsync(400, "INVALID_PARAMETER_VALUE", "POST", "artifacts/presigned-upload-url", $$"""{"run_id":"{{run}}","path":"../b.txt"}""");
        await server.RefusedAsync(404, "RESOURCE_DOES_NOT_EXIST", "POST", "artifacts/presigned-upload-url", """{"run_id":"nope","path":"b.txt"}""");
    }

    private async Task DeniedAsync(HttpMethod method, string url)
    {
        using var denied = await SendAsync(method, url, r => r.Content = method == HttpMethod.Put ? new StringContent("evil") : null);
        Assert.Equal(HttpStatusCode.Forbidden, denied.StatusCode);
    }

    private async Task<HttpResponseMessage> SendAsync(HttpMethod method, string url, Action<HttpRequestMessage>? with = null)
    {
        using var request = new HttpRequestMessage(method, url);
        with?.Invoke(request);
        return await server.Client.SendAsync(request);
    }

    private async Task<(string Path, byte[] Bytes)> StoredAsync(int size)
    {
        var path = $"{Proxy}/artifacts/0/{await server.NewRunAsync()}/artifacts/file.bin";
        var bytes = RandomNumberGenerator.GetBytes(size);
        using var put = await server.Client.PutAsync(path, new ByteArrayContent(bytes));
        Assert.Equal(HttpStatusCode.OK, put.StatusCode);
        return (path, bytes);
    }
}
