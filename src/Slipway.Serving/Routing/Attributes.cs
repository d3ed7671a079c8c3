using System.Collections.Frozen;
using System.Globalization;
using System.Text;
using System.Runtime.InteropServices;
using System.Text.Json.Serialization;

namespace Slipway.Serving.Routing;

/// <summary>
/// A condition on an attribute of a request: a parameter of the Open Inference Protocol that Slipway itself does not read. Without values and bounds the
/// attribute needs only to be there. A request without it, or with NaN, fulfils none.
/// </summary>
/// <param name="Name">The parameter's exact name.</param>
public sealed record AttributeRule(string Name)
{
    /// <summary>Most characters of an attribute's text that are compared; a longer one equals nothing.</summary>
    internal const int MaxText = 256;

    private const int MaxName = 128;

    // What the protocol or Slipway gives a meaning of its own, which its readers take before attributes.
    private static readonly string[] Reserved = ["entity_key", "event_time", "timeout", "binary_data_output", "triton_enable_empty_final_response"];

    /// <summary>Accepted values: a text equals one exactly, a number one of the same number, a boolean <c>true</c> or <c>false</c>. Null: any.</summary>
    public IReadOnlyList<string>? Values { get; init; }

    /// <summary>The number must be greater; texts and booleans are no numbers.</summary>
    public double? Above { get; init; }

    /// <summary>The number must be this or greater.</summary>
    public double? AtLeast { get; init; }

    /// <summary>The number must be less.</summary>
    public double? Below { get; init; }

    /// <summary>The number must be this or less.</summary>
    public double? AtMost { get; init; }

    /// <summary>What it asks, as plans and pages say it.</summary>
    [JsonIgnore]
    public string Words =>
        Values is { } values ? $"{Name} = {string.Join(", ", values.Take(5))}{(values.Count > 5 ? ", …" : "")}"
        : Bounds is { Length: > 0 } bounds ? $"{Name} {string.Join(" and ", bounds)}" : Name;

    private string[] Bounds => [.. new[] { (">", Above), (">=", AtLeast), ("<", Below), ("<=", AtMost) }.Where(bound => bound.Item2 is not null).Select(bound => string.Create(CultureInfo.InvariantCulture, $"{bound.Item1} {bound.Item2}"))];

    /// <summary>Every fault at once: what is wrong, with the value, and what to do.</summary>
    internal IEnumerable<string> Faults()
    {
        if (string.IsNullOrEmpty(Name) || Name.Length > MaxName)
        {
            yield return string.IsNullOrEmpty(Name) ? "a condition on an attribute has no name; give the name of the request parameter"
                : $"an attribute's name has at most {MaxName} characters, '{Name[..40]}…' has {Name.Length}; give the name of the request parameter";
        }
        else if (Reserved.Contains(Name, StringComparer.Ordinal))
        {
            yield return $"'{Name}' is no attribute: Slipway reads it itself; {(Name == "entity_key" ? "list the keys under entities" : $"reserved are {string.Join(", ", Reserved)}, so name another parameter")}";
        }

        if (Values is not null && Bounds.Length > 0)
        {
            yield return $"the attribute '{Name}' has values and bounds ({string.Join(" and ", Bounds)}); give one of them, and a second condition for the other";
        }

        if (Values is { Count: 0 or > 1000 })
        {
            yield return $"the attribute '{Name}' lists {Values.Count} values; list 1 to 1,000, or none to accept any";
        }

        if (Values?.FirstOrDefault(value => value.Length > MaxText) is { } wide)
        {
            yield return $"a value of the attribute '{Name}' has {wide.Length} characters ('{wide[..40]}…'), at most {MaxText} are compared; shorten it";
        }

        if ((Above is not null && AtLeast is not null) || (Below is not null && AtMost is not null))
        {
            yield return $"the attribute '{Name}' has two bounds on one side ({string.Join(" and ", Bounds)}); keep the narrower one";
        }
        else if (new[] { Above, AtLeast, Below, AtMost }.Any(bound => bound is { } number && !double.IsFinite(number)))
        {
            yield return $"a bound of the attribute '{Name}' is not a finite number ({string.Join(" and ", Bounds)}); leave it out for no bound";
        }
        else if ((Above ?? AtLeast) is { } low && (Below ?? AtMost) is { } high && (low > high || (low == high && (Above is not null || Below is not null))))
        {
            yield return $"the attribute '{Name}' accepts no number ({string.Join(" and ", Bounds)}); let the bounds leave room";
        }
    }
}

/// <summary>The attributes that a table's rules look at: of a request only these are kept, so that their number and memory are bounded by the plan.</summary>
internal sealed class AttributeNames(IReadOnlyList<string> names)
{
    private readonly byte[][] _utf8 = [.. names.Select(Encoding.UTF8.GetBytes)];

    public int Count => _utf8.Length;

    public ReadOnlySpan<byte> this[int index] => _utf8[index];

    /// <summary>The index of a name given as UTF-8, or -1.</summary>
    public int Find(ReadOnlySpan<byte> name)
    {
        for (var i = 0; i < _utf8.Length; i++)
        {
            if (name.SequenceEqual(_utf8[i]))
            {
                return i;
            }
        }

        return -1;
    }

    /// <summary>Those of a route's rules; null if none looks at an attribute.</summary>
    public static AttributeNames? Of(IEnumerable<MatchRule> rules) =>
        rules.SelectMany(rule => rule.Attributes ?? []).Select(condition => condition.Name).Distinct(StringComparer.Ordinal).ToList() is { Count: > 0 } names ? new(names) : null;
}

/// <summary>What a request said of one attribute.</summary>
internal enum AttributeKind
{
    None,
    Text,

    // Too long to be compared.
    LongText,
    Integer,
    Real,
    Truth,
}

/// <summary>The attributes of one request that its route asked for; part of the pooled request, so that a request with attributes allocates nothing either.</summary>
internal sealed class RequestAttributes
{
    private AttributeNames? _names;
    private Value[] _values = [];
    private char[] _texts = [];

    /// <summary>Asks for the attributes that a table looks at; forgets what was there.</summary>
    public void Want(AttributeNames? names)
    {
        _names = names;
        if (names is null)
        {
            return;
        }

        if (_values.Length < names.Count)
        {
            _values = new Value[names.Count];
            _texts = new char[names.Count * AttributeRule.MaxText];
        }

        _values.AsSpan(0, names.Count).Clear();
    }

    public bool Wanted => _names is not null;

    public int Find(ReadOnlySpan<byte> name) => _names?.Find(name) ?? -1;

    public void Set(int index, ReadOnlySpan<byte> utf8) =>
        _values[index] = Encoding.UTF8.TryGetChars(utf8, _texts.AsSpan(index * AttributeRule.MaxText, AttributeRule.MaxText), out var length)
            ? new(AttributeKind.Text, length, 0) : new(AttributeKind.LongText, 0, 0);

    public void Set(int index, long number) => _values[index] = new(AttributeKind.Integer, number, 0);

    public void Set(int index, double number) => _values[index] = NumberOf(number);

    public void Set(int index, bool truth) => _values[index] = new(AttributeKind.Truth, truth ? 1 : 0, 0);

    public void Clear(int index) => _values[index] = default;

    /// <summary>
    /// An attribute by its place among <paramref name="names"/>. The table may have been replaced since the request was read; then it is looked for by its
    /// name, and one that the earlier table did not ask for is not there.
    /// </summary>
    public Value Of(AttributeNames names, int index, out ReadOnlySpan<char> text)
    {
        text = default;
        if (_names is null || (_names != names && (index = _names.Find(names[index])) < 0))
        {
            return default;
        }

        var value = _values[index];
        text = value.Kind == AttributeKind.Text ? _texts.AsSpan(index * AttributeRule.MaxText, (int)value.Integer) : default;
        return value;
    }

    // 42.0 and 42 are one number; 2^63 is the first that a long cannot hold.
    internal static Value NumberOf(double number) =>
        double.IsNaN(number) ? default
        : Math.Truncate(number) == number && Math.Abs(number) < 9.2233720368547758E18 ? new(AttributeKind.Integer, (long)number, 0) : new(AttributeKind.Real, 0, number);

    /// <param name="Kind">What it is.</param>
    /// <param name="Integer">The integer, 1 for true, or the length of the text.</param>
    /// <param name="Real">The number that is no integer.</param>
    [StructLayout(LayoutKind.Auto)]
    internal readonly record struct Value(AttributeKind Kind, long Integer, double Real);
}

/// <summary>A condition as a table asks it: no allocation, one look into a set at most.</summary>
internal sealed class AttributeCondition
{
    private readonly AttributeNames _names;
    private readonly int _index;
    private readonly AttributeRule _rule;
    private readonly bool _bounded;
    private readonly FrozenSet<long> _integers = FrozenSet<long>.Empty;
    private readonly FrozenSet<double> _reals = FrozenSet<double>.Empty;
    private readonly FrozenSet<string>.AlternateLookup<ReadOnlySpan<char>> _texts;
    private readonly bool _true;
    private readonly bool _false;

    public AttributeCondition(AttributeRule rule, AttributeNames names)
    {
        (_rule, _names, _index) = (rule, names, names.Find(Encoding.UTF8.GetBytes(rule.Name)));
        _bounded = rule is not { Above: null, AtLeast: null, Below: null, AtMost: null };
        if (rule.Values is not { Count: > 0 } values)
        {
            return;
        }

        var (integers, reals) = (new List<long>(), new List<double>());
        foreach (var value in values)
        {
            if (long.TryParse(value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var whole))
            {
                integers.Add(whole);
            }
            else if (double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number))
            {
                var read = RequestAttributes.NumberOf(number);
                integers.AddRange(read.Kind == AttributeKind.Integer ? [read.Integer] : []);
                reals.AddRange(read.Kind == AttributeKind.Real ? [read.Real] : []);
            }
        }

        (_integers, _reals) = (integers.ToFrozenSet(), reals.ToFrozenSet());
        (_true, _false) = (values.Contains("true", StringComparer.Ordinal), values.Contains("false", StringComparer.Ordinal));
        _texts = values.ToFrozenSet(StringComparer.Ordinal).GetAlternateLookup<ReadOnlySpan<char>>();
    }

    public bool Holds(RequestAttributes attributes)
    {
        var value = attributes.Of(_names, _index, out var text);
        if (value.Kind == AttributeKind.None)
        {
            return false;
        }

        if (_bounded)
        {
            return value.Kind switch { AttributeKind.Integer => Within(value.Integer), AttributeKind.Real => Within(value.Real), _ => false };
        }

        return _rule.Values is null || value.Kind switch
        {
            AttributeKind.Text => _texts.Contains(text),
            AttributeKind.Integer => _integers.Contains(value.Integer),
            AttributeKind.Real => _reals.Contains(value.Real),
            AttributeKind.Truth => value.Integer == 1 ? _true : _false,
            _ => false,
        };
    }

    private bool Within(double number) =>
        !(number <= _rule.Above) && !(number < _rule.AtLeast) && !(number >= _rule.Below) && !(number > _rule.AtMost);
}
