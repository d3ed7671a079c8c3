namespace Slipway.Pipelines;

/// <summary>
/// Takes a run through its steps. It only decides and looks: the work of a step is a background task of one node (<see cref="StepTasks"/>).
/// The attempt's number is the fencing token: the end of an attempt that was given up is refused.
/// </summary>
internal sealed class PipelineRunWork(Database database, Journal journal, StepTasks tasks, Wakeups wakeups, PipelinesOptions options, TimeProvider clock) : IClockedWork
{
    public const string WorkKind = "pipeline-run";
    private static readonly TimeSpan Look = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan Beat = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Back = TimeSpan.FromSeconds(5);

    // A step that does not react to its cancellation is given up this long after the grace time of commands.
    private static readonly TimeSpan GiveUp = TimeSpan.FromSeconds(10);

    public string Kind => WorkKind;

    public Task<IReadOnlyList<string>> OpenAsync(CancellationToken ct) =>
        database.ReadAsync(s => s.QueryAsync<string>("SELECT id FROM pipelines_runs WHERE finished_us IS NULL ORDER BY created_us, id"), ct);

    public async Task<DateTimeOffset?> StepAsync(string key, CancellationToken ct)
    {
        var (row, steps) = await database.ReadAsync(async s => (await RunRow.FindAsync(s, key), await StepRow.OfAsync(s, key)), ct);
        if (row is null || row.FinishedUs is not null)
        {
            return null;
        }

        var run = row.Read();
        var step = steps.First(s => s.Stands is StepState.Pending or StepState.Running);
        return step.Stands == StepState.Pending
            ? row.CancelUs is null ? await BeginAsync(run, step, steps, ct) : await EndAsync(run, step, StepState.Cancelled, null, null, ct)
            : tasks.Knows(run.Id, (int)step.Ordinal, (int)step.Attempt)
                ? await WatchAsync(row, run, step, steps, ct)
                : await RecoverAsync(row, run, step, steps, ct);
    }

    /// <summary>The step is under way here.</summary>
    private async Task<DateTimeOffset?> WatchAsync(RunRow row, PipelineRun run, StepRow step, IReadOnlyList<StepRow> steps, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var (ordinal, attempt) = ((int)step.Ordinal, (int)step.Attempt);
        if (await tasks.EndOfAsync(run.Id, ordinal, attempt) is { } end)
        {
            return await RecordAsync(run, step, steps, end, ct);
        }

        if (row.CancelUs is { } asked)
        {
            tasks.Cancel(run.Id, ordinal, attempt);
            return Time.FromMicros(asked) + options.Grace + GiveUp < now
                ? await EndAsync(run, step, StepState.Cancelled, null, "it did not stop in time and was given up", ct)
                : now + TimeSpan.FromSeconds(1);
        }

        if (Time.FromMicros(step.BeatUs ?? 0) + Beat <= now)
        {
            await database.WriteAsync(
                tx => tx.ExecuteAsync("UPDATE pipelines_steps SET beat_us = @now WHERE run = @Run AND ordinal = @Ordinal AND attempt = @Attempt", new { now = Time.ToMicros(now), step.Run, step.Ordinal, step.Attempt }), ct);
        }

        return now + Look;
    }

    private async Task<DateTimeOffset?> RecordAsync(PipelineRun run, StepRow step, IReadOnlyList<StepRow> steps, StepEnd end, CancellationToken ct)
    {
        DateTimeOffset? next;
        if (end.Result is { } result)
        {
            next = result.Failure is { } failure ? await EndAsync(run, step, StepState.Failed, result.Output, failure, ct)
                : result.Rejection is { } rejection ? await EndAsync(run, step, StepState.Rejected, result.Output, rejection, ct)
                : step.Ordinal == steps.Count - 1 ? await EndAsync(run, step, StepState.Succeeded, result.Output, null, ct)
                : await SucceedAsync(run, step, result.Output, ct);
        }
        else if (end.Again && step.Attempt < options.MaxAttempts)
        {
            await database.WriteAsync(
                tx => tx.ExecuteAsync(
                    "UPDATE pipelines_steps SET state = @pending, owner = NULL, error = @Error WHERE run = @Run AND ordinal = @Ordinal AND attempt = @Attempt AND state = @running",
                    new { pending = nameof(StepState.Pending), end.Error, step.Run, step.Ordinal, step.Attempt, running = nameof(StepState.Running) }),
                ct);
            next = clock.GetUtcNow() + (Back * step.Attempt);
        }
        else
        {
            next = await EndAsync(run, step, end.Cancelled ? StepState.Cancelled : StepState.Failed, null, end.Error, ct);
        }

        tasks.Forget(run.Id, (int)step.Ordinal, (int)step.Attempt);
        return next;
    }

    /// <summary>The step is under way elsewhere, or was when its process ended.</summary>
    private async Task<DateTimeOffset?> RecoverAsync(RunRow row, PipelineRun run, StepRow step, IReadOnlyList<StepRow> steps, CancellationToken ct)
    {
        // The data folder of SQLite has one process; of several nodes another one may be alive.
        var lost = Time.FromMicros(step.BeatUs ?? 0) + (database.Dialect.IsPostgres ? options.LostAfter : TimeSpan.Zero);
        if (lost > clock.GetUtcNow())
        {
            return lost;
        }

        // A command may still run by itself: an attempt more finds it and stops it.
        if (row.CancelUs is not null && step.Kind != StepSpec.CommandKind)
        {
            return await EndAsync(run, step, StepState.Cancelled, null, null, ct);
        }

        return step.Attempt >= options.MaxAttempts
            ? await EndAsync(run, step, StepState.Failed, null, $"it was interrupted {step.Attempt} times", ct)
            : await BeginAsync(run, step, steps, ct);
    }

    private async Task<DateTimeOffset?> BeginAsync(PipelineRun run, StepRow step, IReadOnlyList<StepRow> steps, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var attempt = step.Attempt + 1;
        var claimed = await database.WriteAsync(
            tx => tx.ExecuteAsync(
                """
                UPDATE pipelines_steps SET state = @running, attempt = @attempt, owner = @Node, beat_us = @at, started_us = @at, progress = NULL, done = NULL, total = NULL
                WHERE run = @Run AND ordinal = @Ordinal AND attempt = @before AND state = @was
                """,
                new { running = nameof(StepState.Running), attempt, tasks.Node, at = Time.ToMicros(now), step.Run, step.Ordinal, before = step.Attempt, was = step.State }),
            ct);
        if (claimed == 1)
        {
            (step.Attempt, step.State, step.StartedUs) = (attempt, nameof(StepState.Running), Time.ToMicros(now));
            StepOutput[] earlier = [.. steps.Where(s => s.Ordinal < step.Ordinal && s.Output is not null).Select(s => RunRow.FromJson<StepOutput>(s.Output!))];
            tasks.Start(run, step.Read(), earlier, (done, total, words) => ReportAsync(step, attempt, done, total, words), () => wakeups.WakeAsync(WorkKind, run.Id));
        }

        return now + Look;
    }

    // Progress is for the live view; it is bulk and not journalled.
    private Task ReportAsync(StepRow step, long attempt, long? done, long? total, string words) => database.WriteAsync(
        tx => tx.ExecuteAsync(
            "UPDATE pipelines_steps SET done = @done, total = @total, progress = @words WHERE run = @Run AND ordinal = @Ordinal AND attempt = @attempt",
            new { done, total, words, step.Run, step.Ordinal, attempt }),
        CancellationToken.None);

    private async Task<DateTimeOffset?> SucceedAsync(PipelineRun run, StepRow step, StepOutput output, CancellationToken ct)
    {
        await database.WriteAsync(
            async tx =>
            {
                if (await CloseAsync(tx, step, StepState.Succeeded, output, null) && output.ModelVersion is { } version)
                {
                    await tx.ExecuteAsync("UPDATE pipelines_runs SET model_version = @version WHERE id = @Id", new { version, run.Id });
                }
            },
            ct);
        return clock.GetUtcNow();
    }

    /// <summary>Ends the step and with it the run, in one transaction with the journal.</summary>
    private async Task<DateTimeOffset?> EndAsync(PipelineRun run, StepRow step, StepState state, StepOutput? output, string? error, CancellationToken ct)
    {
        var ended = state switch
        {
            StepState.Succeeded => PipelineState.Succeeded,
            StepState.Rejected => PipelineState.Rejected,
            StepState.Cancelled => PipelineState.Cancelled,
            _ => PipelineState.Failed,
        };
        var why = error is null ? null : $"step {step.Name}: {error}";
        var version = output?.ModelVersion ?? run.ModelVersion;
        await database.WriteAsync(
            async tx =>
            {
                if (!await CloseAsync(tx, step, state, output, error))
                {
                    return;
                }

                await tx.ExecuteAsync(
                    "UPDATE pipelines_steps SET state = @skipped WHERE run = @Run AND state = @pending",
                    new { skipped = nameof(StepState.Skipped), step.Run, pending = nameof(StepState.Pending) });
                await tx.ExecuteAsync(
                    "UPDATE pipelines_runs SET state = @state, finished_us = @now, model_version = @version, error = @why WHERE id = @Id",
                    new { state = ended.ToString(), now = clock.NowMicros(), version, why, run.Id });
                var made = (await StepRow.OfAsync(tx, run.Id)).Where(s => s.Output is not null).Select(s => RunRow.FromJson<StepOutput>(s.Output!)).SelectMany(Made);
                await journal.AppendAsync(
                    tx, Actor.System("pipelines") with { OnBehalfOf = run.StartedBy, RequestId = run.Id }, Events.RunFinished, run.Subject,
                    new PipelineRunFinished(run.Id, run.Pipeline, ended.ToString(), version, why), [new Subject("pipeline", run.Pipeline), .. run.Causes, .. made],
                    ended is PipelineState.Succeeded or PipelineState.Rejected ? "success" : "error", ended is PipelineState.Succeeded or PipelineState.Rejected ? null : $"pipeline.{ended.ToString().ToLowerInvariant()}");
            },
            ct);
        return null;
    }

    /// <summary>False when the attempt is not the present one any more.</summary>
    private async Task<bool> CloseAsync(Tx tx, StepRow step, StepState state, StepOutput? output, string? error) => await tx.ExecuteAsync(
        "UPDATE pipelines_steps SET state = @state, finished_us = @now, output = @output, error = @error WHERE run = @Run AND ordinal = @Ordinal AND attempt = @Attempt AND state = @was",
        new { state = state.ToString(), now = clock.NowMicros(), output = output is null ? null : RunRow.ToJson(output), error, step.Run, step.Ordinal, step.Attempt, was = step.State }) == 1;

    private static IEnumerable<Subject> Made(StepOutput output)
    {
        if (output.RunId is { } run)
        {
            yield return new Subject("run", run);
        }

        if (output.ModelVersion is { } version)
        {
            yield return new Subject("model-version", version);
        }

        if (output.GateRequest is { } request)
        {
            yield return new Subject("gate-request", request);
        }

        if (output.Rollout is { } rollout)
        {
            yield return new Subject("rollout", rollout);
        }
    }
}
