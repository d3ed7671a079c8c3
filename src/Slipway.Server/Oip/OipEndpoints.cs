using System.Buffers;
using System.Globalization;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving;
using Slipway.Serving.Tensors;

namespace Slipway.Server.Oip;

/// <summary>
/// The Open Inference Protocol over HTTP. Inference is handled before routing, straight from the body to the model and back; the small
/// endpoints are ordinary routes.
/// </summary>
internal static partial class OipEndpoints
{
    /// <summary>Largest request body in bytes (64 MiB).</summary>
    public const int MaxBody = 64 << 20;

    /// <summary>Answers: which variant answered.</summary>
    public const string VariantHeader = "x-slipway-variant";

    /// <summary>Answers: which revision of the route decided.</summary>
    public const string RevisionHeader = "x-slipway-table-rev";

    private const string Models = "/v2/models/";
    private const string Infer = "/infer";
    private const string Versions = "/versions/";

    /// <summary>
    /// Adds the inference path. Put it in front of routing. <paramref name="authorize"/> decides about the permission <c>predict</c>: null lets the
    /// request pass, an exception's code and sentence are answered.
    /// </summary>
    public static IApplicationBuilder UseOip(this IApplicationBuilder app, Func<HttpContext, ValueTask<SlipwayException?>> authorize)
    {
        var endpoints = app.ApplicationServices.GetRequiredService<Endpoints>();
        Func<InferRequest, ModelSignature?> describe = request => endpoints.Describe(request.Endpoint, request.Version)?.Signature;
        return app.Use(next => context =>
            HttpMethods.IsPost(context.Request.Method) && context.Request.Path.Value is { } path
            && path.StartsWith(Models, StringComparison.Ordinal) && path.EndsWith(Infer, StringComparison.Ordinal)
                ? AnswerOrFailAsync(context, path, endpoints, describe, authorize) : next(context));
    }

    /// <summary>Maps metadata and health. <paramref name="predict"/> is given the routes that need the permission, <paramref name="open"/> the probes that need none.</summary>
    public static void MapOip(this IEndpointRouteBuilder routes, Action<IEndpointConventionBuilder> predict, Action<IEndpointConventionBuilder> open)
    {
        open(routes.MapGet("/v2/health/live", context => Json(context, 200, json => json.WriteBoolean("live", true))));
        open(routes.MapGet("/v2/health/ready", ReadyAsync));
        open(routes.MapGet("/v2", context => Json(context, 200, ServerMetadata)));
        predict(routes.MapGet("/v2/models", ListAsync));
        predict(routes.MapGet("/v2/models/{model}", MetadataAsync));
        predict(routes.MapGet("/v2/models/{model}/versions/{version}", MetadataAsync));
        predict(routes.MapGet("/v2/models/{model}/ready", ModelReadyAsync));
        predict(routes.MapGet("/v2/models/{model}/versions/{version}/ready", ModelReadyAsync));
        // Clients parse every error as JSON, so that unknown paths and verbs below /v2 are answered in the protocol's form as well.
        open(routes.MapFallback("/v2/{**rest}", context => ErrorAsync(
            context, IsKnown(context.Request.Path.Value ?? "") ? 405 : 404,
            IsKnown(context.Request.Path.Value ?? "") ? $"{context.Request.Method} is not allowed here" : $"there is nothing at {context.Request.Path}")));
    }

    /// <summary>The protocol's status of a refusal.</summary>
    public static int Status(ErrorCode code) => code switch
    {
        ErrorCode.InvalidArgument or ErrorCode.PreconditionFailed => 400,
        ErrorCode.Unauthenticated => 401,
        ErrorCode.PermissionDenied => 403,
        ErrorCode.NotFound => 404,
        ErrorCode.AlreadyExists or ErrorCode.Conflict => 409,
        ErrorCode.TooLarge => 413,
        ErrorCode.Cancelled => 499,
        ErrorCode.NotImplemented => 501,
        ErrorCode.ResourceExhausted => 429,
        ErrorCode.Unavailable => 503,
        ErrorCode.DeadlineExceeded => 504,
        _ => 500,
    };

    /// <summary>Answers <c>{"error": message}</c>; clients compare the content type exactly, so it names no charset.</summary>
    public static Task ErrorAsync(HttpContext context, int status, string message)
    {
        if (status is 429 or 503)
        {
            context.Response.Headers.RetryAfter = "1";
        }

        return Json(context, status, json => json.WriteString("error", message));
    }

    /// <summary>Also what nobody foresaw is answered in the protocol's form, and logged.</summary>
    private static async Task AnswerOrFailAsync(
        HttpContext context, string path, Endpoints endpoints, Func<InferRequest, ModelSignature?> describe, Func<HttpContext, ValueTask<SlipwayException?>> authorize)
    {
        try
        {
            await InferAsync(context, path, endpoints, describe, authorize);
        }
        catch (SlipwayException refused) when (!context.Response.HasStarted)
        {
            await ErrorAsync(context, Status(refused.Code), refused.Sentence);
        }
        catch (Exception defect) when (defect is not (OperationCanceledException or IOException) && !context.Response.HasStarted)
        {
            Log.Unforeseen(context.RequestServices.GetRequiredService<ILoggerFactory>().CreateLogger("Slipway.Server.Oip"), defect, path, context.TraceIdentifier);
            await ErrorAsync(context, 500, $"the server failed; its log holds the details under request {context.TraceIdentifier}");
        }
    }

    private static async Task InferAsync(
        HttpContext context, string path, Endpoints endpoints, Func<InferRequest, ModelSignature?> describe, Func<HttpContext, ValueTask<SlipwayException?>> authorize)
    {
        if (await authorize(context) is { } refused)
        {
            await ErrorAsync(context, Status(refused.Code), refused.Sentence);
            return;
        }

        using var request = InferRequest.Rent();
        if (Name(path, endpoints, request) is { } unknown)
        {
            await ErrorAsync(context, 404, unknown);
            return;
        }

        if (await ReadAsync(context, describe, request) is { } fault)
        {
            await ErrorAsync(context, fault.Status, fault.Message);
            return;
        }

        if (Traces.Wanted)
        {
            request.TraceParent = context.Request.Headers.TraceParent;
        }

        request.SetHeaders(context.Request, HeaderOf);
        var outcome = await endpoints.InferAsync(request, context.RequestAborted);
        if (outcome.Variant.Length > 0)
        {
            context.Response.Headers[VariantHeader] = outcome.Variant;
            context.Response.Headers[RevisionHeader] = RevisionText.Of(outcome.Revision);
            context.Response.Headers["x-slipway-prediction-id"] = Header(outcome.PredictionId);
        }

        if (outcome.Code is { } code)
        {
            await ErrorAsync(context, Status(code), outcome.Message ?? "");
            return;
        }

        await AnswerAsync(context, request, outcome);
    }

    /// <summary>How routing rules read a header of a request over HTTP, if one asks.</summary>
    internal static Func<object, string, string?> HeaderOf { get; } = static (request, name) => ((HttpRequest)request).Headers.TryGetValue(name, out var values) ? values.ToString() : null;

    /// <summary>Sets endpoint and version from the path; returns why there is none.</summary>
    private static string? Name(string path, Endpoints endpoints, InferRequest request)
    {
        var rest = path.AsSpan(Models.Length..^Infer.Length);
        var at = rest.LastIndexOf(Versions, StringComparison.Ordinal);
        var model = at < 0 ? rest : rest[..at];
        if (!endpoints.Address(request, model))
        {
            return $"there is no endpoint '{model}'";
        }

        request.Version = at < 0 ? null : rest[(at + Versions.Length)..].ToString();
        return null;
    }

    /// <summary>Reads the body into the request; returns status and sentence of what is wrong with it.</summary>
    internal static async ValueTask<(int Status, string Message)?> ReadAsync(HttpContext context, Func<InferRequest, ModelSignature?> describe, InferRequest request)
    {
        var http = context.Request;
        var expected = http.ContentLength;
        if (expected > MaxBody)
        {
            return (413, $"the body has {expected} bytes, at most {MaxBody} are accepted");
        }

        string? encoding = null;
        if (http.Headers.ContentEncoding is { Count: > 0 } encodings && encodings != "identity")
        {
            encoding = encodings.ToString();
            if (encoding is not ("gzip" or "deflate"))
            {
                return (400, $"the content encoding '{encoding}' is not supported; use gzip or deflate, or send the body as it is");
            }
        }

        if (expected is null or > 30_000_000 && context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            limit.MaxRequestBodySize = MaxBody;
        }

        var header = http.Headers["Inference-Header-Content-Length"];
        var jsonLength = -1;
        if (header.Count > 0 && (!int.TryParse(header.ToString(), NumberStyles.None, CultureInfo.InvariantCulture, out jsonLength) || jsonLength > (encoding is null ? expected ?? MaxBody : MaxBody)))
        {
            return (400, $"Inference-Header-Content-Length '{header}' is not a length within the body");
        }

        try
        {
            if (encoding is not null)
            {
                var (inflated, length) = await Compression.InflateAsync(http.Body, encoding, MaxBody, context.RequestAborted);
                try
                {
                    Parse(inflated.AsSpan(0, length), jsonLength, describe, request);
                }
                finally
                {
                    ArrayPool<byte>.Shared.Return(inflated);
                }
            }

            while (encoding is null)
            {
                var read = await http.BodyReader.ReadAsync(context.RequestAborted);
                var body = read.Buffer;
                if (body.Length > MaxBody)
                {
                    http.BodyReader.AdvanceTo(body.End);
                    return (413, $"the body has more than {MaxBody} bytes");
                }

                if (read.IsCompleted || body.Length >= expected)
                {
                    try
                    {
                        Parse(body, jsonLength, describe, request);
                    }
                    finally
                    {
                        http.BodyReader.AdvanceTo(body.End);
                    }

                    break;
                }

                http.BodyReader.AdvanceTo(body.Start, body.End);
            }
        }
        catch (OipFormatException fault)
        {
            return (Status(fault.Code), fault.Message);
        }
        catch (BadHttpRequestException fault)
        {
            return (fault.StatusCode, fault.Message);
        }

        // The header is for clients that cannot add parameters to the body; what the body says wins.
        if (request.EntityKey is null && http.Headers["x-slipway-entity-key"] is { Count: > 0 } key)
        {
            request.EntityKey = key.ToString();
        }

        return null;
    }

    private static void Parse(ReadOnlySequence<byte> body, int jsonLength, Func<InferRequest, ModelSignature?> describe, InferRequest request)
    {
        if (body.IsSingleSegment)
        {
            Parse(body.FirstSpan, jsonLength, describe, request);
            return;
        }

        var joined = ArrayPool<byte>.Shared.Rent((int)body.Length);
        try
        {
            body.CopyTo(joined);
            Parse(joined.AsSpan(0, (int)body.Length), jsonLength, describe, request);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(joined);
        }
    }

    private static void Parse(ReadOnlySpan<byte> body, int jsonLength, Func<InferRequest, ModelSignature?> describe, InferRequest request)
    {
        if (jsonLength > body.Length)
        {
            throw new OipFormatException($"Inference-Header-Content-Length is {jsonLength}, the body has {body.Length} bytes");
        }

        if (jsonLength == 0)
        {
            Raw(body, describe(request), request);
        }
        else
        {
            OipReader.Read(body, jsonLength < 0 ? body.Length : jsonLength, request);
        }
    }

    /// <summary>A body without JSON is the one input's data, one row, and every output is answered as binary data.</summary>
    private static void Raw(ReadOnlySpan<byte> body, ModelSignature? signature, InferRequest request)
    {
        if (signature is not { Inputs: [var input] } || !Datatypes.TryParse(input.Datatype, out var datatype))
        {
            throw new OipFormatException("a request without JSON needs a model with exactly one input");
        }

        var shape = input.Shape.ToArray();
        var open = 0;
        var known = 1L;
        for (var i = 0; i < shape.Length; i++)
        {
            shape[i] = i == 0 && shape[i] < 0 ? 1 : shape[i];
            open += shape[i] < 0 ? 1 : 0;
            known *= Math.Max(1, shape[i]);
        }

        var tensor = request.Inputs.Add();
        (tensor.Name, tensor.Datatype) = (input.Name, datatype);
        if (datatype == Datatype.Bytes)
        {
            if (open > 0 || known != 1)
            {
                throw new OipFormatException($"a request without JSON needs an input of one text, '{input.Name}' has the shape [{string.Join(",", input.Shape)}]");
            }

            tensor.Allocate(0);
            tensor.AppendElement(body);
        }
        else
        {
            var unit = known * datatype.Size();
            if (open > 1 || body.Length % unit != 0 || (open == 0 && body.Length != unit))
            {
                throw new OipFormatException($"{body.Length} bytes do not make one row of input '{input.Name}', {datatype.Name()} [{string.Join(",", input.Shape)}]");
            }

            for (var i = 0; i < shape.Length; i++)
            {
                shape[i] = shape[i] < 0 ? body.Length / unit : shape[i];
            }

            tensor.Set(body);
        }

        tensor.TrySetShape(shape);
        request.BinaryOutputs = true;
    }

    /// <summary>Writes the answer of a successful outcome.</summary>
    internal static Task AnswerAsync(HttpContext context, InferRequest request, InferOutcome outcome)
    {
        try
        {
            var answer = OipWriter.Write(request, outcome, out var jsonLength);
            var response = context.Response;
            response.ContentType = jsonLength > 0 ? "application/octet-stream" : "application/json";
            response.ContentLength = answer.Length;
            if (jsonLength > 0)
            {
                response.Headers["Inference-Header-Content-Length"] = jsonLength.ToString(CultureInfo.InvariantCulture);
            }

            if (Compression.For(context.Request, answer.Length) is { } encoding)
            {
                answer = Compression.Deflate(answer.Span, encoding);
                response.ContentLength = answer.Length;
                response.Headers.ContentEncoding = encoding;
            }

            // The buffer is the thread's, so it is copied before anything is awaited.
            answer.Span.CopyTo(response.BodyWriter.GetSpan(answer.Length));
            response.BodyWriter.Advance(answer.Length);
            var flush = response.BodyWriter.FlushAsync(context.RequestAborted);
            return flush.IsCompletedSuccessfully ? Task.CompletedTask : flush.AsTask();
        }
        catch (OipFormatException fault)
        {
            return ErrorAsync(context, 400, fault.Message);
        }
    }

    // An id may hold any text; a header may not.
    private static string Header(string id)
    {
        foreach (var c in id)
        {
            if (c is < '!' or > '~')
            {
                return Uri.EscapeDataString(id);
            }
        }

        return id;
    }

    private static Task ReadyAsync(HttpContext context)
    {
        var ready = context.RequestServices.GetRequiredService<Endpoints>().Ready;
        return Json(context, ready ? 200 : 503, json =>
        {
            json.WriteBoolean("ready", ready);
            if (!ready)
            {
                json.WriteString("error", "an endpoint of this node has no loaded model yet");
            }
        });
    }

    private static void ServerMetadata(Utf8JsonWriter json)
    {
        json.WriteString("name", ModelDescription.ServerName);
        json.WriteString("version", ModelDescription.ServerVersion);
        json.WriteStartArray("extensions");
        foreach (var extension in ModelDescription.Extensions)
        {
            json.WriteStringValue(extension);
        }

        json.WriteEndArray();
    }

    private static Task ListAsync(HttpContext context) => Json(context, 200, json =>
    {
        json.WriteStartArray("models");
        foreach (var name in context.RequestServices.GetRequiredService<Endpoints>().Names)
        {
            json.WriteStringValue(name);
        }

        json.WriteEndArray();
    });

    private static Task MetadataAsync(HttpContext context) => Described(context, model => Json(context, 200, json =>
    {
        json.WriteString("name", model.Name);
        json.WriteStartArray("versions");
        foreach (var version in model.Versions)
        {
            json.WriteStringValue(version);
        }

        json.WriteEndArray();
        json.WriteString("platform", ModelDescription.Platform);
        Tensors(json, "inputs", model.Signature!.Inputs);
        Tensors(json, "outputs", model.Signature.Outputs);
    }));

    private static Task ModelReadyAsync(HttpContext context) => Described(context, model => Json(context, 200, json =>
    {
        json.WriteString("name", model.Name);
        json.WriteBoolean("ready", true);
    }));

    private static Task Described(HttpContext context, Func<ServedModel, Task> answer)
    {
        var name = (string)context.Request.RouteValues["model"]!;
        var version = (string?)context.Request.RouteValues["version"];
        var model = context.RequestServices.GetRequiredService<Endpoints>().Describe(name, version);
        return model is null ? ErrorAsync(context, 404, $"there is no endpoint '{name}'{(version is null ? "" : $" with version '{version}'")}")
            : !model.Ready ? ErrorAsync(context, 503, $"endpoint '{name}' is not ready: {model.Why}")
            : answer(model);
    }

    internal static void Tensors(Utf8JsonWriter json, string what, IReadOnlyList<TensorSpec> specs)
    {
        json.WriteStartArray(what);
        foreach (var spec in specs)
        {
            json.WriteStartObject();
            json.WriteString("name", spec.Name);
            json.WriteString("datatype", spec.Datatype);
            json.WriteStartArray("shape");
            foreach (var dimension in spec.Shape)
            {
                json.WriteNumberValue(dimension);
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static bool IsKnown(string path) =>
        path is "/v2" or "/v2/health/live" or "/v2/health/ready" or "/v2/models" or "/v2/repository/index"
        || (path.StartsWith(Models, StringComparison.Ordinal) && path[Models.Length..].Split('/') is [not ""] or [_, "ready" or "infer" or "config" or "stats"] or [_, "versions", _] or [_, "versions", _, "ready" or "infer" or "config" or "stats"]);

    /// <summary>Answers a JSON object.</summary>
    public static Task Json(HttpContext context, int status, Action<Utf8JsonWriter> write) => WriteAsync(context, status, json =>
    {
        json.WriteStartObject();
        write(json);
        json.WriteEndObject();
    });

    /// <summary>Answers JSON of any kind.</summary>
    public static async Task WriteAsync(HttpContext context, int status, Action<Utf8JsonWriter> write)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            write(json);
        }

        context.Response.StatusCode = status;
        context.Response.ContentType = "application/json";
        context.Response.ContentLength = buffer.WrittenCount;
        await context.Response.Body.WriteAsync(buffer.WrittenMemory, context.RequestAborted);
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Error, "Inference at {Path} failed (request {RequestId})")]
        public static partial void Unforeseen(ILogger logger, Exception defect, string path, string requestId);
    }
}
