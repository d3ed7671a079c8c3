using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Slipway.Monitoring;

/// <summary>A CSV file that streams by: each block's columns go into the reference's bins, in file order.</summary>
internal sealed class StreamedTable(CsvReader reader, IReadOnlyList<ColumnProfile> reference)
{
    public (long Rows, ColumnProfile[] Profiles, (string, ColumnKind)[] Columns) Read()
    {
        Dictionary<string, ColumnProfile> known = reference.ToDictionary(r => r.Name, StringComparer.Ordinal);
        ColumnStream?[] streams = reader.Names.Select((name, c) => known.TryGetValue(name, out ColumnProfile? r) && r.Kind == reader.Kinds[c] ? new ColumnStream(r) : null).ToArray();
        long rows = 0;
        foreach (CsvBlock block in reader.Blocks())
        {
            rows += block.Rows;
            Parallel.For(0, streams.Length, new ParallelOptions { MaxDegreeOfParallelism = 2 }, c => streams[c]?.Add(block, c));
            block.Return();
        }

        return (rows, streams.OfType<ColumnStream>().Select(s => s.Profile(rows)).ToArray(), reader.Names.Zip(reader.Kinds).ToArray());
    }
}

/// <summary>One column that goes by in blocks, into the reference's bins.</summary>
internal sealed class ColumnStream(ColumnProfile reference)
{
    private readonly ColumnSketch? sketch = reference.Kind == ColumnKind.Number ? new ColumnSketch(reference.Fine ?? reference.Bins, distinct: ColumnQuality.ExactDistinct) : null;
    private readonly CategoryDictionary dictionary = new();
    private readonly List<long> counts = [];
    private long violations;
    private long outside;

    /// <summary>Takes its column of a block.</summary>
    public void Add(CsvBlock block, int column)
    {
        if (sketch is not null)
        {
            Add(block.Numbers[column].AsSpan(0, block.Rows), block.Violations[column]);
            return;
        }

        int[] map = dictionary.Map(block.Categories[column]);
        while (counts.Count < dictionary.Names.Count)
        {
            counts.Add(0);
        }

        foreach (int code in block.Codes[column].AsSpan(0, block.Rows))
        {
            if (code >= 0)
            {
                counts[map[code]]++;
            }
        }
    }

    /// <summary>Takes numbers, of which so many stood for texts.</summary>
    public void Add(ReadOnlySpan<double> values, long wrong)
    {
        violations += wrong;
        double low = reference.Quality.Min ?? double.NegativeInfinity, high = reference.Quality.Max ?? double.PositiveInfinity;
        for (int start = 0; start < values.Length; start += Moments.Block)
        {
            ReadOnlySpan<double> block = values.Slice(start, Math.Min(Moments.Block, values.Length - start));
            sketch!.Add(block);
            // Nothing lies outside as long as no value ever did.
            outside += sketch.Moments.Min < low || sketch.Moments.Max > high ? Outside(block, low, high) : 0;
        }
    }

    /// <summary>How many finite values lie below or above the reference's range.</summary>
    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveOptimization)]
    private static long Outside(ReadOnlySpan<double> values, double low, double high)
    {
        ref double first = ref MemoryMarshal.GetReference(values);
        Vector512<double> least = Vector512.Create(low), most = Vector512.Create(high), end = Vector512.Create(double.PositiveInfinity);
        Vector512<long> count = Vector512<long>.Zero;
        int i = 0;
        for (; i <= values.Length - Vector512<double>.Count; i += Vector512<double>.Count)
        {
            Vector512<double> v = Vector512.LoadUnsafe(ref first, (nuint)i);
            count -= ((Vector512.LessThan(v, least) | Vector512.GreaterThan(v, most)) & Vector512.LessThan(Vector512.Abs(v), end)).AsInt64();
        }

        long sum = Vector512.Sum(count);
        for (; i < values.Length; i++)
        {
            sum += double.IsFinite(values[i]) && (values[i] < low || values[i] > high) ? 1 : 0;
        }

        return sum;
    }

    public ColumnProfile Profile(long rows) => sketch is not null
        ? ColumnProfile.OfStream(reference.Name, sketch, violations, reference, outside)
        : ColumnProfile.OfCategories(reference.Name, dictionary.Names.Zip(counts).ToDictionary(p => p.First, p => p.Second, StringComparer.Ordinal), rows, reference);
}
