using MudBlazor.Services;

namespace Slipway.Web.Tests;

internal static class MudForTests
{
    /// <summary>The services that MudBlazor's components ask for, without anything of a browser.</summary>
    public static void AddMudBlazorForTests(this IServiceCollection services) => services.AddMudServices(o => o.PopoverOptions.CheckForPopoverProvider = false);
}
