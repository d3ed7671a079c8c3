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

    /// <summary>A PostgreSQL connection string; null keeps the rows in SQLite inside the data folder.</summary>
    public string? Postgres { get; init; }

    public IdentityMode Identity { get; init; } = IdentityMode.Auto;

    /// <summary>How long a stop waits for requests in flight.</summary>
    public TimeSpan DrainTime { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>Where people reach the server, such as <c>https://slipway.example.org</c>: links in messages begin with it.</summary>
    public string? PublicUrl { get; init; }

    /// <summary>Whether every request is written to the log.</summary>
    public bool Verbose { get; init; }

    /// <summary>Whether webhooks of the model registry may post to this machine, by http too.</summary>
    public bool WebhooksToLoopback { get; init; }

    internal bool OnlyLoopback => Urls.Concat(GrpcUrls).All(u => Uri.TryCreate(u, UriKind.Absolute, out var uri) && (uri.IsLoopback || (IPAddress.TryParse(uri.Host.Trim('[', ']'), out var address) && IPAddress.IsLoopback(address))));

    /// <summary>Every error of these options, empty when they are sound.</summary>
    public IReadOnlyList<string> Problems()
    {
        var problems = new List<string>(new FoundationOptions { DataDirectory = DataDirectory }.Problems());
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
