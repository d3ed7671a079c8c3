using System.CommandLine;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Microsoft.Extensions.Logging.Console;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Server;

namespace Slipway.Cli.Commands;

/// <summary>Runs the server. The only command that touches its types, so that all others start without loading them.</summary>
internal static class ServeCommand
{
    public static Command Build(Globals globals, Terminal terminal)
    {
        var data = new Option<string>("--data") { Description = "The data folder, made when absent (or SLIPWAY_DATA)", DefaultValueFactory = _ => terminal.Environment("SLIPWAY_DATA") is { Length: > 0 } folder ? folder : "slipway-data", HelpName = "folder" };
        var urls = new Option<string[]>("--urls") { Description = "Addresses to listen on; port 0 takes a free one", DefaultValueFactory = _ => [Session.DefaultUrl], AllowMultipleArgumentsPerToken = true, HelpName = "address" };
        var grpc = new Option<string[]>("--grpc-urls") { Description = "Addresses of gRPC (HTTP/2 without TLS); none switches it off", DefaultValueFactory = _ => [SlipwayOptions.DefaultGrpcUrl], AllowMultipleArgumentsPerToken = true, HelpName = "address" };
        var repository = new Option<string?>("--model-repository") { Description = "Serve this folder of MODEL/VERSION/model.onnx as it is, beside the endpoints", HelpName = "folder" };
        var postgres = new Option<string?>("--postgres") { Description = "Keep the rows in PostgreSQL: a connection string (or SLIPWAY_POSTGRES)", DefaultValueFactory = _ => terminal.Environment("SLIPWAY_POSTGRES"), HelpName = "connection" };
        var node = new Option<string?>("--node") { Description = "This process's name among the nodes that share --postgres and --data (or SLIPWAY_NODE)", DefaultValueFactory = _ => terminal.Environment("SLIPWAY_NODE"), HelpName = "name" };
        var nodeAddress = new Option<string?>("--node-address") { Description = "Where the other nodes reach this one, in a private network; without it they run on this machine", HelpName = "address" };
        var identity = new Option<string>("--identity") { Description = "auto, single-user or required", DefaultValueFactory = _ => "auto" };
        identity.AcceptOnlyFromAmong("auto", "single-user", "required");
        var publicUrl = new Option<string?>("--public-url") { Description = "Where people reach the server; links in messages begin with it (or SLIPWAY_PUBLIC_URL)", DefaultValueFactory = _ => terminal.Environment("SLIPWAY_PUBLIC_URL"), HelpName = "address" };
        var verbose = new Option<bool>("--verbose") { Description = "Log every request" };
        var loopback = new Option<bool>("--webhooks-to-loopback") { Description = "Webhooks of the model registry may post to this machine" };
        var metrics = new Option<bool>("--metrics-from-loopback") { Description = "Analyses of rollouts may ask metrics of this machine" };
        var session = new Option<bool>("--no-compile") { Description = "Every ONNX model runs in ONNX Runtime, also those that are faster compiled" };
        var commands = new Option<bool>("--allow-commands") { Description = "Pipelines may run commands on this machine, as the server's user" };
        return new Verb("serve", "Runs the server, its pages and its interfaces", "slipway serve", "slipway serve --data /var/lib/slipway --urls http://0.0.0.0:5600")
            .With(data, urls, grpc, repository, postgres, node, nodeAddress, identity, publicUrl, loopback, metrics, commands, session, verbose)
            .Does(globals, terminal, s => ServeAsync(
                s,
                s.Value(data)!,
                Addresses(s.Value(urls)!),
                GrpcAddresses(s, grpc),
                s.Value(repository),
                s.Value(postgres),
                s.Value(node),
                s.Value(nodeAddress),
                s.Value(identity)!,
                s.Value(publicUrl),
                s.Value(loopback),
                s.Value(metrics),
                s.Value(commands),
                s.Value(session),
                s.Value(verbose)));
    }

    private static async Task<int> ServeAsync(Session s, string data, IReadOnlyList<string> urls, IReadOnlyList<string> grpcUrls, string? repository, string? postgres, string? node, string? nodeAddress, string identity, string? publicUrl, bool loopback, bool metrics, bool commands, bool noCompile, bool verbose)
    {
        var options = new SlipwayOptions
        {
            DataDirectory = data,
            Urls = urls,
            GrpcUrls = grpcUrls,
            ModelRepository = repository,
            Postgres = string.IsNullOrEmpty(postgres) ? null : postgres,
            Node = string.IsNullOrEmpty(node) ? null : node,
            NodeAddress = nodeAddress,
            Identity = identity switch { "single-user" => IdentityMode.SingleUser, "required" => IdentityMode.Required, _ => IdentityMode.Auto },
            WebhooksToLoopback = loopback,
            MetricsFromLoopback = metrics,
            AllowCommands = commands,
            CompileModels = !noCompile,
            PublicUrl = string.IsNullOrEmpty(publicUrl) ? null : publicUrl.TrimEnd('/'),
            Verbose = verbose,
        };
        try
        {
            await using var server = SlipwayServer.Create(options, builder => AddLog(builder.Logging, s.Terminal));
            await server.StartAsync(s.Stop);
            await GreetAsync(s, server);
            await server.WaitForShutdownAsync(s.Stop);
            s.Note("stopped");
            return ExitCodes.Done;
        }
        catch (SlipwayException e)
        {
            Report.Error(s.Terminal, e.Message, e.Why, e.Next, null);
            return Errors.Of(e.Code).Exit;
        }
        catch (IOException e) when (e.InnerException is Microsoft.AspNetCore.Connections.AddressInUseException)
        {
            Report.Error(s.Terminal, $"the server cannot listen on {string.Join(", ", urls.Concat(grpcUrls))}", "the address is in use", "stop what uses it, or take another: slipway serve --urls http://127.0.0.1:0", null);
            return ExitCodes.Conflict;
        }
    }

    private static IReadOnlyList<string> Addresses(string[] given) => [.. given.SelectMany(u => u.Split([';', ','], StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))];

    /// <summary>The default address must not keep a second server on the machine from starting; one that was asked for must be had.</summary>
    private static IReadOnlyList<string> GrpcAddresses(Session s, Option<string[]> option)
    {
        var given = Addresses(s.Value(option)!);
        if (given is ["none"])
        {
            return [];
        }

        if (s.IsGiven(option) || IsFree(new Uri(SlipwayOptions.DefaultGrpcUrl)))
        {
            return given;
        }

        s.Note($"gRPC is off: {SlipwayOptions.DefaultGrpcUrl} is in use; choose an address with --grpc-urls");
        return [];
    }

    private static bool IsFree(Uri address)
    {
        try
        {
            using var probe = new TcpListener(IPAddress.Parse(address.Host), address.Port);
            probe.Start();
            return true;
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.AddressAlreadyInUse)
        {
            return false;
        }
    }

    private static async Task GreetAsync(Session s, SlipwayServer server)
    {
        var url = server.Urls[0];
        var access = server.Services.GetRequiredService<Access>();
        var owner = !server.SingleUser && !await access.HasIdentityAsync(s.Stop) ? $"{url}/owner?token={await access.MintOwnerLinkAsync(s.Stop)}" : null;
        var who = server.SingleUser ? $"single-user: everything is attributed to {Environment.UserName}" : "identity is demanded";
        var text = s.Terminal.Out;
        await text.WriteLineAsync($"Slipway {SlipwayServer.Version.Split('+')[0]} is ready:  {url}   ({who}; Ctrl-C stops it)");
        await text.WriteLineAsync($"  data:   {Path.GetFullPath(server.Options.DataDirectory)}{(server.Options.Postgres is null ? "" : " (rows in PostgreSQL)")}");
        if (server.Options.Node is { } node)
        {
            await text.WriteLineAsync($"  node:   {node}");
        }

        if (server.GrpcUrls.Count > 0)
        {
            await text.WriteLineAsync($"  gRPC:   {string.Join(", ", server.GrpcUrls)}   (Open Inference Protocol, HTTP/2 without TLS)");
        }

        if (owner is not null)
        {
            await text.WriteLineAsync($"  owner:  {owner}   (works once, for 15 minutes)");
        }

        var elsewhere = url == Session.DefaultUrl ? "" : $" --url {url}";
        await text.WriteLineAsync($"  next:   slipway status{elsewhere}");
        await text.WriteLineAsync($"          export MLFLOW_TRACKING_URI={url}");
        await text.WriteLineAsync($"          slipway dataset create flights{elsewhere}");
        await text.FlushAsync(s.Stop);
    }

    /// <summary>The log goes to standard error: a line an event for people, a JSON object an event for collectors.</summary>
    private static void AddLog(ILoggingBuilder logging, Terminal terminal)
    {
        logging.Services.Configure<ConsoleLoggerOptions>(o => o.LogToStandardErrorThreshold = LogLevel.Trace);
        if (terminal.CanAsk)
        {
            logging.AddSimpleConsole(o =>
            {
                o.SingleLine = true;
                o.TimestampFormat = "HH:mm:ss ";
                o.ColorBehavior = terminal.Colour ? LoggerColorBehavior.Default : LoggerColorBehavior.Disabled;
            });
        }
        else
        {
            logging.AddJsonConsole(o =>
            {
                o.UseUtcTimestamp = true;
                o.TimestampFormat = "yyyy-MM-dd'T'HH:mm:ss.fff'Z'";
                o.JsonWriterOptions = new JsonWriterOptions { Indented = false };
            });
        }
    }
}
