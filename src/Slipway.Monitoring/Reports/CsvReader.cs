using System.Buffers.Text;
using System.Text;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Reads CSV with a header (RFC 4180; comma, semicolon or tab) in blocks, two at a time, and hands them on in file order. A column is numeric when every
/// value of the first rows is a number; an empty field is missing. Memory holds a few blocks, not the file.
/// </summary>
internal sealed class CsvReader
{
    /// <summary>The longest row; a longer one is a file that is no CSV. With the begun row of the block before, a block stays within a pooled array of 4 MB.</summary>
    private const int BlockBytes = (4 << 20) - (64 << 10);
    private const int SampleBytes = 1 << 20;
    private const int SampleRows = 1_000;
    private const int MostColumns = 10_000;

    /// <summary>Short texts of a block that are remembered by their bytes.</summary>
    private const int Remembered = 1 << RememberedBits;
    private const int RememberedBits = 12;

    private static readonly double[] Powers = Enumerable.Range(0, 23).Select(e => Math.Pow(10, e)).ToArray();

    private readonly string path;
    private readonly byte separator;
    private readonly int dataStart;

    private CsvReader(string path, byte separator, int dataStart, string[] names, ColumnKind[] kinds) =>
        (this.path, this.separator, this.dataStart, Names, Kinds) = (path, separator, dataStart, names, kinds);

    /// <summary>Column names, in order.</summary>
    public string[] Names { get; }

    /// <summary>What each column holds, seen from the first rows.</summary>
    public ColumnKind[] Kinds { get; }

    /// <summary>Reads the header and decides what the columns hold; <paramref name="known"/> overrules by name, so that both sides of a comparison agree.</summary>
    /// <exception cref="SlipwayException">InvalidArgument when the file has no header or no rows.</exception>
    public static CsvReader Open(string path, IReadOnlyDictionary<string, ColumnKind>? known = null)
    {
        byte[] sample;
        bool whole;
        using (FileStream file = File.OpenRead(path))
        {
            sample = new byte[(int)Math.Min(file.Length, SampleBytes)];
            file.ReadExactly(sample);
            whole = file.Length <= SampleBytes;
        }

        ReadOnlySpan<byte> text = sample;
        int bom = text.StartsWith("\uFEFF"u8) ? 3 : 0;
        int newline = text.IndexOf((byte)'\n');
        if (newline < 0)
        {
            throw SlipwayException.Invalid($"{path} cannot be read as CSV", sample.Length == 0 ? "the file is empty" : "it has no line that ends", "give a file with a header line and rows");
        }

        ReadOnlySpan<byte> header = text[bom..newline].TrimEnd((byte)'\r');
        byte separator = new[] { (byte)',', (byte)';', (byte)'\t' }.MaxBy(s => Count(sample.AsSpan(bom, newline - bom), s));
        var names = new List<string>();
        var row = new Fields(header, separator);
        while (row.Next(out ReadOnlySpan<byte> field, out bool quoted))
        {
            names.Add(Text(field, quoted));
        }

        if (names.Count > MostColumns)
        {
            throw SlipwayException.Invalid($"{path} cannot be read as CSV", $"it has {names.Count} columns, {MostColumns} are allowed", "give fewer columns");
        }

        bool[] numeric = Enumerable.Repeat(true, names.Count).ToArray(), any = new bool[names.Count];
        ReadOnlySpan<byte> rest = text[(newline + 1)..];
        for (int rows = 0; rows < SampleRows && !rest.IsEmpty; rows++)
        {
            int end = EndOfRow(rest);
            if (end < 0)
            {
                if (!whole)
                {
                    break;
                }

                end = rest.Length;
            }

            var fields = new Fields(rest[..end].TrimEnd((byte)'\r'), separator);
            for (int c = 0; c < names.Count && fields.Next(out ReadOnlySpan<byte> field, out bool quoted); c++)
            {
                if (!field.IsEmpty)
                {
                    any[c] = true;
                    numeric[c] &= !quoted && TryNumber(field, out _);
                }
            }

            rest = end >= rest.Length ? [] : rest[(end + 1)..];
        }

        ColumnKind[] kinds = names.Select((name, c) => known is not null && known.TryGetValue(name, out ColumnKind kind) ? kind : numeric[c] && any[c] ? ColumnKind.Number : ColumnKind.Category).ToArray();
        return new CsvReader(path, separator, newline + 1, [.. names], kinds);

        static int Count(ReadOnlySpan<byte> span, byte value) => MemoryExtensions.Count(span, value);
    }

    /// <summary>Parses the rows on two threads and gives the blocks in file order.</summary>
    /// <exception cref="SlipwayException">InvalidArgument when a row has another number of fields than the header.</exception>
    public IEnumerable<CsvBlock> Blocks()
    {
        var running = new Queue<Task<CsvBlock>>();
        using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1, FileOptions.SequentialScan);
        file.Position = dataStart;
        byte[] carry = [];
        long row = 0;
        for (bool more = true; more || running.Count > 0;)
        {
            while (more && running.Count < Math.Clamp(Environment.ProcessorCount, 1, 2) + 1)
            {
                byte[] bytes = System.Buffers.ArrayPool<byte>.Shared.Rent(carry.Length + BlockBytes);
                carry.CopyTo(bytes, 0);
                int length = carry.Length + file.ReadAtLeast(bytes.AsSpan(carry.Length, BlockBytes), BlockBytes, throwOnEndOfStream: false);
                more = length == carry.Length + BlockBytes;
                int end = more ? LastRow(bytes.AsSpan(0, length)) : length;
                if (end < 0)
                {
                    throw SlipwayException.Invalid($"{path} cannot be read as CSV", $"a row is longer than {BlockBytes} bytes", "is a quote left open?");
                }

                carry = bytes.AsSpan(end, length - end).ToArray();
                if (end > 0)
                {
                    running.Enqueue(Task.Run(() =>
                    {
                        try
                        {
                            return Parse(bytes.AsSpan(0, end));
                        }
                        finally
                        {
                            System.Buffers.ArrayPool<byte>.Shared.Return(bytes);
                        }
                    }));
                }
            }

            if (running.TryDequeue(out Task<CsvBlock>? next))
            {
                CsvBlock block = next.GetAwaiter().GetResult();
                if (block.BadRow is { } bad)
                {
                    throw SlipwayException.Invalid($"{path} cannot be read as CSV", $"row {row + bad.Row + 1} has {bad.Fields} fields, the header has {Names.Length}", "correct the row");
                }

                row += block.Rows;
                yield return block;
            }
        }
    }

    /// <summary>The whole file as a table. Each block is copied where it belongs as it comes, so that the peak stays near one copy.</summary>
    public Table Read()
    {
        int width = Names.Length, rows = 0;
        var numbers = new double[width][];
        var codes = new int[width][];
        long[] violations = new long[width];
        CategoryDictionary[] dictionaries = Names.Select(_ => new CategoryDictionary()).ToArray();
        // Lines are counted first: growing arrays would hold the table twice.
        int lines = Lines();
        foreach (CsvBlock block in Blocks())
        {
            int needed = rows + block.Rows, expected = Math.Max(needed, lines);
            for (int c = 0; c < width; c++)
            {
                if (Kinds[c] == ColumnKind.Number)
                {
                    Fit(ref numbers[c], needed, expected);
                    block.Numbers[c].AsSpan(0, block.Rows).CopyTo(numbers[c].AsSpan(rows));
                    violations[c] += block.Violations[c];
                }
                else
                {
                    Fit(ref codes[c], needed, expected);
                    int[] map = dictionaries[c].Map(block.Categories[c]);
                    for (int i = 0; i < block.Rows; i++)
                    {
                        int code = block.Codes[c][i];
                        codes[c][rows + i] = code < 0 ? -1 : map[code];
                    }
                }
            }

            rows = needed;
            block.Return();
        }

        return new Table(Path.GetFileName(path), Names.Select((name, c) =>
        {
            if (Kinds[c] == ColumnKind.Number)
            {
                Array.Resize(ref numbers[c], rows);
                return TableColumn.OfNumbers(name, numbers[c], violations[c]);
            }

            Array.Resize(ref codes[c], rows);
            return TableColumn.OfCodes(name, codes[c], dictionaries[c].Names);
        }).ToArray());

        static void Fit<T>(ref T[] array, int needed, int expected)
        {
            if (array is null || array.Length < needed)
            {
                Array.Resize(ref array, expected);
            }
        }
    }

    /// <summary>At least as many rows as the file has: its lines behind the header, empty ones and those inside quotes too.</summary>
    private int Lines()
    {
        using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1, FileOptions.SequentialScan);
        file.Position = dataStart;
        byte[] buffer = System.Buffers.ArrayPool<byte>.Shared.Rent(1 << 20);
        long lines = 0;
        byte last = (byte)'\n';
        for (int read; (read = file.Read(buffer)) > 0;)
        {
            lines += MemoryExtensions.Count(buffer.AsSpan(0, read), (byte)'\n');
            last = buffer[read - 1];
        }

        System.Buffers.ArrayPool<byte>.Shared.Return(buffer);
        lines += last == '\n' ? 0 : 1;
        return lines <= Array.MaxLength ? (int)lines : throw SlipwayException.Invalid($"{path} cannot be read as CSV", $"it has {lines} rows, {Array.MaxLength} are allowed", "split it");
    }

    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveOptimization)]
    private CsvBlock Parse(ReadOnlySpan<byte> text)
    {
        int width = Names.Length, most = MemoryExtensions.Count(text, (byte)'\n') + 1;
        var block = new CsvBlock(width);
        var known = new Dictionary<ulong, int>?[width];
        for (int c = 0; c < width; c++)
        {
            if (Kinds[c] == ColumnKind.Number)
            {
                block.Numbers[c] = System.Buffers.ArrayPool<double>.Shared.Rent(most);
            }
            else
            {
                block.Codes[c] = System.Buffers.ArrayPool<int>.Shared.Rent(most);
                block.Categories[c] = [];
                known[c] = [];
            }
        }

        int row = 0, at = 0;
        var seen = new (ulong Key, int Code)[Remembered];
        while (at < text.Length)
        {
            if (text[at] == '\n' || (text[at] == '\r' && at + 1 < text.Length && text[at + 1] == '\n'))
            {
                at += text[at] == '\n' ? 1 : 2;
                continue;
            }

            int c = 0;
            bool last = false;
            for (; !last && c < width; c++)
            {
                // Most numbers are short and bare, and are read while their end is looked for; anything else takes the careful way.
                if (block.Numbers[c] is { } numbers && Bare(text, at, out int end, out numbers[row]))
                {
                    last = end >= text.Length || text[end] != separator;
                    at = end + (last && end < text.Length && text[end] == '\r' ? 2 : 1);
                    continue;
                }

                ReadOnlySpan<byte> field;
                bool quoted = at < text.Length && text[at] == '"';
                if (quoted)
                {
                    field = Quoted(text[at..], out end);
                    end += at;
                }
                else
                {
                    int length = text[at..].IndexOfAny(separator, (byte)'\n');
                    end = length < 0 ? text.Length : at + length;
                    field = text[at..end];
                }

                last = end >= text.Length || text[end] == '\n' || (quoted && text[end] == '\r');
                if (last)
                {
                    field = quoted ? field : field.TrimEnd((byte)'\r');
                    end += quoted && end < text.Length && text[end] == '\r' ? 1 : 0;
                }

                at = Math.Min(text.Length, end + 1);
                if (block.Numbers[c] is { } values)
                {
                    if (field.IsEmpty)
                    {
                        values[row] = ColumnSketch.Null;
                    }
                    else if (!TryNumber(field, out values[row]))
                    {
                        values[row] = ColumnSketch.Null;
                        block.Violations[c]++;
                    }
                }
                else
                {
                    block.Codes[c][row] = field.IsEmpty && !quoted ? -1 : Code(field, quoted, c, known[c]!, block.Categories[c], seen);
                }
            }

            if (c < width || !last)
            {
                block.BadRow = (row, last ? c : width + 1);
                return block;
            }

            row++;
        }

        block.Rows = row;
        return block;
    }

    /// <summary>The index of a text in its column of the block. Short ones are remembered by their bytes, without hashing them.</summary>
    private static int Code(ReadOnlySpan<byte> field, bool quoted, int column, Dictionary<ulong, int> known, List<string> categories, (ulong Key, int Code)[] seen)
    {
        if (quoted || field.Length is 0 or > 6)
        {
            return Find(field, quoted, known, categories);
        }

        ulong key = 0;
        foreach (byte b in field)
        {
            key = (key << 8) | b;
        }

        // Length and column fill the bytes that no text of six reaches; columns beyond that range are looked up.
        if (column > byte.MaxValue)
        {
            return Find(field, quoted, known, categories);
        }

        key |= ((ulong)column << 56) | ((ulong)field.Length << 48);
        ref (ulong Key, int Code) slot = ref seen[(int)((key * 0x9e3779b97f4a7c15) >> (64 - RememberedBits))];
        if (slot.Key != key)
        {
            slot = (key, Find(field, quoted, known, categories));
        }

        return slot.Code;
    }

    private static int Find(ReadOnlySpan<byte> field, bool quoted, Dictionary<ulong, int> known, List<string> categories)
    {
        ulong hash = System.IO.Hashing.XxHash3.HashToUInt64(field);
        if (!known.TryGetValue(hash, out int code))
        {
            known[hash] = code = categories.Count;
            categories.Add(Text(field, quoted));
        }

        return code;
    }

    /// <summary>A number of at most 15 digits, with or without a point, up to a separator or the end of the row; false when the field is anything else.</summary>
    /// <param name="text">Rows.</param>
    /// <param name="start">Where the field begins.</param>
    /// <param name="end">Where it ends: at a separator, a line's end, or the text's.</param>
    /// <param name="value">The number.</param>
    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveInlining)]
    private bool Bare(ReadOnlySpan<byte> text, int start, out int end, out double value)
    {
        int i = start;
        bool negative = i < text.Length && text[i] == '-';
        i += negative ? 1 : 0;
        int first = i, point = -1;
        ulong mantissa = 0;
        for (; i < text.Length; i++)
        {
            uint digit = (uint)text[i] - '0';
            if (digit <= 9)
            {
                mantissa = mantissa * 10 + digit;
            }
            else if (text[i] == '.' && point < 0)
            {
                point = i;
            }
            else
            {
                break;
            }
        }

        end = i;
        int digits = i - first - (point < 0 ? 0 : 1);
        bool ends = i >= text.Length || text[i] == separator || text[i] == '\n' || (text[i] == '\r' && i + 1 < text.Length && text[i + 1] == '\n');
        if (digits is 0 or > 15 || !ends)
        {
            value = 0;
            return false;
        }

        value = mantissa;
        value = point < 0 ? value : value / Powers[i - 1 - point];
        value = negative ? -value : value;
        return true;
    }

    /// <summary>Digits with a point and an exponent, exact by one multiplication or division where that is possible (Clinger 1990), otherwise by the library.</summary>
    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveOptimization)]
    internal static bool TryNumber(ReadOnlySpan<byte> field, out double value)
    {
        int i = 0, digits = 0, scale = 0;
        bool negative = field.Length > 0 && field[0] == '-';
        i += negative ? 1 : 0;
        ulong mantissa = 0;
        bool point = false;
        for (; i < field.Length; i++)
        {
            uint digit = (uint)field[i] - '0';
            if (digit <= 9)
            {
                mantissa = mantissa * 10 + digit;
                digits += mantissa == 0 ? 0 : 1;
                scale -= point ? 1 : 0;
                if (digits > 15)
                {
                    return Slow(field, out value);
                }
            }
            else if (field[i] == '.' && !point)
            {
                point = true;
            }
            else
            {
                return Slow(field, out value);
            }
        }

        if (field.Length == (negative ? 1 : 0) + (point ? 1 : 0) || scale < -22)
        {
            return Slow(field, out value);
        }

        value = mantissa;
        value = scale < 0 ? value / Powers[-scale] : value;
        value = negative ? -value : value;
        return true;

        static bool Slow(ReadOnlySpan<byte> field, out double value)
        {
            if (Utf8Parser.TryParse(field, out value, out int used) && used == field.Length)
            {
                return true;
            }

            // `inf` and `nan` in the spellings that tools write.
            switch (Encoding.ASCII.GetString(field[..Math.Min(field.Length, 12)]).ToUpperInvariant())
            {
                case "NAN":
                    value = double.NaN;
                    return true;
                case "INF" or "+INF" or "INFINITY" or "+INFINITY":
                    value = double.PositiveInfinity;
                    return true;
                case "-INF" or "-INFINITY":
                    value = double.NegativeInfinity;
                    return true;
                default:
                    return false;
            }
        }
    }

    private static string Text(ReadOnlySpan<byte> field, bool quoted) =>
        quoted ? Encoding.UTF8.GetString(field).Replace("\"\"", "\"", StringComparison.Ordinal) : Encoding.UTF8.GetString(field);

    /// <summary>The inside of a quoted field, and where its separator stands.</summary>
    private static ReadOnlySpan<byte> Quoted(ReadOnlySpan<byte> text, out int end)
    {
        int at = 1;
        while (at < text.Length)
        {
            int quote = text[at..].IndexOf((byte)'"');
            if (quote < 0)
            {
                break;
            }

            at += quote;
            if (at + 1 < text.Length && text[at + 1] == '"')
            {
                at += 2;
                continue;
            }

            end = at + 1;
            return text[1..at];
        }

        end = text.Length;
        return text[1..];
    }

    /// <summary>The end of the first row: the first newline outside quotes; -1 when the row is not complete.</summary>
    private static int EndOfRow(ReadOnlySpan<byte> text)
    {
        bool inside = false;
        for (int i = 0; i < text.Length; i++)
        {
            inside ^= text[i] == '"';
            if (text[i] == '\n' && !inside)
            {
                return i;
            }
        }

        return -1;
    }

    /// <summary>Behind the last complete row of a block that begins with a row; -1 when there is none.</summary>
    private static int LastRow(ReadOnlySpan<byte> text)
    {
        if (!text.Contains((byte)'"'))
        {
            int newline = text.LastIndexOf((byte)'\n');
            return newline < 0 ? -1 : newline + 1;
        }

        bool inside = false;
        int last = -1;
        for (int i = 0; i < text.Length; i++)
        {
            inside ^= text[i] == '"';
            last = text[i] == '\n' && !inside ? i + 1 : last;
        }

        return last;
    }

    /// <summary>The fields of one row.</summary>
    private ref struct Fields(ReadOnlySpan<byte> row, byte separator)
    {
        private ReadOnlySpan<byte> left = row;
        private bool done;

        public bool Next(out ReadOnlySpan<byte> field, out bool quoted)
        {
            quoted = false;
            if (done)
            {
                field = [];
                return false;
            }

            int end;
            quoted = left.Length > 0 && left[0] == '"';
            if (quoted)
            {
                field = Quoted(left, out end);
            }
            else
            {
                end = left.IndexOf(separator);
                end = end < 0 ? left.Length : end;
                field = left[..end];
            }

            done = end >= left.Length;
            left = done ? [] : left[(end + 1)..];
            return true;
        }
    }
}

/// <summary>Some rows of a CSV file, by column.</summary>
internal sealed class CsvBlock(int width)
{
    public int Rows { get; set; }

    public double[][] Numbers { get; } = new double[width][];

    public int[][] Codes { get; } = new int[width][];

    public List<string>[] Categories { get; } = new List<string>[width];

    public long[] Violations { get; } = new long[width];

    public (int Row, int Fields)? BadRow { get; set; }

    /// <summary>Gives the columns' memory back; the block must not be used any more.</summary>
    public void Return()
    {
        for (int c = 0; c < Numbers.Length; c++)
        {
            if (Numbers[c] is { } numbers)
            {
                System.Buffers.ArrayPool<double>.Shared.Return(numbers);
            }

            if (Codes[c] is { } codes)
            {
                System.Buffers.ArrayPool<int>.Shared.Return(codes);
            }
        }
    }
}

/// <summary>Gives texts their indices in the order in which they come.</summary>
internal sealed class CategoryDictionary
{
    private readonly Dictionary<string, int> codes = new(StringComparer.Ordinal);

    public List<string> Names { get; } = [];

    public int[] Map(IReadOnlyList<string> texts)
    {
        int[] map = new int[texts.Count];
        for (int i = 0; i < map.Length; i++)
        {
            if (!codes.TryGetValue(texts[i], out map[i]))
            {
                codes[texts[i]] = map[i] = Names.Count;
                Names.Add(texts[i]);
            }
        }

        return map;
    }
}
