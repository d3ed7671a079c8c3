using System.IO.Hashing;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Slipway.Monitoring;

/// <summary>The extent of one model version's predictions on one endpoint inside a segment; times are Unix microseconds of event time.</summary>
internal sealed record SegmentPart(string Endpoint, string ModelVersion, long Rows, long First, long Last, PredictionKind Kind = PredictionKind.Live);

/// <summary>
/// One append-only file of frames. The writer only counts rows by endpoint and model version; an index in memory (prediction id to offset, and per
/// endpoint the event times with their offsets: about 60 bytes a prediction, bounded by the size at which segments roll) is brought up to the
/// file's end when somebody asks, so that traffic without readers does not pay for it. One writer, many readers.
/// </summary>
internal sealed class PredictionSegment : IDisposable
{
    /// <summary>How names of segment files end.</summary>
    public const string Extension = ".log";

    /// <summary>Where the first frame begins.</summary>
    public const int Start = 8;

    private const int BlockBytes = 128 * 1024;
    private static readonly byte[] Magic = "SLPRED1\n"u8.ToArray();

    private readonly SafeFileHandle file;
    private readonly Lock gate = new();
    private readonly Dictionary<(ulong Endpoint, ulong ModelVersion, PredictionKind Kind), Part> parts = [];
    private readonly Lock indexing = new();
    private readonly Dictionary<UInt128, long> byId = [];
    private readonly Dictionary<(string Endpoint, PredictionKind Kind), List<(long At, long Offset)>> byEndpoint = [];
    private long indexed = Start;
    private long length;

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

    public long Length => Interlocked.Read(ref length);

    public long Rows { get; private set; }

    /// <summary>Generations of the buffers whose batches are whole in this file.</summary>
    public HashSet<ulong> Generations { get; } = [];

    public static PredictionSegment Create(string directory, string id, DateTimeOffset now)
    {
        string path = System.IO.Path.Combine(directory, id + Extension);
        SafeFileHandle file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.Read | FileShare.Delete);
        RandomAccess.Write(file, Magic, 0);
        return new PredictionSegment(path, file, now) { length = Start };
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
        int start = Start, at = start;
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
                segment.Count(bytes.AsSpan(start, at - start));
                start = at;
            }
        }

        cut = Math.Max(0, bytes.Length - start);
        segment.length = start;
        RandomAccess.SetLength(file, start);
        return segment;

        static ReadOnlySpan<byte> At(byte[] bytes, int at) => at < bytes.Length ? PredictionFrame.Payload(bytes.AsSpan(at)) : default;
    }

    /// <summary>A segment that another process writes. It ends behind the last whole batch that <see cref="Refresh"/> has seen.</summary>
    public static PredictionSegment Follow(string path) =>
        new(path, File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete), DateTimeOffset.MinValue) { length = Start };

    /// <summary>Takes in the whole batches that the other process has written since.</summary>
    public void Refresh()
    {
        // A file that is opened is looked at anew, also where a network file system keeps the size of an open one for a while.
        long end;
        using (SafeFileHandle now = File.OpenHandle(Path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete))
        {
            end = RandomAccess.GetLength(now);
        }

        lock (indexing)
        {
            long from = Length;
            if (end <= from)
            {
                return;
            }

            byte[] bytes = new byte[end - from];
            bytes = bytes[..RandomAccess.Read(file, bytes, from)];
            int start = 0, at = 0;
            for (ReadOnlySpan<byte> payload = PredictionFrame.Payload(bytes); !payload.IsEmpty; payload = PredictionFrame.Payload(bytes.AsSpan(at)))
            {
                at += PredictionFrame.Header + payload.Length;
                if (payload[0] == PredictionFrame.BatchKind)
                {
                    Count(bytes.AsSpan(start, at - start));
                    start = at;
                }
            }

            Interlocked.Add(ref length, start);
        }
    }

    /// <summary>
    /// Appends the whole frames of a buffer and the batch frame that closes them, and makes them findable. Two writes without a copy: what stands
    /// behind the last batch frame after a crash is cut off, and is still in the buffer that it came from.
    /// </summary>
    public void Append(ReadOnlySpan<byte> frames, ulong generation)
    {
        Span<byte> close = stackalloc byte[PredictionFrame.BatchSize];
        PredictionFrame.WriteBatch(close, generation);
        RandomAccess.Write(file, frames, length);
        RandomAccess.Write(file, close, length + frames.Length);
        Count(frames);
        // The length moves last: readers follow it.
        Interlocked.Add(ref length, frames.Length + close.Length);
    }

    /// <summary>Forces the file to the disk.</summary>
    public void Sync() => RandomAccess.FlushToDisk(file);

    /// <summary>What it holds, by endpoint, model version and kind of row.</summary>
    public IReadOnlyList<SegmentPart> Parts()
    {
        lock (gate)
        {
            return parts.Values.Select(p => new SegmentPart(p.Endpoint, p.ModelVersion, p.Rows, p.First, p.Last, p.Kind))
                .OrderBy(p => p.Endpoint, StringComparer.Ordinal).ThenBy(p => p.ModelVersion, StringComparer.Ordinal).ThenBy(p => p.Kind).ToArray();
        }
    }

    /// <summary>The answer of that id that a caller got.</summary>
    public Prediction? Find(string id)
    {
        long offset;
        lock (indexing)
        {
            Index();
            if (!byId.TryGetValue(Hash(id), out offset))
            {
                return null;
            }
        }

        Prediction found = Read(offset);
        return found.Id == id ? found : null;
    }

    /// <summary>Rows of one endpoint and kind with event time in [from, to), in the order they were logged.</summary>
    public IEnumerable<Prediction> Scan(string endpoint, PredictionKind kind, long from, long to)
    {
        (long At, long Offset)[] hits;
        lock (indexing)
        {
            Index();
            hits = byEndpoint.TryGetValue((endpoint, kind), out List<(long At, long Offset)>? entries)
                ? entries.Where(e => e.At >= from && e.At < to).ToArray()
                : [];
        }

        return ReadForward(hits.Select(hit => hit.Offset));
    }

    /// <summary>The newest predictions of one endpoint with event time in [from, to), newest first.</summary>
    public IEnumerable<Prediction> Newest(string endpoint, long from, long to, int limit)
    {
        (long At, long Offset)[] hits;
        lock (indexing)
        {
            Index();
            hits = byEndpoint.TryGetValue((endpoint, PredictionKind.Live), out List<(long At, long Offset)>? entries)
                ? entries.Where(e => e.At >= from && e.At < to).OrderByDescending(e => e.At).ThenByDescending(e => e.Offset).Take(limit).ToArray()
                : [];
        }

        return hits.Select(hit => Read(hit.Offset));
    }

    /// <summary>Every prediction in the order it was logged.</summary>
    public IEnumerable<Prediction> All() => Frames(Start, Length, (payload, _) => PredictionFrame.Read(payload, Id));

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
            ? throw Damaged(offset)
            : PredictionFrame.Read(payload, Id);
    }

    /// <summary>The predictions at ascending offsets, read in blocks.</summary>
    private IEnumerable<Prediction> ReadForward(IEnumerable<long> offsets)
    {
        byte[] block = new byte[BlockBytes];
        long start = 0;
        int have = 0;
        foreach (long offset in offsets)
        {
            if (offset < start || offset >= start + have || PredictionFrame.Payload(block.AsSpan((int)(offset - start), have - (int)(offset - start))).IsEmpty)
            {
                have = RandomAccess.Read(file, block, start = offset);
            }

            ReadOnlySpan<byte> payload = PredictionFrame.Payload(block.AsSpan((int)(offset - start), have - (int)(offset - start)));
            // A prediction that is larger than a block, or damaged, is looked at alone.
            yield return payload.IsEmpty ? Read(offset) : PredictionFrame.Read(payload, Id);
        }
    }

    private delegate T Made<T>(ReadOnlySpan<byte> payload, long offset);

    /// <summary>What is made of each prediction's payload in a part of the file, read in blocks.</summary>
    private IEnumerable<T> Frames<T>(long from, long to, Made<T> make)
    {
        byte[] block = new byte[BlockBytes];
        while (from < to)
        {
            int have = RandomAccess.Read(file, block.AsSpan(0, (int)Math.Min(block.Length, to - from)), from), at = 0;
            for (int size = SizeAt(block, at, have); size > 0; size = SizeAt(block, at, have))
            {
                if (block[at + PredictionFrame.Header] == PredictionFrame.RowKind)
                {
                    yield return make(PredictionFrame.Payload(block.AsSpan(at, size)) is { IsEmpty: false } payload ? payload : throw Damaged(from + at), from + at);
                }

                at += size;
            }

            if (at == 0)
            {
                // One frame is larger than the block.
                byte[] header = new byte[PredictionFrame.Header];
                ReadFully(file, header, from);
                int size = PredictionFrame.Header + BitConverter.ToInt32(header);
                if (size <= block.Length || size > to - from)
                {
                    throw Damaged(from);
                }

                block = new byte[size];
            }

            from += at;
        }

        static int SizeAt(byte[] block, int at, int have)
        {
            if (have - at < PredictionFrame.Header)
            {
                return 0;
            }

            long size = PredictionFrame.Header + (long)BitConverter.ToUInt32(block, at);
            return size > PredictionFrame.Header && size <= have - at ? (int)size : 0;
        }
    }

    /// <summary>What is thrown for a frame whose bytes are not what was written.</summary>
    public Foundation.SlipwayException Damaged(long offset) =>
        new(Foundation.ErrorCode.DataLoss, $"A prediction at byte {offset} of segment {Id} cannot be read.", "its checksum does not match its bytes", "slipway doctor");

    // Brings the index up to the end of the file; under its lock.
    private void Index()
    {
        long end = Length;
        foreach ((UInt128 id, var key, long time, long offset) in Frames(indexed, end, (p, at) => (XxHash128.HashToUInt128(PredictionFrame.Id(p)), (PredictionFrame.EndpointOf(p), PredictionFrame.KindOf(p)), PredictionFrame.At(p), at)))
        {
            if (key.Item2 == PredictionKind.Live)
            {
                byId[id] = offset;
            }

            if (!byEndpoint.TryGetValue(key, out List<(long At, long Offset)>? entries))
            {
                entries = [];
                byEndpoint.Add(key, entries);
            }

            entries.Add((time, offset));
        }

        indexed = end;
    }

    private void Count(ReadOnlySpan<byte> frames)
    {
        lock (gate)
        {
            for (int at = 0; at < frames.Length;)
            {
                int size = PredictionFrame.Header + BitConverter.ToInt32(frames[at..]);
                ReadOnlySpan<byte> payload = frames.Slice(at + PredictionFrame.Header, size - PredictionFrame.Header);
                if (payload[0] == PredictionFrame.RowKind)
                {
                    Count(payload, PredictionFrame.At(payload));
                }

                at += size;
            }
        }
    }

    private void Count(ReadOnlySpan<byte> payload, long at)
    {
        PredictionFrame.Owner(payload, out ReadOnlySpan<byte> endpoint, out ReadOnlySpan<byte> model);
        var key = (XxHash3.HashToUInt64(endpoint), XxHash3.HashToUInt64(model), PredictionFrame.KindOf(payload));
        if (!parts.TryGetValue(key, out Part? part))
        {
            parts.Add(key, part = new Part(Encoding.UTF8.GetString(endpoint), Encoding.UTF8.GetString(model), key.Item3) { First = at, Last = at });
        }

        part.Rows++;
        part.First = Math.Min(part.First, at);
        part.Last = Math.Max(part.Last, at);
        Rows++;
    }

    private sealed class Part(string endpoint, string modelVersion, PredictionKind kind)
    {
        public PredictionKind Kind { get; } = kind;

        public string Endpoint { get; } = endpoint;

        public string ModelVersion { get; } = modelVersion;

        public long Rows { get; set; }

        public long First { get; set; }

        public long Last { get; set; }
    }
}
