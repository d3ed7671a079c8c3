using Slipway.Benchmarks;
using Slipway.Serving;

namespace Slipway.Tests.Serving;

/// <summary>The error rates that the gate promises, over simulated rollouts with fixed seeds; `rollout-stats` of the benchmarks runs ten times as many.</summary>
public sealed class GateSimulationTests
{
    private const int Rollouts = 200;

    [Theory]
    [InlineData(0.1, 0.5)]
    [InlineData(0.02, 0.1)]
    [InlineData(0.001, 0.5)]
    public void Equal_variants_are_aborted_at_most_as_often_as_alpha_says(double rate, double share) =>
        Assert.InRange(GateSimulation.Gate(Rollouts, rate, rate, share, 1).Decided, 0, (int)(0.05 * Rollouts));

    [Theory]
    [InlineData(0.1, 0.5)]
    [InlineData(0.001, 0.1)]
    public void Three_points_of_harm_are_stopped(double rate, double share) =>
        Assert.InRange(GateSimulation.Gate(Rollouts, rate, rate + 0.03, share, 1).Decided, (int)(0.99 * Rollouts), Rollouts);

    [Fact]
    public void Always_valid_tests_keep_alpha_where_a_fixed_test_at_every_look_does_not()
    {
        var (sequential, once, peeking) = GateSimulation.Experiments(Rollouts, 0.1, 0, 1);
        Assert.InRange(sequential.Share, 0, 0.05);
        Assert.InRange(once.Share, 0, 0.1);
        Assert.InRange(peeking.Share, 0.25, 0.5);
        var harm = GateSimulation.Experiments(Rollouts, 0.1, -0.03, 1).Sequential;
        Assert.Equal(1, harm.Share);
        Assert.InRange(harm.MeanUnits, 1000, 4000);
    }

    [Fact]
    public void A_plan_says_what_a_small_canary_costs()
    {
        var plan = ExperimentPlan.Of(new PlanRequest { Rate = 0.1, Effect = 0.01, Percent = 10 }, 10_000, "as given");
        Assert.Equal((14749, 14749), (plan.Even.StableUnits, plan.Even.CandidateUnits));
        Assert.Equal((76221, 8469), (plan.Canary.StableUnits, plan.Canary.CandidateUnits));
        Assert.Equal(2.9, plan.Canary.TimesEven, 0.05);
        Assert.Equal(8.469, plan.Canary.Days!.Value, 1e-3);
        Assert.Equal([7, 14, 28], plan.Horizons.Select(horizon => horizon.Days));
        Assert.All(plan.Horizons, horizon => Assert.True(horizon.Even < horizon.Canary));
        Assert.True(plan.Horizons[1].Canary < 0.01 && plan.Horizons[0].Canary > 0.01);
        var mean = ExperimentPlan.Of(new PlanRequest { Deviation = 10, Effect = 1, Percent = 50 }, null, "unknown");
        Assert.Equal((1571, 1571, null), (mean.Even.StableUnits, mean.Even.CandidateUnits, mean.Even.Days));
        Assert.Empty(mean.Horizons);
        Assert.Equal(4, ExperimentPlan.Faults(new PlanRequest { Percent = 60, Rate = 2, Effect = double.NaN }).Count);
    }
}
