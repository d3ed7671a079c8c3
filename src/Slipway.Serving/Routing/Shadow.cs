using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Monitoring;
using Slipway.Serving.Batching;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Routing;

/// <summary>Where copies go under one revision of a route.</summary>
/// <param name="Queue">The mirror's queue, which outlives the revision.</param>
/// <param name="Variant">The variant that gets them.</param>
/// <param name="Lane">How they get to its model: apart from its own traffic, whose counters they do not touch.</param>
/// <param name="Share">Copied requests of each <see cref="SlotTable.Size"/>.</param>
internal sealed record ShadowTarget(Shadow Queue, LiveVariant Variant, Lane Lane, int Share)
{
    // Another seed than any salt's, so that who is copied does not hang on who is served by what.
    private const long Seed = 0x5eed_0f_5ad0;

    public bool Wants(string id) => Share >= SlotTable.Size || Picker.Slot(id, Seed) < Share;
}

/// <summary>What is kept of an answer until its mirrors have answered too. Belongs to one pooled request and is used again with it.</summary>
internal sealed class ShadowCopy
{
    private ShadowTarget[] _targets = [];
    private int _next;

    public string Id { get; private set; } = "";

    public LiveVariant Primary { get; private set; } = null!;

    public bool Ok { get; private set; }

    public long LatencyMicros { get; private set; }

    public long AtMicros { get; private set; }

    /// <summary>Rows of the primary's answer that are kept, and numbers in each.</summary>
    public int Rows { get; set; }

    public int Width { get; set; }

    public float[] Outputs { get; set; } = [];

    public ShadowTarget Target => _targets[_next - 1];

    public void Take(ShadowTarget[] targets, LiveVariant primary, string id, bool ok, long latencyMicros, long atMicros) =>
        (_targets, _next, Primary, Id, Ok, LatencyMicros, AtMicros) = (targets, 0, primary, id, ok, latencyMicros, atMicros);

    /// <summary>Gives the request to the next mirror that wants it and has room; false if there is none, then it is free.</summary>
    public bool Forward(InferRequest request)
    {
        while (_next < _targets.Length)
        {
            var target = _targets[_next++];
            // A mirror that answered the caller itself has nothing to be compared with.
            if (target.Variant != Primary && target.Wants(Id) && target.Queue.TryTake(request, target.Variant.Model.Traits.Elsewhere))
            {
                return true;
            }
        }

        (_targets, Primary) = ([], null!);
        return false;
    }
}

/// <summary>
/// One mirror of an endpoint on this node. A request is handed over when its answer has been sent and its caller is done with it, so nothing is
/// copied and nobody waits; beyond the bounds copies are dropped and counted. Copies run one at a time (as many as another process takes), each
/// behind what waits for a thread already.
/// </summary>
internal sealed partial class Shadow(string endpoint, string variant, string modelVersion, ServingOptions options, Health health, TimeProvider clock, ILogger log)
{
    private const int MostWorkers = 16;
    private readonly ConcurrentQueue<InferRequest> _queue = new();
    private readonly string _name = variant + Endpoints.ShadowSuffix;
    private int _queued;
    private long _bytes;
    private int _workers;
    private long _answered;
    private long _failed;
    private long _dropped;

    public string ModelVersion => modelVersion;

    public MirrorStatistics Read() => new(
        endpoint, variant, modelVersion, Interlocked.Read(ref _answered), Interlocked.Read(ref _failed), Interlocked.Read(ref _dropped), Volatile.Read(ref _queued));

    /// <summary>Takes a request over, which then is this mirror's to give back; false if there is no room.</summary>
    public bool TryTake(InferRequest request, int elsewhere)
    {
        var bytes = request.Inputs.Bytes;
        if (Interlocked.Increment(ref _queued) <= options.ShadowQueue)
        {
            if (Interlocked.Add(ref _bytes, bytes) <= options.ShadowBytes)
            {
                _queue.Enqueue(request);
                Start(Math.Clamp(elsewhere, 1, MostWorkers));
                return true;
            }

            Interlocked.Add(ref _bytes, -bytes);
        }

        Interlocked.Decrement(ref _queued);
        Interlocked.Increment(ref _dropped);
        return false;
    }

    private void Start(int most)
    {
        var workers = Volatile.Read(ref _workers);
        if (workers < most && Interlocked.CompareExchange(ref _workers, workers + 1, workers) == workers)
        {
            ThreadPool.UnsafeQueueUserWorkItem(static shadow => _ = shadow.WorkAsync(), this, preferLocal: false);
        }
    }

    private async Task WorkAsync()
    {
        do
        {
            while (_queue.TryDequeue(out var request))
            {
                Interlocked.Add(ref _bytes, -request.Inputs.Bytes);
                Interlocked.Decrement(ref _queued);
                try
                {
                    await RunAsync(request, request.Copy!);
                }
                catch (Exception defect)
                {
                    Interlocked.Increment(ref _failed);
                    Log.Unforeseen(log, defect, variant, endpoint);
                }

                request.Pass();
                await Task.Yield();
            }

            Interlocked.Decrement(ref _workers);
        }
        // What came after the last look and before the count found all workers busy.
        while (!_queue.IsEmpty && Interlocked.CompareExchange(ref _workers, 1, 0) == 0);
    }

    private async Task RunAsync(InferRequest request, ShadowCopy copy)
    {
        var target = copy.Target;
        if (!target.Variant.Model.TryEnter())
        {
            // The mirror was taken away while the copy waited.
            Interlocked.Increment(ref _dropped);
            return;
        }

        var started = clock.GetTimestamp();
        Runtimes.RunResult result;
        try
        {
            result = await target.Lane.RunAsync(request, long.MaxValue, CancellationToken.None);
        }
        finally
        {
            target.Variant.Model.Exit();
        }

        if (result is { Refused: true, Code: ErrorCode.ResourceExhausted or ErrorCode.DeadlineExceeded or ErrorCode.Cancelled })
        {
            Interlocked.Increment(ref _dropped);
            return;
        }

        var micros = (long)clock.GetElapsedTime(started).TotalMicroseconds;
        Interlocked.Increment(ref result.Ok ? ref _answered : ref _failed);
        health.Record(endpoint, _name, micros, result.Ok);
        target.Variant.Log.AppendShadow(request, copy, result.Ok, micros);
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Error, "A copy for mirror {Variant} of endpoint {Endpoint} failed; the caller has its answer already")]
        public static partial void Unforeseen(ILogger logger, Exception defect, string variant, string endpoint);
    }
}
