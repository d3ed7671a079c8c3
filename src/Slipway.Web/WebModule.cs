using Microsoft.Extensions.DependencyInjection;
using MudBlazor;
using MudBlazor.Services;

namespace Slipway.Web;

/// <summary>Puts the pages together.</summary>
public static class WebModule
{
    /// <summary>
    /// Registers the interactive components. The host then maps <c>App</c>:
    /// <c>app.MapStaticAssets(); app.MapRazorComponents&lt;App&gt;().AddInteractiveServerRenderMode();</c>
    /// and fills the scoped <see cref="CurrentActor"/> in a middleware before it.
    /// </summary>
    public static IServiceCollection AddSlipwayWeb(this IServiceCollection services)
    {
        services.AddRazorComponents().AddInteractiveServerComponents();
        services.AddMudServices(options =>
        {
            options.SnackbarConfiguration.PositionClass = Defaults.Classes.Position.BottomRight;
            options.SnackbarConfiguration.VisibleStateDuration = 5000;
            options.SnackbarConfiguration.ShowTransitionDuration = 120;
            options.SnackbarConfiguration.HideTransitionDuration = 120;
            options.SnackbarConfiguration.PreventDuplicates = false;
        });
        services.AddScoped<CurrentActor>();
        services.AddScoped<Live>();
        services.AddScoped<Pages.Overview>();
        return services;
    }
}
