using System.Collections.Concurrent;
using System.Diagnostics;
using Microsoft.ML.OnnxRuntime;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving.Routing;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Runtimes;

/// <summary>
/// One ONNX model in process: one session for all requests, one thread a call, no spinning. Small numeric batches run through bindings over
/// pinned buffers that are kept per batch size; everything else (strings, large or dynamic shapes, class maps) lets ONNX Runtime allocate.
/// </summary>
internal sealed class OnnxRuntime : IModelRuntime
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
    private readonly ConcurrentQueue<OnnxBinding>?[] _bindings = new ConcurrentQueue<OnnxBinding>?[BoundRows + 1];
    private long[][]? _boundOutputs;
    private long _kept;

    private OnnxRuntime(InferenceSession session)
    {
        _session = session;
        Signature = OnnxSignature.Of(session);
        _inputs = [.. Signature.Inputs.Select(spec => new Port(spec, ClassMap: false))];
        _outputs = [.. Signature.Outputs.Select(spec => new Port(spec, OnnxSignature.IsClassMap(session.OutputMetadata[spec.Name])))];
        _inputNames = [.. _inputs.Select(port => port.Name)];
        _outputNames = [.. _outputs.Select(port => port.Name)];
        Traits = new(double.PositiveInfinity, 0, "it was not tried", 1, 0);
    }

    public ModelSignature Signature { get; }

    public RuntimeTraits Traits { get; private set; }

    /// <summary>Whether one-row requests run through prepared bindings.</summary>
    public bool IsBound => _boundOutputs is not null;

    /// <summary>Loads, probes and warms up a model. Throws <see cref="SlipwayException"/> if it cannot be served.</summary>
    public static OnnxRuntime Load(string path)
    {
        var runtime = new OnnxRuntime(Open(path));
        runtime.Probe(OnnxFiles.Bytes(path));
        return runtime;
    }

    /// <summary>Opens a session with Slipway's options; InvalidArgument if the file is no model.</summary>
    internal static InferenceSession Open(string path)
    {
        OnnxFiles.Demand(path);
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
                ErrorCode.InvalidArgument, "cannot load the model", Trim(failure.Message.Replace(path, Path.GetFileName(path), StringComparison.Ordinal)), "check the file with onnx.checker and export it again", failure);
        }
    }

    public ValueTask<RunResult> RunAsync(InferRequest request, CancellationToken ct) => new(Run(request));

    public void Dispose()
    {
        foreach (var binding in _bindings.Where(queue => queue is not null).SelectMany(queue => queue!))
        {
            binding.Dispose();
        }

        _session.Dispose();
    }

    private RunResult Run(InferRequest request)
    {
        var (batch, bytes) = Extent(request);
        request.Outputs.Clear();
        try
        {
            var times = _boundOutputs is { } shapes && batch is > 0 and <= BoundRows && bytes <= BoundBytes
                ? RunBound(request, (int)batch, shapes) : RunFree(request);
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

    // The common first dimension of the inputs that have an open one (1 without any, -1 if they differ, which is for the model to judge), and all bytes.
    private (long Batch, long Bytes) Extent(InferRequest request)
    {
        var (batch, bytes) = (0L, 0L);
        for (var i = 0; i < _inputs.Length; i++)
        {
            var tensor = request.Inputs[i];
            bytes += tensor.Length;
            if (_inputs[i].Batched)
            {
                batch = batch == 0 || batch == tensor.Rows ? tensor.Rows : -1;
            }
        }

        return (batch == 0 && !Array.Exists(_inputs, port => port.Batched) ? 1 : batch, bytes);
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
    /// Learns by running: which output shapes can be predicted and bound (the same for one and two rows, or equal to the rows where they differ),
    /// how long a row takes alone and in batches, and whether rows in one batch give what they give alone. It also warms the model up.
    /// </summary>
    private void Probe(long bytes)
    {
        using var request = InferRequest.Rent();
        if (!TryZeros(request, 1))
        {
            Traits = Traits with { Bytes = bytes };
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

        var alone = Median(request, 1, 9);
        var cannot = RowsMix();
        var gain = 1.0;
        if (cannot is null)
        {
            foreach (var rows in new[] { 8, 32 })
            {
                // A slow model is not kept from serving by its own probe.
                if (alone * rows < 1e6 && Median(request, rows, 5) is var together and > 0)
                {
                    gain = Math.Max(gain, alone * rows / together);
                }
            }
        }

        Traits = new(alone, 0, cannot, gain, bytes);
    }

    private double Median(InferRequest request, int rows, int runs)
    {
        var times = new List<double>();
        for (var started = Stopwatch.GetTimestamp(); times.Count < runs && (times.Count == 0 || Stopwatch.GetElapsedTime(started).TotalSeconds < 1);)
        {
            var start = Stopwatch.GetTimestamp();
            if (!TryZeros(request, rows))
            {
                return double.PositiveInfinity;
            }

            times.Add(Stopwatch.GetElapsedTime(start).TotalMicroseconds);
        }

        times.Sort();
        return times[times.Count / 2];
    }

    /// <summary>
    /// Why rows cannot share a run, or null: two different rows are run alone and together, and every output must be the same, floats but for rounding.
    /// </summary>
    private string? RowsMix()
    {
        if (_inputs.FirstOrDefault(port => !port.Batched) is { } fixedInput)
        {
            return $"its input '{fixedInput.Name}' ({fixedInput.Text}) has a fixed first dimension";
        }

        if (_inputs.Concat(_outputs).FirstOrDefault(port => port.Datatype == Datatype.Bytes) is { } text)
        {
            return $"'{text.Name}' is text";
        }

        using var first = InferRequest.Rent();
        using var second = InferRequest.Rent();
        using var both = InferRequest.Rent();
        Varied(first, 1);
        Varied(second, 2);
        LoadedModel.Join([first, second], both);
        if (!Run(first).Ok || !Run(second).Ok || !Run(both).Ok)
        {
            return "it refuses the values that it was tried with";
        }

        using var one = InferRequest.Rent();
        using var two = InferRequest.Rent();
        Varied(one, 1);
        Varied(two, 2);
        if (!LoadedModel.Split(both, 2, [one, two]))
        {
            return "an output of two rows does not have two rows";
        }

        for (var i = 0; i < _outputs.Length; i++)
        {
            if (!Same(first.Outputs[i], one.Outputs[i]) || !Same(second.Outputs[i], two.Outputs[i]))
            {
                return $"output '{_outputs[i].Name}' of a row depends on the other rows of its batch";
            }
        }

        return null;
    }

    private static bool Same(Tensor alone, Tensor together)
    {
        if (!alone.Shape.SequenceEqual(together.Shape))
        {
            return false;
        }

        for (var i = 0; alone.Datatype == Datatype.Fp32 && i < alone.As<float>().Length; i++)
        {
            var (a, b) = (alone.As<float>()[i], together.As<float>()[i]);
            if (!a.Equals(b) && !(Math.Abs(a - b) <= 1e-4 + (1e-3 * Math.Abs(a))))
            {
                return false;
            }
        }

        for (var i = 0; alone.Datatype == Datatype.Fp64 && i < alone.As<double>().Length; i++)
        {
            var (a, b) = (alone.As<double>()[i], together.As<double>()[i]);
            if (!a.Equals(b) && !(Math.Abs(a - b) <= 1e-8 + (1e-6 * Math.Abs(a))))
            {
                return false;
            }
        }

        // Halves lose too much to tell rounding from mixing by their bits, so only their shapes are compared.
        return alone.Datatype is Datatype.Fp32 or Datatype.Fp64 or Datatype.Fp16 or Datatype.Bf16 || alone.Data.SequenceEqual(together.Data);
    }

    // A row of small numbers that differ from place to place and from seed to seed; integers are 0 or 1, which most models take as an index.
    private void Varied(InferRequest request, int seed)
    {
        request.Reset();
        var random = (uint)seed * 2654435761;
        foreach (var port in _inputs)
        {
            var tensor = Add(request, port, 1);
            var data = tensor.Writable;
            var size = port.Datatype.Size();
            for (var at = 0; at < data.Length; at += size)
            {
                random = (random * 1664525) + 1013904223;
                var value = (random >> 8) / (float)(1 << 24);
                switch (port.Datatype)
                {
                    case Datatype.Fp32:
                        BitConverter.TryWriteBytes(data[at..], value);
                        break;
                    case Datatype.Fp64:
                        BitConverter.TryWriteBytes(data[at..], (double)value);
                        break;
                    case Datatype.Fp16:
                        BitConverter.TryWriteBytes(data[at..], (Half)value);
                        break;
                    case Datatype.Bf16:
                        BitConverter.TryWriteBytes(data[at..], (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16));
                        break;
                    default:
                        data[at] = (byte)(random >> 31);
                        break;
                }
            }
        }
    }

    private bool TryZeros(InferRequest request, long batch)
    {
        request.Reset();
        foreach (var port in _inputs)
        {
            var tensor = Add(request, port, batch);
            for (var text = 0; port.Datatype == Datatype.Bytes && text < tensor.Count; text++)
            {
                tensor.AppendElement([]);
            }
        }

        return Run(request).Ok;
    }

    private static Tensor Add(InferRequest request, Port port, long batch)
    {
        var tensor = request.Inputs.Add();
        tensor.Name = port.Name;
        tensor.Datatype = port.Datatype;
        // Open dimensions behind the first are given one place: what fits them is not known.
        tensor.TrySetShape([.. port.Shape.Select((dimension, i) => dimension >= 0 ? dimension : i == 0 ? batch : 1)]);
        tensor.Allocate(checked((int)(tensor.Count * port.Datatype.Size()))).Clear();
        return tensor;
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

    private static string Trim(string message) => message.Length <= 400 ? message : message[..400];
}
