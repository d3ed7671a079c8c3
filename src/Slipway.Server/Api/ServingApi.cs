using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Hosting;
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

    private sealed record Promote(bool Full = false, string? Winner = null, string? Reason = null);

    private sealed record Undo(string? To = null, string? Reason = null);

    private static readonly TimeSpan WatchInterval = TimeSpan.FromSeconds(1);

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
        api.Get("/endpoints/{endpoint}/explain", Permissions.EndpointRead, async c => await AssignAsync(c, c["endpoint"]));
        api.Get("/endpoints/{endpoint}/assignment", Permissions.EndpointRead, async c => await AssignAsync(c, c["endpoint"]));
        api.Get("/endpoints/{endpoint}/exposures", Permissions.EndpointRead, async c =>
            new { items = await c.Of<Endpoints>().ExposuresAsync(c["endpoint"], c.Query("entity"), c.Query("rollout"), c.Limit(), c.Stop) });
        api.Get("/endpoints/{endpoint}/shadow", Permissions.EndpointRead, async c => await ShadowAsync(c));
    }

    private static void MapRollouts(ApiRoutes api)
    {
        api.Get("/rollouts", Permissions.EndpointRead, async c => c.Page(await c.Of<Rollouts>().ListAsync(c.Query("endpoint"), c.Stop, 1000), r => r.Id));
        api.Post("/rollouts", Permissions.DeploymentCreate, async c =>
            new Created(await c.Of<Rollouts>().ProposeAsync(c.Actor, await c.BodyAsync<ProposeRollout>(), c.Stop, Key(c))));
        api.Get("/rollouts/{rollout}", Permissions.EndpointRead, async c =>
        {
            if (!c.Http.Request.Query.ContainsKey("watch"))
            {
                return await c.Of<Rollouts>().GetAsync(c["rollout"], c.Stop);
            }

            await WatchAsync(c);
            return Results.Empty;
        });
        api.Get("/rollouts/{rollout}/timeline", Permissions.EndpointRead, async c =>
        {
            await c.Of<Rollouts>().GetAsync(c["rollout"], c.Stop);
            return new { items = await c.Of<Rollouts>().TimelineAsync(c["rollout"], c.Stop) };
        });
        api.Get("/rollouts/{rollout}/nodes", Permissions.EndpointRead, async c =>
        {
            var rollout = await c.Of<Rollouts>().GetAsync(c["rollout"], c.Stop);
            var route = (await c.Of<Endpoints>().GetAsync(rollout.Endpoint, c.Stop)).Route;
            return new { rollout.Endpoint, route.Revision, set = route.Variants.ToDictionary(variant => variant.Name, variant => variant.Percent), items = await c.Of<Rollouts>().NodesAsync(rollout.Id, c.Stop) };
        });
        api.Get("/rollouts/{rollout}/actions", Permissions.EndpointRead, async c => new { items = await c.Of<Rollouts>().ActionsAsync(c.Actor, c["rollout"], c.Stop) });
        api.Get("/rollouts/{rollout}/analysis", Permissions.EndpointRead, async c =>
        {
            var rollout = await c.Of<Rollouts>().GetAsync(c["rollout"], c.Stop);
            return new { rollout.LastAnalysis, rollout.Findings, measurements = await c.Of<RolloutReports>().MeasurementsAsync(rollout.Id, c.Limit(), c.Stop), items = (await c.Of<Rollouts>().TimelineAsync(rollout.Id, c.Stop)).Where(e => e.Analysis is not null) };
        });
        api.Get("/rollouts/{rollout}/assignment", Permissions.EndpointRead, async c =>
        {
            var rollout = await c.Of<Rollouts>().GetAsync(c["rollout"], c.Stop);
            var route = (await c.Of<Endpoints>().GetAsync(rollout.Endpoint, c.Stop)).Route;
            if (route.Rollout != rollout.Id)
            {
                throw new SlipwayException(ErrorCode.Conflict, $"rollout {rollout.Id} assigns nobody", $"it is {rollout.Status.State} and does not steer endpoint '{rollout.Endpoint}'", $"GET /api/v1/endpoints/{rollout.Endpoint}/explain?key=…");
            }

            return await AssignAsync(c, rollout.Endpoint);
        });
        api.Get("/rollouts/{rollout}/exposures", Permissions.EndpointRead, async c =>
        {
            var rollout = await c.Of<Rollouts>().GetAsync(c["rollout"], c.Stop);
            return new { items = await c.Of<Endpoints>().ExposuresAsync(rollout.Endpoint, c.Query("entity"), rollout.Id, c.Limit(), c.Stop) };
        });
        api.Put("/rollouts/{rollout}/plan", Permissions.DeploymentCreate, async c =>
            await c.Of<Rollouts>().EditAsync(c.Actor, c["rollout"], await c.BodyAsync<RolloutSpec>(), c.Stop, Key(c)));
        Command("start", Permissions.DeploymentCreate, async c => await c.Of<Rollouts>().StartAsync(c.Actor, c["rollout"], c.Stop, Key(c)));
        Command("pause", Permissions.DeploymentCreate, async c =>
            await c.Of<Rollouts>().PauseAsync(c.Actor, c["rollout"], (await c.BodyAsync<Because>()).Reason ?? $"{c.Actor.Name} paused it", c.Stop, Key(c)));
        Command("resume", Permissions.DeploymentCreate, async c => await c.Of<Rollouts>().ResumeAsync(c.Actor, c["rollout"], c.Stop, Key(c)));
        Command("promote", Permissions.DeploymentCreate, async c =>
        {
            var body = await c.BodyAsync<Promote>();
            return await c.Of<Rollouts>().PromoteAsync(c.Actor, c["rollout"], body.Full, c.Stop, body.Winner, Key(c), body.Reason);
        });
        Command("approve", Permissions.ApprovalGrant, async c =>
            await c.Of<Rollouts>().ApproveAsync(c.Actor, c["rollout"], (await c.BodyAsync<Because>()).Reason, c.Stop, Key(c)));
        Command("abort", Permissions.DeploymentRollback, async c =>
            await c.Of<Rollouts>().AbortAsync(c.Actor, c["rollout"], (await c.BodyAsync<Because>()).Reason ?? $"{c.Actor.Name} aborted it", c.Stop, Key(c)));
        Command("retry", Permissions.DeploymentCreate, async c => await c.Of<Rollouts>().RetryAsync(c.Actor, c["rollout"], c.Stop, Key(c)));
        Command("undo", Permissions.DeploymentRollback, async c =>
        {
            var body = await c.BodyAsync<Undo>();
            return await c.Of<Rollouts>().UndoAsync(c.Actor, c["rollout"], body.To, body.Reason, c.Stop, Key(c));
        });

        // The second form is that of custom methods on a resource (AIP-136); both are one command with one right.
        void Command(string verb, string permission, Func<Call, Task<object?>> handle)
        {
            api.Post($"/rollouts/{{rollout}}/{verb}", permission, handle);
            api.Post($"/rollouts/{{rollout}}:{verb}", permission, handle);
        }
    }

    private static string? Key(Call c) => c.Http.Request.Headers["Idempotency-Key"] is { Count: > 0 } values
        ? values.Count == 1 && values[0] is { Length: > 0 } key ? key : throw new SlipwayException(ErrorCode.InvalidArgument, "the header Idempotency-Key is not valid", "it is empty or given twice", "send one value of 1 to 200 characters")
        : null;

    /// <summary>Sends the rollout whenever it has changed, the present state first, until it has ended or the client leaves.</summary>
    private static async Task WatchAsync(Call c)
    {
        var rollouts = c.Of<Rollouts>();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(c.Stop, c.Of<IHostApplicationLifetime>().ApplicationStopping);
        var rollout = await rollouts.GetAsync(c["rollout"], stop.Token);
        c.Http.Response.ContentType = "text/event-stream";
        c.Http.Response.Headers.CacheControl = "no-store";
        c.Http.Response.Headers["X-Accel-Buffering"] = "no";
        var (last, silence) = ("", 0);
        try
        {
            while (true)
            {
                // Looks that move nothing change the analysis but not the revision, so the whole is compared.
                var data = JsonSerializer.Serialize(rollout, ApiJson.Write);
                if (data != last)
                {
                    await c.Http.Response.WriteAsync($"id: {rollout.Rev}\nevent: rollout\ndata: {data}\n\n", stop.Token);
                    (last, silence) = (data, 0);
                }
                else if (++silence % 15 == 0)
                {
                    await c.Http.Response.WriteAsync(": still here\n\n", stop.Token);
                }

                await c.Http.Response.Body.FlushAsync(stop.Token);
                if (rollout.Status.Ended)
                {
                    return;
                }

                await Task.Delay(WatchInterval, c.Of<TimeProvider>(), stop.Token);
                rollout = await rollouts.GetAsync(rollout.Id, stop.Token);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // The client left or the server stops; the stream ends between two events.
        }
    }

    /// <summary>Which variant a key sees and why; <c>header=name:value</c> and <c>attribute=name:value</c>, as often as needed, say what the request would carry.</summary>
    private static Task<Assignment> AssignAsync(Call c, string endpoint)
    {
        return c.Of<Endpoints>().AssignAsync(endpoint, c.Needed("key"), Pairs("header", StringComparer.OrdinalIgnoreCase), Pairs("attribute", StringComparer.Ordinal), c.Stop);

        Dictionary<string, string> Pairs(string query, StringComparer names)
        {
            var pairs = new Dictionary<string, string>(names);
            foreach (var pair in c.Queries(query))
            {
                var colon = pair.IndexOf(':');
                pairs[colon < 0 ? pair : pair[..colon]] = colon < 0 ? "" : pair[(colon + 1)..].Trim();
            }

            return pairs;
        }
    }

    /// <summary>What became of the copies for each mirror on this node, and how it fared in the last minutes.</summary>
    private static async Task<object> ShadowAsync(Call c)
    {
        var endpoint = await c.Of<Endpoints>().GetAsync(c["endpoint"], c.Stop);
        var minutes = c.Number("minutes", 5, 1, Health.Seconds / 60);
        var since = c.Of<TimeProvider>().GetUtcNow() - TimeSpan.FromMinutes(minutes);
        return new
        {
            endpoint = endpoint.Name,
            minutes,
            items = c.Of<Endpoints>().Mirrors(endpoint.Name).Select(mirror =>
            {
                var health = c.Of<Health>().Of(endpoint.Name, mirror.Variant + Endpoints.ShadowSuffix, since);
                return new
                {
                    mirror.Variant,
                    mirror.ModelVersion,
                    percent = endpoint.Route.Mirrors?.FirstOrDefault(rule => rule.Variant == mirror.Variant && endpoint.Route.Variants.Any(v => v.Name == mirror.Variant && v.ModelVersion == mirror.ModelVersion))?.Percent ?? 0,
                    mirror.Answered,
                    mirror.Failed,
                    mirror.Dropped,
                    mirror.Queued,
                    health.P50Micros,
                    health.P99Micros,
                };
            }),
        };
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
