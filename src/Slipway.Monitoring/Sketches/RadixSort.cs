using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Slipway.Monitoring;

/// <summary>
/// Sorts many doubles by their bits, eight at a time: several times faster than comparing, and the same result. More bits a pass would need more
/// buckets than the processor keeps page translations for.
/// </summary>
internal static class RadixSort
{
    private const int Bits = 8;
    private const int Buckets = 1 << Bits;
    private const int Passes = 8;

    /// <summary>The bits of infinity.</summary>
    private const ulong Empty = 0x7ff0_0000_0000_0000;

    /// <summary>Below this many values comparing is faster.</summary>
    private const int Least = 4_096;

    /// <summary>From this many values it is worth to look whether few of them differ.</summary>
    private const int LeastCounted = 1 << 16;

    /// <summary>The finite values, ascending.</summary>
    public static double[] Finite(ReadOnlySpan<double> values) => values.Length >= LeastCounted ? Counted(values) ?? Sort(Kept(values)) : Sort(Kept(values));

    /// <summary>Few different values are sorted by counting each; null when there are more.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double[]? Counted(ReadOnlySpan<double> values)
    {
        const int bits = 13, slots = 1 << bits, most = slots / 4;
        // Keys are bits taken with those of infinity, which is not among the values, so that 0 is an empty slot.
        ulong[] keys = new ulong[slots];
        int[] counts = new int[slots];
        int different = 0, kept = 0;
        foreach (double value in values)
        {
            if (!double.IsFinite(value))
            {
                continue;
            }

            kept++;
            ulong key = BitConverter.DoubleToUInt64Bits(value) ^ Empty;
            int slot = (int)((key * 0x9e3779b97f4a7c15) >> (64 - bits));
            while (keys[slot] != key)
            {
                if (keys[slot] == 0)
                {
                    if (++different > most)
                    {
                        return null;
                    }

                    keys[slot] = key;
                    break;
                }

                slot = (slot + 1) & (slots - 1);
            }

            counts[slot]++;
        }

        (ulong Order, int Count)[] found = new (ulong, int)[different];
        for (int slot = 0, i = 0; slot < slots; slot++)
        {
            if (keys[slot] != 0)
            {
                found[i++] = (Flip(keys[slot] ^ Empty), counts[slot]);
            }
        }

        Array.Sort(found, static (a, b) => a.Order.CompareTo(b.Order));
        double[] sorted = new double[kept];
        int at = 0;
        foreach ((ulong order, int count) in found)
        {
            sorted.AsSpan(at, count).Fill(BitConverter.UInt64BitsToDouble(order ^ ((ulong)((long)~order >> 63) | 0x8000_0000_0000_0000)));
            at += count;
        }

        return sorted;
    }

    /// <summary>All bits of a negative number are flipped, the sign of a positive one: then unsigned order is numeric order.</summary>
    private static ulong Flip(ulong bits) => bits ^ ((ulong)((long)bits >> 63) | 0x8000_0000_0000_0000);

    /// <summary>The finite values, in their order.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static double[] Kept(ReadOnlySpan<double> values)
    {
        double[] kept = new double[values.Length];
        int n = 0;
        foreach (double value in values)
        {
            kept[n] = value;
            n += double.IsFinite(value) ? 1 : 0;
        }

        return n == kept.Length ? kept : kept[..n];
    }

    /// <summary>Sorts in place and gives the array back.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double[] Sort(double[] values)
    {
        if (values.Length < Least)
        {
            Array.Sort(values);
            return values;
        }

        Span<ulong> from = MemoryMarshal.Cast<double, ulong>(values.AsSpan());
        ulong[] other = ArrayPool<ulong>.Shared.Rent(values.Length);
        int[] counts = new int[Passes * Buckets];
        for (int i = 0; i < from.Length; i++)
        {
            ulong bits = Flip(from[i]);
            from[i] = bits;
            for (int pass = 0; pass < Passes; pass++)
            {
                counts[pass * Buckets + (int)((bits >> (pass * Bits)) & (Buckets - 1))]++;
            }
        }

        Span<ulong> to = other.AsSpan(0, values.Length);
        for (int pass = 0; pass < Passes; pass++)
        {
            Span<int> at = counts.AsSpan(pass * Buckets, Buckets);
            int shift = pass * Bits;
            if (at[(int)((from[0] >> shift) & (Buckets - 1))] == from.Length)
            {
                continue;
            }

            int sum = 0;
            for (int bucket = 0; bucket < Buckets; bucket++)
            {
                (at[bucket], sum) = (sum, sum + at[bucket]);
            }

            foreach (ulong bits in from)
            {
                to[at[(int)((bits >> shift) & (Buckets - 1))]++] = bits;
            }

            Span<ulong> hold = from;
            from = to;
            to = hold;
        }

        Span<ulong> result = MemoryMarshal.Cast<double, ulong>(values.AsSpan());
        for (int i = 0; i < from.Length; i++)
        {
            ulong bits = from[i];
            result[i] = bits ^ ((ulong)((long)~bits >> 63) | 0x8000_0000_0000_0000);
        }

        ArrayPool<ulong>.Shared.Return(other);
        return values;
    }
}
