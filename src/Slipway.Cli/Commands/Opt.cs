using System.CommandLine;

namespace Slipway.Cli.Commands;

/// <summary>Options that several verbs share.</summary>
internal static class Opt
{
    public static Option<int> Limit() => new("--limit") { Description = "At most so many", DefaultValueFactory = _ => 100 };

    public static Option<bool> DryRun() => new("--dry-run") { Description = "Say what would be done, and do nothing" };

    public static Option<bool> Yes() => new("--yes", "-y") { Description = "Do not ask" };

    public static Option<bool> Wait() => new("--wait") { Description = "Wait until it has ended; exit code 8 when --timeout is over first" };

    public static Option<string> Timeout() => new("--timeout") { Description = "How long --wait waits, for example 90s or 2h", DefaultValueFactory = _ => "10m" };

    public static Argument<string> Name(string noun) => new(noun) { Description = $"The {noun}'s name" };

    public static Argument<string> Id(string noun) => new(noun) { Description = $"The {noun}'s id" };
}
