using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving.Repository;

namespace Slipway.Serving.Runtimes;

/// <summary>
/// The models of this node: each version is loaded once for each runtime, from a private copy whose content was verified against its hash while
/// it was written. Versions that no route uses stay warm up to a bound of number and memory, the least recently used leaving first; what routes
/// use is never taken from them, so a version for which there is no memory is refused.
/// </summary>
internal sealed partial class LoadedModels(
    Models models, IBlobStore blobs, DataLayout layout, RepositoryFolder repository, ServingOptions options, TimeProvider clock, ILogger<LoadedModels> log) : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<(string Version, RuntimeSettings? Runtime), Entry> _entries = [];
    private long _tick;

    /// <summary>Versions in memory.</summary>
    public int Count
    {
        get
        {
            lock (_gate)
            {
                return _entries.Count;
            }
        }
    }

    /// <summary>Memory of the loaded versions, estimated by their files (for child processes their bound).</summary>
    public long Bytes
    {
        get
        {
            lock (_gate)
            {
                return _entries.Values.Sum(entry => entry.Bytes);
            }
        }
    }

    /// <summary>Whether a version is in memory.</summary>
    public bool IsLoaded(string modelVersion, RuntimeSettings? runtime)
    {
        lock (_gate)
        {
            return _entries.TryGetValue((modelVersion, runtime), out var entry) && entry.IsLoaded;
        }
    }

    /// <summary>Loads a version if needed and keeps it until <see cref="Unpin(LoadedModel)"/>. Throws <see cref="SlipwayException"/> if it cannot be served.</summary>
    public async Task<LoadedModel> PinAsync(string modelVersion, RuntimeSettings? runtime, CancellationToken ct)
    {
        Entry entry;
        lock (_gate)
        {
            if (!_entries.TryGetValue((modelVersion, runtime), out entry!))
            {
                entry = new Entry();
                var mine = entry;
                entry.Model = new(() => Task.Run(() => LoadAsync(modelVersion, runtime, mine), CancellationToken.None));
                _entries.Add((modelVersion, runtime), entry);
            }

            entry.Pins++;
            entry.Used = ++_tick;
        }

        try
        {
            return await entry.Model.Value.WaitAsync(ct);
        }
        catch
        {
            lock (_gate)
            {
                entry.Pins--;
                // A failed load is forgotten, so that the next attempt tries again.
                if (entry.Model.Value.IsFaulted && _entries.TryGetValue((modelVersion, runtime), out var present) && present == entry)
                {
                    _entries.Remove((modelVersion, runtime));
                }
            }

            throw;
        }
    }

    /// <summary>Ends one pin. The model leaves memory when it is idle, beyond the bound, and its last request has finished.</summary>
    public void Unpin(LoadedModel model) => Unpin(model, keep: true);

    /// <summary>Ends one pin. The model leaves memory at once, unless somebody else has pinned it.</summary>
    public void Forget(LoadedModel model) => Unpin(model, keep: false);

    private void Unpin(LoadedModel model, bool keep)
    {
        List<LoadedModel> leaving;
        lock (_gate)
        {
            var (key, entry) = _entries.First(pair => pair.Value.IsLoaded && pair.Value.Loaded == model);
            entry.Pins--;
            entry.Used = ++_tick;
            leaving = Evict(0);
            if (!keep && entry.Pins == 0 && _entries.Remove(key))
            {
                leaving.Add(model);
            }
        }

        leaving.ForEach(left => left.Dispose());
    }

    /// <summary>Unloads everything that has been loaded.</summary>
    public void Dispose()
    {
        List<LoadedModel> leaving;
        lock (_gate)
        {
            leaving = [.. _entries.Values.Where(entry => entry.IsLoaded).Select(entry => entry.Loaded)];
            _entries.Clear();
        }

        leaving.ForEach(left => left.Dispose());
    }

    private long Bound => options.ModelBytes > 0 ? options.ModelBytes : GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4 * 3;

    // Takes idle entries out until the rest and what is coming fit; under the lock.
    private List<LoadedModel> Evict(long coming)
    {
        List<LoadedModel> leaving = [];
        var idle = _entries.Where(pair => pair.Value is { Pins: 0, IsLoaded: true }).OrderBy(pair => pair.Value.Used).ToList();
        foreach (var (key, entry) in idle)
        {
            if (idle.Count - leaving.Count <= options.IdleModels && _entries.Values.Sum(each => each.Bytes) + coming <= Bound)
            {
                break;
            }

            _entries.Remove(key);
            leaving.Add(entry.Loaded);
        }

        return leaving;
    }

    private void Reserve(Entry entry, long bytes, string modelVersion)
    {
        List<LoadedModel> leaving;
        long used;
        lock (_gate)
        {
            leaving = Evict(bytes);
            used = _entries.Values.Sum(each => each.Bytes);
            entry.Bytes = used + bytes <= Bound ? bytes : 0;
        }

        leaving.ForEach(left => left.Dispose());
        if (used + bytes > Bound)
        {
            throw new SlipwayException(
                ErrorCode.ResourceExhausted, $"cannot load {modelVersion}", $"it needs {bytes >> 20} MiB, the loaded models hold {used >> 20} of {Bound >> 20} MiB",
                "delete endpoints that are not used, or raise serving.modelBytes");
        }
    }

    private async Task<LoadedModel> LoadAsync(string modelVersion, RuntimeSettings? runtime, Entry entry)
    {
        var (name, number) = VersionName.Split(modelVersion);
        if (runtime is { Kind: RuntimeKind.Remote })
        {
            return new(await RemoteRuntime.ConnectAsync(runtime, name, clock, CancellationToken.None));
        }

        if (RepositoryFolder.Holds(modelVersion))
        {
            return FromRepository(modelVersion, entry);
        }

        var version = await models.GetVersionAsync(name, number, CancellationToken.None);
        var command = runtime is null ? null : Command(runtime);
        var (mlflow, home) = await MlflowAsync(version);
        var main = runtime?.Command is null ? mlflow is null ? MainFile(version) : MainFile(version, mlflow, home) : null;
        // External data lies beside the model, so its whole folder is copied, and nothing outside of it can be reached.
        var root = main is null ? "" : mlflow is null ? Path.GetDirectoryName(main.Path) ?? "" : home;
        var files = version.Files.Where(file => root.Length == 0 || file.Path.StartsWith(root + "/", StringComparison.Ordinal)).ToList();
        Reserve(entry, runtime is null ? files.Sum(file => file.Size) : (long)runtime.MemoryMiB << 20, modelVersion);
        var folder = Path.Combine(layout.Temporary, $"model-{Ids.New()}");
        Directory.CreateDirectory(folder);
        var handedOver = false;
        try
        {
            foreach (var file in files)
            {
                await CopyAsync(file, Confined(folder, file.Path[(root.Length == 0 ? 0 : root.Length + 1)..]));
            }

            var path = main is null ? folder : Confined(folder, main.Path[(root.Length == 0 ? 0 : root.Length + 1)..]);
            if (runtime is null)
            {
                return Load(modelVersion, path, mlflow);
            }

            handedOver = true;
            return new(await ProcessRuntime.StartAsync(command!, runtime, path, folder, clock, log, CancellationToken.None), mlflow);
        }
        finally
        {
            // ONNX Runtime has read or mapped the files; the copy is not needed any more. A child process keeps it for its next start.
            if (!handedOver)
            {
                Directory.Delete(folder, recursive: true);
            }
        }
    }

    private LoadedModel Load(string modelVersion, string path, MlflowModel? mlflow)
    {
        var runtime = OnnxRuntime.Load(path, options.CompileModels);
        if (runtime.NotCompiled is { } why)
        {
            Log.NotCompiled(log, modelVersion, why);
        }
        else
        {
            Log.Compiled(log, modelVersion, runtime.CompiledRows);
        }

        return new(runtime, mlflow);
    }

    private LoadedModel FromRepository(string modelVersion, Entry entry)
    {
        Reserve(entry, repository.Bytes(modelVersion), modelVersion);
        var folder = Path.Combine(layout.Temporary, $"model-{Ids.New()}");
        Directory.CreateDirectory(folder);
        try
        {
            return Load(modelVersion, repository.Copy(modelVersion, folder), null);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>What the version's MLmodel says, and the folder that it lies in; nothing for a version that is no MLflow folder.</summary>
    private async Task<(MlflowModel? Model, string Home)> MlflowAsync(ModelVersion version)
    {
        if (version.Files.Where(file => Path.GetFileName(file.Path) == MlflowModel.FileName).MinBy(file => file.Path.Length) is not { } file)
        {
            return (null, "");
        }

        await using var content = await blobs.OpenAsync(file.Hash, CancellationToken.None);
        return (MlflowModel.Read(content, file.Size), Path.GetDirectoryName(file.Path) ?? "");
    }

    private static ModelFile MainFile(ModelVersion version, MlflowModel mlflow, string home)
    {
        var path = home.Length == 0 ? mlflow.OnnxFile : $"{home}/{mlflow.OnnxFile}";
        return version.Files.FirstOrDefault(file => file.Path == path) ?? throw new SlipwayException(
            ErrorCode.InvalidArgument, $"cannot serve model version {version.Name}/{version.Version}", $"its MLmodel names the file {path}, which is not among its {version.Files.Count} files",
            "register the whole folder that MLflow wrote");
    }

    private IReadOnlyList<string> Command(RuntimeSettings runtime)
    {
        if (runtime.Command is null)
        {
            return options.Worker;
        }

        return options.Commands.TryGetValue(runtime.Command, out var command) ? command : throw new SlipwayException(
            ErrorCode.InvalidArgument, "cannot start the model's process", $"this server has no command '{runtime.Command}'",
            options.Commands.Count == 0 ? "configure it under serving.commands" : $"it has {string.Join(", ", options.Commands.Keys.Order(StringComparer.Ordinal))}");
    }

    private async Task CopyAsync(ModelFile file, string target)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(target)!);
        await using var content = await blobs.OpenAsync(file.Hash, CancellationToken.None);
        await using var copy = new FileStream(target, FileMode.CreateNew, FileAccess.Write, FileShare.None);
        await content.CopyToAsync(copy, CancellationToken.None);
    }

    private static ModelFile MainFile(ModelVersion version)
    {
        var found = version.Files.Where(file => file.Path.EndsWith(".onnx", StringComparison.OrdinalIgnoreCase)).ToList();
        if (found.Count > 1 && found.Where(file => Path.GetFileName(file.Path) == "model.onnx").ToList() is { Count: 1 } named)
        {
            found = named;
        }

        return found.Count == 1 ? found[0] : throw new SlipwayException(
            ErrorCode.InvalidArgument, $"cannot serve model version {version.Name}/{version.Version}",
            found.Count == 0 ? $"none of its {version.Files.Count} files ends in .onnx" : $"it has {found.Count} .onnx files and not exactly one is called model.onnx",
            "register a version whose files hold one model.onnx");
    }

    private static string Confined(string folder, string relative)
    {
        var full = Path.GetFullPath(Path.Combine(folder, relative));
        return full.StartsWith(folder + Path.DirectorySeparatorChar, StringComparison.Ordinal) ? full : throw new SlipwayException(
            ErrorCode.InvalidArgument, "cannot serve the model", $"its file '{relative}' lies outside of the model's folder", "register the files with paths inside the model's folder");
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Information, "Model {Model} runs compiled up to {Rows} rows")]
        public static partial void Compiled(ILogger logger, string model, int rows);

        [LoggerMessage(LogLevel.Information, "Model {Model} runs in ONNX Runtime: {Why}")]
        public static partial void NotCompiled(ILogger logger, string model, string why);
    }

    private sealed class Entry
    {
        public Lazy<Task<LoadedModel>> Model { get; set; } = null!;

        public int Pins { get; set; }

        public long Used { get; set; }

        public long Bytes { get; set; }

        public bool IsLoaded => Model is { IsValueCreated: true, Value.IsCompletedSuccessfully: true };

        // Only asked for after successful completion, so it never waits.
        public LoadedModel Loaded => Model.Value.GetAwaiter().GetResult();
    }
}
