using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Serving;
using Slipway.Server.Oip.Wire;

namespace Slipway.Server.Oip;

/// <summary>The protocol's extensions over HTTP beside inference: configuration, statistics, the model repository, and those that are not offered.</summary>
internal static class OipModels
{
    private const int LargestBody = 1 << 20;

    public static void MapOipModels(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/v2").WithMetadata(new ErrorEnvelope((context, refused) => OipEndpoints.ErrorAsync(context, OipEndpoints.Status(refused.Code), refused.Sentence)));
        foreach (var path in (string[])["/models/{model}/config", "/models/{model}/versions/{version}/config"])
        {
            group.MapGet(path, ConfigAsync).RequirePermission(Permissions.Predict);
        }

        foreach (var path in (string[])["/models/stats", "/models/{model}/stats", "/models/{model}/versions/{version}/stats"])
        {
            group.MapGet(path, StatisticsAsync).RequirePermission(Permissions.Predict);
        }

        // Triton's clients put a repository's name in the path where they know one; here there is one repository.
        foreach (var prefix in (string[])["/repository", "/repository/{repository}"])
        {
            group.MapPost($"{prefix}/index", IndexAsync).RequirePermission(Permissions.Predict);
            group.MapPost($"{prefix}/models/{{model}}/load", LoadAsync).RequirePermission(Permissions.DeploymentCreate);
            group.MapPost($"{prefix}/models/{{model}}/unload", UnloadAsync).RequirePermission(Permissions.DeploymentStop);
        }

        foreach (var path in (string[])["/systemsharedmemory/{**rest}", "/cudasharedmemory/{**rest}"])
        {
            group.Map(path, context => OipEndpoints.ErrorAsync(context, 501, "shared memory is not supported; send tensors in the request")).OpenToAll();
        }

        foreach (var path in (string[])["/trace/setting", "/models/{model}/trace/setting", "/logging"])
        {
            group.Map(path, context => OipEndpoints.ErrorAsync(context, 501, "trace and log settings are not supported; the server's options set them at its start")).OpenToAll();
        }

        foreach (var path in (string[])["/models/{model}/generate", "/models/{model}/generate_stream", "/models/{model}/versions/{version}/generate", "/models/{model}/versions/{version}/generate_stream"])
        {
            group.MapPost(path, context => OipEndpoints.ErrorAsync(context, 501, "the generate extension is not supported; use infer")).OpenToAll();
        }
    }

    /// <summary>The statistics of the versions that were asked for; NotFound for a name or version that is not there.</summary>
    public static IReadOnlyList<VersionStatistics> Statistics(Endpoints endpoints, string? model, string? version)
    {
        if (model is not null && endpoints.Describe(model, version) is null)
        {
            throw new SlipwayException(ErrorCode.NotFound, $"there is no endpoint '{model}'{(version is null ? "" : $" with version '{version}'")}");
        }

        return endpoints.Statistics(model, version);
    }

    /// <summary>The number in a version's name.</summary>
    public static string Number(VersionStatistics statistics) => statistics.ModelVersion[(statistics.ModelVersion.LastIndexOf('/') + 1)..];

    private static Task ConfigAsync(HttpContext context)
    {
        var (name, version) = Asked(context);
        var model = context.RequestServices.GetRequiredService<Endpoints>().Describe(name!, version)
            ?? throw new SlipwayException(ErrorCode.NotFound, $"there is no endpoint '{name}'{(version is null ? "" : $" with version '{version}'")}");
        if (!model.Ready)
        {
            throw new SlipwayException(ErrorCode.Unavailable, $"endpoint '{name}' is not ready", model.Why);
        }

        var config = ModelDescription.Config(model);
        return OipEndpoints.Json(context, 200, json =>
        {
            json.WriteString("name", config.Name);
            json.WriteString("platform", config.Platform);
            json.WriteString("backend", config.Backend);
            json.WriteStartObject("version_policy");
            json.WriteStartObject("specific");
            Numbers(json, "versions", config.VersionPolicy.Specific.Versions);
            json.WriteEndObject();
            json.WriteEndObject();
            json.WriteNumber("max_batch_size", config.MaxBatchSize);
            json.WriteStartArray("input");
            foreach (var input in config.Input)
            {
                Tensor(json, input.Name, input.DataType, input.Dims);
            }

            json.WriteEndArray();
            json.WriteStartArray("output");
            foreach (var output in config.Output)
            {
                Tensor(json, output.Name, output.DataType, output.Dims);
            }

            json.WriteEndArray();
        });
    }

    private static Task StatisticsAsync(HttpContext context)
    {
        var (name, version) = Asked(context);
        var statistics = Statistics(context.RequestServices.GetRequiredService<Endpoints>(), name, version);
        return OipEndpoints.Json(context, 200, json =>
        {
            json.WriteStartArray("model_stats");
            foreach (var model in statistics)
            {
                json.WriteStartObject();
                json.WriteString("name", model.Endpoint);
                json.WriteString("version", Number(model));
                json.WriteNumber("last_inference", model.LastInferenceMillis);
                json.WriteNumber("inference_count", model.Rows);
                json.WriteNumber("execution_count", model.Executions);
                json.WriteStartObject("inference_stats");
                Duration(json, "success", model.Success);
                Duration(json, "fail", model.Fail);
                Duration(json, "queue", model.Queue);
                Duration(json, "compute_input", model.ComputeInput);
                Duration(json, "compute_infer", model.ComputeInfer);
                Duration(json, "compute_output", model.ComputeOutput);
                Duration(json, "cache_hit", default);
                Duration(json, "cache_miss", default);
                json.WriteEndObject();
                json.WriteStartObject("response_stats");
                json.WriteEndObject();
                json.WriteStartArray("batch_stats");
                foreach (var batch in model.Batches)
                {
                    json.WriteStartObject();
                    json.WriteNumber("batch_size", batch.Rows);
                    Duration(json, "compute_input", batch.ComputeInput);
                    Duration(json, "compute_infer", batch.ComputeInfer);
                    Duration(json, "compute_output", batch.ComputeOutput);
                    json.WriteEndObject();
                }

                json.WriteEndArray();
                json.WriteStartArray("memory_usage");
                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndArray();
        });
    }

    private static async Task IndexAsync(HttpContext context)
    {
        using var body = await BodyAsync(context);
        var onlyReady = body is not null && body.RootElement.TryGetProperty("ready", out var ready) && ready.ValueKind == JsonValueKind.True;
        var rows = context.RequestServices.GetRequiredService<Endpoints>().Index().Where(row => row.Ready || !onlyReady);
        await OipEndpoints.WriteAsync(context, 200, json =>
        {
            json.WriteStartArray();
            foreach (var row in rows)
            {
                json.WriteStartObject();
                json.WriteString("name", row.Endpoint);
                json.WriteString("version", row.Version);
                json.WriteString("state", State(row));
                json.WriteString("reason", row.Why ?? "");
                json.WriteEndObject();
            }

            json.WriteEndArray();
        });
    }

    private static async Task LoadAsync(HttpContext context)
    {
        using var body = await BodyAsync(context);
        if (body is not null && body.RootElement.TryGetProperty("parameters", out var parameters) && parameters.ValueKind == JsonValueKind.Object && parameters.EnumerateObject().Any())
        {
            throw NoOverride();
        }

        var name = (string)context.Request.RouteValues["model"]!;
        await context.RequestServices.GetRequiredService<Endpoints>().LoadAsync(context.GetActor(), name, context.RequestAborted);
        await OipEndpoints.Json(context, 200, json =>
        {
            json.WriteString("name", name);
            json.WriteBoolean("load", true);
        });
    }

    private static async Task UnloadAsync(HttpContext context)
    {
        using var body = await BodyAsync(context);
        var name = (string)context.Request.RouteValues["model"]!;
        await context.RequestServices.GetRequiredService<Endpoints>().UnloadAsync(context.GetActor(), name, context.RequestAborted);
        await OipEndpoints.Json(context, 200, json =>
        {
            json.WriteString("name", name);
            json.WriteBoolean("unload", true);
        });
    }

    /// <summary>The state of a row in the repository's index, in the protocol's words.</summary>
    public static string State(IndexedVersion row) => row.Ready ? "READY" : "UNAVAILABLE";

    /// <summary>The refusal of a load that brings its own files or configuration.</summary>
    public static SlipwayException NoOverride() => new(
        ErrorCode.NotImplemented, "the model is not loaded", "a load with its own configuration or files is not supported", "register a model version and deploy it");

    private static (string? Model, string? Version) Asked(HttpContext context) =>
        ((string?)context.Request.RouteValues.GetValueOrDefault("model"), (string?)context.Request.RouteValues.GetValueOrDefault("version"));

    // Clients send these without a body, with {}, or with options; a content type does not matter.
    private static async Task<JsonDocument?> BodyAsync(HttpContext context)
    {
        if (context.Request.ContentLength > LargestBody)
        {
            throw new SlipwayException(ErrorCode.TooLarge, $"the body has {context.Request.ContentLength} bytes, at most {LargestBody} are accepted here");
        }

        using var body = new MemoryStream();
        var buffer = new byte[4096];
        for (int read; (read = await context.Request.Body.ReadAsync(buffer, context.RequestAborted)) > 0;)
        {
            body.Write(buffer, 0, read);
            if (body.Length > LargestBody)
            {
                throw new SlipwayException(ErrorCode.TooLarge, $"the body has more than {LargestBody} bytes");
            }
        }

        try
        {
            return body.Length == 0 ? null : JsonDocument.Parse(body.GetBuffer().AsMemory(0, (int)body.Length)) is { RootElement.ValueKind: JsonValueKind.Object } document
                ? document : throw new SlipwayException(ErrorCode.InvalidArgument, "the body is not a JSON object");
        }
        catch (JsonException broken)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, "the body is not valid JSON", broken.Message, inner: broken);
        }
    }

    private static void Tensor(Utf8JsonWriter json, string name, DataType type, IEnumerable<long> dims)
    {
        json.WriteStartObject();
        json.WriteString("name", name);
        json.WriteString("data_type", ModelDescription.NameOf(type));
        Numbers(json, "dims", dims);
        json.WriteEndObject();
    }

    private static void Numbers(Utf8JsonWriter json, string name, IEnumerable<long> values)
    {
        json.WriteStartArray(name);
        foreach (var value in values)
        {
            json.WriteNumberValue(value);
        }

        json.WriteEndArray();
    }

    private static void Duration(Utf8JsonWriter json, string name, Counted counted)
    {
        json.WriteStartObject(name);
        json.WriteNumber("count", counted.Count);
        json.WriteNumber("ns", counted.Nanoseconds);
        json.WriteEndObject();
    }
}
