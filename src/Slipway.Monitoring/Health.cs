using System.Collections.Concurrent;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Slipway.Monitoring;

/// <summary>How a variant fared in a span of time.</summary>
/// <param name="Requests">Requests answered or failed.</param>
/// <param name="Errors">Requests that failed.</param>
/// <param name="P50Micros">Median latency in microseconds; null without requests. Within 9 % of the exact value.</param>
/// <param name="P95Micros">The same for 95 of 100.</param>
/// <param name="P99Micros">The same for 99 of 100.</param>
public sealed record VariantHealth(long Requests, long Errors, long? P50Micros, long? P95Micros, long? P99Micros)
{
    /// <summary>Errors over requests; null without requests.</summary>
    public double? ErrorRate => Requests == 0 ? null : (double)Errors / Requests;
}

/// <summary>What was counted of a variant in a span of time; counts of several nodes and of spans that follow each other add up.</summary>
/// <param name="Errors">Requests that failed.</param>
/// <param name="Latencies">Requests by the index of their latency's size class.</param>
public sealed record HealthCounts(long Errors, IReadOnlyDictionary<int, long> Latencies)
{
    /// <summary>Nothing was counted.</summary>
    public static HealthCounts Empty { get; } = new(0, new Dictionary<int, long>());

    /// <summary>Requests answered or failed.</summary>
    public long Requests => Latencies.Values.Sum();

    /// <summary>What was seen in the answers that were looked at; null: none was.</summary>
    public AnswerCounts? Answers { get; init; }

    /// <summary>The size classes of latencies that have requests, from the fastest on.</summary>
    public IReadOnlyList<LatencyClass> Classes()
    {
        var classes = new List<LatencyClass>();
        long left = Requests;
        foreach (var (index, count) in Latencies.OrderBy(latency => latency.Key))
        {
            classes.Add(new(index == 0 ? 0 : Math.Pow(2, index / 4.0), index >= Health.Sizes - 1 ? double.PositiveInfinity : Math.Pow(2, (index + 1) / 4.0), left, left - count));
            left -= count;
        }

        return classes;
    }

    /// <summary>Both together.</summary>
    public HealthCounts Add(HealthCounts other)
    {
        var sum = new Dictionary<int, long>(Latencies);
        foreach (var (index, count) in other.Latencies)
        {
            sum[index] = sum.GetValueOrDefault(index) + count;
        }

        return new(Errors + other.Errors, sum) { Answers = Answers is { } own ? own.Add(other.Answers) : other.Answers };
    }

    /// <summary>What the counts say.</summary>
    public VariantHealth Read()
    {
        Span<long> histogram = stackalloc long[Health.Sizes];
        histogram.Clear();
        foreach (var (index, count) in Latencies)
        {
            histogram[Math.Clamp(index, 0, Health.Sizes - 1)] += count;
        }

        return Health.Read(histogram, Errors);
    }
}

/// <summary>A size class of latencies.</summary>
/// <param name="From">Its least latency, microseconds.</param>
/// <param name="To">Where the next one begins, microseconds; infinite for the last.</param>
/// <param name="AtLeast">Requests that took <paramref name="From"/> or longer.</param>
/// <param name="Slower">Requests that took <paramref name="To"/> or longer.</param>
[StructLayout(LayoutKind.Auto)]
public readonly record struct LatencyClass(double From, double To, long AtLeast, long Slower);

/// <summary>What the answers of a variant looked like; counts of several nodes and of spans that follow each other add up.</summary>
/// <param name="Examined">Answers that were looked at.</param>
/// <param name="Nans">Those with a NaN in an output.</param>
/// <param name="Declared">Those that could be compared with declared outputs.</param>
/// <param name="Violations">Those of them that did not fit: an output is missing, or of another type or shape.</param>
/// <param name="ComputeNanos">Time in the model, nanoseconds; of a batch each request has its share by rows.</param>
/// <param name="ComputeSquares">Sum of the squares of those times.</param>
public sealed record AnswerCounts(long Examined, long Nans, long Declared, long Violations, double ComputeNanos, double ComputeSquares)
{
    /// <summary>Both together.</summary>
    public AnswerCounts Add(AnswerCounts? other) => other is null ? this : new(
        Examined + other.Examined, Nans + other.Nans, Declared + other.Declared, Violations + other.Violations, ComputeNanos + other.ComputeNanos, ComputeSquares + other.ComputeSquares);
}

/// <summary>What was seen in one answer.</summary>
/// <param name="Nan">Whether an output holds a NaN.</param>
/// <param name="Fits">Whether it fits the declared outputs; null: none are declared.</param>
/// <param name="ComputeNanos">Time in the model, nanoseconds.</param>
[StructLayout(LayoutKind.Auto)]
public readonly record struct AnswerSigns(bool Nan, bool? Fits, long ComputeNanos);

/// <summary>
/// What each variant of each endpoint does right now, in memory, one bucket a second for the last 15 minutes. Recording takes no lock.
/// </summary>
public sealed class Health
{
    /// <summary>How many seconds are kept.</summary>
    public const int Seconds = 900;

    /// <summary>How many variants are kept; those of which nothing was heard for <see cref="Seconds"/> give way, further ones are not counted.</summary>
    public const int LargestSet = 512;

    /// <summary>Size classes of latencies: four for each power of two up to 2^26 microseconds (67 s); longer ones fall into the last.</summary>
    internal const int Sizes = 4 * 26;

    private readonly TimeProvider clock;
    private readonly ConcurrentDictionary<(string Endpoint, string Variant), Ring> rings = new();

    internal Health(TimeProvider clock) => this.clock = clock;

    /// <summary>Counts one request.</summary>
    /// <param name="endpoint">The endpoint.</param>
    /// <param name="variant">Its variant that answered.</param>
    /// <param name="latencyMicros">Time to the answer, microseconds.</param>
    /// <param name="ok">False when the variant failed; a refusal of a bad request is not its failure.</param>
    /// <param name="signs">What was seen in its answer; null: nobody looked.</param>
    public void Record(string endpoint, string variant, long latencyMicros, bool ok, AnswerSigns? signs = null)
    {
        long second = clock.GetUtcNow().ToUnixTimeSeconds();
        if (!rings.TryGetValue((endpoint, variant), out Ring? ring))
        {
            if (rings.Count >= LargestSet)
            {
                foreach (var idle in rings.Where(r => r.Value.Latest < second - Seconds))
                {
                    rings.TryRemove(idle);
                }

                if (rings.Count >= LargestSet)
                {
                    return;
                }
            }

            ring = rings.GetOrAdd((endpoint, variant), static _ => new Ring());
        }

        ring.At(second).Record(latencyMicros, ok, signs);
    }

    /// <summary>The requests from <paramref name="since"/> (to the second, at most <see cref="Seconds"/> back) until now.</summary>
    public VariantHealth Of(string endpoint, string variant, DateTimeOffset since)
    {
        long now = clock.GetUtcNow().ToUnixTimeSeconds();
        Span<long> histogram = stackalloc long[Sizes];
        histogram.Clear();
        return Read(histogram, Sum(endpoint, variant, since.ToUnixTimeSeconds(), now, histogram));
    }

    /// <summary>The same as counts, from one second (Unix time, at most <see cref="Seconds"/> back) to before another.</summary>
    public HealthCounts Count(string endpoint, string variant, long from, long until)
    {
        Span<long> histogram = stackalloc long[Sizes];
        histogram.Clear();
        long errors = Sum(endpoint, variant, from, until - 1, histogram);
        var latencies = new Dictionary<int, long>();
        for (int i = 0; i < histogram.Length; i++)
        {
            if (histogram[i] > 0)
            {
                latencies[i] = histogram[i];
            }
        }

        return new HealthCounts(errors, latencies) { Answers = Looked(endpoint, variant, from, until - 1) };
    }

    /// <summary>Variants of an endpoint of which something was heard in the last <see cref="Seconds"/>.</summary>
    public IReadOnlyList<string> Variants(string endpoint)
    {
        long from = clock.GetUtcNow().ToUnixTimeSeconds() - Seconds;
        return rings.Where(r => r.Key.Endpoint == endpoint && r.Value.Latest >= from).Select(r => r.Key.Variant).Order(StringComparer.Ordinal).ToArray();
    }

    internal static VariantHealth Read(ReadOnlySpan<long> histogram, long errors)
    {
        long requests = 0;
        foreach (long count in histogram)
        {
            requests += count;
        }

        return new VariantHealth(requests, Math.Min(errors, requests), Quantile(histogram, requests, 0.50), Quantile(histogram, requests, 0.95), Quantile(histogram, requests, 0.99));
    }

    // Adds to the histogram and returns the errors.
    private long Sum(string endpoint, string variant, long from, long to, Span<long> histogram)
    {
        long errors = 0;
        if (rings.TryGetValue((endpoint, variant), out Ring? ring))
        {
            foreach (Bucket bucket in ring.Since(Math.Max(from, clock.GetUtcNow().ToUnixTimeSeconds() - Seconds + 1), to))
            {
                bucket.AddTo(histogram);
                errors += bucket.Errors;
            }
        }

        return errors;
    }

    private AnswerCounts? Looked(string endpoint, string variant, long from, long to)
    {
        AnswerCounts? sum = null;
        if (rings.TryGetValue((endpoint, variant), out Ring? ring))
        {
            foreach (Bucket bucket in ring.Since(Math.Max(from, clock.GetUtcNow().ToUnixTimeSeconds() - Seconds + 1), to))
            {
                sum = bucket.Answers is { } answers ? answers.Add(sum) : sum;
            }
        }

        return sum;
    }

    private static long? Quantile(ReadOnlySpan<long> histogram, long count, double q)
    {
        if (count == 0)
        {
            return null;
        }

        long rank = Math.Max(1, (long)Math.Ceiling(q * count)), seen = 0;
        for (int i = 0; i < histogram.Length; i++)
        {
            seen += histogram[i];
            if (seen >= rank)
            {
                return Bucket.Middle(i);
            }
        }

        return Bucket.Middle(histogram.Length - 1);
    }

    /// <summary>The last seconds of one variant. A bucket is replaced whole when its second is over, so that none is ever cleared under a writer.</summary>
    private sealed class Ring
    {
        private readonly Bucket?[] buckets = new Bucket?[Seconds];
        private long latest;

        public long Latest => Volatile.Read(ref latest);

        public Bucket At(long second)
        {
            ref Bucket? slot = ref buckets[second % Seconds];
            Bucket? bucket = Volatile.Read(ref slot);
            while (bucket is null || bucket.Second < second)
            {
                var fresh = new Bucket(second);
                Bucket? before = Interlocked.CompareExchange(ref slot, fresh, bucket);
                if (ReferenceEquals(before, bucket))
                {
                    Volatile.Write(ref latest, second);
                    return fresh;
                }

                bucket = before;
            }

            return bucket;
        }

        public IEnumerable<Bucket> Since(long from, long to)
        {
            for (long second = from; second <= to; second++)
            {
                if (Volatile.Read(ref buckets[second % Seconds]) is { } bucket && bucket.Second == second)
                {
                    yield return bucket;
                }
            }
        }
    }

    /// <summary>One second: errors and a histogram of latencies whose bucket sizes grow by a quarter power of two (19 %).</summary>
    private sealed class Bucket(long second)
    {
        private readonly int[] counts = new int[Sizes];
        private int errors;
        private int examined;
        private int nans;
        private int declared;
        private int violations;
        private long computeNanos;
        private double computeSquares;

        public AnswerCounts? Answers => Volatile.Read(ref examined) is > 0 and var looked
            ? new(looked, Volatile.Read(ref nans), Volatile.Read(ref declared), Volatile.Read(ref violations), Volatile.Read(ref computeNanos), Volatile.Read(ref computeSquares)) : null;

        public long Second { get; } = second;

        public int Errors => Volatile.Read(ref errors);

        public void Record(long micros, bool ok, AnswerSigns? seen)
        {
            Interlocked.Increment(ref counts[IndexOf(micros)]);
            if (!ok)
            {
                Interlocked.Increment(ref errors);
            }

            if (seen is { } signs)
            {
                Look(signs);
            }
        }

        private void Look(AnswerSigns signs)
        {
            Interlocked.Add(ref computeNanos, signs.ComputeNanos);
            double square = (double)signs.ComputeNanos * signs.ComputeNanos, before = Volatile.Read(ref computeSquares);
            while (Interlocked.CompareExchange(ref computeSquares, before + square, before) is var now && !now.Equals(before))
            {
                before = now;
            }

            if (signs.Nan)
            {
                Interlocked.Increment(ref nans);
            }

            if (signs.Fits is { } fits)
            {
                Interlocked.Increment(ref declared);
                if (!fits)
                {
                    Interlocked.Increment(ref violations);
                }
            }

            Interlocked.Increment(ref examined);
        }

        public void AddTo(Span<long> histogram)
        {
            for (int i = 0; i < Sizes; i++)
            {
                histogram[i] += Volatile.Read(ref counts[i]);
            }
        }

        public static long Middle(int index) => (long)Math.Round(Math.Pow(2, (index + 0.5) / 4));

        private static int IndexOf(long micros)
        {
            ulong value = (ulong)Math.Max(1, micros);
            int power = BitOperations.Log2(value);
            if (power >= Sizes / 4)
            {
                return Sizes - 1;
            }

            double part = value / (double)(1UL << power);
            int quarter = part >= 1.6817928305074290 ? 3 : part >= 1.4142135623730951 ? 2 : part >= 1.1892071150027210 ? 1 : 0;
            return 4 * power + quarter;
        }
    }
}
