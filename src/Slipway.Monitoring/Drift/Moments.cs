using System.Text.Json.Serialization;

namespace Slipway.Monitoring;

/// <summary>
/// Count, mean and central sums of a stream of finite numbers, updated one value at a time and merged with the pairwise formulas of
/// Chan, Golub and LeVeque (second order) and Pebay (third and fourth); never a sum of squares, which cancels at large means.
/// </summary>
internal sealed record Moments(long Count, double Mean, double M2, double M3, double M4, double? Min, double? Max)
{
    public static readonly Moments Empty = new(0, 0, 0, 0, 0, null, null);

    /// <summary>Population variance; null without values.</summary>
    [JsonIgnore]
    public double? Variance => Count == 0 ? null : M2 / Count;

    public static Moments Of(ReadOnlySpan<double> values)
    {
        Moments all = Empty;
        foreach (double value in values)
        {
            all = all.Merge(new Moments(1, value, 0, 0, 0, value, value));
        }

        return all;
    }

    public Moments Merge(Moments other)
    {
        if (Count == 0)
        {
            return other;
        }

        if (other.Count == 0)
        {
            return this;
        }

        double na = Count, nb = other.Count, n = na + nb;
        double d = other.Mean - Mean, dn = d / n, dn2 = dn * dn;
        double m2 = M2 + other.M2 + d * dn * na * nb;
        double m3 = M3 + other.M3 + d * dn2 * na * nb * (na - nb) + 3 * dn * (na * other.M2 - nb * M2);
        double m4 = M4 + other.M4 + d * dn2 * dn * na * nb * (na * na - na * nb + nb * nb)
            + 6 * dn2 * (na * na * other.M2 + nb * nb * M2) + 4 * dn * (na * other.M3 - nb * M3);
        return new Moments(Count + other.Count, Mean + dn * nb, m2, m3, m4, Math.Min(Min!.Value, other.Min!.Value), Math.Max(Max!.Value, other.Max!.Value));
    }
}
