using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>One request as it was served.</summary>
/// <param name="Latency">From request to answer.</param>
/// <param name="QueueWait">Of that, waiting for the model.</param>
/// <param name="Outcome">How it ended.</param>
/// <param name="PayloadBytes">Bytes of request and answer.</param>
/// <param name="ColdStart">Whether the model was loaded for it.</param>
/// <param name="Cost">In the currency of the deployment.</param>
public readonly record struct ServedRequest(TimeSpan Latency, TimeSpan QueueWait, RequestOutcome Outcome, long PayloadBytes = 0, bool ColdStart = false, double Cost = 0);

/// <summary>How a request ended.</summary>
public enum RequestOutcome
{
    /// <summary>Answered.</summary>
    Answered,

    /// <summary>Failed.</summary>
    Failed,

    /// <summary>No answer in time.</summary>
    TimedOut,
}

/// <summary>
/// How a model version serves: rates, latencies, waiting, size, cost. Latencies are kept in mergeable sketches, because percentiles of parts
/// cannot be averaged; two nodes, or two windows, merge to what one would have seen.
/// </summary>
public sealed class OperationalMetrics(TimeSpan apdexTarget)
{
    private long failed;
    private long timedOut;
    private long satisfied;
    private long tolerating;
    private long coldStarts;
    private double cost;

    /// <summary>Requests up to this latency satisfy; up to four times it they are tolerated.</summary>
    public TimeSpan ApdexTarget { get; } = apdexTarget;

    /// <summary>Latencies in milliseconds, 1 % relative error.</summary>
    public DdSketch Latency { get; } = new();

    /// <summary>Queue waits in milliseconds, 1 % relative error.</summary>
    public DdSketch QueueWait { get; } = new();

    /// <summary>Payload bytes, 1 % relative error.</summary>
    public DdSketch Payload { get; } = new();

    /// <summary>Requests.</summary>
    public long N => Latency.N;

    /// <summary>Share of requests that failed.</summary>
    public Measured ErrorRate => Measured.Share(failed, N, "no requests");

    /// <summary>Share of requests without an answer in time.</summary>
    public Measured TimeoutRate => Measured.Share(timedOut, N, "no requests");

    /// <summary>Share of requests that loaded the model.</summary>
    public Measured ColdStartRate => Measured.Share(coldStarts, N, "no requests");

    /// <summary>(satisfied + tolerating / 2) / n; a request that was not answered satisfies nobody.</summary>
    public Measured Apdex => N == 0 ? Measured.Undefined("no requests") : Measured.Of((satisfied + tolerating / 2.0) / N);

    /// <summary>Cost of all requests.</summary>
    public double Cost => cost;

    /// <summary>Takes a request.</summary>
    public void Add(in ServedRequest request)
    {
        Latency.Add(request.Latency.TotalMilliseconds);
        QueueWait.Add(request.QueueWait.TotalMilliseconds);
        Payload.Add(request.PayloadBytes);
        bool answered = request.Outcome == RequestOutcome.Answered;
        failed += request.Outcome == RequestOutcome.Failed ? 1 : 0;
        timedOut += request.Outcome == RequestOutcome.TimedOut ? 1 : 0;
        satisfied += answered && request.Latency <= ApdexTarget ? 1 : 0;
        tolerating += answered && request.Latency > ApdexTarget && request.Latency <= 4 * ApdexTarget ? 1 : 0;
        coldStarts += request.ColdStart ? 1 : 0;
        cost += request.Cost;
    }

    /// <summary>Takes in another node's or window's requests.</summary>
    /// <exception cref="SlipwayException">InvalidArgument when the Apdex targets differ.</exception>
    public void Merge(OperationalMetrics other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (other.ApdexTarget != ApdexTarget)
        {
            throw SketchForm.Unlike("the Apdex target", ApdexTarget, other.ApdexTarget);
        }

        Latency.Merge(other.Latency);
        QueueWait.Merge(other.QueueWait);
        Payload.Merge(other.Payload);
        failed += other.failed;
        timedOut += other.timedOut;
        satisfied += other.satisfied;
        tolerating += other.tolerating;
        coldStarts += other.coldStarts;
        cost += other.cost;
    }

    /// <summary>Requests a second over a span.</summary>
    public Measured Throughput(TimeSpan span) => span <= TimeSpan.Zero ? Measured.Undefined("the span is empty") : Measured.Of(N / span.TotalSeconds);
}
