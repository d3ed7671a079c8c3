using System.Buffers.Binary;
using System.Globalization;
using System.IO.Compression;
using System.Text.Json;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Health.V1;
using Grpc.Net.Client;
using Grpc.Net.Compression;
using Grpc.Reflection.V1Alpha;
using Microsoft.Extensions.DependencyInjection;
using Slipway.Server.Oip.Wire;

namespace Slipway.Tests.Serving;

/// <summary>The protocol over gRPC: a real server on a free port, and the client that is generated from the protocol's own description.</summary>
public sealed class OipGrpcTests : IClassFixture<ServedModels>, IDisposable
{
    private readonly ServedModels _served;
    private readonly GrpcChannel _channel;
    private readonly GRPCInferenceService.GRPCInferenceServiceClient _client;

    public OipGrpcTests(ServedModels served)
    {
        _served = served;
        _channel = GrpcChannel.ForAddress(served.Server.GrpcUrls[0], new GrpcChannelOptions { MaxReceiveMessageSize = null, MaxSendMessageSize = null, CompressionProviders = [new GzipCompressionProvider(CompressionLevel.Fastest), new Zlib()] });
        _client = new(_channel);
    }

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public void Dispose() => _channel.Dispose();

    [Theory]
    [MemberData(nameof(ReferenceModels.All), MemberType = typeof(ReferenceModels))]
    public async Task Reference_model_answers_raw_and_typed_contents_with_the_expected_outputs(string model)
    {
        foreach (var raw in new[] { true, false })
        {
            var request = Request(model, raw);
            if (request is null)
            {
                continue;
            }

            var answer = await _client.ModelInferAsync(request, cancellationToken: Stop);

            Assert.Equal((model, "1", $"{model}-1", "stable"), (answer.ModelName, answer.ModelVersion, answer.Id, answer.Parameters["variant"].StringParam));
            Assert.Equal(answer.Outputs.Count, answer.RawOutputContents.Count);
            ReferenceModels.Check(model, Decode(answer));
        }
    }

    [Fact]
    public async Task Chosen_outputs_come_in_their_order()
    {
        var request = Request("iris_logreg", raw: true)!;
        request.Outputs.Add(new ModelInferRequest.Types.InferRequestedOutputTensor { Name = "probabilities" });
        request.Outputs.Add(new ModelInferRequest.Types.InferRequestedOutputTensor { Name = "label" });

        Assert.Equal(["probabilities", "label"], (await _client.ModelInferAsync(request, cancellationToken: Stop)).Outputs.Select(output => output.Name));
    }

    [Fact]
    public async Task A_stream_answers_each_request_and_survives_a_bad_one()
    {
        using var call = _client.ModelStreamInfer(cancellationToken: Stop);
        var bad = Request("iris_logreg", raw: true)!;
        (bad.Id, bad.ModelName) = ("bad", "nowhere");
        var last = Request("iris_logreg", raw: false)!;
        last.Id = "last";
        last.Parameters["triton_enable_empty_final_response"] = new InferParameter { BoolParam = true };
        foreach (var request in new[] { Request("iris_logreg", raw: true)!, bad, last })
        {
            await call.RequestStream.WriteAsync(request, Stop);
        }

        await call.RequestStream.CompleteAsync();
        var answers = new List<ModelStreamInferResponse>();
        while (await call.ResponseStream.MoveNext(Stop))
        {
            answers.Add(call.ResponseStream.Current);
        }

        Assert.Equal(["iris_logreg-1", "bad", "last"], answers.Select(answer => answer.InferResponse.Id));
        Assert.Contains("nowhere", answers[1].ErrorMessage, StringComparison.Ordinal);
        Assert.Equal("", answers[0].ErrorMessage);
        ReferenceModels.Check("iris_logreg", Decode(answers[0].InferResponse));
        Assert.False(answers[0].InferResponse.Parameters.ContainsKey("triton_final_response"));
        Assert.True(answers[2].InferResponse.Parameters["triton_final_response"].BoolParam);
    }

    [Fact]
    public async Task Bad_requests_are_refused_with_the_protocols_status_and_the_server_lives()
    {
        await RefusedAsync(StatusCode.NotFound, "nowhere", r => r.ModelName = "nowhere");
        await RefusedAsync(StatusCode.NotFound, "version '7'", r => r.ModelVersion = "7");
        await RefusedAsync(StatusCode.InvalidArgument, "must be FP32, got FP64", r => (r.Inputs[0].Datatype, r.RawInputContents[0]) = ("FP64", ByteString.CopyFrom(new byte[4 * 8 * (int)r.Inputs[0].Shape[0]])));
        await RefusedAsync(StatusCode.InvalidArgument, "'FP33' is not a datatype", r => r.Inputs[0].Datatype = "FP33");
        await RefusedAsync(StatusCode.InvalidArgument, "bytes of raw contents", r => r.RawInputContents[0] = ByteString.CopyFrom(new byte[15]));
        await RefusedAsync(StatusCode.InvalidArgument, "negative dimension", r => r.Inputs[0].Shape[0] = -1);
        await RefusedAsync(StatusCode.InvalidArgument, "too many elements", r => r.Inputs[0].Shape.Add([long.MaxValue, long.MaxValue]));
        await RefusedAsync(StatusCode.InvalidArgument, "at most 16 dimensions", r => r.Inputs[0].Shape.Add(Enumerable.Repeat(1L, 17)));
        await RefusedAsync(StatusCode.InvalidArgument, "2 raw_input_contents for 1 inputs", r => r.RawInputContents.Add(ByteString.Empty));
        await RefusedAsync(StatusCode.InvalidArgument, "not both", r => r.Inputs[0].Contents = new InferTensorContents { Fp32Contents = { r.Inputs[0].Shape.Aggregate(1L, (a, b) => a * b) is var n ? Enumerable.Repeat(0f, (int)n) : [] } });
        await RefusedAsync(StatusCode.InvalidArgument, "has no contents", r => r.RawInputContents.Clear());
        await RefusedAsync(StatusCode.InvalidArgument, "field of another type", r =>
        {
            r.RawInputContents.Clear();
            r.Inputs[0].Contents = new InferTensorContents { Fp64Contents = { 1, 2, 3, 4 } };
        });
        await RefusedAsync(StatusCode.InvalidArgument, "given twice", r =>
        {
            r.Inputs.Add(r.Inputs[0].Clone());
            r.RawInputContents.Add(r.RawInputContents[0]);
        });
        await RefusedAsync(StatusCode.InvalidArgument, "no input 'Y'", r => r.Inputs[0].Name = "Y");
        await RefusedAsync(StatusCode.InvalidArgument, "no output 'nothing'", r => r.Outputs.Add(new ModelInferRequest.Types.InferRequestedOutputTensor { Name = "nothing" }));
        await RefusedAsync(StatusCode.Unimplemented, "classification", r => r.Outputs.Add(new ModelInferRequest.Types.InferRequestedOutputTensor { Name = "label", Parameters = { ["classification"] = new InferParameter { Int64Param = 1 } } }));
        await RefusedAsync(StatusCode.Unimplemented, "shared memory", r => r.Inputs[0].Parameters["shared_memory_region"] = new InferParameter { StringParam = "x" });
        await RefusedAsync(StatusCode.ResourceExhausted, "", r => r.RawInputContents[0] = ByteString.CopyFrom(new byte[(64 << 20) + 1]));

        ReferenceModels.Check("iris_logreg", Decode(await _client.ModelInferAsync(Request("iris_logreg", raw: true), cancellationToken: Stop)));
    }

    [Theory]
    [InlineData("gzip")]
    [InlineData("deflate")]
    public async Task Compressed_messages_are_read_and_their_inflated_size_is_bounded(string encoding)
    {
        var headers = new Metadata { { "grpc-internal-encoding-request", encoding } };
        ReferenceModels.Check("iris_logreg", Decode(await _client.ModelInferAsync(Request("iris_logreg", raw: true), headers, cancellationToken: Stop)));

        // A quarter of a megabyte on the wire, 256 MiB behind it.
        var bomb = Request("iris_logreg", raw: true)!;
        bomb.RawInputContents[0] = ByteString.CopyFrom(new byte[256 << 20]);
        var refused = await Assert.ThrowsAsync<RpcException>(async () => await _client.ModelInferAsync(bomb, headers, cancellationToken: Stop));
        Assert.Equal(StatusCode.ResourceExhausted, refused.StatusCode);
    }

    [Fact]
    public async Task Every_integer_type_is_checked_against_its_range()
    {
        await _served.ServeAsync("echo", TinyOnnx.Types());
        foreach (var (input, datatype, contents, fits) in new (string, string, InferTensorContents, bool)[]
        {
            ("i8", "INT8", new() { IntContents = { -128, 127 } }, true),
            ("i8", "INT8", new() { IntContents = { -129, 0 } }, false),
            ("u8", "UINT8", new() { UintContents = { 0, 255 } }, true),
            ("u8", "UINT8", new() { UintContents = { 256, 0 } }, false),
            ("i64", "INT64", new() { Int64Contents = { long.MinValue, long.MaxValue } }, true),
            ("u64", "UINT64", new() { Uint64Contents = { 0, ulong.MaxValue } }, true),
            ("b", "BOOL", new() { BoolContents = { true, false } }, true),
            ("f64", "FP64", new() { Fp64Contents = { double.NaN, double.PositiveInfinity } }, true),
            ("f16", "FP16", new() { Fp32Contents = { 1, 2 } }, false),
        })
        {
            var request = new ModelInferRequest { ModelName = "echo", Outputs = { new ModelInferRequest.Types.InferRequestedOutputTensor { Name = input + "_out" } } };
            foreach (var (name, type, size) in TinyOnnx.TypePorts)
            {
                var given = name == input;
                request.Inputs.Add(new ModelInferRequest.Types.InferInputTensor { Name = name, Datatype = type, Shape = { given ? 2 : 0 }, Contents = given ? contents : null });
            }

            if (fits)
            {
                var answer = await _client.ModelInferAsync(request, cancellationToken: Stop);
                Assert.Equal((datatype, 2L), (answer.Outputs[0].Datatype, answer.Outputs[0].Shape[0]));
                Assert.Equal(Flat(contents), Elements(datatype, answer.RawOutputContents[0].Span).Select(value => value.ToString(CultureInfo.InvariantCulture)));
            }
            else
            {
                Assert.Equal(StatusCode.InvalidArgument, (await Assert.ThrowsAsync<RpcException>(async () => await _client.ModelInferAsync(request, cancellationToken: Stop))).StatusCode);
            }
        }
    }

    [Fact]
    public async Task Server_and_models_describe_themselves()
    {
        Assert.True((await _client.ServerLiveAsync(new(), cancellationToken: Stop)).Live);
        Assert.True((await _client.ServerReadyAsync(new(), cancellationToken: Stop)).Ready);
        Assert.Contains("model_configuration", (await _client.ServerMetadataAsync(new(), cancellationToken: Stop)).Extensions);
        Assert.True((await _client.ModelReadyAsync(new() { Name = "iris_logreg", Version = "1" }, cancellationToken: Stop)).Ready);
        Assert.False((await _client.ModelReadyAsync(new() { Name = "nowhere" }, cancellationToken: Stop)).Ready);
        var metadata = await _client.ModelMetadataAsync(new() { Name = "iris_mixed_inputs" }, cancellationToken: Stop);
        Assert.Equal(("onnxruntime_onnx", "BYTES", "1"), (metadata.Platform, metadata.Inputs[3].Datatype, metadata.Versions.Single()));
        var config = (await _client.ModelConfigAsync(new() { Name = "iris_logreg" }, cancellationToken: Stop)).Config;
        Assert.Equal((DataType.TypeFp32, 4L, true), (config.Input[0].DataType, config.Input[0].Dims.Single(), config.MaxBatchSize > 1));
        Assert.Equal(StatusCode.NotFound, (await Assert.ThrowsAsync<RpcException>(async () => await _client.ModelMetadataAsync(new() { Name = "nowhere" }, cancellationToken: Stop))).StatusCode);
        var memory = await Assert.ThrowsAsync<RpcException>(async () => await _client.SystemSharedMemoryStatusAsync(new(), cancellationToken: Stop));
        Assert.Equal((StatusCode.Unimplemented, true), (memory.StatusCode, memory.Status.Detail.Contains("shared memory", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Health_and_reflection_answer_the_usual_tools()
    {
        var health = new Grpc.Health.V1.Health.HealthClient(_channel);
        Assert.Equal(HealthCheckResponse.Types.ServingStatus.Serving, (await health.CheckAsync(new HealthCheckRequest(), cancellationToken: Stop)).Status);
        Assert.Equal(HealthCheckResponse.Types.ServingStatus.Serving, (await health.CheckAsync(new HealthCheckRequest { Service = "iris_logreg" }, cancellationToken: Stop)).Status);
        Assert.Equal(StatusCode.NotFound, (await Assert.ThrowsAsync<RpcException>(async () => await health.CheckAsync(new HealthCheckRequest { Service = "nowhere" }, cancellationToken: Stop))).StatusCode);

        using var reflection = new ServerReflection.ServerReflectionClient(_channel).ServerReflectionInfo(cancellationToken: Stop);
        await reflection.RequestStream.WriteAsync(new ServerReflectionRequest { ListServices = "" }, Stop);
        Assert.True(await reflection.ResponseStream.MoveNext(Stop));
        Assert.Contains("inference.GRPCInferenceService", reflection.ResponseStream.Current.ListServicesResponse.Service.Select(service => service.Name));
        await reflection.RequestStream.WriteAsync(new ServerReflectionRequest { FileContainingSymbol = "inference.GRPCInferenceService" }, Stop);
        Assert.True(await reflection.ResponseStream.MoveNext(Stop));
        Assert.NotEmpty(reflection.ResponseStream.Current.FileDescriptorResponse.FileDescriptorProto);
    }

    [Fact]
    public async Task Broken_messages_never_end_the_server()
    {
        // Every prefix and every flipped byte of a good message is answered: by the model, or by a refusal that is no defect.
        var good = Request("iris_mixed_inputs", raw: false)!.ToByteArray();
        var bytes = Marshallers.Create(static (byte[] message) => message, static message => message);
        var method = new Method<byte[], byte[]>(MethodType.Unary, "inference.GRPCInferenceService", "ModelInfer", bytes, bytes);
        var invoker = _channel.CreateCallInvoker();
        var random = new Random(4);
        for (var i = 0; i < 600; i++)
        {
            var message = good.AsSpan(0, i % 3 == 0 ? random.Next(good.Length) : good.Length).ToArray();
            for (var flips = i % 3 == 0 ? 0 : random.Next(1, 4); flips > 0; flips--)
            {
                message[random.Next(message.Length)] = (byte)random.Next(256);
            }

            try
            {
                await invoker.AsyncUnaryCall(method, null, new CallOptions(cancellationToken: Stop), message);
            }
            catch (RpcException refused)
            {
                Assert.True(refused.StatusCode is StatusCode.InvalidArgument or StatusCode.NotFound or StatusCode.Unimplemented, $"{refused.Status} for {Convert.ToHexString(message)}");
            }
        }

        Assert.True((await _client.ServerReadyAsync(new(), cancellationToken: Stop)).Ready);
    }

    [Fact]
    public async Task Metadata_carries_the_key_and_a_refusal_is_a_status()
    {
        using var folder = new TemporaryFolder();
        await using var guarded = SlipwayServer.Create(new SlipwayOptions { DataDirectory = folder.Path, Urls = ["http://127.0.0.1:0"], GrpcUrls = ["http://127.0.0.1:0"], Identity = IdentityMode.Required });
        await guarded.StartAsync(Stop);
        var access = guarded.Services.GetRequiredService<Slipway.Governance.Access>();
        var owner = await access.RedeemOwnerLinkAsync(await access.MintOwnerLinkAsync(Stop), "ada", Stop);
        using var channel = GrpcChannel.ForAddress(guarded.GrpcUrls[0]);
        var client = new GRPCInferenceService.GRPCInferenceServiceClient(channel);

        Assert.True((await client.ServerLiveAsync(new(), cancellationToken: Stop)).Live);
        Assert.Equal(StatusCode.Unauthenticated, (await Assert.ThrowsAsync<RpcException>(async () => await client.ModelInferAsync(new(), cancellationToken: Stop))).StatusCode);
        Assert.Equal(StatusCode.Unauthenticated, (await Assert.ThrowsAsync<RpcException>(async () => await client.ModelInferAsync(new(), new Metadata { { "authorization", "Bearer slp_abcdefgh_nonsense" } }, cancellationToken: Stop))).StatusCode);
        var known = await Assert.ThrowsAsync<RpcException>(async () => await client.ModelInferAsync(new() { ModelName = "x" }, new Metadata { { "authorization", $"Bearer {owner!.Key.Secret}" } }, cancellationToken: Stop));
        Assert.Equal((StatusCode.NotFound, "there is no endpoint 'x'"), (known.StatusCode, known.Status.Detail));
    }

    private async Task RefusedAsync(StatusCode status, string detail, Action<ModelInferRequest> spoil)
    {
        var request = Request("iris_logreg", raw: true)!;
        spoil(request);
        var refused = await Assert.ThrowsAsync<RpcException>(async () => await _client.ModelInferAsync(request, cancellationToken: Stop));
        Assert.Equal(status, refused.StatusCode);
        Assert.Contains(detail, refused.Status.Detail, StringComparison.Ordinal);
    }

    /// <summary>A model's case as a message; null where its types have no typed contents.</summary>
    private static ModelInferRequest? Request(string model, bool raw)
    {
        var request = new ModelInferRequest { ModelName = model, Id = $"{model}-1" };
        foreach (var input in ReferenceModels.Case(model).GetProperty("request").GetProperty("inputs").EnumerateArray())
        {
            var datatype = input.GetProperty("datatype").GetString()!;
            var tensor = new ModelInferRequest.Types.InferInputTensor { Name = input.GetProperty("name").GetString(), Datatype = datatype, Shape = { input.GetProperty("shape").EnumerateArray().Select(d => d.GetInt64()) } };
            request.Inputs.Add(tensor);
            var data = input.GetProperty("data");
            if (raw)
            {
                request.RawInputContents.Add(ByteString.CopyFrom(ReferenceModels.Raw(datatype, data)));
            }
            else if (datatype is "FP16" or "BF16")
            {
                return null;
            }
            else
            {
                tensor.Contents = new InferTensorContents();
                foreach (var value in data.EnumerateArray())
                {
                    Add(tensor.Contents, datatype, value);
                }
            }
        }

        return request;
    }

    private static void Add(InferTensorContents contents, string datatype, JsonElement value)
    {
        switch (datatype)
        {
            case "FP32":
                contents.Fp32Contents.Add(value.GetSingle());
                break;
            case "FP64":
                contents.Fp64Contents.Add(value.GetDouble());
                break;
            case "INT64":
                contents.Int64Contents.Add(value.GetInt64());
                break;
            case "INT32" or "INT16" or "INT8":
                contents.IntContents.Add(value.GetInt32());
                break;
            case "UINT64":
                contents.Uint64Contents.Add(value.GetUInt64());
                break;
            case "UINT32" or "UINT16" or "UINT8":
                contents.UintContents.Add(value.GetUInt32());
                break;
            case "BOOL":
                contents.BoolContents.Add(value.ValueKind == JsonValueKind.True);
                break;
            default:
                contents.BytesContents.Add(ByteString.CopyFromUtf8(value.GetString()!));
                break;
        }
    }

    private static JsonElement Decode(ModelInferResponse answer) => JsonSerializer.SerializeToElement(answer.Outputs.Zip(
        answer.RawOutputContents, (output, content) => new { name = output.Name, datatype = output.Datatype, shape = output.Shape.ToArray(), data = ReferenceModels.Values(output.Datatype, content.Span) }));

    private static IEnumerable<string> Flat(InferTensorContents contents) => contents.IntContents.Select(v => $"{v}")
        .Concat(contents.UintContents.Select(v => $"{v}")).Concat(contents.Int64Contents.Select(v => $"{v}")).Concat(contents.Uint64Contents.Select(v => $"{v}"))
        .Concat(contents.BoolContents.Select(v => v ? "1" : "0")).Concat(contents.Fp64Contents.Select(v => v.ToString(CultureInfo.InvariantCulture)));

    private static List<IConvertible> Elements(string datatype, ReadOnlySpan<byte> bytes)
    {
        var elements = new List<IConvertible>();
        while (bytes.Length > 0)
        {
            var size = datatype switch { "INT64" or "UINT64" or "FP64" => 8, _ => 1 };
            elements.Add(datatype switch
            {
                "INT8" => (IConvertible)(sbyte)bytes[0],
                "INT64" => BinaryPrimitives.ReadInt64LittleEndian(bytes),
                "UINT64" => BinaryPrimitives.ReadUInt64LittleEndian(bytes),
                "FP64" => BinaryPrimitives.ReadDoubleLittleEndian(bytes),
                _ => bytes[0],
            });
            bytes = bytes[size..];
        }

        return elements;
    }

    /// <summary>gRPC's deflate is the zlib format.</summary>
    private sealed class Zlib : ICompressionProvider
    {
        public string EncodingName => "deflate";

        public Stream CreateCompressionStream(Stream stream, CompressionLevel? compressionLevel) => new ZLibStream(stream, CompressionLevel.Fastest, leaveOpen: true);

        public Stream CreateDecompressionStream(Stream stream) => new ZLibStream(stream, CompressionMode.Decompress, leaveOpen: true);
    }
}
