using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving.Routing;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Runtimes;

/// <summary>Runs one model version: in this process, in a child process, or on another server.</summary>
internal interface IModelRuntime : IDisposable
{
    /// <summary>What the model takes and gives.</summary>
    ModelSignature Signature { get; }

    /// <summary>What was learnt about it when it was loaded.</summary>
    RuntimeTraits Traits { get; }

    /// <summary>
    /// Runs a request whose inputs fit the signature and are in its order, and fills <see cref="InferRequest.Outputs"/> with every output in model
    /// order. Failures are values. A runtime in this process is complete when it returns.
    /// </summary>
    ValueTask<RunResult> RunAsync(InferRequest request, CancellationToken ct);
}

/// <summary>What decides how requests get to a model.</summary>
/// <param name="CallMicros">Median time of a one-row call in microseconds; infinite if nothing is known.</param>
/// <param name="Elsewhere">Calls at a time to another process; 0: runs in this one, on its cores.</param>
/// <param name="CannotBatch">Why requests cannot share a run, or null if different rows were seen to give the same answers together and alone.</param>
/// <param name="BatchGain">How many times more rows a second the model does in the best batch size measured than one by one.</param>
/// <param name="Bytes">Memory that it takes, estimated by its files.</param>
internal sealed record RuntimeTraits(double CallMicros, int Elsewhere, string? CannotBatch, double BatchGain, long Bytes);

/// <summary>Why a run gave no answer; <see cref="Code"/> is null on success.</summary>
internal readonly record struct RunResult(ErrorCode? Code, string? Message)
{
    public bool Ok => Code is null;

    /// <summary>Whether no run was tried, so that the model is not to blame: the request did not fit it, or its turn did not come.</summary>
    public bool Refused { get; init; }

    /// <summary>Where the time went.</summary>
    public RunTimes Times { get; init; }

    /// <summary>Time in the model in nanoseconds: all of it, or the request's share by rows of a batch that it ran in.</summary>
    public long ComputeNanos => SharedNanos ?? Times.Infer;

    /// <summary>The share of a batch's time, or null if it ran alone.</summary>
    public long? SharedNanos { get; init; }

    /// <summary>Rows that ran: the common first dimension of the inputs, or 1.</summary>
    public long Rows { get; init; }
}
