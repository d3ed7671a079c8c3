using System.Text;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>The routing document in force.</summary>
/// <param name="Version">Counts up from 1; 0 while there is none.</param>
/// <param name="Document">The YAML; empty while there is none, when every receiver hears of every alert.</param>
/// <param name="AppliedBy">Who applied it.</param>
/// <param name="AppliedAt">When.</param>
public sealed record RoutingDocument(long Version, string Document, string? AppliedBy, DateTimeOffset? AppliedAt);

/// <summary>Which route takes an alert: what `route test` shows.</summary>
/// <param name="Path">Where the route stands.</param>
/// <param name="Receiver">Who hears; empty for nobody.</param>
/// <param name="Matchers">What it asks for.</param>
/// <param name="Group">The labels of the alert's group.</param>
/// <param name="QuietNow">What keeps the route quiet at present; null when nothing does.</param>
public sealed record RouteMatch(string Path, string Receiver, IReadOnlyList<string> Matchers, IReadOnlyDictionary<string, string> Group, string? QuietNow);

/// <summary>The routing: a tree of routes, inhibitions and time intervals in one document.</summary>
public sealed class AlertRoutes
{
    private readonly Database database;
    private readonly Journal journal;
    private readonly Groups groups;
    private readonly TimeProvider clock;

    internal AlertRoutes(Database database, Journal journal, Groups groups, TimeProvider clock) => (this.database, this.journal, this.groups, this.clock) = (database, journal, groups, clock);

    /// <summary>Puts a document in force; firing alerts are routed by it at once.</summary>
    /// <param name="actor">Who.</param>
    /// <param name="document">YAML of kind `AlertRouting`.</param>
    /// <param name="ct">Cancels.</param>
    /// <exception cref="SlipwayException">InvalidArgument with every problem and its line.</exception>
    public Task<RoutingDocument> ApplyAsync(Actor actor, string document, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            AlertRouting.Parse(document, await tx.QueryAsync<string>("SELECT name FROM monitoring_receivers WHERE removed_us IS NULL ORDER BY name") as IReadOnlyCollection<string>);
            Row? before = await FindAsync(tx);
            if (before?.Body == document)
            {
                return before.Read();
            }

            var row = new Row { Version = (before?.Version ?? 0) + 1, Body = document, AppliedBy = actor.Name, AppliedUs = clock.NowMicros() };
            string digest = Digest.Sha256Hex(Encoding.UTF8.GetBytes(document));
            await tx.ExecuteAsync("INSERT INTO monitoring_routing (version, body, digest, applied_by, applied_us) VALUES (@Version, @Body, @digest, @AppliedBy, @AppliedUs)", new { row.Version, row.Body, digest, row.AppliedBy, row.AppliedUs });
            await journal.AppendAsync(tx, actor, "routing.changed", new Subject("routing", "alerts"), new RoutingChanged(row.Version, digest, document));
            foreach (AlertRow alert in await tx.QueryAsync<AlertRow>($"SELECT {AlertRow.Columns} FROM monitoring_alerts WHERE state = 'firing'"))
            {
                await groups.OfferAsync(tx, alert.Read());
            }

            await groups.HurryMutedAsync(tx, clock.NowMicros());
            return row.Read();
        },
        ct);

    /// <summary>The document in force.</summary>
    public async Task<RoutingDocument> GetAsync(CancellationToken ct) => (await database.ReadAsync(FindAsync, ct))?.Read() ?? new RoutingDocument(0, "", null, null);

    /// <summary>Which receivers an alert with these labels goes to; nothing is sent.</summary>
    /// <exception cref="SlipwayException">InvalidArgument for labels that are not allowed.</exception>
    public Task<IReadOnlyList<RouteMatch>> TestAsync(IReadOnlyDictionary<string, string> labels, CancellationToken ct)
    {
        LabelSet.Check(labels, "label");
        return database.ReadAsync(
            async s =>
            {
                AlertRouting routing = await groups.RoutingAsync(s);
                IReadOnlyDictionary<string, string> sorted = LabelSet.Of(labels);
                DateTimeOffset now = clock.GetUtcNow();
                return (IReadOnlyList<RouteMatch>)
                [
                    .. routing.Match(sorted).Select(r => new RouteMatch(
                        r.Path, r.Receiver, [.. r.Matchers.Select(m => m.ToString())], r.Group(sorted),
                        r.MuteTimeIntervals.FirstOrDefault(n => routing.Intervals[n].Contains(now)) is { } quiet ? $"muted in {quiet}"
                            : r.ActiveTimeIntervals.Count > 0 && !r.ActiveTimeIntervals.Any(n => routing.Intervals[n].Contains(now)) ? $"active only in {string.Join(", ", r.ActiveTimeIntervals)}" : null)),
                ];
            },
            ct);
    }

    private static Task<Row?> FindAsync(Session s) => s.FindAsync<Row>("SELECT version AS Version, body AS Body, applied_by AS AppliedBy, applied_us AS AppliedUs FROM monitoring_routing ORDER BY version DESC LIMIT 1");

    private sealed class Row
    {
        public long Version { get; set; }

        public string Body { get; set; } = "";

        public string AppliedBy { get; set; } = "";

        public long AppliedUs { get; set; }

        public RoutingDocument Read() => new(Version, Body, AppliedBy, Time.FromMicros(AppliedUs));
    }
}
