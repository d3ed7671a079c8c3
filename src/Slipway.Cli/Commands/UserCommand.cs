using System.CommandLine;
using System.Text.Json;

namespace Slipway.Cli.Commands;

/// <summary>People and service accounts.</summary>
internal static class UserCommand
{
    private static readonly Column[] Columns = [new("NAME", "name"), new("ROLES", "roles"), new("SERVICE OF", "owner"), new("CREATED", "createdAt"), new("DISABLED", "disabledAt"), new("BY", "createdBy", wide: true)];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var user = Opt.Name("user");
        var roles = new Option<string[]>("--role") { Description = "A role; may be repeated (slipway user roles)", Required = true, AllowMultipleArgumentsPerToken = true };
        var owner = new Option<string?>("--service-of") { Description = "Make a service account that counts as this person" };
        var limit = Opt.Limit();
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        return new Noun("user", "People and service accounts")
        {
            new Verb("list", "Lists users", "slipway user list", "slipway user list -o json")
                .With(limit)
                .Does(globals, terminal, s => s.ListAsync($"users", s.Value(limit), Columns)),
            new Verb("create", "Makes a user", "slipway user create grace --role validator", "slipway user create trainer-1 --role trainer --service-of ada")
                .With(user, roles, owner)
                .Does(globals, terminal, async s =>
                {
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"users", new { name = s.Value(user), roles = s.Value(roles), owner = s.Value(owner) }, s.Stop), Columns);
                    return ExitCodes.Done;
                }),
            new Verb("disable", "Stops a user at once, with all tokens", "slipway user disable grace", "slipway user disable grace --yes")
                .With(user, dry, yes)
                .Does(globals, terminal, async s =>
                {
                    if (await s.GoesOnAsync($"stop user {s.Value(user)} with all tokens", dry, yes))
                    {
                        await s.Client.DeleteAsync($"users/{s.About("users", s.Value(user))}", s.Stop);
                        s.Note("stopped");
                    }

                    return ExitCodes.Done;
                }),
            new Verb("roles", "Lists the roles and what they may do", "slipway user roles", "slipway user roles -o json")
                .Does(globals, terminal, s => s.ListAsync($"roles", 1000, new("ROLE", "name"), new("MAY", "permissions"))),
        };
    }
}
