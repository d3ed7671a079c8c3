using System.Globalization;
using System.Runtime.CompilerServices;

namespace Slipway.Client;

/// <summary>A tracking server: its runs, their files and its registered models. Speaks MLflow's REST protocol and nothing else.</summary>
public sealed class TrackingClient : IDisposable
{
    private const int PageSize = 1000;
    private static readonly TimeSpan ReadyPoll = TimeSpan.FromMilliseconds(500);

    /// <param name="options">The server; null for what the environment says.</param>
    public TrackingClient(TrackingOptions? options = null)
    {
        Options = options ?? TrackingOptions.FromEnvironment();
        Wire = new TrackingWire(Options);
    }

    public TrackingOptions Options { get; }

    internal TrackingWire Wire { get; }

    /// <summary>Starts a run; the experiment is created when it does not exist.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async Task<ActiveRun> StartRunAsync(string experiment, string? name = null, IReadOnlyDictionary<string, string>? tags = null, CancellationToken ct = default) =>
        await StartRunInAsync(await EnsureExperimentAsync(experiment, ct), name, tags ?? new Dictionary<string, string>(), ct);

    /// <summary>Opens a run again, to log more to it.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async Task<ActiveRun> ResumeRunAsync(string runId, CancellationToken ct = default)
    {
        await Wire.PostAsync("runs/update", new { RunId = runId, Status = "RUNNING" }, ct);
        return new ActiveRun(this, await GetRunAsync(runId, ct));
    }

    /// <summary>A run with its latest metrics, parameters and tags.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async Task<TrackedRun> GetRunAsync(string runId, CancellationToken ct = default) =>
        (await Wire.GetAsync<RunAnswer>($"runs/get?run_id={Uri.EscapeDataString(runId)}", ct)).Run.Read();

    /// <summary>All values of a metric, by time.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async IAsyncEnumerable<MetricValue> HistoryAsync(string runId, string metric, [EnumeratorCancellation] CancellationToken ct = default)
    {
        string? token = null;
        do
        {
            var page = await Wire.GetAsync<HistoryAnswer>(
                $"metrics/get-history?run_id={Uri.EscapeDataString(runId)}&metric_key={Uri.EscapeDataString(metric)}&max_results=25000{(token is null ? "" : "&page_token=" + Uri.EscapeDataString(token))}", ct);
            foreach (var point in page.Metrics ?? [])
            {
                yield return new MetricValue(point.Value, point.Step, DateTimeOffset.FromUnixTimeMilliseconds(point.Timestamp));
            }

            token = page.NextPageToken;
        }
        while (!string.IsNullOrEmpty(token));
    }

    /// <summary>Runs that match a filter such as <c>metrics.auc &gt; 0.9 AND params.trainer = 'lightgbm'</c>, page after page as they are read.</summary>
    /// <param name="experiment">The experiment's name.</param>
    /// <param name="filter">MLflow's filter; null for all.</param>
    /// <param name="orderBy">For example <c>metrics.auc DESC</c>; null for the newest first.</param>
    /// <param name="ct">Stops.</param>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async IAsyncEnumerable<TrackedRun> SearchRunsAsync(string experiment, string? filter = null, string? orderBy = null, [EnumeratorCancellation] CancellationToken ct = default)
    {
        var found = await Wire.GetAsync<ExperimentAnswer>($"experiments/get-by-name?experiment_name={Uri.EscapeDataString(experiment)}", ct);
        string? token = null;
        do
        {
            var page = await Wire.PostAsync<RunsAnswer>(
                "runs/search",
                new { ExperimentIds = new[] { found.Experiment.ExperimentId }, Filter = filter, OrderBy = orderBy is null ? null : new[] { orderBy }, MaxResults = PageSize, PageToken = token },
                repeat: true,
                ct);
            foreach (var run in page.Runs ?? [])
            {
                yield return run.Read();
            }

            token = page.NextPageToken;
        }
        while (!string.IsNullOrEmpty(token));
    }

    /// <summary>What lies in a folder of a run's files; an empty path is the root.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async Task<IReadOnlyList<TrackedFile>> ListFilesAsync(string runId, string path = "", CancellationToken ct = default)
    {
        var root = TrackingWire.ProxyPath((await GetRunAsync(runId, ct)).ArtifactUri);
        return await ListAsync(Join(root, path), path, ct);
    }

    /// <summary>Downloads a file, or a folder with everything in it, of a run.</summary>
    /// <returns>The local path of what was asked for.</returns>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async Task<string> DownloadAsync(string runId, string path, string toFolder, CancellationToken ct = default)
    {
        var root = TrackingWire.ProxyPath((await GetRunAsync(runId, ct)).ArtifactUri);
        return await DownloadTreeAsync(root, path.Trim('/'), toFolder, ct);
    }

    /// <summary>Registers a folder of a run's files as the next version of a model, which is created when it does not exist.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async Task<RegisteredVersion> RegisterAsync(string model, string runId, string path, string? description = null, CancellationToken ct = default)
    {
        try
        {
            await Wire.PostAsync("registered-models/create", new { Name = model }, ct);
        }
        catch (SlipwayClientException e) when (e.Code == "RESOURCE_ALREADY_EXISTS")
        {
            // The version is what is asked for; whose model it is does not matter here.
        }

        var source = $"{(await GetRunAsync(runId, ct)).ArtifactUri.TrimEnd('/')}/{path.Trim('/')}";
        var made = (await Wire.PostAsync<VersionAnswer>("model-versions/create", new { Name = model, Source = source, RunId = runId, Description = description }, repeat: false, ct)).ModelVersion;
        while (made.Status == "PENDING_REGISTRATION")
        {
            await Task.Delay(ReadyPoll, Options.Clock, ct);
            made = (await Wire.GetAsync<VersionAnswer>($"model-versions/get?name={Uri.EscapeDataString(model)}&version={made.Version}", ct)).ModelVersion;
        }

        return made.Status == "FAILED_REGISTRATION"
            ? throw new SlipwayClientException("conflict", $"version {made.Version} of {model} was not registered", made.StatusMessage)
            : made.Read();
    }

    /// <summary>Points an alias such as <c>champion</c> at a version.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public Task SetAliasAsync(RegisteredVersion version, string alias, CancellationToken ct = default) =>
        Wire.PostAsync("registered-models/alias", new { Name = version.Model, Alias = alias, Version = version.Version.ToString(CultureInfo.InvariantCulture) }, ct);

    /// <summary>The version that an alias points at.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async Task<RegisteredVersion> GetVersionAsync(string model, string alias, CancellationToken ct = default) =>
        (await Wire.GetAsync<VersionAnswer>($"registered-models/alias?name={Uri.EscapeDataString(model)}&alias={Uri.EscapeDataString(alias)}", ct)).ModelVersion.Read();

    /// <summary>Downloads a version's files.</summary>
    /// <returns>The folder.</returns>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async Task<string> DownloadAsync(RegisteredVersion version, string toFolder, CancellationToken ct = default)
    {
        var uri = await Wire.GetAsync<UriAnswer>($"model-versions/get-download-uri?name={Uri.EscapeDataString(version.Model)}&version={version.Version}", ct);
        var path = TrackingWire.ProxyPath(uri.ArtifactUri);
        await DownloadTreeAsync(path, "", toFolder, ct);
        return toFolder;
    }

    public void Dispose() => Wire.Dispose();

    internal static string Join(string folder, string path) => folder.Length == 0 ? path : path.Length == 0 ? folder : $"{folder}/{path.Trim('/')}";

    /// <summary>Starts a run that disposes this client with itself.</summary>
    internal async Task<ActiveRun> StartOwnedAsync(Func<TrackingClient, Task<ActiveRun>> start)
    {
        try
        {
            var run = await start(this);
            run.OwnsClient = true;
            return run;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    internal async Task<ActiveRun> StartRunInAsync(string experimentId, string? name, IReadOnlyDictionary<string, string> tags, CancellationToken ct)
    {
        var all = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["mlflow.user"] = Environment.UserName,
            ["mlflow.source.name"] = AppDomain.CurrentDomain.FriendlyName,
            ["mlflow.source.type"] = "LOCAL",
        };
        foreach (var (key, value) in tags)
        {
            all[key] = value;
        }

        var body = new
        {
            ExperimentId = experimentId,
            UserId = Environment.UserName,
            RunName = name,
            StartTime = Options.Clock.GetUtcNow().ToUnixTimeMilliseconds(),
            Tags = all.Select(t => new KeyValue(t.Key, t.Value)).ToArray(),
        };
        return new ActiveRun(this, (await Wire.PostAsync<RunAnswer>("runs/create", body, repeat: false, ct)).Run.Read());
    }

    private async Task<string> EnsureExperimentAsync(string name, CancellationToken ct)
    {
        var byName = $"experiments/get-by-name?experiment_name={Uri.EscapeDataString(name)}";
        try
        {
            return Live((await Wire.GetAsync<ExperimentAnswer>(byName, ct)).Experiment);
        }
        catch (SlipwayClientException e) when (e.Code == "RESOURCE_DOES_NOT_EXIST")
        {
            try
            {
                return (await Wire.PostAsync<CreatedAnswer>("experiments/create", new { Name = name }, repeat: true, ct)).ExperimentId;
            }
            catch (SlipwayClientException taken) when (taken.Code == "RESOURCE_ALREADY_EXISTS")
            {
                // Another run made it at the same moment.
                return Live((await Wire.GetAsync<ExperimentAnswer>(byName, ct)).Experiment);
            }
        }
    }

    private static string Live(ExperimentMessage experiment) => experiment.LifecycleStage == "deleted"
        ? throw new SlipwayClientException("conflict", $"no run can be started in {experiment.Name}", "the experiment is deleted", "restore it, or choose another name")
        : experiment.ExperimentId;

    private async Task<IReadOnlyList<TrackedFile>> ListAsync(string proxyPath, string path, CancellationToken ct) =>
        ((await Wire.ListFilesAsync(proxyPath, ct)).Files ?? []).Select(f => new TrackedFile(Join(path.Trim('/'), f.Path), f.IsDir, f.FileSize)).ToList();

    private async Task<string> DownloadTreeAsync(string root, string path, string toFolder, CancellationToken ct)
    {
        var local = Confined(toFolder, path);
        var files = await ListAsync(Join(root, path), path, ct);
        if (files.Count == 0 && path.Length > 0)
        {
            await DownloadFileAsync(Join(root, path), local, ct);
            return local;
        }

        Directory.CreateDirectory(local);
        foreach (var file in files)
        {
            if (file.IsFolder)
            {
                await DownloadTreeAsync(root, file.Path, toFolder, ct);
            }
            else
            {
                await DownloadFileAsync(Join(root, file.Path), Confined(toFolder, file.Path), ct);
            }
        }

        return local;
    }

    private async Task DownloadFileAsync(string proxyPath, string local, CancellationToken ct)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(local)!);
        var part = local + ".part";
        try
        {
            using (var response = await Wire.GetFileAsync(proxyPath, ct))
            await using (var content = await response.Content.ReadAsStreamAsync(ct))
            await using (var file = new FileStream(part, FileMode.Create, FileAccess.Write, FileShare.None, 1))
            {
                await content.CopyToAsync(file, 1 << 17, ct);
            }

            File.Move(part, local, overwrite: true);
        }
        finally
        {
            File.Delete(part);
        }
    }

    /// <summary>Names come from the server, and none of them leads out of the folder.</summary>
    private static string Confined(string folder, string path)
    {
        var root = Path.GetFullPath(folder);
        var local = Path.GetFullPath(Path.Combine(root, path));
        return !Path.IsPathRooted(path) && !path.Contains('\\', StringComparison.Ordinal) && (local == root || local.StartsWith(root.TrimEnd(Path.DirectorySeparatorChar) + Path.DirectorySeparatorChar, StringComparison.Ordinal))
            ? local
            : throw new SlipwayClientException("invalidArgument", "the download was stopped", $"the server names \"{path}\", which leads out of {root}");
    }
}
