using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Monitoring;

/// <summary>Puts the monitoring module together.</summary>
public static class MonitoringModule
{
    /// <summary>Registers predictions, labels, monitors, health and alerts. Needs the foundation; opens the prediction log when it is first used or the host starts.</summary>
    /// <exception cref="SlipwayException">InvalidArgument with every setting that is out of range.</exception>
    public static IServiceCollection AddMonitoring(this IServiceCollection services, MonitoringOptions options)
    {
        if (options.Problems() is { Count: > 0 } problems)
        {
            throw SlipwayException.Invalid("the monitoring settings are not valid", string.Join(" ", problems));
        }

        services.AddSingleton(options);
        services.AddSingleton(new MigrationSource(typeof(MonitoringModule).Assembly));
        services.AddSingleton(new BlobReferences("SELECT blob FROM monitoring_segments UNION ALL SELECT reference FROM monitoring_monitors WHERE reference <> ''"));
        services.AddSingleton(new SubjectHold("SELECT 'monitor ' || id AS holder, model_version AS text FROM monitoring_monitors WHERE stopped_us IS NULL"));
        services.AddSingleton(p => new PredictionLog(options.Directory ?? p.GetRequiredService<DataLayout>().Predictions, options, p.GetRequiredService<TimeProvider>(), p.GetRequiredService<ILogger<PredictionLog>>(), options.Directory is null && p.GetRequiredService<DataLayout>().Shared));
        services.AddSingleton<NodeLogs>();
        services.AddSingleton<PredictionArchive>();
        services.AddSingleton(p => new Predictions(p.GetRequiredService<PredictionArchive>()));
        services.AddSingleton(p => new Labels(p.GetRequiredService<Database>(), p.GetRequiredService<PredictionArchive>(), p.GetRequiredService<Journal>(), options, p.GetRequiredService<TimeProvider>()));
        services.AddSingleton(p => new Health(p.GetRequiredService<TimeProvider>()));
        services.AddSingleton<Groups>();
        services.AddSingleton<AlertState>();
        services.AddSingleton<BlindRules>();
        services.AddSingleton<WindowRules>();
        services.AddSingleton<LabelStream>();
        services.AddSingleton<Sender>();
        services.AddClockedWork<MonitorWork>();
        services.AddClockedWork<AlertClock>();
        services.AddClockedWork<GroupWork>();
        services.AddClockedWork<NotificationWork>();
        services.AddSingleton(p => new PredictionQueries(p.GetRequiredService<Labels>()));
        services.AddSingleton(p => new Monitors(
            p.GetRequiredService<Database>(), p.GetRequiredService<IBlobStore>(), p.GetRequiredService<Journal>(), p.GetRequiredService<MonitorWork>(), p.GetRequiredService<LabelStream>(), p.GetRequiredService<AlertState>(), p.GetRequiredService<Wakeups>(), p.GetRequiredService<TimeProvider>()));
        services.AddSingleton(p => new Baselines(
            p.GetRequiredService<Database>(), p.GetRequiredService<Journal>(), p.GetRequiredService<Monitors>(), p.GetRequiredService<PredictionArchive>(), p.GetRequiredService<Labels>(), p.GetRequiredService<WindowRules>(), p.GetRequiredService<TimeProvider>()));
        services.AddSingleton(p => new Alerts(p.GetRequiredService<Database>(), p.GetRequiredService<Journal>(), p.GetRequiredService<AlertState>(), p.GetRequiredService<Groups>(), p.GetRequiredService<Lineage>(), p.GetRequiredService<TimeProvider>()));
        services.AddSingleton(p => new AlertRules(p.GetRequiredService<Database>(), p.GetRequiredService<Journal>(), p.GetRequiredService<AlertState>(), p.GetRequiredService<TimeProvider>()));
        services.AddSingleton(p => new AlertRoutes(p.GetRequiredService<Database>(), p.GetRequiredService<Journal>(), p.GetRequiredService<Groups>(), p.GetRequiredService<TimeProvider>()));
        services.AddSingleton(p => new Silences(p.GetRequiredService<Database>(), p.GetRequiredService<Journal>(), p.GetRequiredService<Groups>(), p.GetRequiredService<AlertState>(), p.GetRequiredService<TimeProvider>()));
        services.AddSingleton(p => new Receivers(
            p.GetRequiredService<Database>(), p.GetRequiredService<Journal>(), p.GetRequiredService<Groups>(), p.GetRequiredService<Sender>(), p.GetRequiredService<Secrets>(), p.GetRequiredService<TimeProvider>()));
        services.AddHostedService<Compaction>();
        return services;
    }
}

/// <summary>Opens the prediction log when the host starts, compacts segments as they become complete, and takes over the logs of nodes that are gone.</summary>
internal sealed partial class Compaction(PredictionArchive archive, ILogger<Compaction> logger) : BackgroundService
{
    /// <summary>Segments that could not be compacted are tried again after this pause.</summary>
    private static readonly TimeSpan Again = TimeSpan.FromSeconds(30);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var rolled = new SemaphoreSlim(1);
        void Wake() => rolled.Release();
        archive.Log.Rolled += Wake;
        try
        {
            while (!stoppingToken.IsCancellationRequested)
            {
                await rolled.WaitAsync(Again, stoppingToken);
                try
                {
                    await archive.CompactAsync(stoppingToken);
                    await archive.TakeOverAsync(stoppingToken);
                }
                catch (Exception e) when (!stoppingToken.IsCancellationRequested)
                {
                    // The segment stays as it is: readable, durable, and tried again.
                    Log.Failed(logger, e);
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            return;
        }
        finally
        {
            archive.Log.Rolled -= Wake;
        }
    }

    private static partial class Log
    {
        [LoggerMessage(Level = LogLevel.Error, Message = "A complete prediction segment could not be compacted; it is tried again in 30 seconds.")]
        public static partial void Failed(ILogger logger, Exception e);
    }
}
