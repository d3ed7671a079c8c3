using System.Text;
using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Decides for one group whether its receiver has to hear something: at the end of the wait, then at each interval, and at once when
/// something that muted an alert is over. What to tell follows from what was told and from what is so now, never from events, so a step that dies
/// anywhere is simply taken again. One transaction replaces the message that still waits by the newer one; a message becomes "told" when it is delivered.
/// </summary>
internal sealed class GroupWork(Database database, Groups groups, AlertState state, MonitoringOptions options, TimeProvider clock) : IClockedWork
{
    public const string Name = "alert-group";
    private const int MostAlerts = 100;
    private const int MostMembers = 10;

    public string Kind => Name;

    public Task<IReadOnlyList<string>> OpenAsync(CancellationToken ct) => database.ReadAsync(s => s.QueryAsync<string>("SELECT id FROM monitoring_groups ORDER BY next_us, id"), ct);

    public async Task<DateTimeOffset?> StepAsync(string key, CancellationToken ct)
    {
        long? due = await database.ReadAsync(s => s.ScalarAsync<long?>("SELECT next_us FROM monitoring_groups WHERE id = @key", new { key }), ct);
        if (due is not { } at || at > clock.NowMicros())
        {
            return due is { } later ? Time.FromMicros(later) : null;
        }

        return await database.WriteAsync(tx => FlushAsync(tx, key), ct);
    }

    private async Task<DateTimeOffset?> FlushAsync(Tx tx, string id)
    {
        GroupRow? row = await tx.FindAsync<GroupRow>($"SELECT {GroupRow.Columns} FROM monitoring_groups WHERE id = @id", new { id });
        DateTimeOffset now = clock.GetUtcNow();
        if (row is null || row.NextUs > Time.ToMicros(now))
        {
            return row is null ? null : Time.FromMicros(row.NextUs);
        }

        await state.ExpireAsync(tx);
        AlertRouting routing = await groups.RoutingAsync(tx);
        // A group of a route that is gone still owes what it has told: it goes on under the defaults until its alerts have resolved.
        AlertRoute route = routing.Find(row.Route) is { } found && found.Receiver == row.Receiver ? found : AlertRoute.New(row.Receiver) with { Path = row.Route };
        IReadOnlyList<MemberRow> members = await tx.QueryAsync<MemberRow>(
            $"SELECT {AlertRow.Columns}, mutedby AS MutedBy FROM (SELECT a.*, g.muted_by AS mutedby FROM monitoring_group_alerts g JOIN monitoring_alerts a ON a.id = g.alert WHERE g.group_id = @id) m ORDER BY fired_us, id", new { id });
        NotificationRow? waiting = await tx.FindAsync<NotificationRow>($"SELECT {NotificationRow.Columns} FROM monitoring_notifications WHERE group_id = @id AND state = 'pending' ORDER BY created_us DESC LIMIT 1", new { id });
        if (await tx.ScalarAsync<string?>("SELECT settings FROM monitoring_receivers WHERE name = @Receiver AND removed_us IS NULL", new { row.Receiver }) is not { } settings)
        {
            // There is nobody left to tell.
            await SupersedeAsync(tx, waiting, now);
            await tx.ExecuteAsync("DELETE FROM monitoring_group_alerts WHERE group_id = @id", new { id });
            await tx.ExecuteAsync("DELETE FROM monitoring_groups WHERE id = @id", new { id });
            return null;
        }

        bool sendsResolved = ReceiverSettings.Read(settings).SendResolved;
        Mutes mutes = await Mutes.LoadAsync(tx, routing, now);

        var plan = new Plan(row.ReadTold(), waiting);
        DateTimeOffset next = now + route.GroupInterval;
        bool anyMuted = false;
        var muteOf = new Dictionary<string, Mute>(StringComparer.Ordinal);
        foreach (MemberRow member in members)
        {
            Alert alert = member.Read();
            Mute? mute = mutes.Of(alert, route);
            await SayMutedAsync(tx, id, member, mute);
            if (mute is not null)
            {
                muteOf[alert.Id] = mute;
            }

            if (mute is not null && !routing.Plain && (alert.State == "firing" || plan.WasTold(alert)))
            {
                anyMuted = true;
                DateTimeOffset? end = mute.Kind == "time" ? new DateTimeOffset(now.UtcTicks - (now.UtcTicks % TimeSpan.TicksPerMinute), TimeSpan.Zero).AddMinutes(1) : mute.Until;
                next = end is { } e && e < next ? e : next;
            }

            plan.Add(alert, mute is not null, sendsResolved, routing.Plain);
        }

        TimeSpan sinceTold = row.ToldUs is { } told ? now - Time.FromMicros(told) : TimeSpan.MaxValue;
        bool repeat = plan.Firing.Count > 0 && sinceTold >= route.RepeatInterval && !(plan.Firing.All(a => a.AcknowledgedBy is not null) && plan.Firing.All(plan.IsTold));
        bool changed = plan.Firing.Any(a => !plan.IsTold(a)) || plan.Resolved.Count > 0;
        string content = plan.Content();
        if (waiting is null ? changed || repeat : waiting.Content != content && changed)
        {
            await SupersedeAsync(tx, waiting, now);
            await SendAsync(tx, row, route, plan, mutes, content, now);
        }
        else if (waiting is not null && waiting.Content != content)
        {
            // What waits is no longer so, and nothing else has to be said.
            await SupersedeAsync(tx, waiting, now);
        }

        foreach (Alert gone in plan.Forgotten)
        {
            await tx.ExecuteAsync("DELETE FROM monitoring_group_alerts WHERE group_id = @id AND alert = @alert", new { id, alert = gone.Id });
        }

        if (await tx.ScalarAsync<long>("SELECT COUNT(*) FROM monitoring_group_alerts WHERE group_id = @id", new { id }) == 0
            && await tx.ScalarAsync<long>("SELECT COUNT(*) FROM monitoring_notifications WHERE group_id = @id AND state = 'pending'", new { id }) == 0)
        {
            await tx.ExecuteAsync("DELETE FROM monitoring_groups WHERE id = @id", new { id });
            return null;
        }

        await tx.ExecuteAsync(
            "UPDATE monitoring_groups SET told = @told, next_us = @next, muted = @muted WHERE id = @id",
            new { told = JsonSerializer.Serialize(plan.Told), next = Time.ToMicros(next), muted = anyMuted ? 1 : 0, id });
        return next;
    }

    /// <summary>The timeline of an alert says when it becomes quiet and when it is heard again, once each.</summary>
    private async Task SayMutedAsync(Tx tx, string group, MemberRow member, Mute? mute)
    {
        string? by = mute is null ? null : $"{mute.Kind}:{mute.By}";
        if (by == member.MutedBy)
        {
            return;
        }

        await tx.ExecuteAsync("UPDATE monitoring_group_alerts SET muted_by = @by WHERE group_id = @group AND alert = @alert", new { by, group, alert = member.Id });
        await state.TimelineAsync(tx, member.Id, mute is null ? "unmuted" : "muted", mute?.Text ?? "nothing mutes it any more");
    }

    private static Task SupersedeAsync(Tx tx, NotificationRow? waiting, DateTimeOffset now) => waiting is null
        ? Task.CompletedTask
        : tx.ExecuteAsync("UPDATE monitoring_notifications SET state = 'superseded', done_us = @now WHERE id = @Id AND state = 'pending'", new { now = Time.ToMicros(now), waiting.Id });

    private async Task SendAsync(Tx tx, GroupRow row, AlertRoute route, Plan plan, Mutes mutes, string content, DateTimeOffset now)
    {
        long sequence = row.Sequence + 1;
        // The key follows from what is told: the same message tried again, on any node and after any crash, carries the same one.
        string key = Digest.Sha256Hex(Encoding.UTF8.GetBytes($"{row.Id}\0{sequence}\0{content}"))[..32];
        Alert[] told = [.. plan.Firing, .. plan.Resolved];
        var message = new Message(
            key, plan.Firing.Count > 0 ? "alerts.firing" : "alerts.resolved", now, row.Receiver, row.Route, row.Id, LabelSet.Read(row.Labels), plan.Firing.Count > 0 ? "firing" : "resolved",
            [.. told.Take(MostAlerts).Select(a => Of(a, mutes))], told.Length, now + route.RepeatInterval + (2 * route.GroupInterval), options.PublicUrl);
        await tx.ExecuteAsync(
            "INSERT INTO monitoring_notifications (id, alert, receiver, kind, state, attempts, next_us, created_us, body, group_id, content) VALUES (@key, @alert, @Receiver, @Event, 'pending', 0, @now, @now, @body, @group, @content)",
            new { key, alert = told[0].Id, row.Receiver, message.Event, now = Time.ToMicros(now), body = message.Write(), group = row.Id, content });
        await tx.ExecuteAsync("UPDATE monitoring_groups SET sequence = @sequence WHERE id = @Id", new { sequence, row.Id });
        foreach (Alert alert in told)
        {
            await tx.ExecuteAsync("INSERT INTO monitoring_notification_alerts (alert, notification) VALUES (@alert, @key)", new { alert = alert.Id, key });
            await state.TimelineAsync(tx, alert.Id, "notified", $"{(alert.State == "firing" ? "firing" : "resolved")} goes to receiver {row.Receiver} by route {row.Route}{(told.Length > 1 ? $", in one message with {told.Length - 1} more" : "")}");
        }

        groups.Wake(tx, NotificationWork.Name, row.Receiver);
    }

    private MessageAlert Of(Alert alert, Mutes mutes)
    {
        IReadOnlyList<AlertMember> heard = alert.State == "firing" ? mutes.Heard(alert) : alert.Members;
        return new MessageAlert(
            alert.Id, alert.Fingerprint, alert.State, alert.Labels, alert.Annotations, alert.Sentence, alert.Severity, alert.Monitor, alert.WindowStart, alert.WindowEnd,
            [.. heard.Take(MostMembers)], heard.Count, alert.FiredAt, alert.ResolvedAt, alert.AcknowledgedBy, $"{options.PublicUrl}/alerts/{alert.Id}", alert.Annotations.GetValueOrDefault("runbook"));
    }

    /// <summary>What a group has told, and what it has to tell.</summary>
    private sealed class Plan
    {
        private const string Owed = "owed";

        public Plan(Dictionary<string, string> told, NotificationRow? waiting)
        {
            Told = told;
            // A message that was tried may have arrived although no answer came: whoever may have heard "firing" must hear "resolved".
            foreach ((string fingerprint, string said) in waiting is { Attempts: > 0 } ? NotificationRow.ReadContent(waiting.Content) : [])
            {
                if (said != NotificationRow.Resolution && !Told.ContainsKey(fingerprint))
                {
                    Told[fingerprint] = Owed;
                }
            }
        }

        public Dictionary<string, string> Told { get; }

        public List<Alert> Firing { get; } = [];

        public List<Alert> Resolved { get; } = [];

        /// <summary>Resolved alerts of which nobody has to hear.</summary>
        public List<Alert> Forgotten { get; } = [];

        public bool WasTold(Alert alert) => Told.ContainsKey(alert.Fingerprint);

        public bool IsTold(Alert alert) => Told.GetValueOrDefault(alert.Fingerprint) == NotificationRow.FiringContent(alert);

        public void Add(Alert alert, bool muted, bool sendsResolved, bool plain)
        {
            if (alert.State == "firing")
            {
                if (!muted)
                {
                    Firing.Add(alert);
                }
                else if (WasTold(alert) && !plain)
                {
                    Told[alert.Fingerprint] = Owed;
                }
            }
            else if (!WasTold(alert) || !sendsResolved || (muted && plain))
            {
                Told.Remove(alert.Fingerprint);
                Forgotten.Add(alert);
            }
            else if (!muted)
            {
                Resolved.Add(alert);
            }
        }

        /// <summary>What the receiver would hear now, by fingerprint, in one form.</summary>
        public string Content() => JsonSerializer.Serialize(new SortedDictionary<string, string>(
            Firing.Select(a => (a.Fingerprint, State: NotificationRow.FiringContent(a))).Concat(Resolved.Select(a => (a.Fingerprint, State: NotificationRow.Resolution))).DistinctBy(p => p.Fingerprint).ToDictionary(p => p.Fingerprint, p => p.State), StringComparer.Ordinal));
    }

    private sealed class MemberRow : AlertRow
    {
        public string? MutedBy { get; set; }
    }
}
