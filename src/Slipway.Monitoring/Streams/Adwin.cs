namespace Slipway.Monitoring;

/// <summary>
/// Adaptive windowing (Bifet and Gavalda 2007), the default: it keeps the longest window of newest values in which no cut shows two different means,
/// as an exponential histogram of O(log n) buckets. It takes any real values. On a change it drops its oldest buckets and keeps the rest.
/// </summary>
public sealed class Adwin(double delta = 0.002) : StreamDetector
{
    private const int Clock = 32;
    private const int BucketsPerRow = 5;
    private const int LeastWindow = 10;
    private const int LeastSide = 5;
    private readonly List<List<Bucket>> rows = [[]];
    private long width;
    private double total;
    private double m2;

    /// <summary>Confidence: the probability of a false cut is at most this.</summary>
    public double Delta { get; } = delta is > 0 and < 1 ? delta : throw new ArgumentOutOfRangeException(nameof(delta), delta, "Delta lies between 0 and 1.");

    /// <inheritdoc/>
    public override string Name => $"ADWIN({Delta})";

    /// <summary>Values in the window.</summary>
    public long Width => width;

    /// <summary>Their mean; NaN when there are none.</summary>
    public double Mean => width == 0 ? double.NaN : total / width;

    private protected override (bool Drift, bool Warning) Update(double value)
    {
        if (width > 0)
        {
            double off = value - total / width;
            m2 += off * off * width / (width + 1);
        }

        width++;
        total += value;
        rows[0].Add(new Bucket(value, 0));
        Compress();
        return (N % Clock == 0 && width > LeastWindow && Shrink(), false);
    }

    // The window outlives a change: only its old part goes.
    private protected override void Reset()
    {
    }

    private protected override void Write(BinaryWriter to)
    {
        to.Write(width);
        to.Write(total);
        to.Write(m2);
        to.Write(rows.Count);
        foreach (List<Bucket> row in rows)
        {
            to.Write(row.Count);
            foreach (Bucket bucket in row)
            {
                to.Write(bucket.Total);
                to.Write(bucket.M2);
            }
        }
    }

    private protected override void Read(BinaryReader from)
    {
        width = from.ReadInt64();
        total = from.ReadDouble();
        m2 = from.ReadDouble();
        rows.Clear();
        int count = from.ReadInt32();
        for (int r = 0; r < count; r++)
        {
            var row = new List<Bucket>();
            int buckets = from.ReadInt32();
            for (int b = 0; b < buckets; b++)
            {
                row.Add(new Bucket(from.ReadDouble(), from.ReadDouble()));
            }

            rows.Add(row);
        }
    }

    /// <summary>The sixth bucket of a row makes its two oldest one of the next row.</summary>
    private void Compress()
    {
        for (int r = 0; rows[r].Count > BucketsPerRow; r++)
        {
            if (r + 1 == rows.Count)
            {
                rows.Add([]);
            }

            double size = Math.Pow(2, r);
            Bucket a = rows[r][0], b = rows[r][1];
            double off = a.Total / size - b.Total / size;
            rows[r + 1].Add(new Bucket(a.Total + b.Total, a.M2 + b.M2 + size / 2 * off * off));
            rows[r].RemoveRange(0, 2);
        }
    }

    /// <summary>Drops oldest buckets while any cut shows two means.</summary>
    private bool Shrink()
    {
        bool changed = false;
        while (width > LeastWindow && Cut())
        {
            changed = true;
            int r = rows.Count - 1;
            while (rows[r].Count == 0)
            {
                rows.RemoveAt(r--);
            }

            Bucket oldest = rows[r][0];
            rows[r].RemoveAt(0);
            double size = Math.Pow(2, r);
            width -= (long)size;
            total -= oldest.Total;
            double off = oldest.Total / size - total / width;
            m2 -= oldest.M2 + size * width / (size + width) * off * off;
        }

        return changed;
    }

    private bool Cut()
    {
        double n = width, d = Math.Log(2 * Math.Log(n) / Delta), variance = m2 / n, n0 = 0, sum0 = 0;
        for (int r = rows.Count - 1; r >= 0; r--)
        {
            foreach (Bucket bucket in rows[r])
            {
                n0 += Math.Pow(2, r);
                sum0 += bucket.Total;
                double n1 = n - n0;
                if (n1 < LeastSide)
                {
                    return false;
                }

                if (n0 >= LeastSide)
                {
                    double m = 1 / (n0 - LeastSide + 1) + 1 / (n1 - LeastSide + 1);
                    if (Math.Abs(sum0 / n0 - (total - sum0) / n1) > Math.Sqrt(2 * m * variance * d) + 2.0 / 3 * d * m)
                    {
                        return true;
                    }
                }
            }
        }

        return false;
    }

    [System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Auto)]
    private readonly record struct Bucket(double Total, double M2);
}
