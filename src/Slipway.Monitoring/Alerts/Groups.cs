using System.Text;
using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Puts alerts into the groups of the routes that take them, inside the transaction that changes the alert. A group and everything it has
/// told are rows, so that a restart neither forgets nor repeats.
/// </summary>
internal sealed class Groups(Wakeups wakeups, TimeProvider clock)
{
    private (string Key, AlertRouting Routing)? cached;

    /// <summary>The routing in force.</summary>
    public async Task<AlertRouting> RoutingAsync(Session s)
    {
        RoutingRow? row = await s.FindAsync<RoutingRow>("SELECT version AS Version, body AS Body FROM monitoring_routing ORDER BY version DESC LIMIT 1");
        if (row is { Body.Length: > 0 })
        {
            string key = $"{row.Version}";
            if (cached is { } known && known.Key == key)
            {
                return known.Routing;
            }

            var routing = AlertRouting.Parse(row.Body, null);
            cached = (key, routing);
            return routing;
        }

        return AlertRouting.Default(await s.QueryAsync<string>("SELECT name FROM monitoring_receivers WHERE removed_us IS NULL ORDER BY name"));
    }

    /// <summary>Puts an alert that fires, changed or resolved into its groups.</summary>
    public async Task OfferAsync(Tx tx, Alert alert)
    {
        long now = clock.NowMicros();
        if (alert.State == "firing")
        {
            foreach (AlertRoute route in (await RoutingAsync(tx)).Match(alert.Labels).Where(r => r.Receiver.Length > 0))
            {
                await JoinAsync(tx, alert, route, now);
            }

            return;
        }

        AlertRouting routing = await RoutingAsync(tx);
        foreach (GroupRow group in await tx.QueryAsync<GroupRow>($"SELECT {GroupRow.Columns} FROM monitoring_groups WHERE id IN (SELECT group_id FROM monitoring_group_alerts WHERE alert = @Id)", new { alert.Id }))
        {
            if (routing.Find(group.Route) is { ResolveFast: true })
            {
                await HurryAsync(tx, group.Id, now);
            }
        }

        if (!routing.Plain)
        {
            await HurryMutedAsync(tx, now);
        }
    }

    /// <summary>Looks at every group that has a muted alert now: what muted it may be over.</summary>
    public async Task HurryMutedAsync(Tx tx, long now)
    {
        foreach (string id in await tx.QueryAsync<string>("SELECT id FROM monitoring_groups WHERE muted = 1"))
        {
            await HurryAsync(tx, id, now);
        }
    }

    /// <summary>Looks at every group of an alert now.</summary>
    public async Task HurryAlertAsync(Tx tx, string alert, long now)
    {
        foreach (string id in await tx.QueryAsync<string>("SELECT group_id FROM monitoring_group_alerts WHERE alert = @alert", new { alert }))
        {
            await HurryAsync(tx, id, now);
        }
    }

    public static string IdOf(AlertRoute route, IReadOnlyDictionary<string, string> labels) =>
        Digest.Sha256Hex(Encoding.UTF8.GetBytes($"{route.Path}\0{route.Receiver}\0{LabelSet.Text(route.Group(labels))}"))[..32];

    public void Wake(Tx tx, string kind, string key) => tx.OnCommitted(() => _ = wakeups.WakeAsync(kind, key));

    private async Task HurryAsync(Tx tx, string id, long now)
    {
        await tx.ExecuteAsync("UPDATE monitoring_groups SET next_us = @now WHERE id = @id AND next_us > @now", new { now, id });
        Wake(tx, GroupWork.Name, id);
    }

    private async Task JoinAsync(Tx tx, Alert alert, AlertRoute route, long now)
    {
        string id = IdOf(route, alert.Labels);
        var row = new
        {
            id,
            route = route.Path,
            route.Receiver,
            labels = LabelSet.Write(route.Group(alert.Labels)),
            next = now + (route.GroupWait.Ticks / TimeSpan.TicksPerMicrosecond),
            now,
        };
        await tx.ExecuteAsync(
            "INSERT INTO monitoring_groups (id, route, receiver, labels, told, told_us, sequence, next_us, muted, created_us) VALUES (@id, @route, @Receiver, @labels, '{}', NULL, 0, @next, 0, @now) ON CONFLICT (id) DO NOTHING", row);
        // A newer alert about the same labels stands for the older one.
        await tx.ExecuteAsync("DELETE FROM monitoring_group_alerts WHERE group_id = @id AND fingerprint = @Fingerprint AND alert <> @alert", new { id, alert.Fingerprint, alert = alert.Id });
        await tx.ExecuteAsync(
            "INSERT INTO monitoring_group_alerts (group_id, alert, fingerprint) VALUES (@id, @alert, @Fingerprint) ON CONFLICT (group_id, alert) DO UPDATE SET fingerprint = excluded.fingerprint",
            new { id, alert = alert.Id, alert.Fingerprint });
        Wake(tx, GroupWork.Name, id);
    }

    private sealed class RoutingRow
    {
        public long Version { get; set; }

        public string Body { get; set; } = "";
    }
}

/// <summary>A group of alerts of one route as the table keeps it.</summary>
internal sealed class GroupRow
{
    public const string Columns = "id AS Id, route AS Route, receiver AS Receiver, labels AS Labels, told AS Told, told_us AS ToldUs, sequence AS Sequence, next_us AS NextUs, muted AS Muted, created_us AS CreatedUs";

    public string Id { get; set; } = "";

    public string Route { get; set; } = "";

    public string Receiver { get; set; } = "";

    public string Labels { get; set; } = "";

    /// <summary>By fingerprint: `firing` when that was told, `owed` when it was told and the receiver has to hear more before it is so again.</summary>
    public string Told { get; set; } = "";

    public long? ToldUs { get; set; }

    public long Sequence { get; set; }

    public long NextUs { get; set; }

    public long Muted { get; set; }

    public long CreatedUs { get; set; }

    public Dictionary<string, string> ReadTold() => JsonSerializer.Deserialize<Dictionary<string, string>>(Told) ?? [];
}
