using System.Text.Json;
using Slipway.Foundation;
using Slipway.Serving.Routing;

namespace Slipway.Serving;

/// <summary>A command that may be sent twice: the key of its sender, and what it asks.</summary>
internal sealed record CommandKey(string Key, string Command);

/// <summary>
/// The stored rollouts. A transition is one transaction: the status by compare-and-set, the route revision, the timeline row and the journal
/// entry, so that a crash leaves either all of it or nothing.
/// </summary>
internal sealed class RolloutTransitions(Database database, Journal journal, Deployments deployments, Secrets secrets, TimeProvider clock)
{
    private const string SecretPurpose = "rollout-webhook";
    private const string Open = "state NOT IN ('Healthy', 'Aborted', 'Superseded')";
    private static readonly TimeSpan CommandsKept = TimeSpan.FromDays(7);

    // A candidate that went back is often tried again soon.
    private static readonly TimeSpan CandidateKept = TimeSpan.FromMinutes(30);

    private const string Columns =
        """
        SELECT id AS Id, endpoint AS Endpoint, stable AS Stable, candidate AS Candidate, policy AS Policy, spec AS Spec, status AS Status,
               analysis AS Analysis, findings AS Findings, rev AS Rev, proposed_by AS ProposedBy, proposed_at AS ProposedAt, updated_at AS UpdatedAt
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

    /// <summary>Rollouts in which a version is a candidate and that have not ended.</summary>
    public async Task<IReadOnlyList<Rollout>> OpenOfAsync(string candidate, CancellationToken ct)
    {
        var rows = await database.ReadAsync(session => session.QueryAsync<Row>($"{Columns} WHERE {Open}"), ct);
        return [.. rows.Select(Read).Where(rollout => rollout.Variants.Any(variant => variant.ModelVersion == candidate))];
    }

    public Task<IReadOnlyList<string>> OpenAsync(CancellationToken ct) => database.ReadAsync(
        session => session.QueryAsync<string>($"SELECT id FROM serving_rollouts WHERE {Open} ORDER BY proposed_at, id"), ct);

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

    /// <summary>
    /// Stores a proposal. AlreadyExists if the same candidate has an open rollout on the endpoint. Without an endpoint it is the first deployment,
    /// where the request says that one may be made.
    /// </summary>
    public Task<Rollout> ProposeAsync(Actor actor, ProposeRollout request, RolloutSpec spec, string candidate, CommandKey? key, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            var endpoint = await tx.FindAsync<EndpointRow>("SELECT name AS Name, policy AS Policy FROM serving_endpoints WHERE name = @Endpoint", new { request.Endpoint });
            if (endpoint is null && !request.CreateEndpoint)
            {
                throw Deployments.Missing(request.Endpoint);
            }

            var stable = (await Deployments.FindAsync(tx, request.Endpoint))?.Stable.ModelVersion ?? "";
            foreach (var arm in spec.Arms(candidate).Where(arm => arm.Role == VariantRole.Candidate && arm.ModelVersion == stable))
            {
                throw new SlipwayException(
                    ErrorCode.AlreadyExists, $"cannot roll out {arm.ModelVersion} on endpoint '{request.Endpoint}'", "it is the stable version there already", "propose another version");
            }

            var open = await tx.FindAsync<string>($"SELECT id FROM serving_rollouts WHERE endpoint = @Endpoint AND candidate = @candidate AND {Open}", new { request.Endpoint, candidate });
            if (open is not null)
            {
                throw new SlipwayException(
                    ErrorCode.AlreadyExists, $"cannot roll out {candidate} on endpoint '{request.Endpoint}'", $"rollout {open} of it has not ended", $"slipway rollout status {open}");
            }

            var now = clock.NowMicros();
            string? salt = null;
            if (spec.InheritSalt is { } earlier)
            {
                salt = (await FindAsync(tx, earlier) ?? throw SlipwayException.NotFound("rollout", earlier, "slipway rollout list")).Status.Salt ?? earlier;
            }

            await ClaimAsync(tx, "", spec, "propose the rollout");
            var (plan, keys) = Sealed(spec);
            var rollout = new Rollout(
                Ids.New(), request.Endpoint, stable, candidate, request.Policy ?? endpoint?.Policy, plan, RolloutStatus.Proposed(now) with { Salt = salt, Cause = spec.Reason ?? "proposed" }, 1, null,
                actor.Principal, Time.FromMicros(now), Time.FromMicros(now));
            await tx.ExecuteAsync(
                """
                INSERT INTO serving_rollouts (id, endpoint, stable, candidate, policy, spec, state, active, status, analysis, secrets, rev, proposed_by, proposed_at, updated_at)
                VALUES (@Id, @Endpoint, @Stable, @Candidate, @Policy, @spec, 'Pending', 0, @status, NULL, @keys, 1, @ProposedBy, @now, @now)
                """,
                new { rollout.Id, rollout.Endpoint, rollout.Stable, rollout.Candidate, rollout.Policy, spec = ToJson(rollout.Spec), status = ToJson(rollout.Status), keys, rollout.ProposedBy, now });
            await KeepAsync(tx, actor, key, rollout.Id, now);
            await TellAsync(tx, actor, rollout, Events.RolloutProposed, null, now);
            return rollout;
        },
        ct);

    /// <summary>Replaces the plan of a rollout that has not moved since it was read; null if it has.</summary>
    public Task<Rollout?> EditAsync(Actor actor, Rollout before, RolloutSpec spec, CommandKey? key, CancellationToken ct) => database.WriteAsync<Rollout?>(
        async tx =>
        {
            var now = clock.NowMicros();
            await ClaimAsync(tx, before.Id, spec, $"change the plan of rollout {before.Id}");
            var (plan, keys) = Sealed(spec);
            var after = before with { Spec = plan, Status = before.Status with { Cause = $"the plan was changed by {actor}" }, Rev = before.Rev + 1, UpdatedAt = Time.FromMicros(now) };
            // A plan that was read back has no keys of webhooks; those it had stay.
            var moved = await tx.ExecuteAsync(
                "UPDATE serving_rollouts SET spec = @spec, status = @status, secrets = COALESCE(@keys, secrets), rev = rev + 1, updated_at = @now WHERE id = @Id AND rev = @Rev",
                new { spec = ToJson(plan), status = ToJson(after.Status), keys, now, before.Id, before.Rev });
            if (moved == 0)
            {
                return null;
            }

            await KeepAsync(tx, actor, key, before.Id, now);
            await TellAsync(tx, actor, after, Events.RolloutEdited, null, now);
            return after;
        },
        ct);

    /// <summary>The rollout of an earlier command with the same key; null if there was none. Conflict if it was another command.</summary>
    public async Task<string?> DoneAsync(Actor actor, CommandKey key, CancellationToken ct)
    {
        var row = await database.ReadAsync(
            session => session.FindAsync<CommandRow>("SELECT command AS Command, rollout AS Rollout FROM serving_rollout_commands WHERE actor = @Principal AND key = @Key", new { actor.Principal, key.Key }), ct);
        return row is null ? null : row.Command == key.Command ? row.Rollout
            : throw new SlipwayException(ErrorCode.Conflict, $"the idempotency key '{key.Key}' cannot be used again", "it was sent with another command", "use a new key for every command");
    }

    /// <summary>The key of a webhook step, opened; null if it is not signed.</summary>
    public async Task<string?> SecretAsync(string id, int step, CancellationToken ct) =>
        await database.ReadAsync(session => session.FindAsync<string>("SELECT secrets FROM serving_rollouts WHERE id = @id", new { id }), ct) is { } keys
        && FromJson<Dictionary<int, string>>(keys).TryGetValue(step, out var kept) ? secrets.Open(SecretPurpose, kept) : null;

    /// <summary>A newer proposal of the endpoint that would start by itself, if any: the oldest of them.</summary>
    public async Task<Rollout?> NewerAsync(Rollout rollout, CancellationToken ct)
    {
        var rows = await database.ReadAsync(
            session => session.QueryAsync<Row>(
                $"{Columns} WHERE endpoint = @Endpoint AND state = 'Pending' AND proposed_at > @at ORDER BY proposed_at, id LIMIT 20",
                new { rollout.Endpoint, at = Time.ToMicros(rollout.ProposedAt) }),
            ct);
        return rows.Select(Read).FirstOrDefault(other => other.Spec.AutoStart);
    }

    /// <summary>Saves a transition; null if another one was faster, then the rollout must be read and judged again.</summary>
    public Task<Committed?> CommitAsync(Actor actor, Rollout before, Transition transition, CancellationToken ct, CommandKey? key = null, RolloutFindings? findings = null) => database.WriteAsync<Committed?>(
        async tx =>
        {
            var now = clock.NowMicros();
            var next = transition.Next;
            var active = next.State is not RolloutState.Pending && !next.Ended ? 1 : 0;
            if (active == 1 && await tx.ScalarAsync<long>(
                "SELECT COUNT(*) FROM serving_rollouts WHERE endpoint = @Endpoint AND id <> @Id AND active = 1", new { before.Endpoint, before.Id }) > 0
                && next.State != RolloutState.Aborting)
            {
                return null;
            }

            if (transition.Kind == Events.RolloutProposed)
            {
                // A retry: whoever was faster meanwhile may hold its part.
                await ClaimAsync(tx, before.Id, before.Spec, $"retry rollout {before.Id}");
            }

            var route = await Deployments.FindAsync(tx, before.Endpoint);
            if (route is null && transition.Route != RouteMove.Create && before.Stable.Length > 0)
            {
                throw Deployments.Missing(before.Endpoint);
            }

            var stable = transition.Kind == Events.RolloutStarted ? route?.Stable.ModelVersion ?? "" : before.Stable;
            var analysis = transition.Analysis ?? before.LastAnalysis;
            var known = findings ?? before.Findings;
            if (next.State == RolloutState.Progressing && next.Salt is null)
            {
                next = next with { Salt = before.Id };
            }

            var moved = await tx.ExecuteAsync(
                """
                UPDATE serving_rollouts SET state = @state, active = @active, status = @status, stable = @stable, analysis = @analysis, findings = @known, rev = rev + 1, updated_at = @now
                WHERE id = @Id AND rev = @Rev
                """,
                new
                {
                    state = next.State.ToString(),
                    // An abort of a proposal that never steered the endpoint must not collide with the rollout that does.
                    active = route?.Rollout == before.Id || next.State != RolloutState.Aborting ? active : 0,
                    status = ToJson(next),
                    stable,
                    analysis = analysis is null ? null : ToJson(analysis),
                    known = known is null ? null : ToJson(known),
                    now,
                    before.Id,
                    before.Rev,
                });
            if (moved == 0)
            {
                return null;
            }

            var after = before with { Status = next, Stable = stable, Rev = before.Rev + 1, LastAnalysis = analysis, Findings = known, UpdatedAt = Time.FromMicros(now) };
            RouteSpec? revision;
            if (transition.Route == RouteMove.Create)
            {
                revision = await deployments.CreateAsync(tx, actor, new CreateEndpoint { Name = before.Endpoint, ModelVersion = before.Candidate, Policy = before.Policy }, before.Candidate);
            }
            else if ((revision = route is null ? null : Move(route, after, transition.Route, now)) is not null)
            {
                await deployments.SaveAsync(tx, actor, revision, $"rollout {before.Id}: {next.Cause}");
            }

            await KeepAsync(tx, actor, key, before.Id, now);
            await TellAsync(tx, actor, after, transition.Kind, transition.Analysis, now);
            return new Committed(after, revision);
        },
        ct);

    /// <summary>Keeps what a look established although nothing moved. Not a state change, so neither the revision nor the journal tells of it.</summary>
    public Task RememberAsync(Rollout rollout, RolloutStatus status, AnalysisReport? look, RolloutFindings? findings, CancellationToken ct) => database.WriteAsync(
        tx => tx.ExecuteAsync(
            "UPDATE serving_rollouts SET status = @status, analysis = COALESCE(@analysis, analysis), findings = COALESCE(@findings, findings) WHERE id = @Id AND rev = @Rev",
            new { status = ToJson(status), analysis = look is null ? null : ToJson(look), findings = findings is null ? null : ToJson(findings), rollout.Id, rollout.Rev }),
        ct);

    /// <summary>
    /// Conflict if another rollout that has not ended holds a slot of the same namespace, on any endpoint. Transactions are serializable, so of two that claim at
    /// the same moment one sees the other.
    /// </summary>
    private static async Task ClaimAsync(Tx tx, string id, RolloutSpec spec, string act)
    {
        if (spec.Namespace is not { } part)
        {
            return;
        }

        var others = (await tx.QueryAsync<Row>($"{Columns} WHERE {Open} AND id <> @id", new { id })).Select(Read).Where(other => other.Spec.Namespace?.Name == part.Name).ToList();
        if (others.FirstOrDefault(other => other.Spec.Namespace!.Overlaps(part)) is { } holder)
        {
            throw new SlipwayException(
                ErrorCode.Conflict, $"cannot {act}", $"it asks for {part.Words}, and rollout {holder.Id} on endpoint '{holder.Endpoint}' holds {holder.Spec.Namespace!.Words}",
                $"take a free part ({NamespaceRule.Free(others.Select(other => other.Spec.Namespace!))}), or wait until that rollout has ended");
        }
    }

    private static RouteSpec? Move(RouteSpec route, Rollout rollout, RouteMove move, long now)
    {
        switch (move)
        {
            case RouteMove.Weigh or RouteMove.Settle or RouteMove.Undo when route.Rollout is { } other && other != rollout.Id:
                throw new SlipwayException(
                    ErrorCode.Conflict, $"cannot change the route of endpoint '{route.Endpoint}'", $"rollout {other} steers it", $"slipway rollout status {other}");
            case RouteMove.Weigh:
                return Weighed(route, rollout) is var next && Same(route, next) ? null : next;
            case RouteMove.Revert or RouteMove.Release:
                return route.Rollout == rollout.Id ? route.Settled(route.Stable.ModelVersion, Until(CandidateKept)) : null;
            case RouteMove.Settle:
                return route.Settled(rollout.Successor, Until(rollout.Spec.Kept));
            case RouteMove.Undo:
                return route.Settled(rollout.Status.UndoneTo!, Until(rollout.Spec.Kept));
            default:
                return null;
        }

        long Until(TimeSpan kept) => now + (kept.Ticks / TimeSpan.TicksPerMicrosecond);
    }

    /// <summary>The next revision of a route by a rollout's status: every variant with its share, copies and matches.</summary>
    private static RouteSpec Weighed(RouteSpec route, Rollout rollout)
    {
        var (spec, status) = (rollout.Spec, rollout.Status);
        var arms = rollout.Variants
            .Where(arm => status.Weights?.ContainsKey(arm.Name) ?? arm.Name == "candidate")
            .Select(arm => new RouteVariant(arm.Name, arm.Role == VariantRole.Baseline ? rollout.Stable : arm.ModelVersion, status.WeightOf(arm.Name)))
            .ToList();
        var rest = Math.Max(0, Math.Round(100 - arms.Sum(arm => arm.Percent), 4));
        var rules = status.Matches.Select(index => spec.Steps[index]).Select(step => new MatchRule(step.Variant ?? spec.First, step.Header, step.Cookie, step.Values, step.Entities) { Attributes = step.Attributes });
        var mirrors = (status.Mirrors ?? new Dictionary<string, double>()).Where(mirror => mirror.Value > 0).Select(mirror => new MirrorRule(mirror.Key, mirror.Value));
        var preview = spec.Kind == RolloutKind.BlueGreen && status.BakingSince == 0 && arms.Any(arm => arm.Name == spec.First) ? spec.First : null;
        return route.Next(
            rollout.Id, status.Salt ?? rollout.Id, [route.Stable with { Percent = rest }, .. arms], [.. rules], [.. mirrors],
            new LeaseRule(spec.Leased.Duration, spec.Leased.Freeze ? LeaseExpiry.Freeze : LeaseExpiry.Revert), preview, exposures: spec.Steps.Any(step => step.Kind is "experiment" or "bandit")) with
        {
            // A winner is for everyone.
            Namespace = status.BakingSince == 0 ? spec.Namespace : null,
        };
    }

    private static bool Same(RouteSpec route, RouteSpec next) => ToJson(route) == ToJson(next with { Revision = route.Revision });

    // Keys of webhooks leave the plan before it is stored or shown.
    private (RolloutSpec Plan, string? Keys) Sealed(RolloutSpec spec)
    {
        var keys = new Dictionary<int, string>();
        var steps = spec.Steps.ToArray();
        for (var i = 0; i < steps.Length; i++)
        {
            if (steps[i].Secret is { Length: > 0 } secret)
            {
                keys[i] = secrets.Seal(SecretPurpose, secret);
                steps[i] = steps[i] with { Secret = null, Signed = true };
            }
        }

        return keys.Count == 0 ? (spec, null) : (spec with { Steps = steps }, ToJson(keys));
    }

    private static async Task KeepAsync(Tx tx, Actor actor, CommandKey? key, string rollout, long now)
    {
        if (key is null)
        {
            return;
        }

        await tx.ExecuteAsync("DELETE FROM serving_rollout_commands WHERE at < @old", new { old = now - (CommandsKept.Ticks / TimeSpan.TicksPerMicrosecond) });
        await tx.ExecuteAsync(
            "INSERT INTO serving_rollout_commands (actor, key, command, rollout, at) VALUES (@Principal, @Key, @Command, @rollout, @now)",
            new { actor.Principal, key.Key, key.Command, rollout, now });
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
                rollout.Id, rollout.Endpoint, rollout.Stable, rollout.Candidate, status.State.ToString(), status.Pause?.ToString(), status.Step, status.Percent, status.Attempt, status.Cause)
            {
                Serves = kind == Events.RolloutFinished ? status.UndoneTo ?? (status.BakingSince > 0 || rollout.Stable.Length == 0 ? rollout.Successor : rollout.Stable) : null,
                Weights = status.Weights,
                Pipeline = kind == Events.RolloutJobAsked ? rollout.Spec.Steps[status.Step].Pipeline : null,
            },
            Links(rollout));
    }

    private static List<Subject> Links(Rollout rollout) =>
    [
        new("endpoint", rollout.Endpoint),
        .. rollout.Variants.Select(variant => variant.ModelVersion).Append(rollout.Stable).Where(version => version.Length > 0).Distinct(StringComparer.Ordinal).Select(version => new Subject("model-version", version)),
    ];

    private static async Task<Rollout?> FindAsync(Session session, string id) =>
        await session.FindAsync<Row>($"{Columns} WHERE id = @id", new { id }) is { } row ? Read(row) : null;

    private static Rollout Read(Row row) => new(
        row.Id, row.Endpoint, row.Stable, row.Candidate, row.Policy, FromJson<RolloutSpec>(row.Spec), FromJson<RolloutStatus>(row.Status), row.Rev,
        row.Analysis is null ? null : FromJson<AnalysisReport>(row.Analysis), row.ProposedBy, Time.FromMicros(row.ProposedAt), Time.FromMicros(row.UpdatedAt))
    {
        Findings = row.Findings is null ? null : FromJson<RolloutFindings>(row.Findings),
    };

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

        public string? Findings { get; set; }

        public long Rev { get; set; }

        public string ProposedBy { get; set; } = "";

        public long ProposedAt { get; set; }

        public long UpdatedAt { get; set; }
    }

    private sealed class CommandRow
    {
        public string Command { get; set; } = "";

        public string Rollout { get; set; } = "";
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
