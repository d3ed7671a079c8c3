using System.Globalization;
using System.Text.Json;

namespace Slipway.Tests.Monitoring;

/// <summary>
/// Data sets with numbers from independent programs, beside the repository at `../shared/reference/monitoring` (or where SLIPWAY_REFERENCE
/// points). They are not part of it: a test that needs one is skipped, by name, where it is absent.
/// </summary>
internal static class ReferenceData
{
    private static readonly string? Folder = Find();

    /// <summary>The file's path; skips the test where it is absent.</summary>
    public static string File(string name)
    {
        string? path = Folder is null ? null : Path.Combine(Folder, name);
        Assert.SkipUnless(path is not null && System.IO.File.Exists(path), $"needs ../shared/reference/monitoring/{name}");
        return path!;
    }

    public static JsonElement Json(string name)
    {
        using JsonDocument document = JsonDocument.Parse(System.IO.File.ReadAllBytes(File(name)));
        return document.RootElement.Clone();
    }

    /// <summary>Columns as text, by name; an empty field is null.</summary>
    public static Dictionary<string, string?[]> Csv(string name)
    {
        string[] lines = System.IO.File.ReadAllLines(File(name));
        string[] heads = lines[0].Split(',');
        var columns = heads.ToDictionary(h => h, _ => new string?[lines.Length - 1]);
        for (int row = 1; row < lines.Length; row++)
        {
            string[] fields = lines[row].Split(',');
            for (int c = 0; c < heads.Length; c++)
            {
                columns[heads[c]][row - 1] = fields[c].Length == 0 ? null : fields[c];
            }
        }

        return columns;
    }

    public static double[] Numbers(this Dictionary<string, string?[]> table, string column) =>
        table[column].Select(v => v is null ? double.NaN : double.Parse(v, CultureInfo.InvariantCulture)).ToArray();

    private static string? Find()
    {
        if (Environment.GetEnvironmentVariable("SLIPWAY_REFERENCE") is { Length: > 0 } set)
        {
            return Path.Combine(set, "monitoring");
        }

        DirectoryInfo? at = new(AppContext.BaseDirectory);
        while (at is not null && !System.IO.File.Exists(Path.Combine(at.FullName, "Slipway.slnx")))
        {
            at = at.Parent;
        }

        string? folder = at?.Parent is { } parent ? Path.Combine(parent.FullName, "shared", "reference", "monitoring") : null;
        return Directory.Exists(folder) ? folder : null;
    }
}
