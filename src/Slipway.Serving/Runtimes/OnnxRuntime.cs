using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;
using Microsoft.ML.OnnxRuntime;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving.Routing;
using Slipway.Serving.Runtimes.Compiled;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Runtimes;

/// <summary>
/// One ONNX model in process: one session for all requests, one thread a call, no spinning. Small batches of a classical model run compiled, where
/// that was seen to give the session's answers in less time. Other small numeric batches run through bindings over pinned buffers that are kept per
/// batch size; everything else (strings, large or dynamic shapes, class maps) lets ONNX Runtime allocate.
/// </summary>
internal sealed class OnnxRuntime : IModelRuntime
{
    // Bindings are kept for batches up to this many rows and this many bytes, so that their memory stays bounded.
    private const int BoundRows = 128;
    private const int BoundBytes = 1 << 20;
    private const int BindingsPerSize = 8;
    private const long KeptBytes = 32 << 20;

    // What a compiled graph is compared with ONNX Runtime on.
    private const int Trials = 8;
    private const int TrialRows = 64;

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
    private CompiledGraph? _compiled;
    private long[][] _compiledOutputs = [];

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

    /// <summary>Whether one-row requests can run through prepared bindings.</summary>
    public bool IsBound => _boundOutputs is not null;

    /// <summary>Rows up to which requests run compiled; 0: none do.</summary>
    public int CompiledRows { get; private set; }

    /// <summary>Why no request runs compiled, or null.</summary>
    public string? NotCompiled { get; private set; }

    /// <summary>Loads, probes and warms up a model. Throws <see cref="SlipwayException"/> if it cannot be served.</summary>
    /// <param name="path">The model's file.</param>
    /// <param name="compile">Whether it may run compiled.</param>
    public static OnnxRuntime Load(string path, bool compile = true)
    {
        var runtime = new OnnxRuntime(Open(path));
        runtime.Probe(path, compile);
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
            if (batch > 0 && batch <= CompiledRows && TryCompiled(request, (int)batch, out var compiled))
            {
                return new() { Times = compiled, Rows = batch };
            }

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

    private bool TryCompiled(InferRequest request, int batch, out RunTimes times)
    {
        Span<long> shape = stackalloc long[Tensor.MaxRank];
        for (var i = 0; i < _outputs.Length; i++)
        {
            var output = request.Outputs.Add();
            output.Name = _outputs[i].Name;
            output.Datatype = _outputs[i].Datatype;
            var declared = _compiledOutputs[i];
            for (var dimension = 0; dimension < declared.Length; dimension++)
            {
                shape[dimension] = declared[dimension] < 0 ? batch : declared[dimension];
            }

            output.TrySetShape(shape[..declared.Length]);
        }

        var start = Stopwatch.GetTimestamp();
        var done = _compiled!.TryRun(request.Inputs, request.Outputs, batch);
        // Its loops read the inputs and write the outputs themselves.
        times = new(0, Nanos(Stopwatch.GetTimestamp() - start), 0);
        if (!done)
        {
            request.Outputs.Clear();
        }

        return done;
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
    private void Probe(string path, bool compile)
    {
        var bytes = OnnxFiles.Bytes(path);
        using var request = InferRequest.Rent();
        if (!TryZeros(request, 1))
        {
            Traits = Traits with { Bytes = bytes };
            return;
        }

        var one = Shapes(request);
        var numeric = _inputs.All(port => port.Datatype != Datatype.Bytes && port.FixedBehindBatch) && _outputs.All(port => port.Datatype != Datatype.Bytes && !port.ClassMap);
        NotCompiled = compile ? "the shapes of its outputs are not known before it runs" : "compiling is switched off";
        if (_inputs.Any(port => port.Batched) && TryZeros(request, 2))
        {
            var two = Shapes(request);
            var predicted = one.Zip(two, Predict).OfType<long[]>().ToArray();
            _boundOutputs = numeric && predicted.Length == one.Length ? predicted : null;
            if (compile && predicted.Length == one.Length)
            {
                Compile(path, predicted);
            }
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

    /// <summary>Lets small batches run compiled if that gives ONNX Runtime's answers, for rows of all kinds, in less time.</summary>
    private void Compile(string path, long[][] outputs)
    {
        try
        {
            (_compiled, _compiledOutputs) = (CompiledGraph.Compile(OnnxGraph.Read(path), _inputs, _outputs), outputs);
        }
        catch (NotSupportedException unknown)
        {
            NotCompiled = unknown.Message;
            return;
        }

        var splits = _inputs.Length == 1
            ? _compiled.Splits.GroupBy(split => split.Feature, split => split.Threshold).ToDictionary(column => column.Key, column => column.ToArray())
            : [];
        NotCompiled = null;
        for (var seed = 0; seed < Trials && NotCompiled is null; seed++)
        {
            NotCompiled = Differs(seed, seed == 0 ? 1 : TrialRows, splits);
        }

        if (NotCompiled is null)
        {
            using var request = InferRequest.Rent();
            foreach (var rows in new[] { 1, 8, 32, 128 }.TakeWhile(rows => _compiled.Takes(rows)))
            {
                var before = CompiledRows;
                CompiledRows = 0;
                var session = Median(request, rows, 15);
                CompiledRows = rows;
                if (Median(request, rows, 15) > session)
                {
                    CompiledRows = before;
                    break;
                }
            }

            NotCompiled = CompiledRows > 0 ? null : "ONNX Runtime is faster";
        }

        _compiled = CompiledRows > 0 ? _compiled : null;
    }

    // How the compiled answer to rows differs from the session's, or null: labels in anything, floats in more than rounding.
    private string? Differs(int seed, int rows, Dictionary<int, float[]> splits)
    {
        using var session = InferRequest.Rent();
        using var compiled = InferRequest.Rent();
        Mixed(session, seed, rows, splits);
        Mixed(compiled, seed, rows, splits);
        if (!Run(session).Ok || !TryCompiled(compiled, rows, out _))
        {
            return "it refuses the values that it was tried with";
        }

        for (var i = 0; i < _outputs.Length; i++)
        {
            var (theirs, ours) = (session.Outputs[i], compiled.Outputs[i]);
            if (!theirs.Shape.SequenceEqual(ours.Shape) || !(theirs.Datatype == Datatype.Fp32 ? Close(theirs.As<float>(), ours.As<float>()) : theirs.Data.SequenceEqual(ours.Data)))
            {
                return $"its output '{_outputs[i].Name}' came out otherwise than ONNX Runtime's";
            }
        }

        return null;
    }

    private static bool Close(ReadOnlySpan<float> theirs, ReadOnlySpan<float> ours)
    {
        for (var i = 0; i < theirs.Length && theirs.Length == ours.Length; i++)
        {
            if (!(Math.Abs(theirs[i] - ours[i]) <= 1e-5f + (1e-4f * Math.Abs(theirs[i]))))
            {
                return false;
            }
        }

        return theirs.Length == ours.Length;
    }

    // Rows of ordinary numbers of several sizes and, where trees part, of the very numbers of a split and those beside it. Seed 0 gives zeros only.
    private void Mixed(InferRequest request, int seed, int rows, Dictionary<int, float[]> splits)
    {
        request.Reset();
        var random = new Random(seed);
        foreach (var port in _inputs)
        {
            var tensor = Add(request, port, rows);
            var numbers = MemoryMarshal.Cast<byte, float>(tensor.Writable);
            for (var i = 0; i < numbers.Length && seed > 0; i++)
            {
                var threshold = splits.GetValueOrDefault(i % (int)port.Shape[1]) is { } thresholds ? thresholds[random.Next(thresholds.Length)] : 0;
                numbers[i] = random.Next(8) switch
                {
                    0 => 0,
                    1 => threshold,
                    2 => float.BitIncrement(threshold),
                    3 => float.BitDecrement(threshold),
                    4 => (float)((random.NextDouble() * 20) - 10),
                    5 => (float)Math.Round(random.NextDouble() * 8),
                    _ => threshold + (float)((random.NextDouble() * 2) - 1),
                };
            }
        }
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
