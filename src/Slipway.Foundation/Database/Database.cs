namespace Slipway.Foundation;

/// <summary>
/// Rows, behind one API over SQLite and PostgreSQL. Writes are serializable on both: this process writes one group at a time,
/// and PostgreSQL runs the work again when it lost a race with another process.
/// </summary>
/// <remarks>
/// The writes that wait at the same time share one commit, so that one flush to the disk serves all of them; each of them
/// still fails or succeeds by itself. Work therefore awaits nothing but calls on its <see cref="Tx"/>.
/// </remarks>
public sealed class Database : IAsyncDisposable
{
    private const int Tries = 12;
    private readonly IGroupWriter writer;
    private bool closed;

    public Database(Dialect dialect)
    {
        Dialect = dialect;
        writer = dialect.IsPostgres ? new PostgresWriter(this) : new SqliteWriter(this);
    }

    public Dialect Dialect { get; }

    /// <summary>Called inside each transaction that holds journal entries, just before its commit.</summary>
    internal Func<Tx, IReadOnlyList<PendingEntry>, Task>? BeforeCommit { get; set; }

    /// <summary>Called after such a commit.</summary>
    internal Action? JournalCommitted { get; set; }

    public async Task<T> ReadAsync<T>(Func<Session, Task<T>> work, CancellationToken ct) => await ReadAsync(await Dialect.ConnectAsync(write: false, ct), work, ct);

    /// <summary>Reads with statements whose way is decided by who wrote them and not by a planner: along indexes, the tables in the order in which they stand.</summary>
    public async Task<T> ReadAsWrittenAsync<T>(Func<Session, Task<T>> work, CancellationToken ct) => await ReadAsync(await Dialect.ConnectAsWrittenAsync(ct), work, ct);

    private async Task<T> ReadAsync<T>(System.Data.Common.DbConnection connection, Func<Session, Task<T>> work, CancellationToken ct)
    {
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

    private Task RunAsync(Func<Tx, Task> work, CancellationToken ct)
    {
        if (ct.IsCancellationRequested)
        {
            return Task.FromCanceled(ct);
        }

        var write = new PendingWrite(work, ct);
        return writer.Add(write)
            ? write.Done.Task
            : Task.FromException(new SlipwayException(ErrorCode.Unavailable, "the server is stopping"));
    }

    /// <summary>A transaction by itself, beside the others: for work that has a fence of its own. PostgreSQL only.</summary>
    internal async Task<T> WriteAloneAsync<T>(Func<Tx, Task<T>> work, CancellationToken ct)
    {
        for (var attempt = 1; ; attempt++)
        {
            var connection = await Dialect.ConnectAsync(write: true, ct);
            try
            {
                await using var transaction = await connection.BeginTransactionAsync(System.Data.IsolationLevel.Serializable, ct);
                var tx = new Tx(connection, transaction, ct);
                var result = await work(tx);
                await Tx.CommitAsync(connection, transaction, tx.Riders);
                return result;
            }
            catch (Exception e) when (Dialect.IsRace(e) && attempt < Tries)
            {
                await PauseAsync(attempt, ct);
            }
            finally
            {
                await Dialect.ReturnAsync(connection, write: true);
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (closed)
        {
            return;
        }

        closed = true;
        await writer.DisposeAsync();
        await Dialect.CloseAsync();
    }

    /// <summary>A random pause that grows keeps racing writers from meeting again.</summary>
    internal static Task PauseAsync(int attempt, CancellationToken ct) => Task.Delay(Random.Shared.Next(1, 4 << Math.Min(attempt, 6)), ct);

    internal static bool MayTryAgain(int attempt) => attempt < Tries;
}

/// <summary>A write that waits for its turn.</summary>
internal sealed class PendingWrite(Func<Tx, Task> work, CancellationToken ct)
{
    public Func<Tx, Task> Work { get; } = work;

    public CancellationToken Token { get; } = ct;

    public TaskCompletionSource Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Ends a write that nobody waits for any more.</summary>
    public bool Abandoned() => Token.IsCancellationRequested && Done.TrySetCanceled(Token);
}

/// <summary>Commits the waiting writes in groups, in the order of their arrival.</summary>
internal interface IGroupWriter : IAsyncDisposable
{
    /// <summary>False when the writer has stopped.</summary>
    bool Add(PendingWrite write);
}
