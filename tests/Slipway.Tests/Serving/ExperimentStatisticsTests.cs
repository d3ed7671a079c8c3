using System.Text.Json;
using Slipway.Monitoring;
using Slipway.Serving;
using Slipway.Tests.Monitoring;

namespace Slipway.Tests.Serving;

/// <summary>Statistics of rollouts against figures of scipy and statsmodels, and of arbitrary-precision arithmetic where those have none.</summary>
public sealed class ExperimentStatisticsTests
{
    private static readonly JsonElement Golden = Figures.Root("experiments");

    [Fact]
    public void Two_proportions_have_the_golden_z_and_Newcombe_interval()
    {
        var checks = new Checks();
        foreach (var (row, name) in Rows("two_proportions"))
        {
            var (x1, n1, x2, n2) = (row.Long("x1"), row.Long("n1"), row.Long("x2"), row.Long("n2"));
            var z = FixedHorizon.Z(x1, n1, x2, n2);
            var found = FixedHorizon.Shares(x1, n1, x2, n2, 0.05);
            checks.Relative($"{name} difference", row.Double("diff"), found.Difference);
            checks.Relative($"{name} z", row.Double("z"), z.Statistic);
            checks.Relative($"{name} p", row.Double("p"), z.P);
            checks.Relative($"{name} lower", row.Doubles("newcombe")[0], found.Lower);
            checks.Relative($"{name} upper", row.Doubles("newcombe")[1], found.Upper);
            checks.Equal($"{name} test", Math.Min(x1, x2) < FixedHorizon.FewInACell ? "Fisher exact" : "pooled z", found.Test);
        }

        checks.Done(24);
    }

    [Fact]
    public void Shares_that_are_none_have_no_figures_and_say_why()
    {
        foreach (var none in new[] { FixedHorizon.Shares(0, 0, 1, 10, 0.05), FixedHorizon.Shares(11, 10, 1, 10, 0.05), FixedHorizon.Shares(-1, 10, 1, 10, 0.05) })
        {
            Assert.Null(none.P);
            Assert.Null(none.Difference);
            Assert.NotNull(none.Why);
        }
    }

    [Fact]
    public void Means_have_the_golden_Welch_t_and_interval()
    {
        var checks = new Checks();
        foreach (var (row, name) in Rows("welch"))
        {
            double m1 = row.Double("m1"), v1 = row.Double("v1"), m2 = row.Double("m2"), v2 = row.Double("v2");
            var (n1, n2) = (row.Long("n1"), row.Long("n2"));
            var found = FixedHorizon.Means(m1, v1, n1, m2, v2, n2, 0.05);
            checks.Relative($"{name} t", row.Double("t"), found.Statistic);
            checks.Relative($"{name} df", row.Double("df"), TwoSample.Welch(m2, v2, n2, m1, v1, n1).Degrees);
            checks.Relative($"{name} p", row.Double("p"), found.P);
            // The reference's t quantile is itself off by 3e-9 in the second row; the line below pins ours to 16 digits.
            checks.Relative($"{name} lower", row.Doubles("ci")[0], found.Lower, 3e-9);
            checks.Relative($"{name} upper", row.Doubles("ci")[1], found.Upper, 3e-9);
        }

        checks.Relative("t quantile", 2.006577657085346345881702, Tails.StudentQuantile(0.025, 52.07539263477151570961501), 1e-12);
        checks.Done(16);
        Assert.Null(FixedHorizon.Means(1, 0, 10, 2, 0, 10, 0.05).P);
        Assert.Null(FixedHorizon.Means(1, 1, 10, double.NaN, 1, 10, 0.05).P);
    }

    [Fact]
    public void Sample_sizes_are_the_golden_ones()
    {
        var checks = new Checks();
        foreach (var (row, name) in Rows("sample_size_proportion"))
        {
            var found = SampleSize.Proportions(row.Double("p"), row.Double("mde"), row.Double("alpha"), row.Double("power"), row.Double("ratio"));
            checks.Equal(name, (row.Long("n_control"), row.Long("n_treatment")), found);
        }

        foreach (var (row, name) in Rows("sample_size_mean"))
        {
            checks.Equal(name, (row.Long("n_per_arm"), row.Long("n_per_arm")), SampleSize.Means(row.Double("d"), row.Double("alpha"), row.Double("power")));
        }

        checks.Done(8);
    }

    [Fact]
    public void Smallest_effect_and_power_invert_the_sample_size()
    {
        Assert.Equal(0.01, SampleSize.SmallestProportionEffect(0.1, 14749, 14749, 0.05, 0.8)!.Value, 1e-6);
        Assert.Equal(0.01, SampleSize.SmallestProportionEffect(0.1, 76221, 8469, 0.05, 0.8)!.Value, 1e-6);
        Assert.Equal(0.8, SampleSize.ProportionPower(0.1, 0.01, 14749, 14749, 0.05), 1e-4);
        Assert.InRange(SampleSize.SmallestMeanEffect(1571, 1571, 0.05, 0.8)!.Value, 0.0999, 0.1);
        Assert.Null(SampleSize.SmallestProportionEffect(0.5, 2, 2, 0.05, 0.8));
        Assert.Null(SampleSize.SmallestMeanEffect(1, 1, 0.05, 0.8));
        Assert.Equal(0.05, SampleSize.MeanPower(0, 100, 50, 0.05), 1e-9);
    }

    [Fact]
    public void Sample_ratio_has_the_golden_chi_square_and_alarm()
    {
        var checks = new Checks();
        foreach (var (row, name) in Rows("srm"))
        {
            var observed = row.Longs("observed");
            var found = SampleRatio.Check(observed, SampleRatio.Expected(observed.Length, [new(row.Doubles("weights"), observed.Sum())]));
            checks.Near($"{name} chi2", row.Double("chi2"), found.ChiSquare, 1e-9 * Math.Max(1, row.Double("chi2")));
            checks.Relative($"{name} p", row.Double("p"), found.P);
            checks.Equal($"{name} alarm", row.GetProperty("srm").GetBoolean(), found.Mismatch);
        }

        checks.Done(15);
    }

    [Fact]
    public void Sample_ratio_expects_each_unit_by_the_weights_of_its_moment()
    {
        // 10,000 units at 99/1, then 10,000 at 50/50, assigned without fault.
        long[] observed = [9900 + 5000, 100 + 5000];
        WeightSpan[] ramp = [new([99, 1], 10_000), new([50, 50], 10_000)];
        Assert.False(SampleRatio.Check(observed, SampleRatio.Expected(2, ramp)).Mismatch);
        Assert.True(SampleRatio.Check(observed, SampleRatio.Expected(2, [new([50, 50], 20_000)])).Mismatch);
        Assert.True(SampleRatio.Check([10, 1], SampleRatio.Expected(2, [new([100, 0], 11)])).Mismatch);
        Assert.Null(SampleRatio.Check([10, 0], SampleRatio.Expected(2, [new([100, 0], 10)])).P);
    }

    [Fact]
    public void Cuped_takes_away_the_golden_share_of_the_variance()
    {
        var row = Golden.GetProperty("cuped");
        double theta = row.Double("theta"), rho = row.Double("corr"), ratio = row.Double("ratio");
        // History and a residual that is exactly uncorrelated with it; the residual's size gives the golden correlation.
        const int n = 2000;
        var random = new Random(3);
        var x = Enumerable.Range(0, n).Select(_ => random.NextDouble()).ToArray();
        var e = Enumerable.Range(0, n).Select(_ => random.NextDouble()).ToArray();
        double meanX = x.Average(), meanE = e.Average(), xx = x.Sum(v => (v - meanX) * (v - meanX));
        var slope = x.Zip(e, (a, b) => (a - meanX) * (b - meanE)).Sum() / xx;
        var residual = x.Zip(e, (a, b) => b - meanE - (slope * (a - meanX))).ToArray();
        var size = Math.Sqrt(theta * theta * xx * ((1 / (rho * rho)) - 1) / residual.Sum(v => v * v));
        var y = x.Zip(residual, (a, b) => (theta * a) + (size * b)).ToArray();
        var before = Variance(y);
        var report = Cuped.Adjust(y, x);
        Assert.Equal(1, report.Theta!.Value / theta, 1e-9);
        Assert.Equal(1, report.Correlation!.Value / rho, 1e-9);
        Assert.Equal(1, report.VarianceRatio!.Value / ratio, 1e-9);
        Assert.Equal(1, Variance(y) / before / ratio, 1e-9);

        static double Variance(double[] values) => values.Sum(v => (v - values.Average()) * (v - values.Average()));
    }

    [Fact]
    public void Cuped_leaves_units_without_history_as_they_are()
    {
        double[] y = [1, 2, 3, 4, 10], x = [1, 2, 3, 4, double.NaN];
        var report = Cuped.Adjust(y, x);
        Assert.Equal((10, 4), (y[4], (int)report.WithHistory));
        double[] untouched = [1, 2, 3];
        Assert.Null(Cuped.Adjust(untouched, [double.NaN, double.NaN, 1]).Theta);
        Assert.Equal([1, 2, 3], untouched);
    }

    [Fact]
    public void PBest_of_beta_posteriors_is_golden()
    {
        var checks = new Checks();
        foreach (var (row, name) in Rows("p_best"))
        {
            var posteriors = row.GetProperty("beta").EnumerateArray().Select(b => Posterior.Beta(b[0].GetDouble(), b[1].GetDouble())).ToList();
            foreach (var (expected, found) in row.Doubles("p_best").Zip(Bandit.PBest(posteriors)))
            {
                checks.Relative(name, expected, found, 1e-6);
            }
        }

        foreach (var (row, name) in Rows("nig"))
        {
            var posteriors = row.GetProperty("arms").EnumerateArray()
                .Select(a => Posterior.NormalInverseGamma(a[0].GetDouble(), a[1].GetDouble(), a[2].GetDouble(), a[3].GetDouble())).ToList();
            foreach (var (expected, found) in row.Doubles("p_best").Zip(Bandit.PBest(posteriors)))
            {
                checks.Relative(name, expected, found, 1e-6);
            }
        }

        checks.Done(12);
    }

    [Fact]
    public void Bandit_waits_for_the_burn_in_moves_by_the_step_limit_and_keeps_the_floor()
    {
        var spec = new BanditSpec { Reward = new MetricSpec { Name = "won", Kind = MetricKind.Proportion } };
        BanditArm[] early = [new(99, 99, 10, 10), new(5000, 5000, 900, 900)];
        var waiting = Bandit.Weigh(spec, early, [0.5, 0.5]);
        Assert.False(waiting.Moved);
        Assert.Null(waiting.PBest);

        BanditArm[] clear = [new(5000, 5000, 500, 500), new(5000, 5000, 900, 900)];
        var stepped = Bandit.Weigh(spec, clear, [0.5, 0.5]);
        Assert.Equal([0.3, 0.7], stepped.Weights.Select(w => Math.Round(w, 9)));
        var weights = stepped.Weights;
        for (var i = 0; i < 5; i++)
        {
            weights = Bandit.Weigh(spec, clear, weights).Weights;
        }

        Assert.Equal([0.01, 0.99], weights.Select(w => Math.Round(w, 9)));
        Assert.False(Bandit.Weigh(spec, clear, weights).Moved);
        Assert.Equal([0.99, 0.01], Settle(spec with { Reward = spec.Reward with { Direction = MetricDirection.Down } }, clear));
        Assert.False(Bandit.Weigh(spec, [new(500, 500, double.NaN, 1), new(500, 500, 1, 1)], [0.5, 0.5]).Moved);
        var mean = spec with { Reward = spec.Reward with { Kind = MetricKind.Mean } };
        Assert.False(Bandit.Weigh(mean, [new(500, 500, 500, 500), new(500, 500, 500, 500)], [0.5, 0.5]).Moved);
        Assert.Equal([0.01, 0.99], Settle(mean, [new(500, 500, 500, 1000), new(500, 500, 1000, 2500)]));

        static double[] Settle(BanditSpec spec, BanditArm[] arms)
        {
            IReadOnlyList<double> weights = [0.5, 0.5];
            for (var i = 0; i < 6; i++)
            {
                weights = Bandit.Weigh(spec, arms, weights).Weights;
                Assert.Equal(1, weights.Sum(), 1e-9);
            }

            return [.. weights.Select(w => Math.Round(w, 6))];
        }
    }

    [Fact]
    public void Inverse_propensity_undoes_the_moving_weights()
    {
        // The arm gets 10 % of a weak season and 90 % of a strong one: its plain mean is near the strong season's, the truth is the middle.
        var random = new Random(11);
        var arm = new InversePropensity();
        double plain = 0, n = 0;
        foreach (var (share, reward) in new[] { (0.1, 0.2), (0.9, 0.6) })
        {
            for (var i = 0; i < 50_000; i++)
            {
                if (random.NextDouble() < share)
                {
                    var won = random.NextDouble() < reward ? 1 : 0;
                    arm.Add(won, share);
                    plain += won;
                    n++;
                }
            }
        }

        Assert.InRange(plain / n, 0.53, 0.59);
        Assert.Equal(0.4, arm.Mean!.Value, 4 * arm.Error!.Value);
        Assert.InRange(arm.Error!.Value, 0.001, 0.01);
        Assert.Throws<ArgumentOutOfRangeException>(() => new InversePropensity().Add(1, 0));
        Assert.Null(new InversePropensity().Mean);
    }

    [Fact]
    public void Paired_tests_have_the_reference_probabilities()
    {
        var checks = new Checks();
        foreach (var (row, name) in Rows("wilcoxon"))
        {
            var found = Paired.Wilcoxon(row.Doubles("d"));
            checks.Relative($"{name} w", row.Double("w"), found.Statistic);
            checks.Relative($"{name} p", row.Double("p"), found.P);
        }

        foreach (var (row, name) in Rows("mcnemar"))
        {
            checks.Relative(name, row.Double("p"), Paired.McNemar(row.Long("b"), row.Long("c")).P);
        }

        checks.Done(10);
        Assert.Null(Paired.McNemar(0, 0).P);
        Assert.Null(Paired.Wilcoxon([0, 0]).P);
        Assert.Null(Paired.Wilcoxon([1, double.NaN]).P);
        Assert.Equal([1, 2.5, 2.5, 4], Paired.Ranks([10, 20, 20, 30]));
    }

    [Fact]
    public void Ratio_metrics_have_the_delta_methods_variance()
    {
        var row = Golden.GetProperty("delta");
        RatioSums first = Sums("first"), second = Sums("second");
        var found = FixedHorizon.Ratios(first, second, 0.05);
        Assert.Equal(1, found.Difference!.Value / row.Double("difference"), 1e-9);
        Assert.Equal(1, found.Statistic!.Value / row.Double("z"), 1e-9);
        Assert.Equal(1, found.P!.Value / row.Double("p"), 1e-9);
        Assert.Null(FixedHorizon.Ratios(default, second, 0.05).P);

        RatioSums Sums(string name)
        {
            var sums = new RatioSums();
            foreach (var pair in row.GetProperty(name).EnumerateArray())
            {
                sums.Add(pair[0].GetDouble(), pair[1].GetDouble());
            }

            return sums;
        }
    }

    [Fact]
    public void Quantile_bootstrap_sees_a_slower_arm_repeatably_and_counts_entities_not_requests()
    {
        var random = new Random(4);
        var fast = Draw(1.0);
        var slow = Draw(1.3);
        var found = FixedHorizon.Quantiles(fast, slow, 0.95, 0.05, seed: 7);
        Assert.True(found.Lower > 0 && found.P < 0.01, found.ToString());
        Assert.Equal(found, FixedHorizon.Quantiles(fast, slow, 0.95, 0.05, seed: 7));
        var same = FixedHorizon.Quantiles(fast, Draw(1.0), 0.95, 0.05, seed: 7);
        Assert.True(same.Lower < 0 && same.Upper > 0, same.ToString());

        // One entity behind every value: nothing can be said, and the interval says so.
        var one = FixedHorizon.Quantiles([.. fast.Select(v => (v.Unit / 500, v.Value))], [.. slow.Select(v => (v.Unit / 500, v.Value))], 0.95, 0.05, seed: 7);
        Assert.True(one.Upper - one.Lower > found.Upper - found.Lower, one.ToString());
        Assert.Null(FixedHorizon.Quantiles([(0, 1), (1, double.NaN)], slow, 0.95, 0.05, 1).P);

        List<(int Unit, double Value)> Draw(double scale) => [.. Enumerable.Range(0, 2000).Select(i => (i, -Math.Log(1 - random.NextDouble()) * scale))];
    }

    [Fact]
    public void Shadow_pairs_are_compared_one_by_one()
    {
        var random = new Random(9);
        var comparison = new ShadowComparison();
        for (var i = 0; i < 1000; i++)
        {
            float score = random.NextSingle(), other = i % 10 == 0 ? 1 - score : score;
            comparison.Add($"p{i}", new(i % 100 != 0, 1000 + random.Next(10), i % 100 == 0 ? [] : [score]), new(i % 50 != 1, 1100 + random.Next(10), i % 50 == 1 ? [] : [other]));
        }

        var report = comparison.Report("candidate", unmatched: 3);
        Assert.Equal((1000, 3, 10, 20), (report.Pairs, report.Unmatched, report.PrimaryErrors, report.ShadowErrors));
        Assert.Equal(880 / 970.0, report.ExactMatch!.Value, 1e-9);
        Assert.Equal(report.ClassFlips!.Value, report.Classes.Where(c => c.Primary != c.Shadow).Sum(c => c.Pairs) / 970.0, 1e-9);
        Assert.Equal(0, report.Difference[0].Value);
        Assert.InRange(report.RankCorrelation!.Value, 0.6, 0.99);
        Assert.True(report.LatencyP < 1e-6 && report.LatencyShiftMicros is > 90 and < 110);
        Assert.Equal(Paired.McNemar(10, 20).P, report.ErrorsP);
        Assert.NotNull(report.ScorePsi);
        Assert.Null(new ShadowComparison().Report("candidate").ExactMatch);
        Assert.NotNull(new ShadowComparison().Report("candidate").Why);
    }

    [Fact]
    public void Shadow_comparison_keeps_a_bounded_sample_and_exact_counts()
    {
        var comparison = new ShadowComparison();
        for (var i = 0; i < ShadowComparison.MostPairs * 3 / 2; i++)
        {
            comparison.Add($"p{i}", new(true, 1, [0.25f]), new(true, 1, [0.75f]));
        }

        var report = comparison.Report("candidate");
        Assert.Equal((150_000, 1.0, 0.0), (report.Pairs, report.ClassFlips, report.ExactMatch));
        Assert.InRange(report.Sampled, 0.4, 0.6);
        Assert.Null(report.RankCorrelation);
    }

    [Theory]
    [InlineData(0.5, Verdict.Pass)]
    [InlineData(1.0, Verdict.Pass)]
    [InlineData(1.1, Verdict.Inconclusive)]
    [InlineData(1.3, Verdict.Fail)]
    [InlineData(double.NaN, Verdict.NoData)]
    [InlineData(double.PositiveInfinity, Verdict.NoData)]
    [InlineData(double.NegativeInfinity, Verdict.NoData)]
    public void Bounds_accept_doubt_and_refuse_but_never_pass_what_is_not_a_number(double value, Verdict verdict) =>
        Assert.Equal(verdict, new AnalysisMetric { Name = "m", AtMost = 1, FailAbove = 1.2 }.Judge(value));

    [Fact]
    public void A_metric_fails_on_failure_number_maxFailures_plus_one()
    {
        var metric = new AnalysisMetric { Name = "m", MaxFailures = 3, AtMost = 1 };
        var tally = MetricTally.Begin(0);
        for (var i = 1; i <= 3; i++)
        {
            tally = tally.Add(Verdict.Fail, i);
            Assert.NotEqual(Verdict.Fail, tally.Judge(metric).Verdict);
        }

        Assert.Equal((Verdict.Fail, true), (tally.Add(Verdict.Fail, 4).Judge(metric).Verdict, tally.Add(Verdict.Fail, 4).Judge(metric).Final));
    }

    [Fact]
    public void A_metric_passes_only_with_enough_measurements_and_successes_in_a_row()
    {
        var metric = new AnalysisMetric { Name = "m", MinMeasurements = 4, ConsecutiveSuccesses = 2, MaxErrors = 1, MaxNoData = 1, MaxInconclusive = 1, AtMost = 1 };
        Assert.Equal(Verdict.NoData, MetricTally.Begin(0).Judge(metric).Verdict);
        Assert.Equal((Verdict.Inconclusive, false), Of(Verdict.Pass, Verdict.Pass, Verdict.Pass));
        Assert.Equal((Verdict.Inconclusive, false), Of(Verdict.Pass, Verdict.Pass, Verdict.NoData, Verdict.Pass));
        Assert.Equal((Verdict.Pass, true), Of(Verdict.NoData, Verdict.Error, Verdict.Pass, Verdict.Pass));
        Assert.Equal((Verdict.Error, true), Of(Verdict.Pass, Verdict.Error, Verdict.Error));
        Assert.Equal((Verdict.Inconclusive, false), Of(Verdict.Error, Verdict.Pass, Verdict.Error));
        Assert.Equal((Verdict.NoData, true), Of(Verdict.NoData, Verdict.NoData));
        Assert.Equal((Verdict.Inconclusive, true), Of(Verdict.Inconclusive, Verdict.Inconclusive));
        // A real failure is not hidden by a broken provider.
        Assert.Equal((Verdict.Fail, true), Of(Verdict.Fail, Verdict.Error, Verdict.Error));

        (Verdict, bool) Of(params Verdict[] verdicts)
        {
            var (verdict, final, _) = verdicts.Aggregate(MetricTally.Begin(0), (tally, next) => tally.Add(next, 1)).Judge(metric);
            return (verdict, final);
        }
    }

    private static IEnumerable<(JsonElement Row, string Name)> Rows(string group) => Golden.GetProperty(group).EnumerateArray().Select((row, i) => (row, $"{group}[{i}]"));
}

file static class Json
{
    public static double Double(this JsonElement row, string name) => row.GetProperty(name).GetDouble();

    public static long Long(this JsonElement row, string name) => row.GetProperty(name).GetInt64();
}
