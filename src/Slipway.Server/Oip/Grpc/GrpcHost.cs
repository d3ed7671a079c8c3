using System.IO.Compression;
using Grpc.AspNetCore.Server.Model;
using Grpc.Core;
using Grpc.Health.V1;
using Grpc.Net.Compression;
using Grpc.Reflection;
using Grpc.Reflection.V1Alpha;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Slipway.Foundation;
using Slipway.Serving;
using Slipway.Server.Oip.Wire;

namespace Slipway.Server.Oip;

/// <summary>Puts gRPC together: the inference service, health, and reflection for clients such as grpcurl.</summary>
internal static class GrpcHost
{
    public static IServiceCollection AddOipGrpc(this IServiceCollection services)
    {
        services.AddGrpc(options =>
        {
            options.MaxReceiveMessageSize = GrpcService.MaxMessage;
            options.MaxSendMessageSize = null;
            options.CompressionProviders = [new BoundedCompression("gzip"), new BoundedCompression("deflate")];
        });
        services.AddSingleton<GrpcService>();
        services.AddSingleton<IServiceMethodProvider<GrpcService>, GrpcMethods>();
        services.AddSingleton<GrpcHealth>();
        services.AddSingleton(new ReflectionServiceImpl(GRPCInferenceService.Descriptor, Grpc.Health.V1.Health.Descriptor, ServerReflection.Descriptor));
        return services;
    }

    public static void MapOipGrpc(this IEndpointRouteBuilder routes)
    {
        // In a group, so that gRPC's own answers for unknown services and methods are open as well; a method's permission comes after it and wins.
        var group = routes.MapGroup("").OpenToAll().WithMetadata(new ErrorEnvelope(static (context, refused) => GrpcLane.RefuseAsync(context, refused.Code, refused.Next is null ? refused.Sentence : $"{refused.Sentence}; {refused.Next}")));
        group.MapGrpcService<GrpcService>();
        group.MapGrpcService<GrpcHealth>();
        group.MapGrpcService<ReflectionServiceImpl>();
    }

    /// <summary>gRPC checks a message's size as it arrives; this bounds what a compressed one inflates to.</summary>
    private sealed class BoundedCompression(string name) : ICompressionProvider
    {
        public string EncodingName => name;

        public Stream CreateCompressionStream(Stream stream, CompressionLevel? compressionLevel) => name == "gzip"
            ? new GZipStream(stream, compressionLevel ?? CompressionLevel.Fastest, leaveOpen: true) : new ZLibStream(stream, compressionLevel ?? CompressionLevel.Fastest, leaveOpen: true);

        public Stream CreateDecompressionStream(Stream stream) => new BoundedInflation(
            name == "gzip" ? new GZipStream(stream, CompressionMode.Decompress, leaveOpen: true) : new ZLibStream(stream, CompressionMode.Decompress, leaveOpen: true), GrpcService.MaxMessage);
    }
}

/// <summary>The standard health service: the server as a whole, the inference service, and each endpoint by its name.</summary>
internal sealed class GrpcHealth(Endpoints endpoints, TimeProvider clock) : Grpc.Health.V1.Health.HealthBase
{
    private static readonly TimeSpan Look = TimeSpan.FromSeconds(1);

    public override Task<HealthCheckResponse> Check(HealthCheckRequest request, ServerCallContext context) => StateOf(request.Service) is var state and not HealthCheckResponse.Types.ServingStatus.ServiceUnknown
        ? Task.FromResult(new HealthCheckResponse { Status = state })
        : throw GrpcService.Refusal(ErrorCode.NotFound, $"there is no service or endpoint '{request.Service}'");

    public override async Task Watch(HealthCheckRequest request, IServerStreamWriter<HealthCheckResponse> responseStream, ServerCallContext context)
    {
        using var timer = new PeriodicTimer(Look, clock);
        HealthCheckResponse.Types.ServingStatus? told = null;
        do
        {
            var state = StateOf(request.Service);
            if (state != told)
            {
                await responseStream.WriteAsync(new HealthCheckResponse { Status = state }, context.CancellationToken);
                told = state;
            }
        }
        while (await timer.WaitForNextTickAsync(context.CancellationToken));
    }

    private HealthCheckResponse.Types.ServingStatus StateOf(string service)
    {
        var ready = service is "" or "inference.GRPCInferenceService" ? endpoints.Ready : endpoints.Describe(service, null)?.Ready;
        return ready switch
        {
            true => HealthCheckResponse.Types.ServingStatus.Serving,
            false => HealthCheckResponse.Types.ServingStatus.NotServing,
            null => HealthCheckResponse.Types.ServingStatus.ServiceUnknown,
        };
    }
}
