using System.Runtime.InteropServices;

namespace Slipway.Serving;

/// <summary>How often something happened and how long it took in all.</summary>
[StructLayout(LayoutKind.Auto)]
public readonly record struct Counted(long Count, long Nanoseconds);

/// <summary>Why requests of a version were not answered.</summary>
/// <param name="Rejected">Refused before they ran: queue full, deadline passed.</param>
/// <param name="Canceled">The caller went away.</param>
/// <param name="Backend">The model failed.</param>
/// <param name="Other">The request did not fit the model.</param>
[StructLayout(LayoutKind.Auto)]
public readonly record struct FailureCounts(long Rejected, long Canceled, long Backend, long Other);

/// <summary>Runs of one batch size.</summary>
/// <param name="Rows">Rows in each run.</param>
/// <param name="ComputeInput">Gathering the inputs.</param>
/// <param name="ComputeInfer">Running the model.</param>
/// <param name="ComputeOutput">Handing out the outputs.</param>
public sealed record BatchCounts(int Rows, Counted ComputeInput, Counted ComputeInfer, Counted ComputeOutput);

/// <summary>
/// What one version did on one endpoint since this node began to serve it, in the terms of the protocol's statistics extension: counts of
/// requests unless said otherwise, times summed over requests.
/// </summary>
/// <param name="Endpoint">The endpoint.</param>
/// <param name="ModelVersion">As <c>name/version</c>.</param>
/// <param name="LastInferenceMillis">Unix milliseconds of the newest request; 0 without any.</param>
/// <param name="Rows">Rows answered (the extension's inference_count).</param>
/// <param name="Executions">Runs of the model; fewer than requests where they were batched.</param>
/// <param name="Success">Answered requests, from the routing decision to the answer.</param>
/// <param name="Fail">The others.</param>
/// <param name="Queue">Waiting for a core or for company in a batch.</param>
/// <param name="ComputeInput">Gathering the inputs.</param>
/// <param name="ComputeInfer">Running the model.</param>
/// <param name="ComputeOutput">Handing out the outputs.</param>
/// <param name="Failures">The failed requests by reason.</param>
/// <param name="Pending">Requests that wait now.</param>
/// <param name="LogDropped">Predictions that the log refused because its buffer had no room or they were too large.</param>
/// <param name="Batches">Runs by batch size, smallest first; sizes above 128 count as 128.</param>
/// <param name="Latencies">Answered requests by time: one count for each of <see cref="LatencyBounds"/>, not cumulated, and one for what took longer.</param>
public sealed record VersionStatistics(
    string Endpoint,
    string ModelVersion,
    long LastInferenceMillis,
    long Rows,
    long Executions,
    Counted Success,
    Counted Fail,
    Counted Queue,
    Counted ComputeInput,
    Counted ComputeInfer,
    Counted ComputeOutput,
    FailureCounts Failures,
    int Pending,
    long LogDropped,
    IReadOnlyList<BatchCounts> Batches,
    IReadOnlyList<long> Latencies)
{
    /// <summary>Upper bounds of <see cref="Latencies"/> in seconds: those of Prometheus' client libraries, preceded by finer ones for small models.</summary>
    public static ReadOnlySpan<double> LatencyBounds => [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
}

/// <summary>What became of the copies for one mirror of an endpoint, on this node since its start.</summary>
/// <param name="Endpoint">The endpoint.</param>
/// <param name="Variant">The variant that gets the copies.</param>
/// <param name="ModelVersion">What it serves.</param>
/// <param name="Answered">Copies that it answered.</param>
/// <param name="Failed">Copies that it failed.</param>
/// <param name="Dropped">Copies that never ran: its queue was full, or it left.</param>
/// <param name="Queued">Copies that wait now.</param>
public sealed record MirrorStatistics(string Endpoint, string Variant, string ModelVersion, long Answered, long Failed, long Dropped, int Queued);
