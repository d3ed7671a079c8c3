using System.Collections.Frozen;
using System.Runtime.InteropServices;
using Slipway.Monitoring;
using Slipway.Serving.Batching;
using Slipway.Serving.Runtimes;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Routing;

/// <summary>A variant ready to answer on this node.</summary>
/// <param name="Name">The variant's name.</param>
/// <param name="ModelVersion">As <c>name/version</c>.</param>
/// <param name="ModelName">The registered model's name.</param>
/// <param name="Version">Its version as text.</param>
/// <param name="Model">The loaded model.</param>
/// <param name="Lane">How requests get to it.</param>
/// <param name="Log">What of its predictions is kept.</param>
/// <param name="Fuse">Counts its hard failures on this node.</param>
internal sealed record LiveVariant(string Name, string ModelVersion, string ModelName, string Version, LoadedModel Model, Lane Lane, VariantLog Log, Fuse Fuse)
{
    /// <summary>What it did on this endpoint; outlives the table.</summary>
    public Counters Counters => Lane.Counters;
}

/// <summary>Which variant answers, by its index in the table (-1: none), and why.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct Decision(int Index, DecisionReason Reason);

/// <summary>
/// One revision of a route as this node serves it: immutable, read once per request. Slots and rules of a variant that could not be loaded here, or
/// that this node has taken out on its own, are answered by stable.
/// </summary>
internal sealed class RouteTable
{
    // Stands for a variant that is not served here.
    private const byte Missing = byte.MaxValue;
    private readonly byte[] _slots;
    private readonly int _uniform;
    private readonly long _seed;
    private readonly FrozenDictionary<string, byte> _overrides;
    private readonly Rule[] _rules;
    private readonly int _preview;
    private readonly NamespacePart? _namespace;

    /// <param name="spec">The revision.</param>
    /// <param name="variants">Its variants in its order; null for one that is not served here. The first is there.</param>
    /// <param name="shadows">The queues of its mirrors.</param>
    public RouteTable(RouteSpec spec, IReadOnlyList<LiveVariant?> variants, IReadOnlyList<ShadowTarget> shadows)
        : this(spec, [.. variants.OfType<LiveVariant>()], variants, shadows, Picker.Seed(spec.Salt))
    {
    }

    private RouteTable(RouteSpec spec, LiveVariant[] served, IReadOnlyList<LiveVariant?> bySpec, IReadOnlyList<ShadowTarget> shadows, long seed)
    {
        (Spec, Variants, Shadows, _seed) = (spec, served, [.. shadows], seed);
        var index = bySpec.Select(variant => variant is null ? Missing : (byte)Array.IndexOf(served, variant)).ToArray();
        _slots = spec.Variants.Count == 1 ? SlotTable.Whole() : SlotTable.Decode(spec.Slots);
        for (var slot = 0; slot < _slots.Length; slot++)
        {
            _slots[slot] = index[_slots[slot]];
        }

        _namespace = spec.Namespace is { } part ? new(part) : null;
        Answers = spec.Rollout is null ? null : new AnswerCheck(served[0].Model.Signature.Outputs);
        _uniform = _slots.AsSpan().IndexOfAnyExcept(_slots[0]) < 0 ? _slots[0] : -1;
        byte Of(string variant) => spec.Variants.Select(each => each.Name).ToList().IndexOf(variant) is var at and >= 0 ? index[at] : Missing;
        _preview = spec.Preview is { } preview && Of(preview) is var previewed and not Missing ? previewed : -1;
        var rules = spec.Rules ?? [];
        var listed = rules.Where(rule => rule is { Override: true, Header: null, Cookie: null, Attributes: null, Entities: not null });
        _overrides = listed.SelectMany(rule => rule.Entities!.Select(entity => (entity, Of(rule.Variant)))).DistinctBy(pair => pair.entity).ToFrozenDictionary(pair => pair.entity, pair => pair.Item2, StringComparer.Ordinal);
        Attributes = AttributeNames.Of(rules);
        _rules = [.. rules.Except(listed).OrderBy(rule => !rule.Override).Select(rule => new Rule(rule, Of(rule.Variant), Attributes))];
    }

    public RouteSpec Spec { get; }

    /// <summary>Index 0 is stable. Shorter than the specification if a variant could not be loaded here.</summary>
    public LiveVariant[] Variants { get; }

    /// <summary>The attributes of a request that a rule looks at; null if none does.</summary>
    public AttributeNames? Attributes { get; }

    /// <summary>Looks at answers while a rollout compares variants; null: nobody asks.</summary>
    public AnswerCheck? Answers { get; }

    /// <summary>Where copies of answered requests go.</summary>
    public ShadowTarget[] Shadows { get; }

    /// <summary>
    /// The variant of a request: the version or the preview that it asks for, else the first override or rule that holds, else stable for keys outside
    /// of the namespace's part, else the slot of its key.
    /// Headers and attributes are not touched unless a rule looks at one.
    /// </summary>
    public Decision Decide(InferRequest request, string key)
    {
        if (request.Version is { } version)
        {
            return new(IndexOf(version), DecisionReason.Version);
        }

        if (request.Preview)
        {
            return new(_preview, DecisionReason.Preview);
        }

        if (_overrides.Count > 0 && request.EntityKey is { } entity && _overrides.TryGetValue(entity, out var overridden))
        {
            return Served(overridden, DecisionReason.Override);
        }

        foreach (var rule in _rules)
        {
            if (rule.Holds(request))
            {
                return Served(rule.Index, rule.Reason);
            }
        }

        if (_namespace is { } part && !part.Holds(key))
        {
            return new(0, DecisionReason.Namespace);
        }

        return Served(_uniform >= 0 ? _uniform : _slots[Picker.Slot(key, _seed)], DecisionReason.Slot);
    }

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

    /// <summary>The same revision with only stable: nobody is sent to another variant by slot, rule, mirror or preview.</summary>
    public RouteTable OnStable() => new(Spec, Variants, [.. Spec.Variants.Select((_, at) => at == 0 ? Variants[0] : null)], [], _seed);

    private static Decision Served(int index, DecisionReason reason) => index == Missing ? new(0, DecisionReason.Reverted) : new(index, reason);

    private sealed class Rule(MatchRule rule, byte index, AttributeNames? names)
    {
        private readonly FrozenSet<string>? _values = rule.Values?.ToFrozenSet(StringComparer.Ordinal);
        private readonly FrozenSet<string>? _entities = rule.Entities?.ToFrozenSet(StringComparer.Ordinal);
        private readonly AttributeCondition[] _attributes = [.. (rule.Attributes ?? []).Select(condition => new AttributeCondition(condition, names!))];

        public byte Index => index;

        public DecisionReason Reason { get; } = rule.Override ? DecisionReason.Override : DecisionReason.Match;

        public bool Holds(InferRequest request) =>
            (_entities is null || (request.EntityKey is { } key && _entities.Contains(key)))
            && (rule.Header is null || Has(request.Header(rule.Header)))
            && (rule.Cookie is null || Has(request.Cookie(rule.Cookie)))
            && All(request.Attributes);

        private bool All(RequestAttributes attributes)
        {
            foreach (var condition in _attributes)
            {
                if (!condition.Holds(attributes))
                {
                    return false;
                }
            }

            return true;
        }

        private bool Has(string? value) => value is not null && (_values is null || _values.Contains(value));
    }
}
