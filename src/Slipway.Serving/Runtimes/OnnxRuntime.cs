using System.Collections.Concurrent;
using System.Diagnostics;
using Microsoft.ML.OnnxRuntime;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving.Routing;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Runtimes;

/// <summary>Why a run gave no answer; <see cref="Code"/> is null on success.</summary>
internal readonly record struct RunResult(ErrorCode? Code, string? Message)
{
    public bool Ok => Code is null;

    /// <summary>Whether the request did not fit the model: no run was tried and the model is not to blame.</summary>
    public bool Refused { get; init; }

    /// <summary>Where the time went.</summary>
    public RunTimes Times { get; init; }

    /// <summary>Rows that ran: the common first dimension of the inputs, or 1.</summary>
    public long Rows { get; init; }
}

/// <summary>
/// One ONNX model in process: one session for all requests, one thread a call, no spinning. Small numeric batches run through bindings over
/// pinned buffers that are kept per batch size; everything else (strings, large or dynamic shapes, class maps) lets ONNX Runtime allocate.
/// </summary>
internal sealed class OnnxRuntime : IDisposable
{
    // Bindings are kept for batches up to this many rows and this many bytes, so that their memory stays bounded.
    private const int BoundRows = 128;
    private const int BoundBytes = 1 << 20;
    private const int BindingsPerSize = 8;
    private const long KeptBytes = 32 << 20;

    // Failures of a run are values here; ONNX Runtime would print each of them as well.
    private static readonly RunOptions Options = new() { LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL };
    private readonly InferenceSession _session;
    private readonly Port[] _inputs;
    private readonly Port[] _outputs;
    private readonly string[] _inputNames;
    private readonly string[] _outputNames;
    private readonly Dictionary<string, int> _inputIndex;
    private readonly ConcurrentQueue<OnnxBinding>?[] _bindings = new ConcurrentQueue<OnnxBinding>?[BoundRows + 1];
    private long[][]? _boundOutputs;
    private long _kept;
    private int _users = 1;

    private OnnxRuntime(InferenceSession session)
    {
        _session = session;
        Signature = OnnxSignature.Of(session);
        _inputs = [.. Signature.Inputs.Select(spec => new Port(spec, ClassMap: false))];
        _outputs = [.. Signature.Outputs.Select(spec => new Port(spec, OnnxSignature.IsClassMap(session.OutputMetadata[spec.Name])))];
        _inputNames = [.. _inputs.Select(port => port.Name)];
        _outputNames = [.. _outputs.Select(port => port.Name)];
        _inputIndex = _inputNames.Index().ToDictionary(pair => pair.Item, pair => pair.Index, StringComparer.Ordinal);
    }

    /// <summary>Inputs, outputs and feature names as the model declares them.</summary>
    public ModelSignature Signature { get; }

    /// <summary>
    /// Median time of a one-row call when it was loaded, in microseconds: decides whether calls run on the request's thread at once. Infinite if the
    /// model takes no zeros, for then nothing is known.
    /// </summary>
    public double CallMicros { get; private set; } = double.PositiveInfinity;

    /// <summary>Whether one-row requests run through prepared bindings.</summary>
    public bool IsBound => _boundOutputs is not null;

    /// <summary>Loads, probes and warms up a model. Throws <see cref="SlipwayException"/> if it cannot be served.</summary>
    public static OnnxRuntime Load(string path)
    {
        var runtime = new OnnxRuntime(Open(path));
        runtime.Warm();
        return runtime;
    }

    /// <summary>Opens a session with Slipway's options; InvalidArgument if the file is no model.</summary>
    internal static InferenceSession Open(string path)
    {
        using var options = new SessionOptions
        {
            IntraOpNumThreads = 1,
            InterOpNumThreads = 1,
            ExecutionMode = ExecutionMode.ORT_SEQUENTIAL,
            GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_ALL,
            LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR,
        };
        options.AddSessionConfigEntry("session.intra_op.allow_spinning", "0");
        options.AddSessionConfigEntry("session.inter_op.allow_spinning", "0");
        try
        {
            return new InferenceSession(path, options);
        }
        catch (OnnxRuntimeException failure)
        {
            throw new SlipwayException(
                ErrorCode.InvalidArgument, "cannot load the model", Trim(failure.Message), "check the file with onnx.checker and export it again", failure);
        }
    }

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

    /// <summary>Ends a use; the last one out frees the session.</summary>
    public void Exit()
    {
        if (Interlocked.Decrement(ref _users) == 0)
        {
            foreach (var binding in _bindings.Where(queue => queue is not null).SelectMany(queue => queue!))
            {
                binding.Dispose();
            }

            _session.Dispose();
        }
    }

    /// <summary>Gives up the owner's use.</summary>
    public void Dispose() => Exit();

    /// <summary>Checks the inputs against the signature, runs the model and fills <see cref="InferRequest.Outputs"/> with every output in model order; the inputs are put into model order too.</summary>
    public RunResult Run(InferRequest request)
    {
        if (_inputs.Length <= 64)
        {
            Span<int> order = stackalloc int[64];
            return Run(request, order[.._inputs.Length]);
        }

        return Run(request, new int[_inputs.Length]);
    }

    private RunResult Run(InferRequest request, Span<int> order)
    {
        var batch = 0L;
        var bytes = 0L;
        if (Match(request, order, ref batch, ref bytes) is { } mismatch)
        {
            return new(ErrorCode.InvalidArgument, mismatch) { Refused = true };
        }

        // The prediction log and the bindings want the model's order; callers usually send it.
        for (var i = 0; i < order.Length; i++)
        {
            if (order[i] != i)
            {
                request.Inputs.Arrange(order);
                break;
            }
        }

        request.Outputs.Clear();
        RunTimes times;
        try
        {
            if (_boundOutputs is { } shapes && batch is > 0 and <= BoundRows && bytes <= BoundBytes)
            {
                times = RunBound(request, (int)batch, shapes);
            }
            else
            {
                times = RunFree(request);
            }

            return new() { Times = times, Rows = Math.Max(1, batch) };
        }
        catch (OnnxRuntimeException failure)
        {
            // ONNX Runtime names the caller's data as the cause by this code (an index out of range, a shape that does not fit inside the graph).
            var caller = failure.Message.Contains("ErrorCode:InvalidArgument", StringComparison.Ordinal);
            return new(caller ? ErrorCode.InvalidArgument : ErrorCode.Internal, $"the model failed: {Trim(failure.Message)}");
        }
        catch (SlipwayException failure)
        {
            return new(failure.Code, $"{failure.Message}: {failure.Why}");
        }
    }

    private string? Match(InferRequest request, Span<int> order, ref long batch, ref long bytes)
    {
        order.Fill(-1);
        var inputs = request.Inputs;
        for (var i = 0; i < inputs.Count; i++)
        {
            var tensor = inputs[i];
            var port = Find(tensor.Name);
            if (port < 0)
            {
                return $"the model has no input '{tensor.Name}'; it has {Quoted(_inputNames)}";
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

            if (_inputs[port].Batched)
            {
                // Different first dimensions are for the model to judge, outside of the prepared bindings.
                batch = batch == 0 || batch == tensor.Rows ? tensor.Rows : -1;
            }

            bytes += tensor.Length;
        }

        batch = batch == 0 ? 1 : batch;
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

    private int Find(string name)
    {
        if (_inputNames.Length > 8)
        {
            return _inputIndex.GetValueOrDefault(name, -1);
        }

        for (var i = 0; i < _inputNames.Length; i++)
        {
            if (string.Equals(_inputNames[i], name, StringComparison.Ordinal))
            {
                return i;
            }
        }

        return -1;
    }

    private RunTimes RunBound(InferRequest request, int batch, long[][] shapes)
    {
        var pool = _bindings[batch] ?? Interlocked.CompareExchange(ref _bindings[batch], new ConcurrentQueue<OnnxBinding>(), null) ?? _bindings[batch]!;
        if (pool.TryDequeue(out var binding))
        {
            Interlocked.Add(ref _kept, -binding.Bytes);
        }
        else
        {
            binding = new OnnxBinding(_session, _inputs, _outputs, shapes, batch);
        }

        var reusable = false;
        try
        {
            var start = Stopwatch.GetTimestamp();
            for (var i = 0; i < _inputs.Length; i++)
            {
                request.Inputs[i].Data.CopyTo(binding.Inputs[i]);
            }

            var ready = Stopwatch.GetTimestamp();
            _session.RunWithBinding(Options, binding.Io);
            var ran = Stopwatch.GetTimestamp();
            for (var i = 0; i < _outputs.Length; i++)
            {
                var output = request.Outputs.Add();
                output.Name = _outputs[i].Name;
                output.Datatype = _outputs[i].Datatype;
                output.TrySetShape(binding.OutputShapes[i]);
                output.Set(binding.Outputs[i]);
            }

            reusable = pool.Count < BindingsPerSize && Volatile.Read(ref _kept) + binding.Bytes <= KeptBytes;
            return Times(start, ready, ran);
        }
        finally
        {
            if (reusable)
            {
                Interlocked.Add(ref _kept, binding.Bytes);
                pool.Enqueue(binding);
            }
            else
            {
                binding.Dispose();
            }
        }
    }

    private RunTimes RunFree(InferRequest request)
    {
        var values = new OrtValue[_inputs.Length];
        try
        {
            var start = Stopwatch.GetTimestamp();
            for (var i = 0; i < values.Length; i++)
            {
                values[i] = OnnxValues.Input(request.Inputs[i]);
            }

            var ready = Stopwatch.GetTimestamp();
            using var results = _session.Run(Options, _inputNames, values, _outputNames);
            var ran = Stopwatch.GetTimestamp();
            for (var i = 0; i < _outputs.Length; i++)
            {
                OnnxValues.Read(results[i], _outputs[i], request.Outputs.Add());
            }

            return Times(start, ready, ran);
        }
        finally
        {
            foreach (var value in values)
            {
                value?.Dispose();
            }
        }
    }

    private static RunTimes Times(long start, long ready, long ran) => new(Nanos(ready - start), Nanos(ran - ready), Nanos(Stopwatch.GetTimestamp() - ran));

    private static long Nanos(long ticks) => Stopwatch.Frequency == 1_000_000_000 ? ticks : (long)(ticks * (1e9 / Stopwatch.Frequency));

    /// <summary>
    /// Runs zeros (empty texts) in batches of one and two. Output shapes that are the same in both, or have the batch size where they differ, can be
    /// predicted and are bound; whether the first dimension is a batch is thereby observed, not assumed.
    /// </summary>
    private void Warm()
    {
        using var request = InferRequest.Rent();
        if (!TryZeros(request, 1))
        {
            return;
        }

        var one = Shapes(request);
        var numeric = _inputs.All(port => port.Datatype != Datatype.Bytes && port.FixedBehindBatch) && _outputs.All(port => port.Datatype != Datatype.Bytes && !port.ClassMap);
        if (numeric && _inputs.Any(port => port.Batched) && TryZeros(request, 2))
        {
            var two = Shapes(request);
            var predicted = one.Zip(two, Predict).OfType<long[]>().ToArray();
            _boundOutputs = predicted.Length == one.Length ? predicted : null;
        }

        var times = new double[9];
        for (var i = 0; i < times.Length; i++)
        {
            var start = Stopwatch.GetTimestamp();
            TryZeros(request, 1);
            times[i] = Stopwatch.GetElapsedTime(start).TotalMicroseconds;
        }

        Array.Sort(times);
        CallMicros = times[times.Length / 2];
    }

    private bool TryZeros(InferRequest request, long batch)
    {
        request.Reset();
        foreach (var port in _inputs)
        {
            var tensor = request.Inputs.Add();
            tensor.Name = port.Name;
            tensor.Datatype = port.Datatype;
            tensor.TrySetShape(port.ShapeFor(batch));
            tensor.Allocate(checked((int)(tensor.Count * port.Datatype.Size()))).Clear();
            for (var text = 0; port.Datatype == Datatype.Bytes && text < tensor.Count; text++)
            {
                tensor.AppendElement([]);
            }
        }

        return Run(request).Ok;
    }

    private static long[][] Shapes(InferRequest request)
    {
        var shapes = new long[request.Outputs.Count][];
        for (var i = 0; i < shapes.Length; i++)
        {
            shapes[i] = request.Outputs[i].Shape.ToArray();
        }

        return shapes;
    }

    // -1 stands for the batch size; null if the shape follows another rule.
    private static long[]? Predict(long[] one, long[] two) =>
        one.Length == two.Length && one.Zip(two).All(pair => pair.First == pair.Second || pair is (1, 2))
            ? [.. one.Zip(two, (first, second) => first == second ? first : -1)]
            : null;

    internal static string Quoted(IEnumerable<string> names) => string.Join(", ", names.Take(20).Select(name => $"'{name}'"));

    private static string Trim(string message) => message.Length <= 400 ? message : message[..400];
}

/// <summary>A declared input or output.</summary>
internal sealed record Port(string Name, Datatype Datatype, long[] Shape, bool ClassMap)
{
    public Port(TensorSpec spec, bool ClassMap)
        : this(spec.Name, Datatypes.TryParse(spec.Datatype, out var datatype) ? datatype : Datatype.Bytes, [.. spec.Shape], ClassMap)
    {
    }

    /// <summary>Whether the first dimension is open.</summary>
    public bool Batched => Shape.Length > 0 && Shape[0] < 0;

    /// <summary>Whether every other dimension is fixed.</summary>
    public bool FixedBehindBatch => Shape.AsSpan(Math.Min(1, Shape.Length)).IndexOf(-1) < 0;

    /// <summary>Type and shape for messages.</summary>
    public string Text => $"{Datatype.Name()} [{string.Join(",", Shape)}]";

    public long[] ShapeFor(long batch) => [.. Shape.Select(dimension => dimension < 0 ? batch : dimension)];

    /// <summary>What is wrong with a tensor for this input, or null.</summary>
    public string? Mismatch(Tensor tensor)
    {
        if (tensor.Datatype != Datatype)
        {
            return $"input '{Name}' must be {Datatype.Name()}, got {tensor.Datatype.Name()}";
        }

        var shape = tensor.Shape;
        var fits = shape.Length == Shape.Length;
        for (var i = 0; fits && i < shape.Length; i++)
        {
            fits = Shape[i] < 0 || Shape[i] == shape[i];
        }

        return fits ? null : $"input '{Name}' must have the shape [{string.Join(",", Shape)}], got [{string.Join(",", shape.ToArray())}]";
    }
}
