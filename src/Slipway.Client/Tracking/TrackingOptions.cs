using System.Net.Http.Headers;
using System.Text;

namespace Slipway.Client;

/// <summary>Which server keeps the runs, and how they are sent to it. Without a word, the environment that every MLflow client reads decides.</summary>
public sealed record TrackingOptions
{
    /// <summary>The server, <c>MLFLOW_TRACKING_URI</c>; a path in it is kept. Default <c>http://127.0.0.1:5600</c>, where a Slipway server listens.</summary>
    public Uri Server { get; init; } = new("http://127.0.0.1:5600");

    /// <summary><c>MLFLOW_TRACKING_USERNAME</c>; with a password it wins over the token.</summary>
    public string? Username { get; init; }

    /// <summary><c>MLFLOW_TRACKING_PASSWORD</c>.</summary>
    public string? Password { get; init; }

    /// <summary><c>MLFLOW_TRACKING_TOKEN</c>, sent as a bearer token.</summary>
    public string? Token { get; init; }

    /// <summary>How long a logged value waits for others before it is sent.</summary>
    public TimeSpan FlushEvery { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How many logged values may wait, 40 bytes each. When so many wait, logging waits too.</summary>
    public int Capacity { get; init; } = 1 << 18;

    /// <summary>How often a call is repeated after 408, 429, 500, 502, 503, 504 or a broken connection, with pauses of 1, 2, 4… seconds.</summary>
    public int Retries { get; init; } = 7;

    /// <summary>The first of those pauses.</summary>
    public TimeSpan RetryAfter { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How long one call may take, other than of files.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(120);

    /// <summary>What sends the requests, for proxies and client certificates; null for the default. The caller disposes it.</summary>
    public HttpMessageHandler? Handler { get; init; }

    /// <summary>The clock of timestamps and pauses.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>Reads the environment.</summary>
    /// <exception cref="SlipwayClientException">The tracking URI is no http address.</exception>
    public static TrackingOptions FromEnvironment()
    {
        var options = new TrackingOptions
        {
            Username = Environment.GetEnvironmentVariable("MLFLOW_TRACKING_USERNAME"),
            Password = Environment.GetEnvironmentVariable("MLFLOW_TRACKING_PASSWORD"),
            Token = Environment.GetEnvironmentVariable("MLFLOW_TRACKING_TOKEN"),
        };
        return Environment.GetEnvironmentVariable("MLFLOW_TRACKING_URI") is not { Length: > 0 } uri
            ? options
            : Uri.TryCreate(uri, UriKind.Absolute, out var server) && server.Scheme is "http" or "https"
                ? options with { Server = server }
                : throw new SlipwayClientException("invalidArgument", "the tracking server cannot be found", $"MLFLOW_TRACKING_URI is \"{uri}\"", "set it to an address such as http://127.0.0.1:5600");
    }

    internal AuthenticationHeaderValue? Authorization()
    {
        var (user, password) = (Username, Password);
        if (Server.UserInfo.Length > 0 && user is null)
        {
            var parts = Server.UserInfo.Split(':', 2);
            (user, password) = (Uri.UnescapeDataString(parts[0]), parts.Length > 1 ? Uri.UnescapeDataString(parts[1]) : "");
        }

        return user is { Length: > 0 } && password is not null
            ? new AuthenticationHeaderValue("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes($"{user}:{password}")))
            : Token is { Length: > 0 } ? new AuthenticationHeaderValue("Bearer", Token) : null;
    }
}
