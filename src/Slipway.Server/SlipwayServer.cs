using System.Net;
using System.Reflection;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Pipelines;
using Slipway.Registry;
using Slipway.Scale;
using Slipway.Server.Api;
using Slipway.Server.Mlflow;
using Slipway.Server.Oip;
using Slipway.Serving;
using Slipway.Web;

namespace Slipway.Server;

/// <summary>The whole product as a value: tests, the command line and the executable make the same one.</summary>
public sealed class SlipwayServer : IAsyncDisposable
{
    private readonly WebApplication app;
    private readonly DataLock held;

    private SlipwayServer(WebApplication app, SlipwayOptions options, DataLock held)
    {
        this.app = app;
        this.held = held;
        Options = options;
    }

    public SlipwayOptions Options { get; }

    public IServiceProvider Services => app.Services;

    /// <summary>The addresses that it listens on, with the real port.</summary>
    public IReadOnlyList<string> Urls => [.. Addresses.Take(Options.Urls.Count)];

    /// <summary>The addresses of gRPC, with the real port.</summary>
    public IReadOnlyList<string> GrpcUrls => [.. Addresses.Skip(Options.Urls.Count)];

    /// <summary>Whether requests need no credential.</summary>
    public bool SingleUser => app.Services.GetRequiredService<Auth>().SingleUser;

    /// <summary>The version of this build.</summary>
    public static string Version { get; } = typeof(SlipwayServer).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "0";

    /// <summary>Puts the server together without starting anything.</summary>
    /// <param name="options">What it is told.</param>
    /// <param name="also">Changes to the host before it is built, for the command line and tests.</param>
    /// <exception cref="SlipwayException">InvalidArgument with every problem of the options; Conflict when another process uses the data folder.</exception>
    public static SlipwayServer Create(SlipwayOptions options, Action<WebApplicationBuilder>? also = null)
    {
        var problems = options.Problems();
        if (problems.Count > 0)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, "the server's options are wrong", string.Join("; ", problems), "slipway serve --help");
        }

        var layout = new DataLayout(options.DataDirectory, options.Node);
        var held = DataLock.Take(layout);
        try
        {
            var builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions { ApplicationName = "slipway", ContentRootPath = AppContext.BaseDirectory, EnvironmentName = Environments.Production });
            Configure(builder, options);
            also?.Invoke(builder);
            var app = builder.Build();
            Map(app);
            return new SlipwayServer(app, options, held);
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    /// <summary>Upgrades the schema, checks that each route declares its permission, and serves.</summary>
    public async Task StartAsync(CancellationToken ct)
    {
        await app.Services.PrepareFoundationAsync(ct);
        var auth = app.Services.GetRequiredService<Auth>();
        await auth.DecideModeAsync(ct);
        app.Services.GetRequiredService<GovernanceOptions>().SingleUser = auth.SingleUser;
        var undeclared = ((IEndpointRouteBuilder)app).DataSources.SelectMany(RoutePermissions.Undeclared).ToList();
        if (undeclared.Count > 0)
        {
            throw new SlipwayException(ErrorCode.Internal, "the server does not start", $"these routes declare no permission: {string.Join(", ", undeclared)}", "end each with RequirePermission or OpenToAll");
        }

        await app.StartAsync(ct);
        app.Services.GetRequiredService<Readiness>().Ready = true;
    }

    /// <summary>Answers not ready, lets requests in flight end, and stops.</summary>
    public async Task StopAsync(CancellationToken ct)
    {
        app.Services.GetRequiredService<Readiness>().Ready = false;
        await app.StopAsync(ct);
    }

    public Task WaitForShutdownAsync(CancellationToken ct) => app.WaitForShutdownAsync(ct);

    public async ValueTask DisposeAsync()
    {
        await app.DisposeAsync();
        held.Dispose();
    }

    private ICollection<string> Addresses => app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses;

    private static void Configure(WebApplicationBuilder builder, SlipwayOptions options)
    {
        builder.WebHost.UseStaticWebAssets();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = OipEndpoints.MaxBody;
            // Many calls share one connection of gRPC; the window is large enough that one tensor does not stall the others.
            kestrel.Limits.Http2.InitialConnectionWindowSize = 4 << 20;
            kestrel.Limits.Http2.InitialStreamWindowSize = 1 << 20;
            kestrel.Limits.Http2.MaxStreamsPerConnection = 1000;
            Listening.On(kestrel, options);
        });
        builder.Services.Configure<HostOptions>(o => o.ShutdownTimeout = options.DrainTime);
        builder.Logging.ClearProviders();
        builder.Logging.SetMinimumLevel(LogLevel.Information);
        builder.Logging.AddFilter("Microsoft.AspNetCore", options.Verbose ? LogLevel.Information : LogLevel.Warning);
        // A refused call is the caller's business and is answered; only what nobody foresaw is logged.
        builder.Logging.AddFilter("Grpc", options.Verbose ? LogLevel.Information : LogLevel.Warning);
        builder.Logging.AddFilter("Microsoft.Hosting.Lifetime", LogLevel.Warning);
        // Where this category may write, the host makes an activity and a log scope for every request, which nothing here reads.
        builder.Logging.AddFilter("Microsoft.AspNetCore.Hosting.Diagnostics", options.Verbose ? LogLevel.Information : LogLevel.None);
        builder.Services.AddSingleton(options);
        if (options.Postgres is not null)
        {
            builder.Services.AddSingleton<Dialect>(new PostgresDialect(options.Postgres));
        }

        // Hosted services stop in reverse order: whoever wakes work stops before the silo that does it.
        builder.AddSilo(options.Node, options.NodeAddress is { } own ? IPEndPoint.Parse(own) : null);
        builder.Services.AddSingleton(new RegistryOptions { WebhooksToLoopback = options.WebhooksToLoopback });
        var serving = new ServingOptions { ModelRepository = options.ModelRepository is { } folder ? Path.GetFullPath(folder) : null, MetricsFromLoopback = options.MetricsFromLoopback, CompileModels = options.CompileModels };
        serving = options.Worker.Count == 0 ? serving : serving with { Worker = [.. options.Worker, .. ServingOptions.WorkerArguments] };
        var pipelines = new PipelinesOptions { AllowCommands = options.AllowCommands, TrackingUri = options.TrackingUri };
        Modules.AddAll(builder.Services, options.DataDirectory, options.PublicUrl, serving, options.Node, pipelines);
        builder.Services.AddSingleton<Auth>();
        builder.Services.AddSingleton<Admission>();
        builder.Services.AddSingleton<SignedUrls>();
        builder.Services.AddSingleton<Readiness>();
        builder.Services.AddOipGrpc();
        builder.AddTelemetry();
        builder.Services.AddHostedService<Meters>();
        // Assets that came with a build and were not published would be read again on every request, sent uncompressed and never cached.
        builder.Configuration["ReloadStaticAssetsAtRuntime"] = bool.FalseString;
        builder.Services.AddSlipwayWeb();
        builder.Services.AddAntiforgery();
    }

    private static void Map(WebApplication app)
    {
        var auth = app.Services.GetRequiredService<Auth>();
        // Inference goes straight from the socket to the model, before everything that pages and the other interfaces need.
        var admission = app.Services.GetRequiredService<Admission>();
        app.UseOip(admission.RefuseAsync);
        app.UseGrpcLane(admission.RefuseAsync);
        app.UseRequestDuration();
        app.Use(next => context => Errors.CatchAsync(context, next));
        app.Use(next => context =>
        {
            var headers = context.Response.Headers;
            headers.XContentTypeOptions = "nosniff";
            headers.XFrameOptions = "DENY";
            headers["Referrer-Policy"] = "same-origin";
            return next(context);
        });
        // A browser at an address that is nothing gets the page that says so, under its status.
        app.UseWhen(
            context => context.Request.Method == "GET" && context.Request.Headers.Accept.ToString().Contains("text/html", StringComparison.Ordinal),
            pages => pages.UseStatusCodePagesWithReExecute("/not-found", createScopeForStatusCodePages: true));
        app.UseRouting();
        app.Use(next => context => auth.InvokeAsync(context, next));
        app.UseAntiforgery();

        app.MapHealth();
        app.MapSignIn();
        app.MapOip(route => route.RequirePermission(Permissions.Predict), route => route.OpenToAll());
        app.MapOipModels();
        app.MapOipGrpc();
        app.MapMlflow();
        app.MapApi();
        app.MapStaticAssets(AssetList()).OpenToAll();
        app.MapRazorComponents<App>().AddInteractiveServerRenderMode().WithStaticAssets(AssetList()).RequirePermission(Permissions.ModelRead);
    }

    // The executable has one list of every asset, which is the default; a host that is not the executable, as in tests, has the pages' list only.
    private static string? AssetList() =>
        File.Exists(Path.Combine(AppContext.BaseDirectory, "slipway.staticwebassets.endpoints.json")) ? null : "Slipway.Web.staticwebassets.endpoints.json";
}
