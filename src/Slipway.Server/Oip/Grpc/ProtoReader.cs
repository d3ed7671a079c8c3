using System.Buffers.Binary;
using System.Text;

namespace Slipway.Server.Oip;

/// <summary>A forward reader of one protobuf message in memory. What the caller does not take it must <see cref="Skip"/>; every length is checked.</summary>
internal ref struct ProtoReader(ReadOnlySpan<byte> message)
{
    public const int Varint = 0;
    public const int Fixed64 = 1;
    public const int Delimited = 2;
    public const int Fixed32 = 5;

    private ReadOnlySpan<byte> _rest = message;

    /// <summary>Whether anything is left.</summary>
    public readonly bool More => !_rest.IsEmpty;

    /// <summary>Takes the next field's number and wire type; false at the end.</summary>
    public bool Next(out int field, out int wire)
    {
        if (_rest.IsEmpty)
        {
            (field, wire) = (0, 0);
            return false;
        }

        var tag = UInt64();
        (field, wire) = ((int)(tag >> 3), (int)(tag & 7));
        return tag is > 7 and <= uint.MaxValue ? true : throw Broken("a field number");
    }

    /// <summary>Takes a varint.</summary>
    public ulong UInt64()
    {
        var value = 0UL;
        for (var i = 0; i < _rest.Length && i < 10; i++)
        {
            var next = _rest[i];
            value |= (ulong)(next & 0x7F) << (7 * i);
            if (next < 0x80)
            {
                _rest = _rest[(i + 1)..];
                return value;
            }
        }

        throw Broken("a number");
    }

    /// <summary>Takes a length and that many bytes.</summary>
    public ReadOnlySpan<byte> Bytes()
    {
        var length = UInt64();
        return length <= (ulong)_rest.Length ? Take((int)length) : throw Broken($"a field of {length} bytes, of which {_rest.Length} are there");
    }

    /// <summary>Takes a fixed 64-bit value.</summary>
    public ulong Bits64() => BinaryPrimitives.ReadUInt64LittleEndian(_rest.Length >= 8 ? Take(8) : throw Broken("eight bytes"));

    /// <summary>Takes a fixed 32-bit value.</summary>
    public uint Bits32() => BinaryPrimitives.ReadUInt32LittleEndian(_rest.Length >= 4 ? Take(4) : throw Broken("four bytes"));

    /// <summary>Takes a text.</summary>
    public string Text() => Text(Bytes());

    /// <summary>Forgets a field.</summary>
    public void Skip(int wire)
    {
        switch (wire)
        {
            case Varint:
                UInt64();
                break;
            case Delimited:
                Bytes();
                break;
            case Fixed64 or Fixed32 when _rest.Length >= (wire == Fixed64 ? 8 : 4):
                Take(wire == Fixed64 ? 8 : 4);
                break;
            default:
                throw Broken($"wire type {wire}");
        }
    }

    /// <summary>A text of UTF-8 bytes.</summary>
    public static string Text(ReadOnlySpan<byte> utf8) =>
        utf8.IsEmpty ? "" : System.Text.Unicode.Utf8.IsValid(utf8) ? Encoding.UTF8.GetString(utf8) : throw new OipFormatException("a text in the message is not UTF-8");

    private static OipFormatException Broken(string what) => new($"the message is not valid protobuf: it breaks off at {what}");

    private ReadOnlySpan<byte> Take(int bytes)
    {
        var taken = _rest[..bytes];
        _rest = _rest[bytes..];
        return taken;
    }
}
