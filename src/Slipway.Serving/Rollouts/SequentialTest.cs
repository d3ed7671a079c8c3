namespace Slipway.Serving;

/// <summary>
/// Always-valid inference for the difference of two means by the mixture sequential probability ratio test with a normal mixture
/// (Johari, Koomen, Pekelis and Walsh, "Always valid inference"): with V the variance of the observed difference d and tau2 the variance of
/// the mixture, Lambda = sqrt(V/(V+tau2)) * exp(tau2*d*d / (2*V*(V+tau2))). Looking often does not raise the false alarm rate above alpha.
/// </summary>
internal static class SequentialTest
{
    /// <summary>The likelihood ratio in favour of a difference. Infinite if V is zero and d is not; 1 if both are zero.</summary>
    public static double Lambda(double difference, double variance, double tau2)
    {
        if (variance <= 0)
        {
            return difference == 0 ? 1 : double.PositiveInfinity;
        }

        var sum = variance + tau2;
        return Math.Sqrt(variance / sum) * Math.Exp(tau2 * difference * difference / (2 * variance * sum));
    }

    /// <summary>The always-valid p-value of one look; callers keep the minimum over looks.</summary>
    public static double PValue(double difference, double variance, double tau2) => Math.Min(1, 1 / Lambda(difference, variance, tau2));

    /// <summary>Half the width of the confidence sequence at level 1 - alpha around the observed difference.</summary>
    public static double Radius(double variance, double tau2, double alpha) =>
        variance <= 0 ? 0 : Math.Sqrt(variance * (variance + tau2) / tau2 * Math.Log((variance + tau2) / (variance * alpha * alpha)));

    /// <summary>
    /// Variance of the difference of two proportions. Half an event is added to each cell, so that a side without events still has the
    /// uncertainty that its sample size implies; an unsmoothed variance of zero would make a single error certain proof.
    /// </summary>
    public static double ProportionVariance(long events1, long n1, long events2, long n2)
    {
        var p1 = (events1 + 0.5) / (n1 + 1);
        var p2 = (events2 + 0.5) / (n2 + 1);
        return (p1 * (1 - p1) / n1) + (p2 * (1 - p2) / n2);
    }
}
