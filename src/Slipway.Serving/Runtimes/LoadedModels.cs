using Slipway.Foundation;
using Slipway.Registry;

namespace Slipway.Serving.Runtimes;

/// <summary>
/// The models in this process: each version is loaded once, from a private copy whose content was verified against its hash while it was
/// written. Versions that no route uses stay warm up to a bound, the least recently used leaving first.
/// </summary>
internal sealed class LoadedModels(Models models, IBlobStore blobs, DataLayout layout, ServingOptions options) : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Entry> _entries = new(StringComparer.Ordinal);
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

    /// <summary>Loads a version if needed and keeps it until <see cref="Unpin"/>. Throws <see cref="SlipwayException"/> if it cannot be served.</summary>
    public async Task<OnnxRuntime> PinAsync(string modelVersion, CancellationToken ct)
    {
        Entry entry;
        lock (_gate)
        {
            if (!_entries.TryGetValue(modelVersion, out entry!))
            {
                entry = new Entry(new Lazy<Task<OnnxRuntime>>(() => Task.Run(() => LoadAsync(modelVersion), CancellationToken.None)));
                _entries.Add(modelVersion, entry);
            }

            entry.Pins++;
            entry.Used = ++_tick;
        }

        try
        {
            return await entry.Runtime.Value.WaitAsync(ct);
        }
        catch
        {
            lock (_gate)
            {
                entry.Pins--;
                // A failed load is forgotten, so that the next attempt tries again.
                if (entry.Runtime.Value.IsFaulted && _entries.TryGetValue(modelVersion, out var present) && present == entry)
                {
                    _entries.Remove(modelVersion);
                }
            }

            throw;
        }
    }

    /// <summary>Ends one pin. The model leaves memory when it is idle, beyond the bound, and its last request has finished.</summary>
    public void Unpin(string modelVersion)
    {
        List<OnnxRuntime> leaving = [];
        lock (_gate)
        {
            var entry = _entries[modelVersion];
            entry.Pins--;
            entry.Used = ++_tick;
            var idle = _entries.Where(pair => pair.Value.Pins == 0 && pair.Value.Runtime.Value.IsCompletedSuccessfully).OrderBy(pair => pair.Value.Used).ToList();
            foreach (var (key, old) in idle.Take(Math.Max(0, idle.Count - options.IdleModels)))
            {
                _entries.Remove(key);
                leaving.Add(old.Loaded);
            }
        }

        leaving.ForEach(runtime => runtime.Dispose());
    }

    /// <summary>Unloads everything that has been loaded.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            foreach (var entry in _entries.Values.Where(entry => entry.Runtime is { IsValueCreated: true, Value.IsCompletedSuccessfully: true }))
            {
                entry.Loaded.Dispose();
            }

            _entries.Clear();
        }
    }

    private async Task<OnnxRuntime> LoadAsync(string modelVersion)
    {
        var (name, number) = VersionName.Split(modelVersion);
        var version = await models.GetVersionAsync(name, number, CancellationToken.None);
        var main = MainFile(version);
        var folder = Path.Combine(layout.Temporary, $"model-{Ids.New()}");
        Directory.CreateDirectory(folder);
        try
        {
            // External data lies beside the model, so its whole folder is copied, and nothing outside of it can be reached.
            var root = Path.GetDirectoryName(main.Path) ?? "";
            foreach (var file in version.Files.Where(file => root.Length == 0 || file.Path.StartsWith(root + "/", StringComparison.Ordinal)))
            {
                await CopyAsync(file, Confined(folder, file.Path[(root.Length == 0 ? 0 : root.Length + 1)..]));
            }

            return OnnxRuntime.Load(Path.Combine(folder, Path.GetFileName(main.Path)));
        }
        finally
        {
            // ONNX Runtime has read or mapped the files; the copy is not needed any more.
            Directory.Delete(folder, recursive: true);
        }
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

    private sealed class Entry(Lazy<Task<OnnxRuntime>> runtime)
    {
        public Lazy<Task<OnnxRuntime>> Runtime { get; } = runtime;

        public int Pins { get; set; }

        public long Used { get; set; }

        // Only asked for after successful completion, so it never waits.
        public OnnxRuntime Loaded => Runtime.Value.GetAwaiter().GetResult();
    }
}
