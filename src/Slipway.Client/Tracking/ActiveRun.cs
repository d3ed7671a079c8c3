using System.Collections;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Reflection;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace Slipway.Client;

/// <summary>
/// A run that is being written. Values, parameters and tags go out in the background; files are sent when they are awaited.
/// Disposing sends what waits and ends the run: as FINISHED after <see cref="Complete"/>, else as FAILED, so that an
/// exception that passes an <c>await using</c> marks the run.
/// </summary>
public sealed partial class ActiveRun : IAsyncDisposable
{
    private const int ParallelFiles = 4;
    private readonly TrackingClient client;
    private readonly LogQueue queue;
    private readonly string experimentId;
    private readonly string root;
    private RunState end = RunState.Failed;
    private bool disposed;

    internal ActiveRun(TrackingClient client, TrackedRun run)
    {
        this.client = client;
        (Id, Name, experimentId, ArtifactUri) = (run.Id, run.Name, run.ExperimentId, run.ArtifactUri);
        root = run.ArtifactUri.TrimEnd('/');
        queue = new LogQueue(client.Wire, client.Options, run.Id);
    }

    public string Id { get; }

    public string Name { get; }

    public string ArtifactUri { get; }

    internal bool OwnsClient { get; set; }

    /// <summary>Logs one value of a metric. Returns at once; waits only when <see cref="TrackingOptions.Capacity"/> values have not been sent yet.</summary>
    /// <param name="metric">Letters, digits, <c>_ - . / :</c> and spaces, up to 250.</param>
    /// <param name="value">NaN and infinities are allowed.</param>
    /// <param name="step">The training step.</param>
    /// <exception cref="SlipwayClientException">The name is not valid, or an earlier value could not be stored.</exception>
    public void Log(string metric, double value, long step = 0) => Log(metric, value, step, client.Options.Clock.GetUtcNow());

    /// <summary>Logs one value of a metric that was measured at another time than now.</summary>
    /// <exception cref="SlipwayClientException">The name is not valid, or an earlier value could not be stored.</exception>
    public void Log(string metric, double value, long step, DateTimeOffset at) =>
        queue.Add(new LogQueue.Entry(LogQueue.Kind.Metric, Checked(metric), value, null, at.ToUnixTimeMilliseconds(), step));

    /// <summary>Logs each number among the public properties as a metric, such as ML.NET's metrics of an evaluation; names become snake_case.</summary>
    /// <exception cref="SlipwayClientException">An earlier value could not be stored.</exception>
    public void LogMetrics<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicProperties)] T>(T values, long step = 0)
        where T : notnull
    {
        foreach (var (name, value) in PropertiesOf(values))
        {
            if (value is double or float or int or long or decimal)
            {
                Log(name, Convert.ToDouble(value, CultureInfo.InvariantCulture), step);
            }
        }
    }

    /// <summary>Logs a parameter, which cannot change afterwards.</summary>
    /// <exception cref="SlipwayClientException">The name is not valid, or an earlier value could not be stored.</exception>
    public void LogParam(string name, object? value) => queue.Add(new LogQueue.Entry(LogQueue.Kind.Param, Checked(name), 0, Text(value), 0, 0));

    /// <summary>Logs each public property as a parameter, for example <c>new { trees = 100, learning_rate = 0.1 }</c>; names become snake_case, what is null is left out.</summary>
    /// <exception cref="SlipwayClientException">An earlier value could not be stored.</exception>
    public void LogParams<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicProperties)] T>(T values)
        where T : notnull
    {
        foreach (var (name, value) in PropertiesOf(values))
        {
            if (value is string || (value is not null and not IEnumerable))
            {
                LogParam(name, value);
            }
        }
    }

    /// <summary>Sets a tag; the last value counts.</summary>
    /// <exception cref="SlipwayClientException">The name is not valid, or an earlier value could not be stored.</exception>
    public void SetTag(string name, string value) => queue.Add(new LogQueue.Entry(LogQueue.Kind.Tag, Checked(name), 0, value, 0, 0));

    /// <summary>Waits until everything that was logged is with the server.</summary>
    /// <exception cref="SlipwayClientException">Something could not be stored.</exception>
    public Task FlushAsync(CancellationToken ct = default) => queue.FlushAsync(ct);

    /// <summary>Sends a file into a folder of the run; an empty folder is the root.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public Task LogArtifactAsync(string file, string folder = "", CancellationToken ct = default) => PutAsync(TrackingClient.Join(folder.Trim('/'), Path.GetFileName(file)), () => File.OpenRead(file), ct);

    /// <summary>Sends a local folder with everything in it.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public Task LogArtifactsAsync(string localFolder, string folder = "", CancellationToken ct = default) => Parallel.ForEachAsync(
        Directory.EnumerateFiles(localFolder, "*", SearchOption.AllDirectories),
        new ParallelOptions { MaxDegreeOfParallelism = ParallelFiles, CancellationToken = ct },
        async (file, stop) => await PutAsync(TrackingClient.Join(folder.Trim('/'), Path.GetRelativePath(localFolder, file).Replace(Path.DirectorySeparatorChar, '/')), () => File.OpenRead(file), stop));

    /// <summary>Stores text as a file.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public Task LogTextAsync(string text, string path, CancellationToken ct = default)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        return PutAsync(path.Trim('/'), () => new MemoryStream(bytes, writable: false), ct);
    }

    /// <summary>Says what data the run read.</summary>
    /// <param name="data">The data.</param>
    /// <param name="context">What for: <c>training</c>, <c>validation</c> or another word.</param>
    /// <param name="ct">Stops.</param>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public Task LogInputAsync(TrackedData data, string context = "training", CancellationToken ct = default) => client.Wire.PostAsync(
        "runs/log-inputs",
        new { RunId = Id, Datasets = new[] { new { Tags = new[] { new KeyValue("mlflow.data.context", context) }, Dataset = data } } },
        ct);

    /// <summary>Stores a model, its description <c>MLmodel</c> beside it, and registers it where asked.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public async Task<RegisteredVersion?> LogModelAsync(LoggedModelFiles model, CancellationToken ct = default)
    {
        var now = client.Options.Clock.GetUtcNow();
        if (Directory.Exists(model.Path))
        {
            await LogArtifactsAsync(model.Path, model.Name, ct);
        }
        else
        {
            await LogArtifactAsync(model.Path, model.Name, ct);
        }

        if (!File.Exists(Path.Combine(model.Path, "MLmodel")))
        {
            await LogTextAsync(model.Yaml(Id, now), $"{model.Name}/MLmodel", ct);
        }

        await client.Wire.PostAsync("runs/log-model", new { RunId = Id, ModelJson = model.Json(Id, now) }, ct);
        if (model.RegisterAs is null)
        {
            return null;
        }

        var version = await client.RegisterAsync(model.RegisterAs, Id, model.Name, model.Description, ct);
        if (model.Alias is not null)
        {
            await client.SetAliasAsync(version, model.Alias, ct);
        }

        return version;
    }

    /// <summary>Starts a run below this one, in the same experiment.</summary>
    /// <exception cref="SlipwayClientException">Refused, or no server answered.</exception>
    public Task<ActiveRun> StartChildAsync(string? name = null, CancellationToken ct = default) =>
        client.StartRunInAsync(experimentId, name, new Dictionary<string, string> { ["mlflow.parentRunId"] = Id }, ct);

    /// <summary>Says how the run will have ended when it is disposed.</summary>
    public void Complete(RunState state = RunState.Finished) => end = state;

    /// <summary>Sends what waits and ends the run.</summary>
    /// <exception cref="SlipwayClientException">Something could not be stored; the run has then ended as FAILED, where the server still answers.</exception>
    public async ValueTask DisposeAsync()
    {
        if (disposed)
        {
            return;
        }

        disposed = true;
        try
        {
            SlipwayClientException? lost = null;
            try
            {
                await queue.FlushAsync(CancellationToken.None);
            }
            catch (SlipwayClientException e)
            {
                (lost, end) = (e, RunState.Failed);
            }

            await queue.DisposeAsync();
            if (lost is not { Code: "unavailable" })
            {
                await client.Wire.PostAsync("runs/update", new { RunId = Id, Status = end, EndTime = client.Options.Clock.GetUtcNow().ToUnixTimeMilliseconds() }, CancellationToken.None);
            }

            if (lost is not null)
            {
                throw lost;
            }
        }
        finally
        {
            if (OwnsClient)
            {
                client.Dispose();
            }
        }
    }

    private Task PutAsync(string path, Func<Stream> open, CancellationToken ct) => client.Wire.PutFileAsync(TrackingClient.Join(TrackingWire.ProxyPath(root), path), open, ct);

    /// <summary>A wrong name is told at once, to who wrote it, and not by a flush much later.</summary>
    private static string Checked(string name) => name.Length is > 0 and <= 250 && ValidName().IsMatch(name)
        ? name
        : throw new SlipwayClientException("invalidArgument", "the value cannot be logged", $"\"{name}\" is not a valid name", "use 1 to 250 letters, digits, '_', '-', '.', '/', ':' and spaces");

    private static string Text(object? value) => value switch
    {
        null => "",
        bool flag => flag ? "true" : "false",
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        _ => value.ToString() ?? "",
    };

    private static IEnumerable<(string Name, object? Value)> PropertiesOf<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicProperties)] T>(T values) => typeof(T)
        .GetProperties(BindingFlags.Public | BindingFlags.Instance)
        .Where(p => p.GetIndexParameters().Length == 0)
        .Select(p => (JsonNamingPolicy.SnakeCaseLower.ConvertName(p.Name), p.GetValue(values)));

    [GeneratedRegex(@"^(?!\.{0,2}(/|$))[\w.\- :]+(/(?!\.{0,2}(/|$))[\w.\- :]+)*$", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex ValidName();
}
