namespace Slipway.Foundation;

/// <summary>
/// Long computations that nobody waits for, such as compaction. They run on a thread of their own that the operating system lets behind those
/// that answer requests, so that a saturated node spends its cores on answers first.
/// </summary>
public static class Background
{
    // About a tenth of the weight of an ordinary thread: work goes on under full load, but costs little of it.
    private const int Niceness = 10;

    /// <summary>Runs the work at low priority.</summary>
    /// <param name="name">What it is, as the thread's name.</param>
    /// <param name="work">Must not wait for locks that request threads take.</param>
    /// <returns>Its result or its failure; what awaits it runs on the thread pool.</returns>
    public static Task<T> RunAsync<T>(string name, Func<T> work)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        var thread = new Thread(() =>
        {
            Native.LowerPriority(Niceness);
            try
            {
                done.SetResult(work());
            }
            catch (Exception e)
            {
                done.SetException(e);
            }
        })
        {
            IsBackground = true,
            Name = $"slipway {name}",
        };
        thread.Start();
        return done.Task;
    }
}
