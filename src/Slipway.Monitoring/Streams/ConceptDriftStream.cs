namespace Slipway.Monitoring;

/// <summary>
/// Feeds errors to a detector in a way that respects what it assumes. Errors of a served model are often correlated in time, and detectors then alarm
/// without a change; so the lag-1 correlation is measured on the first values, and above 0.2 the detector sees means of blocks instead. Order the
/// values by the time their labels arrived: that is when the error became known.
/// </summary>
public sealed class ConceptDriftStream(StreamDetector detector)
{
    /// <summary>Absolute lag-1 correlation above which block means are fed.</summary>
    public const double MostCorrelation = 0.2;

    /// <summary>Values of one block.</summary>
    public const int BlockRows = 10;

    private const int Measured = 200;
    private readonly List<double> first = new(Measured);
    private double blockSum;
    private int blockRows;

    /// <summary>The detector.</summary>
    public StreamDetector Detector { get; } = detector;

    /// <summary>Correlation of the first values with their successors; null before it is known.</summary>
    public double? Correlation { get; private set; }

    /// <summary>Whether the detector sees block means; its indices then count blocks.</summary>
    public bool Blocked { get; private set; }

    /// <summary>Takes the next error.</summary>
    /// <returns>Whether a change was found.</returns>
    public bool Observe(double value)
    {
        if (Correlation is null)
        {
            first.Add(value);
            if (first.Count < Measured)
            {
                return false;
            }

            Correlation = Lag(first);
            Blocked = Math.Abs(Correlation.Value) > MostCorrelation;
            bool found = false;
            foreach (double held in first)
            {
                found |= Feed(held);
            }

            first.Clear();
            return found;
        }

        return Feed(value);
    }

    /// <summary>Lag-1 correlation; 0 for a constant series.</summary>
    public static double Lag(IReadOnlyList<double> values)
    {
        double mean = values.Count == 0 ? 0 : values.Average(), cross = 0, squares = 0;
        for (int i = 0; i < values.Count; i++)
        {
            squares += (values[i] - mean) * (values[i] - mean);
            cross += i == 0 ? 0 : (values[i] - mean) * (values[i - 1] - mean);
        }

        return squares == 0 ? 0 : cross / squares;
    }

    private bool Feed(double value)
    {
        if (!Blocked)
        {
            return Detector.Observe(value);
        }

        blockSum += value;
        if (++blockRows < BlockRows)
        {
            return false;
        }

        double mean = blockSum / blockRows;
        (blockSum, blockRows) = (0, 0);
        return Detector.Observe(mean);
    }
}
