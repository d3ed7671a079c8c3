using System.Text.Json;
using Slipway.Governance;
using Slipway.Registry;

namespace Slipway.Server.Mlflow;

/// <summary>Webhooks of the model registry over MLflow's REST protocol.</summary>
internal sealed class WebhooksApi(Webhooks webhooks)
{
    private static readonly IReadOnlyDictionary<string, Entity> Entities = Enum.GetValues<Entity>().ToDictionary(e => e.ToString(), StringComparer.Ordinal);
    private static readonly IReadOnlyDictionary<string, Action> Actions = Enum.GetValues<Action>().ToDictionary(a => a.ToString(), StringComparer.Ordinal);
    private static readonly IReadOnlyDictionary<string, Status> Statuses = Enum.GetValues<Status>().ToDictionary(s => s.ToString(), StringComparer.Ordinal);

    /// <summary>The protocol's enum of entities.</summary>
    private enum Entity
    {
        REGISTERED_MODEL = 1,
        MODEL_VERSION = 2,
        MODEL_VERSION_TAG = 3,
        MODEL_VERSION_ALIAS = 4,
        PROMPT = 5,
        PROMPT_VERSION = 6,
        PROMPT_TAG = 7,
        PROMPT_VERSION_TAG = 8,
        PROMPT_ALIAS = 9,
    }

    /// <summary>The protocol's enum of actions.</summary>
    private enum Action
    {
        CREATED = 1,
        UPDATED = 2,
        DELETED = 3,
        SET = 4,
    }

    /// <summary>The protocol's enum of states.</summary>
    private enum Status
    {
        ACTIVE = 1,
        DISABLED = 2,
    }

    public IReadOnlyList<MlflowRoute> Routes =>
    [
        new("POST", "/mlflow/webhooks", Permissions.WebhookManage, CreateAsync),
        new("GET", "/mlflow/webhooks", Permissions.WebhookManage, ListAsync),
        new("GET", "/mlflow/webhooks/{webhook_id}", Permissions.WebhookManage, GetAsync),
        new("PATCH", "/mlflow/webhooks/{webhook_id}", Permissions.WebhookManage, UpdateAsync),
        new("DELETE", "/mlflow/webhooks/{webhook_id}", Permissions.WebhookManage, DeleteAsync),
        new("POST", "/mlflow/webhooks/{webhook_id}/test", Permissions.WebhookManage, TestAsync),
    ];

    private static WebhookChange Change(MlflowInput input) => new(
        input.Text("name"),
        input.Text("url"),
        input.Items("events").Select(Event).ToList(),
        input.Text("description"),
        input.Text("secret"),
        input.Enum("status", Statuses) switch { null => null, var status => status == Status.ACTIVE });

    private static WebhookEvent Event(MlflowInput input) => WebhookEvent.Of(
        (input.Enum("entity", Entities) ?? throw input.Missing("entity")).ToString().ToLowerInvariant(),
        (input.Enum("action", Actions) ?? throw input.Missing("action")).ToString().ToLowerInvariant());

    private static void Write(Utf8JsonWriter json, Webhook webhook)
    {
        json.WriteString("webhook_id", webhook.Id);
        json.WriteString("name", webhook.Name);
        if (!string.IsNullOrEmpty(webhook.Description))
        {
            json.WriteString("description", webhook.Description);
        }

        json.WriteString("url", webhook.Url);
        MlflowJson.List(json, "events", webhook.Events, static (j, e) =>
        {
            j.WriteString("entity", e.Entity.ToUpperInvariant());
            j.WriteString("action", e.Action.ToUpperInvariant());
        });
        json.WriteString("status", webhook.Active ? "ACTIVE" : "DISABLED");
        MlflowJson.Millis(json, "creation_timestamp", webhook.CreatedAt);
        MlflowJson.Millis(json, "last_updated_timestamp", webhook.UpdatedAt);
    }

    private async Task CreateAsync(MlflowCall call) => await call.SendObjectAsync("webhook", await webhooks.CreateAsync(call.Actor, Change(call.Input), call.Ct), Write);

    private async Task ListAsync(MlflowCall call)
    {
        var page = await webhooks.ListAsync(call.Input.Int32("max_results") is { } given and not 0 ? given : 100, call.Input.Text("page_token"), call.Ct);
        await call.SendAsync(json => MlflowJson.Page(json, "webhooks", page, Write));
    }

    private async Task GetAsync(MlflowCall call) => await call.SendObjectAsync("webhook", await webhooks.GetAsync(call["webhook_id"], call.Ct), Write);

    private async Task UpdateAsync(MlflowCall call) => await call.SendObjectAsync("webhook", await webhooks.UpdateAsync(call.Actor, call["webhook_id"], Change(call.Input), call.Ct), Write);

    private async Task DeleteAsync(MlflowCall call)
    {
        await webhooks.DeleteAsync(call.Actor, call["webhook_id"], call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task TestAsync(MlflowCall call)
    {
        var happened = call.Input.Message("event") is { } given ? Event(given) : null;
        var answer = await webhooks.TestAsync(call["webhook_id"], happened, call.Ct);
        await call.SendObjectAsync("result", answer, static (json, a) =>
        {
            json.WriteBoolean("success", a.Delivered);
            if (a.Status is { } status)
            {
                json.WriteNumber("response_status", status);
            }

            if (a.Error is not null)
            {
                json.WriteString("error_message", a.Error);
            }
        });
    }
}
