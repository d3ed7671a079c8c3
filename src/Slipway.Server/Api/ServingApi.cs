using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Monitoring;
using Slipway.Serving;

namespace Slipway.Server.Api;

/// <summary>Endpoints and rollouts. Predictions themselves are asked for by the Open Inference Protocol.</summary>
internal static class ServingApi
{
    private sealed record Deploy(string ModelVersion, string Cause);

    private sealed record Configure(EndpointSettings Settings, string Cause);

    private sealed record Because(string? Reason = null);

    private sealed record Promote(bool Full = false);

    public static void Map(ApiRoutes api)
    {
        MapEndpoints(api);
        MapRollouts(api);
    }

    private static void MapEndpoints(ApiRoutes api)
    {
        api.Get("/endpoints", Permissions.EndpointRead, async c => c.Page(await c.Of<Endpoints>().ListAsync(c.Stop), e => e.Name));
        api.Post("/endpoints", Permissions.EndpointCreate, async c =>
            new Created(await c.Of<Endpoints>().CreateAsync(c.Actor, await c.BodyAsync<CreateEndpoint>(), c.Stop)));
        api.Get("/endpoints/{endpoint}", Permissions.EndpointRead, async c => await c.Of<Endpoints>().GetAsync(c["endpoint"], c.Stop));
        api.Delete("/endpoints/{endpoint}", Permissions.DeploymentStop, async c =>
        {
            await c.Of<Endpoints>().DeleteAsync(c.Actor, c["endpoint"], c.Stop);
            return null;
        });
        api.Post("/endpoints/{endpoint}/deploy", Permissions.DeploymentRollback, async c =>
        {
            var body = await c.BodyAsync<Deploy>();
            return await c.Of<Endpoints>().DeployAsync(c.Actor, c["endpoint"], body.ModelVersion, body.Cause, c.Stop);
        });
        api.Put("/endpoints/{endpoint}/settings", Permissions.EndpointCreate, async c =>
        {
            var body = await c.BodyAsync<Configure>();
            return await c.Of<Endpoints>().ConfigureAsync(c.Actor, c["endpoint"], body.Settings, body.Cause, c.Stop);
        });
        api.Get("/endpoints/{endpoint}/statistics", Permissions.EndpointRead, async c =>
        {
            await c.Of<Endpoints>().GetAsync(c["endpoint"], c.Stop);
            return new { items = c.Of<Endpoints>().Statistics(c["endpoint"], null) };
        });
        api.Get("/endpoints/{endpoint}/shares", Permissions.EndpointRead, async c => await SharesAsync(c));
        api.Get("/endpoints/{endpoint}/routes", Permissions.EndpointRead, async c =>
            new { items = await c.Of<Endpoints>().HistoryAsync(c["endpoint"], c.Limit(), c.Stop) });
        api.Get("/endpoints/{endpoint}/signature", Permissions.EndpointRead, async c =>
        {
            var endpoint = await c.Of<Endpoints>().GetAsync(c["endpoint"], c.Stop);
            return c.Of<Endpoints>().Describe(endpoint.Name, null)?.Signature
                ?? throw new SlipwayException(ErrorCode.Unavailable, $"endpoint '{endpoint.Name}' has no signature yet", endpoint.Why, "ask again when it is ready");
        });
        api.Get("/endpoints/{endpoint}/explain", Permissions.EndpointRead, async c =>
        {
            var (slot, variant) = await c.Of<Endpoints>().ExplainAsync(c["endpoint"], c.Needed("key"), c.Stop);
            return new { slot, variant };
        });
    }

    private static void MapRollouts(ApiRoutes api)
    {
        api.Get("/rollouts", Permissions.EndpointRead, async c => c.Page(await c.Of<Rollouts>().ListAsync(c.Query("endpoint"), c.Stop, 1000), r => r.Id));
        api.Post("/rollouts", Permissions.DeploymentCreate, async c =>
            new Created(await c.Of<Rollouts>().ProposeAsync(c.Actor, await c.BodyAsync<ProposeRollout>(), c.Stop)));
        api.Get("/rollouts/{rollout}", Permissions.EndpointRead, async c => await c.Of<Rollouts>().GetAsync(c["rollout"], c.Stop));
        api.Get("/rollouts/{rollout}/timeline", Permissions.EndpointRead, async c =>
        {
            await c.Of<Rollouts>().GetAsync(c["rollout"], c.Stop);
            return new { items = await c.Of<Rollouts>().TimelineAsync(c["rollout"], c.Stop) };
        });
        api.Post("/rollouts/{rollout}/start", Permissions.DeploymentCreate, async c => await c.Of<Rollouts>().StartAsync(c.Actor, c["rollout"], c.Stop));
        api.Post("/rollouts/{rollout}/pause", Permissions.DeploymentCreate, async c =>
            await c.Of<Rollouts>().PauseAsync(c.Actor, c["rollout"], (await c.BodyAsync<Because>()).Reason ?? $"{c.Actor.Name} paused it", c.Stop));
        api.Post("/rollouts/{rollout}/resume", Permissions.DeploymentCreate, async c => await c.Of<Rollouts>().ResumeAsync(c.Actor, c["rollout"], c.Stop));
        api.Post("/rollouts/{rollout}/promote", Permissions.DeploymentCreate, async c =>
            await c.Of<Rollouts>().PromoteAsync(c.Actor, c["rollout"], (await c.BodyAsync<Promote>()).Full, c.Stop));
        api.Post("/rollouts/{rollout}/abort", Permissions.DeploymentRollback, async c =>
            await c.Of<Rollouts>().AbortAsync(c.Actor, c["rollout"], (await c.BodyAsync<Because>()).Reason ?? $"{c.Actor.Name} aborted it", c.Stop));
        api.Post("/rollouts/{rollout}/retry", Permissions.DeploymentCreate, async c => await c.Of<Rollouts>().RetryAsync(c.Actor, c["rollout"], c.Stop));
    }

    /// <summary>What each variant is set to, and what it really did in the last minutes on this node.</summary>
    private static async Task<object> SharesAsync(Call c)
    {
        var endpoint = await c.Of<Endpoints>().GetAsync(c["endpoint"], c.Stop);
        var minutes = c.Number("minutes", 5, 1, Health.Seconds / 60);
        var since = c.Of<TimeProvider>().GetUtcNow() - TimeSpan.FromMinutes(minutes);
        var health = endpoint.Route.Variants.Select(v => (Variant: v, Health: c.Of<Health>().Of(endpoint.Name, v.Name, since))).ToList();
        var all = health.Sum(h => h.Health.Requests);
        return new
        {
            endpoint = endpoint.Name,
            minutes,
            endpoint.Route.Revision,
            endpoint.Route.Rollout,
            items = health.Select(h => new
            {
                h.Variant.Name,
                h.Variant.ModelVersion,
                h.Variant.Percent,
                actual = all == 0 ? (double?)null : 100.0 * h.Health.Requests / all,
                h.Health.Requests,
                h.Health.Errors,
                h.Health.ErrorRate,
                h.Health.P50Micros,
                h.Health.P95Micros,
                h.Health.P99Micros,
            }),
        };
    }
}
