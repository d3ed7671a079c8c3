using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.DependencyInjection;
using Slipway.Data;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Monitoring;
using Slipway.Pipelines;
using Slipway.Pipelines.Training;
using Slipway.Registry;
using Slipway.Serving;

namespace Slipway.Server.Demo;

/// <summary>
/// The closed loop on real flight records, told in seven steps; each ends only when what it claims was verified. What is
/// already there from an earlier, perhaps killed, demo in the same folder is kept, and the story goes on from it.
/// </summary>
public sealed class DemoStory : IAsyncDisposable
{
    private const string Name = "flights";
    private const string Drill = "flights-drill";
    private const int FirstTrainingWeek = 2;
    private const int FirstValidationWeek = 8;
    private const int FirstLiveWeek = 10;
    private const int LastLiveWeek = 24; // week 25 has no Sunday
    private const int MonitorEvery = 10;
    private const int CanaryEvery = 5;
    private static readonly Actor Ada = new(ActorKind.User, "ada");
    private static readonly Actor Grace = new(ActorKind.User, "grace");
    private readonly SlipwayServer server;
    private readonly string sample;
    private readonly Action report;
    private FlightFeatures flights = null!;
    private FlightTable table = null!;
    private FlightTraffic traffic = null!;
    private WebhookReceiver receiver = null!;
    private DateTime now;
    private int committed;

    /// <param name="server">A started server.</param>
    /// <param name="sample">The sample's Parquet file.</param>
    /// <param name="report">Called whenever a step changed.</param>
    public DemoStory(SlipwayServer server, string sample, Action report)
    {
        this.server = server;
        this.sample = sample;
        this.report = report;
    }

    public IReadOnlyList<DemoStep> Steps { get; } =
    [
        new(1, "Version the data"),
        new(2, "Train and register"),
        new(3, "Gate and approve"),
        new(4, "Go live, predict, label"),
        new(5, "Watch the season change"),
        new(6, "Retrain, canary, roll back"),
        new(7, "Prove the whole story"),
    ];

    /// <summary>The alert of the story, once it fired.</summary>
    public string? AlertId { get; private set; }

    /// <summary>One prediction of the retrained model, once there is one.</summary>
    public string? PredictionId { get; private set; }

    /// <exception cref="DemoFailedException">A step did not show what it must.</exception>
    public async Task RunAsync(CancellationToken ct)
    {
        await StepAsync(0, VersionDataAsync, ct);
        await StepAsync(1, TrainAsync, ct);
        await StepAsync(2, ApproveFirstAsync, ct);
        await StepAsync(3, GoLiveAsync, ct);
        await StepAsync(4, WatchAsync, ct);
        await StepAsync(5, CloseTheLoopAsync, ct);
        await StepAsync(6, ProveAsync, ct);
    }

    public async ValueTask DisposeAsync()
    {
        table?.Dispose();
        traffic?.Dispose();
        if (receiver is not null)
        {
            await receiver.DisposeAsync();
        }
    }

    private T Get<T>()
        where T : notnull => server.Services.GetRequiredService<T>();

    private async Task StepAsync(int index, Func<DemoStep, CancellationToken, Task> run, CancellationToken ct)
    {
        var step = Steps[index];
        var started = Stopwatch.GetTimestamp();
        step.State = DemoState.Running;
        report();
        try
        {
            await run(step, ct);
            step.State = DemoState.Verified;
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            step.State = DemoState.Failed;
            step.Doing = e is SlipwayException s ? s.Sentence : e.Message;
            throw e as DemoFailedException ?? new DemoFailedException($"step {step.Number} ({step.Title}): {step.Doing}");
        }
        finally
        {
            step.Took = Stopwatch.GetElapsedTime(started);
            step.Share = null;
            report();
        }
    }

    private void Say(DemoStep step, string doing, double? share = null)
    {
        step.Doing = doing;
        step.Share = share;
        report();
    }

    private void Fact(DemoStep step, string fact)
    {
        step.Facts.Add(fact);
        report();
    }

    private static void Demand(bool holds, string what)
    {
        if (!holds)
        {
            throw new DemoFailedException(what);
        }
    }

    // 1. The first weeks become an immutable dataset version with schema and profile.
    private async Task VersionDataAsync(DemoStep step, CancellationToken ct)
    {
        Say(step, "Reading 1.4 million flights and computing what is known when each leaves the gate");
        flights = await Task.Run(() => FlightFeatures.Read(sample), ct);
        table = await Task.Run(() => new FlightTable(flights, Path.Combine(Get<DataLayout>().Temporary, "demo")), ct);
        var datasets = Get<Datasets>();
        if (await datasets.FindAsync(Name, ct) is null)
        {
            await datasets.CreateAsync(Ada, Name, "US domestic flights of 2001, features known at departure", ct);
        }

        var log = await LogAsync(datasets, ct);
        var version = log.Count > 0 ? log[^1] : null;
        if (version is null)
        {
            Say(step, "Committing weeks 2 to 9");
            version = await CommitWeeksAsync(FirstLiveWeek - 1, ct);
        }

        committed = FirstTrainingWeek + (log.Count > 0 ? log[0].Files.Count : version.Files.Count) - 1;
        Demand(version.Schema is not null && version.Profile is { Rows: > 0 }, "the dataset version has no schema or profile");
        var again = await datasets.GetVersionAsync(Name, version.Id, ct);
        Demand(again.Id == version.Id && again.Files.SequenceEqual(version.Files), "the dataset version is not the one that was committed");
        Fact(step, $"dataset version {version.Id[..12]}: {version.Profile!.Rows:N0} rows, {version.Schema!.Columns.Count} columns, {version.Files.Count} files");
    }

    private static async Task<IReadOnlyList<DatasetVersion>> LogAsync(Datasets datasets, CancellationToken ct)
    {
        try
        {
            return await datasets.LogAsync(Name, "main", 100, ct);
        }
        catch (SlipwayException e) when (e.Code == ErrorCode.NotFound)
        {
            // Before its first commit a data set has no branch.
            return [];
        }
    }

    private Task<DatasetVersion> CommitWeeksAsync(int lastWeek, CancellationToken ct) => Get<Datasets>().CommitAsync(
        Ada,
        Name,
        new CommitRequest { Message = string.Create(CultureInfo.InvariantCulture, $"flights of weeks {FirstTrainingWeek} to {lastWeek} of 2001"), Files = table.Weeks(FirstTrainingWeek, lastWeek) },
        ct);

    // 2. A run trains on it, and a version is registered with its signature and lineage.
    private async Task TrainAsync(DemoStep step, CancellationToken ct)
    {
        var train = new TrainParameters
        {
            Model = Name,
            Experiment = Name,
            Dataset = Name,
            Features = FlightFeatures.Names,
            Categorical = ["day_of_week", "origin_index"],
            Label = "late",
            Time = "departed_utc",
            From = Week(FirstTrainingWeek),
            To = Week(FirstValidationWeek),
            ValidateFrom = Week(FirstValidationWeek),
            ValidateTo = Week(FirstLiveWeek),
            Trainer = new LightGbmParameters { MinRowsPerLeaf = 50 },
        };
        var gate = new GateParameters { Policy = Name };
        var canary = new RolloutParameters
        {
            Endpoint = Name,
            Percents = [10, 50, 100],
            Analysis = new AnalysisSpec { Quality = ["auc"], MinLabels = 300, MaxAucLoss = 0.08, Interval = TimeSpan.FromMilliseconds(500) },
            Bake = TimeSpan.FromSeconds(1),
        };
        var pipelines = Get<Pipelines.Pipelines>();
        var policies = Get<Policies>();
        await policies.ApplyAsync(Grace, Policy(Name, "auc", "0.75", nonInferior: true), ct);
        await policies.ApplyAsync(Grace, Policy(Drill, "accuracy", "0.70", nonInferior: false), ct);
        await pipelines.ApplyAsync(Ada, new PipelineSpec("flights-first", [StepSpec.Train(train), StepSpec.Gate(gate)]), ct);
        await pipelines.ApplyAsync(Ada, new PipelineSpec("flights-retrain", [StepSpec.Train(train), StepSpec.Gate(gate), StepSpec.ProposeRollout(canary)]), ct);
        await pipelines.ApplyAsync(Ada, new PipelineSpec(Drill, [StepSpec.Train(train with { ShuffleLabels = true }), StepSpec.Gate(new GateParameters { Policy = Drill }), StepSpec.ProposeRollout(canary with { Policy = Drill })]), ct);
        await Get<Triggers>().ApplyAsync(
            Ada,
            new TriggerSpec
            {
                Name = "flights-decay",
                Pipeline = "flights-retrain",
                Match = new TriggerMatch(Endpoint: Name, Metric: "auc"),
                CoolDown = TimeSpan.FromHours(24),
                Window = new TrailingWindow(TimeSpan.FromDays(42), TimeSpan.FromDays(14)),
            },
            ct);

        var run = await WaitForPipelineAsync(step, (await Get<PipelineRuns>().StartAsync(Ada, "flights-first", new StartRun { Key = "demo-first" }, ct)).Id, ct);
        var version = await Get<Models>().ResolveAsync(run.ModelVersion!, ct);
        var trained = await Get<Registry.Runs>().GetAsync(version.RunId!, ct);
        Demand(version.Signature is { Inputs.Count: 1 } && version.Signature.FeatureNames?.Count == FlightFeatures.Names.Count, $"{run.ModelVersion} has no signature");
        Demand(trained.Metric("auc") is > 0.75, $"the run's AUC is {trained.Metric("auc")}");
        Fact(step, string.Create(CultureInfo.InvariantCulture, $"{run.ModelVersion}: AUC {trained.Metric("auc"):0.000} on two weeks it has not seen; run {trained.Name} with {trained.Params.Count} parameters, {trained.Metrics.Count} metrics"));
    }

    // 3. The policy decides on frozen evidence; the author cannot approve; somebody else does.
    private async Task ApproveFirstAsync(DemoStep step, CancellationToken ct) => await ApproveAsync(step, $"{Name}/1", Name, alsoTryAuthor: true, ct);

    private async Task ApproveAsync(DemoStep step, string version, string policy, bool alsoTryAuthor, CancellationToken ct)
    {
        var subject = new Subject("model-version", version);
        var request = (await Get<Gates>().ListAsync(subject.ToString(), null, ct)).FirstOrDefault(r => r.Policy == policy)
            ?? throw new DemoFailedException($"there is no gate request for {version} under {policy}");
        Demand(request.State != GateRequest.Denied, $"the gate refused {version}: {string.Join("; ", request.Rules.Where(r => r.Outcome != RuleResult.Pass).Select(r => r.Why ?? r.Text))}");
        if (request.State == GateRequest.Pending)
        {
            if (alsoTryAuthor)
            {
                Say(step, "The author tries to approve her own version");
                var refused = false;
                try
                {
                    await Get<Approvals>().DecideAsync(Ada, request.Id, approve: true, "I trust my own work", request.EvidenceDigest, ct);
                }
                catch (SlipwayException e) when (e.Code == ErrorCode.PermissionDenied)
                {
                    refused = true;
                }

                Demand(refused, "the author could approve her own version");
            }

            request = await Get<Approvals>().DecideAsync(Grace, request.Id, approve: true, "evidence read, numbers plausible", request.EvidenceDigest, ct);
        }

        Demand(request.State == GateRequest.Granted, $"the gate request of {version} is {request.State}");
        if (alsoTryAuthor)
        {
            var journal = await Get<Journal>().ListAsync(new JournalFilter { Kind = "approval.refused", Limit = 1000 }, ct);
            Demand(journal.Items.Any(e => e.Actor.Name == Ada.Name && e.Outcome == "denied" && e.Reason == "sod.author"), "the refused self-approval is not in the journal");
            Fact(step, "ada's own approval was refused (sod.author) and stands in the journal");
        }

        Fact(step, $"{version} granted under policy {policy}: {string.Join(", ", request.Rules.Select(r => $"{r.Text} (measured {r.Measured})"))}; approved by {string.Join(", ", request.Votes.Where(v => v.Approve).Select(v => v.Voter))}");
    }

    // A story waits less than a team does.
    private const string DemoRouting = """
        apiVersion: slipway.dev/routing/v1
        kind: AlertRouting
        route:
          receiver: demo-webhook
          groupBy: [model, version, window]
          groupWait: 1s
          groupInterval: 30s
          resolveFast: true
        """;

    // 4. The version goes live; later weeks are traffic; outcomes follow as labels.
    private async Task GoLiveAsync(DemoStep step, CancellationToken ct)
    {
        receiver = await WebhookReceiver.StartAsync(ct);
        await Get<Receivers>().SetAsync(Ada, "demo-webhook", new ReceiverRequest(ReceiverKind.Webhook, receiver.Url, WebhookReceiver.Secret, AllowLoopback: true), ct);
        await Get<AlertRoutes>().ApplyAsync(Ada, DemoRouting, ct);
        var endpoints = Get<Endpoints>();
        if ((await endpoints.ListAsync(ct)).All(e => e.Name != Name))
        {
            await endpoints.CreateAsync(Ada, new CreateEndpoint { Name = Name, ModelVersion = $"{Name}/1", Policy = Name }, ct);
        }

        var monitors = Get<Monitors>();
        if ((await monitors.ListAsync(ct)).All(m => m.Endpoint != Name))
        {
            var watch = await Get<References>().FindAsync(Name, $"{Name}/1", ct) ?? throw new DemoFailedException("the first version has no stored reference");
            await monitors.WatchAsync(Ada, watch with { Window = WindowRule.Week(), Thresholds = new Thresholds { AucDrop = 0.05, AlertFrom = DriftLevel.Major } }, ct);
        }

        traffic = new FlightTraffic(flights, server.Urls[0], Name, Get<Labels>(), Get<Predictions>());
        now = FlightFeatures.WeekStartUtc(FirstLiveWeek);
        if (await Get<Predictions>().ExtentAsync(Name, null, ct) is { } extent)
        {
            // An earlier demo got this far: go on at the day after its last prediction, and deliver outcomes it may have owed.
            now = extent.Last.UtcDateTime.Date.AddDays(1).AddHours(8);
            var canary = (await Get<Rollouts>().ListAsync(Name, ct)).Count > 0;
            traffic.Recall(now.AddDays(-3), now, canary ? CanaryEvery : MonitorEvery);
        }
        else
        {
            Say(step, "Replaying the first week against POST /v2/models/flights/infer");
            await ReplayDaysAsync(step, 7, MonitorEvery, ct);
        }

        var seen = await Get<Predictions>().ExtentAsync(Name, null, ct) ?? throw new DemoFailedException("no prediction was logged");
        var labels = await Get<Labels>().CountAsync(Name, ct);
        Demand(traffic.Failed == 0, $"{traffic.Failed} of {traffic.Sent} requests failed: {traffic.LastFailure}");
        Demand(labels.GetValueOrDefault("joined") > 0, "no label was joined with its prediction");
        Fact(step, $"{seen.Rows:N0} predictions logged, {labels.GetValueOrDefault("joined"):N0} outcomes joined, no failed request");
    }

    // 5. Windows are compared with the reference until the realized AUC decays and an alert fires.
    private async Task WatchAsync(DemoStep step, CancellationToken ct)
    {
        var alert = await FindAlertAsync(ct);
        while (alert is null && now < FlightFeatures.WeekStartUtc(LastLiveWeek))
        {
            await ReplayDaysAsync(step, 1, MonitorEvery, ct);
            await CommitReadyWeeksAsync(step, ct);
            await EvaluateAsync(ct);
            alert = await FindAlertAsync(ct);
        }

        Demand(alert is not null, "no alert on the realized AUC fired");
        AlertId = alert!.Id;
        var monitor = (await Get<Monitors>().ListAsync(ct)).First(m => m.Endpoint == Name && m.ModelVersion == $"{Name}/1");
        var points = await Get<Monitors>().PointsAsync(monitor.Id, ct);
        var moved = points.Where(p => p.Metric == "psi" && p.State == PointState.Alert && p.WindowStart == alert.WindowStart).OrderByDescending(p => p.Value).Take(3).ToList();
        Demand(moved.Count > 0, "no feature moved in the alert's window");
        var auc = points.Where(p => p.Metric == "auc" && p.Value is not null).OrderBy(p => p.WindowStart).ToList();
        Demand(auc.Count > 0 && auc[^1].Value < monitor.ReferenceAuc, "the realized AUC did not fall");
        Fact(step, string.Create(CultureInfo.InvariantCulture, $"realized AUC by week: {string.Join(" ", auc.Select(p => p.Value!.Value.ToString("0.000", CultureInfo.InvariantCulture)))} (reference {monitor.ReferenceAuc:0.000})"));
        Fact(step, string.Create(CultureInfo.InvariantCulture, $"moved most in that week: {string.Join(", ", moved.Select(p => $"{p.Column} (PSI {p.Value:0.00})"))} on {moved[0].N:N0} rows"));
        Fact(step, $"alert: {alert.Sentence}");
        await WaitAsync(step, "waiting for the webhook", async () => (await Get<Alerts>().NotificationsAsync(alert.Id, ct)).Any(n => n.State == "delivered"), TimeSpan.FromSeconds(30), ct);
        Demand(receiver.Refused == 0, $"{receiver.Refused} deliveries had a wrong signature");
        Fact(step, receiver.Bodies.Count > 0 ? $"webhook delivered, {receiver.Bodies.Count} signature(s) verified by the receiver" : "webhook delivered in an earlier run of this demo");
    }

    // 6. The alert retrains, people approve, the canary walks up; a bad version is rolled back by itself.
    private async Task CloseTheLoopAsync(DemoStep step, CancellationToken ct)
    {
        TriggerDecision? fired = null;
        await WaitAsync(step, "The alert starts the pipeline", async () => (fired = (await Get<Triggers>().DecisionsAsync("flights-decay", ct)).FirstOrDefault(d => d.Fired)) is not null, TimeSpan.FromSeconds(30), ct);
        Fact(step, $"trigger flights-decay: {fired!.Reason}");
        var run = await WaitForPipelineAsync(step, fired.Run!, ct);
        await ApproveAsync(step, run.ModelVersion!, Name, alsoTryAuthor: false, ct);
        var rollout = await RolloutAsync(step, run.ModelVersion!, ct);
        Demand(rollout.Status.State == RolloutState.Healthy, $"the canary of {run.ModelVersion} ended {rollout.Status.State}: {rollout.Status.Cause}");
        var endpoint = await Get<Endpoints>().GetAsync(Name, ct);
        Demand(endpoint.ModelVersion == run.ModelVersion || await WasReplacedAsync(run.ModelVersion!, ct), $"the endpoint serves {endpoint.ModelVersion}, not {run.ModelVersion}");
        var weights = (await Get<Rollouts>().TimelineAsync(rollout.Id, ct)).Select(e => e.Percent).Where(p => p > 0).Distinct().ToList();
        Demand(weights.Contains(10) && weights.Contains(50) && weights.Contains(100), $"the canary went {string.Join(" → ", weights)} %");
        Fact(step, $"{run.ModelVersion} went {string.Join(" → ", weights.Select(w => $"{w:0} %"))} with an analysis between the steps");
        var champion = run.ModelVersion!;

        Say(step, "A bad version, trained on shuffled labels, gets past a weak policy");
        var bad = await WaitForPipelineAsync(step, (await Get<PipelineRuns>().StartAsync(
            Ada,
            Drill,
            new StartRun { Key = "demo-drill" }.With("train.from", DriftedWindow(0)).With("train.to", DriftedWindow(1)).With("train.validateFrom", DriftedWindow(1)).With("train.validateTo", DriftedWindow(2)),
            ct)).Id, ct);
        await ApproveAsync(step, bad.ModelVersion!, Drill, alsoTryAuthor: false, ct);
        var failures = traffic.Failed;
        var back = await RolloutAsync(step, bad.ModelVersion!, ct);
        Demand(back.Status.State == RolloutState.Aborted, $"the bad version ended {back.Status.State}: {back.Status.Cause}");
        Demand((await Get<Endpoints>().GetAsync(Name, ct)).ModelVersion == champion, "the bad version became stable");
        Demand(traffic.Failed == 0 && failures == 0, $"{traffic.Failed} of {traffic.Sent} requests failed: {traffic.LastFailure}");
        Fact(step, $"{bad.ModelVersion} was rolled back by itself: {back.Status.Cause}");
        Fact(step, $"{traffic.Sent:N0} requests in this run, {traffic.Failed} failed");
    }

    // 7. The journal verifies, and one prediction leads back to its data.
    private async Task ProveAsync(DemoStep step, CancellationToken ct)
    {
        var report = await Get<Journal>().VerifyAsync(ct);
        Demand(report.Intact, $"the journal does not verify: {string.Join("; ", report.Findings)}");
        Fact(step, $"journal intact: {report.Entries:N0} entries, root {report.Root[..16]}, {report.Took.TotalMilliseconds:0} ms");
        var stable = (await Get<Endpoints>().GetAsync(Name, ct)).ModelVersion;
        var prediction = (await Get<Predictions>().ListAsync(Name, null, null, 500, ct)).FirstOrDefault(p => p.ModelVersion == stable) ?? throw new DemoFailedException($"no prediction of {stable} is in the log");
        PredictionId = prediction.Id;
        var graph = await Get<Lineage>().OfAsync(new Subject("model-version", prediction.ModelVersion), LineageDirection.Upstream, 10, ct);
        var run = graph.Nodes.FirstOrDefault(n => n.Subject.Kind == "run")?.Subject ?? throw new DemoFailedException("the lineage of the prediction reaches no run");
        var data = graph.Nodes.FirstOrDefault(n => n.Subject.Kind == "dataset-version")?.Subject ?? throw new DemoFailedException("the lineage of the prediction reaches no data");
        var version = await Get<Datasets>().GetVersionAsync(Name, data.Name[(data.Name.IndexOf('/', StringComparison.Ordinal) + 1)..], ct);
        Fact(step, $"{prediction.Id} ({prediction.EntityKey}) ← model-version:{prediction.ModelVersion} ← {run} ← {data.Kind}:{Name}/{version.Id[..12]} ({version.Profile?.Rows:N0} rows)");
    }

    private async Task<bool> WasReplacedAsync(string version, CancellationToken ct) =>
        (await Get<Rollouts>().ListAsync(Name, ct)).Any(r => r.Stable == version && r.Status.State == RolloutState.Healthy);

    /// <summary>Replays traffic until the version's rollout has ended.</summary>
    private async Task<Rollout> RolloutAsync(DemoStep step, string candidate, CancellationToken ct)
    {
        var rollouts = Get<Rollouts>();
        Rollout? rollout = null;
        await WaitAsync(step, $"The rollout of {candidate} starts", async () => (rollout = (await rollouts.ListAsync(Name, ct)).FirstOrDefault(r => r.Candidate == candidate)) is { Status.State: not RolloutState.Pending }, TimeSpan.FromSeconds(30), ct);
        while (!rollout!.Status.Ended)
        {
            Demand(now < FlightFeatures.WeekStartUtc(LastLiveWeek + 1), $"the flights ended while the rollout of {candidate} was {rollout.Status.State}: {rollout.Status.Cause}");
            Say(step, string.Create(CultureInfo.InvariantCulture, $"{candidate} at {rollout.Status.Percent:0} %: {rollout.Status.Cause}"));
            await ReplayDaysAsync(step, 1, CanaryEvery, ct);
            await EvaluateAsync(ct);
            // An analysis looks twice a second; a day of flights should not pass faster than it can look.
            await Task.Delay(600, ct);
            rollout = await rollouts.GetAsync(rollout.Id, ct);
        }

        return rollout;
    }

    private async Task ReplayDaysAsync(DemoStep step, int days, int every, CancellationToken ct)
    {
        for (var day = 0; day < days; day++)
        {
            step.Doing = step.Number == 6 ? step.Doing : string.Create(CultureInfo.InvariantCulture, $"{now:d MMMM yyyy}: {traffic.Sent:N0} flights predicted");
            report();
            await traffic.ReplayAsync(now, now.AddDays(1), every, ct);
            now = now.AddDays(1);
        }
    }

    /// <summary>Weeks whose outcomes are all known become part of the data set, so that a retraining can use them.</summary>
    private async Task CommitReadyWeeksAsync(DemoStep step, CancellationToken ct)
    {
        // A day after the week's end the last of its flights has landed.
        var ready = (int)((now.AddDays(-1) - FlightFeatures.WeekStartUtc(0)).TotalDays / 7) - 1;
        if (ready > committed)
        {
            Say(step, $"Committing week {ready} to the data set");
            await CommitWeeksAsync(ready, ct);
            committed = ready;
        }
    }

    private async Task EvaluateAsync(CancellationToken ct)
    {
        foreach (var monitor in (await Get<Monitors>().ListAsync(ct)).Where(m => m.Endpoint == Name && m.StoppedAt is null))
        {
            await Get<Monitors>().EvaluateAsync(monitor.Id, ct);
        }
    }

    private async Task<Alert?> FindAlertAsync(CancellationToken ct) =>
        (await Get<Alerts>().ListAsync(null, ct)).Where(a => a.Endpoint == Name && a.Members.Any(m => m.Metric == "auc")).OrderBy(a => a.FiredAt).FirstOrDefault();

    private async Task<PipelineRun> WaitForPipelineAsync(DemoStep step, string id, CancellationToken ct)
    {
        var runs = Get<PipelineRuns>();
        PipelineRun run = await runs.GetAsync(id, ct);
        while (run.FinishedAt is null)
        {
            var current = (await runs.StepsAsync(id, ct)).LastOrDefault(s => s.State == StepState.Running);
            Say(step, current is null ? $"{run.Pipeline}" : $"{run.Pipeline} / {current.Name}: {current.Progress}", current is { Done: { } done, Total: > 0 and { } total } ? (double)done / total : null);
            await Task.Delay(200, ct);
            run = await runs.GetAsync(id, ct);
        }

        Demand(run.State == PipelineState.Succeeded && run.ModelVersion is not null, $"pipeline {run.Pipeline} {run.State}: {run.Error}");
        return run;
    }

    private async Task WaitAsync(DemoStep step, string doing, Func<Task<bool>> done, TimeSpan most, CancellationToken ct)
    {
        Say(step, doing);
        for (var started = Stopwatch.GetTimestamp(); !await done();)
        {
            Demand(Stopwatch.GetElapsedTime(started) < most, $"{doing}: nothing after {most.TotalSeconds:0} s");
            await Task.Delay(100, ct);
        }
    }

    private DateTimeOffset DriftedWindow(int part)
    {
        var end = Week(Math.Min(committed + 1, LastLiveWeek));
        return part switch { 0 => end.AddDays(-28), 1 => end.AddDays(-7), _ => end };
    }

    private static DateTimeOffset Week(int week) => new(FlightFeatures.WeekStartUtc(week), TimeSpan.Zero);

    private static string Policy(string name, string metric, string value, bool nonInferior) => $$"""
        apiVersion: slipway.dev/policy/v1
        kind: GatePolicy
        metadata: { name: {{name}} }
        approvals:
          - { stage: risk, require: 1, from: [role:risk-officer] }
        gates:
          - id: {{metric}}-floor
            check: metric_threshold
            with: { metric: {{metric}}, op: ">=", value: "{{value}}", minSamples: 1000 }
        {{(nonInferior ? """
          - id: not-worse
            check: champion_noninferiority
            with: { metric: auc, margin: "0.01", noChampion: pass }
        """ : "")}}
        """;
}
