using System.CommandLine;

namespace Slipway.Cli.Commands;

/// <summary>As whom commands act, and what that may do.</summary>
internal static class WhoAmICommand
{
    public static Command Build(Globals globals, Terminal terminal) =>
        new Verb("whoami", "As whom you act, and what you may do", "slipway whoami", "slipway whoami -o name")
            .Does(globals, terminal, s => s.ShowAsync(
                $"whoami", new("NAME", "name"), new("KIND", "kind"), new("PROVED BY", "auth"), new("FOR", "onBehalfOf"), new("SERVER", _ => s.Client.Address.GetLeftPart(UriPartial.Authority)), new("MAY", "permissions")));
}
