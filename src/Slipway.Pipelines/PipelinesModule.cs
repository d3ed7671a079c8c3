using Microsoft.Extensions.DependencyInjection;
using Slipway.Data;
using Slipway.Governance;
using Slipway.Monitoring;
using Slipway.Pipelines.Jobs;
using Slipway.Pipelines.Steps;
using Slipway.Registry;
using Slipway.Serving;

namespace Slipway.Pipelines;

/// <summary>Puts pipelines together.</summary>
public static class PipelinesModule
{
    /// <summary>Registers pipelines, their runs, triggers and the loop. Needs all modules to the left.</summary>
    /// <exception cref="SlipwayException">InvalidArgument with every option that is out of range.</exception>
    public static IServiceCollection AddPipelines(this IServiceCollection services, PipelinesOptions? options = null)
    {
        options ??= new PipelinesOptions();
        if (options.Problems().ToList() is { Count: > 0 } problems)
        {
            throw SlipwayException.Invalid("the pipelines settings are not valid", string.Join("; ", problems));
        }

        services.AddSingleton(options);
        services.AddSingleton(new MigrationSource(typeof(PipelinesModule).Assembly));
        services.AddSingleton(new SubjectHold("SELECT 'pipeline run ' || id AS holder, model_version AS text FROM pipelines_runs WHERE finished_us IS NULL AND model_version IS NOT NULL"));
        services.AddSingleton<LocalJobRunner>();
        services.AddSingleton<RowReader>();
        services.AddSingleton<ModelScorer>();
        services.AddSingleton<StepRuns>();
        services.AddSingleton<IStep, TrainStep>();
        services.AddSingleton<IStep, GateStep>();
        services.AddSingleton<IStep, ProposeRolloutStep>();
        services.AddSingleton<IStep, CommandStep>();
        services.AddSingleton<StepKinds>();
        services.AddSingleton<StepTasks>();
        services.AddHostedService(p => p.GetRequiredService<StepTasks>());
        services.AddSingleton(p => new References(p.GetRequiredService<Models>(), p.GetRequiredService<Registry.Runs>(), p.GetRequiredService<Datasets>(), p.GetRequiredService<Monitors>(), p.GetRequiredService<DataLayout>()));
        services.AddSingleton(p => new Pipelines(p.GetRequiredService<Database>(), p.GetRequiredService<Journal>(), p.GetRequiredService<StepKinds>(), p.GetRequiredService<TimeProvider>()));
        services.AddSingleton(p => new PipelineRuns(
            p.GetRequiredService<Database>(), p.GetRequiredService<Journal>(), p.GetRequiredService<Pipelines>(), p.GetRequiredService<StepKinds>(), p.GetRequiredService<Wakeups>(), p.GetRequiredService<TimeProvider>()));
        services.AddSingleton(p => new Triggers(
            p.GetRequiredService<Database>(), p.GetRequiredService<Journal>(), p.GetRequiredService<PipelineRuns>(), p.GetRequiredService<Alerts>(), p.GetRequiredService<Endpoints>(),
            p.GetRequiredService<Wakeups>(), p.GetRequiredService<TimeProvider>()));
        services.AddSingleton<Loop>();
        services.AddClockedWork<PipelineRunWork>();
        services.AddClockedWork<TriggerWork>();
        services.AddSubscription<Loop>("pipelines.alerts", Delivery.Once, ["alert.fired"], static (loop, entry, ct) => loop.OnAlertAsync(entry, ct));
        services.AddSubscription<Loop>("pipelines.rollouts", Delivery.Once, [Serving.Events.RolloutFinished], static (loop, entry, ct) => loop.OnFinishedAsync(entry, ct));
        services.AddSubscription<Loop>("pipelines.endpoints", Delivery.Once, [Serving.Events.EndpointCreated], static (loop, entry, ct) => loop.OnCreatedAsync(entry, ct));
        services.AddSubscription<Loop>(
            "pipelines.rollout-jobs", Delivery.Once, [Serving.Events.RolloutJobAsked, Serving.Events.RolloutMetricAsked, Serving.Events.RolloutAborted, Events.RunFinished], static (loop, entry, ct) => loop.OnJobAsync(entry, ct));
        services.AddSubscription<Loop>("pipelines.routes", Delivery.Once, [Serving.Events.EndpointChanged], static (loop, entry, ct) => loop.OnChangedAsync(entry, ct));
        return services;
    }
}
