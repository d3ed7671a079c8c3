using Slipway.Monitoring;

namespace Slipway.Serving;

/// <summary>
/// Bounds of a quantile that hold at every look at once. For a latency x the requests of x or more are events with some probability t; the true p-quantile is
/// at least x if t &gt; 1 - p and at most x if t &lt; 1 - p. Each of both is tested by the likelihood ratio of t against 1 - p, mixed with a beta density cut to
/// the side in question: a martingale under the border and a supermartingale beyond it, so that by Ville's inequality it passes 1/alpha with probability at most
/// alpha, ever (Robbins, "Statistical methods related to the law of the iterated logarithm", 1970; one-sided beta-binomial mixture: Howard, Ramdas, McAuliffe and
/// Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021; quantiles by counts of exceedances: Howard and Ramdas, "Sequential estimation
/// of quantiles with applications to A/B testing and best-arm identification", 2022).
/// </summary>
internal static class QuantileSequence
{
    // The mixture's density has its mean at the border and the weight of this many requests: some hundred to a few thousand are what a rollout sees first.
    private const double Weight = 100;

    /// <summary>
    /// Both bounds of the <paramref name="p"/>-quantile, each wrong with probability at most <paramref name="alpha"/> over all looks. The lower one is 0 and the
    /// upper one infinite while too little is known.
    /// </summary>
    /// <param name="classes">From the fastest on; the first holds all.</param>
    /// <param name="p">Which quantile, in (0, 1).</param>
    /// <param name="alpha">In (0, 1).</param>
    public static (double Lower, double Upper) Bounds(IReadOnlyList<LatencyClass> classes, double p, double alpha)
    {
        var (lower, n, limit) = (0.0, classes.Count > 0 ? classes[0].AtLeast : 0, -Math.Log(alpha));
        foreach (var (from, to, atLeast, slower) in classes)
        {
            lower = LogRatio(atLeast, n, 1 - p, above: true) >= limit ? from : lower;
            if (LogRatio(slower, n, 1 - p, above: false) >= limit)
            {
                return (lower, to);
            }
        }

        return (lower, double.PositiveInfinity);
    }

    /// <summary>Logarithm of the mixed likelihood ratio of <paramref name="events"/> among <paramref name="n"/> against the border, with the mixture above or below it.</summary>
    internal static double LogRatio(long events, long n, double border, bool above)
    {
        var (a, b) = (Weight * border, Weight * (1 - border));
        var (posterior, prior) = (Side(a + events, b + n - events), Side(a, b));
        return posterior <= 0 ? double.NegativeInfinity
            : LogBeta(a + events, b + n - events) - LogBeta(a, b) + Math.Log(posterior / prior) - (events * Math.Log(border)) - ((n - events) * Math.Log(1 - border));

        // I(1 - x; b, a) is the tail above x without the loss of 1 - I(x; a, b).
        double Side(double first, double second) => above ? Tails.Beta(1 - border, second, first) : Tails.Beta(border, first, second);
    }

    private static double LogBeta(double a, double b) => Tails.LogGamma(a) + Tails.LogGamma(b) - Tails.LogGamma(a + b);
}
