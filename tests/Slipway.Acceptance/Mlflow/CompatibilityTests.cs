using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Slipway.Acceptance.Mlflow;

/// <summary>Every curl transcript, and the table of docs/mlflow-compatibility.md that they keep true.</summary>
public sealed partial class CompatibilityTests
{
    [Fact]
    public async Task Table_says_what_the_server_does()
    {
        var exchanges = (await Task.WhenAll(CurlTranscript.Names().Select(async name =>
        {
            await using var server = new RunningServer();
            await server.InitializeAsync();
            return await CurlTranscript.PlayAsync(server, name);
        }))).SelectMany(e => e).ToList();
        if (Environment.GetEnvironmentVariable("SLIPWAY_WRITE_GOLDEN") == "1")
        {
            return;
        }

        var rows = Rows();
        var wrong = new List<string>();
        wrong.AddRange(rows.GroupBy(r => (r.Method, r.Path)).Where(g => g.Count() > 1).Select(g => $"{g.Key} stands twice in the table"));
        foreach (var row in rows.Where(r => r.Served))
        {
            if (!exchanges.Any(e => e.Method == row.Method && e.Status is >= 200 and < 300 && row.IsAt(e.Path)))
            {
                wrong.Add($"{row.Method} {row.Path} is served by the table, and no transcript shows it");
            }
        }

        await using var live = new RunningServer();
        await live.InitializeAsync();
        using var client = live.Client(live.OwnerKey);
        foreach (var row in rows.Where(r => !r.Served))
        {
            using var request = new HttpRequestMessage(new HttpMethod(row.Method), Parameter().Replace(row.Path, "x"));
            if (row.Method != "GET")
            {
                request.Content = new StringContent("{}", Encoding.UTF8, "application/json");
            }

            using var response = await client.SendAsync(request, TestContext.Current.CancellationToken);
            var code = (string?)JsonNode.Parse(await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken))?["error_code"];
            if (((int)response.StatusCode, code) is not ((404, "ENDPOINT_NOT_FOUND") or (501, "NOT_IMPLEMENTED")))
            {
                wrong.Add($"{row.Method} {row.Path} is not served by the table, and answers {(int)response.StatusCode} {code}");
            }
        }

        var listed = await client.GetFromJsonAsync<JsonElement>("/api/v1/meta/endpoints", TestContext.Current.CancellationToken);
        var mapped = listed.GetProperty("items").EnumerateArray().Select(r => (Method: r.GetProperty("method").GetString()!, Pattern: r.GetProperty("pattern").GetString()!)).ToHashSet();
        foreach (var (method, pattern) in mapped.Where(m => m.Method is not ("*" or "HEAD") && IsMlflow(m.Pattern)))
        {
            var path = pattern.Replace("/ajax-api/", "/api/", StringComparison.Ordinal);
            if (!rows.Any(r => r.Served && r.Method == method && (r.IsAt(Parameter().Replace(path, "x")) || r.IsAt(Parameter().Replace(pattern, "x")))))
            {
                wrong.Add($"{method} {pattern} is mapped, and the table does not know it");
            }
        }

        foreach (var row in rows.Where(r => r.Served && r.Path.StartsWith("/api/", StringComparison.Ordinal)))
        {
            if (!mapped.Any(m => m.Method == row.Method && m.Pattern.StartsWith("/ajax-api/", StringComparison.Ordinal) && row.IsAt("/api/" + Parameter().Replace(m.Pattern, "x")["/ajax-api/".Length..])))
            {
                wrong.Add($"{row.Method} {row.Path} has no twin below /ajax-api");
            }
        }

        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
    }

    private static bool IsMlflow(string pattern) =>
        pattern is "/get-artifact" or "/model-versions/get-artifact" or "/version" or "/health" || new[] { "/api/2.0/", "/api/3.0/", "/ajax-api/" }.Any(p => pattern.StartsWith(p, StringComparison.Ordinal));

    /// <summary>The rows of the table: <c>| `METHOD /path` | since | state | note |</c>.</summary>
    private static List<Row> Rows([System.Runtime.CompilerServices.CallerFilePath] string file = "") =>
        File.ReadAllLines(Path.Combine(Path.GetDirectoryName(file)!, "..", "..", "..", "docs", "mlflow-compatibility.md"))
            .Select(l => TableRow().Match(l)).Where(m => m.Success)
            .Select(m => new Row(m.Groups["method"].Value, m.Groups["path"].Value, m.Groups["state"].Value switch
            {
                "served" or "served, differs" => true,
                "not served" => false,
                var other => throw new InvalidOperationException($"\"{other}\" is no state"),
            })).ToList();

    [GeneratedRegex(@"^\| `(?<method>[A-Z]+) (?<path>/[^`]*)` \| [^|]* \| (?<state>[^|]*?) \|", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex TableRow();

    [GeneratedRegex(@"\{[^}]*\}", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Parameter();

    private sealed record Row(string Method, string Path, bool Served)
    {
        private readonly Regex pattern = new("^" + string.Join('/', Path.Split('/').Select(s => s.StartsWith("{**", StringComparison.Ordinal) ? ".+" : s.StartsWith('{') ? "[^/]+" : Regex.Escape(s))) + "$", RegexOptions.CultureInvariant, TimeSpan.FromSeconds(1));

        public bool IsAt(string path) => pattern.IsMatch(path);
    }
}
