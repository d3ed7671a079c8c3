using System.Globalization;
using System.Text;

namespace Slipway.Serving.Routing;

/// <summary>
/// The 10,000 slots of a route. A slot names a variant by index; an entity's slot never changes under one salt, so what an entity sees changes
/// only when its slot is given away. A change of weights gives away the least possible number of slots.
/// </summary>
internal static class SlotTable
{
    /// <summary>Slots of a table: weights have steps of 0.01 %.</summary>
    public const int Size = 10_000;

    /// <summary>The table in which one variant has every slot.</summary>
    public static byte[] Whole(byte variant = 0)
    {
        var slots = new byte[Size];
        Array.Fill(slots, variant);
        return slots;
    }

    /// <summary>
    /// Slots per variant for <paramref name="weights"/> (any scale, none negative or not finite, sum above zero), by largest remainder:
    /// the counts always add up to <see cref="Size"/> and differ from the exact share by less than one slot.
    /// </summary>
    public static int[] Share(ReadOnlySpan<double> weights)
    {
        var sum = 0.0;
        foreach (var weight in weights)
        {
            if (!double.IsFinite(weight) || weight < 0)
            {
                throw new ArgumentOutOfRangeException(nameof(weights), weight, "a weight must be finite and not negative");
            }

            sum += weight;
        }

        if (sum <= 0 || !double.IsFinite(sum) || weights.Length > 256)
        {
            throw new ArgumentOutOfRangeException(nameof(weights), sum, "there must be 1 to 256 weights with a finite sum above zero");
        }

        var counts = new int[weights.Length];
        var remainders = new (double Part, int Variant)[weights.Length];
        var given = 0;
        for (var i = 0; i < weights.Length; i++)
        {
            // Rounding to 1e-9 keeps 0.1 / 1 * 10000 from losing a slot to the binary representation.
            var exact = Math.Round(weights[i] / sum * Size, 9);
            counts[i] = (int)Math.Floor(exact);
            remainders[i] = (exact - counts[i], i);
            given += counts[i];
        }

        Array.Sort(remainders, static (a, b) => a.Part != b.Part ? b.Part.CompareTo(a.Part) : a.Variant.CompareTo(b.Variant));
        for (var i = 0; given < Size; i = (i + 1) % weights.Length, given++)
        {
            counts[remainders[i].Variant]++;
        }

        return counts;
    }

    /// <summary>
    /// A new table with <paramref name="counts"/> slots per variant. Shrinking variants give their highest slots, growing ones take them;
    /// every other slot stays. A variant missing from <paramref name="counts"/> gives all its slots away.
    /// </summary>
    public static byte[] Reassign(ReadOnlySpan<byte> slots, ReadOnlySpan<int> counts)
    {
        Span<int> excess = stackalloc int[256];
        foreach (var variant in slots)
        {
            excess[variant]++;
        }

        var total = 0;
        for (var i = 0; i < counts.Length; i++)
        {
            excess[i] -= counts[i];
            total += counts[i];
        }

        if (slots.Length != Size || total != Size)
        {
            throw new ArgumentException($"a table has {Size} slots; got {slots.Length} for counts that sum to {total}", nameof(counts));
        }

        var next = slots.ToArray();
        var taker = 0;
        for (var slot = Size - 1; slot >= 0; slot--)
        {
            var owner = next[slot];
            if (excess[owner] <= 0)
            {
                continue;
            }

            while (excess[taker] >= 0)
            {
                taker++;
            }

            next[slot] = (byte)taker;
            excess[owner]--;
            excess[taker]++;
        }

        return next;
    }

    /// <summary>Slots that differ between two tables.</summary>
    public static int Moved(ReadOnlySpan<byte> before, ReadOnlySpan<byte> after)
    {
        var moved = 0;
        for (var i = 0; i < Size; i++)
        {
            moved += before[i] != after[i] ? 1 : 0;
        }

        return moved;
    }

    /// <summary>Run-length text such as <c>0*9000,1*1000</c>: how a table is stored, and the record of who saw what.</summary>
    public static string Encode(ReadOnlySpan<byte> slots)
    {
        var text = new StringBuilder();
        for (var start = 0; start < slots.Length;)
        {
            var end = start + 1;
            while (end < slots.Length && slots[end] == slots[start])
            {
                end++;
            }

            text.Append(text.Length == 0 ? "" : ",").Append(CultureInfo.InvariantCulture, $"{slots[start]}*{end - start}");
            start = end;
        }

        return text.ToString();
    }

    /// <summary>The table of a text written by <see cref="Encode"/>; throws <see cref="FormatException"/> for anything else.</summary>
    public static byte[] Decode(string text)
    {
        var slots = new byte[Size];
        var at = 0;
        foreach (var range in text.AsSpan().Split(','))
        {
            var run = text.AsSpan(range);
            var star = run.IndexOf('*');
            if (star < 0
                || !byte.TryParse(run[..star], NumberStyles.None, CultureInfo.InvariantCulture, out var variant)
                || !int.TryParse(run[(star + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out var length)
                || length > Size - at)
            {
                throw new FormatException($"'{run}' is not a run of a slot table");
            }

            slots.AsSpan(at, length).Fill(variant);
            at += length;
        }

        return at == Size ? slots : throw new FormatException($"a slot table has {Size} slots, the text has {at}");
    }
}
