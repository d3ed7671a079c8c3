using Microsoft.Extensions.DependencyInjection;
using Slipway.Foundation;

namespace Slipway.Data;

/// <summary>Puts data together.</summary>
public static class DataModule
{
    /// <summary>Registers datasets.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.InvalidArgument"/> with every error of the options.</exception>
    public static IServiceCollection AddData(this IServiceCollection services, DataOptions? options = null)
    {
        options ??= new DataOptions();
        if (options.Validate() is { Count: > 0 } errors) throw SlipwayException.Invalid("the data options are wrong", string.Join("; ", errors));
        services.AddSingleton(options);
        services.AddSingleton(new MigrationSource(typeof(DataModule).Assembly));
        services.AddSingleton(new BlobReferences("SELECT manifest FROM data_versions"));
        services.AddSingleton<Profiler>();
        services.AddSingleton(p => new TableHeads(p.GetRequiredService<Profiler>(), p.GetRequiredService<DataLayout>()));
        services.AddSingleton(p => new Datasets(
            p.GetRequiredService<Database>(), p.GetRequiredService<Journal>(), p.GetRequiredService<IBlobStore>(), p.GetRequiredService<TimeProvider>(),
            p.GetRequiredService<Profiler>(), options, p.GetRequiredService<DataLayout>()));
        return services;
    }
}
