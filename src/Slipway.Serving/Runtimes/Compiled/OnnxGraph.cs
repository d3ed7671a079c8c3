using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;

namespace Slipway.Serving.Runtimes.Compiled;

/// <summary>
/// The main graph of an ONNX file as the compiler reads it: nodes in their order, and constants. Field numbers are those of onnx.proto3. The file
/// is one that ONNX Runtime has loaded, so what cannot be read is not wrong, only not compiled.
/// </summary>
/// <param name="Nodes">In topological order, as ONNX demands.</param>
/// <param name="Constants">Initializers by name.</param>
internal sealed record OnnxGraph(IReadOnlyList<OnnxNode> Nodes, IReadOnlyDictionary<string, OnnxConstant> Constants)
{
    private const long MostBytes = 64 << 20;

    /// <exception cref="NotSupportedException">The file is large, or has external data, sparse constants or nested graphs.</exception>
    public static OnnxGraph Read(string path)
    {
        if (new FileInfo(path).Length > MostBytes)
        {
            throw new NotSupportedException("its file is large");
        }

        var nodes = new List<OnnxNode>();
        var constants = new Dictionary<string, OnnxConstant>(StringComparer.Ordinal);
        for (var model = new Wire(File.ReadAllBytes(path)); model.Next();)
        {
            for (var graph = new Wire(model.Field == 7 ? model.Bytes : []); graph.Next();)
            {
                switch (graph.Field)
                {
                    case 1:
                        nodes.Add(Node(graph.Bytes));
                        break;
                    case 5:
                        var (name, constant) = Tensor(graph.Bytes);
                        constants[name] = constant;
                        break;
                    case 15:
                        throw new NotSupportedException("it has sparse constants");
                }
            }
        }

        return new(nodes, constants);
    }

    private static OnnxNode Node(ReadOnlySpan<byte> bytes)
    {
        List<string> inputs = [], outputs = [];
        var attributes = new Dictionary<string, OnnxAttribute>(StringComparer.Ordinal);
        var (type, domain) = ("", "");
        for (var node = new Wire(bytes); node.Next();)
        {
            switch (node.Field)
            {
                case 1:
                    inputs.Add(node.Text);
                    break;
                case 2:
                    outputs.Add(node.Text);
                    break;
                case 4:
                    type = node.Text;
                    break;
                case 5:
                    var (name, value) = Attribute(node.Bytes);
                    attributes[name] = value;
                    break;
                case 7:
                    domain = node.Text;
                    break;
            }
        }

        return new(domain is "" or "ai.onnx" ? type : $"{domain}:{type}", inputs, outputs, attributes);
    }

    private static (string Name, OnnxAttribute Value) Attribute(ReadOnlySpan<byte> bytes)
    {
        var name = "";
        var value = new OnnxAttribute();
        for (var attribute = new Wire(bytes); attribute.Next();)
        {
            switch (attribute.Field)
            {
                case 1:
                    name = attribute.Text;
                    break;
                case 2:
                    value.Floats.Add(attribute.Float);
                    break;
                case 3:
                    value.Integers.Add((long)attribute.Number);
                    break;
                case 4:
                    value.Texts.Add(attribute.Text);
                    break;
                case 5:
                    value.Tensor = Tensor(attribute.Bytes).Value;
                    break;
                case 6 or 10 or 11:
                    throw new NotSupportedException("it has nested graphs");
                case 7:
                    attribute.AddFloats(value.Floats);
                    break;
                case 8:
                    attribute.AddIntegers(value.Integers);
                    break;
                case 9:
                    value.Texts.Add(attribute.Text);
                    break;
            }
        }

        return (name, value);
    }

    private static (string Name, OnnxConstant Value) Tensor(ReadOnlySpan<byte> bytes)
    {
        const int Float = 1, Int32 = 6, Int64 = 7;
        List<long> shape = [], integers = [];
        List<float> floats = [];
        ReadOnlySpan<byte> raw = [];
        var (name, type) = ("", 0);
        for (var tensor = new Wire(bytes); tensor.Next();)
        {
            switch (tensor.Field)
            {
                case 1:
                    tensor.AddIntegers(shape);
                    break;
                case 2:
                    type = (int)tensor.Number;
                    break;
                case 4:
                    tensor.AddFloats(floats);
                    break;
                case 5 or 7:
                    tensor.AddIntegers(integers);
                    break;
                case 8:
                    name = tensor.Text;
                    break;
                case 9:
                    raw = tensor.Bytes;
                    break;
                case 13:
                    throw new NotSupportedException("it has external data");
            }
        }

        if (!BitConverter.IsLittleEndian)
        {
            throw new NotSupportedException("the machine is not little-endian");
        }

        switch (type)
        {
            case Float:
                floats.AddRange(MemoryMarshal.Cast<byte, float>(raw));
                break;
            case Int32:
                foreach (var integer in MemoryMarshal.Cast<byte, int>(raw))
                {
                    integers.Add(integer);
                }

                break;
            case Int64:
                integers.AddRange(MemoryMarshal.Cast<byte, long>(raw));
                break;
        }

        // A constant of another type only stands in the way of the node that takes it.
        return (name, new([.. shape], type == Float ? [.. floats] : null, type is Int32 or Int64 ? [.. integers] : null));
    }

    /// <summary>A walk over the fields of one message.</summary>
    private ref struct Wire(ReadOnlySpan<byte> rest)
    {
        private ReadOnlySpan<byte> rest = rest;

        public int Field { get; private set; }

        /// <summary>A varint, or the bits of a fixed number.</summary>
        public ulong Number { get; private set; }

        public ReadOnlySpan<byte> Bytes { get; private set; }

        private int Kind { get; set; }

        public readonly float Float => BitConverter.UInt32BitsToSingle((uint)Number);

        public readonly string Text => Encoding.UTF8.GetString(Bytes);

        public bool Next()
        {
            if (rest.IsEmpty)
            {
                return false;
            }

            var key = Varint();
            (Field, Kind) = ((int)(key >> 3), (int)(key & 7));
            Bytes = default;
            switch (Kind)
            {
                case 0:
                    Number = Varint();
                    break;
                case 1:
                    Number = BinaryPrimitives.ReadUInt64LittleEndian(Take(8));
                    break;
                case 2:
                    Bytes = Take(Varint());
                    break;
                case 5:
                    Number = BinaryPrimitives.ReadUInt32LittleEndian(Take(4));
                    break;
                default:
                    throw new NotSupportedException("it has fields of an old kind");
            }

            return true;
        }

        /// <summary>Adds a list's part, packed or one by one.</summary>
        public readonly void AddFloats(List<float> to)
        {
            if (Kind == 5)
            {
                to.Add(Float);
            }

            to.AddRange(MemoryMarshal.Cast<byte, float>(Bytes));
        }

        /// <summary>Adds a list's part, packed or one by one.</summary>
        public readonly void AddIntegers(List<long> to)
        {
            if (Kind == 0)
            {
                to.Add((long)Number);
            }

            for (var packed = new Wire(Bytes); !packed.rest.IsEmpty;)
            {
                to.Add((long)packed.Varint());
            }
        }

        private ulong Varint()
        {
            var value = 0UL;
            for (var shift = 0; shift < 64; shift += 7)
            {
                var part = Take(1)[0];
                value |= (ulong)(part & 127) << shift;
                if (part < 128)
                {
                    return value;
                }
            }

            throw new NotSupportedException("its file cannot be read");
        }

        private ReadOnlySpan<byte> Take(ulong length)
        {
            if (length > (ulong)rest.Length)
            {
                throw new NotSupportedException("its file cannot be read");
            }

            var taken = rest[..(int)length];
            rest = rest[(int)length..];
            return taken;
        }
    }
}

/// <summary>One operation; its operator has the domain before it unless that is ONNX's own: <c>Softmax</c>, <c>ai.onnx.ml:Scaler</c>.</summary>
internal sealed record OnnxNode(string Operator, IReadOnlyList<string> Inputs, IReadOnlyList<string> Outputs, IReadOnlyDictionary<string, OnnxAttribute> Attributes)
{
    public string Text(string name, string otherwise) => Attributes.TryGetValue(name, out var value) && value.Texts is [var one] ? one : otherwise;

    public long Integer(string name, long otherwise) => Attributes.TryGetValue(name, out var value) && value.Integers is [var one] ? one : otherwise;

    public float Float(string name, float otherwise) => Attributes.TryGetValue(name, out var value) && value.Floats is [var one] ? one : otherwise;

    public float[] Floats(string name) => Attributes.TryGetValue(name, out var value) ? [.. value.Floats] : [];

    public long[] Integers(string name) => Attributes.TryGetValue(name, out var value) ? [.. value.Integers] : [];

    public string[] Texts(string name) => Attributes.TryGetValue(name, out var value) ? [.. value.Texts] : [];
}

/// <summary>A node's attribute; a single value is a list of one.</summary>
internal sealed class OnnxAttribute
{
    public List<float> Floats { get; } = [];

    public List<long> Integers { get; } = [];

    public List<string> Texts { get; } = [];

    public OnnxConstant? Tensor { get; set; }
}

/// <summary>A constant tensor of floats or of 32- or 64-bit integers; neither for another type.</summary>
internal sealed record OnnxConstant(long[] Shape, float[]? Floats, long[]? Integers);
