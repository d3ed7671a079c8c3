namespace Slipway.Cli;

/// <summary>Where a command reads, writes and asks. Tests hand in their own.</summary>
/// <param name="In">Standard input.</param>
/// <param name="Out">For data.</param>
/// <param name="Error">For everything else.</param>
/// <param name="Environment">Environment variables by name.</param>
/// <param name="ShowsTables">Whether a person looks at <paramref name="Out"/>.</param>
/// <param name="CanAsk">Whether a person can be asked.</param>
/// <param name="Clock">For waiting.</param>
internal sealed record Terminal(TextReader In, TextWriter Out, TextWriter Error, Func<string, string?> Environment, bool ShowsTables, bool CanAsk, TimeProvider Clock)
{
    /// <summary>Whether colour is wanted: never with NO_COLOR, on a dumb terminal or in a pipe.</summary>
    public bool Colour => ShowsTables && string.IsNullOrEmpty(Environment("NO_COLOR")) && Environment("TERM") != "dumb";

    public static Terminal OfProcess() => new(
        Console.In, Console.Out, Console.Error, System.Environment.GetEnvironmentVariable,
        !Console.IsOutputRedirected, !Console.IsInputRedirected && !Console.IsErrorRedirected, TimeProvider.System);
}
