using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using Slipway.Serving.Tensors;

namespace Slipway.Server.Oip;

/// <summary>
/// Writes an inference answer of the Open Inference Protocol into one reused buffer per thread: the JSON, then the raw tensors that were asked
/// for as binary data.
/// </summary>
internal ref struct OipWriter
{
    private const int KeepBytes = 1 << 20;

    [ThreadStatic]
    private static byte[]? reused;

    private byte[] _buffer;
    private int _length;

    private OipWriter(byte[] buffer) => _buffer = buffer;

    /// <summary>
    /// Writes the answer. <paramref name="jsonLength"/> is the JSON's share if binary data follows, else 0. The bytes belong to the thread until the
    /// next answer. Throws <see cref="OipFormatException"/> if a value has no JSON form.
    /// </summary>
    public static ReadOnlyMemory<byte> Write(InferRequest request, InferOutcome outcome, out int jsonLength)
    {
        var writer = new OipWriter(reused ??= new byte[4096]);
        try
        {
            var binary = writer.Json(request, outcome);
            jsonLength = binary ? writer._length : 0;
            for (var i = 0; binary && i < request.Outputs.Count; i++)
            {
                if (request.Outputs[i].Binary)
                {
                    writer.Raw(request.Outputs[i].Data);
                }
            }

            return writer._buffer.AsMemory(0, writer._length);
        }
        finally
        {
            reused = writer._buffer.Length <= KeepBytes ? writer._buffer : null;
        }
    }

    private bool Json(InferRequest request, InferOutcome outcome)
    {
        var binary = false;
        Raw("{"u8);
        if (request.Id is { } id)
        {
            Raw("\"id\":"u8);
            Text(id);
            Raw(","u8);
        }

        Raw("\"model_name\":"u8);
        Text(request.Endpoint);
        Raw(",\"model_version\":"u8);
        Text(outcome.ModelVersion);
        Raw(",\"parameters\":{\"variant\":"u8);
        Text(outcome.Variant);
        Raw("},\"outputs\":["u8);
        for (var i = 0; i < request.Outputs.Count; i++)
        {
            var tensor = request.Outputs[i];
            Raw(i == 0 ? "{\"name\":"u8 : ",{\"name\":"u8);
            Text(tensor.Name);
            Raw(",\"datatype\":\""u8);
            Ascii(tensor.Datatype.Name());
            Raw("\",\"shape\":["u8);
            for (var d = 0; d < tensor.Shape.Length; d++)
            {
                Integer(tensor.Shape[d], d);
            }

            if (tensor.Binary)
            {
                Raw("],\"parameters\":{\"binary_data_size\":"u8);
                Integer(tensor.Length, 0);
                Raw("}}"u8);
                binary |= tensor.Length > 0;
            }
            else
            {
                Raw("],\"data\":["u8);
                Data(tensor);
                Raw("]}"u8);
            }
        }

        Raw("]}"u8);
        return binary;
    }

    private void Data(Tensor tensor)
    {
        switch (tensor.Datatype)
        {
            case Datatype.Fp32:
                var singles = tensor.As<float>();
                for (var i = 0; i < singles.Length; i++)
                {
                    var room = Number(i, float.IsFinite(singles[i]), tensor);
                    singles[i].TryFormat(room, out var written, default, CultureInfo.InvariantCulture);
                    _length += written;
                }

                break;
            case Datatype.Fp64:
                var doubles = tensor.As<double>();
                for (var i = 0; i < doubles.Length; i++)
                {
                    var room = Number(i, double.IsFinite(doubles[i]), tensor);
                    doubles[i].TryFormat(room, out var written, default, CultureInfo.InvariantCulture);
                    _length += written;
                }

                break;
            case Datatype.Int64:
                Integers(tensor.As<long>());
                break;
            case Datatype.Int32:
                Integers(tensor.As<int>());
                break;
            case Datatype.Int16:
                Integers(tensor.As<short>());
                break;
            case Datatype.Int8:
                Integers(tensor.As<sbyte>());
                break;
            case Datatype.UInt64:
                Integers(tensor.As<ulong>());
                break;
            case Datatype.UInt32:
                Integers(tensor.As<uint>());
                break;
            case Datatype.UInt16:
                Integers(tensor.As<ushort>());
                break;
            case Datatype.UInt8:
                Integers(tensor.Data);
                break;
            case Datatype.Bool:
                for (var i = 0; i < tensor.Data.Length; i++)
                {
                    Raw(i == 0 ? ""u8 : ","u8);
                    Raw(tensor.Data[i] != 0 ? "true"u8 : "false"u8);
                }

                break;
            case Datatype.Bytes:
                Strings(tensor);
                break;
            default:
                throw new OipFormatException($"output '{tensor.Name}' of {tensor.Datatype.Name()} cannot be sent as JSON; ask for it with \"binary_data\": true");
        }
    }

    private void Strings(Tensor tensor)
    {
        var data = tensor.Data;
        for (var first = true; data.Length > 0; first = false)
        {
            Raw(first ? ""u8 : ","u8);
            Text(Tensor.TakeBytes(ref data));
        }
    }

    private void Integers<T>(ReadOnlySpan<T> values)
        where T : unmanaged, IUtf8SpanFormattable
    {
        for (var i = 0; i < values.Length; i++)
        {
            var room = Number(i, finite: true, null);
            values[i].TryFormat(room, out var written, default, CultureInfo.InvariantCulture);
            _length += written;
        }
    }

    private void Integer(long value, int position)
    {
        var room = Number(position, finite: true, null);
        value.TryFormat(room, out var written, default, CultureInfo.InvariantCulture);
        _length += written;
    }

    // Room for the longest number after a comma where one is needed.
    private Span<byte> Number(int position, bool finite, Tensor? tensor)
    {
        if (!finite)
        {
            throw new OipFormatException($"output '{tensor!.Name}' holds a value that is not finite, which JSON cannot carry; ask for it with \"binary_data\": true");
        }

        var room = Room(34);
        if (position > 0)
        {
            room[0] = (byte)',';
            _length++;
            room = room[1..];
        }

        return room;
    }

    private void Text(string value)
    {
        if (IsPlain(value))
        {
            Raw("\""u8);
            Ascii(value);
            Raw("\""u8);
        }
        else
        {
            Text(System.Text.Encoding.UTF8.GetBytes(value));
        }
    }

    private void Text(ReadOnlySpan<byte> utf8)
    {
        Raw("\""u8);
        Raw(JsonEncodedText.Encode(utf8, JavaScriptEncoder.UnsafeRelaxedJsonEscaping).EncodedUtf8Bytes);
        Raw("\""u8);
    }

    private static bool IsPlain(string value)
    {
        foreach (var c in value)
        {
            if (c is < ' ' or > '~' or '"' or '\\')
            {
                return false;
            }
        }

        return true;
    }

    private void Ascii(string value)
    {
        var room = Room(value.Length);
        for (var i = 0; i < value.Length; i++)
        {
            room[i] = (byte)value[i];
        }

        _length += value.Length;
    }

    private void Raw(ReadOnlySpan<byte> content)
    {
        content.CopyTo(Room(content.Length));
        _length += content.Length;
    }

    private Span<byte> Room(int bytes)
    {
        if (_buffer.Length - _length < bytes)
        {
            Array.Resize(ref _buffer, (int)Math.Min(Array.MaxLength, Math.Max(_buffer.Length * 2L, checked(_length + bytes))));
        }

        return _buffer.AsSpan(_length);
    }
}
