using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>Which way lineage is followed.</summary>
public enum LineageDirection
{
    /// <summary>What it was made from or caused by.</summary>
    Upstream,

    /// <summary>What was made from it or because of it.</summary>
    Downstream,

    /// <summary>Both.</summary>
    Both,
}

/// <summary>A thing in the graph.</summary>
/// <param name="Subject">The thing.</param>
/// <param name="Depth">Steps from the thing asked about: 0 for itself, negative upstream, positive downstream.</param>
public sealed record LineageNode(Subject Subject, int Depth);

/// <summary>A connection that the journal recorded.</summary>
/// <param name="From">What came from, used or was caused by the other.</param>
/// <param name="To">The other.</param>
/// <param name="Kind">The kind of the first entry that recorded it, e.g. <c>version.registered</c>.</param>
/// <param name="Seq">That entry's number.</param>
public sealed record LineageEdge(Subject From, Subject To, string Kind, long Seq);

/// <summary>What hangs together with a thing.</summary>
/// <param name="Nodes">The things, nearest first.</param>
/// <param name="Edges">The connections, oldest first.</param>
/// <param name="Truncated">True when there is more than <see cref="Lineage.MaxNodes"/> things or than one thing may have neighbours; the graph is then a part.</param>
public sealed record LineageGraph(IReadOnlyList<LineageNode> Nodes, IReadOnlyList<LineageEdge> Edges, bool Truncated);

/// <summary>
/// Where things come from and what became of them, read from the links of journal entries. It follows the indexed links breadth first,
/// so it costs what the answer is large, not what the journal is long.
/// </summary>
public sealed class Lineage(JournalLinks links)
{
    /// <summary>Deepest graph.</summary>
    public const int MaxDepth = 50;

    /// <summary>Most things in one answer.</summary>
    public const int MaxNodes = 2_000;

    private const int MaxEdgesPerStep = 5_000;

    /// <summary>The graph around a subject.</summary>
    /// <param name="subject">Where to begin.</param>
    /// <param name="direction">Which way.</param>
    /// <param name="depth">Steps to follow, 1 to <see cref="MaxDepth"/>.</param>
    /// <param name="ct">Stops waiting.</param>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.InvalidArgument"/> for a depth outside the range; <see cref="ErrorCode.NotFound"/> when the journal never spoke of the subject.</exception>
    public async Task<LineageGraph> OfAsync(Subject subject, LineageDirection direction, int depth, CancellationToken ct)
    {
        if (depth is < 1 or > MaxDepth) throw SlipwayException.Invalid("the lineage cannot be followed", $"the depth is {depth}, it must be 1 to {MaxDepth}");
        if (!await links.KnowsAsync(subject, ct)) throw SlipwayException.NotFound(subject.Kind, subject.Name, "slipway audit list --subject " + subject);

        var walk = new Walk(subject);
        if (direction != LineageDirection.Downstream) await FollowAsync(walk, subject, upstream: true, depth, ct);
        if (direction != LineageDirection.Upstream) await FollowAsync(walk, subject, upstream: false, depth, ct);
        return walk.ToGraph();
    }

    private async Task FollowAsync(Walk walk, Subject start, bool upstream, int depth, CancellationToken ct)
    {
        IReadOnlyList<Subject> front = [start];
        for (var step = 1; step <= depth && front.Count > 0; step++)
        {
            var found = await links.OfAsync(front, outgoing: upstream, MaxEdgesPerStep, ct);
            front = walk.Add(found, upstream, upstream ? -step : step, MaxNodes);
            if (found.Count >= MaxEdgesPerStep) walk.Truncated = true;
        }
    }

    private sealed class Walk(Subject start)
    {
        private readonly Dictionary<Subject, int> depths = new() { [start] = 0 };
        private readonly Dictionary<(Subject, Subject), LineageEdge> edges = [];

        public bool Truncated { get; set; }

        /// <summary>Takes the links in and gives the things that were not known before.</summary>
        public List<Subject> Add(IReadOnlyList<JournalLink> found, bool upstream, int depth, int most)
        {
            var fresh = new List<Subject>();
            foreach (var link in found)
            {
                var next = upstream ? link.To : link.From;
                if (link.From == link.To) continue;
                if (!depths.ContainsKey(next))
                {
                    if (depths.Count >= most) { Truncated = true; continue; }
                    depths[next] = depth;
                    fresh.Add(next);
                }
                if (!edges.TryGetValue((link.From, link.To), out var known) || link.Seq < known.Seq)
                    edges[(link.From, link.To)] = new LineageEdge(link.From, link.To, link.Kind, link.Seq);
            }
            return fresh;
        }

        public LineageGraph ToGraph() => new(
            [.. depths.Select(d => new LineageNode(d.Key, d.Value)).OrderBy(n => Math.Abs(n.Depth)).ThenBy(n => n.Subject.ToString(), StringComparer.Ordinal)],
            [.. edges.Values.OrderBy(e => e.Seq)], Truncated);
    }
}
