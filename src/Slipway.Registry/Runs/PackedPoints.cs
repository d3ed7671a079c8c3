using System.Buffers;
using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace Slipway.Registry;

/// <summary>A point without its key, in the order of a history: by time, step and value; NaN stands after all numbers.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct Point(long TimestampMs, long Step, double Value) : IComparable<Point>
{
    /// <summary>The value as an integer in the same order, negative zero before zero, NaN last.</summary>
    public long Bits => double.IsNaN(Value) ? long.MaxValue : BitConverter.DoubleToInt64Bits(Value) is var bits && bits < 0 ? bits ^ long.MaxValue : bits;

    public int CompareTo(Point other)
    {
        var order = TimestampMs.CompareTo(other.TimestampMs);
        order = order != 0 ? order : Step.CompareTo(other.Step);
        return order != 0 ? order : Bits.CompareTo(other.Bits);
    }

    /// <summary>Whether it is the latest of the two: by step, time and value; a number beats NaN, so that NaN never hides it.</summary>
    public bool IsLaterThan(Point other)
    {
        var order = Step.CompareTo(other.Step);
        order = order != 0 ? order : TimestampMs.CompareTo(other.TimestampMs);
        order = order != 0 ? order : double.IsNaN(other.Value).CompareTo(double.IsNaN(Value));
        return (order != 0 ? order : Value.CompareTo(other.Value)) > 0;
    }
}

/// <summary>
/// Points as bytes. A series: for each point the differences of time and step to the one before as zigzag variable-length
/// integers, and the value as 8 bytes, little-endian. A batch: byte 1, then for each key its length, its UTF-8 text, the number
/// of its points, and those.
/// </summary>
/// <remarks>A batch that begins with the letter L is one point of an older schema as text: key, time, step and value between unit separators.</remarks>
internal static class PackedPoints
{
    private const byte Version = 1;
    private const byte Older = (byte)'L';
    private const char Separator = '\u001f';

    public static byte[] Batch(IReadOnlyList<MetricPoint> points)
    {
        var bytes = new ArrayBufferWriter<byte>(32 + (points.Count * 14));
        bytes.Write([Version]);
        if (points.Count == 1)
        {
            WriteKey(bytes, points[0].Key, 1);
            Series(bytes, [Of(points[0])]);
            return bytes.WrittenSpan.ToArray();
        }

        // Clients send either key by key or step by step; a stable sort by first appearance groups both.
        var order = new Dictionary<string, int>(StringComparer.Ordinal);
        var groups = new List<List<Point>>();
        foreach (var point in points)
        {
            if (!order.TryGetValue(point.Key, out var group))
            {
                order.Add(point.Key, group = groups.Count);
                groups.Add(new List<Point>(8));
            }

            groups[group].Add(Of(point));
        }

        foreach (var (key, group) in order)
        {
            WriteKey(bytes, key, groups[group].Count);
            Series(bytes, CollectionsMarshal.AsSpan(groups[group]));
        }

        return bytes.WrittenSpan.ToArray();
    }

    public static byte[] Series(ReadOnlySpan<Point> points)
    {
        var bytes = new ArrayBufferWriter<byte>(points.Length * 14);
        Series(bytes, points);
        return bytes.WrittenSpan.ToArray();
    }

    /// <summary>Adds the points of a batch to the lists of their keys.</summary>
    public static void ReadBatch(ReadOnlySpan<byte> bytes, Func<string, List<Point>> listOf)
    {
        if (bytes[0] == Older)
        {
            var parts = Encoding.UTF8.GetString(bytes[1..]).Split(Separator);
            listOf(parts[0]).Add(new Point(long.Parse(parts[1], CultureInfo.InvariantCulture), long.Parse(parts[2], CultureInfo.InvariantCulture), ReadOlder(parts[3])));
            return;
        }

        if (bytes[0] != Version)
        {
            throw new SlipwayException(ErrorCode.DataLoss, "points of a run cannot be read", $"their form {bytes[0]} is unknown");
        }

        for (var at = 1; at < bytes.Length;)
        {
            var length = (int)ReadVariable(bytes, ref at);
            var key = Encoding.UTF8.GetString(bytes.Slice(at, length));
            at += length;
            var count = (int)ReadVariable(bytes, ref at);
            Read(bytes, ref at, count, listOf(key));
        }
    }

    /// <summary>All points of a chunk, in order.</summary>
    public static void ReadSeries(ReadOnlySpan<byte> bytes, List<Point> points)
    {
        var before = default(Point);
        for (var at = 0; at < bytes.Length;)
        {
            Read(bytes, ref at, 1, points, before);
            before = points[^1];
        }
    }

    private static double ReadOlder(string text) => text switch
    {
        "Inf" or "+Inf" or "Infinity" => double.PositiveInfinity,
        "-Inf" or "-Infinity" => double.NegativeInfinity,
        _ => double.Parse(text, CultureInfo.InvariantCulture),
    };

    private static Point Of(MetricPoint point) => new(point.TimestampMs, point.Step, point.Value);

    private static void Series(ArrayBufferWriter<byte> bytes, ReadOnlySpan<Point> points)
    {
        var span = bytes.GetSpan(points.Length * 28);
        var at = 0;
        var before = default(Point);
        foreach (var point in points)
        {
            WriteVariable(span, ref at, ZigZag(unchecked(point.TimestampMs - before.TimestampMs)));
            WriteVariable(span, ref at, ZigZag(unchecked(point.Step - before.Step)));
            BinaryPrimitives.WriteDoubleLittleEndian(span[at..], point.Value);
            at += 8;
            before = point;
        }

        bytes.Advance(at);
    }

    private static void Read(ReadOnlySpan<byte> bytes, ref int at, int count, List<Point> points, Point before = default)
    {
        for (var i = 0; i < count; i++)
        {
            var time = unchecked(before.TimestampMs + UnZigZag(ReadVariable(bytes, ref at)));
            var step = unchecked(before.Step + UnZigZag(ReadVariable(bytes, ref at)));
            before = new Point(time, step, BinaryPrimitives.ReadDoubleLittleEndian(bytes[at..]));
            at += 8;
            points.Add(before);
        }
    }

    private static void WriteKey(ArrayBufferWriter<byte> bytes, string key, int count)
    {
        var length = Encoding.UTF8.GetByteCount(key);
        var span = bytes.GetSpan(length + 20);
        var at = 0;
        WriteVariable(span, ref at, (ulong)length);
        at += Encoding.UTF8.GetBytes(key, span[at..]);
        WriteVariable(span, ref at, (ulong)count);
        bytes.Advance(at);
    }

    private static ulong ZigZag(long value) => (ulong)((value << 1) ^ (value >> 63));

    private static long UnZigZag(ulong value) => (long)(value >> 1) ^ -(long)(value & 1);

    private static void WriteVariable(Span<byte> span, ref int at, ulong value)
    {
        for (; value >= 0x80; value >>= 7)
        {
            span[at++] = (byte)(value | 0x80);
        }

        span[at++] = (byte)value;
    }

    private static ulong ReadVariable(ReadOnlySpan<byte> bytes, ref int at)
    {
        ulong value = 0;
        for (var shift = 0; ; shift += 7)
        {
            var b = bytes[at++];
            value |= (ulong)(b & 0x7F) << shift;
            if (b < 0x80)
            {
                return value;
            }
        }
    }
}
