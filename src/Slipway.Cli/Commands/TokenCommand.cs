using System.CommandLine;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>API keys.</summary>
internal static class TokenCommand
{
    private static readonly Column[] Columns = [new("TOKEN", "id"), new("NAME", "name"), new("OWNER", "owner"), new("ROLES", "roles"), new("EXPIRES", "expiresAt"), new("REVOKED", "revokedAt"), new("LAST USED", "lastUsedAt"), new("CREATED", "createdAt", wide: true)];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var name = new Argument<string>("name") { Description = "What it is for" };
        var token = Opt.Id("token");
        var owner = new Option<string?>("--owner") { Description = "Whom it acts as; otherwise you" };
        var of = new Option<string?>("--owner") { Description = "Only of this user" };
        var roles = new Option<string[]>("--role") { Description = "Its scope; otherwise all roles of its owner", AllowMultipleArgumentsPerToken = true };
        var days = new Option<double?>("--days") { Description = "How long it works" };
        var limit = Opt.Limit();
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        return new Noun("token", "API keys")
        {
            new Verb("list", "Lists tokens, without their secrets", "slipway token list", "slipway token list --owner grace")
                .With(of, limit)
                .Does(globals, terminal, s => s.ListAsync($"tokens{Query.Of(("owner", s.Value(of)))}", s.Value(limit), Columns)),
            new Verb("create", "Makes a token and shows its secret once; -o name prints the secret alone", "slipway token create laptop", "SLIPWAY_TOKEN=$(slipway token create ci --owner trainer-1 --days 30 -o name)")
                .With(name, owner, roles, days)
                .Does(globals, terminal, async s =>
                {
                    var scope = s.Value(roles) is { Length: > 0 } chosen ? chosen : null;
                    var made = await s.Client.PostAsync<JsonElement>($"tokens", new { name = s.Value(name), owner = s.Value(owner), roles = scope, days = s.Value(days) }, s.Stop);
                    s.Out.One(made, new("SECRET", "secret"), new("TOKEN", "key.id"), new("OWNER", "key.owner"), new("ROLES", "key.roles"), new("EXPIRES", "key.expiresAt"));
                    s.Note("this is the only time that the secret is shown");
                    return ExitCodes.Done;
                }),
            new Verb("revoke", "Ends a token at once", "slipway token revoke k3v9x2ab", "slipway token revoke k3v9x2ab --yes")
                .With(token, dry, yes)
                .Does(globals, terminal, async s =>
                {
                    if (await s.GoesOnAsync($"end token {s.Value(token)}", dry, yes))
                    {
                        await s.Client.DeleteAsync($"tokens/{s.About("tokens", s.Value(token), "id")}", s.Stop);
                        s.Note("ended");
                    }

                    return ExitCodes.Done;
                }),
        };
    }
}
