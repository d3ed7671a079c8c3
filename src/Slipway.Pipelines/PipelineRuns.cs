using Slipway.Pipelines.Steps;

namespace Slipway.Pipelines;

/// <summary>Runs of pipelines: starting, looking, stopping. The steps themselves are taken by clocked work, which survives restarts.</summary>
public sealed class PipelineRuns
{
    private readonly Database database;
    private readonly Journal journal;
    private readonly Pipelines pipelines;
    private readonly StepKinds kinds;
    private readonly Wakeups wakeups;
    private readonly TimeProvider clock;

    internal PipelineRuns(Database database, Journal journal, Pipelines pipelines, StepKinds kinds, Wakeups wakeups, TimeProvider clock) =>
        (this.database, this.journal, this.pipelines, this.kinds, this.wakeups, this.clock) = (database, journal, pipelines, kinds, wakeups, clock);

    /// <summary>Starts a run of the spec in force; branches and tags in it are fixed to what they name now.</summary>
    /// <exception cref="SlipwayException">NotFound (pipeline, dataset version); InvalidArgument with everything that is wrong or missing.</exception>
    public async Task<PipelineRun> StartAsync(Actor actor, string pipeline, StartRun request, CancellationToken ct)
    {
        if (request.Key is { Length: > 300 })
        {
            throw SlipwayException.Invalid("the pipeline run cannot be started", $"its key has {request.Key.Length} characters; at most 300 are allowed");
        }

        var (applied, spec) = await PrepareAsync(pipeline, request, ct);
        var id = Ids.New();
        var run = await database.WriteAsync(
            async tx => request.Key is { } key && await RunRow.FindByKeyAsync(tx, key) is { } there
                ? there.Read()
                : await InsertAsync(tx, actor, id, applied, spec, request.Causes, trigger: null, request.Key, []),
            ct);
        await wakeups.WakeAsync(PipelineRunWork.WorkKind, run.Id);
        return run;
    }

    /// <summary>One run.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public async Task<PipelineRun> GetAsync(string id, CancellationToken ct) => (await database.ReadAsync(s => RunRow.FindAsync(s, id), ct))?.Read() ?? throw Missing(id);

    /// <summary>Runs, newest first, at most 1,000.</summary>
    /// <param name="pipeline">Only of this pipeline; null = all.</param>
    /// <param name="limit">How many.</param>
    /// <param name="ct">Stops waiting.</param>
    public Task<IReadOnlyList<PipelineRun>> ListAsync(string? pipeline, int limit, CancellationToken ct) => database.ReadAsync<IReadOnlyList<PipelineRun>>(
        async session =>
        [
            .. (await session.QueryAsync<RunRow>(
                $"SELECT {RunRow.Columns} FROM pipelines_runs {(pipeline is null ? "" : "WHERE pipeline = @pipeline")} ORDER BY created_us DESC, id DESC LIMIT @limit",
                new { pipeline, limit = Math.Clamp(limit, 1, 1000) })).Select(r => r.Read()),
        ],
        ct);

    /// <summary>The steps of a run in order.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public Task<IReadOnlyList<PipelineStep>> StepsAsync(string id, CancellationToken ct) => database.ReadAsync<IReadOnlyList<PipelineStep>>(
        async session =>
        {
            var rows = await StepRow.OfAsync(session, id);
            return rows.Count > 0 ? [.. rows.Select(r => r.Read())] : throw Missing(id);
        },
        ct);

    /// <summary>
    /// Asks a run to stop: a command gets SIGTERM and after the grace time SIGKILL, other steps stop at once; what they made until then stays.
    /// A second time, or after the end, nothing changes.
    /// </summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public async Task<PipelineRun> CancelAsync(Actor actor, string id, CancellationToken ct)
    {
        var run = await database.WriteAsync(
            async tx =>
            {
                var row = await RunRow.FindAsync(tx, id) ?? throw Missing(id);
                var now = clock.NowMicros();
                if (await tx.ExecuteAsync(
                    "UPDATE pipelines_runs SET cancel_us = @now, cancelled_by = @by WHERE id = @id AND finished_us IS NULL AND cancel_us IS NULL", new { now, by = actor.Principal, id }) == 1)
                {
                    await journal.AppendAsync(tx, actor, Events.RunCancelled, new Subject("pipeline-run", id), new PipelineRunCancelled(id, row.Pipeline), [new Subject("pipeline", row.Pipeline)]);
                }

                return (await RunRow.FindAsync(tx, id))!.Read();
            },
            ct);
        await wakeups.WakeAsync(PipelineRunWork.WorkKind, id);
        return run;
    }

    /// <summary>The spec with the start's values in place, checked, and with every reference fixed.</summary>
    internal async Task<(Pipeline Applied, PipelineSpec Spec)> PrepareAsync(string pipeline, StartRun request, CancellationToken ct)
    {
        var applied = await pipelines.GetAsync(pipeline, ct);
        var faults = new List<string>();
        var byStep = request.Parameters.Select(p => (p.Key, Dot: p.Key.LastIndexOf('.'), p.Value)).ToList();
        foreach (var (key, _, _) in byStep.Where(p => p.Dot <= 0 || applied.Spec.Steps.All(s => s.Name != p.Key[..p.Dot])))
        {
            faults.Add($"the parameter '{key}' names no step; write STEP.FIELD");
        }

        var spec = applied.Spec with
        {
            Steps =
            [
                .. applied.Spec.Steps.Select(step => step.Override(
                    byStep.Where(p => p.Dot > 0 && p.Key[..p.Dot] == step.Name).Select(p => KeyValuePair.Create(p.Key[(p.Dot + 1)..], p.Value)))),
            ],
        };
        faults.AddRange(pipelines.Faults(spec, complete: true));
        Pipelines.Demand("the pipeline run cannot be started", faults);
        return (applied, await kinds.PinAsync(spec, ct));
    }

    /// <summary>Writes the run with its steps and the journal entry. The caller wakes the work.</summary>
    internal async Task<PipelineRun> InsertAsync(
        Tx tx, Actor actor, string id, Pipeline applied, PipelineSpec spec, IReadOnlyList<Subject> causes, string? trigger, string? key, IReadOnlyList<string> authors)
    {
        var text = RunRow.ToJson(spec);
        string[] people = [.. authors.Append(applied.AppliedBy).Append(actor.Principal).Distinct(StringComparer.OrdinalIgnoreCase)];
        await tx.ExecuteAsync(
            """
            INSERT INTO pipelines_runs (id, pipeline, version, spec, state, cause_key, causes, trigger_name, started_by, authors, created_us)
            VALUES (@id, @Name, @Version, @text, @state, @key, @causes, @trigger, @by, @authors, @now)
            """,
            new
            {
                id,
                applied.Name,
                applied.Version,
                text,
                state = nameof(PipelineState.Running),
                key,
                causes = RunRow.ToJson(causes.Select(c => c.ToString()).ToArray()),
                trigger,
                by = actor.Principal,
                authors = RunRow.ToJson(people),
                now = clock.NowMicros(),
            });
        for (var i = 0; i < spec.Steps.Count; i++)
        {
            await tx.ExecuteAsync(
                "INSERT INTO pipelines_steps (run, ordinal, name, kind, state, attempt) VALUES (@id, @ordinal, @Name, @Kind, @state, 0)",
                new { id, ordinal = i, spec.Steps[i].Name, spec.Steps[i].Kind, state = nameof(StepState.Pending) });
        }

        var links = causes.Append(applied.Subject).Concat(StepKinds.Reads(spec));
        await journal.AppendAsync(
            tx, actor, Events.RunStarted, new Subject("pipeline-run", id), new PipelineRunStarted(id, applied.Name, applied.Version, trigger, Digest.Sha256Hex(CanonicalJson.Serialize(spec))),
            trigger is null ? links : links.Append(new Subject("trigger", trigger)));
        return (await RunRow.FindAsync(tx, id))!.Read();
    }

    private static SlipwayException Missing(string id) => SlipwayException.NotFound("pipeline run", id, "slipway pipeline runs");
}
