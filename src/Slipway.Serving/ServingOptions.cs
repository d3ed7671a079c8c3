namespace Slipway.Serving;

/// <summary>Bounds of the data plane.</summary>
public sealed record ServingOptions
{
    /// <summary>Model versions that stay loaded although no route uses them: the way back after a rollout is instant while they do.</summary>
    public int IdleModels { get; init; } = 4;

    /// <summary>Calls measured faster than this many microseconds when the model was loaded run at once on the request's thread.</summary>
    public double InlineMicros { get; init; } = 50;

    /// <summary>Slower calls that may wait for a free core; beyond it requests are refused at once.</summary>
    public int MaxWaiting { get; init; } = 1024;

    /// <summary>Rows of one request that are logged as predictions of their own.</summary>
    public int MaxLoggedRows { get; init; } = 10_000;

    /// <summary>Numbers of one row's inputs up to which they are logged; an image is not.</summary>
    public int MaxLoggedFeatures { get; init; } = 4096;

    /// <summary>How often a node compares its routes with the stored ones, beside being told of changes.</summary>
    public TimeSpan RoutePoll { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Everything that is wrong, not only the first thing.</summary>
    public IEnumerable<string> Problems()
    {
        if (IdleModels is < 0 or > 1000)
        {
            yield return $"serving.idleModels must lie between 0 and 1000, it is {IdleModels}";
        }

        if (InlineMicros is not (>= 0 and < 1e9))
        {
            yield return $"serving.inlineMicros must be a number of microseconds, it is {InlineMicros}";
        }

        if (MaxWaiting is < 1 or > 1_000_000)
        {
            yield return $"serving.maxWaiting must lie between 1 and 1000000, it is {MaxWaiting}";
        }

        if (MaxLoggedRows < 1 || MaxLoggedFeatures < 1)
        {
            yield return $"serving.maxLoggedRows and maxLoggedFeatures must be positive, they are {MaxLoggedRows} and {MaxLoggedFeatures}";
        }

        if (RoutePoll < TimeSpan.FromMilliseconds(50))
        {
            yield return $"serving.routePoll must be at least 50 ms, it is {RoutePoll}";
        }
    }
}
