using System.Globalization;
using System.Text;
using Microsoft.Data.Sqlite;
using SQLitePCL;

namespace Slipway.Foundation;

/// <summary>A connection that keeps its prepared statements, by their text.</summary>
internal sealed class KeepingSqliteConnection(string connectionString) : SqliteConnection(connectionString)
{
    /// <summary>Searches make texts of many shapes; beyond so many of them all are let go.</summary>
    private const int MostKept = 300;
    private readonly Dictionary<string, SqliteStatement> kept = new(StringComparer.Ordinal);

    public SqliteStatement Statement(string sql)
    {
        if (kept.TryGetValue(sql, out var statement))
        {
            // One that is in use, as a query inside the loop over another of the same text, gets a second one.
            if (statement.Take())
            {
                return statement;
            }

            var second = new SqliteStatement(Handle!, sql, kept: false);
            second.Take();
            return second;
        }

        if (kept.Count >= MostKept)
        {
            Forget();
        }

        statement = new SqliteStatement(Handle!, sql, kept: true);
        statement.Take();
        kept.Add(sql, statement);
        return statement;
    }

    public override void Close()
    {
        Forget();
        base.Close();
    }

    private void Forget()
    {
        foreach (var statement in kept.Values)
        {
            statement.LetGo();
        }

        kept.Clear();
    }
}

/// <summary>A statement straight on SQLite's own interface. Everything in it runs at once, without waiting.</summary>
internal sealed class SqliteStatement : Statement
{
    private readonly sqlite3 database;
    private readonly sqlite3_stmt statement;
    private readonly int[] positions;
    private bool kept;
    private bool taken;
    private int bound;

    public SqliteStatement(sqlite3 database, string sql, bool kept)
    {
        this.database = database;
        this.kept = kept;
        var code = raw.sqlite3_prepare_v3(database, sql, kept ? (uint)raw.SQLITE_PREPARE_PERSISTENT : 0, out statement);
        Check(code);
        positions = new int[raw.sqlite3_bind_parameter_count(statement)];
        for (var i = 0; i < positions.Length; i++)
        {
            positions[i] = raw.sqlite3_bind_parameter_index(statement, string.Create(CultureInfo.InvariantCulture, $"${i + 1}"));
        }
    }

    public override Statement Bind(long value) => Bound(raw.sqlite3_bind_int64(statement, Position(), value));

    public override Statement Bind(double value) => Bound(raw.sqlite3_bind_double(statement, Position(), value));

    public override Statement Bind(string? value)
    {
        if (string.IsNullOrEmpty(value))
        {
            return Bound(value is null ? raw.sqlite3_bind_null(statement, Position()) : raw.sqlite3_bind_text(statement, Position(), value));
        }

        var most = Encoding.UTF8.GetMaxByteCount(value.Length);
        if (most > 1024)
        {
            return Bound(raw.sqlite3_bind_text(statement, Position(), Encoding.UTF8.GetBytes(value)));
        }

        Span<byte> utf8 = stackalloc byte[most];
        return Bound(raw.sqlite3_bind_text(statement, Position(), utf8[..Encoding.UTF8.GetBytes(value, utf8)]));
    }

    public override Statement Bind(byte[]? value) => Bound(value switch
    {
        null => raw.sqlite3_bind_null(statement, Position()),
        [] => raw.sqlite3_bind_zeroblob(statement, Position(), 0),
        _ => raw.sqlite3_bind_blob(statement, Position(), value),
    });

    public override Statement Bind(Array values) => throw new NotSupportedException("SQLite knows no arrays");

    public override ValueTask<int> RunAsync() => ValueTask.FromResult(Run());

    public int Run()
    {
        while (Step())
        {
        }

        return raw.sqlite3_changes(database);
    }

    public override ValueTask<bool> NextAsync() => ValueTask.FromResult(Step());

    public override bool IsNull(int column) => raw.sqlite3_column_type(statement, column) == raw.SQLITE_NULL;

    public override long Long(int column) => raw.sqlite3_column_int64(statement, column);

    public override double Double(int column) => raw.sqlite3_column_double(statement, column);

    public override string Text(int column) => Encoding.UTF8.GetString(Raw(column));

    public override byte[] Bytes(int column) => Raw(column).ToArray();

    public override ReadOnlySpan<byte> Raw(int column) => raw.sqlite3_column_blob(statement, column);

    public override void Dispose()
    {
        if (!taken)
        {
            return;
        }

        bound = 0;
        raw.sqlite3_reset(statement);
        taken = false;
        if (!kept)
        {
            statement.Dispose();
        }
    }

    /// <summary>False when it is in use.</summary>
    internal bool Take()
    {
        if (taken)
        {
            return false;
        }

        return taken = true;
    }

    /// <summary>The connection keeps it no longer.</summary>
    internal void LetGo()
    {
        kept = false;
        if (!taken)
        {
            statement.Dispose();
        }
    }

    private bool Step()
    {
        bound = 0;
        var code = raw.sqlite3_step(statement);
        if (code == raw.SQLITE_ROW)
        {
            return true;
        }

        // The reset gives the locks back, and repeats the code of a failed step.
        raw.sqlite3_reset(statement);
        Check(code == raw.SQLITE_DONE ? raw.SQLITE_OK : code);
        return false;
    }

    private int Position() => bound < positions.Length ? positions[bound] : throw new InvalidOperationException($"the statement has {positions.Length} parameters");

    private SqliteStatement Bound(int code)
    {
        Check(code);
        bound++;
        return this;
    }

    private void Check(int code)
    {
        if (code != raw.SQLITE_OK)
        {
            throw new SqliteException($"SQLite Error {code}: '{raw.sqlite3_errmsg(database).utf8_to_string()}'.", code & 0xFF, raw.sqlite3_extended_errcode(database));
        }
    }
}
