using System.Buffers.Binary;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using System.Text;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>Why a variant answered a request. The numbers are stored and never change.</summary>
public enum DecisionReason
{
    /// <summary>Not recorded.</summary>
    None = 0,

    /// <summary>The entity's slot belongs to it.</summary>
    Slot = 1,

    /// <summary>A match rule.</summary>
    Match = 2,

    /// <summary>An override for testers.</summary>
    Override = 3,

    /// <summary>The request asked for the version.</summary>
    Version = 4,

    /// <summary>Stable answered in place of another variant, which failed or was taken out of the node's traffic.</summary>
    Reverted = 5,

    /// <summary>The request came to the preview address.</summary>
    Preview = 6,

    /// <summary>A copy of a request that another variant answered.</summary>
    Mirror = 7,

    /// <summary>Stable, because the entity is outside of the experiment's part of its namespace.</summary>
    Namespace = 8,
}

/// <summary>What a row of the prediction log is. The numbers are stored and never change.</summary>
public enum PredictionKind
{
    /// <summary>An answer that a caller got.</summary>
    Live = 0,

    /// <summary>A mirror's answer to a copy, with the answer that the caller got; no monitor, label or extent sees it.</summary>
    Shadow = 1,

    /// <summary>Only that an entity met a variant: the prediction was not sampled, or the variant failed and stable answered. No monitor sees it.</summary>
    Exposure = 2,
}

/// <summary>One answered (or refused) inference as the serving path hands it over; nothing is kept of the memory it points at.</summary>
/// <param name="Id">Names the prediction; labels refer to it. At most 512 bytes of UTF-8.</param>
/// <param name="Endpoint">The endpoint that was asked.</param>
/// <param name="Variant">The variant of the endpoint that answered, such as `stable` or `canary`.</param>
/// <param name="ModelVersion">The version in the form `flights/2`.</param>
/// <param name="EntityKey">What the prediction is about, such as a customer; null when unknown.</param>
/// <param name="EventMicros">Event time, Unix microseconds: it decides the monitor's window.</param>
/// <param name="LatencyMicros">Time in the model and its queue, microseconds.</param>
/// <param name="Features">The inputs in the order of the model's signature; NaN is a missing value.</param>
/// <param name="Outputs">The outputs in the order of the model's signature; empty when the model failed.</param>
/// <param name="Status">The status that the caller saw: 200 for an answer.</param>
public readonly record struct PredictionRecord(
    string Id,
    string Endpoint,
    string Variant,
    string ModelVersion,
    string? EntityKey,
    long EventMicros,
    long LatencyMicros,
    ReadOnlyMemory<float> Features,
    ReadOnlyMemory<float> Outputs,
    int Status)
{
    /// <summary>What the row is.</summary>
    public PredictionKind Kind { get; init; }

    /// <summary>The route revision that decided; 0: not known.</summary>
    public long Revision { get; init; }

    /// <summary>Why this variant answered.</summary>
    public DecisionReason Reason { get; init; }

    /// <summary>Of a shadow: the variant that answered the caller. Its outputs are in <see cref="Features"/>.</summary>
    public string? PrimaryVariant { get; init; }

    /// <summary>Of a shadow: the primary's latency in microseconds.</summary>
    public long PrimaryLatencyMicros { get; init; }

    /// <summary>Of a shadow: the primary's status.</summary>
    public int PrimaryStatus { get; init; }
}

/// <summary>A logged prediction as it is read back.</summary>
/// <param name="Id">Names the prediction.</param>
/// <param name="Endpoint">The endpoint that was asked.</param>
/// <param name="Variant">The variant of the endpoint that answered.</param>
/// <param name="ModelVersion">The version in the form `flights/2`.</param>
/// <param name="EntityKey">What the prediction is about; null when unknown.</param>
/// <param name="At">Event time.</param>
/// <param name="LatencyMicros">Time in the model and its queue, microseconds.</param>
/// <param name="Features">The inputs; NaN is a missing value.</param>
/// <param name="Outputs">The outputs; empty when the model failed.</param>
/// <param name="Status">The status that the caller saw.</param>
/// <param name="Segment">The log segment that holds it; the journal entry `prediction.batch` of that segment proves its content.</param>
public sealed record Prediction(
    string Id,
    string Endpoint,
    string Variant,
    string ModelVersion,
    string? EntityKey,
    DateTimeOffset At,
    long LatencyMicros,
    IReadOnlyList<float> Features,
    IReadOnlyList<float> Outputs,
    int Status,
    string Segment)
{
    /// <summary>What the row is.</summary>
    public PredictionKind Kind { get; init; }

    /// <summary>The route revision that decided; 0: not known.</summary>
    public long Revision { get; init; }

    /// <summary>Why this variant answered.</summary>
    public DecisionReason Reason { get; init; }

    /// <summary>Of a shadow: the variant that answered the caller. Its outputs are in <see cref="Features"/>.</summary>
    public string? PrimaryVariant { get; init; }

    /// <summary>Of a shadow: the primary's latency in microseconds.</summary>
    public long PrimaryLatencyMicros { get; init; }

    /// <summary>Of a shadow: the primary's status.</summary>
    public int PrimaryStatus { get; init; }

    /// <summary>`prediction:{id}`.</summary>
    public Subject Subject => new("prediction", Id);
}

/// <summary>That an entity met a variant: what an experiment counts.</summary>
/// <param name="PredictionId">The prediction, which labels refer to.</param>
/// <param name="Entity">XXH3 of the entity key's UTF-8, or of the prediction id where no key came.</param>
/// <param name="Anonymous">Whether no key came, so that the unit is a single request.</param>
/// <param name="Variant">The variant.</param>
/// <param name="ModelVersion">What it served.</param>
/// <param name="Revision">The route revision that decided, which tells the rollout and the probability of the decision.</param>
/// <param name="Reason">Why; only <see cref="DecisionReason.Slot"/> is an experiment's own assignment.</param>
/// <param name="At">Event time.</param>
/// <param name="LatencyMicros">The variant's latency.</param>
/// <param name="Status">200 for an answer of the variant.</param>
/// <param name="Outputs">Its outputs; empty where the prediction was not sampled.</param>
/// <param name="Kind"><see cref="PredictionKind.Live"/>, or <see cref="PredictionKind.Exposure"/> where the prediction itself is not in the log.</param>
public sealed record Exposure(
    string PredictionId, ulong Entity, bool Anonymous, string Variant, string ModelVersion, long Revision, DecisionReason Reason, DateTimeOffset At,
    long LatencyMicros, int Status, IReadOnlyList<float> Outputs, PredictionKind Kind)
{
    /// <summary>How an entity key is told from others: XXH3 of its UTF-8.</summary>
    public static ulong EntityOf(string key) => XxHash3.HashToUInt64(Encoding.UTF8.GetBytes(key));
}

/// <summary>Two answers to one request: the one that the caller got, and a mirror's.</summary>
/// <param name="PredictionId">The prediction; rows of a batch add <c>:row</c>.</param>
/// <param name="At">Event time.</param>
/// <param name="Revision">The route revision that mirrored it.</param>
/// <param name="PrimaryVariant">The variant that answered the caller.</param>
/// <param name="PrimaryStatus">Its status.</param>
/// <param name="PrimaryLatencyMicros">Its latency.</param>
/// <param name="PrimaryOutputs">Its outputs; empty if it failed or they are too many to be logged.</param>
/// <param name="Variant">The mirror.</param>
/// <param name="ModelVersion">What it served.</param>
/// <param name="Status">Its status.</param>
/// <param name="LatencyMicros">Its latency, without the time in the mirror's queue.</param>
/// <param name="Outputs">Its outputs.</param>
public sealed record ShadowPair(
    string PredictionId, DateTimeOffset At, long Revision, string PrimaryVariant, int PrimaryStatus, long PrimaryLatencyMicros, IReadOnlyList<float> PrimaryOutputs,
    string Variant, string ModelVersion, int Status, long LatencyMicros, IReadOnlyList<float> Outputs);

/// <summary>
/// The bytes of the log. A frame is [u32 payload length][u32 CRC-32 of the payload][payload], little-endian. The first payload byte
/// is the kind: 1 is a prediction, 2 closes a batch and carries the generation of the buffer that the batch came from.
/// </summary>
internal static class PredictionFrame
{
    public const int Header = 8;
    public const byte RowKind = 1;
    public const byte BatchKind = 2;
    public const int BatchSize = Header + 1 + 8;

    /// <summary>Bytes of a prediction's payload before its texts and numbers.</summary>
    public const int Fixed = 1 + 8 + 8 + 4 + 2 * 5 + 4 + 4;
    public const ushort NoText = ushort.MaxValue;

    /// <summary>Bytes behind the numbers: kind, reason, revision. Records of earlier releases end before them.</summary>
    public const int Decision = 1 + 1 + 8;

    /// <summary>Bytes behind those of a shadow: the primary's status and latency, and the length of its variant's name, which follows.</summary>
    public const int Primary = 4 + 8 + 2;

    /// <summary>Bytes of the record's frame, or -1 when one of its texts is longer than 32,767 bytes.</summary>
    public static int SizeOf(in PredictionRecord r)
    {
        int id = Encoding.UTF8.GetByteCount(r.Id), endpoint = Encoding.UTF8.GetByteCount(r.Endpoint), variant = Encoding.UTF8.GetByteCount(r.Variant);
        int model = Encoding.UTF8.GetByteCount(r.ModelVersion), entity = r.EntityKey is null ? 0 : Encoding.UTF8.GetByteCount(r.EntityKey);
        int primary = r.PrimaryVariant is null ? 0 : Encoding.UTF8.GetByteCount(r.PrimaryVariant);
        if ((id | endpoint | variant | model | entity | primary) > short.MaxValue)
        {
            return -1;
        }

        long size = Header + Fixed + id + endpoint + variant + model + entity + 4L * (r.Features.Length + (long)r.Outputs.Length) + Decision;
        size += r.Kind == PredictionKind.Shadow ? Primary + primary : 0;
        return size > int.MaxValue ? -1 : (int)size;
    }

    public static void Write(Span<byte> frame, in PredictionRecord r)
    {
        Span<byte> p = frame[Header..];
        p[0] = RowKind;
        BinaryPrimitives.WriteInt64LittleEndian(p[1..], r.EventMicros);
        BinaryPrimitives.WriteInt64LittleEndian(p[9..], r.LatencyMicros);
        BinaryPrimitives.WriteInt32LittleEndian(p[17..], r.Status);
        BinaryPrimitives.WriteInt32LittleEndian(p[31..], r.Features.Length);
        BinaryPrimitives.WriteInt32LittleEndian(p[35..], r.Outputs.Length);
        int at = Fixed;
        at = Text(p, at, 21, r.Id);
        at = Text(p, at, 23, r.Endpoint);
        at = Text(p, at, 25, r.Variant);
        at = Text(p, at, 27, r.ModelVersion);
        at = Text(p, at, 29, r.EntityKey);
        MemoryMarshal.AsBytes(r.Features.Span).CopyTo(p[at..]);
        at += 4 * r.Features.Length;
        MemoryMarshal.AsBytes(r.Outputs.Span).CopyTo(p[at..]);
        at += 4 * r.Outputs.Length;
        p[at] = (byte)r.Kind;
        p[at + 1] = (byte)r.Reason;
        BinaryPrimitives.WriteInt64LittleEndian(p[(at + 2)..], r.Revision);
        if (r.Kind == PredictionKind.Shadow)
        {
            at += Decision;
            BinaryPrimitives.WriteInt32LittleEndian(p[at..], r.PrimaryStatus);
            BinaryPrimitives.WriteInt64LittleEndian(p[(at + 4)..], r.PrimaryLatencyMicros);
            Text(p, at + Primary, at + 12, r.PrimaryVariant);
        }

        Seal(frame);
    }

    public static void WriteBatch(Span<byte> frame, ulong generation)
    {
        frame[Header] = BatchKind;
        BinaryPrimitives.WriteUInt64LittleEndian(frame[(Header + 1)..], generation);
        Seal(frame);
    }

    /// <summary>The payload of the frame that starts the bytes; empty when it is torn, cut off or damaged.</summary>
    public static ReadOnlySpan<byte> Payload(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < Header)
        {
            return default;
        }

        uint length = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        if (length == 0 || length > bytes.Length - Header)
        {
            return default;
        }

        ReadOnlySpan<byte> payload = bytes.Slice(Header, (int)length);
        bool known = payload[0] switch { RowKind => length >= Fixed, BatchKind => length == BatchSize - Header, _ => false };
        return known && Crc32.HashToUInt32(payload) == BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]) ? payload : default;
    }

    public static ulong Generation(ReadOnlySpan<byte> payload) => BinaryPrimitives.ReadUInt64LittleEndian(payload[1..]);

    /// <summary>Event time of a prediction's payload, Unix microseconds.</summary>
    public static long At(ReadOnlySpan<byte> p) => BinaryPrimitives.ReadInt64LittleEndian(p[1..]);

    /// <summary>What a prediction's payload is.</summary>
    public static PredictionKind KindOf(ReadOnlySpan<byte> p)
    {
        int at = Numbers(p) + 4 * (BinaryPrimitives.ReadInt32LittleEndian(p[31..]) + BinaryPrimitives.ReadInt32LittleEndian(p[35..]));
        return at < p.Length ? (PredictionKind)p[at] : PredictionKind.Live;
    }

    /// <summary>The prediction's id in UTF-8.</summary>
    public static ReadOnlySpan<byte> Id(ReadOnlySpan<byte> p) => p.Slice(Fixed, BinaryPrimitives.ReadUInt16LittleEndian(p[21..]));

    /// <summary>The endpoint as text.</summary>
    public static string EndpointOf(ReadOnlySpan<byte> p)
    {
        Owner(p, out ReadOnlySpan<byte> endpoint, out _);
        return Name(endpoint);
    }

    /// <summary>Endpoint and model version in UTF-8.</summary>
    public static void Owner(ReadOnlySpan<byte> p, out ReadOnlySpan<byte> endpoint, out ReadOnlySpan<byte> modelVersion)
    {
        int at = Fixed + BinaryPrimitives.ReadUInt16LittleEndian(p[21..]);
        endpoint = p.Slice(at, BinaryPrimitives.ReadUInt16LittleEndian(p[23..]));
        at += endpoint.Length + BinaryPrimitives.ReadUInt16LittleEndian(p[25..]);
        modelVersion = p.Slice(at, BinaryPrimitives.ReadUInt16LittleEndian(p[27..]));
    }

    public static Prediction Read(ReadOnlySpan<byte> payload, string segment)
    {
        var row = new FrameView(payload);
        return new Prediction(
            Encoding.UTF8.GetString(row.Id), Name(row.Endpoint), Name(row.Variant), Name(row.ModelVersion), row.HasEntityKey ? Encoding.UTF8.GetString(row.EntityKey) : null, Time.FromMicros(row.EventMicros), row.LatencyMicros,
            MemoryMarshal.Cast<byte, float>(row.Features).ToArray(), MemoryMarshal.Cast<byte, float>(row.Outputs).ToArray(), row.Status, segment)
        {
            Kind = row.Kind,
            Reason = row.Reason,
            Revision = row.Revision,
            PrimaryStatus = row.PrimaryStatus,
            PrimaryLatencyMicros = row.PrimaryLatencyMicros,
            PrimaryVariant = row.HasPrimary ? Encoding.UTF8.GetString(row.PrimaryVariant) : null,
        };
    }

    // Where the numbers of a payload begin: behind its texts.
    private static int Numbers(ReadOnlySpan<byte> p)
    {
        int entity = BinaryPrimitives.ReadUInt16LittleEndian(p[29..]);
        return Fixed + BinaryPrimitives.ReadUInt16LittleEndian(p[21..]) + BinaryPrimitives.ReadUInt16LittleEndian(p[23..]) + BinaryPrimitives.ReadUInt16LittleEndian(p[25..])
            + BinaryPrimitives.ReadUInt16LittleEndian(p[27..]) + (entity == NoText ? 0 : entity);
    }

    private static void Seal(Span<byte> frame)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(frame, (uint)(frame.Length - Header));
        BinaryPrimitives.WriteUInt32LittleEndian(frame[4..], Crc32.HashToUInt32(frame[Header..]));
    }

    private static int Text(Span<byte> p, int at, int slot, string? text)
    {
        if (text is null)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(p[slot..], NoText);
            return at;
        }

        int written = Encoding.UTF8.GetBytes(text, p[at..]);
        BinaryPrimitives.WriteUInt16LittleEndian(p[slot..], (ushort)written);
        return at + written;
    }

    // Names repeat from record to record; a few of them are kept for each thread instead of being made anew.
    private static string Name(ReadOnlySpan<byte> utf8)
    {
        if (utf8.Length is 0 or > 64)
        {
            return Encoding.UTF8.GetString(utf8);
        }

        ref string? known = ref (names ??= new string?[64])[(utf8[^1] * 31 + utf8[0] + utf8.Length) & 63];
        if (known is null || !Ascii.Equals(utf8, known))
        {
            known = Encoding.UTF8.GetString(utf8);
        }

        return known;
    }

    [ThreadStatic]
    private static string?[]? names;
}

/// <summary>The fields of a prediction's payload, in place.</summary>
internal readonly ref struct FrameView
{
    private readonly ReadOnlySpan<byte> p;

    public FrameView(ReadOnlySpan<byte> payload)
    {
        p = payload;
        int at = PredictionFrame.Fixed;
        Id = Text(ref at, 21, out _);
        Endpoint = Text(ref at, 23, out _);
        Variant = Text(ref at, 25, out _);
        ModelVersion = Text(ref at, 27, out _);
        EntityKey = Text(ref at, 29, out bool entity);
        HasEntityKey = entity;
        Features = p.Slice(at, 4 * BinaryPrimitives.ReadInt32LittleEndian(p[31..]));
        at += Features.Length;
        Outputs = p.Slice(at, 4 * BinaryPrimitives.ReadInt32LittleEndian(p[35..]));
        at += Outputs.Length;
        if (p.Length - at < PredictionFrame.Decision)
        {
            // A record of an earlier release.
            return;
        }

        Kind = (PredictionKind)p[at];
        Reason = (DecisionReason)p[at + 1];
        Revision = BinaryPrimitives.ReadInt64LittleEndian(p[(at + 2)..]);
        if (Kind == PredictionKind.Shadow)
        {
            at += PredictionFrame.Decision;
            PrimaryStatus = BinaryPrimitives.ReadInt32LittleEndian(p[at..]);
            PrimaryLatencyMicros = BinaryPrimitives.ReadInt64LittleEndian(p[(at + 4)..]);
            int name = at + PredictionFrame.Primary;
            PrimaryVariant = Text(ref name, at + 12, out bool primary);
            HasPrimary = primary;
        }
    }

    public ReadOnlySpan<byte> Id { get; }

    public ReadOnlySpan<byte> Endpoint { get; }

    public ReadOnlySpan<byte> Variant { get; }

    public ReadOnlySpan<byte> ModelVersion { get; }

    public bool HasEntityKey { get; }

    public ReadOnlySpan<byte> EntityKey { get; }

    public long EventMicros => PredictionFrame.At(p);

    public long LatencyMicros => BinaryPrimitives.ReadInt64LittleEndian(p[9..]);

    public int Status => BinaryPrimitives.ReadInt32LittleEndian(p[17..]);

    /// <summary>32-bit floats, little-endian.</summary>
    public ReadOnlySpan<byte> Features { get; }

    /// <summary>32-bit floats, little-endian.</summary>
    public ReadOnlySpan<byte> Outputs { get; }

    public PredictionKind Kind { get; }

    public DecisionReason Reason { get; }

    public long Revision { get; }

    public bool HasPrimary { get; }

    public ReadOnlySpan<byte> PrimaryVariant { get; }

    public int PrimaryStatus { get; }

    public long PrimaryLatencyMicros { get; }

    private ReadOnlySpan<byte> Text(scoped ref int at, int slot, out bool has)
    {
        ushort length = BinaryPrimitives.ReadUInt16LittleEndian(p[slot..]);
        has = length != PredictionFrame.NoText;
        ReadOnlySpan<byte> text = p.Slice(at, has ? length : 0);
        at += text.Length;
        return text;
    }
}
