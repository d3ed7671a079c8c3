using Slipway.Foundation;

namespace Slipway.Web;

/// <summary>
/// Who looks at the page. The host fills it in the HTTP request's scope before the components are rendered; the root
/// component hands it to the interactive circuit inside the component parameters, which the framework encrypts, so the
/// browser cannot choose its own actor. Pages pass it to every facade they call.
/// </summary>
public sealed class CurrentActor
{
    /// <summary>The actor of this request or circuit; an unnamed user without rights until the host has set one.</summary>
    public Actor Actor { get; set; } = new(ActorKind.User, "");
}
