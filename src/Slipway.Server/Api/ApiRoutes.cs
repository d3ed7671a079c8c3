using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Slipway.Foundation;

namespace Slipway.Server.Api;

/// <summary>A route as /api/v1/meta/endpoints tells it.</summary>
/// <param name="Method">The HTTP method.</param>
/// <param name="Pattern">The path with its parameters.</param>
/// <param name="Permission">What its caller must hold; null when it is open to all.</param>
internal sealed record RouteInfo(string Method, string Pattern, string? Permission);

/// <summary>
/// How the files of this folder declare routes: method, path, permission, and a handler that returns a value. The value
/// becomes JSON; nothing becomes 204; what a handler throws becomes a problem document.
/// </summary>
internal sealed class ApiRoutes(IEndpointRouteBuilder routes)
{
    public const string Prefix = "/api/v1";

    public void Get(string pattern, string permission, Func<Call, Task<object?>> handle) => Map(HttpMethods.Get, pattern, permission, handle);

    public void Post(string pattern, string permission, Func<Call, Task<object?>> handle) => Map(HttpMethods.Post, pattern, permission, handle);

    public void Put(string pattern, string permission, Func<Call, Task<object?>> handle) => Map(HttpMethods.Put, pattern, permission, handle);

    public void Delete(string pattern, string permission, Func<Call, Task<object?>> handle) => Map(HttpMethods.Delete, pattern, permission, handle);

    /// <summary>A route for everyone, also without a credential.</summary>
    public void PostOpen(string pattern, Func<Call, Task<object?>> handle) => routes
        .MapMethods(Prefix + pattern, [HttpMethods.Post], context => AnswerAsync(context, handle))
        .OpenToAll();

    private void Map(string method, string pattern, string permission, Func<Call, Task<object?>> handle) => routes
        .MapMethods(Prefix + pattern, [method], context => AnswerAsync(context, handle))
        .RequirePermission(permission);

    private static async Task AnswerAsync(HttpContext context, Func<Call, Task<object?>> handle)
    {
        var answer = await handle(new Call(context)) switch
        {
            null => Results.NoContent(),
            IResult result => result,
            Created created => Results.Json(created.Value, ApiJson.Write, statusCode: StatusCodes.Status201Created),
            var value => Results.Json(value, ApiJson.Write),
        };
        await answer.ExecuteAsync(context);
    }
}

/// <summary>The REST interface.</summary>
public static class RestApi
{
    /// <summary>Maps every route of /api/v1.</summary>
    public static void MapApi(this IEndpointRouteBuilder routes)
    {
        var api = new ApiRoutes(routes);
        StatusApi.Map(api, routes);
        DataApi.Map(api);
        RegistryApi.Map(api);
        WebhooksApi.Map(api);
        TrialApi.Map(api);
        GovernanceApi.Map(api);
        AccessApi.Map(api);
        AuditApi.Map(api);
        MonitoringApi.Map(api);
        AlertingApi.Map(api);
        ServingApi.Map(api);
        RolloutReportsApi.Map(api);
        PipelinesApi.Map(api);
        routes.MapFallback(ApiRoutes.Prefix + "/{**rest}", context => throw new SlipwayException(
            ErrorCode.NotFound, $"there is no {context.Request.Method} {context.Request.Path}", next: $"GET {ApiRoutes.Prefix}/meta/endpoints lists what there is")).OpenToAll();
    }
}
