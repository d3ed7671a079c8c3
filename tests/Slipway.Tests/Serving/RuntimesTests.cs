using System.Net;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Slipway.Foundation;
using Slipway.Serving;
using Slipway.Serving.Runtimes;
using Slipway.Serving.Tensors;

namespace Slipway.Tests.Serving;

public sealed class RuntimesTests : IDisposable
{
    private static readonly CancellationToken None = CancellationToken.None;
    private readonly string _folder = Directory.CreateTempSubdirectory("slipway-runtimes-").FullName;

    public void Dispose()
    {
        if (Directory.Exists(_folder))
        {
            Directory.Delete(_folder, recursive: true);
        }
    }

    [Fact]
    public async Task Model_in_a_child_process_answers_as_in_the_server_and_comes_back_after_a_crash()
    {
        var program = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "Slipway.Cli", "release", "slipway"));
        if (!File.Exists(program))
        {
            Assert.Skip("the executable is not built");
        }

        var path = Put("model.onnx", ReferenceModels.Bytes("iris_logreg"));
        using var child = await ProcessRuntime.StartAsync(
            [program, "runtime-worker", "--socket", "{socket}", "--model", "{model}"], new() { Kind = RuntimeKind.Process }, path, _folder, TimeProvider.System, NullLogger.Instance, None);
        using var here = new LoadedModel(OnnxRuntime.Load(ReferenceModels.PathOf("iris_logreg")));
        using var mine = OnnxRuntimeTests.Flowers(3);
        using var theirs = OnnxRuntimeTests.Flowers(3);
        Assert.True(OnnxRuntimeTests.Run(here, mine).Ok);
        var result = await child.RunAsync(theirs, None);
        Assert.True(result.Ok, result.Message);
        Assert.Equal(mine.Outputs[0].As<long>().ToArray(), theirs.Outputs[0].As<long>().ToArray());
        Assert.Equal(mine.Outputs[1].As<float>().ToArray(), theirs.Outputs[1].As<float>().ToArray());

        var first = child.ProcessId!.Value;
        System.Diagnostics.Process.GetProcessById(first).Kill();
        do
        {
            using var again = OnnxRuntimeTests.Flowers(1);
            result = await child.RunAsync(again, None);
            Assert.True(result.Ok || result.Code == ErrorCode.Unavailable, result.Message);
        }
        while (!result.Ok);
        Assert.NotEqual(first, child.ProcessId);
    }

    [Fact]
    public async Task Process_that_asks_for_more_memory_than_its_cap_is_refused_it()
    {
        var refused = await Assert.ThrowsAsync<SlipwayException>(() => ProcessRuntime.StartAsync(
            ["/usr/bin/tail", "/dev/zero"], new() { Kind = RuntimeKind.Process, MemoryMiB = 256 }, "none", _folder, TimeProvider.System, NullLogger.Instance, None));
        Assert.Contains("exit code 1", refused.Why);
    }

    [Fact]
    public async Task Remote_server_is_spoken_to_tried_again_and_left_alone_when_it_keeps_failing()
    {
        using var server = new HttpListener();
        var port = FreePort();
        server.Prefixes.Add($"http://127.0.0.1:{port}/");
        server.Start();
        var failures = 0;
        var calls = 0;
        var serving = Task.Run(async () =>
        {
            while (server.IsListening)
            {
                HttpListenerContext context;
                try
                {
                    context = await server.GetContextAsync();
                }
                catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
                {
                    return;
                }

                var (status, body) = context.Request.HttpMethod == "GET"
                    ? (200, """{"name":"m","inputs":[{"name":"x","datatype":"FP32","shape":[-1,2]}],"outputs":[{"name":"y","datatype":"FP32","shape":[-1]},{"name":"t","datatype":"BYTES","shape":[-1]}]}""")
                    : Interlocked.Increment(ref calls) > 0 && Interlocked.Decrement(ref failures) >= 0 ? (503, """{"error":"busy"}""")
                    : (200, """{"outputs":[{"name":"t","datatype":"BYTES","shape":[1],"data":["é"]},{"name":"y","datatype":"FP32","shape":[1],"data":[[1.5]]}]}""");
                context.Response.StatusCode = status;
                await context.Response.OutputStream.WriteAsync(Encoding.UTF8.GetBytes(body));
                context.Response.Close();
            }
        });
        var clock = new FakeTimeProvider();
        using (var remote = await RemoteRuntime.ConnectAsync(new() { Kind = RuntimeKind.Remote, Url = $"http://127.0.0.1:{port}" }, "m", clock, None))
        {
            failures = 1;
            using var request = InferRequest.Rent();
            var x = request.Inputs.Add();
            (x.Name, x.Datatype) = ("x", Datatype.Fp32);
            x.TrySetShape([1, 2]);
            x.Allocate(8).Clear();
            Assert.True((await remote.RunAsync(request, None)).Ok);
            Assert.Equal(2, calls);
            Assert.Equal(1.5f, request.Outputs[0].As<float>()[0]);
            Assert.Equal("é", Encoding.UTF8.GetString(request.Outputs[1].Data[4..]));

            // Five failures open the circuit; then nobody is asked until the pause is over.
            failures = 100;
            while (Volatile.Read(ref calls) < 7)
            {
                Assert.Equal(ErrorCode.Unavailable, (await remote.RunAsync(request, None)).Code);
            }

            Assert.Contains("failed repeatedly", (await remote.RunAsync(request, None)).Message);
            Assert.Equal(7, calls);
            failures = 0;
            clock.Advance(TimeSpan.FromSeconds(2));
            Assert.True((await remote.RunAsync(request, None)).Ok);
        }

        server.Stop();
        await serving;
        await Assert.ThrowsAsync<SlipwayException>(() => RemoteRuntime.ConnectAsync(new() { Kind = RuntimeKind.Remote, Url = $"http://127.0.0.1:{port}" }, "m", clock, None));
    }

    [Fact]
    public void External_data_is_read_inside_the_models_folder_only()
    {
        var inside = Directory.CreateDirectory(Path.Combine(_folder, "model")).FullName;
        File.WriteAllBytes(Path.Combine(_folder, "secret"), new byte[8]);
        File.WriteAllBytes(Path.Combine(inside, "weights"), new byte[8]);
        File.CreateSymbolicLink(Path.Combine(inside, "link"), Path.Combine(_folder, "secret"));
        Directory.CreateSymbolicLink(Path.Combine(inside, "folder"), _folder);
        foreach (var location in new[] { "../secret", Path.Combine(_folder, "secret"), "link", "folder/secret", "missing", "a/../../secret" })
        {
            var refused = Assert.Throws<SlipwayException>(() => OnnxRuntime.Load(Put("model/model.onnx", TinyOnnx.ExternalData(location))));
            Assert.Equal(ErrorCode.InvalidArgument, refused.Code);
            Assert.Contains(location, refused.Why);
        }

        using var loaded = OnnxRuntime.Load(Put("model/model.onnx", TinyOnnx.ExternalData("weights")));
        Assert.Equal("X", loaded.Signature.Inputs[0].Name);
        Assert.True(loaded.Traits.Bytes > 8);
    }

    private string Put(string name, byte[] content)
    {
        var path = Path.Combine(_folder, name);
        File.WriteAllBytes(path, content);
        return path;
    }

    private static int FreePort()
    {
        using var listener = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
