using Slipway.Monitoring;

namespace Slipway.Serving;

/// <summary>One revision of the weights, and how many units first came under it.</summary>
/// <param name="Shares">Share of each arm, any scale.</param>
/// <param name="Exposed">Units that were first exposed while it was in force, all arms together.</param>
internal sealed record WeightSpan(IReadOnlyList<double> Shares, long Exposed);

/// <summary>
/// The check for a sample-ratio mismatch: chi-square of the arms' sizes against what the weights promise. Weights change during a ramp, so each unit is
/// expected by the weights of the moment of its first exposure; with one set of weights a ramp would always alarm.
/// </summary>
internal static class SampleRatio
{
    /// <summary>A mismatch is reported below this probability: assignment is broken, not unlucky.</summary>
    public const double Alarm = 0.001;

    /// <summary>Expected units of each arm.</summary>
    public static double[] Expected(int arms, IEnumerable<WeightSpan> spans)
    {
        var expected = new double[arms];
        foreach (var span in spans)
        {
            var total = span.Shares.Sum();
            for (var arm = 0; arm < arms && total > 0; arm++)
            {
                expected[arm] += span.Exposed * span.Shares[arm] / total;
            }
        }

        return expected;
    }

    /// <summary>The check. Arms that should have nobody and have nobody do not take part; one that should have nobody and has somebody is a mismatch.</summary>
    public static SampleRatioReport Check(IReadOnlyList<long> observed, IReadOnlyList<double> expected)
    {
        double statistic = 0;
        var arms = 0;
        for (var arm = 0; arm < observed.Count; arm++)
        {
            if (expected[arm] <= 0 && observed[arm] > 0)
            {
                return new(null, 0, true, $"arm {arm + 1} has {observed[arm]} units and should have none");
            }

            if (expected[arm] > 0)
            {
                var off = observed[arm] - expected[arm];
                statistic += off * off / expected[arm];
                arms++;
            }
        }

        if (arms < 2)
        {
            return new(null, null, false, "fewer than two arms have been exposed");
        }

        var p = Tails.ChiSquare(statistic, arms - 1);
        if (!double.IsFinite(p))
        {
            return new(null, null, true, "the expected sizes are not numbers");
        }

        var sizes = $"{string.Join(" / ", observed)} units against {string.Join(" / ", expected.Select(e => e.ToString("0.#", System.Globalization.CultureInfo.InvariantCulture)))} expected";
        return p < Alarm
            ? new(statistic, p, true, FormattableString.Invariant($"sample-ratio mismatch: {sizes}, p {p:0.##e+0}; units are lost or assigned wrongly, so no result can be trusted"))
            : new(statistic, p, false, FormattableString.Invariant($"{sizes}, p {p:0.####}"));
    }
}
