using System.Globalization;
using Slipway.Foundation;
using Slipway.Monitoring;

namespace Slipway.Serving;

/// <summary>
/// Looks at rollouts by what was logged and labelled: experiments, bandits, shadows and the further metrics of analyses. It reads the prediction log and the
/// labels; nothing of it is on the way of a request.
/// </summary>
internal sealed class ExperimentObserver(
    Database database, Journal journal, Deployments deployments, Predictions predictions, Labels labels, Monitors monitors, MetricQueries queries, PredictionQueries sql, Nodes nodes, TimeProvider clock)
{
    private static readonly Actor Self = Actor.System("rollout");
    private static readonly TimeSpan JobPatience = TimeSpan.FromHours(1);

    /// <summary>One look at an A/B test.</summary>
    /// <param name="rollout">Whose variants are compared.</param>
    /// <param name="spec">What is asked.</param>
    /// <param name="memory">What earlier looks established.</param>
    /// <param name="ct">Cancels.</param>
    public async Task<ExperimentReport> LookAsync(Rollout rollout, ExperimentSpec spec, AnalysisMemory memory, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var from = Since(rollout, now);
        var arms = Arms(rollout);
        IReadOnlyList<MetricSpec> metrics = [spec.Primary, .. spec.Secondary, .. spec.Guardrails];
        var reader = new OutcomeReader(labels, rollout.Endpoint, arms, metrics, spec.Unit, spec.AttributionWindow, await WeightsAsync(rollout.Endpoint, arms, ct));
        var adjusted = new List<(int Arm, ulong Hash, double Outcome)>();
        await reader.ReadAsync(from, now, spec.Cuped ? Gather : null, ct);
        var cuped = spec.Cuped ? await AdjustAsync(reader, spec, adjusted, from, ct) : null;
        var data = new ExperimentData(reader.Arms, reader.Expected, cuped, from, now - spec.AttributionWindow, reader.Anonymous, reader.LeftOut, reader.Sampled);
        return Experiment.Judge(spec, data, memory, now);

        void Gather(MatureUnit unit, ReadOnlySpan<UnitOutcome> outcomes)
        {
            if (outcomes[0].Count > 0 || spec.Primary.MissingIsZero)
            {
                adjusted.Add((unit.Arm, unit.Hash, outcomes[0].Count == 0 ? 0 : outcomes[0].Value(spec.Primary.Kind)));
            }
        }
    }

    /// <summary>One look at a bandit: what its variants earned, and the next weights.</summary>
    public async Task<BanditReport> WeighAsync(Rollout rollout, BanditSpec spec, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var (arms, from) = (Arms(rollout), Since(rollout, now));
        var weights = await WeightsAsync(rollout.Endpoint, arms, ct);
        var present = weights.Count > 0 ? weights[^1].Shares : [.. arms.Select(_ => 1.0 / arms.Count)];
        var (earned, unbiased) = (new BanditArm[arms.Count], new InversePropensity[arms.Count]);
        var reader = new OutcomeReader(labels, rollout.Endpoint, arms, [spec.Reward], ExperimentUnit.Entity, spec.RewardWindow, weights);
        await reader.ReadAsync(
            from, now,
            (unit, outcomes) =>
            {
                if (outcomes[0].Count == 0 && !spec.Reward.MissingIsZero)
                {
                    return;
                }

                var reward = outcomes[0].Count == 0 ? 0 : outcomes[0].Value(spec.Reward.Kind);
                var fade = spec.HalfLife is { } half ? Math.Pow(0.5, (now - Time.FromMicros(unit.At)) / half) : 1;
                var arm = earned[unit.Arm];
                earned[unit.Arm] = new(arm.N + 1, arm.Weight + fade, arm.Sum + (fade * reward), arm.Squares + (fade * reward * reward));
                if (unit.Weights >= 0 && weights[unit.Weights].Shares[unit.Arm] is > 0 and var propensity)
                {
                    unbiased[unit.Arm].Add(reward, Math.Min(1, propensity));
                }
            },
            ct);
        var next = Bandit.Weigh(spec, earned, present);
        var best = next.PBest is { } chances && spec.StopAt is { } stop && chances.Index().MaxBy(chance => chance.Item) is var top && top.Item >= stop ? arms[top.Index].Variant : null;
        return new(
            now, now - spec.RewardWindow,
            [.. arms.Select((arm, i) => new BanditArmReport(
                arm.Variant, earned[i].N, earned[i].Weight > 0 && double.IsFinite(earned[i].Mean) ? earned[i].Mean : null, unbiased[i].Mean, unbiased[i].Error, next.PBest?[i], present[i], next.Weights[i]))],
            next.Moved, best, next.Why);
    }

    /// <summary>Pairs of answers to the same requests since the rollout was proposed.</summary>
    /// <param name="rollout">Whose variant got copies.</param>
    /// <param name="variant">The variant; null: the first candidate.</param>
    /// <param name="ct">Cancels.</param>
    public async Task<ShadowReport> ShadowAsync(Rollout rollout, string? variant, CancellationToken ct)
    {
        variant ??= rollout.Spec.First;
        var comparison = new ShadowComparison();
        await foreach (var pair in predictions.ShadowPairsAsync(rollout.Endpoint, rollout.ProposedAt, clock.GetUtcNow(), ct))
        {
            if (pair.Variant == variant)
            {
                comparison.Add(
                    pair.PredictionId, new(pair.PrimaryStatus == 200, pair.PrimaryLatencyMicros, pair.PrimaryOutputs), new(pair.Status == 200, pair.LatencyMicros, pair.Outputs));
            }
        }

        var copied = rollout.Variants.FirstOrDefault(arm => arm.Name == variant)?.ModelVersion;
        var mirrors = (await nodes.MirrorsAsync(rollout.Endpoint, ct)).Where(mirror => mirror.Variant == variant && mirror.ModelVersion == copied).ToList();
        return comparison.Report(variant, dropped: mirrors.Count == 0 ? null : mirrors.Sum(mirror => mirror.Dropped));
    }

    /// <summary>
    /// The further metrics of an analysis: measures those that are due, keeps every measurement, and joins their verdicts with the report. A metric on trial
    /// (dry run) is shown and decides nothing.
    /// </summary>
    /// <param name="rollout">Whose candidate is judged.</param>
    /// <param name="spec">The analysis.</param>
    /// <param name="report">What errors, latency and quality say.</param>
    /// <param name="since">When the step began, Unix microseconds: its tallies begin anew.</param>
    /// <param name="ct">Cancels.</param>
    public async Task<AnalysisReport> MeasureAsync(Rollout rollout, AnalysisSpec spec, AnalysisReport report, long since, CancellationToken ct)
    {
        if (spec.Metrics.Count == 0)
        {
            return report;
        }

        var now = clock.NowMicros();
        var tallies = new Dictionary<string, MetricTally>(report.Memory.Tallies ?? new Dictionary<string, MetricTally>(StringComparer.Ordinal), StringComparer.Ordinal);
        var looks = new Dictionary<string, AnalysisLook>(report.Memory.Looks, StringComparer.Ordinal);
        var (checks, deciding, final) = (new List<AnalysisCheck>(report.Checks), new List<Verdict> { report.Verdict }, report.Final);
        foreach (var metric in spec.Metrics)
        {
            var tally = tallies.TryGetValue(metric.Name, out var known) && known.Since == since ? known : MetricTally.Begin(since);
            Measurement? latest = null;
            if (tally.AskedAt > 0)
            {
                latest = await AnsweredAsync(rollout, metric, tally.AskedAt, now, ct);
                tally = latest is null ? tally : tally.Add(latest.Verdict, now);
            }
            else if (now - since >= Micros(metric.InitialDelay) && (tally.LastAt == 0 || now - tally.LastAt >= Micros(metric.Interval)) && !tally.Judge(metric).Final)
            {
                if (metric.Provider == MetricProvider.Job)
                {
                    await AskAsync(rollout, metric, now, ct);
                    tally = tally with { AskedAt = now };
                }
                else
                {
                    latest = await MeasureAsync(rollout, spec, metric, looks, ct);
                    tally = tally.Add(latest.Verdict, now);
                    await KeepAsync(rollout, latest, ct);
                }
            }

            if (latest is null && tally.LastAt > 0)
            {
                latest = await LatestAsync(rollout, metric.Name, ct);
            }

            tallies[metric.Name] = tally;
            var (verdict, ended, why) = tally.Judge(metric);
            if (!metric.DryRun)
            {
                deciding.Add(verdict);
                final |= ended && verdict != Verdict.Pass;
            }

            checks.Add(new(
                metric.Name, verdict, latest?.Baseline, latest?.Value, latest?.Harm, latest?.Lower, latest?.Upper, latest?.P,
                latest?.BaselineN ?? 0, latest?.CandidateN ?? 0, $"{metric.Name}{(metric.DryRun ? $" (on trial)" : "")}: {why}{(latest is null ? "" : $"; last: {latest.Why}")}{(tally.AskedAt > 0 ? $"; the run of pipeline {metric.Pipeline} has not ended" : "")}"));
        }

        return new(Analysis.Joint(deciding), checks, report.Memory with { Looks = looks, Tallies = tallies }, final);
    }

    /// <summary>
    /// Keeps what became of a job that was asked for at <paramref name="askedAt"/>: its exit code, or why there is none. Kept once; an answer that nobody waits
    /// for any more is kept too and counts for nothing.
    /// </summary>
    public Task AnswerAsync(Rollout rollout, string metric, string pipeline, long askedAt, int? exitCode, string why, CancellationToken ct) => KeepAsync(
        rollout,
        new(metric, Time.FromMicros(askedAt), exitCode switch { null => Verdict.Error, 0 => Verdict.Pass, _ => Verdict.Fail }, exitCode, null, null, null, null, null, 0, 0, $"pipeline {pipeline}", why),
        ct);

    // The journal is what tells the pipelines: they are to the right of here.
    private Task AskAsync(Rollout rollout, AnalysisMetric metric, long now, CancellationToken ct) => database.WriteAsync(
        tx => journal.AppendAsync(
            tx, Self, Events.RolloutMetricAsked, rollout.Subject, new RolloutMetricAsked(rollout.Id, rollout.Endpoint, rollout.Stable, rollout.Candidate, metric.Name, metric.Pipeline!, now),
            [new("endpoint", rollout.Endpoint)]),
        ct);

    private async Task<Measurement?> AnsweredAsync(Rollout rollout, AnalysisMetric metric, long askedAt, long now, CancellationToken ct)
    {
        if (await AtAsync(rollout, metric.Name, askedAt, ct) is { } answer)
        {
            return answer;
        }

        if (now - askedAt < Micros(JobPatience))
        {
            return null;
        }

        await AnswerAsync(rollout, metric.Name, metric.Pipeline!, askedAt, null, $"the run of pipeline {metric.Pipeline} has not ended within {RolloutStep.Say(JobPatience)}", ct);
        return await AtAsync(rollout, metric.Name, askedAt, ct);
    }

    private async Task<Measurement?> AtAsync(Rollout rollout, string metric, long at, CancellationToken ct) => await database.ReadAsync(
        session => session.FindAsync<string>("SELECT body FROM serving_measurements WHERE rollout = @Id AND metric = @metric AND at = @at", new { rollout.Id, metric, at }), ct)
        is { } body ? Read(body) : null;

    /// <summary>Measurements of a rollout's further metrics, newest first.</summary>
    public async Task<IReadOnlyList<Measurement>> MeasurementsAsync(string rollout, int limit, CancellationToken ct)
    {
        var rows = await database.ReadAsync(
            session => session.QueryAsync<string>(
                "SELECT body FROM serving_measurements WHERE rollout = @rollout ORDER BY at DESC, metric LIMIT @limit", new { rollout, limit = Math.Clamp(limit, 1, 10_000) }),
            ct);
        return [.. rows.Select(Read)];
    }

    /// <summary>The arms of a rollout: the fresh slice of stable, if it has one, or stable itself, and then the candidates.</summary>
    internal static IReadOnlyList<ExperimentArm> Arms(Rollout rollout)
    {
        var variants = rollout.Spec.Arms(rollout.Candidate);
        var baseline = variants.FirstOrDefault(variant => variant.Role == VariantRole.Baseline)?.Name ?? "stable";
        return [new(baseline, rollout.Stable), .. variants.Where(variant => variant.Role == VariantRole.Candidate).Select(variant => new ExperimentArm(variant.Name, variant.ModelVersion))];
    }

    private static DateTimeOffset Since(Rollout rollout, DateTimeOffset now) => rollout.Status.ExposedSince > 0 ? Time.FromMicros(rollout.Status.ExposedSince) : now;

    private async Task<CupedReport> AdjustAsync(OutcomeReader reader, ExperimentSpec spec, List<(int Arm, ulong Hash, double Outcome)> units, DateTimeOffset from, CancellationToken ct)
    {
        var history = await reader.HistoryAsync(spec.Primary, from - spec.History, from, ct);
        double[] outcomes = [.. units.Select(unit => unit.Outcome)], before = [.. units.Select(unit => history.TryGetValue(unit.Hash, out var x) ? x : double.NaN)];
        var report = Cuped.Adjust(outcomes, before);
        if (report.Theta is not null)
        {
            foreach (var arm in reader.Arms)
            {
                arm.Metrics[0].Sums = default;
            }

            for (var i = 0; i < outcomes.Length; i++)
            {
                reader.Arms[units[i].Arm].Metrics[0].Sums.Add(outcomes[i], 1);
            }
        }

        return report;
    }

    /// <summary>The shares of the arms since each revision of the route, oldest first.</summary>
    private async Task<IReadOnlyList<RevisionWeights>> WeightsAsync(string endpoint, IReadOnlyList<ExperimentArm> arms, CancellationToken ct)
    {
        var history = await deployments.HistoryAsync(endpoint, 1000, ct);
        return [.. history.OrderBy(revision => revision.Spec.Revision).Select(revision => new RevisionWeights(
            revision.Spec.Revision, Time.ToMicros(revision.At), [.. arms.Select(arm => (revision.Spec.Variants.FirstOrDefault(variant => variant.Name == arm.Variant)?.Percent ?? 0) / 100)]))];
    }

    private async Task<Measurement> MeasureAsync(Rollout rollout, AnalysisSpec spec, AnalysisMetric metric, Dictionary<string, AnalysisLook> looks, CancellationToken ct) => metric.Provider switch
    {
        MetricProvider.Log => await FromLogAsync(rollout, spec, metric, looks, ct),
        MetricProvider.Monitor => await FromMonitorAsync(rollout, metric, ct),
        MetricProvider.Sql => await FromSqlAsync(rollout, metric, ct),
        _ => await FromQueryAsync(rollout, metric, ct),
    };

    private async Task<Measurement> FromLogAsync(Rollout rollout, AnalysisSpec spec, AnalysisMetric metric, Dictionary<string, AnalysisLook> looks, CancellationToken ct)
    {
        var (now, compare, arms) = (clock.GetUtcNow(), metric.Compare!, Arms(rollout));
        var reader = new OutcomeReader(labels, rollout.Endpoint, arms, [compare], metric.Unit, metric.AttributionWindow, []);
        await reader.ReadAsync(Since(rollout, now), now, null, ct);
        var results = reader.Arms.Skip(1).Select(arm => Experiment.Compare(compare, reader.Arms[0], arm, 0, spec.Alpha, metric.MinSamplesPerArm, looks)).ToList();
        // Of several candidates the worst counts.
        var verdict = Analysis.Joint(results.Select(result => result.Verdict));
        var worst = results.First(result => result.Verdict == verdict);
        var up = compare.Direction == MetricDirection.Up;
        return new(
            metric.Name, now, verdict, worst.Value, worst.BaselineValue, up ? -worst.Effect : worst.Effect, up ? -worst.Upper : worst.Lower, up ? -worst.Lower : worst.Upper,
            worst.P, worst.N, worst.BaselineN, $"{compare.Kind} of {compare.Source}", worst.Why);
    }

    private async Task<Measurement> FromMonitorAsync(Rollout rollout, AnalysisMetric metric, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var candidate = Arms(rollout)[^1].ModelVersion;
        var query = Named(metric.Column);
        if (await monitors.FindAsync(rollout.Endpoint, candidate, ct) is not { } monitor)
        {
            return Without(Verdict.NoData, $"no monitor watches {candidate} on {rollout.Endpoint}");
        }

        // A window that closed before the candidate had traffic says nothing about it.
        var points = (await monitors.PointsAsync(monitor.Id, ct))
            .Where(p => p.Metric == metric.Point && (metric.Column is null || p.Column == metric.Column) && p.Phase == WindowPhase.Final && p.WindowEnd > Since(rollout, now)).ToList();
        if (points.Count == 0)
        {
            return Without(Verdict.NoData, $"the monitor has no point of {query} since the candidate has traffic");
        }

        // Where the whole window has no such point, as with drift, its worst column decides; one without a number hides none that has one.
        var newest = points.Where(p => p.WindowStart == points.Max(q => q.WindowStart)).ToList();
        var point = newest.Find(p => p.Column == metric.Column)
            ?? newest.OrderByDescending(p => p.State == PointState.Alert).ThenByDescending(p => p.Value is null ? double.NegativeInfinity : metric.AtMost is null && metric.AtLeast is not null ? -p.Value : p.Value).ThenBy(p => p.Column, StringComparer.Ordinal).First();
        query = Named(point.Column);

        if (point.Value is not { } value || point.State is not (PointState.Ok or PointState.Alert))
        {
            return Without(Verdict.NoData, $"{query} is {point.State}: {point.Why}");
        }

        var bounded = metric.AtLeast is not null || metric.AtMost is not null;
        var verdict = bounded ? metric.Judge(value) : point.State == PointState.Ok ? Verdict.Pass : Verdict.Fail;
        return new(
            metric.Name, now, verdict, value, null, null, null, null, null, point.N, 0, query,
            string.Create(CultureInfo.InvariantCulture, $"{query} is {value:0.####} in the window to {point.WindowEnd:yyyy-MM-dd HH:mm} ({(bounded ? "by the metric's bounds" : "by the monitor's limits")})"));

        string Named(string? column) => $"{metric.Point}{(column is null ? "" : $" of {column}")} of {candidate} on {rollout.Endpoint}";

        Measurement Without(Verdict verdict, string why) => new(metric.Name, now, verdict, null, null, null, null, null, null, 0, 0, query, why);
    }

    private async Task<Measurement> FromQueryAsync(Rollout rollout, AnalysisMetric metric, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var answer = await queries.AskAsync(metric, text => Fill(text, rollout), ct);
        var verdict = answer.Error is not null ? Verdict.Error : answer.Value is { } value ? metric.Judge(value) : Verdict.NoData;
        var finite = answer.Value is { } number && double.IsFinite(number) ? answer.Value : null;
        return new(
            metric.Name, now, verdict, finite, null, null, null, null, null, 0, 0, answer.Query,
            answer.Error ?? (answer.Value is null ? "the answer is empty" : string.Create(CultureInfo.InvariantCulture, $"{answer.Query} is {answer.Value:0.####}")));
    }

    private async Task<Measurement> FromSqlAsync(Rollout rollout, AnalysisMetric metric, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var (from, arms) = (Since(rollout, now), Arms(rollout));
        var parameters = new Dictionary<string, object>(StringComparer.Ordinal)
        {
            ["rollout"] = rollout.Id,
            ["endpoint"] = rollout.Endpoint,
            ["candidate"] = arms[^1].ModelVersion,
            ["candidate_variant"] = arms[^1].Variant,
            ["stable"] = arms[0].ModelVersion,
            ["stable_variant"] = arms[0].Variant,
            ["window_start"] = from.UtcDateTime,
            ["window_end"] = now.UtcDateTime,
        };
        var answer = await sql.AskAsync(rollout.Endpoint, from, now, metric.Query!, parameters, ct);
        var verdict = answer switch { { Failed: true } => Verdict.Error, { Value: { } value } => metric.Judge(value), _ => Verdict.NoData };
        var asked = $"{metric.Query} [{string.Join(", ", parameters.Select(p => string.Create(CultureInfo.InvariantCulture, $"${p.Key} = {(p.Value is DateTime at ? at.ToString("O", CultureInfo.InvariantCulture) : p.Value)}")))}]";
        return new(
            metric.Name, now, verdict, answer.Value, null, null, null, null, null, 0, 0, asked,
            string.Create(CultureInfo.InvariantCulture, $"{answer.Why ?? $"the query gives {answer.Value:0.######}"} ({answer.Rows} predictions since {from:yyyy-MM-dd HH:mm:ss})"));
    }

    private static string Fill(string text, Rollout rollout) => text
        .Replace("{endpoint}", rollout.Endpoint, StringComparison.Ordinal)
        .Replace("{candidate}", rollout.Candidate, StringComparison.Ordinal)
        .Replace("{stable}", rollout.Stable, StringComparison.Ordinal)
        .Replace("{rollout}", rollout.Id, StringComparison.Ordinal);

    private Task KeepAsync(Rollout rollout, Measurement measurement, CancellationToken ct) => database.WriteAsync(
        tx => tx.ExecuteAsync(
            "INSERT INTO serving_measurements (rollout, metric, at, attempt, verdict, body) VALUES (@Id, @metric, @at, @attempt, @verdict, @body) ON CONFLICT (rollout, metric, at) DO NOTHING",
            new
            {
                rollout.Id,
                metric = measurement.Metric,
                at = Time.ToMicros(measurement.At),
                attempt = rollout.Status.Attempt,
                verdict = measurement.Verdict.ToString(),
                body = System.Text.Json.JsonSerializer.Serialize(measurement, CanonicalJson.Options),
            }),
        ct);

    private async Task<Measurement?> LatestAsync(Rollout rollout, string metric, CancellationToken ct) => await database.ReadAsync(
        session => session.FindAsync<string>("SELECT body FROM serving_measurements WHERE rollout = @Id AND metric = @metric ORDER BY at DESC LIMIT 1", new { rollout.Id, metric }), ct)
        is { } body ? Read(body) : null;

    private static Measurement Read(string body) =>
        System.Text.Json.JsonSerializer.Deserialize<Measurement>(body, CanonicalJson.Options) ?? throw new InvalidDataException("a stored measurement is empty");

    private static long Micros(TimeSpan span) => span.Ticks / TimeSpan.TicksPerMicrosecond;
}
