using System.IO.Compression;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace Slipway.Tests.Serving;

/// <summary>Input that nobody should send: the protocol's error, bounded memory, and a server that goes on.</summary>
public sealed class OipHostileTests : IClassFixture<ServedModels>, IDisposable
{
    private const string Infer = "/v2/models/iris_logreg/infer";
    private readonly ServedModels _served;
    private readonly HttpClient _http;

    public OipHostileTests(ServedModels served)
    {
        _served = served;
        _http = new HttpClient { BaseAddress = new Uri(served.Server.Urls[0]) };
    }

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public void Dispose() => _http.Dispose();

    [Theory]
    [InlineData("iris_mixed_inputs")]
    [InlineData("digits_types")]
    public async Task Broken_bodies_are_answered_in_the_protocols_form(string model)
    {
        // Prefixes, flipped bytes and doubled pieces of a good body, as JSON and with binary data behind it.
        var random = new Random(11);
        var json = ReferenceModels.Request(model);
        var (mixed, length) = OipHttpTests.Binary(model);
        for (var i = 0; i < 400; i++)
        {
            var binary = i % 2 == 1;
            var body = (binary ? mixed : json).ToList();
            switch (i / 2 % 3)
            {
                case 0:
                    body = [.. body.Take(random.Next(body.Count))];
                    break;
                case 1:
                    for (var flips = random.Next(1, 5); flips > 0; flips--)
                    {
                        body[random.Next(binary && random.Next(2) == 0 ? length : body.Count)] = (byte)random.Next(256);
                    }

                    break;
                default:
                    var from = random.Next(body.Count);
                    body.InsertRange(random.Next(body.Count), body.GetRange(from, Math.Min(body.Count - from, random.Next(1, 200))));
                    break;
            }

            using var request = new HttpRequestMessage(HttpMethod.Post, $"/v2/models/{model}/infer") { Content = new ByteArrayContent([.. body]) };
            if (binary)
            {
                request.Headers.Add("Inference-Header-Content-Length", $"{length}");
            }

            using var response = await _http.SendAsync(request, Stop);
            var status = (int)response.StatusCode;
            Assert.True(status is 200 or 400 or 501, $"{status} for {Convert.ToHexString([.. body])}");
            if (status != 200)
            {
                Assert.Equal("application/json", response.Content.Headers.ContentType!.ToString());
                Assert.NotEqual("", JsonDocument.Parse(await response.Content.ReadAsByteArrayAsync(Stop)).RootElement.GetProperty("error").GetString());
            }
        }

        await LivesAsync();
    }

    [Theory]
    [InlineData("""{"inputs":[{"name":"X","shape":[-1,4],"datatype":"FP32","data":[1,2,3,4]}]}""", "negative")]
    [InlineData("""{"inputs":[{"name":"X","shape":[4294967296,4294967296,2],"datatype":"FP32","data":[1]}]}""", "too many elements")]
    [InlineData("""{"inputs":[{"name":"X","shape":[99999999999999999999],"datatype":"FP32","data":[1]}]}""", "not an integer")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1000000000,4],"datatype":"FP32","data":[1]}]}""", "1 elements of data")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]},{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}""", "twice")]
    [InlineData("""{"inputs":[{"name":"Y","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}""", "no input 'Y'")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1,4],"datatype":"INT32","data":[1,2,3,4]}]}""", "must be FP32, got INT32")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":["a","b","c","d"]}]}""", "a number")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[1e999,2,3,4]}]}""", "not a value of FP32")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","parameters":{"binary_data_size":16}}]}""", "binary data")]
    [InlineData("""{"inputs":[],"outputs":[]}""", "missing")]
    [InlineData("""[]""", "expected")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}],"outputs":[{"name":"label"},{"name":"label"}]}""", "twice")]
    public async Task Wrong_tensors_are_named(string body, string reason)
    {
        using var response = await _http.PostAsync(Infer, new StringContent(body), Stop);
        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        Assert.Contains(reason, JsonDocument.Parse(await response.Content.ReadAsStringAsync(Stop)).RootElement.GetProperty("error").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Deep_nesting_ends_in_an_error()
    {
        foreach (var body in new[]
        {
            $$"""{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":{{new string('[', 200_000)}}1""",
            $$"""{"unknown":{{string.Concat(Enumerable.Repeat("{\"a\":", 200_000))}}""",
        })
        {
            using var response = await _http.PostAsync(Infer, new StringContent(body), Stop);
            Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        }

        await LivesAsync();
    }

    [Fact]
    public async Task A_gigabyte_is_refused_in_bounded_memory()
    {
        var before = GC.GetTotalMemory(forceFullCollection: true);
        using var declared = new HttpRequestMessage(HttpMethod.Post, Infer) { Content = new Endless(1L << 30, declare: true), Headers = { ExpectContinue = true } };
        using (var refused = await _http.SendAsync(declared, Stop))
        {
            Assert.Equal(HttpStatusCode.RequestEntityTooLarge, refused.StatusCode);
        }

        // Without a declared length the server stops reading at its limit; what the client sees then is the answer or the end of the connection.
        using var streamed = new HttpRequestMessage(HttpMethod.Post, Infer) { Content = new Endless(1L << 30, declare: false), Headers = { TransferEncodingChunked = true } };
        try
        {
            using var refused = await _http.SendAsync(streamed, Stop);
            Assert.Equal(HttpStatusCode.RequestEntityTooLarge, refused.StatusCode);
        }
        catch (HttpRequestException e) when (e.InnerException is IOException or SocketException)
        {
            // The connection was closed under the upload.
        }

        Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - before, long.MinValue, 192L << 20);
        await LivesAsync();
    }

    [Theory]
    [InlineData("gzip")]
    [InlineData("deflate")]
    public async Task Compressed_bodies_are_read_answered_and_bounded(string encoding)
    {
        // Small answers go as they are; this one is large enough to be worth it.
        var rows = string.Join(',', Enumerable.Repeat("5.9,3,5.1,1.8", 500));
        var large = Encoding.UTF8.GetBytes($$"""{"inputs":[{"name":"X","shape":[500,4],"datatype":"FP32","data":[{{rows}}]}]}""");
        using var good = new HttpRequestMessage(HttpMethod.Post, Infer) { Content = Packed(large, encoding), Headers = { { "Accept-Encoding", encoding } } };
        using var answer = await _http.SendAsync(good, Stop);
        Assert.Equal((HttpStatusCode.OK, encoding), (answer.StatusCode, answer.Content.Headers.ContentEncoding.Single()));
        await using var inflated = Inflating(await answer.Content.ReadAsStreamAsync(Stop), encoding);
        var labels = (await JsonDocument.ParseAsync(inflated, default, Stop)).RootElement.GetProperty("outputs")[0].GetProperty("data");
        Assert.Equal((500, 2L), (labels.GetArrayLength(), labels[499].GetInt64()));

        var (mixed, length) = OipHttpTests.Binary("iris_logreg");
        using var binary = new HttpRequestMessage(HttpMethod.Post, Infer) { Content = Packed(mixed, encoding), Headers = { { "Inference-Header-Content-Length", $"{length}" } } };
        Assert.Equal(HttpStatusCode.OK, (await _http.SendAsync(binary, Stop)).StatusCode);

        using var bomb = await _http.PostAsync(Infer, Packed(new byte[256 << 20], encoding), Stop);
        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, bomb.StatusCode);
        var broken = new ByteArrayContent([1, 2, 3]) { Headers = { ContentEncoding = { encoding } } };
        using var unread = await _http.PostAsync(Infer, broken, Stop);
        Assert.Equal(HttpStatusCode.BadRequest, unread.StatusCode);
        await LivesAsync();
    }

    [Fact]
    public async Task Slow_clients_hold_up_nobody()
    {
        var address = new Uri(_served.Server.Urls[0]);
        var slow = new List<TcpClient>();
        try
        {
            for (var i = 0; i < 150; i++)
            {
                var client = new TcpClient();
                await client.ConnectAsync(address.Host, address.Port, Stop);
                slow.Add(client);
                await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes($"POST {Infer} HTTP/1.1\r\nHost: {address.Authority}\r\nContent-Length: 5000000\r\n\r\n{{\"inputs\":["), Stop);
            }

            for (var i = 0; i < 20; i++)
            {
                await LivesAsync();
            }
        }
        finally
        {
            slow.ForEach(client => client.Dispose());
        }

        await LivesAsync();
    }

    [Fact]
    public async Task Every_datatype_comes_back_over_JSON_and_binary()
    {
        await _served.ServeAsync("echo", TinyOnnx.Types());
        var json = """
            {"inputs":[
            {"name":"b","shape":[2],"datatype":"BOOL","data":[true,0]},{"name":"u8","shape":[2],"datatype":"UINT8","data":[0,255]},{"name":"u16","shape":[2],"datatype":"UINT16","data":[0,65535]},
            {"name":"u32","shape":[2],"datatype":"UINT32","data":[0,4294967295]},{"name":"u64","shape":[2],"datatype":"UINT64","data":[0,18446744073709551615]},
            {"name":"i8","shape":[2],"datatype":"INT8","data":[-128,127]},{"name":"i16","shape":[2],"datatype":"INT16","data":[-32768,32767]},{"name":"i32","shape":[2],"datatype":"INT32","data":[-2147483648,2147483647]},
            {"name":"i64","shape":[2],"datatype":"INT64","data":[-9223372036854775808,9223372036854775807]},{"name":"f32","shape":[2],"datatype":"FP32","data":[0.1,-3.4e38]},{"name":"f64","shape":[2],"datatype":"FP64","data":[0.1,1e308]},
            {"name":"s","shape":[2],"datatype":"BYTES","data":["ä€","\u0000\"\\"]},{"name":"f16","shape":[0],"datatype":"FP16","parameters":{"binary_data_size":0}},{"name":"bf16","shape":[0],"datatype":"BF16","parameters":{"binary_data_size":0}}],
            "outputs":[{"name":"b_out"},{"name":"u64_out"},{"name":"i64_out"},{"name":"f32_out"},{"name":"s_out"}]}
            """;
        using var response = await _http.PostAsync("/v2/models/echo/infer", new StringContent(json), Stop);
        var outputs = JsonDocument.Parse(await response.Content.ReadAsStringAsync(Stop)).RootElement.GetProperty("outputs").EnumerateArray().ToDictionary(o => o.GetProperty("name").GetString()!, o => o.GetProperty("data").GetRawText());
        Assert.Equal("[true,false]", outputs["b_out"]);
        Assert.Equal("[0,18446744073709551615]", outputs["u64_out"]);
        Assert.Equal("[-9223372036854775808,9223372036854775807]", outputs["i64_out"]);
        Assert.Equal("[0.1,-3.4E+38]", outputs["f32_out"]);
        Assert.Equal("ä€", JsonDocument.Parse(outputs["s_out"]).RootElement[0].GetString());
        Assert.Equal("\0\"\\", JsonDocument.Parse(outputs["s_out"]).RootElement[1].GetString());

        // NaN, infinities and half precision travel as they are in binary; asked for as JSON they are refused with that advice.
        byte[] raw = [.. BitConverter.GetBytes(float.NaN), .. BitConverter.GetBytes(float.NegativeInfinity), 0x00, 0x3C, 0x80, 0x3F];
        string[] binaries = ["f32", "f16", "bf16"];
        var inputs = TinyOnnx.TypePorts.OrderBy(port => Array.IndexOf(binaries, port.Name)).Select(port => port.Name switch
        {
            "f32" => """{"name":"f32","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}}""",
            "f16" => """{"name":"f16","shape":[1],"datatype":"FP16","parameters":{"binary_data_size":2}}""",
            "bf16" => """{"name":"bf16","shape":[1],"datatype":"BF16","parameters":{"binary_data_size":2}}""",
            _ => $$"""{"name":"{{port.Name}}","shape":[0],"datatype":"{{port.Datatype}}","data":[]}""",
        });
        string Header(bool binary) =>
            """{"inputs":[""" + string.Join(',', inputs) + """],"outputs":[{"name":"f32_out"},{"name":"f16_out"},{"name":"bf16_out"}],"parameters":{"binary_data_output":""" + (binary ? "true}}" : "false}}");
        foreach (var binary in new[] { true, false })
        {
            var head = Encoding.UTF8.GetBytes(Header(binary));
            using var request = new HttpRequestMessage(HttpMethod.Post, "/v2/models/echo/infer") { Content = new ByteArrayContent([.. head, .. raw]), Headers = { { "Inference-Header-Content-Length", $"{head.Length}" } } };
            using var answer = await _http.SendAsync(request, Stop);
            var body = await answer.Content.ReadAsByteArrayAsync(Stop);
            if (binary)
            {
                Assert.Equal(raw, body[int.Parse(answer.Headers.GetValues("Inference-Header-Content-Length").Single(), null)..]);
            }
            else
            {
                Assert.Equal((HttpStatusCode.BadRequest, true), (answer.StatusCode, Encoding.UTF8.GetString(body).Contains("binary", StringComparison.Ordinal)));
            }
        }

        // NaN in JSON is understood where the number goes in, though strict JSON has no such token.
        using var tokens = await _http.PostAsync(Infer, new StringContent("""{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[NaN,Infinity,-Infinity,1]}],"outputs":[{"name":"label"}]}"""), Stop);
        Assert.Equal(HttpStatusCode.OK, tokens.StatusCode);
    }

    private async Task LivesAsync()
    {
        using var response = await _http.PostAsync(Infer, new ByteArrayContent(ReferenceModels.Request("iris_logreg")), Stop);
        ReferenceModels.Check("iris_logreg", JsonDocument.Parse(await response.Content.ReadAsByteArrayAsync(Stop)).RootElement.GetProperty("outputs"));
    }

    private static ByteArrayContent Packed(byte[] body, string encoding)
    {
        var packed = new MemoryStream();
        using (Stream deflating = encoding == "gzip" ? new GZipStream(packed, CompressionLevel.Fastest, leaveOpen: true) : new ZLibStream(packed, CompressionLevel.Fastest, leaveOpen: true))
        {
            deflating.Write(body);
        }

        return new ByteArrayContent(packed.ToArray()) { Headers = { ContentEncoding = { encoding } } };
    }

    private static Stream Inflating(Stream body, string encoding) => encoding == "gzip" ? new GZipStream(body, CompressionMode.Decompress) : new ZLibStream(body, CompressionMode.Decompress);

    /// <summary>A JSON body that goes on and on.</summary>
    private sealed class Endless(long bytes, bool declare) : HttpContent
    {
        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
        {
            await stream.WriteAsync("""{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":["""u8.ToArray());
            var block = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat("1,", 1 << 15)));
            for (var sent = 0L; sent < bytes; sent += block.Length)
            {
                await stream.WriteAsync(block);
            }
        }

        protected override bool TryComputeLength(out long length)
        {
            length = bytes;
            return declare;
        }
    }
}
