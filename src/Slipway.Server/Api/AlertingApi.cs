using Slipway.Governance;
using Slipway.Monitoring;

namespace Slipway.Server.Api;

/// <summary>Alerts, silences, receivers, routes, alert rules, and what people decide about drift.</summary>
internal static class AlertingApi
{
    private const long LargestDocument = 256 * 1024;

    private sealed record Acceptance(DateTimeOffset WindowStart, string Comment, string? Column = null);

    private sealed record Rebase(DateTimeOffset WindowStart);

    private sealed record Assignment(string? To);

    private sealed record Snooze(string For);

    /// <param name="Matchers">Such as model="flights".</param>
    /// <param name="For">How long, such as 2h.</param>
    /// <param name="Comment">Why.</param>
    /// <param name="StartsAt">From when; absent is now.</param>
    private sealed record NewSilence(IReadOnlyList<string> Matchers, string For, string Comment, DateTimeOffset? StartsAt = null);

    private sealed record SilencePreview(IReadOnlyList<string> Matchers);

    private sealed record Extension(string By);

    /// <param name="Url">The address; absent for PagerDuty's own.</param>
    /// <param name="Kind">webhook, email, slack, pagerduty or alertmanager.</param>
    /// <param name="Secret">Signature key, mail password or routing key; absent: none.</param>
    /// <param name="AllowLoopback">Whether the address may be this machine.</param>
    /// <param name="PerMinute">The most messages a minute.</param>
    /// <param name="SendResolved">Whether resolved alerts are told.</param>
    /// <param name="From">Mail: the sender.</param>
    /// <param name="To">Mail: who gets it.</param>
    /// <param name="User">Mail: the name to sign in with.</param>
    private sealed record NewReceiver(
        string? Url = null, string Kind = ReceiverKind.Webhook, string? Secret = null, bool AllowLoopback = false, int PerMinute = 30, bool SendResolved = true, string? From = null, IReadOnlyList<string>? To = null, string? User = null);

    private sealed record NewAlert(Dictionary<string, string> Labels, Dictionary<string, string>? Annotations = null, DateTimeOffset? StartsAt = null, DateTimeOffset? EndsAt = null);

    public static void Map(ApiRoutes api)
    {
        MapAlerts(api);
        MapSilences(api);
        MapReceivers(api);
        MapDocuments(api);
        MapBaselines(api);
    }

    private static void MapAlerts(ApiRoutes api)
    {
        api.Get("/alerts", Permissions.EndpointRead, async c => c.Page(await c.Of<Alerts>().ListAsync(c.Query("state"), c.Stop), a => a.Id));
        // An alert about an endpoint takes back a rollout there, so posting one needs the right to stop it.
        api.Post("/alerts", Permissions.DeploymentStop, async c =>
        {
            var body = await c.BodyAsync<List<NewAlert>>();
            return new { items = await c.Of<Alerts>().PostAsync(c.Actor, [.. body.Select(a => new PostedAlert(a.Labels, a.Annotations, a.StartsAt, a.EndsAt))], c.Stop) };
        });
        api.Get("/alerts/{alert}", Permissions.EndpointRead, async c => await c.Of<Alerts>().GetAsync(c["alert"], c.Stop));
        api.Get("/alerts/{alert}/timeline", Permissions.EndpointRead, async c =>
        {
            await c.Of<Alerts>().GetAsync(c["alert"], c.Stop);
            return new { items = await c.Of<Alerts>().TimelineAsync(c["alert"], c.Stop), notifications = await c.Of<Alerts>().NotificationsAsync(c["alert"], c.Stop) };
        });
        api.Get("/alerts/{alert}/why", Permissions.EndpointRead, async c => Shown(await c.Of<Alerts>().WhyAsync(c["alert"], c.Stop)));
        // Whoever may tell the truth about predictions may also take an alert upon themselves.
        api.Post("/alerts/{alert}/ack", Permissions.LabelWrite, async c => await c.Of<Alerts>().AcknowledgeAsync(c.Actor, c["alert"], c.Stop));
        api.Post("/alerts/{alert}/assign", Permissions.LabelWrite, async c => await c.Of<Alerts>().AssignAsync(c.Actor, c["alert"], (await c.BodyAsync<Assignment>()).To, c.Stop));
        api.Post("/alerts/{alert}/snooze", Permissions.LabelWrite, async c => await c.Of<Alerts>().SnoozeAsync(c.Actor, c["alert"], Span((await c.BodyAsync<Snooze>()).For), c.Stop));
    }

    private static void MapSilences(ApiRoutes api)
    {
        api.Get("/silences", Permissions.EndpointRead, async c => c.Page([.. (await c.Of<Silences>().ListAsync(c.Flag("expired"), c.Stop)).Select(Shown)], s => s.Id));
        api.Get("/silences/{silence}", Permissions.EndpointRead, async c => Shown(await c.Of<Silences>().GetAsync(c["silence"], c.Stop)));
        api.Post("/silences", Permissions.LabelWrite, async c =>
        {
            var body = await c.BodyAsync<NewSilence>();
            return new Created(Shown(await c.Of<Silences>().CreateAsync(c.Actor, body.Matchers, body.StartsAt, Span(body.For), body.Comment, c.Stop)));
        });
        api.Put("/silences", Permissions.LabelWrite, async c => await AppliedAsync(c, preview: false));
        api.Post("/silences/document/preview", Permissions.EndpointRead, async c => await AppliedAsync(c, preview: true));
        api.Post("/silences/preview", Permissions.EndpointRead, async c => new { items = await c.Of<Silences>().PreviewAsync((await c.BodyAsync<SilencePreview>()).Matchers, c.Stop) });
        api.Post("/silences/{silence}/extend", Permissions.LabelWrite, async c => Shown(await c.Of<Silences>().ExtendAsync(c.Actor, c["silence"], Span((await c.BodyAsync<Extension>()).By), c.Stop)));
        api.Post("/silences/{silence}/expire", Permissions.LabelWrite, async c => Shown(await c.Of<Silences>().ExpireAsync(c.Actor, c["silence"], c.Stop)));
    }

    private static void MapReceivers(ApiRoutes api)
    {
        api.Get("/receivers", Permissions.EndpointRead, async c => c.Page(await c.Of<Receivers>().ListAsync(c.Stop), r => r.Name));
        api.Put("/receivers/{receiver}", Permissions.WebhookManage, async c =>
        {
            var body = await c.BodyAsync<NewReceiver>();
            var settings = new ReceiverSettings { PerMinute = body.PerMinute, SendResolved = body.SendResolved, From = body.From, To = body.To ?? [], User = body.User };
            return await c.Of<Receivers>().SetAsync(c.Actor, c["receiver"], new ReceiverRequest(body.Kind, body.Url, body.Secret, body.AllowLoopback, settings), c.Stop);
        });
        api.Post("/receivers/{receiver}/test", Permissions.WebhookManage, async c => await c.Of<Receivers>().TestAsync(c.Actor, c["receiver"], c.Stop));
        api.Delete("/receivers/{receiver}", Permissions.WebhookManage, async c =>
        {
            await c.Of<Receivers>().RemoveAsync(c.Actor, c["receiver"], c.Stop);
            return null;
        });
    }

    private static void MapDocuments(ApiRoutes api)
    {
        api.Get("/routing", Permissions.EndpointRead, async c => await c.Of<AlertRoutes>().GetAsync(c.Stop));
        api.Put("/routing", Permissions.WebhookManage, async c => await c.Of<AlertRoutes>().ApplyAsync(c.Actor, await c.TextAsync(LargestDocument), c.Stop));
        api.Post("/routing/test", Permissions.EndpointRead, async c => new { items = await c.Of<AlertRoutes>().TestAsync(await c.BodyAsync<Dictionary<string, string>>(), c.Stop) });
        api.Get("/alert-rules", Permissions.EndpointRead, async c => c.Page(await c.Of<AlertRules>().ListAsync(c.Stop), r => r.Name));
        api.Put("/alert-rules", Permissions.EndpointCreate, async c => new { items = await c.Of<AlertRules>().ApplyAsync(c.Actor, await c.TextAsync(LargestDocument), c.Stop) });
    }

    private static void MapBaselines(ApiRoutes api)
    {
        api.Get("/monitors/{monitor}/accepted", Permissions.EndpointRead, async c => new { items = await c.Of<Baselines>().ListAsync(c["monitor"], c.Stop) });
        api.Post("/monitors/{monitor}/accept", Permissions.LabelWrite, async c =>
        {
            var body = await c.BodyAsync<Acceptance>();
            return await c.Of<Baselines>().AcceptAsync(c.Actor, c["monitor"], body.WindowStart, body.Column, body.Comment, c.Stop);
        });
        api.Post("/monitors/{monitor}/rebase", Permissions.DeploymentStop, async c => await c.Of<Baselines>().RebaseAsync(c.Actor, c["monitor"], (await c.BodyAsync<Rebase>()).WindowStart, c.Stop));
    }

    private static TimeSpan Span(string text) => Slipway.Monitoring.Duration.Parse(text);

    private static object Shown(AlertPath path) => new
    {
        path.Alert,
        path.Verdict,
        path.Rules,
        path.Routes,
        silences = path.Silences.Select(Shown),
        path.Deliveries,
        path.BlastRadius,
        path.Timeline,
    };

    private static object Shown(Silence silence) => new
    {
        silence.Id,
        matchers = silence.Matchers.Select(m => m.ToString()),
        silence.StartsAt,
        silence.EndsAt,
        silence.Comment,
        silence.CreatedBy,
        silence.CreatedAt,
        silence.ExpiredBy,
    };

    private static async Task<object> AppliedAsync(Call c, bool preview) => new
    {
        items = (await c.Of<Silences>().ApplyAsync(c.Actor, await c.TextAsync(LargestDocument), preview, c.Stop)).Select(change => new { change.Action, silence = Shown(change.View) }),
    };

    private static SilenceShown Shown(SilenceView view) => new(
        view.Silence.Id, view.State, [.. view.Silence.Matchers.Select(m => m.ToString())], view.Silence.StartsAt, view.Silence.EndsAt, view.Silence.Comment, view.Silence.CreatedBy, view.Silence.CreatedAt, view.Silence.ExpiredBy,
        view.EndsWhileMatching, [.. view.Matches.Select(a => a.Id)]);

    private sealed record SilenceShown(
        string Id, string State, IReadOnlyList<string> Matchers, DateTimeOffset StartsAt, DateTimeOffset EndsAt, string Comment, string CreatedBy, DateTimeOffset CreatedAt, string? ExpiredBy, bool EndsWhileMatching, IReadOnlyList<string> Matches);
}
