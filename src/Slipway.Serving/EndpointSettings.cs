using Slipway.Foundation;

namespace Slipway.Serving;

/// <summary>How an endpoint serves; part of its route, so that a change is a revision with its author and reason.</summary>
public sealed record EndpointSettings
{
    /// <summary>What an endpoint has that was not told anything.</summary>
    public static EndpointSettings Default { get; } = new();

    /// <summary>Running requests together; null: decided for each model by what was measured when it was loaded.</summary>
    public BatchingSettings? Batching { get; init; }

    /// <summary>Rows that one request may have, for models whose inputs have an open first dimension; null: bounded by the size of a message only.</summary>
    public int? MaxRequestRows { get; init; }

    /// <summary>Rows that may wait for their turn; beyond them requests are refused at once.</summary>
    public int QueueRows { get; init; } = 1024;

    /// <summary>Requests whose turn is estimated to come later than this many milliseconds are refused at once.</summary>
    public int MaxWaitMillis { get; init; } = 1000;

    /// <summary>What of the predictions is kept, and how safely.</summary>
    public PredictionLogSettings Log { get; init; } = new();

    /// <summary>Where the model runs; null: in the server's process.</summary>
    public RuntimeSettings? Runtime { get; init; }

    /// <summary>Everything that is wrong, not only the first thing.</summary>
    public IEnumerable<string> Problems()
    {
        if (Batching is { } batching && (batching.MaxRows is < 1 or > 4096 || batching.BudgetMicros is < 0 or > 1_000_000))
        {
            yield return $"batching takes 1 to 4096 rows and a budget of 0 to 1000000 microseconds, not {batching.MaxRows} and {batching.BudgetMicros}";
        }

        if (MaxRequestRows < 1)
        {
            yield return $"maxRequestRows must be 1 or more, it is {MaxRequestRows}";
        }

        if (QueueRows is < 1 or > 1_000_000)
        {
            yield return $"queueRows must lie between 1 and 1000000, it is {QueueRows}";
        }

        if (MaxWaitMillis is < 1 or > 600_000)
        {
            yield return $"maxWaitMillis must lie between 1 and 600000, it is {MaxWaitMillis}";
        }

        if (Log.Sample is not (>= 0 and <= 1))
        {
            yield return $"log.sample must be a share from 0 to 1, it is {Log.Sample}";
        }

        if (Log.Mask.Count > 4096 || Log.Mask.Any(string.IsNullOrWhiteSpace))
        {
            yield return "log.mask names columns, at most 4096 of them";
        }

        foreach (var problem in Runtime?.Problems() ?? [])
        {
            yield return problem;
        }
    }

    internal void Demand(string what)
    {
        if (Problems().ToList() is { Count: > 0 } problems)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, what, string.Join("; ", problems), "correct the settings and repeat the call");
        }
    }
}

/// <summary>Running the rows of several requests together.</summary>
/// <param name="MaxRows">Rows of one run; 1: never together.</param>
/// <param name="BudgetMicros">How long a request may be held back for company while the model is busy, in microseconds; 0: only what waits anyway runs together.</param>
public sealed record BatchingSettings(int MaxRows = 32, int BudgetMicros = 0);

/// <summary>What becomes of a prediction's record before its answer is sent.</summary>
public enum LogDurability
{
    /// <summary>It is in memory that the operating system keeps if the process is killed; a power failure loses at most a second.</summary>
    Async,

    /// <summary>It is on the disk.</summary>
    Sync,
}

/// <summary>What of the predictions is kept.</summary>
public sealed record PredictionLogSettings
{
    /// <summary>Share of requests that are logged, 0 to 1. All rows of a request share its fate, and one id always has the same.</summary>
    public double Sample { get; init; } = 1;

    /// <summary>Inputs (or columns of the first input, by the model's feature names) and outputs whose values are logged as missing.</summary>
    public IReadOnlyList<string> Mask { get; init; } = [];

    /// <summary>When the answer may be sent.</summary>
    public LogDurability Durability { get; init; }
}

/// <summary>Which runtime runs the endpoint's models.</summary>
public enum RuntimeKind
{
    /// <summary>A child process of its own for each version: for models that are not trusted.</summary>
    Process,

    /// <summary>Another server of the Open Inference Protocol.</summary>
    Remote,
}

/// <summary>Where the endpoint's models run, if not in the server's process.</summary>
public sealed record RuntimeSettings
{
    /// <summary>Child process or other server.</summary>
    public required RuntimeKind Kind { get; init; }

    /// <summary>
    /// Process: a command configured for this server by its name (<c>serving.commands</c>), which is given the model's folder and serves it by the
    /// protocol on a Unix socket; null: Slipway's own worker for ONNX models.
    /// </summary>
    public string? Command { get; init; }

    /// <summary>Remote: the server's base address, such as <c>http://triton:8000</c>.</summary>
    public string? Url { get; init; }

    /// <summary>Remote: the model's name there; null: the registered model's name.</summary>
    public string? Model { get; init; }

    /// <summary>Process: most memory of the process in MiB.</summary>
    public int MemoryMiB { get; init; } = 1024;

    /// <summary>Longest call in milliseconds. A process that takes longer is ended and started again.</summary>
    public int TimeoutMillis { get; init; } = 30_000;

    /// <summary>Calls at a time.</summary>
    public int Concurrency { get; init; } = 8;

    internal IEnumerable<string> Problems()
    {
        if (Kind == RuntimeKind.Remote && !(Uri.TryCreate(Url, UriKind.Absolute, out var url) && url.Scheme is "http" or "https"))
        {
            yield return $"runtime.url must be an address like http://host:8000, it is '{Url}'";
        }

        if (MemoryMiB is < 256 or > 1 << 20)
        {
            yield return $"runtime.memoryMiB must lie between 256 and 1048576, it is {MemoryMiB}";
        }

        if (TimeoutMillis is < 1 or > 3_600_000)
        {
            yield return $"runtime.timeoutMillis must lie between 1 and 3600000, it is {TimeoutMillis}";
        }

        if (Concurrency is < 1 or > 1024)
        {
            yield return $"runtime.concurrency must lie between 1 and 1024, it is {Concurrency}";
        }
    }
}
