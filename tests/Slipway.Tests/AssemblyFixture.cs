[assembly: AssemblyFixture(typeof(Slipway.Tests.SharedServers))]

namespace Slipway.Tests;

/// <summary>Ends the servers that tests share when the last test is done.</summary>
public sealed class SharedServers : IAsyncDisposable
{
    public ValueTask DisposeAsync() => PostgresServer.StopSharedAsync();
}
