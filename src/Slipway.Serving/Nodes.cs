using System.Collections.Concurrent;
using System.Text.Json;
using Slipway.Foundation;
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
public sealed record NodeShares(string Node, bool Live, DateTimeOffset SeenAt, long Revision, bool Current, IReadOnlyDictionary<string, double> Shares, string? Why, bool Drives);

/// <summary>
/// The nodes that serve. Each writes down what it serves of the endpoints that rollouts steer; a node that falls silent is waited for until its lease has
/// ended and its traffic is back on stable.
/// </summary>
internal sealed class Nodes(Database database, Routes routes, Deployments deployments, FoundationOptions foundation, TimeProvider clock)
{
    private const string Alone = "this";
    private static readonly TimeSpan Beat = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan Heard = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Kept = TimeSpan.FromDays(1);

    // When a sign of life of another node was first seen, by this node's own clock: clocks of machines need not agree.
    private readonly ConcurrentDictionary<string, (long SeenAt, long Since)> _seen = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, long> _drives = new(StringComparer.Ordinal);
    private string _reported = "";
    private long _reportedAt;

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

        var text = JsonSerializer.Serialize(new Report(steered.ToDictionary(endpoint => endpoint, Serves, StringComparer.Ordinal), Driven()), CanonicalJson.Options);
        if (text == _reported && clock.GetElapsedTime(_reportedAt) < Beat)
        {
            return;
        }

        var now = clock.NowMicros();
        await database.WriteAsync(
            async tx =>
            {
                await tx.ExecuteAsync(
                    "INSERT INTO serving_nodes (node, seen_at, report) VALUES (@node, @now, @text) ON CONFLICT (node) DO UPDATE SET seen_at = excluded.seen_at, report = excluded.report", new { node, now, text });
                await tx.ExecuteAsync("DELETE FROM serving_nodes WHERE seen_at < @old", new { old = now - (Kept.Ticks / TimeSpan.TicksPerMicrosecond) });
            },
            ct);
        (_reported, _reportedAt) = (text, clock.GetTimestamp());
    }

    /// <summary>A node that stops in order is not waited for.</summary>
    public Task LeaveAsync(CancellationToken ct) => foundation.Node is { } node
        ? database.WriteAsync(tx => tx.ExecuteAsync("DELETE FROM serving_nodes WHERE node = @node", new { node }), ct)
        : Task.CompletedTask;

    /// <summary>
    /// Whether every live node serves the endpoint's present revision. One that serves nothing of the endpoint contradicts nothing; one that has been silent for
    /// the duration of the lease has gone back to stable by itself, or is gone.
    /// </summary>
    public async Task<StepAnswer> ServeAsync(string endpoint, TimeSpan lease, CancellationToken ct)
    {
        var revision = await RevisionAsync(endpoint, ct);
        var (served, silent, behind) = (0, new List<string>(), new List<string>());
        foreach (var (node, seenAt, report) in await ReadAsync(ct))
        {
            var route = report.Routes.GetValueOrDefault(endpoint);
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
            return new NodeShares(row.Node, now - Time.FromMicros(row.SeenAt) < Heard, Time.FromMicros(row.SeenAt), route.Revision, route.Revision >= revision, route.Shares, route.Why, row.Report.Drives.Contains(rollout, StringComparer.Ordinal));
        })];
    }

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
        : new(0, new Dictionary<string, double>(), routes.Find(endpoint)?.NotReady ?? "it is not loaded");

    private string[] Driven() => [.. _drives.Where(each => clock.GetElapsedTime(each.Value) < TimeSpan.FromMinutes(2)).Select(each => each.Key).Order(StringComparer.Ordinal)];

    private TimeSpan Silence(string node, long seenAt)
    {
        var known = _seen.AddOrUpdate(node, _ => (seenAt, clock.GetTimestamp()), (_, before) => before.SeenAt == seenAt ? before : (seenAt, clock.GetTimestamp()));
        return clock.GetElapsedTime(known.Since);
    }

    private sealed record NodeRoute(long Revision, IReadOnlyDictionary<string, double> Shares, string? Why);

    private sealed record Report(IReadOnlyDictionary<string, NodeRoute> Routes, IReadOnlyList<string> Drives);

    private sealed class Row
    {
        public string Node { get; set; } = "";

        public long SeenAt { get; set; }

        public string Report { get; set; } = "";
    }
}
