using System.Collections.Concurrent;
using System.Text.Json;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Monitoring;
using Slipway.Registry;
using Slipway.Serving.Routing;
using Slipway.Serving.Runtimes;

namespace Slipway.Serving;

/// <summary>Looks at everything a rollout's next decision depends on.</summary>
internal sealed class RolloutObserver(
    RolloutTransitions transitions, Gates gates, LoadedModels loaded, Routes routes, Deployments deployments, Labels labels, ExperimentObserver experiments, Nodes nodes, Outbound outbound, TimeProvider clock)
{
    // When this node looked last at what takes long to read, by rollout: a look every second would read the log every second.
    private readonly ConcurrentDictionary<string, long> _looked = new(StringComparer.Ordinal);

    // What warm-up requests measured, by rollout: the step waits for other nodes longer than it measures.
    private readonly ConcurrentDictionary<string, (int Attempt, int Step, WarmUp Seen)> _warmed = new(StringComparer.Ordinal);

    // One look reads at most this many labelled predictions of each variant, the newest.
    private const int MaxLabelled = 50_000;

    public async Task<Observation> ObserveAsync(Rollout rollout, CancellationToken ct)
    {
        var (spec, status) = (rollout.Spec, rollout.Status);
        var now = clock.NowMicros();
        if (status.State == RolloutState.Pending)
        {
            var gate = await transitions.MustQueueAsync(rollout, ct) ? GateState.Waiting : await GateAsync(rollout, ct);
            var ready = gate is GateState.Granted or GateState.NotAsked && spec.AutoStart;
            return new(now, gate, ready ? await WarmAsync(rollout, ct) ?? await UnfitAsync(rollout, ct) : null, null, null) { First = rollout.Stable.Length == 0 && routes.Find(rollout.Endpoint) is null };
        }

        if (status.Ended || status.State is RolloutState.Aborting or RolloutState.RollingBack)
        {
            _looked.TryRemove(rollout.Id, out _);
            _warmed.TryRemove(rollout.Id, out _);
            return new(now, GateState.NotAsked, null, null, null);
        }

        var seen = new Observation(now, GateState.NotAsked, null, null, null)
        {
            LeaseLost = await IsLostAsync(rollout, now, ct),
            SupersededBy = spec.OnNewVersion == NewVersionRule.Supersede ? await SuccessorAsync(rollout, ct) : null,
        };
        var step = Present(spec, status);
        if (step is { Kind: "setWeight" } && RolloutPlan.IsSet(spec, status))
        {
            seen = seen with { Answer = await nodes.ServeAsync(rollout.Endpoint, spec.Leased.Duration, 1, ct) };
        }
        else if (step is { Kind: "warm" } && status.Weights is not null)
        {
            var warm = await WarmAsync(rollout, step, ct);
            seen = seen with { Answer = warm is { Done: true } && await nodes.ServeAsync(rollout.Endpoint, spec.Leased.Duration, step.MinReady ?? 1, ct) is { Done: false } others ? others : warm };
        }
        else if (step is { Kind: "webhook" })
        {
            seen = seen with { Answer = await AskAsync(rollout, step, ct) };
        }

        if (status.ExposedSince > 0)
        {
            seen = seen with { Guardrails = Analysis.Guardrails(spec.Guardrails, await SampleAsync(rollout, status.ExposedSince, null, ct), status.Memory) };
        }

        if (step is { Kind: "analysis", Background: false })
        {
            seen = seen with { Analysis = await JudgeAsync(rollout, step.Analysis ?? spec.Guardrails, status.StepSince, status.Memory, ct) };
        }

        if (step is { Kind: "experiment" or "bandit" or "compare" } && IsDue(rollout, step))
        {
            seen = step.Kind switch
            {
                "experiment" => seen with { Experiment = await experiments.LookAsync(rollout, spec.Experiment!, status.Experiment ?? AnalysisMemory.Empty, ct) },
                "bandit" => seen with { Bandit = await experiments.WeighAsync(rollout, spec.Bandit!, ct) },
                _ => seen with { Shadow = await experiments.ShadowAsync(rollout, step.Variant, ct) },
            };
        }

        if (status.BakingSince > 0 && spec.BakeAnalysis is { } bake)
        {
            seen = seen with { Bake = await JudgeAsync(rollout, bake, status.BakingSince, status.Memory, ct) };
        }

        if (status.Background is { Count: > 0 } running)
        {
            var looks = new Dictionary<int, AnalysisReport>();
            foreach (var (index, background) in running)
            {
                looks[index] = await JudgeAsync(rollout, spec.Steps[index].Analysis ?? spec.Guardrails, background.Since, background.Memory, ct);
            }

            seen = seen with { Background = looks };
        }

        return seen;
    }

    /// <summary>
    /// Whether nobody has renewed the route's lease in time. The last transition counts as a renewal, because a revision gives every node the whole
    /// duration again.
    /// </summary>
    private async Task<bool> IsLostAsync(Rollout rollout, long now, CancellationToken ct)
    {
        var lease = rollout.Spec.Leased;
        return !lease.Freeze && rollout.Status.Weights is not null
            && now - Time.ToMicros(rollout.UpdatedAt) > lease.Duration.Ticks / TimeSpan.TicksPerMicrosecond
            && (await deployments.CurrentAsync(ct)).FirstOrDefault(row => row.Name == rollout.Endpoint)?.LeaseUntil < now;
    }

    /// <summary>
    /// One look at an analysis. Before anything is exposed the variant is judged by what its preview did; without that it has no data, and says so
    /// instead of waiting in silence.
    /// </summary>
    private async Task<AnalysisReport> JudgeAsync(Rollout rollout, AnalysisSpec analysis, long stepSince, AnalysisMemory memory, CancellationToken ct)
    {
        var since = rollout.Status.ExposedSince > 0 ? rollout.Status.ExposedSince : rollout.Status.PreviewSince;
        var nobody = new ArmHealth(0, 0, double.NaN);
        var sample = since == 0 ? new(nobody, nobody) : await SampleAsync(rollout, since, stepSince, ct);
        var report = Analysis.Judge(analysis, since > 0 && analysis.Quality.Count > 0 ? await WithQualityAsync(rollout, analysis, sample, ct) : sample, memory);
        return await experiments.MeasureAsync(rollout, analysis, report, stepSince, ct);
    }

    // A command wakes the worker between two looks; the next one is due when it was.
    private bool IsDue(Rollout rollout, RolloutStep step)
    {
        var interval = step.Kind switch { "experiment" => rollout.Spec.Experiment!.Interval, "bandit" => rollout.Spec.Bandit!.Interval, _ => (rollout.Spec.Shadow ?? new()).Interval };
        var (now, since) = (clock.NowMicros(), Math.Max(_looked.GetValueOrDefault(rollout.Id), rollout.Status.StepSince));
        // The first look of a bandit waits for an interval of rewards, those of the others only count.
        if (now - since < interval.Ticks / TimeSpan.TicksPerMicrosecond && (step.Kind == "bandit" || since > rollout.Status.StepSince))
        {
            return false;
        }

        _looked[rollout.Id] = now;
        return true;
    }

    /// <summary>
    /// The first candidate against the baseline slice if there is one, else stable. A candidate with all the traffic is compared with what stable did just
    /// before: afterwards stable does nothing.
    /// </summary>
    private async Task<AnalysisSample> SampleAsync(Rollout rollout, long since, long? stepSince, CancellationToken ct)
    {
        var candidate = rollout.Status.Winner ?? rollout.Spec.First;
        var compared = rollout.Variants.FirstOrDefault(variant => variant.Role == VariantRole.Baseline)?.Name ?? "stable";
        var before = rollout.Spec.Kind == RolloutKind.BlueGreen && rollout.Status.BakingSince > 0 ? Time.FromMicros(since) - TimeSpan.FromSeconds(Health.Seconds / 3) : Time.FromMicros(since);
        var health = await nodes.HealthAsync(rollout.Endpoint, before, rollout.Spec.Leased.Duration, ct);
        return new(
            Arm(compared, before), Arm(candidate, Time.FromMicros(since)),
            Fresh: stepSince is { } from ? Arm(candidate, Time.FromMicros(from)).Requests : null, Counted: health.Counted, Missing: health.Missing);

        ArmHealth Arm(string variant, DateTimeOffset from)
        {
            var counts = health.Count(variant, from);
            var seen = counts.Read();
            return new(seen.Requests, seen.Errors, seen.P95Micros ?? double.NaN) { Counts = counts };
        }
    }

    /// <summary>
    /// Both variants' labelled predictions between the candidate's first and last labelled event: the same calendar cut for both, so that neither
    /// is judged by younger labels or another season.
    /// </summary>
    private async Task<AnalysisSample> WithQualityAsync(Rollout rollout, AnalysisSpec analysis, AnalysisSample sample, CancellationToken ct)
    {
        var candidate = (await labels.ReadAsync(rollout.Endpoint, rollout.Successor, null, null, MaxLabelled, ct)).Where(row => row.Variant == (rollout.Status.Winner ?? rollout.Spec.First)).ToList();
        if (candidate.Count == 0)
        {
            return sample;
        }

        var (first, last) = (candidate.Min(row => row.At), candidate.Max(row => row.At));
        var stable = (await labels.ReadAsync(rollout.Endpoint, rollout.Stable, first, last.AddTicks(TimeSpan.TicksPerMicrosecond), MaxLabelled, ct)).Where(row => row.Variant == "stable");
        return sample with { StableQuality = Quality(stable), CandidateQuality = Quality(candidate) };

        ArmQuality Quality(IEnumerable<LabelledPrediction> rows) => ArmQuality.Of([.. rows.Select(row =>
        {
            var at = analysis.ScoreOutput < 0 ? row.Outputs.Count + analysis.ScoreOutput : analysis.ScoreOutput;
            return new LabelledScore(at >= 0 && at < row.Outputs.Count ? row.Outputs[at] : double.NaN, row.Label >= analysis.PositiveFrom);
        })]);
    }

    /// <summary>The gate under the rollout's policy: every candidate must have passed it. A granted gate is verified again against its frozen evidence.</summary>
    public async Task<GateState> GateAsync(Rollout rollout, CancellationToken ct)
    {
        if (rollout.Policy is not { } policy)
        {
            return GateState.NotAsked;
        }

        var together = GateState.Granted;
        foreach (var variant in rollout.Variants.Where(variant => variant.Role == VariantRole.Candidate))
        {
            switch (await GateAsync(variant.ModelVersion, policy, ct))
            {
                case GateState.Denied:
                    return GateState.Denied;
                case not GateState.Granted:
                    together = GateState.Waiting;
                    break;
            }
        }

        return together;
    }

    private async Task<GateState> GateAsync(string modelVersion, string policy, CancellationToken ct)
    {
        var subject = new Subject("model-version", modelVersion);
        var latest = (await gates.ListAsync(subject.ToString(), null, ct)).Where(request => request.Policy == policy).MaxBy(request => request.RequestedAt);
        switch (latest?.State)
        {
            case "granted":
                try
                {
                    await gates.DemandGrantedAsync(subject, policy, ct);
                    return GateState.Granted;
                }
                catch (SlipwayException stale) when (stale.Code == ErrorCode.PreconditionFailed)
                {
                    // The stored decision no longer follows from the policy and the evidence, so a new one is waited for.
                    return GateState.Waiting;
                }

            case "denied":
                return GateState.Denied;
            default:
                return GateState.Waiting;
        }
    }

    /// <summary>Whether a version is in this node's memory, so that it can serve at once.</summary>
    public bool IsWarm(string endpoint, string modelVersion) => loaded.IsLoaded(modelVersion, routes.Find(endpoint)?.Table?.Spec.Settings?.Runtime);

    // The step whose verdict is waited for, whether or not the rollout stands still for it.
    private static RolloutStep? Present(RolloutSpec spec, RolloutStatus status) =>
        status.Step < spec.Steps.Count && status is { State: RolloutState.Progressing } or { State: RolloutState.Paused, Pause: PauseReason.NoData or PauseReason.Inconclusive } ? spec.Steps[status.Step] : null;

    private async Task<string?> SuccessorAsync(Rollout rollout, CancellationToken ct) =>
        await transitions.NewerAsync(rollout, ct) is { } newer && await GateAsync(newer, ct) is GateState.Granted or GateState.NotAsked ? newer.Id : null;

    private async Task<string?> WarmAsync(Rollout rollout, CancellationToken ct)
    {
        var runtime = routes.Find(rollout.Endpoint)?.Table?.Spec.Settings?.Runtime;
        foreach (var variant in rollout.Variants.Where(variant => variant.Role == VariantRole.Candidate))
        {
            try
            {
                loaded.Unpin(await loaded.PinAsync(variant.ModelVersion, runtime, ct));
            }
            catch (SlipwayException failure) when (failure.Code is ErrorCode.InvalidArgument or ErrorCode.NotFound or ErrorCode.DataLoss)
            {
                return $"{variant.ModelVersion} cannot be loaded: {failure.Sentence}";
            }
        }

        return null;
    }

    /// <summary>
    /// Why a candidate does not take the requests that stable takes, naming what comes and what it expects; null if it does, or if the plan allows other inputs.
    /// A stable version that cannot be loaded takes none.
    /// </summary>
    public async Task<string?> UnfitAsync(Rollout rollout, CancellationToken ct)
    {
        var served = routes.Find(rollout.Endpoint)?.Table?.Spec.Stable.ModelVersion ?? rollout.Stable;
        if (rollout.Spec.AllowOtherInputs || served.Length == 0 || await SignatureAsync(rollout.Endpoint, served, ct) is not { } stable)
        {
            return null;
        }

        foreach (var variant in rollout.Variants.Where(variant => variant.Role == VariantRole.Candidate))
        {
            if (await SignatureAsync(rollout.Endpoint, variant.ModelVersion, ct) is { } candidate && InputFit.Faults(stable, candidate) is { Count: > 0 } faults)
            {
                return $"{variant.ModelVersion} does not take the requests that {served} takes: {string.Join("; ", faults)}; register a version with the same inputs, or allow other ones in the plan (allowOtherInputs: true, on the command line --allow-other-inputs)";
            }
        }

        return null;
    }

    private async Task<ModelSignature?> SignatureAsync(string endpoint, string modelVersion, CancellationToken ct)
    {
        var runtime = routes.Find(endpoint)?.Table?.Spec.Settings?.Runtime;
        try
        {
            var model = await loaded.PinAsync(modelVersion, runtime, ct);
            var signature = model.Signature;
            loaded.Unpin(model);
            return signature;
        }
        catch (SlipwayException failure) when (failure.Code is ErrorCode.InvalidArgument or ErrorCode.NotFound or ErrorCode.DataLoss)
        {
            // Whoever is to serve it says so; nothing can be held against inputs that nobody knows.
            return null;
        }
    }

    // The route names the variant already, so every node loads it; this node says what it measured.
    private async Task<StepAnswer?> WarmAsync(Rollout rollout, RolloutStep step, CancellationToken ct)
    {
        var variant = step.Variant ?? rollout.Spec.First;
        if (routes.Find(rollout.Endpoint)?.Table?.Variants.FirstOrDefault(live => live.Name == variant) is not { } live)
        {
            return null;
        }

        var millis = live.Model.Traits.CallMicros / 1000;
        var measured = double.IsFinite(millis) ? FormattableString.Invariant($"{live.ModelVersion} is loaded, a call takes {millis:0.###} ms") : $"{live.ModelVersion} is loaded, its calls could not be measured";
        if (step.MaxMillis is { } most && !(millis <= most))
        {
            return new(false, true, FormattableString.Invariant($"{measured}; accepted are {most:0.###} ms"));
        }

        return (step.Requests ?? (step.MaxP99Millis is null ? 0 : 100)) is > 0 and var requests ? Judge(step, measured, await WarmUpAsync(rollout, live.Model, requests, ct)) : new(true, false, measured);
    }

    private async Task<WarmUp> WarmUpAsync(Rollout rollout, LoadedModel model, int requests, CancellationToken ct)
    {
        var (attempt, step) = (rollout.Status.Attempt, rollout.Status.Step);
        if (_warmed.TryGetValue(rollout.Id, out var known) && (known.Attempt, known.Step) == (attempt, step))
        {
            return known.Seen;
        }

        var seen = model.TryEnter() ? await WarmUp.RunAsync(model, requests, ct) : new(0, double.NaN, "it is being unloaded");
        _warmed[rollout.Id] = (attempt, step, seen);
        return seen;
    }

    // A p99 that is not known is not under its limit.
    private static StepAnswer Judge(RolloutStep step, string measured, WarmUp seen)
    {
        var why = seen.Fault is { } fault ? $"{measured}; warm-up request {seen.Ran + 1} failed: {fault}" : FormattableString.Invariant($"{measured}, p99 of {seen.Ran} warm-up requests {seen.P99Micros / 1000:0.###} ms");
        return seen.Fault is not null ? new(false, true, why)
            : step.MaxP99Millis is { } limit && !(seen.P99Micros / 1000 <= limit) ? new(false, true, FormattableString.Invariant($"{why}; accepted are {limit:0.###} ms"))
            : new(true, false, why);
    }

    /// <summary>Asks a webhook once. The same attempt of a step has the same idempotency key, so that a repeated call is known to its receiver.</summary>
    private async Task<StepAnswer> AskAsync(Rollout rollout, RolloutStep step, CancellationToken ct)
    {
        var status = rollout.Status;
        var body = JsonSerializer.Serialize(
            new { rollout = rollout.Id, rollout.Endpoint, rollout.Candidate, rollout.Stable, status.Attempt, step = status.Step + 1, status.Percent, status.Weights, at = clock.GetUtcNow() }, CanonicalJson.Options);
        var headers = new Dictionary<string, string>(StringComparer.Ordinal) { ["Idempotency-Key"] = $"{rollout.Id}-{status.Attempt}-{status.Step + 1}", ["Slipway-Event"] = "rollout.step" };
        if (step.Signed && await transitions.SecretAsync(rollout.Id, status.Step, ct) is { } secret)
        {
            headers["Slipway-Signature"] = OutboundSignature.Of(secret, clock.GetUtcNow(), body);
        }

        var answer = await outbound.PostAsync(step.Url!, step.AllowLoopback, body, headers, ct);
        return answer.Delivered ? new(true, false, $"{step.Url} answered {answer.Status}") : new(false, answer.Status is >= 400 and < 500 and not (408 or 425 or 429), $"{step.Url}: {answer.Error}");
    }
}

/// <summary>Takes the rollouts' steps: observe, decide purely, commit, publish; again until there is only waiting left.</summary>
internal sealed class RolloutWork(RolloutTransitions transitions, RolloutObserver observer, Deployments deployments, Routes routes, Nodes nodes, Models models, Wakeups wakeups, TimeProvider clock)
    : IClockedWork
{
    // What this worker renewed last, so that a look every second is not a write every second.
    private readonly ConcurrentDictionary<string, long> _renewed = new(StringComparer.Ordinal);

    public const string WorkKind = "rollout";
    private static readonly Actor Worker = Actor.System("rollout");

    public string Kind => WorkKind;

    public Task<IReadOnlyList<string>> OpenAsync(CancellationToken ct) => transitions.OpenAsync(ct);

    public async Task<DateTimeOffset?> StepAsync(string key, CancellationToken ct)
    {
        // More transitions than a plan has steps in one call would mean a loop in the plan; the next wake-up goes on.
        for (var taken = 0; taken < 250; taken++)
        {
            if (await transitions.FindAsync(key, ct) is not { Status.Ended: false } rollout)
            {
                _renewed.TryRemove(key, out _);
                nodes.Done(key);
                return null;
            }

            nodes.Drive(key);
            var seen = await observer.ObserveAsync(rollout, ct);
            if (RolloutPlan.Next(rollout.Spec, rollout.Status, seen) is not { } transition)
            {
                if ((seen.Analysis ?? seen.Bake ?? seen.Background?.Values.FirstOrDefault() ?? seen.Guardrails) is var look && (look is not null || seen.Findings is not null))
                {
                    await transitions.RememberAsync(rollout, RolloutPlan.Remember(rollout.Status, seen), look, seen.Findings, ct);
                }

                await RenewAsync(rollout, ct);
                return clock.GetUtcNow() + RolloutPlan.LookAgain(rollout.Spec, rollout.Status, clock.NowMicros());
            }

            if (transition.Route == RouteMove.Settle && await CrownAsync(rollout.Successor, ct) is { } refused)
            {
                transition = RolloutPlan.AbortByHand(rollout.Status, refused, clock.NowMicros()).Transition ?? transition;
            }

            if (rollout.Status is { State: RolloutState.RollingBack, UndoneTo: { } earlier } && await CrownAsync(earlier, ct) is { } forbidden)
            {
                transition = transition with { Next = transition.Next with { Cause = $"{rollout.Status.Cause}; the alias champion stays: {forbidden}" } };
            }

            if (transition.Route == RouteMove.Revert)
            {
                routes.Find(rollout.Endpoint)?.Revert(rollout.Id);
            }

            if (await transitions.CommitAsync(Worker, rollout, transition, ct, findings: seen.Findings) is not { } committed)
            {
                continue;
            }

            if (committed.Route is { } route)
            {
                await routes.PublishAsync(route, ct);
            }

            if (committed.Rollout.Status.Ended)
            {
                await WakeQueuedAsync(rollout.Endpoint, ct);
            }
        }

        return clock.GetUtcNow();
    }

    /// <summary>
    /// Keeps the nodes' lease of the route, a third of its duration before they would have to act alone. Not while the rollout stands still because a lease
    /// was lost: the nodes are back on stable, and only a person sends traffic to the candidate again.
    /// </summary>
    private async Task RenewAsync(Rollout rollout, CancellationToken ct)
    {
        var (duration, now) = (rollout.Spec.Leased.Duration.Ticks / TimeSpan.TicksPerMicrosecond, clock.NowMicros());
        if (rollout.Status.Weights is null || rollout.Status.Pause == PauseReason.ControlPlane || now - _renewed.GetValueOrDefault(rollout.Id) < duration / 3)
        {
            return;
        }

        if (await deployments.RenewLeaseAsync(rollout.Endpoint, rollout.Id, now + duration, ct))
        {
            _renewed[rollout.Id] = now;
        }
    }

    // Proposals that waited for the endpoint need not wait for the next sweep.
    private async Task WakeQueuedAsync(string endpoint, CancellationToken ct)
    {
        foreach (var waiting in (await transitions.ListAsync(endpoint, 100, ct)).Where(rollout => rollout.Status.State == RolloutState.Pending))
        {
            await wakeups.WakeAsync(WorkKind, waiting.Id);
        }
    }

    /// <summary>
    /// Moves the alias champion, before the commit so that a crash in between repeats it. Returns why the model's own policy forbids it: a version
    /// that may not be champion may not become stable either.
    /// </summary>
    private async Task<string?> CrownAsync(string candidate, CancellationToken ct)
    {
        var (name, number) = VersionName.Split(candidate);
        try
        {
            await models.SetAliasAsync(Worker, name, "champion", number, ct);
            return null;
        }
        catch (SlipwayException refusal) when (refusal.Code is ErrorCode.PreconditionFailed or ErrorCode.PermissionDenied or ErrorCode.NotFound)
        {
            return $"{candidate} may not become champion: {refusal.Sentence}";
        }
    }
}
