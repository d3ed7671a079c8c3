using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Datasets and their versions.</summary>
internal static class DatasetCommand
{
    private static readonly Column[] Columns =
    [
        new("NAME", "name"), new("BRANCHES", e => Heads(e, "branches")), new("TAGS", e => Heads(e, "tags")), new("CREATED", "createdAt"), new("BY", "createdBy"), new("DESCRIPTION", "description", wide: true),
    ];

    private static readonly Column[] Versions =
    [
        new("VERSION", e => Short(Output.At(e, "id"))), new("AT", "at"), new("AUTHOR", "author"), new("FILES", e => Count(Output.At(e, "files"))), new("ROWS", Rows), new("MESSAGE", "message"),
        new("PARENT", e => Short(Output.At(e, "parent")), Wide: true), new("ID", "id", wide: true),
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var dataset = Opt.Name("dataset");
        var reference = new Option<string>("--version") { Description = "A version: id, the beginning of one, tag or branch", DefaultValueFactory = _ => "main" };
        var branch = new Option<string>("--branch") { Description = "The branch", DefaultValueFactory = _ => "main" };
        var limit = Opt.Limit();
        return new Noun("dataset", "Versioned data: every commit is kept, named by its content")
        {
            List(globals, terminal),
            Create(globals, terminal),
            Commit(globals, terminal),
            new Verb("show", "Shows a version: its files and columns", "slipway dataset show flights", "slipway dataset show flights --version 3fa85c -o json")
                .With(dataset, reference)
                .Does(globals, terminal, s => s.ShowAsync(
                    $"datasets/{s.About("datasets", s.Value(dataset))}/versions/{s.Value(reference)}",
                    [.. Versions.Select(c => c with { Wide = false }), new("CONTENT", e => Files(e)), new("COLUMNS", e => ColumnsOf(e))])),
            new Verb("log", "Lists the versions of a branch, newest first", "slipway dataset log flights", "slipway dataset log flights --branch main --limit 5")
                .With(dataset, branch, limit)
                .Does(globals, terminal, s => s.ListAsync(
                    $"datasets/{s.About("datasets", s.Value(dataset))}/log{Query.Of(("branch", s.Value(branch)))}", s.Value(limit), Versions)),
            Diff(globals, terminal),
            new Verb("profile", "Shows what the columns of a version hold", "slipway dataset profile flights", "slipway dataset profile flights --version 3fa85c -o json")
                .With(dataset, reference)
                .Does(globals, terminal, async s =>
                {
                    var profile = await s.Client.GetAsync<JsonElement>($"datasets/{s.About("datasets", s.Value(dataset))}/versions/{s.Value(reference)}/profile", s.Stop);
                    s.Out.List(
                        [.. Output.At(profile, "columns").EnumerateArray()], more: false,
                        new("COLUMN", "name"), new("TYPE", "type"), new("COUNT", "count"), new("MISSING", "missing"), new("DISTINCT", "distinct"),
                        new("MEAN", e => Output.Rounded(Output.At(e, "mean"))), new("STD", e => Output.Rounded(Output.At(e, "std"))), new("MIN", "min"), new("MAX", "max"));
                    return ExitCodes.Done;
                }),
            Tag(globals, terminal),
            new Verb("used-by", "Lists what used a version", "slipway dataset used-by flights", "slipway dataset used-by flights --version 2020-q1")
                .With(dataset, reference)
                .Does(globals, terminal, s => s.ListAsync(
                    $"datasets/{s.About("datasets", s.Value(dataset))}/versions/{s.Value(reference)}/used-by", 1000, new Column("SUBJECT", e => Output.Text(e)))),
        };
    }

    private static Verb List(Globals globals, Terminal terminal)
    {
        var limit = Opt.Limit();
        return new Verb("list", "Lists datasets", "slipway dataset list", "slipway dataset list -o wide").With(limit)
            .Does(globals, terminal, s => s.ListAsync($"datasets", s.Value(limit), Columns));
    }

    private static Verb Create(Globals globals, Terminal terminal)
    {
        var dataset = Opt.Name("dataset");
        var description = new Option<string?>("--description") { Description = "What it holds" };
        return new Verb("create", "Makes an empty dataset", "slipway dataset create flights", "slipway dataset create flights --description 'US domestic flights'")
            .With(dataset, description)
            .Does(globals, terminal, async s =>
            {
                s.Out.One(await s.Client.PostAsync<JsonElement>($"datasets", new { name = s.Value(dataset), description = s.Value(description) }, s.Stop), Columns);
                return ExitCodes.Done;
            });
    }

    private static Verb Commit(Globals globals, Terminal terminal)
    {
        var dataset = Opt.Name("dataset");
        var files = new Argument<string[]>("file") { Description = "The files and folders that are the whole new version", Arity = ArgumentArity.OneOrMore };
        var message = new Option<string>("--message", "-m") { Description = "Why this version exists", Required = true };
        var branch = new Option<string>("--branch") { Description = "The branch to move", DefaultValueFactory = _ => "main" };
        var parent = new Option<string?>("--expect") { Description = "Only if the branch's head is this version" };
        return new Verb("commit", "Makes a version of the files given", "slipway dataset commit flights flights.parquet -m 'first quarter'", "slipway dataset commit flights ./data -m 'with weather' --branch weather")
            .With(dataset, files, message, branch, parent)
            .Does(globals, terminal, async s =>
            {
                var chosen = Choose(s.Value(files));
                using var progress = new Upload(s, chosen.Sum(f => f.Size));
                var opened = chosen.Select(f => (f.Path, (Stream)progress.Open(f.File)));
                s.Out.One(
                    await s.Client.CommitAsync<JsonElement>(s.About("datasets", s.Value(dataset)), new NewCommit(s.Value(message)!, s.Value(branch)!, s.Value(parent)), opened, s.Stop),
                    Versions);
                return ExitCodes.Done;
            });
    }

    private static Verb Diff(Globals globals, Terminal terminal)
    {
        var dataset = Opt.Name("dataset");
        var from = new Argument<string>("from") { Description = "The version before" };
        var to = new Argument<string>("to") { Description = "The version after", DefaultValueFactory = _ => "main" };
        return new Verb("diff", "Shows what changed between two versions", "slipway dataset diff flights 3fa85c", "slipway dataset diff flights 2020-q1 2020-q2 -o json")
            .With(dataset, from, to)
            .Does(globals, terminal, s => s.ShowAsync(
                $"datasets/{s.About("datasets", s.Value(dataset))}/diff{Query.Of(("from", s.Value(from)), ("to", s.Value(to)))}",
                new("FROM", e => Short(Output.At(e, "from"))), new("TO", e => Short(Output.At(e, "to"))),
                new("ROWS", e => $"{Output.Text(Output.At(e, "rowsBefore"))} -> {Output.Text(Output.At(e, "rowsAfter"))}"),
                new("ADDED", e => Paths(e, "added")), new("REMOVED", e => Paths(e, "removed")), new("CHANGED", e => Paths(e, "changed")),
                new("RENAMED", e => string.Join('\n', Output.At(e, "renamed").EnumerateArray().Select(r => $"{Output.Text(Output.At(r, "from"))} -> {Output.Text(Output.At(r, "to"))}").DefaultIfEmpty("-"))),
                new("COLUMNS", e => string.Join('\n', Output.At(e, "columns").EnumerateArray().Select(Delta).DefaultIfEmpty("-")))));
    }

    private static Verb Tag(Globals globals, Terminal terminal)
    {
        var dataset = Opt.Name("dataset");
        var tag = new Argument<string>("tag") { Description = "The name, for good" };
        var version = new Option<string>("--version") { Description = "The version to name", DefaultValueFactory = _ => "main" };
        return new Verb("tag", "Names a version for good", "slipway dataset tag flights 2020-q1", "slipway dataset tag flights 2020-q1 --version 3fa85c")
            .With(dataset, tag, version)
            .Does(globals, terminal, async s =>
            {
                s.Out.One(await s.Client.PostAsync<JsonElement>($"datasets/{s.About("datasets", s.Value(dataset))}/tags", new { tag = s.Value(tag), version = s.Value(version) }, s.Stop), Columns);
                return ExitCodes.Done;
            });
    }

    /// <summary>A file keeps its name; a folder's files keep their paths below it.</summary>
    private static List<(string Path, string File, long Size)> Choose(IEnumerable<string> named)
    {
        var chosen = new List<(string Path, string File, long Size)>();
        foreach (var name in named)
        {
            if (Directory.Exists(name))
            {
                chosen.AddRange(Directory.EnumerateFiles(name, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal)
                    .Select(f => (Path.GetRelativePath(name, f).Replace(Path.DirectorySeparatorChar, '/'), f, new FileInfo(f).Length)));
            }
            else if (File.Exists(name))
            {
                chosen.Add((Path.GetFileName(name), name, new FileInfo(name).Length));
            }
            else
            {
                throw new CliException(ExitCodes.NotFound, "nothing was committed", $"there is no file or folder {name}", "check the path");
            }
        }

        return chosen;
    }

    private static string Heads(JsonElement e, string member) =>
        Output.At(e, member) is { ValueKind: JsonValueKind.Object } heads && heads.EnumerateObject().Any() ? string.Join(", ", heads.EnumerateObject().Select(h => $"{h.Name} {Short(h.Value)}")) : "-";

    private static string Short(JsonElement id) => id.ValueKind == JsonValueKind.String && id.GetString() is { Length: > 12 } text ? text[..12] : Output.Text(id);

    private static string Count(JsonElement list) => list.ValueKind == JsonValueKind.Array ? list.GetArrayLength().ToString(CultureInfo.InvariantCulture) : "-";

    private static string Rows(JsonElement version)
    {
        var rows = Output.At(version, "files").EnumerateArray().Select(f => Output.Number(Output.At(f, "rows"))).Where(r => r is not null).ToList();
        return rows.Count == 0 ? "-" : rows.Sum()!.Value.ToString("0", CultureInfo.InvariantCulture);
    }

    private static string Files(JsonElement version) =>
        string.Join('\n', Output.At(version, "files").EnumerateArray().Select(f => $"{Output.Text(Output.At(f, "path"))}  {Output.Text(Output.At(f, "size"))} bytes  {Short(Output.At(f, "hash"))}"));

    private static string ColumnsOf(JsonElement version) => Output.At(version, "schema.columns") is { ValueKind: JsonValueKind.Array } columns
        ? string.Join('\n', columns.EnumerateArray().Select(c => $"{Output.Text(Output.At(c, "name"))}  {Output.Text(Output.At(c, "type"))}"))
        : "-";

    private static string Paths(JsonElement diff, string member) => string.Join('\n', Output.At(diff, member).EnumerateArray().Select(f => Output.Text(Output.At(f, "path"))).DefaultIfEmpty("-"));

    private static string Delta(JsonElement column)
    {
        string Of(string member) => Output.Rounded(Output.At(column, member));
        return $"{Output.Text(Output.At(column, "name"))}  {Output.Text(Output.At(column, "kind"))}  mean {Of("before.mean")} -> {Of("after.mean")}, missing {Of("before.missing")} -> {Of("after.missing")}";
    }

    /// <summary>Says on standard error how far an upload is, a line every tenth of the way.</summary>
    private sealed class Upload(Session session, long total) : IDisposable
    {
        private const long Worth = 8 << 20;
        private readonly List<Stream> opened = [];
        private long sent;
        private int said;

        public Stream Open(string file)
        {
            var stream = new Counted(new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read, 1, FileOptions.Asynchronous | FileOptions.SequentialScan), Sent);
            opened.Add(stream);
            return stream;
        }

        public void Dispose() => opened.ForEach(s => s.Dispose());

        private void Sent(int bytes)
        {
            sent += bytes;
            var tenth = total < Worth ? 0 : (int)(10 * sent / total);
            if (tenth > said)
            {
                said = tenth;
                session.Note($"{tenth * 10} % of {total >> 20} MiB sent");
            }
        }
    }

    private sealed class Counted(Stream inner, Action<int> read) : Stream
    {
        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => inner.Length;

        public override long Position { get => inner.Position; set => throw new NotSupportedException(); }

        public override int Read(byte[] buffer, int offset, int count) => Count(inner.Read(buffer, offset, count));

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => Count(await inner.ReadAsync(buffer, cancellationToken));

        public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

        public override void Flush() => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                inner.Dispose();
            }

            base.Dispose(disposing);
        }

        private int Count(int bytes)
        {
            read(bytes);
            return bytes;
        }
    }
}
