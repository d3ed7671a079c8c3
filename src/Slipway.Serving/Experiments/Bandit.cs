using System.Runtime.InteropServices;
using Slipway.Monitoring;

namespace Slipway.Serving;

/// <summary>What one variant earned, faded by age.</summary>
/// <param name="N">Matured rewards, not faded: the burn-in counts them.</param>
/// <param name="Weight">Rewards after fading.</param>
/// <param name="Sum">Their faded sum.</param>
/// <param name="Squares">Their faded sum of squares.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct BanditArm(long N, double Weight, double Sum, double Squares)
{
    public double Mean => Sum / Weight;
}

/// <summary>The next weights, and why.</summary>
/// <param name="Weights">Shares that sum to 1.</param>
/// <param name="PBest">Posterior probability of each variant to be the best; null before the burn-in.</param>
/// <param name="Moved">Whether they differ from the present ones.</param>
/// <param name="Why">In words.</param>
internal sealed record BanditWeights(IReadOnlyList<double> Weights, IReadOnlyList<double>? PBest, bool Moved, string Why);

/// <summary>A posterior of one arm's mean reward, over a variable in which its density is easy to integrate.</summary>
/// <param name="Low">Below lies next to nothing of it.</param>
/// <param name="High">Above lies next to nothing of it.</param>
/// <param name="At">The mean reward at a value of the variable.</param>
/// <param name="Density">The density of the variable.</param>
/// <param name="Below">The distribution function of the mean reward.</param>
internal sealed record Posterior(double Low, double High, Func<double, double> At, Func<double, double> Density, Func<double, double> Below)
{
    /// <summary>Beta(a, b).</summary>
    public static Posterior Beta(double a, double b)
    {
        double mean = a / (a + b), spread = Math.Sqrt(mean * (1 - mean) / (a + b + 1)), constant = Tails.LogGamma(a + b) - Tails.LogGamma(a) - Tails.LogGamma(b);
        return new(
            Math.Max(0, mean - (12 * spread)), Math.Min(1, mean + (12 * spread)),
            x => x,
            x => x is <= 0 or >= 1 ? 0 : Math.Exp(constant + ((a - 1) * Math.Log(x)) + ((b - 1) * Math.Log(1 - x))),
            x => Tails.Beta(x, a, b));
    }

    /// <summary>
    /// The mean under a Normal-inverse-gamma law with location <paramref name="mu"/>, kappa, alpha and beta: Student's t with 2 alpha degrees of freedom,
    /// scaled by sqrt(beta / (alpha kappa)). The variable is asinh of the standardised mean, in which heavy tails are short.
    /// </summary>
    public static Posterior NormalInverseGamma(double mu, double kappa, double alpha, double beta)
    {
        double degrees = 2 * alpha, scale = Math.Sqrt(beta / (alpha * kappa)), reach = Math.Asinh(Tails.StudentQuantile(1e-13, degrees));
        var constant = Tails.LogGamma((degrees + 1) / 2) - Tails.LogGamma(degrees / 2) - (0.5 * Math.Log(degrees * Math.PI));
        return new(
            -reach, reach,
            s => mu + (scale * Math.Sinh(s)),
            s => Math.Exp(constant - ((degrees + 1) / 2 * Math.Log(1 + (Math.Sinh(s) * Math.Sinh(s) / degrees)))) * Math.Cosh(s),
            x => 1 - Tails.Student((x - mu) / scale, degrees));
    }
}

/// <summary>
/// Thompson sampling by exact integration: instead of drawing, each variant's weight is the posterior probability that it is the best. Pure, so that two nodes
/// compute one answer.
/// </summary>
internal static class Bandit
{
    // Panels of five-point Gauss-Legendre quadrature over an arm's own range.
    private const int Panels = 128;
    private static readonly double[] Nodes = [0, 0.5384693101056831, -0.5384693101056831, 0.9061798459386640, -0.9061798459386640];
    private static readonly double[] NodeWeights = [0.5688888888888889, 0.4786286704993665, 0.4786286704993665, 0.2369268850561891, 0.2369268850561891];

    /// <summary>P(arm i is the best) = integral of its density times the others' distribution functions; sums to 1.</summary>
    /// <param name="posteriors">One for each arm.</param>
    /// <param name="largest">Whether the largest mean is the best; false: the smallest.</param>
    public static double[] PBest(IReadOnlyList<Posterior> posteriors, bool largest = true)
    {
        var best = new double[posteriors.Count];
        for (var i = 0; i < best.Length; i++)
        {
            var own = posteriors[i];
            double half = (own.High - own.Low) / Panels / 2, sum = 0;
            for (var panel = 0; panel < Panels; panel++)
            {
                var middle = own.Low + (half * ((2 * panel) + 1));
                for (var node = 0; node < Nodes.Length; node++)
                {
                    var variable = middle + (half * Nodes[node]);
                    var (x, product) = (own.At(variable), own.Density(variable));
                    for (var j = 0; j < best.Length && product > 0; j++)
                    {
                        if (j != i)
                        {
                            var below = posteriors[j].Below(x);
                            product *= largest ? below : 1 - below;
                        }
                    }

                    sum += NodeWeights[node] * product;
                }
            }

            best[i] = sum * half;
        }

        // The integrals sum to 1 but for the quadrature's error.
        var total = best.Sum();
        for (var i = 0; i < best.Length; i++)
        {
            best[i] /= total;
        }

        return best;
    }

    /// <summary>
    /// Posteriors of faded rewards. Proportions: Beta(1, 1) before the first. Means: location and scale of all arms' rewards together as a prior that counts as
    /// one reward; null if the rewards do not vary.
    /// </summary>
    public static IReadOnlyList<Posterior>? Posteriors(MetricKind kind, IReadOnlyList<BanditArm> arms)
    {
        if (kind == MetricKind.Proportion)
        {
            return [.. arms.Select(arm => Posterior.Beta(1 + arm.Sum, 1 + arm.Weight - arm.Sum))];
        }

        double weight = arms.Sum(arm => arm.Weight), pooled = arms.Sum(arm => arm.Sum) / weight, variance = (arms.Sum(arm => arm.Squares) / weight) - (pooled * pooled);
        if (!(variance > 0) || !double.IsFinite(variance))
        {
            return null;
        }

        return [.. arms.Select(arm =>
        {
            double n = arm.Weight, mean = n > 0 ? arm.Mean : pooled, spread = Math.Max(0, arm.Squares - (n * mean * mean)), kappa = 1 + n, alpha = 1 + (n / 2);
            var beta = variance + (spread / 2) + (n * (mean - pooled) * (mean - pooled) / (2 * kappa));
            return Posterior.NormalInverseGamma((pooled + (n * mean)) / kappa, kappa, alpha, beta);
        })];
    }

    /// <summary>
    /// The next weights: P(best), raised to the floor, moved from the present ones by at most the step limit. Before every arm has its burn-in the weights stay.
    /// </summary>
    public static BanditWeights Weigh(BanditSpec spec, IReadOnlyList<BanditArm> arms, IReadOnlyList<double> present)
    {
        var least = arms.Count == 0 ? 0 : arms.Min(arm => arm.N);
        if (arms.Count < 2 || least < spec.BurnIn)
        {
            return new([.. present], null, false, $"burn-in: the variant with the fewest matured rewards has {least} of {spec.BurnIn}");
        }

        if (arms.Any(arm => !double.IsFinite(arm.Sum) || !double.IsFinite(arm.Squares)) || Posteriors(spec.Reward.Kind, arms) is not { } posteriors)
        {
            return new([.. present], null, false, "the rewards are all equal or not numbers: nothing tells the variants apart");
        }

        var best = PBest(posteriors, spec.Reward.Direction == MetricDirection.Up);
        if (best.Any(p => !double.IsFinite(p)))
        {
            return new([.. present], null, false, "P(best) is undefined on these rewards");
        }

        var wanted = best.Select(p => spec.Floor + ((1 - (best.Length * spec.Floor)) * p)).ToArray();
        var largest = wanted.Zip(present, (next, now) => Math.Abs(next - now)).Max();
        // All weights go the same part of the way, so that they still sum to 1.
        var part = largest > spec.StepLimit ? spec.StepLimit / largest : 1;
        var weights = wanted.Zip(present, (next, now) => now + (part * (next - now))).ToArray();
        // A slot is 0.01 %: smaller moves would change nothing but the revision.
        var moved = weights.Zip(present, (next, now) => Math.Abs(next - now)).Max() >= 1e-4;
        return new(weights, best, moved, $"P(best) {string.Join(" / ", best.Select(p => p.ToString("0.###", System.Globalization.CultureInfo.InvariantCulture)))}{(part < 1 ? $", moved by the step limit of {spec.StepLimit:0.##}" : "")}");
    }
}

/// <summary>
/// Means that stay unbiased although the weights followed the outcomes: each reward counts inversely to the probability with which its decision was taken
/// (Horvitz and Thompson, self-normalised).
/// </summary>
[StructLayout(LayoutKind.Auto)]
internal record struct InversePropensity(long N, double Weights, double Rewards, double SquaredWeights, double SquaredRewards, double Cross)
{
    /// <summary>One reward of a decision that had this probability; decisions of probability zero cannot have happened and are refused.</summary>
    public void Add(double reward, double propensity)
    {
        if (!(propensity is > 0 and <= 1))
        {
            throw new ArgumentOutOfRangeException(nameof(propensity), propensity, "A decision that was taken had a probability above 0 and at most 1.");
        }

        var w = 1 / propensity;
        (N, Weights, Rewards) = (N + 1, Weights + w, Rewards + (w * reward));
        (SquaredWeights, SquaredRewards, Cross) = (SquaredWeights + (w * w), SquaredRewards + (w * w * reward * reward), Cross + (w * w * reward));
    }

    /// <summary>The weighted mean; null without rewards.</summary>
    public readonly double? Mean => N == 0 ? null : Rewards / Weights;

    /// <summary>Its standard error, sqrt(sum w^2 (r - mean)^2) / sum w; null below two rewards.</summary>
    public readonly double? Error => N < 2 || Mean is not { } mean ? null
        : Math.Sqrt(Math.Max(0, SquaredRewards - (2 * mean * Cross) + (mean * mean * SquaredWeights))) / Weights;
}
