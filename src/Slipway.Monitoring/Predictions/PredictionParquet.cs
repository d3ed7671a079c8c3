using System.Buffers;
using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using System.Text;

namespace Slipway.Monitoring;

/// <summary>
/// A complete segment as Parquet: one row a frame, sorted by endpoint and event time, so that a reader of one endpoint's window skips the other
/// row groups. Bytes go from the frames into the columns without a text or an object in between, because on a busy node this runs beside the
/// answers and costs each prediction its share.
/// </summary>
internal static class PredictionParquet
{
    /// <summary>Rows of a row group.</summary>
    private const int GroupRows = 20_000;

    /// <summary>Bytes of frames of a row group, which bounds what is held of models with many inputs.</summary>
    private const int GroupBytes = 16 << 20;

    private static readonly ParquetColumn[] Columns =
    [
        new("id", ParquetType.Bytes, Text: true),
        new("endpoint", ParquetType.Bytes, Text: true),
        new("variant", ParquetType.Bytes, Text: true),
        new("model_version", ParquetType.Bytes, Text: true),
        new("entity_key", ParquetType.Bytes, Text: true, Optional: true),
        new("event_us", ParquetType.Int64),
        new("latency_us", ParquetType.Int64),
        new("status", ParquetType.Int32),
        new("features", ParquetType.Float, List: true),
        new("outputs", ParquetType.Float, List: true),
        new("segment", ParquetType.Bytes, Text: true),
        new("kind", ParquetType.Int32, Small: true),
        new("reason", ParquetType.Int32, Small: true),
        new("revision", ParquetType.Int64),
        new("primary_variant", ParquetType.Bytes, Text: true, Optional: true),
        new("primary_status", ParquetType.Int32),
        new("primary_latency_us", ParquetType.Int64),
    ];

    /// <summary>Writes the rows of the segment.</summary>
    /// <returns>The least and the greatest prediction id by UTF-16 code units.</returns>
    /// <exception cref="Foundation.SlipwayException">DataLoss when a frame's checksum does not match its bytes.</exception>
    public static unsafe (string Least, string Greatest) Write(PredictionSegment segment, string path)
    {
        using var mapped = MemoryMappedFile.CreateFromFile(new FileStream(segment.Path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete), null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
        using MemoryMappedViewAccessor view = mapped.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
        byte* origin = null;
        view.SafeMemoryMappedViewHandle.AcquirePointer(ref origin);
        try
        {
            return Write(segment, new ReadOnlySpan<byte>(origin, checked((int)segment.Length)), path);
        }
        finally
        {
            view.SafeMemoryMappedViewHandle.ReleasePointer();
        }
    }

    private static (string Least, string Greatest) Write(PredictionSegment segment, ReadOnlySpan<byte> log, string path)
    {
        Place[] places = Sorted(segment, log);
        using var file = new ParquetFile(path, Columns);
        var group = new Group(Encoding.UTF8.GetBytes(segment.Id));
        ReadOnlySpan<byte> least = default, greatest = default;
        for (int from = 0, to; from < places.Length; from = to)
        {
            long bytes = 0;
            for (to = from; to < places.Length && to - from < GroupRows && (to == from || bytes < GroupBytes); to++)
            {
                var row = new FrameView(log.Slice(places[to].Offset, places[to].Length));
                bytes += places[to].Length;
                least = to == 0 || Compare(row.Id, least) < 0 ? row.Id : least;
                greatest = to == 0 || Compare(row.Id, greatest) > 0 ? row.Id : greatest;
                group.Add(row);
            }

            group.WriteTo(file, to - from);
        }

        file.Finish();
        return (Encoding.UTF8.GetString(least), Encoding.UTF8.GetString(greatest));
    }

    private static Place[] Sorted(PredictionSegment segment, ReadOnlySpan<byte> log)
    {
        var places = new Place[segment.Rows];
        var endpoints = new Names();
        int rows = 0;
        for (int at = PredictionSegment.Start; at < log.Length;)
        {
            ReadOnlySpan<byte> payload = PredictionFrame.Payload(log[at..]);
            if (payload.IsEmpty)
            {
                throw segment.Damaged(at);
            }

            if (payload[0] == PredictionFrame.RowKind)
            {
                PredictionFrame.Owner(payload, out ReadOnlySpan<byte> endpoint, out _);
                places[rows++] = new Place(endpoints.IndexOf(endpoint), PredictionFrame.At(payload), at + PredictionFrame.Header, payload.Length);
            }

            at += PredictionFrame.Header + payload.Length;
        }

        int[] rank = endpoints.Ranks();
        Array.Sort(places, (a, b) => a.Endpoint != b.Endpoint ? rank[a.Endpoint].CompareTo(rank[b.Endpoint]) : a.At != b.At ? a.At.CompareTo(b.At) : a.Offset.CompareTo(b.Offset));
        return places;
    }

    private static int Compare(ReadOnlySpan<byte> a, ReadOnlySpan<byte> b) =>
        Ascii.IsValid(a) && Ascii.IsValid(b) ? a.SequenceCompareTo(b) : string.CompareOrdinal(Encoding.UTF8.GetString(a), Encoding.UTF8.GetString(b));

    [System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Auto)]
    private readonly record struct Place(int Endpoint, long At, int Offset, int Length);

    /// <summary>Texts that repeat, numbered as they come.</summary>
    private sealed class Names
    {
        private readonly Dictionary<ulong, int> known = [];
        private int last = -1;

        public List<byte[]> Texts { get; } = [];

        public int IndexOf(ReadOnlySpan<byte> text)
        {
            if (last >= 0 && text.SequenceEqual(Texts[last]))
            {
                return last;
            }

            ulong hash = System.IO.Hashing.XxHash3.HashToUInt64(text);
            // Two texts with one hash each get a place of their own.
            for (; known.TryGetValue(hash, out last); hash++)
            {
                if (text.SequenceEqual(Texts[last]))
                {
                    return last;
                }
            }

            known.Add(hash, last = Texts.Count);
            Texts.Add(text.ToArray());
            return last;
        }

        /// <summary>The place of each text in the order of bytes.</summary>
        public int[] Ranks()
        {
            int[] order = [.. Enumerable.Range(0, Texts.Count)];
            Array.Sort(order, (a, b) => Texts[a].AsSpan().SequenceCompareTo(Texts[b]));
            int[] ranks = new int[order.Length];
            for (int i = 0; i < order.Length; i++)
            {
                ranks[order[i]] = i;
            }

            return ranks;
        }

        public void Clear()
        {
            known.Clear();
            Texts.Clear();
            last = -1;
        }
    }

    /// <summary>A column of texts that mostly repeat: by dictionary while there are at most 256 of them, else plain.</summary>
    private sealed class NameColumn
    {
        private readonly Names names = new();
        private readonly ArrayBufferWriter<byte> indexes = new();
        private readonly ArrayBufferWriter<byte> plain = new();

        public void Add(ReadOnlySpan<byte> text)
        {
            if (plain.WrittenCount == 0)
            {
                int index = names.IndexOf(text);
                if (index <= byte.MaxValue)
                {
                    indexes.GetSpan(1)[0] = (byte)index;
                    indexes.Advance(1);
                    return;
                }

                foreach (byte earlier in indexes.WrittenSpan)
                {
                    AddText(plain, names.Texts[earlier]);
                }
            }

            AddText(plain, text);
        }

        public void WriteTo(ParquetFile file, int rows)
        {
            if (plain.WrittenCount == 0)
            {
                file.WriteDictionary(names.Texts, indexes.WrittenSpan, names.Texts.Count == 1 ? (names.Texts[0], names.Texts[0]) : (names.Texts.Min(ByBytes)!, names.Texts.Max(ByBytes)!));
            }
            else
            {
                file.WritePlain(rows, default, default, plain.WrittenSpan);
            }

            names.Clear();
            indexes.ResetWrittenCount();
            plain.ResetWrittenCount();
        }

        private static readonly Comparer<byte[]> ByBytes = Comparer<byte[]>.Create((a, b) => a.AsSpan().SequenceCompareTo(b));
    }

    /// <summary>A column of numbers of one size.</summary>
    private sealed class NumberColumn
    {
        private readonly ArrayBufferWriter<byte> values = new();
        private long least, greatest;

        public void AddInt32(int value)
        {
            BinaryPrimitives.WriteInt32LittleEndian(values.GetSpan(4), value);
            values.Advance(4);
        }

        public void AddInt64(long value)
        {
            least = values.WrittenCount == 0 ? value : Math.Min(least, value);
            greatest = values.WrittenCount == 0 ? value : Math.Max(greatest, value);
            BinaryPrimitives.WriteInt64LittleEndian(values.GetSpan(8), value);
            values.Advance(8);
        }

        public void WriteTo(ParquetFile file, int rows)
        {
            file.WritePlain(rows, default, default, values.WrittenSpan, 0, values.WrittenCount == 8 * rows ? (BitConverter.GetBytes(least), BitConverter.GetBytes(greatest)) : null);
            values.ResetWrittenCount();
        }
    }

    /// <summary>A column of texts of which some are missing.</summary>
    private sealed class TextColumn
    {
        private readonly ArrayBufferWriter<byte> values = new();
        private readonly ArrayBufferWriter<byte> there = new();
        private long missing;

        public void Add(bool has, ReadOnlySpan<byte> text)
        {
            there.Write([has ? (byte)1 : (byte)0]);
            if (has)
            {
                AddText(values, text);
            }
            else
            {
                missing++;
            }
        }

        public void WriteTo(ParquetFile file, int rows)
        {
            file.WritePlain(rows, default, there.WrittenSpan, values.WrittenSpan, missing);
            values.ResetWrittenCount();
            there.ResetWrittenCount();
            missing = 0;
        }
    }

    /// <summary>A column of lists of 32-bit floats.</summary>
    private sealed class ListColumn
    {
        private readonly ArrayBufferWriter<byte> values = new();
        private readonly ArrayBufferWriter<byte> goesOn = new();
        private readonly ArrayBufferWriter<byte> there = new();

        public void Add(ReadOnlySpan<byte> floats)
        {
            int count = floats.Length / 4, entries = Math.Max(1, count);
            Span<byte> on = goesOn.GetSpan(entries)[..entries];
            on.Fill(1);
            on[0] = 0;
            goesOn.Advance(entries);
            there.GetSpan(entries)[..entries].Fill(count > 0 ? (byte)1 : (byte)0);
            there.Advance(entries);
            values.Write(floats);
        }

        public void WriteTo(ParquetFile file)
        {
            file.WritePlain(goesOn.WrittenCount, goesOn.WrittenSpan, there.WrittenSpan, values.WrittenSpan);
            values.ResetWrittenCount();
            goesOn.ResetWrittenCount();
            there.ResetWrittenCount();
        }
    }

    /// <summary>The columns of one row group.</summary>
    private sealed class Group(byte[] segment)
    {
        private readonly ArrayBufferWriter<byte> ids = new();
        private readonly NameColumn endpoints = new(), variants = new(), models = new(), segments = new();
        private readonly TextColumn entities = new(), primaryVariants = new();
        private readonly NumberColumn times = new(), latencies = new(), statuses = new(), kinds = new(), reasons = new(), revisions = new(), primaryStatuses = new(), primaryLatencies = new();
        private readonly ListColumn features = new(), outputs = new();

        public void Add(in FrameView row)
        {
            AddText(ids, row.Id);
            endpoints.Add(row.Endpoint);
            variants.Add(row.Variant);
            models.Add(row.ModelVersion);
            segments.Add(segment);
            entities.Add(row.HasEntityKey, row.EntityKey);
            times.AddInt64(row.EventMicros);
            latencies.AddInt64(row.LatencyMicros);
            statuses.AddInt32(row.Status);
            features.Add(row.Features);
            outputs.Add(row.Outputs);
            kinds.AddInt32((int)row.Kind);
            reasons.AddInt32((int)row.Reason);
            revisions.AddInt64(row.Revision);
            primaryVariants.Add(row.HasPrimary, row.PrimaryVariant);
            primaryStatuses.AddInt32(row.PrimaryStatus);
            primaryLatencies.AddInt64(row.PrimaryLatencyMicros);
        }

        // In the order of Columns.
        public void WriteTo(ParquetFile file, int rows)
        {
            file.WritePlain(rows, default, default, ids.WrittenSpan);
            ids.ResetWrittenCount();
            endpoints.WriteTo(file, rows);
            variants.WriteTo(file, rows);
            models.WriteTo(file, rows);
            entities.WriteTo(file, rows);
            times.WriteTo(file, rows);
            latencies.WriteTo(file, rows);
            statuses.WriteTo(file, rows);
            features.WriteTo(file);
            outputs.WriteTo(file);
            segments.WriteTo(file, rows);
            kinds.WriteTo(file, rows);
            reasons.WriteTo(file, rows);
            revisions.WriteTo(file, rows);
            primaryVariants.WriteTo(file, rows);
            primaryStatuses.WriteTo(file, rows);
            primaryLatencies.WriteTo(file, rows);
            file.EndGroup(rows);
        }
    }

    private static void AddText(ArrayBufferWriter<byte> into, ReadOnlySpan<byte> text)
    {
        Span<byte> span = into.GetSpan(4 + text.Length);
        BinaryPrimitives.WriteInt32LittleEndian(span, text.Length);
        text.CopyTo(span[4..]);
        into.Advance(4 + text.Length);
    }
}
