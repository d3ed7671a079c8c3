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
internal sealed partial class Routes(
    LoadedModels models, Scheduler scheduler, Predictions predictions, Health health, ServingOptions options, TimeProvider clock, ILogger<Routes> log) : IDisposable
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

    /// <summary>The route of an endpoint given as part of a path, or null if there is none, without allocating.</summary>
    public Route? Find(ReadOnlySpan<char> endpoint) =>
        Volatile.Read(ref _routes).GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(endpoint, out var route) ? route : null;

    /// <summary>
    /// Serves a revision, unless this node already serves it or a newer one. If stable cannot be loaded the route keeps its old table (or is
    /// known but not ready); if another variant cannot, stable serves its share and the rollout is told. Versions to be kept warm are loaded last.
    /// </summary>
    public async Task PublishAsync(RouteSpec spec, CancellationToken ct)
    {
        await _publishing.WaitAsync(ct);
        var pinned = new List<LoadedModel>();
        IReadOnlyList<LoadedModel> leaving = [];
        try
        {
            var route = Find(spec.Endpoint) ?? Add(spec.Endpoint);
            if (route.Unloaded || (route.Table is { } current && current.Spec.Revision >= spec.Revision))
            {
                return;
            }

            var variants = new List<LiveVariant?>();
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

                    variants.Add(null);
                    if (spec.Rollout is { } rollout)
                    {
                        _reverts.Writer.TryWrite(new(spec.Endpoint, rollout, $"{variant.ModelVersion} cannot be loaded: {why}"));
                    }
                }
            }

            var shadows = (spec.Mirrors ?? []).Select(mirror => Mirror(route, mirror, variants)).OfType<ShadowTarget>().ToList();
            leaving = route.Swap(new RouteTable(spec, variants, shadows), pinned);
            pinned = [];
            await WarmAsync(route, spec, ct);
        }
        finally
        {
            Release(leaving);
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
            Release([.. route.Swap(null, []), .. route.Cool(long.MaxValue)]);
        }
        finally
        {
            _publishing.Release();
        }
    }

    /// <summary>Ends what has its time: versions kept warm long enough, and leases that nobody renewed.</summary>
    public void Expire(bool leasesOnly)
    {
        foreach (var route in All)
        {
            if (route.ExpireLease() is { } lease)
            {
                Log.LeaseEnded(log, route.Endpoint, route.Table?.Spec.Rollout ?? "", lease.Duration, lease.OnExpiry);
            }

            if (!leasesOnly)
            {
                Release(route.Cool(clock.NowMicros()));
            }
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
                Release([.. route.Swap(null, []), .. route.Cool(long.MaxValue)]);
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
        var route = new Route(endpoint, _reverts.Writer, clock);
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
        return new(variant.Name, variant.ModelVersion, name, $"{number}", model, lane, new(predictions, options, spec, variant, model.Signature, lane.Counters), new Fuse(spec.Fuse));
    }

    // A mirror that could not be loaded gets nothing.
    private ShadowTarget? Mirror(Route route, MirrorRule rule, List<LiveVariant?> variants)
    {
        if (variants.Find(variant => variant?.Name == rule.Variant) is not { } variant)
        {
            return null;
        }

        var queue = route.ShadowOf(variant.Name, variant.ModelVersion, () => new Shadow(route.Endpoint, variant.Name, variant.ModelVersion, options, health, clock, log));
        var lane = new Lane(variant.Model, scheduler, new Counters(route.Endpoint, variant.ModelVersion), variant.Lane.Rule with { MaxRows = 1 }, options.InlineMicros) { Price = 10 };
        return new(queue, variant, lane, (int)Math.Round(rule.Percent * SlotTable.Size / 100));
    }

    // Routes answer already, so a version that cannot be kept ready is only told: going back to it would load it then.
    private async Task WarmAsync(Route route, RouteSpec spec, CancellationToken ct)
    {
        var warm = new List<(LoadedModel Model, long Until)>();
        foreach (var version in (spec.Warm ?? []).Where(version => version.UntilMicros > clock.NowMicros()))
        {
            try
            {
                warm.Add((await models.PinAsync(version.ModelVersion, spec.Settings?.Runtime, ct), version.UntilMicros));
            }
            catch (Exception failure) when (failure is not OperationCanceledException)
            {
                Log.CannotLoad(log, failure, version.ModelVersion, spec.Endpoint);
            }
        }

        Release(route.Warm(warm));
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

        [LoggerMessage(LogLevel.Warning, "Nobody renewed the lease of endpoint {Endpoint} (rollout {Rollout}) for {Duration}: {OnExpiry}, until it is renewed")]
        public static partial void LeaseEnded(ILogger logger, string endpoint, string rollout, TimeSpan duration, LeaseExpiry onExpiry);
    }
}

/// <summary>One endpoint on this node: the holder whose table is swapped.</summary>
internal sealed class Route(string endpoint, ChannelWriter<NodeRevert> reverts, TimeProvider clock)
{
    // Versions of an endpoint are few; those of the past stay countable until the endpoint is removed.
    private readonly ConcurrentDictionary<string, Counters> _counters = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, Shadow> _shadows = new(StringComparer.Ordinal);
    private readonly Lock _gate = new();
    private RouteTable? _table;
    private RouteTable? _published;
    private IReadOnlyList<LoadedModel> _pins = [];
    private List<(LoadedModel Model, long Until)> _warm = [];
    private string? _revertedRollout;
    private long _leaseUntil;
    private long _leaseEnds;
    private bool _leaseEnded;

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

    /// <summary>Why this node serves only stable although the route says otherwise, or null.</summary>
    public string? Reverted
    {
        get
        {
            lock (_gate)
            {
                return _revertedRollout is { } rollout ? $"rollout {rollout} was taken out of this node's traffic"
                    : _leaseEnded && _published?.Spec.Lease is { OnExpiry: LeaseExpiry.Revert } lease ? $"nobody renewed the route's lease for {lease.Duration}"
                    : null;
            }
        }
    }

    /// <summary>The mirrors that there were since the node's start.</summary>
    public IEnumerable<Shadow> Shadows => _shadows.Values;

    /// <summary>The counters of a version on this endpoint.</summary>
    public Counters CountersOf(string modelVersion) => _counters.GetOrAdd(modelVersion, version => new Counters(Endpoint, version));

    /// <summary>The queue of a mirror: one for a variant and version, whichever revisions come and go.</summary>
    public Shadow ShadowOf(string variant, string modelVersion, Func<Shadow> make) => _shadows.GetOrAdd($"{variant} {modelVersion}", _ => make());

    /// <summary>Replaces the table and returns the pins of the old one. A published revision has its lease from now on.</summary>
    public IReadOnlyList<LoadedModel> Swap(RouteTable? table, IReadOnlyList<LoadedModel> pins)
    {
        lock (_gate)
        {
            // A rollout that failed here stays out until the route leaves it, even if another weight was already on its way.
            if (table?.Spec.Rollout != _revertedRollout)
            {
                _revertedRollout = null;
            }

            if (table?.Spec.Rollout != _published?.Spec.Rollout)
            {
                _leaseUntil = 0;
            }

            if (table?.Spec.Lease is { } lease)
            {
                Extend(lease.Duration);
            }

            _leaseEnded = false;
            _published = table;
            Show();
            var before = _pins;
            _pins = pins;
            return before;
        }
    }

    /// <summary>Takes a rollout's variants out of this node's traffic at once, before anyone else is asked.</summary>
    public void Revert(string rollout)
    {
        lock (_gate)
        {
            if (_published?.Spec.Rollout == rollout)
            {
                _revertedRollout = rollout;
                Show();
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

    /// <summary>
    /// Sees a renewal: the stored end (Unix microseconds) has grown. Only the growth counts, from the moment it is seen, so that clocks of nodes need not
    /// agree; what a node sees first may be old, and gives only what is left of it.
    /// </summary>
    public void Renew(long untilMicros)
    {
        lock (_gate)
        {
            if (_published?.Spec.Lease is not { } lease || untilMicros <= _leaseUntil)
            {
                return;
            }

            var left = _leaseUntil > 0 ? lease.Duration : TimeSpan.FromMicroseconds(Math.Clamp(untilMicros - clock.NowMicros(), 0, lease.Duration.TotalMicroseconds));
            _leaseUntil = untilMicros;
            Extend(left);
            if (_leaseEnded && left > TimeSpan.Zero)
            {
                _leaseEnded = false;
                Show();
            }
        }
    }

    /// <summary>Ends a lease whose time is over; returns it once.</summary>
    public LeaseRule? ExpireLease()
    {
        // Nearly always there is no lease, and then there is nothing to lock.
        if (Table?.Spec.Lease is null)
        {
            return null;
        }

        lock (_gate)
        {
            if (_published?.Spec.Lease is not { } lease || _leaseEnded || clock.GetTimestamp() < _leaseEnds)
            {
                return null;
            }

            _leaseEnded = true;
            Show();
            return lease;
        }
    }

    /// <summary>Replaces the versions that are kept warm and returns the pins of those before.</summary>
    public IReadOnlyList<LoadedModel> Warm(List<(LoadedModel Model, long Until)> warm)
    {
        lock (_gate)
        {
            var before = _warm;
            _warm = warm;
            return [.. before.Select(each => each.Model)];
        }
    }

    /// <summary>Gives up the versions that are kept warm until then (Unix microseconds) or shorter, and returns their pins.</summary>
    public IReadOnlyList<LoadedModel> Cool(long nowMicros)
    {
        lock (_gate)
        {
            if (_warm.Count == 0)
            {
                return [];
            }

            List<LoadedModel> cooled = [.. _warm.Where(each => each.Until <= nowMicros).Select(each => each.Model)];
            _warm.RemoveAll(each => each.Until <= nowMicros);
            return cooled;
        }
    }

    private void Extend(TimeSpan time) => _leaseEnds = clock.GetTimestamp() + (long)(time.TotalSeconds * clock.TimestampFrequency);

    private void Show()
    {
        var reverted = _revertedRollout is not null || (_leaseEnded && _published?.Spec.Lease is { OnExpiry: LeaseExpiry.Revert });
        Volatile.Write(ref _table, reverted ? _published?.OnStable() : _published);
    }
}
