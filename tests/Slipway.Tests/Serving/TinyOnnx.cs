using System.Text;

namespace Slipway.Tests.Serving;

/// <summary>Writes the few ONNX messages that tests need to make models with known faults.</summary>
internal static class TinyOnnx
{
    public const int Float = 1;
    public const int Int64 = 7;

    /// <summary>The inputs of <see cref="Types"/>: name, wire type, and its number in ONNX. Each comes back as the output NAME_out.</summary>
    public static readonly (string Name, string Datatype, int Onnx)[] TypePorts =
    [
        ("b", "BOOL", 9), ("u8", "UINT8", 2), ("u16", "UINT16", 4), ("u32", "UINT32", 12), ("u64", "UINT64", 13), ("i8", "INT8", 3), ("i16", "INT16", 5), ("i32", "INT32", 6),
        ("i64", "INT64", 7), ("f16", "FP16", 10), ("f32", "FP32", 1), ("f64", "FP64", 11), ("bf16", "BF16", 16), ("s", "BYTES", 8),
    ];

    /// <summary>Every datatype of the protocol, in and out unchanged.</summary>
    public static byte[] Types() => Model(
        [.. TypePorts.Select(port => Node("Identity", [port.Name], [port.Name + "_out"]))], [],
        [.. TypePorts.Select(port => TensorInfo(port.Name, port.Onnx, -1))], [.. TypePorts.Select(port => TensorInfo(port.Name + "_out", port.Onnx, -1))]);

    /// <summary>
    /// A model with the signature of <c>iris_logreg</c> that answers constants while all of X is below 1 and fails inside ONNX Runtime otherwise (an
    /// index out of range): it passes every probe with zeros and breaks on real flowers.
    /// </summary>
    public static byte[] BreaksOnRealInput() => Model(
        [
            Node("Cast", ["X"], ["xi"], Attribute("to", Int64)),
            Node("Gather", ["one", "xi"], ["zero4"]),
            Node("ReduceMax", ["zero4"], ["zero1"], Ints("axes", 1), Attribute("keepdims", 0)),
            Node("Cast", ["zero1"], ["label"], Attribute("to", Int64)),
            Node("MatMul", ["zero4", "weights"], ["probabilities"]),
        ],
        [Floats("one", [1], [0f]), Floats("weights", [4, 3], new float[12])],
        [TensorInfo("X", Float, -1, 4)],
        [TensorInfo("label", Int64, -1), TensorInfo("probabilities", Float, -1, 3)]);

    /// <summary>Answers the same probabilities for every row, in the signature of <c>iris_logreg</c>.</summary>
    public static byte[] Constant(params float[] probabilities) => Model(
        [
            Node("MatMul", ["X", "weights"], ["zero"]),
            Node("Add", ["zero", "bias"], ["probabilities"]),
            Node("ArgMax", ["probabilities"], ["label"], Attribute("axis", 1), Attribute("keepdims", 0)),
        ],
        [Floats("weights", [4, 3], new float[12]), Floats("bias", [3], probabilities)],
        [TensorInfo("X", Float, -1, 4)],
        [TensorInfo("label", Int64, -1), TensorInfo("probabilities", Float, -1, 3)]);

    /// <summary>Takes what <c>iris_logreg</c> takes and calls its probabilities <c>scores</c>.</summary>
    public static byte[] OtherOutputs() => Model(
        [Node("MatMul", ["X", "weights"], ["scores"]), Node("ArgMax", ["scores"], ["label"], Attribute("axis", 1), Attribute("keepdims", 0))],
        [Floats("weights", [4, 3], new float[12])],
        [TensorInfo("X", Float, -1, 4)],
        [TensorInfo("label", Int64, -1), TensorInfo("scores", Float, -1, 3)]);

    /// <summary>Ends in scikit-learn's ZipMap: a list of maps from class to probability.</summary>
    public static byte[] ClassMap(params long[] classes)
    {
        var number = Message(Field(1, Message(Field(1, Float))));
        var map = Message(Field(5, Message(Field(1, Int64), Field(2, number))));
        var list = Message(Field(4, Message(Field(1, map))));
        return Model(
            [Node("ZipMap", ["X"], ["scores"], "ai.onnx.ml", Ints("classlabels_int64s", classes))], [], [TensorInfo("X", Float, -1, 3)],
            [Message(Field(1, "scores"), Field(2, list))]);
    }

    /// <summary>An identity over one vector with the metadata that names its features.</summary>
    public static byte[] WithFeatures(string json) => Model(
        [Node("Identity", ["X"], ["Y"])], [], [TensorInfo("X", Float, -1, 2)], [TensorInfo("Y", Float, -1, 2)], Field(14, Message(Field(1, "slipway.features"), Field(2, json))));

    /// <summary>Subtracts the largest value of the whole batch: a row's answer depends on its company.</summary>
    public static byte[] MixesRows() => Model(
        [Node("ReduceMax", ["X"], ["most"], Ints("axes", 0), Attribute("keepdims", 1)), Node("Sub", ["X", "most"], ["Y"])], [],
        [TensorInfo("X", Float, -1, 3)], [TensorInfo("Y", Float, -1, 3)]);

    /// <summary>Divides by a constant that is zero in one column.</summary>
    public static byte[] DividesByZero() => Model(
        [Node("Div", ["X", "by"], ["Y"])], [Floats("by", [2], [1, 0])], [TensorInfo("X", Float, -1, 2)], [TensorInfo("Y", Float, -1, 2)]);

    /// <summary>An identity over exactly one row.</summary>
    public static byte[] FixedBatch() => Model([Node("Identity", ["X"], ["Y"])], [], [TensorInfo("X", Float, 1, 3)], [TensorInfo("Y", Float, 1, 3)]);

    /// <summary>Adds two numbers that are said to lie in another file.</summary>
    public static byte[] ExternalData(string location) => Model(
        [Node("Add", ["X", "w"], ["Y"])],
        [Message(Field(1, 2), Field(2, Float), Field(8, "w"), Field(13, Message(Field(1, "location"), Field(2, location))), Field(14, 1))],
        [TensorInfo("X", Float, -1, 2)], [TensorInfo("Y", Float, -1, 2)]);

    private static byte[] Model(byte[][] nodes, byte[][] initializers, byte[][] inputs, byte[][] outputs, params byte[][] more)
    {
        var graph = Message(
            [.. nodes.Select(node => Field(1, node)), Field(2, "g"), .. initializers.Select(tensor => Field(5, tensor)), .. inputs.Select(input => Field(11, input)), .. outputs.Select(output => Field(12, output))]);
        return Message(
            [Field(1, 8), Field(8, Message(Field(1, ""), Field(2, 13))), Field(8, Message(Field(1, "ai.onnx.ml"), Field(2, 1))), Field(7, graph), .. more]);
    }

    private static byte[] Node(string op, string[] inputs, string[] outputs, params byte[][] attributes) => Node(op, inputs, outputs, "", attributes);

    private static byte[] Node(string op, string[] inputs, string[] outputs, string domain, params byte[][] attributes) => Message(
        [.. inputs.Select(input => Field(1, input)), .. outputs.Select(output => Field(2, output)), Field(4, op), .. attributes.Select(attribute => Field(5, attribute)), Field(7, domain)]);

    private static byte[] Attribute(string name, long value) => Message(Field(1, name), Field(3, value), Field(20, 2));

    private static byte[] Ints(string name, params long[] values) => Message([Field(1, name), .. values.Select(value => Field(8, value)), Field(20, 7)]);

    private static byte[] Floats(string name, long[] shape, float[] values) => Message(
        [.. shape.Select(dimension => Field(1, dimension)), Field(2, Float), Field(8, name), Field(9, System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(values).ToArray())]);

    private static byte[] TensorInfo(string name, int type, params long[] shape) => Message(
        Field(1, name),
        Field(2, Message(Field(1, Message(Field(1, type), Field(2, Message([.. shape.Select(dimension => Field(1, dimension < 0 ? Message(Field(2, "N")) : Message(Field(1, dimension))))])))))));

    private static byte[] Message(params byte[][] fields) => [.. fields.SelectMany(field => field)];

    private static byte[] Field(int number, string text) => Field(number, Encoding.UTF8.GetBytes(text));

    private static byte[] Field(int number, byte[] content) => [.. Varint(((ulong)number << 3) | 2), .. Varint((ulong)content.Length), .. content];

    private static byte[] Field(int number, long value) => [.. Varint((ulong)number << 3), .. Varint((ulong)value)];

    private static byte[] Varint(ulong value)
    {
        var bytes = new List<byte>();
        for (; value >= 0x80; value >>= 7)
        {
            bytes.Add((byte)(value | 0x80));
        }

        bytes.Add((byte)value);
        return [.. bytes];
    }
}
