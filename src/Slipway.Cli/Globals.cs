using System.CommandLine;

namespace Slipway.Cli;

/// <summary>The options that every command takes.</summary>
internal sealed class Globals
{
    public Option<string?> Format { get; } = new("--output", "-o") { Description = "How to print: table, wide, json, yaml or name", Recursive = true, HelpName = "format" };

    public Option<string[]> Columns { get; } = new("--columns") { Description = "Columns of a table by title or JSON path, comma-separated", Recursive = true, HelpName = "names" };

    public Option<bool> NoHeaders { get; } = new("--no-headers") { Description = "Tables without titles", Recursive = true };

    public Option<bool> Quiet { get; } = new("--quiet", "-q") { Description = "No notes on standard error", Recursive = true };

    public Option<string?> Url { get; } = new("--url") { Description = "The server (or SLIPWAY_URL)", Recursive = true, HelpName = "address" };

    public Option<string?> Token { get; } = new("--token") { Description = "An API key (or SLIPWAY_TOKEN)", Recursive = true, HelpName = "key" };

    public Option<string?> Context { get; } = new("--context") { Description = "A named server (or SLIPWAY_CONTEXT)", Recursive = true, HelpName = "name" };

    public IEnumerable<Option> All => [Format, Columns, NoHeaders, Quiet, Url, Token, Context];

    public Globals() => Format.AcceptOnlyFromAmong("table", "wide", "json", "yaml", "name");
}
