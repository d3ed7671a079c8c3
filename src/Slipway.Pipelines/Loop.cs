using System.Globalization;
using Microsoft.Extensions.Logging;
using Slipway.Monitoring;
using Slipway.Registry;
using Slipway.Serving;

namespace Slipway.Pipelines;

/// <summary>
/// The closed loop, in one place. Every arrow is a reaction to a journal entry, delivered at least once and harmless when repeated:
/// <code>
/// alert.fired          -> every trigger decides -> a pipeline run, with the alert as its cause           OnAlertAsync
///   train              -> a run and a model version, linked to dataset version and pipeline run         TrainStep
///   gate               -> evidence of challenger and champion on the same rows -> a gate request        GateStep
///   propose-rollout    -> a rollout that waits for the gate                                              ProposeRolloutStep
/// (people approve)     -> approval.granted -> the rollout starts, steps, and finishes or aborts          Serving
/// rollout.job-asked    -> a pipeline run; its end tells the step, and an aborted rollout stops it       OnJobAsync
/// rollout.metric-asked -> likewise for a metric of an analysis, which goes by the exit code              OnJobAsync
/// rollout.finished     -> (the alias champion has moved with it) monitoring goes on against what the     OnFinishedAsync
///                         new version was validated on; the monitor of the old version is closed
/// endpoint.changed     -> a version that begins to get a share of the traffic is watched from then on by  OnChangedAsync
///                         the windows and thresholds of the stable one; one that lost its share no more
/// endpoint.created     -> its first version is the champion that later ones are compared with, and is    OnCreatedAsync
///                         watched by default against what it was validated on, or against its first window
/// </code>
/// An aborted rollout changes neither alias nor monitor: the champion stays what it was.
/// </summary>
internal sealed partial class Loop(Triggers triggers, Pipelines pipelines, PipelineRuns runs, Rollouts rollouts, References references, Models models, Monitors monitors, Endpoints endpoints, ILogger<Loop> log)
{
    private const string Champion = "champion";
    private const string JobKey = "rollout-job";
    private const string MetricKey = "rollout-metric";
    private static readonly Actor Jobs = Actor.System("rollout-jobs");
    private static readonly Actor Self = Actor.System(Monitors.ByDefault);
    private static readonly MonitorScope Copies = new() { Shadow = true };

    public Task OnAlertAsync(JournalEntry entry, CancellationToken ct) => triggers.DecideAsync(entry.Read<AlertFired>().AlertId, ct);

    public async Task OnJobAsync(JournalEntry entry, CancellationToken ct)
    {
        if (entry.Kind == Events.RunFinished)
        {
            var ended = await runs.GetAsync(entry.Read<PipelineRunFinished>().Run, ct);
            if (ended.StartedBy == Jobs.Principal && ended.Key?.Split('/') is [JobKey, var asking, var attempt, var step])
            {
                var why = $"run {ended.Id} {(ended.State == PipelineState.Succeeded ? "succeeded" : $"ended as {ended.State}{(ended.Error is { } error ? $": {error}" : "")}")}";
                await AnswerAsync(asking, int.Parse(attempt, CultureInfo.InvariantCulture), int.Parse(step, CultureInfo.InvariantCulture), ended.State == PipelineState.Succeeded, why, ct);
            }
            else if (ended.StartedBy == Jobs.Principal && ended.Key?.Split('/', 4) is [MetricKey, var measured, var asked, var metric])
            {
                // The last command that ended says it; a run that succeeds without any command has nothing that failed.
                var code = ended.State is PipelineState.Succeeded or PipelineState.Failed ? (await runs.StepsAsync(ended.Id, ct)).LastOrDefault(step => step.State is StepState.Succeeded or StepState.Failed)?.Output?.ExitCode : null;
                code ??= ended.State == PipelineState.Succeeded ? 0 : null;
                var told = $"run {ended.Id} {(code is { } exit ? $"ended with exit code {exit}" : $"ended as {ended.State} without an exit code")}{(ended.Error is { } fault ? $": {fault}" : "")}";
                await AnswerAsync(measured, metric, ended.Pipeline, long.Parse(asked, CultureInfo.InvariantCulture), code, told, ct);
            }

            return;
        }

        if (entry.Kind == Serving.Events.RolloutMetricAsked)
        {
            var question = entry.Read<RolloutMetricAsked>();
            try
            {
                await StartAsync(question.Pipeline, FormattableString.Invariant($"{MetricKey}/{question.Rollout}/{question.AskedAt}/{question.Metric}"), entry.Subject, question.Rollout, question.Endpoint, question.Candidate, question.Stable, ct);
            }
            catch (SlipwayException e) when (e.Code is ErrorCode.NotFound or ErrorCode.InvalidArgument or ErrorCode.PreconditionFailed)
            {
                await AnswerAsync(question.Rollout, question.Metric, question.Pipeline, question.AskedAt, null, e.Sentence, ct);
            }

            return;
        }

        var rollout = entry.Read<RolloutChanged>();
        if (entry.Kind == Serving.Events.RolloutAborted)
        {
            foreach (var run in (await runs.ListAsync(null, 1000, ct)).Where(run => run.FinishedAt is null && run.StartedBy == Jobs.Principal && run.Causes.Contains(entry.Subject)))
            {
                await runs.CancelAsync(Jobs, run.Id, ct);
            }

            return;
        }

        try
        {
            await StartAsync(
                rollout.Pipeline!, FormattableString.Invariant($"{JobKey}/{rollout.Rollout}/{rollout.Attempt}/{rollout.Step}"), entry.Subject, rollout.Rollout, rollout.Endpoint, rollout.Candidate, rollout.Stable, ct);
        }
        catch (SlipwayException e) when (e.Code is ErrorCode.NotFound or ErrorCode.InvalidArgument or ErrorCode.PreconditionFailed)
        {
            await AnswerAsync(rollout.Rollout, rollout.Attempt, rollout.Step, false, e.Sentence, ct);
        }
    }

    private async Task StartAsync(string pipeline, string key, Subject cause, string rollout, string endpoint, string candidate, string stable, CancellationToken ct)
    {
        var start = new StartRun { Causes = [cause], Key = key };
        foreach (var step in (await pipelines.GetAsync(pipeline, ct)).Spec.Steps.Where(step => step.Kind == StepSpec.CommandKind))
        {
            // A command must know what it is to try.
            start = start.With($"{step.Name}.environment", new Dictionary<string, string>(step.Read<CommandParameters>().Environment, StringComparer.Ordinal)
            {
                ["SLIPWAY_ROLLOUT"] = rollout,
                ["SLIPWAY_ENDPOINT"] = endpoint,
                ["SLIPWAY_CANDIDATE"] = candidate,
                ["SLIPWAY_STABLE"] = stable,
            });
        }

        await runs.StartAsync(Jobs, pipeline, start, ct);
    }

    private async Task AnswerAsync(string rollout, string metric, string pipeline, long askedAt, int? exitCode, string why, CancellationToken ct)
    {
        try
        {
            await rollouts.AnswerMetricAsync(rollout, metric, pipeline, askedAt, exitCode, why, ct);
        }
        catch (SlipwayException e) when (e.Code == ErrorCode.NotFound)
        {
            Log.Unasked(log, rollout, why);
        }
    }

    private async Task AnswerAsync(string rollout, int attempt, int step, bool succeeded, string why, CancellationToken ct)
    {
        try
        {
            await rollouts.AnswerJobAsync(Jobs, rollout, attempt, step, succeeded, why, ct);
        }
        catch (SlipwayException e) when (e.Code == ErrorCode.NotFound)
        {
            Log.Unasked(log, rollout, why);
        }
    }

    public async Task OnFinishedAsync(JournalEntry entry, CancellationToken ct)
    {
        var rollout = entry.Read<RolloutChanged>();
        var serves = rollout.Serves ?? rollout.Candidate;
        try
        {
            await WatchAsync(rollout.Endpoint, serves, ct);
        }
        catch (SlipwayException e) when (e.Code is ErrorCode.NotFound or ErrorCode.Conflict or ErrorCode.InvalidArgument)
        {
            // Somebody removed the version or watches it in another way. The monitor of the version before stays, and later entries are not held up.
            Log.Unwatched(log, serves, rollout.Endpoint, e.Sentence);
        }
    }

    public async Task OnCreatedAsync(JournalEntry entry, CancellationToken ct)
    {
        var (endpoint, modelVersion) = (entry.Subject.Name, entry.Read<EndpointCreated>().ModelVersion);
        try
        {
            var version = await models.ResolveAsync(modelVersion, ct);
            // A model that has a champion already, on another endpoint or from before, keeps it.
            if ((await models.GetAsync(version.Name, ct)).Aliases.All(a => a.Alias != Champion))
            {
                await models.SetAliasAsync(Self, version.Name, Champion, version.Version, ct);
            }
        }
        catch (SlipwayException e) when (e.Code is ErrorCode.PreconditionFailed or ErrorCode.NotFound)
        {
            // The registry has its own rule for this alias, or the version is gone; what is served stays as it is.
            Log.Uncrowned(log, modelVersion, endpoint, e.Sentence);
        }

        try
        {
            await WatchByDefaultAsync(endpoint, modelVersion, ct);
        }
        catch (SlipwayException e) when (e.Code is ErrorCode.NotFound or ErrorCode.Conflict or ErrorCode.InvalidArgument)
        {
            Log.Unwatched(log, modelVersion, endpoint, e.Sentence);
        }
    }

    /// <summary>
    /// Candidates and variants are watched while they have a share of the traffic, and mirrors by their answers to copies of requests: these reach no caller, so
    /// the monitor is one of its own, which ends when the mirror does.
    /// </summary>
    public async Task OnChangedAsync(JournalEntry entry, CancellationToken ct)
    {
        // What the route is now counts, so that an entry that comes late brings nothing back.
        if ((await endpoints.ListAsync(ct)).FirstOrDefault(e => e.Name == entry.Subject.Name) is not { } endpoint)
        {
            return;
        }

        var route = endpoint.Route.Variants;
        var stable = route[0].ModelVersion;
        string[] served = [.. route.Where((v, i) => i == 0 || v.Percent > 0).Select(v => v.ModelVersion).Distinct(StringComparer.Ordinal)];
        string[] mirrored = [.. route.Where(v => endpoint.Route.Mirrors?.Any(m => m.Variant == v.Name) == true).Select(v => v.ModelVersion).Except(served).Distinct(StringComparer.Ordinal)];
        var all = (await monitors.ListAsync(ct)).Where(m => m.Endpoint == endpoint.Name).ToList();
        var whole = all.Where(m => m.StoppedAt is null && m.Scope.IsWhole).ToList();
        foreach (var (version, scope) in served.Select(v => (v, MonitorScope.All)).Concat(mirrored.Select(v => (v, Copies))))
        {
            // The newest one tells; somebody who stopped watching the version meant it.
            var last = all.FirstOrDefault(m => m.ModelVersion == version && m.Scope.Shadow == scope.Shadow && m.Scope.Segment is null);
            if (last is null or { StoppedBy: Monitors.ByDefault })
            {
                try
                {
                    await WatchLikeAsync(whole.FirstOrDefault(m => m.ModelVersion == stable) ?? whole.FirstOrDefault(), endpoint.Name, version, scope, ct);
                }
                catch (SlipwayException e) when (e.Code is ErrorCode.NotFound or ErrorCode.Conflict or ErrorCode.InvalidArgument)
                {
                    Log.Unwatched(log, version, endpoint.Name, e.Sentence);
                }
            }
        }

        // What somebody watches on purpose goes on until they stop it.
        foreach (var idle in all.Where(m => m is { StoppedAt: null, CreatedBy: Monitors.ByDefault } && (m.Scope.Shadow ? !mirrored.Contains(m.ModelVersion) : route.All(v => v.ModelVersion != m.ModelVersion))))
        {
            await monitors.StopAsync(Self, idle.Id, ct);
        }
    }

    /// <summary>
    /// Nothing goes live unwatched: drift of every feature and of the outputs, data quality, how requests are served, estimates, and performance as labels
    /// come. Who wants it otherwise watches it in another way, which takes the default's place, or stops it.
    /// </summary>
    private async Task WatchByDefaultAsync(string endpoint, string modelVersion, CancellationToken ct)
    {
        var version = await models.ResolveAsync(modelVersion, ct);
        if (await monitors.FindAsync(endpoint, $"{version.Name}/{version.Version}", ct) is null)
        {
            try
            {
                await references.WatchAsync(Self, endpoint, modelVersion, null, null, null, null, null, null, ct);
            }
            catch (SlipwayException e) when (e.Code == ErrorCode.InvalidArgument)
            {
                // What a client stored as the reference is none: better watched against its first window than not at all.
                Log.Unreadable(log, modelVersion, endpoint, e.Sentence);
                await references.WatchFirstWindowAsync(Self, endpoint, modelVersion, null, null, null, null, null, ct);
            }
        }
    }

    /// <summary>
    /// The monitors of the version before are the pattern for the next one: their windows, thresholds and segments go on, their reference does not. Without such
    /// a monitor somebody has stopped it.
    /// </summary>
    private async Task WatchAsync(string endpoint, string modelVersion, CancellationToken ct)
    {
        var open = (await monitors.ListAsync(ct)).Where(m => m.Endpoint == endpoint && m.StoppedAt is null).ToList();
        foreach (var before in open.Where(m => m.ModelVersion != modelVersion && !m.Scope.Shadow).DistinctBy(m => m.Scope.Segment))
        {
            if (open.All(m => m.ModelVersion != modelVersion || m.Scope.Shadow || m.Scope.Segment != before.Scope.Segment))
            {
                await WatchLikeAsync(before, endpoint, modelVersion, before.Scope, ct);
            }
        }

        foreach (var old in open.Where(m => m.ModelVersion != modelVersion))
        {
            await monitors.StopAsync(Self, old.Id, ct);
        }
    }

    /// <summary>With the windows and thresholds of another version's monitor, against the version's own reference; without a pattern by default.</summary>
    private async Task WatchLikeAsync(Monitoring.Monitor? pattern, string endpoint, string modelVersion, MonitorScope scope, CancellationToken ct)
    {
        if (pattern is null && !scope.Shadow)
        {
            await WatchByDefaultAsync(endpoint, modelVersion, ct);
        }
        else if (await references.FindAsync(endpoint, modelVersion, ct) is { } request)
        {
            // A feature that the new version does not have cannot be watched any more.
            string[]? watched = pattern?.Watched is null ? null : [.. pattern.Watched.Intersect(request.FeatureNames, StringComparer.Ordinal)];
            await monitors.WatchAsync(
                Self,
                request with
                {
                    Watched = watched is { Length: > 0 } ? watched : null,
                    Window = pattern?.Window ?? request.Window,
                    Thresholds = pattern is null ? request.Thresholds : request.Fitting(pattern.Thresholds),
                    ScoreOutput = pattern?.ScoreOutput ?? request.ScoreOutput,
                    PositiveFrom = pattern?.PositiveFrom ?? request.PositiveFrom,
                    Scope = scope,
                },
                ct);
        }
        else
        {
            await references.WatchFirstWindowAsync(Self, endpoint, modelVersion, pattern?.Window, pattern?.Thresholds.WithoutRows(), pattern?.Ranking, pattern?.Forecast, scope, ct);
        }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Warning, "Monitoring of endpoint {Endpoint} did not go over to {ModelVersion}: {Why}")]
        public static partial void Unwatched(ILogger logger, string modelVersion, string endpoint, string why);

        [LoggerMessage(LogLevel.Warning, "Rollout {Rollout} is gone and cannot be told that {Why}")]
        public static partial void Unasked(ILogger logger, string rollout, string why);

        [LoggerMessage(LogLevel.Warning, "{ModelVersion} on endpoint {Endpoint} is compared with its first window: {Why}")]
        public static partial void Unreadable(ILogger logger, string modelVersion, string endpoint, string why);

        [LoggerMessage(LogLevel.Warning, "{ModelVersion} is stable on endpoint {Endpoint} but is not the champion: {Why}")]
        public static partial void Uncrowned(ILogger logger, string modelVersion, string endpoint, string why);
    }
}
