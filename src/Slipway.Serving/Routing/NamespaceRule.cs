using System.Globalization;
using System.Text.Json.Serialization;

namespace Slipway.Serving.Routing;

/// <summary>
/// A part of a namespace. A namespace is a slot table of its own above those of experiments, with its name as salt: every entity has one slot in it, so that
/// experiments with disjoint parts never meet the same entity. Entities outside of the part get stable and are left out of the experiment.
/// </summary>
/// <param name="Name">The namespace: experiments that name the same one share its slots, on whichever endpoint they run.</param>
/// <param name="From">Where the part begins, 0 to 100 percent in steps of 0.01.</param>
/// <param name="To">Where it ends; the end is not part of it.</param>
public sealed record NamespaceRule(string Name, double From, double To)
{
    /// <summary>As causes and errors say it.</summary>
    [JsonIgnore]
    public string Words => string.Create(CultureInfo.InvariantCulture, $"{From:0.##} to {To:0.##} % of namespace '{Name}'");

    internal int FirstSlot => (int)Math.Round(From * SlotTable.Size / 100);

    internal int EndSlot => (int)Math.Round(To * SlotTable.Size / 100);

    internal bool Overlaps(NamespaceRule other) => Name == other.Name && FirstSlot < other.EndSlot && other.FirstSlot < EndSlot;

    /// <summary>What is wrong with it, with the value and what to do; null: nothing.</summary>
    internal string? Fault() =>
        !Endpoints.IsName(Name ?? "") ? $"'{Name}' is not a name of a namespace; use up to 100 letters, digits, '-', '_' and '.'"
        : From is not (>= 0 and <= 100) || To is not (>= 0 and <= 100) ? $"a part of a namespace lies between 0 and 100 percent, this one from {Say(From)} to {Say(To)}; give both in percent"
        : FirstSlot >= EndSlot ? $"the part from {Say(From)} to {Say(To)} percent holds no slot; let it end at least 0.01 after it begins"
        : null;

    /// <summary>The parts of a namespace that none of <paramref name="taken"/> holds, in words.</summary>
    internal static string Free(IEnumerable<NamespaceRule> taken)
    {
        var (at, free) = (0, new List<string>());
        foreach (var part in taken.OrderBy(part => part.FirstSlot))
        {
            Add(part.FirstSlot);
            at = Math.Max(at, part.EndSlot);
        }

        Add(SlotTable.Size);
        return free.Count == 0 ? "nothing" : string.Join(", ", free);

        void Add(int until)
        {
            if (until > at)
            {
                free.Add($"{Say(at * 100.0 / SlotTable.Size)} to {Say(until * 100.0 / SlotTable.Size)} %");
            }
        }
    }

    private static string Say(double percent) => percent.ToString("0.##", CultureInfo.InvariantCulture);
}

/// <summary>A part of a namespace as a table asks it.</summary>
internal sealed class NamespacePart(NamespaceRule rule)
{
    // Apart from the salts of rollouts, which are ids, also where a namespace has the name of one.
    private readonly long _seed = Picker.Seed($"namespace:{rule.Name}");
    private readonly int _first = rule.FirstSlot;
    private readonly int _end = rule.EndSlot;

    /// <summary>Whether an entity is in it. Does not allocate.</summary>
    public bool Holds(ReadOnlySpan<char> key) => Picker.Slot(key, _seed) is var slot && slot >= _first && slot < _end;
}
