namespace Slipway.Monitoring;

/// <summary>
/// The expected ROC curve of one class in bounded memory: by bins of its raw score, how many rows are expected to be of the class and how many not. Unlike
/// a binary score, the calibrated probability is no function of the raw one, since the classes of a row share a sum of 1; so it is added row by row.
/// </summary>
/// <param name="bins">Equal bins of [0, 1].</param>
internal sealed class ExpectedCurve(int bins)
{
    private readonly double[] hits = new double[bins];
    private readonly double[] misses = new double[bins];

    /// <summary>Takes a row.</summary>
    /// <param name="score">Its raw score; outside [0, 1] it falls into the bin at that end.</param>
    /// <param name="probability">The calibrated probability that it is of the class.</param>
    public void Add(double score, double probability)
    {
        int at = Math.Clamp((int)(score * bins), 0, bins - 1);
        hits[at] += probability;
        misses[at] += 1 - probability;
    }

    /// <summary>The area by trapezoids between bins.</summary>
    /// <param name="bound">Its largest error: half the sum over bins of (share of hits x share of misses).</param>
    public Measured RocAuc(out double bound)
    {
        double positives = hits.Sum(), negatives = misses.Sum(), above = 0, area = 0;
        bound = 0;
        if (positives <= 0 || negatives <= 0)
        {
            return Measured.Undefined("the expected outcome is one class only");
        }

        for (int i = bins - 1; i >= 0; i--)
        {
            area += misses[i] * (above + hits[i] / 2);
            above += hits[i];
            bound += hits[i] / positives * (misses[i] / negatives) / 2;
        }

        return Measured.Of(area / positives / negatives, null);
    }
}
