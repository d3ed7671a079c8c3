using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Quantiles of non-negative values such as latencies with a relative error of at most <see cref="Alpha"/> (Masson, Rim and Lee 2019): bin i
/// holds (g^(i-1), g^i] with g = (1 + alpha) / (1 - alpha). Deterministic, and a merge adds counts, so order never matters. Beyond
/// <see cref="MostBins"/> the lowest bins collapse: high quantiles keep their bound.
/// </summary>
public sealed class DdSketch
{
    /// <summary>The most bins that are kept.</summary>
    public const int MostBins = 2_048;

    /// <summary>Values up to this are counted as zero.</summary>
    public const double Smallest = 1e-9;

    private readonly double gamma;
    private readonly double scale;
    private long[] bins = [];
    private int first;
    private long zeros;

    /// <summary>An empty sketch with relative error <paramref name="alpha"/> in (0, 0.5].</summary>
    public DdSketch(double alpha = 0.01)
    {
        if (!(alpha > 0 && alpha <= 0.5))
        {
            throw new ArgumentOutOfRangeException(nameof(alpha), alpha, "The relative error lies in (0, 0.5].");
        }

        Alpha = alpha;
        gamma = (1 + alpha) / (1 - alpha);
        scale = 1 / Math.Log(gamma);
    }

    /// <summary>Largest relative error of a quantile.</summary>
    public double Alpha { get; }

    /// <summary>Values taken in.</summary>
    public long N { get; private set; }

    /// <summary>Their sum.</summary>
    public double Sum { get; private set; }

    /// <summary>The least value; NaN when empty.</summary>
    public double Min { get; private set; } = double.NaN;

    /// <summary>The largest value; NaN when empty.</summary>
    public double Max { get; private set; } = double.NaN;

    /// <summary>Takes a value of at least 0.</summary>
    public void Add(double value)
    {
        if (!(value >= 0) || double.IsInfinity(value))
        {
            throw new ArgumentOutOfRangeException(nameof(value), value, "The sketch takes finite values of at least 0.");
        }

        Min = value >= Min ? Min : value;
        Max = value <= Max ? Max : value;
        N++;
        Sum += value;
        if (value <= Smallest)
        {
            zeros++;
            return;
        }

        Count((int)Math.Ceiling(Math.Log(value) * scale), 1);
    }

    /// <summary>Adds the counts of a sketch of the same <see cref="Alpha"/>.</summary>
    /// <exception cref="SlipwayException">InvalidArgument when alpha differs.</exception>
    public void Merge(DdSketch other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (other.Alpha != Alpha)
        {
            throw SketchForm.Unlike("alpha", Alpha, other.Alpha);
        }

        for (int i = other.bins.Length - 1; i >= 0; i--)
        {
            if (other.bins[i] > 0)
            {
                Count(other.first + i, other.bins[i]);
            }
        }

        zeros += other.zeros;
        N += other.N;
        Sum += other.Sum;
        Min = Min <= other.Min || double.IsNaN(other.Min) ? Min : other.Min;
        Max = Max >= other.Max || double.IsNaN(other.Max) ? Max : other.Max;
    }

    /// <summary>The value at rank <paramref name="q"/> in [0, 1] within <see cref="Alpha"/> of the true one; NaN when empty.</summary>
    public double Quantile(double q)
    {
        if (N == 0 || double.IsNaN(q))
        {
            return double.NaN;
        }

        double target = Math.Clamp(q, 0, 1) * (N - 1);
        double sum = zeros;
        if (sum > target)
        {
            return Math.Clamp(0, Min, Max);
        }

        for (int i = 0; i < bins.Length; i++)
        {
            sum += bins[i];
            if (sum > target)
            {
                return Math.Clamp(2 * Math.Pow(gamma, first + i) / (gamma + 1), Min, Max);
            }
        }

        return Max;
    }

    /// <summary>The versioned binary form.</summary>
    public byte[] ToBytes() => SketchForm.Write(to =>
    {
        SketchForm.WriteHead(to, SketchForm.Dd);
        to.Write(Alpha);
        to.Write(N);
        to.Write(Sum);
        to.Write(Min);
        to.Write(Max);
        to.Write(zeros);
        to.Write(first);
        to.Write(bins.Length);
        foreach (long bin in bins)
        {
            to.Write7BitEncodedInt64(bin);
        }
    });

    /// <summary>Reads what <see cref="ToBytes"/> wrote.</summary>
    /// <exception cref="SlipwayException">DataLoss when the bytes are no such sketch.</exception>
    public static DdSketch FromBytes(ReadOnlyMemory<byte> bytes) => SketchForm.Read(bytes, from =>
    {
        SketchForm.ReadHead(from, SketchForm.Dd);
        double alpha = from.ReadDouble();
        if (!(alpha > 0 && alpha <= 0.5))
        {
            throw SketchForm.Broken($"its alpha is {alpha}");
        }

        var sketch = new DdSketch(alpha) { N = from.ReadInt64(), Sum = from.ReadDouble(), Min = from.ReadDouble(), Max = from.ReadDouble(), zeros = from.ReadInt64(), first = from.ReadInt32() };
        int count = from.ReadInt32();
        if (count is < 0 or > MostBins)
        {
            throw SketchForm.Broken($"it has {count} bins");
        }

        sketch.bins = new long[count];
        long sum = sketch.zeros;
        for (int i = 0; i < count; i++)
        {
            sketch.bins[i] = from.Read7BitEncodedInt64();
            sum += sketch.bins[i];
        }

        return sum == sketch.N ? sketch : throw SketchForm.Broken($"its bins hold {sum} values, it says {sketch.N}");
    });

    private void Count(int index, long by)
    {
        if (bins.Length == 0)
        {
            (bins, first) = (new long[1], index);
        }
        else if (index < first)
        {
            // Below the lowest bin that may be kept, values join that bin.
            int lowest = Math.Max(index, first + bins.Length - MostBins);
            if (lowest < first)
            {
                long[] wider = new long[bins.Length + first - lowest];
                bins.CopyTo(wider, first - lowest);
                (bins, first) = (wider, lowest);
            }

            index = Math.Max(index, first);
        }
        else if (index >= first + bins.Length)
        {
            int lowest = Math.Max(first, index - MostBins + 1);
            long[] wider = new long[index - lowest + 1];
            for (int i = 0; i < bins.Length; i++)
            {
                wider[Math.Max(0, first + i - lowest)] += bins[i];
            }

            (bins, first) = (wider, lowest);
        }

        bins[index - first] += by;
    }
}
