using Slipway.Server;

namespace Slipway.Acceptance;

/// <summary>The pages of a server that has nothing yet, in a real browser. <see cref="DemoTests"/> opens them with data.</summary>
public sealed class PageTests
{
    [Fact]
    public async Task Empty_pages_are_as_good_as_full_ones()
    {
        var folder = Directory.CreateTempSubdirectory("slipway-pages-").FullName;
        try
        {
            await using var server = SlipwayServer.Create(new SlipwayOptions { DataDirectory = folder, Urls = ["http://127.0.0.1:0"] });
            await server.StartAsync(CancellationToken.None);

            var problems = await Browser.ProblemsAsync(server.Urls[0], "/", "/runs", "/models", "/data", "/endpoints", "/monitors", "/alerts", "/silences", "/receivers", "/pipelines", "/governance", "/audit");

            Assert.Empty(problems);
            await server.StopAsync(CancellationToken.None);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
