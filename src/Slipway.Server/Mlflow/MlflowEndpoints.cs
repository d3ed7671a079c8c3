using System.Diagnostics.CodeAnalysis;
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

    /// <summary>A part of the path.</summary>
    public string this[string name] => Http.GetRouteValue(name) as string is { Length: > 0 } value ? value : throw Input.Missing(name);

    public Task SendAsync(Action<Utf8JsonWriter> write) => MlflowJson.SendAsync(Http, StatusCodes.Status200OK, write);

    public Task SendEmptyAsync() => MlflowJson.SendEmptyAsync(Http);

    public Task SendObjectAsync<T>(string name, T value, Action<Utf8JsonWriter, T> write) => SendAsync(json =>
    {
        json.WriteStartObject(name);
        write(json, value);
        json.WriteEndObject();
    });
}

/// <summary>A route of the protocol.</summary>
/// <param name="Method">The HTTP method.</param>
/// <param name="Path">Below <c>/api/2.0</c> and <c>/ajax-api/2.0</c>, or <c>3.0</c>.</param>
/// <param name="Permission">What its caller must hold.</param>
/// <param name="Handle">Answers.</param>
/// <param name="Version">The protocol's version in the path.</param>
internal sealed record MlflowRoute(string Method, string Path, string Permission, Func<MlflowCall, Task> Handle, string Version = "2.0")
{
    private readonly string[] segments = $"/{Version}{Path}".Split('/');

    /// <summary>Takes a body in the form in which clients send it.</summary>
    public QuickHandler? Quick { get; init; }

    /// <summary>Whether a path, from the version on, is this route's, whatever the method.</summary>
    public bool IsAt(string path)
    {
        var parts = path.Split('/');
        for (var i = 0; i < segments.Length; i++)
        {
            if (i == parts.Length || (segments[i] is not ['{', ..] && segments[i] != parts[i]))
            {
                return false;
            }

            if (segments[i].StartsWith("{**", StringComparison.Ordinal))
            {
                return true;
            }
        }

        return parts.Length == segments.Length;
    }
}

/// <returns>False when the body has to be read the long way.</returns>
internal delegate bool QuickHandler(HttpContext http, byte[] body, [NotNullWhen(true)] out Task? answered);

/// <summary>The MLflow REST protocol over the registry.</summary>
public static class MlflowEndpoints
{
    /// <summary>Below 3.4, so that clients do not send traces by OTLP, which this server does not take.</summary>
    private const string Version = "3.3.0";

    private static readonly string[] Prefixes = ["/api", "/ajax-api"];

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
            .. ActivatorUtilities.CreateInstance<LoggedModelsApi>(services, artifacts).Routes,
            .. ActivatorUtilities.CreateInstance<ModelsApi>(services).Routes,
            .. ActivatorUtilities.CreateInstance<WebhooksApi>(services).Routes,
            .. artifacts.Routes,
            new("GET", "/mlflow/server-info", Permissions.RunRead, ServerInfoAsync, "3.0"),
        ];
        foreach (var prefix in Prefixes)
        {
            foreach (var route in routes)
            {
                group.MapMethods($"{prefix}/{route.Version}{route.Path}", [route.Method], http => CallAsync(http, route)).RequirePermission(route.Permission);
            }

            artifacts.MapProxy(group, prefix + "/2.0");
            foreach (var family in (string[])["/2.0/mlflow/{**rest}", "/2.0/mlflow-artifacts/{**rest}", "/3.0/mlflow/{**rest}"])
            {
                group.Map(prefix + family, http => RefuseAsync(http, routes, prefix)).RequirePermission(Permissions.RunRead).WithOrder(1000);
            }
        }

        artifacts.MapDownloads(group);
        group.MapGet("/version", http => http.Response.WriteAsync(Version, http.RequestAborted)).OpenToAll();
        return app;
    }

    private static Task ServerInfoAsync(MlflowCall call) => call.SendAsync(static json =>
    {
        json.WriteString("store_type", "SqlStore");
        json.WriteBoolean("workspaces_enabled", false);
    });

    private static async Task CallAsync(HttpContext http, MlflowRoute route)
    {
        if (route.Quick is { } quick && MlflowInput.IsJsonBody(http.Request))
        {
            var body = await MlflowInput.ReadBodyAsync(http);
            if (quick(http, body, out var answered))
            {
                await answered;
                return;
            }

            using var parsed = MlflowInput.Parse(body);
            await route.Handle(new MlflowCall(http, new MlflowInput(parsed?.RootElement ?? default)));
            return;
        }

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
        var methods = routes.Where(r => r.IsAt(path[prefix.Length..])).Select(r => r.Method).ToList();
        if (methods.Count > 0)
        {
            http.Response.Headers.Allow = string.Join(", ", methods);
            return MlflowJson.SendErrorAsync(http, StatusCodes.Status405MethodNotAllowed, "BAD_REQUEST", $"{http.Request.Method} is not allowed here; use {string.Join(" or ", methods)}");
        }

        return MlflowJson.SendErrorAsync(http, StatusCodes.Status404NotFound, "ENDPOINT_NOT_FOUND", "No such endpoint");
    }
}
