using Slipway.Foundation;
using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring.Statistics;

public sealed class SketchTests
{
    [Theory]
    [InlineData(200, 0.0133)]
    [InlineData(400, 0.0068)]
    [InlineData(1000, 0.0028)]
    public void Quantiles_keep_their_rank_error_through_merges(int k, double bound)
    {
        var random = new Random(k);
        double[] values = Enumerable.Range(0, 100_000).Select(_ => Math.Exp(random.NextDouble() * 4)).ToArray();
        KllSketch whole = new(k), merged = new(k);
        foreach (double[] part in values.Chunk(7_001))
        {
            var own = new KllSketch(k);
            foreach (double v in part)
            {
                own.Add(v);
                whole.Add(v);
            }

            merged.Merge(own);
        }

        Array.Sort(values);
        foreach (KllSketch sketch in new[] { whole, merged, KllSketch.FromBytes(merged.ToBytes()) })
        {
            Assert.Equal(100_000, sketch.N);
            Assert.Equal((values[0], values[^1]), (sketch.Quantile(0), sketch.Quantile(1)));
            double worst = Enumerable.Range(1, 99).Max(q => Math.Abs(sketch.Cdf(values[q * 1000]) - (q * 1000 + 1) / 100_000.0));
            Assert.True(worst <= bound, $"rank error {worst}");
            Assert.Equal(100_000, sketch.CountBins([2, 5, 20]).Sum());
            Assert.InRange(sketch.RankError, bound * 0.98, bound * 1.02);
        }
    }

    [Fact]
    public void Sketches_of_none_one_and_two_values_merge()
    {
        foreach (int n in new[] { 0, 1, 2 })
        {
            foreach (int m in new[] { 0, 1, 2 })
            {
                double[] all = Enumerable.Range(0, n + m).Select(i => i + 0.5).ToArray();
                KllSketch a = new(), b = new();
                DdSketch c = new(), d = new();
                DistinctSketch e = new(), f = new();
                FrequentItems g = new(), h = new();
                for (int i = 0; i < n + m; i++)
                {
                    (i < n ? a : b).Add(all[i]);
                    (i < n ? c : d).Add(all[i]);
                    (i < n ? e : f).Add(all[i]);
                    (i < n ? g : h).Add((ulong)i);
                }

                a.Merge(KllSketch.FromBytes(b.ToBytes()));
                c.Merge(DdSketch.FromBytes(d.ToBytes()));
                e.Merge(DistinctSketch.FromBytes(f.ToBytes()));
                g.Merge(FrequentItems.FromBytes(h.ToBytes()));
                Assert.Equal((n + m, n + m, n + m, n + m), (a.N, c.N, e.Count, g.N));
                Assert.Equal(n + m == 0 ? double.NaN : 0.5, a.Min);
                Assert.Equal(n + m == 0 ? double.NaN : n + m - 0.5, c.Max);
            }
        }
    }

    [Fact]
    public void The_same_values_give_the_same_bytes()
    {
        Assert.Equal(Build(), Build());

        static byte[] Build()
        {
            var random = new Random(3);
            var sketch = new ColumnSketch(new Bins(Bins.QuantileRule, [0.2, 0.5], []), quantiles: true, distinct: 512, items: true);
            for (int i = 0; i < 30_000; i++)
            {
                sketch.Add(random.NextDouble());
            }

            return sketch.ToBytes();
        }
    }

    [Fact]
    public void A_merge_of_column_sketches_adds_exactly_and_survives_its_bytes()
    {
        var random = new Random(5);
        double[] values = Enumerable.Range(0, 20_000).Select(i => i % 97 == 0 ? double.NaN : i % 89 == 0 ? double.PositiveInfinity : i % 83 == 0 ? ColumnSketch.Null : random.NextDouble() - 0.3).ToArray();
        Bins bins = Bins.OfQuantiles(TwoSample.Sorted(values));
        ColumnSketch all = Of(values), one = Of(values.AsSpan(0, 7_000)), two = Of(values.AsSpan(7_000));
        one.Merge(ColumnSketch.FromBytes(two.ToBytes()));
        Assert.Equal(all.Counts, one.Counts);
        Assert.Equal((all.Finite, all.Missing, all.NaN, all.Infinite, all.Negatives), (one.Finite, one.Missing, one.NaN, one.Infinite, one.Negatives));
        Assert.Equal(values.Count(double.IsNaN), one.Missing);
        Assert.True(one.NaN < one.Missing);
        Assert.Equal(all.Moments.Mean, one.Moments.Mean, 12);
        Assert.Equal(all.Moments.M4, one.Moments.M4, 6);

        ColumnSketch Of(ReadOnlySpan<double> part)
        {
            var sketch = new ColumnSketch(bins, quantiles: true, distinct: 512);
            sketch.Add(part);
            return sketch;
        }
    }

    [Fact]
    public void A_million_values_take_16_KB_as_a_number_and_8_KB_as_a_category()
    {
        var random = new Random(6);
        double[] reference = Enumerable.Range(0, 10_000).Select(_ => random.NextDouble()).Order().ToArray();
        var number = new ColumnSketch(Bins.OfQuantiles(reference, 200), quantiles: true, distinct: 512);
        var category = new ColumnSketch(Bins.OfCategories(reference.Select(v => Math.Floor(v * 100)).ToArray()), distinct: 512, items: true);
        for (int i = 0; i < 1_000_000; i++)
        {
            number.Add(random.NextDouble());
            category.Add(Math.Floor(random.NextDouble() * 3_000));
        }

        Assert.InRange(number.ToBytes().Length, 4_000, 16 * 1024);
        Assert.InRange(category.ToBytes().Length, 2_000, 8 * 1024);
    }

    [Fact]
    public void Unlike_sketches_are_refused()
    {
        SlipwayException e = Assert.Throws<SlipwayException>(() => new KllSketch(200).Merge(new KllSketch(400)));
        Assert.Equal("k is 200 here and 400 there", e.Why);
        Assert.Throws<SlipwayException>(() => new DdSketch(0.01).Merge(new DdSketch(0.02)));
        Assert.Throws<SlipwayException>(() => new DistinctSketch(10).Merge(new DistinctSketch(20)));
        Assert.Throws<SlipwayException>(() => new FrequentItems(10).Merge(new FrequentItems(20)));
        Assert.Throws<SlipwayException>(() => new ColumnSketch(new Bins(Bins.QuantileRule, [1], [])).Merge(new ColumnSketch(new Bins(Bins.QuantileRule, [2], []))));
        byte[] bytes = new KllSketch().ToBytes();
        bytes[3] = 9;
        Assert.Equal("its form has version 9, this program reads version 1", Assert.Throws<SlipwayException>(() => KllSketch.FromBytes(bytes)).Why);
        Assert.Equal(ErrorCode.DataLoss, Assert.Throws<SlipwayException>(() => DdSketch.FromBytes(new KllSketch().ToBytes())).Code);
        Assert.Equal("it ends too early", Assert.Throws<SlipwayException>(() => KllSketch.FromBytes(new KllSketch().ToBytes().AsMemory(0, 12))).Why);
    }

    [Theory]
    [InlineData(400)]
    [InlineData(20_000)]
    [InlineData(1_000_000)]
    public void Distinct_values_are_exact_while_few_and_within_three_errors_later(int distinct)
    {
        DistinctSketch one = new(), other = new();
        for (int i = 0; i < distinct; i++)
        {
            one.Add((double)i);
            one.Add((double)i);
            if (i % 2 == 0)
            {
                other.Add((double)-i);
            }
        }

        Assert.Equal(distinct <= 512, one.IsExact);
        Assert.InRange(one.Count, distinct * (1 - 3 * one.RelativeError), distinct * (1 + 3 * one.RelativeError));
        one.Merge(DistinctSketch.FromBytes(other.ToBytes()));
        double all = distinct * 1.5 - 1;
        Assert.InRange(one.Count, all * (1 - 3 * one.RelativeError), all * (1 + 3 * one.RelativeError));
    }

    [Fact]
    public void Frequent_items_are_never_counted_too_high_and_little_too_low()
    {
        var random = new Random(7);
        var truth = new Dictionary<ulong, long>();
        FrequentItems one = new(64), other = new(64);
        for (int i = 0; i < 50_000; i++)
        {
            ulong item = (ulong)Math.Exp(random.NextDouble() * 9);
            truth[item] = truth.GetValueOrDefault(item) + 1;
            (i % 3 == 0 ? one : other).Add(item);
        }

        one.Merge(FrequentItems.FromBytes(other.ToBytes()));
        Assert.Equal(50_000, one.N);
        Assert.InRange(one.Error, 1, 50_000 / 65);
        foreach ((ulong item, long count) in truth)
        {
            Assert.InRange(one.CountOf(item), Math.Max(0, count - one.Error), count);
        }

        Assert.Equal(truth.MaxBy(t => t.Value).Key, one.Items()[0].Item);
    }

    [Fact]
    public void Latencies_collapse_only_their_lowest_bins()
    {
        var sketch = new DdSketch(0.001);
        double[] values = Enumerable.Range(0, 20_000).Select(i => Math.Pow(10, -6 + i / 2000.0)).ToArray();
        foreach (double v in values)
        {
            sketch.Add(v);
        }

        Assert.True(sketch.ToBytes().Length < 8_000);
        Assert.Equal(values[19_800], sketch.Quantile(0.99), 0.0011 * values[19_800]);
    }

    [Fact]
    public void Errors_are_carried_to_the_distance()
    {
        var random = new Random(11);
        double[] x = Enumerable.Range(0, 50_000).Select(_ => random.NextDouble()).ToArray(), y = Enumerable.Range(0, 50_000).Select(_ => random.NextDouble() + 0.05).ToArray();
        KllSketch a = new(200), b = new(200);
        foreach (double v in x)
        {
            a.Add(v);
        }

        foreach (double v in y)
        {
            b.Add(v);
        }

        double exact = TwoSample.KolmogorovSmirnov(TwoSample.Sorted(x), TwoSample.Sorted(y)).Statistic, estimate = KllSketch.KolmogorovSmirnov(a, b, out double bound);
        Assert.InRange(Math.Abs(estimate - exact), 0, bound);
        Bins bins = Bins.OfQuantiles(TwoSample.Sorted(x), 200);
        long[] p = new long[bins.Count], q = new long[bins.Count];
        bins.CountInto(x, p);
        bins.CountInto(y, q);
        Assert.InRange(exact - Distances.KolmogorovSmirnov(p, q), 0, Distances.KolmogorovSmirnovBound(p, q));
        Bins tenths = Bins.OfQuantiles(TwoSample.Sorted(x));
        (p, q) = (new long[10], new long[10]);
        tenths.CountInto(x, p);
        tenths.CountInto(y, q);
        long[] sketchedP = a.CountBins(tenths.Edges), sketchedQ = b.CountBins(tenths.Edges);
        double psiBound = Distances.PsiBound(p, q, a.ShareError, b.ShareError);
        Assert.InRange(Math.Abs(Distances.Psi(sketchedP, sketchedQ) - Distances.Psi(p, q)), 0, psiBound);
        double jsBound = Distances.JensenShannonBound(Distances.TotalVariation(p, sketchedP), Distances.TotalVariation(q, sketchedQ));
        Assert.InRange(Math.Abs(Distances.JensenShannon(sketchedP, sketchedQ) - Distances.JensenShannon(p, q)), 0, jsBound);
    }

    [Fact]
    public void Fast_counting_equals_a_search_for_every_value()
    {
        var random = new Random(12);
        double[] values = Enumerable.Range(0, 5_003).Select(i => i % 7 == 0 ? 3.5 : random.NextDouble() * 10 - 2).ToArray();
        foreach (int parts in new[] { 2, 4, 10, 50, 200 })
        {
            Bins bins = Bins.OfQuantiles(TwoSample.Sorted(values), parts);
            long[] fast = new long[bins.Count], slow = new long[bins.Count];
            bins.CountInto(values, fast);
            foreach (double v in values)
            {
                slow[bins.IndexOf(v)]++;
            }

            Assert.Equal(slow, fast);
        }
    }

    public static TheoryData<string> Shapes => ["normal", "tails", "ties", "zeros", "huge", "few"];

    [Theory, MemberData(nameof(Shapes))]
    public void Counting_searching_and_hashing_many_at_once_equal_one_by_one(string shape)
    {
        double[] values = Shape(shape, 20_011);
        double[] sorted = [.. values.Order()];
        Bins bins = shape == "few" ? Bins.OfNumbers(sorted) : Bins.OfQuantiles(sorted, 200);
        Assert.Equal(shape == "few", bins.Rule == Bins.ValuesRule);
        // Values beyond the reference and exactly on its edges too.
        double[] asked = [.. values, .. bins.Edges, sorted[0] - 1, sorted[^1] + 1, double.MaxValue, double.MinValue, -0.0, 0.0, double.Epsilon];
        long[] fast = new long[bins.Count], slow = new long[bins.Count];
        bins.CountInto(asked, fast);
        foreach (double v in asked)
        {
            slow[bins.IndexOf(v)]++;
        }

        Assert.Equal(slow, fast);
        if (shape != "few")
        {
            byte[] places = new byte[asked.Length];
            bins.Place(asked, places);
            Assert.Equal(asked.Select(v => (byte)bins.IndexOf(v)), places);
            Bins coarse = Bins.OfQuantiles(sorted);
            Assert.Equal(Counted(coarse, asked), coarse.CountsOf(bins, fast));
        }

        DistinctSketch many = new(100), each = new(100);
        many.Add(asked);
        var column = new ColumnSketch(bins, distinct: 100);
        column.Add(asked);
        foreach (double v in asked)
        {
            each.Add(v);
        }

        Assert.Equal(shape == "few", each.IsExact);
        Assert.Equal(each.ToBytes(), many.ToBytes());
        Assert.Equal(each.ToBytes(), column.Distinct!.ToBytes());
        Assert.Equal((asked.Count(v => v == 0), asked.Count(v => v < 0)), (column.Zeros, column.Negatives));

        static long[] Counted(Bins bins, double[] values)
        {
            long[] counts = new long[bins.Count];
            bins.CountInto(values, counts);
            return counts;
        }
    }

    [Fact]
    public void Sorting_by_counting_equals_sorting()
    {
        var random = new Random(8);
        double[] values = [.. Enumerable.Range(0, 70_000).Select(i => i % 11 == 0 ? double.NaN : i % 13 == 0 ? double.NegativeInfinity : i % 17 == 0 ? -0.0 : random.Next(-20, 20) / 4.0)];
        double[] sorted = RadixSort.Finite(values), expected = [.. values.Where(double.IsFinite).Order()];
        Assert.Equal(expected, sorted);
        // One zero before the other, as their bits have it.
        int first = Array.IndexOf(sorted, 0.0);
        Assert.Equal(values.Count(v => v == 0 && double.IsNegative(v)), sorted.Skip(first).TakeWhile(double.IsNegative).Count());
    }

    private static double[] Shape(string shape, int rows)
    {
        var random = new Random(21);
        return [.. Enumerable.Range(0, rows).Select(i => shape switch
        {
            "normal" => Normal(),
            "tails" => Math.Exp(3 * Normal()),
            "ties" => i % 3 == 0 ? 0.25 : Math.Round(Normal(), 3),
            "zeros" => i % 2 == 0 ? 0 : Normal() * 1e-300,
            "huge" => Normal() * (1e308 / 4),
            _ => Math.Floor(4 * random.NextDouble()) - 1,
        })];

        double Normal() => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
    }
}
