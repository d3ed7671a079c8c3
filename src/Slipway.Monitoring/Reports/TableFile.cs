using DuckDB.NET.Data;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>Reads tables from files: Parquet by its ending, everything else as CSV. Column types are inferred.</summary>
public static class TableFile
{
    private static readonly HashSet<string> NumberTypes = new(StringComparer.Ordinal) { "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT", "DOUBLE", "DECIMAL" };

    /// <summary>Whether a file is read as Parquet.</summary>
    public static bool IsParquet(string path) => path.EndsWith(".parquet", StringComparison.OrdinalIgnoreCase) || path.EndsWith(".pq", StringComparison.OrdinalIgnoreCase);

    /// <summary>Reads a whole file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="like">A table whose column kinds are taken over by name; null infers them.</param>
    /// <param name="mostCells">The most values of a Parquet file, whose small files may hold many; what a CSV file holds its size bounds.</param>
    /// <exception cref="SlipwayException">NotFound when there is no such file; InvalidArgument when it is not readable as a table, or too large.</exception>
    public static Table Read(string path, Table? like = null, long mostCells = long.MaxValue)
    {
        Demand(path);
        return IsParquet(path) ? ReadParquet(path, mostCells) : CsvReader.Open(path, like?.Columns.ToDictionary(c => c.Name, c => c.Kind, StringComparer.Ordinal)).Read();
    }

    internal static void Demand(string path)
    {
        if (!File.Exists(path))
        {
            throw new SlipwayException(ErrorCode.NotFound, "the table cannot be read", $"there is no file {path}", "name a Parquet or CSV file");
        }
    }

    private static Table ReadParquet(string path, long mostCells)
    {
        string full = Path.GetFullPath(path);
        using var connection = new DuckDBConnection("DataSource=:memory:");
        connection.Open();
        try
        {
            using DuckDBCommand command = connection.CreateCommand();
            command.CommandText = $"SET threads = 2; SET memory_limit = '1GB'; SET autoinstall_known_extensions = false; SET autoload_known_extensions = false; SET allowed_paths = [{Quote(full)}]; SET enable_external_access = false; SET lock_configuration = true";
            command.ExecuteNonQuery();
            command.CommandText = $"DESCRIBE SELECT * FROM read_parquet({Quote(full)})";
            var columns = new List<(string Name, string Type)>();
            using (DuckDBDataReader described = command.ExecuteReader())
            {
                while (described.Read())
                {
                    columns.Add((described.GetString(0), described.GetString(1)));
                }
            }

            if (mostCells < long.MaxValue)
            {
                command.CommandText = $"SELECT count(*) FROM read_parquet({Quote(full)})";
                long rows = Convert.ToInt64(command.ExecuteScalar(), System.Globalization.CultureInfo.InvariantCulture);
                if (rows > mostCells / columns.Count)
                {
                    throw ReferenceFile.TooLarge(rows, columns.Count);
                }
            }

            string[] select = columns.Select(c => Kind(c.Type) == ColumnKind.Number ? c.Type.StartsWith("TIMESTAMP", StringComparison.Ordinal) || c.Type is "DATE" ? $"epoch({Name(c.Name)})" : $"CAST({Name(c.Name)} AS DOUBLE)" : $"CAST({Name(c.Name)} AS VARCHAR)").ToArray();
            command.CommandText = $"SELECT {string.Join(", ", select)} FROM read_parquet({Quote(full)})";
            var numbers = columns.Select(_ => new List<double>()).ToArray();
            var codes = columns.Select(_ => new List<int>()).ToArray();
            var known = columns.Select(_ => new Dictionary<string, int>(StringComparer.Ordinal)).ToArray();
            bool[] numeric = columns.Select(c => Kind(c.Type) == ColumnKind.Number).ToArray();
            using DuckDBDataReader reader = command.ExecuteReader();
            while (reader.Read())
            {
                for (int c = 0; c < numeric.Length; c++)
                {
                    if (numeric[c])
                    {
                        numbers[c].Add(reader.IsDBNull(c) ? ColumnSketch.Null : reader.GetDouble(c));
                    }
                    else if (reader.IsDBNull(c))
                    {
                        codes[c].Add(-1);
                    }
                    else
                    {
                        string text = reader.GetString(c);
                        codes[c].Add(known[c].TryGetValue(text, out int code) ? code : known[c][text] = known[c].Count);
                    }
                }
            }

            return new Table(Path.GetFileName(path), columns.Select((c, i) => numeric[i] ? TableColumn.OfNumbers(c.Name, [.. numbers[i]]) : TableColumn.OfCodes(c.Name, [.. codes[i]], [.. known[i].Keys])).ToArray());
        }
        catch (DuckDBException e)
        {
            string why = string.Join(' ', e.Message.Split('\n').Take(2)).Replace(full, path, StringComparison.Ordinal);
            throw new SlipwayException(ErrorCode.InvalidArgument, $"{path} cannot be read as Parquet", why, "give a Parquet file, or a CSV file under another ending", e);
        }
    }

    private static ColumnKind Kind(string type) => NumberTypes.Contains(type.Split('(')[0]) || type.StartsWith("TIMESTAMP", StringComparison.Ordinal) || type == "DATE" ? ColumnKind.Number : ColumnKind.Category;

    private static string Name(string column) => $"\"{column.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";

    private static string Quote(string value) => $"'{value.Replace("'", "''", StringComparison.Ordinal)}'";
}
