using System.Runtime.InteropServices;
using Slipway.Foundation;

namespace Slipway.Serving.Routing;

/// <summary>
/// The counters behind <see cref="VersionStatistics"/>: one cell a core, so that cores do not fight for a cache line; reading adds the cells up.
/// </summary>
internal sealed class Counters(string endpoint, string modelVersion)
{
    private const int LargestBatch = 128;
    private readonly Cell[] _cells = [.. Enumerable.Range(0, Math.Clamp(Environment.ProcessorCount, 1, 16)).Select(_ => new Cell())];
    private readonly BatchCell?[] _batches = new BatchCell?[LargestBatch + 1];
    private int _pending;
    private long _logDropped;

    public string Endpoint { get; } = endpoint;

    public string ModelVersion { get; } = modelVersion;

    /// <summary>Requests that wait now.</summary>
    public ref int Pending => ref _pending;

    /// <summary>Counts a prediction that the log refused.</summary>
    public void LogDropped() => Interlocked.Increment(ref _logDropped);

    /// <summary>Counts an answered request.</summary>
    public void Answered(long nowMillis, long totalNanos, long queueNanos, in RunTimes times, long rows)
    {
        var cell = Mine();
        Interlocked.Increment(ref cell.Success);
        Interlocked.Add(ref cell.SuccessNanos, totalNanos);
        Interlocked.Add(ref cell.QueueNanos, queueNanos);
        Interlocked.Add(ref cell.InputNanos, times.Input);
        Interlocked.Add(ref cell.InferNanos, times.Infer);
        Interlocked.Add(ref cell.OutputNanos, times.Output);
        Interlocked.Add(ref cell.Rows, rows);
        Interlocked.Increment(ref cell.Latencies[Bucket(totalNanos)]);
        Volatile.Write(ref cell.Last, nowMillis);
    }

    // The bounds are few and most answers are quick, so looking from the first one on is faster than halving.
    private static int Bucket(long nanos)
    {
        var bounds = VersionStatistics.LatencyBounds;
        var at = 0;
        while (at < bounds.Length && nanos > bounds[at] * 1e9)
        {
            at++;
        }

        return at;
    }

    /// <summary>Counts one run of the model over some rows; a run that failed has none and is counted as a failure.</summary>
    public void Ran(long rows, in RunTimes times)
    {
        if (rows <= 0)
        {
            return;
        }

        var size = (int)Math.Min(rows, LargestBatch);
        var batch = Volatile.Read(ref _batches[size]) ?? Interlocked.CompareExchange(ref _batches[size], new BatchCell(), null) ?? _batches[size]!;
        Interlocked.Increment(ref batch.Count);
        Interlocked.Add(ref batch.InputNanos, times.Input);
        Interlocked.Add(ref batch.InferNanos, times.Infer);
        Interlocked.Add(ref batch.OutputNanos, times.Output);
    }

    /// <summary>Counts a request without an answer.</summary>
    public void Failed(ErrorCode code, bool refused, long nowMillis, long totalNanos)
    {
        var cell = Mine();
        switch (code)
        {
            case ErrorCode.Cancelled:
                Interlocked.Increment(ref cell.Canceled);
                break;
            case ErrorCode.ResourceExhausted or ErrorCode.DeadlineExceeded or ErrorCode.Unavailable:
                Interlocked.Increment(ref cell.Rejected);
                break;
            default:
                Interlocked.Increment(ref refused ? ref cell.Other : ref cell.Backend);
                break;
        }

        Interlocked.Add(ref cell.FailNanos, totalNanos);
        Volatile.Write(ref cell.Last, nowMillis);
    }

    public VersionStatistics Read()
    {
        long Sum(Func<Cell, long> value) => _cells.Sum(value);
        var success = Sum(cell => Volatile.Read(ref cell.Success));
        var failures = new FailureCounts(
            Sum(cell => Volatile.Read(ref cell.Rejected)), Sum(cell => Volatile.Read(ref cell.Canceled)), Sum(cell => Volatile.Read(ref cell.Backend)), Sum(cell => Volatile.Read(ref cell.Other)));
        var batches = new List<BatchCounts>();
        for (var rows = 0; rows < _batches.Length; rows++)
        {
            if (Volatile.Read(ref _batches[rows]) is { } batch)
            {
                var count = Volatile.Read(ref batch.Count);
                batches.Add(new(rows, new(count, Volatile.Read(ref batch.InputNanos)), new(count, Volatile.Read(ref batch.InferNanos)), new(count, Volatile.Read(ref batch.OutputNanos))));
            }
        }

        return new(
            Endpoint, ModelVersion, _cells.Max(cell => Volatile.Read(ref cell.Last)), Sum(cell => Volatile.Read(ref cell.Rows)), batches.Sum(batch => batch.ComputeInfer.Count),
            new(success, Sum(cell => Volatile.Read(ref cell.SuccessNanos))),
            new(failures.Rejected + failures.Canceled + failures.Backend + failures.Other, Sum(cell => Volatile.Read(ref cell.FailNanos))),
            new(success, Sum(cell => Volatile.Read(ref cell.QueueNanos))), new(success, Sum(cell => Volatile.Read(ref cell.InputNanos))),
            new(success, Sum(cell => Volatile.Read(ref cell.InferNanos))), new(success, Sum(cell => Volatile.Read(ref cell.OutputNanos))),
            failures, Volatile.Read(ref _pending), Interlocked.Read(ref _logDropped), batches,
            [.. Enumerable.Range(0, VersionStatistics.LatencyBounds.Length + 1).Select(at => Sum(cell => Volatile.Read(ref cell.Latencies[at])))]);
    }

    private Cell Mine() => _cells[(uint)Thread.GetCurrentProcessorId() % (uint)_cells.Length];

    // Fields of one core; the object's size keeps two cells from sharing a cache line for most of their fields.
    private sealed class Cell
    {
        public long Success;
        public long SuccessNanos;
        public long QueueNanos;
        public long InputNanos;
        public long InferNanos;
        public long OutputNanos;
        public long Rows;
        public long Last;
        public long Rejected;
        public long Canceled;
        public long Backend;
        public long Other;
        public long FailNanos;
        public readonly long[] Latencies = new long[VersionStatistics.LatencyBounds.Length + 1];
    }

    private sealed class BatchCell
    {
        public long Count;
        public long InputNanos;
        public long InferNanos;
        public long OutputNanos;
    }
}

/// <summary>Where the time of one run went, in nanoseconds.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct RunTimes(long Input, long Infer, long Output);
