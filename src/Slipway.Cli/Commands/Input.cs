namespace Slipway.Cli.Commands;

/// <summary>Files that a command reads, where - is standard input.</summary>
internal static class Input
{
    public static async Task<string> ReadAsync(Session s, string file) => file == "-"
        ? await s.Terminal.In.ReadToEndAsync(s.Stop)
        : File.Exists(file)
            ? await File.ReadAllTextAsync(file, s.Stop)
            : throw new CliException(ExitCodes.NotFound, $"{file} cannot be read", "there is no such file", "check the path");
}
