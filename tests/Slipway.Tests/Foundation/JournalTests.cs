using Microsoft.Extensions.DependencyInjection;
using Slipway.Foundation;

namespace Slipway.Tests.Foundation;

public sealed class JournalTests
{
    private static readonly Subject Model = new("model-version", "flights/1");

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Entry_of_a_failed_transaction_does_not_exist(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        await Assert.ThrowsAsync<InvalidOperationException>(() => world.Database.WriteAsync(
            async tx =>
            {
                await world.Journal.AppendAsync(tx, TestWorld.Ada, "model.created", Model);
                throw new InvalidOperationException("after the entry");
            },
            CancellationToken.None));
        await Append(world, TestWorld.Grace, "model.created");
        await world.SealAsync();

        var entries = await world.Journal.ListAsync(new JournalFilter(), CancellationToken.None);

        var only = Assert.Single(entries.Items);
        Assert.Equal(1, only.Seq);
        Assert.Equal("grace", only.Actor.Name);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Concurrent_writers_get_dense_numbers_and_lose_nothing(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        const int Writers = 8, Each = 25;
        using var stop = new CancellationTokenSource();
        var sealing = Task.Run(async () =>
        {
            while (!stop.IsCancellationRequested)
            {
                await world.SealAsync();
                await Task.Yield();
            }
        });
        var ids = await Task.WhenAll(Enumerable.Range(0, Writers).Select(w => Task.Run(async () =>
        {
            var mine = new List<string>();
            for (var i = 0; i < Each; i++)
            {
                mine.Add(await Append(world, new Actor(ActorKind.User, $"writer{w}"), "model.created", new { i }));
            }

            return mine;
        })));
        await stop.CancelAsync();
        await sealing;
        await world.SealAsync();

        var entries = (await world.Journal.ListAsync(new JournalFilter { Limit = 1000, Descending = false }, CancellationToken.None)).Items;

        Assert.Equal(Enumerable.Range(1, Writers * Each).Select(i => (long)i), entries.Select(e => e.Seq));
        Assert.Equal(ids.SelectMany(i => i).Order(), entries.Select(e => e.Id).Order());
        foreach (var mine in ids)
        {
            // What one writer wrote after the other is numbered after the other.
            Assert.Equal(mine, entries.Where(e => mine.Contains(e.Id)).Select(e => e.Id));
        }

        Assert.True((await world.Journal.VerifyAsync(CancellationToken.None)).Intact);
    }

    [Theory]
    [InlineData(Engine.Sqlite, "UPDATE journal_entries SET entry = (SELECT entry FROM journal_entries WHERE seq = 1) WHERE seq = 3", "entry 3")]
    [InlineData(Engine.Postgres, "UPDATE journal_entries SET entry = (SELECT entry FROM journal_entries WHERE seq = 1) WHERE seq = 3", "entry 3")]
    [InlineData(Engine.Sqlite, "UPDATE journal_entries SET actor = 'mallory' WHERE seq = 2", "entry 2")]
    [InlineData(Engine.Sqlite, "UPDATE journal_entries SET at = at + 1 WHERE seq = 2", "entry 2")]
    [InlineData(Engine.Sqlite, "UPDATE journal_entries SET detail = (SELECT detail FROM journal_entries WHERE seq = 1) WHERE seq = 2", "entry 2")]
    [InlineData(Engine.Sqlite, "UPDATE journal_links SET subject = 'run:other' WHERE seq = 4", "entry 4")]
    [InlineData(Engine.Sqlite, "DELETE FROM journal_entries WHERE seq = 2", "entry 2: missing")]
    [InlineData(Engine.Postgres, "DELETE FROM journal_entries WHERE seq = 2", "entry 2: missing")]
    [InlineData(Engine.Sqlite, "DELETE FROM journal_entries WHERE seq = 5", "entries 5 to 5: removed")]
    [InlineData(Engine.Sqlite, "INSERT INTO journal_entries SELECT 6, 'X', at, kind, actor, subject, outcome, entry, leaf, key_id, detail FROM journal_entries WHERE seq = 5", "entry 6")]
    public async Task Verify_finds_every_kind_of_tampering(Engine engine, string tampering, string finding)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        for (var i = 0; i < 5; i++)
        {
            await Append(world, TestWorld.Ada, "model.created", new { i });
        }

        await world.SealAsync();
        Assert.True((await world.Journal.VerifyAsync(CancellationToken.None)).Intact);

        await world.Database.WriteAsync(tx => tx.ExecuteAsync(tampering), CancellationToken.None);
        var report = await world.Journal.VerifyAsync(CancellationToken.None);

        Assert.False(report.Intact);
        Assert.Contains(report.Findings, f => f.StartsWith(finding, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_rewritten_chain_does_not_match_the_signed_checkpoint()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        await Append(world, TestWorld.Ada, "model.created");
        await world.Get<JournalPump>().StopAsync(CancellationToken.None); // signs

        // Someone who holds the database removes the entry and recomputes the head.
        await world.Database.WriteAsync(
            async tx =>
            {
                await tx.ExecuteAsync("DELETE FROM journal_entries");
                await tx.ExecuteAsync("DELETE FROM journal_links");
                await tx.ExecuteAsync("DELETE FROM journal_head");
            },
            CancellationToken.None);
        var report = await world.Journal.VerifyAsync(CancellationToken.None);

        Assert.False(report.Intact);
        Assert.Equal(1, report.CheckpointSize);
    }

    [Fact]
    public async Task A_stopped_folder_verifies_offline()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        await Append(world, TestWorld.Ada, "model.created");
        await world.Get<JournalPump>().StopAsync(CancellationToken.None);

        var report = await VerifyReport.OfFolderAsync(world.Folder, CancellationToken.None);

        Assert.True(report.Intact);
        Assert.Equal(1, report.Entries);
        Assert.Equal(1, report.CheckpointSize);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_leaf_holds_no_name_and_its_detail_can_be_erased(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        // No name here may be spelt with hexadecimal digits alone: digests would contain it by chance.
        await Append(world, new Actor(ActorKind.User, "zorba"), "model.created", new { secret = "canary" });
        await world.SealAsync();
        var leaf = await world.Database.ReadAsync(s => s.ScalarAsync<byte[]>("SELECT entry FROM journal_entries"), CancellationToken.None);
        var text = System.Text.Encoding.UTF8.GetString(leaf);
        Assert.DoesNotContain("zorba", text, StringComparison.Ordinal);
        Assert.DoesNotContain("flights", text, StringComparison.Ordinal);
        Assert.DoesNotContain("canary", text, StringComparison.Ordinal);

        await world.Database.WriteAsync(tx => tx.ExecuteAsync("DELETE FROM journal_keys"), CancellationToken.None);
        var report = await new Verifier(world.Database, new JournalKeys(Path.Combine(world.Folder, "keys"), create: false), "").RunAsync(CancellationToken.None);

        Assert.True(report.Intact);
        Assert.Equal(1, report.Erased);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_once_subscription_retries_and_goes_on_after_the_failed_entry(Engine engine)
    {
        var seen = new Recorder();
        await using var world = await TestWorld.CreateAsync(engine, s => s
            .AddSingleton(seen)
            .AddSubscription<Recorder>("test", Delivery.Once, ["model.created"], (r, e, _) => r.Take(e)));
        await Append(world, TestWorld.Ada, "model.created");
        await Append(world, TestWorld.Ada, "model.deleted");
        await Append(world, TestWorld.Ada, "model.created");
        seen.FailuresLeft = 1;

        await world.PumpAsync();
        Assert.Empty(seen.Seqs);
        world.Clock.Advance(TimeSpan.FromSeconds(10));
        await world.PumpAsync();

        Assert.Equal([1, 3], seen.Seqs);
    }

    [Fact]
    public void Root_of_the_tree_equals_the_recursive_definition()
    {
        var leaves = Enumerable.Range(0, 70).Select(i => MerkleTree.Leaf(BitConverter.GetBytes(i))).ToArray();
        var tree = new MerkleTree();
        Assert.Equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", Convert.ToHexStringLower(tree.Root()));
        for (var n = 1; n <= leaves.Length; n++)
        {
            tree.Append(leaves[n - 1]);
            Assert.Equal(Root(leaves.AsSpan(0, n)), MerkleTree.Load(tree.Save()).Root());
        }

        // RFC 6962 section 2.1, written as it stands there.
        static byte[] Root(ReadOnlySpan<byte[]> d)
        {
            if (d.Length == 1)
            {
                return d[0];
            }

            var k = 1;
            while (k * 2 < d.Length)
            {
                k *= 2;
            }

            return MerkleTree.Node(Root(d[..k]), Root(d[k..]));
        }
    }

    [Fact]
    public void A_checkpoint_verifies_with_another_implementation_of_Ed25519()
    {
        using var folder = new TemporaryFolder();
        var keys = new JournalKeys(folder.Path, create: true);
        var text = new Checkpoint(keys.Origin, 7, new byte[32]).Sign(keys);
        var signature = Convert.FromBase64String(text.TrimEnd('\n').Split(' ')[^1]);

        var publicKey = NSec.Cryptography.PublicKey.Import(NSec.Cryptography.SignatureAlgorithm.Ed25519, keys.PublicKey, NSec.Cryptography.KeyBlobFormat.RawPublicKey);
        var body = System.Text.Encoding.UTF8.GetBytes(text[..(text.IndexOf("\n\n", StringComparison.Ordinal) + 1)]);

        Assert.True(NSec.Cryptography.SignatureAlgorithm.Ed25519.Verify(publicKey, body, signature[4..]));
        Assert.Equal(7, Checkpoint.Open(text, keys).Size);
        Assert.Throws<SlipwayException>(() => Checkpoint.Open(text.Replace("\n7\n", "\n8\n", StringComparison.Ordinal), keys));
    }

    private static Task<string> Append(TestWorld world, Actor actor, string kind, object? body = null) => world.Database.WriteAsync(
        tx => world.Journal.AppendAsync(tx, actor, kind, Model, body, [new Subject("run", "r1")]),
        CancellationToken.None);

    private sealed class Recorder
    {
        public List<long> Seqs { get; } = [];

        public int FailuresLeft { get; set; }

        public Task Take(JournalEntry entry)
        {
            if (FailuresLeft-- > 0)
            {
                throw new InvalidOperationException("not yet");
            }

            Seqs.Add(entry.Seq);
            return Task.CompletedTask;
        }
    }
}
