using System.CommandLine;
using System.Text.Json;

namespace Slipway.Cli.Commands;

/// <summary>Receivers: where alerts are sent.</summary>
internal static class ReceiverCommand
{
    private static readonly Column[] Columns =
    [
        new("NAME", "name"), new("KIND", "kind"), new("URL", "url"), new("SECRET", "signed"), new("CREATED", "createdAt"), new("BY", "createdBy"), new("LOOPBACK", "allowLoopback", wide: true), new("SETTINGS", "settings", wide: true),
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var receiver = Opt.Name("receiver");
        var address = new Argument<string?>("address") { Description = "https://…, or smtp://HOST:587 or smtps://HOST:465 for mail; may be left out for PagerDuty's own", Arity = ArgumentArity.ZeroOrOne };
        var kind = new Option<string>("--kind") { Description = "webhook, email, slack, pagerduty or alertmanager", DefaultValueFactory = _ => "webhook" };
        kind.AcceptOnlyFromAmong("webhook", "email", "slack", "pagerduty", "alertmanager");
        var secret = new Option<string?>("--secret-file") { Description = "A file with the key of the signature, the mail password or the routing key, or - for standard input" };
        var loopback = new Option<bool>("--allow-loopback") { Description = "The address may be this machine" };
        var perMinute = new Option<int>("--per-minute") { Description = "The most messages a minute; more are told as one digest", DefaultValueFactory = _ => 30 };
        var firingOnly = new Option<bool>("--firing-only") { Description = "Do not tell resolved alerts" };
        var from = new Option<string?>("--from") { Description = "Mail: the sender" };
        var to = new Option<string[]>("--to") { Description = "Mail: who gets it; may be repeated" };
        var user = new Option<string?>("--user") { Description = "Mail: the name to sign in with" };
        var limit = Opt.Limit();
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        return new Noun("receiver", "Where alerts are sent")
        {
            new Verb("list", "Lists receivers", "slipway receiver list", "slipway receiver list -o json")
                .With(limit)
                .Does(globals, terminal, s => s.ListAsync($"receivers", s.Value(limit), Columns)),
            new Verb("set", "Makes or changes a receiver", "slipway receiver set ops https://example.org/hook --secret-file secret.txt", "slipway receiver set mail smtp://mail.example.org:587 --kind email --from slipway@example.org --to team@example.org")
                .With(receiver, address, kind, secret, loopback, perMinute, firingOnly, from, to, user)
                .Does(globals, terminal, async s =>
                {
                    var key = s.Value(secret) is { } file ? (await Input.ReadAsync(s, file)).Trim() : null;
                    s.Out.One(
                        await s.Client.PutAsync<JsonElement>(
                            $"receivers/{s.Value(receiver)}",
                            new
                            {
                                url = s.Value(address), kind = s.Value(kind), secret = key, allowLoopback = s.Value(loopback), perMinute = s.Value(perMinute), sendResolved = !s.Value(firingOnly),
                                from = s.Value(from), to = s.Value(to) is { Length: > 0 } all ? all : null, user = s.Value(user),
                            },
                            s.Stop),
                        Columns);
                    return ExitCodes.Done;
                }),
            new Verb("test", "Sends a test message; exit code 1 when it does not arrive", "slipway receiver test ops", "slipway receiver test ops -o json")
                .With(receiver)
                .Does(globals, terminal, async s =>
                {
                    var result = await s.Client.PostAsync<JsonElement>($"receivers/{s.About("receivers", s.Value(receiver))}/test", new { }, s.Stop);
                    s.Out.One(result, new("DELIVERED", "delivered"), new("STATUS", "status"), new("ERROR", "error"), new("MILLISECONDS", "millis"));
                    return Output.At(result, "delivered").ValueKind == JsonValueKind.True ? ExitCodes.Done : ExitCodes.Failed;
                }),
            new Verb("remove", "Removes a receiver", "slipway receiver remove ops", "slipway receiver remove ops --yes")
                .With(receiver, dry, yes)
                .Does(globals, terminal, async s =>
                {
                    if (await s.GoesOnAsync($"remove receiver {s.Value(receiver)}", dry, yes))
                    {
                        await s.Client.DeleteAsync($"receivers/{s.About("receivers", s.Value(receiver))}", s.Stop);
                        s.Note("removed");
                    }

                    return ExitCodes.Done;
                }),
        };
    }
}
