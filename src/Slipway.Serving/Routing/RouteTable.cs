using Slipway.Serving.Batching;
using Slipway.Serving.Runtimes;

namespace Slipway.Serving.Routing;

/// <summary>A variant ready to answer on this node.</summary>
/// <param name="Name">The variant's name.</param>
/// <param name="ModelVersion">As <c>name/version</c>.</param>
/// <param name="ModelName">The registered model's name.</param>
/// <param name="Version">Its version as text.</param>
/// <param name="Model">The loaded model.</param>
/// <param name="Lane">How requests get to it.</param>
/// <param name="Log">What of its predictions is kept.</param>
internal sealed record LiveVariant(string Name, string ModelVersion, string ModelName, string Version, LoadedModel Model, Lane Lane, VariantLog Log)
{
    /// <summary>What it did on this endpoint; outlives the table.</summary>
    public Counters Counters => Lane.Counters;
}

/// <summary>
/// One revision of a route as this node serves it: immutable, read once per request. The slots usually equal the specification's; they differ
/// while this node has taken the candidate out on its own.
/// </summary>
internal sealed class RouteTable
{
    private readonly byte[] _slots;
    private readonly long _seed;

    public RouteTable(RouteSpec spec, LiveVariant[] variants, Fuse fuse)
        : this(spec, variants, fuse, variants.Length == 1 ? SlotTable.Whole() : SlotTable.Decode(spec.Slots), Picker.Seed(spec.Salt))
    {
    }

    private RouteTable(RouteSpec spec, LiveVariant[] variants, Fuse fuse, byte[] slots, long seed)
    {
        (Spec, Variants, Fuse, _slots, _seed) = (spec, variants, fuse, slots, seed);
    }

    public RouteSpec Spec { get; }

    /// <summary>Index 0 is stable. Shorter than the specification if the candidate could not be loaded here.</summary>
    public LiveVariant[] Variants { get; }

    public Fuse Fuse { get; }

    /// <summary>The index of the variant of a key.</summary>
    public int Pick(ReadOnlySpan<char> key) => Variants.Length == 1 ? 0 : _slots[Picker.Slot(key, _seed)];

    /// <summary>The slot of a key under this revision's salt.</summary>
    public int SlotOf(ReadOnlySpan<char> key) => Picker.Slot(key, _seed);

    /// <summary>The index of the variant that serves a version, or -1.</summary>
    public int IndexOf(ReadOnlySpan<char> version)
    {
        for (var i = 0; i < Variants.Length; i++)
        {
            if (version.SequenceEqual(Variants[i].Version))
            {
                return i;
            }
        }

        return -1;
    }

    /// <summary>The same revision with every slot on stable.</summary>
    public RouteTable OnStable() => new(Spec, Variants, Fuse, SlotTable.Whole(), _seed);
}
