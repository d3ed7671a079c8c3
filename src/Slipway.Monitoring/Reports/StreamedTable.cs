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
    private readonly ColumnSketch? sketch = reference.Kind == ColumnKind.Number ? new ColumnSketch(reference.Bins, distinct: ColumnQuality.ExactDistinct) : null;
    private readonly long[]? fine = reference.Fine is { } bins ? new long[bins.Count] : null;
    private readonly double[] kept = new double[Moments.Block];
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
            int n = 0;
            foreach (double value in block)
            {
                kept[n] = value;
                bool finite = double.IsFinite(value);
                n += finite ? 1 : 0;
                outside += finite && (value < low || value > high) ? 1 : 0;
            }

            if (fine is not null)
            {
                reference.Fine!.CountInto(kept.AsSpan(0, n), fine);
            }
        }
    }

    public ColumnProfile Profile(long rows) => sketch is not null
        ? ColumnProfile.OfStream(reference.Name, sketch, fine, violations, reference, outside)
        : ColumnProfile.OfCategories(reference.Name, dictionary.Names.Zip(counts).ToDictionary(p => p.First, p => p.Second, StringComparer.Ordinal), rows, reference);
}
