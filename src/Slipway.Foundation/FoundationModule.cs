using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;

namespace Slipway.Foundation;

/// <summary>Puts the foundation together.</summary>
public static class FoundationModule
{
    /// <summary>Registers the database, the blobs, the journal and the work with a clock. The dialect is SQLite unless the caller registered another one.</summary>
    public static IServiceCollection AddFoundation(this IServiceCollection services, FoundationOptions options)
    {
        var layout = new DataLayout(options.DataDirectory, options.Node);
        services.AddSingleton(options);
        services.AddSingleton(layout);
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<Dialect>(_ => new SqliteDialect(layout.SqliteFile, options.SynchronousFull));
        services.AddSingleton<Database>();
        services.AddSingleton(new MigrationSource(typeof(FoundationModule).Assembly));
        services.AddSingleton<Migrations>();
        services.AddSingleton(p => new FileBlobStore(layout.Blobs, p.GetRequiredService<Database>(), p.GetRequiredService<TimeProvider>()));
        services.AddSingleton<IBlobStore>(p => p.GetRequiredService<FileBlobStore>());
        services.AddClockedWork<BlobCollector>();
        services.AddSingleton(_ => new JournalKeys(layout.Keys, create: true));
        services.AddSingleton(p => new Journal(p.GetRequiredService<Database>(), p.GetRequiredService<JournalKeys>(), p.GetRequiredService<TimeProvider>()) { CheckpointPath = layout.Checkpoint });
        services.AddSingleton<Secrets>();
        services.AddSingleton<Outbound>();
        services.AddSingleton<JournalLinks>();
        services.AddSingleton<JournalFeed>();
        services.AddSingleton<Wakeups>();
        services.AddClockedWork<SubscriptionWork>();
        services.AddSingleton<JournalPump>();
        services.AddHostedService(p => p.GetRequiredService<JournalPump>());
        services.AddHostedService<Sweep>();
        return services;
    }

    /// <summary>Registers a kind of work with a clock, also under its own type.</summary>
    public static IServiceCollection AddClockedWork<T>(this IServiceCollection services)
        where T : class, IClockedWork
    {
        services.TryAddSingleton<T>();
        services.AddSingleton<IClockedWork>(p => p.GetRequiredService<T>());
        return services;
    }

    /// <summary>
    /// Runs the Orleans silo inside this process, without a gateway: alone on a free loopback port, or as a node of a cluster whose members stand in the
    /// database and reach each other at their addresses.
    /// </summary>
    /// <param name="builder">The host.</param>
    /// <param name="node">The node's name; null: alone.</param>
    /// <param name="address">Where other nodes reach it; port 0 takes a free one. Null: a free loopback port.</param>
    public static IHostApplicationBuilder AddSilo(this IHostApplicationBuilder builder, string? node = null, IPEndPoint? address = null)
    {
        address ??= new IPEndPoint(IPAddress.Loopback, 0);
        var port = address.Port > 0 ? address.Port : FreePort(address.Address);
        builder.UseOrleans(silo =>
        {
            if (node is null)
            {
                silo.UseLocalhostClustering(port, gatewayPort: 0, serviceId: "slipway", clusterId: "slipway");
            }
            else
            {
                silo.Services.AddSingleton<IMembershipTable>(p => new ClusterTable(p.GetRequiredService<Database>(), node));
                silo.Services.AddSingleton<IFatalErrorHandler, ClusterLoss>();
                silo.Configure<ClusterOptions>(o => (o.ServiceId, o.ClusterId) = ("slipway", "slipway"));
                silo.Configure<SiloOptions>(o => o.SiloName = node);
                silo.Configure<SiloMessagingOptions>(o => o.ResponseTimeout = TimeSpan.FromSeconds(5));
                // A process that is killed is known within seconds; one that is only slow on a busy machine is not taken for dead.
                silo.Configure<ClusterMembershipOptions>(o =>
                {
                    o.ProbeTimeout = TimeSpan.FromSeconds(2);
                    o.NumMissedProbesLimit = 3;
                    o.TableRefreshTimeout = TimeSpan.FromSeconds(5);
                    o.IAmAliveTablePublishTimeout = TimeSpan.FromSeconds(5);
                    o.DefunctSiloExpiration = TimeSpan.FromDays(1);
                });
            }

            silo.Configure<EndpointOptions>(o =>
            {
                o.AdvertisedIPAddress = address.Address;
                o.SiloPort = port;
                o.GatewayPort = 0;
                o.SiloListeningEndpoint = new IPEndPoint(address.Address, port);
            });
        });
        // The silo reports its own start-up at length, and a stall equal to the machine's uptime; people want neither.
        builder.Logging.AddFilter("Orleans", LogLevel.Error).AddFilter("Microsoft.Orleans", LogLevel.Error).AddFilter("Polly", LogLevel.Error);
        return builder;
    }

    /// <summary>Brings the data folder and the schema up to date. Runs before anything else of the host starts.</summary>
    public static async Task PrepareFoundationAsync(this IServiceProvider services, CancellationToken ct)
    {
        var layout = services.GetRequiredService<DataLayout>();
        Directory.CreateDirectory(layout.Root);
        File.SetUnixFileMode(layout.Root, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        Directory.CreateDirectory(layout.Temporary);
        await services.GetRequiredService<Migrations>().RunAsync(ct);
        // The journal hooks itself into the database's commits when it is made.
        services.GetRequiredService<Journal>();
    }

    // The silo always listens and refuses port 0, so a port is found first. Between the two another process could take it,
    // in which case the start fails with a clear message and can be repeated.
    private static int FreePort(IPAddress address)
    {
        using var listener = new TcpListener(address, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
