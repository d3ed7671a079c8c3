using System.Data.Common;
using System.Globalization;
using System.Numerics;
using DuckDB.NET.Data;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>The one number of a query.</summary>
/// <param name="Value">The number; null if there is none.</param>
/// <param name="Rows">Predictions that the query could see.</param>
/// <param name="Why">Why there is no number; null if there is one.</param>
/// <param name="Failed">Whether the query was refused or not finished, in contrast to an answer that is no number.</param>
public sealed record QueryNumber(double? Value, long Rows, string? Why, bool Failed = false);

/// <summary>
/// SQL over the predictions of one endpoint and their labels. A query sees a table <c>predictions</c> in a database of its own, made for it and thrown away
/// behind it, and nothing else: no file, no network, no extension, no setting, no other endpoint. Memory and time are bounded.
/// </summary>
public sealed class PredictionQueries
{
    /// <summary>Characters of a query.</summary>
    public const int LongestQuery = 4096;

    // One after the other, because each may fill its memory.
    private static readonly SemaphoreSlim One = new(1, 1);
    private readonly Labels labels;

    internal PredictionQueries(Labels labels) => this.labels = labels;

    /// <summary>How long reading the log and the query may take together.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>What is wrong with a query's text, as far as the text alone tells; null if nothing is.</summary>
    public static string? Fault(string? sql) => sql switch
    {
        null => "SQL needs a query",
        _ when string.IsNullOrWhiteSpace(sql) => "SQL needs a query",
        { Length: > LongestQuery } => $"a query has at most {LongestQuery.ToString("N0", CultureInfo.InvariantCulture)} characters, this one has {sql.Length.ToString("N0", CultureInfo.InvariantCulture)}",
        _ when sql.Contains(';', StringComparison.Ordinal) => "a query is one statement; leave ';' out",
        _ when !sql.TrimStart().StartsWith("SELECT", StringComparison.OrdinalIgnoreCase) && !sql.TrimStart().StartsWith("WITH", StringComparison.OrdinalIgnoreCase) =>
            $"a query begins with SELECT or WITH, this one with '{Shortened(sql.TrimStart())}'",
        _ => null,
    };

    /// <summary>Asks once.</summary>
    /// <param name="endpoint">Whose predictions the query sees.</param>
    /// <param name="from">First event time.</param>
    /// <param name="to">Event time from which nothing is seen any more.</param>
    /// <param name="sql">A SELECT of one row with one number; <c>$name</c> stands for a parameter.</param>
    /// <param name="parameters">Bound, never written into the text; those that the query does not name are left out.</param>
    /// <param name="ct">Cancels.</param>
    public async Task<QueryNumber> AskAsync(string endpoint, DateTimeOffset from, DateTimeOffset to, string sql, IReadOnlyDictionary<string, object> parameters, CancellationToken ct)
    {
        if (Fault(sql) is { } fault)
        {
            return new(null, 0, fault, Failed: true);
        }

        await One.WaitAsync(ct);
        long rows = 0;
        bool loaded = false;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(ct);
        try
        {
            limit.CancelAfter(Patience);
            using var duck = new DuckDBConnection("DataSource=:memory:");
            duck.Open();
            Run(duck, "SET threads = 1; SET memory_limit = '512MB'; SET temp_directory = ''");
            rows = await LoadAsync(duck, endpoint, from, to, limit.Token);
            loaded = true;
            Run(duck, "SET autoinstall_known_extensions = false; SET autoload_known_extensions = false; SET enable_external_access = false; SET lock_configuration = true");
            using DuckDBCommand command = duck.CreateCommand();
            command.CommandText = $"SELECT * FROM (\n{sql}\n) AS answer LIMIT 2";
            foreach ((string name, object value) in parameters)
            {
                command.Parameters.Add(new DuckDBParameter(name, value));
            }

            // Asked again and again: an interrupt that comes before the query has begun is lost.
            await using var watch = new Timer(_ => Interrupt(command, limit.Token), null, TimeSpan.FromMilliseconds(100), TimeSpan.FromMilliseconds(100));
            return await Background.RunAsync("sql metric", () => Read(command, rows));
        }
        catch (Exception e) when (e is DuckDBException or OperationCanceledException && limit.IsCancellationRequested)
        {
            ct.ThrowIfCancellationRequested();
            return new(null, rows, $"the query was not finished after {Patience.TotalSeconds.ToString("0.#", CultureInfo.InvariantCulture)} s over {rows.ToString(CultureInfo.InvariantCulture)} predictions; ask a simpler one", Failed: true);
        }
        catch (DuckDBException e) when (!loaded)
        {
            return new(null, rows, $"the predictions of {endpoint} since {from.UtcDateTime.ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture)} cannot be read into the query's memory: {e.Message.Split('\n')[0].Trim()}; compare by the provider log, which reads them one by one", Failed: true);
        }
        catch (DuckDBException e)
        {
            return new(null, rows, $"the query is refused: {e.Message.Split('\n')[0].Trim()}; correct it", Failed: true);
        }
        catch (InvalidOperationException e)
        {
            // Of the client, where the text asks for more parameters than there are.
            return new(null, rows, $"the query is refused: {e.Message}; it may name {string.Join(", ", parameters.Keys.Select(name => $"${name}"))}", Failed: true);
        }
        finally
        {
            One.Release();
        }
    }

    private async Task<long> LoadAsync(DuckDBConnection duck, string endpoint, DateTimeOffset from, DateTimeOffset to, CancellationToken ct)
    {
        Run(duck, "CREATE TABLE predictions (id VARCHAR, variant VARCHAR, model_version VARCHAR, entity_key VARCHAR, event_at TIMESTAMP, latency_us BIGINT, status INTEGER, outputs FLOAT[], label DOUBLE, label_at TIMESTAMP)");
        long rows = 0;
        using DuckDBAppender appender = duck.CreateAppender("predictions");
        await foreach (Outcome outcome in labels.OutcomesAsync(endpoint, from, to, labels: true, ct))
        {
            Prediction p = outcome.Prediction;
            if (p.Kind != PredictionKind.Live)
            {
                continue;
            }

            ct.ThrowIfCancellationRequested();
            appender.CreateRow()
                .AppendValue(p.Id).AppendValue(p.Variant).AppendValue(p.ModelVersion).AppendValue(p.EntityKey).AppendValue(p.At.UtcDateTime)
                .AppendValue(p.LatencyMicros).AppendValue(p.Status).AppendValue(p.Outputs).AppendValue(outcome.Label).AppendValue(outcome.LabelAt?.UtcDateTime)
                .EndRow();
            rows++;
        }

        appender.Close();
        return rows;
    }

    private static QueryNumber Read(DuckDBCommand command, long rows)
    {
        using DbDataReader reader = command.ExecuteReader();
        if (reader.FieldCount != 1)
        {
            return new(null, rows, $"the query gives {reader.FieldCount.ToString(CultureInfo.InvariantCulture)} columns, one is needed");
        }

        if (!reader.Read())
        {
            return new(null, rows, "the query gives no row, one is needed");
        }

        if (reader.IsDBNull(0))
        {
            return new(null, rows, "the query gives NULL");
        }

        object value = reader.GetValue(0);
        if (reader.Read())
        {
            return new(null, rows, "the query gives several rows, one is needed; aggregate them");
        }

        double? number = value switch
        {
            BigInteger large => (double)large,
            sbyte or byte or short or ushort or int or uint or long or ulong or float or double or decimal => Convert.ToDouble(value, CultureInfo.InvariantCulture),
            _ => null,
        };
        return number is null ? new(null, rows, $"the query gives '{Shortened(Convert.ToString(value, CultureInfo.InvariantCulture) ?? "")}', which is no number")
            : !double.IsFinite(number.Value) ? new(null, rows, $"the query gives {number.Value.ToString(CultureInfo.InvariantCulture)}")
            : new(number, rows, null);
    }

    private static void Interrupt(DuckDBCommand command, CancellationToken limit)
    {
        if (limit.IsCancellationRequested)
        {
            command.Cancel();
        }
    }

    private static void Run(DuckDBConnection duck, string sql)
    {
        using DuckDBCommand command = duck.CreateCommand();
        command.CommandText = sql;
        command.ExecuteNonQuery();
    }

    private static string Shortened(string text) => text.Length <= 20 ? text : text[..20];
}
