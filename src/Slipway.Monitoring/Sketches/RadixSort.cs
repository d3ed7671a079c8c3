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

    /// <summary>Below this many values comparing is faster.</summary>
    private const int Least = 4_096;

    /// <summary>The finite values, ascending.</summary>
    public static double[] Finite(ReadOnlySpan<double> values) => Sort(Kept(values));

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
            // Flipped so that unsigned order is numeric order: all bits of a negative number, the sign of a positive one.
            ulong bits = from[i];
            bits ^= (ulong)((long)bits >> 63) | 0x8000_0000_0000_0000;
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
