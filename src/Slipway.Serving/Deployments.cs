using System.Text.Json;
using Slipway.Foundation;
using Slipway.Serving.Routing;

namespace Slipway.Serving;

/// <summary>A stored revision with who made it and why.</summary>
public sealed record RouteRevision(RouteSpec Spec, DateTimeOffset At, string Actor, string Cause);

/// <summary>The stored endpoints and routes: one writer of both for endpoints and rollouts, so that a route never changes without its reason.</summary>
internal sealed class Deployments(Database database, Journal journal, TimeProvider clock)
{
    public Task<RouteSpec?> FindAsync(string endpoint, CancellationToken ct) => database.ReadAsync(session => FindAsync(session, endpoint), ct);

    /// <summary>The endpoint's present route, or null.</summary>
    public static async Task<RouteSpec?> FindAsync(Session session, string endpoint) =>
        await session.FindAsync<string>(
            "SELECT r.spec FROM serving_route_revisions r JOIN serving_endpoints e ON e.name = r.endpoint AND e.revision = r.revision WHERE e.name = @endpoint",
            new { endpoint }) is { } spec ? Read(spec) : null;

    /// <summary>Stores a new endpoint with its first route. Its revisions go on counting if the name was used before.</summary>
    public Task<RouteSpec> CreateAsync(Actor actor, CreateEndpoint request, string modelVersion, CancellationToken ct) =>
        database.WriteAsync(tx => CreateAsync(tx, actor, request, modelVersion), ct);

    /// <inheritdoc cref="CreateAsync(Actor, CreateEndpoint, string, CancellationToken)"/>
    public async Task<RouteSpec> CreateAsync(Tx tx, Actor actor, CreateEndpoint request, string modelVersion)
    {
        if (await tx.FindAsync<string>("SELECT name FROM serving_endpoints WHERE name = @Name", new { request.Name }) is not null)
        {
            throw new SlipwayException(
                ErrorCode.AlreadyExists, $"cannot create endpoint '{request.Name}'", "an endpoint of that name exists", "choose another name, or roll the version out on it");
        }

        var now = clock.NowMicros();
        var last = await tx.ScalarAsync<long>("SELECT COALESCE(MAX(revision), 0) FROM serving_route_revisions WHERE endpoint = @Name", new { request.Name });
        var spec = RouteSpec.First(request.Name, last + 1, modelVersion, request.LogPredictions, request.Settings);
        await tx.ExecuteAsync(
            "INSERT INTO serving_endpoints (name, policy, revision, created_by, created_at, updated_at) VALUES (@Name, @Policy, @Revision, @by, @now, @now)",
            new { request.Name, request.Policy, spec.Revision, by = actor.ToString(), now });
        await journal.AppendAsync(
            tx, actor, Events.EndpointCreated, new Subject("endpoint", request.Name), new EndpointCreated(modelVersion, request.Policy, request.LogPredictions),
            [new Subject("model-version", modelVersion)]);
        await InsertAsync(tx, actor, spec, "created", now);
        return spec;
    }

    /// <summary>Makes a version stable at once. Conflict while a rollout steers the endpoint.</summary>
    public Task<RouteSpec> DeployAsync(Actor actor, string endpoint, string modelVersion, string cause, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            var spec = await FindAsync(tx, endpoint) ?? throw Missing(endpoint);
            if (spec.Rollout is { } rollout)
            {
                throw new SlipwayException(
                    ErrorCode.Conflict, $"cannot deploy to endpoint '{endpoint}'", $"rollout {rollout} is in progress", $"slipway rollout abort {rollout}");
            }

            var next = spec.Settled(modelVersion);
            await SaveAsync(tx, actor, next, cause);
            return next;
        },
        ct);

    /// <summary>Changes how the endpoint serves; its variants and their shares stay, also during a rollout.</summary>
    public Task<RouteSpec> ConfigureAsync(Actor actor, string endpoint, EndpointSettings settings, string cause, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            var spec = await FindAsync(tx, endpoint) ?? throw Missing(endpoint);
            var next = spec with { Revision = spec.Revision + 1, Settings = settings };
            await SaveAsync(tx, actor, next, cause);
            return next;
        },
        ct);

    /// <summary>Removes the endpoint; its routes stay as history. Conflict while a rollout steers it.</summary>
    public Task DeleteAsync(Actor actor, string endpoint, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            if (await FindAsync(tx, endpoint) is { Rollout: { } rollout })
            {
                throw new SlipwayException(
                    ErrorCode.Conflict, $"cannot delete endpoint '{endpoint}'", $"rollout {rollout} is in progress", $"slipway rollout abort {rollout}");
            }

            if (await tx.ExecuteAsync("DELETE FROM serving_endpoints WHERE name = @endpoint", new { endpoint }) == 0)
            {
                throw Missing(endpoint);
            }

            await journal.AppendAsync(tx, actor, Events.EndpointDeleted, new Subject("endpoint", endpoint));
        },
        ct);

    /// <summary>Says whether nodes hold the endpoint in memory. NotFound if there is none.</summary>
    public Task SetLoadedAsync(Actor actor, string endpoint, bool loaded, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            _ = await FindAsync(tx, endpoint) ?? throw Missing(endpoint);
            if (await tx.ExecuteAsync("UPDATE serving_endpoints SET unloaded = @now WHERE name = @endpoint AND unloaded <> @now", new { endpoint, now = loaded ? 0 : 1 }) > 0)
            {
                await journal.AppendAsync(tx, actor, loaded ? Events.EndpointLoaded : Events.EndpointUnloaded, new Subject("endpoint", endpoint));
            }
        },
        ct);

    /// <summary>Records that a model of the repository's folder was loaded or unloaded; it has no row.</summary>
    public Task RecordAsync(Actor actor, string endpoint, bool loaded, CancellationToken ct) => database.WriteAsync(
        tx => journal.AppendAsync(tx, actor, loaded ? Events.EndpointLoaded : Events.EndpointUnloaded, new Subject("endpoint", endpoint)), ct);

    /// <summary>Stored endpoints by name; all of them without a name.</summary>
    public async Task<IReadOnlyList<(EndpointRow Row, RouteSpec Route)>> ListAsync(string? name, CancellationToken ct)
    {
        var rows = await database.ReadAsync(
            session => session.QueryAsync<EndpointRow>(
                """
                SELECT e.name AS Name, e.policy AS Policy, e.created_by AS CreatedBy, e.created_at AS CreatedAt, e.updated_at AS UpdatedAt, r.spec AS Spec
                FROM serving_endpoints e JOIN serving_route_revisions r ON r.endpoint = e.name AND r.revision = e.revision
                """ + (name is null ? " ORDER BY e.name" : " WHERE e.name = @name"),
                new { name }),
            ct);
        return [.. rows.Select(row => (row, Read(row.Spec)))];
    }

    /// <summary>The refusal for an endpoint that does not exist.</summary>
    public static SlipwayException Missing(string endpoint) => SlipwayException.NotFound("endpoint", endpoint, "slipway endpoint list");

    /// <summary>The revision that each endpoint has now.</summary>
    public Task<IReadOnlyList<CurrentRow>> CurrentAsync(CancellationToken ct) =>
        database.ReadAsync(session => session.QueryAsync<CurrentRow>("SELECT name AS Name, revision AS Revision, unloaded AS Unloaded, lease_until AS LeaseUntil FROM serving_endpoints"), ct);

    /// <summary>
    /// Renews the lease of the route that <paramref name="rollout"/> steers: nodes that see the value grow give the route its duration again. No revision
    /// and no journal entry; true if the rollout still steers the endpoint.
    /// </summary>
    public Task<bool> RenewLeaseAsync(string endpoint, string rollout, long untilMicros, CancellationToken ct) => database.WriteAsync(
        async tx => await FindAsync(tx, endpoint) is { } spec && spec.Rollout == rollout
            && await tx.ExecuteAsync("UPDATE serving_endpoints SET lease_until = @untilMicros WHERE name = @endpoint AND lease_until < @untilMicros", new { endpoint, untilMicros }) >= 0,
        ct);

    /// <summary>The revisions of an endpoint that a rollout steered.</summary>
    public async Task<IReadOnlySet<long>> RevisionsOfAsync(string endpoint, string rollout, CancellationToken ct)
    {
        var rows = await database.ReadAsync(
            session => session.QueryAsync<string>("SELECT spec FROM serving_route_revisions WHERE endpoint = @endpoint AND spec LIKE @within", new { endpoint, within = $"%{rollout}%" }), ct);
        return rows.Select(Read).Where(spec => spec.Rollout == rollout).Select(spec => spec.Revision).ToHashSet();
    }

    /// <summary>Stored revisions, newest first.</summary>
    public async Task<IReadOnlyList<RouteRevision>> HistoryAsync(string endpoint, int limit, CancellationToken ct)
    {
        var rows = await database.ReadAsync(
            session => session.QueryAsync<Row>(
                "SELECT at AS At, actor AS Actor, cause AS Cause, spec AS Spec FROM serving_route_revisions WHERE endpoint = @endpoint ORDER BY revision DESC LIMIT @limit",
                new { endpoint, limit = Math.Clamp(limit, 1, 1000) }),
            ct);
        return [.. rows.Select(row => new RouteRevision(Read(row.Spec), Time.FromMicros(row.At), row.Actor, row.Cause))];
    }

    /// <summary>
    /// Saves the next revision and tells the journal. Conflict if the route has moved on since <paramref name="next"/> was made from it.
    /// </summary>
    public async Task SaveAsync(Tx tx, Actor actor, RouteSpec next, string cause)
    {
        var now = clock.NowMicros();
        var moved = await tx.ExecuteAsync(
            "UPDATE serving_endpoints SET revision = @Revision, updated_at = @now, lease_until = @lease WHERE name = @Endpoint AND revision = @before",
            new { next.Revision, now, next.Endpoint, before = next.Revision - 1, lease = next.Lease is { } rule ? now + (long)rule.Duration.TotalMicroseconds : 0 });
        if (moved == 0)
        {
            throw new SlipwayException(
                ErrorCode.Conflict, $"cannot change the route of endpoint '{next.Endpoint}'", $"revision {next.Revision - 1} is not its present one any more", "read the endpoint again and repeat the change");
        }

        await InsertAsync(tx, actor, next, cause, now);
    }

    private async Task InsertAsync(Tx tx, Actor actor, RouteSpec spec, string cause, long now)
    {
        await tx.ExecuteAsync(
            "INSERT INTO serving_route_revisions (endpoint, revision, at, actor, cause, spec) VALUES (@Endpoint, @Revision, @now, @actor, @cause, @text)",
            new { spec.Endpoint, spec.Revision, now, actor = actor.ToString(), cause, text = JsonSerializer.Serialize(spec, CanonicalJson.Options) });
        var links = spec.Variants.Select(variant => new Subject("model-version", variant.ModelVersion));
        await journal.AppendAsync(
            tx, actor, Events.EndpointChanged, new Subject("endpoint", spec.Endpoint),
            new EndpointChanged(spec.Endpoint, spec.Revision, spec.Stable.ModelVersion, spec.Candidate?.ModelVersion, spec.Candidate?.Percent ?? 0, spec.Rollout, cause) { Variants = spec.Variants },
            spec.Rollout is { } rollout ? links.Append(new Subject("rollout", rollout)) : links);
    }

    private static RouteSpec Read(string text) => JsonSerializer.Deserialize<RouteSpec>(text, CanonicalJson.Options)
        ?? throw new SlipwayException(ErrorCode.DataLoss, "a stored route cannot be read", "its row is empty");

    internal sealed class CurrentRow
    {
        public string Name { get; set; } = "";

        public long Revision { get; set; }

        public long Unloaded { get; set; }

        public long LeaseUntil { get; set; }
    }

    internal sealed class EndpointRow
    {
        public string Name { get; set; } = "";

        public string? Policy { get; set; }

        public string CreatedBy { get; set; } = "";

        public long CreatedAt { get; set; }

        public long UpdatedAt { get; set; }

        public string Spec { get; set; } = "";
    }

    private sealed class Row
    {
        public long At { get; set; }

        public string Actor { get; set; } = "";

        public string Cause { get; set; } = "";

        public string Spec { get; set; } = "";
    }
}
