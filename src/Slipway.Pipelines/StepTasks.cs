using System.Collections.Concurrent;
using Microsoft.Extensions.Hosting;
using Slipway.Pipelines.Steps;
using Slipway.Pipelines.Training;

namespace Slipway.Pipelines;

/// <summary>How an attempt of a step ended on this node.</summary>
/// <param name="Result">What it made; null when it did not end well.</param>
/// <param name="Error">Why not; null also when it was cancelled.</param>
/// <param name="Cancelled">Whether somebody stopped it.</param>
/// <param name="Again">Whether the surroundings are to blame and another attempt may work.</param>
internal sealed record StepEnd(StepResult? Result, string? Error, bool Cancelled, bool Again);

/// <summary>The steps that this process works on, in the background of the clocked work that watches them. A stop of the server interrupts them.</summary>
internal sealed class StepTasks(StepKinds kinds, PipelinesOptions options) : IHostedService, IAsyncDisposable
{
    private readonly ConcurrentDictionary<(string Run, int Ordinal, int Attempt), Entry> entries = new();
    private readonly SemaphoreSlim free = new(options.ConcurrentSteps, options.ConcurrentSteps);
    private readonly CancellationTokenSource stopping = new();

    /// <summary>Names this process among those that share the database.</summary>
    public string Node { get; } = Ids.New();

    /// <summary>Begins an attempt. <paramref name="ended"/> is called after its end, unless the server stops.</summary>
    public void Start(PipelineRun run, PipelineStep step, IReadOnlyList<StepOutput> earlier, Func<long?, long?, string, Task> report, Func<Task> ended)
    {
        var cancel = CancellationTokenSource.CreateLinkedTokenSource(stopping.Token);
        var context = new StepContext(run, step, earlier, report, stopping.Token);
        entries[(run.Id, step.Ordinal, step.Attempt)] = new Entry(Task.Run(() => RunAsync(context, ended, cancel.Token), CancellationToken.None), cancel);
    }

    /// <summary>Whether this process works on the attempt or has its end.</summary>
    public bool Knows(string run, int ordinal, int attempt) => entries.ContainsKey((run, ordinal, attempt));

    /// <summary>The attempt's end, or null while it is under way.</summary>
    public async Task<StepEnd?> EndOfAsync(string run, int ordinal, int attempt) =>
        entries.TryGetValue((run, ordinal, attempt), out var entry) && entry.Task.IsCompleted ? await entry.Task : null;

    public void Cancel(string run, int ordinal, int attempt)
    {
        if (entries.TryGetValue((run, ordinal, attempt), out var entry))
        {
            entry.Cancel.Cancel();
        }
    }

    /// <summary>Forgets an attempt whose end has been recorded.</summary>
    public void Forget(string run, int ordinal, int attempt) => entries.TryRemove((run, ordinal, attempt), out _);

    /// <summary>Completes when no attempt is under way.</summary>
    public Task IdleAsync() => Task.WhenAll(entries.Values.Select(e => e.Task));

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        await stopping.CancelAsync();
        await IdleAsync().WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    public async ValueTask DisposeAsync()
    {
        await stopping.CancelAsync();
        await IdleAsync();
        free.Dispose();
    }

    /// <summary>What went wrong, in one line that a user can read.</summary>
    public static string Sentence(Exception e) => e switch
    {
        SlipwayException s => s.Next is null ? s.Sentence : $"{s.Sentence}. {s.Next}",
        TrainingException t => t.Message,
        _ => $"{e.GetType().Name}: {e.Message}",
    };

    private async Task<StepEnd> RunAsync(StepContext context, Func<Task> ended, CancellationToken ct)
    {
        var end = await EndAsync(context, ct);
        if (!stopping.IsCancellationRequested)
        {
            // The watcher looks again by itself; a wake only saves it the wait.
            await ended().ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        return end;
    }

    private async Task<StepEnd> EndAsync(StepContext context, CancellationToken ct)
    {
        try
        {
            await free.WaitAsync(ct);
            try
            {
                return new(await kinds.Of(context.Step.Kind).RunAsync(context, ct), null, false, false);
            }
            finally
            {
                free.Release();
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            return new(null, null, Cancelled: true, Again: false);
        }
        catch (Exception e)
        {
            return new(null, Sentence(e), false, Again: e is SlipwayException { Code: ErrorCode.Unavailable });
        }
    }

    private sealed record Entry(Task<StepEnd> Task, CancellationTokenSource Cancel);
}
