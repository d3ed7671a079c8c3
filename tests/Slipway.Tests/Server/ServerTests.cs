using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Tests.Server;

public sealed class ServerTests
{
    [Fact]
    public void Wrong_options_are_reported_all_at_once()
    {
        using var folder = new TemporaryFolder();

        var refused = Assert.Throws<SlipwayException>(() => SlipwayServer.Create(new SlipwayOptions { DataDirectory = folder.Path, Urls = ["gopher://x", "http://127.0.0.1:1/path"], DrainTime = TimeSpan.FromHours(1) }));

        Assert.Equal(ErrorCode.InvalidArgument, refused.Code);
        Assert.Contains("gopher", refused.Why, StringComparison.Ordinal);
        Assert.Contains("/path", refused.Why, StringComparison.Ordinal);
        Assert.Contains("drain-time", refused.Why, StringComparison.Ordinal);
    }

    [Fact]
    public void Single_user_mode_is_refused_on_an_address_that_others_reach()
    {
        using var folder = new TemporaryFolder();

        var refused = Assert.Throws<SlipwayException>(() => SlipwayServer.Create(new SlipwayOptions { DataDirectory = folder.Path, Urls = ["http://0.0.0.0:5600"], Identity = IdentityMode.SingleUser }));

        Assert.Contains("loopback", refused.Why, StringComparison.Ordinal);
    }

    [Fact]
    public void A_route_that_declares_no_permission_is_found()
    {
        var app = WebApplication.CreateSlimBuilder().Build();
        app.MapGet("/declared", () => "ok").RequirePermission(Permissions.RunRead);
        app.MapGet("/open", () => "ok").OpenToAll();
        app.MapPost("/forgotten", () => "ok");

        var found = ((IEndpointRouteBuilder)app).DataSources.SelectMany(RoutePermissions.Undeclared);

        Assert.Equal(["POST /forgotten"], found);
    }

    [Fact]
    public async Task Without_credentials_only_this_machine_and_its_own_pages_are_served()
    {
        using var folder = new TemporaryFolder();
        await using var server = SlipwayServer.Create(new SlipwayOptions { DataDirectory = folder.Path, Urls = ["http://127.0.0.1:0"] });
        await server.StartAsync(CancellationToken.None);
        using var client = new HttpClient { BaseAddress = new Uri(server.Urls[0]) };

        Assert.Equal(HttpStatusCode.OK, await StatusAsync(HttpMethod.Get, null, null));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync(HttpMethod.Get, "Host", "evil.test"));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync(HttpMethod.Post, "Origin", "http://evil.test"));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync(HttpMethod.Post, "Sec-Fetch-Site", "cross-site"));
        Assert.Contains("slipway_predictions_written_total", await client.GetStringAsync(new Uri("/metrics", UriKind.Relative)), StringComparison.Ordinal);
        // Prometheus asks for compressed text, and takes nothing that follows its end.
        using (var scrape = new HttpRequestMessage(HttpMethod.Get, "/metrics") { Headers = { { "Accept-Encoding", "gzip" } } })
        using (var scraped = await client.SendAsync(scrape))
        {
            Assert.Equal(["gzip"], scraped.Content.Headers.ContentEncoding);
            using var text = new StreamReader(new System.IO.Compression.GZipStream(await scraped.Content.ReadAsStreamAsync(), System.IO.Compression.CompressionMode.Decompress));
            var all = await text.ReadToEndAsync();
            Assert.Contains("slipway_predictions_written_total", all, StringComparison.Ordinal);
            Assert.Contains("request_predict_seconds", all, StringComparison.Ordinal);
        }

        Assert.Equal("ready", await client.GetStringAsync(new Uri("/readyz", UriKind.Relative)));

        var second = Assert.Throws<SlipwayException>(() => SlipwayServer.Create(new SlipwayOptions { DataDirectory = folder.Path, Urls = ["http://127.0.0.1:0"] }));
        Assert.Equal(ErrorCode.Conflict, second.Code);
        await server.StopAsync(CancellationToken.None);

        async Task<HttpStatusCode> StatusAsync(HttpMethod method, string? header, string? value)
        {
            using var request = new HttpRequestMessage(method, method == HttpMethod.Get ? "/api/v1/status" : "/api/v1/audit/verify");
            if (header is not null)
            {
                request.Headers.TryAddWithoutValidation(header, value);
            }

            using var response = await client.SendAsync(request);
            return response.StatusCode;
        }
    }
}
