using Microsoft.Extensions.DependencyInjection;
using Slipway.Data;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Monitoring;
using Slipway.Pipelines;
using Slipway.Registry;
using Slipway.Serving;

namespace Slipway.Server;

/// <summary>All modules, in the order of the line. The server, the tests and the offline commands share this list.</summary>
public static class Modules
{
    /// <summary>Registers them.</summary>
    /// <param name="services">Where.</param>
    /// <param name="dataDirectory">The data folder.</param>
    /// <param name="publicUrl">Where people reach the server; null when that is not known.</param>
    /// <param name="serving">Bounds of the data plane; null: as they are without any wish.</param>
    /// <param name="pipelines">What pipelines may do; null: as they are without any wish.</param>
    /// <param name="node">The process's name among those that share the database; null: it is alone.</param>
    public static IServiceCollection AddAll(IServiceCollection services, string dataDirectory, string? publicUrl = null, ServingOptions? serving = null, string? node = null, PipelinesOptions? pipelines = null) => services
        .AddFoundation(new FoundationOptions { DataDirectory = dataDirectory, Node = node })
        .AddGovernance()
        .AddData()
        .AddRegistry()
        .AddMonitoring(new MonitoringOptions { PublicUrl = publicUrl })
        .AddServing(serving)
        .AddPipelines(pipelines);
}
