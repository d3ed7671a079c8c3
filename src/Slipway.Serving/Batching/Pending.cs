using System.Collections.Concurrent;
using System.Threading.Tasks.Sources;
using Slipway.Serving.Runtimes;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Batching;

/// <summary>
/// A request in a lane's queue: pooled, and the source of the task that its caller awaits. It is complete exactly once: by the run, by its deadline,
/// or by its caller going away; whoever unlinks it from the queue completes it.
/// </summary>
internal sealed class Pending : IValueTaskSource<RunResult>
{
    private const int PoolSize = 1024;
    private static readonly ConcurrentQueue<Pending> Pool = new();
    private ManualResetValueTaskSourceCore<RunResult> _core = new() { RunContinuationsAsynchronously = true };
    private CancellationTokenRegistration _registration;
    private Scheduler? _scheduler;

    private Pending()
    {
    }

    public Lane Lane { get; private set; } = null!;

    public InferRequest Request { get; private set; } = null!;

    public long Rows { get; private set; }

    public long Enqueued { get; private set; }

    public long Deadline { get; private set; }

    public ValueTask<RunResult> Task => new(this, _core.Version);

    internal Pending? Next { get; set; }

    internal Pending? Previous { get; set; }

    internal bool Queued { get; set; }

    public static Pending Rent(Lane lane, InferRequest request, long rows, long now, long deadline)
    {
        var pending = Pool.TryDequeue(out var pooled) ? pooled : new Pending();
        (pending.Lane, pending.Request, pending.Rows, pending.Enqueued, pending.Deadline) = (lane, request, rows, now, deadline);
        return pending;
    }

    /// <summary>Has the scheduler told when the caller goes away. Only after it is queued.</summary>
    public void Watch(Scheduler scheduler, CancellationToken ct)
    {
        if (ct.CanBeCanceled)
        {
            _scheduler = scheduler;
            _registration = ct.UnsafeRegister(static (me, _) => ((Pending)me!)._scheduler!.Cancel((Pending)me), this);
        }
    }

    public void Complete(RunResult result) => _core.SetResult(result);

    RunResult IValueTaskSource<RunResult>.GetResult(short token)
    {
        var result = _core.GetResult(token);
        // Waits for a cancellation that is under way, so that it cannot hit the next user of this object.
        _registration.Dispose();
        _registration = default;
        _core.Reset();
        (Lane, Request) = (null!, null!);
        if (Pool.Count < PoolSize)
        {
            Pool.Enqueue(this);
        }

        return result;
    }

    ValueTaskSourceStatus IValueTaskSource<RunResult>.GetStatus(short token) => _core.GetStatus(token);

    void IValueTaskSource<RunResult>.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags);
}

/// <summary>A doubly linked list through the requests themselves, so that one leaves from the middle without a search.</summary>
internal sealed class PendingList
{
    public Pending? First { get; private set; }

    private Pending? Last { get; set; }

    public void Add(Pending pending)
    {
        (pending.Previous, pending.Next, pending.Queued) = (Last, null, true);
        if (Last is { } last)
        {
            last.Next = pending;
        }
        else
        {
            First = pending;
        }

        Last = pending;
    }

    public void Remove(Pending pending)
    {
        if (pending.Previous is { } previous)
        {
            previous.Next = pending.Next;
        }
        else
        {
            First = pending.Next;
        }

        if (pending.Next is { } next)
        {
            next.Previous = pending.Previous;
        }
        else
        {
            Last = pending.Previous;
        }

        (pending.Previous, pending.Next, pending.Queued) = (null, null, false);
    }
}
