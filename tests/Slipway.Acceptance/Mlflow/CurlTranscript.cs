using System.Net.Http.Headers;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Slipway.Acceptance.Mlflow;

/// <summary>A request of a transcript, as the compatibility table looks at it.</summary>
public sealed record Exchange(string Method, string Path, int Status);

/// <summary>
/// Curl transcripts: Golden/mlflow/NAME.txt. A line <c>$ curl …</c> is sent to a live server, lines <c>&gt; name = path.in.answer</c>
/// (or <c>@Header</c>) keep a value of the answer for later commands ($name), and what follows is the answer: status, body, and the headers that matter.
/// Ids, times and random names become placeholders. With SLIPWAY_WRITE_GOLDEN=1 the answers are written anew.
/// </summary>
internal static partial class CurlTranscript
{
    private static readonly string[] ShownHeaders = ["WWW-Authenticate", "Allow", "Content-Disposition", "Content-Range", "Accept-Ranges"];

    public static IEnumerable<string> Names([CallerFilePath] string file = "") => Directory.GetFiles(Folder(file), "*.txt").Select(f => Path.GetFileNameWithoutExtension(f)).Order(StringComparer.Ordinal);

    /// <summary>Plays a transcript and compares the answers.</summary>
    public static async Task<IReadOnlyList<Exchange>> PlayAsync(RunningServer server, string name, [CallerFilePath] string file = "")
    {
        var golden = Path.Combine(Folder(file), name + ".txt");
        var script = await File.ReadAllLinesAsync(golden);
        var kept = new Dictionary<string, string>(StringComparer.Ordinal) { ["URL"] = server.Url, ["KEY"] = server.OwnerKey };
        var exchanges = new List<Exchange>();
        var seen = new StringBuilder();
        using var client = server.Client(null);
        for (var i = 0; i < script.Length; i++)
        {
            if (!script[i].StartsWith("$ ", StringComparison.Ordinal))
            {
                // Comments stay; the answers are written from what came.
                if (script[i].StartsWith('#'))
                {
                    seen.Append(script[i]).Append('\n');
                }

                continue;
            }

            var keep = script.Skip(i + 1).TakeWhile(l => l.StartsWith("> ", StringComparison.Ordinal)).ToList();
            using var request = Read(script[i][2..], kept, server.OwnerKey);
            using var response = await client.SendAsync(request);
            var text = await response.Content.ReadAsStringAsync();
            exchanges.Add(new Exchange(request.Method.Method, request.RequestUri!.OriginalString.Split('?')[0][server.Url.Length..], (int)response.StatusCode));
            foreach (var line in keep)
            {
                var parts = line[2..].Split(" = ", 2);
                kept[parts[0]] = parts[1].StartsWith('@')
                    ? response.Headers.GetValues(parts[1][1..]).Single().Trim('"')
                    : (string?)parts[1].Split('.').Aggregate((JsonNode?)JsonNode.Parse(text), (node, step) => int.TryParse(step, out var index) ? node?[index] : node?[step])
                    ?? throw new InvalidOperationException($"{name}: {script[i]}: the answer has no {parts[1]}: {text}");
            }

            seen.Append(script[i]).Append('\n');
            keep.ForEach(l => seen.Append(l).Append('\n'));
            seen.Append(Stable($"{(int)response.StatusCode} {text}".TrimEnd(), kept)).Append('\n');
            foreach (var header in ShownHeaders)
            {
                if (response.Headers.TryGetValues(header, out var values) || response.Content.Headers.TryGetValues(header, out values))
                {
                    seen.Append(header).Append(": ").Append(string.Join(", ", values)).Append('\n');
                }
            }

            seen.Append('\n');
        }

        if (Environment.GetEnvironmentVariable("SLIPWAY_WRITE_GOLDEN") == "1")
        {
            await File.WriteAllTextAsync(golden, seen.ToString());
        }

        Assert.Equal(await File.ReadAllTextAsync(golden), seen.ToString(), ignoreLineEndingDifferences: true);
        return exchanges;
    }

    /// <summary>The request of a curl command: -X, -H, -d (which means JSON here unless a header says otherwise) and -u.</summary>
    private static HttpRequestMessage Read(string command, Dictionary<string, string> kept, string key)
    {
        var words = Word().Matches(command).Select(m => m.Groups["quoted"].Success ? m.Groups["quoted"].Value : m.Value).Select(w => Variable().Replace(w, m => kept.TryGetValue(m.Groups["name"].Value, out var value) ? value : m.Value)).ToList();
        Assert.Equal("curl", words[0]);
        string? method = null, url = null, data = null, user = null;
        var headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        for (var i = 1; i < words.Count; i++)
        {
            switch (words[i])
            {
                case "-X":
                    method = words[++i];
                    break;
                case "-d":
                    data = words[++i];
                    break;
                case "-u":
                    user = words[++i];
                    break;
                case "-H":
                    var header = words[++i].Split(':', 2);
                    headers[header[0]] = header[1].Trim();
                    break;
                default:
                    url = words[i];
                    break;
            }
        }

        var request = new HttpRequestMessage(new HttpMethod(method ?? (data is null ? "GET" : "POST")), new Uri(url!, new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true }));
        if (data is not null)
        {
            request.Content = new ByteArrayContent(Encoding.UTF8.GetBytes(data));
            var type = headers.GetValueOrDefault("Content-Type", "application/json");
            request.Content.Headers.ContentType = type.Length == 0 ? null : MediaTypeHeaderValue.Parse(type);
        }

        foreach (var (name, value) in headers.Where(h => h.Value.Length > 0 && !h.Key.Equals("Content-Type", StringComparison.OrdinalIgnoreCase)))
        {
            request.Headers.TryAddWithoutValidation(name, value);
        }

        if (user is not null)
        {
            request.Headers.Authorization = new AuthenticationHeaderValue("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes(user)));
        }
        else if (!headers.ContainsKey("Authorization"))
        {
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", key);
        }

        return request;
    }

    private static string Stable(string text, Dictionary<string, string> kept)
    {
        text = Signature().Replace(text, "$1?<signature>");
        text = SystemError().Replace(text, "$1<error>\"");
        foreach (var (name, value) in kept.Where(k => k.Value.Length >= 12).OrderByDescending(k => k.Value.Length))
        {
            text = text.Replace(value, "$" + name, StringComparison.Ordinal);
        }

        text = Id().Replace(text, "<id>");
        text = Time().Replace(text, "${head}<time>");
        text = RunName().Replace(text, "<name>");
        text = Token().Replace(text, "$1<token>\"");
        return CutToken().Replace(text, "<token>…");
    }

    private static string Folder(string file) => Path.Combine(Path.GetDirectoryName(file)!, "..", "Golden", "mlflow");

    [GeneratedRegex("'(?<quoted>[^']*)'|[^ ]+", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Word();

    [GeneratedRegex(@"\$(?<name>[A-Za-z]\w*)", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Variable();

    [GeneratedRegex(@"\b[0-9a-f]{32}\b", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Id();

    // Times of the server; those that transcripts send stay as they are.
    [GeneratedRegex("(?<head>\"(?:creation|last_update|last_updated)_time(?:stamp)?(?:_ms)?\":)[1-9][0-9]{12}", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Time();

    [GeneratedRegex(@"\b[a-z]+-[a-z]+-\d{1,3}\b", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex RunName();

    [GeneratedRegex("(?<name>\"next_page_token\":\")[^\"]+\"", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Token();

    [GeneratedRegex("[A-Za-z0-9_-]{40}…", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex CutToken();

    [GeneratedRegex(@"(?<path>/signed/[^?""]+)\?[^""]+", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Signature();

    // What the name service of a machine says differs.
    [GeneratedRegex("(?<name>\"error_message\":\")[^\"]+\"", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex SystemError();
}
