using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Slipway.Foundation;
using Slipway.Serving;
using Slipway.Serving.Tensors;

namespace Slipway.Server.Oip;

/// <summary>
/// Reads a ModelInferRequest straight from the wire into an <see cref="InferRequest"/>: no message objects, one copy of the tensors.
/// Memory follows what the message holds, never what its shapes claim.
/// </summary>
internal static class GrpcReader
{
    private const int MaxTensors = 4096;

    /// <summary>Places of raw contents in the message; they may come before the inputs they belong to.</summary>
    [ThreadStatic]
    private static List<(int Start, int Length)>? places;

    /// <summary>Fills the request from a message that may lie in several pieces.</summary>
    public static (ErrorCode Code, string Message)? Read(ReadOnlySequence<byte> message, Endpoints endpoints, InferRequest request, out bool final)
    {
        if (message.IsSingleSegment)
        {
            return Read(message.FirstSpan, endpoints, request, out final);
        }

        var joined = ArrayPool<byte>.Shared.Rent((int)message.Length);
        try
        {
            message.CopyTo(joined);
            return Read(joined.AsSpan(0, (int)message.Length), endpoints, request, out final);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(joined);
        }
    }

    /// <summary>
    /// Fills the request. Returns null, or why it cannot be answered. <paramref name="final"/> tells that a stream's client wants to be told that a
    /// response is its request's last.
    /// </summary>
    public static (ErrorCode Code, string Message)? Read(ReadOnlySpan<byte> message, Endpoints endpoints, InferRequest request, out bool final)
    {
        final = false;
        try
        {
            ReadOnlySpan<byte> model = default;
            var raw = places ??= [];
            raw.Clear();
            var typed = 0;
            var others = false;
            var reader = new ProtoReader(message);
            while (reader.Next(out var field, out var wire))
            {
                switch (field, wire)
                {
                    case (1, ProtoReader.Delimited):
                        model = reader.Bytes();
                        break;
                    case (2, ProtoReader.Delimited):
                        request.Version = reader.Text() is { Length: > 0 } version ? version : null;
                        break;
                    case (3, ProtoReader.Delimited):
                        request.Id = reader.Text() is { Length: > 0 } id ? id : null;
                        break;
                    case (4, ProtoReader.Delimited):
                        others |= !Parameter(reader.Bytes(), request, ref final);
                        break;
                    case (5, ProtoReader.Delimited):
                        typed += Input(reader.Bytes(), request) ? 1 : 0;
                        break;
                    case (6, ProtoReader.Delimited):
                        Output(reader.Bytes(), request);
                        break;
                    case (7, ProtoReader.Delimited):
                        var content = reader.Bytes();
                        raw.Add((Offset(message, content), content.Length));
                        break;
                    default:
                        reader.Skip(wire);
                        break;
                }
            }

            Raw(message, raw, typed, request);
            if (Name(model, endpoints, request) is { } unknown)
            {
                return (ErrorCode.NotFound, unknown);
            }

            // Which attributes are wanted is known with the endpoint only, and fields may come in any order.
            if (others && request.WantsAttributes)
            {
                Attributes(message, request);
            }

            return null;
        }
        catch (OipFormatException fault)
        {
            return (fault.Code, fault.Message);
        }
    }

    private static string? Name(ReadOnlySpan<byte> utf8, Endpoints endpoints, InferRequest request)
    {
        Span<char> name = stackalloc char[128];
        if (utf8.Length <= name.Length && System.Text.Encoding.UTF8.TryGetChars(utf8, name, out var length) && endpoints.Address(request, name[..length]))
        {
            return null;
        }

        return $"there is no endpoint '{System.Text.Encoding.UTF8.GetString(utf8[..Math.Min(utf8.Length, 128)])}'";
    }

    private static void Raw(ReadOnlySpan<byte> message, List<(int Start, int Length)> raw, int typed, InferRequest request)
    {
        var inputs = request.Inputs;
        if (raw.Count == 0)
        {
            for (var i = 0; i < inputs.Count && typed < inputs.Count; i++)
            {
                // An empty tensor needs no contents at all.
                if (inputs[i].Length == 0 && inputs[i].Count != 0)
                {
                    throw new OipFormatException($"input '{inputs[i].Name}' has no contents");
                }
            }

            return;
        }

        if (typed > 0)
        {
            throw new OipFormatException("a request has either raw_input_contents or typed contents, not both");
        }

        if (raw.Count != inputs.Count)
        {
            throw new OipFormatException($"there are {raw.Count} raw_input_contents for {inputs.Count} inputs");
        }

        for (var i = 0; i < raw.Count; i++)
        {
            var tensor = inputs[i];
            var content = message.Slice(raw[i].Start, raw[i].Length);
            if (tensor.Datatype == Datatype.Bytes)
            {
                if (!Tensor.IsWellFormedBytes(content, tensor.Count))
                {
                    throw new OipFormatException($"the raw contents of input '{tensor.Name}' do not hold exactly {tensor.Count} elements with their lengths");
                }
            }
            else if (tensor.Count > content.Length || tensor.Count * tensor.Datatype.Size() != content.Length)
            {
                throw new OipFormatException($"input '{tensor.Name}' has {content.Length} bytes of raw contents, its shape and datatype need {(Int128)tensor.Count * tensor.Datatype.Size()}");
            }

            tensor.Set(content);
        }
    }

    /// <summary>Adds one input; true if it has typed contents.</summary>
    private static bool Input(ReadOnlySpan<byte> message, InferRequest request)
    {
        if (request.Inputs.Count == MaxTensors)
        {
            throw new OipFormatException($"a request has at most {MaxTensors} inputs");
        }

        var tensor = request.Inputs.Add();
        ReadOnlySpan<byte> contents = default, datatype = default;
        Span<long> shape = stackalloc long[Tensor.MaxRank];
        var rank = 0;
        var reader = new ProtoReader(message);
        while (reader.Next(out var field, out var wire))
        {
            switch (field, wire)
            {
                case (1, ProtoReader.Delimited):
                    tensor.Name = OipReader.Interned(reader.Bytes(), "");
                    break;
                case (2, ProtoReader.Delimited):
                    datatype = reader.Bytes();
                    break;
                case (3, ProtoReader.Delimited):
                    var packed = new ProtoReader(reader.Bytes());
                    while (packed.More)
                    {
                        Dimension(packed.UInt64(), shape, ref rank);
                    }

                    break;
                case (3, ProtoReader.Varint):
                    Dimension(reader.UInt64(), shape, ref rank);
                    break;
                case (4, ProtoReader.Delimited):
                    InputParameter(reader.Bytes());
                    break;
                case (5, ProtoReader.Delimited):
                    contents = reader.Bytes();
                    break;
                default:
                    reader.Skip(wire);
                    break;
            }
        }

        tensor.Datatype = Datatypes.TryParse(datatype, out var known)
            ? known : throw new OipFormatException($"'{System.Text.Encoding.UTF8.GetString(datatype[..Math.Min(20, datatype.Length)])}' is not a datatype (input '{tensor.Name}')");
        tensor.TrySetShape(shape[..rank]);
        if (tensor.Count < 0)
        {
            throw new OipFormatException($"the shape [{string.Join(",", shape[..rank].ToArray())}] of input '{tensor.Name}' has a negative dimension or too many elements");
        }

        if (contents.Length > 0)
        {
            Typed(contents, tensor);
            return true;
        }

        return false;
    }

    private static void Dimension(ulong value, Span<long> shape, ref int rank)
    {
        if (rank == shape.Length)
        {
            throw new OipFormatException($"a shape has at most {Tensor.MaxRank} dimensions");
        }

        shape[rank++] = (long)value;
    }

    /// <summary>Typed contents: one repeated field, which the datatype names.</summary>
    private static void Typed(ReadOnlySpan<byte> contents, Tensor tensor)
    {
        var wanted = tensor.Datatype switch
        {
            Datatype.Bool => 1,
            Datatype.Int8 or Datatype.Int16 or Datatype.Int32 => 2,
            Datatype.Int64 => 3,
            Datatype.UInt8 or Datatype.UInt16 or Datatype.UInt32 => 4,
            Datatype.UInt64 => 5,
            Datatype.Fp32 => 6,
            Datatype.Fp64 => 7,
            Datatype.Bytes => 8,
            _ => throw new OipFormatException($"input '{tensor.Name}' of {tensor.Datatype.Name()} has no typed contents; use raw_input_contents"),
        };
        tensor.Allocate(0);
        var elements = 0L;
        var reader = new ProtoReader(contents);
        while (reader.Next(out var field, out var wire))
        {
            if (field is < 1 or > 8)
            {
                reader.Skip(wire);
                continue;
            }

            if (field != wanted)
            {
                throw new OipFormatException($"input '{tensor.Name}' is {tensor.Datatype.Name()}, its contents are in the field of another type");
            }

            switch (field, wire)
            {
                case (8, ProtoReader.Delimited):
                    tensor.AppendElement(reader.Bytes());
                    elements++;
                    break;
                case (6, ProtoReader.Delimited) or (7, ProtoReader.Delimited):
                    // Packed floating-point numbers lie in the message as they lie in the tensor.
                    var block = reader.Bytes();
                    if (block.Length % tensor.Datatype.Size() != 0)
                    {
                        throw new OipFormatException($"the contents of input '{tensor.Name}' end within an element");
                    }

                    block.CopyTo(tensor.Extend(block.Length));
                    elements += block.Length / tensor.Datatype.Size();
                    break;
                case (6, ProtoReader.Fixed32):
                    BinaryPrimitives.WriteUInt32LittleEndian(tensor.Extend(4), reader.Bits32());
                    elements++;
                    break;
                case (7, ProtoReader.Fixed64):
                    BinaryPrimitives.WriteUInt64LittleEndian(tensor.Extend(8), reader.Bits64());
                    elements++;
                    break;
                case ( <= 5, ProtoReader.Delimited):
                    var packed = new ProtoReader(reader.Bytes());
                    while (packed.More)
                    {
                        Integer(packed.UInt64(), tensor);
                        elements++;
                    }

                    break;
                case ( <= 5, ProtoReader.Varint):
                    Integer(reader.UInt64(), tensor);
                    elements++;
                    break;
                default:
                    throw new OipFormatException($"the contents of input '{tensor.Name}' cannot be read");
            }

            if (elements > tensor.Count)
            {
                break;
            }
        }

        if (elements != tensor.Count)
        {
            throw new OipFormatException($"input '{tensor.Name}' has {(elements > tensor.Count ? "more than " : "")}{Math.Min(elements, tensor.Count)} elements of contents, its shape needs {tensor.Count}");
        }
    }

    private static void Integer(ulong bits, Tensor tensor)
    {
        var signed = (long)bits;
        var fits = tensor.Datatype switch
        {
            Datatype.Bool => bits <= 1,
            Datatype.Int8 => signed is >= sbyte.MinValue and <= sbyte.MaxValue,
            Datatype.Int16 => signed is >= short.MinValue and <= short.MaxValue,
            Datatype.Int32 => signed is >= int.MinValue and <= int.MaxValue,
            Datatype.UInt8 => bits <= byte.MaxValue,
            Datatype.UInt16 => bits <= ushort.MaxValue,
            Datatype.UInt32 => bits <= uint.MaxValue,
            _ => true,
        };
        if (!fits)
        {
            throw new OipFormatException($"{(tensor.Datatype is Datatype.Int8 or Datatype.Int16 or Datatype.Int32 ? $"{signed}" : $"{bits}")} is not a value of {tensor.Datatype.Name()} (input '{tensor.Name}')");
        }

        // Little-endian: the low bytes of the number are the element.
        Span<byte> wide = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(wide, bits);
        var size = tensor.Datatype.Size();
        wide[..size].CopyTo(tensor.Extend(size));
    }

    private static void InputParameter(ReadOnlySpan<byte> entry)
    {
        if (Key(entry, out _).StartsWith("shared_memory"u8))
        {
            throw OipFormatException.NotSupported("shared memory is not supported; send the data in the request");
        }
    }

    private static void Output(ReadOnlySpan<byte> message, InferRequest request)
    {
        string? name = null;
        var reader = new ProtoReader(message);
        while (reader.Next(out var field, out var wire))
        {
            switch (field, wire)
            {
                case (1, ProtoReader.Delimited):
                    name = OipReader.Interned(reader.Bytes(), "");
                    break;
                case (2, ProtoReader.Delimited):
                    var key = Key(reader.Bytes(), out _);
                    if (key.SequenceEqual("classification"u8) || key.StartsWith("shared_memory"u8))
                    {
                        throw OipFormatException.NotSupported("the classification and shared memory extensions are not supported");
                    }

                    break;
                default:
                    reader.Skip(wire);
                    break;
            }
        }

        if (request.RequestedOutputs.Count == MaxTensors)
        {
            throw new OipFormatException($"a request asks for at most {MaxTensors} outputs");
        }

        request.RequestedOutputs.Add(new(name ?? throw new OipFormatException("a requested output needs a name"), true));
    }

    private static void Attributes(ReadOnlySpan<byte> message, InferRequest request)
    {
        var reader = new ProtoReader(message);
        while (reader.Next(out var field, out var wire))
        {
            if ((field, wire) != (4, ProtoReader.Delimited))
            {
                reader.Skip(wire);
            }
            else if (Key(reader.Bytes(), out var value) is var key && request.AttributeOf(key) is var place and >= 0)
            {
                Attribute(value, request, place);
            }
        }
    }

    private static void Attribute(ReadOnlySpan<byte> parameter, InferRequest request, int place)
    {
        request.ClearAttribute(place);
        var reader = new ProtoReader(parameter);
        while (reader.Next(out var field, out var wire))
        {
            switch (field, wire)
            {
                case (1, ProtoReader.Varint):
                    request.SetAttribute(place, reader.UInt64() != 0);
                    break;
                case (2, ProtoReader.Varint):
                    request.SetAttribute(place, (long)reader.UInt64());
                    break;
                case (3, ProtoReader.Delimited):
                    request.SetAttribute(place, reader.Bytes());
                    break;
                case (4, ProtoReader.Fixed64):
                    request.SetAttribute(place, BitConverter.UInt64BitsToDouble(reader.Bits64()));
                    break;
                case (5, ProtoReader.Varint):
                    // Beyond the range of a long it is compared as a double.
                    var number = reader.UInt64();
                    if (number <= long.MaxValue)
                    {
                        request.SetAttribute(place, (long)number);
                    }
                    else
                    {
                        request.SetAttribute(place, (double)number);
                    }

                    break;
                default:
                    reader.Skip(wire);
                    break;
            }
        }
    }

    /// <summary>Takes a parameter that has a meaning of its own; false for all others.</summary>
    private static bool Parameter(ReadOnlySpan<byte> entry, InferRequest request, ref bool final)
    {
        var key = Key(entry, out var value);
        if (key.SequenceEqual("entity_key"u8))
        {
            // Clients whose keys are numbers send numbers; their text is the key.
            request.EntityKey = Value(value) switch { (_, { } text) => text, ({ } number, _) => $"{number}", _ => throw new OipFormatException("entity_key is a text or an integer") };
        }
        else if (key.SequenceEqual("event_time"u8))
        {
            request.EventMicros = Value(value) switch
            {
                ({ } micros, _) => micros,
                (_, { } text) => OipReader.EventTime(text) ?? throw new OipFormatException("event_time is a number of Unix microseconds or an RFC 3339 text"),
                _ => throw new OipFormatException("event_time is a number of Unix microseconds or an RFC 3339 text"),
            };
        }
        else if (key.SequenceEqual("timeout"u8))
        {
            request.TimeoutMicros = Value(value).Number is { } micros and >= 0 ? micros : throw new OipFormatException("timeout is a number of microseconds and cannot be negative");
        }
        else if (key.SequenceEqual("triton_enable_empty_final_response"u8))
        {
            // bool_param = true on the wire.
            final = value.SequenceEqual((ReadOnlySpan<byte>)[8, 1]);
        }
        else
        {
            return false;
        }

        return true;
    }

    /// <summary>An integer or text parameter; neither for the other kinds.</summary>
    private static (long? Number, string? Text) Value(ReadOnlySpan<byte> parameter)
    {
        (long?, string?) value = default;
        var reader = new ProtoReader(parameter);
        while (reader.Next(out var field, out var wire))
        {
            switch (field, wire)
            {
                case (2 or 5, ProtoReader.Varint):
                    value = ((long)reader.UInt64(), null);
                    break;
                case (3, ProtoReader.Delimited):
                    value = (null, reader.Text());
                    break;
                default:
                    reader.Skip(wire);
                    break;
            }
        }

        return value;
    }

    /// <summary>The key of a map entry, and its value.</summary>
    private static ReadOnlySpan<byte> Key(ReadOnlySpan<byte> entry, out ReadOnlySpan<byte> value)
    {
        ReadOnlySpan<byte> key = default;
        value = default;
        var reader = new ProtoReader(entry);
        while (reader.Next(out var field, out var wire))
        {
            switch (field, wire)
            {
                case (1, ProtoReader.Delimited):
                    key = reader.Bytes();
                    break;
                case (2, ProtoReader.Delimited):
                    value = reader.Bytes();
                    break;
                default:
                    reader.Skip(wire);
                    break;
            }
        }

        return key;
    }

    private static int Offset(ReadOnlySpan<byte> whole, ReadOnlySpan<byte> part) =>
        part.IsEmpty ? 0 : (int)System.Runtime.CompilerServices.Unsafe.ByteOffset(ref MemoryMarshal.GetReference(whole), ref MemoryMarshal.GetReference(part));
}
