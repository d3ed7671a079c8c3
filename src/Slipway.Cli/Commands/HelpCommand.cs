using System.CommandLine;

namespace Slipway.Cli.Commands;

/// <summary>Topics that belong to no single command.</summary>
internal static class HelpCommand
{
    private static readonly Dictionary<string, string> Topics = new(StringComparer.Ordinal)
    {
        ["exit-codes"] = """
            Exit codes, the same for every command:

              0    done
              1    failed
              2    wrong usage, or a confirmation is needed (--yes)
              3    not found
              4    not signed in, or not allowed
              5    conflict or precondition: changed meanwhile, or refused by a policy
              6    the server cannot be reached
              8    pending: waits for an approval or an analysis, or --timeout is over
              130  interrupted
            """,
        ["output"] = """
            Data goes to standard output, everything else to standard error.

              -o table        lists and records for people; plain columns in a pipe
              -o wide         the same with more columns
              -o json         the document of the server; its field names do not change within a major version
              -o yaml         the same as YAML
              -o name         only names, one a line
              --columns A,B   columns by title, or any member by its path (status.state)
              --no-headers    tables without titles
              --quiet         no notes on standard error
              NO_COLOR        no colour
            """,
        ["filters"] = """
            What --filter of experiment, run and model takes: MLflow's filter language.

              metrics.auc > 0.8 AND params.learner = 'gbm'
              attributes.status = 'FINISHED' AND tags.team LIKE 'ops%'
              datasets.name IN ('flights-2024', 'flights-2025')

              metrics.KEY        a number: = != > >= < <=
              params.KEY         quoted text: = != LIKE ILIKE, or IS NULL, IS NOT NULL
              tags.KEY           the same
              datasets.KEY       name, digest or context: = != LIKE ILIKE IN
              attributes.KEY     of a run: run_id, run_name, user_id, status, artifact_uri, start_time, end_time
                                 of an experiment: name, creation_time, last_update_time; of a model: name

            Conditions are joined by AND. A key with other characters stands in backquotes:
            metrics.`val/auc`. In LIKE, % is any text and _ one character; ILIKE takes
            capitals as small letters. Times are Unix milliseconds.
            """,
        ["contexts"] = """
            Which server a command goes to, first match wins:

              1. --url ADDRESS, or --context NAME
              2. SLIPWAY_URL, or SLIPWAY_CONTEXT
              3. the current context (slipway context use NAME)
              4. http://127.0.0.1:5600

            A token comes from --token, SLIPWAY_TOKEN or the context. Contexts are kept in
            $XDG_CONFIG_HOME/slipway/contexts.json (else ~/.config), readable by you alone.
            """,
    };

    public static Command Build(Globals globals, Terminal terminal)
    {
        var topic = new Argument<string[]>("topic") { Description = "exit-codes, output, filters, contexts, or a command", Arity = ArgumentArity.ZeroOrMore };
        topic.CompletionSources.Add(_ => Topics.Keys.Select(t => new System.CommandLine.Completions.CompletionItem(t)));
        return new Verb("help", "Explains a topic or a command", "slipway help exit-codes", "slipway help rollout")
            .With(topic)
            .Does(globals, terminal, async s =>
            {
                var words = s.Value(topic);
                if (words.Length == 1 && Topics.TryGetValue(words[0], out var text))
                {
                    await s.Terminal.Out.WriteLineAsync(text);
                    return ExitCodes.Done;
                }

                var root = CommandLine.Build(terminal);
                Command? command = root;
                foreach (var word in words)
                {
                    command = command?.Subcommands.FirstOrDefault(c => c.Name == word || c.Aliases.Contains(word));
                }

                return command is not null
                    ? await root.Parse([.. words, "--help"]).InvokeAsync(new InvocationConfiguration { Output = terminal.Out, Error = terminal.Error }, s.Stop)
                    : throw new CliException(
                        ExitCodes.Usage, $"there is no help about {string.Join(' ', words)}",
                        Nearest.Of(words[0], Topics.Keys.Concat(root.Subcommands.Select(c => c.Name))) is { } near ? $"did you mean \"{near}\"?" : $"the topics are {string.Join(", ", Topics.Keys)}, and every command",
                        "slipway --help");
            });
    }
}
