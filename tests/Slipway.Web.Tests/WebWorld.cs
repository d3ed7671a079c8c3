using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;
using MudBlazor.Services;
using Slipway.Governance;

namespace Slipway.Web.Tests;

/// <summary>Pages over the real foundation and governance in a temporary folder; time is fake, the browser is bUnit.</summary>
public sealed class WebWorld : BunitContext, IAsyncDisposable
{
    public static readonly Actor Ada = Access.SingleUser("ada");
    public static readonly Actor Nobody = new(ActorKind.User, "nobody", "apikey");
    private readonly string folder = Directory.CreateTempSubdirectory("slipway-web-").FullName;

    private WebWorld()
    {
        JSInterop.Mode = JSRuntimeMode.Loose;
        Clock = new FakeTimeProvider(new DateTimeOffset(2026, 3, 2, 9, 0, 0, TimeSpan.Zero));
        Services.AddLogging(b => b.SetMinimumLevel(LogLevel.Warning));
        Services.AddSingleton<TimeProvider>(Clock);
        Services.AddFoundation(new FoundationOptions { DataDirectory = folder });
        Services.AddGovernance();
        Services.AddMudServices(o => o.PopoverOptions.CheckForPopoverProvider = false);
        Services.AddScoped<CurrentActor>();
        Services.AddScoped<Live>();
        Services.AddSingleton<JournalFeed>();
    }

    public FakeTimeProvider Clock { get; }

    public static async Task<WebWorld> CreateAsync(Actor actor)
    {
        var world = new WebWorld();
        await world.Services.PrepareFoundationAsync(CancellationToken.None);
        world.Services.GetRequiredService<CurrentActor>().Actor = actor;
        return world;
    }

    public Task<string> WriteAsync(string kind, Subject subject, object? body = null) => Services.GetRequiredService<Database>()
        .WriteAsync(tx => Services.GetRequiredService<Journal>().AppendAsync(tx, Ada, kind, subject, body), CancellationToken.None);

    async ValueTask IAsyncDisposable.DisposeAsync()
    {
        await base.DisposeAsync();
        Directory.Delete(folder, recursive: true);
    }
}
