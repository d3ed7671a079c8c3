using System.CommandLine;

namespace Slipway.Cli.Commands;

/// <summary>Completion scripts; they ask this program itself what may follow.</summary>
internal static class CompletionCommand
{
    private const string Bash = """
        _slipway() {
            local line="${COMP_LINE#* }" start="${COMP_LINE%% *}"
            local IFS=$'\n'
            COMPREPLY=( $(compgen -W "$(slipway "[suggest:$((COMP_POINT - ${#start} - 1))]" "$line" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}") )
        }
        complete -o default -F _slipway slipway
        """;

    private const string Fish = """
        function __slipway_complete
            set -l line (commandline -cp | string replace -r '^\S+\s' '')
            slipway "[suggest:"(string length -- "$line")"]" "$line" 2>/dev/null
        end
        complete -c slipway -f -a '(__slipway_complete)'
        """;

    public static Command Build(Globals globals, Terminal terminal)
    {
        var shell = new Argument<string>("shell") { Description = "bash, zsh or fish" };
        shell.AcceptOnlyFromAmong("bash", "zsh", "fish");
        return new Verb("completion", "Prints a completion script", "source <(slipway completion bash)", "slipway completion fish | source")
            .With(shell)
            .Does(globals, terminal, async s =>
            {
                await s.Terminal.Out.WriteLineAsync(s.Value(shell) switch
                {
                    "fish" => Fish,
                    "zsh" => "autoload -U +X bashcompinit && bashcompinit\n" + Bash,
                    _ => Bash,
                });
                return ExitCodes.Done;
            });
    }
}
