using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Text;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Runtimes.Compiled;

/// <summary>
/// A small graph of classical operators (scalers, linear models, tree ensembles, small dense networks) as a straight line of loops over floats: a call
/// costs the arithmetic and nothing else, where ONNX Runtime needs some microseconds to begin. It knows the meaning of what it compiles from the
/// operators' specification; whether ONNX Runtime gives the same is tried by <see cref="OnnxRuntime"/> before it is used.
/// </summary>
internal sealed class CompiledGraph
{
    /// <summary>Above this a run would keep too much memory per thread.</summary>
    private const int MostFloats = 1 << 18;

    [ThreadStatic]
    private static float[]? arena;

    private readonly (Value Value, int Port)[] inputs;
    private readonly (Value Value, Datatype Datatype)[] outputs;
    private readonly Step[] steps;
    private readonly int width;

    private CompiledGraph((Value Value, int Port)[] inputs, (Value Value, Datatype Datatype)[] outputs, Step[] steps, int width) =>
        (this.inputs, this.outputs, this.steps, this.width) = (inputs, outputs, steps, width);

    /// <summary>Values of an input's column where trees part: at and beside them faults of reading show.</summary>
    public IEnumerable<(int Feature, float Threshold)> Splits => steps.OfType<TreeEnsemble>().SelectMany(trees => trees.Splits);

    /// <summary>Compiles the graph.</summary>
    /// <exception cref="NotSupportedException">Some part of it has no loop here; the message says which.</exception>
    public static CompiledGraph Compile(OnnxGraph graph, Port[] inputs, Port[] outputs) => new Compiler(graph).Compile(inputs, outputs);

    /// <summary>Whether so many rows fit.</summary>
    public bool Takes(long rows) => rows > 0 && rows * width <= MostFloats;

    /// <summary>
    /// Fills the data of all outputs, which have names, types and shapes. False, with the outputs' data undefined, if a number that came or one of
    /// the result is not finite: what that means is ONNX Runtime's to say.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool TryRun(TensorSet from, TensorSet to, int rows)
    {
        var floats = arena is { } kept && kept.Length >= rows * width ? kept : arena = new float[Math.Max(4096, rows * width)];
        foreach (var (value, port) in inputs)
        {
            var data = from[port].As<float>();
            if (!AllFinite(data))
            {
                return false;
            }

            data.CopyTo(value.All(floats, rows));
        }

        foreach (var step in steps)
        {
            step.Run(floats, rows);
        }

        for (var i = 0; i < outputs.Length; i++)
        {
            var (value, datatype) = outputs[i];
            var result = value.All(floats, rows);
            if (!AllFinite(result))
            {
                return false;
            }

            if (value.Labels is { } labels)
            {
                Write(result, labels, datatype, to[i]);
            }
            else
            {
                to[i].Set(MemoryMarshal.AsBytes(result));
            }
        }

        return true;
    }

    private static void Write(ReadOnlySpan<float> positions, Labels labels, Datatype datatype, Tensor to)
    {
        if (datatype == Datatype.Bytes)
        {
            to.Allocate(0);
            foreach (var position in positions)
            {
                to.AppendElement(labels.Texts[(int)position]);
            }

            return;
        }

        var bytes = to.Allocate(positions.Length * datatype.Size());
        for (var i = 0; i < positions.Length; i++)
        {
            var label = labels.Integers[(int)positions[i]];
            if (datatype == Datatype.Int64)
            {
                MemoryMarshal.Cast<byte, long>(bytes)[i] = label;
            }
            else
            {
                MemoryMarshal.Cast<byte, int>(bytes)[i] = (int)label;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool AllFinite(ReadOnlySpan<float> numbers)
    {
        var exponents = Vector128.Create(0x7F80_0000);
        var i = 0;
        for (ref var first = ref MemoryMarshal.GetReference(numbers); i + Vector128<float>.Count <= numbers.Length; i += Vector128<float>.Count)
        {
            if (Vector128.EqualsAny(Vector128.LoadUnsafe(ref first, (nuint)i).AsInt32() & exponents, exponents))
            {
                return false;
            }
        }

        for (; i < numbers.Length; i++)
        {
            if (!float.IsFinite(numbers[i]))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Goes over the nodes once; every matrix has rows as its first dimension and one other, or is a column of labels.</summary>
    private sealed class Compiler(OnnxGraph graph)
    {
        private readonly Dictionary<string, Value> values = new(StringComparer.Ordinal);
        private readonly Dictionary<string, int> uses = new(StringComparer.Ordinal);
        private readonly Dictionary<Value, Dense> dense = [];
        private readonly List<Step> steps = [];
        private int width;

        public CompiledGraph Compile(Port[] inputs, Port[] outputs)
        {
            var taken = inputs.Select((port, i) => port is { Datatype: Datatype.Fp32, Shape: [< 0, > 0] }
                ? (values[port.Name] = New((int)port.Shape[1]), i)
                : throw new NotSupportedException($"its input '{port.Name}' is {port.Text}")).ToArray();
            foreach (var name in graph.Nodes.SelectMany(node => node.Inputs).Concat(outputs.Select(port => port.Name)))
            {
                uses[name] = uses.GetValueOrDefault(name) + 1;
            }

            foreach (var node in graph.Nodes)
            {
                Add(node);
            }

            return new(taken, [.. outputs.Select(Output)], [.. steps], width);
        }

        private (Value Value, Datatype Datatype) Output(Port port)
        {
            var value = ValueOf(port.Name);
            var fits = value.Labels is { } labels
                ? port.Datatype == Datatype.Bytes ? labels.Texts.Length > 0
                    : port.Datatype is Datatype.Int64 or Datatype.Int32 && labels.Integers.Length > 0 && (port.Datatype == Datatype.Int64 || labels.Integers.All(label => label == (int)label))
                : port.Datatype == Datatype.Fp32;
            return fits ? (value, port.Datatype) : throw new NotSupportedException($"its output '{port.Name}' is {port.Text}");
        }

        private void Add(OnnxNode node)
        {
            switch (node.Operator)
            {
                case "Identity":
                    values[node.Outputs[0]] = ValueOf(node.Inputs[0]);
                    break;
                case "Cast":
                    Cast(node);
                    break;
                case "Flatten" when node.Integer("axis", 1) == 1:
                    values[node.Outputs[0]] = Numbers(node.Inputs[0]);
                    break;
                case "Reshape":
                    Reshape(node);
                    break;
                case "Concat" when node.Integer("axis", 0) is 1 or -1:
                    var parts = node.Inputs.Select(Numbers).ToArray();
                    steps.Add(new Concat(parts, Name(node, parts.Sum(part => part.Width))));
                    break;
                case "MatMul" when graph.Constants.GetValueOrDefault(node.Inputs[1]) is { Shape: [_, var columns], Floats: { } weights }:
                    Multiply(node, Numbers(node.Inputs[0]), weights, (int)columns);
                    break;
                case "Gemm":
                    Gemm(node);
                    break;
                case "Add" or "Sub" or "Mul" or "Div":
                    Calculate(node);
                    break;
                case "Relu":
                    Activate(node, Activation.Relu);
                    break;
                case "Sigmoid":
                    Activate(node, Activation.Logistic);
                    break;
                case "Tanh":
                    Activate(node, Activation.Tanh);
                    break;
                case "Softmax" when node.Integer("axis", -1) is 1 or -1:
                    AddSoftmax(node.Outputs[0], Numbers(node.Inputs[0]));
                    break;
                case "ArgMax" when node.Integer("axis", 0) is 1 or -1 && node.Integer("select_last_index", 0) == 0:
                    var scores = Numbers(node.Inputs[0]);
                    steps.Add(new ArgMax(scores, Name(node.Outputs[0], 1, new([.. Enumerable.Range(0, scores.Width)], []))));
                    break;
                case "ai.onnx.ml:ArrayFeatureExtractor" when graph.Constants.GetValueOrDefault(node.Inputs[0]) is { Integers: { } classes } && ValueOf(node.Inputs[1]).Labels is { } positions:
                    Relabel(node, classes, positions);
                    break;
                case "ai.onnx.ml:Scaler":
                    var scaled = Numbers(node.Inputs[0]);
                    steps.Add(new Scale(scaled, Name(node, scaled.Width), ByColumn(node.Floats("offset"), scaled.Width), ByColumn(node.Floats("scale"), scaled.Width)));
                    break;
                case "ai.onnx.ml:Normalizer" when node.Text("norm", "MAX") == "L1":
                    var lengths = Numbers(node.Inputs[0]);
                    steps.Add(new Normalize(lengths, Name(node, lengths.Width)));
                    break;
                case "ai.onnx.ml:LinearRegressor" when node.Text("post_transform", "NONE") == "NONE":
                    Linear(Numbers(node.Inputs[0]), Name(node, (int)node.Integer("targets", 1)), node);
                    break;
                case "ai.onnx.ml:LinearClassifier":
                    LinearClassifier(node);
                    break;
                case "ai.onnx.ml:TreeEnsembleRegressor" when node.Text("post_transform", "NONE") == "NONE" && node.Text("aggregate_function", "SUM") == "SUM":
                    Trees(node, "target", Name(node, (int)node.Integer("n_targets", 1)));
                    break;
                case "ai.onnx.ml:TreeEnsembleClassifier":
                    TreeClassifier(node);
                    break;
                case "ai.onnx.ml:ZipMap":
                    ZipMap(node);
                    break;
                default:
                    throw new NotSupportedException($"its operator {node.Operator} is not one of those, or not in this form");
            }
        }

        private Value New(int columns, Labels? labels = null)
        {
            if (columns is < 1 or > MostFloats || width > MostFloats)
            {
                throw new NotSupportedException("it is wide");
            }

            var value = new Value(columns, width) { Labels = labels };
            width += columns;
            return value;
        }

        private Value Name(string name, int columns, Labels? labels = null) => values[name] = New(columns, labels);

        private Value Name(OnnxNode node, int columns) => Name(node.Outputs[0], columns);

        private Value ValueOf(string name) => values.GetValueOrDefault(name) ?? throw new NotSupportedException($"'{name}' is no matrix of its rows");

        private Value Numbers(string name) => ValueOf(name) is { Labels: null } value ? value : throw new NotSupportedException($"'{name}' are labels");

        private static float[] ByColumn(float[] numbers, int columns) =>
            numbers.Length == columns ? numbers
            : numbers.Length == 1 ? [.. Enumerable.Repeat(numbers[0], columns)]
            : throw new NotSupportedException($"it has {numbers.Length} numbers for {columns} columns");

        private void Cast(OnnxNode node)
        {
            const long Float = 1, Int32 = 6, Int64 = 7;
            var value = ValueOf(node.Inputs[0]);
            values[node.Outputs[0]] = (value.Labels, node.Integer("to", 0)) switch
            {
                (null, Float) => value,
                ({ Integers.Length: > 0 }, Int64) => value,
                ({ Integers.Length: > 0 } labels, Int32) when labels.Integers.All(label => label == (int)label) => value,
                _ => throw new NotSupportedException("it casts to another type"),
            };
        }

        private void Reshape(OnnxNode node)
        {
            var value = ValueOf(node.Inputs[0]);
            var same = graph.Constants.GetValueOrDefault(node.Inputs[1])?.Integers switch
            {
                [-1] => value.Width == 1,
                [-1, var columns] => columns == value.Width,
                _ => false,
            };
            values[node.Outputs[0]] = same ? value : throw new NotSupportedException("it reshapes");
        }

        private void Multiply(OnnxNode node, Value x, float[] weights, int columns)
        {
            if (weights.Length != x.Width * columns)
            {
                throw new NotSupportedException("it multiplies by a matrix of another size");
            }

            var y = Name(node, columns);
            steps.Add(dense[y] = new Dense(x, y, weights) { Bias = new float[columns] });
        }

        private void Gemm(OnnxNode node)
        {
            if (graph.Constants.GetValueOrDefault(node.Inputs[1]) is not { Shape: [var first, var second], Floats: { } weights } || node.Integer("transA", 0) != 0
                || node.Float("alpha", 1) != 1 || node.Float("beta", 1) != 1)
            {
                throw new NotSupportedException("its operator Gemm is scaled, or takes another matrix");
            }

            var transposed = node.Integer("transB", 0) != 0;
            var columns = (int)(transposed ? first : second);
            Multiply(node, Numbers(node.Inputs[0]), transposed ? Dense.Transpose(weights, (int)first, (int)second) : weights, columns);
            if (node.Inputs.Count > 2)
            {
                dense[values[node.Outputs[0]]].Bias = ByColumn(graph.Constants.GetValueOrDefault(node.Inputs[2])?.Floats ?? throw new NotSupportedException("it adds a matrix"), columns);
            }
        }

        private void Calculate(OnnxNode node)
        {
            var x = Numbers(node.Inputs[0]);
            // A constant of one row, or of one number: anything else is no function of a row.
            if (graph.Constants.GetValueOrDefault(node.Inputs[1]) is not { Floats: { } constant } by || by.Shape.SkipLast(1).Any(dimension => dimension != 1) || by.Shape.Length > 2)
            {
                throw new NotSupportedException($"its operator {node.Operator} takes two matrices");
            }

            var numbers = ByColumn(constant, x.Width);
            if (node.Operator == "Add" && uses[node.Inputs[0]] == 1 && dense.TryGetValue(x, out var multiplied) && multiplied is { Activation: Activation.None } && multiplied.Bias.All(b => b == 0))
            {
                multiplied.Bias = numbers;
                values[node.Outputs[0]] = x;
                return;
            }

            steps.Add(new Arithmetic(x, Name(node, x.Width), node.Operator switch { "Add" => '+', "Sub" => '-', "Mul" => '*', _ => '/' }, numbers));
        }

        private void Activate(OnnxNode node, Activation activation)
        {
            var x = Numbers(node.Inputs[0]);
            if (uses[node.Inputs[0]] == 1 && dense.TryGetValue(x, out var multiplied) && multiplied.Activation == Activation.None)
            {
                multiplied.Activation = activation;
                values[node.Outputs[0]] = x;
                return;
            }

            steps.Add(new Apply(x, Name(node, x.Width), activation));
        }

        private void AddSoftmax(string name, Value x) => steps.Add(new Softmax(x, Name(name, x.Width)));

        private void Relabel(OnnxNode node, long[] classes, Labels positions)
        {
            if (positions.Integers.Any(position => position < 0 || position >= classes.Length))
            {
                throw new NotSupportedException("it takes a class that is not there");
            }

            // The same column under other labels.
            var x = ValueOf(node.Inputs[1]);
            var y = Name(node.Outputs[0], 1, new([.. positions.Integers.Select(position => classes[position])], []));
            steps.Add(new Columns(x, y, [0]));
        }

        private void Linear(Value x, Value y, OnnxNode node)
        {
            var coefficients = node.Floats("coefficients");
            if (coefficients.Length != x.Width * y.Width)
            {
                throw new NotSupportedException("it has coefficients of another size");
            }

            var intercepts = node.Floats("intercepts");
            steps.Add(new Dense(x, y, Dense.Transpose(coefficients, y.Width, x.Width)) { Bias = intercepts.Length == 0 ? new float[y.Width] : ByColumn(intercepts, y.Width) });
        }

        private static Labels LabelsOf(OnnxNode node, string integers) =>
            new(node.Integers(integers), [.. node.Texts("classlabels_strings").Select(Encoding.UTF8.GetBytes)]);

        private void LinearClassifier(OnnxNode node)
        {
            var labels = LabelsOf(node, "classlabels_ints");
            var x = Numbers(node.Inputs[0]);
            if (labels.Count < 2 || node.Floats("coefficients").Length != x.Width * labels.Count)
            {
                throw new NotSupportedException("it has one score for two classes");
            }

            var scores = New(labels.Count);
            Linear(x, scores, node);
            steps.Add(new ArgMax(scores, Name(node.Outputs[0], 1, labels)));
            Transform(node, scores);
        }

        // The scores as the node's second output.
        private void Transform(OnnxNode node, Value scores)
        {
            var name = node.Outputs.ElementAtOrDefault(1) ?? "";
            switch (node.Text("post_transform", "NONE"))
            {
                case "NONE":
                    values[name] = scores;
                    break;
                case "SOFTMAX":
                    AddSoftmax(name, scores);
                    break;
                case "LOGISTIC":
                    steps.Add(new Apply(scores, Name(name, scores.Width), Activation.Logistic));
                    break;
                default:
                    throw new NotSupportedException("it transforms its scores in another way");
            }
        }

        private void Trees(OnnxNode node, string prefix, Value y)
        {
            var start = node.Floats("base_values");
            steps.Add(TreeEnsemble.Read(node, prefix, Numbers(node.Inputs[0]), y, start.Length == 0 ? new float[y.Width] : ByColumn(start, y.Width)));
        }

        private void TreeClassifier(OnnxNode node)
        {
            var labels = LabelsOf(node, "classlabels_int64s");
            var ids = node.Integers("class_ids");
            if (labels.Count == 2 && ids.Length > 0 && ids.All(id => id == 0))
            {
                // One score, of the second class.
                var share = node.Floats("class_weights").All(weight => weight >= 0);
                var transform = node.Text("post_transform", "NONE");
                var score = New(1);
                Trees(node, "class", score);
                steps.Add(new Above(score, Name(node.Outputs[0], 1, labels), share ? .5f : 0));
                if (transform is not ("NONE" or "LOGISTIC") || (share && transform != "NONE") || (!share && transform != "LOGISTIC"))
                {
                    throw new NotSupportedException("it transforms its score in another way");
                }

                steps.Add(new TwoClasses(score, Name(node.Outputs[1], 2), logistic: !share));
                return;
            }

            if (labels.Count < 2 || ids.Distinct().Count() != labels.Count)
            {
                throw new NotSupportedException("it has no score for one of its classes");
            }

            var scores = New(labels.Count);
            Trees(node, "class", scores);
            steps.Add(new ArgMax(scores, Name(node.Outputs[0], 1, labels)));
            Transform(node, scores);
        }

        // Its maps come to a client as the scores in the order of their classes.
        private void ZipMap(OnnxNode node)
        {
            var x = Numbers(node.Inputs[0]);
            var (integers, texts) = (node.Integers("classlabels_int64s"), node.Texts("classlabels_strings"));
            var order = integers.Length > 0
                ? Enumerable.Range(0, integers.Length).OrderBy(i => integers[i]).ToArray()
                : [.. Enumerable.Range(0, texts.Length).OrderBy(i => texts[i], StringComparer.Ordinal)];
            if (order.Length != x.Width)
            {
                throw new NotSupportedException("it names more or fewer classes than there are scores");
            }

            steps.Add(new Columns(x, Name(node, x.Width), order));
        }
    }
}
