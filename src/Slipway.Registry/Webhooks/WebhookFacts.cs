using System.Globalization;

namespace Slipway.Registry;

/// <summary>Turns journal entries of the registry into deliveries. An entry that comes again makes no second one.</summary>
internal sealed class WebhookFacts(Database database, Wakeups wakeups)
{
    private const string PromptText = "mlflow.prompt.text";
    private static readonly IReadOnlyDictionary<string, string> NoTags = new Dictionary<string, string>(StringComparer.Ordinal);

    public async Task OnEntryAsync(JournalEntry entry, CancellationToken ct)
    {
        var webhooks = await database.ReadAsync(
            s => s.QueryAsync<WebhookRow>($"SELECT {WebhookRow.Columns} FROM registry_webhooks WHERE active = 1 AND created_at <= @at", new { at = Time.ToMicros(entry.At) }),
            ct);
        if (webhooks.Count == 0 || await database.ReadAsync(s => HappenedAsync(s, entry), ct) is not var (happened, data))
        {
            return;
        }

        var body = WebhookPost.Body(happened, entry.At, data);
        var at = Time.ToMicros(entry.At);
        var told = new List<string>();
        await database.WriteAsync(
            async tx =>
            {
                told.Clear();
                foreach (var webhook in webhooks.Where(w => w.Wants(happened)))
                {
                    if (await tx.ExecuteAsync(
                        """
                        INSERT INTO registry_deliveries (id, webhook_id, seq, event, body, state, attempts, tries_left_until, next_at, created_at)
                        VALUES (@id, @webhook, @Seq, @happened, @body, 'pending', 0, @at, @at, @at) ON CONFLICT (webhook_id, seq, event) DO NOTHING
                        """,
                        new { id = Ids.New(), webhook = webhook.Id, entry.Seq, happened = happened.ToString(), body, at }) == 1)
                    {
                        told.Add(webhook.Id);
                    }
                }
            },
            ct);
        foreach (var id in told)
        {
            await wakeups.WakeAsync(WebhookWork.Name, id);
        }
    }

    /// <summary>The event of an entry, with the model's or version's fields as they are now; null when the protocol has no event for it.</summary>
    private static async Task<(WebhookEvent Event, Dictionary<string, object?> Data)?> HappenedAsync(Session session, JournalEntry entry)
    {
        switch (entry.Kind)
        {
            case Events.ModelCreated:
                {
                    var (model, prompt) = await ModelAsync(session, entry.Subject.Name);
                    return Happened(prompt ? "prompt" : "registered_model", "created", ("name", entry.Subject.Name), ("tags", Tags(model?.Tags)), ("description", model?.Description));
                }

            case Events.VersionRegistered:
                {
                    var body = entry.Read<VersionRegistered>();
                    var version = await FindVersionAsync(session, body.Name, body.Version);
                    var (_, prompt) = await ModelAsync(session, body.Name);
                    return prompt
                        ? Happened("prompt_version", "created", ("name", body.Name), ("version", Text(body.Version)), ("template", version?.Tags.GetValueOrDefault(PromptText)), ("tags", version?.Tags ?? NoTags), ("description", version?.Description))
                        : Happened("model_version", "created", ("name", body.Name), ("version", Text(body.Version)), ("source", body.Source), ("run_id", body.RunId), ("tags", version?.Tags ?? NoTags), ("description", version?.Description));
                }

            case Events.ModelChanged when entry.Read<RecordChanged>() is { Field: "tag" or "tag-deleted", Key: { } key } change:
                {
                    var (model, prompt) = await ModelAsync(session, entry.Subject.Name);
                    // The protocol tells of a model's own tags only for prompts.
                    return !prompt
                        ? null
                        : change.Field == "tag"
                            ? Happened("prompt_tag", "set", ("name", entry.Subject.Name), ("key", key), ("value", model?.Tags.FirstOrDefault(t => t.Key == key)?.Value ?? change.Value))
                            : Happened("prompt_tag", "deleted", ("name", entry.Subject.Name), ("key", key));
                }

            case Events.VersionChanged when entry.Read<RecordChanged>() is { Field: "tag" or "tag-deleted", Key: { } key } change:
                {
                    var slash = entry.Subject.Name.LastIndexOf('/');
                    var (name, number) = (entry.Subject.Name[..slash], entry.Subject.Name[(slash + 1)..]);
                    var (_, prompt) = await ModelAsync(session, name);
                    var entity = prompt ? "prompt_version_tag" : "model_version_tag";
                    if (change.Field == "tag-deleted")
                    {
                        return Happened(entity, "deleted", ("name", name), ("version", number), ("key", key));
                    }

                    var version = await FindVersionAsync(session, name, int.Parse(number, CultureInfo.InvariantCulture));
                    return Happened(entity, "set", ("name", name), ("version", number), ("key", key), ("value", version?.Tags.GetValueOrDefault(key) ?? change.Value));
                }

            case Events.AliasMoved or Events.AliasDeleted:
                {
                    var alias = entry.Read<AliasMoved>();
                    var (_, prompt) = await ModelAsync(session, alias.Name);
                    var entity = prompt ? "prompt_alias" : "model_version_alias";
                    return alias.To is { } to
                        ? Happened(entity, "created", ("name", alias.Name), ("alias", alias.Alias), ("version", Text(to)))
                        : Happened(entity, "deleted", ("name", alias.Name), ("alias", alias.Alias));
                }

            default:
                return null;
        }
    }

    private static (WebhookEvent, Dictionary<string, object?>) Happened(string entity, string action, params (string Name, object? Value)[] data) =>
        (WebhookEvent.Of(entity, action), data.ToDictionary(d => d.Name, d => d.Value, StringComparer.Ordinal));

    private static async Task<(Model? Model, bool Prompt)> ModelAsync(Session session, string name)
    {
        var row = await session.FindAsync<ModelRows.ModelRow>($"SELECT {ModelRows.ModelColumns} FROM registry_models m WHERE m.name = @name", new { name });
        var model = row is null ? null : (await ModelRows.FillAsync(session, [row]))[0];
        return (model, model?.Tags.Any(t => t.Key == ModelSource.PromptTag && t.Value == "true") == true);
    }

    private static async Task<ModelVersion?> FindVersionAsync(Session session, string name, int version) => (await ModelRows.VersionsAsync(
        session,
        $"SELECT {ModelRows.VersionColumns} FROM {ModelRows.VersionTables} WHERE m.name = @name AND v.version = @version AND v.deleted = 0",
        new { name, version = (long)version })) is [var found] ? found : null;

    private static Dictionary<string, string> Tags(IReadOnlyList<Tag>? tags) => (tags ?? []).ToDictionary(t => t.Key, t => t.Value, StringComparer.Ordinal);

    private static string Text(int version) => version.ToString(CultureInfo.InvariantCulture);
}
