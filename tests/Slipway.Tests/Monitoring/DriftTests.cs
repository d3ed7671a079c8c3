using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring;

public sealed class DriftTests
{
    [Fact]
    public void Quantiles_equal_linear_interpolation_of_the_reference()
    {
        foreach (var figure in Figures.Read("quantiles"))
        {
            double[] sorted = figure.Doubles("x").Order().ToArray();
            foreach (var q in figure.GetProperty("q").EnumerateObject())
            {
                Assert.Equal(q.Value.GetDouble(), Bins.Quantile(sorted, double.Parse(q.Name)), 1e-9 * Math.Max(1, Math.Abs(q.Value.GetDouble())));
            }
        }
    }

    [Fact]
    public void Quantile_bins_of_raw_columns_give_the_published_edges_and_index()
    {
        foreach (var figure in Figures.Read("quantile_bins"))
        {
            double[] reference = figure.Doubles("x"), window = figure.Doubles("y");
            Bins bins = Bins.OfQuantiles(reference.Order().ToArray());
            double[] edges = figure.Doubles("edges");
            Assert.Equal(edges.Length, bins.Edges.Length);
            Assert.All(edges.Zip(bins.Edges), pair => Assert.Equal(pair.First, pair.Second, 1e-12));
            Assert.Equal(figure.GetProperty("psi").GetDouble(), Distances.Psi(Count(bins, reference), Count(bins, window)), 1e-9);
        }
    }

    [Fact]
    public void Psi_equals_the_figures_of_thirty_three_real_columns()
    {
        foreach (var figure in Figures.Read("psi"))
        {
            Assert.Equal(figure.GetProperty("psi").GetDouble(), Distances.Psi(figure.Longs("reference"), figure.Longs("window")), 1e-9);
        }
    }

    [Fact]
    public void Chi_square_tail_equals_the_figures_down_to_the_smallest()
    {
        foreach (var figure in Figures.Read("chi2_tails"))
        {
            double x = figure[0].GetDouble(), expected = figure[2].GetDouble();
            double got = Tails.ChiSquare(x, figure[1].GetDouble());
            Assert.Equal(1, expected == 0 ? got + 1 : got / expected, 1e-6);
        }
    }

    [Theory]
    [InlineData(0.05, 1, 3.841458820694124)]
    [InlineData(0.001, 9, 27.877164871256568)]
    public void Chi_square_quantile_inverts_the_tail(double tail, double degrees, double expected)
    {
        Assert.Equal(expected, Tails.ChiSquareQuantile(tail, degrees), 1e-6);
        Assert.Equal(tail, Tails.ChiSquare(Tails.ChiSquareQuantile(tail, degrees), degrees), 1e-12);
    }

    [Fact]
    public void Benjamini_yekutieli_equals_the_figures()
    {
        foreach (var figure in Figures.Read("benjamini_yekutieli"))
        {
            double[] adjusted = MultipleTesting.BenjaminiYekutieli(figure.Doubles("p"));
            Assert.All(figure.Doubles("adjusted").Zip(adjusted), pair => Assert.Equal(pair.First, pair.Second, 1e-12));
            bool[] reject = figure.GetProperty("reject").EnumerateArray().Select(v => v.GetBoolean()).ToArray();
            Assert.Equal(reject, adjusted.Select(a => a <= figure.GetProperty("alpha").GetDouble()).ToArray());
        }
    }

    [Fact]
    public void Benjamini_yekutieli_leaves_untested_features_out_of_the_count()
    {
        double[] adjusted = MultipleTesting.BenjaminiYekutieli([0.01, double.NaN, 0.04]);
        Assert.True(double.IsNaN(adjusted[1]));
        Assert.Equal(0.01 * 2 * 1.5, adjusted[0], 1e-12);
    }

    [Fact]
    public void Moments_of_merged_parts_equal_those_of_the_whole()
    {
        foreach (var figure in Figures.Read("moments"))
        {
            double[][] parts = figure.GetProperty("parts").EnumerateArray().Select(p => p.EnumerateArray().Select(v => v.GetDouble()).ToArray()).ToArray();
            Moments m = parts.Select(p => Moments.Of(p)).Aggregate((a, b) => a.Merge(b));
            Assert.Equal(figure.GetProperty("count").GetInt64(), m.Count);
            Assert.Equal(1, m.Mean / figure.GetProperty("mean").GetDouble(), 1e-9);
            Assert.Equal(1, m.Variance!.Value / figure.GetProperty("var_pop").GetDouble(), 1e-6);
            Assert.Equal(figure.GetProperty("skew_biased").GetDouble(), Math.Sqrt(m.Count) * m.M3 / Math.Pow(m.M2, 1.5), 1e-4);
            Assert.Equal(figure.GetProperty("kurtosis_excess_biased").GetDouble(), m.Count * m.M4 / (m.M2 * m.M2) - 3, 1e-3);
        }
    }

    [Fact]
    public void Few_distinct_values_get_a_bin_each_and_other_catches_the_unseen()
    {
        Bins bins = Bins.OfNumbers([1, 1, 2, 5]);
        Assert.Equal(Bins.ValuesRule, bins.Rule);
        Assert.Equal(4, bins.Count);
        Assert.Equal([0, 1, 2, 3, 3], new[] { 1.0, 2, 5, 3, 99 }.Select(bins.IndexOf));
        Assert.Equal(["= 1", "= 2", "= 5", "other"], Enumerable.Range(0, 4).Select(bins.Label));
    }

    [Fact]
    public void Categories_keep_the_most_frequent_and_pool_the_rest()
    {
        double[] sorted = Enumerable.Range(0, 60).SelectMany(v => Enumerable.Repeat((double)v, v < 50 ? 3 : 1)).Order().ToArray();
        ColumnReference reference = ColumnReference.Freeze("carrier", sorted.Select(v => (float)v).ToArray(), categorical: true);
        Assert.Equal(Bins.MostCategories + 1, reference.Bins.Count);
        Assert.Equal(10, reference.Counts[^1]);
    }

    [Fact]
    public void Missing_and_infinite_values_are_counted_apart_and_not_binned()
    {
        ColumnReference reference = ColumnReference.Freeze("x", [1, 2, float.NaN, float.PositiveInfinity, float.NegativeInfinity], categorical: false);
        Assert.Equal((2, 1, 2, 2), (reference.Finite, reference.Missing, reference.Infinite, reference.Counts.Sum()));
    }

    [Fact]
    public void A_quiet_window_is_ok_and_a_shifted_one_alerts_with_its_level()
    {
        var random = new Random(5);
        float[] reference = Normal(random, 4000, 0), quiet = Normal(random, 1000, 0), mild = Normal(random, 1000, 0.42), far = Normal(random, 1000, 1.5);
        ColumnReference r = ColumnReference.Freeze("x", reference, categorical: false);
        DriftVerdict[] verdicts = new[] { quiet, mild, far }.Select(w => Decide(r, w)).ToArray();
        Assert.Equal([PointState.Ok, PointState.Alert, PointState.Alert], verdicts.Select(v => v.State));
        Assert.Equal([DriftLevel.None, DriftLevel.Major, DriftLevel.Severe], verdicts.Select(v => v.Level));
        Assert.True(verdicts[1].Psi > verdicts[1].Limit);
    }

    [Fact]
    public void A_large_but_immaterial_shift_is_significant_and_does_not_alert()
    {
        // 5 % of the mass moves between two values: highly significant on 200,000 rows, yet below the material floor of 0.02.
        float[] reference = Enumerable.Range(0, 200_000).Select(i => i % 2 == 0 ? 0f : 1f).ToArray();
        float[] window = Enumerable.Range(0, 200_000).Select(i => i % 100 < 53 ? 0f : 1f).ToArray();
        DriftVerdict verdict = Decide(ColumnReference.Freeze("x", reference, categorical: false), window);
        Assert.True(verdict.P < 1e-6);
        Assert.Equal(PointState.Ok, verdict.State);
    }

    [Fact]
    public void Quiet_windows_rarely_alert_at_any_size()
    {
        var random = new Random(17);
        int alerts = 0;
        foreach (int size in new[] { 100, 300, 1000 })
        {
            for (int i = 0; i < 60; i++)
            {
                alerts += Decide(ColumnReference.Freeze("x", Normal(random, 1000, 0), categorical: false), Normal(random, size, 0)).State == PointState.Alert ? 1 : 0;
            }
        }

        Assert.True(alerts <= 4, $"{alerts} of 180 quiet windows alerted");
    }

    [Fact]
    public void Twenty_quiet_features_do_not_alert_together()
    {
        var random = new Random(3);
        int alerts = 0;
        for (int repeat = 0; repeat < 20; repeat++)
        {
            var columns = Enumerable.Range(0, 20).Select(i =>
            {
                ColumnReference r = ColumnReference.Freeze($"f{i}", Normal(random, 1000, 0), categorical: false);
                return (r, Sketch(r, Normal(random, 500, 0)));
            }).ToArray();
            alerts += Drift.Decide(columns, new Thresholds()).Count(v => v.State == PointState.Alert);
        }

        Assert.True(alerts <= 4, $"{alerts} of 400 quiet features alerted");
    }

    [Fact]
    public void Too_few_rows_all_missing_and_no_rows_are_states_with_reasons()
    {
        ColumnReference r = ColumnReference.Freeze("x", Normal(new Random(1), 500, 0), categorical: false);
        Assert.Equal(PointState.Insufficient, Decide(r, new float[29]).State);
        Assert.Equal(PointState.NoData, Decide(r, []).State);
        Assert.Equal(PointState.Undefined, Decide(r, Enumerable.Repeat(float.NaN, 100).ToArray()).State);
        ColumnReference small = ColumnReference.Freeze("x", Normal(new Random(1), 40, 0), categorical: false);
        DriftVerdict verdict = Decide(small, Normal(new Random(2), 100, 0));
        Assert.Equal(PointState.Insufficient, verdict.State);
        Assert.Equal("the reference has 40 rows with a value, 50 are needed for 10 bins", verdict.Why);
        Assert.Null(verdict.Psi);
    }

    [Fact]
    public void A_constant_reference_is_ok_with_the_same_constant_and_alerts_with_another()
    {
        ColumnReference r = ColumnReference.Freeze("x", Enumerable.Repeat(7f, 200).ToArray(), categorical: false);
        DriftVerdict same = Decide(r, Enumerable.Repeat(7f, 100).ToArray()), other = Decide(r, Enumerable.Repeat(8f, 100).ToArray());
        Assert.Equal((PointState.Ok, 0.0), (same.State, same.Psi!.Value));
        Assert.Equal((PointState.Alert, DriftLevel.Severe), (other.State, other.Level));
    }

    private static DriftVerdict Decide(ColumnReference reference, float[] window) => Drift.Decide([(reference, Sketch(reference, window))], new Thresholds())[0];

    private static ColumnSketch Sketch(ColumnReference reference, float[] window)
    {
        var sketch = new ColumnSketch(reference.Bins);
        foreach (float value in window)
        {
            sketch.Add(value);
        }

        return sketch;
    }

    private static long[] Count(Bins bins, double[] values)
    {
        long[] counts = new long[bins.Count];
        foreach (double value in values)
        {
            counts[bins.IndexOf(value)]++;
        }

        return counts;
    }

    internal static float[] Normal(Random random, int n, double mean) =>
        Enumerable.Range(0, n).Select(_ => (float)(mean + Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()))).ToArray();
}
