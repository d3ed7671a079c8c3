using Microsoft.AspNetCore.Components;

namespace Slipway.Web;

/// <summary>
/// The address bar is the state of a page: filters, columns, selection. Pages read it with
/// <see cref="SupplyParameterFromQueryAttribute"/> and write it here, so a copied address shows the same picture.
/// </summary>
internal static class UrlState
{
    /// <summary>
    /// Changes the named query values of the current address; null and empty text remove a value.
    /// A change of a filter replaces the history entry; <paramref name="step"/> adds one, so that Back returns.
    /// </summary>
    public static void Remember(this NavigationManager navigation, bool step = false, params ReadOnlySpan<(string Name, string? Value)> values)
    {
        var target = navigation.With(values);
        if (target != navigation.Uri)
            navigation.NavigateTo(target, new NavigationOptions { ReplaceHistoryEntry = !step });
    }

    /// <summary>The current address with the named query values changed.</summary>
    public static string With(this NavigationManager navigation, params ReadOnlySpan<(string Name, string? Value)> values)
    {
        var changes = new Dictionary<string, object?>(StringComparer.Ordinal);
        foreach (var (name, value) in values)
            changes[name] = string.IsNullOrEmpty(value) ? null : value;
        return navigation.GetUriWithQueryParameters(changes);
    }

    /// <summary>This server's address without a trailing slash, for commands that can be pasted into a terminal.</summary>
    public static string Server(this NavigationManager navigation) => navigation.BaseUri.TrimEnd('/');

    /// <summary>A path segment for a name that may hold any character.</summary>
    public static string Segment(string name) => Uri.EscapeDataString(name);
}
