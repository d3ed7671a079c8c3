using CsCheck;
using Slipway.Monitoring;
using Slipway.Serving;

namespace Slipway.Tests.Serving;

public sealed class AnalysisTests
{
    private static readonly AnalysisSpec Spec = new() { Quality = ["auc", "logLoss"] };

    // Golden figures of the mixture test (scipy).
    [Theory]
    [InlineData(0.02, 4e-5, 1e-4, 19.011557566042594, 0.05259958299188202, 0.02014141854174595)]
    [InlineData(0.005, 4e-5, 1e-4, 0.6682003678616297, 1.0, 0.02014141854174595)]
    [InlineData(0.03, 1e-4, 4e-4, 16.367228014507628, 0.06109770079048311, 0.03082389993889093)]
    [InlineData(0, 1e-5, 1e-4, 0.30151134457776363, 1.0, 0.009606401928868575)]
    public void SequentialTest_equals_the_golden_figures(double difference, double variance, double tau2, double lambda, double p, double radius)
    {
        Assert.Equal(1, SequentialTest.Lambda(difference, variance, tau2) / lambda, 1e-9);
        Assert.Equal(1, SequentialTest.PValue(difference, variance, tau2) / p, 1e-9);
        Assert.Equal(1, SequentialTest.Radius(variance, tau2, 0.05) / radius, 1e-9);
    }

    [Fact]
    public void SequentialTest_of_equal_arms_with_a_hundred_looks_is_rarely_wrong()
    {
        var random = new Random(20260301);
        var wrong = Enumerable.Range(0, 1000).Count(_ =>
        {
            long a = 0, b = 0, n = 0;
            for (var look = 0; look < 100; look++)
            {
                for (var i = 0; i < 200; i++, n++)
                {
                    a += random.NextDouble() < 0.1 ? 1 : 0;
                    b += random.NextDouble() < 0.1 ? 1 : 0;
                }

                var v = SequentialTest.ProportionVariance(a, n, b, n);
                if (a >= 100 && b >= 100 && SequentialTest.PValue((double)(b - a) / n, v, 1e-4) < 0.05)
                {
                    return true;
                }
            }

            return false;
        });
        Assert.InRange(wrong, 0, 50);
    }

    [Fact]
    public void RareEvents_test_is_valid_under_equal_rates_and_sees_a_row_of_failures()
    {
        var random = new Random(7);
        var wrong = Enumerable.Range(0, 2000).Count(run =>
        {
            long stable = 0, candidate = 0;
            for (var i = 1; i <= 60; i++)
            {
                // One more failure; it falls to the candidate with its share of the traffic.
                (stable, candidate) = random.NextDouble() < 0.1 ? (stable, candidate + 1) : (stable + 1, candidate);
                if (Analysis.RareEventsPValue(new(9000, stable, 1), new(1000, candidate, 1)) < 0.05)
                {
                    return true;
                }
            }

            return false;
        });
        Assert.InRange(wrong, 0, 100);
        Assert.True(Analysis.RareEventsPValue(new(9000, 0, 1), new(1000, 5, 1)) < 0.01);
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(49, 5000)]
    [InlineData(5000, 49)]
    public void Guardrails_without_enough_requests_have_no_data(long candidate, long stable) =>
        Assert.Equal(Verdict.NoData, Analysis.Guardrails(Spec, Sample(new(stable, 0, 100), new(candidate, 0, 100)), AnalysisMemory.Empty).Verdict);

    [Fact]
    public void Guardrails_fail_a_candidate_that_errs_and_pass_an_equal_one()
    {
        Assert.Equal(Verdict.Fail, Judge(new(1000, 2, 100), new(100, 20, 100)));
        Assert.Equal(Verdict.Pass, Judge(new(1000, 10, 100), new(100, 1, 100)));
        Assert.Equal(Verdict.Pass, Judge(new(1000, 300, 100), new(100, 10, 100)));
    }

    [Fact]
    public void Guardrails_fail_a_slow_candidate_but_not_one_slow_by_microseconds()
    {
        Assert.Equal(Verdict.Fail, Judge(new(1000, 0, 5_000), new(100, 0, 20_000)));
        Assert.Equal(Verdict.Pass, Judge(new(1000, 0, 20), new(100, 0, 100)));
        Assert.Equal(Verdict.NoData, Judge(new(1000, 0, 20), new(100, 0, double.NaN)));
    }

    [Fact]
    public void Judge_fails_scores_that_do_not_know_the_outcome()
    {
        var random = new Random(1);
        var good = Enumerable.Range(0, 4000).Select(_ => Draw(random, informed: true)).ToList();
        var shuffled = Enumerable.Range(0, 500).Select(_ => Draw(random, informed: false)).ToList();
        var report = Analysis.Judge(Spec, Sample(new(4000, 0, 50), new(500, 0, 50), ArmQuality.Of(good), ArmQuality.Of(shuffled)), AnalysisMemory.Empty);
        Assert.Equal(Verdict.Fail, report.Verdict);
        var auc = report.Checks.Single(check => check.Metric == "auc");
        Assert.Equal(Verdict.Fail, auc.Verdict);
        Assert.True(auc.Lower > 0 && auc.Upper < 1 && auc.CandidateN == 500, auc.Why);
    }

    [Fact]
    public void Judge_passes_scores_as_good_as_stable()
    {
        var random = new Random(2);
        var stable = Enumerable.Range(0, 4000).Select(_ => Draw(random, informed: true)).ToList();
        var candidate = Enumerable.Range(0, 1000).Select(_ => Draw(random, informed: true)).ToList();
        Assert.Equal(
            Verdict.Pass,
            Analysis.Judge(Spec, Sample(new(4000, 0, 50), new(1000, 0, 50), ArmQuality.Of(stable), ArmQuality.Of(candidate)), AnalysisMemory.Empty).Verdict);
    }

    [Fact]
    public void Judge_without_labels_or_with_one_class_or_with_NaN_has_no_data()
    {
        var one = ArmQuality.Of([.. Enumerable.Repeat(new LabelledScore(0.2, false), 1000)]);
        var broken = ArmQuality.Of([.. Enumerable.Range(0, 1000).Select(i => new LabelledScore(i == 3 ? double.NaN : 0.2, i % 5 == 0))]);
        var fine = ArmQuality.Of([.. Enumerable.Range(0, 1000).Select(i => new LabelledScore(i % 5 == 0 ? 0.6 : 0.2, i % 5 == 0))]);
        var health = (Stable: new ArmHealth(1000, 0, 50), Candidate: new ArmHealth(1000, 0, 50));
        foreach (var candidate in new[] { null, one, broken, ArmQuality.Of([]) })
        {
            Assert.Equal(Verdict.NoData, Analysis.Judge(Spec, Sample(health.Stable, health.Candidate, fine, candidate), AnalysisMemory.Empty).Verdict);
        }
    }

    [Fact]
    public void Judge_remembers_the_smallest_p_and_the_intersection()
    {
        var first = Analysis.Guardrails(Spec, Sample(new(1000, 0, 1), new(1000, 8, 1)), AnalysisMemory.Empty);
        var second = Analysis.Guardrails(Spec, Sample(new(9000, 40, 1), new(9000, 44, 1)), first.Memory);
        Assert.True(second.Memory.Looks["errorRate"].P <= first.Memory.Looks["errorRate"].P);
        Assert.True(second.Memory.Looks["errorRate"].Lower >= first.Memory.Looks["errorRate"].Lower);
        Assert.True(second.Memory.Looks["errorRate"].Upper <= first.Memory.Looks["errorRate"].Upper);
    }

    [Fact]
    public void Quality_equals_figures_computed_by_hand()
    {
        // Scores 0.1 F, 0.4 F, 0.35 T, 0.8 T: three of four pairs are in order.
        var quality = ArmQuality.Of([new(0.1, false), new(0.4, false), new(0.35, true), new(0.8, true)]);
        Assert.Equal(0.75, quality.Auc, 12);
        Assert.Equal((-Math.Log(0.9) - Math.Log(0.6) - Math.Log(0.35) - Math.Log(0.8)) / 4, quality.LogLoss, 12);
        Assert.Equal(0.5, ArmQuality.Of([new(0.5, false), new(0.5, true)]).Auc, 12);
    }

    [Fact]
    public void Faults_are_reported_all_at_once() =>
        Assert.Equal(4, new AnalysisSpec { MinRequests = 0, Alpha = 0.9, MaxErrorRateIncrease = double.NaN, Quality = ["taste"] }.Faults().Count);

    // Integrals by Simpson's rule over 400,001 points in log space, independent of the incomplete beta.
    [Theory]
    [InlineData(20, 500, true), InlineData(5, 500, true), InlineData(0, 1000, false), InlineData(3, 1500, false), InlineData(40, 1000, true)]
    public void QuantileSequence_ratio_equals_the_integral_of_its_definition(long events, long n, bool above)
    {
        const double Border = 0.01, A = 1, B = 99;
        var (from, to) = above ? (Border, 1 - 1e-12) : (1e-12, Border);
        double Density(double t, long k, long m) => Math.Exp(((A - 1) * Math.Log(t)) + ((B - 1) * Math.Log(1 - t)) + (k * Math.Log(t / Border)) + ((m - k) * Math.Log((1 - t) / (1 - Border))));
        double Integral(long k, long m)
        {
            const int Steps = 400_000;
            var width = (to - from) / Steps;
            return Enumerable.Range(0, Steps + 1).Sum(i => (i is 0 or Steps ? 1 : i % 2 == 1 ? 4 : 2) * Density(from + (i * width), k, m)) * width / 3;
        }

        Assert.Equal(Math.Log(Integral(events, n) / Integral(0, 0)), QuantileSequence.LogRatio(events, n, Border, above), 1e-6);
    }

    [Fact]
    public void QuantileSequence_of_equal_arms_looked_at_often_is_rarely_wrong_about_either_bound()
    {
        // Latencies of the histogram's classes with a heavy tail; the true p99 lies at class 40.
        var random = new Random(20260302);
        int Draw() => random.NextDouble() is var u && u < 0.99 ? (int)(u * 40) : 40 + (int)((u - 0.99) * 1000);
        var truth = Math.Pow(2, 10);
        var wrong = Enumerable.Range(0, 1000).Count(_ =>
        {
            var counts = new Dictionary<int, long>();
            for (var look = 0; look < 60; look++)
            {
                for (var i = 0; i < 50; i++)
                {
                    var at = Draw();
                    counts[at] = counts.GetValueOrDefault(at) + 1;
                }

                var (lower, upper) = QuantileSequence.Bounds(new HealthCounts(0, counts).Classes(), 0.99, 0.05);
                if (lower > truth || upper < truth)
                {
                    return true;
                }
            }

            return false;
        });
        Assert.InRange(wrong, 0, 100);
    }

    [Fact]
    public void Guardrail_of_p99_fails_only_what_is_proven_and_says_interval_and_n()
    {
        var slow = Check("latencyP99", Counts(4000, 1_000, slowShare: 0.002), Counts(600, 1_000, slowShare: 0.06));
        Assert.Equal((Verdict.Fail, 600L, 4000L), (slow.Verdict, slow.CandidateN, slow.StableN));
        Assert.True(slow is { Lower: > 0, Upper: > 0, Harm: > 0 } && slow.Lower < slow.Upper, slow.Why);
        Assert.Contains("n 600 and 4000", slow.Why);
        Assert.Equal(Verdict.Fail, Analysis.Guardrails(Spec, Sample(Arm(4000, slowShare: 0.002), Arm(600, slowShare: 0.06)), AnalysisMemory.Empty).Verdict);
        Assert.Equal(Verdict.Pass, Check("latencyP99", Counts(4000, 1_000, slowShare: 0.002), Counts(600, 1_000, slowShare: 0.002)).Verdict);
        // Two slow ones of sixty are the p99 of sixty, and prove nothing.
        Assert.Equal(Verdict.Inconclusive, Check("latencyP99", Counts(4000, 1_000, slowShare: 0.002), Counts(60, 1_000, slowShare: 0.04)).Verdict);
        // Nor does stable, while nobody knows how slow it is at most.
        Assert.Equal(Verdict.Inconclusive, Check("latencyP99", Counts(60, 1_000, 0), Counts(600, 1_000, slowShare: 0.06)).Verdict);
        Assert.Equal(Verdict.NoData, Check("latencyP99", Counts(49, 1_000, 0), Counts(600, 1_000, 0)).Verdict);
    }

    [Fact]
    public void Guardrails_fail_answers_with_NaN_and_answers_of_another_shape_and_pass_those_like_stable()
    {
        foreach (var (metric, bad) in new (string, Func<long, AnswerCounts, AnswerCounts>)[] { ("nanShare", (n, of) => of with { Nans = n }), ("schemaViolations", (n, of) => of with { Violations = n }) })
        {
            var (stable, candidate) = (Answers(2000, 1000), Answers(200, 1000));
            Assert.Equal(Verdict.Pass, Check(metric, With(2000, stable), With(200, candidate)).Verdict);
            Assert.Equal(Verdict.Fail, Check(metric, With(2000, stable), With(200, bad(12, candidate))).Verdict);
            Assert.Equal(Verdict.Pass, Check(metric, With(2000, bad(120, stable)), With(200, bad(12, candidate))).Verdict);
            // What nobody looked at is no data.
            Assert.Equal(Verdict.NoData, Check(metric, With(2000, stable), With(200, null)).Verdict);
            var report = Analysis.Guardrails(Spec, Sample(Arm(2000, answers: stable), Arm(200, answers: bad(12, candidate))), AnalysisMemory.Empty);
            Assert.Equal((Verdict.Fail, true), (report.Verdict, report.Why.StartsWith(metric, StringComparison.Ordinal)));
            Assert.True(report.Memory.Looks.ContainsKey(metric));
        }

        Assert.Equal(Verdict.NoData, Check("schemaViolations", With(2000, Answers(2000, 1000) with { Declared = 0 }), With(200, Answers(200, 1000) with { Declared = 0 })).Verdict);
    }

    [Fact]
    public void Guardrail_of_cost_compares_compute_time_times_the_declared_rate()
    {
        var dear = new CostSpec(RatePerHour: 3.6, MaxIncrease: 0.2);
        // A millisecond at 3.6 an hour: a millionth for an answer, one for a million.
        var twice = Check("cost", With(2000, Answers(2000, 1_000_000)), With(200, Answers(200, 2_000_000)), dear);
        Assert.Equal((Verdict.Fail, 1.0, 2.0), (twice.Verdict, Math.Round(twice.Stable!.Value, 9), Math.Round(twice.Candidate!.Value, 9)));
        Assert.Equal(Verdict.Pass, Check("cost", With(2000, Answers(2000, 1_000_000)), With(200, Answers(200, 1_100_000)), dear).Verdict);
        Assert.Equal(Verdict.Fail, Check("cost", With(2000, Answers(2000, 1_000_000)), With(200, Answers(200, 1_000_000)), dear with { CandidateRatePerHour = 5 }).Verdict);
        Assert.Equal(Verdict.NoData, Check("cost", With(2000, Answers(2000, 1_000_000)), With(99, Answers(99, 2_000_000)), dear).Verdict);
        Assert.DoesNotContain(Analysis.Guardrails(Spec, Sample(Arm(2000), Arm(200)), AnalysisMemory.Empty).Checks, check => check.Metric == "cost");
        Assert.Contains(Analysis.Guardrails(Spec with { Cost = dear }, Sample(Arm(2000), Arm(200)), AnalysisMemory.Empty).Checks, check => check.Metric == "cost");
        Assert.Equal(
            [
                "rates of cost are positive amounts for an hour and the accepted increase a positive share (0.2 = 20 %), they are 0, 0 and 0.2",
                "'p50' is not a live metric (latencyP99, nanShare, schemaViolations, cost)",
            ],
            new AnalysisSpec { Cost = new(0), Live = ["p50"] }.Faults());
        Assert.Contains("cost.ratePerHour", Assert.Single(new AnalysisSpec { Live = ["cost"] }.Faults()));
    }

    [Fact]
    public void Counts_of_nodes_add_up_whatever_their_order_and_as_they_are_written_down()
    {
        Gen<HealthCounts> counts = Gen.Select(Gen.Long[0, 50], Gen.Dictionary(Gen.Int[0, 103], Gen.Long[1, 1000])[0, 6], Gen.Bool, Gen.Long[1, 1000], Gen.Double[0, 1e9])
            .Select(each => new HealthCounts(each.Item1, each.Item2) { Answers = each.Item3 ? null : new(each.Item4, each.Item4 / 2, each.Item4, each.Item4 / 3, Math.Floor(each.Item5), Math.Floor(each.Item5)) });
        Gen.Select(counts, counts, counts).Sample((a, b, c) =>
        {
            var text = System.Text.Json.JsonSerializer.Serialize(a, Slipway.Foundation.CanonicalJson.Options);
            var (read, sum) = (System.Text.Json.JsonSerializer.Deserialize<HealthCounts>(text, Slipway.Foundation.CanonicalJson.Options)!, a.Add(b).Add(c));
            var other = c.Add(b.Add(read));
            Assert.Equal((sum.Errors, sum.Requests, sum.Answers), (other.Errors, other.Requests, other.Answers));
            Assert.Equal(sum.Classes(), other.Classes());
            Assert.Equal(sum.Requests, sum.Classes() is { Count: > 0 } classes ? classes[0].AtLeast : 0);
        });
    }

    private static AnalysisCheck Check(string metric, HealthCounts stable, HealthCounts candidate, CostSpec? cost = null) =>
        Analysis.Judge(new() { Live = [metric], Cost = cost }, Sample(Of(stable), Of(candidate)), AnalysisMemory.Empty).Checks.Single(check => check.Metric == metric);

    private static ArmHealth Arm(long n, double slowShare = 0, AnswerCounts? answers = null) => Of(With(n, answers ?? Answers(n, 1_000_000), slowShare));

    private static ArmHealth Of(HealthCounts counts) => new(counts.Requests, counts.Errors, 1000) { Counts = counts };

    // Classes 40 (1 ms) and 60 (33 ms).
    private static HealthCounts Counts(long n, double micros, double slowShare) => With(n, Answers(n, micros * 1000), slowShare);

    private static HealthCounts With(long n, AnswerCounts? answers, double slowShare = 0)
    {
        var slow = (long)Math.Round(n * slowShare);
        return new(0, new Dictionary<int, long> { [40] = n - slow, [60] = slow }.Where(pair => pair.Value > 0).ToDictionary()) { Answers = answers };
    }

    // Compute times with a spread of a tenth of their mean.
    private static AnswerCounts Answers(long n, double nanos) => new(n, 0, n, 0, n * nanos, n * nanos * nanos * 1.01);

    private static Verdict Judge(ArmHealth stable, ArmHealth candidate) => Analysis.Judge(new(), Sample(stable, candidate), AnalysisMemory.Empty).Verdict;

    private static AnalysisSample Sample(ArmHealth stable, ArmHealth candidate, ArmQuality? stableQuality = null, ArmQuality? candidateQuality = null) =>
        new(stable, candidate, stableQuality, candidateQuality);

    // One in five is late; an informed score is calibrated and separates at an AUC of about 0.7.
    private static LabelledScore Draw(Random random, bool informed)
    {
        var risk = Math.Clamp(0.2 + (0.17 * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())), 0.01, 0.95);
        var positive = random.NextDouble() < risk;
        return new(informed ? risk : Math.Clamp(0.2 + (0.1 * (random.NextDouble() - 0.5)), 0.01, 0.99), positive);
    }
}
