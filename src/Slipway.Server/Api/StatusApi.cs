using Microsoft.AspNetCore.Routing;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Monitoring;
using Slipway.Serving;

namespace Slipway.Server.Api;

/// <summary>What is live, what waits and what fires; who asks; and which routes there are.</summary>
internal static class StatusApi
{
    private const int Most = 100;

    public static void Map(ApiRoutes api, IEndpointRouteBuilder routes)
    {
        api.Get("/status", Permissions.EndpointRead, async c => await StatusAsync(c));
        api.Get("/whoami", Permissions.ModelRead, async c => await WhoAmIAsync(c));
        api.Get("/meta/endpoints", Permissions.ModelRead, c => Task.FromResult<object?>(new { items = List(routes) }));
    }

    private static async Task<object> StatusAsync(Call c)
    {
        var endpoints = await c.Of<Endpoints>().ListAsync(c.Stop);
        var rollouts = (await c.Of<Rollouts>().ListAsync(null, c.Stop)).Where(r => !r.Status.Ended).Take(Most).ToList();
        var waiting = await c.Of<Gates>().ListAsync(null, GateRequest.Pending, c.Stop);
        var firing = await c.Of<Alerts>().ListAsync("firing", c.Stop);
        var predictions = c.Of<Predictions>();
        return new
        {
            version = SlipwayServer.Version,
            endpoints = endpoints.Take(Most).Select(e => new { e.Name, e.Ready, e.Why, e.Route.Variants, e.UpdatedAt }),
            rollouts = rollouts.Select(r => new { r.Id, r.Endpoint, r.Stable, r.Candidate, r.Status.State, r.Status.Pause, r.Status.Step, steps = r.Spec.Steps.Count, r.Status.Percent, r.Status.Cause, r.UpdatedAt }),
            waiting = waiting.Take(Most).Select(g => new { g.Id, g.Subject, g.Policy, g.Approvals, g.RequiredApprovals, g.RequestedBy, g.RequestedAt }),
            firing = firing.Take(Most).Select(a => new { a.Id, a.Endpoint, a.ModelVersion, a.Severity, a.Sentence, a.FiredAt, a.AcknowledgedBy }),
            predictions = new { predictions.Written, predictions.Dropped },
            journal = await c.Of<Journal>().HeadAsync(c.Stop),
        };
    }

    private static async Task<object> WhoAmIAsync(Call c)
    {
        var access = c.Of<Access>();
        var permissions = new List<string>();
        foreach (var permission in Permissions.All)
        {
            if (await access.AllowsAsync(c.Actor, permission, c.Stop))
            {
                permissions.Add(permission);
            }
        }

        return new { c.Actor.Kind, c.Actor.Name, c.Actor.Auth, c.Actor.OnBehalfOf, permissions };
    }

    private static List<RouteInfo> List(IEndpointRouteBuilder routes) =>
        [.. from source in routes.DataSources
            from endpoint in source.Endpoints.OfType<RouteEndpoint>()
            let declared = endpoint.Metadata.GetMetadata<RoutePermission>()
            where declared is not null
            from method in endpoint.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods ?? ["*"]
            let pattern = "/" + endpoint.RoutePattern.RawText?.TrimStart('/')
            orderby pattern, method
            select new RouteInfo(method, pattern, declared.Permission)];
}
