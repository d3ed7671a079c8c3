using System.IO.Hashing;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Slipway.Monitoring;

/// <summary>The extent of one model version's predictions on one endpoint inside a segment; times are Unix microseconds of event time.</summary>
internal sealed record SegmentPart(string Endpoint, string ModelVersion, long Rows, long First, long Last);

/// <summary>
/// One append-only file of frames with an index in memory: prediction id to offset, and per endpoint the event times with their
/// offsets (about 60 bytes a prediction, bounded by the size at which segments roll). One writer, many readers.
/// </summary>
internal sealed class PredictionSegment : IDisposable
{
    private static readonly byte[] Magic = "SLPRED1\n"u8.ToArray();

    private readonly SafeFileHandle file;
    private readonly Lock gate = new();
    private readonly Dictionary<UInt128, long> byId = [];
    private readonly Dictionary<string, List<(long At, long Offset)>> byEndpoint = new(StringComparer.Ordinal);
    private readonly Dictionary<(string, string), SegmentPart> parts = [];

    private PredictionSegment(string path, SafeFileHandle file, DateTimeOffset openedAt)
    {
        Path = path;
        Id = System.IO.Path.GetFileNameWithoutExtension(path);
        OpenedAt = openedAt;
        this.file = file;
    }

    public string Path { get; }

    public string Id { get; }

    public DateTimeOffset OpenedAt { get; }

    public long Length { get; private set; }

    public long Rows { get; private set; }

    /// <summary>Generations of the buffers whose batches are whole in this file.</summary>
    public HashSet<ulong> Generations { get; } = [];

    public static PredictionSegment Create(string directory, string id, DateTimeOffset now)
    {
        string path = System.IO.Path.Combine(directory, id + ".log");
        SafeFileHandle file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.Read | FileShare.Delete);
        RandomAccess.Write(file, Magic, 0);
        return new PredictionSegment(path, file, now) { Length = Magic.Length };
    }

    /// <summary>
    /// Reads a segment that a previous process left and cuts it behind its last whole batch. The rest of a batch that was being
    /// written when the process died is still in the buffer file it came from.
    /// </summary>
    public static PredictionSegment Recover(string path, DateTimeOffset now, out long cut)
    {
        SafeFileHandle file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.Read | FileShare.Delete);
        var segment = new PredictionSegment(path, file, now);
        byte[] bytes = new byte[RandomAccess.GetLength(file)];
        ReadFully(file, bytes, 0);
        int start = Magic.Length, at = start;
        if (!bytes.AsSpan().StartsWith(Magic))
        {
            RandomAccess.Write(file, Magic, 0);
            bytes = [];
        }

        for (ReadOnlySpan<byte> payload = At(bytes, at); !payload.IsEmpty; payload = At(bytes, at))
        {
            at += PredictionFrame.Header + payload.Length;
            if (payload[0] == PredictionFrame.BatchKind)
            {
                segment.Generations.Add(PredictionFrame.Generation(payload));
                segment.Index(bytes.AsSpan(start, at - start), start);
                start = at;
            }
        }

        cut = Math.Max(0, bytes.Length - start);
        segment.Length = start;
        RandomAccess.SetLength(file, start);
        return segment;

        static ReadOnlySpan<byte> At(byte[] bytes, int at) => at < bytes.Length ? PredictionFrame.Payload(bytes.AsSpan(at)) : default;
    }

    /// <summary>Appends whole frames (predictions and the batch frame that closes them) and makes them findable.</summary>
    public void Append(ReadOnlySpan<byte> frames)
    {
        RandomAccess.Write(file, frames, Length);
        Index(frames, Length);
        Length += frames.Length;
    }

    /// <summary>Forces the file to the disk.</summary>
    public void Sync() => RandomAccess.FlushToDisk(file);

    public IReadOnlyList<SegmentPart> Parts()
    {
        lock (gate)
        {
            return parts.Values.OrderBy(p => p.Endpoint, StringComparer.Ordinal).ThenBy(p => p.ModelVersion, StringComparer.Ordinal).ToArray();
        }
    }

    public Prediction? Find(string id)
    {
        long offset;
        lock (gate)
        {
            if (!byId.TryGetValue(Hash(id), out offset))
            {
                return null;
            }
        }

        Prediction found = Read(offset);
        return found.Id == id ? found : null;
    }

    /// <summary>Predictions of one endpoint with event time in [from, to), in the order they were logged.</summary>
    public IEnumerable<Prediction> Scan(string endpoint, long from, long to)
    {
        (long At, long Offset)[] hits;
        lock (gate)
        {
            hits = byEndpoint.TryGetValue(endpoint, out List<(long At, long Offset)>? entries)
                ? entries.Where(e => e.At >= from && e.At < to).ToArray()
                : [];
        }

        return hits.Select(hit => Read(hit.Offset));
    }

    /// <summary>The newest predictions of one endpoint with event time in [from, to), newest first.</summary>
    public IEnumerable<Prediction> Newest(string endpoint, long from, long to, int limit)
    {
        (long At, long Offset)[] hits;
        lock (gate)
        {
            hits = byEndpoint.TryGetValue(endpoint, out List<(long At, long Offset)>? entries)
                ? entries.Where(e => e.At >= from && e.At < to).OrderByDescending(e => e.At).ThenByDescending(e => e.Offset).Take(limit).ToArray()
                : [];
        }

        return hits.Select(hit => Read(hit.Offset));
    }

    /// <summary>Every prediction in the order it was logged.</summary>
    public IEnumerable<Prediction> All()
    {
        long[] offsets;
        lock (gate)
        {
            offsets = byEndpoint.Values.SelectMany(e => e).Select(e => e.Offset).Order().ToArray();
        }

        return offsets.Select(Read);
    }

    /// <summary>SHA-256 of the file, 64 lower-case hexadecimal digits.</summary>
    public string Digest()
    {
        using var stream = new FileStream(Path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        return Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(stream));
    }

    public void Dispose() => file.Dispose();

    private static UInt128 Hash(string id) => XxHash128.HashToUInt128(Encoding.UTF8.GetBytes(id));

    private static void ReadFully(SafeFileHandle file, Span<byte> into, long offset)
    {
        while (!into.IsEmpty)
        {
            int read = RandomAccess.Read(file, into, offset);
            if (read == 0)
            {
                throw new EndOfStreamException($"The segment ends at {offset}.");
            }

            into = into[read..];
            offset += read;
        }
    }

    private Prediction Read(long offset)
    {
        Span<byte> header = stackalloc byte[PredictionFrame.Header];
        ReadFully(file, header, offset);
        byte[] frame = new byte[PredictionFrame.Header + BitConverter.ToInt32(header)];
        ReadFully(file, frame, offset);
        ReadOnlySpan<byte> payload = PredictionFrame.Payload(frame);
        return payload.IsEmpty
            ? throw new Foundation.SlipwayException(Foundation.ErrorCode.DataLoss, $"A prediction at byte {offset} of segment {Id} cannot be read.", "its checksum does not match its bytes", "slipway doctor")
            : PredictionFrame.Read(payload, Id);
    }

    private void Index(ReadOnlySpan<byte> frames, long offset)
    {
        lock (gate)
        {
            for (int at = 0; at < frames.Length;)
            {
                int size = PredictionFrame.Header + BitConverter.ToInt32(frames[at..]);
                ReadOnlySpan<byte> payload = frames.Slice(at + PredictionFrame.Header, size - PredictionFrame.Header);
                if (payload[0] == PredictionFrame.PredictionKind)
                {
                    Add(PredictionFrame.Key(payload), offset + at);
                }

                at += size;
            }
        }
    }

    private void Add((UInt128 Id, string Endpoint, string ModelVersion, long At) key, long offset)
    {
        byId[key.Id] = offset;
        if (!byEndpoint.TryGetValue(key.Endpoint, out List<(long At, long Offset)>? entries))
        {
            entries = [];
            byEndpoint.Add(key.Endpoint, entries);
        }

        entries.Add((key.At, offset));
        SegmentPart part = parts.GetValueOrDefault((key.Endpoint, key.ModelVersion)) ?? new SegmentPart(key.Endpoint, key.ModelVersion, 0, key.At, key.At);
        parts[(key.Endpoint, key.ModelVersion)] = part with { Rows = part.Rows + 1, First = Math.Min(part.First, key.At), Last = Math.Max(part.Last, key.At) };
        Rows++;
    }
}
