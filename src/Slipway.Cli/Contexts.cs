using System.Text.Json;

namespace Slipway.Cli;

/// <summary>A server that has a name here.</summary>
internal sealed record ServerContext(string Url, string? Token = null);

/// <summary>The named servers in the user's configuration folder. The file holds keys, so only its owner may read it.</summary>
internal sealed class Contexts
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { WriteIndented = true };
    private readonly string file;
    private readonly Stored stored;

    private Contexts(string file, Stored stored)
    {
        this.file = file;
        this.stored = stored;
    }

    public string? Current => stored.Current;

    public IReadOnlyDictionary<string, ServerContext> All => stored.Contexts;

    public static Contexts Load(Terminal terminal)
    {
        var folder = terminal.Environment("XDG_CONFIG_HOME") is { Length: > 0 } config ? config : Path.Combine(terminal.Environment("HOME") ?? ".", ".config");
        var file = Path.Combine(folder, "slipway", "contexts.json");
        if (!File.Exists(file))
        {
            return new Contexts(file, new Stored(null, new SortedDictionary<string, ServerContext>(StringComparer.Ordinal)));
        }

        try
        {
            var read = JsonSerializer.Deserialize<Stored>(File.ReadAllText(file), Json) ?? throw new JsonException("it is null");
            return new Contexts(file, read with { Contexts = new SortedDictionary<string, ServerContext>(read.Contexts ?? [], StringComparer.Ordinal) });
        }
        catch (JsonException e)
        {
            throw new CliException(ExitCodes.Failed, $"the contexts in {file} cannot be read", e.Message, $"correct the file, or remove it: rm {file}");
        }
    }

    public void Save(string? current, string? name = null, ServerContext? context = null)
    {
        if (name is not null && context is not null)
        {
            stored.Contexts[name] = context;
        }
        else if (name is not null)
        {
            stored.Contexts.Remove(name);
        }

        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        var part = file + ".part";
        using (var stream = new FileStream(part, new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite }))
        {
            JsonSerializer.Serialize(stream, stored with { Current = current }, Json);
        }

        File.Move(part, file, overwrite: true);
    }

    private sealed record Stored(string? Current, SortedDictionary<string, ServerContext> Contexts);
}
