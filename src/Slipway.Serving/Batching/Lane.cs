using Slipway.Foundation;
using Slipway.Serving.Routing;
using Slipway.Serving.Runtimes;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Batching;

/// <summary>How requests of one endpoint get to one model.</summary>
/// <param name="MaxRows">Rows that may run together; 1: requests run alone.</param>
/// <param name="Budget">How long a request may be held back for company while the model is busy; an idle model starts at once.</param>
/// <param name="QueueRows">Rows that may wait.</param>
/// <param name="MaxWait">Requests whose turn is estimated to come later than this are refused at once.</param>
/// <param name="RequestRows">Rows that one request may have; null: any number.</param>
internal sealed record LaneRule(int MaxRows, TimeSpan Budget, int QueueRows, TimeSpan MaxWait, int? RequestRows = null);

/// <summary>
/// The way of one endpoint's requests to one model. Calls faster than the inline limit run where they came in; slower ones take a core of
/// the <see cref="Scheduler"/> or wait in this lane's bounded queue, alone or in batches; models in other processes have a bound of their own.
/// The state below is the scheduler's and changes under its lock.
/// </summary>
internal sealed class Lane
{
    private readonly Scheduler _scheduler;
    private readonly bool _inline;
    private int _waiting;

    public Lane(LoadedModel model, Scheduler scheduler, Counters counters, LaneRule rule, double inlineMicros)
    {
        (Model, _scheduler, Counters, Rule) = (model, scheduler, counters, rule);
        var traits = model.Traits;
        _inline = rule.MaxRows == 1 && traits.CallMicros <= inlineMicros;
        NanosPerRow = double.IsFinite(traits.CallMicros) ? traits.CallMicros * 1000 : 0;
    }

    public LoadedModel Model { get; }

    public Counters Counters { get; }

    public LaneRule Rule { get; }

    /// <summary>Whether a call is short enough for the thread that brought the request.</summary>
    public bool OnCaller => Model.Traits.CallMicros <= 1000;

    /// <summary>Requests that wait, oldest first.</summary>
    internal PendingList Queue { get; } = new();

    internal long QueuedRows { get; set; }

    /// <summary>Runs under way.</summary>
    internal int Running { get; set; }

    /// <summary>Core time used, in nanoseconds on the scheduler's common scale: the lane that used least goes first.</summary>
    internal long VirtualTime { get; set; }

    /// <summary>How many times its core time counts: a mirror's lane pays more, so that it goes last where cores are short.</summary>
    internal int Price { get; init; } = 1;

    /// <summary>Smoothed time of the model for one row, in nanoseconds.</summary>
    internal double NanosPerRow { get; set; }

    /// <summary>
    /// Checks the inputs against the signature, then runs the request when it is its turn. The request is the caller's again when the task is complete.
    /// </summary>
    /// <param name="request">Inputs in any order; they are put into the model's.</param>
    /// <param name="deadline">Timestamp of the scheduler's clock by which the run must have begun; <see cref="long.MaxValue"/>: none.</param>
    /// <param name="ct">Takes the request out of the queue; a run that has begun ends.</param>
    public ValueTask<RunResult> RunAsync(InferRequest request, long deadline, CancellationToken ct)
    {
        if (Model.Fit(request) is { } misfit)
        {
            return new(misfit);
        }

        if (Rule.RequestRows is { } most && Model.Signature.Inputs is [{ Shape: [< 0, ..] }, ..] && request.Inputs[0].Rows > most)
        {
            return new(new RunResult(ErrorCode.InvalidArgument, $"the request has {request.Inputs[0].Rows} rows, endpoint '{Counters.Endpoint}' takes at most {most}; send them in several requests") { Refused = true });
        }

        if (Model.Slots is { } slots)
        {
            return RunElsewhereAsync(slots, request, deadline, ct);
        }

        if (!_inline)
        {
            return _scheduler.RunAsync(this, request, deadline, ct);
        }

        var run = Model.RunAsync(request, ct);
        if (!run.IsCompletedSuccessfully)
        {
            return run;
        }

        var result = run.Result;
        Counters.Ran(result.Rows, result.Times);
        return new(result);
    }

    /// <summary>What a request is told that finds the queue full.</summary>
    internal RunResult Full(string why) => new(ErrorCode.ResourceExhausted, $"endpoint '{Counters.Endpoint}' is overloaded: {why}; try again later") { Refused = true };

    internal static RunResult Late() => new(ErrorCode.DeadlineExceeded, "the request's timeout passed before its turn came; it was not run") { Refused = true };

    internal static RunResult Gone() => new(ErrorCode.Cancelled, "the caller went away while the request waited; it was not run") { Refused = true };

    private async ValueTask<RunResult> RunElsewhereAsync(SemaphoreSlim slots, InferRequest request, long deadline, CancellationToken ct)
    {
        if (!await slots.WaitAsync(0, CancellationToken.None))
        {
            if (Interlocked.Increment(ref _waiting) > Rule.QueueRows)
            {
                Interlocked.Decrement(ref _waiting);
                return Full($"{Rule.QueueRows} requests wait already");
            }

            Interlocked.Increment(ref Counters.Pending);
            try
            {
                if (!await slots.WaitAsync(_scheduler.Until(deadline, Rule.MaxWait), ct))
                {
                    return deadline == long.MaxValue ? Full($"no run began within {Rule.MaxWait.TotalSeconds:0.#} s") : Late();
                }
            }
            catch (OperationCanceledException)
            {
                return Gone();
            }
            finally
            {
                Interlocked.Decrement(ref Counters.Pending);
                Interlocked.Decrement(ref _waiting);
            }
        }

        try
        {
            var result = await Model.RunAsync(request, ct);
            Counters.Ran(result.Rows, result.Times);
            return result;
        }
        finally
        {
            slots.Release();
        }
    }
}
