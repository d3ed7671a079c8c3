using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Npgsql;

namespace Slipway.Tests;

/// <summary>One real PostgreSQL for the whole test process, in a temporary folder on a free loopback port.</summary>
internal sealed class PostgresServer : IAsyncDisposable
{
    private static readonly Lazy<Task<PostgresServer?>> Shared = new(StartAsync);
    private readonly string folder;
    private readonly string bin;
    private readonly string[] prefix;
    private readonly int port;
    private int databases;

    private PostgresServer(string folder, string bin, string[] prefix, int port)
    {
        this.folder = folder;
        this.bin = bin;
        this.prefix = prefix;
        this.port = port;
    }

    /// <summary>The connection string of a new, empty database; skips the test when the machine has no PostgreSQL.</summary>
    public static async Task<string> NewDatabaseAsync()
    {
        var server = await Shared.Value;
        Assert.SkipWhen(server is null, "PostgreSQL is not installed (./test installs it)");
        return await server!.CreateDatabaseAsync();
    }

    /// <summary>A server of one test's own, which may stop it; skips the test when the machine has no PostgreSQL.</summary>
    public static async Task<PostgresServer> OwnAsync()
    {
        var server = await StartAsync();
        Assert.SkipWhen(server is null, "PostgreSQL is not installed (./test installs it)");
        return server!;
    }

    public async Task<string> CreateDatabaseAsync()
    {
        var name = $"t{Interlocked.Increment(ref databases)}";
        await using var connection = new NpgsqlConnection(Connection("postgres"));
        await connection.OpenAsync();
        await using var command = connection.CreateCommand();
        command.CommandText = $"CREATE DATABASE {name}";
        await command.ExecuteNonQueryAsync();
        return Connection(name);
    }

    /// <summary>Ends it as a crash would.</summary>
    public Task CrashAsync() => RunAsync(prefix, Path.Combine(bin, "pg_ctl"), "-D", Path.Combine(folder, "data"), "-m", "immediate", "-w", "stop");

    public Task BeginAsync() => RunAsync(
        prefix, Path.Combine(bin, "pg_ctl"), "-D", Path.Combine(folder, "data"), "-w", "-l", Path.Combine(folder, "log"), "-o",
        $"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c max_connections=300 -c shared_buffers=64MB", "start");

    public static ValueTask StopSharedAsync() => Shared.IsValueCreated && Shared.Value.IsCompletedSuccessfully && Shared.Value.GetAwaiter().GetResult() is { } server ? server.DisposeAsync() : ValueTask.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        await CrashAsync();
        Directory.Delete(folder, recursive: true);
    }

    private string Connection(string database) => $"Host=127.0.0.1;Port={port};Username=slipway;Database={database};Maximum Pool Size=40;Timeout=30";

    private static async Task<PostgresServer?> StartAsync()
    {
        var bin = Directory.Exists("/usr/lib/postgresql")
            ? Directory.GetDirectories("/usr/lib/postgresql").Select(d => Path.Combine(d, "bin")).Where(d => File.Exists(Path.Combine(d, "initdb"))).Order(StringComparer.Ordinal).LastOrDefault()
            : null;
        if (bin is null)
        {
            return null;
        }

        var folder = Directory.CreateTempSubdirectory("slipway-pg-").FullName;
        // PostgreSQL refuses to run as root; the package's own user runs it then.
        string[] prefix = Environment.UserName == "root" ? ["runuser", "-u", "postgres", "--"] : [];
        if (prefix.Length > 0)
        {
            await RunAsync([], "chown", "postgres", folder);
        }

        int port;
        using (var listener = new TcpListener(IPAddress.Loopback, 0))
        {
            listener.Start();
            port = ((IPEndPoint)listener.LocalEndpoint).Port;
        }

        var data = Path.Combine(folder, "data");
        await RunAsync(prefix, Path.Combine(bin, "initdb"), "-D", data, "-U", "slipway", "-A", "trust", "-E", "UTF8", "--locale=C", "-N");
        var server = new PostgresServer(folder, bin, prefix, port);
        await server.BeginAsync();
        return server;
    }

    private static async Task RunAsync(string[] prefix, string program, params string[] args)
    {
        string[] all = [.. prefix, program, .. args];
        // Output goes nowhere: the server inherits the pipes, and reading them would wait for its end.
        var start = new ProcessStartInfo("/bin/sh", ["-c", $"exec {string.Join(' ', all.Select(a => "'" + a.Replace("'", "'\\''", StringComparison.Ordinal) + "'"))} >/dev/null 2>&1 </dev/null"]) { WorkingDirectory = "/" };
        using var process = Process.Start(start)!;
        await process.WaitForExitAsync();
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException($"{string.Join(' ', all)} ended with {process.ExitCode}");
        }
    }
}
