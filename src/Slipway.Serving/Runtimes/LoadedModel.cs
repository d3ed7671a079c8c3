using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Runtimes;

/// <summary>
/// A model in use: holds requests against its signature, whichever runtime runs it, and frees it when its owner and its last request have left.
/// </summary>
internal sealed class LoadedModel(IModelRuntime runtime, MlflowModel? mlflow = null) : IDisposable
{
    private readonly Port[] _inputs = [.. runtime.Signature.Inputs.Select(spec => new Port(spec, ClassMap: false))];
    private readonly Dictionary<string, int> _index = runtime.Signature.Inputs.Index().ToDictionary(pair => pair.Item.Name, pair => pair.Index, StringComparer.Ordinal);
    private int _users = 1;

    /// <summary>Calls that may run at a time, for a model in another process; null for one in this.</summary>
    public SemaphoreSlim? Slots { get; } = runtime.Traits.Elsewhere > 0 ? new(runtime.Traits.Elsewhere, runtime.Traits.Elsewhere) : null;

    /// <summary>Inputs, outputs and feature names as the model declares them.</summary>
    public ModelSignature Signature { get; } = mlflow?.Name(runtime.Signature) ?? runtime.Signature;

    public RuntimeTraits Traits => runtime.Traits;

    /// <summary>Takes part in the model's use; false if it is being unloaded, then the route must be read again.</summary>
    public bool TryEnter()
    {
        var users = Volatile.Read(ref _users);
        while (users > 0)
        {
            var seen = Interlocked.CompareExchange(ref _users, users + 1, users);
            if (seen == users)
            {
                return true;
            }

            users = seen;
        }

        return false;
    }

    /// <summary>Ends a use; the last one out frees the model.</summary>
    public void Exit()
    {
        if (Interlocked.Decrement(ref _users) == 0)
        {
            runtime.Dispose();
            Slots?.Dispose();
        }
    }

    /// <summary>Gives up the owner's use.</summary>
    public void Dispose() => Exit();

    /// <summary>Runs a request that fits, see <see cref="Fit"/>.</summary>
    public ValueTask<RunResult> RunAsync(InferRequest request, CancellationToken ct) => runtime.RunAsync(request, ct);

    /// <summary>Puts the inputs into the model's order; returns the refusal, naming what came and what was expected, if they do not fit its signature.</summary>
    public RunResult? Fit(InferRequest request)
    {
        if (mlflow?.Adapt(request, runtime.Signature) is { } misfit)
        {
            return new(ErrorCode.InvalidArgument, misfit) { Refused = true };
        }

        Span<int> order = _inputs.Length <= 64 ? stackalloc int[64] : new int[_inputs.Length];
        order = order[.._inputs.Length];
        if (Match(request, order) is { } mismatch)
        {
            return new(ErrorCode.InvalidArgument, mismatch) { Refused = true };
        }

        // The prediction log and the runtimes want the model's order; callers usually send it.
        for (var i = 0; i < order.Length; i++)
        {
            if (order[i] != i)
            {
                request.Inputs.Arrange(order);
                break;
            }
        }

        return null;
    }

    /// <summary>Whether two fitting requests can be one: they differ in nothing but rows.</summary>
    public static bool CanShare(InferRequest one, InferRequest other)
    {
        for (var i = 0; i < one.Inputs.Count; i++)
        {
            var a = one.Inputs[i].Shape;
            var b = other.Inputs[i].Shape;
            if (a.Length == 0 || a.Length != b.Length || !a[1..].SequenceEqual(b[1..]) || a[0] != one.Inputs[0].Rows || b[0] != other.Inputs[0].Rows || b[0] == 0)
            {
                return false;
            }
        }

        return one.Inputs.Count > 0;
    }

    /// <summary>Fills a request with the rows of several that can share a run, in order; returns how many rows it has.</summary>
    public static long Join(List<InferRequest> requests, InferRequest together)
    {
        var rows = requests.Sum(request => request.Inputs[0].Rows);
        Span<long> shape = stackalloc long[Tensor.MaxRank];
        for (var i = 0; i < requests[0].Inputs.Count; i++)
        {
            var first = requests[0].Inputs[i];
            var tensor = together.Inputs.Add();
            (tensor.Name, tensor.Datatype) = (first.Name, first.Datatype);
            first.Shape.CopyTo(shape);
            shape[0] = rows;
            tensor.TrySetShape(shape[..first.Shape.Length]);
            var room = tensor.Allocate(requests.Sum(request => request.Inputs[i].Length));
            foreach (var request in requests)
            {
                request.Inputs[i].Data.CopyTo(room);
                room = room[request.Inputs[i].Length..];
            }
        }

        return rows;
    }

    /// <summary>Hands the outputs of a joined run out to the requests; false if they do not have the rows that came in.</summary>
    public static bool Split(InferRequest together, long rows, List<InferRequest> requests)
    {
        for (var i = 0; i < together.Outputs.Count; i++)
        {
            if (together.Outputs[i].Shape.Length == 0 || together.Outputs[i].Rows != rows || together.Outputs[i].Datatype == Datatype.Bytes)
            {
                return false;
            }
        }

        requests.ForEach(request => request.Outputs.Clear());
        Span<long> shape = stackalloc long[Tensor.MaxRank];
        for (var i = 0; i < together.Outputs.Count; i++)
        {
            var whole = together.Outputs[i];
            var rowBytes = (int)(whole.Length / rows);
            var data = whole.Data;
            foreach (var request in requests)
            {
                var bytes = (int)request.Inputs[0].Rows * rowBytes;
                var tensor = request.Outputs.Add();
                (tensor.Name, tensor.Datatype) = (whole.Name, whole.Datatype);
                whole.Shape.CopyTo(shape);
                shape[0] = request.Inputs[0].Rows;
                tensor.TrySetShape(shape[..whole.Shape.Length]);
                tensor.Set(data[..bytes]);
                data = data[bytes..];
            }
        }

        return true;
    }

    private string? Match(InferRequest request, Span<int> order)
    {
        order.Fill(-1);
        var inputs = request.Inputs;
        for (var i = 0; i < inputs.Count; i++)
        {
            var tensor = inputs[i];
            // Most callers send the model's order, so the name is looked for there first.
            var port = i < _inputs.Length && _inputs[i].Name == tensor.Name ? i : _index.GetValueOrDefault(tensor.Name, -1);
            if (port < 0)
            {
                return $"the model has no input '{tensor.Name}'; it has {Quoted(_inputs.Select(input => input.Name))}";
            }

            if (order[port] >= 0)
            {
                return $"input '{tensor.Name}' is given twice";
            }

            order[port] = i;
            if (_inputs[port].Mismatch(tensor) is { } mismatch)
            {
                return mismatch;
            }
        }

        if (inputs.Count == _inputs.Length)
        {
            return null;
        }

        for (var port = 0; port < order.Length; port++)
        {
            if (order[port] < 0)
            {
                return $"input '{_inputs[port].Name}' ({_inputs[port].Text}) is missing";
            }
        }

        return null;
    }

    private static string Quoted(IEnumerable<string> names) => string.Join(", ", names.Take(20).Select(name => $"'{name}'"));
}
