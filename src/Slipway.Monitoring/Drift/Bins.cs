using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using System.Text.Json.Serialization;

namespace Slipway.Monitoring;

/// <summary>
/// How one column is cut into bins, fixed once from the reference so that bin counts of any window add up exactly. The name of the rule is
/// stored with every result.
/// <list type="bullet">
/// <item>`quantile10`, `quantile200`: bin i = (Edges[i-1], Edges[i]] with open ends.</item>
/// <item>`values`, `categories`: one bin a value and a last bin `other`, which is empty in the reference (values) or holds what is left after the
/// most frequent categories.</item>
/// <item>`distinct_pooled`: one bin a value of either side.</item>
/// <item>`doane_ref`: bins [Edges[i], Edges[i+1]) of equal width, the last one closed, and a bin `outside`. `sturges_pooled`: the same without
/// `outside`, since its edges hold both sides.</item>
/// </list>
/// </summary>
internal sealed record Bins(string Rule, double[] Edges, double[] Values)
{
    public const string QuantileRule = "quantile10";
    public const string FineQuantileRule = "quantile200";
    public const string ValuesRule = "values";
    public const string CategoriesRule = "categories";
    public const string DoaneRule = "doane_ref";
    public const string SturgesRule = "sturges_pooled";
    public const string PooledRule = "distinct_pooled";

    /// <summary>Columns with at most this many distinct reference values get one bin a value.</summary>
    public const int FewValues = 20;

    /// <summary>A column that is declared categorical keeps this many of its most frequent values.</summary>
    public const int MostCategories = 50;

    private Grid? grid;

    [JsonIgnore]
    public int Count => ByQuantiles ? Edges.Length + 1 : Rule switch { DoaneRule => Edges.Length, SturgesRule => Edges.Length - 1, PooledRule => Values.Length, _ => Values.Length + 1 };

    private bool ByQuantiles => Rule is QuantileRule or FineQuantileRule;

    private bool ByWidth => Rule is DoaneRule or SturgesRule;

    /// <summary>Cuts a numeric reference (finite values, at least one): the rule `quantile10`, or one bin a value when they are few.</summary>
    public static Bins OfNumbers(double[] sorted)
    {
        double[] distinct = Distinct(sorted, FewValues);
        return distinct.Length <= FewValues ? new Bins(ValuesRule, [], distinct) : OfQuantiles(sorted);
    }

    /// <summary>The distinct reference quantiles 1/parts to 1 - 1/parts; tied quantiles collapse. Ten parts are `quantile10`, 200 are `quantile200`.</summary>
    public static Bins OfQuantiles(double[] sorted, int parts = 10) => OfQuantiles(sorted.Length, i => sorted[i], parts);

    /// <summary>The same of values of which only some are known by their rank: those of <see cref="QuantileRanks"/>.</summary>
    public static Bins OfQuantiles(int length, Func<int, double> ranked, int parts = 10)
    {
        var edges = new List<double>(parts - 1);
        for (int part = 1; part < parts; part++)
        {
            double at = (length - 1) * ((double)part / parts);
            int below = (int)Math.Floor(at);
            double edge = Between(ranked(below), ranked(Math.Min(below + 1, length - 1)), at - below);
            if (edges.Count == 0 || edge > edges[^1])
            {
                edges.Add(edge);
            }
        }

        return new Bins(parts == 10 ? QuantileRule : FineQuantileRule, edges.ToArray(), []);
    }

    /// <summary>The ranks that <see cref="OfQuantiles(int, Func{int, double}, int)"/> asks for, ascending.</summary>
    public static int[] QuantileRanks(int length, int parts = 10) =>
        [.. Enumerable.Range(1, parts - 1).Select(part => (int)Math.Floor((length - 1) * ((double)part / parts))).SelectMany(below => new[] { below, Math.Min(below + 1, length - 1) }).Distinct().Order()];

    /// <summary>One bin for each of the most frequent values (ties: the smaller value first) and `other` for the rest.</summary>
    public static Bins OfCategories(double[] sorted)
    {
        var counts = new List<(double Value, int Count)>();
        foreach (double value in sorted)
        {
            if (counts.Count > 0 && counts[^1].Value == value)
            {
                counts[^1] = (value, counts[^1].Count + 1);
            }
            else
            {
                counts.Add((value, 1));
            }
        }

        double[] kept = counts.OrderByDescending(c => c.Count).ThenBy(c => c.Value).Take(MostCategories).Select(c => c.Value).Order().ToArray();
        return new Bins(CategoriesRule, [], kept);
    }

    /// <summary>
    /// Equal width over the reference's range by Doane's rule (1976), which adds the skewness g1 to Sturges': the width is
    /// range / (1 + log2 n + log2(1 + |g1| / s)), s = sqrt(6 (n - 2) / ((n + 1)(n + 3))). NannyML bins by it.
    /// </summary>
    public static Bins OfDoane(double[] sorted)
    {
        double n = sorted.Length, range = sorted[^1] - sorted[0], width = 0;
        if (n > 2 && Moments.Of(sorted).Skewness is { } skewness)
        {
            double s = Math.Sqrt(6 * (n - 2) / ((n + 1) * (n + 3)));
            width = range / (1 + Math.Log2(n) + Math.Log2(1 + Math.Abs(skewness) / s));
        }

        return OfWidth(DoaneRule, sorted[0], sorted[^1], width > 0 ? (int)Math.Ceiling(range / width) : 1);
    }

    /// <summary>
    /// ceil(1 + log2 n) bins of equal width over the pooled values of both sides (Sturges 1926), so the edges move with each window. Evidently
    /// bins by it when the reference has more than <see cref="FewValues"/> distinct values, and by the pooled values themselves otherwise.
    /// </summary>
    public static Bins OfSturges(double[] sorted, double[] window)
    {
        if (Distinct(sorted, FewValues) is { Length: <= FewValues })
        {
            return new Bins(PooledRule, [], sorted.Concat(window).Distinct().Order().ToArray());
        }

        double low = Math.Min(sorted[0], window.Length == 0 ? sorted[0] : window[0]), high = Math.Max(sorted[^1], window.Length == 0 ? sorted[^1] : window[^1]);
        double width = (high - low) / (Math.Log2(sorted.Length + window.Length) + 1);
        return OfWidth(SturgesRule, low, high, width > 0 ? (int)Math.Ceiling((high - low) / width) : 1);
    }

    /// <summary>Quantile by linear interpolation between order statistics at (n - 1) q, the rule that most numeric tools default to.</summary>
    public static double Quantile(double[] sorted, double q)
    {
        double at = (sorted.Length - 1) * q;
        int below = (int)Math.Floor(at);
        return Between(sorted[below], sorted[Math.Min(below + 1, sorted.Length - 1)], at - below);
    }

    /// <summary>The value <paramref name="part"/> of the way from a to b, computed from the nearer end.</summary>
    internal static double Between(double a, double b, double part) => part >= 0.5 ? b - (b - a) * (1 - part) : a + (b - a) * part;

    /// <summary>The bin of a finite value.</summary>
    public int IndexOf(double value)
    {
        if (ByWidth)
        {
            if (!(value >= Edges[0] && value <= Edges[^1]))
            {
                return Edges.Length - 1;
            }

            // The last edge belongs to the last bin, every other to the bin that begins there.
            int at = Array.BinarySearch(Edges, value);
            return Math.Min(at < 0 ? ~at - 1 : at, Edges.Length - 2);
        }

        double[] keys = ByQuantiles ? Edges : Values;
        int low = 0, high = keys.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (keys[middle] < value)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return ByQuantiles || (low < keys.Length && keys[low] == value) ? low : keys.Length;
    }

    /// <summary>Adds the counts of finite values to <paramref name="counts"/> (<see cref="Count"/> long).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void CountInto(ReadOnlySpan<double> values, Span<long> counts)
    {
        if (Count == 1)
        {
            counts[0] += values.Length;
        }
        else if (ByQuantiles && Edges.Length <= MostCompared)
        {
            CountByComparing(values, counts);
        }
        else if (ByQuantiles && Edges.Length <= 255)
        {
            CountBySearching(values, counts);
        }
        else if (Rule == ValuesRule && Values.Length <= FewValues)
        {
            CountByEquality(values, counts);
        }
        else
        {
            foreach (double value in values)
            {
                counts[IndexOf(value)]++;
            }
        }
    }

    /// <summary>The text of a bin for people: `(3, 7]`, `= 4`, `other`.</summary>
    public string Label(int bin)
    {
        if (ByWidth)
        {
            return bin < Edges.Length - 1 ? $"[{Edges[bin]:G6}, {Edges[bin + 1]:G6}{(bin == Edges.Length - 2 ? "]" : ")")}" : "outside";
        }

        if (!ByQuantiles)
        {
            return bin < Values.Length ? $"= {Values[bin]:G6}" : "other";
        }

        string from = bin == 0 ? "-inf" : $"{Edges[bin - 1]:G6}";
        return bin == Edges.Length ? $"({from}, inf)" : $"({from}, {Edges[bin]:G6}]";
    }

    /// <summary>Up to this many edges, comparing eight values at once with every edge is faster than searching.</summary>
    private const int MostCompared = 9;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void CountByComparing(ReadOnlySpan<double> values, Span<long> counts)
    {
        Span<long> above = stackalloc long[MostCompared];
        above.Clear();
        ref double first = ref MemoryMarshal.GetReference(values);
        int width = Vector512<double>.Count, whole = values.Length - values.Length % width;
        int j = 0;
        // Nine accumulators stay in registers; fewer edges are padded with one that nothing exceeds.
        Vector512<double> e0 = Edge(0), e1 = Edge(1), e2 = Edge(2), e3 = Edge(3), e4 = Edge(4), e5 = Edge(5), e6 = Edge(6), e7 = Edge(7), e8 = Edge(8);
        Vector512<long> c0 = Vector512<long>.Zero, c1 = c0, c2 = c0, c3 = c0, c4 = c0, c5 = c0, c6 = c0, c7 = c0, c8 = c0;
        for (int i = 0; i < whole; i += width)
        {
            Vector512<double> v = Vector512.LoadUnsafe(ref first, (nuint)i);
            c0 -= Vector512.GreaterThan(v, e0).AsInt64();
            c1 -= Vector512.GreaterThan(v, e1).AsInt64();
            c2 -= Vector512.GreaterThan(v, e2).AsInt64();
            c3 -= Vector512.GreaterThan(v, e3).AsInt64();
            c4 -= Vector512.GreaterThan(v, e4).AsInt64();
            c5 -= Vector512.GreaterThan(v, e5).AsInt64();
            c6 -= Vector512.GreaterThan(v, e6).AsInt64();
            c7 -= Vector512.GreaterThan(v, e7).AsInt64();
            c8 -= Vector512.GreaterThan(v, e8).AsInt64();
        }

        foreach (Vector512<long> c in (ReadOnlySpan<Vector512<long>>)[c0, c1, c2, c3, c4, c5, c6, c7, c8])
        {
            above[j++] = Vector512.Sum(c);
        }

        for (int i = whole; i < values.Length; i++)
        {
            for (int e = 0; e < Edges.Length; e++)
            {
                above[e] += values[i] > Edges[e] ? 1 : 0;
            }
        }

        long before = values.Length;
        for (int e = 0; e < Edges.Length; e++)
        {
            counts[e] += before - above[e];
            before = above[e];
        }

        counts[Edges.Length] += before;

        Vector512<double> Edge(int at) => Vector512.Create(at < Edges.Length ? Edges[at] : double.PositiveInfinity);
    }

    /// <summary>Writes the bin of each value to <paramref name="places"/>; for quantile bins with at most 255 edges. What is not finite gets any bin.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Place(ReadOnlySpan<double> values, Span<byte> places)
    {
        Grid g = grid ??= new Grid(Edges);
        places = places[..values.Length];
        int i = 0;
        for (; i <= values.Length - 4; i += 4)
        {
            g.Find(values.Slice(i, 4), out nint p0, out nint p1, out nint p2, out nint p3);
            places[i] = (byte)p0;
            places[i + 1] = (byte)p1;
            places[i + 2] = (byte)p2;
            places[i + 3] = (byte)p3;
        }

        for (; i < values.Length; i++)
        {
            places[i] = (byte)IndexOf(values[i]);
        }
    }

    /// <summary>The counts of these bins from the counts of finer ones, which have each of their edges.</summary>
    public long[] CountsOf(Bins finer, ReadOnlySpan<long> counts)
    {
        long[] sums = new long[Count];
        int at = 0;
        for (int e = 0; e <= Edges.Length; e++)
        {
            int end = e == Edges.Length ? finer.Edges.Length : Array.BinarySearch(finer.Edges, Edges[e]);
            if (end < 0)
            {
                throw new InvalidOperationException($"The finer bins have no edge at {Edges[e]}.");
            }

            for (; at <= end; at++)
            {
                sums[e] += counts[at];
            }
        }

        return sums;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void CountBySearching(ReadOnlySpan<double> values, Span<long> counts)
    {
        Grid g = grid ??= new Grid(Edges);
        Span<int> a = stackalloc int[256], b = stackalloc int[256];
        a.Clear();
        b.Clear();
        int i = 0;
        for (; i <= values.Length - 4; i += 4)
        {
            g.Find(values.Slice(i, 4), out nint p0, out nint p1, out nint p2, out nint p3);
            a[(int)p0]++;
            b[(int)p1]++;
            a[(int)p2]++;
            b[(int)p3]++;
        }

        for (int bin = 0; bin <= Edges.Length; bin++)
        {
            counts[bin] += a[bin] + b[bin];
        }

        for (; i < values.Length; i++)
        {
            counts[IndexOf(values[i])]++;
        }
    }

    /// <summary>Few values: eight at once are compared with each of them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void CountByEquality(ReadOnlySpan<double> values, Span<long> counts)
    {
        ref double first = ref MemoryMarshal.GetReference(values);
        int width = Vector512<double>.Count, whole = values.Length - values.Length % width;
        long left = whole;
        for (int bin = 0; bin < Values.Length; bin++)
        {
            Vector512<double> value = Vector512.Create(Values[bin]);
            Vector512<long> equal = Vector512<long>.Zero;
            for (int i = 0; i < whole; i += width)
            {
                equal -= Vector512.Equals(Vector512.LoadUnsafe(ref first, (nuint)i), value).AsInt64();
            }

            long count = Vector512.Sum(equal);
            counts[bin] += count;
            left -= count;
        }

        counts[Values.Length] += left;
        for (int i = whole; i < values.Length; i++)
        {
            counts[IndexOf(values[i])]++;
        }
    }

    /// <summary>
    /// Finds the bin of a value among at most 255 edges: a table over cells of equal width gives the edges below a value's cell, and a search without a branch
    /// goes on among the few edges inside it. Both edges and values get their cell by the same arithmetic, which never falls as the value rises,
    /// so that rounding cannot put a value on the wrong side of an edge.
    /// </summary>
    private sealed class Grid
    {
        private const int Cells = 4096;
        private readonly double low;
        private readonly double scale;
        private readonly nint step;
        private readonly byte[] below = new byte[Cells];
        private readonly double[] padded = new double[512];

        public Grid(double[] edges)
        {
            Array.Fill(padded, double.PositiveInfinity);
            edges.CopyTo(padded, 0);
            low = edges[0];
            scale = Cells / (edges[^1] - edges[0]);
            // An edge range without width, or beyond what a number holds, is one cell.
            scale = double.IsFinite(scale) ? scale : 0;
            int[] inside = new int[Cells];
            foreach (double edge in edges)
            {
                inside[Cell(edge)]++;
            }

            int before = 0;
            for (int cell = 0; cell < Cells; cell++)
            {
                below[cell] = (byte)before;
                before += inside[cell];
            }

            step = (nint)BitOperations.RoundUpToPowerOf2((uint)inside.Max() + 1) / 2;
        }

        /// <summary>Four searches run side by side, so that their loads overlap.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Find(ReadOnlySpan<double> four, out nint p0, out nint p1, out nint p2, out nint p3)
        {
            double v0 = four[0], v1 = four[1], v2 = four[2], v3 = four[3];
            ref byte start = ref MemoryMarshal.GetArrayDataReference(below);
            ref double edges = ref MemoryMarshal.GetArrayDataReference(padded);
            p0 = Unsafe.Add(ref start, Cell(v0));
            p1 = Unsafe.Add(ref start, Cell(v1));
            p2 = Unsafe.Add(ref start, Cell(v2));
            p3 = Unsafe.Add(ref start, Cell(v3));
            for (nint s = step; s > 0; s >>= 1)
            {
                p0 += Step(ref edges, p0, s, v0);
                p1 += Step(ref edges, p1, s, v1);
                p2 += Step(ref edges, p2, s, v2);
                p3 += Step(ref edges, p3, s, v3);
            }

            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            static nint Step(ref double edges, nint at, nint step, double value)
            {
                bool above = Unsafe.Add(ref edges, at + step - 1) < value;
                return -(nint)Unsafe.BitCast<bool, byte>(above) & step;
            }
        }

        /// <summary>The cell of a value; 0 for NaN.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private nint Cell(double value)
        {
            Vector128<double> at = Vector128.CreateScalarUnsafe((value - low) * scale);
            // The constant is the second operand of the maximum, which is what an unordered comparison gives.
            at = Vector128.MinNative(Vector128.MaxNative(at, Vector128<double>.Zero), Vector128.CreateScalarUnsafe((double)(Cells - 1)));
            return Sse2.IsSupported ? Sse2.ConvertToInt32WithTruncation(at) : (int)at.ToScalar();
        }
    }

    private static Bins OfWidth(string rule, double low, double high, int count)
    {
        if (high == low)
        {
            (low, high) = (low - 0.5, high + 0.5);
        }

        double step = (high - low) / count;
        double[] edges = new double[count + 1];
        for (int i = 0; i < count; i++)
        {
            edges[i] = low + i * step;
        }

        edges[count] = high;
        return new Bins(rule, edges, []);
    }

    private static double[] Distinct(double[] sorted, int most)
    {
        var found = new List<double>();
        foreach (double value in sorted)
        {
            if (found.Count == 0 || value > found[^1])
            {
                found.Add(value);
                if (found.Count > most)
                {
                    break;
                }
            }
        }

        return found.ToArray();
    }
}
