using System.Collections.Concurrent;
using System.Collections.Frozen;
using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Monitoring;
using Slipway.Serving.Batching;
using Slipway.Serving.Runtimes;

namespace Slipway.Serving.Routing;

/// <summary>A candidate that this node took out of its own traffic, for the rollout to be told.</summary>
internal sealed record NodeRevert(string Endpoint, string Rollout, string Cause);

/// <summary>
/// The routes that this node serves. Requests read one immutable dictionary and one immutable table; publishing loads what is missing first
/// and swaps afterwards, so no request waits for a change or fails because of one.
/// </summary>
internal sealed partial class Routes(LoadedModels models, Scheduler scheduler, Predictions predictions, ServingOptions options, ILogger<Routes> log) : IDisposable
{
    private readonly SemaphoreSlim _publishing = new(1, 1);
    private readonly Channel<NodeRevert> _reverts = Channel.CreateBounded<NodeRevert>(new BoundedChannelOptions(256) { FullMode = BoundedChannelFullMode.DropOldest });
    private FrozenDictionary<string, Route> _routes = FrozenDictionary<string, Route>.Empty;

    /// <summary>Candidates that were taken out here.</summary>
    public ChannelReader<NodeRevert> Reverts => _reverts.Reader;

    /// <summary>Every route of this node.</summary>
    public IReadOnlyCollection<Route> All => Volatile.Read(ref _routes).Values;

    /// <summary>The route of an endpoint, or null.</summary>
    public Route? Find(string endpoint) => Volatile.Read(ref _routes).GetValueOrDefault(endpoint);

    /// <summary>The name of an endpoint given as part of a path, or null if there is none, without allocating.</summary>
    public string? NameOf(ReadOnlySpan<char> endpoint) =>
        Volatile.Read(ref _routes).GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(endpoint, out var route) ? route.Endpoint : null;

    /// <summary>
    /// Serves a revision, unless this node already serves it or a newer one. If stable cannot be loaded the route keeps its old table (or is
    /// known but not ready); if the candidate cannot, stable serves alone and the rollout is told.
    /// </summary>
    public async Task PublishAsync(RouteSpec spec, CancellationToken ct)
    {
        await _publishing.WaitAsync(ct);
        var pinned = new List<LoadedModel>();
        try
        {
            var route = Find(spec.Endpoint) ?? Add(spec.Endpoint);
            if (route.Unloaded || (route.Table is { } current && current.Spec.Revision >= spec.Revision))
            {
                return;
            }

            var variants = new List<LiveVariant>();
            foreach (var variant in spec.Variants)
            {
                try
                {
                    var model = await models.PinAsync(variant.ModelVersion, spec.Settings?.Runtime, ct);
                    pinned.Add(model);
                    variants.Add(Live(route, spec, variant, model));
                }
                catch (Exception failure) when (failure is not OperationCanceledException)
                {
                    Log.CannotLoad(log, failure, variant.ModelVersion, spec.Endpoint);
                    var why = (failure as SlipwayException)?.Sentence ?? failure.Message;
                    if (variants.Count == 0)
                    {
                        route.NotReady = $"{variant.ModelVersion} cannot be loaded: {why}";
                        throw;
                    }

                    if (spec.Rollout is { } rollout)
                    {
                        _reverts.Writer.TryWrite(new(spec.Endpoint, rollout, $"{variant.ModelVersion} cannot be loaded: {why}"));
                    }
                }
            }

            var before = route.Swap(new RouteTable(spec, [.. variants], new Fuse(spec.Fuse)), pinned);
            pinned = [];
            Release(before);
        }
        finally
        {
            Release(pinned);
            _publishing.Release();
        }
    }

    /// <summary>Keeps an endpoint known but not served; requests in flight finish.</summary>
    public async Task UnloadAsync(string endpoint, CancellationToken ct)
    {
        await _publishing.WaitAsync(ct);
        try
        {
            var route = Find(endpoint) ?? Add(endpoint);
            route.Unloaded = true;
            route.NotReady = "it was unloaded";
            Release(route.Swap(null, []));
        }
        finally
        {
            _publishing.Release();
        }
    }

    /// <summary>Makes an endpoint of the model repository known, before or instead of serving it.</summary>
    public async Task ClaimAsync(string endpoint, string why, CancellationToken ct)
    {
        await _publishing.WaitAsync(ct);
        try
        {
            var route = Find(endpoint) ?? Add(endpoint);
            route.FromRepository = true;
            route.NotReady = why;
        }
        finally
        {
            _publishing.Release();
        }
    }

    /// <summary>Serves an endpoint again.</summary>
    public async Task LoadAsync(RouteSpec spec, CancellationToken ct)
    {
        if (Find(spec.Endpoint) is { Unloaded: true } route)
        {
            route.Unloaded = false;
            route.NotReady = "its model is being loaded";
        }

        await PublishAsync(spec, ct);
    }

    /// <summary>Forgets an endpoint; requests in flight finish.</summary>
    public async Task RemoveAsync(string endpoint, CancellationToken ct)
    {
        await _publishing.WaitAsync(ct);
        try
        {
            if (Find(endpoint) is { } route)
            {
                Volatile.Write(ref _routes, _routes.Where(pair => pair.Key != endpoint).ToFrozenDictionary(StringComparer.Ordinal));
                Release(route.Swap(null, []));
            }
        }
        finally
        {
            _publishing.Release();
        }
    }

    public void Dispose() => _publishing.Dispose();

    private Route Add(string endpoint)
    {
        var route = new Route(endpoint, _reverts.Writer);
        Volatile.Write(ref _routes, _routes.Append(new(endpoint, route)).ToFrozenDictionary(StringComparer.Ordinal));
        return route;
    }

    private LiveVariant Live(Route route, RouteSpec spec, RouteVariant variant, LoadedModel model)
    {
        var (name, number) = VersionName.Split(variant.ModelVersion);
        var settings = spec.Settings ?? EndpointSettings.Default;
        var rule = new LaneRule(
            BatchRows(settings.Batching, model.Traits), TimeSpan.FromMicroseconds(settings.Batching?.BudgetMicros ?? 0), settings.QueueRows, TimeSpan.FromMilliseconds(settings.MaxWaitMillis), settings.MaxRequestRows);
        var lane = new Lane(model, scheduler, route.CountersOf(variant.ModelVersion), rule, options.InlineMicros);
        return new(variant.Name, variant.ModelVersion, name, $"{number}", model, lane, new(predictions, options, spec, variant, model.Signature, lane.Counters));
    }

    // Without a wish of the endpoint a model is batched where that was measured to pay, and calls are long enough to wait for each other.
    private int BatchRows(BatchingSettings? wish, RuntimeTraits traits) =>
        traits.CannotBatch is not null ? 1 : wish is not null ? wish.MaxRows : traits.CallMicros > options.InlineMicros && traits.BatchGain >= 1.2 ? 32 : 1;

    private void Release(IReadOnlyList<LoadedModel> pins)
    {
        foreach (var pin in pins)
        {
            models.Unpin(pin);
        }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Error, "Model version {ModelVersion} of endpoint {Endpoint} cannot be loaded on this node")]
        public static partial void CannotLoad(ILogger logger, Exception failure, string modelVersion, string endpoint);
    }
}

/// <summary>One endpoint on this node: the holder whose table is swapped.</summary>
internal sealed class Route(string endpoint, ChannelWriter<NodeRevert> reverts)
{
    // Versions of an endpoint are few; those of the past stay countable until the endpoint is removed.
    private readonly ConcurrentDictionary<string, Counters> _counters = new(StringComparer.Ordinal);
    private readonly Lock _gate = new();
    private RouteTable? _table;
    private IReadOnlyList<LoadedModel> _pins = [];
    private string? _revertedRollout;

    /// <summary>The one instance of the name that outlives requests.</summary>
    public string Endpoint { get; } = endpoint;

    /// <summary>What requests use; null until a model is loaded.</summary>
    public RouteTable? Table => Volatile.Read(ref _table);

    /// <summary>Whether it is a model of the repository's folder, and no stored endpoint.</summary>
    public bool FromRepository { get; set; }

    /// <summary>Whether it was taken out of memory on purpose.</summary>
    public bool Unloaded { get; set; }

    /// <summary>Why there is no table.</summary>
    public string NotReady { get; set; } = "its model is being loaded";

    /// <summary>The counters of a version on this endpoint.</summary>
    public Counters CountersOf(string modelVersion) => _counters.GetOrAdd(modelVersion, version => new Counters(Endpoint, version));

    /// <summary>Replaces the table and returns the pins of the old one.</summary>
    public IReadOnlyList<LoadedModel> Swap(RouteTable? table, IReadOnlyList<LoadedModel> pins)
    {
        lock (_gate)
        {
            // A rollout that failed here stays out until the route leaves it, even if another weight was already on its way.
            if (table?.Spec.Rollout != _revertedRollout)
            {
                _revertedRollout = null;
            }

            Volatile.Write(ref _table, _revertedRollout is null ? table : table?.OnStable());
            var before = _pins;
            _pins = pins;
            return before;
        }
    }

    /// <summary>Takes a rollout's candidate out of this node's traffic at once, before anyone else is asked.</summary>
    public void Revert(string rollout)
    {
        lock (_gate)
        {
            if (_table is { } table && table.Spec.Rollout == rollout)
            {
                _revertedRollout = rollout;
                Volatile.Write(ref _table, table.OnStable());
            }
        }
    }

    /// <summary>Reverts because the fuse blew, and reports it.</summary>
    public void Blow(RouteTable table, string cause)
    {
        if (table.Spec.Rollout is { } rollout)
        {
            Revert(rollout);
            reverts.TryWrite(new(Endpoint, rollout, $"local fuse: {cause}"));
        }
    }
}
