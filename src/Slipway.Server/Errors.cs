using System.Diagnostics;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;

namespace Slipway.Server;

/// <summary>What one refusal is in each protocol. An <see cref="ErrorCode"/> without a row does not exist.</summary>
/// <param name="Status">The HTTP status of problem+json and of the Open Inference Protocol.</param>
/// <param name="Mlflow">MLflow's error_code.</param>
/// <param name="MlflowStatus">The HTTP status that MLflow sends with it.</param>
/// <param name="Exit">The exit code of the command line.</param>
public sealed record ErrorRow(int Status, string Mlflow, int MlflowStatus, int Exit);

/// <summary>Route metadata of a protocol that has its own error body.</summary>
/// <param name="WriteAsync">Writes status and body; the response has not started.</param>
public sealed record ErrorEnvelope(Func<HttpContext, SlipwayException, Task> WriteAsync);

/// <summary>The one table from refusals to protocols, and the problem documents of /api/v1.</summary>
public static partial class Errors
{
    public static ErrorRow Of(ErrorCode code) => code switch
    {
        ErrorCode.InvalidArgument => new(400, "INVALID_PARAMETER_VALUE", 400, 2),
        ErrorCode.NotFound => new(404, "RESOURCE_DOES_NOT_EXIST", 404, 3),
        ErrorCode.AlreadyExists => new(409, "RESOURCE_ALREADY_EXISTS", 400, 5),
        ErrorCode.Conflict => new(409, "RESOURCE_CONFLICT", 409, 5),
        ErrorCode.PreconditionFailed => new(409, "INVALID_PARAMETER_VALUE", 400, 5),
        ErrorCode.Unauthenticated => new(401, "UNAUTHENTICATED", 401, 4),
        ErrorCode.PermissionDenied => new(403, "PERMISSION_DENIED", 403, 4),
        ErrorCode.TooLarge => new(413, "INVALID_PARAMETER_VALUE", 400, 1),
        ErrorCode.ResourceExhausted => new(429, "REQUEST_LIMIT_EXCEEDED", 429, 1),
        ErrorCode.Unavailable => new(503, "TEMPORARILY_UNAVAILABLE", 503, 6),
        ErrorCode.DeadlineExceeded => new(504, "DEADLINE_EXCEEDED", 504, 8),
        ErrorCode.NotImplemented => new(501, "NOT_IMPLEMENTED", 501, 1),
        ErrorCode.DataLoss => new(500, "DATA_LOSS", 500, 1),
        ErrorCode.Cancelled => new(499, "CANCELLED", 499, 130),
        ErrorCode.Internal => new(500, "INTERNAL_ERROR", 500, 1),
        _ => throw new UnreachableException($"{code} has no row"),
    };

    /// <summary>Answers a refusal in the route's own form, or as an RFC 9457 problem document.</summary>
    public static async Task WriteAsync(HttpContext context, SlipwayException e)
    {
        if (context.Response.HasStarted)
        {
            // The status is gone; ending the connection is the only honest signal left.
            context.Abort();
            return;
        }

        if (context.GetEndpoint()?.Metadata.GetMetadata<ErrorEnvelope>() is { } envelope)
        {
            context.Response.Clear();
            await envelope.WriteAsync(context, e);
            return;
        }

        var row = Of(e.Code);
        context.Response.Clear();
        context.Response.StatusCode = row.Status;
        if (row.Status == 401)
        {
            context.Response.Headers.WWWAuthenticate = "Bearer, Basic realm=\"slipway\"";
        }
        else if (row.Status is 429 or 503)
        {
            context.Response.Headers.RetryAfter = "1";
        }

        context.Response.ContentType = "application/problem+json";
        await JsonSerializer.SerializeAsync(
            context.Response.Body,
            new { type = "about:blank", title = e.Message, status = row.Status, code = JsonNamingPolicy.CamelCase.ConvertName(e.Code.ToString()), detail = e.Why, next = e.Next, request = context.TraceIdentifier },
            CanonicalJson.Options,
            context.RequestAborted);
    }

    /// <summary>Turns whatever a handler throws into a problem document; what nobody foresaw is logged and shown without its inside.</summary>
    public static async Task CatchAsync(HttpContext context, RequestDelegate next)
    {
        try
        {
            await next(context);
        }
        catch (SlipwayException e)
        {
            await WriteAsync(context, e);
        }
        catch (BadHttpRequestException e)
        {
            await WriteAsync(context, new SlipwayException(e.StatusCode == 413 ? ErrorCode.TooLarge : ErrorCode.InvalidArgument, "the request cannot be read", e.Message));
        }
        catch (JsonException e)
        {
            await WriteAsync(context, new SlipwayException(ErrorCode.InvalidArgument, "the request body is not valid", e.Message));
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            // The client went away: nobody reads an answer.
            context.Features.Get<IHttpResponseFeature>()!.StatusCode = 499;
        }
        catch (Exception e)
        {
            var log = context.RequestServices.GetRequiredService<ILoggerFactory>().CreateLogger("Slipway.Server.Errors");
            Log.Unforeseen(log, e, context.Request.Method, context.Request.Path, context.TraceIdentifier);
            await WriteAsync(context, new SlipwayException(ErrorCode.Internal, "the server failed", "this is a defect; its log holds the details", $"look for request {context.TraceIdentifier} in the log"));
        }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Error, "{Method} {Path} failed (request {RequestId})")]
        public static partial void Unforeseen(ILogger logger, Exception e, string method, string path, string requestId);
    }
}
