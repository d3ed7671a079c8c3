using System.Globalization;
using DuckDB.NET.Data;
using Slipway.Data;

namespace Slipway.Server.Demo;

/// <summary>The feature table of the demo's data set: one Parquet file a week, with features, outcome and event time.</summary>
internal sealed class FlightTable : IDisposable
{
    /// <summary>One flight in four is enough to train on, and keeps the demo short.</summary>
    public const int Every = 4;

    private readonly string folder;
    private readonly DuckDBConnection connection = new("Data Source=:memory:");

    public FlightTable(FlightFeatures flights, string folder)
    {
        this.folder = folder;
        Directory.CreateDirectory(folder);
        connection.Open();
        Run($"CREATE TABLE flights (week INTEGER, departed_utc TIMESTAMP, flight VARCHAR, {string.Join(", ", FlightFeatures.Names.Select(n => $"{n} FLOAT"))}, late BOOLEAN)");
        using var appender = connection.CreateAppender("flights");
        for (var week = 0; week < 26; week++)
        {
            var end = FlightFeatures.WeekStartUtc(week + 1);
            for (var i = flights.FirstRowFrom(FlightFeatures.WeekStartUtc(week)); i < flights.Count && flights.DepartedUtc[i] < end; i++)
            {
                if (i % Every != 0)
                {
                    continue;
                }

                var row = appender.CreateRow();
                row.AppendValue(week).AppendValue(flights.DepartedUtc[i]).AppendValue(flights.Key(i));
                foreach (var column in flights.Columns)
                {
                    // A share of too few flights is missing in the table too.
                    row.AppendValue(float.IsNaN(column[i]) ? null : (float?)column[i]);
                }

                row.AppendValue(flights.Late[i]).EndRow();
            }
        }
    }

    /// <summary>The files of the weeks, written when they are not there.</summary>
    public IReadOnlyList<CommitFile> Weeks(int first, int last)
    {
        var files = new List<CommitFile>();
        for (var week = first; week <= last; week++)
        {
            var name = string.Create(CultureInfo.InvariantCulture, $"week-{week:00}.parquet");
            var path = Path.Combine(folder, name);
            if (!File.Exists(path))
            {
                Run(string.Create(CultureInfo.InvariantCulture, $"COPY (SELECT * EXCLUDE (week) FROM flights WHERE week = {week} ORDER BY departed_utc, flight) TO '{path.Replace("'", "''", StringComparison.Ordinal)}' (FORMAT parquet, COMPRESSION zstd)"));
            }

            files.Add(CommitFile.FromDisk($"weeks/{name}", path));
        }

        return files;
    }

    public void Dispose() => connection.Dispose();

    private void Run(string sql)
    {
        using var command = connection.CreateCommand();
        command.CommandText = sql;
        command.ExecuteNonQuery();
    }
}
