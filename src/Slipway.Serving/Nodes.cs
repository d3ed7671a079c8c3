using System.Collections.Concurrent;
using System.Text.Json;
using Slipway.Foundation;
using Slipway.Monitoring;
using Slipway.Serving.Routing;

namespace Slipway.Serving;

/// <summary>What a node serves of an endpoint that a rollout steers.</summary>
/// <param name="Node">The node's name.</param>
/// <param name="Live">Whether it was heard of in the last seconds.</param>
/// <param name="SeenAt">UTC, of its last sign of life.</param>
/// <param name="Revision">The route revision that it serves; 0: it serves nothing of the endpoint.</param>
/// <param name="Current">Whether that is the present one.</param>
/// <param name="Shares">What its requests meet: percent by variant.</param>
/// <param name="Why">Why it serves only stable although the route says otherwise, or null.</param>
/// <param name="Drives">Whether it takes the rollout's steps.</param>
/// <param name="Mirrors">Copies that it has dropped, by mirror; when it told last.</param>
public sealed record NodeShares(
    string Node, bool Live, DateTimeOffset SeenAt, long Revision, bool Current, IReadOnlyDictionary<string, double> Shares, string? Why, bool Drives, IReadOnlyList<NodeMirror> Mirrors);

/// <summary>Copies of requests that one node did not make, because its queue was full.</summary>
/// <param name="Variant">The variant that gets copies.</param>
/// <param name="ModelVersion">Its version.</param>
/// <param name="Dropped">Copies dropped since the node's start.</param>
public sealed record NodeMirror(string Variant, string ModelVersion, long Dropped);

/// <summary>What all nodes counted of an endpoint.</summary>
/// <param name="Count">A variant's counts since a moment.</param>
/// <param name="Counted">Which nodes that were, in words; null where there is only this one.</param>
/// <param name="Missing">Whose latest counts nobody knows, in words; null if everyone has told.</param>
public sealed record NodesHealth(Func<string, DateTimeOffset, HealthCounts> Count, string? Counted, string? Missing)
{
    /// <summary>What a variant's counts since a moment say.</summary>
    public VariantHealth Of(string variant, DateTimeOffset since) => Count(variant, since).Read();
}

/// <summary>
/// The nodes that serve. Each writes down what it serves of the endpoints that rollouts steer; a node that falls silent is waited for until its lease has
/// ended and its traffic is back on stable. Each also writes down what it counted of their requests, so that whoever takes a rollout's steps adds up all of them.
/// </summary>
internal sealed class Nodes(Database database, Routes routes, Deployments deployments, Health health, FoundationOptions foundation, TimeProvider clock)
{
    private const string Alone = "this";
    private static readonly TimeSpan Beat = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan Told = TimeSpan.FromSeconds(6);
    private static readonly TimeSpan Heard = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Kept = TimeSpan.FromDays(1);

    // When a sign of life of another node was first seen, by this node's own clock: clocks of machines need not agree.
    private readonly ConcurrentDictionary<string, (long SeenAt, long Since)> _seen = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, long> _drives = new(StringComparer.Ordinal);
    private readonly long _began = clock.GetUtcNow().ToUnixTimeSeconds();
    private string _reported = "";
    private long _reportedAt;
    private IReadOnlyList<string> _steered = [];
    private long _counted = clock.GetUtcNow().ToUnixTimeSeconds();

    private string Own => foundation.Node ?? Alone;

    /// <summary>Notes that this node takes a rollout's steps.</summary>
    public void Drive(string rollout) => _drives[rollout] = clock.GetTimestamp();

    /// <summary>Notes that it ended.</summary>
    public void Done(string rollout) => _drives.TryRemove(rollout, out _);

    /// <summary>Writes down what this node serves, when that has changed or the last sign of life is two seconds old. Not a state change, so the journal does not tell of it.</summary>
    /// <param name="steered">Endpoints whose stored route has a lease.</param>
    /// <param name="ct">Cancels.</param>
    public async Task ReportAsync(IEnumerable<string> steered, CancellationToken ct)
    {
        if (foundation.Node is not { } node)
        {
            return;
        }

        _steered = [.. steered];
        var report = new Report(_steered.ToDictionary(endpoint => endpoint, Serves, StringComparer.Ordinal), Driven());
        var text = JsonSerializer.Serialize(report, CanonicalJson.Options);
        // Copies dropped meanwhile can wait for the next sign of life.
        var told = JsonSerializer.Serialize(report with { Routes = report.Routes.ToDictionary(route => route.Key, route => route.Value with { Mirrors = null }, StringComparer.Ordinal) }, CanonicalJson.Options);
        if (told == _reported && clock.GetElapsedTime(_reportedAt) < Beat)
        {
            return;
        }

        var now = clock.NowMicros();
        // A request counts for the second in which it ended, and that second's count may still be on its way.
        var until = clock.GetUtcNow().ToUnixTimeSeconds() - 1;
        await database.WriteAsync(
            async tx =>
            {
                await tx.ExecuteAsync(
                    "INSERT INTO serving_nodes (node, seen_at, report) VALUES (@node, @now, @text) ON CONFLICT (node) DO UPDATE SET seen_at = excluded.seen_at, report = excluded.report", new { node, now, text });
                await tx.ExecuteAsync("DELETE FROM serving_nodes WHERE seen_at < @old", new { old = now - (Kept.Ticks / TimeSpan.TicksPerMicrosecond) });
                await TellAsync(tx, node, until);
                await tx.ExecuteAsync("DELETE FROM serving_node_health WHERE until_second < @old", new { old = until - Health.Seconds });
            },
            ct);
        (_reported, _reportedAt, _counted) = (told, clock.GetTimestamp(), Math.Max(until, _counted));
    }

    /// <summary>A node that stops in order is not waited for, and what it counted stays.</summary>
    public Task LeaveAsync(CancellationToken ct) => foundation.Node is { } node
        ? database.WriteAsync(
            async tx =>
            {
                await TellAsync(tx, node, clock.GetUtcNow().ToUnixTimeSeconds() + 1);
                await tx.ExecuteAsync("DELETE FROM serving_nodes WHERE node = @node", new { node });
            },
            ct)
        : Task.CompletedTask;

    // What was counted since the last time, second by second (a step may begin at any of them), a row for each variant that had requests.
    private async Task TellAsync(Tx tx, string node, long until)
    {
        var from = Math.Max(_counted, until - Health.Seconds);
        foreach (var endpoint in _steered)
        {
            foreach (var variant in health.Variants(endpoint))
            {
                var seconds = new Dictionary<long, HealthCounts>();
                for (var second = from; second < until; second++)
                {
                    if (health.Count(endpoint, variant, second, second + 1) is { Requests: > 0 } counts)
                    {
                        seconds[second] = counts;
                    }
                }

                if (seconds.Count > 0)
                {
                    await tx.ExecuteAsync(
                        """
                        INSERT INTO serving_node_health (endpoint, node, variant, from_second, until_second, counts) VALUES (@endpoint, @node, @variant, @from, @until, @text)
                        ON CONFLICT (endpoint, node, variant, from_second) DO UPDATE SET until_second = excluded.until_second, counts = excluded.counts
                        """,
                        new { endpoint, node, variant, from, until, text = JsonSerializer.Serialize(seconds, CanonicalJson.Options) });
                }
            }
        }
    }

    /// <summary>
    /// What all nodes counted of an endpoint since <paramref name="since"/>: this one from its memory, which is newest, the others as they wrote it down. One
    /// that has been silent for less than the lease may go on serving the candidate, so its count is incomplete; after that it is back on stable or gone.
    /// </summary>
    public async Task<NodesHealth> HealthAsync(string endpoint, DateTimeOffset since, TimeSpan lease, CancellationToken ct)
    {
        if (foundation.Node is not { } own)
        {
            return new((variant, from) => health.Count(endpoint, variant, from.ToUnixTimeSeconds(), clock.GetUtcNow().ToUnixTimeSeconds() + 1), null, null);
        }

        // This node's own rows are from before its process began, when it was another one.
        var rows = await database.ReadAsync(
            session => session.QueryAsync<HealthRow>(
                """
                SELECT variant AS Variant, counts AS Counts FROM serving_node_health
                WHERE endpoint = @endpoint AND until_second > @from AND (node <> @own OR from_second < @_began)
                """,
                new { endpoint, own, _began, from = since.ToUnixTimeSeconds() }),
            ct);
        var told = rows.SelectMany(row => JsonSerializer.Deserialize<Dictionary<long, HealthCounts>>(row.Counts, CanonicalJson.Options)!.Select(each => (row.Variant, Second: each.Key, Counts: each.Value))).ToList();
        var now = clock.GetUtcNow();
        var (live, missing, gone) = (1, new List<string>(), new List<string>());
        foreach (var (node, seenAt, _) in (await ReadAsync(ct)).Where(row => row.Node != own))
        {
            if (Silence(node, seenAt) is var silence && silence < Told && now - Time.FromMicros(seenAt) < Told)
            {
                live++;
            }
            else
            {
                (silence < lease ? missing : gone).Add($"{node} (last heard of at {Time.FromMicros(seenAt).UtcDateTime:HH:mm:ss} UTC)");
            }
        }

        var counted = live + missing.Count + gone.Count == 1 ? null : $"counted on {live} node{(live == 1 ? "" : "s")}";
        return new(
            (variant, from) => told.Where(row => row.Variant == variant && row.Second >= from.ToUnixTimeSeconds())
                .Aggregate(health.Count(endpoint, variant, from.ToUnixTimeSeconds(), now.ToUnixTimeSeconds() + 1), (sum, row) => sum.Add(row.Counts)),
            gone.Count > 0 ? $"{counted} and, until silent for longer than the lease, on {string.Join(", ", gone)}" : counted,
            missing.Count > 0 ? $"what node {string.Join(" and ", missing)} has counted since is unknown" : null);
    }

    /// <summary>
    /// Whether every live node serves the endpoint's present revision. One that serves nothing of the endpoint contradicts nothing; one that has been silent for
    /// the duration of the lease has gone back to stable by itself, or is gone.
    /// </summary>
    /// <param name="endpoint">The endpoint.</param>
    /// <param name="lease">The duration of its lease.</param>
    /// <param name="least">Live nodes that must serve it, at least.</param>
    /// <param name="ct">Cancels.</param>
    public async Task<StepAnswer> ServeAsync(string endpoint, TimeSpan lease, int least, CancellationToken ct)
    {
        var revision = await RevisionAsync(endpoint, ct);
        var (served, ready, silent, behind) = (0, 0, new List<string>(), new List<string>());
        foreach (var (node, seenAt, report) in await ReadAsync(ct))
        {
            var route = report.Routes.GetValueOrDefault(endpoint);
            ready += route?.Revision >= revision && (node == Own || Silence(node, seenAt) < Told) ? 1 : 0;
            if (route is not null && (route.Revision >= revision || route.Revision == 0))
            {
                served++;
            }
            else if (node != Own && Silence(node, seenAt) >= lease)
            {
                silent.Add(node);
            }
            else
            {
                behind.Add($"{node} serves {(route is null ? "an earlier one" : $"{route.Revision}")}");
            }
        }

        if (behind.Count == 0 && ready < least)
        {
            return new(false, false, $"waits until {least} nodes have it loaded: {ready} {(ready == 1 ? "has" : "have")}");
        }

        var why = behind.Count > 0 ? $"waits until every node serves revision {revision}: {string.Join(", ", behind)}"
            : served == 1 && silent.Count == 0 ? "served"
            : $"served by {served} node{(served == 1 ? "" : "s")}";
        return new(behind.Count == 0, false, silent.Count > 0 ? $"{why}; silent for longer than the lease: {string.Join(", ", silent)}" : why);
    }

    /// <summary>Every node with what it serves of an endpoint.</summary>
    public async Task<IReadOnlyList<NodeShares>> ListAsync(string endpoint, string rollout, CancellationToken ct)
    {
        var (revision, now) = (await RevisionAsync(endpoint, ct), clock.GetUtcNow());
        return [.. (await ReadAsync(ct)).Select(row =>
        {
            var route = row.Report.Routes.GetValueOrDefault(endpoint) ?? new NodeRoute(0, new Dictionary<string, double>(), "it has not told yet");
            return new NodeShares(row.Node, now - Time.FromMicros(row.SeenAt) < Heard, Time.FromMicros(row.SeenAt), route.Revision, route.Revision >= revision, route.Shares, route.Why, row.Report.Drives.Contains(rollout, StringComparer.Ordinal), route.Mirrors ?? []);
        })];
    }

    /// <summary>The mirrors of an endpoint on every node, with the copies that each has dropped; none of an endpoint that is gone.</summary>
    public async Task<IReadOnlyList<NodeMirror>> MirrorsAsync(string endpoint, CancellationToken ct) =>
        [.. (await ReadAsync(ct)).SelectMany(row => row.Report.Routes.GetValueOrDefault(endpoint)?.Mirrors ?? [])];

    // This node knows itself better than its row does.
    private async Task<IReadOnlyList<(string Node, long SeenAt, Report Report)>> ReadAsync(CancellationToken ct)
    {
        var rows = foundation.Node is null ? [] : await database.ReadAsync(session => session.QueryAsync<Row>("SELECT node AS Node, seen_at AS SeenAt, report AS Report FROM serving_nodes ORDER BY node"), ct);
        var own = new Report(routes.All.ToDictionary(route => route.Endpoint, route => Serves(route.Endpoint), StringComparer.Ordinal), Driven());
        return [(Own, clock.NowMicros(), own), .. rows.Where(row => row.Node != Own).Select(row => (row.Node, row.SeenAt, JsonSerializer.Deserialize<Report>(row.Report, CanonicalJson.Options)!))];
    }

    private async Task<long> RevisionAsync(string endpoint, CancellationToken ct) => (await deployments.FindAsync(endpoint, ct) ?? throw Deployments.Missing(endpoint)).Revision;

    private NodeRoute Serves(string endpoint) => routes.Find(endpoint) is { Table: { } table } route
        ? new(table.Spec.Revision, table.Spec.Variants.ToDictionary(variant => variant.Name, variant => route.Reverted is null ? variant.Percent : variant.Name == table.Spec.Stable.Name ? 100 : 0, StringComparer.Ordinal), route.Reverted)
        {
            Mirrors = [.. route.Shadows.Select(shadow => shadow.Read()).Select(mirror => new NodeMirror(mirror.Variant, mirror.ModelVersion, mirror.Dropped))],
        }
        : new(0, new Dictionary<string, double>(), routes.Find(endpoint)?.NotReady ?? "it is not loaded");

    private string[] Driven() => [.. _drives.Where(each => clock.GetElapsedTime(each.Value) < TimeSpan.FromMinutes(2)).Select(each => each.Key).Order(StringComparer.Ordinal)];

    private TimeSpan Silence(string node, long seenAt)
    {
        var known = _seen.AddOrUpdate(node, _ => (seenAt, clock.GetTimestamp()), (_, before) => before.SeenAt == seenAt ? before : (seenAt, clock.GetTimestamp()));
        return clock.GetElapsedTime(known.Since);
    }

    private sealed record NodeRoute(long Revision, IReadOnlyDictionary<string, double> Shares, string? Why)
    {
        public IReadOnlyList<NodeMirror>? Mirrors { get; init; }
    }

    private sealed record Report(IReadOnlyDictionary<string, NodeRoute> Routes, IReadOnlyList<string> Drives);

    private sealed class HealthRow
    {
        public string Variant { get; set; } = "";

        public string Counts { get; set; } = "";
    }

    private sealed class Row
    {
        public string Node { get; set; } = "";

        public long SeenAt { get; set; }

        public string Report { get; set; } = "";
    }
}
