using Slipway.Foundation;

namespace Slipway.Architecture;

/// <summary>What breaks the rules, so that each is seen to fail.</summary>
public static class Fixtures
{
    public sealed class PublicGrain : Grain;

    public interface ILonely;

    public sealed class Lonely : ILonely;

    public sealed class Things
    {
        public Task CreateAsync(string name, CancellationToken ct) => Task.CompletedTask;
    }
}
