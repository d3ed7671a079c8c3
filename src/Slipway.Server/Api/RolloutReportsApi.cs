using Slipway.Governance;
using Slipway.Serving;

namespace Slipway.Server.Api;

/// <summary>What the statistics of rollouts say, and how large an experiment must be. Everything here only reads.</summary>
internal static class RolloutReportsApi
{
    public static void Map(ApiRoutes api)
    {
        api.Post("/rollouts/plan", Permissions.EndpointRead, async c => await c.Of<RolloutReports>().PlanAsync(await c.BodyAsync<PlanRequest>(), c.Stop));
        api.Get("/rollouts/{rollout}/experiment", Permissions.EndpointRead, async c => await c.Of<RolloutReports>().ExperimentAsync(c["rollout"], c.Stop));
        api.Get("/rollouts/{rollout}/bandit", Permissions.EndpointRead, async c => await c.Of<RolloutReports>().BanditAsync(c["rollout"], c.Stop));
        api.Get("/rollouts/{rollout}/shadow", Permissions.EndpointRead, async c => await c.Of<RolloutReports>().ShadowAsync(c["rollout"], c.Query("variant"), c.Stop));
    }
}
