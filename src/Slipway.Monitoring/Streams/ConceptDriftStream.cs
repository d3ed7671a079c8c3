namespace Slipway.Monitoring;

/// <summary>
/// Feeds errors to a detector in a way that respects what it assumes. Errors of a served model are often correlated in time, and detectors then alarm
/// without a change; so the lag-1 correlation is measured on the first values, and above 0.2 the detector sees means of blocks instead. Order the
/// values by the time their labels arrived: that is when the error became known.
/// </summary>
/// <param name="detector">What looks for the change.</param>
/// <param name="scale">Unit of the values: each is divided by it. Page and Hinkley's limit is meant in standard deviations of the reference.</param>
public sealed class ConceptDriftStream(StreamDetector detector, double scale = 1)
{
    /// <summary>Absolute lag-1 correlation above which block means are fed.</summary>
    public const double MostCorrelation = 0.2;

    /// <summary>Values of one block.</summary>
    public const int BlockRows = 10;

    /// <summary>First values, on which the correlation is measured before any of them is judged.</summary>
    public const int Measured = 200;

    private readonly List<double> first = new(Measured);
    private double blockSum;
    private int blockRows;

    /// <summary>The detector.</summary>
    public StreamDetector Detector { get; } = detector;

    /// <summary>Correlation of the first values with their successors; null before it is known.</summary>
    public double? Correlation { get; private set; }

    /// <summary>Whether the detector sees block means; its indices then count blocks.</summary>
    public bool Blocked { get; private set; }

    /// <summary>Whether the newest value, or block of values, gives reason to look.</summary>
    public bool Warning => Judges && Detector.Warning;

    /// <summary>Whether what the detector assumes holds: one that counts the distance between errors has no use for means of blocks, so that it judges nothing when errors are correlated.</summary>
    public bool Judges => !Blocked || Detector.TakesMeans;

    /// <summary>Index, from 0, of the last value with which a change was found, whether or not blocks are fed; null before the first.</summary>
    public long? LastChange { get; private set; }

    /// <summary>Values taken.</summary>
    public long N { get; private set; }

    /// <summary>Values since the last change, or since the beginning.</summary>
    public long SinceReset => LastChange is { } last ? N - 1 - last : N;

    /// <summary>Takes the next error.</summary>
    /// <returns>Whether a change was found.</returns>
    public bool Observe(double value)
    {
        if (!double.IsFinite(value))
        {
            throw new ArgumentOutOfRangeException(nameof(value), value, "A stream detector takes finite values.");
        }

        N++;
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
            for (int i = 0; i < first.Count; i++)
            {
                if (Feed(first[i]))
                {
                    found = true;
                    LastChange = N - first.Count + i;
                }
            }

            first.Clear();
            return found;
        }

        if (!Feed(value))
        {
            return false;
        }

        LastChange = N - 1;
        return true;
    }

    /// <summary>The state as bytes: a stream with a detector of the same settings goes on from it as if nothing had happened.</summary>
    public byte[] Save() => SketchForm.Write(to =>
    {
        SketchForm.WriteHead(to, SketchForm.Stream);
        to.Write(scale);
        to.Write(N);
        to.Write(LastChange ?? -1);
        to.Write(Correlation ?? double.NaN);
        to.Write(Blocked);
        to.Write(blockSum);
        to.Write(blockRows);
        to.Write(first.Count);
        foreach (double value in first)
        {
            to.Write(value);
        }

        byte[] state = Detector.Save();
        to.Write(state.Length);
        to.Write(state);
    });

    /// <summary>Goes on from a state that a stream with a detector of the same settings saved.</summary>
    /// <exception cref="Slipway.Foundation.SlipwayException">DataLoss when the bytes are not the state of such a stream.</exception>
    public void Load(ReadOnlyMemory<byte> state) => SketchForm.Read(state, from =>
    {
        SketchForm.ReadHead(from, SketchForm.Stream);
        double unit = from.ReadDouble();
        if (unit != scale)
        {
            throw SketchForm.Broken($"its values are in units of {unit}, not of {scale}");
        }

        N = from.ReadInt64();
        long last = from.ReadInt64();
        LastChange = last < 0 ? null : last;
        double correlation = from.ReadDouble();
        Correlation = double.IsNaN(correlation) ? null : correlation;
        Blocked = from.ReadBoolean();
        blockSum = from.ReadDouble();
        blockRows = from.ReadInt32();
        int held = from.ReadInt32();
        if (held is < 0 or >= Measured)
        {
            throw SketchForm.Broken($"it holds {held} first values, at most {Measured - 1} are held");
        }

        first.Clear();
        for (int i = 0; i < held; i++)
        {
            first.Add(from.ReadDouble());
        }

        Detector.Load(from.ReadBytes(from.ReadInt32()));
        return true;
    });

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
        if (!Judges)
        {
            return false;
        }

        value /= scale;
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
