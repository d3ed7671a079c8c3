using System.Data.Common;
using System.Threading.Channels;

namespace Slipway.Foundation;

/// <summary>
/// Rows, behind one API over SQLite and PostgreSQL. Writes are serializable on both: SQLite has one writer, and PostgreSQL
/// runs the work again when it lost a race.
/// </summary>
/// <remarks>
/// On SQLite the writes that wait at the same time share one commit, each in its own savepoint, so that one flush to the
/// disk serves all of them. Work therefore awaits nothing but calls on its <see cref="Tx"/>.
/// </remarks>
public sealed class Database : IAsyncDisposable
{
    private const int LargestGroup = 512;
    private const int Tries = 12;
    private readonly Channel<Write> queue = Channel.CreateBounded<Write>(new BoundedChannelOptions(8192) { SingleReader = true });
    private readonly Lazy<Task> writer;
    private bool closed;

    public Database(Dialect dialect)
    {
        Dialect = dialect;
        writer = new Lazy<Task>(() => Task.Factory.StartNew(RunWriterAsync, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).Unwrap());
    }

    public Dialect Dialect { get; }

    /// <summary>Called inside each transaction that holds journal entries, just before its commit.</summary>
    internal Func<Session, IReadOnlyList<PendingEntry>, Task>? BeforeCommit { get; set; }

    /// <summary>Called after such a commit.</summary>
    internal Action? JournalCommitted { get; set; }

    public async Task<T> ReadAsync<T>(Func<Session, Task<T>> work, CancellationToken ct)
    {
        var connection = await Dialect.ConnectAsync(write: false, ct);
        try
        {
            return await work(new Session(connection, null, ct));
        }
        finally
        {
            await Dialect.ReturnAsync(connection, write: false);
        }
    }

    /// <summary>Runs the work in one transaction. On PostgreSQL it may run more than once, so it changes nothing but the database.</summary>
    public async Task<T> WriteAsync<T>(Func<Tx, Task<T>> work, CancellationToken ct)
    {
        T result = default!;
        await RunAsync(async tx => result = await work(tx), ct);
        return result;
    }

    public Task WriteAsync(Func<Tx, Task> work, CancellationToken ct) => RunAsync(work, ct);

    public async ValueTask DisposeAsync()
    {
        if (closed)
        {
            return;
        }

        closed = true;
        queue.Writer.Complete();
        if (writer.IsValueCreated)
        {
            await writer.Value;
        }

        await Dialect.CloseAsync();
    }

    private Task RunAsync(Func<Tx, Task> work, CancellationToken ct) => Dialect.IsPostgres ? RunWithRetryAsync(work, ct) : EnqueueAsync(work, ct);

    private async Task EnqueueAsync(Func<Tx, Task> work, CancellationToken ct)
    {
        _ = writer.Value;
        var write = new Write(work, ct);
        try
        {
            await queue.Writer.WriteAsync(write, ct);
        }
        catch (ChannelClosedException e)
        {
            throw new SlipwayException(ErrorCode.Unavailable, "the server is stopping", inner: e);
        }

        await write.Done.Task;
    }

    private async Task RunWriterAsync()
    {
        var connection = await Dialect.ConnectAsync(write: true, CancellationToken.None);
        using var begin = Prepare(connection, "BEGIN IMMEDIATE");
        using var commit = Prepare(connection, "COMMIT");
        using var rollback = Prepare(connection, "ROLLBACK");
        using var savepoint = Prepare(connection, "SAVEPOINT w");
        using var release = Prepare(connection, "RELEASE w");
        using var undo = Prepare(connection, "ROLLBACK TO w");
        var group = new List<(Write Write, Tx Tx)>();
        var entries = new List<PendingEntry>();
        while (await queue.Reader.WaitToReadAsync())
        {
            group.Clear();
            entries.Clear();
            var begun = false;
            try
            {
                begin.ExecuteNonQuery();
                begun = true;
                while (group.Count < LargestGroup && queue.Reader.TryRead(out var write))
                {
                    if (write.Token.IsCancellationRequested)
                    {
                        write.Done.TrySetCanceled(write.Token);
                        continue;
                    }

                    savepoint.ExecuteNonQuery();
                    var tx = new Tx(connection, null, CancellationToken.None);
                    try
                    {
                        await write.Work(tx);
                        release.ExecuteNonQuery();
                        group.Add((write, tx));
                        entries.AddRange(tx.Journal);
                    }
                    catch (Exception e)
                    {
                        // Told first: after a full disk SQLite may have ended the whole transaction, and then the undo fails too.
                        write.Done.TrySetException(e);
                        undo.ExecuteNonQuery();
                        release.ExecuteNonQuery();
                    }
                }

                if (entries.Count > 0)
                {
                    await BeforeCommit!(new Session(connection, null, CancellationToken.None), entries);
                }

                commit.ExecuteNonQuery();
            }
            catch (Exception e)
            {
                foreach (var (write, _) in group)
                {
                    write.Done.TrySetException(e);
                }

                group.Clear();
                entries.Clear();
                TryRollback(rollback);
                // Without a transaction nothing was taken from the queue: whoever waits there learns why, instead of waiting for ever.
                while (!begun && queue.Reader.TryRead(out var waiting))
                {
                    waiting.Done.TrySetException(e);
                }
            }

            foreach (var (write, tx) in group)
            {
                tx.Committed.ForEach(act => act());
                write.Done.TrySetResult();
            }

            if (entries.Count > 0)
            {
                JournalCommitted?.Invoke();
            }
        }

        await Dialect.ReturnAsync(connection, write: true);
    }

    private static void TryRollback(DbCommand rollback)
    {
        try
        {
            rollback.ExecuteNonQuery();
        }
        catch (DbException)
        {
            // A failed BEGIN or COMMIT may already have ended the transaction: then there is nothing to roll back.
        }
    }

    private static DbCommand Prepare(DbConnection connection, string sql)
    {
        var command = connection.CreateCommand();
        command.CommandText = sql;
        return command;
    }

    private async Task RunWithRetryAsync(Func<Tx, Task> work, CancellationToken ct)
    {
        for (var attempt = 1; ; attempt++)
        {
            var connection = await Dialect.ConnectAsync(write: true, ct);
            try
            {
                await using var transaction = await connection.BeginTransactionAsync(System.Data.IsolationLevel.Serializable, ct);
                var tx = new Tx(connection, transaction, ct);
                await work(tx);
                if (tx.Journal.Count > 0)
                {
                    await BeforeCommit!(tx, tx.Journal);
                }

                await transaction.CommitAsync(ct);
                tx.Committed.ForEach(act => act());
                if (tx.Journal.Count > 0)
                {
                    JournalCommitted?.Invoke();
                }

                return;
            }
            catch (Exception e) when (Dialect.IsRace(e) && attempt < Tries)
            {
                // A random pause that grows keeps racing writers from meeting again.
                await Task.Delay(Random.Shared.Next(1, 4 << Math.Min(attempt, 6)), ct);
            }
            finally
            {
                await Dialect.ReturnAsync(connection, write: true);
            }
        }
    }

    private sealed class Write(Func<Tx, Task> work, CancellationToken ct)
    {
        public Func<Tx, Task> Work { get; } = work;

        public CancellationToken Token { get; } = ct;

        public TaskCompletionSource Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
