using System.Net;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Web;

namespace Slipway.Server;

/// <summary>What a route demands: a permission, or nothing. A route that says neither stops the start.</summary>
public sealed record RoutePermission(string? Permission);

/// <summary>How routes say what they demand, and how requests get their actor.</summary>
public static class RoutePermissions
{
    /// <summary>The route is for actors who hold the permission.</summary>
    public static TBuilder RequirePermission<TBuilder>(this TBuilder builder, string permission)
        where TBuilder : IEndpointConventionBuilder
    {
        builder.Add(e => e.Metadata.Add(new RoutePermission(permission)));
        return builder;
    }

    /// <summary>The route is for everyone, also without a credential: probes, sign-in, static files.</summary>
    public static TBuilder OpenToAll<TBuilder>(this TBuilder builder)
        where TBuilder : IEndpointConventionBuilder
    {
        builder.Add(e => e.Metadata.Add(new RoutePermission(null)));
        return builder;
    }

    /// <summary>Who sent the request.</summary>
    public static Actor GetActor(this HttpContext context) =>
        context.Items.TryGetValue(typeof(Actor), out var actor) ? (Actor)actor! : throw new SlipwayException(ErrorCode.Unauthenticated, "no one is signed in");

    /// <summary>Every route without a declared permission, as method and pattern.</summary>
    internal static IReadOnlyList<string> Undeclared(EndpointDataSource source) => [.. source.Endpoints
        .OfType<RouteEndpoint>()
        .Where(e => e.Metadata.GetMetadata<RoutePermission>() is null)
        .Select(e => $"{string.Join(',', e.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods ?? ["*"])} {e.RoutePattern.RawText}")];
}

/// <summary>
/// Finds the actor of a request: an API key (bearer, basic password or the page's session cookie), or in single-user
/// mode the operating-system user, without a credential.
/// </summary>
internal sealed class Auth(Access access, SlipwayOptions options)
{
    public const string Cookie = "slipway_session";
    private static readonly Actor LocalUser = Access.SingleUser(Environment.UserName.Length == 0 ? "owner" : Environment.UserName);
    private volatile bool singleUser;

    public bool SingleUser => singleUser;

    /// <summary>Decides the mode once, before any request: single-user only on loopback addresses and while no identity exists.</summary>
    public async Task DecideModeAsync(CancellationToken ct)
    {
        singleUser = options.Identity switch
        {
            IdentityMode.SingleUser => true,
            IdentityMode.Required => false,
            _ => options.OnlyLoopback && !await access.HasIdentityAsync(ct),
        };
    }

    /// <summary>The actor, or why there is none.</summary>
    public async ValueTask<(Actor? Actor, SlipwayException? Refused)> IdentifyAsync(HttpContext context)
    {
        if (Presented(context) is { } key)
        {
            return await access.AuthenticateAsync(key, context.RequestAborted) is { } actor
                ? (actor with { RequestId = context.TraceIdentifier }, null)
                : (null, new SlipwayException(ErrorCode.Unauthenticated, "the API key is not valid", "it is unknown, expired or revoked", "make one with slipway token create"));
        }

        if (!singleUser)
        {
            return (null, new SlipwayException(ErrorCode.Unauthenticated, "nobody is signed in", "the request carries no API key", "send Authorization: Bearer slp_… (or the key as the password of basic authentication)"));
        }

        // Without credentials the browser itself is the danger: a foreign page may send requests here, also under a name that resolves to this machine.
        return ForeignOrigin(context.Request) is { } why
            ? (null, new SlipwayException(ErrorCode.PermissionDenied, "the request comes from another site", why, "use the address that the server printed"))
            : (LocalUser with { RequestId = context.TraceIdentifier }, null);
    }

    /// <summary>Whether the actor may do what the permission names: null, or the refusal.</summary>
    public async ValueTask<SlipwayException?> RefuseAsync(HttpContext context, string permission)
    {
        var (actor, refused) = await IdentifyAsync(context);
        if (refused is not null)
        {
            return refused;
        }

        context.Items[typeof(Actor)] = actor;
        if (await access.AllowsAsync(actor!, permission, context.RequestAborted))
        {
            return null;
        }

        try
        {
            await access.DemandAsync(actor!, permission, null, context.RequestAborted);
            return null;
        }
        catch (SlipwayException e) when (e.Code is ErrorCode.PermissionDenied)
        {
            return e;
        }
    }

    /// <summary>Runs after routing: finds the actor and demands the route's permission.</summary>
    public async Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        if (context.GetEndpoint() is not RouteEndpoint endpoint || endpoint.Metadata.GetMetadata<RoutePermission>() is not { Permission: { } permission })
        {
            await next(context);
            return;
        }

        if (await RefuseAsync(context, permission) is { } refused)
        {
            if (refused.Code == ErrorCode.Unauthenticated && IsPage(context.Request))
            {
                context.Response.Redirect("/signin");
                return;
            }

            await Errors.WriteAsync(context, refused);
            return;
        }

        context.RequestServices.GetRequiredService<CurrentActor>().Actor = context.GetActor();
        await next(context);
    }

    private static bool IsPage(HttpRequest request) => HttpMethods.IsGet(request.Method) && request.Headers.Accept.ToString().Contains("text/html", StringComparison.Ordinal);

    private static string? Presented(HttpContext context)
    {
        var header = context.Request.Headers.Authorization.ToString();
        if (header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase))
        {
            return header[7..].Trim();
        }

        if (header.StartsWith("Basic ", StringComparison.OrdinalIgnoreCase))
        {
            // MLflow clients send basic credentials; the key is the password, and the user name is what the person likes.
            var bytes = new byte[header.Length];
            if (!Convert.TryFromBase64String(header[6..].Trim(), bytes, out var length))
            {
                return "";
            }

            var text = Encoding.UTF8.GetString(bytes, 0, length);
            return text[(text.IndexOf(':', StringComparison.Ordinal) + 1)..];
        }

        return context.Request.Cookies[Cookie];
    }

    private static string? ForeignOrigin(HttpRequest request)
    {
        if (!IsLoopbackName(request.Host.Host))
        {
            return $"its Host is \"{request.Host}\", not a loopback address";
        }

        if (HttpMethods.IsGet(request.Method) || HttpMethods.IsHead(request.Method))
        {
            return null;
        }

        if (request.Headers["Sec-Fetch-Site"].ToString() is "cross-site" or "same-site")
        {
            return $"the browser says so (Sec-Fetch-Site: {request.Headers["Sec-Fetch-Site"]})";
        }

        return request.Headers.Origin.ToString() is { Length: > 0 } origin && !(Uri.TryCreate(origin, UriKind.Absolute, out var uri) && IsLoopbackName(uri.Host))
            ? $"its Origin is \"{origin}\""
            : null;
    }

    private static bool IsLoopbackName(string host) =>
        host.Equals("localhost", StringComparison.OrdinalIgnoreCase) || (IPAddress.TryParse(host.Trim('[', ']'), out var address) && IPAddress.IsLoopback(address));
}
