using System.Net;
using Slipway.Foundation;

namespace Slipway.Server;

/// <summary>Whether requests need a credential.</summary>
public enum IdentityMode
{
    /// <summary>Only when an address is not loopback, or when identities exist.</summary>
    Auto,

    /// <summary>Never: everything is attributed to the operating-system user. Loopback addresses only.</summary>
    SingleUser,

    /// <summary>Always.</summary>
    Required,
}

/// <summary>Everything that a server can be told.</summary>
public sealed record SlipwayOptions
{
    public const string DefaultUrl = "http://127.0.0.1:5600";

    public const string DefaultGrpcUrl = "http://127.0.0.1:5601";

    /// <summary>The data folder; made when absent.</summary>
    public string DataDirectory { get; init; } = "slipway-data";

    /// <summary>Addresses to listen on. Port 0 takes a free one.</summary>
    public IReadOnlyList<string> Urls { get; init; } = [DefaultUrl];

    /// <summary>Addresses of the inference protocol over gRPC (HTTP/2 without TLS). Port 0 takes a free one; empty: no gRPC.</summary>
    public IReadOnlyList<string> GrpcUrls { get; init; } = [];

    /// <summary>A folder of models as Triton lays it out (MODEL/VERSION/model.onnx), served as it is; null: none.</summary>
    public string? ModelRepository { get; init; }

    /// <summary>
    /// Program and first arguments of the child processes in which models run apart; empty: this program, which must be <c>slipway</c>. Programs that
    /// hold a server name that executable here.
    /// </summary>
    public IReadOnlyList<string> Worker { get; init; } = [];

    /// <summary>A PostgreSQL connection string; null keeps the rows in SQLite inside the data folder.</summary>
    public string? Postgres { get; init; }

    /// <summary>This process's name among the nodes that share one PostgreSQL database and one data folder; null: it is alone.</summary>
    public string? Node { get; init; }

    /// <summary>Where the other nodes reach this one, as <c>10.0.0.5:5610</c>; null: a free port of this machine's loopback. The wire between nodes is neither encrypted nor authenticated.</summary>
    public string? NodeAddress { get; init; }

    public IdentityMode Identity { get; init; } = IdentityMode.Auto;

    /// <summary>How long a stop waits for requests in flight.</summary>
    public TimeSpan DrainTime { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>Where people reach the server, such as <c>https://slipway.example.org</c>: links in messages begin with it.</summary>
    public string? PublicUrl { get; init; }

    /// <summary>Whether every request is written to the log.</summary>
    public bool Verbose { get; init; }

    /// <summary>Whether webhooks of the model registry may post to this machine, by http too.</summary>
    public bool WebhooksToLoopback { get; init; }

    /// <summary>Whether analyses may ask metrics of this machine, such as a Prometheus beside the server.</summary>
    public bool MetricsFromLoopback { get; init; }

    /// <summary>Whether small batches of classical models may run compiled instead of in ONNX Runtime.</summary>
    public bool CompileModels { get; init; } = true;

    /// <summary>Whether pipelines may run commands on this machine, as the server's user.</summary>
    public bool AllowCommands { get; init; }

    // Where commands that pipelines run find the server. A port that is chosen at the start is not known yet.
    internal string? TrackingUri => (PublicUrl ?? (Urls.Count > 0 ? Urls[0] : null)) is { } url && Uri.TryCreate(url, UriKind.Absolute, out var uri) && uri.Port != 0 ? url : null;

    internal bool OnlyLoopback => Urls.Concat(GrpcUrls).All(u => Uri.TryCreate(u, UriKind.Absolute, out var uri) && (uri.IsLoopback || (IPAddress.TryParse(uri.Host.Trim('[', ']'), out var address) && IPAddress.IsLoopback(address))));

    /// <summary>Every error of these options, empty when they are sound.</summary>
    public IReadOnlyList<string> Problems()
    {
        var problems = new List<string>(new FoundationOptions { DataDirectory = DataDirectory, Node = Node }.Problems());
        if (Node is not null && Postgres is null)
        {
            problems.Add($"node: \"{Node}\" needs a database that nodes can share; name it with --postgres");
        }

        if (NodeAddress is not null && (Node is null || !IPEndPoint.TryParse(NodeAddress, out var address) || address.Address.Equals(IPAddress.Any) || address.Address.Equals(IPAddress.IPv6Any)))
        {
            problems.Add(Node is null ? "node-address: only a node has one; name it with --node" : $"node-address: \"{NodeAddress}\" is not an address of this machine such as 10.0.0.5:5610");
        }

        if (Urls.Count == 0)
        {
            problems.Add("urls: there is no address to listen on");
        }

        foreach (var (option, example, url) in Urls.Select(url => ("urls", DefaultUrl, url)).Concat(GrpcUrls.Select(url => ("grpc-urls", DefaultGrpcUrl, url))))
        {
            if (!Uri.TryCreate(url, UriKind.Absolute, out var uri) || uri.Scheme is not "http")
            {
                problems.Add($"{option}: \"{url}\" is not an address like {example} (TLS is ended by a proxy in front)");
            }
            else if (uri.AbsolutePath != "/")
            {
                problems.Add($"{option}: \"{url}\" has a path; an address has none");
            }
        }

        if (Identity == IdentityMode.SingleUser && problems.Count == 0 && !OnlyLoopback)
        {
            problems.Add($"identity: single-user mode is for loopback addresses, and {string.Join(", ", Urls.Concat(GrpcUrls))} is reachable from elsewhere");
        }

        if (ModelRepository is not null && !Directory.Exists(ModelRepository))
        {
            problems.Add($"model-repository: there is no folder {ModelRepository}");
        }

        if (DrainTime < TimeSpan.Zero || DrainTime > TimeSpan.FromMinutes(10))
        {
            problems.Add($"drain-time: {DrainTime} is not between 0 and 10 minutes");
        }

        return problems;
    }
}
