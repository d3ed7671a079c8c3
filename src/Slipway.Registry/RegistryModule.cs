using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Slipway.Data;

namespace Slipway.Registry;

/// <summary>Puts the registry together.</summary>
public static class RegistryModule
{
    /// <summary>Registers experiments, runs, logged models, artifacts, models and webhooks. Needs the foundation, governance and data.</summary>
    public static IServiceCollection AddRegistry(this IServiceCollection services)
    {
        services.AddSingleton(new MigrationSource(typeof(RegistryModule).Assembly));
        services.AddSingleton(new BlobReferences("SELECT hash FROM registry_artifacts WHERE hash IS NOT NULL"));
        services.AddSingleton(new BlobReferences("SELECT files FROM registry_versions"));
        services.AddSingleton(new BlobReferences("SELECT snapshot FROM registry_trash WHERE snapshot IS NOT NULL"));
        services.AddSingleton<Artifacts>();
        services.AddSingleton<Trash>();
        services.AddClockedWork<Uploads>();
        services.AddSingleton<Experiments>();
        services.AddSingleton<MetricFolder>();
        services.AddHostedService(p => p.GetRequiredService<MetricFolder>());
        services.AddSingleton(p => new Runs(
            p.GetRequiredService<Database>(), p.GetRequiredService<Journal>(), p.GetRequiredService<Datasets>(), p.GetRequiredService<Artifacts>(), p.GetRequiredService<MetricFolder>(), p.GetRequiredService<TimeProvider>()));
        services.AddSingleton<LoggedModels>();
        services.AddSingleton<Models>();
        services.AddSingleton<SavedViews>();
        services.TryAddSingleton(new RegistryOptions());
        services.AddSingleton<Webhooks>();
        services.AddSingleton<WebhookPost>();
        services.AddSingleton<WebhookFacts>();
        services.AddClockedWork<WebhookWork>();
        services.AddSubscription<WebhookFacts>(
            "registry.webhooks",
            Delivery.Once,
            [Events.ModelCreated, Events.ModelChanged, Events.VersionRegistered, Events.VersionChanged, Events.AliasMoved, Events.AliasDeleted],
            static (facts, entry, ct) => facts.OnEntryAsync(entry, ct));
        return services;
    }
}
