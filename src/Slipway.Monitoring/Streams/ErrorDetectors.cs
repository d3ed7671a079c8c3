namespace Slipway.Monitoring;

/// <summary>
/// Drift detection method (Gama et al. 2004) on 0/1 errors: the error rate p and its deviation s = sqrt(p (1 - p) / n) against the least p + s seen.
/// </summary>
/// <param name="least">Values before it judges.</param>
/// <param name="warning">Deviations above the least rate that warn.</param>
/// <param name="drift">Deviations that mean a change.</param>
public sealed class Ddm(int least = 30, double warning = 2, double drift = 3) : StreamDetector
{
    private long n = 1;
    private double p = 1;
    private double leastSum = double.PositiveInfinity;
    private double leastP = double.PositiveInfinity;
    private double leastS = double.PositiveInfinity;

    /// <inheritdoc/>
    public override string Name => $"DDM({least}, {warning}, {drift})";

    private protected override (bool Drift, bool Warning) Update(double value)
    {
        p += (value - p) / n;
        double s = Math.Sqrt(p * (1 - p) / n);
        n++;
        if (n < least)
        {
            return (false, false);
        }

        if (p + s <= leastSum)
        {
            (leastSum, leastP, leastS) = (p + s, p, s);
        }

        bool drifts = p + s > leastP + drift * leastS;
        return (drifts, !drifts && p + s > leastP + warning * leastS);
    }

    private protected override void Reset() => (n, p, leastSum, leastP, leastS) = (1, 1, double.PositiveInfinity, double.PositiveInfinity, double.PositiveInfinity);

    private protected override void Write(BinaryWriter to)
    {
        to.Write(n);
        to.Write(p);
        to.Write(leastSum);
        to.Write(leastP);
        to.Write(leastS);
    }

    private protected override void Read(BinaryReader from) => (n, p, leastSum, leastP, leastS) = (from.ReadInt64(), from.ReadDouble(), from.ReadDouble(), from.ReadDouble(), from.ReadDouble());
}

/// <summary>
/// Early drift detection method (Baena-Garcia et al. 2006): the distances between errors; mean plus two deviations against the most it has been.
/// </summary>
public sealed class Eddm : StreamDetector
{
    private const double DriftBelow = 0.90;
    private const double WarnBelow = 0.95;
    private const int LeastValues = 30;
    private const int LeastErrors = 30;
    private long n = 1;
    private long errors;
    private long last;
    private double mean;
    private double squares;
    private double most;
    private bool warned;

    /// <inheritdoc/>
    public override string Name => "EDDM";

    internal override bool TakesMeans => false;

    private protected override (bool Drift, bool Warning) Update(double value)
    {
        n++;
        if (value != 1)
        {
            return (false, warned);
        }

        warned = false;
        errors++;
        double distance = n - 1 - last, before = mean;
        last = n - 1;
        mean += (distance - mean) / errors;
        squares += (distance - mean) * (distance - before);
        double sum = mean + 2 * Math.Sqrt(squares / errors);
        if (n < LeastValues)
        {
            return (false, false);
        }

        if (sum > most)
        {
            most = sum;
            return (false, false);
        }

        bool drifts = errors > LeastErrors && sum / most < DriftBelow;
        warned = !drifts && errors > LeastErrors && sum / most < WarnBelow;
        return (drifts, warned);
    }

    private protected override void Reset() => (n, errors, last, mean, squares, most, warned) = (1, 0, 0, 0, 0, 0, false);

    private protected override void Write(BinaryWriter to)
    {
        to.Write(n);
        to.Write(errors);
        to.Write(last);
        to.Write(mean);
        to.Write(squares);
        to.Write(most);
        to.Write(warned);
    }

    private protected override void Read(BinaryReader from) =>
        (n, errors, last, mean, squares, most, warned) = (from.ReadInt64(), from.ReadInt64(), from.ReadInt64(), from.ReadDouble(), from.ReadDouble(), from.ReadDouble(), from.ReadBoolean());
}

/// <summary>
/// HDDM with the A-test (Frias-Blanco et al. 2015): Hoeffding's bound between the mean of all values and the best prefix. Values lie in [0, 1].
/// </summary>
/// <param name="drift">Confidence of a change.</param>
/// <param name="warning">Confidence of a warning.</param>
public sealed class HddmA(double drift = 0.001, double warning = 0.005) : StreamDetector
{
    private double n;
    private double sum;
    private double lowN;
    private double lowSum;
    private double highN;
    private double highSum;

    /// <inheritdoc/>
    public override string Name => $"HDDM_A({drift}, {warning})";

    private protected override (bool Drift, bool Warning) Update(double value)
    {
        n++;
        sum += value;
        (lowN, lowSum) = lowN == 0 ? (n, sum) : (lowN, lowSum);
        (highN, highSum) = highN == 0 ? (n, sum) : (highN, highSum);
        double bound = Bound(n);
        if (lowSum / lowN + Bound(lowN) >= sum / n + bound)
        {
            (lowN, lowSum) = (n, sum);
        }

        if (highSum / highN - Bound(highN) <= sum / n - bound)
        {
            (highN, highSum) = (n, sum);
        }

        bool drifts = Rises(drift), warns = !drifts && Rises(warning);
        // A change for the better starts a new window without an alarm.
        if (drifts || Falls(drift))
        {
            Reset();
        }

        return (drifts, warns);
    }

    private protected override void Reset() => (n, sum, lowN, lowSum, highN, highSum) = (0, 0, 0, 0, 0, 0);

    private protected override void Write(BinaryWriter to)
    {
        foreach (double part in (ReadOnlySpan<double>)[n, sum, lowN, lowSum, highN, highSum])
        {
            to.Write(part);
        }
    }

    private protected override void Read(BinaryReader from) =>
        (n, sum, lowN, lowSum, highN, highSum) = (from.ReadDouble(), from.ReadDouble(), from.ReadDouble(), from.ReadDouble(), from.ReadDouble(), from.ReadDouble());

    private double Bound(double count) => Math.Sqrt(1 / (2 * count) * Math.Log(1 / drift));

    private bool Rises(double confidence) => lowN != n && sum / n - lowSum / lowN >= Math.Sqrt((n - lowN) / lowN * (1 / n) / 2 * Math.Log(2 / confidence));

    private bool Falls(double confidence) => n != 0 && highN != n && highSum / highN - sum / n >= Math.Sqrt((n - highN) / highN * (1 / n) / 2 * Math.Log(2 / confidence));
}

/// <summary>
/// HDDM with the W-test (Frias-Blanco et al. 2015): McDiarmid's bound between exponentially weighted means, one-sided: it watches for values that rise.
/// Values lie in [0, 1].
/// </summary>
/// <param name="drift">Confidence of a change.</param>
/// <param name="warning">Confidence of a warning.</param>
/// <param name="lambda">Weight of the newest value.</param>
public sealed class HddmW(double drift = 0.001, double warning = 0.005, double lambda = 0.05) : StreamDetector
{
    private Sample total = Sample.Empty;
    private Sample before = Sample.Empty;
    private Sample after = Sample.Empty;
    private double cut = double.PositiveInfinity;

    /// <inheritdoc/>
    public override string Name => $"HDDM_W({drift}, {warning}, {lambda})";

    private protected override (bool Drift, bool Warning) Update(double value)
    {
        total = total.With(value, lambda);
        double upper = total.Mean + Math.Sqrt(total.Weight * Math.Log(1 / drift) / 2);
        if (upper < cut)
        {
            (cut, before, after) = (upper, total, Sample.Empty);
        }
        else
        {
            after = after.With(value, lambda);
        }

        bool drifts = Rises(drift);
        return (drifts, !drifts && Rises(warning));
    }

    private protected override void Reset() => (total, before, after, cut) = (Sample.Empty, Sample.Empty, Sample.Empty, double.PositiveInfinity);

    private protected override void Write(BinaryWriter to)
    {
        foreach (Sample sample in (ReadOnlySpan<Sample>)[total, before, after])
        {
            to.Write(sample.Mean);
            to.Write(sample.Weight);
        }

        to.Write(cut);
    }

    private protected override void Read(BinaryReader from)
    {
        (total, before, after) = (One(), One(), One());
        cut = from.ReadDouble();

        Sample One() => new(from.ReadDouble(), from.ReadDouble());
    }

    private bool Rises(double confidence) =>
        before.Weight > 0 && after.Weight > 0 && after.Mean - before.Mean > Math.Sqrt((before.Weight + after.Weight) * Math.Log(1 / confidence) / 2);

    /// <summary>An exponentially weighted mean and the sum of its squared weights; no weight is no value yet.</summary>
    [System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Auto)]
    private readonly record struct Sample(double Mean, double Weight)
    {
        public static readonly Sample Empty = new(0, 0);

        public Sample With(double value, double lambda) => Weight == 0
            ? new Sample(value, 1)
            : new Sample(lambda * value + (1 - lambda) * Mean, lambda * lambda + (1 - lambda) * (1 - lambda) * Weight);
    }
}

/// <summary>
/// Page's cumulative sum (1954) against the running mean, one-sided upwards: sum = max(0, alpha sum + x - mean - delta), a change above lambda. Lambda is
/// in the unit of x: scale x by its standard deviation in the reference.
/// </summary>
/// <param name="least">Values before it judges.</param>
/// <param name="delta">Change that is tolerated.</param>
/// <param name="lambda">Sum that means a change.</param>
/// <param name="alpha">How slowly old values are forgotten.</param>
public sealed class PageHinkley(int least = 30, double delta = 0.005, double lambda = 50, double alpha = 0.9999) : StreamDetector
{
    private long n = 1;
    private double mean;
    private double sum;

    /// <inheritdoc/>
    public override string Name => $"PageHinkley({least}, {delta}, {lambda}, {alpha})";

    private protected override (bool Drift, bool Warning) Update(double value)
    {
        mean += (value - mean) / n;
        sum = Math.Max(0, alpha * sum + (value - mean - delta));
        n++;
        return (n >= least && sum > lambda, false);
    }

    private protected override void Reset() => (n, mean, sum) = (1, 0, 0);

    private protected override void Write(BinaryWriter to)
    {
        to.Write(n);
        to.Write(mean);
        to.Write(sum);
    }

    private protected override void Read(BinaryReader from) => (n, mean, sum) = (from.ReadInt64(), from.ReadDouble(), from.ReadDouble());
}
