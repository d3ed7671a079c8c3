using System.Net.Http.Headers;
using System.Text.RegularExpressions;
using Microsoft.Extensions.DependencyInjection;
using Slipway.Cli;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;
using Slipway.Server;

namespace Slipway.Acceptance;

/// <summary>A real server on a free port over a temporary folder, with an owner named ada; and the command line in front of it.</summary>
public sealed partial class RunningServer : IAsyncLifetime
{
    private readonly bool withOwner;
    private readonly bool webhooksToLoopback;
    private readonly string folder = Directory.CreateTempSubdirectory("slipway-acceptance-").FullName;
    private SlipwayServer? server;

    public RunningServer()
        : this(withOwner: true)
    {
    }

    internal RunningServer(bool withOwner, bool webhooksToLoopback = false)
    {
        this.withOwner = withOwner;
        this.webhooksToLoopback = webhooksToLoopback;
    }

    public string Data => Path.Combine(folder, "data");

    public string Folder => folder;

    public string Url => Running.Urls[0];

    public string OwnerKey { get; private set; } = "";

    public Actor Ada { get; private set; } = new(ActorKind.User, "ada");

    private SlipwayServer Running => server ?? throw new InvalidOperationException("the server is stopped");

    public async ValueTask InitializeAsync()
    {
        server = SlipwayServer.Create(new SlipwayOptions { DataDirectory = Data, Urls = ["http://127.0.0.1:0"], Identity = IdentityMode.Required, WebhooksToLoopback = webhooksToLoopback, Worker = [Path.Combine(AppContext.BaseDirectory, "slipway")] });
        await server.StartAsync(CancellationToken.None);
        if (!withOwner)
        {
            return;
        }

        var access = Get<Access>();
        var owner = await access.RedeemOwnerLinkAsync(await access.MintOwnerLinkAsync(CancellationToken.None), "ada", CancellationToken.None);
        OwnerKey = owner!.Key.Secret;
        Ada = owner.Actor;
    }

    public T Get<T>()
        where T : notnull => Running.Services.GetRequiredService<T>();

    /// <summary>A key of a new user who holds just this role.</summary>
    public async Task<string> KeyOfAsync(string name, string role)
    {
        await Get<Access>().CreateUserAsync(Ada, name, [role], CancellationToken.None);
        return (await Get<Access>().CreateKeyAsync(Ada, name, "test", [role], null, CancellationToken.None)).Secret;
    }

    public HttpClient Client(string? key)
    {
        var client = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false }) { BaseAddress = new Uri(Url) };
        client.DefaultRequestHeaders.Authorization = key is null ? null : new AuthenticationHeaderValue("Bearer", key);
        return client;
    }

    /// <summary>Registers the iris model, whose file the serving tests keep, as the next version; with a run whose accuracy is given.</summary>
    public async Task<ModelVersion> RegisterIrisAsync(double accuracy)
    {
        var (experiments, runs, models) = (Get<Experiments>(), Get<Runs>(), Get<Models>());
        var experiment = await experiments.EnsureAsync(Ada, "iris", CancellationToken.None);
        // Runs of one test begin in the same second, in the order of their accuracy: what is printed does not hang on the clock.
        var start = DateTimeOffset.FromUnixTimeMilliseconds(1_700_000_000_000 + (long)(accuracy * 100));
        var run = await runs.CreateAsync(Ada, new CreateRun { ExperimentId = experiment.Id, Name = "logreg", UserId = "ada", StartTime = start }, CancellationToken.None);
        await runs.LogBatchAsync(Ada, run.Id, [new MetricPoint("accuracy", accuracy, 1_700_000_000_000)], [new Param("solver", "lbfgs")], [], CancellationToken.None);
        await using (var file = File.OpenRead(Path.Combine(AppContext.BaseDirectory, "models", "iris_logreg.onnx")))
        {
            await runs.PutArtifactAsync(Ada, run.Id, "model/model.onnx", file, CancellationToken.None);
        }

        await runs.FinishAsync(Ada, run.Id, RunStatus.Finished, CancellationToken.None);
        if (!(await models.ListAsync(CancellationToken.None)).Any(m => m.Name == "iris"))
        {
            await models.CreateAsync(Ada, "iris", "which iris it is", CancellationToken.None);
        }

        return await models.RegisterAsync(Ada, new RegisterVersion { Name = "iris", RunId = run.Id, Source = $"runs:/{run.Id}/model" }, CancellationToken.None);
    }

    /// <summary>Runs the command line in this process, as ada unless another key is given.</summary>
    public async Task<CliResult> CliAsync(string command, string input = "", string? key = "ada", IReadOnlyDictionary<string, string>? environment = null)
    {
        var variables = new Dictionary<string, string>(environment ?? new Dictionary<string, string>(), StringComparer.Ordinal);
        variables.TryAdd("XDG_CONFIG_HOME", Path.Combine(folder, "config"));
        if (server is not null)
        {
            variables.TryAdd("SLIPWAY_URL", Url);
        }

        if (key is not null)
        {
            variables.TryAdd("SLIPWAY_TOKEN", key == "ada" ? OwnerKey : key);
        }

        using var standard = new StringWriter();
        using var error = new StringWriter();
        var terminal = new Terminal(new StringReader(input), standard, error, variables.GetValueOrDefault, ShowsTables: false, CanAsk: false, TimeProvider.System);
        var exit = await CommandLine.RunAsync(Split(command.Replace("FOLDER", folder, StringComparison.Ordinal)), terminal, CancellationToken.None);
        return new CliResult(exit, standard.ToString(), error.ToString());
    }

    public async Task StopAsync()
    {
        await Running.StopAsync(CancellationToken.None);
        await Running.DisposeAsync();
        server = null;
    }

    public async ValueTask DisposeAsync()
    {
        if (server is not null)
        {
            await StopAsync();
        }

        Directory.Delete(folder, recursive: true);
    }

    /// <summary>Words as a shell splits them, with quotes.</summary>
    internal static string[] Split(string command) => [.. Word().Matches(command).Select(m => m.Groups["quoted"].Success ? m.Groups["quoted"].Value : m.Value)];

    [GeneratedRegex("'(?<quoted>[^']*)'|\"(?<quoted>[^\"]*)\"|[^ ]+", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Word();
}

/// <summary>What a command did.</summary>
public sealed record CliResult(int Exit, string Out, string Error);
