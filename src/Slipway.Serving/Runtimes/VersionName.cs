using System.Globalization;
using Slipway.Foundation;

namespace Slipway.Serving.Runtimes;

/// <summary>Model versions as routes name them: <c>name/number</c>.</summary>
internal static class VersionName
{
    /// <summary>The parts of a name; InvalidArgument for anything else. Model names hold no slash.</summary>
    public static (string Name, int Version) Split(string modelVersion)
    {
        var slash = modelVersion.LastIndexOf('/');
        return slash > 0 && int.TryParse(modelVersion.AsSpan(slash + 1), NumberStyles.None, null, out var version)
            ? (modelVersion[..slash], version)
            : throw new SlipwayException(ErrorCode.InvalidArgument, $"'{modelVersion}' is not a model version", "a model version is written NAME/NUMBER", "use for instance flights/2");
    }
}
