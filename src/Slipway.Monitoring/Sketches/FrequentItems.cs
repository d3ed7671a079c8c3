using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// The most frequent items of a stream in a fixed number of counters (Misra and Gries 1982; merged as Agarwal et al. 2013). A count is never too
/// high, and too low by at most <see cref="Error"/>, which is at most N / (counters + 1). With fewer different items than counters all counts are exact.
/// </summary>
public sealed class FrequentItems
{
    /// <summary>Counters that a monitor's column has.</summary>
    public const int ColumnCounters = 512;

    private readonly Dictionary<ulong, long> counters = [];

    /// <summary>An empty sketch of <paramref name="capacity"/> counters, 1 to 65,536.</summary>
    public FrequentItems(int capacity = ColumnCounters)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(capacity, 65_536);
        Capacity = capacity;
    }

    /// <summary>The most items that are kept.</summary>
    public int Capacity { get; }

    /// <summary>Items taken in.</summary>
    public long N { get; private set; }

    /// <summary>The most by which any count is too low; an item that is not kept occurred at most this often.</summary>
    public long Error { get; private set; }

    /// <summary>Items that no counter stands for any more: N less all counts.</summary>
    public long Other => N - counters.Values.Sum();

    /// <summary>Takes an item: the bits of a number, a code or a hash.</summary>
    public void Add(ulong item, long times = 1)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(times);
        N += times;
        System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(counters, item, out _) += times;
        Shrink();
    }

    /// <summary>The lower bound of an item's count.</summary>
    public long CountOf(ulong item) => counters.GetValueOrDefault(item);

    /// <summary>Kept items, the most frequent first, ties by item.</summary>
    public IReadOnlyList<(ulong Item, long Count)> Items() => counters.Select(c => (c.Key, c.Value)).OrderByDescending(c => c.Value).ThenBy(c => c.Key).ToArray();

    /// <summary>Adds the counts of a sketch of the same capacity.</summary>
    /// <exception cref="SlipwayException">InvalidArgument when the capacities differ.</exception>
    public void Merge(FrequentItems other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (other.Capacity != Capacity)
        {
            throw SketchForm.Unlike("the number of counters", Capacity, other.Capacity);
        }

        foreach ((ulong item, long count) in other.counters)
        {
            counters[item] = counters.GetValueOrDefault(item) + count;
        }

        N += other.N;
        Error += other.Error;
        Shrink();
    }

    /// <summary>The versioned binary form. Items take four bytes when all fit, as codes and single-precision numbers do.</summary>
    public byte[] ToBytes() => SketchForm.Write(Write);

    /// <summary>Reads what <see cref="ToBytes"/> wrote.</summary>
    /// <exception cref="SlipwayException">DataLoss when the bytes are no such sketch.</exception>
    public static FrequentItems FromBytes(ReadOnlyMemory<byte> bytes) => SketchForm.Read(bytes, Read);

    internal void Write(BinaryWriter to)
    {
        SketchForm.WriteHead(to, SketchForm.Items);
        to.Write(Capacity);
        to.Write(N);
        to.Write(Error);
        to.Write(counters.Count);
        bool narrow = counters.Keys.All(k => k <= uint.MaxValue);
        to.Write(narrow);
        foreach ((ulong item, long count) in Items())
        {
            if (narrow)
            {
                to.Write((uint)item);
            }
            else
            {
                to.Write(item);
            }

            to.Write7BitEncodedInt64(count);
        }
    }

    internal static FrequentItems Read(BinaryReader from)
    {
        SketchForm.ReadHead(from, SketchForm.Items);
        int capacity = from.ReadInt32();
        if (capacity is < 1 or > 65_536)
        {
            throw SketchForm.Broken($"it has {capacity} counters");
        }

        var sketch = new FrequentItems(capacity) { N = from.ReadInt64(), Error = from.ReadInt64() };
        int count = from.ReadInt32();
        bool narrow = from.ReadBoolean();
        if (count < 0 || count > capacity)
        {
            throw SketchForm.Broken($"it holds {count} items in {capacity} counters");
        }

        for (int i = 0; i < count; i++)
        {
            ulong item = narrow ? from.ReadUInt32() : from.ReadUInt64();
            sketch.counters[item] = from.Read7BitEncodedInt64();
        }

        return sketch.Other >= 0 ? sketch : throw SketchForm.Broken("its counts exceed its items");
    }

    /// <summary>Takes from every count as much as the largest one that has no counter any more.</summary>
    private void Shrink()
    {
        if (counters.Count <= Capacity)
        {
            return;
        }

        long[] counts = counters.Values.ToArray();
        Array.Sort(counts);
        long cut = counts[^(Capacity + 1)];
        foreach (ulong item in counters.Keys.ToArray())
        {
            long left = counters[item] - cut;
            if (left > 0)
            {
                counters[item] = left;
            }
            else
            {
                counters.Remove(item);
            }
        }

        Error += cut;
    }
}
