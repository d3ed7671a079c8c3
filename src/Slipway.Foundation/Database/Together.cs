namespace Slipway.Foundation;

/// <summary>
/// Small writes of one kind that go to the database in one piece of work: what waits when the transaction begins is handed over
/// as a list, so that many of them cost few statements.
/// </summary>
/// <param name="database">Where they are written.</param>
/// <param name="write">Writes all items; an item that it refuses gets its reason at the same place of the result, and nothing of it is written.</param>
public sealed class Together<T>(Database database, Func<Tx, IReadOnlyList<T>, Task<IReadOnlyList<SlipwayException?>>> write)
{
    private readonly Lock gate = new();
    private List<(T Item, TaskCompletionSource Done)>? waiting;

    /// <summary>Returns when the item is committed.</summary>
    /// <exception cref="SlipwayException">What the writer refused it with.</exception>
    public Task WriteAsync(T item)
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (gate)
        {
            if (waiting is not null)
            {
                waiting.Add((item, done));
                return done.Task;
            }

            waiting = [(item, done)];
        }

        _ = FlushAsync();
        return done.Task;
    }

    private async Task FlushAsync()
    {
        List<(T Item, TaskCompletionSource Done)>? taken = null;
        try
        {
            await database.WriteAsync(
                async tx =>
                {
                    // Taken when the transaction has begun, and once: it may be run again.
                    taken ??= Take();
                    var refusals = await write(tx, taken.ConvertAll(w => w.Item));
                    tx.OnCommitted(() => Complete(taken, refusals));
                },
                CancellationToken.None);
        }
        catch (Exception e)
        {
            (taken ?? Take()).ForEach(w => w.Done.TrySetException(e));
        }
    }

    private List<(T Item, TaskCompletionSource Done)> Take()
    {
        lock (gate)
        {
            var taken = waiting!;
            waiting = null;
            return taken;
        }
    }

    private static void Complete(List<(T Item, TaskCompletionSource Done)> written, IReadOnlyList<SlipwayException?> refusals)
    {
        for (var i = 0; i < written.Count; i++)
        {
            if (refusals[i] is { } refused)
            {
                written[i].Done.TrySetException(refused);
            }
            else
            {
                written[i].Done.TrySetResult();
            }
        }
    }
}
