using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Server.Mlflow;

/// <summary>One call of the protocol: its fields, who calls, and where the answer goes.</summary>
internal sealed class MlflowCall(HttpContext http, MlflowInput input)
{
    public HttpContext Http { get; } = http;

    public MlflowInput Input { get; } = input;

    public Actor Actor => Http.GetActor();

    public CancellationToken Ct => Http.RequestAborted;

    public Task SendAsync(Action<Utf8JsonWriter> write) => MlflowJson.SendAsync(Http, StatusCodes.Status200OK, write);

    public Task SendEmptyAsync() => SendAsync(static _ => { });

    public Task SendObjectAsync<T>(string name, T value, Action<Utf8JsonWriter, T> write) => SendAsync(json =>
    {
        json.WriteStartObject(name);
        write(json, value);
        json.WriteEndObject();
    });
}

/// <summary>A route of the protocol below <c>/api/2.0</c> and <c>/ajax-api/2.0</c>.</summary>
internal sealed record MlflowRoute(string Method, string Path, string Permission, Func<MlflowCall, Task> Handle);

/// <summary>The MLflow REST protocol over the registry.</summary>
public static class MlflowEndpoints
{
    /// <summary>Below 3.4, so that clients do not send traces by OTLP, which this server does not take.</summary>
    private const string Version = "3.3.0";

    private static readonly string[] Prefixes = ["/api/2.0", "/ajax-api/2.0"];

    /// <summary>Maps tracking, registry and artifact routes on both prefixes, <c>/version</c> and the downloads of the web client.</summary>
    public static IEndpointRouteBuilder MapMlflow(this IEndpointRouteBuilder app)
    {
        var services = app.ServiceProvider;
        var group = app.MapGroup("").WithMetadata(new ErrorEnvelope(SendErrorAsync));
        var artifacts = ActivatorUtilities.CreateInstance<ArtifactsApi>(services);
        MlflowRoute[] routes =
        [
            .. ActivatorUtilities.CreateInstance<ExperimentsApi>(services).Routes,
            .. ActivatorUtilities.CreateInstance<RunsApi>(services).Routes,
            .. ActivatorUtilities.CreateInstance<ModelsApi>(services).Routes,
            .. artifacts.Routes,
        ];
        foreach (var prefix in Prefixes)
        {
            foreach (var route in routes)
            {
                group.MapMethods(prefix + route.Path, [route.Method], http => CallAsync(http, route)).RequirePermission(route.Permission);
            }

            artifacts.MapProxy(group, prefix);
            foreach (var family in (string[])["/mlflow/{**rest}", "/mlflow-artifacts/{**rest}"])
            {
                group.Map(prefix + family, http => RefuseAsync(http, routes, prefix)).RequirePermission(Permissions.RunRead).WithOrder(1000);
            }
        }

        foreach (var prefix in (string[])["/api/3.0/mlflow/{**rest}", "/ajax-api/3.0/mlflow/{**rest}"])
        {
            group.Map(prefix, http => RefuseAsync(http, [], "")).RequirePermission(Permissions.RunRead).WithOrder(1000);
        }

        artifacts.MapDownloads(group);
        group.MapGet("/version", http => http.Response.WriteAsync(Version, http.RequestAborted)).OpenToAll();
        return app;
    }

    private static async Task CallAsync(HttpContext http, MlflowRoute route)
    {
        var (input, document) = await MlflowInput.ReadAsync(http);
        using (document)
        {
            await route.Handle(new MlflowCall(http, input));
        }
    }

    /// <summary>Refusals as clients expect them: they branch on the code, and retry 408, 429 and 5xx for minutes.</summary>
    private static Task SendErrorAsync(HttpContext http, SlipwayException e)
    {
        var row = Errors.Of(e.Code);
        if (row.MlflowStatus == StatusCodes.Status401Unauthorized)
        {
            http.Response.Headers.WWWAuthenticate = "Basic realm=\"mlflow\"";
        }

        // The message first and unchanged, because clients match on its words; then the reason and the way out.
        var text = e.Why is null ? e.Message : $"{e.Message} ({e.Why})";
        return MlflowJson.SendErrorAsync(http, row.MlflowStatus, row.Mlflow, e.Next is null ? text : $"{text}; {e.Next}");
    }

    /// <summary>Clients detect missing features by ENDPOINT_NOT_FOUND, so it is never another answer.</summary>
    private static Task RefuseAsync(HttpContext http, MlflowRoute[] routes, string prefix)
    {
        var path = http.Request.Path.Value!;
        var methods = routes.Where(r => prefix + r.Path == path).Select(r => r.Method).ToList();
        if (methods.Count > 0)
        {
            http.Response.Headers.Allow = string.Join(", ", methods);
            return MlflowJson.SendErrorAsync(http, StatusCodes.Status405MethodNotAllowed, "BAD_REQUEST", $"{http.Request.Method} is not allowed here; use {string.Join(" or ", methods)}");
        }

        return MlflowJson.SendErrorAsync(http, StatusCodes.Status404NotFound, "ENDPOINT_NOT_FOUND", "No such endpoint");
    }
}
