using System.Diagnostics;
using System.Runtime.CompilerServices;
using Slipway.Registry;

namespace Slipway.Acceptance.Mlflow;

/// <summary>The npm package mlflow 2.0.7, unmodified, against a live server that demands identity.</summary>
public sealed class NodeClientTests(RunningServer server) : IClassFixture<RunningServer>
{
    [Fact]
    public async Task Package_from_npm_tracks_and_registers()
    {
        var root = Root();
        var modules = Path.Combine(root, "artifacts", "node", "node_modules");
        if (!Directory.Exists(modules))
        {
            Assert.Skip("the npm packages are not installed; ./test installs them");
        }

        var start = new ProcessStartInfo("node", [Path.Combine(root, "tests", "node", "mlflow.js")]) { UseShellExecute = false, RedirectStandardError = true, RedirectStandardOutput = true };
        start.Environment["NODE_PATH"] = modules;
        start.Environment["URL"] = server.Url;
        start.Environment["KEY"] = server.OwnerKey;
        using var node = Process.Start(start)!;
        var error = node.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await node.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await node.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(node.ExitCode == 0, await error);

        var version = await server.Get<Models>().ResolveAsync("npm-model@best", CancellationToken.None);
        Assert.Equal(("from npm", "MLmodel"), (version.Description, Assert.Single(version.Files).Path));
        Assert.Equal("ada", version.CreatedBy);
    }

    private static string Root([CallerFilePath] string file = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(file)!, "..", "..", ".."));
}
