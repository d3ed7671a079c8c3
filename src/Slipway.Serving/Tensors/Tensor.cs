using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Slipway.Serving.Tensors;

/// <summary>
/// One named tensor in reusable pinned memory: row-major, little-endian, elements of <see cref="Datatypes.Size"/> bytes.
/// BYTES elements are laid out as in the binary extension (uint32 length, then the bytes). Not safe for concurrent use.
/// </summary>
public sealed class Tensor
{
    /// <summary>The most dimensions a tensor may have.</summary>
    public const int MaxRank = 16;

    // A buffer above this size is given back to the collector when the tensor is reset, so that one large request does not stay in the pool.
    private const int KeepBytes = 1 << 20;

    private readonly long[] _shape = new long[MaxRank];
    private byte[] _data = [];
    private int _rank;

    /// <summary>The tensor's name in the model.</summary>
    public string Name { get; set; } = "";

    /// <summary>The element type.</summary>
    public Datatype Datatype { get; set; }

    /// <summary>Whether this output is sent as raw bytes (see the binary tensor extension) rather than as JSON.</summary>
    public bool Binary { get; set; }

    /// <summary>The dimensions; empty for a scalar.</summary>
    public ReadOnlySpan<long> Shape => _shape.AsSpan(0, _rank);

    /// <summary>Bytes in use.</summary>
    public int Length { get; private set; }

    /// <summary>The bytes in use.</summary>
    public ReadOnlySpan<byte> Data => _data.AsSpan(0, Length);

    /// <summary>Elements by the shape; the caller has checked that the product fits.</summary>
    public long Count => Product(Shape);

    /// <summary>Rows: the first dimension, or 1 for a scalar.</summary>
    public long Rows => _rank == 0 ? 1 : _shape[0];

    internal byte[] Buffer => _data;

    internal Span<byte> Writable => _data.AsSpan(0, Length);

    /// <summary>The elements as <typeparamref name="T"/>, whose size must be the datatype's.</summary>
    public ReadOnlySpan<T> As<T>()
        where T : unmanaged => MemoryMarshal.Cast<byte, T>(Data);

    /// <summary>Sets the shape. Returns false if it has more than <see cref="MaxRank"/> dimensions.</summary>
    public bool TrySetShape(ReadOnlySpan<long> shape)
    {
        if (shape.Length > MaxRank)
        {
            return false;
        }

        shape.CopyTo(_shape);
        _rank = shape.Length;
        return true;
    }

    /// <summary>Makes room for <paramref name="bytes"/> bytes and returns them for writing; earlier content is lost.</summary>
    public Span<byte> Allocate(int bytes)
    {
        if (_data.Length < bytes)
        {
            _data = GC.AllocateUninitializedArray<byte>(Capacity(bytes), pinned: true);
        }

        Length = bytes;
        return _data.AsSpan(0, bytes);
    }

    /// <summary>Copies <paramref name="content"/> in.</summary>
    public void Set(ReadOnlySpan<byte> content) => content.CopyTo(Allocate(content.Length));

    /// <summary>Adds bytes at the end, keeping what is there.</summary>
    public Span<byte> Extend(int bytes)
    {
        var needed = checked(Length + bytes);
        if (_data.Length < needed)
        {
            var grown = GC.AllocateUninitializedArray<byte>(Capacity(needed), pinned: true);
            Data.CopyTo(grown);
            _data = grown;
        }

        var tail = _data.AsSpan(Length, bytes);
        Length = needed;
        return tail;
    }

    /// <summary>Keeps only the first bytes.</summary>
    public void Truncate(int bytes) => Length = bytes <= Length ? bytes : throw new ArgumentOutOfRangeException(nameof(bytes), bytes, $"the tensor has {Length} bytes");

    /// <summary>Adds one BYTES element at the end.</summary>
    public void AppendElement(ReadOnlySpan<byte> content)
    {
        var room = Extend(4 + content.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(room, (uint)content.Length);
        content.CopyTo(room[4..]);
    }

    /// <summary>Forgets name, shape and content; keeps a small buffer for the next use.</summary>
    public void Reset()
    {
        Name = "";
        Binary = false;
        _rank = 0;
        Length = 0;
        if (_data.Length > KeepBytes)
        {
            _data = [];
        }
    }

    /// <summary>The product of the dimensions, or -1 if one is negative or the product does not fit in 63 bits.</summary>
    public static long Product(ReadOnlySpan<long> shape)
    {
        var product = 1L;
        foreach (var dimension in shape)
        {
            // A zero anywhere makes the tensor empty, whatever the other dimensions say, as long as none is negative.
            if (dimension < 0 || (product != 0 && dimension > long.MaxValue / product))
            {
                return -1;
            }

            product *= dimension;
        }

        return product;
    }

    /// <summary>Takes the first element off a well-formed BYTES buffer that is not empty.</summary>
    public static ReadOnlySpan<byte> TakeBytes(scoped ref ReadOnlySpan<byte> data)
    {
        var length = (int)BinaryPrimitives.ReadUInt32LittleEndian(data);
        var element = data.Slice(4, length);
        data = data[(4 + length)..];
        return element;
    }

    /// <summary>Walks the elements of a BYTES buffer; false if one is truncated or the count differs from <paramref name="count"/>.</summary>
    public static bool IsWellFormedBytes(ReadOnlySpan<byte> data, long count)
    {
        var seen = 0L;
        while (data.Length > 0)
        {
            if (data.Length < 4)
            {
                return false;
            }

            var length = BinaryPrimitives.ReadUInt32LittleEndian(data);
            if (length > (uint)(data.Length - 4))
            {
                return false;
            }

            data = data[(4 + (int)length)..];
            seen++;
        }

        return seen == count;
    }

    // Powers of two up to 1 MiB keep the pool's buffers reusable for growing requests; above that the exact size keeps memory bounded.
    private static int Capacity(int bytes) =>
        bytes <= 256 ? 256 : bytes <= KeepBytes ? (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)bytes) : bytes;
}
