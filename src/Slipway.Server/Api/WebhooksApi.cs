using Slipway.Governance;
using Slipway.Registry;

namespace Slipway.Server.Api;

/// <summary>Webhooks of the model registry, and the log of what was posted.</summary>
internal static class WebhooksApi
{
    /// <param name="Name">Its name.</param>
    /// <param name="Url">An https address of a public host.</param>
    /// <param name="Events">For example <c>model_version.created</c>.</param>
    /// <param name="Secret">Signs the deliveries; absent: unsigned.</param>
    /// <param name="Description">What it is for.</param>
    private sealed record NewWebhook(string Name, string Url, IReadOnlyList<string> Events, string? Secret = null, string? Description = null);

    public static void Map(ApiRoutes api)
    {
        api.Get("/webhooks", Permissions.WebhookManage, async c => await c.Of<Webhooks>().ListAsync(c.Limit(), c.Query("pageToken"), c.Stop));
        api.Post("/webhooks", Permissions.WebhookManage, async c =>
        {
            var body = await c.BodyAsync<NewWebhook>();
            var change = new WebhookChange(body.Name, body.Url, body.Events.Select(WebhookEvent.Parse).ToList(), body.Description, body.Secret);
            return new Created(await c.Of<Webhooks>().CreateAsync(c.Actor, change, c.Stop));
        });
        api.Get("/webhooks/{webhook}", Permissions.WebhookManage, async c => await c.Of<Webhooks>().GetAsync(c["webhook"], c.Stop));
        api.Delete("/webhooks/{webhook}", Permissions.WebhookManage, async c =>
        {
            await c.Of<Webhooks>().DeleteAsync(c.Actor, c["webhook"], c.Stop);
            return null;
        });
        api.Post("/webhooks/{webhook}/test", Permissions.WebhookManage, async c => await c.Of<Webhooks>().TestAsync(c["webhook"], null, c.Stop));
        api.Get("/webhooks/{webhook}/deliveries", Permissions.WebhookManage, async c => await c.Of<Webhooks>().DeliveriesAsync(c["webhook"], c.Limit(), c.Query("pageToken"), c.Stop));
        api.Post("/webhooks/{webhook}/deliveries/{delivery}/replay", Permissions.WebhookManage, async c => await c.Of<Webhooks>().ReplayAsync(c.Actor, c["webhook"], c["delivery"], c.Stop));
    }
}
