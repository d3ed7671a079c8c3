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

    private static Verdict Judge(ArmHealth stable, ArmHealth candidate) => Analysis.Guardrails(Spec, Sample(stable, candidate), AnalysisMemory.Empty).Verdict;

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
