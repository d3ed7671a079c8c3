using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Serving.Runtimes;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Batching;

/// <summary>
/// Shares the cores between the lanes of slow models: as many runs at a time as there are cores, in the whole process. A request that finds a
/// free core and nobody waiting runs at once; otherwise it waits in its lane. Whenever a core is free, the lane that has used the least core time
/// goes next with its oldest request, and with as many of those behind it as may share the run. So one busy endpoint cannot starve another, and
/// batches grow with the load and not with a timer. A lane's budget only delays requests of a model that is running already.
/// </summary>
internal sealed partial class Scheduler : IDisposable
{
    private readonly TimeProvider _clock;
    private readonly ILogger _log;
    private readonly Lock _gate = new();
    private readonly List<Lane> _ready = [];
    private readonly SemaphoreSlim _work = new(0);
    private readonly Thread[] _threads;
    private readonly ITimer _timer;
    private readonly int _cores;
    private readonly long _maxBytes;
    private int _free;
    private long _time;
    private long _due = long.MaxValue;
    private long _queuedBytes;
    private bool _stopping;

    public Scheduler(ServingOptions options, TimeProvider clock, ILogger<Scheduler> log)
    {
        (_clock, _log) = (clock, log);
        _cores = _free = Environment.ProcessorCount;
        _maxBytes = options.MaxWaitingBytes;
        _timer = clock.CreateTimer(_ => Tick(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        _threads = [.. Enumerable.Range(0, _cores).Select(i => new Thread(Work) { IsBackground = true, Name = $"slipway-run-{i}" })];
        Array.ForEach(_threads, thread => thread.Start());
    }

    /// <summary>Runs a request whose inputs fit the lane's model, at once or when it is its turn.</summary>
    public ValueTask<RunResult> RunAsync(Lane lane, InferRequest request, long deadline, CancellationToken ct)
    {
        var now = _clock.GetTimestamp();
        if (now > deadline)
        {
            return new(Lane.Late());
        }

        Pending pending;
        var wake = false;
        lock (_gate)
        {
            if (_free > 0 && lane.OnCaller && _ready.Count == 0 && (lane.Running == 0 || lane.Rule.Budget == TimeSpan.Zero))
            {
                _free--;
                lane.Running++;
                pending = null!;
            }
            else
            {
                var rows = Rows(request);
                var bytes = Bytes(request);
                if (Overload(lane, rows, bytes) is { } why)
                {
                    return new(lane.Full(why));
                }

                pending = Pending.Rent(lane, request, rows, now, deadline);
                Enqueue(lane, pending, bytes);
                wake = Wake(now);
            }
        }

        if (pending is null)
        {
            return new(RunHere(lane, request, ct));
        }

        // Taken before the registration: a run that completes it does not touch it afterwards.
        var task = pending.Task;
        pending.Watch(this, ct);
        if (wake)
        {
            _work.Release();
        }

        return task;
    }

    /// <summary>How long to wait for a deadline, but at most <paramref name="most"/>.</summary>
    public TimeSpan Until(long deadline, TimeSpan most)
    {
        if (deadline == long.MaxValue)
        {
            return most;
        }

        var left = _clock.GetElapsedTime(_clock.GetTimestamp(), deadline);
        return left < TimeSpan.Zero ? TimeSpan.Zero : left < most ? left : most;
    }

    /// <summary>Takes a request whose caller went away out of its queue; false if it runs already.</summary>
    public bool Cancel(Pending pending)
    {
        lock (_gate)
        {
            if (!pending.Queued)
            {
                return false;
            }

            Unlink(pending);
        }

        pending.Complete(Lane.Gone());
        return true;
    }

    public void Dispose()
    {
        Volatile.Write(ref _stopping, true);
        _work.Release(_threads.Length);
        Array.ForEach(_threads, thread => thread.Join());
        _timer.Dispose();
        _work.Dispose();
    }

    private RunResult RunHere(Lane lane, InferRequest request, CancellationToken ct)
    {
        var start = _clock.GetTimestamp();
        try
        {
            var result = RunToEnd(lane, request, ct);
            lane.Counters.Ran(result.Rows, result.Times);
            return result;
        }
        finally
        {
            bool wake;
            lock (_gate)
            {
                Used(lane, start, Rows(request));
                _free++;
                wake = Wake(_clock.GetTimestamp());
            }

            if (wake)
            {
                _work.Release();
            }
        }
    }

    // Models in this process complete before they return. What nobody foresaw must not end the thread, and not leave callers waiting.
    private RunResult RunToEnd(Lane lane, InferRequest request, CancellationToken ct)
    {
        try
        {
            var run = lane.Model.RunAsync(request, ct);
            return run.IsCompletedSuccessfully ? run.Result : run.AsTask().GetAwaiter().GetResult();
        }
        catch (Exception defect) when (defect is not OutOfMemoryException)
        {
            Log.Unforeseen(_log, defect, lane.Counters.ModelVersion, lane.Counters.Endpoint);
            return new(ErrorCode.Internal, "the run failed in a way that nobody foresaw; the server's log has the details");
        }
    }

    private void Work()
    {
        var batch = new List<Pending>();
        var late = new List<Pending>();
        while (true)
        {
            _work.Wait();
            if (Volatile.Read(ref _stopping))
            {
                return;
            }

            // Whoever releases the semaphore gives a core with it.
            while (Next(batch, late) is { } lane)
            {
                late.ForEach(pending => pending.Complete(Lane.Late()));
                late.Clear();
                if (batch.Count > 0)
                {
                    var start = _clock.GetTimestamp();
                    var rows = Run(lane, batch);
                    batch.Clear();
                    lock (_gate)
                    {
                        Used(lane, start, rows);
                    }
                }
            }
        }
    }

    /// <summary>The next lane and what it runs now; null gives the core back.</summary>
    private Lane? Next(List<Pending> batch, List<Pending> late)
    {
        lock (_gate)
        {
            var now = _clock.GetTimestamp();
            Lane? next = null;
            foreach (var lane in _ready)
            {
                if (HeldUntil(lane) <= now && (next is null || lane.VirtualTime < next.VirtualTime))
                {
                    next = lane;
                }
            }

            if (next is null)
            {
                _free++;
                Schedule(now);
                return null;
            }

            _time = Math.Max(_time, next.VirtualTime);
            Take(next, now, batch, late);
            next.Running += batch.Count > 0 ? 1 : 0;
            return next;
        }
    }

    private void Take(Lane lane, long now, List<Pending> batch, List<Pending> late)
    {
        var rows = 0L;
        var pending = lane.Queue.First;
        while (pending is not null)
        {
            var following = pending.Next;
            if (pending.Deadline < now)
            {
                Unlink(pending);
                late.Add(pending);
            }
            else if (batch.Count == 0 || (rows + pending.Rows <= lane.Rule.MaxRows && LoadedModel.CanShare(batch[0].Request, pending.Request)))
            {
                Unlink(pending);
                batch.Add(pending);
                rows += pending.Rows;
            }

            if (rows >= lane.Rule.MaxRows)
            {
                return;
            }

            pending = following;
        }
    }

    /// <summary>Runs requests alone or together and completes each; returns the rows.</summary>
    private long Run(Lane lane, List<Pending> batch)
    {
        if (batch.Count > 1 && TryTogether(lane, batch, out var rows))
        {
            return rows;
        }

        rows = 0;
        foreach (var pending in batch)
        {
            rows += pending.Rows;
            var result = RunToEnd(lane, pending.Request, CancellationToken.None);
            lane.Counters.Ran(result.Rows, result.Times);
            pending.Complete(result);
        }

        return rows;
    }

    // False if the model failed on the batch: then each runs alone, so that only the one to blame gets the error.
    private bool TryTogether(Lane lane, List<Pending> batch, out long rows)
    {
        using var together = InferRequest.Rent();
        rows = LoadedModel.Join(batch.ConvertAll(pending => pending.Request), together);
        var result = RunToEnd(lane, together, CancellationToken.None);
        if (!result.Ok || !LoadedModel.Split(together, rows, batch.ConvertAll(pending => pending.Request)))
        {
            rows = 0;
            return false;
        }

        lane.Counters.Ran(rows, result.Times);
        foreach (var pending in batch)
        {
            pending.Complete(result with { Rows = pending.Rows, SharedNanos = result.Times.Infer * pending.Rows / Math.Max(1, rows) });
        }

        return true;
    }

    private string? Overload(Lane lane, long rows, long bytes)
    {
        if (lane.QueuedRows > 0 && lane.QueuedRows + rows > lane.Rule.QueueRows)
        {
            return $"{lane.QueuedRows} rows wait already, {lane.Rule.QueueRows} may";
        }

        if (_queuedBytes > 0 && _queuedBytes + bytes > _maxBytes)
        {
            return $"the requests that wait hold {_queuedBytes >> 20} MiB, {_maxBytes >> 20} may";
        }

        // With one row that takes a second, four in the queue are four seconds: refusing now is kinder than answering late.
        var wait = TimeSpan.FromTicks((long)(lane.QueuedRows * lane.NanosPerRow / _cores / 100));
        return wait > lane.Rule.MaxWait ? $"its turn would come in about {wait.TotalSeconds:0.0} s" : null;
    }

    private void Enqueue(Lane lane, Pending pending, long bytes)
    {
        if (lane.Queue.First is null)
        {
            // Time in which a lane was idle gives it no credit.
            lane.VirtualTime = Math.Max(lane.VirtualTime, _time);
            _ready.Add(lane);
        }

        lane.Queue.Add(pending);
        lane.QueuedRows += pending.Rows;
        _queuedBytes += bytes;
        Interlocked.Increment(ref lane.Counters.Pending);
        if (pending.Deadline < _due)
        {
            Arm(pending.Deadline);
        }
    }

    private void Unlink(Pending pending)
    {
        var lane = pending.Lane;
        lane.Queue.Remove(pending);
        lane.QueuedRows -= pending.Rows;
        _queuedBytes -= Bytes(pending.Request);
        Interlocked.Decrement(ref lane.Counters.Pending);
        if (lane.Queue.First is null)
        {
            _ready.Remove(lane);
        }
    }

    // Takes a core for a waiting lane; the caller then releases the semaphore.
    private bool Wake(long now)
    {
        if (_free > 0 && _ready.Exists(lane => HeldUntil(lane) <= now))
        {
            _free--;
            return true;
        }

        Schedule(now);
        return false;
    }

    private long HeldUntil(Lane lane) =>
        lane.Rule.Budget == TimeSpan.Zero || lane.Running == 0 || lane.QueuedRows >= lane.Rule.MaxRows
            ? long.MinValue : lane.Queue.First!.Enqueued + Ticks(lane.Rule.Budget);

    // The timer only serves what no run ends for: budgets and deadlines.
    private void Schedule(long now)
    {
        foreach (var lane in _ready)
        {
            if (HeldUntil(lane) is var held && held > now && held < _due)
            {
                Arm(held);
            }
        }
    }

    private void Arm(long due)
    {
        _due = due;
        var left = _clock.GetElapsedTime(_clock.GetTimestamp(), due);
        _timer.Change(left < TimeSpan.Zero ? TimeSpan.Zero : left + TimeSpan.FromMilliseconds(1), Timeout.InfiniteTimeSpan);
    }

    private void Tick()
    {
        List<Pending> late = [];
        var wakes = 0;
        lock (_gate)
        {
            var now = _clock.GetTimestamp();
            _due = long.MaxValue;
            foreach (var lane in _ready.ToArray())
            {
                for (var pending = lane.Queue.First; pending is not null;)
                {
                    var following = pending.Next;
                    if (pending.Deadline < now)
                    {
                        Unlink(pending);
                        late.Add(pending);
                    }
                    else if (pending.Deadline < _due)
                    {
                        Arm(pending.Deadline);
                    }

                    pending = following;
                }
            }

            while (Wake(now))
            {
                wakes++;
            }
        }

        late.ForEach(pending => pending.Complete(Lane.Late()));
        if (wakes > 0)
        {
            _work.Release(wakes);
        }
    }

    private void Used(Lane lane, long start, long rows)
    {
        // Also a run too short for the clock counts, so that lanes take turns.
        var nanos = Math.Max(1, (long)_clock.GetElapsedTime(start).TotalNanoseconds);
        lane.Running--;
        lane.VirtualTime = Math.Max(lane.VirtualTime, _time) + (nanos * lane.Price);
        lane.NanosPerRow = lane.NanosPerRow == 0 ? nanos / (double)Math.Max(1, rows) : (0.9 * lane.NanosPerRow) + (0.1 * nanos / Math.Max(1, rows));
    }

    private long Ticks(TimeSpan time) => (long)(time.TotalSeconds * _clock.TimestampFrequency);

    private static long Rows(InferRequest request) => Math.Max(1, Flat.Rows(request.Inputs));

    private static long Bytes(InferRequest request)
    {
        var bytes = 0L;
        for (var i = 0; i < request.Inputs.Count; i++)
        {
            bytes += request.Inputs[i].Length;
        }

        return bytes;
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Error, "A run of {ModelVersion} on endpoint {Endpoint} failed")]
        public static partial void Unforeseen(ILogger logger, Exception defect, string modelVersion, string endpoint);
    }
}
