using Microsoft.Extensions.DependencyInjection;

namespace Slipway.Registry;

/// <summary>Puts the registry together.</summary>
public static class RegistryModule
{
    /// <summary>Registers experiments, runs, artifacts and models. Needs the foundation, governance and data.</summary>
    public static IServiceCollection AddRegistry(this IServiceCollection services)
    {
        services.AddSingleton(new MigrationSource(typeof(RegistryModule).Assembly));
        services.AddSingleton(new BlobReferences("SELECT hash FROM registry_artifacts WHERE hash IS NOT NULL"));
        services.AddSingleton(new BlobReferences("SELECT files FROM registry_versions"));
        services.AddSingleton<Artifacts>();
        services.AddClockedWork<Uploads>();
        services.AddSingleton<Experiments>();
        services.AddSingleton<Runs>();
        services.AddSingleton<Models>();
        services.AddSingleton<SavedViews>();
        return services;
    }
}
