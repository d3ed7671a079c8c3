using System.Runtime.Intrinsics;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// The serialised form that all sketches share: `SKT`, one byte of version, one byte of kind, then the sketch's configuration and content,
/// little-endian. A reader refuses what it does not know; a merge refuses a sketch of another configuration.
/// </summary>
internal static class SketchForm
{
    public const byte Version = 1;
    public const byte Kll = 1;
    public const byte Dd = 2;
    public const byte Distinct = 3;
    public const byte Items = 4;
    public const byte Column = 5;
    public const byte Stream = 6;
    public const byte LabelStream = 7;

    public static void WriteHead(BinaryWriter to, byte kind)
    {
        to.Write("SKT"u8);
        to.Write(Version);
        to.Write(kind);
    }

    /// <exception cref="SlipwayException">DataLoss when the bytes are not a sketch of this kind and version.</exception>
    public static void ReadHead(BinaryReader from, byte kind)
    {
        Span<byte> head = stackalloc byte[5];
        int read = from.Read(head);
        if (read < 5 || !head[..3].SequenceEqual("SKT"u8))
        {
            throw Broken("it does not begin like one");
        }

        if (head[3] != Version)
        {
            throw Broken($"its form has version {head[3]}, this program reads version {Version}");
        }

        if (head[4] != kind)
        {
            throw Broken($"it is of kind {head[4]}, {kind} was expected");
        }
    }

    public static byte[] Write(Action<BinaryWriter> body)
    {
        using var bytes = new MemoryStream();
        using (var to = new BinaryWriter(bytes))
        {
            body(to);
        }

        return bytes.ToArray();
    }

    public static T Read<T>(ReadOnlyMemory<byte> bytes, Func<BinaryReader, T> body)
    {
        using var from = new BinaryReader(new MemoryStream(bytes.ToArray()));
        try
        {
            return body(from);
        }
        catch (EndOfStreamException)
        {
            throw Broken("it ends too early");
        }
    }

    public static SlipwayException Broken(string why) => new(ErrorCode.DataLoss, "the sketch cannot be read", why, "rebuild it from the rows");

    public static SlipwayException Unlike(string what, object mine, object other) =>
        SlipwayException.Invalid("the sketches cannot be merged", $"{what} is {mine} here and {other} there", "build both with one configuration");

    /// <summary>A bijection of 64 bits in which every input bit reaches every output bit (the finaliser of SplitMix64, Stafford's variant 13).</summary>
    public static ulong Mix(ulong x)
    {
        x ^= x >> 30;
        x *= 0xbf58476d1ce4e5b9;
        x ^= x >> 27;
        x *= 0x94d049bb133111eb;
        return x ^ (x >> 31);
    }

    /// <summary>The hash of a number; 0.0 and -0.0 are one value. It is a bijection, so that different numbers never collide.</summary>
    public static ulong Hash(double value) => Mix(BitConverter.DoubleToUInt64Bits(value + 0.0) + 0x9e3779b97f4a7c15);

    /// <summary>The hashes of eight numbers, the same as one by one.</summary>
    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveInlining)]
    public static Vector512<ulong> Hash(Vector512<double> values)
    {
        Vector512<ulong> x = Vector512.AsUInt64(values + Vector512<double>.Zero) + Vector512.Create(0x9e3779b97f4a7c15UL);
        x ^= x >>> 30;
        x *= Vector512.Create(0xbf58476d1ce4e5b9UL);
        x ^= x >>> 27;
        x *= Vector512.Create(0x94d049bb133111ebUL);
        return x ^ (x >>> 31);
    }

    /// <summary>The hash of a text.</summary>
    public static ulong Hash(string text) => System.IO.Hashing.XxHash64.HashToUInt64(System.Runtime.InteropServices.MemoryMarshal.AsBytes(text.AsSpan()));
}
