using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using Slipway.Cli.Commands;

namespace Slipway.Cli;

/// <summary>The tree of commands, and the way from arguments to an exit code.</summary>
internal static class CommandLine
{
    private static readonly string[] RootExamples = ["slipway demo", "slipway serve --data ./slipway-data"];

    public static async Task<int> RunAsync(string[] args, Terminal terminal, CancellationToken stop)
    {
        var parse = Build(terminal).Parse(args);
        if (parse.Action is ParseErrorAction)
        {
            return Refuse(parse, terminal);
        }

        return await parse.InvokeAsync(
            new InvocationConfiguration { Output = terminal.Out, Error = terminal.Error, EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null },
            stop);
    }

    public static RootCommand Build(Terminal terminal)
    {
        var globals = new Globals();
        var root = new RootCommand("Slipway: from data to a watched model, on your own machines. Nouns may be written in the plural.");
        foreach (var option in globals.All)
        {
            root.Add(option);
        }

        Command[] commands =
        [
            DemoCommand.Build(globals, terminal),
            ServeCommand.Build(globals, terminal),
            StatusCommand.Build(globals, terminal),
            LoginCommand.Build(globals, terminal),
            DatasetCommand.Build(globals, terminal),
            ExperimentCommand.Build(globals, terminal),
            RunCommand.Build(globals, terminal),
            ModelCommand.Build(globals, terminal),
            VersionCommand.Build(globals, terminal),
            WebhookCommand.Build(globals, terminal),
            TrashCommand.Build(globals, terminal),
            PolicyCommand.Build(globals, terminal),
            GateCommand.Build(globals, terminal),
            ApprovalCommand.Build(globals, terminal),
            EndpointCommand.Build(globals, terminal),
            RolloutCommand.Build(globals, terminal),
            .. DeclaredCommands.Build(globals, terminal),
            MonitorCommand.Build(globals, terminal),
            LabelCommand.Build(globals, terminal),
            AlertCommand.Build(globals, terminal),
            SilenceCommand.Build(globals, terminal),
            ReceiverCommand.Build(globals, terminal),
            RouteCommand.Build(globals, terminal),
            PipelineCommand.Build(globals, terminal),
            TriggerCommand.Build(globals, terminal),
            LineageCommand.Build(globals, terminal),
            AuditCommand.Build(globals, terminal),
            UserCommand.Build(globals, terminal),
            TokenCommand.Build(globals, terminal),
            ContextCommand.Build(globals, terminal),
            WhoAmICommand.Build(globals, terminal),
            CompletionCommand.Build(globals, terminal),
            HelpCommand.Build(globals, terminal),
        ];
        foreach (var command in commands)
        {
            root.Add(command);
        }

        var help = root.Options.OfType<HelpOption>().Single();
        help.Action = new ExamplesFirst((HelpAction)help.Action!, terminal);
        return root;
    }

    /// <summary>The command as it was called, without its arguments: <c>slipway endpoint show</c>.</summary>
    public static string PathOf(ParseResult parse)
    {
        var names = new Stack<string>();
        for (SymbolResult? at = parse.CommandResult; at is CommandResult command; at = at.Parent)
        {
            names.Push(command.Command is RootCommand ? "slipway" : command.Command.Name);
        }

        return string.Join(' ', names);
    }

    private static int Refuse(ParseResult parse, Terminal terminal)
    {
        var path = PathOf(parse);
        var command = parse.CommandResult.Command;
        var wrong = parse.UnmatchedTokens.Count > 0 ? parse.UnmatchedTokens[0] : null;
        var known = command.Subcommands.Select(c => c.Name).Concat(command.Options.Select(o => o.Name));
        if (wrong is not null && Nearest.Of(wrong, known) is { } near)
        {
            Report.Error(terminal, $"there is no {path} {wrong}", $"did you mean \"{near}\"?", near.StartsWith('-') ? $"{path} --help" : $"{path} {near} --help", null);
        }
        else if (wrong is not null)
        {
            Report.Error(terminal, $"there is no {path} {wrong}", command.Subcommands.Count > 0 ? $"there are {string.Join(", ", command.Subcommands.Select(c => c.Name))}" : "the command takes no such argument", $"{path} --help", null);
        }
        else if (command.Subcommands.Count > 0)
        {
            Report.Error(terminal, $"{path} is not a whole command", $"it is followed by one of {string.Join(", ", command.Subcommands.Select(c => c.Name))}", $"{path} --help", null);
        }
        else
        {
            Report.Error(terminal, $"{path} cannot be run", string.Join(' ', string.Join(' ', parse.Errors.Select(e => e.Message)).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)), $"{path} --help", null);
        }

        return ExitCodes.Usage;
    }

    private sealed class ExamplesFirst(HelpAction help, Terminal terminal) : SynchronousCommandLineAction
    {
        public override bool ClearsParseErrors => true;

        public override int Invoke(ParseResult parseResult)
        {
            var examples = parseResult.CommandResult.Command switch
            {
                RootCommand => RootExamples,
                Verb verb => verb.Examples,
                var noun => [.. noun.Subcommands.OfType<Verb>().Take(2).Select(v => v.Examples[0])],
            };
            terminal.Out.WriteLine("Examples:");
            foreach (var example in examples)
            {
                terminal.Out.WriteLine($"  {example}");
            }

            terminal.Out.WriteLine();
            // A plural is accepted, and only noise where words are listed; the process ends after its help.
            foreach (var noun in parseResult.CommandResult.Command.Subcommands.OfType<Noun>().Where(n => n.Plural is not null))
            {
                noun.Aliases.Remove(noun.Plural!);
            }

            return help.Invoke(parseResult);
        }
    }
}
