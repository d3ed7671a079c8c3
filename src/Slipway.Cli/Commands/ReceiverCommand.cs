using System.CommandLine;
using System.Text.Json;

namespace Slipway.Cli.Commands;

/// <summary>Receivers: where alerts are sent.</summary>
internal static class ReceiverCommand
{
    private static readonly Column[] Columns = [new("NAME", "name"), new("URL", "url"), new("SIGNED", "signed"), new("CREATED", "createdAt"), new("BY", "createdBy"), new("LOOPBACK", "allowLoopback", wide: true)];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var receiver = Opt.Name("receiver");
        var address = new Argument<string>("webhook") { Description = "The webhook's address" };
        var secret = new Option<string?>("--secret-file") { Description = "A file with the secret that signs deliveries, or - for standard input" };
        var loopback = new Option<bool>("--allow-loopback") { Description = "The address may be this machine" };
        var limit = Opt.Limit();
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        return new Noun("receiver", "Where alerts are sent")
        {
            new Verb("list", "Lists receivers", "slipway receiver list", "slipway receiver list -o json")
                .With(limit)
                .Does(globals, terminal, s => s.ListAsync($"receivers", s.Value(limit), Columns)),
            new Verb("set", "Makes or changes a receiver", "slipway receiver set ops https://example.org/hook --secret-file secret.txt", "slipway receiver set local http://127.0.0.1:9000/ --allow-loopback")
                .With(receiver, address, secret, loopback)
                .Does(globals, terminal, async s =>
                {
                    var key = s.Value(secret) is { } file ? (await Input.ReadAsync(s, file)).Trim() : null;
                    s.Out.One(await s.Client.PutAsync<JsonElement>($"receivers/{s.Value(receiver)}", new { url = s.Value(address), secret = key, allowLoopback = s.Value(loopback) }, s.Stop), Columns);
                    return ExitCodes.Done;
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
