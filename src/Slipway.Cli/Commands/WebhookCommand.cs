using System.CommandLine;
using System.Text.Json;

namespace Slipway.Cli.Commands;

/// <summary>Webhooks: where events of the model registry are posted.</summary>
internal static class WebhookCommand
{
    private static readonly Column[] Columns =
    [
        new("WEBHOOK", "id"), new("NAME", "name"), new("URL", "url"), new("EVENTS", e => string.Join(", ", Output.At(e, "events").EnumerateArray().Select(x => $"{Output.Text(Output.At(x, "entity"))}.{Output.Text(Output.At(x, "action"))}"))),
        new("ACTIVE", "active"), new("SIGNED", "signed"), new("CREATED", "createdAt", wide: true), new("BY", "createdBy", wide: true),
    ];

    private static readonly Column[] Log = [new("DELIVERY", "id"), new("EVENT", "event"), new("STATE", "state"), new("ATTEMPTS", "attempts"), new("STATUS", "lastStatus"), new("ERROR", "lastError"), new("AT", "createdAt"), new("NEXT", "nextAt", wide: true)];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var webhook = Opt.Id("webhook");
        var delivery = Opt.Id("delivery");
        var name = new Argument<string>("name") { Description = "What it is for" };
        var url = new Argument<string>("url") { Description = "An https address of a public host" };
        var events = new Option<string[]>("--event") { Description = "What is posted, for example model_version.created", AllowMultipleArgumentsPerToken = true, Required = true };
        var secret = new Option<string?>("--secret-file") { Description = "A file with the secret that signs deliveries, or - for standard input" };
        var description = new Option<string?>("--description") { Description = "Words about it" };
        var limit = Opt.Limit();
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        return new Noun("webhook", "Where events of the model registry are posted")
        {
            new Verb("list", "Lists webhooks", "slipway webhook list", "slipway webhook list -o json")
                .With(limit)
                .Does(globals, terminal, s => s.ListAsync($"webhooks", s.Value(limit), Columns)),
            new Verb("create", "Makes a webhook; -o name prints its id alone", "slipway webhook create ci https://example.org/hook --event model_version.created --secret-file secret.txt", "slipway webhook create chat https://example.org/chat --event model_version_alias.created model_version_alias.deleted")
                .With(name, url, events, secret, description)
                .Does(globals, terminal, async s =>
                {
                    var key = s.Value(secret) is { } file ? (await Input.ReadAsync(s, file)).Trim() : null;
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"webhooks", new { name = s.Value(name), url = s.Value(url), events = s.Value(events), secret = key, description = s.Value(description) }, s.Stop), Columns);
                    return ExitCodes.Done;
                }),
            new Verb("test", "Posts an example of its first event once", "slipway webhook test 0197f0c2a4b3", "slipway webhook test 0197f0c2a4b3 -o json")
                .With(webhook)
                .Does(globals, terminal, async s =>
                {
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"webhooks/{s.About("webhooks", s.Value(webhook), "id")}/test", new { }, s.Stop), new("DELIVERED", "delivered"), new("STATUS", "status"), new("ERROR", "error"), new("TOOK", "took"));
                    return ExitCodes.Done;
                }),
            new Verb("deliveries", "Lists what was posted, or is to be, the newest first", "slipway webhook deliveries 0197f0c2a4b3", "slipway webhook deliveries 0197f0c2a4b3 -o json")
                .With(webhook, limit)
                .Does(globals, terminal, s => s.ListAsync($"webhooks/{s.About("webhooks", s.Value(webhook), "id")}/deliveries", s.Value(limit), Log)),
            new Verb("replay", "Posts an event that ended again, under the same id", "slipway webhook replay 0197f0c2a4b3 0197f0c2b1d9", "slipway webhook replay 0197f0c2a4b3 0197f0c2b1d9 -o json")
                .With(webhook, delivery)
                .Does(globals, terminal, async s =>
                {
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"webhooks/{s.About("webhooks", s.Value(webhook), "id")}/deliveries/{s.Value(delivery)}/replay", new { }, s.Stop), Log);
                    return ExitCodes.Done;
                }),
            new Verb("delete", "Deletes a webhook with its log", "slipway webhook delete 0197f0c2a4b3", "slipway webhook delete 0197f0c2a4b3 --yes")
                .With(webhook, dry, yes)
                .Does(globals, terminal, async s =>
                {
                    if (await s.GoesOnAsync($"delete webhook {s.Value(webhook)}", dry, yes))
                    {
                        await s.Client.DeleteAsync($"webhooks/{s.About("webhooks", s.Value(webhook), "id")}", s.Stop);
                        s.Note("deleted");
                    }

                    return ExitCodes.Done;
                }),
        };
    }
}
