using System.Collections.Concurrent;
using System.Globalization;
using System.Security.Cryptography;
using Slipway.Foundation;

namespace Slipway.Serving.Repository;

/// <summary>
/// A folder of models as Triton lays it out: <c>MODEL/VERSION/model.onnx</c>. Nothing in it is followed out of it: links are refused, and
/// versions are served from verified copies. A version of it is named <c>repository:MODEL@CONTENT/VERSION</c>, so that a changed file is
/// another version everywhere that versions are remembered.
/// </summary>
internal sealed class RepositoryFolder(ServingOptions options)
{
    private const string Prefix = "repository:";
    private const int LargestConfig = 1 << 20;
    private readonly ConcurrentDictionary<string, string> _files = new(StringComparer.Ordinal);

    private string Root => options.ModelRepository ?? throw new InvalidOperationException("there is no model repository");

    /// <summary>Whether a model version's name means one of a repository folder.</summary>
    public static bool Holds(string modelVersion) => modelVersion.StartsWith(Prefix, StringComparison.Ordinal);

    /// <summary>The models of a folder.</summary>
    public IReadOnlyList<string> Models() =>
        [.. new DirectoryInfo(Root).EnumerateDirectories().Where(folder => folder.LinkTarget is null && folder.Name[0] != '.').Select(folder => folder.Name).Order(StringComparer.Ordinal)];

    /// <summary>The text of a model's config.pbtxt, or null.</summary>
    public string? Config(string model)
    {
        var file = new FileInfo(Path.Combine(Root, model, "config.pbtxt"));
        return !file.Exists ? null
            : file.LinkTarget is not null || file.Length > LargestConfig ? throw Wrong(model, "its config.pbtxt is a link or larger than 1 MiB")
            : File.ReadAllText(file.FullName);
    }

    /// <summary>The versions of a model, highest first: folders whose name is a number above 0.</summary>
    public IReadOnlyList<int> Versions(string model) => !Directory.Exists(Path.Combine(Root, model)) ? throw SlipwayException.NotFound("model of the repository", model)
        : [.. new DirectoryInfo(Path.Combine(Root, model)).EnumerateDirectories().Where(folder => folder.LinkTarget is null)
            .Select(folder => int.TryParse(folder.Name, NumberStyles.None, CultureInfo.InvariantCulture, out var version) && folder.Name[0] != '0' ? version : 0).Where(version => version > 0).OrderDescending()];

    /// <summary>Remembers how a model's file is called in its versions' folders.</summary>
    public void Name(string model, string file) => _files[model] = file;

    /// <summary>The name of a version with its present content.</summary>
    public string NameOf(string model, int version) => NameOf(Root, model, version, FileOf(model));

    private static string NameOf(string root, string model, int version, string file)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var buffer = new byte[1 << 16];
        foreach (var (path, relative) in Files(root, model, version, file))
        {
            hash.AppendData(System.Text.Encoding.UTF8.GetBytes(relative));
            using var content = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
            for (int read; (read = content.Read(buffer)) > 0;)
            {
                hash.AppendData(buffer, 0, read);
            }
        }

        return $"{Prefix}{model}@{Convert.ToHexStringLower(hash.GetHashAndReset())[..12]}/{version}";
    }

    /// <summary>Copies a version into an empty private folder; returns the model file's path there. Refused if its content is not that of its name any more.</summary>
    public string Copy(string modelVersion, string target)
    {
        var (model, version) = Parts(modelVersion);
        var file = FileOf(model);
        foreach (var (path, relative) in Files(Root, model, version, file))
        {
            var copy = Path.Combine(target, model, $"{version}", relative);
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(path, copy);
        }

        return NameOf(target, model, version, file) == modelVersion
            ? Main(target, model, version, file).FullName
            : throw new SlipwayException(ErrorCode.Conflict, $"version {version} of model '{model}' cannot be loaded", "its files changed while they were read", "load the model again when they are complete");
    }

    /// <summary>Bytes of a version.</summary>
    public long Bytes(string modelVersion)
    {
        var (model, version) = Parts(modelVersion);
        return Files(Root, model, version, FileOf(model)).Sum(each => new FileInfo(each.Path).Length);
    }

    private string FileOf(string model) => _files.GetValueOrDefault(model, "model.onnx");

    // The model is a file, or a folder of that name which holds the file and its external data.
    private static FileInfo Main(string root, string model, int version, string file)
    {
        var path = Path.Combine(root, model, $"{version}", file);
        return new FileInfo(Directory.Exists(path) ? Path.Combine(path, file) : path);
    }

    private static List<(string Path, string Relative)> Files(string root, string model, int version, string file)
    {
        var folder = Path.Combine(root, model, $"{version}");
        if (!Main(root, model, version, file).Exists)
        {
            throw Wrong(model, $"version {version} has no file {file}");
        }

        var files = new List<(string, string)>();
        foreach (var entry in new DirectoryInfo(folder).EnumerateFileSystemInfos("*", SearchOption.AllDirectories).OrderBy(entry => entry.FullName, StringComparer.Ordinal))
        {
            if (entry.LinkTarget is not null || (entry.Attributes & (FileAttributes.Device | FileAttributes.ReparsePoint)) != FileAttributes.None)
            {
                throw Wrong(model, $"'{Path.GetRelativePath(root, entry.FullName)}' is a link; copy the file itself");
            }

            if (entry is FileInfo)
            {
                files.Add((entry.FullName, Path.GetRelativePath(folder, entry.FullName)));
            }
        }

        return files.Count <= 10_000 ? files : throw Wrong(model, $"version {version} has {files.Count} files, at most 10000 are served");
    }

    private static (string Model, int Version) Parts(string modelVersion)
    {
        var (name, version) = Runtimes.VersionName.Split(modelVersion);
        return (name[Prefix.Length..name.LastIndexOf('@')], version);
    }

    private static SlipwayException Wrong(string model, string why) => new(ErrorCode.InvalidArgument, $"model '{model}' of the repository cannot be served", why, "lay it out as MODEL/VERSION/model.onnx");
}
