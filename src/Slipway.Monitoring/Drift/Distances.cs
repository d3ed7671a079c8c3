namespace Slipway.Monitoring;

/// <summary>
/// Distances between two histograms over the same bins, P of the reference and Q of the window, both given as counts. Shares are counts
/// over their sum; a histogram without counts gives NaN.
/// </summary>
public static class Distances
{
    /// <summary>Bin shares under this floor count as the floor, on both sides and without renormalising.</summary>
    public const double ShareFloor = 1e-4;

    /// <summary>Population stability index, sum (q - p) ln(q / p), shares floored at <see cref="ShareFloor"/>. Range [0, inf).</summary>
    public static double Psi(ReadOnlySpan<long> reference, ReadOnlySpan<long> window) => Psi(reference, window, FloorAll(reference), FloorAll(window));

    /// <summary>The index as Evidently computes it: only empty bins are raised, to 1e-4, or to a millionth of the least non-empty share where that share is at most 1e-4.</summary>
    public static double PsiZerosRaised(ReadOnlySpan<long> reference, ReadOnlySpan<long> window) => Psi(reference, window, FloorZeros(reference), FloorZeros(window));

    /// <summary>Jensen-Shannon distance with logarithms to base 2: the square root of the divergence, a metric on [0, 1] (Endres and Schindelin 2003).</summary>
    public static double JensenShannon(ReadOnlySpan<long> reference, ReadOnlySpan<long> window) => JensenShannonNatural(reference, window) / Math.Sqrt(Math.Log(2));

    /// <summary>The same with natural logarithms: at most sqrt(ln 2) = 0.8326, so a limit means something else than in base 2.</summary>
    public static double JensenShannonNatural(ReadOnlySpan<long> reference, ReadOnlySpan<long> window)
    {
        double nr = Sum(reference), nc = Sum(window), sum = 0;
        for (int i = 0; i < reference.Length; i++)
        {
            double p = reference[i] / nr, q = window[i] / nc, m = (p + q) / 2;
            sum += (p > 0 ? p * Math.Log(p / m) : 0) + (q > 0 ? q * Math.Log(q / m) : 0);
        }

        return nr == 0 || nc == 0 ? double.NaN : Math.Sqrt(Math.Max(0, sum) / 2);
    }

    /// <summary>Hellinger distance, sqrt(sum (sqrt p - sqrt q)^2) / sqrt 2. Range [0, 1].</summary>
    public static double Hellinger(ReadOnlySpan<long> reference, ReadOnlySpan<long> window)
    {
        double nr = Sum(reference), nc = Sum(window), sum = 0;
        for (int i = 0; i < reference.Length; i++)
        {
            double d = Math.Sqrt(reference[i] / nr) - Math.Sqrt(window[i] / nc);
            sum += d * d;
        }

        return Math.Sqrt(sum / 2);
    }

    /// <summary>The largest difference of a share, max |p - q|: finds one category that takes over. Range [0, 1].</summary>
    public static double LInfinity(ReadOnlySpan<long> reference, ReadOnlySpan<long> window)
    {
        double nr = Sum(reference), nc = Sum(window), most = nr == 0 || nc == 0 ? double.NaN : 0;
        for (int i = 0; i < reference.Length; i++)
        {
            most = Math.Max(most, Math.Abs(reference[i] / nr - window[i] / nc));
        }

        return most;
    }

    /// <summary>Total variation distance, sum |p - q| / 2: the share of rows that would have to move. Range [0, 1].</summary>
    public static double TotalVariation(ReadOnlySpan<long> reference, ReadOnlySpan<long> window)
    {
        double nr = Sum(reference), nc = Sum(window), sum = 0;
        for (int i = 0; i < reference.Length; i++)
        {
            sum += Math.Abs(reference[i] / nr - window[i] / nc);
        }

        return sum / 2;
    }

    /// <summary>Kullback-Leibler divergence of the reference from the window in nats, sum p ln(p / q), shares floored at <see cref="ShareFloor"/>; not symmetric.</summary>
    public static double KullbackLeibler(ReadOnlySpan<long> reference, ReadOnlySpan<long> window) => KullbackLeibler(reference, window, FloorAll(reference), FloorAll(window), normalise: false);

    /// <summary>The divergence as Evidently computes it: empty bins raised as in <see cref="PsiZerosRaised"/>, shares renormalised.</summary>
    public static double KullbackLeiblerZerosRaised(ReadOnlySpan<long> reference, ReadOnlySpan<long> window) =>
        KullbackLeibler(reference, window, FloorZeros(reference), FloorZeros(window), normalise: true);

    /// <summary>
    /// Kolmogorov-Smirnov D over shared bins: the largest difference of cumulated shares at a bin's end. The true D over the values lies within
    /// the bound above it (the largest bin share of either side): <see cref="KolmogorovSmirnovBound"/>.
    /// </summary>
    public static double KolmogorovSmirnov(ReadOnlySpan<long> reference, ReadOnlySpan<long> window)
    {
        double nr = Sum(reference), nc = Sum(window), most = nr == 0 || nc == 0 ? double.NaN : 0;
        long r = 0, c = 0;
        for (int i = 0; i < reference.Length; i++)
        {
            r += reference[i];
            c += window[i];
            most = Math.Max(most, Math.Abs(r / nr - c / nc));
        }

        return most;
    }

    /// <summary>How much a <see cref="KolmogorovSmirnov"/> over bins may be short of the exact D: the largest share that one bin hides on either side.</summary>
    public static double KolmogorovSmirnovBound(ReadOnlySpan<long> reference, ReadOnlySpan<long> window)
    {
        double nr = Sum(reference), nc = Sum(window), most = nr == 0 || nc == 0 ? double.NaN : 0;
        for (int i = 0; i < reference.Length; i++)
        {
            most = Math.Max(most, Math.Max(reference[i] / nr, window[i] / nc));
        }

        return most;
    }

    /// <summary>
    /// How much the index may be off, to first order, when each share of the reference and of the window is known within these errors:
    /// sum (|ln(q/p)| + |1 - p/q|) dq + (|ln(q/p)| + |1 - q/p|) dp. Counts in frozen bins have no error; counts read from quantile sketches do.
    /// </summary>
    public static double PsiBound(ReadOnlySpan<long> reference, ReadOnlySpan<long> window, double referenceError, double windowError)
    {
        double nr = Sum(reference), nc = Sum(window), bound = 0;
        for (int i = 0; i < reference.Length; i++)
        {
            double p = Share(reference[i], nr, FloorAll(reference)), q = Share(window[i], nc, FloorAll(window)), log = Math.Abs(Math.Log(q / p));
            bound += (log + Math.Abs(1 - p / q)) * windowError + (log + Math.Abs(1 - q / p)) * referenceError;
        }

        return bound;
    }

    /// <summary>How much a Jensen-Shannon distance may be off: sqrt(TVD of P) + sqrt(TVD of Q), since the distance is a metric and its square at most the total variation.</summary>
    public static double JensenShannonBound(double referenceTotalVariation, double windowTotalVariation) => Math.Sqrt(referenceTotalVariation) + Math.Sqrt(windowTotalVariation);

    internal static double Sum(ReadOnlySpan<long> counts)
    {
        long sum = 0;
        foreach (long count in counts)
        {
            sum += count;
        }

        return sum;
    }

    /// <summary>Every share below the floor is raised to it.</summary>
    private static (double Below, double To) FloorAll(ReadOnlySpan<long> counts) => Sum(counts) == 0 ? (double.NaN, double.NaN) : (ShareFloor, ShareFloor);

    /// <summary>Only shares of zero are raised.</summary>
    private static (double Below, double To) FloorZeros(ReadOnlySpan<long> counts)
    {
        double n = Sum(counts), least = double.PositiveInfinity;
        foreach (long count in counts)
        {
            least = count > 0 ? Math.Min(least, count / n) : least;
        }

        return n == 0 ? (double.NaN, double.NaN) : (double.Epsilon, least <= ShareFloor ? least / 1e6 : ShareFloor);
    }

    private static double Share(long count, double n, (double Below, double To) floor)
    {
        double share = count / n;
        return share < floor.Below ? floor.To : share;
    }

    private static double Psi(ReadOnlySpan<long> reference, ReadOnlySpan<long> window, (double, double) referenceFloor, (double, double) windowFloor)
    {
        double nr = Sum(reference), nc = Sum(window), psi = 0;
        for (int i = 0; i < reference.Length; i++)
        {
            double p = Share(reference[i], nr, referenceFloor), q = Share(window[i], nc, windowFloor);
            psi += (q - p) * Math.Log(q / p);
        }

        return psi;
    }

    private static double KullbackLeibler(ReadOnlySpan<long> reference, ReadOnlySpan<long> window, (double, double) referenceFloor, (double, double) windowFloor, bool normalise)
    {
        double nr = Sum(reference), nc = Sum(window), allP = 0, allQ = 0, sum = 0;
        for (int i = 0; i < reference.Length; i++)
        {
            allP += Share(reference[i], nr, referenceFloor);
            allQ += Share(window[i], nc, windowFloor);
        }

        for (int i = 0; i < reference.Length; i++)
        {
            double p = Share(reference[i], nr, referenceFloor) / (normalise ? allP : 1), q = Share(window[i], nc, windowFloor) / (normalise ? allQ : 1);
            sum += p > 0 ? p * Math.Log(p / q) : 0;
        }

        return sum;
    }
}
