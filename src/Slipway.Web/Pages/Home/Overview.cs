using Slipway.Data;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Monitoring;
using Slipway.Pipelines;
using Slipway.Registry;
using Slipway.Serving;
using Slipway.Web.Charts;
using Slipway.Web.Parts;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Web.Pages;

/// <summary>What the home page shows. Composed here because no module knows all of it.</summary>
internal sealed record OverviewPicture(IReadOnlyList<OverviewTile> Tiles, IReadOnlyList<WaitingItem> Waiting, IReadOnlyList<ModelLoop> Loops, int Models);

/// <summary>One number of the health strip with the worst state behind it.</summary>
internal sealed record OverviewTile(string Name, int Count, string State, string Words, string Path);

/// <summary>Something that stands still until a person acts.</summary>
internal sealed record WaitingItem(string State, string Text, string Path, DateTimeOffset At);

/// <summary>A live model and the five stages of its life.</summary>
internal sealed record ModelLoop(string Endpoint, string Model, string Version, IReadOnlyList<LoopRing.Stage> Stages);

/// <summary>Reads the state of everything that is live, in a handful of queries a page view.</summary>
internal sealed class Overview(Endpoints endpoints, Rollouts rollouts, Models models, Datasets datasets, Gates gates, Monitors monitors, Alerts alerts, Lineage lineage, PipelineRuns pipelineRuns)
{
    public async Task<OverviewPicture> PictureAsync(Actor actor, CancellationToken ct)
    {
        var live = await endpoints.ListAsync(ct);
        var watched = await monitors.ListAsync(ct);
        var firing = await alerts.ListAsync("firing", ct);
        var pending = await gates.ListAsync(null, GateRequest.Pending, ct);
        var known = await models.ListAsync(ct);
        var moving = new List<Rollout>();
        foreach (var endpoint in live)
            moving.AddRange((await rollouts.ListAsync(endpoint.Name, ct)).Where(r => !r.Status.Ended));

        var running = (await pipelineRuns.ListAsync(null, 50, ct)).Where(r => r.State == PipelineState.Running).ToList();
        var loops = new List<ModelLoop>();
        foreach (var endpoint in live)
            loops.Add(await LoopAsync(endpoint, moving.FirstOrDefault(r => r.Endpoint == endpoint.Name), TrainingFor(endpoint, running, firing, live.Count), watched, firing, ct));

        return new OverviewPicture(Tiles(live, watched, firing, moving, pending, running), Waiting(firing, pending, moving), loops, known.Count);
    }

    private static List<OverviewTile> Tiles(IReadOnlyList<Endpoint> live, IReadOnlyList<Monitor> watched, IReadOnlyList<Alert> firing, List<Rollout> moving, IReadOnlyList<GateRequest> pending, List<PipelineRun> running)
    {
        var down = live.Count(e => !e.Ready);
        var broken = watched.Count(m => m.LastError is not null);
        var paused = moving.Count(r => r.Status.State == RolloutState.Paused);
        return
        [
            new("Endpoints", live.Count, live.Count == 0 ? "idle" : down > 0 ? "bad" : "ok", live.Count == 0 ? "none yet" : down > 0 ? $"{down} not ready" : "all ready", "endpoints"),
            new("Monitors", watched.Count, broken > 0 || firing.Count > 0 ? "bad" : watched.Count == 0 ? "idle" : "ok", firing.Count > 0 ? Say.Count(firing.Count, "alert") : broken > 0 ? $"{broken} failed" : watched.Count == 0 ? "none yet" : "all quiet", firing.Count > 0 ? "alerts" : "monitors"),
            new("Rollouts under way", moving.Count, paused > 0 ? "warn" : moving.Count > 0 ? "busy" : "idle", paused > 0 ? $"{paused} paused" : moving.Count > 0 ? "moving" : "none", moving.Count > 0 ? $"rollouts/{moving[0].Id}" : "endpoints"),
            new("Approvals", pending.Count, pending.Count > 0 ? "wait" : "ok", pending.Count > 0 ? "waiting" : "none open", "governance"),
            new("Pipelines at work", running.Count, running.Count > 0 ? "busy" : "idle", running.Count > 0 ? "running" : "none", running.Count > 0 ? $"pipelines/{running[0].Id}" : "pipelines"),
        ];
    }

    private static List<WaitingItem> Waiting(IReadOnlyList<Alert> firing, IReadOnlyList<GateRequest> pending, List<Rollout> moving) =>
    [
        .. pending.Select(r => new WaitingItem("pending", $"{r.Subject.Name} asks to pass the policy {r.Policy}", $"governance/{r.Id}", r.RequestedAt)),
        .. moving.Where(r => r.Status.State == RolloutState.Paused).Select(r => new WaitingItem("paused", $"The rollout of {r.Candidate} on {r.Endpoint}: {r.Status.Cause}", $"rollouts/{r.Id}", r.UpdatedAt)),
        .. firing.Where(a => a.AcknowledgedBy is null).Select(a => new WaitingItem("firing", a.Sentence, $"alerts/{a.Id}", a.FiredAt)),
    ];

    private async Task<ModelLoop> LoopAsync(Endpoint endpoint, Rollout? rollout, PipelineRun? training, IReadOnlyList<Monitor> watched, IReadOnlyList<Alert> firing, CancellationToken ct)
    {
        var model = endpoint.ModelVersion[..Math.Max(0, endpoint.ModelVersion.LastIndexOf('/'))];
        var versions = (await models.ListVersionsAsync(model, ct)).OrderByDescending(v => v.Version).ToList();
        var newest = versions.FirstOrDefault();
        var request = newest is null ? null : (await gates.ListAsync(newest.Subject.ToString(), null, ct)).MaxBy(g => g.RequestedAt);
        var monitor = watched.Where(m => m.Endpoint == endpoint.Name && m.Scope.IsWhole).MaxBy(m => m.ModelVersion == endpoint.ModelVersion ? DateTimeOffset.MaxValue : m.CreatedAt);
        var alert = firing.Where(a => a.Endpoint == endpoint.Name).MaxBy(a => DriftLevel.Rank(a.Severity));
        return new ModelLoop(endpoint.Name, model, $"version {endpoint.ModelVersion[(model.Length + 1)..]}",
        [
            await DataStageAsync(new Subject("model-version", endpoint.ModelVersion), ct),
            training is not null
                ? new("train", "running", $"the pipeline {training.Pipeline} is at work", SubjectLink.Path(training.Subject), training.CreatedAt)
                : newest is null
                ? new("train", "idle", "no version")
                : new("train", "ok", $"version {newest.Version} is the newest", SubjectLink.Path(newest.Subject), newest.CreatedAt, "trained"),
            request is null
                ? new("gate", "idle", "nobody asked", Word: "not asked")
                : new("gate", request.State, $"version {newest!.Version} under {request.Policy}", $"governance/{request.Id}", request.DecidedAt ?? request.RequestedAt),
            rollout is not null
                ? new("serve", rollout.Status.State.ToString(), $"{rollout.Candidate} at {Say.Percent(rollout.Status.Percent / 100)}", $"rollouts/{rollout.Id}", rollout.UpdatedAt)
                : new("serve", endpoint.Ready ? "ready" : "bad", endpoint.Ready ? $"{endpoint.ModelVersion} has all traffic" : endpoint.Why ?? "not ready", SubjectLink.Path(endpoint.Subject), endpoint.UpdatedAt, endpoint.Ready ? "live" : "down"),
            alert is not null
                ? new("watch", "firing", alert.Sentence, $"alerts/{alert.Id}", alert.FiredAt)
                : monitor is null
                    ? new("watch", "idle", "nothing watches it", Word: "not watched")
                    : monitor.LastError is not null
                        ? new("watch", "failed", monitor.LastError, SubjectLink.Path(monitor.Subject), null, "failed")
                        : monitor.Watermark is { } mark
                            ? new("watch", "ok", $"complete up to {Say.Moment(mark)}", SubjectLink.Path(monitor.Subject), null, "quiet")
                            // Before the first window is judged nothing was measured, and nothing is shown green.
                            : new("watch", "idle", "no window is complete yet", SubjectLink.Path(monitor.Subject), null, "waiting"),
        ]);
    }

    // A retraining belongs to the endpoint whose alert caused it; one started by hand is shown where there is no doubt.
    private static PipelineRun? TrainingFor(Endpoint endpoint, List<PipelineRun> running, IReadOnlyList<Alert> firing, int live)
    {
        var alerts = firing.Where(a => a.Endpoint == endpoint.Name).Select(a => a.Subject).ToHashSet();
        return running.FirstOrDefault(r => r.Causes.Any(alerts.Contains)) ?? (live == 1 ? running.FirstOrDefault() : null);
    }

    private async Task<LoopRing.Stage> DataStageAsync(Subject version, CancellationToken ct)
    {
        try
        {
            var graph = await lineage.OfAsync(version, LineageDirection.Upstream, 2, ct);
            if (graph.Nodes.Where(n => n.Subject.Kind == "dataset-version").OrderByDescending(n => n.Depth).FirstOrDefault() is { } node)
            {
                var at = node.Subject.Name.LastIndexOf('/');
                var commit = await datasets.GetVersionAsync(node.Subject.Name[..at], node.Subject.Name[(at + 1)..], ct);
                return new("data", "ok", SubjectLink.Name(node.Subject), SubjectLink.Path(node.Subject), commit.At, "pinned");
            }
        }
        catch (SlipwayException e) when (e.Code == ErrorCode.NotFound)
        {
            return new("data", "idle", "its data is not on record any more", Word: "unknown");
        }

        return new("data", "idle", "no dataset is linked to the live version", Word: "not linked");
    }
}
