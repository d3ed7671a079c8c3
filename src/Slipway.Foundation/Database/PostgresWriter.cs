using System.Threading.Channels;

namespace Slipway.Foundation;

/// <summary>
/// Commits the writes that wait on this node as one serializable transaction, so that writers of one node never race each
/// other. Most groups run straight through; when one of a group fails, the group runs again with a savepoint for each.
/// </summary>
internal sealed class PostgresWriter : IGroupWriter
{
    private const int LargestGroup = 64;
    private readonly Database database;
    private readonly Channel<PendingWrite> queue = Channel.CreateUnbounded<PendingWrite>(new UnboundedChannelOptions { SingleReader = true });
    private readonly Lazy<Task> loop;

    public PostgresWriter(Database database)
    {
        this.database = database;
        loop = new Lazy<Task>(() => Task.Run(RunAsync));
    }

    public bool Add(PendingWrite write)
    {
        _ = loop.Value;
        return queue.Writer.TryWrite(write);
    }

    public async ValueTask DisposeAsync()
    {
        queue.Writer.Complete();
        if (loop.IsValueCreated)
        {
            await loop.Value;
        }
    }

    private async Task RunAsync()
    {
        while (await queue.Reader.WaitToReadAsync())
        {
            var group = new List<PendingWrite>();
            while (group.Count < LargestGroup && queue.Reader.TryRead(out var write))
            {
                group.Add(write);
            }

            await CommitAsync(group);
        }
    }

    private async Task CommitAsync(List<PendingWrite> group)
    {
        var careful = false;
        for (var attempt = 1; group.Count > 0; attempt++)
        {
            try
            {
                if (await TryAsync(group, careful))
                {
                    return;
                }

                careful = true;
            }
            catch (Exception e) when (database.Dialect.IsRace(e) && Database.MayTryAgain(attempt))
            {
                await Database.PauseAsync(attempt, CancellationToken.None);
            }
            catch (Exception e)
            {
                group.ForEach(w => w.Done.TrySetException(e));
                return;
            }
        }
    }

    /// <returns>False when a write failed and the others have to run again without it or beside it.</returns>
    private async Task<bool> TryAsync(List<PendingWrite> group, bool careful)
    {
        group.RemoveAll(w => w.Done.Task.IsCompleted || w.Abandoned());
        var connection = await database.Dialect.ConnectAsync(write: true, CancellationToken.None);
        try
        {
            await using var transaction = await connection.BeginTransactionAsync(System.Data.IsolationLevel.Serializable);
            var done = new List<(PendingWrite Write, Tx Tx)>(group.Count);
            var entries = new List<PendingEntry>();
            foreach (var write in group)
            {
                var tx = new Tx(connection, transaction, CancellationToken.None);
                if (careful)
                {
                    await transaction.SaveAsync("w");
                }

                try
                {
                    await write.Work(tx);
                }
                catch (Exception e) when (!database.Dialect.IsRace(e))
                {
                    if (careful)
                    {
                        await transaction.RollbackAsync("w");
                    }
                    else if (group.Count > 1)
                    {
                        return false;
                    }

                    write.Done.TrySetException(e);
                    continue;
                }

                done.Add((write, tx));
                entries.AddRange(tx.Journal);
            }

            if (done.Count == 0)
            {
                return true;
            }

            var last = new Tx(connection, transaction, CancellationToken.None);
            if (entries.Count > 0)
            {
                await database.BeforeCommit!(last, entries);
            }

            await Tx.CommitAsync(connection, transaction, done.SelectMany(d => d.Tx.Riders).Concat(last.Riders));
            foreach (var (write, tx) in done)
            {
                tx.Committed.ForEach(act => act());
                write.Done.TrySetResult();
            }

            if (entries.Count > 0)
            {
                database.JournalCommitted?.Invoke();
            }

            return true;
        }
        finally
        {
            await database.Dialect.ReturnAsync(connection, write: true);
        }
    }
}
