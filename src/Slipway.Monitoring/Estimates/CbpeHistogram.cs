namespace Slipway.Monitoring;

/// <summary>
/// The estimate of <see cref="Cbpe"/> in bounded memory: counts of scores in 2^12 equal bins of [0, 1], by predicted label. Expected counts are exact
/// up to the rounding of scores to bins; the AUC's error is at most half the sum over bins of (share of positives x share of negatives). Windows
/// merge by adding.
/// </summary>
public sealed class CbpeHistogram
{
    private const int Bins = 1 << 12;
    private readonly long[] negative = new long[Bins];
    private readonly long[] positive = new long[Bins];
    private readonly double[] sums = new double[Bins];

    /// <summary>Rows with a score in [0, 1].</summary>
    public long N { get; private set; }

    /// <summary>Takes a score and its predicted label; a score outside [0, 1] or NaN is left out.</summary>
    public void Add(double score, bool predicted)
    {
        if (score is >= 0 and <= 1)
        {
            int at = Math.Min(Bins - 1, (int)(score * Bins));
            (predicted ? positive : negative)[at]++;
            sums[at] += score;
            N++;
        }
    }

    /// <summary>Adds another window's counts.</summary>
    public void Merge(CbpeHistogram other)
    {
        ArgumentNullException.ThrowIfNull(other);
        for (int i = 0; i < Bins; i++)
        {
            negative[i] += other.negative[i];
            positive[i] += other.positive[i];
            sums[i] += other.sums[i];
        }

        N += other.N;
    }

    /// <summary>Estimates; each bin counts at its mean score.</summary>
    /// <param name="cbpe">The calibration.</param>
    /// <param name="aucBound">The largest error of the AUC.</param>
    public BinaryEstimate Estimate(Cbpe cbpe, out double aucBound)
    {
        ArgumentNullException.ThrowIfNull(cbpe);
        double tp = 0, fp = 0, tn = 0, fn = 0, ap = 0, area = 0;
        Span<double> hit = stackalloc double[Bins], miss = stackalloc double[Bins];
        for (int i = 0; i < Bins; i++)
        {
            long count = positive[i] + negative[i];
            double p = count == 0 ? 0 : cbpe.Probability(sums[i] / count);
            tp += positive[i] * p;
            fp += positive[i] * (1 - p);
            fn += negative[i] * p;
            tn += negative[i] * (1 - p);
            hit[i] = count * p;
            miss[i] = count * (1 - p);
        }

        double positives = tp + fn, negatives = fp + tn;
        aucBound = 0;
        if (N == 0 || positives <= 0 || negatives <= 0)
        {
            Measured none = Measured.Undefined(N == 0 ? "no row has a score" : "the expected outcome is one class only");
            return new BinaryEstimate(N, N == 0 ? null : new Confusion(tp, fp, tn, fn), none, none);
        }

        double hits = 0, misses = 0;
        for (int i = Bins - 1; i >= 0; i--)
        {
            area += miss[i] * (hits + hit[i] / 2);
            hits += hit[i];
            misses += miss[i];
            ap += hit[i] > 0 ? hit[i] / positives * (hits / (hits + misses)) : 0;
            aucBound += hit[i] / positives * (miss[i] / negatives) / 2;
        }

        return new BinaryEstimate(N, new Confusion(tp, fp, tn, fn), Measured.Of(area / positives / negatives), Measured.Of(ap));
    }
}
