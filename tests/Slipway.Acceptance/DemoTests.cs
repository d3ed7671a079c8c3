using Slipway.Server;
using Slipway.Server.Demo;

namespace Slipway.Acceptance;

/// <summary>The closed loop on the real flight records, as <c>slipway demo --check</c> runs it.</summary>
public sealed class DemoTests
{
    [Fact]
    public async Task The_loop_closes_on_real_flights()
    {
        var folder = Directory.CreateTempSubdirectory("slipway-demo-test-").FullName;
        try
        {
            await using (var server = SlipwayServer.Create(new SlipwayOptions { DataDirectory = folder, Urls = ["http://127.0.0.1:0"], Identity = IdentityMode.SingleUser }))
            {
                await server.StartAsync(CancellationToken.None);
                await using var story = new DemoStory(server, Path.Combine(AppContext.BaseDirectory, "samples", "flights", "flights.parquet"), () => { });
                await story.RunAsync(CancellationToken.None);

                Assert.All(story.Steps, step => Assert.Equal(DemoState.Verified, step.State));
                Assert.All(story.Steps, step => Assert.NotEmpty(step.Facts));
                if (File.Exists("/usr/bin/chromium"))
                {
                    Assert.Empty(await Browser.ProblemsAsync(
                        server.Urls[0], "/", "/runs", "/models/flights/2", "/data/flights", "/endpoints/flights", "/monitors", $"/alerts/{story.AlertId}", "/alerts?state=all", "/silences", "/receivers", $"/predictions/{story.PredictionId}", "/pipelines", "/governance", "/audit"));
                }

                await server.StopAsync(CancellationToken.None);
            }

            var report = await Slipway.Foundation.VerifyReport.OfFolderAsync(folder, CancellationToken.None);
            Assert.True(report.Intact, string.Join("; ", report.Findings));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
