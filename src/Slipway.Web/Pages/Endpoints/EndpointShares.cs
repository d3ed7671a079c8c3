using Slipway.Monitoring;
using Slipway.Serving;
using Slipway.Serving.Routing;
using Slipway.Web.Charts;

namespace Slipway.Web.Pages;

/// <summary>An endpoint's traffic as shares of a bar.</summary>
internal static class EndpointShares
{
    /// <summary>Whether a version is registered, and not one of the model repository's folder (<c>repository:NAME@CONTENT/VERSION</c>).</summary>
    public static bool IsRegistered(string modelVersion) => !modelVersion.StartsWith("repository:", StringComparison.Ordinal);

    /// <summary>A version as people say it: name and number.</summary>
    public static string Short(string modelVersion) => IsRegistered(modelVersion) ? modelVersion
        : modelVersion["repository:".Length..modelVersion.IndexOf('@', StringComparison.Ordinal)] + modelVersion[modelVersion.LastIndexOf('/')..];

    /// <summary>What the route table asks for.</summary>
    public static IReadOnlyList<WeightsBar.Share> Wanted(Endpoint endpoint) =>
        [.. endpoint.Route.Variants.Select((v, i) => new WeightsBar.Share(Short(v.ModelVersion), v.Percent / 100, v.Name, i))];

    /// <summary>What the counted requests got.</summary>
    public static IReadOnlyList<WeightsBar.Share> Actual(Endpoint endpoint, IReadOnlyList<(RouteVariant Variant, VariantHealth Health)> counted)
    {
        var all = counted.Sum(v => v.Health.Requests);
        return [.. endpoint.Route.Variants.Select((v, i) => new WeightsBar.Share(Short(v.ModelVersion), all == 0 ? 0 : (double)counted[i].Health.Requests / all, v.Name, i))];
    }
}
