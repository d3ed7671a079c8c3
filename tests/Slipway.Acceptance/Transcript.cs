using System.Runtime.CompilerServices;
using System.Text;
using System.Text.RegularExpressions;

namespace Slipway.Acceptance;

/// <summary>
/// What commands print, kept as text beside the tests (Golden/). Times, ids, hashes and ports become placeholders of the same
/// width. Run with SLIPWAY_WRITE_GOLDEN=1 to write the files anew, and read the difference before committing it.
/// </summary>
internal static partial class Transcript
{
    public static async Task MatchesAsync(RunningServer server, string name, IEnumerable<string> commands, [CallerFilePath] string file = "")
    {
        var text = new StringBuilder();
        foreach (var command in commands)
        {
            var result = await server.CliAsync(command);
            text.Append("$ slipway ").AppendLine(command).Append(result.Out).Append(Marked(result.Error)).Append("exit ").Append(result.Exit).AppendLine().AppendLine();
        }

        var seen = Stable(text.ToString(), server);
        var golden = Path.Combine(Path.GetDirectoryName(file)!, "Golden", name + ".txt");
        if (Environment.GetEnvironmentVariable("SLIPWAY_WRITE_GOLDEN") == "1")
        {
            Directory.CreateDirectory(Path.GetDirectoryName(golden)!);
            await File.WriteAllTextAsync(golden, seen);
        }

        Assert.Equal(await File.ReadAllTextAsync(golden), seen, ignoreLineEndingDifferences: true);
    }

    /// <summary>Standard error, told apart from standard output.</summary>
    private static string Marked(string error) => error.Length == 0 ? "" : string.Concat(error.TrimEnd('\n').Split('\n').Select(l => $"! {l}\n"));

    private static string Stable(string text, RunningServer server)
    {
        text = text.Replace(server.Url, "http://SERVER", StringComparison.Ordinal).Replace(server.Folder, "FOLDER", StringComparison.Ordinal)
            // Help names the program that runs, which here is the test.
            .Replace("\n  Slipway.Acceptance ", "\n  slipway ", StringComparison.Ordinal);
        text = IsoTime().Replace(text, "2026-01-01T00:00:00Z");
        text = Time().Replace(text, "2026-01-01 00:00:00Z");
        text = Hash().Replace(text, m => new string('f', m.Length));
        text = Ulid().Replace(text, m => new string('Z', 26));
        text = Entries().Replace(text, "JOURNAL:     0 entries");
        text = Request().Replace(text, "(request ID)");
        text = Took().Replace(text, m => $"{m.Groups["what"].Value} in 1 ms");
        return text;
    }

    [GeneratedRegex(@"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex IsoTime();

    [GeneratedRegex(@"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Time();

    [GeneratedRegex(@"\b(?:[0-9a-f]{64}|[0-9a-f]{32}|(?=[a-f]*[0-9])[0-9a-f]{12})\b", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Hash();

    [GeneratedRegex(@"\b[0-9A-HJKMNP-TV-Z]{26}\b", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Ulid();

    [GeneratedRegex(@"JOURNAL:     \d+ entries", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Entries();

    [GeneratedRegex(@"(?<what>answered|loaded) in [\d.]+ ms", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Took();

    [GeneratedRegex(@"\(request [^)]*\)", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Request();
}
