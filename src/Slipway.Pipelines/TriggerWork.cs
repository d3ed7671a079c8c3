namespace Slipway.Pipelines;

/// <summary>
/// Looks again at alerts that a trigger left alone while a run was open, during a cool-down, without budget or on damaged data: when the reason
/// has passed and the alert still fires, the trigger decides anew.
/// </summary>
internal sealed class TriggerWork(Triggers triggers, TimeProvider clock) : IClockedWork
{
    private static readonly TimeSpan Again = TimeSpan.FromSeconds(30);

    public string Kind => "trigger";

    public Task<IReadOnlyList<string>> OpenAsync(CancellationToken ct) => triggers.WaitingAsync(ct);

    public async Task<DateTimeOffset?> StepAsync(string key, CancellationToken ct)
    {
        if (!(await triggers.WaitingAsync(ct)).Contains(key, StringComparer.Ordinal))
        {
            return null;
        }

        await triggers.DecideAsync(key, ct);
        return clock.GetUtcNow() + Again;
    }
}
