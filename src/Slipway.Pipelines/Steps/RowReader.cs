using System.Globalization;
using DuckDB.NET.Data;
using Slipway.Data;
using Slipway.Pipelines.Training;

namespace Slipway.Pipelines.Steps;

/// <summary>Rows read for a training or a gate.</summary>
/// <param name="Table">The rows that have a label, in the order of the files.</param>
/// <param name="WithoutLabel">Rows of the window that have none.</param>
internal sealed record SelectedRows(TabularData Table, long WithoutLabel);

/// <summary>
/// Reads columns of a dataset version's Parquet files with DuckDB inside this process: one thread, bounded memory, and no access to any
/// file but those of the version.
/// </summary>
internal sealed class RowReader(Datasets datasets, PipelinesOptions options)
{
    private static readonly string[] Numbers =
        ["BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL"];

    /// <summary>The selected rows with these feature columns. A null is NaN.</summary>
    /// <exception cref="SlipwayException">InvalidArgument with every column that is missing or of a wrong type; PreconditionFailed when no row is left; TooLarge.</exception>
    public async Task<SelectedRows> ReadAsync(RowSelection selection, IReadOnlyList<string> columns, CancellationToken ct)
    {
        var version = await datasets.GetVersionAsync(selection.Dataset, selection.Version, ct);
        var chosen = version.Files.Where(f => selection.Path is null ? f.Path.EndsWith(".parquet", StringComparison.OrdinalIgnoreCase) : f.Path == selection.Path).Select(f => f.Path).ToList();
        if (chosen.Count == 0)
        {
            throw Refuse($"it has {(selection.Path is null ? "no Parquet file" : $"no file '{selection.Path}'")} among its {version.Files.Count} files");
        }

        var files = new List<string>();
        foreach (var path in chosen)
        {
            files.Add(await datasets.LocalPathAsync(version, path, ct));
        }

        return await Task.Run(() => Read(files, selection, columns, ct), ct).WaitAsync(ct);

        SlipwayException Refuse(string why) => new(ErrorCode.InvalidArgument, $"{version.Subject} cannot be read", why, $"slipway dataset show {selection.Dataset}");
    }

    private SelectedRows Read(List<string> files, RowSelection selection, IReadOnlyList<string> columns, CancellationToken ct)
    {
        using var duck = Duck.Open(files);
        var source = $"read_parquet([{string.Join(", ", files.Select(Duck.Text))}])";
        var time = Check(duck, source, selection, columns);
        var where = string.Create(CultureInfo.InvariantCulture, $"{time} >= {Time.ToMicros(selection.From)} AND {time} < {Time.ToMicros(selection.To)}");
        var label = Duck.Name(selection.Label);
        var (all, labelled) = Duck.Row(duck, $"SELECT count(*), count({label}) FROM {source} WHERE {where}", r => (r.GetInt64(0), r.GetInt64(1)));
        if (labelled == 0)
        {
            var span = Duck.Row(duck, $"SELECT min({time}), max({time}) FROM {source}", r => r.IsDBNull(0) ? "it has no event time at all" : $"its event times go from {Time.FromMicros(r.GetInt64(0)):u} to {Time.FromMicros(r.GetInt64(1)):u}");
            throw new SlipwayException(
                ErrorCode.PreconditionFailed, $"{selection.Dataset} has no row with a label from {selection.From:u} to {selection.To:u}",
                all > 0 ? $"none of the {all} rows of that time has a value in '{selection.Label}'" : span, "choose another window, or commit the rows of that time first");
        }

        if (labelled * (columns.Count + 1) > options.MaxValues)
        {
            throw new SlipwayException(ErrorCode.TooLarge, "the table is too large to train on here", $"{labelled} rows of {columns.Count + 1} columns are more than {options.MaxValues} values", "choose a shorter window or fewer columns");
        }

        var values = columns.Append(selection.Label).Select(_ => new float[labelled]).ToArray();
        using var command = duck.CreateCommand();
        command.CommandText = $"SELECT {string.Join(", ", columns.Append(selection.Label).Select(c => $"CAST({Duck.Name(c)} AS FLOAT)"))} FROM {source} WHERE {where} AND {label} IS NOT NULL";
        using var reader = command.ExecuteReader();
        for (var row = 0; reader.Read(); row++)
        {
            if (row % 8192 == 0)
            {
                ct.ThrowIfCancellationRequested();
            }

            for (var c = 0; c < values.Length; c++)
            {
                values[c][row] = reader.IsDBNull(c) ? float.NaN : reader.GetFloat(c);
            }
        }

        return new(new TabularData(columns, values[..^1], TabularData.LabelsFrom(values[^1])), all - labelled);
    }

    /// <summary>Checks the columns and gives the SQL of the event time in microseconds.</summary>
    private static string Check(DuckDBConnection duck, string source, RowSelection selection, IReadOnlyList<string> columns)
    {
        var types = new Dictionary<string, string>(StringComparer.Ordinal);
        using (var command = duck.CreateCommand())
        {
            command.CommandText = $"DESCRIBE SELECT * FROM {source}";
            using var reader = command.ExecuteReader();
            while (reader.Read())
            {
                types[reader.GetString(0)] = reader.GetString(1);
            }
        }

        var faults = columns.Append(selection.Label).Append(selection.Time).Where(c => !types.ContainsKey(c)).Select(c => $"there is no column '{c}'").ToList();
        faults.AddRange(columns.Append(selection.Label)
            .Where(c => types.TryGetValue(c, out var type) && !Numbers.Contains(type.Split('(')[0], StringComparer.Ordinal))
            .Select(c => $"'{c}' is {types[c]}, not a number"));
        var at = types.GetValueOrDefault(selection.Time) ?? "";
        if (types.ContainsKey(selection.Time) && at != "DATE" && !at.StartsWith("TIMESTAMP", StringComparison.Ordinal))
        {
            faults.Add($"'{selection.Time}' is {at}, not a time");
        }

        if (faults.Count > 0)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, $"the columns do not fit dataset {selection.Dataset}", string.Join("; ", faults), $"slipway dataset show {selection.Dataset}");
        }

        var name = Duck.Name(selection.Time);
        return at == "TIMESTAMP WITH TIME ZONE" ? $"epoch_us({name})" : $"epoch_us(CAST({name} AS TIMESTAMP))";
    }
}

/// <summary>A DuckDB of its own for one piece of work.</summary>
internal static class Duck
{
    /// <summary>In memory, with access to the given files only; none: to all files, for writing one.</summary>
    public static DuckDBConnection Open(IReadOnlyList<string> files)
    {
        var connection = new DuckDBConnection("DataSource=:memory:");
        try
        {
            connection.Open();
            using var command = connection.CreateCommand();
            command.CommandText =
                "SET threads = 1; SET memory_limit = '1GB'; SET autoinstall_known_extensions = false; SET autoload_known_extensions = false; "
                + (files.Count > 0 ? $"SET allowed_paths = [{string.Join(", ", files.Select(Text))}]; SET enable_external_access = false; SET lock_configuration = true" : "");
            command.ExecuteNonQuery();
            return connection;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    public static string Name(string column) => $"\"{column.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";

    public static string Text(string value) => $"'{value.Replace("'", "''", StringComparison.Ordinal)}'";

    public static T Row<T>(DuckDBConnection connection, string sql, Func<System.Data.Common.DbDataReader, T> read)
    {
        using var command = connection.CreateCommand();
        command.CommandText = sql;
        using var reader = command.ExecuteReader();
        reader.Read();
        return read(reader);
    }
}
