using System.Buffers.Binary;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using System.Text;
using Slipway.Foundation;

namespace Slipway.Monitoring;

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
    int Status);

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
    /// <summary>`prediction:{id}`.</summary>
    public Subject Subject => new("prediction", Id);
}

/// <summary>
/// The bytes of the log. A frame is [u32 payload length][u32 CRC-32 of the payload][payload], little-endian. The first payload byte
/// is the kind: 1 is a prediction, 2 closes a batch and carries the generation of the buffer that the batch came from.
/// </summary>
internal static class PredictionFrame
{
    public const int Header = 8;
    public const byte PredictionKind = 1;
    public const byte BatchKind = 2;
    public const int BatchSize = Header + 1 + 8;

    /// <summary>Bytes of a prediction's payload before its texts and numbers.</summary>
    private const int Fixed = 1 + 8 + 8 + 4 + 2 * 5 + 4 + 4;
    private const ushort NoText = ushort.MaxValue;

    /// <summary>Bytes of the record's frame, or -1 when one of its texts is longer than 32,767 bytes.</summary>
    public static int SizeOf(in PredictionRecord r)
    {
        int id = Encoding.UTF8.GetByteCount(r.Id), endpoint = Encoding.UTF8.GetByteCount(r.Endpoint), variant = Encoding.UTF8.GetByteCount(r.Variant);
        int model = Encoding.UTF8.GetByteCount(r.ModelVersion), entity = r.EntityKey is null ? 0 : Encoding.UTF8.GetByteCount(r.EntityKey);
        if ((id | endpoint | variant | model | entity) > short.MaxValue)
        {
            return -1;
        }

        long size = Header + Fixed + id + endpoint + variant + model + entity + 4L * (r.Features.Length + (long)r.Outputs.Length);
        return size > int.MaxValue ? -1 : (int)size;
    }

    public static void Write(Span<byte> frame, in PredictionRecord r)
    {
        Span<byte> p = frame[Header..];
        p[0] = PredictionKind;
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
        bool known = payload[0] switch { PredictionKind => length >= Fixed, BatchKind => length == BatchSize - Header, _ => false };
        return known && Crc32.HashToUInt32(payload) == BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]) ? payload : default;
    }

    public static ulong Generation(ReadOnlySpan<byte> payload) => BinaryPrimitives.ReadUInt64LittleEndian(payload[1..]);

    /// <summary>Event time of a prediction's payload, Unix microseconds.</summary>
    public static long At(ReadOnlySpan<byte> p) => BinaryPrimitives.ReadInt64LittleEndian(p[1..]);

    /// <summary>The prediction's id in UTF-8.</summary>
    public static ReadOnlySpan<byte> Id(ReadOnlySpan<byte> p) => p.Slice(Fixed, BinaryPrimitives.ReadUInt16LittleEndian(p[21..]));

    /// <summary>The endpoint as text.</summary>
    public static string EndpointOf(ReadOnlySpan<byte> p)
    {
        int at = Fixed + BinaryPrimitives.ReadUInt16LittleEndian(p[21..]);
        return Name(p, ref at, 23);
    }

    /// <summary>Endpoint and model version in UTF-8.</summary>
    public static void Owner(ReadOnlySpan<byte> p, out ReadOnlySpan<byte> endpoint, out ReadOnlySpan<byte> modelVersion)
    {
        int at = Fixed + BinaryPrimitives.ReadUInt16LittleEndian(p[21..]);
        endpoint = p.Slice(at, BinaryPrimitives.ReadUInt16LittleEndian(p[23..]));
        at += endpoint.Length + BinaryPrimitives.ReadUInt16LittleEndian(p[25..]);
        modelVersion = p.Slice(at, BinaryPrimitives.ReadUInt16LittleEndian(p[27..]));
    }

    public static Prediction Read(ReadOnlySpan<byte> p, string segment)
    {
        int at = Fixed;
        string id = Text(p, ref at, 21)!, endpoint = Name(p, ref at, 23), variant = Name(p, ref at, 25), model = Name(p, ref at, 27);
        string? entity = Text(p, ref at, 29);
        float[] features = Floats(p, ref at, 31), outputs = Floats(p, ref at, 35);
        DateTimeOffset time = Time.FromMicros(BinaryPrimitives.ReadInt64LittleEndian(p[1..]));
        return new Prediction(id, endpoint, variant, model, entity, time, BinaryPrimitives.ReadInt64LittleEndian(p[9..]), features, outputs, BinaryPrimitives.ReadInt32LittleEndian(p[17..]), segment);
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

    private static string? Text(ReadOnlySpan<byte> p, ref int at, int slot)
    {
        ushort length = BinaryPrimitives.ReadUInt16LittleEndian(p[slot..]);
        if (length == NoText)
        {
            return null;
        }

        at += length;
        return Encoding.UTF8.GetString(p.Slice(at - length, length));
    }

    // Names repeat from record to record; a few of them are kept for each thread instead of being made anew.
    private static string Name(ReadOnlySpan<byte> p, ref int at, int slot)
    {
        ReadOnlySpan<byte> utf8 = p.Slice(at, BinaryPrimitives.ReadUInt16LittleEndian(p[slot..]));
        at += utf8.Length;
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

    private static float[] Floats(ReadOnlySpan<byte> p, ref int at, int slot)
    {
        int count = BinaryPrimitives.ReadInt32LittleEndian(p[slot..]);
        at += 4 * count;
        return MemoryMarshal.Cast<byte, float>(p.Slice(at - 4 * count, 4 * count)).ToArray();
    }
}
