using System.Buffers;
using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace Slipway.Monitoring;

/// <summary>The physical types of Parquet that the log uses, with their numbers in the format.</summary>
internal enum ParquetType
{
    Int32 = 1,
    Int64 = 2,
    Float = 4,
    Bytes = 6,
}

/// <summary>A leaf column.</summary>
/// <param name="Name">The column's name; of a list, the list's.</param>
/// <param name="Type">The physical type of a value.</param>
/// <param name="Text">Whether the bytes are UTF-8.</param>
/// <param name="Small">Whether the number is an unsigned byte.</param>
/// <param name="Optional">Whether a value may be missing.</param>
/// <param name="List">Whether a row holds a list of values.</param>
internal sealed record ParquetColumn(string Name, ParquetType Type, bool Text = false, bool Small = false, bool Optional = false, bool List = false);

/// <summary>
/// Writes a Parquet file column chunk by column chunk, one data page each, compressed by gzip where that saves at least a tenth. The format is
/// apache/parquet-format 2.x: data pages of version 1, levels and dictionary indexes as runs or bit-packed, the footer in Thrift's compact protocol.
/// </summary>
internal sealed class ParquetFile : IDisposable
{
    private const int Plain = 0, Rle = 3, RleDictionary = 8;
    private const int Uncompressed = 0, Gzip = 2;
    private const int Utf8 = 0, ListType = 3, UnsignedByte = 11;
    /// <summary>Pages below this size are not worth the try.</summary>
    private const int SmallestCompressed = 4096;
    private static readonly byte[] Magic = "PAR1"u8.ToArray();

    private readonly FileStream file;
    private readonly ParquetColumn[] columns;
    private readonly List<(long Rows, Chunk[] Chunks)> groups = [];
    private readonly List<Chunk> open = [];
    private readonly MemoryStream compressed = new();
    private readonly ArrayBufferWriter<byte> page = new();

    public ParquetFile(string path, ParquetColumn[] columns)
    {
        this.columns = columns;
        file = new FileStream(path, new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write, BufferSize = 0 });
        file.Write(Magic);
    }

    /// <summary>Writes the next column's chunk of plain values.</summary>
    /// <param name="count">Entries, with the missing ones; of a list column, values and empty lists.</param>
    /// <param name="repetition">Of a list column, per entry whether it goes on with a list; else empty.</param>
    /// <param name="definition">Per entry whether there is a value; empty where there always is.</param>
    /// <param name="values">The values in the format's plain encoding.</param>
    /// <param name="missing">Entries without a value.</param>
    /// <param name="range">The least and the greatest value in the plain encoding, for readers that skip; empty where not known.</param>
    public void WritePlain(int count, ReadOnlySpan<byte> repetition, ReadOnlySpan<byte> definition, ReadOnlySpan<byte> values, long missing = 0, (byte[] Least, byte[] Greatest)? range = null)
    {
        page.ResetWrittenCount();
        Levels(repetition);
        Levels(definition);
        page.Write(values);
        Chunk chunk = new(columns[open.Count], count, missing, range, file.Position);
        WritePage(chunk, page.WrittenSpan, DataPage, Plain, count);
        open.Add(chunk);
    }

    /// <summary>Writes the next column's chunk as a dictionary of texts and an index into it for each entry.</summary>
    public void WriteDictionary(IReadOnlyList<byte[]> texts, ReadOnlySpan<byte> indexes, (byte[] Least, byte[] Greatest)? range = null)
    {
        page.ResetWrittenCount();
        foreach (byte[] text in texts)
        {
            BinaryPrimitives.WriteInt32LittleEndian(page.GetSpan(4), text.Length);
            page.Advance(4);
            page.Write(text);
        }

        Chunk chunk = new(columns[open.Count], indexes.Length, 0, range, file.Position);
        WritePage(chunk, page.WrittenSpan, DictionaryPage, Plain, texts.Count);
        chunk.Dictionary = chunk.Data;
        page.ResetWrittenCount();
        int width = Math.Max(1, 32 - int.LeadingZeroCount(texts.Count - 1));
        page.Write([(byte)width]);
        Packed(indexes, width);
        WritePage(chunk, page.WrittenSpan, DataPage, RleDictionary, indexes.Length);
        open.Add(chunk);
    }

    /// <summary>Closes the row group, whose chunks are all written.</summary>
    public void EndGroup(long rows)
    {
        groups.Add((rows, open.ToArray()));
        open.Clear();
    }

    /// <summary>Writes the footer.</summary>
    public void Finish()
    {
        var thrift = new Compact();
        thrift.I32(1, 2);
        Schema(thrift);
        thrift.I64(3, groups.Sum(g => g.Rows));
        thrift.List(4, Compact.Struct, groups.Count);
        foreach ((long rows, Chunk[] chunks) in groups)
        {
            thrift.Begin();
            thrift.List(1, Compact.Struct, chunks.Length);
            foreach (Chunk chunk in chunks)
            {
                Write(thrift, chunk);
            }

            thrift.I64(2, chunks.Sum(c => c.Raw));
            thrift.I64(3, rows);
            thrift.End();
        }

        thrift.Text(6, "slipway");
        thrift.List(7, Compact.Struct, columns.Length);
        for (int i = 0; i < columns.Length; i++)
        {
            // The ordering that the type defines.
            thrift.Begin();
            thrift.Begin(1);
            thrift.End();
            thrift.End();
        }

        thrift.Stop();
        file.Write(thrift.Written);
        Span<byte> length = stackalloc byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(length, thrift.Written.Length);
        file.Write(length);
        file.Write(Magic);
    }

    public void Dispose()
    {
        compressed.Dispose();
        file.Dispose();
    }

    private const int DataPage = 0, DictionaryPage = 2;

    private void Schema(Compact thrift)
    {
        thrift.List(2, Compact.Struct, 1 + columns.Sum(c => c.List ? 3 : 1));
        thrift.Begin();
        thrift.Text(4, "prediction");
        thrift.I32(5, columns.Length);
        thrift.End();
        foreach (ParquetColumn column in columns)
        {
            if (column.List)
            {
                thrift.Begin();
                thrift.I32(3, 0);
                thrift.Text(4, column.Name);
                thrift.I32(5, 1);
                thrift.I32(6, ListType);
                thrift.End();
                thrift.Begin();
                thrift.I32(3, 2);
                thrift.Text(4, "list");
                thrift.I32(5, 1);
                thrift.End();
            }

            thrift.Begin();
            thrift.I32(1, (int)column.Type);
            thrift.I32(3, column.Optional ? 1 : 0);
            thrift.Text(4, column.List ? "element" : column.Name);
            if (column.Text || column.Small)
            {
                thrift.I32(6, column.Text ? Utf8 : UnsignedByte);
            }

            thrift.End();
        }
    }

    private static void Write(Compact thrift, Chunk chunk)
    {
        thrift.Begin();
        thrift.I64(2, chunk.Start);
        thrift.Begin(3);
        thrift.I32(1, (int)chunk.Column.Type);
        int[] encodings = chunk.Dictionary >= 0 ? [Plain, Rle, RleDictionary] : [Plain, Rle];
        thrift.List(2, Compact.Int32, encodings.Length);
        foreach (int encoding in encodings)
        {
            thrift.ZigZag(encoding);
        }

        string[] path = chunk.Column.List ? [chunk.Column.Name, "list", "element"] : [chunk.Column.Name];
        thrift.List(3, Compact.Binary, path.Length);
        foreach (string part in path)
        {
            thrift.Bytes(Encoding.UTF8.GetBytes(part));
        }

        thrift.I32(4, chunk.Codec);
        thrift.I64(5, chunk.Count);
        thrift.I64(6, chunk.Raw);
        thrift.I64(7, chunk.Stored);
        thrift.I64(9, chunk.Data);
        if (chunk.Dictionary >= 0)
        {
            thrift.I64(11, chunk.Dictionary);
        }

        if (chunk.Range is { } range)
        {
            thrift.Begin(12);
            thrift.I64(3, chunk.Missing);
            thrift.Blob(5, range.Greatest);
            thrift.Blob(6, range.Least);
            thrift.End();
        }

        thrift.End();
        thrift.End();
    }

    private void WritePage(Chunk chunk, ReadOnlySpan<byte> content, int type, int encoding, int count)
    {
        ReadOnlySpan<byte> stored = content;
        if (type == DataPage && chunk.Dictionary < 0 && content.Length >= SmallestCompressed)
        {
            compressed.SetLength(0);
            using (var gzip = new GZipStream(compressed, CompressionLevel.Fastest, leaveOpen: true))
            {
                gzip.Write(content);
            }

            if (compressed.Length < content.Length / 10 * 9)
            {
                stored = compressed.GetBuffer().AsSpan(0, (int)compressed.Length);
                chunk.Codec = Gzip;
            }
        }

        var thrift = new Compact();
        thrift.I32(1, type);
        thrift.I32(2, content.Length);
        thrift.I32(3, stored.Length);
        thrift.Begin(type == DataPage ? 5 : 7);
        thrift.I32(1, count);
        thrift.I32(2, encoding);
        if (type == DataPage)
        {
            thrift.I32(3, Rle);
            thrift.I32(4, Rle);
        }

        thrift.End();
        thrift.Stop();
        chunk.Data = file.Position;
        file.Write(thrift.Written);
        file.Write(stored);
        chunk.Raw += thrift.Written.Length + content.Length;
        chunk.Stored += thrift.Written.Length + stored.Length;
    }

    // Levels of a page of version 1: their length in four bytes, then runs of one bit. No levels, no bytes.
    private void Levels(ReadOnlySpan<byte> levels)
    {
        if (levels.IsEmpty)
        {
            return;
        }

        int at = page.WrittenCount;
        page.GetSpan(4)[..4].Clear();
        page.Advance(4);
        Packed(levels, 1);
        BinaryPrimitives.WriteInt32LittleEndian(System.Runtime.InteropServices.MemoryMarshal.AsMemory(page.WrittenMemory).Span[at..], page.WrittenCount - at - 4);
    }

    // One run where all are the same, else all of them packed, least bit first.
    private void Packed(ReadOnlySpan<byte> values, int width)
    {
        if (values.IndexOfAnyExcept(values[0]) < 0)
        {
            VarInt(page, (ulong)values.Length << 1);
            page.Write([values[0]]);
            return;
        }

        int groups = (values.Length + 7) / 8;
        VarInt(page, ((ulong)groups << 1) | 1);
        Span<byte> into = page.GetSpan(groups * width)[..(groups * width)];
        ulong bits = 0;
        int have = 0, written = 0;
        foreach (byte value in values)
        {
            bits |= (ulong)value << have;
            for (have += width; have >= 8; have -= 8)
            {
                into[written++] = (byte)bits;
                bits >>= 8;
            }
        }

        if (have > 0)
        {
            into[written++] = (byte)bits;
        }

        into[written..].Clear();
        page.Advance(into.Length);
    }

    private static void VarInt(ArrayBufferWriter<byte> into, ulong value)
    {
        Span<byte> span = into.GetSpan(10);
        int n = 0;
        for (; value >= 0x80; value >>= 7)
        {
            span[n++] = (byte)(value | 0x80);
        }

        span[n++] = (byte)value;
        into.Advance(n);
    }

    private sealed class Chunk(ParquetColumn column, int count, long missing, (byte[] Least, byte[] Greatest)? range, long start)
    {
        public ParquetColumn Column { get; } = column;

        public int Count { get; } = count;

        public long Missing { get; } = missing;

        public (byte[] Least, byte[] Greatest)? Range { get; } = range;

        public long Start { get; } = start;

        public long Data { get; set; }

        public long Dictionary { get; set; } = -1;

        public int Codec { get; set; } = Uncompressed;

        public long Raw { get; set; }

        public long Stored { get; set; }
    }

    /// <summary>Thrift's compact protocol, as far as the footer needs it; begins inside a struct.</summary>
    private sealed class Compact
    {
        public const int Int32 = 5, Binary = 8, Struct = 12;
        private const int Int64 = 6, ListOf = 9;
        private readonly ArrayBufferWriter<byte> into = new();
        private readonly Stack<int> outer = new();
        private int last;

        public ReadOnlySpan<byte> Written => into.WrittenSpan;

        public void I32(int field, int value)
        {
            Field(field, Int32);
            ZigZag(value);
        }

        public void I64(int field, long value)
        {
            Field(field, Int64);
            ZigZag(value);
        }

        public void Text(int field, string value) => Blob(field, Encoding.UTF8.GetBytes(value));

        public void Blob(int field, ReadOnlySpan<byte> value)
        {
            Field(field, Binary);
            Bytes(value);
        }

        public void Bytes(ReadOnlySpan<byte> value)
        {
            VarInt(into, (ulong)value.Length);
            into.Write(value);
        }

        public void List(int field, int of, int count)
        {
            Field(field, ListOf);
            if (count < 15)
            {
                into.Write([(byte)((count << 4) | of)]);
                return;
            }

            into.Write([(byte)(0xF0 | of)]);
            VarInt(into, (ulong)count);
        }

        /// <summary>A struct in a list.</summary>
        public void Begin()
        {
            outer.Push(last);
            last = 0;
        }

        /// <summary>A struct in a field.</summary>
        public void Begin(int field)
        {
            Field(field, Struct);
            Begin();
        }

        public void End()
        {
            Stop();
            last = outer.Pop();
        }

        public void Stop() => into.Write([(byte)0]);

        public void ZigZag(long value) => VarInt(into, (ulong)((value << 1) ^ (value >> 63)));

        private void Field(int field, int type)
        {
            into.Write([(byte)(((field - last) << 4) | type)]);
            last = field;
        }
    }
}
