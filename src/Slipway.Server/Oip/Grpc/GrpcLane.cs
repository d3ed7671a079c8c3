using System.Buffers;
using System.Buffers.Binary;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Serving;
using Slipway.Serving.Tensors;

namespace Slipway.Server.Oip;

/// <summary>
/// ModelInfer as nearly every client sends it (one message, not compressed, without a deadline), from the stream to the model and back without
/// gRPC's machinery, whose objects and scheduling cost more than a small model. Every other call goes the general way (<see cref="GrpcService"/>);
/// both read and write with the same code.
/// </summary>
internal static partial class GrpcLane
{
    private const string Path = "/inference.GRPCInferenceService/ModelInfer";
    private const int Prefix = 5;

    /// <summary>Adds the lane. Put it in front of routing. <paramref name="authorize"/> decides about the permission <c>predict</c>.</summary>
    public static IApplicationBuilder UseGrpcLane(this IApplicationBuilder app, Func<HttpContext, ValueTask<SlipwayException?>> authorize)
    {
        var endpoints = app.ApplicationServices.GetRequiredService<Endpoints>();
        return app.Use(next => context => Takes(context.Request) ? AnswerAsync(context, endpoints, authorize) : next(context));
    }

    /// <summary>Answers a refusal in gRPC's own form: status and message as headers, and no message.</summary>
    public static Task RefuseAsync(HttpContext context, ErrorCode code, string message)
    {
        var response = context.Response;
        response.StatusCode = StatusCodes.Status200OK;
        response.ContentType = "application/grpc";
        response.Headers["grpc-status"] = ((int)GrpcService.Status(code)).ToString(System.Globalization.CultureInfo.InvariantCulture);
        response.Headers["grpc-message"] = Uri.EscapeDataString(message);
        return Task.CompletedTask;
    }

    private static bool Takes(HttpRequest request) =>
        request.Path.Value == Path && HttpMethods.IsPost(request.Method)
        && request.ContentType is { } type && (type == "application/grpc" || type == "application/grpc+proto")
        && request.Headers is var headers && !headers.ContainsKey("grpc-timeout") && (!headers.TryGetValue("grpc-encoding", out var encoding) || encoding == "identity");

    private static async Task AnswerAsync(HttpContext context, Endpoints endpoints, Func<HttpContext, ValueTask<SlipwayException?>> authorize)
    {
        try
        {
            if (await authorize(context) is { } refused)
            {
                await RefuseAsync(context, refused.Code, refused.Next is null ? refused.Sentence : $"{refused.Sentence}; {refused.Next}");
                return;
            }

            using var request = InferRequest.Rent();
            if (await ReadAsync(context.Request, endpoints, request, context.RequestAborted) is var (code, message))
            {
                await RefuseAsync(context, code, message);
                return;
            }

            if (Traces.Wanted)
            {
                request.TraceParent = context.Request.Headers.TraceParent;
            }

            request.SetHeaders(context.Request, OipEndpoints.HeaderOf);
            var outcome = await endpoints.InferAsync(request, context.RequestAborted);
            if (outcome.Code is { } failed)
            {
                await RefuseAsync(context, failed, outcome.Message ?? "");
                return;
            }

            Write(context.Response, request, outcome);
            await context.Response.BodyWriter.FlushAsync(context.RequestAborted);
        }
        catch (Exception defect) when (defect is not (OperationCanceledException or IOException) && !context.Response.HasStarted)
        {
            Log.Unforeseen(context.RequestServices.GetRequiredService<ILoggerFactory>().CreateLogger("Slipway.Server.Oip"), defect, context.TraceIdentifier);
            await RefuseAsync(context, ErrorCode.Internal, $"the server failed; its log holds the details under request {context.TraceIdentifier}");
        }
    }

    /// <summary>Reads the one message: a flag, its length in four bytes, its content.</summary>
    private static async ValueTask<(ErrorCode Code, string Message)?> ReadAsync(HttpRequest http, Endpoints endpoints, InferRequest request, CancellationToken ct)
    {
        var reader = http.BodyReader;
        var read = await reader.ReadAtLeastAsync(Prefix, ct);
        if (read.Buffer.Length < Prefix)
        {
            reader.AdvanceTo(read.Buffer.End);
            return (ErrorCode.InvalidArgument, "the request holds no message");
        }

        var (compressed, length) = Head(read.Buffer);
        if (compressed || length > GrpcService.MaxMessage)
        {
            reader.AdvanceTo(read.Buffer.End);
            return compressed ? (ErrorCode.InvalidArgument, "the message is compressed, but no grpc-encoding says how") : (ErrorCode.TooLarge, $"the message has {length} bytes, at most {GrpcService.MaxMessage} are accepted");
        }

        if (read.Buffer.Length < Prefix + length)
        {
            reader.AdvanceTo(read.Buffer.Start, read.Buffer.End);
            read = await reader.ReadAtLeastAsync((int)(Prefix + length), ct);
        }

        try
        {
            return read.Buffer.Length == Prefix + length ? GrpcReader.Read(read.Buffer.Slice(Prefix), endpoints, request, out _)
                : (ErrorCode.InvalidArgument, $"the message has {read.Buffer.Length - Prefix} bytes, its length says {length}");
        }
        finally
        {
            reader.AdvanceTo(read.Buffer.End);
        }
    }

    private static (bool Compressed, long Length) Head(ReadOnlySequence<byte> buffer)
    {
        Span<byte> head = stackalloc byte[Prefix];
        buffer.Slice(0, Prefix).CopyTo(head);
        return (head[0] != 0, BinaryPrimitives.ReadUInt32BigEndian(head[1..]));
    }

    private static void Write(HttpResponse response, InferRequest request, in InferOutcome outcome)
    {
        response.ContentType = "application/grpc";
        var size = GrpcWriter.Size(request, outcome, final: false);
        var head = response.BodyWriter.GetSpan(Prefix);
        head[0] = 0;
        BinaryPrimitives.WriteUInt32BigEndian(head[1..], (uint)size);
        response.BodyWriter.Advance(Prefix);
        GrpcWriter.Write(request, outcome, final: false, response.BodyWriter);
        response.AppendTrailer("grpc-status", "0");
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Error, "Inference over gRPC failed (request {RequestId})")]
        public static partial void Unforeseen(ILogger logger, Exception defect, string requestId);
    }
}
