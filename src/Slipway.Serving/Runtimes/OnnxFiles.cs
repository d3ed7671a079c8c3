using System.Text;
using Slipway.Foundation;

namespace Slipway.Serving.Runtimes;

/// <summary>
/// The files that an ONNX model reads: its own, and those that its tensors name as external data. A model can name any path there, so each is
/// checked before ONNX Runtime sees the model: inside the model's folder, an ordinary file, not reached through a link.
/// </summary>
internal static class OnnxFiles
{
    private const int MaxDepth = 64;

    private enum Kind
    {
        Model,
        Training,
        Function,
        Graph,
        Node,
        Attribute,
        Sparse,
        Tensor,
        Entry,
    }

    /// <summary>Refuses (InvalidArgument) a model whose external data lies outside of its folder or behind a link.</summary>
    public static void Demand(string path)
    {
        foreach (var location in ExternalData(path))
        {
            if (Problem(path, location) is { } problem)
            {
                throw new SlipwayException(
                    ErrorCode.InvalidArgument, "cannot load the model", $"its tensor data is said to lie in '{location}', which {problem}",
                    "keep external data beside the model file, under a relative path");
            }
        }
    }

    /// <summary>Bytes of the model file and its external data.</summary>
    public static long Bytes(string path) =>
        new FileInfo(path).Length + ExternalData(path).Distinct(StringComparer.Ordinal).Sum(location => new FileInfo(Path.Combine(FolderOf(path), location)).Length);

    private static string? Problem(string path, string location)
    {
        var folder = FolderOf(path);
        if (location.Length == 0 || Path.IsPathRooted(location) || location.Contains('\\', StringComparison.Ordinal) || location.Split('/').Contains("..", StringComparer.Ordinal))
        {
            return "is not inside the model's folder";
        }

        var at = folder;
        foreach (var part in location.Split('/'))
        {
            at = Path.Combine(at, part);
            if (new FileInfo(at).LinkTarget is not null)
            {
                return "is reached through a link";
            }
        }

        return File.Exists(at) ? null : "is not there";
    }

    private static string FolderOf(string path) => Path.GetDirectoryName(Path.GetFullPath(path))!;

    private static List<string> ExternalData(string path)
    {
        var found = new List<string>();
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 64 * 1024);
        // What is no protocol buffer is left to ONNX Runtime, which refuses it with its own words.
        Scan(file, file.Length, Kind.Model, found, 0, null);
        return found;
    }

    private static bool Scan(FileStream file, long end, Kind kind, List<string> found, int depth, string?[]? entry)
    {
        while (file.Position < end)
        {
            if (depth > MaxDepth || Varint(file) is not { } key)
            {
                return false;
            }

            switch (key & 7)
            {
                case 0 when Varint(file) is not null:
                    break;
                case 1:
                    file.Seek(8, SeekOrigin.Current);
                    break;
                case 5:
                    file.Seek(4, SeekOrigin.Current);
                    break;
                case 2 when Varint(file) is { } length && length <= (ulong)(end - file.Position):
                    var stop = file.Position + (long)length;
                    if (kind == Kind.Entry && key >> 3 is 1 or 2 && length <= 4096)
                    {
                        var text = new byte[length];
                        file.ReadExactly(text);
                        entry![(key >> 3) - 1] = Encoding.UTF8.GetString(text);
                    }
                    else if (Inner(kind, key >> 3) is { } inner)
                    {
                        var pair = inner == Kind.Entry ? new string?[2] : null;
                        if (!Scan(file, stop, inner, found, depth + 1, pair))
                        {
                            return false;
                        }

                        if (pair is ["location", { } location])
                        {
                            found.Add(location);
                        }
                    }

                    file.Position = stop;
                    break;
                default:
                    return false;
            }
        }

        return true;
    }

    // Which fields of the ONNX messages lead to tensors.
    private static Kind? Inner(Kind kind, ulong field) => (kind, field) switch
    {
        (Kind.Model, 7) or (Kind.Training, 1 or 2) or (Kind.Attribute, 6 or 11) => Kind.Graph,
        (Kind.Model, 20) => Kind.Training,
        (Kind.Model, 25) => Kind.Function,
        (Kind.Function, 7) or (Kind.Graph, 1) => Kind.Node,
        (Kind.Node, 5) => Kind.Attribute,
        (Kind.Graph, 5) or (Kind.Attribute, 5 or 10) or (Kind.Sparse, 1 or 2) => Kind.Tensor,
        (Kind.Graph, 15) or (Kind.Attribute, 22 or 23) => Kind.Sparse,
        (Kind.Tensor, 13) => Kind.Entry,
        _ => null,
    };

    private static ulong? Varint(FileStream file)
    {
        var value = 0UL;
        for (var shift = 0; shift < 64; shift += 7)
        {
            var next = file.ReadByte();
            if (next < 0)
            {
                return null;
            }

            value |= (ulong)(next & 127) << shift;
            if (next < 128)
            {
                return value;
            }
        }

        return null;
    }
}
