using Microsoft.AspNetCore.Components;
using MudBlazor;
using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Web.Parts;

/// <summary>
/// A page: which right it needs, how it loads, what refreshes it. The states loading, denied, failed and ready are the
/// same everywhere and are drawn by <c>ScreenBody</c>; the page itself draws only what it has.
/// </summary>
public abstract class Screen : ComponentBase, IDisposable
{
    private readonly CancellationTokenSource closed = new();
    private IDisposable? live;
    private ITimer? timer;
    private string? loadedFor;
    private bool loading;
    private bool again;

    internal enum Phase
    {
        Loading,
        Denied,
        Failed,
        Ready,
    }

    [Inject]
    internal CurrentActor Current { get; set; } = null!;

    [Inject]
    internal Access Access { get; set; } = null!;

    [Inject]
    internal Live Live { get; set; } = null!;

    [Inject]
    internal NavigationManager Navigation { get; set; } = null!;

    [Inject]
    internal TimeProvider Clock { get; set; } = null!;

    [Inject]
    internal ISnackbar Snackbar { get; set; } = null!;

    internal Phase Now { get; private set; }

    internal Exception? Failure { get; private set; }

    /// <summary>The right that reading this page needs.</summary>
    internal abstract string Permission { get; }

    /// <summary>Journal kinds (by their start) after which the page loads again.</summary>
    protected virtual IReadOnlyList<string> RefreshedBy => [];

    /// <summary>How often to load again without any journal entry, for pages of live traffic.</summary>
    protected virtual TimeSpan? Every => null;

    /// <summary>Who looks at the page.</summary>
    protected Actor Actor => Current.Actor;

    /// <summary>Cancelled when the reader leaves the page.</summary>
    protected CancellationToken Closed => closed.Token;

    /// <summary>Reads everything the page shows. Runs again on a new address and on refresh.</summary>
    protected abstract Task LoadAsync(CancellationToken ct);

    protected override void OnInitialized()
    {
        live = Live.On(e => RefreshedBy.Any(k => e.Kind.StartsWith(k, StringComparison.Ordinal)), () => InvokeAsync(ReloadAsync));
        if (Every is { } period)
            timer = Clock.CreateTimer(_ => { if (!Live.Paused) _ = InvokeAsync(ReloadAsync); }, null, period, period);
    }

    protected override async Task OnParametersSetAsync()
    {
        // The address is the state of the page: nothing to do while it stays.
        if (loadedFor == Navigation.Uri)
            return;
        if (loadedFor is not null && !string.Equals(PathOf(loadedFor), PathOf(Navigation.Uri), StringComparison.Ordinal))
            Now = Phase.Loading;
        loadedFor = Navigation.Uri;
        await ReloadAsync();
    }

    /// <summary>Loads the page again; a call during a load makes one more load follow it.</summary>
    internal async Task ReloadAsync()
    {
        if (loading)
        {
            again = true;
            return;
        }

        loading = true;
        try
        {
            do
            {
                again = false;
                if (await Access.AllowsAsync(Actor, Permission, Closed))
                {
                    await LoadAsync(Closed);
                    (Now, Failure) = (Phase.Ready, null);
                }
                else
                {
                    Now = Phase.Denied;
                }
            }
            while (again && !Closed.IsCancellationRequested);
        }
        catch (OperationCanceledException) when (Closed.IsCancellationRequested)
        {
            return;
        }
        catch (Exception e)
        {
            // Whatever the load throws becomes a state of the page, with a way to try again.
            (Now, Failure) = (Phase.Failed, e);
        }
        finally
        {
            loading = false;
        }

        StateHasChanged();
    }

    /// <summary>Does what the reader asked for, says so or says why not, and loads the page again.</summary>
    protected async Task<bool> ActAsync(Func<Task> action, string done)
    {
        try
        {
            await action();
            Snackbar.Add(done, Severity.Success);
            return true;
        }
        catch (SlipwayException e)
        {
            Snackbar.Add(e.Why is null ? e.Message : $"{e.Message}: {e.Why}", Severity.Error, o => o.VisibleStateDuration = 12_000);
            return false;
        }
        finally
        {
            await ReloadAsync();
        }
    }

    public void Dispose()
    {
        closed.Cancel();
        closed.Dispose();
        live?.Dispose();
        timer?.Dispose();
        GC.SuppressFinalize(this);
    }

    private static string PathOf(string uri) => uri.Split('?', '#')[0];
}
