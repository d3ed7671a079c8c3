using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring;

public sealed class AlertRuleTests
{
    [Theory]
    [InlineData("2", "F")]
    [InlineData("1", "P")]
    [InlineData("101", "PIF")]
    [InlineData("1001", "PIIP")]
    [InlineData("3c", "FI")]
    [InlineData("300c", "FFFI")]
    [InlineData("11c1c1", "PFIFIF")]
    public void States_follow_from_the_ranks_of_the_windows(string ranks, string expected)
    {
        // 0 is inside the limit but not clear, c is clear.
        AlertRule rule = AlertRule.New;
        string states = "";
        for (int i = 0; i < ranks.Length; i++)
        {
            rule = rule.Next(new RuleObservation(i, ranks[i] == 'c' ? 0 : ranks[i] - '0', ranks[i] == 'c'), new Thresholds());
            states += rule.State switch { AlertRule.Firing => 'F', AlertRule.Pending => 'P', _ => 'I' };
        }

        Assert.Equal(expected, states);
    }

    [Fact]
    public void Judging_a_window_again_replaces_its_verdict()
    {
        var thresholds = new Thresholds();
        AlertRule rule = AlertRule.New.Next(new RuleObservation(1, 1, false), thresholds).Next(new RuleObservation(2, 0, true), thresholds);
        Assert.Equal(AlertRule.Inactive, rule.State);
        rule = rule.Next(new RuleObservation(2, 1, false), thresholds);
        Assert.Equal((AlertRule.Firing, 2), (rule.State, rule.History.Count));
    }

    [Fact]
    public void A_late_verdict_about_an_old_window_does_not_fire_over_newer_ones()
    {
        var thresholds = new Thresholds();
        AlertRule rule = AlertRule.New.Next(new RuleObservation(2, 0, true), thresholds).Next(new RuleObservation(1, 3, false), thresholds);
        Assert.Equal(AlertRule.Inactive, rule.State);
    }

    [Fact]
    public void A_point_without_a_verdict_is_no_observation()
    {
        foreach (string state in new[] { PointState.Insufficient, PointState.NoData, PointState.Undefined, PointState.Error })
        {
            Assert.Null(AlertRule.Observe(new MonitorPoint(Traffic.Monday, Traffic.Monday.AddDays(1), "psi", "x", null, 0, state, null, null, "why", "{}")));
        }
    }
}
