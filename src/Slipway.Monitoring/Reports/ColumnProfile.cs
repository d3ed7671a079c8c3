using System.Buffers;

namespace Slipway.Monitoring;

/// <summary>
/// All that a comparison needs of one column of one side. Few rows are kept sorted, so that every statistic is exact; many, and those that stream by,
/// are kept as counts in the reference's bins.
/// </summary>
internal sealed class ColumnProfile
{
    /// <summary>Up to this many rows a side, statistics are computed from the values; above, from counts in bins, with their bound.</summary>
    public const int MostExact = 100_000;

    /// <summary>Values that the edges of the 200 bins are taken from: a bin then holds 0.5 % of the rows within 0.1 %.</summary>
    private const int Sampled = 1 << 15;

    /// <summary>The place of what is not finite; at most 200 are bins.</summary>
    private const byte Nowhere = byte.MaxValue;

    /// <summary>With fewer different values in the sample, they are counted, which sorts them.</summary>
    private const int ManyValues = 2_000;

    public required string Name { get; init; }

    public required ColumnKind Kind { get; init; }

    public required ColumnQuality Quality { get; init; }

    /// <summary>The reference's bins.</summary>
    public required Bins Bins { get; init; }

    public required long[] Counts { get; init; }

    /// <summary>200 bins for the distribution function, which have every edge of <see cref="Bins"/>; null for categories and few values.</summary>
    public Bins? Fine { get; init; }

    public long[]? FineCounts { get; init; }

    /// <summary>The sorted values; null when they streamed by.</summary>
    public double[]? Sorted { get; init; }

    /// <summary>Rows by category; null for numbers.</summary>
    public Dictionary<string, long>? Categories { get; init; }

    /// <summary>A column of the reference.</summary>
    public static ColumnProfile OfReference(TableColumn column)
    {
        if (column.Kind == ColumnKind.Category)
        {
            return OfCategories(column.Name, Count(column), column.Rows, null);
        }

        if (column.Rows > MostExact && OfMany(column) is { } many)
        {
            return many;
        }

        double[] sorted = RadixSort.Finite(column.Numbers);
        Bins bins = sorted.Length == 0 ? new Bins(Bins.ValuesRule, [], []) : Bins.OfNumbers(sorted);
        Bins? fine = bins.Rule == Bins.QuantileRule ? Bins.OfQuantiles(sorted, 200) : null;
        ColumnProfile profile = OfNumbers(column, sorted, bins, fine);
        return column.Rows > MostExact && fine is not null ? profile.WithoutValues() : profile;
    }

    /// <summary>
    /// A long column of many different values, without sorting it. An evenly spread sample gives the edges of the 200 bins; the deciles are exact, since only
    /// the values in the few bins that hold them are put in order. Null when the values are few or none.
    /// </summary>
    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveOptimization)]
    private static ColumnProfile? OfMany(TableColumn column)
    {
        ReadOnlySpan<double> values = column.Numbers;
        double[] sample = new double[Sampled];
        for (int i = 0; i < sample.Length; i++)
        {
            sample[i] = values[(int)((long)i * values.Length / sample.Length)];
        }

        sample = RadixSort.Finite(sample);
        int different = Math.Min(1, sample.Length);
        for (int i = 1; i < sample.Length; i++)
        {
            different += sample[i] != sample[i - 1] ? 1 : 0;
        }

        if (different < ManyValues)
        {
            return null;
        }

        // Each block is placed and measured while the processor's cache holds it.
        var drawn = Bins.OfQuantiles(sample, 200);
        var sketch = new ColumnSketch(new Bins(Bins.QuantileRule, [], []), distinct: ColumnQuality.ExactDistinct);
        byte[] places = ArrayPool<byte>.Shared.Rent(values.Length);
        for (int start = 0; start < values.Length; start += Moments.Block)
        {
            ReadOnlySpan<double> block = values.Slice(start, Math.Min(Moments.Block, values.Length - start));
            drawn.Place(block, places.AsSpan(start));
            if (!ColumnSketch.AllFinite(block))
            {
                for (int i = 0; i < block.Length; i++)
                {
                    places[start + i] = double.IsFinite(block[i]) ? places[start + i] : Nowhere;
                }
            }

            sketch.Add(block);
        }

        ColumnProfile? profile = sketch.Finite > MostExact ? OfPlaced(column, sketch, drawn, places.AsSpan(0, values.Length)) : null;
        ArrayPool<byte>.Shared.Return(places);
        return profile;
    }

    /// <summary>The rest of <see cref="OfMany"/>, when it is known in which of the sample's bins each value lies.</summary>
    private static ColumnProfile OfPlaced(TableColumn column, ColumnSketch sketch, Bins drawn, ReadOnlySpan<byte> places)
    {
        long[] counts = Occurrences(places).AsSpan(0, drawn.Count).ToArray();
        int n = (int)sketch.Finite, middle = n / 2;
        Dictionary<int, double> ranked = Ranked(column.Numbers, places, counts, [.. Bins.QuantileRanks(n), middle], out double[]?[] inside);
        Bins bins = Bins.OfQuantiles(n, rank => ranked[rank]);
        // The exact deciles join the edges. What a decile parts is in order, or empty.
        var edges = drawn.Edges.Select((edge, i) => (Edge: edge, Count: counts[i])).Append((Edge: double.PositiveInfinity, Count: counts[^1])).ToList();
        foreach (double decile in bins.Edges)
        {
            int at = edges.FindIndex(e => e.Edge >= decile);
            if (edges[at].Edge > decile)
            {
                double[] held = inside[drawn.IndexOf(decile)] ?? [];
                long below = AtOrBelow(held, decile) - (at == 0 ? 0 : AtOrBelow(held, edges[at - 1].Edge));
                edges[at] = edges[at] with { Count = edges[at].Count - below };
                edges.Insert(at, (decile, below));
            }
        }

        Bins fine = new(Bins.FineQuantileRule, [.. edges.SkipLast(1).Select(e => e.Edge)], []);
        long[] fineCounts = [.. edges.Select(e => e.Count)];
        // A value with at least half of the rows is the median.
        double[] around = inside[drawn.IndexOf(ranked[middle])]!;
        long same = AtOrBelow(around, ranked[middle]) - Below(around, ranked[middle]);
        return new ColumnProfile
        {
            Name = column.Name,
            Kind = ColumnKind.Number,
            Quality = ColumnQuality.Of(sketch) with { Violations = column.Violations, MostFrequentShare = same * 2 >= n ? (double)same / n : null },
            Bins = bins,
            Counts = bins.CountsOf(fine, fineCounts),
            Fine = fine,
            FineCounts = fineCounts,
        };
    }

    /// <summary>How often each byte occurs.</summary>
    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveOptimization)]
    private static long[] Occurrences(ReadOnlySpan<byte> bytes)
    {
        // Two tables, so that a byte that is like the one before does not wait for its count.
        long[] a = new long[256], b = new long[256];
        int i = 0;
        for (; i <= bytes.Length - 2; i += 2)
        {
            a[bytes[i]]++;
            b[bytes[i + 1]]++;
        }

        if (i < bytes.Length)
        {
            a[bytes[i]]++;
        }

        for (int value = 0; value < a.Length; value++)
        {
            a[value] += b[value];
        }

        return a;
    }

    /// <summary>The values of some ranks: those in the bins that hold a rank are put in order, the others only counted.</summary>
    /// <param name="values">The values.</param>
    /// <param name="places">The bin of each, or <see cref="Nowhere"/>.</param>
    /// <param name="counts">How many are in each bin; the bins ascend.</param>
    /// <param name="ranks">Ranks from 0.</param>
    /// <param name="wanted">The ordered values of each bin that holds a rank; null for the others.</param>
    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveOptimization)]
    private static Dictionary<int, double> Ranked(ReadOnlySpan<double> values, ReadOnlySpan<byte> places, long[] counts, int[] ranks, out double[]?[] wanted)
    {
        double[]?[] held = new double[256][];
        int[] binOf = new int[ranks.Length], before = new int[counts.Length + 1], filled = new int[256];
        for (int bin = 0; bin < counts.Length; bin++)
        {
            before[bin + 1] = before[bin] + (int)counts[bin];
        }

        for (int r = 0; r < ranks.Length; r++)
        {
            int bin = 0;
            while (before[bin + 1] <= ranks[r])
            {
                bin++;
            }

            binOf[r] = bin;
            held[bin] ??= new double[counts[bin]];
        }

        for (int i = 0; i < values.Length; i++)
        {
            int bin = places[i];
            if (held[bin] is { } into)
            {
                into[filled[bin]++] = values[i];
            }
        }

        foreach (int bin in binOf.Distinct())
        {
            held[bin] = RadixSort.Finite(held[bin]);
        }

        wanted = held;
        var ranked = new Dictionary<int, double>();
        for (int r = 0; r < ranks.Length; r++)
        {
            ranked[ranks[r]] = held[binOf[r]]![ranks[r] - before[binOf[r]]];
        }

        return ranked;
    }

    /// <summary>A column of the current table, compared with the reference's.</summary>
    public static ColumnProfile OfCurrent(TableColumn column, ColumnProfile reference)
    {
        if (column.Kind == ColumnKind.Category)
        {
            return OfCategories(column.Name, Count(column), column.Rows, reference);
        }

        if (column.Rows > MostExact || reference.Sorted is null)
        {
            var stream = new ColumnStream(reference);
            stream.Add(column.Numbers, column.Violations);
            return stream.Profile(column.Rows);
        }

        double[] sorted = RadixSort.Finite(column.Numbers);
        ColumnProfile profile = OfNumbers(column, sorted, reference.Bins, reference.Fine);
        return profile.With(reference, sorted.Length == 0 || reference.Quality.Min is null ? sorted.Length : Below(sorted, reference.Quality.Min.Value) + sorted.Length - AtOrBelow(sorted, reference.Quality.Max!.Value));
    }

    /// <summary>A column of numbers that streamed by.</summary>
    public static ColumnProfile OfStream(string name, ColumnSketch sketch, long violations, ColumnProfile reference, long outside) => new ColumnProfile
    {
        Name = name,
        Kind = ColumnKind.Number,
        Quality = ColumnQuality.Of(sketch) with { Violations = violations },
        Bins = reference.Bins,
        Counts = reference.Fine is null ? sketch.Counts : reference.Bins.CountsOf(reference.Fine, sketch.Counts),
        Fine = reference.Fine,
        FineCounts = reference.Fine is null ? null : sketch.Counts,
    }.With(reference, outside);

    /// <summary>A column of texts from its counts; a null text is missing.</summary>
    public static ColumnProfile OfCategories(string name, Dictionary<string, long> counts, long rows, ColumnProfile? reference)
    {
        long present = counts.Values.Sum();
        (string Value, long Count)[] unseen = reference?.Categories is { } known ? counts.Where(c => !known.ContainsKey(c.Key)).Select(c => (c.Key, c.Value)).ToArray() : [];
        return new ColumnProfile
        {
            Name = name,
            Kind = ColumnKind.Category,
            Bins = new Bins(Bins.CategoriesRule, [], []),
            Counts = [],
            Categories = counts,
            Quality = new ColumnQuality
            {
                Rows = rows,
                Finite = present,
                Missing = rows - present,
                Distinct = counts.Count,
                MostFrequentShare = present == 0 ? null : (double)counts.Values.Max() / present,
                UnseenRows = reference is null ? null : unseen.Sum(u => u.Count),
                UnseenValues = reference is null ? null : unseen.Length,
                TextLength = counts.Count == 0 ? null : (counts.Keys.Min(k => k.Length), counts.Keys.Max(k => k.Length)),
            },
        };
    }

    /// <summary>The same without the values, for a comparison with a table that streams by.</summary>
    public ColumnProfile WithoutValues() => new() { Name = Name, Kind = Kind, Quality = Quality, Bins = Bins, Counts = Counts, Fine = Fine, FineCounts = FineCounts, Categories = Categories };

    /// <summary>The share of values at or below x: exact when sorted, otherwise linear inside bins.</summary>
    public double Cdf(double x)
    {
        if (Sorted is { } sorted)
        {
            return sorted.Length == 0 ? double.NaN : (double)AtOrBelow(sorted, x) / sorted.Length;
        }

        double[] edges = Fine!.Edges;
        double low = Quality.Min!.Value, high = Quality.Max!.Value, below = 0, n = Quality.Finite;
        for (int bin = 0; bin <= edges.Length; bin++)
        {
            double from = bin == 0 ? Math.Min(low, edges[0]) : edges[bin - 1], to = bin == edges.Length ? Math.Max(high, edges[^1]) : edges[bin];
            if (x < to)
            {
                return (below + (to > from ? FineCounts![bin] * Math.Clamp((x - from) / (to - from), 0, 1) : 0)) / n;
            }

            below += FineCounts![bin];
        }

        return 1;
    }

    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveOptimization)]
    private static Dictionary<string, long> Count(TableColumn column)
    {
        long[] counts = new long[column.Categories.Count];
        foreach (int code in column.Codes)
        {
            if (code >= 0)
            {
                counts[code]++;
            }
        }

        var byName = new Dictionary<string, long>(StringComparer.Ordinal);
        for (int code = 0; code < counts.Length; code++)
        {
            if (counts[code] > 0)
            {
                byName[column.Categories[code]] = counts[code];
            }
        }

        return byName;
    }

    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveOptimization)]
    private static ColumnProfile OfNumbers(TableColumn column, double[] sorted, Bins bins, Bins? fine)
    {
        // Counting needs no pass over the rows once they are sorted; moments do, for exact sums in one order.
        var sketch = new ColumnSketch(new Bins(Bins.QuantileRule, [], []));
        sketch.Add(column.Numbers);
        long distinct = 0;
        for (int i = 0; i < sorted.Length; i++)
        {
            distinct += i == 0 || sorted[i] != sorted[i - 1] ? 1 : 0;
        }

        double? most = null;
        if (sorted.Length > 0)
        {
            // A value with at least half of the rows is the median.
            double median = sorted[sorted.Length / 2];
            long same = AtOrBelow(sorted, median) - Below(sorted, median);
            most = same * 2 >= sorted.Length ? (double)same / sorted.Length : null;
        }

        return new ColumnProfile
        {
            Name = column.Name,
            Kind = ColumnKind.Number,
            Quality = ColumnQuality.Of(sketch) with { Violations = column.Violations, Distinct = distinct, MostFrequentShare = most },
            Bins = bins,
            Counts = CountSorted(bins, sorted),
            Fine = fine,
            FineCounts = fine is null ? null : CountSorted(fine, sorted),
            Sorted = sorted,
        };
    }

    private static long[] CountSorted(Bins bins, double[] sorted)
    {
        long[] counts = new long[bins.Count];
        if (bins.Rule is Bins.QuantileRule or Bins.FineQuantileRule)
        {
            int before = 0;
            for (int e = 0; e < bins.Edges.Length; e++)
            {
                int at = AtOrBelow(sorted, bins.Edges[e]);
                counts[e] = at - before;
                before = at;
            }

            counts[^1] = sorted.Length - before;
        }
        else
        {
            bins.CountInto(sorted, counts);
        }

        return counts;
    }

    private static int AtOrBelow(double[] sorted, double x)
    {
        int low = 0, high = sorted.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            (low, high) = sorted[middle] <= x ? (middle + 1, high) : (low, middle);
        }

        return low;
    }

    private static int Below(double[] sorted, double x)
    {
        int low = 0, high = sorted.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            (low, high) = sorted[middle] < x ? (middle + 1, high) : (low, middle);
        }

        return low;
    }

    private ColumnProfile With(ColumnProfile reference, long outside) => new()
    {
        Name = Name,
        Kind = Kind,
        Quality = Quality with { OutOfRange = outside, UnseenRows = reference.Bins.Rule == Bins.ValuesRule ? Counts[^1] : null },
        Bins = Bins,
        Counts = Counts,
        Fine = Fine,
        FineCounts = FineCounts,
        Sorted = Sorted,
    };
}
