using System.Globalization;
using System.Runtime.InteropServices;
using Slipway.Foundation;
using Slipway.Serving.Tensors;

namespace Slipway.Server.Oip;

/// <summary>
/// Reads an inference request of the Open Inference Protocol (JSON, binary tensor data, or both) into an <see cref="InferRequest"/>. Nothing
/// here allocates by what a request claims, only by what it holds: a shape of a billion elements in a short body is refused before memory is taken.
/// </summary>
internal static class OipReader
{
    private const int MaxTensors = 4096;

    [ThreadStatic]
    private static byte[]? scratch;

    /// <summary>
    /// Reads a body whose first <paramref name="jsonLength"/> bytes are JSON and whose rest is binary tensor data. Throws
    /// <see cref="OipFormatException"/> with what is wrong. Endpoint and version are the caller's to set.
    /// </summary>
    public static void Read(ReadOnlySpan<byte> body, int jsonLength, InferRequest request)
    {
        var buffer = scratch ??= new byte[1024];
        try
        {
            var json = new JsonScanner(body[..jsonLength]);
            var binary = body[jsonLength..];
            var inputs = false;
            json.Expect((byte)'{');
            if (!json.Try((byte)'}'))
            {
                do
                {
                    var key = json.String(ref buffer);
                    if (key.SequenceEqual("id"u8))
                    {
                        json.Expect((byte)':');
                        request.Id = json.Null() ? null : json.Text(ref buffer);
                    }
                    else if (key.SequenceEqual("inputs"u8))
                    {
                        json.Expect((byte)':');
                        inputs = !inputs ? true : throw json.Fail("'inputs' is given twice");
                        Inputs(ref json, ref buffer, ref binary, request);
                    }
                    else if (key.SequenceEqual("outputs"u8))
                    {
                        json.Expect((byte)':');
                        Outputs(ref json, ref buffer, request);
                    }
                    else if (key.SequenceEqual("parameters"u8))
                    {
                        json.Expect((byte)':');
                        Parameters(ref json, ref buffer, request);
                    }
                    else
                    {
                        json.Expect((byte)':');
                        json.Skip(ref buffer);
                    }
                }
                while (json.More((byte)'}'));
            }

            json.End();
            if (!inputs)
            {
                throw json.Fail("'inputs' is missing");
            }

            if (binary.Length > 0)
            {
                throw new OipFormatException($"{binary.Length} bytes of binary data belong to no input");
            }
        }
        finally
        {
            // One string of megabytes must not stay with the thread.
            scratch = buffer.Length <= 1 << 16 ? buffer : null;
        }
    }

    private static void Inputs(ref JsonScanner json, ref byte[] buffer, ref ReadOnlySpan<byte> binary, InferRequest request)
    {
        json.Expect((byte)'[');
        if (json.Try((byte)']'))
        {
            return;
        }

        do
        {
            if (request.Inputs.Count == MaxTensors)
            {
                throw json.Fail($"a request has at most {MaxTensors} inputs");
            }

            Input(ref json, ref buffer, ref binary, request.Inputs.Add());
        }
        while (json.More((byte)']'));
    }

    private static void Input(ref JsonScanner json, ref byte[] buffer, ref ReadOnlySpan<byte> binary, Tensor tensor)
    {
        var seen = Seen.None;
        var dataAt = -1;
        var binarySize = -1L;
        json.Expect((byte)'{');
        if (!json.Try((byte)'}'))
        {
            do
            {
                var key = json.String(ref buffer);
                if (key.SequenceEqual("name"u8))
                {
                    json.Expect((byte)':');
                    tensor.Name = Interned(json.String(ref buffer), tensor.Name);
                    seen = Once(ref json, seen, Seen.Name, "name");
                }
                else if (key.SequenceEqual("shape"u8))
                {
                    json.Expect((byte)':');
                    Shape(ref json, tensor);
                    seen = Once(ref json, seen, Seen.Shape, "shape");
                }
                else if (key.SequenceEqual("datatype"u8))
                {
                    json.Expect((byte)':');
                    var name = json.String(ref buffer);
                    tensor.Datatype = Datatypes.TryParse(name, out var datatype)
                        ? datatype : throw json.Fail($"'{System.Text.Encoding.UTF8.GetString(name[..Math.Min(20, name.Length)])}' is not a datatype");
                    seen = Once(ref json, seen, Seen.Datatype, "datatype");
                }
                else if (key.SequenceEqual("data"u8))
                {
                    json.Expect((byte)':');
                    seen = Once(ref json, seen, Seen.Data, "data");
                    json.Peek();
                    dataAt = json.Position;
                    // Usual clients send shape and datatype first; only others cost a second pass over the data.
                    if ((seen & (Seen.Shape | Seen.Datatype)) == (Seen.Shape | Seen.Datatype))
                    {
                        Data(ref json, ref buffer, tensor);
                        dataAt = -1;
                    }
                    else
                    {
                        json.Skip(ref buffer);
                    }
                }
                else if (key.SequenceEqual("parameters"u8))
                {
                    json.Expect((byte)':');
                    binarySize = InputParameters(ref json, ref buffer);
                }
                else
                {
                    json.Expect((byte)':');
                    json.Skip(ref buffer);
                }
            }
            while (json.More((byte)'}'));
        }

        if ((seen & Seen.Required) != Seen.Required)
        {
            throw json.Fail($"an input needs name, shape and datatype; '{tensor.Name}' has no {(seen.HasFlag(Seen.Name) ? seen.HasFlag(Seen.Shape) ? "datatype" : "shape" : "name")}");
        }

        if (seen.HasFlag(Seen.Data) == binarySize >= 0)
        {
            throw json.Fail($"input '{tensor.Name}' needs either data or binary_data_size");
        }

        if (dataAt >= 0)
        {
            var end = json.Position;
            json.Position = dataAt;
            Data(ref json, ref buffer, tensor);
            json.Position = end;
        }
        else if (binarySize >= 0)
        {
            Binary(ref json, ref binary, binarySize, tensor);
        }
    }

    private static void Shape(ref JsonScanner json, Tensor tensor)
    {
        Span<long> shape = stackalloc long[Tensor.MaxRank];
        var rank = 0;
        json.Expect((byte)'[');
        if (!json.Try((byte)']'))
        {
            do
            {
                if (rank == shape.Length)
                {
                    throw json.Fail($"a shape has at most {Tensor.MaxRank} dimensions");
                }

                shape[rank++] = json.Integer();
            }
            while (json.More((byte)']'));
        }

        tensor.TrySetShape(shape[..rank]);
        if (tensor.Count < 0)
        {
            throw json.Fail($"the shape [{string.Join(",", shape[..rank].ToArray())}] has a negative dimension or too many elements");
        }
    }

    private static void Data(ref JsonScanner json, ref byte[] buffer, Tensor tensor)
    {
        var (count, datatype) = (tensor.Count, tensor.Datatype);
        if (datatype is Datatype.Fp16 or Datatype.Bf16)
        {
            throw json.Fail($"input '{tensor.Name}' of {datatype.Name()} cannot be sent as JSON; use binary tensor data");
        }

        var sink = new ElementSink(tensor, count);
        if (json.Peek() != '[')
        {
            throw json.Fail($"the data of input '{tensor.Name}' must be an array");
        }

        Elements(ref json, ref buffer, ref sink, tensor.Shape.Length + 3);
        sink.Finish(ref json);
    }

    private static void Elements(ref JsonScanner json, ref byte[] buffer, ref ElementSink sink, int depth)
    {
        if (depth == 0)
        {
            throw json.Fail($"the data of input '{sink.Name}' is nested deeper than its shape");
        }

        json.Expect((byte)'[');
        if (json.Try((byte)']'))
        {
            return;
        }

        do
        {
            if (json.Peek() == '[')
            {
                Elements(ref json, ref buffer, ref sink, depth - 1);
            }
            else
            {
                sink.Add(ref json, ref buffer);
            }
        }
        while (json.More((byte)']'));
    }

    private static void Binary(ref JsonScanner json, ref ReadOnlySpan<byte> binary, long size, Tensor tensor)
    {
        if (size > binary.Length)
        {
            throw json.Fail($"input '{tensor.Name}' claims {size} bytes of binary data, {binary.Length} are left");
        }

        var content = binary[..(int)size];
        if (tensor.Datatype == Datatype.Bytes)
        {
            if (!Tensor.IsWellFormedBytes(content, tensor.Count))
            {
                throw json.Fail($"the binary data of input '{tensor.Name}' does not hold exactly {tensor.Count} elements with their lengths");
            }
        }
        else if (tensor.Count > size || tensor.Count * tensor.Datatype.Size() != size)
        {
            throw json.Fail($"input '{tensor.Name}' has {size} bytes of binary data, its shape and datatype need {(Int128)tensor.Count * tensor.Datatype.Size()}");
        }

        tensor.Set(content);
        binary = binary[(int)size..];
    }

    private static long InputParameters(ref JsonScanner json, ref byte[] buffer)
    {
        var size = -1L;
        json.Expect((byte)'{');
        if (json.Try((byte)'}'))
        {
            return size;
        }

        do
        {
            var key = json.String(ref buffer);
            if (key.SequenceEqual("binary_data_size"u8))
            {
                json.Expect((byte)':');
                size = json.Integer() is var claimed and >= 0 ? claimed : throw json.Fail("binary_data_size cannot be negative");
            }
            else if (key.StartsWith("shared_memory"u8))
            {
                throw OipFormatException.NotSupported("shared memory is not supported; send the data in the request");
            }
            else
            {
                json.Expect((byte)':');
                json.Skip(ref buffer);
            }
        }
        while (json.More((byte)'}'));
        return size;
    }

    private static void Outputs(ref JsonScanner json, ref byte[] buffer, InferRequest request)
    {
        json.Expect((byte)'[');
        if (json.Try((byte)']'))
        {
            return;
        }

        do
        {
            string? name = null;
            bool? binary = null;
            json.Expect((byte)'{');
            if (!json.Try((byte)'}'))
            {
                do
                {
                    var key = json.String(ref buffer);
                    if (key.SequenceEqual("name"u8))
                    {
                        json.Expect((byte)':');
                        name = json.Text(ref buffer);
                    }
                    else if (key.SequenceEqual("parameters"u8))
                    {
                        json.Expect((byte)':');
                        binary = OutputParameters(ref json, ref buffer);
                    }
                    else
                    {
                        json.Expect((byte)':');
                        json.Skip(ref buffer);
                    }
                }
                while (json.More((byte)'}'));
            }

            if (request.RequestedOutputs.Count == MaxTensors)
            {
                throw json.Fail($"a request asks for at most {MaxTensors} outputs");
            }

            request.RequestedOutputs.Add(new(name ?? throw json.Fail("a requested output needs a name"), binary));
        }
        while (json.More((byte)']'));
    }

    private static bool? OutputParameters(ref JsonScanner json, ref byte[] buffer)
    {
        bool? binary = null;
        json.Expect((byte)'{');
        if (json.Try((byte)'}'))
        {
            return null;
        }

        do
        {
            var key = json.String(ref buffer);
            if (key.SequenceEqual("binary_data"u8))
            {
                json.Expect((byte)':');
                binary = json.Boolean() ?? throw json.Fail("binary_data is true or false");
            }
            else if (key.SequenceEqual("classification"u8) || key.StartsWith("shared_memory"u8))
            {
                throw OipFormatException.NotSupported("the classification and shared memory extensions are not supported");
            }
            else
            {
                json.Expect((byte)':');
                json.Skip(ref buffer);
            }
        }
        while (json.More((byte)'}'));
        return binary;
    }

    private static void Parameters(ref JsonScanner json, ref byte[] buffer, InferRequest request)
    {
        json.Expect((byte)'{');
        if (json.Try((byte)'}'))
        {
            return;
        }

        do
        {
            var key = json.String(ref buffer);
            if (key.SequenceEqual("binary_data_output"u8))
            {
                json.Expect((byte)':');
                request.BinaryOutputs = json.Boolean() ?? throw json.Fail("binary_data_output is true or false");
            }
            else if (key.SequenceEqual("entity_key"u8))
            {
                json.Expect((byte)':');
                // Clients whose keys are numbers send numbers; their text is the key.
                request.EntityKey = json.Null() ? null
                    : json.Peek() == '"' ? json.Text(ref buffer) : System.Text.Encoding.ASCII.GetString(json.Number());
            }
            else if (key.SequenceEqual("timeout"u8))
            {
                json.Expect((byte)':');
                request.TimeoutMicros = json.Integer() is var micros and >= 0 ? micros : throw json.Fail("timeout is a number of microseconds and cannot be negative");
            }
            else if (key.SequenceEqual("event_time"u8))
            {
                json.Expect((byte)':');
                request.EventMicros = EventTime(ref json, ref buffer);
            }
            else if (request.WantsAttributes && request.AttributeOf(key) is var place and >= 0)
            {
                json.Expect((byte)':');
                Attribute(ref json, ref buffer, request, place);
            }
            else
            {
                json.Expect((byte)':');
                json.Skip(ref buffer);
            }
        }
        while (json.More((byte)'}'));
    }

    // Lists and objects are no attributes, as the protocol's parameters are texts, numbers and booleans.
    private static void Attribute(ref JsonScanner json, ref byte[] buffer, InferRequest request, int place)
    {
        switch (json.Peek())
        {
            case (byte)'"':
                request.SetAttribute(place, json.String(ref buffer));
                break;
            case (byte)'t' or (byte)'f':
                request.SetAttribute(place, json.Boolean() ?? throw json.Fail("a parameter is a text, a number, true or false"));
                break;
            case (byte)'n' or (byte)'{' or (byte)'[':
                request.ClearAttribute(place);
                json.Skip(ref buffer);
                break;
            default:
                var number = json.Number();
                if (long.TryParse(number, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var whole))
                {
                    request.SetAttribute(place, whole);
                }
                else
                {
                    request.SetAttribute(place, Numbers.TryDouble(number, out var real) ? real : throw json.Fail("a parameter is a text, a number, true or false"));
                }

                break;
        }
    }

    private static long EventTime(ref JsonScanner json, ref byte[] buffer)
    {
        if (json.Peek() != '"')
        {
            return json.Integer();
        }

        return EventTime(json.Text(ref buffer)) ?? throw json.Fail("event_time is a number of Unix microseconds or an RFC 3339 text");
    }

    /// <summary>Unix microseconds of an RFC 3339 text, or null.</summary>
    public static long? EventTime(string text) =>
        DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var at) && text.Length >= 10 ? Time.ToMicros(at) : null;

    private static Seen Once(ref JsonScanner json, Seen seen, Seen now, string what) =>
        seen.HasFlag(now) ? throw json.Fail($"'{what}' is given twice in an input") : seen | now;

    // Names repeat from request to request; a short cache per thread saves their allocation.
    [ThreadStatic]
    private static string[]? names;

    /// <summary>The text of a tensor's name; <paramref name="unset"/> for none.</summary>
    public static string Interned(ReadOnlySpan<byte> utf8, string unset)
    {
        if (utf8.Length is 0 or > 64)
        {
            return utf8.IsEmpty ? unset : ProtoReader.Text(utf8);
        }

        var cache = names ??= new string[64];
        ref var entry = ref cache[(utf8[0] ^ (utf8[^1] * 7) ^ utf8.Length) & 63];
        if (entry is null || !System.Text.Ascii.Equals(utf8, entry))
        {
            entry = ProtoReader.Text(utf8);
        }

        return entry;
    }

    [Flags]
    private enum Seen
    {
        None = 0,
        Name = 1,
        Shape = 2,
        Datatype = 4,
        Data = 8,
        Required = Name | Shape | Datatype,
    }
}

/// <summary>Takes the elements of one tensor from JSON, each checked against its type's range.</summary>
internal ref struct ElementSink
{
    private readonly Tensor _tensor;
    private readonly long _count;
    private Span<byte> _room;
    private long _seen;

    public ElementSink(Tensor tensor, long count)
    {
        (_tensor, _count) = (tensor, count);
        tensor.Allocate(0);
    }

    public readonly string Name => _tensor.Name;

    /// <summary>Takes the next element.</summary>
    public void Add(ref JsonScanner json, ref byte[] buffer)
    {
        if (_seen == _count)
        {
            throw json.Fail($"input '{Name}' has more data than the {_count} elements of its shape");
        }

        _seen++;
        switch (_tensor.Datatype)
        {
            case Datatype.Fp32:
                var text = json.Number();
                Put(Numbers.TrySingle(text, out var single) && (float.IsFinite(single) || IsNamed(text)) ? single : throw OutOfRange(ref json, text));
                break;
            case Datatype.Fp64:
                var wide = json.Number();
                Put(Numbers.TryDouble(wide, out var value) && (double.IsFinite(value) || IsNamed(wide)) ? value : throw OutOfRange(ref json, wide));
                break;
            case Datatype.Bool:
                Put(json.Boolean() ?? json.Integer() switch { 0 => false, 1 => true, var other => throw json.Fail($"{other} is not a BOOL") });
                break;
            case Datatype.Bytes:
                var element = json.String(ref buffer);
                _tensor.AppendElement(element);
                break;
            case Datatype.Int64:
                Put(Integer<long>(ref json));
                break;
            case Datatype.Int32:
                Put(Integer<int>(ref json));
                break;
            case Datatype.Int16:
                Put(Integer<short>(ref json));
                break;
            case Datatype.Int8:
                Put(Integer<sbyte>(ref json));
                break;
            case Datatype.UInt64:
                Put(Integer<ulong>(ref json));
                break;
            case Datatype.UInt32:
                Put(Integer<uint>(ref json));
                break;
            case Datatype.UInt16:
                Put(Integer<ushort>(ref json));
                break;
            case Datatype.UInt8:
                Put(Integer<byte>(ref json));
                break;
            default:
                throw json.Fail($"{_tensor.Datatype.Name()} cannot be sent as JSON");
        }
    }

    /// <summary>Checks that every element came.</summary>
    public readonly void Finish(ref JsonScanner json)
    {
        if (_seen != _count)
        {
            throw json.Fail($"input '{Name}' has {_seen} elements of data, its shape needs {_count}");
        }

        if (_tensor.Datatype != Datatype.Bytes)
        {
            _tensor.Truncate(checked((int)(_seen * _tensor.Datatype.Size())));
        }
    }

    private void Put<T>(T value)
        where T : unmanaged
    {
        var size = _tensor.Datatype.Size();
        if (_room.Length < size)
        {
            // Room grows with what has been read, never with what the shape claims.
            var have = checked((int)((_seen - 1) * size));
            _tensor.Truncate(have);
            _room = _tensor.Extend((int)Math.Min((_count - _seen + 1) * size, Math.Max(1024, (long)have)));
        }

        MemoryMarshal.Write(_room, value);
        _room = _room[size..];
    }

    private readonly T Integer<T>(ref JsonScanner json)
        where T : struct, System.Numerics.IBinaryInteger<T>
    {
        var text = json.Number();
        return T.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) ? value
            // 3.0 and 1e2 are integers too, as JSON has only one kind of number.
            : decimal.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var exact) && exact == decimal.Truncate(exact)
              && exact >= decimal.CreateSaturating(MinOf<T>()) && exact <= decimal.CreateSaturating(MaxOf<T>()) ? T.CreateTruncating(exact)
            : throw OutOfRange(ref json, text);
    }

    private static T MaxOf<T>()
        where T : struct, System.Numerics.IBinaryInteger<T> => T.AllBitsSet < T.Zero ? T.AllBitsSet ^ (T.One << ((System.Runtime.CompilerServices.Unsafe.SizeOf<T>() * 8) - 1)) : T.AllBitsSet;

    private static T MinOf<T>()
        where T : struct, System.Numerics.IBinaryInteger<T> => ~MaxOf<T>() is var min && min < T.Zero ? min : T.Zero;

    private static bool IsNamed(ReadOnlySpan<byte> text) => text.IndexOfAny((byte)'N', (byte)'I') >= 0;

    private readonly OipFormatException OutOfRange(ref JsonScanner json, ReadOnlySpan<byte> text) =>
        json.Fail($"'{System.Text.Encoding.UTF8.GetString(text[..Math.Min(40, text.Length)])}' is not a value of {_tensor.Datatype.Name()} (input '{Name}')");
}
