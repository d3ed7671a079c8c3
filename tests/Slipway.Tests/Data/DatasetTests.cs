using System.Text;
using Slipway.Data;
using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Tests.Data;

public class DatasetTests
{
    private static readonly CancellationToken None = CancellationToken.None;

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_commit_gives_an_immutable_version_with_schema_profile_and_history(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var datasets = await CreateAsync(world);

        var first = await CommitAsync(world, "week 1", ("data/a.csv", "id,late\n1,0.5\n2,\n"), ("README.md", "hello"));
        world.Clock.Advance(TimeSpan.FromDays(1));
        var second = await CommitAsync(world, "week 2", ("data/a.csv", "id,late\n1,0.5\n2,\n"), ("data/b.csv", "id,late\n3,1.5\n"), ("README.md", "hello"));

        Assert.True(Digest.IsSha256(first.Id));
        Assert.Equal((null, "main", "week 1", "ada"), (first.Parent, first.Branch, first.Message, first.Author));
        Assert.Equal(first.Id, second.Parent);
        Assert.Equal(["README.md", "data/a.csv", "data/b.csv"], second.Files.Select(f => f.Path));
        Assert.Equal([null, 2L, 1L], second.Files.Select(f => f.Rows));
        Assert.Equal([new ColumnSchema("id", "BIGINT", false), new ColumnSchema("late", "DOUBLE", true)], second.Schema!.Columns);
        Assert.Equal((3L, 2L, 1L, 1.0), (second.Profile!.Rows, second.Profile.Columns[1].Count, second.Profile.Columns[1].Missing, second.Profile.Columns[1].Mean));
        Assert.Equal([second.Id, first.Id], (await datasets.LogAsync("flights", "main", 10, None)).Select(v => v.Id));
        Assert.Equal([second.Id], (await datasets.LogAsync("flights", "main", 1, None)).Select(v => v.Id));

        var read = await datasets.GetVersionAsync("flights", first.Id, None);
        Assert.Equal((first.Id, first.Message, first.At), (read.Id, read.Message, read.At));
        Assert.Equal(first.Files, read.Files);
        using var reader = new StreamReader(await datasets.OpenAsync(read, "README.md", None));
        Assert.Equal("hello", await reader.ReadToEndAsync());

        await world.SealAsync();
        var committed = (await world.Journal.ListAsync(new JournalFilter { Kind = "dataset.committed", Descending = false }, None)).Items;
        Assert.Equal([first.Subject, second.Subject], committed.Select(e => e.Subject));
        Assert.Equal([first.Subject, new Subject("dataset", "flights")], committed[1].Links);
        Assert.Equal((3, 3L), (committed[1].Read<DatasetCommitted>().Files, committed[1].Read<DatasetCommitted>().Rows));
        Assert.Contains("ada committed dataset-version flights/", Audit.Sentence(committed[0]), StringComparison.Ordinal);
        var graph = await world.Get<Lineage>().OfAsync(second.Subject, LineageDirection.Upstream, 5, None);
        Assert.Contains(graph.Edges, e => e.From == second.Subject && e.To == first.Subject);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task The_id_is_the_hash_of_the_canonical_manifest(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        await CreateAsync(world);
        var version = await CommitAsync(world, "one", ("a.bin", "x"));

        var manifest = await world.Database.ReadAsync(s => s.ScalarAsync<string>("SELECT manifest FROM data_versions"), None);

        Assert.Equal(version.Id, Digest.Sha256Hex(Encoding.UTF8.GetBytes(manifest)));
        var hash = Digest.Sha256Hex("x"u8);
        Assert.Equal($$"""{"at":{{Time.ToMicros(version.At)}},"author":"ada","branch":"main","dataset":"flights","files":[{"hash":"{{hash}}","path":"a.bin","size":1}],"message":"one","v":1}""", manifest);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task The_same_bytes_are_stored_once_and_the_same_files_make_no_version(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var datasets = await CreateAsync(world);
        var first = await CommitAsync(world, "one", ("a.csv", "id\n1\n"), ("b/copy.csv", "id\n1\n"));
        var again = await CommitAsync(world, "two", ("b/copy.csv", "id\n1\n"), ("a.csv", "id\n1\n"));

        Assert.Equal(first.Id, again.Id);
        Assert.Equal(first.Files[0].Hash, first.Files[1].Hash);
        Assert.Single(await datasets.LogAsync("flights", "main", 10, None));
        Assert.Single(Directory.EnumerateFiles(Path.Combine(world.Folder, "blobs"), "*", SearchOption.AllDirectories));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_branch_moves_only_from_where_the_committer_saw_it(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var datasets = await CreateAsync(world);
        var first = await CommitAsync(world, "one", ("a.txt", "1"));
        var second = await datasets.CommitAsync(TestWorld.Ada, "flights", Request("two", ("a.txt", "2")) with { ExpectedParent = first.Id }, None);

        var refused = await Refused(ErrorCode.Conflict, () => datasets.CommitAsync(TestWorld.Ada, "flights", Request("three", ("a.txt", "3")) with { ExpectedParent = first.Id }, None));
        Assert.Contains($"its head is {second.Id}", refused.Why, StringComparison.Ordinal);
        await Refused(ErrorCode.Conflict, () => datasets.CommitAsync(TestWorld.Ada, "flights", Request("three", ("a.txt", "3")) with { Branch = "other", ExpectedParent = first.Id }, None));

        // Twenty at once: every one either sits on the chain or was told that the head moved; none is lost.
        var outcomes = await Task.WhenAll(Enumerable.Range(0, 20).Select(async i =>
        {
            try
            {
                return (await datasets.CommitAsync(TestWorld.Ada, "flights", Request($"race {i}", ("a.txt", $"race {i}")), None)).Id;
            }
            catch (SlipwayException e) when (e.Code == ErrorCode.Conflict)
            {
                return null;
            }
        }));
        var log = (await datasets.LogAsync("flights", "main", 100, None)).Select(v => v.Id).ToList();
        Assert.Equal(outcomes.OfType<string>().Order(StringComparer.Ordinal), log.Take(log.Count - 2).Order(StringComparer.Ordinal));
        Assert.True(log.Count > 2);
        await world.SealAsync();
        Assert.Equal(log.Count, (await world.Journal.ListAsync(new JournalFilter { Kind = "dataset.committed" }, None)).Items.Count);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_reference_is_an_id_a_tag_a_branch_or_a_unique_beginning(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var datasets = await CreateAsync(world);
        var first = await CommitAsync(world, "one", ("a.txt", "1"));
        var second = await CommitAsync(world, "two", ("a.txt", "2"));
        await datasets.TagAsync(TestWorld.Ada, "flights", "v1", first.Id[..8], None);

        Assert.Equal(first.Id, (await datasets.GetVersionAsync("flights", "v1", None)).Id);
        Assert.Equal(second.Id, (await datasets.GetVersionAsync("flights", "main", None)).Id);
        Assert.Equal(first.Id, (await datasets.GetVersionAsync("flights", first.Id[..6], None)).Id);
        Assert.Equal(first.Id, (await datasets.GetVersionAsync("flights", first.Id, None)).Id);
        foreach (var unknown in new[] { "", "nope", first.Id[..5], new string('0', 64), "' OR 1=1 --", first.Id.ToUpperInvariant() })
            await Refused(ErrorCode.NotFound, () => datasets.GetVersionAsync("flights", unknown, None));
        await Refused(ErrorCode.NotFound, () => datasets.GetVersionAsync("nope", "main", None));
        await datasets.CreateAsync(TestWorld.Ada, "other", null, None);
        await Refused(ErrorCode.NotFound, () => datasets.GetVersionAsync("other", first.Id, None));

        // Two ids with one beginning cannot be made to order, so a row is forged.
        await world.Database.WriteAsync(tx => tx.ExecuteAsync("INSERT INTO data_versions (id, dataset, manifest) VALUES (@id, 'flights', '{}')", new { id = first.Id[..60] + "0000" }), None);
        var ambiguous = await Refused(ErrorCode.InvalidArgument, () => datasets.GetVersionAsync("flights", first.Id[..8], None));
        Assert.Contains(first.Id, ambiguous.Why, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Tags_never_move_and_pins_are_kept_once(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var datasets = await CreateAsync(world);
        var first = await CommitAsync(world, "one", ("a.txt", "1"));
        var second = await CommitAsync(world, "two", ("a.txt", "2"));

        await datasets.TagAsync(TestWorld.Ada, "flights", "v1", first.Id, None);
        await datasets.TagAsync(TestWorld.Ada, "flights", "v1", first.Id, None);
        var moved = await Refused(ErrorCode.Conflict, () => datasets.TagAsync(TestWorld.Ada, "flights", "v1", second.Id, None));
        Assert.Contains(first.Id, moved.Why, StringComparison.Ordinal);
        await Refused(ErrorCode.InvalidArgument, () => datasets.TagAsync(TestWorld.Ada, "flights", "V 1", first.Id, None));
        await Refused(ErrorCode.InvalidArgument, () => datasets.TagAsync(TestWorld.Ada, "flights", first.Id, first.Id, None));

        var run = new Subject("run", "r1");
        await datasets.PinAsync(TestWorld.Ada, first, run, None);
        await datasets.PinAsync(TestWorld.Ada, first, run, None);
        Assert.Equal([run], await datasets.UsedByAsync(first, None));
        Assert.Empty(await datasets.UsedByAsync(second, None));
        await Refused(ErrorCode.NotFound, () => datasets.PinAsync(TestWorld.Ada, first with { Id = new string('0', 64) }, run, None));

        await world.SealAsync();
        Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "dataset.tagged" }, None)).Items);
        var pinned = Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "dataset.pinned" }, None)).Items);
        Assert.Equal(run, pinned.Subject);
        var graph = await world.Get<Lineage>().OfAsync(run, LineageDirection.Upstream, 3, None);
        Assert.Contains(graph.Nodes, n => n.Subject == first.Subject);
        var dataset = Assert.Single(await datasets.ListAsync(None));
        Assert.Equal((second.Id, first.Id), (dataset.Branches["main"], dataset.Tags["v1"]));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task What_cannot_be_committed_is_refused_and_leaves_no_trace(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var datasets = await CreateAsync(world);
        world.Get<DataOptions>().MaxBytes = 1_000;

        await Refused(ErrorCode.NotFound, () => datasets.CommitAsync(TestWorld.Ada, "nope", Request("m", ("a", "1")), None));
        await Refused(ErrorCode.InvalidArgument, () => datasets.CommitAsync(TestWorld.Ada, "flights", Request(" ", ("a", "1")), None));
        await Refused(ErrorCode.InvalidArgument, () => datasets.CommitAsync(TestWorld.Ada, "flights", Request("m"), None));
        await Refused(ErrorCode.InvalidArgument, () => datasets.CommitAsync(TestWorld.Ada, "flights", Request("m", ("../a", "1")), None));
        await Refused(ErrorCode.InvalidArgument, () => datasets.CommitAsync(TestWorld.Ada, "flights", Request("m", ("a", "1"), ("A", "2")), None));
        await Refused(ErrorCode.InvalidArgument, () => datasets.CommitAsync(TestWorld.Ada, "flights", Request("m", ("a", "1"), ("a/b", "2")), None));
        await Refused(ErrorCode.InvalidArgument, () => datasets.CommitAsync(TestWorld.Ada, "flights", Request("m", ("a", "1")) with { Branch = "a b" }, None));
        await Refused(ErrorCode.TooLarge, () => datasets.CommitAsync(TestWorld.Ada, "flights", Request("m", ("a", new string('x', 600)), ("b", new string('x', 600))), None));
        var torn = await Refused(ErrorCode.InvalidArgument, () => datasets.CommitAsync(TestWorld.Ada, "flights", Request("m", ("data/torn.csv", "id,x\n1,2\n3,4,5\n")), None));
        Assert.Contains("data/torn.csv", torn.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(world.Folder, torn.Why, StringComparison.Ordinal);
        var fake = await Refused(ErrorCode.InvalidArgument, () => datasets.CommitAsync(TestWorld.Ada, "flights", Request("m", ("fake.parquet", "PAR1 not really")), None));
        Assert.DoesNotContain(world.Folder, fake.Why, StringComparison.Ordinal);
        await Refused(ErrorCode.InvalidArgument, () => datasets.CommitAsync(TestWorld.Ada, "flights", Request("m", ("empty.csv", "")), None));
        await Assert.ThrowsAsync<IOException>(() => datasets.CommitAsync(TestWorld.Ada, "flights", new CommitRequest { Message = "m", Files = [new CommitFile("a", _ => throw new IOException("gone"))] }, None));

        await Refused(ErrorCode.AlreadyExists, () => datasets.CreateAsync(TestWorld.Ada, "flights", null, None));
        await Refused(ErrorCode.InvalidArgument, () => datasets.CreateAsync(TestWorld.Ada, "Flights", null, None));
        await Refused(ErrorCode.InvalidArgument, () => datasets.CreateAsync(TestWorld.Ada, "a/b", null, None));
        await Refused(ErrorCode.NotFound, () => datasets.LogAsync("flights", "main", 1, None));
        await Refused(ErrorCode.InvalidArgument, () => datasets.LogAsync("flights", "main", 0, None));
        Assert.Empty((await datasets.GetAsync("flights", None)).Branches);
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(world.Folder, "tmp")));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Damaged_rows_and_bytes_are_noticed(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var datasets = await CreateAsync(world);
        var version = await CommitAsync(world, "one", ("a.csv", "id\n1\n"));
        var path = await datasets.LocalPathAsync(version, "a.csv", None);
        Assert.Equal("id\n1\n", await File.ReadAllTextAsync(path));

        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        await File.WriteAllTextAsync(path, "id\n9\n");
        File.SetLastWriteTimeUtc(path, new DateTime(2030, 1, 1, 0, 0, 0, DateTimeKind.Utc));
        await Refused(ErrorCode.DataLoss, () => datasets.LocalPathAsync(version, "a.csv", None));
        await Refused(ErrorCode.NotFound, () => datasets.LocalPathAsync(version, "b.csv", None));

        await world.Database.WriteAsync(tx => tx.ExecuteAsync("UPDATE data_versions SET profile = REPLACE(profile, '\"rows\":1', '\"rows\":2')"), None);
        await Refused(ErrorCode.DataLoss, () => datasets.GetVersionAsync("flights", "main", None));
        await world.Database.WriteAsync(tx => tx.ExecuteAsync("UPDATE data_versions SET manifest = REPLACE(manifest, 'one', 'two')"), None);
        var refused = await Refused(ErrorCode.DataLoss, () => datasets.GetVersionAsync("flights", "main", None));
        Assert.Contains("another id", refused.Why, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_diff_tells_files_and_columns(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var datasets = await CreateAsync(world);
        await CommitAsync(world, "one", ("t.csv", "id,x,old\n1,1,a\n2,3,b\n"), ("same", "s"), ("gone", "g"), ("moved", "m"));
        await CommitAsync(world, "two", ("t.csv", "id,x,new\n1,2,a\n2,,b\n"), ("same", "s"), ("fresh", "f"), ("moved-here", "m"));
        var log = await datasets.LogAsync("flights", "main", 10, None);

        var diff = await datasets.DiffAsync("flights", log[1].Id, "main", None);

        Assert.Equal(["fresh"], diff.Added.Select(f => f.Path));
        Assert.Equal(["gone"], diff.Removed.Select(f => f.Path));
        Assert.Equal(["t.csv"], diff.Changed.Select(f => f.Path));
        Assert.Equal([("moved", "moved-here")], diff.Renamed.Select(r => (r.From, r.To)));
        Assert.Equal([("x", "changed"), ("old", "removed"), ("new", "added")], diff.Columns.Select(c => (c.Name, c.Kind)));
        Assert.Equal((0.0, 0.5), (diff.Columns[0].MeanChange, diff.Columns[0].MissingShareChange));
        Assert.True((await datasets.DiffAsync("flights", "main", "main", None)).IsEmpty);
    }

    private static async Task<Datasets> CreateAsync(TestWorld world)
    {
        await world.Get<Datasets>().CreateAsync(TestWorld.Ada, "flights", "on-time performance", None);
        return world.Get<Datasets>();
    }

    private static Task<DatasetVersion> CommitAsync(TestWorld world, string message, params (string Path, string Text)[] files) =>
        world.Get<Datasets>().CommitAsync(TestWorld.Ada, "flights", Request(message, files), None);

    private static CommitRequest Request(string message, params (string Path, string Text)[] files) =>
        new() { Message = message, Files = [.. files.Select(f => CommitFile.FromBytes(f.Path, Encoding.UTF8.GetBytes(f.Text)))] };

    private static async Task<SlipwayException> Refused(ErrorCode code, Func<Task> act)
    {
        var refused = await Assert.ThrowsAsync<SlipwayException>(act);
        Assert.Equal(code, refused.Code);
        return refused;
    }
}
