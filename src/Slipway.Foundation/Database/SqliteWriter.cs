using System.Data.Common;
using SQLitePCL;

namespace Slipway.Foundation;

/// <summary>
/// SQLite's one writer: a thread that takes all waiting writes into one transaction, each in its own savepoint. It also moves
/// the write-ahead log into the database file, mostly beside the writes, so that no commit waits for it long.
/// </summary>
internal sealed class SqliteWriter(Database database) : IGroupWriter
{
    private const int LargestGroup = 512;

    /// <summary>How many pages may be written before the log is moved: 16 MB.</summary>
    private const int PagesBetweenMoves = 4096;
    private readonly Lock gate = new();
    private readonly ManualResetEventSlim arrived = new(false, spinCount: 0);
    private List<PendingWrite> queue = [];
    private Thread? thread;
    private bool stopped;

    public bool Add(PendingWrite write)
    {
        lock (gate)
        {
            if (stopped)
            {
                return false;
            }

            if (thread is null)
            {
                thread = new Thread(Run) { IsBackground = true, Name = "slipway writer" };
                thread.Start();
            }

            queue.Add(write);
        }

        arrived.Set();
        return true;
    }

    public ValueTask DisposeAsync()
    {
        lock (gate)
        {
            stopped = true;
        }

        arrived.Set();
        thread?.Join();
        arrived.Dispose();
        return ValueTask.CompletedTask;
    }

    private List<PendingWrite> Take(out bool stopping)
    {
        lock (gate)
        {
            var taken = queue;
            queue = [];
            arrived.Reset();
            stopping = stopped;
            return taken;
        }
    }

    private void Run()
    {
        KeepingSqliteConnection? connection = null;
        using var mover = new LogMover(database.Dialect);
        for (var stopping = false; !stopping;)
        {
            arrived.Wait();
            var waiting = Take(out stopping);
            if (waiting.Count == 0)
            {
                continue;
            }

            try
            {
                connection ??= (KeepingSqliteConnection)database.Dialect.ConnectAsync(write: true, CancellationToken.None).AsTask().GetAwaiter().GetResult();
            }
            catch (Exception e)
            {
                waiting.ForEach(w => w.Done.TrySetException(e));
                continue;
            }

            Commit(connection, waiting);
            mover.AfterCommit(connection);
        }

        connection?.Dispose();
    }

    private void Commit(KeepingSqliteConnection connection, List<PendingWrite> waiting)
    {
        for (var from = 0; from < waiting.Count; from += LargestGroup)
        {
            Commit(connection, waiting, from, Math.Min(waiting.Count, from + LargestGroup));
        }
    }

    private void Commit(KeepingSqliteConnection connection, List<PendingWrite> waiting, int from, int to)
    {
        var kept = new List<(PendingWrite Write, Tx Tx)>(to - from);
        var entries = new List<PendingEntry>();
        try
        {
            Run(connection, "BEGIN IMMEDIATE");
            for (var i = from; i < to; i++)
            {
                var write = waiting[i];
                if (write.Abandoned())
                {
                    continue;
                }

                Run(connection, "SAVEPOINT w");
                var tx = new Tx(connection, null, CancellationToken.None);
                try
                {
                    write.Work(tx).GetAwaiter().GetResult();
                    Run(connection, "RELEASE w");
                    kept.Add((write, tx));
                    entries.AddRange(tx.Journal);
                }
                catch (Exception e)
                {
                    // Told first: after a full disk SQLite may have ended the whole transaction, and then the undo fails too.
                    write.Done.TrySetException(e);
                    Run(connection, "ROLLBACK TO w");
                    Run(connection, "RELEASE w");
                }
            }

            if (entries.Count > 0)
            {
                database.BeforeCommit!(new Tx(connection, null, CancellationToken.None), entries).GetAwaiter().GetResult();
            }

            Run(connection, "COMMIT");
        }
        catch (Exception e)
        {
            TryRollback(connection);
            // Whoever waits learns why, instead of waiting for ever.
            for (var i = from; i < to; i++)
            {
                waiting[i].Done.TrySetException(e);
            }

            return;
        }

        foreach (var (write, tx) in kept)
        {
            tx.Committed.ForEach(act => act());
            write.Done.TrySetResult();
        }

        if (entries.Count > 0)
        {
            database.JournalCommitted?.Invoke();
        }
    }

    private static void Run(KeepingSqliteConnection connection, string sql)
    {
        using var statement = connection.Statement(sql);
        statement.Run();
    }

    private static void TryRollback(KeepingSqliteConnection connection)
    {
        try
        {
            Run(connection, "ROLLBACK");
        }
        catch (DbException)
        {
            // A failed BEGIN or COMMIT may already have ended the transaction: then there is nothing to roll back.
        }
    }

    /// <summary>
    /// Moves the write-ahead log into the database file. The long part, a checkpoint of everything written so far, runs on a
    /// connection of its own beside the writes; the writer then only moves what came meanwhile, after which the log starts over.
    /// </summary>
    private sealed class LogMover(Dialect dialect) : IDisposable
    {
        private Task? moving;
        private long pagesAtMove;

        public void AfterCommit(KeepingSqliteConnection connection)
        {
            if (moving is { IsCompleted: true })
            {
                // A checkpoint that fails, as on a full disk, is tried again after the next pages; the log keeps everything.
                moving = null;
                _ = Checkpoint(connection);
                pagesAtMove = Pages(connection);
            }
            else if (moving is null && Pages(connection) - pagesAtMove >= PagesBetweenMoves)
            {
                moving = Task.Run(async () =>
                {
                    await using var other = (KeepingSqliteConnection)await dialect.ConnectAsync(write: true, CancellationToken.None);
                    _ = Checkpoint(other);
                });
            }
        }

        public void Dispose() => moving?.ContinueWith(static _ => { }, TaskScheduler.Default).GetAwaiter().GetResult();

        private static int Checkpoint(KeepingSqliteConnection connection) => raw.sqlite3_wal_checkpoint_v2(connection.Handle!, null, raw.SQLITE_CHECKPOINT_PASSIVE, out _, out _);

        private static long Pages(KeepingSqliteConnection connection)
        {
            raw.sqlite3_db_status(connection.Handle!, raw.SQLITE_DBSTATUS_CACHE_WRITE, out var pages, out _, 0);
            return pages;
        }
    }
}
