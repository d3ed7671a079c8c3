using System.Globalization;
using DuckDB.NET.Data;
using Slipway.Foundation;

namespace Slipway.Data;

/// <summary>A table file to profile: its logical path (whose ending tells the format) and the verified bytes on the local disk.</summary>
internal sealed record TableFile(string Path, string LocalPath);

/// <summary>What profiling found.</summary>
/// <param name="Rows">Rows of each file, by path.</param>
/// <param name="Schema">The columns that all files share; null when they do not.</param>
/// <param name="Profile">What those hold; null with <paramref name="Schema"/>.</param>
internal sealed record Profiled(IReadOnlyDictionary<string, long> Rows, TableSchema? Schema, TableProfile? Profile);

/// <summary>
/// Profiles CSV and Parquet files with DuckDB inside this process. Memory is bounded: one profile at a time, one thread, a fixed limit
/// beyond which DuckDB spills to a temporary folder. DuckDB may read the given files and nothing else, and cannot be talked out of it.
/// </summary>
internal sealed class Profiler(DataLayout layout, DataOptions options) : IDisposable
{
    private const int MaxColumns = 1_000;
    private const int MaxText = 200;
    private const int HeadColumns = 100;
    private const int TopValues = 10;
    private static readonly double[] Shares = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];

    private readonly SemaphoreSlim turn = new(1, 1);

    /// <summary>Whether the ending of a path says that the file is a table.</summary>
    public static bool IsTable(string path) => FormatOf(path) is not null;

    /// <exception cref="SlipwayException"><see cref="ErrorCode.InvalidArgument"/> with the path of a file that is not the table its name promises.</exception>
    public async Task<Profiled> ProfileAsync(IReadOnlyList<TableFile> files, CancellationToken ct)
    {
        if (files.Count == 0) return new Profiled(new Dictionary<string, long>(StringComparer.Ordinal), null, null);
        await turn.WaitAsync(ct);
        try
        {
            return await Task.Run(() => Profile(files, ct), ct);
        }
        finally
        {
            turn.Release();
        }
    }

    /// <summary>The first rows of a file, its values as text.</summary>
    public async Task<TableHead> HeadAsync(TableFile file, int rows, CancellationToken ct)
    {
        await turn.WaitAsync(ct);
        try
        {
            return await Task.Run(() => Head(file, rows, ct), ct);
        }
        finally
        {
            turn.Release();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => turn.Dispose();

    private TableHead Head(TableFile file, int rows, CancellationToken ct)
    {
        var spill = Path.Combine(layout.Temporary, "head-" + Ids.New() + ".spill");
        Directory.CreateDirectory(spill);
        try
        {
            using var duck = new Duck([file], spill, options, ct);
            var columns = Describe(duck, file).Take(HeadColumns).ToList();
            var list = string.Join(", ", columns.Select(c => $"CAST({Name(c.Name)} AS VARCHAR)"));
            var values = duck.Of(file, () => duck.Rows($"SELECT {list} FROM {Source(file, columns)} LIMIT {rows}", r =>
                (IReadOnlyList<string?>)[.. Enumerable.Range(0, columns.Count).Select(i => r.IsDBNull(i) ? null : Short(r.GetString(i)))]));
            return new TableHead(columns, values);
        }
        finally
        {
            Directory.Delete(spill, recursive: true);
        }
    }

    private static string Short(string text) => text.Length <= MaxText ? text : text[..MaxText] + "…";

    private Profiled Profile(IReadOnlyList<TableFile> files, CancellationToken ct)
    {
        var spill = Path.Combine(layout.Temporary, "profile-" + Ids.New());
        Directory.CreateDirectory(spill);
        try
        {
            using var duck = new Duck(files, spill, options, ct);
            var schemas = files.Select(f => Describe(duck, f)).ToList();
            var common = Common(duck, files, schemas);
            var rows = new Dictionary<string, long>(StringComparer.Ordinal);
            if (common is null)
            {
                foreach (var (file, schema) in files.Zip(schemas)) rows[file.Path] = duck.Of(file, () => duck.Long($"SELECT count(*) FROM {Source(file, schema)}"));
                return new Profiled(rows, null, null);
            }
            Load(duck, files, common, rows);
            var columns = common.Take(MaxColumns).Select((c, i) => Column(duck, c.Name, c.Type, rows.Values.Sum(), i)).ToList();
            var nullable = common.Select((c, i) => new ColumnSchema(c.Name, c.Type, i >= columns.Count || columns[i].Missing > 0)).ToList();
            return new Profiled(rows, new TableSchema(nullable), new TableProfile(rows.Values.Sum(), columns));
        }
        finally
        {
            Directory.Delete(spill, recursive: true);
        }
    }

    private static string? FormatOf(string path) => Path.GetExtension(path).ToLowerInvariant() switch
    {
        ".csv" => "csv",
        ".tsv" => "tsv",
        ".parquet" => "parquet",
        _ => null,
    };

    /// <summary>The columns of one file. A CSV has a header, and its types are those that every one of its values fits.</summary>
    private static List<(string Name, string Type)> Describe(Duck duck, TableFile file) => duck.Of(file, () =>
    {
        if (FormatOf(file.Path) != "parquet" && new FileInfo(file.LocalPath).Length == 0)
            throw new SlipwayException(ErrorCode.InvalidArgument, $"the file {file.Path} is not readable as a table", "it is empty and has not even a header", "leave it out");
        var source = FormatOf(file.Path) == "parquet" ? $"read_parquet({Text(file.LocalPath)})" : $"read_csv({Text(file.LocalPath)}, {Csv(file)}, header=true, sample_size=-1)";
        return duck.Rows($"DESCRIBE SELECT * FROM {source}", r => (r.GetString(0), r.GetString(1)));
    });

    private static string Source(TableFile file, IReadOnlyList<(string Name, string Type)> columns) => FormatOf(file.Path) == "parquet"
        ? $"read_parquet({Text(file.LocalPath)})"
        : $"read_csv({Text(file.LocalPath)}, {Csv(file)}, header=true, auto_detect=false, columns={{{string.Join(", ", columns.Select(c => $"{Text(c.Name)}: {Text(c.Type)}"))}}})";

    // Sniffing the delimiter would take a torn file for one with a single column.
    private static string Csv(TableFile file) => $"delim={(FormatOf(file.Path) == "tsv" ? "'\t'" : "','")}, quote='\"', escape='\"', max_line_size=2097152";

    /// <summary>The columns all files share, or null. Types that were only guessed from text may differ from file to file and then meet.</summary>
    private static List<(string Name, string Type)>? Common(Duck duck, IReadOnlyList<TableFile> files, List<List<(string Name, string Type)>> schemas)
    {
        if (files.Select(f => FormatOf(f.Path) == "parquet").Distinct().Count() > 1) return null;
        if (!schemas.TrueForAll(s => s.Select(c => c.Name).SequenceEqual(schemas[0].Select(c => c.Name), StringComparer.Ordinal))) return null;
        if (FormatOf(files[0].Path) == "parquet") return schemas.TrueForAll(s => s.SequenceEqual(schemas[0])) ? schemas[0] : null;

        var common = new List<(string Name, string Type)>(schemas[0].Count);
        for (var column = 0; column < schemas[0].Count; column++)
        {
            var types = schemas.Select(s => s[column].Type).Distinct(StringComparer.Ordinal).ToList();
            // A file without any value in the column says nothing about its type.
            if (types.Count > 1)
                types = [.. files.Zip(schemas).Where(f => f.Second[column].Type != "VARCHAR" || duck.Of(f.First, () => duck.Long($"SELECT count({Name(f.Second[column].Name)}) FROM {Source(f.First, f.Second)}")) > 0).Select(f => f.Second[column].Type).Distinct(StringComparer.Ordinal)];
            common.Add((schemas[0][column].Name, types.Count == 1 ? types[0] : types.TrueForAll(t => t is "BIGINT" or "DOUBLE") ? "DOUBLE" : "VARCHAR"));
        }
        return common;
    }

    /// <summary>Makes <c>src</c>: a view over Parquet, whose columns are read one at a time, or a table of parsed CSV, which is parsed once.</summary>
    private static void Load(Duck duck, IReadOnlyList<TableFile> files, List<(string Name, string Type)> columns, Dictionary<string, long> rows)
    {
        if (FormatOf(files[0].Path) == "parquet")
        {
            foreach (var file in files) rows[file.Path] = duck.Of(file, () => duck.Long($"SELECT count(*) FROM read_parquet({Text(file.LocalPath)})"));
            duck.Run($"CREATE TEMP VIEW src AS SELECT * FROM read_parquet([{string.Join(", ", files.Select(f => Text(f.LocalPath)))}])");
            return;
        }
        duck.Run($"CREATE TEMP TABLE src ({string.Join(", ", columns.Select(c => $"{Name(c.Name)} {c.Type}"))})");
        foreach (var file in files)
        {
            rows[file.Path] = duck.Of(file, () =>
            {
                var before = duck.Long("SELECT count(*) FROM src");
                duck.Run($"INSERT INTO src SELECT * FROM {Source(file, columns)}");
                return duck.Long("SELECT count(*) FROM src") - before;
            });
        }
    }

    private static ColumnProfile Column(Duck duck, string name, string type, long rows, int index)
    {
        var number = IsNumber(type);
        var ordered = number || type is "VARCHAR" or "BOOLEAN" or "DATE" or "TIME" || type.StartsWith("TIMESTAMP", StringComparison.Ordinal);
        var floating = type is "FLOAT" or "DOUBLE";

        // Grouped once; every figure below is read from the groups, which are few for most columns and spill to disk for keys.
        duck.Run($"CREATE OR REPLACE TEMP TABLE g AS SELECT {Name(name)} AS v, count(*) AS n FROM src WHERE {Name(name)} IS NOT NULL{(floating ? $" AND NOT isnan({Name(name)})" : "")} GROUP BY 1");
        var minmax = ordered ? "min(v)::VARCHAR, max(v)::VARCHAR" : "NULL::VARCHAR, NULL::VARCHAR";
        var (distinct, count, min, max) = duck.Rows($"SELECT count(*), coalesce(sum(n), 0)::BIGINT, {minmax} FROM g", r => (r.GetInt64(0), r.GetInt64(1), Cut(r, 2), Cut(r, 3)))[0];
        var top = duck.Rows($"SELECT left(v::VARCHAR, {MaxText}), n::BIGINT FROM g ORDER BY n DESC, {(ordered ? "v" : "v::VARCHAR")} LIMIT {TopValues}", r => new ValueCount(r.GetString(0), r.GetInt64(1)));

        double? mean = null, std = null;
        IReadOnlyList<Quantile> quantiles = [];
        if (number && count > 0)
        {
            duck.Run("CREATE OR REPLACE TEMP VIEW f AS SELECT v::DOUBLE AS v, n::DOUBLE AS n FROM g WHERE isfinite(v::DOUBLE)");
            var total = duck.Double("SELECT sum(n) FROM f") ?? 0;
            mean = Finite(duck.Double("SELECT fsum(v * n) / sum(n) FROM f"));
            if (mean is { } center && total > 1 && duck.Double($"SELECT fsum((v - {Number(center)}) * (v - {Number(center)}) * n) FROM f") is { } squares)
                std = Finite(Math.Sqrt(squares / (total - 1)));
            quantiles = duck.Rows(
                $"""
                SELECT q::DOUBLE, min(v) FROM (SELECT v, sum(n) OVER (ORDER BY v ROWS UNBOUNDED PRECEDING) AS upto FROM f), (SELECT unnest([{string.Join(", ", Shares.Select(Number))}]) AS q)
                WHERE upto >= q * (SELECT sum(n) FROM f) GROUP BY q ORDER BY q
                """, r => new Quantile(r.GetDouble(0), r.GetDouble(1)));
        }
        return new ColumnProfile(name.Length == 0 ? $"column{index}" : name, type, count, rows - count, distinct, min, max, mean, std, quantiles, top);
    }

    private static bool IsNumber(string type) => type is "TINYINT" or "SMALLINT" or "INTEGER" or "BIGINT" or "HUGEINT" or "UTINYINT" or "USMALLINT" or "UINTEGER" or "UBIGINT" or "UHUGEINT" or "FLOAT" or "DOUBLE"
        || type.StartsWith("DECIMAL", StringComparison.Ordinal);

    private static double? Finite(double? value) => value is { } v && double.IsFinite(v) ? v : null;

    private static string? Cut(DuckDBDataReader reader, int column) => reader.IsDBNull(column) ? null : reader.GetString(column) is var text && text.Length > MaxText ? text[..MaxText] : text;

    private static string Number(double value) => value.ToString("E17", CultureInfo.InvariantCulture);

    private static string Name(string name) => '"' + name.Replace("\"", "\"\"", StringComparison.Ordinal) + '"';

    private static string Text(string text) => '\'' + text.Replace("'", "''", StringComparison.Ordinal) + '\'';

    /// <summary>One locked-down DuckDB in memory.</summary>
    private sealed class Duck : IDisposable
    {
        private readonly DuckDBConnection connection = new("DataSource=:memory:");
        private readonly CancellationToken ct;

        public Duck(IReadOnlyList<TableFile> files, string spill, DataOptions options, CancellationToken ct)
        {
            this.ct = ct;
            connection.Open();
            Run($"SET memory_limit='{options.ProfileMemoryMegabytes}MB'");
            Run("SET threads=1");
            Run($"SET temp_directory={Text(spill)}");
            Run("SET preserve_insertion_order=false");
            Run($"SET allowed_paths=[{string.Join(", ", files.Select(f => Text(f.LocalPath)))}]");
            Run("SET enable_external_access=false");
            Run("SET lock_configuration=true");
        }

        public void Dispose() => connection.Dispose();

        /// <summary>Work on one file: what DuckDB dislikes about it is the caller's error, told without the server's paths and SQL.</summary>
        public T Of<T>(TableFile file, Func<T> work)
        {
            try
            {
                return work();
            }
            catch (DuckDBException e) when (!ct.IsCancellationRequested)
            {
                var said = e.Message.Split('\n').Select(l => l.Trim()).TakeWhile(l => !l.StartsWith("LINE ", StringComparison.Ordinal) && !l.StartsWith("file =", StringComparison.Ordinal));
                var why = string.Join(' ', said.Where(l => l.Length > 0).Take(3)).Replace(file.LocalPath, file.Path, StringComparison.Ordinal);
                throw new SlipwayException(ErrorCode.InvalidArgument, $"the file {file.Path} is not readable as a table", why, "correct it, or give it an ending other than csv, tsv and parquet to keep it as a plain file", e);
            }
        }

        public void Run(string sql)
        {
            using var command = Command(sql);
            using var stop = ct.Register(command.Cancel);
            command.ExecuteNonQuery();
        }

        public long Long(string sql) => Rows(sql, r => r.GetInt64(0))[0];

        public double? Double(string sql) => Rows(sql, r => r.IsDBNull(0) ? (double?)null : r.GetDouble(0))[0];

        public List<T> Rows<T>(string sql, Func<DuckDBDataReader, T> read)
        {
            using var command = Command(sql);
            using var stop = ct.Register(command.Cancel);
            using var reader = command.ExecuteReader();
            var rows = new List<T>();
            while (reader.Read()) rows.Add(read(reader));
            return rows;
        }

        private DuckDBCommand Command(string sql)
        {
            ct.ThrowIfCancellationRequested();
            var command = connection.CreateCommand();
            command.CommandText = sql;
            return command;
        }
    }
}
