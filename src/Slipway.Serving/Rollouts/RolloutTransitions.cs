using System.Text.Json;
using Slipway.Foundation;
using Slipway.Serving.Routing;

namespace Slipway.Serving;

/// <summary>
/// The stored rollouts. A transition is one transaction: the status by compare-and-set, the route revision, the timeline row and the journal
/// entry, so that a crash leaves either all of it or nothing.
/// </summary>
internal sealed class RolloutTransitions(Database database, Journal journal, Deployments deployments, TimeProvider clock)
{
    private const string Columns =
        """
        SELECT id AS Id, endpoint AS Endpoint, stable AS Stable, candidate AS Candidate, policy AS Policy, spec AS Spec, status AS Status,
               analysis AS Analysis, rev AS Rev, proposed_by AS ProposedBy, proposed_at AS ProposedAt, updated_at AS UpdatedAt
        FROM serving_rollouts
        """;

    public Task<Rollout?> FindAsync(string id, CancellationToken ct) => database.ReadAsync(session => FindAsync(session, id), ct);

    /// <summary>Rollouts of an endpoint (all without one), newest first.</summary>
    public async Task<IReadOnlyList<Rollout>> ListAsync(string? endpoint, int limit, CancellationToken ct)
    {
        var rows = await database.ReadAsync(
            session => session.QueryAsync<Row>(
                $"{Columns} {(endpoint is null ? "" : "WHERE endpoint = @endpoint")} ORDER BY proposed_at DESC, id DESC LIMIT @limit",
                new { endpoint, limit = Math.Clamp(limit, 1, 1000) }),
            ct);
        return [.. rows.Select(Read)];
    }

    /// <summary>Rollouts of a candidate that have not ended.</summary>
    public async Task<IReadOnlyList<Rollout>> OpenOfAsync(string candidate, CancellationToken ct)
    {
        var rows = await database.ReadAsync(
            session => session.QueryAsync<Row>($"{Columns} WHERE candidate = @candidate AND state NOT IN ('Healthy', 'Aborted')", new { candidate }), ct);
        return [.. rows.Select(Read)];
    }

    public Task<IReadOnlyList<string>> OpenAsync(CancellationToken ct) => database.ReadAsync(
        session => session.QueryAsync<string>("SELECT id FROM serving_rollouts WHERE state NOT IN ('Healthy', 'Aborted') ORDER BY proposed_at, id"), ct);

    /// <summary>Whether another rollout steers the endpoint, or an older proposal waits for it: rollouts of one endpoint queue.</summary>
    public Task<bool> MustQueueAsync(Rollout rollout, CancellationToken ct) => database.ReadAsync(
        async session => await session.ScalarAsync<long>(
            "SELECT COUNT(*) FROM serving_rollouts WHERE endpoint = @Endpoint AND id <> @Id AND active = 1", new { rollout.Endpoint, rollout.Id }) > 0,
        ct);

    public async Task<IReadOnlyList<RolloutEvent>> TimelineAsync(string id, CancellationToken ct)
    {
        var rows = await database.ReadAsync(
            session => session.QueryAsync<EventRow>(
                """
                SELECT number AS Number, at AS At, kind AS Kind, state AS State, step AS Step, percent AS Percent, actor AS Actor, cause AS Cause, analysis AS Analysis
                FROM serving_rollout_events WHERE rollout = @id ORDER BY number
                """,
                new { id }),
            ct);
        return [.. rows.Select(row => new RolloutEvent(
            row.Number, Time.FromMicros(row.At), row.Kind, Enum.Parse<RolloutState>(row.State), (int)row.Step, row.Percent, row.Actor, row.Cause,
            row.Analysis is null ? null : FromJson<AnalysisReport>(row.Analysis)))];
    }

    /// <summary>Stores a proposal. AlreadyExists if the same candidate has an open rollout on the endpoint.</summary>
    public Task<Rollout> ProposeAsync(Actor actor, ProposeRollout request, string candidate, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            var endpoint = await tx.FindAsync<EndpointRow>("SELECT name AS Name, policy AS Policy FROM serving_endpoints WHERE name = @Endpoint", new { request.Endpoint })
                ?? throw Deployments.Missing(request.Endpoint);
            var route = await Deployments.FindAsync(tx, request.Endpoint) ?? throw Deployments.Missing(request.Endpoint);
            if (route.Stable.ModelVersion == candidate)
            {
                throw new SlipwayException(
                    ErrorCode.AlreadyExists, $"cannot roll out {candidate} on endpoint '{request.Endpoint}'", "it is the stable version there already", "propose another version");
            }

            var open = await tx.FindAsync<string>(
                "SELECT id FROM serving_rollouts WHERE endpoint = @Endpoint AND candidate = @candidate AND state NOT IN ('Healthy', 'Aborted')",
                new { request.Endpoint, candidate });
            if (open is not null)
            {
                throw new SlipwayException(
                    ErrorCode.AlreadyExists, $"cannot roll out {candidate} on endpoint '{request.Endpoint}'", $"rollout {open} of it has not ended", $"slipway rollout status {open}");
            }

            var now = clock.NowMicros();
            var rollout = new Rollout(
                Ids.New(), request.Endpoint, route.Stable.ModelVersion, candidate, request.Policy ?? endpoint.Policy, request.Spec, RolloutStatus.Proposed(now), 1, null,
                actor.Principal, Time.FromMicros(now), Time.FromMicros(now));
            await tx.ExecuteAsync(
                """
                INSERT INTO serving_rollouts (id, endpoint, stable, candidate, policy, spec, state, active, status, analysis, rev, proposed_by, proposed_at, updated_at)
                VALUES (@Id, @Endpoint, @Stable, @Candidate, @Policy, @spec, 'Pending', 0, @status, NULL, 1, @ProposedBy, @now, @now)
                """,
                new { rollout.Id, rollout.Endpoint, rollout.Stable, rollout.Candidate, rollout.Policy, spec = ToJson(rollout.Spec), status = ToJson(rollout.Status), rollout.ProposedBy, now });
            await TellAsync(tx, actor, rollout, Events.RolloutProposed, null, now);
            return rollout;
        },
        ct);

    /// <summary>Saves a transition; null if another one was faster, then the rollout must be read and judged again.</summary>
    public Task<Committed?> CommitAsync(Actor actor, Rollout before, Transition transition, CancellationToken ct) => database.WriteAsync<Committed?>(
        async tx =>
        {
            var now = clock.NowMicros();
            var next = transition.Next;
            var active = next.State is not (RolloutState.Pending or RolloutState.Healthy or RolloutState.Aborted) ? 1 : 0;
            if (active == 1 && await tx.ScalarAsync<long>(
                "SELECT COUNT(*) FROM serving_rollouts WHERE endpoint = @Endpoint AND id <> @Id AND active = 1", new { before.Endpoint, before.Id }) > 0
                && next.State != RolloutState.Aborting)
            {
                return null;
            }

            var route = await Deployments.FindAsync(tx, before.Endpoint) ?? throw Deployments.Missing(before.Endpoint);
            var stable = transition.Kind == Events.RolloutStarted ? route.Stable.ModelVersion : before.Stable;
            var analysis = transition.Analysis ?? before.LastAnalysis;
            var moved = await tx.ExecuteAsync(
                """
                UPDATE serving_rollouts SET state = @state, active = @active, status = @status, stable = @stable, analysis = @analysis, rev = rev + 1, updated_at = @now
                WHERE id = @Id AND rev = @Rev
                """,
                new
                {
                    state = next.State.ToString(),
                    // An abort of a proposal that never steered the endpoint must not collide with the rollout that does.
                    active = route.Rollout == before.Id || next.State != RolloutState.Aborting ? active : 0,
                    status = ToJson(next),
                    stable,
                    analysis = analysis is null ? null : ToJson(analysis),
                    now,
                    before.Id,
                    before.Rev,
                });
            if (moved == 0)
            {
                return null;
            }

            var after = before with { Status = next, Stable = stable, Rev = before.Rev + 1, LastAnalysis = analysis, UpdatedAt = Time.FromMicros(now) };
            var revision = Move(route, after, transition.Route);
            if (revision is not null)
            {
                await deployments.SaveAsync(tx, actor, revision, $"rollout {before.Id}: {next.Cause}");
            }

            await TellAsync(tx, actor, after, transition.Kind, transition.Analysis, now);
            return new Committed(after, revision);
        },
        ct);

    /// <summary>Keeps what a look established although nothing moved. Not a state change, so neither the revision nor the journal tells of it.</summary>
    public Task RememberAsync(Rollout rollout, AnalysisReport look, CancellationToken ct) => database.WriteAsync(
        tx => tx.ExecuteAsync(
            "UPDATE serving_rollouts SET status = @status, analysis = @analysis WHERE id = @Id AND rev = @Rev",
            new { status = ToJson(rollout.Status with { Memory = look.Memory }), analysis = ToJson(look), rollout.Id, rollout.Rev }),
        ct);

    private static RouteSpec? Move(RouteSpec route, Rollout rollout, RouteMove move)
    {
        switch (move)
        {
            case RouteMove.Weigh when route.Rollout is { } other && other != rollout.Id:
                throw new SlipwayException(
                    ErrorCode.Conflict, $"cannot change the route of endpoint '{route.Endpoint}'", $"rollout {other} steers it", $"slipway rollout status {other}");
            case RouteMove.Weigh when route.Rollout == rollout.Id && route.Candidate?.Percent == rollout.Status.Percent:
                return null;
            case RouteMove.Weigh:
                return route.WithCandidate(rollout.Id, rollout.Candidate, rollout.Status.Percent);
            case RouteMove.Revert:
                return route.Rollout == rollout.Id ? route.Settled(route.Stable.ModelVersion) : null;
            case RouteMove.Settle:
                return route.Settled(rollout.Candidate);
            default:
                return null;
        }
    }

    private async Task TellAsync(Tx tx, Actor actor, Rollout rollout, string kind, AnalysisReport? analysis, long now)
    {
        var status = rollout.Status;
        await tx.ExecuteAsync(
            """
            INSERT INTO serving_rollout_events (rollout, number, at, kind, state, step, percent, actor, cause, analysis)
            VALUES (@Id, @number, @now, @kind, @state, @Step, @Percent, @actor, @Cause, @analysis)
            """,
            new
            {
                rollout.Id,
                number = rollout.Rev,
                now,
                kind,
                state = status.State.ToString(),
                status.Step,
                status.Percent,
                actor = actor.ToString(),
                status.Cause,
                analysis = analysis is null ? null : ToJson(analysis),
            });
        await journal.AppendAsync(
            tx, actor, kind, rollout.Subject,
            new RolloutChanged(
                rollout.Id, rollout.Endpoint, rollout.Stable, rollout.Candidate, status.State.ToString(), status.Pause?.ToString(), status.Step, status.Percent, status.Attempt, status.Cause),
            [new Subject("endpoint", rollout.Endpoint), new Subject("model-version", rollout.Candidate), new Subject("model-version", rollout.Stable)]);
    }

    private static async Task<Rollout?> FindAsync(Session session, string id) =>
        await session.FindAsync<Row>($"{Columns} WHERE id = @id", new { id }) is { } row ? Read(row) : null;

    private static Rollout Read(Row row) => new(
        row.Id, row.Endpoint, row.Stable, row.Candidate, row.Policy, FromJson<RolloutSpec>(row.Spec), FromJson<RolloutStatus>(row.Status), row.Rev,
        row.Analysis is null ? null : FromJson<AnalysisReport>(row.Analysis), row.ProposedBy, Time.FromMicros(row.ProposedAt), Time.FromMicros(row.UpdatedAt));

    private static string ToJson<T>(T value) => JsonSerializer.Serialize(value, CanonicalJson.Options);

    private static T FromJson<T>(string text) => JsonSerializer.Deserialize<T>(text, CanonicalJson.Options)
        ?? throw new SlipwayException(ErrorCode.DataLoss, $"a stored {typeof(T).Name} cannot be read", "its row is empty");

    /// <summary>What a transition left behind: the rollout, and the route if it changed.</summary>
    internal sealed record Committed(Rollout Rollout, RouteSpec? Route);

    private sealed class EndpointRow
    {
        public string Name { get; set; } = "";

        public string? Policy { get; set; }
    }

    private sealed class Row
    {
        public string Id { get; set; } = "";

        public string Endpoint { get; set; } = "";

        public string Stable { get; set; } = "";

        public string Candidate { get; set; } = "";

        public string? Policy { get; set; }

        public string Spec { get; set; } = "";

        public string Status { get; set; } = "";

        public string? Analysis { get; set; }

        public long Rev { get; set; }

        public string ProposedBy { get; set; } = "";

        public long ProposedAt { get; set; }

        public long UpdatedAt { get; set; }
    }

    private sealed class EventRow
    {
        public long Number { get; set; }

        public long At { get; set; }

        public string Kind { get; set; } = "";

        public string State { get; set; } = "";

        public long Step { get; set; }

        public double Percent { get; set; }

        public string Actor { get; set; } = "";

        public string Cause { get; set; } = "";

        public string? Analysis { get; set; }
    }
}
