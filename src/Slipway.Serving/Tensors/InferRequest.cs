using System.Collections.Concurrent;
using Slipway.Foundation;
using Slipway.Monitoring;
using Slipway.Serving.Routing;

namespace Slipway.Serving.Tensors;

/// <summary>
/// One inference: what the edge read, and after <c>Endpoints.InferAsync</c> the answer, in one pooled object so that a request allocates
/// next to nothing. Take one with <see cref="Rent"/>, dispose it after the answer is written; it is not usable after that.
/// </summary>
public sealed class InferRequest : IDisposable
{
    private const int PoolSize = 64;
    private static readonly ConcurrentQueue<InferRequest> Pool = new();

    // Most requests begin and end on one thread; the shared pool serves those that do not.
    [ThreadStatic]
    private static InferRequest? own;

    private readonly TensorSet _inputs = new();
    private readonly TensorSet _outputs = new();
    private readonly List<OutputChoice> _requested = [];
    private object? _headers;
    private Func<object, string, string?>? _readHeader;
    private bool _mirrored;

    private InferRequest()
    {
    }

    /// <summary>The endpoint's name.</summary>
    public string Endpoint { get; set; } = "";

    /// <summary>The model version asked for by number, or null to let the route decide.</summary>
    public string? Version { get; set; }

    /// <summary>Whether the request came to the endpoint's preview address, which reaches the preview variant only.</summary>
    public bool Preview { get; set; }

    /// <summary>The caller's request id, which becomes the prediction id, or null: one is minted.</summary>
    public string? Id { get; set; }

    /// <summary>Who or what the prediction is about: equal keys see the same variant. Null: the id decides.</summary>
    public string? EntityKey { get; set; }

    /// <summary>When the predicted event takes place, in Unix microseconds; 0: now.</summary>
    public long EventMicros { get; set; }

    /// <summary>
    /// How long the request may wait for its turn, in microseconds from the call of <c>InferAsync</c>; 0: no limit. What has not begun by then is
    /// refused with DeadlineExceeded and never run.
    /// </summary>
    public long TimeoutMicros { get; set; }

    /// <summary>The caller's W3C trace context (its <c>traceparent</c>), or null.</summary>
    public string? TraceParent { get; set; }

    /// <summary>Whether outputs without an own choice are answered as raw bytes.</summary>
    public bool BinaryOutputs { get; set; }

    /// <summary>The tensors that came, in the order they came.</summary>
    public TensorSet Inputs => _inputs;

    /// <summary>The outputs asked for, in the order of the answer; empty: all.</summary>
    public IList<OutputChoice> RequestedOutputs => _requested;

    /// <summary>The answer, in the order asked for. Valid after a successful outcome, until disposal.</summary>
    public TensorSet Outputs => _outputs;

    /// <summary>Whether this is a copy for a mirror, which models with side effects may want to know.</summary>
    internal bool IsShadow => _mirrored;

    /// <summary>What is kept of the answer for mirrors.</summary>
    internal ShadowCopy? Copy { get; private set; }

    /// <summary>What routing rules may look at.</summary>
    internal RequestAttributes Attributes { get; } = new();

    // Flattened float copies for the prediction log, kept to be reused.
    internal float[] FeatureScratch { get; set; } = [];

    internal float[] OutputScratch { get; set; } = [];

    /// <summary>Takes an empty request from the pool.</summary>
    public static InferRequest Rent()
    {
        if (own is { } mine)
        {
            own = null;
            return mine;
        }

        return Pool.TryDequeue(out var request) ? request : new InferRequest();
    }

    /// <summary>
    /// Lets routing rules look at the caller's headers: <paramref name="read"/> is given <paramref name="headers"/> and a name, and only if a rule asks.
    /// </summary>
    public void SetHeaders(object headers, Func<object, string, string?> read) => (_headers, _readHeader) = (headers, read);

    /// <summary>Whether a rule of the addressed endpoint looks at an attribute; otherwise an edge need not read them.</summary>
    public bool WantsAttributes => Attributes.Wanted;

    /// <summary>The place of an attribute by its UTF-8 name; -1 if no rule of the addressed endpoint looks at it.</summary>
    public int AttributeOf(ReadOnlySpan<byte> name) => Attributes.Find(name);

    /// <summary>Sets an attribute to a text given as UTF-8; <paramref name="place"/> is from <see cref="AttributeOf"/>. The last setting counts.</summary>
    public void SetAttribute(int place, ReadOnlySpan<byte> text) => Attributes.Set(place, text);

    /// <summary>Sets an attribute to an integer.</summary>
    public void SetAttribute(int place, long number) => Attributes.Set(place, number);

    /// <summary>Sets an attribute to a number; NaN is no value.</summary>
    public void SetAttribute(int place, double number) => Attributes.Set(place, number);

    /// <summary>Sets an attribute to true or false.</summary>
    public void SetAttribute(int place, bool truth) => Attributes.Set(place, truth);

    /// <summary>Takes an attribute back: a null is no value.</summary>
    public void ClearAttribute(int place) => Attributes.Clear(place);

    /// <summary>A header of the caller, or null.</summary>
    internal string? Header(string name) => _headers is null ? null : _readHeader!(_headers, name);

    /// <summary>A cookie of the caller, or null.</summary>
    internal string? Cookie(string name)
    {
        if (Header("cookie") is not { } cookies)
        {
            return null;
        }

        var text = cookies.AsSpan();
        foreach (var range in text.Split(';'))
        {
            var pair = text[range].Trim();
            if (pair.Length > name.Length && pair[name.Length] == '=' && pair.StartsWith(name, StringComparison.Ordinal))
            {
                return pair[(name.Length + 1)..].Trim('"').ToString();
            }
        }

        return null;
    }

    /// <summary>Hands the request to mirrors once its owner disposes of it; the copy's fields are set next.</summary>
    internal ShadowCopy Mirror()
    {
        _mirrored = true;
        return Copy ??= new ShadowCopy();
    }

    /// <summary>Gives the request to its next mirror, or back to the pool.</summary>
    internal void Pass()
    {
        if (!Copy!.Forward(this))
        {
            _mirrored = false;
            Dispose();
        }
    }

    /// <summary>Forgets everything that was set, so that the object can read another request.</summary>
    public void Reset()
    {
        Endpoint = "";
        Version = null;
        Preview = false;
        (_headers, _readHeader) = (null, null);
        Attributes.Want(null);
        Id = null;
        EntityKey = null;
        EventMicros = 0;
        TimeoutMicros = 0;
        TraceParent = null;
        BinaryOutputs = false;
        _inputs.Clear();
        _outputs.Clear();
        _requested.Clear();
    }

    /// <summary>Gives the object back to the pool, or to the mirrors that compare their answer with the one that was given.</summary>
    public void Dispose()
    {
        if (_mirrored)
        {
            // The caller's headers end with the caller.
            (_headers, _readHeader) = (null, null);
            Pass();
            return;
        }

        Reset();
        if (own is null)
        {
            own = this;
        }
        else if (Pool.Count < PoolSize)
        {
            Pool.Enqueue(this);
        }
    }
}

/// <summary>An output asked for by name, and whether as raw bytes (null: as the request says).</summary>
public readonly record struct OutputChoice(string Name, bool? Binary);

/// <summary>Tensors in order, whose memory is reused from request to request.</summary>
public sealed class TensorSet
{
    private const long KeepBytes = 1 << 20;
    private readonly List<Tensor> _tensors = [];

    /// <summary>Tensors in use.</summary>
    public int Count { get; private set; }

    /// <summary>Bytes of the tensors in use.</summary>
    internal long Bytes
    {
        get
        {
            var bytes = 0L;
            for (var i = 0; i < Count; i++)
            {
                bytes += _tensors[i].Length;
            }

            return bytes;
        }
    }

    /// <summary>The tensor at a position below <see cref="Count"/>.</summary>
    public Tensor this[int index] =>
        index < Count ? _tensors[index] : throw new ArgumentOutOfRangeException(nameof(index), index, $"there are {Count} tensors");

    /// <summary>Appends an empty tensor and returns it.</summary>
    public Tensor Add()
    {
        if (Count == _tensors.Count)
        {
            _tensors.Add(new Tensor());
        }

        return _tensors[Count++];
    }

    /// <summary>The tensor of that name, or null.</summary>
    public Tensor? Find(string name)
    {
        for (var i = 0; i < Count; i++)
        {
            if (string.Equals(_tensors[i].Name, name, StringComparison.Ordinal))
            {
                return _tensors[i];
            }
        }

        return null;
    }

    internal void Clear()
    {
        for (var i = 0; i < Count; i++)
        {
            _tensors[i].Reset();
        }

        Count = 0;
        var kept = 0L;
        foreach (var tensor in _tensors)
        {
            kept += tensor.Buffer.Length;
        }

        // The pool holds many requests, so what one of them keeps is bounded too.
        if (_tensors.Count > 256 || kept > KeepBytes)
        {
            _tensors.Clear();
        }
    }

    // Puts the tensors into a new order; indexes name positions of the present order and are distinct.
    internal void Arrange(ReadOnlySpan<int> order)
    {
        var chosen = new Tensor[order.Length];
        for (var i = 0; i < order.Length; i++)
        {
            chosen[i] = _tensors[order[i]];
        }

        _tensors.RemoveAll(tensor => Array.IndexOf(chosen, tensor) >= 0);
        _tensors.InsertRange(0, chosen);
        for (var i = order.Length; i < Count; i++)
        {
            _tensors[i].Reset();
        }

        Count = order.Length;
    }
}

/// <summary>
/// What became of an inference: a value, because refusals are ordinary on this path. <see cref="Code"/> is null on success.
/// </summary>
/// <param name="Code">Why it was refused, or null.</param>
/// <param name="Message">What was wrong, with the value, for the caller; null on success.</param>
/// <param name="ModelName">The registered model that ran.</param>
/// <param name="ModelVersion">The numeric version that ran, as text.</param>
/// <param name="Variant">The variant of the route that answered.</param>
/// <param name="PredictionId">Under which id the prediction is logged; rows of a batch add <c>:row</c>.</param>
/// <param name="LatencyMicros">Time in Slipway from the routing decision to the finished answer.</param>
public readonly record struct InferOutcome(
    ErrorCode? Code, string? Message, string ModelName, string ModelVersion, string Variant, string PredictionId, long LatencyMicros)
{
    /// <summary>The route revision that decided; 0 if none did.</summary>
    public long Revision { get; init; }

    /// <summary>Why this variant answered.</summary>
    public DecisionReason Reason { get; init; }

    /// <summary>Whether the request's outputs hold an answer.</summary>
    public bool Ok => Code is null;

    internal static InferOutcome Refuse(ErrorCode code, string message) => new(code, message, "", "", "", "", 0);
}
