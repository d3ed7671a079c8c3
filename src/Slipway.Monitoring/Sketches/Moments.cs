using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Text.Json.Serialization;

namespace Slipway.Monitoring;

/// <summary>
/// Count, mean and central sums of a stream of finite numbers, updated one value at a time and merged with the pairwise formulas of
/// Chan, Golub and LeVeque (second order) and Pebay (third and fourth); never a sum of squares, which cancels at large means.
/// </summary>
internal sealed record Moments(long Count, double Mean, double M2, double M3, double M4, double? Min, double? Max)
{
    /// <summary>How many values one block of <see cref="Of"/> holds.</summary>
    internal const int Block = 4096;

    public static readonly Moments Empty = new(0, 0, 0, 0, 0, null, null);

    /// <summary>Population variance; null without values.</summary>
    [JsonIgnore]
    public double? Variance => Count == 0 ? null : M2 / Count;

    /// <summary>Sample variance, over n - 1; null under two values.</summary>
    [JsonIgnore]
    public double? SampleVariance => Count < 2 ? null : M2 / (Count - 1);

    /// <summary>Population skewness m3 / m2^1.5; null without variance.</summary>
    [JsonIgnore]
    public double? Skewness => M2 > 0 ? M3 / Count / Math.Pow(M2 / Count, 1.5) : null;

    /// <summary>Population excess kurtosis m4 / m2^2 - 3; null without variance.</summary>
    [JsonIgnore]
    public double? ExcessKurtosis => M2 > 0 ? M4 / Count / (M2 / Count * (M2 / Count)) - 3 : null;

    /// <summary>Moments of finite values: blocks of a fixed size, two passes each, merged in order, so that the same values always give the same bits.</summary>
    public static Moments Of(ReadOnlySpan<double> values)
    {
        Moments all = Empty;
        for (int start = 0; start < values.Length; start += Block)
        {
            all = all.Merge(OfBlock(values.Slice(start, Math.Min(Block, values.Length - start))));
        }

        return all;
    }

    /// <summary>Moments of at most <see cref="Block"/> finite values.</summary>
    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveOptimization)]
    internal static Moments OfBlock(ReadOnlySpan<double> values)
    {
        if (values.IsEmpty)
        {
            return Empty;
        }

        // Differences from the first value are summed: exact for constants and safe at large means.
        int n = values.Length, width = Vector512<double>.Count, i = 0;
        double shift = values[0], sum = 0, min = shift, max = shift;
        ref double first = ref MemoryMarshal.GetReference(values);
        if (n >= width)
        {
            Vector512<double> origin = Vector512.Create(shift), s = Vector512<double>.Zero, low = origin, high = origin;
            for (; i <= n - width; i += width)
            {
                Vector512<double> v = Vector512.LoadUnsafe(ref first, (nuint)i);
                s += v - origin;
                low = Vector512.MinNative(low, v);
                high = Vector512.MaxNative(high, v);
            }

            sum = Vector512.Sum(s);
            for (int lane = 0; lane < width; lane++)
            {
                min = Math.Min(min, low[lane]);
                max = Math.Max(max, high[lane]);
            }
        }

        for (; i < n; i++)
        {
            double v = values[i];
            sum += v - shift;
            min = Math.Min(min, v);
            max = Math.Max(max, v);
        }

        double mean = shift + sum / n, m2 = 0, m3 = 0, m4 = 0;
        i = 0;
        if (n >= width)
        {
            Vector512<double> centre = Vector512.Create(mean), v2 = Vector512<double>.Zero, v3 = v2, v4 = v2;
            for (; i <= n - width; i += width)
            {
                Vector512<double> d = Vector512.LoadUnsafe(ref first, (nuint)i) - centre, d2 = d * d;
                v2 += d2;
                v3 += d2 * d;
                v4 += d2 * d2;
            }

            (m2, m3, m4) = (Vector512.Sum(v2), Vector512.Sum(v3), Vector512.Sum(v4));
        }

        for (; i < n; i++)
        {
            double d = values[i] - mean, d2 = d * d;
            m2 += d2;
            m3 += d2 * d;
            m4 += d2 * d2;
        }

        return new Moments(n, mean, m2, m3, m4, min, max);
    }

    public Moments Merge(Moments other)
    {
        if (Count == 0)
        {
            return other;
        }

        if (other.Count == 0)
        {
            return this;
        }

        double na = Count, nb = other.Count, n = na + nb;
        double d = other.Mean - Mean, dn = d / n, dn2 = dn * dn;
        double m2 = M2 + other.M2 + d * dn * na * nb;
        double m3 = M3 + other.M3 + d * dn2 * na * nb * (na - nb) + 3 * dn * (na * other.M2 - nb * M2);
        double m4 = M4 + other.M4 + d * dn2 * dn * na * nb * (na * na - na * nb + nb * nb)
            + 6 * dn2 * (na * na * other.M2 + nb * nb * M2) + 4 * dn * (na * other.M3 - nb * M3);
        return new Moments(Count + other.Count, Mean + dn * nb, m2, m3, m4, Math.Min(Min!.Value, other.Min!.Value), Math.Max(Max!.Value, other.Max!.Value));
    }
}
