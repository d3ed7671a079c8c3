using System.Text;
using System.Text.Json;

namespace Slipway.Web.Pages;

/// <summary>How a file can be looked at on a page.</summary>
internal enum FileLook
{
    /// <summary>Not at all; it can be downloaded.</summary>
    None,

    /// <summary>As text.</summary>
    Text,

    /// <summary>As indented JSON.</summary>
    Json,

    /// <summary>As a picture.</summary>
    Image,

    /// <summary>As the first rows of a table.</summary>
    Table,
}

/// <summary>Decides how files are looked at, and how much of them is read.</summary>
internal static class FileLooks
{
    /// <summary>Most bytes of a text.</summary>
    public const int MostText = 128 * 1024;

    /// <summary>Most bytes of a picture: it travels over the page's connection.</summary>
    public const int MostImage = 3 << 20;

    // SVG is left out: a picture that can run code is no picture.
    private static readonly Dictionary<string, string> Images = new(StringComparer.OrdinalIgnoreCase)
    {
        [".png"] = "image/png",
        [".jpg"] = "image/jpeg",
        [".jpeg"] = "image/jpeg",
        [".gif"] = "image/gif",
        [".webp"] = "image/webp",
    };

    private static readonly HashSet<string> Texts = new(
        [".txt", ".log", ".md", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".py", ".r", ".jl", ".sql", ".sh", ".xml", ".html", ".svg", ".js", ".css", ".cs", ".java", ".jsonl", ".ndjson", ".requirements", ".lock"],
        StringComparer.OrdinalIgnoreCase);

    private static readonly HashSet<string> Names = new(["MLmodel", "MLproject", "Dockerfile", "LICENSE", "README"], StringComparer.OrdinalIgnoreCase);

    /// <summary>By the name's ending.</summary>
    public static FileLook Of(string path)
    {
        var ending = Path.GetExtension(path);
        return Images.ContainsKey(ending) ? FileLook.Image
            : ending.Equals(".json", StringComparison.OrdinalIgnoreCase) ? FileLook.Json
            : Data.TableHeads.IsTable(path) ? FileLook.Table
            : Texts.Contains(ending) || Names.Contains(Path.GetFileName(path)) ? FileLook.Text : FileLook.None;
    }

    /// <summary>The media type of a picture.</summary>
    public static string ImageType(string path) => Images[Path.GetExtension(path)];

    /// <summary>At most <paramref name="most"/> bytes, and whether there is more.</summary>
    public static async Task<(byte[] Bytes, bool More)> ReadAsync(Stream content, int most, CancellationToken ct)
    {
        var buffer = new byte[most + 1];
        var read = await content.ReadAtLeastAsync(buffer, most + 1, throwOnEndOfStream: false, ct);
        return (buffer[..Math.Min(read, most)], read > most);
    }

    /// <summary>The text, without a broken character at its end; null when it is not text.</summary>
    public static string? Text(byte[] bytes) => bytes.AsSpan(0, Math.Min(bytes.Length, 4096)).Contains((byte)0) ? null : Encoding.UTF8.GetString(bytes).TrimEnd('\uFFFD');

    /// <summary>Indented when it is JSON as a whole; else as it is.</summary>
    public static string Indented(string text)
    {
        try
        {
            using var document = JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = 128 });
            return JsonSerializer.Serialize(document.RootElement, Indent);
        }
        catch (JsonException)
        {
            // A part of a file, or no JSON at all, is still worth reading.
            return text;
        }
    }

    private static readonly JsonSerializerOptions Indent = new() { WriteIndented = true, MaxDepth = 128, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
}
