using System.Data.Common;
using Dapper;

namespace Slipway.Foundation;

/// <summary>A connection to read with. Parameters are the properties of an anonymous object, written <c>@name</c>.</summary>
/// <remarks>Rows are mapped to classes with settable properties; integers are <see cref="long"/> on both databases.</remarks>
public class Session(DbConnection connection, DbTransaction? transaction, CancellationToken ct)
{
    public DbConnection Connection { get; } = connection;

    public DbTransaction? Transaction { get; } = transaction;

    public CancellationToken Token { get; } = ct;

    public async Task<IReadOnlyList<T>> QueryAsync<T>(string sql, object? args = null) =>
        (await Connection.QueryAsync<T>(Define(sql, args))).AsList();

    /// <summary>The first row, or null when there is none.</summary>
    public Task<T?> FindAsync<T>(string sql, object? args = null) => Connection.QueryFirstOrDefaultAsync<T>(Define(sql, args));

    public async Task<T> ScalarAsync<T>(string sql, object? args = null) => (await Connection.ExecuteScalarAsync<T>(Define(sql, args)))!;

    /// <summary>A statement for a hot path: <c>using var find = session.Statement("SELECT … WHERE id = $1").Bind(id);</c></summary>
    public Statement Statement(string sql) => Connection is KeepingSqliteConnection sqlite ? sqlite.Statement(sql) : new AdoStatement(Command(sql), Token);

    /// <summary>A plain ADO.NET command inside this session. Its parameter objects stay the same from run to run.</summary>
    public DbCommand Command(string sql)
    {
        var command = Connection.CreateCommand();
        command.Transaction = Transaction;
        command.CommandText = sql;
        return command;
    }

    /// <summary>A statement for bulk work: <c>using var insert = tx.Prepare("INSERT … VALUES (@a, @b)", "a", "b");</c></summary>
    public Prepared Prepare(string sql, params string[] names) => new(Command(sql), names);

    private protected CommandDefinition Define(string sql, object? args) => new(sql, args, Transaction, cancellationToken: Token);
}

/// <summary>A transaction that is being written. It commits when the work that got it returns.</summary>
public sealed class Tx(DbConnection connection, DbTransaction? transaction, CancellationToken ct) : Session(connection, transaction, ct)
{
    internal List<PendingEntry> Journal { get; } = [];

    internal List<Action> Committed { get; } = [];

    public Task<int> ExecuteAsync(string sql, object? args = null) => Connection.ExecuteAsync(Define(sql, args));

    /// <summary>Runs after the commit, on the writer's thread: for waking others, never for work.</summary>
    public void OnCommitted(Action act) => Committed.Add(act);
}
