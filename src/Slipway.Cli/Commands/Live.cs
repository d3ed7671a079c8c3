using System.CommandLine;
using System.CommandLine.Completions;
using System.Text.Json;

namespace Slipway.Cli.Commands;

/// <summary>Names that exist on the server, for the shell's completion.</summary>
internal static class Live
{
    private const int Most = 200;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    /// <summary>Completes an argument with what a list of the server holds.</summary>
    /// <param name="argument">The argument.</param>
    /// <param name="globals">The options that say which server.</param>
    /// <param name="terminal">Where they come from.</param>
    /// <param name="collection">The list, for example <c>models</c>.</param>
    /// <param name="key">The member that holds an item's name.</param>
    public static Argument<string> Completes(this Argument<string> argument, Globals globals, Terminal terminal, string collection, string key = "name")
    {
        // Help prints an unnamed argument's completions in its place, which would ask the server and show what it holds.
        argument.HelpName ??= argument.Name;
        argument.CompletionSources.Add(context => Session.Quiet(context.ParseResult, globals, terminal, s => NamesAsync(s, collection, key)) ?? []);
        return argument;
    }

    private static async Task<IEnumerable<CompletionItem>> NamesAsync(Session s, string collection, string key)
    {
        using var limit = new CancellationTokenSource(Patience);
        var (items, _) = await s.Client.ListAsync<JsonElement>(System.Runtime.CompilerServices.FormattableStringFactory.Create(collection), Most, limit.Token);
        return [.. items.Select(i => new CompletionItem(Output.Text(Output.At(i, key))))];
    }
}
