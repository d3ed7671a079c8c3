using Slipway.Monitoring;
using Slipway.Serving;

namespace Slipway.Pipelines;

/// <summary>Triggers: which alerts start which pipeline, and what was decided about each alert, also when nothing was started.</summary>
public sealed class Triggers
{
    private const int Remembered = 100;
    private const string Columns = "name AS Name, digest AS Digest, spec AS Spec, applied_by AS AppliedBy, applied_us AS AppliedUs";

    private readonly Database database;
    private readonly Journal journal;
    private readonly PipelineRuns runs;
    private readonly Alerts alerts;
    private readonly Endpoints endpoints;
    private readonly Wakeups wakeups;
    private readonly TimeProvider clock;

    internal Triggers(Database database, Journal journal, PipelineRuns runs, Alerts alerts, Endpoints endpoints, Wakeups wakeups, TimeProvider clock) =>
        (this.database, this.journal, this.runs, this.alerts, this.endpoints, this.wakeups, this.clock) = (database, journal, runs, alerts, endpoints, wakeups, clock);

    /// <summary>Puts a trigger in force, in place of the one of its name; the same spec again changes nothing.</summary>
    /// <exception cref="SlipwayException">InvalidArgument with everything that is wrong; NotFound (pipeline).</exception>
    public Task<Trigger> ApplyAsync(Actor actor, TriggerSpec spec, CancellationToken ct)
    {
        Pipelines.Demand("the trigger cannot be applied", spec.Faults().ToList());
        var digest = Digest.Sha256Hex(CanonicalJson.Serialize(spec));
        return database.WriteAsync(
            async tx =>
            {
                await Pipelines.GetAsync(tx, spec.Pipeline);
                var before = await tx.FindAsync<Row>($"SELECT {Columns} FROM pipelines_triggers WHERE name = @Name", new { spec.Name });
                if (before?.Digest == digest)
                {
                    return before.Read();
                }

                var trigger = new Trigger(spec, actor.Principal, clock.GetUtcNow());
                await tx.ExecuteAsync(
                    """
                    INSERT INTO pipelines_triggers (name, digest, spec, applied_by, applied_us) VALUES (@Name, @digest, @text, @AppliedBy, @at)
                    ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, spec = excluded.spec, applied_by = excluded.applied_by, applied_us = excluded.applied_us
                    """,
                    new { spec.Name, digest, text = RunRow.ToJson(spec), trigger.AppliedBy, at = Time.ToMicros(trigger.AppliedAt) });
                await journal.AppendAsync(tx, actor, Events.TriggerApplied, trigger.Subject, new TriggerApplied(spec.Name, spec.Pipeline, digest), [new Subject("pipeline", spec.Pipeline)]);
                return trigger;
            },
            ct);
    }

    /// <summary>The triggers in force, by name.</summary>
    public Task<IReadOnlyList<Trigger>> ListAsync(CancellationToken ct) => database.ReadAsync<IReadOnlyList<Trigger>>(
        async session => [.. (await session.QueryAsync<Row>($"SELECT {Columns} FROM pipelines_triggers ORDER BY name")).Select(r => r.Read())], ct);

    /// <summary>What a trigger decided, newest first, at most 1,000.</summary>
    public Task<IReadOnlyList<TriggerDecision>> DecisionsAsync(string name, CancellationToken ct) => database.ReadAsync<IReadOnlyList<TriggerDecision>>(
        async session =>
        [
            .. (await session.QueryAsync<DecisionRow>(
                "SELECT id AS Id, trigger_name AS TriggerName, alert AS Alert, outcome AS Outcome, code AS Code, reason AS Reason, run AS Run, at_us AS AtUs FROM pipelines_decisions WHERE trigger_name = @name ORDER BY at_us DESC, id DESC LIMIT 1000",
                new { name })).Select(r => r.Read()),
        ],
        ct);

    /// <summary>Firing alerts that a trigger left alone for a reason that passes.</summary>
    internal async Task<IReadOnlyList<string>> WaitingAsync(CancellationToken ct)
    {
        var suppressed = await database.ReadAsync(s => s.QueryAsync<string>($"SELECT DISTINCT alert FROM pipelines_decisions WHERE code IN ({TriggerRules.Passing})"), ct);
        return suppressed.Count == 0 ? [] : [.. (await alerts.ListAsync("firing", ct)).Select(a => a.Id).Intersect(suppressed, StringComparer.Ordinal)];
    }

    /// <summary>Lets every trigger decide about an alert. A decision is final, unless its reason passes: then it is looked at again while the alert fires.</summary>
    internal async Task DecideAsync(string alertId, CancellationToken ct)
    {
        var triggers = await ListAsync(ct);
        if (triggers.Count == 0)
        {
            return;
        }

        var facts = await FactsAsync(await alerts.GetAsync(alertId, ct), ct);
        foreach (var trigger in triggers)
        {
            await DecideAsync(trigger, facts, ct);
        }
    }

    private async Task<AlertFacts> FactsAsync(Alert alert, CancellationToken ct)
    {
        var firing = await alerts.ListAsync("firing", ct);
        var endpoint = (await endpoints.ListAsync(ct)).FirstOrDefault(e => e.Name == alert.Endpoint);
        return new(alert, endpoint?.ModelVersion, firing.FirstOrDefault(a => a.Endpoint == alert.Endpoint && a.Family == "quality")?.Id);
    }

    private async Task DecideAsync(Trigger trigger, AlertFacts facts, CancellationToken ct)
    {
        var spec = trigger.Spec;
        if (await DecidedAsync(spec.Name, facts.Alert.Id, ct))
        {
            return;
        }

        // References are fixed outside the transaction; whether the trigger fires is decided again inside it.
        var ruling = TriggerRules.Decide(spec, facts, await database.ReadAsync(s => HistoryAsync(s, spec), ct), clock.GetUtcNow());
        (Pipeline Applied, PipelineSpec Spec)? prepared = null;
        if (ruling.Fire)
        {
            try
            {
                prepared = await PrepareAsync(spec, facts.Alert, ct);
            }
            catch (SlipwayException e) when (e.Code is ErrorCode.InvalidArgument or ErrorCode.NotFound)
            {
                ruling = new(false, "refused", e.Sentence);
            }
        }

        var actor = Actor.System("triggers") with { OnBehalfOf = trigger.AppliedBy };
        var id = Ids.New();
        var started = await database.WriteAsync(
            async tx =>
            {
                if (ruling.Fire)
                {
                    ruling = TriggerRules.Decide(spec, facts, await HistoryAsync(tx, spec), clock.GetUtcNow());
                }

                var run = ruling.Fire ? id : null;
                var written = await tx.ExecuteAsync(
                    """
                    INSERT INTO pipelines_decisions (id, trigger_name, alert, outcome, code, reason, run, at_us) VALUES (@decision, @Name, @alert, @outcome, @Code, @Reason, @run, @now)
                    ON CONFLICT (trigger_name, alert) DO UPDATE SET outcome = excluded.outcome, code = excluded.code, reason = excluded.reason, run = excluded.run, at_us = excluded.at_us
                    """ + $" WHERE pipelines_decisions.code IN ({TriggerRules.Passing}) AND excluded.code NOT IN ({TriggerRules.Passing})",
                    new { decision = Ids.Ulid(clock.GetUtcNow()), spec.Name, alert = facts.Alert.Id, outcome = ruling.Fire ? "fired" : "suppressed", ruling.Code, ruling.Reason, run, now = clock.NowMicros() });
                if (written == 0)
                {
                    return false;
                }

                var body = new TriggerDecided(spec.Name, spec.Pipeline, facts.Alert.Id, ruling.Code, ruling.Reason, run);
                Subject[] links = run is null ? [facts.Alert.Subject] : [facts.Alert.Subject, new Subject("pipeline-run", run)];
                await journal.AppendAsync(tx, actor, ruling.Fire ? Events.TriggerFired : Events.TriggerSuppressed, trigger.Subject, body, links);
                if (run is not null)
                {
                    await runs.InsertAsync(tx, actor, id, prepared!.Value.Applied, prepared.Value.Spec, [facts.Alert.Subject], spec.Name, $"{spec.Name}/{facts.Alert.Id}", [trigger.AppliedBy]);
                }

                return run is not null;
            },
            ct);
        if (started)
        {
            await wakeups.WakeAsync(PipelineRunWork.WorkKind, id);
        }
    }

    private async Task<(Pipeline Applied, PipelineSpec Spec)> PrepareAsync(TriggerSpec spec, Alert alert, CancellationToken ct)
    {
        var start = new StartRun();
        if (spec.Window is { } window)
        {
            var pipeline = await database.ReadAsync(s => Pipelines.GetAsync(s, spec.Pipeline), ct);
            start = TriggerRules.Windows(start, pipeline.Spec, window, alert.WindowEnd);
        }

        return await runs.PrepareAsync(spec.Pipeline, start, ct);
    }

    private Task<bool> DecidedAsync(string trigger, string alert, CancellationToken ct) => database.ReadAsync(
        async s => await s.ScalarAsync<long>($"SELECT COUNT(*) FROM pipelines_decisions WHERE trigger_name = @trigger AND alert = @alert AND code NOT IN ({TriggerRules.Passing})", new { trigger, alert }) > 0, ct);

    private static async Task<TriggerHistory> HistoryAsync(Session session, TriggerSpec spec)
    {
        var open = await session.FindAsync<string>("SELECT id FROM pipelines_runs WHERE pipeline = @Pipeline AND finished_us IS NULL LIMIT 1", new { spec.Pipeline });
        var past = await session.QueryAsync<RunRow>(
            $"SELECT {RunRow.Columns} FROM pipelines_runs WHERE trigger_name = @Name ORDER BY created_us DESC, id DESC LIMIT @most", new { spec.Name, most = Math.Max(Remembered, Math.Max(spec.MaxPerDay, spec.MaxPerWeek ?? 0)) });
        return new(open, [.. past.Select(r => new PastRun(r.Id, Enum.Parse<PipelineState>(r.State), Time.FromMicros(r.CreatedUs), r.FinishedUs is { } at ? Time.FromMicros(at) : null))]);
    }

    private sealed class Row
    {
        public string Name { get; set; } = "";

        public string Digest { get; set; } = "";

        public string Spec { get; set; } = "";

        public string AppliedBy { get; set; } = "";

        public long AppliedUs { get; set; }

        public Trigger Read() => new(RunRow.FromJson<TriggerSpec>(Spec), AppliedBy, Time.FromMicros(AppliedUs));
    }

    private sealed class DecisionRow
    {
        public string Id { get; set; } = "";

        public string TriggerName { get; set; } = "";

        public string Alert { get; set; } = "";

        public string Outcome { get; set; } = "";

        public string Code { get; set; } = "";

        public string Reason { get; set; } = "";

        public string? Run { get; set; }

        public long AtUs { get; set; }

        public TriggerDecision Read() => new(Id, TriggerName, Alert, Outcome == "fired", Code, Reason, Run, Time.FromMicros(AtUs));
    }
}
