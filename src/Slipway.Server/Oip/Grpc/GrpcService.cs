using Grpc.AspNetCore.Server.Model;
using Grpc.Core;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Serving;
using Slipway.Server.Oip.Wire;

namespace Slipway.Server.Oip;

/// <summary>The Open Inference Protocol over gRPC: thin over the same <see cref="Endpoints"/> as the routes over HTTP.</summary>
internal sealed class GrpcService(Endpoints endpoints, TimeProvider clock)
{
    /// <summary>The largest message in either direction, in bytes: the same as a body over HTTP.</summary>
    public const int MaxMessage = OipEndpoints.MaxBody;

    public async Task<InferCall> InferAsync(InferCall call, ServerCallContext context)
    {
        await AnswerAsync(call, context);
        if (call.Fault is { } fault)
        {
            throw Refusal(fault.Code, fault.Message);
        }

        if (call.Outcome.Code is { } code)
        {
            throw Refusal(code == ErrorCode.Cancelled && context.Deadline < clock.GetUtcNow().UtcDateTime ? ErrorCode.DeadlineExceeded : code, call.Outcome.Message ?? "");
        }

        return call;
    }

    /// <summary>Answers each request in its turn. A request that fails is answered with an error message, and the stream goes on.</summary>
    public async Task StreamAsync(IAsyncStreamReader<InferCall> requests, IServerStreamWriter<InferCall> responses, ServerCallContext context)
    {
        while (await requests.MoveNext(context.CancellationToken))
        {
            var call = requests.Current;
            await AnswerAsync(call, context);
            await responses.WriteAsync(call, context.CancellationToken);
        }
    }

    public Task<ServerLiveResponse> ServerLive(ServerLiveRequest request) => Task.FromResult(new ServerLiveResponse { Live = true });

    public Task<ServerReadyResponse> ServerReady(ServerReadyRequest request) => Task.FromResult(new ServerReadyResponse { Ready = endpoints.Ready });

    public Task<ServerMetadataResponse> ServerMetadata(ServerMetadataRequest request) => Task.FromResult(
        new ServerMetadataResponse { Name = ModelDescription.ServerName, Version = ModelDescription.ServerVersion, Extensions = { ModelDescription.Extensions } });

    // Clients expect false, not an error, for a model that nobody knows.
    public Task<ModelReadyResponse> ModelReady(ModelReadyRequest request) => Task.FromResult(
        new ModelReadyResponse { Ready = endpoints.Describe(request.Name, Version(request.Version)) is { Ready: true } });

    public Task<ModelMetadataResponse> ModelMetadata(ModelMetadataRequest request)
    {
        var model = Described(request.Name, request.Version);
        return Task.FromResult(new ModelMetadataResponse
        {
            Name = model.Name,
            Versions = { model.Versions },
            Platform = ModelDescription.Platform,
            Inputs = { model.Signature!.Inputs.Select(Tensor) },
            Outputs = { model.Signature.Outputs.Select(Tensor) },
        });

        static ModelMetadataResponse.Types.TensorMetadata Tensor(Registry.TensorSpec spec) => new() { Name = spec.Name, Datatype = spec.Datatype, Shape = { spec.Shape } };
    }

    public Task<ModelConfigResponse> ModelConfig(ModelConfigRequest request) =>
        Task.FromResult(new ModelConfigResponse { Config = ModelDescription.Config(Described(request.Name, request.Version)) });

    public Task<ModelStatisticsResponse> ModelStatistics(ModelStatisticsRequest request) => Task.FromResult(new ModelStatisticsResponse
    {
        ModelStats = { OipModels.Statistics(endpoints, Version(request.Name), Version(request.Version)).Select(Statistics) },
    });

    public Task<RepositoryIndexResponse> RepositoryIndex(RepositoryIndexRequest request) => Task.FromResult(new RepositoryIndexResponse
    {
        Models =
        {
            endpoints.Index().Where(row => row.Ready || !request.Ready).Select(row => new RepositoryIndexResponse.Types.ModelIndex { Name = row.Endpoint, Version = row.Version, State = OipModels.State(row), Reason = row.Why ?? "" }),
        },
    });

    public async Task<RepositoryModelLoadResponse> LoadAsync(RepositoryModelLoadRequest request, ServerCallContext context)
    {
        if (request.Parameters.Count > 0)
        {
            throw OipModels.NoOverride();
        }

        await endpoints.LoadAsync(context.GetHttpContext().GetActor(), request.ModelName, context.CancellationToken);
        return new RepositoryModelLoadResponse { ModelName = request.ModelName, IsLoaded = true };
    }

    public async Task<RepositoryModelUnloadResponse> UnloadAsync(RepositoryModelUnloadRequest request, ServerCallContext context)
    {
        await endpoints.UnloadAsync(context.GetHttpContext().GetActor(), request.ModelName, context.CancellationToken);
        return new RepositoryModelUnloadResponse { ModelName = request.ModelName, IsUnloaded = true };
    }

    /// <summary>The gRPC status of a refusal.</summary>
    public static StatusCode Status(ErrorCode code) => code switch
    {
        ErrorCode.InvalidArgument => StatusCode.InvalidArgument,
        ErrorCode.NotFound => StatusCode.NotFound,
        ErrorCode.AlreadyExists => StatusCode.AlreadyExists,
        ErrorCode.Conflict => StatusCode.Aborted,
        ErrorCode.PreconditionFailed => StatusCode.FailedPrecondition,
        ErrorCode.Unauthenticated => StatusCode.Unauthenticated,
        ErrorCode.PermissionDenied => StatusCode.PermissionDenied,
        ErrorCode.TooLarge or ErrorCode.ResourceExhausted => StatusCode.ResourceExhausted,
        ErrorCode.Unavailable => StatusCode.Unavailable,
        ErrorCode.DeadlineExceeded => StatusCode.DeadlineExceeded,
        ErrorCode.NotImplemented => StatusCode.Unimplemented,
        ErrorCode.DataLoss => StatusCode.DataLoss,
        ErrorCode.Cancelled => StatusCode.Cancelled,
        _ => StatusCode.Internal,
    };

    public static RpcException Refusal(ErrorCode code, string message) => new(new Status(Status(code), message));

    private static ModelStatistics Statistics(VersionStatistics model) => new()
    {
        Name = model.Endpoint,
        Version = OipModels.Number(model),
        LastInference = (ulong)model.LastInferenceMillis,
        InferenceCount = (ulong)model.Rows,
        ExecutionCount = (ulong)model.Executions,
        InferenceStats = new()
        {
            Success = Duration(model.Success),
            Fail = Duration(model.Fail),
            Queue = Duration(model.Queue),
            ComputeInput = Duration(model.ComputeInput),
            ComputeInfer = Duration(model.ComputeInfer),
            ComputeOutput = Duration(model.ComputeOutput),
            CacheHit = new(),
            CacheMiss = new(),
        },
        BatchStats =
        {
            model.Batches.Select(batch => new InferBatchStatistics { BatchSize = (ulong)batch.Rows, ComputeInput = Duration(batch.ComputeInput), ComputeInfer = Duration(batch.ComputeInfer), ComputeOutput = Duration(batch.ComputeOutput) }),
        },
    };

    private static StatisticDuration Duration(Counted counted) => new() { Count = (ulong)counted.Count, Ns = (ulong)counted.Nanoseconds };

    private async ValueTask AnswerAsync(InferCall call, ServerCallContext context)
    {
        if (call.Fault is null)
        {
            if (Traces.Wanted)
            {
                call.Request.TraceParent = context.RequestHeaders.GetValue("traceparent");
            }

            // Metadata are headers of the request, with or without gRPC's own machinery.
            call.Request.SetHeaders(context.GetHttpContext().Request, OipEndpoints.HeaderOf);
            call.Outcome = await endpoints.InferAsync(call.Request, context.CancellationToken);
        }
    }

    private ServedModel Described(string name, string version) => endpoints.Describe(name, Version(version)) switch
    {
        null => throw Refusal(ErrorCode.NotFound, $"there is no endpoint '{name}'{(version.Length == 0 ? "" : $" with version '{version}'")}"),
        { Ready: false } model => throw Refusal(ErrorCode.Unavailable, $"endpoint '{name}' is not ready: {model.Why}"),
        var model => model,
    };

    private static string? Version(string version) => version.Length == 0 ? null : version;
}

/// <summary>Tells gRPC the methods of <see cref="GrpcService"/>, each with its permission and its way to read and write messages.</summary>
internal sealed class GrpcMethods(Endpoints endpoints) : IServiceMethodProvider<GrpcService>
{
    private const string Service = "inference.GRPCInferenceService";

    public void OnServiceMethodDiscovery(ServiceMethodProviderContext<GrpcService> context)
    {
        var requests = InferCall.Requests(endpoints);
        context.AddUnaryMethod(
            new Method<InferCall, InferCall>(MethodType.Unary, Service, "ModelInfer", requests, InferCall.Responses), [new RoutePermission(Permissions.Predict)],
            static (service, call, server) => service.InferAsync(call, server));
        context.AddDuplexStreamingMethod(
            new Method<InferCall, InferCall>(MethodType.DuplexStreaming, Service, "ModelStreamInfer", requests, InferCall.Streamed), [new RoutePermission(Permissions.Predict)],
            static (service, input, output, server) => service.StreamAsync(input, output, server));

        // The probes answer everyone; what a model is, only those who may ask it.
        Add(context, null, ServerLiveRequest.Parser, static (service, request, _) => service.ServerLive(request));
        Add(context, null, ServerReadyRequest.Parser, static (service, request, _) => service.ServerReady(request));
        Add(context, null, ServerMetadataRequest.Parser, static (service, request, _) => service.ServerMetadata(request));
        Add(context, Permissions.Predict, ModelReadyRequest.Parser, static (service, request, _) => service.ModelReady(request));
        Add(context, Permissions.Predict, ModelMetadataRequest.Parser, static (service, request, _) => service.ModelMetadata(request));
        Add(context, Permissions.Predict, ModelConfigRequest.Parser, static (service, request, _) => service.ModelConfig(request));
        Add(context, Permissions.Predict, ModelStatisticsRequest.Parser, static (service, request, _) => service.ModelStatistics(request));
        Add(context, Permissions.Predict, RepositoryIndexRequest.Parser, static (service, request, _) => service.RepositoryIndex(request));
        Add(context, Permissions.DeploymentCreate, RepositoryModelLoadRequest.Parser, static (service, request, server) => service.LoadAsync(request, server));
        Add(context, Permissions.DeploymentStop, RepositoryModelUnloadRequest.Parser, static (service, request, server) => service.UnloadAsync(request, server));
        foreach (var name in (string[])["SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister", "CudaSharedMemoryStatus", "CudaSharedMemoryRegister", "CudaSharedMemoryUnregister"])
        {
            Refuse(context, name, "shared memory is not supported; send tensors in the request");
        }

        Refuse(context, "TraceSetting", "trace settings are not supported; traces are sent by OpenTelemetry");
        Refuse(context, "LogSettings", "log settings are not supported; the server's log is set at its start");
    }

    private static void Add<TRequest, TResponse>(
        ServiceMethodProviderContext<GrpcService> context, string? permission, Google.Protobuf.MessageParser<TRequest> parser, Func<GrpcService, TRequest, ServerCallContext, Task<TResponse>> answer)
        where TRequest : class, Google.Protobuf.IMessage<TRequest>
        where TResponse : class, Google.Protobuf.IMessage<TResponse>, new()
    {
        // The protocol names a method's request after the method.
        var name = typeof(TRequest).Name[..^"Request".Length];
        context.AddUnaryMethod(
            new Method<TRequest, TResponse>(MethodType.Unary, Service, name, Messages(parser), Messages(new Google.Protobuf.MessageParser<TResponse>(static () => new TResponse()))),
            [new RoutePermission(permission)], (service, request, server) => AnswerAsync(answer(service, request, server)));
    }

    private static async Task<T> AnswerAsync<T>(Task<T> answer)
    {
        try
        {
            return await answer;
        }
        catch (SlipwayException refused)
        {
            throw GrpcService.Refusal(refused.Code, refused.Sentence);
        }
    }

    private static void Refuse(ServiceMethodProviderContext<GrpcService> context, string name, string why) => context.AddUnaryMethod(
        new Method<NotSupported, NotSupported>(MethodType.Unary, Service, name, Messages(NotSupported.Parser), Messages(NotSupported.Parser)),
        [new RoutePermission(null)], (_, _, _) => throw GrpcService.Refusal(ErrorCode.NotImplemented, why));

    private static Marshaller<T> Messages<T>(Google.Protobuf.MessageParser<T> parser)
        where T : class, Google.Protobuf.IMessage<T> => new(
        static (message, context) =>
        {
            context.SetPayloadLength(message.CalculateSize());
            Google.Protobuf.MessageExtensions.WriteTo(message, context.GetBufferWriter());
            context.Complete();
        },
        context => parser.ParseFrom(context.PayloadAsReadOnlySequence()));
}
