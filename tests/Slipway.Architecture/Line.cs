namespace Slipway.Architecture;

/// <summary>The one table that the rules are driven by.</summary>
internal static class Line
{
    /// <summary>The modules from left to right: a module knows only those to its left.</summary>
    public static readonly string[] Modules = ["Foundation", "Governance", "Data", "Registry", "Monitoring", "Serving", "Pipelines"];

    /// <summary>Everything from left to right; hosts come after the modules.</summary>
    public static readonly string[] All = [.. Modules, "Client", "Scale", "Web", "Server", "Cli"];

    /// <summary>Assemblies that speak a protocol; no module references one.</summary>
    public static readonly string[] Protocols = ["Microsoft.AspNetCore", "Grpc", "System.CommandLine"];

    /// <summary>Packages that only Scale references.</summary>
    public static readonly string[] ScaleOnly = ["Npgsql", "dbup-postgresql", "AWSSDK", "KubernetesClient"];

    /// <summary>Public interfaces that have one implementation by decision, with the reason.</summary>
    public static readonly Dictionary<string, string> LoneInterfaces = new(StringComparer.Ordinal)
    {
        ["Slipway.Foundation.IBlobStore"] = "files today, S3 when the server grows (architecture section 10)",
    };

    /// <summary>Public writing methods without an actor, with the reason.</summary>
    public static readonly Dictionary<string, string> Unattributed = new(StringComparer.Ordinal)
    {
        ["Slipway.Foundation.IBlobStore.PutAsync"] = "bytes without a name; whoever names them is attributed",
        ["Slipway.Foundation.FileBlobStore.PutAsync"] = "bytes without a name; whoever names them is attributed",
        ["Slipway.Foundation.FileBlobStore.DeleteAsync"] = "bytes without a name; whoever names them is attributed",
        ["Slipway.Foundation.IBlobStore.DeleteAsync"] = "bytes without a name; whoever names them is attributed",
    };

    public static int IndexOf(string module) => Array.IndexOf(All, module);

    /// <summary>The prefixes of a module's tables.</summary>
    public static string[] TablePrefixes(string module) => module == "Foundation" ? ["journal_", "foundation_"] : [module.ToLowerInvariant() + "_"];
}
