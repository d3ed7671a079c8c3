using Slipway.Foundation;

namespace Slipway.Data;

/// <summary>The first rows of a table file.</summary>
/// <param name="Columns">Names and types.</param>
/// <param name="Rows">Values as text; null where there is none.</param>
public sealed record TableHead(IReadOnlyList<(string Name, string Type)> Columns, IReadOnlyList<IReadOnlyList<string?>> Rows);

/// <summary>Looks into CSV, TSV and Parquet files that are not datasets, for example a run's artifacts.</summary>
public sealed class TableHeads
{
    /// <summary>Largest file that is looked into.</summary>
    public const long MostBytes = 256L << 20;

    /// <summary>Most rows of an answer.</summary>
    public const int MostRows = 200;

    private readonly Profiler profiler;
    private readonly DataLayout layout;

    internal TableHeads(Profiler profiler, DataLayout layout) => (this.profiler, this.layout) = (profiler, layout);

    /// <summary>Whether the ending of a name says that the file is a table.</summary>
    public static bool IsTable(string name) => Profiler.IsTable(name);

    /// <summary>The first rows. The content is kept in a temporary file for as long as it takes.</summary>
    /// <exception cref="SlipwayException">TooLarge beyond <see cref="MostBytes"/>; InvalidArgument when the file is not the table its name promises.</exception>
    public async Task<TableHead> ReadAsync(string name, Stream content, int rows, CancellationToken ct)
    {
        Directory.CreateDirectory(layout.Temporary);
        var path = Path.Combine(layout.Temporary, "head-" + Ids.New());
        try
        {
            await using (var file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None))
            {
                var buffer = new byte[81_920];
                for (int read; (read = await content.ReadAsync(buffer, ct)) > 0;)
                {
                    if (file.Length + read > MostBytes)
                        throw new SlipwayException(ErrorCode.TooLarge, $"{name} is too large to look into", $"the limit is {MostBytes >> 20} MiB", "download it");
                    await file.WriteAsync(buffer.AsMemory(0, read), ct);
                }
            }

            return await profiler.HeadAsync(new TableFile(name, path), Math.Clamp(rows, 1, MostRows), ct);
        }
        finally
        {
            File.Delete(path);
        }
    }
}
