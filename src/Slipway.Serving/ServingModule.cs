using Microsoft.Extensions.DependencyInjection;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Serving.Batching;
using Slipway.Serving.Repository;
using Slipway.Serving.Routing;
using Slipway.Serving.Runtimes;

namespace Slipway.Serving;

/// <summary>Puts serving together.</summary>
public static class ServingModule
{
    /// <summary>Registers endpoints, rollouts and the data plane. Needs foundation, governance, registry and monitoring.</summary>
    public static IServiceCollection AddServing(this IServiceCollection services, ServingOptions? options = null)
    {
        services.AddSingleton(new MigrationSource(typeof(ServingModule).Assembly));
        services.AddSingleton(new SubjectHold(
            "SELECT 'endpoint ' || e.name AS holder, r.spec AS text FROM serving_endpoints e JOIN serving_route_revisions r ON r.endpoint = e.name AND r.revision = e.revision", Serves: true));
        services.AddSingleton(new SubjectHold("SELECT 'rollout ' || id AS holder, candidate AS text FROM serving_rollouts WHERE active = 1", Serves: true));
        services.AddSingleton(new SubjectHold("SELECT 'rollout ' || id AS holder, spec AS text FROM serving_rollouts WHERE active = 1", Serves: true));
        services.AddSingleton(options ?? new ServingOptions());
        services.AddSingleton<RepositoryFolder>();
        services.AddSingleton<LoadedModels>();
        services.AddSingleton<Scheduler>();
        services.AddSingleton<Routes>();
        services.AddSingleton<Inference>();
        services.AddSingleton<Deployments>();
        services.AddSingleton<Nodes>();
        services.AddSingleton<RouteFollower>();
        services.AddSingleton<ModelRepository>();
        services.AddSingleton<RolloutTransitions>();
        services.AddSingleton<MetricQueries>();
        services.AddSingleton<ExperimentObserver>();
        services.AddSingleton<RolloutObserver>();
        services.AddSingleton<RolloutReactions>();
        services.AddSingleton(p => new Endpoints(
            p.GetRequiredService<Deployments>(), p.GetRequiredService<LoadedModels>(), p.GetRequiredService<Routes>(), p.GetRequiredService<Inference>(),
            p.GetRequiredService<Registry.Models>(), p.GetRequiredService<Gates>(), p.GetRequiredService<ModelRepository>(), p.GetRequiredService<Monitoring.Predictions>()));
        services.AddSingleton(p => new Trials(p.GetRequiredService<LoadedModels>(), p.GetRequiredService<TimeProvider>()));
        services.AddSingleton(p => new Rollouts(
            p.GetRequiredService<RolloutTransitions>(), p.GetRequiredService<RolloutObserver>(), p.GetRequiredService<ExperimentObserver>(), p.GetRequiredService<Deployments>(), p.GetRequiredService<Routes>(), p.GetRequiredService<Nodes>(),
            p.GetRequiredService<Registry.Models>(), p.GetRequiredService<Access>(), p.GetRequiredService<Wakeups>(), p.GetRequiredService<TimeProvider>()));
        services.AddSingleton(p => new RolloutReports(
            p.GetRequiredService<Rollouts>(), p.GetRequiredService<Endpoints>(), p.GetRequiredService<ExperimentObserver>(), p.GetRequiredService<Monitoring.Labels>(), p.GetRequiredService<TimeProvider>()));
        services.AddClockedWork<RolloutWork>();
        services.AddHostedService(p => p.GetRequiredService<RouteFollower>());
        services.AddHostedService(p => p.GetRequiredService<ModelRepository>());
        services.AddHostedService(p => p.GetRequiredService<RolloutReactions>());
        services.AddSubscription<RouteFollower>(
            "serving.routes", Delivery.EveryNode, [Events.EndpointChanged, Events.EndpointDeleted], static (follower, entry, ct) => follower.HandleAsync(entry, ct));
        services.AddSubscription<RolloutReactions>(
            "serving.rollouts", Delivery.Once, ["approval.granted", "approval.denied", "alert.fired"], static (reactions, entry, ct) => reactions.HandleAsync(entry, ct));
        return services;
    }
}
