using System.Buffers;
using Grpc.Core;
using Slipway.Foundation;
using Slipway.Serving;
using Slipway.Serving.Tensors;

namespace Slipway.Server.Oip;

/// <summary>
/// One ModelInfer as both its request and its response message, so that gRPC's marshalling reads into and writes from pooled tensors. It is given
/// back to the pool once the response is written; a call that fails leaves it to the collector.
/// </summary>
internal sealed class InferCall
{
    private InferCall(InferRequest request, (ErrorCode, string)? fault, bool final) => (Request, Fault, Final) = (request, fault, final);

    public InferRequest Request { get; }

    /// <summary>Why the message cannot be answered, or null.</summary>
    public (ErrorCode Code, string Message)? Fault { get; }

    public InferOutcome Outcome { get; set; }

    /// <summary>Whether the response of a stream says that it is its request's last.</summary>
    public bool Final { get; }

    /// <summary>ModelInferRequest.</summary>
    public static Marshaller<InferCall> Requests(Endpoints endpoints) => new(
        static (_, _) => throw new NotSupportedException("a server writes no requests"),
        context => Read(context.PayloadAsReadOnlySequence(), endpoints));

    /// <summary>ModelInferResponse.</summary>
    public static Marshaller<InferCall> Responses { get; } = new(
        static (call, context) =>
        {
            context.SetPayloadLength(GrpcWriter.Size(call.Request, call.Outcome, final: false));
            GrpcWriter.Write(call.Request, call.Outcome, final: false, context.GetBufferWriter());
            context.Complete();
            call.Request.Dispose();
        },
        static _ => throw new NotSupportedException("a server reads no responses"));

    /// <summary>ModelStreamInferResponse, whose fault is an error message instead of the end of the stream.</summary>
    public static Marshaller<InferCall> Streamed { get; } = new(
        static (call, context) =>
        {
            if (call.Outcome.Ok && call.Fault is null)
            {
                var size = GrpcWriter.Size(call.Request, call.Outcome, call.Final);
                context.SetPayloadLength(GrpcWriter.StreamedSize(size));
                var target = context.GetBufferWriter();
                GrpcWriter.WriteStreamed(size, target);
                GrpcWriter.Write(call.Request, call.Outcome, call.Final, target);
            }
            else
            {
                // The id tells the client which of its requests failed.
                var message = new Wire.ModelStreamInferResponse
                {
                    ErrorMessage = call.Fault?.Message ?? call.Outcome.Message ?? "the model failed",
                    InferResponse = new() { ModelName = call.Request.Endpoint, Id = call.Request.Id ?? "" },
                };
                context.SetPayloadLength(message.CalculateSize());
                Google.Protobuf.MessageExtensions.WriteTo(message, context.GetBufferWriter());
            }

            context.Complete();
            call.Request.Dispose();
        },
        static _ => throw new NotSupportedException("a server reads no responses"));

    private static InferCall Read(ReadOnlySequence<byte> payload, Endpoints endpoints)
    {
        var request = InferRequest.Rent();
        return new(request, GrpcReader.Read(payload, endpoints, request, out var final), final);
    }
}
