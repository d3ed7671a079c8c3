using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Text.Json.Serialization;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// All that is kept of one column of one window: counts in the reference's bins, missing and infinite values, moments, and on request quantiles,
/// distinct values and frequent items. Its size does not grow with the rows: at most 16 KB for a number, 8 KB for a category. Two sketches
/// over the same bins merge; counts add exactly, whatever the order.
/// </summary>
internal sealed class ColumnSketch
{
    private const int Buffered = 512;
    private readonly long[] counts;
    private readonly double[] waiting = new double[Buffered];
    private int pending;
    private long finite;
    private long missing;
    private long nan;
    private long infinite;
    private long zeros;
    private long negatives;
    private Moments moments = Moments.Empty;

    /// <summary>An empty sketch.</summary>
    /// <param name="bins">The reference's bins.</param>
    /// <param name="quantiles">Whether any quantile is asked for later.</param>
    /// <param name="distinct">Whether distinct values are counted: exact up to this many; null counts none.</param>
    /// <param name="items">Whether the most frequent values are kept.</param>
    public ColumnSketch(Bins bins, bool quantiles = false, int? distinct = null, bool items = false)
    {
        Bins = bins;
        counts = new long[bins.Count];
        Quantiles = quantiles ? new KllSketch() : null;
        Distinct = distinct is { } exact ? new DistinctSketch(exact) : null;
        Items = items ? new FrequentItems() : null;
    }

    /// <summary>The null of a column whose NaN is a value of its own.</summary>
    public static readonly double Null = BitConverter.UInt64BitsToDouble(0x7ff8_0000_0000_4e41);

    public Bins Bins { get; }

    public long[] Counts => Flushed(counts);

    public long Finite => Flushed(this).finite;

    /// <summary>Nulls and NaN.</summary>
    public long Missing => Flushed(this).missing;

    /// <summary>NaN that were not null; they count as missing too.</summary>
    public long NaN => Flushed(this).nan;

    public long Infinite => Flushed(this).infinite;

    public long Zeros => Flushed(this).zeros;

    public long Negatives => Flushed(this).negatives;

    public Moments Moments => Flushed(this).moments;

    public KllSketch? Quantiles { get; private set; }

    public DistinctSketch? Distinct { get; private set; }

    public FrequentItems? Items { get; private set; }

    /// <summary>Rows seen, whatever their value.</summary>
    public long Rows => Finite + missing + infinite;

    public void Add(double value)
    {
        waiting[pending++] = value;
        if (pending == Buffered)
        {
            Flush();
        }
    }

    /// <summary>The value of a frequent item.</summary>
    public static double ValueOf(ulong item) => item <= uint.MaxValue ? BitConverter.UInt32BitsToSingle((uint)item) : BitConverter.UInt64BitsToDouble(item);

    /// <summary>Takes many values; those given one by one before come first.</summary>
    public void Add(ReadOnlySpan<double> values)
    {
        Flush();
        for (int start = 0; start < values.Length; start += Moments.Block)
        {
            Block(values.Slice(start, Math.Min(Moments.Block, values.Length - start)));
        }
    }

    /// <summary>Takes in a sketch of the same configuration.</summary>
    /// <exception cref="SlipwayException">InvalidArgument when bins or parts differ.</exception>
    public void Merge(ColumnSketch other)
    {
        if (other.Bins.Rule != Bins.Rule || !other.Bins.Edges.AsSpan().SequenceEqual(Bins.Edges) || !other.Bins.Values.AsSpan().SequenceEqual(Bins.Values))
        {
            throw SketchForm.Unlike("the binning", $"{Bins.Rule} with {Bins.Count} bins", $"{other.Bins.Rule} with {other.Bins.Count} bins");
        }

        if ((Quantiles is null, Distinct is null, Items is null) != (other.Quantiles is null, other.Distinct is null, other.Items is null))
        {
            throw SketchForm.Unlike("what is kept", Parts(this), Parts(other));
        }

        Flush();
        other.Flush();
        for (int i = 0; i < counts.Length; i++)
        {
            counts[i] += other.counts[i];
        }

        finite += other.finite;
        missing += other.missing;
        nan += other.nan;
        infinite += other.infinite;
        zeros += other.zeros;
        negatives += other.negatives;
        moments = moments.Merge(other.moments);
        Quantiles?.Merge(other.Quantiles!);
        Distinct?.Merge(other.Distinct!);
        Items?.Merge(other.Items!);

        static string Parts(ColumnSketch s) => string.Join(", ", new[] { "bins", s.Quantiles is null ? "" : "quantiles", s.Distinct is null ? "" : "distinct", s.Items is null ? "" : "items" }.Where(p => p.Length > 0));
    }

    /// <summary>The versioned binary form; the bins' edges are part of it.</summary>
    public byte[] ToBytes() => SketchForm.Write(to =>
    {
        Flush();
        SketchForm.WriteHead(to, SketchForm.Column);
        to.Write(Bins.Rule);
        to.Write(Bins.Edges.Length);
        to.Write(MemoryMarshal.AsBytes(Bins.Edges.AsSpan()));
        to.Write(Bins.Values.Length);
        to.Write(MemoryMarshal.AsBytes(Bins.Values.AsSpan()));
        foreach (long count in counts)
        {
            to.Write7BitEncodedInt64(count);
        }

        foreach (long count in (ReadOnlySpan<long>)[finite, missing, nan, infinite, zeros, negatives, moments.Count])
        {
            to.Write(count);
        }

        foreach (double part in (ReadOnlySpan<double>)[moments.Mean, moments.M2, moments.M3, moments.M4, moments.Min ?? double.NaN, moments.Max ?? double.NaN])
        {
            to.Write(part);
        }

        to.Write((byte)((Quantiles is null ? 0 : 1) | (Distinct is null ? 0 : 2) | (Items is null ? 0 : 4)));
        Quantiles?.Write(to);
        Distinct?.Write(to);
        Items?.Write(to);
    });

    /// <summary>Reads what <see cref="ToBytes"/> wrote.</summary>
    /// <exception cref="SlipwayException">DataLoss when the bytes are no such sketch.</exception>
    public static ColumnSketch FromBytes(ReadOnlyMemory<byte> bytes) => SketchForm.Read(bytes, from =>
    {
        SketchForm.ReadHead(from, SketchForm.Column);
        string rule = from.ReadString();
        double[] edges = Doubles(from), values = Doubles(from);
        var sketch = new ColumnSketch(new Bins(rule, edges, values));
        for (int i = 0; i < sketch.counts.Length; i++)
        {
            sketch.counts[i] = from.Read7BitEncodedInt64();
        }

        sketch.finite = from.ReadInt64();
        sketch.missing = from.ReadInt64();
        sketch.nan = from.ReadInt64();
        sketch.infinite = from.ReadInt64();
        sketch.zeros = from.ReadInt64();
        sketch.negatives = from.ReadInt64();
        long n = from.ReadInt64();
        sketch.moments = new Moments(n, from.ReadDouble(), from.ReadDouble(), from.ReadDouble(), from.ReadDouble(), End(from.ReadDouble()), End(from.ReadDouble()));
        byte parts = from.ReadByte();
        sketch.Quantiles = (parts & 1) == 0 ? null : KllSketch.Read(from);
        sketch.Distinct = (parts & 2) == 0 ? null : DistinctSketch.Read(from);
        sketch.Items = (parts & 4) == 0 ? null : FrequentItems.Read(from);
        return sketch.counts.Sum() == sketch.finite ? sketch : throw SketchForm.Broken($"its bins hold {sketch.counts.Sum()} values, it says {sketch.finite}");

        static double? End(double v) => double.IsNaN(v) ? null : v;

        static double[] Doubles(BinaryReader from)
        {
            int length = from.ReadInt32();
            if (length is < 0 or > 100_000)
            {
                throw SketchForm.Broken($"it has {length} edges");
            }

            double[] read = new double[length];
            from.BaseStream.ReadExactly(MemoryMarshal.AsBytes(read.AsSpan()));
            return read;
        }
    });

    private T Flushed<T>(T of)
    {
        Flush();
        return of;
    }

    private void Flush()
    {
        if (pending > 0)
        {
            int n = pending;
            pending = 0;
            Block(waiting.AsSpan(0, n));
        }
    }

    private void Block(ReadOnlySpan<double> values)
    {
        if (AllFinite(values))
        {
            Take(values);
            return;
        }

        Span<double> kept = stackalloc double[Moments.Block];
        int n = 0;
        long empty = BitConverter.DoubleToInt64Bits(Null);
        foreach (double value in values)
        {
            if (double.IsFinite(value))
            {
                kept[n++] = value;
            }
            else if (double.IsNaN(value))
            {
                missing++;
                nan += BitConverter.DoubleToInt64Bits(value) == empty ? 0 : 1;
            }
            else
            {
                infinite++;
            }
        }

        Take(kept[..n]);
    }

    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveOptimization)]
    private void Take(ReadOnlySpan<double> values)
    {
        if (values.IsEmpty)
        {
            return;
        }

        Span<long> before = stackalloc long[Bins.FewValues + 1];
        bool few = Distinct is not null && Bins.Rule == Bins.ValuesRule && counts.Length <= before.Length;
        if (few)
        {
            counts.CopyTo(before);
        }

        Bins.CountInto(values, counts);
        Moments block = Moments.OfBlock(values);
        moments = moments.Merge(block);
        finite += values.Length;
        if (block.Min <= 0)
        {
            (long zero, long negative) = Signs(values);
            zeros += zero;
            negatives += negative;
        }

        if (Quantiles is { } quantiles)
        {
            foreach (double value in values)
            {
                quantiles.Add(value);
            }
        }

        if (Distinct is { } distinct)
        {
            if (few)
            {
                AddFew(distinct, values, before);
            }
            else
            {
                distinct.Add(values);
            }
        }

        if (Items is { } items)
        {
            foreach (double value in values)
            {
                // Single-precision values keep their 32 bits, so that the form stays small.
                items.Add((float)value == value ? BitConverter.SingleToUInt32Bits((float)value) : BitConverter.DoubleToUInt64Bits(value));
            }
        }
    }

    /// <summary>The different values of a block where each of few has its bin: only those without a bin are looked at one by one.</summary>
    private void AddFew(DistinctSketch distinct, ReadOnlySpan<double> values, ReadOnlySpan<long> before)
    {
        for (int bin = 0; bin < Bins.Values.Length; bin++)
        {
            if (counts[bin] != before[bin])
            {
                distinct.Add(Bins.Values[bin]);
            }
        }

        if (counts[^1] != before[counts.Length - 1])
        {
            foreach (double value in values)
            {
                if (Bins.IndexOf(value) == Bins.Values.Length)
                {
                    distinct.Add(value);
                }
            }
        }
    }

    /// <summary>How many values are 0, and how many below it.</summary>
    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveOptimization)]
    private static (long Zeros, long Negatives) Signs(ReadOnlySpan<double> values)
    {
        ref double first = ref MemoryMarshal.GetReference(values);
        Vector512<long> zero = Vector512<long>.Zero, below = zero;
        int i = 0;
        for (; i <= values.Length - Vector512<double>.Count; i += Vector512<double>.Count)
        {
            Vector512<double> v = Vector512.LoadUnsafe(ref first, (nuint)i);
            zero -= Vector512.Equals(v, Vector512<double>.Zero).AsInt64();
            below -= Vector512.LessThan(v, Vector512<double>.Zero).AsInt64();
        }

        (long zeros, long negatives) = (Vector512.Sum(zero), Vector512.Sum(below));
        for (; i < values.Length; i++)
        {
            zeros += values[i] == 0 ? 1 : 0;
            negatives += values[i] < 0 ? 1 : 0;
        }

        return (zeros, negatives);
    }

    /// <summary>Whether every value is finite: x - x is 0 for these and NaN for all others.</summary>
    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveOptimization)]
    internal static bool AllFinite(ReadOnlySpan<double> values)
    {
        ref double first = ref MemoryMarshal.GetReference(values);
        int i = 0;
        if (values.Length >= Vector512<double>.Count)
        {
            Vector512<double> sum = Vector512<double>.Zero;
            for (; i <= values.Length - Vector512<double>.Count; i += Vector512<double>.Count)
            {
                Vector512<double> v = Vector512.LoadUnsafe(ref first, (nuint)i);
                sum += v - v;
            }

            if (!Vector512.EqualsAll(sum, Vector512<double>.Zero))
            {
                return false;
            }
        }

        for (; i < values.Length; i++)
        {
            if (!double.IsFinite(values[i]))
            {
                return false;
            }
        }

        return true;
    }
}

/// <summary>One column of the frozen reference.</summary>
internal sealed record ColumnReference(string Name, Bins Bins, long[] Counts, long Finite, long Missing, long Infinite, Moments Moments)
{
    [JsonIgnore]
    public long Rows => Finite + Missing + Infinite;

    /// <summary>An empty sketch of a window of this column, with all that is kept of it.</summary>
    public ColumnSketch Sketch() => Bins.Rule == Bins.CategoriesRule ? new ColumnSketch(Bins, distinct: MostExact, items: true) : new ColumnSketch(Bins, quantiles: true, distinct: MostExact);

    /// <summary>
    /// The share of rows that were new to the rest of the reference when each of ten consecutive windows of it was held out: outside its range, or of values codes or categories that it
    /// lacks. Null where three times it is below <see cref="LeastNewRate"/>, the limit that holds anyway, and of fewer than 300 rows.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double? HeldOut { get; init; }

    /// <summary>The least share of new rows that alerts.</summary>
    public const double LeastNewRate = 0.01;

    /// <summary>The share of rows outside the range, or of unseen values, above which a window alerts.</summary>
    [JsonIgnore]
    public double NewRateLimit => Math.Max(LeastNewRate, 3 * HeldOut ?? 0);

    /// <summary>Whether the bins are ranges of numbers, and not single values.</summary>
    [JsonIgnore]
    public bool IsRange => Bins.Rule is not (Bins.ValuesRule or Bins.CategoriesRule);

    /// <summary>Distinct values that are counted exactly.</summary>
    private const int MostExact = 512;

    public static ColumnReference Freeze(string name, IReadOnlyList<float> column, bool categorical)
    {
        double[] sorted = column.Where(float.IsFinite).Select(v => (double)v).Order().ToArray();
        Bins bins = sorted.Length == 0 ? new Bins(Bins.ValuesRule, [], []) : categorical ? Bins.OfCategories(sorted) : Bins.OfNumbers(sorted);
        var sketch = new ColumnSketch(bins);
        foreach (float value in column)
        {
            sketch.Add(value);
        }

        var frozen = new ColumnReference(name, bins, sketch.Counts, sketch.Finite, sketch.Missing, sketch.Infinite, sketch.Moments);
        double? heldOut = sorted.Length < HeldOutWindows * Drift.LeastRows ? null : New([.. column.Where(float.IsFinite)], frozen.IsRange);
        return 3 * heldOut > LeastNewRate ? frozen with { HeldOut = heldOut } : frozen;
    }

    private const int HeldOutWindows = 10;

    private static double New(float[] values, bool range)
    {
        int WindowOf(int i) => (int)((long)i * HeldOutWindows / values.Length);
        long fresh = 0;
        if (range)
        {
            (float Min, float Max)[] ends = [.. Enumerable.Repeat((float.PositiveInfinity, float.NegativeInfinity), HeldOutWindows)];
            for (int i = 0; i < values.Length; i++)
            {
                ref (float Min, float Max) own = ref ends[WindowOf(i)];
                own = (Math.Min(own.Min, values[i]), Math.Max(own.Max, values[i]));
            }

            (float Min, float Max)[] rest = [.. Enumerable.Range(0, HeldOutWindows).Select(w => (ends.Where((_, k) => k != w).Min(e => e.Min), ends.Where((_, k) => k != w).Max(e => e.Max)))];
            for (int i = 0; i < values.Length; i++)
            {
                (float min, float max) = rest[WindowOf(i)];
                fresh += values[i] < min || values[i] > max ? 1 : 0;
            }
        }
        else
        {
            var seen = new Dictionary<float, (int Window, long Rows)>();
            for (int i = 0; i < values.Length; i++)
            {
                int window = WindowOf(i);
                seen[values[i]] = !seen.TryGetValue(values[i], out (int Window, long Rows) of) ? (window, 1) : (of.Window == window ? window : -1, of.Rows + 1);
            }

            fresh = seen.Values.Where(v => v.Window >= 0).Sum(v => v.Rows);
        }

        return (double)fresh / values.Length;
    }
}
