namespace Slipway.Cli;

/// <summary>Errors, always in the same shape: what failed, why (where the first line does not say it already), what to do, and the request to look for in the server's log.</summary>
internal static class Report
{
    public static void Error(Terminal terminal, string what, string? why, string? next, string? request)
    {
        terminal.Error.WriteLine($"error: {what}");
        if (why is not null)
        {
            terminal.Error.WriteLine($"  why:  {why}");
        }

        terminal.Error.WriteLine($"  next: {next ?? "slipway help exit-codes"}");
        if (request is not null)
        {
            terminal.Error.WriteLine($"        (request {request})");
        }
    }
}
