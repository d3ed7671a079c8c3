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

    /// <summary>Statements that go with the commit. PostgreSQL only.</summary>
    internal List<DbBatchCommand> Riders { get; } = [];

    /// <summary>
    /// Runs a statement of which nobody waits for the result; where a statement costs a round trip it goes to the database together with the commit.
    /// It must not be able to fail by its values, and no work of the same moment may read what it writes.
    /// </summary>
    /// <param name="sql">With <c>$1</c>, <c>$2</c>, … for the values.</param>
    /// <param name="values">Long, double, string, bytes or (PostgreSQL) an array of them.</param>
    public async ValueTask AtCommitAsync(string sql, params object[] values)
    {
        if (Connection is KeepingSqliteConnection)
        {
            using var now = Statement(sql);
            foreach (var value in values)
            {
                now.BindAny(value);
            }

            await now.RunAsync();
            return;
        }

        // The connection's own batch makes commands of its kind.
        using var batch = Connection.CreateBatch();
        var rider = batch.CreateBatchCommand();
        rider.CommandText = sql;
        foreach (var value in values)
        {
            var parameter = rider.CreateParameter();
            parameter.Value = value;
            rider.Parameters.Add(parameter);
        }

        Riders.Add(rider);
    }

    /// <summary>Sends what rides with the commit, and the commit. PostgreSQL only.</summary>
    internal static async Task CommitAsync(DbConnection connection, DbTransaction transaction, IEnumerable<DbBatchCommand> riders)
    {
        await using var batch = connection.CreateBatch();
        batch.Transaction = transaction;
        foreach (var rider in riders)
        {
            batch.BatchCommands.Add(rider);
        }

        var commit = batch.CreateBatchCommand();
        commit.CommandText = "COMMIT";
        batch.BatchCommands.Add(commit);
        // A rider that fails ends the batch with its error before the commit is reached. The transaction object learns from the server that it is over.
        await batch.ExecuteNonQueryAsync();
    }

    /// <summary>Runs after the commit, on the writer's thread: for waking others, never for work.</summary>
    public void OnCommitted(Action act) => Committed.Add(act);
}
