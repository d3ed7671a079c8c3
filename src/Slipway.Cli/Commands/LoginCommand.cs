using System.CommandLine;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Becoming the owner of a server that was just started, and keeping the key.</summary>
internal static class LoginCommand
{
    public static Command Build(Globals globals, Terminal terminal)
    {
        var link = new Argument<string>("owner-link") { Description = "The link that the first start of the server printed" };
        var name = new Option<string>("--name") { Description = "Your name", Required = true };
        var context = new Option<string>("--as") { Description = "The context to keep the key in", DefaultValueFactory = _ => "owner" };
        return new Verb("login", "Makes you the owner of a new server, and keeps the key in a context", "slipway login 'http://127.0.0.1:5600/owner?token=…' --name ada", "slipway login 'https://slipway.example.org/owner?token=…' --name ada --as team")
            .With(link, name, context)
            .Does(globals, terminal, async s =>
            {
                const string Parameter = "?token=";
                if (!Uri.TryCreate(s.Value(link), UriKind.Absolute, out var address) || address.Scheme is not ("http" or "https") || !address.Query.StartsWith(Parameter, StringComparison.Ordinal))
                {
                    throw new CliException(ExitCodes.Usage, "the owner link cannot be read", "it is not like http://127.0.0.1:5600/owner?token=…", "copy the whole link that slipway serve printed, in quotes");
                }

                var server = new Uri(address.GetLeftPart(UriPartial.Authority));
                using var client = new SlipwayClient(server);
                var made = await client.PostAsync<JsonElement>($"owner", new { token = address.Query[Parameter.Length..], name = s.Value(name) }, s.Stop);
                var contexts = Contexts.Load(s.Terminal);
                contexts.Save(s.Value(context), s.Value(context), new ServerContext(server.ToString(), Output.Text(Output.At(made, "secret"))));
                s.Out.One(made, new("OWNER", "key.owner"), new("CONTEXT", _ => s.Value(context)!), new("SERVER", _ => server.GetLeftPart(UriPartial.Authority)), new("EXPIRES", "key.expiresAt"));
                s.Note("the key is kept in the context, which is the current one now");
                return ExitCodes.Done;
            });
    }
}
