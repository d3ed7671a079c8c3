namespace Slipway.Serving;

/// <summary>Bounds of the data plane.</summary>
public sealed record ServingOptions
{
    /// <summary>Model versions that stay loaded although no route uses them: the way back after a rollout is instant while they do.</summary>
    public int IdleModels { get; init; } = 4;

    /// <summary>Calls measured faster than this many microseconds when the model was loaded run at once on the request's thread.</summary>
    public double InlineMicros { get; init; } = 50;

    /// <summary>Whether small batches of classical models may run compiled instead of in ONNX Runtime, where both give the same answers.</summary>
    public bool CompileModels { get; init; } = true;

    /// <summary>Bytes of all requests that may wait for a free core; beyond it requests are refused at once.</summary>
    public long MaxWaitingBytes { get; init; } = 256 << 20;

    /// <summary>Memory that loaded models may take, estimated by their files; 0: three quarters of the machine's.</summary>
    public long ModelBytes { get; init; }

    /// <summary>Commands that endpoints may name to run their models, as program and arguments; <c>{folder}</c> and <c>{socket}</c> are filled in.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string>> Commands { get; init; } = new Dictionary<string, IReadOnlyList<string>>(StringComparer.Ordinal);

    /// <summary>Slipway's own worker for ONNX models in a child process; <c>{model}</c> and <c>{socket}</c> are filled in.</summary>
    public IReadOnlyList<string> Worker { get; init; } = OwnWorker();

    /// <summary>A folder of models as Triton lays it out (MODEL/VERSION/model.onnx), served as it is; null: none.</summary>
    public string? ModelRepository { get; init; }

    /// <summary>Rows of one request that are logged as predictions of their own.</summary>
    public int MaxLoggedRows { get; init; } = 10_000;

    /// <summary>Numbers of one row's inputs up to which they are logged; an image is not.</summary>
    public int MaxLoggedFeatures { get; init; } = 4096;

    /// <summary>Whether metrics of analyses may be asked of this machine, such as a Prometheus beside the server.</summary>
    public bool MetricsFromLoopback { get; init; }

    /// <summary>Copies of requests that may wait for one mirror of an endpoint; further ones are dropped and counted.</summary>
    public int ShadowQueue { get; init; } = 1000;

    /// <summary>Bytes of inputs that may wait for one mirror.</summary>
    public long ShadowBytes { get; init; } = 64 << 20;

    /// <summary>How often a node compares its routes with the stored ones, beside being told of changes.</summary>
    public TimeSpan RoutePoll { get; init; } = TimeSpan.FromMilliseconds(250);

    /// <summary>Everything that is wrong, not only the first thing.</summary>
    public IEnumerable<string> Problems()
    {
        if (IdleModels is < 0 or > 1000)
        {
            yield return $"serving.idleModels must lie between 0 and 1000, it is {IdleModels}";
        }

        if (InlineMicros is not (>= 0 and < 1e9))
        {
            yield return $"serving.inlineMicros must be a number of microseconds, it is {InlineMicros}";
        }

        if (MaxWaitingBytes < 1 << 20 || ModelBytes < 0)
        {
            yield return $"serving.maxWaitingBytes must be at least 1 MiB and modelBytes not negative, they are {MaxWaitingBytes} and {ModelBytes}";
        }

        foreach (var (name, command) in Commands.Where(pair => pair.Key.Length == 0 || pair.Value.Count == 0))
        {
            yield return $"serving.commands needs a name and a program for each command, '{name}' has {command.Count} parts";
        }

        if (MaxLoggedRows < 1 || MaxLoggedFeatures < 1)
        {
            yield return $"serving.maxLoggedRows and maxLoggedFeatures must be positive, they are {MaxLoggedRows} and {MaxLoggedFeatures}";
        }

        if (ShadowQueue < 1 || ShadowBytes < 1)
        {
            yield return $"serving.shadowQueue and shadowBytes must be positive, they are {ShadowQueue} and {ShadowBytes}";
        }

        if (RoutePoll < TimeSpan.FromMilliseconds(50))
        {
            yield return $"serving.routePoll must be at least 50 ms, it is {RoutePoll}";
        }
    }

    /// <summary>What Slipway's executable is told to be a worker.</summary>
    public static IReadOnlyList<string> WorkerArguments { get; } = ["runtime-worker", "--socket", "{socket}", "--model", "{model}"];

    // The executable itself, or the runtime and the assembly where it was started by them.
    private static IReadOnlyList<string> OwnWorker()
    {
        var program = Environment.ProcessPath ?? "slipway";
        string[] own = Path.GetFileNameWithoutExtension(program) == "dotnet" ? [program, Environment.GetCommandLineArgs()[0]] : [program];
        return [.. own, .. WorkerArguments];
    }
}
