using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.RegularExpressions;
using Slipway.Governance;

namespace Slipway.Acceptance;

/// <summary>No route answers somebody it should not, and bodies and pages are what they say.</summary>
public sealed partial class RouteTests(RunningServer server) : IClassFixture<RunningServer>
{
    /// <summary>Permissions that every role has, so that nobody with a key lacks them.</summary>
    private static readonly string[] Universal = [.. Permissions.All.Where(p => Roles.All.All(r => Roles.PermissionsOf([r]).Contains(p)))];

    [Fact]
    public async Task Every_route_refuses_the_anonymous_and_whoever_lacks_its_permission()
    {
        using var owner = server.Client(server.OwnerKey);
        using var nobody = server.Client(null);
        var listed = await owner.GetFromJsonAsync<JsonElement>("/api/v1/meta/endpoints", TestContext.Current.CancellationToken);
        var routes = listed.GetProperty("items").EnumerateArray()
            .Select(r => (Method: r.GetProperty("method").GetString()!, Pattern: r.GetProperty("pattern").GetString()!, Permission: r.TryGetProperty("permission", out var p) ? p.GetString() : null))
            .Where(r => r.Permission is not null)
            .ToList();
        Assert.True(routes.Count(r => r.Pattern.StartsWith("/api/v1/", StringComparison.Ordinal)) > 80, $"{routes.Count} routes");

        var keys = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var role in routes.Select(r => Lacking(r.Permission!)).OfType<string>().Distinct(StringComparer.Ordinal))
        {
            keys[role] = await server.KeyOfAsync("only-" + role, role);
        }

        var wrong = new List<string>();
        foreach (var (method, pattern, permission) in routes)
        {
            var path = Parameter().Replace(pattern, m => m.Value.Contains(':', StringComparison.Ordinal) ? "1" : "x");
            var verb = new HttpMethod(method == "*" ? "GET" : method);
            using var anonymous = await nobody.SendAsync(new HttpRequestMessage(verb, path), TestContext.Current.CancellationToken);
            if (Told(anonymous) != HttpStatusCode.Unauthorized)
            {
                wrong.Add($"{method} {pattern} gave the anonymous {(int)Told(anonymous)}");
            }

            if (Lacking(permission!) is not { } role)
            {
                Assert.Contains(permission, Universal);
                continue;
            }

            using var client = server.Client(keys[role]);
            using var refused = await client.SendAsync(new HttpRequestMessage(verb, path), TestContext.Current.CancellationToken);
            if (Told(refused) != HttpStatusCode.Forbidden)
            {
                wrong.Add($"{method} {pattern} gave {role}, who lacks {permission}, {(int)Told(refused)}");
            }
        }

        Assert.True(wrong.Count == 0, string.Join('\n', wrong));

        // gRPC answers 200 and tells a refusal in a header of its own: 16 is UNAUTHENTICATED, 7 is PERMISSION_DENIED.
        static HttpStatusCode Told(HttpResponseMessage answer) => !answer.Headers.TryGetValues("grpc-status", out var status) ? answer.StatusCode
            : status.Single() switch { "16" => HttpStatusCode.Unauthorized, "7" => HttpStatusCode.Forbidden, _ => answer.StatusCode };
    }

    [Fact]
    public async Task A_refusal_is_a_problem_document_with_the_next_step()
    {
        using var owner = server.Client(server.OwnerKey);
        using var response = await owner.GetAsync("/api/v1/datasets/nothing", TestContext.Current.CancellationToken);
        var problem = await response.Content.ReadFromJsonAsync<JsonElement>(TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        Assert.Equal("notFound", problem.GetProperty("code").GetString());
        Assert.Equal(404, problem.GetProperty("status").GetInt32());
        Assert.Equal("slipway dataset list", problem.GetProperty("next").GetString());
        Assert.NotEmpty(problem.GetProperty("request").GetString()!);
    }

    [Theory]
    [InlineData("/datasets")]
    [InlineData("/models/iris/versions/1")]
    public async Task A_browser_at_an_address_that_is_nothing_gets_a_page(string path)
    {
        using var owner = server.Client(server.OwnerKey);
        owner.DefaultRequestHeaders.Accept.ParseAdd("text/html");
        using var response = await owner.GetAsync(path, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
        Assert.Equal("text/html", response.Content.Headers.ContentType?.MediaType);
        Assert.Contains("_framework/blazor.web.", await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/api/v1/models", """{"nme":"x"}""", "the member \"nme\" is not known here")]
    [InlineData("/api/v1/models", """{"name":null}""", null)]
    [InlineData("/api/v1/models", """{}""", null)]
    [InlineData("/api/v1/models", """{"name":"x","name":"y"}""", null)]
    [InlineData("/api/v1/models", "[", null)]
    [InlineData("/api/v1/gates", """{"subject":"iris","policy":"p"}""", "a subject is kind:name")]
    public async Task A_body_of_another_shape_is_refused_without_the_servers_own_types(string path, string body, string? why)
    {
        using var owner = server.Client(server.OwnerKey);
        using var content = new StringContent(body, System.Text.Encoding.UTF8, "application/json");
        using var response = await owner.PostAsync(path, content, TestContext.Current.CancellationToken);
        var text = await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        Assert.DoesNotContain("Slipway.Server", text, StringComparison.Ordinal);
        if (why is not null)
        {
            Assert.Equal(why, JsonDocument.Parse(text).RootElement.GetProperty("detail").GetString());
        }
    }

    [Fact]
    public async Task A_body_that_is_too_large_is_refused()
    {
        using var owner = server.Client(server.OwnerKey);
        using var content = JsonContent.Create(new { name = "x", description = new string('x', 2 << 20) });
        using var response = await owner.PostAsync("/api/v1/models", content, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, response.StatusCode);
    }

    [Fact]
    public async Task A_list_is_read_page_by_page_and_foreign_tokens_are_refused()
    {
        using var owner = server.Client(server.OwnerKey);
        foreach (var name in new[] { "a", "b", "c" })
        {
            using var made = await owner.PostAsJsonAsync("/api/v1/datasets", new { name = "paged-" + name }, TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.Created, made.StatusCode);
        }

        var seen = new List<string>();
        string? token = null;
        do
        {
            var page = await owner.GetFromJsonAsync<JsonElement>("/api/v1/datasets?limit=2" + (token is null ? "" : "&pageToken=" + token), TestContext.Current.CancellationToken);
            seen.AddRange(page.GetProperty("items").EnumerateArray().Select(d => d.GetProperty("name").GetString()!));
            token = page.TryGetProperty("nextToken", out var next) ? next.GetString() : null;
        }
        while (token is not null);

        Assert.Equal(["paged-a", "paged-b", "paged-c"], seen.Where(n => n.StartsWith("paged-", StringComparison.Ordinal)));
        foreach (var path in new[] { "/api/v1/datasets", "/api/v1/audit", "/api/v1/endpoints/x/predictions" })
        {
            using var response = await owner.GetAsync(path + "?pageToken=nonsense", TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        }
    }

    [Fact]
    public async Task The_feed_gives_what_happened_since_a_number_and_then_the_news()
    {
        using var owner = server.Client(server.OwnerKey);
        using var stream = new StreamReader(await owner.GetStreamAsync("/api/v1/feed?after=0", TestContext.Current.CancellationToken));
        Assert.Equal("1", await NextAsync(stream, "id: "));
        using var made = await owner.PostAsJsonAsync("/api/v1/datasets", new { name = "news" }, TestContext.Current.CancellationToken);
        var data = "";
        while (!data.Contains("dataset:news", StringComparison.Ordinal))
        {
            data = await NextAsync(stream, "data: ");
        }

        Assert.Equal("dataset.created", JsonDocument.Parse(data).RootElement.GetProperty("kind").GetString());
    }

    private static async Task<string> NextAsync(StreamReader stream, string prefix)
    {
        while (true)
        {
            var line = await stream.ReadLineAsync(TestContext.Current.CancellationToken) ?? throw new EndOfStreamException();
            if (line.StartsWith(prefix, StringComparison.Ordinal))
            {
                return line[prefix.Length..];
            }
        }
    }

    /// <summary>The first role that lacks the permission; null when every role has it.</summary>
    private static string? Lacking(string permission) => Roles.All.FirstOrDefault(r => !Roles.PermissionsOf([r]).Contains(permission));

    [GeneratedRegex(@"\{[^}]*\}", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Parameter();
}
